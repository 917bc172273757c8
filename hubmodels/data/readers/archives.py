"""Files that may be compressed: the name without the ending of the compression, and the bytes without it."""

import bz2
import contextlib
import gzip
import io
import lzma
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import IO, Any

import pyarrow

from ...errors import HubmodelsError

DAMAGED = (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile)  # what damaged archives raise, beside OSError


def open_zstandard(path: Path) -> IO[bytes]:
    """Open a file of Zstandard."""
    return io.BufferedReader(_ArrowStream(pyarrow.CompressedInputStream(str(path), "zstd")), 2**20)


def open_zip(path: Path) -> IO[bytes]:
    """Open the only file of a ZIP archive. Raises HubmodelsError where it holds none or several."""
    archive = zipfile.ZipFile(path)
    return archive.open(zip_member(path, archive))


def zip_member(path: Path, archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    """Find the only file of a ZIP archive, beside hidden ones. Raises HubmodelsError where it holds none or several."""
    members = [item for item in archive.infolist() if not item.is_dir() and not is_hidden(PurePosixPath(item.filename))]
    if len(members) != 1:
        names = ", ".join(item.filename for item in members[:5]) or "none"
        raise HubmodelsError(f"{path.name} holds {len(members)} files ({names}): unpack it, and give the folder")
    return members[0]


def is_hidden(path: PurePosixPath | Path) -> bool:
    """Tell whether a path is one that programs leave beside data: .DS_Store, ._x, __MACOSX."""
    return any(name.startswith(".") or name == "__MACOSX" for name in path.parts)


class _ArrowStream(io.RawIOBase):
    """Reads a stream of Arrow as Python reads files."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = self.stream.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)


OPENERS: Mapping[str, Callable[[Path], Any]] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
    ".zst": open_zstandard,
    ".zip": open_zip,
}


def table_suffix(path: Path) -> tuple[str, str | None]:
    """Return the ending that says what a file holds, in lower case, and that of its compression."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if not suffixes or suffixes[-1] not in OPENERS:
        return (suffixes[-1] if suffixes else ""), None
    if suffixes[-1] == ".zip" and len(suffixes) < 2 and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = [PurePosixPath(name) for name in archive.namelist() if not name.endswith("/")]
        names = [name for name in names if not is_hidden(name)]
        return (names[0].suffix.lower() if len(names) == 1 else ""), ".zip"
    return (suffixes[-2] if len(suffixes) > 1 else ""), suffixes[-1]


def open_bytes(path: Path) -> IO[bytes]:
    """Open a file's bytes, without its compression."""
    compression = table_suffix(path)[1]
    return open(path, "rb") if compression is None else OPENERS[compression](path)


def seekable(path: Path) -> IO[bytes]:
    """Open a file's bytes so that any of them can be read at any time: a compressed one is unpacked on the disk."""
    if table_suffix(path)[1] is None:
        return open(path, "rb")
    unpacked: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  (the caller closes it)
    with open_bytes(path) as source:
        shutil.copyfileobj(source, unpacked, 2**20)
    unpacked.seek(0)
    return unpacked


NATIVE = {None: None, ".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}  # compressions that Arrow opens itself


@contextlib.contextmanager
def plain_text(path: Path, encoding: str) -> Iterator[tuple[str, str | None]]:
    """Give a text file in UTF-8 that Arrow reads without Python: its path, and its compression or None.

    A file of another encoding or compression is written anew for as long as the block lasts. Threads of Arrow that call
    Python to read a file can end the process when the interpreter ends."""
    compression = table_suffix(path)[1]
    if encoding == "utf-8" and compression in NATIVE:
        yield str(path), NATIVE[compression]
        return
    with tempfile.TemporaryDirectory(prefix="hubmodels-text-") as folder:
        copy = Path(folder, "text")
        with (
            io.TextIOWrapper(open_bytes(path), encoding=encoding, newline="") as source,
            open(copy, "w", encoding="utf-8", newline="") as target,
        ):
            target.write(source.read(1).removeprefix("\ufeff"))
            shutil.copyfileobj(source, target, 2**20)
        yield str(copy), None
