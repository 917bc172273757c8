"""Files and folders of plain text: rows, encodings, splits, classes by folders and tables."""

import gzip
import os
from pathlib import Path

import datasets
import pytest

from hubmodels.data import Reading, load_data
from hubmodels.data.readers import open_source, text_files
from hubmodels.errors import HubmodelsError
from hubmodels.recipe import DataArguments, ReadingOptions
from hubmodels.report import collect_notes

TEXTS = {
    "unix": "one\ntwo\n\nthree\n\n\n\nfour",
    "windows": "one\r\n\r\ntwo\r\n",
    "mac": "one\rtwo\r\rthree",
    "empty lines": "\n\n\n",
    "separators": "a\x0bb\x0cc\x1cd\x85e\u2028f\n",
    "oddities": "\x00\u200b\ufeff\u202eabc\U0001f600\n",
}


def rows_of(path: Path, split: str = "train", **options) -> list[str]:
    source = open_source(path, ReadingOptions(**options))
    return [text for piece in source.pieces(split, 3) for text in piece.table.column("text").to_pylist()]


def notes_of(path: Path, **options) -> str:
    with collect_notes() as notes:
        source = open_source(path, ReadingOptions(**options))
        for split in source.splits:
            list(source.pieces(split, 100))
    return " | ".join(note.text for note in notes)


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("sample_by", [None, "line", "paragraph", "document"])
def test_rows_are_those_of_datasets(name: str, sample_by: str | None, tmp_path: Path) -> None:
    (tmp_path / "file.txt").write_bytes(TEXTS[name].encode())
    loaded = datasets.load_dataset(
        "text",
        data_files=str(tmp_path / "file.txt"),
        sample_by=sample_by or "line",
        keep_linebreaks=sample_by is None,
        cache_dir=str(tmp_path / "cache"),
    )
    assert rows_of(tmp_path / "file.txt", sample_by=sample_by) == loaded["train"]["text"][:]


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("utf-8", "naïve café “quoted” €\n"),
        ("utf-8-sig", "naïve café\n"),
        ("utf-16", "naïve café 日本\n"),
        ("utf-16-le", "plain letters only\n"),
        ("cp1252", "naïve café “quoted” €\n"),
    ],
)
def test_encodings_are_found_by_content(encoding: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes((text * 20).encode(encoding))
    assert rows_of(tmp_path / "a.txt") == [text] * 20
    with gzip.open(tmp_path / "b.txt.gz", "wb") as file:
        file.write((text * 20).encode(encoding))
    assert rows_of(tmp_path / "b.txt.gz") == [text] * 20


def test_an_encoding_that_is_given_wins_and_one_that_is_found_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("Москва и Волга\n".encode("koi8-r"))
    assert rows_of(tmp_path / "a.txt", encoding="koi8-r") == ["Москва и Волга\n"]
    with pytest.raises(HubmodelsError, match="unknown encoding 'klingon'"):
        rows_of(tmp_path / "a.txt", encoding="klingon")
    (tmp_path / "a.txt").write_bytes("un café à Orléans\n".encode("cp1252"))
    assert "1 in cp1252" in notes_of(tmp_path / "a.txt")
    (tmp_path / "a.txt").write_bytes(b"fine\nbroken \xff\xfe here\n")
    assert "1 rows have signs for bytes that are no text" in notes_of(tmp_path / "a.txt", encoding="utf-8")


def test_words_that_look_like_gaps_and_numbers_stay_texts(tmp_path: Path) -> None:
    for name, words in (("gaps", ["null", "None", "NA", "nan", "", "-"] * 5), ("numbers", ["1", "2", "3", "1e5"] * 9)):
        (tmp_path / f"{name}.txt").write_text("\n".join(words) + "\n")
        arguments = DataArguments(
            dataset=str(tmp_path / f"{name}.txt"), sample_by="line", carve="last", test_fraction=0.2
        )
        splits = load_data(arguments).splits
        assert [text for role in ("train", "validation", "test") for text in splits[role]["text"]] == words


def test_only_the_path_that_was_given_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text").mkdir()
    (tmp_path / "other.txt").write_text("other\n")
    (tmp_path / "text" / "a.txt").write_text("line\n" * 40)
    splits = load_data(DataArguments(dataset="text", carve="last")).splits
    assert {text for split in splits.values() for text in split["text"]} == {"line\n"}


def test_a_changed_file_is_read_anew_and_a_touched_one_not(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("one\n")
    key = open_source(path).content_key()
    os.utime(path, (0, 0))
    assert open_source(path).content_key() == key
    path.write_text("two\n")
    assert open_source(path).content_key() != key


def test_a_long_line_and_many_bytes_are_pieces_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_files, "PIECE_BYTES", 1_000)
    lines = ["é" * 400 + "\n"] * 5 + ["x" * 5_000 + "\n", "y\n"]
    (tmp_path / "a.txt").write_text("".join(lines), encoding="utf-8")
    pieces = list(open_source(tmp_path / "a.txt").pieces("train", 65_536))
    assert [text for piece in pieces for text in piece.table.column("text").to_pylist()] == lines
    assert [len(piece.table) for piece in pieces] == [1] * 7
    assert [piece.first_row for piece in pieces] == list(range(7))


# ---------------------------------------------------------------- folders


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root


def test_files_named_after_splits_are_these(tmp_path: Path) -> None:
    write(tmp_path, {"train.txt": "a\nb\n", "valid.txt": "c\n", "my_test.txt": "d\n", "README.md": "# about\n"})
    source = open_source(tmp_path)
    assert {split: rows_of(tmp_path, split) for split in source.splits} == {
        "train": ["a\n", "b\n"],
        "validation": ["c\n"],
        "test": ["d\n"],
    }
    assert "README.md" in notes_of(tmp_path)


def test_chapters_are_one_text_in_the_order_of_their_names(tmp_path: Path) -> None:
    write(tmp_path, {"1.txt": "one\n", "2.txt": "two\n", "3.txt": "three\n"})
    assert rows_of(tmp_path) == ["one\n", "two\n", "three\n"]


def test_a_document_a_file_and_a_class_a_folder(tmp_path: Path) -> None:
    documents = {
        f"{split}/{label}/{number}.txt": f"{label} {split}\nsecond line {number}"
        for split, count in (("train", 4), ("test", 2))
        for label in ("pos", "neg")
        for number in range(count)
    }
    others = {"train/unsup/0.txt": "?", "train/unsup/1.txt": "?", "imdbEr.txt": "x", "train/urls_pos.txt": "http"}
    write(tmp_path, documents | others)
    arguments = DataArguments(dataset=str(tmp_path))
    with collect_notes() as notes:
        loaded = load_data(arguments)
    test = loaded.splits["test"]
    assert test.features["label"].names == ["neg", "pos"]
    names = test.features["label"].names
    assert {(row["file_name"], row["text"], names[row["label"]]) for row in test} == {
        (name, text, name.split("/")[1]) for name, text in documents.items() if name.startswith("test")
    }
    said = " | ".join(note.text for note in notes)
    assert "2 files are left out, since the folder says that they have no class: train/unsup" in said
    assert "imdbEr.txt" in said
    assert "train/urls_pos.txt" in said
    assert "Each file is a row" in said
    assert loaded.reading.options.sample_by == "document"  # and so does predict read


def test_lines_of_files_in_folders_of_classes_when_asked(tmp_path: Path) -> None:
    write(tmp_path, {"spam/a.txt": "buy\nnow\n", "ham/a.txt": "hello\nyou\n"})
    source = open_source(tmp_path, ReadingOptions(sample_by="line"))
    (piece,) = source.pieces("train", 100)
    assert piece.table.select(["text", "label"]).to_pydict() == {
        "text": ["hello", "you", "buy", "now"],
        "label": [0, 0, 1, 1],
    }


def test_a_table_beside_documents_gives_their_columns(tmp_path: Path) -> None:
    write(tmp_path, {f"essays/{number}.txt": f"essay {number}" for number in range(6)})
    write(tmp_path, {"grades.csv": "essay,grade\n" + "".join(f"{number}.txt,g{number % 2}\n" for number in range(6))})
    (piece,) = open_source(tmp_path).pieces("train", 100)
    assert piece.table.column("text").to_pylist() == [f"essay {number}" for number in range(6)]
    assert piece.table.column("grade").to_pylist() == ["g0", "g1"] * 3


def test_source_files_are_text(tmp_path: Path) -> None:
    write(tmp_path, {"src/a.py": "import os\n" * 30, "src/deep/b.py": "x = 1\n" * 30, "requirements.txt": "numpy\n"})
    write(tmp_path, {".git/config.txt": "secret\n" * 900, "docs/index.html": "<p>hi</p>\n", "empty.py": ""})
    assert set(rows_of(tmp_path)) == {"import os\n", "x = 1\n", "<p>hi</p>\n"}
    assert rows_of(tmp_path / "docs" / "index.html") == ["<p>hi</p>\n"]
    assert rows_of(tmp_path / "src" / "a.py", sample_by="document") == ["import os\n" * 30]


def test_a_file_without_an_ending_is_text_when_its_bytes_are(tmp_path: Path) -> None:
    (tmp_path / "corpus").write_text("grüße\n" * 3, encoding="utf-8")
    assert rows_of(tmp_path / "corpus") == ["grüße\n"] * 3
    assert "its bytes are text" in notes_of(tmp_path / "corpus")
    (tmp_path / "binary").write_bytes(bytes(range(256)))
    assert open_source(tmp_path / "binary") is None
    (tmp_path / "paper.dat").write_bytes(b"%PDF-1.7 something\n")
    assert open_source(tmp_path / "paper.dat") is None


def test_a_folder_of_tables_is_no_folder_of_text(tmp_path: Path) -> None:
    write(tmp_path, {"a.csv": "x\n1\n", "notes.txt": "about\n", "make.py": "print(1)\n" * 50})
    assert not isinstance(open_source(tmp_path), text_files.TextFiles)


def test_new_files_are_read_without_line_breaks_and_without_splits(tmp_path: Path) -> None:
    write(tmp_path, {"train.txt": "a\nb\n", "test.txt": "c\n"})
    pieces = list(Reading().pieces(tmp_path, 100))
    assert [text for piece in pieces for text in piece.table.column("text").to_pylist()] == ["c", "a", "b"]
    assert pieces[1].words(1) == "row 1 (line 2) of train.txt"


def test_the_reader_does_not_say_of_its_texts_that_an_option_says_so(tmp_path: Path) -> None:
    write(tmp_path, {"pos/1.txt": "good", "pos/2.txt": "fine", "neg/1.txt": "bad", "neg/2.txt": "poor"})
    with collect_notes() as notes:
        load_data(DataArguments(dataset=str(tmp_path), test_fraction=0.4, validation_fraction=0.4))
    assert not [note.text for note in notes if "column_kinds" in note.text]
