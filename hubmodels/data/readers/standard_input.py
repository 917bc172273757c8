"""The standard input as a file: copied to the disk, since it is read more than once, and removed at the end."""

import atexit
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

from ...errors import HubmodelsError
from ...recipe import ReadingOptions
from .table_files import TableFiles

PREFIX = "hubmodels-stdin-"
MAGIC = {
    b"PAR1": ".parquet", b"ARROW1": ".arrow", b"SQLite format 3": ".sqlite", b"\x93NUMPY": ".npy",
    b"\x1f\x8b": ".gz", b"BZh": ".bz2", b"\xfd7zXZ": ".xz", b"\x28\xb5\x2f\xfd": ".zst", b"PK\x03\x04": ".xlsx",
}  # fmt: skip
COPIES: list[Path] = []  # of this process's input, which can be read once


def open_standard_input(options: ReadingOptions, remembered: bool) -> TableFiles:
    """Open a table that comes from the standard input; its first bytes tell its kind.

    Raises HubmodelsError where nothing comes, or several processes would share it."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise HubmodelsError("the standard input (-) cannot be shared by several processes: give a file")
    if not COPIES:
        COPIES.append(copy_input())
    path = COPIES[0]
    with open(path, "rb") as file:
        start = file.read(4_096)
    kind = next((suffix for magic, suffix in MAGIC.items() if start.startswith(magic)), None)
    if kind in (".gz", ".bz2", ".xz", ".zst"):
        if path.suffix != kind:
            path = path.rename(path.with_name(f"table.csv{kind}"))
            COPIES[0] = path
        kind = ".csv"
    elif kind is None:
        kind = ".jsonl" if looks_like_json(start) else ".csv"
    return TableFiles.open({"train": [path]}, {path: "standard input"}, options, remembered, {path: kind})


def looks_like_json(start: bytes) -> bool:
    """Tell whether a text begins as JSON does."""
    head = start.lstrip(b"\xef\xbb\xbf \t\r\n")
    if head[:1] == b"[":
        return head[1:].lstrip()[:1] == b"{"
    line = head.partition(b"\n")[0].decode("utf-8", "replace")
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return head[:1] == b"{"


def copy_input() -> Path:
    """Copy the standard input to a temporary file that goes with this process."""
    sweep()
    if sys.stdin is None or sys.stdin.isatty():
        raise HubmodelsError("`-` reads the standard input, but nothing is piped into it: cat rows.csv | hubmodels ...")
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = folder / "table"
    with open(path, "wb") as file:
        shutil.copyfileobj(sys.stdin.buffer, file, 2**20)
    return path


def sweep() -> None:
    """Remove copies that killed processes left."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        number = folder.name.removeprefix(PREFIX).partition("-")[0]
        if number.isdigit() and not is_running(int(number)) and not folder.is_symlink():
            shutil.rmtree(folder, ignore_errors=True)


def is_running(process: int) -> bool:
    """Tell whether a process is there."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
