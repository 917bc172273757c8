"""What every reader gives: the rows of a path piece by piece, as they stand there, and where each of them stands."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import pyarrow

from ...recipe import ReadingOptions

PIECE_BYTES = 64 * 2**20  # of a table in memory, at most, where it has more than one row


@dataclass(frozen=True)
class Piece:
    """Holds some rows that follow each other in one file.

    A cell of a text file is text, whatever it looks like: what a column is, is decided over all its rows (`kinds`)."""

    table: pyarrow.Table
    file: str  # as a person would name it: its path below the one that was given, or its name
    first_row: int = 0  # number of the piece's first row in the file, from 0
    first_line: int | None = None  # the line (row of a sheet) of the file's row 0, from 1, where each row is one line
    shifts: tuple[tuple[int, int], ...] = ()  # (row of the file, how many lines further down it and the next ones are)
    media: pyarrow.Table | None = None  # columns of paths, as the files that they name: `Image` and `Audio` store them

    media_kinds: Mapping[str, str] = field(default_factory=dict)  # of these columns: "image" or "audio"

    @property
    def values(self) -> pyarrow.Table:
        """Return the rows with the files that they name in place of paths."""
        table, media = self.table, self.media
        if media is not None:
            for name in media.column_names:
                table = table.set_column(table.column_names.index(name), name, media.column(name))
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
    """A source whose rows or notes name files: the same content at another place has others."""

    @property
    def location(self) -> str:
        """Return what decides the names: where the files lie, or what they are called."""


@runtime_checkable
class ReadsShards(Protocol):
    """A source that can read the shards of a split one by one, as streams do."""

    @property
    def files(self) -> Mapping[str, Sequence[Any]]:
        """Return the shards of each split."""

    def file_pieces(self, split: str, number: int, rows_per_piece: int) -> Iterator[Piece]:
        """Read the rows of one shard, as `Source.pieces` those of a whole split."""


def coalesce(tables: Iterable[pyarrow.Table], rows_per_piece: int) -> Iterator[pyarrow.Table]:
    """Join and cut tables to pieces of one schema and so many rows, or fewer where these have many bytes."""
    waiting: list[pyarrow.Table] = []
    num_rows, num_bytes, is_first = 0, 0, True
    for table in tables:
        for part in bounded_slices(table, rows_per_piece):
            if waiting and (
                num_rows + len(part) > rows_per_piece
                or num_bytes + part.nbytes > PIECE_BYTES
                or not part.schema.equals(waiting[0].schema)
            ):
                yield pyarrow.concat_tables(waiting)
                waiting, num_rows, num_bytes, is_first = [], 0, 0, False
            if len(part) or (is_first and not waiting):
                waiting.append(part)
            num_rows, num_bytes = num_rows + len(part), num_bytes + part.nbytes
    if waiting:
        yield pyarrow.concat_tables(waiting)


def bounded_slices(table: pyarrow.Table, rows_per_piece: int) -> Iterator[pyarrow.Table]:
    """Cut a table into slices of so many rows, or fewer where these have many bytes."""
    bytes_per_row = table.nbytes / max(len(table), 1)
    count = max(1, min(rows_per_piece, int(PIECE_BYTES / max(bytes_per_row, 1))))
    if len(table) <= count:
        yield table
        return
    for start in range(0, len(table), count):
        yield table.slice(start, count)
