"""What is wrong with a row is said in the words of its file: file, row, line, column, value, what to do."""

import pickle
from pathlib import Path

import openpyxl
import pandas as pd
import pytest

from hubmodels.cli import main
from hubmodels.data import Reading
from hubmodels.data.kinds import Kinds
from hubmodels.data.kinds.columns import ColumnKind
from hubmodels.data.loading import load_data
from hubmodels.errors import BadRow, HubmodelsError
from hubmodels.recipe import DataArguments
from hubmodels.tasks.contract.rows import refused_row


def test_a_bad_row_comes_whole_out_of_another_process() -> None:
    error = pickle.loads(pickle.dumps(BadRow(3, "x", "there is no number")))
    assert (error.row, error.column, error.reason) == (3, "x", "there is no number")
    assert str(error) == "row 3, column 'x': there is no number"


@pytest.mark.parametrize(
    ("said", "row", "column", "reason"),
    [
        ("column 'x' must hold numbers, row 2 holds 'row 9'", 12, "x", "must hold numbers; it holds 'row 9'"),
        ("column \"it's\" must hold numbers, row 0 holds 'a'", 10, "it's", "must hold numbers; it holds 'a'"),
        ("column 'x' holds an infinite number in row 1", 11, "x", "holds an infinite number"),
        ("column 't' has no time in row 4; drop such rows", 14, "t", "has no time; drop such rows"),
        ("row 3: missing columns 'b'", 13, None, "missing columns 'b'"),
        ("row 3 has no series id", 13, None, "has no series id"),
    ],
)
def test_what_a_processor_says_of_its_row_is_said_of_the_row_that_was_given(said, row, column, reason) -> None:
    error = refused_row(ValueError(said), range(10, 20))
    assert isinstance(error, BadRow)
    assert (error.row, error.column, error.reason) == (row, column, reason)


def test_what_is_of_no_row_stays_as_it_is() -> None:
    error = refused_row(ValueError("missing column 'b'"), range(10), "the table cannot be used: ")
    assert not isinstance(error, BadRow)
    assert str(error) == "the table cannot be used: missing column 'b'"
    assert str(refused_row(HubmodelsError("row 3 is ours"), range(10))) == "row 3 is ours"


def test_training_names_the_row_of_the_file_and_not_of_the_carved_split(tmp_path, capsys) -> None:
    lines = [f"{row % 13},{'' if row == 61 else row % 7}" for row in range(120)]
    (tmp_path / "rows.csv").write_text("\n".join(["x,y", *lines]) + "\n")
    code = main(
        ["train", "--family", "mlp", "--task", "tabular-regression", "--dataset", str(tmp_path / "rows.csv"),
         "--target_column_names", "y", "--output_dir", str(tmp_path / "run"), "--max_steps", "1"]
    )  # fmt: skip
    assert code == 2
    assert "row 61 (line 63) of rows.csv, column 'y': " in capsys.readouterr().err


NUMBERS = Kinds({"x": ColumnKind("number")})


def words_of_bad_row(path: Path) -> str:
    with pytest.raises(HubmodelsError) as caught:
        for piece in Reading(kinds=NUMBERS).pieces(path, 3):
            assert piece.table is not None
    return str(caught.value).partition(",")[0]


@pytest.mark.parametrize(
    "text",
    [
        "Report of May;1\nby me\n\nx,y\n1,a\n2,b\n3,c\n4,d\nbad,e\n",
        'x,y\n1,"a\nb"\n2,b\n3,"c\n\nd"\n4,d\nbad,"e\nf"\n',
        'x,y\n1,"a\nb"\n2,b\nbad,c\n',
        "x,y\n1,a\n\n2,b\n\n\n3,c\n4,d\n5,e\nbad,e\n",
        'x,y\n\n1,"a\n\nb"\n\n2,b\nbad,"c\nd"\n\n3,c\n',
        "x,y\n" + "1,a\n" * 7 + "\n" + "1,a\n" * 7 + "bad,a\n",
    ],
    ids=["preamble", "breaks in cells", "breaks in one piece", "blank lines", "both", "a blank line far ahead"],
)
def test_a_row_of_a_text_file_has_the_number_of_the_line_where_an_editor_shows_it(text, tmp_path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(text)
    line = next(number for number, line in enumerate(text.split("\n"), 1) if line.startswith("bad"))
    assert f" (line {line}) of rows.csv" in words_of_bad_row(path)
    with pytest.raises(HubmodelsError, match=rf"\(line {line}\) of rows.csv"):
        load_data(DataArguments(dataset=str(path)), learnt=Reading(kinds=NUMBERS))


def test_a_row_of_a_workbook_has_the_number_that_its_sheet_shows(tmp_path) -> None:
    sheet = openpyxl.Workbook()
    for number, value in {3: "x", 4: "1", 6: "2", 9: "bad", 10: "3"}.items():
        sheet.active.cell(number, 2, value)
    sheet.save(tmp_path / "rows.xlsx")
    assert words_of_bad_row(tmp_path / "rows.xlsx") == "row 2 (row 9 of the sheet) of rows.xlsx"


def test_a_row_of_a_file_without_lines_says_from_where_rows_count(tmp_path) -> None:
    pd.DataFrame({"x": ["1", "bad"]}).to_parquet(tmp_path / "rows.parquet")
    assert words_of_bad_row(tmp_path / "rows.parquet") == "row 1 (counting from 0) of rows.parquet"
