"""What every reader gives: the rows of a path piece by piece, as they stand there, and where each of them stands."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import pyarrow

from ...recipe import ReadingOptions


@dataclass(frozen=True)
class Piece:
    """Holds some rows that follow each other in one file.

    A cell of a text file is text, whatever it looks like: what a column is, is decided over all its rows (`kinds`)."""

    table: pyarrow.Table
    file: str  # as a person would name it: its path below the one that was given, or its name
    first_row: int = 0  # number of the piece's first row in the file, from 0
    first_line: int | None = None  # the line of the file's row 0, from 1, where each row is one line
    media: pyarrow.Table | None = None  # columns of paths, as the files that they name: `Image` and `Audio` store them

    @property
    def values(self) -> pyarrow.Table:
        """Return the rows with the files that they name in place of paths."""
        table = self.table
        for name in self.media.column_names if self.media is not None else ():
            table = table.set_column(table.column_names.index(name), name, self.media.column(name))
        return table


class Source(Protocol):
    """What a person's path holds: opened, its form found out and said (`report.note`), nothing of its rows kept."""

    @property
    def splits(self) -> tuple[str, ...]:
        """Name the splits that the path has itself, `("train",)` where it has none: train, validation, test, others."""

    @property
    def options(self) -> ReadingOptions:
        """Return the options that were given, joined by what was found out: what a release keeps for `predict`."""

    @property
    def features(self) -> Mapping[str, Any]:
        """Return the features of columns that Arrow's types do not tell: `datasets.Image()`, a `ClassLabel`, ..."""

    def pieces(self, split: str, rows_per_piece: int) -> Iterator[Piece]:
        """Read the rows of a split in order, at most so many at once.

        Raises HubmodelsError naming the file that cannot be read, and where in it."""

    def content_key(self) -> str:
        """Compute what changes when a byte of what is read changes, and does not when files are touched or moved."""


@runtime_checkable
class NamesFiles(Protocol):
    """A source whose rows name other files: the same content at another place has other rows."""

    @property
    def location(self) -> str:
        """Return where these files lie."""
