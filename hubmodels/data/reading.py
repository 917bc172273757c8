"""How a data set was read, kept with a release: new files are read as those of the training were."""

import bisect
import dataclasses
import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow

from ..errors import BadRow, HubmodelsError
from ..fields import build
from ..recipe import ReadingOptions
from .kinds import Kinds
from .readers import STANDARD_INPUT, Piece, open_source
from .readers.media_folder import MediaFolder
from .readers.table_files import EXCEL_KINDS
from .readers.text_files import TextFiles

ROWS_PER_PIECE = 65_536  # of what is read whole


@dataclass(frozen=True)
class Reading:
    """Holds the options of reading, as given and as found, and what each column is."""

    options: ReadingOptions = field(default_factory=ReadingOptions)
    kinds: Kinds = field(default_factory=Kinds)

    def pieces(self, path: str | os.PathLike, rows_per_piece: int) -> "Iterator[ReadPiece]":
        """Read all rows of a path, in order, in pieces.

        Raises HubmodelsError where there is none, or its kind is unknown. What a row holds is looked at later."""
        if os.fspath(path) != STANDARD_INPUT and not Path(path).exists():
            raise HubmodelsError(f"there is no file {path}")
        source = open_source(path, self.options, remembered=True)
        if source is None and Path(path).is_dir():  # what it holds none of is said
            source = MediaFolder(Path(path), self.options)
        if isinstance(source, MediaFolder | TextFiles):
            source = source.for_prediction()
        if source is None:
            raise HubmodelsError(f"cannot read {path}: its kind is unknown")
        for split in source.splits:
            for piece in source.pieces(split, rows_per_piece):
                yield ReadPiece(piece, self.kinds)

    def table(self, *paths: str | os.PathLike) -> pyarrow.Table:
        """Read all rows of some paths as values, at once; no column where there is no piece.

        Raises HubmodelsError as `pieces` does, and for a row that cannot be read."""
        tables = [piece.table for path in paths for piece in self.pieces(path, ROWS_PER_PIECE)]
        return pyarrow.concat_tables(tables, promote_options="permissive") if tables else pyarrow.table({})

    def overruled(self, options: Mapping[str, Any]) -> "Reading":
        """Return the reading with other options where these name any: files may write numbers and dates otherwise.

        Raises ValueError for a value of another type."""
        changed = build(ReadingOptions, {**vars(self.options), **options})
        return Reading(changed, self.kinds.written(options.get("decimal"), options.get("date_order")))

    def to_dict(self) -> dict[str, Any]:
        """Give plain values for JSON."""
        options = {name: value for name, value in dataclasses.asdict(self.options).items() if value is not None}
        return {"options": options, "kinds": self.kinds.to_dict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Reading":
        """Make again what `to_dict` gave; of nothing, what reads by what files hold."""
        return cls(build(ReadingOptions, values.get("options", {})), Kinds.from_dict(values.get("kinds", {})))


@dataclass(frozen=True)
class ReadPiece:
    """Holds rows as their file has them, which is how they are repeated, and the same rows as values."""

    piece: Piece
    kinds: Kinds = field(default_factory=Kinds)
    read_as: Mapping[str, str] = field(default_factory=dict)  # columns of the file that have other names as values

    @functools.cached_property
    def table(self) -> pyarrow.Table:
        """Return the rows as values. Raises HubmodelsError naming a row that cannot be read."""
        try:
            return self.values(0, len(self.raw))
        except BadRow as error:
            raise error.named(self.words(error.row)) from None

    def values(self, start: int, stop: int) -> pyarrow.Table:
        """Return some of the rows as values. Raises BadRow, counting from `start`."""
        rows = self.piece.values
        if self.read_as:  # a column that is read as another stands in the place of one of that name
            rows = rows.select(
                [name for name in rows.column_names if name not in self.read_as.values() or name in self.read_as]
            )
            rows = rows.rename_columns([self.read_as.get(name, name) for name in rows.column_names])
        return self.kinds.apply(rows.slice(start, stop - start))

    @property
    def raw(self) -> pyarrow.Table:
        """Return the rows as their file has them."""
        return self.piece.table

    @property
    def file_columns(self) -> list[str]:
        """Name the columns that name files by path: they tell rows apart, whoever reads the files."""
        names = [] if self.piece.media is None else self.piece.media.column_names
        return [name for name in names if not holds_files(self.raw.schema.field(name).type)]

    def in_file_words(self, error: BadRow) -> BadRow:
        """Return an error about a row with the file's name of its column."""
        names = {value: name for name, value in self.read_as.items()}
        return BadRow(error.row, names.get(error.column or "", error.column), error.reason)

    def words(self, row: int) -> str:
        """Say where a row of the piece stands: "row 37 (line 39) of rows.csv"."""
        piece = self.piece
        return row_words(piece.file, piece.first_row + row, piece.first_line, piece.shifts)


def holds_files(kind: pyarrow.DataType) -> bool:
    """Tell whether a column holds the bytes of files themselves."""
    types = pyarrow.types
    return types.is_binary(kind) or types.is_large_binary(kind) or types.is_struct(kind)


def row_words(file: str, row: int, first_line: int | None, shifts: Sequence[Sequence[int]] = ()) -> str:
    """Say where a row stands, in the words of its file: "row 37 (line 39) of rows.csv".

    Rows count from 0, as pandas and datasets count them, and that is said where no line tells it."""
    if first_line is None:
        return f"row {row} (counting from 0) of {file}"
    index = bisect.bisect_right(shifts, row, key=lambda shift: shift[0]) - 1
    line = first_line + row + (shifts[index][1] if index >= 0 else 0)
    in_sheet = Path(file).suffix.lower() in EXCEL_KINDS
    return f"row {row} ({f'row {line} of the sheet' if in_sheet else f'line {line}'}) of {file}"
