"""Readers of tables: one table in every kind of file gives the same rows, to a training and to a prediction."""

import bz2
import gzip
import io
import json
import lzma
import sqlite3
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet
import pytest

from hubmodels.data import Reading
from hubmodels.data.loading import load_data
from hubmodels.data.readers import open_source
from hubmodels.data.readers.csv_form import find_form
from hubmodels.errors import HubmodelsError
from hubmodels.recipe import DataArguments, ReadingOptions
from hubmodels.report import Note, collect_notes

FRAME = pd.DataFrame(
    {
        "number": [index / 4 for index in range(40)],
        "count": range(40),
        "city": [("Zürich", "Rome", "São Paulo", "Oslo")[index % 4] for index in range(40)],
    }
)
TEXT = FRAME.to_csv(index=False)


def write_sqlite(path: Path) -> None:
    with sqlite3.connect(path) as database:
        FRAME.to_sql("rows", database, index=False)


def write_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("rows.csv", TEXT)
        archive.writestr("__MACOSX/._rows.csv", "x")


def write_zstandard(path: Path) -> None:
    with pyarrow.CompressedOutputStream(str(path), "zstd") as stream:
        stream.write(TEXT.encode())


def write_sheet(path: Path) -> None:
    FRAME.to_excel(path, index=False)


WRITE: dict[str, Callable[[Path], object]] = {
    "rows.csv": lambda path: path.write_text(TEXT, encoding="utf-8"),
    "ROWS.CSV": lambda path: path.write_text(TEXT, encoding="utf-8"),
    "bom.csv": lambda path: path.write_text(TEXT, encoding="utf-8-sig"),
    "utf16.csv": lambda path: path.write_text(TEXT, encoding="utf-16"),
    "utf16le.csv": lambda path: path.write_text(TEXT, encoding="utf-16-le"),
    "latin.csv": lambda path: path.write_text(TEXT, encoding="latin-1"),
    "windows.csv": lambda path: path.write_bytes(TEXT.replace("\n", "\r\n").encode("cp1252")),
    "quoted.csv": lambda path: FRAME.to_csv(path, index=False, quoting=1),
    "semicolons.csv": lambda path: FRAME.to_csv(path, index=False, sep=";"),
    "bars.csv": lambda path: FRAME.to_csv(path, index=False, sep="|"),
    "tabs.csv": lambda path: FRAME.to_csv(path, index=False, sep="\t"),
    "rows.tsv": lambda path: FRAME.to_csv(path, index=False, sep="\t"),
    "commas.tsv": lambda path: FRAME.to_csv(path, index=False),
    "excel.csv": lambda path: path.write_text("sep=;\n" + FRAME.to_csv(index=False, sep=";"), encoding="utf-8"),
    "title.csv": lambda path: path.write_text("Report of May\n\n" + TEXT, encoding="utf-8"),
    "rows.csv.gz": lambda path: path.write_bytes(gzip.compress(TEXT.encode())),
    "rows.csv.bz2": lambda path: path.write_bytes(bz2.compress(TEXT.encode())),
    "rows.csv.xz": lambda path: path.write_bytes(lzma.compress(TEXT.encode())),
    "rows.csv.zst": write_zstandard,
    "rows.csv.zip": write_zip,
    "rows.zip": write_zip,
    "rows.parquet": lambda path: FRAME.to_parquet(path),
    "rows.parquet.gz": lambda path: path.write_bytes(gzip.compress(FRAME.to_parquet())),
    "rows.feather": lambda path: FRAME.to_feather(path),
    "rows.jsonl": lambda path: FRAME.to_json(path, orient="records", lines=True, force_ascii=False),
    "rows.ndjson.gz": lambda path: path.write_bytes(
        gzip.compress(FRAME.to_json(orient="records", lines=True).encode())
    ),
    "rows.json": lambda path: FRAME.to_json(path, orient="records"),
    "pretty.json": lambda path: FRAME.to_json(path, orient="records", indent=2),
    "below.json": lambda path: path.write_text(json.dumps({"version": 1, "data": FRAME.to_dict("records")})),
    "columns.json": lambda path: path.write_text(json.dumps(FRAME.to_dict("list"))),
    "pandas.json": lambda path: FRAME.to_json(path),
    "rows.xlsx": write_sheet,
    "rows.sqlite": write_sqlite,
    "rows.npz": lambda path: np.savez(
        path, number=FRAME["number"], count=FRAME["count"], city=FRAME["city"].to_numpy(dtype="U")
    ),
}


def train_rows(path: Path | str, **options: object) -> list[dict]:
    """Every row as a training reads it, in the order of the file."""
    fractions = {"carve": "last", "test_fraction": 0.25, "validation_fraction": 0.25}
    splits = load_data(DataArguments(dataset=str(path), **fractions, **options)).splits
    return [row for name in ("train", "validation", "test") for row in splits[name]]


def predict_rows(path: Path | str, reading: Reading, rows_per_piece: int = 7) -> list[dict]:
    return [row for piece in reading.pieces(path, rows_per_piece) for row in piece.table.to_pylist()]


@pytest.fixture(scope="module")
def reading(tmp_path_factory: pytest.TempPathFactory) -> Reading:
    """How a plain CSV was read."""
    path = tmp_path_factory.mktemp("plain") / "rows.csv"
    WRITE["rows.csv"](path)
    return load_data(DataArguments(dataset=str(path))).reading


@pytest.mark.parametrize("name", WRITE)
def test_one_table_gives_the_same_rows_in_every_kind_of_file(name: str, tmp_path: Path, reading: Reading) -> None:
    path = tmp_path / name
    WRITE[name](path)
    expected = FRAME.to_dict("records")
    assert train_rows(path) == expected
    assert predict_rows(path, reading) == expected  # a model of another kind of file
    own_reading = load_data(DataArguments(dataset=str(path))).reading
    assert predict_rows(path, Reading.from_dict(own_reading.to_dict())) == expected
    other = tmp_path / "other.csv"
    WRITE["rows.csv"](other)
    assert predict_rows(other, own_reading) == expected  # a model of this kind predicts a plain CSV


def test_decimal_commas_do_not_separate_cells(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    text = "age;fare;sex\n" + "".join(f"{index},5;1.234,{index:02d};m\n" for index in range(30))
    path.write_text(text)
    form = find_form(path, ReadingOptions(), remembered=False)
    assert (form.separator, form.names) == (";", ["age", "fare", "sex"])
    path.write_text("".join(f"{index},5;2,{index:02d}\n" for index in range(30)))  # and no header
    form = find_form(path, ReadingOptions(), remembered=False)
    assert (form.separator, form.names, form.header) == (";", ["0", "1"], False)


@pytest.mark.parametrize(
    ("text", "header"),
    [
        ("a,b\n1,2\n3,4\n", True),
        ("5.1,3.5,setosa\n4.9,3.0,setosa\n6.1,2.9,virginica\n", False),
        ("39,State-gov,13\n50,Private,13\n38,Private,9\n", False),
        ("country,2015,2016\nA,3,4\nB,5,6\n", True),
        ("0,1,2,3\n0.1,0.2,0.3,0.4\n0.5,0.2,0.1,0.9\n", True),
        ("spam,win now\nham,hello\nham,how are you\nspam,free\nham,yes\nspam,click\n", False),
        ("label,text\nham,hello\nham,how are you\nspam,free\nham,yes\nspam,click\n", True),
        ("name\nAda\nBob\n", True),
        ("x\n", True),
        ("year\n1999\n2000\n", True),
    ],
)
def test_a_header_is_told_from_a_row(text: str, header: bool, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(text)
    assert find_form(path, ReadingOptions(), remembered=False).header is header


def notes_of(path: Path, **options: object) -> tuple[list[Note], pyarrow.Table]:
    with collect_notes() as notes:
        source = open_source(path, ReadingOptions(**options))
        assert source is not None
        tables = [piece.table for split in source.splits for piece in source.pieces(split, 100)]
    return notes, pyarrow.concat_tables(tables, promote_options="permissive")


def test_what_was_found_is_said_with_the_field_that_decides_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes("prix;ville\n1,5;Orléans\n2,5;Évry\n".encode("cp1252"))
    notes, table = notes_of(path)
    said = {note.remedy: note.text for note in notes if note.surprising}
    assert "semicolons" in said["separator: ','"]
    assert "cp1252" in said["encoding: utf-8"]
    assert table["ville"].to_pylist() == ["Orléans", "Évry"]
    assert [note for note in notes_of(path, separator=";", encoding="cp1252")[0] if note.surprising] == []
    path.write_text("a,b\n1,2\n")
    assert [note for note in notes_of(path)[0] if note.surprising] == []


@pytest.mark.parametrize(
    ("encoding", "words"),
    [
        ("cp1251", ["Привет, как дела", "Сегодня хорошая погода", "Мы едем в Москву завтра утром"]),
        ("shift_jis", ["こんにちは世界", "今日はいい天気ですね", "明日東京へ行きます"]),
        ("cp1252", ["déjà vu", "naïve café", "Ein Glück ist schön"]),
    ],
)
def test_the_encoding_is_found_by_the_letters(encoding: str, words: list[str], tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(("text;label\n" + "".join(f"{word};{len(word)}\n" for word in words * 20)).encode(encoding))
    assert notes_of(path)[1]["text"].to_pylist() == words * 20


def test_an_encoding_or_option_that_cannot_be_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes("a,b\né,1\n".encode("cp1252"))
    with pytest.raises(HubmodelsError, match="did you mean 'utf-8'"):
        notes_of(path, encoding="utf-88")
    with pytest.raises(HubmodelsError, match=r"rows.csv is no text in utf-8.*another encoding"):
        notes_of(path, encoding="utf-8")


def test_bytes_of_another_encoding_deep_in_a_file_are_seen_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b"a,b\n" + b"plain,1\n" * 400_000 + "à la carte,2\n".encode("cp1252"))
    assert notes_of(path)[1]["a"][-1].as_py() == "à la carte"


ODD = {
    "text": [
        'say "hi"',
        "two\nlines",
        "",
        None,
        "a,b;c\td|e",
        "NA",
        "\x00nul",
        "🙂 ünï",
        "  blanks  ",
        "'",
        "#",
        "0012",
    ],
    "plain": [str(number) for number in range(12)],
}


def odd_csv() -> str:
    output = io.StringIO(newline="")
    output.write("text,plain\n")
    for text, plain in zip(ODD["text"], ODD["plain"], strict=True):
        cell = "" if text is None else '"' + text.replace('"', '""') + '"'
        output.write(f"{cell},{plain}\n")
    return output.getvalue()


@pytest.mark.parametrize("rows_per_piece", [1, 3, 100])
def test_odd_cells_come_as_they_are(rows_per_piece: int, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(odd_csv(), encoding="utf-8", newline="")
    source = open_source(path)
    pieces = list(source.pieces("train", rows_per_piece))
    table = pyarrow.concat_tables([piece.table for piece in pieces])
    assert table.to_pydict() == ODD
    assert [piece.first_row for piece in pieces] == list(range(0, 12, rows_per_piece))
    lines = {piece.first_row: piece.first_line for piece in pieces}
    if rows_per_piece == 1:  # line 1 is the header, and row 1 takes lines 3 and 4
        assert [row + line for row, line in lines.items() if line is not None] == [2, 3, *range(5, 15)]


def test_random_cells_survive_every_form_of_text(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    alphabet = list("ab,;\t|\"'\n\r 01.é漢🙂\\#=")
    path = tmp_path / "rows.csv"
    for trial in range(60):
        num_columns, num_rows = generator.integers(2, 5), generator.integers(1, 30)
        columns = {
            f"c{number}": ["".join(generator.choice(alphabet, generator.integers(1, 9))) for _ in range(num_rows)]
            for number in range(num_columns)
        }
        separator = ",;\t|"[trial % 4]
        pd.DataFrame(columns).to_csv(path, index=False, sep=separator, quoting=1, lineterminator="\n")
        table = notes_of(path, separator=separator, header=True)[1]
        assert table.to_pydict() == columns


def test_lines_that_lack_cells_are_counted_and_those_with_more_are_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("a,b,c\n" + "1,2,3\n" * 60 + "4,5\n\n6,7,8,\n" + "1,2,3\n" * 60)
    notes, table = notes_of(path)
    assert len(table) == 122
    assert table.slice(60, 2).to_pylist() == [{"a": "4", "b": "5", "c": None}, {"a": "6", "b": "7", "c": "8"}]
    (said,) = [note.text for note in notes if note.topic == "rows"]
    assert "1 lines of rows.csv have fewer cells than 3 (the first is line 62)" in said
    path.write_text("a,b,c\n" + "1,2,3\n" * 60 + "4,5,6,7\n")
    with pytest.raises(HubmodelsError, match=r"line 62 of rows.csv has 4 cells, the others 3: put quotes"):
        notes_of(path)
    path.write_text("a,b\n" + '"x,y",2\n' * 60 + '1,"never closed\n' + '"x,y",2\n' * 3)
    with pytest.raises(HubmodelsError, match=r"begins in line 62 of rows.csv is never closed|line 6\d of rows.csv has"):
        notes_of(path)


def test_quotes_that_are_text_are_seen(tmp_path: Path) -> None:
    path = tmp_path / "rows.tsv"
    path.write_text('size\tname\n"5 inch\tpipe\n7\t"half\n8\tflat\n' * 1)
    notes, table = notes_of(path)
    assert table.to_pydict() == {"size": ['"5 inch', "7", "8"], "name": ["pipe", '"half', "flat"]}
    assert [note.remedy for note in notes if note.surprising] == ["quotechar: '\"'"]


def test_a_header_alone_and_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    for text in ("a,b\n", "a,b", "a,b\n\n\n"):
        path.write_text(text)
        assert notes_of(path)[1].to_pydict() == {"a": [], "b": []}
    for text in ("", "\n\n", "\ufeff"):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(HubmodelsError, match="rows.csv is empty"):
            notes_of(path)


def test_columns_of_one_name_each_get_their_own(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("a,b,a,,a.1\nx,y,z,u,v\n")
    notes, table = notes_of(path, header=True)
    assert table.to_pydict() == {"a": ["x"], "b": ["y"], "a.2": ["z"], "Unnamed: 3": ["u"], "a.1": ["v"]}
    assert [note.text for note in notes if "more than one column 'a'" in note.text]


def test_ten_thousand_columns_are_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    names = [f"gene_{number}" for number in range(10_000)]
    lines = [",".join(names), *[",".join(str(row * number) for number in range(10_000)) for row in range(20)]]
    path.write_text("\n".join(lines))
    table = notes_of(path)[1]
    assert table.shape == (20, 10_000)
    assert table["gene_9999"].to_pylist() == [str(row * 9999) for row in range(20)]


def test_a_cell_of_twenty_megabytes_is_read_and_bounds_its_piece(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    cell = "x" * 20_000_000
    path.write_text("a,b\n1,2\n" + f"3,{cell}\n" * 5 + "5,6\n")
    pieces = [piece.table for piece in open_source(path).pieces("train", 65_536)]
    assert pyarrow.concat_tables(pieces)["b"].to_pylist() == ["2", *[cell] * 5, "6"]
    assert max(piece.nbytes for piece in pieces) < 80_000_000


def test_long_lines_of_json_bound_their_piece(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    text = "x" * 12_000_000
    path.write_text(f'{{"a": "{text}"}}\n' * 12)
    pieces = [piece.table for piece in open_source(path).pieces("train", 65_536)]
    assert sum(map(len, pieces)) == 12
    assert max(piece.nbytes for piece in pieces) < 80_000_000


def test_a_file_that_is_not_what_its_ending_says_is_named(tmp_path: Path) -> None:
    contents = {
        "a.csv": (FRAME.to_parquet(), "a Parquet file by its content"),
        "b.csv": (gzip.compress(b"a,b\n1,2\n"), "a gzip archive by its content"),
        "c.csv.gz": (b"a,b\n1,2\n", "cannot read c.csv.gz"),
        "d.csv.gz": (gzip.compress(TEXT.encode())[:-20], "cannot read d.csv.gz"),
        "e.xlsx": (b"a,b\n1,2\n", "e.xlsx is no Excel file"),
        "f.sqlite": (b"a,b\n1,2\n", "cannot read f.sqlite"),
        "g.parquet": (b"a,b\n1,2\n", "cannot read g.parquet"),
        "h.json": (b"{'a': 1}\n", "line 1 of h.json is no JSON"),
        "i.jsonl": (b'{"a": 1}\n{"a": \n', "line 2 of i.jsonl is no JSON"),
        "j.json": (b"[1, 2]", "j.json holds no records"),
        "k.xls": (b"\xd0\xcf\x11\xe0", "save it as .xlsx"),
        "l.gz": (gzip.compress(b"a,b\n1,2\n"), "does not say what is compressed"),
        "m.npy": (b"no", "cannot read m.npy"),
    }
    for name, (content, words) in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(HubmodelsError, match=words) as caught:
            notes_of(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_python_objects_are_never_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "rows.npz", a=np.array([{"a": 1}], dtype=object))
    for name in ("rows.npy", "rows.npz"):
        with pytest.raises(HubmodelsError, match=f"cannot read {name}"):
            notes_of(tmp_path / name)


def test_a_matrix_of_numpy_is_numbered_columns(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.arange(12, dtype=np.float32).reshape(4, 3))
    assert notes_of(tmp_path / "rows.npy")[1].to_pydict() == {
        "0": [0, 3, 6, 9], "1": [1, 4, 7, 10], "2": [2, 5, 8, 11],
    }  # fmt: skip
    np.savez(tmp_path / "rows.npz", X=np.ones((3, 2)), y=np.arange(3))
    assert notes_of(tmp_path / "rows.npz")[1].column_names == ["X_0", "X_1", "y"]
    np.savez(tmp_path / "rows.npz", X=np.ones((3, 2)), y=np.arange(4))
    with pytest.raises(HubmodelsError, match="different numbers of rows"):
        notes_of(tmp_path / "rows.npz")


def test_a_sheet_or_a_table_is_named_where_there_are_several(tmp_path: Path) -> None:
    with pd.ExcelWriter(tmp_path / "rows.xlsx") as writer:
        FRAME.to_excel(writer, sheet_name="one", index=False)
        FRAME.head(3).to_excel(writer, sheet_name="two", index=False)
    with pytest.raises(HubmodelsError, match=r"the sheets 'one', 'two': name one with --sheet_name"):
        notes_of(tmp_path / "rows.xlsx")
    with pytest.raises(HubmodelsError, match="did you mean 'two'"):
        notes_of(tmp_path / "rows.xlsx", sheet_name="twoo")
    assert len(notes_of(tmp_path / "rows.xlsx", sheet_name="two")[1]) == 3
    with sqlite3.connect(tmp_path / "rows.db") as database:
        FRAME.to_sql("one", database, index=False)
        FRAME.to_sql("two", database, index=False)
    with pytest.raises(HubmodelsError, match="the tables one, two: name one, or give a SELECT, with --query"):
        notes_of(tmp_path / "rows.db")
    assert len(notes_of(tmp_path / "rows.db", query="two")[1]) == 40
    assert notes_of(tmp_path / "rows.db", query="SELECT count(*) AS n FROM one")[1].to_pydict() == {"n": [40]}
    for query in ("DELETE FROM one", f"ATTACH '{tmp_path}/x.db' AS x", "nothing"):
        with pytest.raises(HubmodelsError, match="cannot read rows.db|has no table"):
            notes_of(tmp_path / "rows.db", query=query)
    assert not (tmp_path / "x.db").exists()


def test_values_of_json_that_differ_in_type_become_text(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [{"a": 1, "b": 1, "c": [1, 2]}, {"a": "x", "b": 0.5}, {"b": None, "d": True, "c": []}]
    path.write_text("\n".join(map(json.dumps, rows)))
    assert notes_of(path)[1].to_pydict() == {
        "a": ["1", "x", None], "b": [1.0, 0.5, None], "c": [[1, 2], None, []], "d": [None, None, True],
    }  # fmt: skip


def test_a_pipe_is_not_opened(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "rows.csv")
    with pytest.raises(HubmodelsError, match="neither a file nor a folder"):
        open_source(tmp_path / "rows.csv")


def test_the_path_that_was_given_is_no_pattern_and_no_builder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data[1].csv").write_text("x\n" + "1\n" * 20)
    (tmp_path / "data1.csv").write_text("y\n" + "2\n" * 40)
    assert len(train_rows(tmp_path / "data[1].csv")) == 20
    (tmp_path / "book[1].txt").write_text("a\n" * 30)
    (tmp_path / "book1.txt").write_text("b\n" * 50)
    assert len(train_rows(tmp_path / "book[1].txt")) == 30
    monkeypatch.chdir(tmp_path)
    for name in ("text", "csv", "json", "parquet"):
        with pytest.raises(HubmodelsError, match=f"no data set at {name}: the path does not exist"):
            train_rows(name)
    (tmp_path / "csv").mkdir()
    (tmp_path / "csv" / "rows.csv").write_text("x\n" + "1\n" * 24)
    assert len(train_rows("csv")) == 24


# Folders


def write_files(folder: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder


def splits_of(folder: Path) -> tuple[dict[str, int], list[str]]:
    with collect_notes() as notes:
        source = open_source(folder)
        assert source is not None
        rows = {split: sum(len(piece.table) for piece in source.pieces(split, 10)) for split in source.splits}
    return rows, [note.text for note in notes]


@pytest.mark.parametrize(
    ("files", "splits"),
    [
        ({"train.csv": 5, "test.csv": 2}, {"train": 5, "test": 2}),
        ({"Train.CSV": 5, "VALID.csv": 3, "Testing.csv": 2}, {"train": 5, "validation": 3, "test": 2}),
        ({"training/a.csv": 5, "training/b.csv": 4, "dev/a.csv": 2}, {"train": 9, "validation": 2}),
        ({"train-00000-of-00002.csv": 5, "train-00001-of-00002.csv": 4, "test-00000-of-00001.csv": 1},
         {"train": 9, "test": 1}),
        ({"part-0.csv": 5, "part-1.csv": 4, ".DS_Store": 1, "._part-0.csv": 1, "__MACOSX/a.csv": 3}, {"train": 9}),
        ({"rows.csv": 7, "test.csv": 2}, {"train": 7, "test": 2}),
    ],
)  # fmt: skip
def test_files_of_a_folder_belong_to_the_splits_that_they_name(files: dict, splits: dict, tmp_path: Path) -> None:
    write_files(tmp_path, {name: "x,y\n" + "1,2\n" * count for name, count in files.items()})
    assert splits_of(tmp_path)[0] == splits


def test_shards_are_read_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    write_files(tmp_path, {f"part-{number}.csv": f"x\n{number}\n" for number in range(12)})
    assert [row["x"] for row in predict_rows(tmp_path, Reading())] == [str(number) for number in range(12)]


def test_what_is_not_read_of_a_folder_is_said(tmp_path: Path) -> None:
    write_files(
        tmp_path,
        {"train.csv": "id,x,y\n1,2,3\n", "test.csv": "id,x\n4,5\n", "sample_submission.csv": "id,y\n4,0\n",
         "data_description.txt": "words"},
    )  # fmt: skip
    rows, notes = splits_of(tmp_path)
    assert rows == {"train": 1, "test": 1}
    assert any("not read: sample_submission.csv" in text for text in notes)
    (tmp_path / "train.csv.gz").write_bytes(gzip.compress(b"id,x,y\n1,2,3\n"))
    rows, notes = splits_of(tmp_path)
    assert rows == {"train": 1, "test": 1}
    assert any("train.csv.gz beside train.csv" in text or "train.csv beside train.csv.gz" in text for text in notes)


def test_files_of_other_columns_are_joined_with_a_note_or_refused_by_name(tmp_path: Path) -> None:
    write_files(tmp_path, {"part-0.csv": "a,b,c\n1,2,3\n", "part-1.csv": "c,a,b,d\n3,1,2,4\n"})
    notes = splits_of(tmp_path)[1]
    assert any("part-1.csv has 'd' besides, unlike part-0.csv" in text for text in notes)
    assert sorted(row["c"] for row in predict_rows(tmp_path, Reading())) == ["3", "3"]
    write_files(tmp_path, {"part-1.csv": "name,city\nx,y\n"})
    with pytest.raises(HubmodelsError, match=r"part-0.csv and part-1.csv have different columns"):
        splits_of(tmp_path)


def test_a_damaged_file_of_a_folder_is_named(tmp_path: Path) -> None:
    write_files(tmp_path, {"train/a.csv": "a,b\n1,2\n", "train/b.csv": "a,b\n1,2\n3,4,5\n1,2\n"})
    with pytest.raises(HubmodelsError, match=r"line 3 of b.csv has 3 cells|line 3 of train/b.csv"):
        splits_of(tmp_path)


@pytest.mark.parametrize(
    "name", ["rows.csv", "semicolons.csv", "rows.csv.gz", "rows.parquet", "rows.jsonl", "rows.json"]
)
def test_the_standard_input_is_read_as_a_file_and_its_copy_removed(name: str, tmp_path: Path, reading: Reading) -> None:
    WRITE[name](tmp_path / name)
    code = (
        "import json, sys; from hubmodels.data import Reading; reading = Reading.from_dict(json.loads(sys.argv[1]));"
        "print(json.dumps([row for piece in reading.pieces('-', 7) for row in piece.table.to_pylist()]))"
    )
    words = [sys.executable, "-c", code, json.dumps(reading.to_dict())]
    import os

    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with open(tmp_path / name, "rb") as file:
        done = subprocess.run(words, stdin=file, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == FRAME.to_dict("records")
    assert [item.name for item in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    ("text", "names", "first"),
    [
        ('"mpg","cyl"\n"Mazda",21,6\n"Datsun",22,4\n', ["Unnamed: 0", "mpg", "cyl"], ["Mazda", "21", "6"]),  # of R
        ("a,b\n1,2,\n3,4,\n", ["a", "b", "Unnamed: 2"], ["1", "2", None]),
        ("18.0   8   307.0\n15.0   8   350.0\n18.0  16   318.0\n", ["0", "1", "2"], ["18.0", "8", "307.0"]),
        ("# made by us\n# on Monday\na,b\n1,2\n3,4\n", ["a", "b"], ["1", "2"]),
        ("text\nhello, you\nwell, done\nso, so\n", ["text"], ["hello, you"]),
        ("text\nhello you\nwell, done\nso; so, la\n", ["text"], ["hello you"]),
        ("id;text\n1;hello, you\n2;well, done\n3;so, so\n", ["id", "text"], ["1", "hello, you"]),
        ("a,b\r1,2\r3,4\r", ["a", "b"], ["1", "2"]),
        ("a, b , c\n1,2,x\n3,4,y\n", ["a", "b", "c"], ["1", "2", "x"]),
        ("x;y;z\n1,5;2;u\n", ["x", "y", "z"], ["1,5", "2", "u"]),
        ('"a","b"\n"1",""\n"","y"\n', ["a", "b"], ["1", ""]),
    ],
)
def test_forms_of_text_that_people_bring(text: str, names: list[str], first: list[str | None], tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(text.encode())
    table = notes_of(path)[1]
    assert table.column_names == names
    assert list(table.slice(0, 1).to_pylist()[0].values()) == first


def test_a_page_that_was_downloaded_in_the_place_of_a_table_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("<!DOCTYPE html>\n<html><body>404, not found</body></html>\n")
    with pytest.raises(HubmodelsError, match=r"rows.csv is a page of HTML"):
        notes_of(path)


@pytest.mark.parametrize("ending", ["parquet", "feather", "arrow", "npz", "npy", "parquet.gz"])
@pytest.mark.parametrize("damage", ["cut", "middle", "other"])
def test_a_damaged_file_is_named_in_one_line_by_training_and_by_predict(tmp_path, ending, damage) -> None:
    path, random = tmp_path / f"rows.{ending}", np.random.default_rng(0)
    table = pyarrow.table({"x": random.normal(size=4_000), "s": [str(number) * 5 for number in range(4_000)]})
    if ending == "feather":
        pyarrow.feather.write_feather(table, path)
    elif ending == "arrow":
        with pyarrow.ipc.new_stream(path, table.schema) as stream:
            stream.write_table(table)
    elif ending.startswith("np"):
        values = table["x"].to_numpy()
        np.savez(path, x=values) if ending == "npz" else np.save(path, values)
    else:
        pyarrow.parquet.write_table(table, tmp_path / "rows.parquet")
        if ending == "parquet.gz":
            path.write_bytes(gzip.compress((tmp_path / "rows.parquet").read_bytes()))
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    if damage == "cut":
        del content[middle:]
    elif damage == "middle":
        if ending == "npy":
            return  # other numbers, as good as any
        content[middle - 1_500 : middle + 1_500] = random.integers(0, 256, 3_000, np.uint8).tobytes()
    else:
        content[:] = b"something else"
    path.write_bytes(content)
    for read in (
        lambda: load_data(DataArguments(dataset=str(path))),
        lambda: [piece.table for piece in Reading().pieces(path, 100)],
    ):
        with pytest.raises(HubmodelsError, match=rf"cannot read rows\.{ending}: ") as refused:
            read()
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize("rows", [["a,1", "b,2,3"], ["a,1"] * 200_000 + ["b,2,3"]], ids=["first block", "later block"])
def test_threads_of_arrow_call_no_python_and_their_reader_is_closed_when_a_line_is_odd(rows, tmp_path, monkeypatch):
    # A thread that calls Python while the interpreter ends aborts the process, now and then.
    opened: list[tuple] = []
    open_csv = pyarrow.csv.open_csv

    def remember(stream, read, parse, convert):
        opened.append((open_csv(stream, read, parse, convert), parse))
        return opened[-1][0]

    monkeypatch.setattr(pyarrow.csv, "open_csv", remember)
    (tmp_path / "rows.csv").write_text("\n".join(["x,y", *rows]) + "\n")
    with pytest.raises(HubmodelsError, match=f"line {len(rows) + 1:d} of rows.csv has 3 cells, the others 2"):
        list(Reading().pieces(tmp_path / "rows.csv", 65_536))
    for reader, parse in opened:
        assert parse.invalid_row_handler is None
        with pytest.raises(pyarrow.ArrowInvalid, match="closed|destroyed|cancel"):
            reader.read_next_batch()
