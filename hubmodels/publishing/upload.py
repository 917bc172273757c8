"""Publish to the Hub, in one act: check, upload in one commit, download again, verify, tag.

Either the branch holds the whole release afterwards or nothing visible on it has changed: everything goes into one
commit, whose parent is the head that was seen before. Doing it again completes what was cut off, and makes no commit
when there is nothing new.
"""

import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError
from huggingface_hub.hf_api import RepoFile

from ..checkpoint import METRICS_FILE, listed_checksums, read_metrics
from ..errors import HubmodelsError
from ..formatting import format_interval
from .checks import check_release
from .code import compose_release, lacks_code
from .code import refresh_code as refresh_code_files
from .connection import RETRY_WAITS, attempt, explain, hub_errors, is_transient, pause, status_of
from .fetch import check_repo_id, fetch_files, git_hash, remote_files, same_content
from .layout import CARD_FILE, HARMLESS_SUFFIXES, UNHASHED_FILES, check_names, release_files
from .verification import check_files, verify_folder


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


@dataclass
class _Plan:
    """Hold the difference between a release and a repository's head."""

    head: str | None  # commit, None when there is no repository yet
    files: dict[str, Path]  # every file of the release
    send: list[str]
    delete: list[str]

    @property
    def changes(self) -> bool:
        """Tell whether there is anything to commit."""
        return bool(self.send or self.delete)

    def describe(self, repo_id: str, message: str, tag: str | None) -> Publication:
        """Say what would be done."""
        return Publication(
            repo_id=repo_id,
            sent={name: self.files[name].stat().st_size for name in self.send},
            deleted=self.delete,
            unchanged=[name for name in self.files if name not in self.send],
            message=message,
            tag=tag,
        )


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
    folder, api = Path(folder), api or HfApi()
    check_request(repo_id, tag, create_pr)
    with tempfile.TemporaryDirectory(prefix="hubmodels-publish-") as name:
        temporary = Path(name)
        folder = whole_folder(folder, temporary, refresh_code, dry_run)
        check_release(folder, max_bytes)
        message, description = describe_commit(folder)
        message = commit_message or message
        files = {name: folder / name for name in release_files(folder)}
        files[CARD_FILE] = addressed_card(folder, repo_id, temporary)
        with hub_errors(f"publish to {repo_id}", repo_id, api.endpoint):
            if not dry_run:
                prepare_repository(api, repo_id, private, waits)
            plan = make_plan(api, repo_id, files, waits, dry_run)
            publication = plan.describe(repo_id, message, tag)
            if dry_run:
                return publication
            check_parent(repo_id, plan, parent_commit)
            if tag is not None:
                check_tag(api, repo_id, tag, None if plan.changes else plan.head, waits)
            assert plan.head is not None  # the repository is there now
            commit = plan.head
            if plan.changes:
                commit, publication.pull_request = send(api, repo_id, plan, message, description, create_pr, waits)
        publication.commit = commit
        publication.url = f"{api.endpoint}/{repo_id}"
        with hub_errors(f"read back {repo_id}, which was published at commit {commit}", repo_id, api.endpoint):
            publication.deviation = read_back(api, repo_id, commit, files, temporary, waits)
        if tag is not None:
            put_tag(api, repo_id, tag, commit, waits)
    return publication


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


def describe_commit(folder: Path) -> tuple[str, str]:
    """Describe a release in the words of a commit.

    Returns:
        The message, which names model and main metric, and the description, with every metric.
    """
    metrics = read_metrics(folder)
    name, main = metrics.get("name") or folder.name, metrics.get("main_metric")
    measured = metrics["results"]["metrics"]
    message = f"{name}: {main} {format_interval(measured[main])}" if main in measured else str(name)
    return message, "\n".join(f"{metric}: {format_interval(entry)}" for metric, entry in measured.items())


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


def prepare_repository(api: HfApi, repo_id: str, private: bool | None, waits: Sequence[float]) -> None:
    """Create the repository, unless it is there."""
    if not (api.token or get_token()):
        raise HubmodelsError("there is no token; run `hf auth login`, or set HF_TOKEN to a token with write access")
    attempt(
        lambda: api.whoami(), waits
    )  # a token that is not valid is said to be so, not that the repository is missing
    attempt(lambda: api.create_repo(repo_id, private=private, exist_ok=True), waits)


def make_plan(api: HfApi, repo_id: str, files: dict[str, Path], waits: Sequence[float], dry_run: bool) -> _Plan:
    """Compare the release with the repository's main branch.

    Raises:
        HubmodelsError: the repository holds files that do not belong to any release of ours.
    """
    try:
        head = attempt(lambda: api.repo_info(repo_id, revision="main").sha, waits)
        remote = attempt(lambda: remote_files(api, repo_id, head), waits)
    except RepositoryNotFoundError:
        if not dry_run:
            raise
        return _Plan(None, files, list(files), [])
    send = [name for name, path in files.items() if name not in remote or not same_content(path, remote[name])]
    others = [name for name in remote if name not in files]
    earlier = earlier_release(api, repo_id, head, waits) if METRICS_FILE in remote and others else []
    delete = [name for name in others if name in earlier]
    foreign = [name for name in others if name not in delete]
    try:
        check_names(foreign)
        for name in foreign:
            if name not in UNHASHED_FILES and not name.endswith(HARMLESS_SUFFIXES):
                raise HubmodelsError(f"{name!r} is of no release")
    except HubmodelsError as error:
        raise HubmodelsError(
            f"{repo_id} holds other files already ({error}): delete them there, or publish to another repository"
        ) from None
    return _Plan(head, files, send, delete)


def check_parent(repo_id: str, plan: _Plan, parent_commit: str | None) -> None:
    """Refuse a repository whose head is not the commit that was asked for."""
    if parent_commit is not None and not str(plan.head).startswith(parent_commit):
        raise HubmodelsError(
            f"{repo_id} has changed: its head is {plan.head}, not {parent_commit}; look at what changed there"
        )


def earlier_release(api: HfApi, repo_id: str, head: str, waits: Sequence[float]) -> list[str]:
    """List the files that the release now in the repository calls its own."""
    with tempfile.TemporaryDirectory(prefix="hubmodels-publish-") as temporary:
        path = attempt(lambda: api.hf_hub_download(repo_id, METRICS_FILE, revision=head, cache_dir=temporary), waits)
        try:
            return list(listed_checksums(read_metrics(Path(path).parent)))
        except HubmodelsError:  # it is no release's
            return []


def send(
    api: HfApi, repo_id: str, plan: _Plan, message: str, description: str, create_pr: bool, waits: Sequence[float]
) -> tuple[str, str | None]:
    """Make the commit. A reply that was lost is looked for on the Hub before the commit is tried again.

    Returns:
        The commit and, with `create_pr`, the pull request's URL.
    """
    through_lfs = False
    if create_pr and (opened := find_pull_request(api, repo_id, plan, message)):
        return opened
    remaining = list(waits)
    while True:
        try:
            return _commit(api, repo_id, plan, message, description, create_pr, through_lfs)
        except Exception as error:
            if status_of(error) == 412:
                raise HubmodelsError(explain(error, repo_id, api.endpoint)) from error
            no_xet = not through_lfs and status_of(error) is None and isinstance(error, ConnectionError | RuntimeError)
            if not is_transient(error) and not no_xet:
                raise
            if committed := find_commit(api, repo_id, plan, message, create_pr, waits):
                return committed
            if no_xet:  # hf_xet does not fall back by itself where the server has no xet storage
                through_lfs = True
                continue
            if not remaining:
                raise
            pause(error, remaining.pop(0))


def _commit(
    api: HfApi, repo_id: str, plan: _Plan, message: str, description: str, create_pr: bool, through_lfs: bool
) -> tuple[str, str | None]:
    """Make the commit, once; with `through_lfs` its files are uploaded through LFS and not through xet."""
    opened = []
    try:
        operations: list[Any] = []
        for name in plan.send:
            source: Any = plan.files[name]
            if through_lfs:  # an open file is uploaded through LFS, never through xet
                source = open(source, "rb")  # noqa: SIM115
                opened.append(source)
            operations.append(CommitOperationAdd(path_in_repo=name, path_or_fileobj=source))
        operations += [CommitOperationDelete(path_in_repo=name) for name in plan.delete]
        info = api.create_commit(
            repo_id,
            operations,
            commit_message=message,
            commit_description=description,
            parent_commit=plan.head,
            create_pr=create_pr,
        )
        return info.oid, info.pr_url
    finally:
        for file in opened:
            file.close()


def find_commit(
    api: HfApi, repo_id: str, plan: _Plan, message: str, create_pr: bool, waits: Sequence[float]
) -> tuple[str, str | None] | None:
    """Find the commit whose reply was lost, if it was made after all."""
    if create_pr:
        return find_pull_request(api, repo_id, plan, message)
    head = attempt(lambda: api.repo_info(repo_id, revision="main").sha, waits)
    if head == plan.head:
        return None
    if holds_release(plan, attempt(lambda: remote_files(api, repo_id, head), waits)):
        return head, None
    raise HubmodelsError(f"{repo_id} has changed meanwhile; look at what changed there, then publish again")


def find_pull_request(api: HfApi, repo_id: str, plan: _Plan, message: str) -> tuple[str, str | None] | None:
    """Find an open pull request with this message that holds just this release: it is not opened a second time."""
    try:
        for request in api.get_repo_discussions(repo_id, discussion_type="pull_request", discussion_status="open"):
            if request.title == message:
                revision = f"refs/pr/{request.num}"
                commit = api.repo_info(repo_id, revision=revision).sha
                if holds_release(plan, remote_files(api, repo_id, commit)):
                    return commit, request.url
    except HfHubHTTPError:  # discussions may be turned off; then there is no request to find
        return None
    return None


def holds_release(plan: _Plan, remote: dict[str, RepoFile]) -> bool:
    """Tell whether a revision's files are the release's, and none of those to delete."""
    return all(name in remote and same_content(path, remote[name]) for name, path in plan.files.items()) and not any(
        name in remote for name in plan.delete
    )


def check_tag(api: HfApi, repo_id: str, tag: str, commit: str | None, waits: Sequence[float]) -> None:
    """Refuse a tag that is there on another commit than this one (or at all, when the commit is yet to be made)."""
    tags = {item.name: item.target_commit for item in attempt(lambda: api.list_repo_refs(repo_id), waits).tags}
    if tag in tags and tags[tag] != commit:
        raise HubmodelsError(f"{repo_id} has a tag {tag} already, on commit {tags[tag]}; choose another")


def put_tag(api: HfApi, repo_id: str, tag: str, commit: str, waits: Sequence[float]) -> None:
    """Put a tag on what was published and verified; one that is there already is left as it is."""
    with hub_errors(f"tag {repo_id}, which was published and verified at commit {commit},", repo_id, api.endpoint):
        attempt(lambda: api.create_tag(repo_id, tag=tag, revision=commit, exist_ok=True), waits)
        check_tag(api, repo_id, tag, commit, waits)


def read_back(
    api: HfApi,
    repo_id: str,
    commit: str,
    files: dict[str, Path],
    temporary: Path,
    waits: Sequence[float],
) -> float:
    """Download what was published, compare every file with what was sent, and reproduce the golden output from it."""
    folder, _ = fetch_files(api, repo_id, commit, {"cache_dir": temporary / "cache"}, waits)
    for name, path in files.items():
        if git_hash((folder / name).read_bytes()) != git_hash(path.read_bytes()):
            raise HubmodelsError(f"{name} is not what was sent")
    return verify_folder(folder, f"{repo_id} at {commit}", with_code=True).deviation
