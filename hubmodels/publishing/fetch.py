"""Download from the Hub with verification, verify what is there, and list the releases.

huggingface_hub checks the size of a downloaded file and nothing else, so a flipped byte would be loaded as weights.
Here every file is compared with the hash that the Hub lists, and then with the release's own checksums and golden
output.
"""

import functools
import hashlib
import logging
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, constants, try_to_load_from_cache
from huggingface_hub.hf_api import RepoFile

from ..errors import HubmodelsError
from ..files import hash_file
from .card import LIBRARY_TAG, is_hub_id
from .connection import RETRY_WAITS, attempt, hub_errors, is_expired
from .layout import check_names
from .verification import Verification, verify_folder

logger = logging.getLogger("hubmodels")


def download(
    repo_id: str,
    *,
    revision: str | None = None,
    local_dir: str | os.PathLike | None = None,
    cache_dir: str | os.PathLike | None = None,
    api: HfApi | None = None,
    waits: Sequence[float] = RETRY_WAITS,
) -> tuple[Path, Verification]:
    """Download a release and verify it: nothing of it is run before every file is checked.

    Args:
        repo_id: namespace/name on the Hub.
        revision: branch, tag or commit; main by default.
        local_dir: where the files go; huggingface_hub's cache by default.
        cache_dir: another cache.
        api: the Hub; by default the one that huggingface_hub's environment variables and login name.
        waits: seconds between attempts while the network fails.

    Returns:
        The folder, and what was found right.

    Raises:
        HubmodelsError: it cannot be reached, is no release, or fails a check. Files that arrived damaged are removed.
    """
    check_repo_id(repo_id)
    api = api or HfApi()
    where: dict[str, Any] = {"local_dir": local_dir} if local_dir is not None else {"cache_dir": cache_dir}
    if constants.HF_HUB_OFFLINE:
        with hub_errors(f"find {repo_id}", repo_id, api.endpoint):
            folder = Path(api.snapshot_download(repo_id, revision=revision, local_files_only=True, **where))
        return folder, _named(verify_folder(folder, repo_id, with_code=True), folder, revision)
    with hub_errors(f"download {repo_id}", repo_id, api.endpoint):
        folder, commit = fetch_files(api, repo_id, revision, where, waits)
    verification = verify_folder(folder, repo_id, with_code=True)
    verification.revision = commit
    return folder, verification


def verify(
    release: str | os.PathLike,
    *,
    revision: str | None = None,
    api: HfApi | None = None,
    waits: Sequence[float] = RETRY_WAITS,
) -> Verification:
    """Verify a release: a folder, or an id on the Hub (which is downloaded into the cache, or taken from it).

    Raises:
        HubmodelsError: the first thing that is wrong.
    """
    if Path(release).exists():
        if revision is not None:
            raise HubmodelsError(f"{release} is a folder, which has no revisions: leave out --revision")
        return verify_folder(release)
    if not is_hub_id(os.fspath(release)):
        raise HubmodelsError(f"there is no folder {release}, and it is no Hub id (namespace/name) either")
    return download(os.fspath(release), revision=revision, api=api, waits=waits)[1]


def list_on_hub(
    author: str | None = None, *, api: HfApi | None = None, limit: int | None = 100
) -> list[dict[str, Any]]:
    """List the models on the Hub that carry our tag, most recently changed first.

    Args:
        author: a user or organisation; everybody by default.
        limit: how many at most.

    Returns:
        For each id, task, last_modified (ISO date or None), downloads, private.
    """
    api = api or HfApi()
    with hub_errors("list the models on the Hub", author or "the Hub", api.endpoint):
        models = attempt(
            lambda: list(
                api.list_models(filter=LIBRARY_TAG, author=author, sort="last_modified", limit=limit, full=True)
            )
        )
    return [
        {
            "id": model.id,
            "task": model.pipeline_tag,
            "last_modified": model.last_modified.date().isoformat() if model.last_modified else None,
            "downloads": model.downloads,
            "private": model.private,
        }
        for model in models
    ]


def check_repo_id(repo_id: str) -> None:
    """Raise HubmodelsError unless the id is namespace/name."""
    word = r"[A-Za-z0-9_](?:[\w.-]{0,94}[A-Za-z0-9_])?"
    if (
        not re.fullmatch(f"{word}/{word}", repo_id, re.ASCII)
        or "--" in repo_id
        or ".." in repo_id
        or repo_id.endswith(".git")
    ):
        raise HubmodelsError(
            f"{repo_id!r} is no repository id; it must be namespace/name, of letters, digits, `-`, `_` and `.`"
        )


def remote_files(api: HfApi, repo_id: str, revision: str) -> dict[str, RepoFile]:
    """List the files of a repository at a revision, by path."""
    listed = api.list_repo_tree(repo_id, revision=revision, recursive=True)
    return {item.path: item for item in listed if isinstance(item, RepoFile)}


def same_content(path: Path, remote: RepoFile) -> bool:
    """Tell whether a file here is the one that the Hub lists: by SHA-256 for LFS, by git's SHA-1 otherwise."""
    if not path.is_file() or path.stat().st_size != remote.size:
        return False
    if remote.lfs is not None:
        return hash_file(path) == remote.lfs.sha256
    return git_hash(path.read_bytes()) == remote.blob_id


def git_hash(content: bytes) -> str:
    """Compute the id that git gives to a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def fetch_files(
    api: HfApi, repo_id: str, revision: str | None, where: dict[str, Any], waits: Sequence[float]
) -> tuple[Path, str]:
    """Download every file of a revision and compare it with the Hub's hash.

    The list of files is checked first, so that nothing of a repository is fetched whose names alone are not safe. What
    arrived damaged is removed and fetched once more.

    Returns:
        The folder and the commit.
    """
    commit = attempt(lambda: api.repo_info(repo_id, revision=revision).sha, waits)
    listed = attempt(lambda: remote_files(api, repo_id, commit), waits)
    check_names(listed)
    check_room(repo_id, commit, listed, where)
    for again in (True, False):
        # Into the cache by its name, so that from_pretrained finds the branch later without a network.
        asked = commit if "local_dir" in where else revision
        fetch = functools.partial(api.snapshot_download, repo_id, revision=asked, **where)
        folder = Path(attempt(fetch, waits, lambda error: is_expired(error, api.endpoint)))
        if "local_dir" not in where and folder.name != commit:  # the branch moved in between
            commit = folder.name
            listed = attempt(functools.partial(remote_files, api, repo_id, commit), waits)
            check_names(listed)
        damaged = [name for name, remote in listed.items() if not same_content(folder / name, remote)]
        if not damaged:
            return folder, commit
        for name in damaged:
            remove_file(folder / name)
        if again:
            logger.info("%s arrived damaged and is downloaded again", ", ".join(damaged[:5]))
    raise HubmodelsError(
        f"{repo_id}: {', '.join(damaged[:5])} arrived twice with other content than the Hub lists; they were removed"
    )


def remove_file(path: Path) -> None:
    """Remove a downloaded file, and in a cache the content that its link leads to, or it would be taken as whole."""
    target = path.resolve()
    path.unlink(missing_ok=True)
    if target != path:
        target.unlink(missing_ok=True)


def check_room(repo_id: str, commit: str, listed: dict[str, RepoFile], where: dict[str, Any]) -> None:
    """Refuse a download that cannot fit the disk before its first byte. What is here already needs no room."""
    folder = Path(where.get("local_dir") or where.get("cache_dir") or constants.HF_HUB_CACHE).expanduser().absolute()
    needed = 0
    for name, remote in listed.items():
        cached = try_to_load_from_cache(repo_id, name, cache_dir=where.get("cache_dir"), revision=commit)
        here = folder / name if "local_dir" in where else cached if isinstance(cached, str) else None
        needed += 0 if here is not None and Path(here).is_file() else remote.size
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise HubmodelsError(f"no room on the disk: {needed:,} bytes are needed, {free:,} are free at {folder}")


def _named(verification: Verification, folder: Path, revision: str | None) -> Verification:
    """Add the revision to what was verified: the commit where the folder is one of the cache."""
    verification.revision = folder.name if folder.parent.name == "snapshots" else revision
    return verification
