"""How a data set was read, kept with a release: new files are read as those of the training were."""

import dataclasses
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow

from ..errors import BadRow, HubmodelsError
from ..fields import build
from ..recipe import ReadingOptions
from .kinds import Kinds
from .readers import Piece, open_source
from .readers.media_folder import MediaFolder


@dataclass(frozen=True)
class Reading:
    """Holds the options of reading, as given and as found, and what each column is."""

    options: ReadingOptions = field(default_factory=ReadingOptions)
    kinds: Kinds = field(default_factory=Kinds)

    def pieces(self, path: str | os.PathLike, rows_per_piece: int) -> "Iterator[ReadPiece]":
        """Read all rows of a path, in order, in pieces.

        Raises HubmodelsError where there is none, its kind is unknown, or a row cannot be read."""
        if not Path(path).exists():
            raise HubmodelsError(f"there is no file {path}")
        source = open_source(path, self.options)
        if source is None and Path(path).is_dir():  # what it holds none of is said
            source = MediaFolder(Path(path), self.options)
        if isinstance(source, MediaFolder):
            source = source.for_prediction()
        if source is None:
            raise HubmodelsError(f"cannot read {path}: its kind is unknown")
        for split in source.splits:
            for piece in source.pieces(split, rows_per_piece):
                try:
                    yield ReadPiece(piece, self.kinds.apply(piece.values))
                except BadRow as error:
                    raise error.named(row_words(piece.file, piece.first_row + error.row, piece.first_line)) from None

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
    table: pyarrow.Table

    @property
    def raw(self) -> pyarrow.Table:
        """Return the rows as their file has them."""
        return self.piece.table

    @property
    def file_columns(self) -> list[str]:
        """Name the columns that name files: they tell rows apart, whoever reads the files."""
        return [] if self.piece.media is None else self.piece.media.column_names

    def words(self, row: int) -> str:
        """Say where a row of the piece stands: "row 37 (line 39) of rows.csv"."""
        return row_words(self.piece.file, self.piece.first_row + row, self.piece.first_line)


def row_words(file: str, row: int, first_line: int | None) -> str:
    """Say where a row stands, in the words of its file. Rows count from 0, as pandas and datasets count them."""
    return f"row {row}{'' if first_line is None else f' (line {row + first_line})'} of {file}"
