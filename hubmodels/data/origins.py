"""Where the rows of a split come from: the file and the row in it, for messages."""

import bisect
from dataclasses import dataclass

import datasets

from .reading import row_words


@dataclass(frozen=True)
class FileRows:
    """Says how many rows came from a file, after those of the files before."""

    file: str
    num_rows: int
    first_line: int | None = None


@dataclass(frozen=True)
class Origin:
    """Lists the files of a data set's table, in order; rows that were selected from it are found by their indices."""

    files: tuple[FileRows, ...] = ()

    def words(self, rows: datasets.Dataset, position: int) -> str:
        """Say where a row of `rows`, which were selected from the table, stands: "row 37 (line 39) of rows.csv"."""
        number = position if rows._indices is None else rows._indices.column(0)[position].as_py()
        ends = [0]
        for file in self.files:
            ends.append(ends[-1] + file.num_rows)
        index = bisect.bisect_right(ends, number) - 1
        made_of_others = rows.data.num_rows != ends[-1]  # such as series that a task has put together
        if made_of_others or not 0 <= index < len(self.files):
            return f"row {number}"
        return row_words(self.files[index].file, number - ends[index], self.files[index].first_line)
