"""Files of rows in pieces: nothing is lost, repeated or out of order, whoever writes the pieces."""

from pathlib import Path

import pandas as pd
import pyarrow
import pyarrow.parquet
import pytest

from hubmodels.data import Reading, TableWriter
from hubmodels.data.kinds import ColumnKind, Kinds
from hubmodels.errors import HubmodelsError

FRAME = pd.DataFrame({"id": [f"r{i}" for i in range(25)], "x": [i / 4 for i in range(25)]})


def read_tables(path: Path, rows_per_table: int) -> list[pyarrow.Table]:
    reading = Reading(kinds=Kinds({"x": ColumnKind("number")}))
    return [piece.table for piece in reading.pieces(path, rows_per_table)]


SAVE = {
    ".csv": lambda path: FRAME.to_csv(path, index=False),
    ".tsv": lambda path: FRAME.to_csv(path, index=False, sep="\t"),
    ".parquet": lambda path: FRAME.to_parquet(path),
    ".jsonl": lambda path: FRAME.to_json(path, orient="records", lines=True),
}
LOAD = {
    ".csv": pd.read_csv, ".CSV": pd.read_csv, ".csv.gz": pd.read_csv, ".tsv": lambda path: pd.read_csv(path, sep="\t"),
    ".parquet": pd.read_parquet, ".Parquet": pd.read_parquet, ".jsonl": lambda path: pd.read_json(path, lines=True),
}  # fmt: skip


@pytest.mark.parametrize("suffix", SAVE)
@pytest.mark.parametrize("rows_per_table", [1, 10, 100])
def test_the_pieces_of_a_file_are_its_rows(suffix: str, rows_per_table: int, tmp_path: Path) -> None:
    path = tmp_path / f"rows{suffix}"
    SAVE[suffix](path)
    pieces = list(read_tables(path, rows_per_table))
    assert max(map(len, pieces)) <= rows_per_table
    assert pyarrow.concat_tables(pieces, promote_options="permissive").to_pydict() == FRAME.to_dict("list")


@pytest.mark.parametrize("suffix", LOAD)
def test_pieces_written_in_any_order_are_joined_in_theirs(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"out{suffix}"
    writer = TableWriter(path)
    writer.clear()
    for number in (2, 0, 1):  # as several processes would
        part = FRAME.iloc[number * 10 : number * 10 + 10]
        TableWriter(path).write(number, pyarrow.Table.from_pandas(part, preserve_index=False))
    assert not path.exists()
    assert writer.join() == 0  # rows without an answer
    pd.testing.assert_frame_equal(LOAD[suffix](path), FRAME, check_dtype=False)
    assert list(tmp_path.iterdir()) == [path]


def test_pieces_of_differing_types_are_joined_as_the_wider_type_or_as_text(tmp_path: Path) -> None:
    writer = TableWriter(tmp_path / "out.parquet")
    writer.clear()
    writer.write(0, pyarrow.table({"number": [1], "key": [7], "empty": pyarrow.nulls(1)}))
    writer.write(1, pyarrow.table({"number": [0.5], "key": ["seven"], "empty": ["x"]}))
    writer.join()
    assert pyarrow.parquet.read_table(tmp_path / "out.parquet").to_pydict() == {
        "number": [1.0, 0.5], "key": ["7", "seven"], "empty": [None, "x"],
    }  # fmt: skip


def test_a_folder_of_images_is_read_in_the_order_of_the_names(tmp_path: Path) -> None:
    for name in ("b.png", "a/c.jpg", "a.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (table,) = read_tables(tmp_path, 10)
    assert table["file_name"].to_pylist() == ["a.png", "a/c.jpg", "b.png"]
    assert table["image"].to_pylist() == [str(tmp_path / name) for name in table["file_name"].to_pylist()]


def test_what_is_no_file_of_rows_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "rows.docx").touch()
    (tmp_path / "empty.csv").touch()
    (tmp_path / "broken.parquet").write_text("nothing")
    (tmp_path / "folder").mkdir()
    for name, message in (
        ("none.csv", "no file"), ("rows.docx", "its kind is unknown"), ("empty.csv", "empty"),
        ("broken.parquet", "cannot read"), ("folder", "no image"),
    ):  # fmt: skip
        with pytest.raises(HubmodelsError, match=message):
            list(read_tables(tmp_path / name, 10))
    with pytest.raises(HubmodelsError, match="cannot write"):
        TableWriter(tmp_path / "out.xlsx")
    with pytest.raises(HubmodelsError, match="cannot write"):
        TableWriter(tmp_path / "out.parquet.gz")


def test_an_output_where_nothing_can_be_written_is_refused(tmp_path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(HubmodelsError, match=r"cannot write .*out.csv: Not a directory; give another --output"):
        TableWriter(tmp_path / "file" / "out.csv").clear()


def test_a_column_of_lists_is_refused_by_csv_and_kept_by_parquet(tmp_path: Path) -> None:
    table = pyarrow.table({"point": [[1.0, 2.0], [3.0, 4.0]]})
    for suffix in (".csv", ".parquet"):
        writer = TableWriter(tmp_path / f"out{suffix}")
        writer.clear()
        if suffix == ".csv":
            with pytest.raises(HubmodelsError, match=r"'point'.*--keep.*\.parquet"):
                writer.write(0, table)
        else:
            writer.write(0, table)
            writer.join()
            assert read_tables(writer.path, 10)[0].to_pydict() == table.to_pydict()


def test_a_folder_of_sounds_is_read_by_its_paths_and_one_of_both_kinds_refused(tmp_path):
    (tmp_path / "b").mkdir()
    for name in ("b/1.wav", "a.WAV"):
        (tmp_path / name).write_bytes(b"RIFF")
    (table,) = read_tables(tmp_path, 10)
    assert table.column_names == ["audio", "file_name"]
    assert table["file_name"].to_pylist() == ["a.WAV", "b/1.wav"]
    assert table["audio"].to_pylist() == [str(tmp_path / "a.WAV"), str(tmp_path / "b" / "1.wav")]
    (tmp_path / "c.png").write_bytes(b"x")
    with pytest.raises(HubmodelsError, match="images and sounds; take one kind"):
        list(read_tables(tmp_path, 10))
