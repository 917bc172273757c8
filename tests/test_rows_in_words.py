"""What is wrong with a row is said in the words of its file: file, row, line, column, value, what to do."""

import pickle

import pytest

from hubmodels.cli import main
from hubmodels.errors import BadRow, HubmodelsError
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
