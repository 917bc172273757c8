"""Publish to the Hub, in one act: check, upload in one commit, download again, verify, tag.

Doing it again completes what was cut off, and makes no commit when there is nothing new.
"""

import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from huggingface_hub import HfApi

from ..checkpoint import read_metrics
from ..errors import HubmodelsError
from ..formatting import format_interval
from .checks import check_release
from .code import compose_release, lacks_code
from .code import refresh_code as refresh_code_files
from .connection import RETRY_WAITS
from .fetch import check_repo_id
from .layout import CARD_FILE, release_files
from .repository import Plan, Repository
from .verification import check_files


@dataclass
class Publication:
    """Say what publishing did, or with `dry_run` would do."""

    repo_id: str
    sent: dict[str, int]  # new or changed files, name -> bytes
    deleted: list[str] = field(default_factory=list)  # files of an earlier release that this one lacks
    unchanged: list[str] = field(default_factory=list)  # files that were there already
    message: str = ""  # of the commit
    commit: str | None = None  # None after a dry run
    url: str | None = None
    tag: str | None = None
    pull_request: str | None = None  # its URL
    deviation: float | None = None  # of the golden output, as downloaded again

    @classmethod
    def of(cls, plan: Plan, repo_id: str, tag: str | None) -> "Publication":
        """Say what a plan would do."""
        return cls(
            repo_id=repo_id,
            sent={name: plan.files[name].stat().st_size for name in plan.send},
            deleted=plan.delete,
            unchanged=[name for name in plan.files if name not in plan.send],
            message=plan.message,
            tag=tag,
        )

    def __str__(self) -> str:
        if self.commit is None:
            lines = [f"  {size:>12,}  {name}" for name, size in self.sent.items()]
            lines += [f"  {'deleted':>12}  {name}" for name in self.deleted]
            size = sum(self.sent.values())
            head = f"Would send {len(self.sent)} files, {size:,} bytes, to {self.repo_id}: {self.message}"
            return "\n".join([head, *lines] if lines else [f"Nothing new for {self.repo_id}: no commit would be made"])
        what = "published and verified" if self.sent or self.deleted else "nothing new; verified what is there"
        tag = f", tag {self.tag}" if self.tag else ""
        return f"{self.repo_id}: {what} at commit {self.commit[:12]}{tag}. {self.pull_request or self.url}"


def publish(
    folder: str | os.PathLike,
    repo_id: str,
    *,
    private: bool | None = None,
    tag: str | None = None,
    create_pr: bool = False,
    commit_message: str | None = None,
    parent_commit: str | None = None,
    dry_run: bool = False,
    max_bytes: int | None = None,
    refresh_code: bool = False,
    api: HfApi | None = None,
    waits: Sequence[float] = RETRY_WAITS,
) -> Publication:
    """Publish a release folder.

    Args:
        folder: the release. Where it has no code, as in a checkout, a copy with the installed code is published.
        repo_id: namespace/name; the repository is created when it is not there.
        private: whether a new repository is private; the account's default when None.
        tag: put on the commit at the end; refused when it is there on another commit.
        create_pr: open a pull request instead of changing the main branch.
        commit_message: model and metrics by default.
        parent_commit: refuse unless this is the head of the main branch.
        dry_run: only say what would be sent.
        max_bytes: refuse a larger release.
        refresh_code: first put the installed code in the place of the folder's, if another version made that.
        api: the Hub; by default the one that huggingface_hub's environment variables and login name.
        waits: seconds between attempts while the network fails.

    Raises:
        HubmodelsError: the folder is not fit, the Hub refuses, the repository changed meanwhile, or what was downloaded
            again is not what was sent.
    """
    check_request(repo_id, tag, create_pr)
    repository = Repository(api or HfApi(), repo_id, waits)
    with tempfile.TemporaryDirectory(prefix="hubmodels-publish-") as name:
        temporary = Path(name)
        folder = whole_folder(Path(folder), temporary, refresh_code, dry_run)
        check_release(folder, max_bytes)
        files = {name: folder / name for name in release_files(folder)}
        files[CARD_FILE] = addressed_card(folder, repo_id, temporary)
        with repository.errors(f"publish to {repo_id}"):
            if not dry_run:
                repository.create(private)
            plan = repository.compare(files, may_be_absent=dry_run)
            plan.message, plan.description = describe_commit(folder, commit_message)
            publication = Publication.of(plan, repo_id, tag)
            if dry_run:
                return publication
            repository.check_parent(plan, parent_commit)
            if tag is not None:
                repository.check_tag(tag, None if plan.changes else plan.head)
            assert plan.head is not None  # the repository is there now
            commit, publication.pull_request = repository.send(plan, create_pr) if plan.changes else (plan.head, None)
        publication.commit, publication.url = commit, f"{repository.api.endpoint}/{repo_id}"
        publication.deviation = verify_and_tag(repository, commit, files, temporary / "cache", tag)
    return publication


def verify_and_tag(
    repository: Repository, commit: str, files: dict[str, Path], cache: Path, tag: str | None
) -> float | None:
    """Download what was published again, compare it with what was sent, and tag the commit where a tag is given.

    Returns:
        By how much the golden output deviates, as a share of its scale.

    Raises:
        HubmodelsError: it is not what was sent, or the Hub refuses.
    """
    repo_id = repository.repo_id
    with repository.errors(f"read back {repo_id}, which was published at commit {commit}"):
        deviation = repository.read_back(commit, files, cache)
    if tag is not None:
        with repository.errors(f"tag {repo_id}, which was published and verified at commit {commit},"):
            repository.put_tag(tag, commit)
    return deviation


def check_request(repo_id: str, tag: str | None, create_pr: bool) -> None:
    """Refuse what cannot be asked for, before anything is read."""
    check_repo_id(repo_id)
    if tag is not None and not re.fullmatch(r"[\w][\w.+-]*", tag):
        raise HubmodelsError(f"{tag!r} is no tag; it must be of letters, digits, `.`, `-`, `_` and `+`, such as v1.0")
    if tag is not None and create_pr:
        raise HubmodelsError(
            "a tag and a pull request were both asked for: tag the commit after the request was merged"
        )


def whole_folder(folder: Path, temporary: Path, refresh_code: bool, dry_run: bool) -> Path:
    """Give the folder that is published, code included.

    It is the release itself where that has its code; `refresh_code` changes the code there, but not in a dry run. For a
    folder of a checkout, which has none, it is a whole copy."""
    if lacks_code(folder):
        check_files(folder, with_code=False)  # before anything is copied
    elif not (refresh_code and dry_run):
        if refresh_code:
            refresh_code_files(folder)
        return folder
    return compose_release(folder, temporary / "composed" / folder.resolve().name)


def describe_commit(folder: Path, message: str | None = None) -> tuple[str, str]:
    """Describe a release in the words of a commit.

    Returns:
        The message, by default model and main metric, and the description, with every metric.
    """
    metrics = read_metrics(folder)
    name, main = metrics.get("name") or folder.name, metrics.get("main_metric")
    measured = metrics["results"]["metrics"]
    by_default = f"{name}: {main} {format_interval(measured[main])}" if main in measured else str(name)
    return message or by_default, "\n".join(f"{metric}: {format_interval(entry)}" for metric, entry in measured.items())


def addressed_card(folder: Path, repo_id: str, temporary: Path) -> Path:
    """Write the card with this repository's id in its code blocks, where it had the name of the release.

    The card has no checksum, and its reader copies from those blocks what must find the model on the Hub."""
    model_id = read_metrics(folder).get("model_id")
    text = (folder / CARD_FILE).read_text(encoding="utf-8")
    if not isinstance(model_id, str) or not model_id or model_id == repo_id:
        return folder / CARD_FILE
    word = re.compile(rf"(?<![\w/.-]){re.escape(model_id)}(?![\w/-])")
    addressed = re.sub(
        r"^```(?:python|bash)\n.*?^```$",
        lambda block: word.sub(repo_id, block[0]),
        text,
        flags=re.DOTALL | re.MULTILINE,
    )
    if addressed == text:
        return folder / CARD_FILE
    (temporary / CARD_FILE).write_text(addressed, encoding="utf-8")
    return temporary / CARD_FILE
