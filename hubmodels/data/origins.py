"""Where the rows of a split come from: the file and the row in it, for messages."""

import bisect
from collections.abc import Sequence
from dataclasses import dataclass

import datasets
import numpy as np

from .reading import row_words


def pick_rows(rows: datasets.Dataset, numbers: "Sequence[int] | np.ndarray") -> datasets.Dataset:
    """Select rows by their numbers, which stay known: `Dataset.select` forgets where a stretch of rows began."""
    if len(numbers) in (0, len(rows)):
        return rows.select(numbers)
    return rows._select_with_indices_mapping(numbers)


@dataclass(frozen=True)
class FileRows:
    """Says how many rows came from a file, after those of the files before."""

    file: str
    num_rows: int
    first_line: int | None = None
    first_row: int = 0  # the number in the file of the first of them
    shifts: Sequence[Sequence[int]] = ()  # see `Piece.shifts`


@dataclass(frozen=True)
class Origin:
    """Lists the files of a data set's table, in order; rows that were selected from it are found by their indices."""

    files: tuple[FileRows, ...] = ()

    def words(self, rows: datasets.Dataset, position: int) -> str:
        """Say where a row of `rows`, which were selected from the table, stands: "row 37 (line 39) of rows.csv"."""
        number = position if rows._indices is None else rows._indices.column(0)[position].as_py()
        if rows.data.num_rows != sum(file.num_rows for file in self.files):  # such as series that a task put together
            return f"row {number}"
        return self.file_words(number)

    def file_words(self, number: int) -> str:
        """Say where a row of the whole table stands."""
        ends = [0]
        for file in self.files:
            ends.append(ends[-1] + file.num_rows)
        index = bisect.bisect_right(ends, number) - 1
        if not 0 <= index < len(self.files):
            return f"row {number}"
        file = self.files[index]
        return row_words(file.file, number - ends[index] + file.first_row, file.first_line, file.shifts)
