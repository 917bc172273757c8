"""What stands above a table, in a sheet or a text, is skipped and said; rows of few cells that belong to it are not."""

from pathlib import Path

import openpyxl
import pytest

from hubmodels.data.readers import open_source
from hubmodels.recipe import ReadingOptions
from hubmodels.report import collect_notes

NAMES = ["id", "amount", "city", "when", "age", "label"]


def rows(count: int = 30) -> list[list]:
    return [[row, row / 2, "Rome" if row % 2 else None, f"2024-01-{row % 28 + 1:02d}", 40, "ab"[row % 2]]
            for row in range(count)]  # fmt: skip


def read_sheet(path: Path, cells: list[list], first_column: int = 1, **options) -> tuple[list[str], int, list[str]]:
    """The names of a sheet's columns, its rows, and what is said."""
    book = openpyxl.Workbook()
    for number, row in enumerate(cells, 1):
        for column, cell in enumerate(row, 1 if len(row) < 3 else first_column):
            book.active.cell(number, column).value = cell
    book.save(path)
    with collect_notes() as notes:
        source = open_source(path, ReadingOptions(**options))
        assert source is not None
        (piece,) = source.pieces("train", 1_000)
    return piece.table.column_names, len(piece.table), [note.text for note in notes]


@pytest.mark.parametrize(
    ("above", "count"),
    [
        ([["Report"]], "row with cells is"),
        ([["Sales of 2024"], [], ["by me", "2024-05-01"], []], "2 rows with cells are"),
        ([[], ["Report"], ["draft"], ["unit: EUR"]], "3 rows with cells are"),
    ],
)
@pytest.mark.parametrize("first_column", [1, 2])
def test_a_title_above_the_table_of_a_sheet_is_skipped_and_said(above, count, first_column, tmp_path) -> None:
    cells = [*above, NAMES, *rows()]
    names, num_rows, said = read_sheet(tmp_path / "rows.xlsx", cells, first_column)
    assert [name for name in names if not name.startswith("Unnamed")] == NAMES
    assert num_rows == 30
    (text,) = said
    assert text.startswith(f"rows.xlsx: its first {count} a title and skipped ('")
    assert read_sheet(tmp_path / "rows.xlsx", cells, header=True)[1] == 30 + sum(map(bool, above))


@pytest.mark.parametrize(
    "cells",
    [
        [NAMES, *rows()],
        [["x"], *([row] for row in range(9))],
        [["x", "y"], [1, None], [None, 2], *([row, row] for row in range(9))],
        [["a", "b", None, None, None], *([None, row, None, None, "c"] for row in range(9))],
    ],
)
def test_a_sheet_without_a_title_is_read_from_its_first_row(cells: list[list], tmp_path) -> None:
    _, num_rows, said = read_sheet(tmp_path / "rows.xlsx", cells)
    assert (num_rows, said) == (len(cells) - 1, [])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Report of 2024\na,b\n1,x\n2,y\n", "its first line is no part of the table and skipped"),
        ("Report of 2024\n\na,b\n1,x\n2,y\n", "its first 2 lines are no part of the table and skipped"),
        ("1,x\n2,y\n3,x\n4,x\n5,y\n6,y\n", "they are called 0 to 1"),
    ],
)
def test_what_was_made_of_the_first_lines_of_a_text_is_said_in_whole_words(text, words, tmp_path) -> None:
    (tmp_path / "rows.csv").write_text(text)
    with collect_notes() as notes:
        open_source(tmp_path / "rows.csv", ReadingOptions())
    assert any(note.text.endswith(words) for note in notes), notes
