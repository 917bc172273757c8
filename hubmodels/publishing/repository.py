"""Change a repository on the Hub so that it holds a release: compare, commit, find what was lost, read back, tag.

Either the branch holds the whole release afterwards or nothing visible on it has changed: everything goes into one
commit, whose parent is the head that was seen before.
"""

import contextlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError
from huggingface_hub.hf_api import RepoFile

from ..checkpoint import METRICS_FILE, listed_checksums, read_metrics
from ..errors import HubmodelsError
from .connection import attempt, explain, hub_errors, is_transient, pause, status_of
from .fetch import fetch_files, git_hash, remote_files, same_content
from .layout import HARMLESS_SUFFIXES, UNHASHED_FILES, check_names
from .verification import verify_folder


@dataclass
class Plan:
    """Hold the difference between a release and a repository's head, and the words of the commit that removes it."""

    head: str | None  # commit, None when there is no repository yet
    files: dict[str, Path]  # every file of the release
    send: list[str]
    delete: list[str]
    message: str = ""
    description: str = ""

    @property
    def changes(self) -> bool:
        """Tell whether there is anything to commit."""
        return bool(self.send or self.delete)

    def is_done(self, remote: dict[str, RepoFile]) -> bool:
        """Tell whether a revision's files are the release's, and none of those to delete."""
        same = all(name in remote and same_content(path, remote[name]) for name, path in self.files.items())
        return same and not any(name in remote for name in self.delete)


@dataclass(frozen=True)
class Repository:
    """Bind a repository of models to the Hub that it is on, and to the patience for a network that fails."""

    api: HfApi
    repo_id: str
    waits: Sequence[float]  # seconds between attempts

    def errors(self, doing: str) -> contextlib.AbstractContextManager[None]:
        """Turn whatever the Hub raises inside into one line, see `hub_errors`."""
        return hub_errors(doing, self.repo_id, self.api.endpoint)

    def create(self, private: bool | None) -> None:
        """Create the repository, unless it is there."""
        if not (self.api.token or get_token()):
            raise HubmodelsError("there is no token; run `hf auth login`, or set HF_TOKEN to a token with write access")
        # A token that is not valid is said to be so, not that the repository is missing.
        attempt(lambda: self.api.whoami(), self.waits)
        attempt(lambda: self.api.create_repo(self.repo_id, private=private, exist_ok=True), self.waits)

    def head(self) -> str:
        """Give the commit of the main branch."""
        return attempt(lambda: self.api.repo_info(self.repo_id, revision="main").sha, self.waits)

    def files(self, commit: str) -> dict[str, RepoFile]:
        """List the files of a commit, by path."""
        return attempt(lambda: remote_files(self.api, self.repo_id, commit), self.waits)

    def compare(self, files: dict[str, Path], may_be_absent: bool) -> Plan:
        """Compare a release with the main branch.

        Args:
            files: every file of the release.
            may_be_absent: whether the repository may be missing, as before a dry run.

        Raises:
            HubmodelsError: the repository holds files that do not belong to any release of ours.
        """
        try:
            head = self.head()
            remote = self.files(head)
        except RepositoryNotFoundError:
            if not may_be_absent:
                raise
            return Plan(None, files, list(files), [])
        send = [name for name, path in files.items() if name not in remote or not same_content(path, remote[name])]
        others = [name for name in remote if name not in files]
        earlier = self.earlier_release(head) if METRICS_FILE in remote and others else []
        delete = [name for name in others if name in earlier]
        self.check_foreign([name for name in others if name not in delete])
        return Plan(head, files, send, delete)

    def earlier_release(self, head: str) -> list[str]:
        """List the files that the release now in the repository calls its own."""
        with tempfile.TemporaryDirectory(prefix="hubmodels-publish-") as temporary:
            options = {"revision": head, "cache_dir": temporary}
            path = attempt(lambda: self.api.hf_hub_download(self.repo_id, METRICS_FILE, **options), self.waits)
            try:
                return list(listed_checksums(read_metrics(Path(path).parent)))
            except HubmodelsError:  # it is no release's
                return []

    def check_foreign(self, names: list[str]) -> None:
        """Refuse a repository with files that are neither a release's nor what people add to one."""
        try:
            check_names(names)
            for name in names:
                if name not in UNHASHED_FILES and not name.endswith(HARMLESS_SUFFIXES):
                    raise HubmodelsError(f"{name!r} is of no release")
        except HubmodelsError as error:
            raise HubmodelsError(
                f"{self.repo_id} holds other files already ({error}): delete them there, or publish to another "
                "repository"
            ) from None

    def check_parent(self, plan: Plan, parent_commit: str | None) -> None:
        """Refuse a repository whose head is not the commit that was asked for."""
        if parent_commit is not None and not str(plan.head).startswith(parent_commit):
            raise HubmodelsError(
                f"{self.repo_id} has changed: its head is {plan.head}, not {parent_commit}; look at what changed there"
            )

    def send(self, plan: Plan, create_pr: bool) -> tuple[str, str | None]:
        """Make the commit. A reply that was lost is looked for on the Hub before the commit is tried again.

        Returns:
            The commit and, with `create_pr`, the pull request's URL.
        """
        through_lfs = False
        if create_pr and (opened := self.find_pull_request(plan)):
            return opened
        remaining = list(self.waits)
        while True:
            try:
                return self.commit(plan, create_pr, through_lfs)
            except Exception as error:
                status = status_of(error)
                if status == 412:
                    raise HubmodelsError(explain(error, self.repo_id, self.api.endpoint)) from error
                no_xet = not through_lfs and status is None and isinstance(error, ConnectionError | RuntimeError)
                if not is_transient(error) and not no_xet:
                    raise
                if committed := self.find_commit(plan, create_pr):
                    return committed
                if no_xet:  # hf_xet does not fall back by itself where the server has no xet storage
                    through_lfs = True
                    continue
                if not remaining:
                    raise
                pause(error, remaining.pop(0))

    def commit(self, plan: Plan, create_pr: bool, through_lfs: bool) -> tuple[str, str | None]:
        """Make the commit, once; with `through_lfs` its files are uploaded through LFS and not through xet."""
        with contextlib.ExitStack() as opened:
            operations: list[CommitOperationAdd | CommitOperationDelete] = []
            for name in plan.send:
                # An open file is uploaded through LFS, never through xet.
                path = plan.files[name]
                source = opened.enter_context(open(path, "rb")) if through_lfs else path
                operations.append(CommitOperationAdd(path_in_repo=name, path_or_fileobj=source))
            operations += [CommitOperationDelete(path_in_repo=name) for name in plan.delete]
            info = self.api.create_commit(
                self.repo_id,
                operations,
                commit_message=plan.message,
                commit_description=plan.description,
                parent_commit=plan.head,
                create_pr=create_pr,
            )
            return info.oid, info.pr_url

    def find_commit(self, plan: Plan, create_pr: bool) -> tuple[str, str | None] | None:
        """Find the commit whose reply was lost, if it was made after all."""
        if create_pr:
            return self.find_pull_request(plan)
        head = self.head()
        if head == plan.head:
            return None
        if plan.is_done(self.files(head)):
            return head, None
        raise HubmodelsError(f"{self.repo_id} has changed meanwhile; look at what changed there, then publish again")

    def find_pull_request(self, plan: Plan) -> tuple[str, str | None] | None:
        """Find an open pull request with this message that holds just this release: none is opened a second time."""
        kinds = {"discussion_type": "pull_request", "discussion_status": "open"}
        try:
            for request in self.api.get_repo_discussions(self.repo_id, **kinds):
                if request.title == plan.message:
                    commit = self.api.repo_info(self.repo_id, revision=f"refs/pr/{request.num}").sha
                    if plan.is_done(remote_files(self.api, self.repo_id, commit)):
                        return commit, request.url
        except HfHubHTTPError:  # discussions may be turned off; then there is no request to find
            return None
        return None

    def check_tag(self, tag: str, commit: str | None) -> None:
        """Refuse a tag that is there on another commit (or at all, when the commit is yet to be made)."""
        refs = attempt(lambda: self.api.list_repo_refs(self.repo_id), self.waits)
        tags = {item.name: item.target_commit for item in refs.tags}
        if tag in tags and tags[tag] != commit:
            raise HubmodelsError(f"{self.repo_id} has a tag {tag} already, on commit {tags[tag]}; choose another")

    def put_tag(self, tag: str, commit: str) -> None:
        """Put a tag on a commit; one that is there already is left as it is."""
        attempt(lambda: self.api.create_tag(self.repo_id, tag=tag, revision=commit, exist_ok=True), self.waits)
        self.check_tag(tag, commit)

    def read_back(self, commit: str, files: dict[str, Path], cache: Path) -> float:
        """Download a commit, compare every file with what was sent, and reproduce the golden output from it.

        Returns:
            The deviation of the golden output.
        """
        folder, _ = fetch_files(self.api, self.repo_id, commit, {"cache_dir": cache}, self.waits)
        for name, path in files.items():
            if git_hash((folder / name).read_bytes()) != git_hash(path.read_bytes()):
                raise HubmodelsError(f"{name} is not what was sent")
        return verify_folder(folder, f"{self.repo_id} at {commit}", with_code=True).deviation
