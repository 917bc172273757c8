"""Files that are never half-written: written under a temporary name, synced, then renamed. Standard library only."""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .errors import HubmodelsError, one_line

# First bytes of what must not hide under another ending, with the words for the message.
FORBIDDEN_STARTS = {
    b"\x80\x02": "pickle", b"\x80\x03": "pickle", b"\x80\x04": "pickle", b"\x80\x05": "pickle",
    b"PK\x03\x04": "ZIP archive (or a torch.save file)", b"\x1f\x8b": "gzip archive",
    b"\x7fELF": "program", b"MZ": "program", b"\xcf\xfa\xed\xfe": "program", b"#!": "script",
}  # fmt: skip


def sync_path(path: str | os.PathLike) -> None:
    """Flush a file or a folder's entries to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def atomic_file(path: str | os.PathLike) -> Iterator[Path]:
    """Give a temporary path beside `path`: synced and renamed to `path` when the block ends well, else removed."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        sync_path(temporary)
        os.replace(temporary, path)
        sync_path(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: str | os.PathLike) -> Iterator[Path]:
    """Give an empty temporary folder beside `path`, which replaces `path` when the block ends well.

    Its files are synced first. When the block fails it is removed, and `path` stays as it was."""
    path = Path(path).absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        yield temporary
        temporary.chmod(0o755)
        for folder, _, names in os.walk(temporary):
            for name in names:
                sync_path(Path(folder, name))
            sync_path(folder)
        if path.exists():
            # Two renames: a crash between them leaves the old folder whole under the `.old` name.
            old = Path(tempfile.mkdtemp(prefix=f".{path.name}.old.", dir=path.parent))
            os.replace(path, old / path.name)
            os.replace(temporary, path)
            shutil.rmtree(old, ignore_errors=True)
        else:
            os.replace(temporary, path)
        sync_path(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_json(path: str | os.PathLike, value: object) -> None:
    """Write `value` as indented JSON, atomically. NaN and infinity are refused, since JSON has none."""
    text = json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_json(path: str | os.PathLike) -> dict[str, Any]:
    """Read the mapping in a JSON file. Raises HubmodelsError when it is missing or holds none."""
    path = Path(path)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise HubmodelsError(f"{path.name} is missing") from None
    except (ValueError, RecursionError) as error:
        raise HubmodelsError(f"{path.name} is not JSON: {one_line(error)}") from None
    if not isinstance(values, dict):
        raise HubmodelsError(f"{path.name} must be a JSON mapping, it is a {type(values).__name__}")
    return values


def hash_file(path: str | os.PathLike) -> str:
    """Compute the SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
