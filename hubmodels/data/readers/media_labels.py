"""Columns that tables or files of the same name give to images and sounds of a folder: labels, captions, numbers."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.compute

from ...errors import HubmodelsError
from ...recipe import ReadingOptions
from ...report import note
from .media_files import ROW_KINDS, Listing, first_names
from .media_splits import normal_name

MOST = 0.5  # of a column's values that must name files of the folder
ROWS_AT_ONCE = 65_536
NAME_COLUMNS = ("file_name", "filename", "file", "path", "image", "audio", "id")  # asked first, by content all
LARGEST_ROW_FILE = 1 << 20  # bytes of a file that says something of one image or sound


def label_columns(
    folder: Path, listing: Listing, files: list[str], options: ReadingOptions, used: tuple[str, ...]
) -> dict[str, pyarrow.Array]:
    """Read what tables and files of the same name say of each file.

    Args:
        folder: the folder that was given.
        listing: what it holds.
        files: its images or sounds, whose order the columns have.
        options: how tables are read.
        used: names that the folder's own columns have.

    Returns:
        The columns; empty where nothing says anything.
    """
    columns = _table_columns(folder, listing, files, options, used)
    for name, column in _row_file_columns(folder, listing, files).items():
        columns.setdefault(name, column)
    return columns


def label_files(listing: Listing, files: list[str]) -> list[str]:
    """Name the tables and files that `label_columns` may read, for a key of their content."""
    stems = {os.path.splitext(name)[0] for name in files}
    return [*listing.tables, *sorted(name for name in listing.rows if os.path.splitext(name)[0] in stems)]


def _table_columns(
    folder: Path, listing: Listing, files: list[str], options: ReadingOptions, used: tuple[str, ...]
) -> dict[str, pyarrow.Array]:
    """Join the tables to the files that they name."""
    from .opening import open_source

    rows_of: dict[str, dict[str, Any]] = {}
    names: list[str] = []
    types: dict[str, pyarrow.DataType] = {}
    for table_name in listing.tables:
        source = open_source(folder / table_name, options)
        if source is None:
            continue
        pieces = [piece.table for split in source.splits for piece in source.pieces(split, ROWS_AT_ONCE)]
        if not pieces or not sum(map(len, pieces)):
            continue
        table = pyarrow.concat_tables(pieces, promote_options="permissive")
        column, targets = _file_column(table, table_name, files)
        if column is None:
            note("files", f"Not read: {table_name}, since no column of it names files of the folder.", surprising=True)
            continue
        matched = [name for name in targets if name is not None]
        words = f"{table_name} says more of {len(set(matched)):,} files, which its column {column!r} names"
        missing = len(targets) - len(matched)
        words += f"; {missing:,} of its rows name a file that is not there" if missing else ""
        note("files", words + ".", surprising=bool(missing))
        others = [name for name in table.column_names if name != column and name not in used]
        for name in others:
            if name not in types:
                names.append(name)
                types[name] = table.schema.field(name).type
        for target, row in zip(targets, table.select(others).to_pylist(), strict=True):
            if target is not None:
                rows_of.setdefault(target, {}).update({name: value for name, value in row.items() if value is not None})
    if rows_of and (absent := [name for name in files if name not in rows_of]):
        words = f"{len(absent):,} files stand in no table, so their columns are empty: {first_names(absent)}."
        note("rows", words, surprising=True)
    columns = {}
    for name in names:
        values = [rows_of.get(file, {}).get(name) for file in files]
        try:
            columns[name] = pyarrow.array(values, types[name])
        except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError):  # two tables have two types
            columns[name] = pyarrow.array([None if value is None else str(value) for value in values])
    return columns


def _file_column(table: pyarrow.Table, table_name: str, files: list[str]) -> tuple[str | None, list[str | None]]:
    """Find the column that names files, by what it holds.

    Returns:
        Its name, and the file of each row, None where there is none; None and nothing where no column does.
    """
    order = sorted(
        table.column_names, key=lambda name: NAME_COLUMNS.index(name) if name in NAME_COLUMNS else len(NAME_COLUMNS)
    )
    matcher = FileNames(files, table_name.rpartition("/")[0])
    best: tuple[str | None, list[str | None], int] = (None, [], 0)
    for name in order:
        kind = table.schema.field(name).type
        if not (pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind) or pyarrow.types.is_integer(kind)):
            continue
        targets = [matcher.find(str(value)) if value is not None else None for value in table.column(name).to_pylist()]
        count = sum(target is not None for target in targets)
        if count > best[2] and count >= MOST * len(targets):
            best = (name, targets, count)
    return best[0], best[1]


class FileNames:
    """Finds the file that a cell means: by its path below the table, below the folder, by its name or its stem."""

    def __init__(self, files: list[str], below: str) -> None:
        self.below = f"{below}/" if below else ""
        self.paths = {normal_name(name): name for name in files}
        self.ends: dict[str, str | None] = {}
        for path, name in self.paths.items():
            base = path.rpartition("/")[2]
            for key in {base, os.path.splitext(base)[0], os.path.splitext(path)[0]}:
                self.ends[key] = name if key not in self.ends else None  # of several files none is meant

    def find(self, value: str) -> str | None:
        """Return the file; None where there is none, or several could be meant."""
        path = normal_name(value.strip().replace("\\", "/"))
        path = path.removeprefix("./")
        for key in (self.below + path, path):
            if key in self.paths:
                return self.paths[key]
        return self.ends.get(path) or self.ends.get(path.rpartition("/")[2])


def _row_file_columns(folder: Path, listing: Listing, files: list[str]) -> dict[str, pyarrow.Array]:
    """Read the small files beside images and sounds of the same name: 000.cls, 000.txt, 000.json beside 000.jpg."""
    if not listing.rows:
        return {}
    rows: list[dict[str, Any]] = []
    for name in files:
        stem = os.path.splitext(name)[0]
        row: dict[str, Any] = {}
        for suffix in ROW_KINDS:
            if f"{stem}{suffix}" in listing.rows:
                row |= _read_row_file(folder / f"{stem}{suffix}", suffix)
        rows.append(row)
    names = list(dict.fromkeys(name for row in rows for name in row))
    if names:
        with_rows = sum(bool(row) for row in rows)
        words = f"{with_rows:,} of {len(files):,} files have one of the same name beside them, which gives "
        note("files", words + f"the columns {', '.join(names)}.", surprising=with_rows < len(files))
    return {name: _column([row.get(name) for row in rows]) for name in names}


def _column(values: list[Any]) -> pyarrow.Array:
    """Make a column of plain values, as text where they have several types."""
    try:
        return pyarrow.array(values)
    except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError):
        return pyarrow.array([None if value is None else str(value) for value in values])


def _read_row_file(path: Path, suffix: str) -> Mapping[str, Any]:
    """Read one small file. Raises HubmodelsError naming it where it cannot be read."""
    try:
        if path.stat().st_size > LARGEST_ROW_FILE:
            raise ValueError(f"it is larger than {LARGEST_ROW_FILE:,} bytes")
        text = path.read_text(encoding="utf-8").strip()
        if suffix != ".json":
            return {"text" if suffix in (".txt", ".caption") else "cls": text}
        value = json.loads(text)
        return value if isinstance(value, dict) else {"json": value}
    except (OSError, ValueError, RecursionError) as error:
        raise HubmodelsError(f"cannot read {path}: {error}") from error
