"""What the loopback Hub keeps: users, repositories as git sees them, and the faults that it was told to have."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class User:
    """Whose token it is and what it may do."""

    name: str
    role: str = "write"  # read or write


@dataclass
class Blob:
    """The content of a file."""

    content: bytes
    lfs: bool

    @property
    def sha1(self) -> str:
        return hashlib.sha1(b"blob %d\0" % len(self.content) + self.content).hexdigest()

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def etag(self) -> str:
        return self.sha256 if self.lfs else self.sha1

    def entry(self, path: str) -> dict[str, Any]:
        """As the tree lists it."""
        entry: dict[str, Any] = {"type": "file", "oid": self.sha1, "size": len(self.content), "path": path}
        if self.lfs:
            entry["lfs"] = {"oid": self.sha256, "size": len(self.content), "pointerSize": 134}
        return entry


@dataclass
class Commit:
    oid: str
    parent: str | None
    title: str
    files: dict[str, Blob]


@dataclass
class Repo:
    """A repository; `refs` has the branches as `main` and the pull requests as `refs/pr/1`."""

    kind: str  # models or datasets
    id: str
    private: bool = False
    gated: bool = False
    refs: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    commits: dict[str, Commit] = field(default_factory=dict)
    requests: list[dict[str, Any]] = field(default_factory=list)

    def commit(self, ref: str, title: str, files: dict[str, Blob], parent: str | None = None) -> Commit:
        parent = parent or self.refs.get(ref)
        text = f"{self.id} {parent} {title} {sorted((path, blob.sha1) for path, blob in files.items())}"
        made = Commit(hashlib.sha1(text.encode()).hexdigest(), parent, title, files)
        self.commits[made.oid] = made
        self.refs[ref] = made.oid
        return made

    def find(self, revision: str) -> Commit:
        oid = self.refs.get(revision) or self.refs.get(revision.removeprefix("refs/heads/")) or self.tags.get(revision)
        if oid is None and len(revision) >= 7:
            oid = next((oid for oid in self.commits if oid.startswith(revision)), None)
        if oid is None:
            raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return self.commits[oid]

    def history(self, ref: str = "main") -> list[Commit]:
        """From the newest commit to the first."""
        found, oid = [], self.refs.get(ref)
        while oid is not None:
            found.append(self.commits[oid])
            oid = self.commits[oid].parent
        return found

    def head(self) -> Commit:
        return self.commits[self.refs["main"]]


@dataclass
class Fault:
    """What goes wrong with requests whose `METHOD path` matches `where`: after letting `skip` of them pass, `times` of
    them fail in one of these ways."""

    where: str
    status: int | None = None  # answer with this status, and `headers`
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None  # send this many bytes of the body, then close the connection
    flip: int | None = None  # invert this byte of the body
    drop: str | None = None  # close without an answer: "before" the request is carried out, or "after"
    reset: bool = False  # with cut or drop: a TCP reset instead of an orderly end
    stall: float | None = None  # seconds before the answer
    action: Callable[[], Any] | None = None  # done before the request is carried out
    skip: int = 0
    times: int = 1
    seen: int = 0

    def strikes(self, line: str) -> bool:
        if not re.search(self.where, line):
            return False
        self.seen += 1
        return self.skip < self.seen <= self.skip + self.times


class HubError(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, message: str, code: str | None = None, **extra: Any) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.extra = status, message, code, extra
