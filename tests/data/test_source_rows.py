"""Rows in the cache: named by content, read once, and said again when they come from there."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import datasets
import pytest

from hubmodels.data import cache, source_rows
from hubmodels.data.loading import load_data
from hubmodels.data.readers import open_source
from hubmodels.data.source_rows import read_source
from hubmodels.errors import HubmodelsError
from hubmodels.recipe import DataArguments, ReadingOptions
from hubmodels.report import collect_notes, note


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of `datasets` for each test."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", folder)
    return folder / "hubmodels"


@pytest.fixture
def num_readings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The splits that were read, for each time that something was read."""
    readings: list[int] = []
    write = source_rows.write_splits

    def write_and_count(source: object, *arguments: object) -> dict:
        readings.append(len(source.splits))
        return write(source, *arguments)

    monkeypatch.setattr(source_rows, "write_splits", write_and_count)
    return readings


TEXT = "x;name\n" + "".join(f"{number};row {number}\n" for number in range(50))


def read(path: Path, **options: object) -> tuple[list[dict], str]:
    splits, _, _ = read_source(open_source(path, ReadingOptions(**options)))
    return list(splits["train"]), splits["train"]._fingerprint


def test_touched_moved_and_copied_files_are_the_same_rows_and_a_changed_byte_others(
    tmp_path: Path, num_readings: list[int]
) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(TEXT)
    rows, fingerprint = read(path)
    assert rows[7] == {"x": 7, "name": "row 7"}
    os.utime(path, (1, 1))
    assert read(path) == (rows, fingerprint)
    (tmp_path / "elsewhere").mkdir()
    other = tmp_path / "elsewhere" / "rows.csv"
    shutil.move(path, other)
    assert read(other) == (rows, fingerprint)
    assert num_readings == [1]
    renamed = tmp_path / "renamed.csv"
    shutil.copy(other, renamed)
    assert read(renamed) == (rows, fingerprint)  # read again, as messages name the file
    assert (
        read_source(open_source(renamed))[1]["train"].words(datasets.Dataset.from_list(rows), 3).endswith("renamed.csv")
    )
    assert num_readings == [1, 1]
    stat = other.stat()
    other.write_text(TEXT.replace("row 7", "ROW 7"))
    os.utime(other, (stat.st_atime, stat.st_mtime))  # as large and as old as before
    changed, changed_fingerprint = read(other)
    assert changed[7]["name"] == "ROW 7"
    assert changed_fingerprint != fingerprint
    assert num_readings == [1, 1, 1]


def test_other_options_and_other_code_read_anew(
    tmp_path: Path, num_readings: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(TEXT)
    fingerprints = {read(path)[1], read(path, separator=";", header=False)[1]}
    assert len(num_readings) == 2
    monkeypatch.setattr(cache, "code_version", lambda: "another")
    fingerprints.add(read(path)[1])
    assert len(num_readings) == len(fingerprints) == 3


def test_notes_and_kinds_come_from_the_cache_too(
    tmp_path: Path, num_readings: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    decide = source_rows.decide_kinds

    def decide_and_say(table: object, options: object) -> object:
        note("columns", "x is a number", column="x", kind="number", surprising=True)
        return decide(table, options)

    monkeypatch.setattr(source_rows, "decide_kinds", decide_and_say)
    path = tmp_path / "rows.csv"
    path.write_text(TEXT)
    said = []
    for _ in range(2):
        with collect_notes() as notes:
            _, origins, reading = read_source(open_source(path))
        said.append((notes, origins, reading.to_dict()))
    assert said[0] == said[1]
    assert any(note.column == "x" and note.surprising for note in said[0][0])
    assert num_readings == [1]


def test_the_file_as_it_was_read_is_gone_and_a_failed_reading_leaves_nothing(tmp_path: Path, own_cache: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(TEXT)
    read(path)
    (folder,) = [item for item in own_cache.iterdir() if item.is_dir()]
    assert sorted(item.name for item in folder.iterdir()) == ["reading.json", "rows-0.arrow"]
    (tmp_path / "bad.jsonl").write_text('{"a": 1}\n{"a": \n')
    with pytest.raises(HubmodelsError, match="line 2 of bad.jsonl"):
        read(tmp_path / "bad.jsonl")
    assert [item for item in own_cache.iterdir() if item.is_dir()] == [folder]


def test_what_a_killed_process_left_is_written_anew(tmp_path: Path, own_cache: Path, num_readings: list[int]) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(TEXT)
    rows, _ = read(path)
    (folder,) = [item for item in own_cache.iterdir() if item.is_dir()]
    (folder / "reading.json").unlink()
    (own_cache / f".{folder.name}.abc").mkdir()
    assert read(path)[0] == rows
    assert num_readings == [1, 1]
    assert [item.name for item in own_cache.iterdir() if item.is_dir()] == [folder.name]


def test_processes_that_come_at_once_write_once_and_read_the_same(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(TEXT * 1 + "".join(f"{number};row {number}\n" for number in range(20_000)))
    code = (
        "import sys; from hubmodels.data import source_rows; from hubmodels.data.readers import open_source\n"
        "write = source_rows.write_splits\n"
        "def count(*arguments): print('wrote'); return write(*arguments)\n"
        "source_rows.write_splits = count\n"
        "splits, _, _ = source_rows.read_source(open_source(sys.argv[1]))\n"
        "print(len(splits['train']), splits['train']._fingerprint)"
    )
    environment = {**os.environ, "HF_DATASETS_CACHE": str(tmp_path / "cache")}
    words = [sys.executable, "-c", code, str(path)]
    started = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(3)]
    printed = [process.communicate()[0].split() for process in started]
    assert sum("wrote" in words for words in printed) == 1
    assert len({tuple(words[-2:]) for words in printed}) == 1
    assert printed[0][-2] == "20050"


def test_pieces_of_differing_types_become_one_column(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hubmodels.data.readers.records.ROWS_AT_ONCE", 2)
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1, "b": 1}\n{"a": 2, "b": 2}\n{"a": 0.5, "b": "x"}\n{"a": null, "b": null, "c": [1]}\n')
    rows, _ = read(path)
    assert [row["a"] for row in rows] == [1.0, 2.0, 0.5, None]
    assert [row["b"] for row in rows] == ["1", "2", "x", None]
    assert [row["c"] for row in rows] == [None, None, None, [1]]


def test_a_file_is_read_within_a_few_pieces_of_memory(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    line = "1.5,2.5,some words that take their space," + "x" * 150
    with open(path, "w") as file:
        file.write("a,b,c,d\n")
        for _ in range(30):
            file.write(f"{line}\n" * 20_000)  # 115 MB
    code = (
        "import sys; import pyarrow; from hubmodels.data.readers import open_source\n"
        "from hubmodels.data.source_rows import read_source\n"
        "splits, _, _ = read_source(open_source(sys.argv[1]))\n"
        "print(len(splits['train']), pyarrow.default_memory_pool().max_memory() >> 20)"
    )
    environment = {**os.environ, "HF_DATASETS_CACHE": str(tmp_path / "cache")}
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, env=environment)
    num_rows, megabytes = map(int, done.stdout.split())
    assert num_rows == 600_000
    assert megabytes < 90  # a piece has 13 MB


def test_row_and_line_of_a_value_are_those_of_its_file(tmp_path: Path) -> None:
    (tmp_path / "train-0.csv").write_text('x,y\n1,"two\nlines"\n2,b\n')
    (tmp_path / "train-1.csv").write_text("x,y\n3,c\n4,d\n")
    splits, origins, _ = read_source(open_source(tmp_path))
    words = [origins["train"].words(splits["train"], row) for row in range(4)]
    assert [line.partition(" of ")[2] for line in words] == ["train-0.csv"] * 2 + ["train-1.csv"] * 2
    assert words[2:] == ["row 0 (line 2) of train-1.csv", "row 1 (line 3) of train-1.csv"]
    assert "line" not in words[1].partition(" of ")[0] or "(line 4)" in words[1]


def test_classes_and_images_of_a_parquet_file_keep_their_types(tmp_path: Path) -> None:
    features = datasets.Features(label=datasets.ClassLabel(names=["no", "yes"]), x=datasets.Value("float32"))
    rows = datasets.Dataset.from_dict({"label": [0, 1] * 10, "x": [0.5] * 20}, features=features)
    rows.to_parquet(tmp_path / "rows.parquet")
    loaded = load_data(DataArguments(dataset=str(tmp_path / "rows.parquet"))).splits["train"]
    assert loaded.features == features


# Streams


def write_shards(folder: Path, num_shards: int, num_rows: int) -> Path:
    for shard in range(num_shards):
        numbers = range(shard * num_rows, (shard + 1) * num_rows)
        (folder / f"train-{shard}.csv").write_text("x;y\n" + "".join(f"{number};{number},5\n" for number in numbers))
    (folder / "test.csv").write_text("x;y\n" + "".join(f"{number};1,5\n" for number in range(10)))
    (folder / "validation.csv").write_text("x;y\n" + "".join(f"{number};1,5\n" for number in range(10)))
    return folder


def test_a_stream_reads_every_row_of_local_shards_and_goes_on_at_its_state(tmp_path: Path) -> None:
    write_shards(tmp_path, 4, 300)
    loaded = load_data(DataArguments(dataset=str(tmp_path), streaming=True))
    stream = loaded.splits["train"]
    assert stream.num_shards == 4
    assert [row["x"] for row in stream] == list(range(1_200))
    assert loaded.reading.kinds.columns["x"].kind == "whole number"
    assert len(loaded.splits["test"]) == 10
    iterator = iter(stream)
    for _ in range(450):
        next(iterator)
    state = stream.state_dict()
    other = load_data(DataArguments(dataset=str(tmp_path), streaming=True)).splits["train"]
    other.load_state_dict(state)
    assert [row["x"] for row in other] == list(range(450, 1_200))


def test_a_stream_says_over_how_many_rows_kinds_were_decided(tmp_path: Path) -> None:
    write_shards(tmp_path, 2, 30)
    with collect_notes() as notes:
        load_data(DataArguments(dataset=str(tmp_path), streaming=True))
    assert any("decided over the first 60 rows" in note.text and note.surprising for note in notes)


def test_a_value_of_a_stream_that_is_not_as_the_first_ones_is_named(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("hubmodels.data.source_streams.HEAD_ROWS", 20)
    write_shards(tmp_path, 2, 300)
    with open(tmp_path / "train-1.csv", "a") as file:
        file.write("abc;1,5\n")
    stream = load_data(DataArguments(dataset=str(tmp_path), streaming=True)).splits["train"]
    with pytest.raises(HubmodelsError, match="train-1.csv"):
        list(stream)


def test_a_fraction_in_a_later_piece_of_a_column_of_whole_numbers_is_read(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "train.csv").write_text("n\n" + "".join(f"{number % 9}\n" for number in range(50)))
    _, _, learnt = read_source(open_source(tmp_path / "train.csv"))
    assert learnt.kinds.columns["n"].kind == "whole number"
    monkeypatch.setattr(source_rows, "ROWS_PER_PIECE", 10)
    values = [*map(str, range(25)), "13.9", *map(str, range(24))]
    (tmp_path / "new.csv").write_text("n\n" + "\n".join(values) + "\n")
    splits, _, _ = read_source(open_source(tmp_path / "new.csv", learnt.options, remembered=True), learnt.kinds)
    assert splits["train"]["n"] == [float(value) for value in values]
    pieces = list(learnt.pieces(tmp_path / "new.csv", 10))
    assert [value for piece in pieces for value in piece.table["n"].to_pylist()] == [float(value) for value in values]
