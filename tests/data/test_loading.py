"""Loading: names to splits, carving, and what bad input gets."""

from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

from hubmodels.cli import main
from hubmodels.data.loading import load_data
from hubmodels.errors import HubmodelsError
from hubmodels.recipe import DataArguments


def test_digits_are_the_images_of_scikit_learn():
    from sklearn.datasets import load_digits

    loaded = load_data(DataArguments(dataset="sklearn:digits"))
    whole = datasets.concatenate_datasets(list(loaded.splits.values()))
    assert len(whole) == 1797
    assert loaded.carved == ("test", "validation")
    ours = sorted((np.asarray(row["image"]).astype(int).tobytes(), row["label"]) for row in whole)
    theirs = load_digits()
    pixels = np.round(theirs.images * (255 / 16)).astype(int)
    assert ours == sorted(zip([image.tobytes() for image in pixels], theirs.target.tolist(), strict=True))


@pytest.mark.parametrize("name", ["breast_cancer", "diabetes", "iris", "linnerud", "wine"])
def test_every_bundled_table_loads(name):
    loaded = load_data(DataArguments(dataset=f"sklearn:{name}"))
    assert all(len(split) for split in loaded.splits.values())


def test_carved_splits_are_the_same_each_time_and_share_no_row(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("x\n" + "\n".join(map(str, range(100))))
    first, second = (load_data(DataArguments(dataset=str(path))) for _ in range(2))
    other = load_data(DataArguments(dataset=str(path), split_seed=1))
    values = {name: split["x"][:] for name, split in first.splits.items()}
    assert {name: split["x"][:] for name, split in second.splits.items()} == values
    assert other.splits["test"]["x"][:] != values["test"]
    assert sorted(values["train"] + values["validation"] + values["test"]) == list(range(100))
    assert (len(values["train"]), len(values["validation"]), len(values["test"])) == (72, 8, 20)
    assert first.fingerprint == second.fingerprint != other.fingerprint


def test_a_folder_of_images_loads_with_its_class_names(tmp_path):
    for split in ("train", "test"):
        for label in ("cat", "dog"):
            for index in range(4):
                (tmp_path / split / label).mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (8, 8), (index, 0, 0)).save(tmp_path / split / label / f"{index}.png")
    loaded = load_data(DataArguments(dataset=str(tmp_path), validation_fraction=0.25))
    assert loaded.splits["train"].features["label"].names == ["cat", "dog"]
    assert {name: len(split) for name, split in loaded.splits.items()} == {"train": 6, "validation": 2, "test": 8}


def test_max_samples_limit_each_split():
    loaded = load_data(DataArguments(dataset="sklearn:digits", max_train_samples=50, max_eval_samples=20))
    assert {name: len(split) for name, split in loaded.splits.items()} == {"train": 50, "validation": 20, "test": 20}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "no data set"),
        ({"dataset": "sklearn:digit"}, "did you mean 'digits'"),
        ({"dataset": "./nowhere"}, "does not exist"),
        ({"dataset": "/nowhere/data.csv"}, "does not exist"),
        ({"dataset": "sklearn:digits", "test_split": "tset"}, "has no split 'tset'"),
        ({"dataset": "sklearn:digits", "validation_fraction": 0.0001}, "cannot carve a validation split"),
    ],
)
def test_a_wrong_data_set_is_refused_in_one_line(given, words):
    with pytest.raises(HubmodelsError, match=words) as caught:
        load_data(DataArguments(**given))
    assert "\n" not in str(caught.value)


def test_an_empty_split_is_refused(tmp_path):
    for split, rows in (("train", "x\n1\n2\n"), ("test", "x\n")):
        (tmp_path / f"{split}.csv").write_text(rows)
    with pytest.raises(HubmodelsError, match="has no rows|cannot load"):
        load_data(DataArguments(dataset=str(tmp_path)))


def test_a_train_split_that_is_not_there_names_those_that_are(tmp_path):
    (tmp_path / "test.csv").write_text("x\n1\n2\n")
    with pytest.raises(HubmodelsError, match="its splits are test"):
        load_data(DataArguments(dataset=str(tmp_path)))


def test_a_stream_gives_every_row_once_and_carves_its_head(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("x\n" + "\n".join(map(str, range(300))))
    loaded = load_data(DataArguments(dataset=str(path), streaming=True, max_eval_samples=20))
    train = [row["x"] for row in loaded.splits["train"]]
    assert isinstance(loaded.splits["train"], datasets.IterableDataset)
    assert list(loaded.splits["train"].features) == ["x"]
    held = loaded.splits["validation"]["x"][:] + loaded.splits["test"]["x"][:]
    assert (len(train), len(held)) == (260, 40)
    assert sorted(train + held) == list(range(300))


def test_slices_of_a_split_become_splits_and_may_overlap(tmp_path):
    (tmp_path / "a.csv").write_text("x\n" + "\n".join(map(str, range(20))) + "\n")
    loaded = load_data(
        DataArguments(
            dataset=str(tmp_path / "a.csv"),
            train_split="train[:10]",
            validation_split="train[8:14]",
            test_split="train[70%:]",
        )
    )
    assert {name: split["x"][:] for name, split in loaded.splits.items()} == {
        "train": list(range(10)),
        "validation": list(range(8, 14)),
        "test": list(range(14, 20)),
    }
    assert loaded.carved == ()


@pytest.mark.parametrize(
    ("split", "message"),
    [("train[:30", "cannot cut"), ("trian[:10]", "cannot cut"), ("train[30:40]", "cannot cut|has no rows")],
)
def test_a_slice_that_cannot_be_cut_is_refused(tmp_path, split, message):
    (tmp_path / "a.csv").write_text("x\n" + "\n".join(map(str, range(20))) + "\n")
    with pytest.raises(HubmodelsError, match=message):
        load_data(DataArguments(dataset=str(tmp_path / "a.csv"), train_split=split))


def test_the_last_rows_are_carved_where_rows_follow_in_time(tmp_path):
    (tmp_path / "a.csv").write_text("x\n" + "\n".join(map(str, range(20))) + "\n")
    loaded = load_data(DataArguments(dataset=str(tmp_path / "a.csv"), carve="last"))
    assert loaded.splits["test"]["x"][:] == [16, 17, 18, 19]
    assert loaded.splits["validation"]["x"][:] == [14, 15]
    assert loaded.splits["train"]["x"][:] == list(range(14))


TEXT = "one two\n\nthree é\tfour\n  five\n\n\nsix"


@pytest.mark.parametrize(
    ("sample_by", "rows"),
    [
        (None, ["one two\n", "\n", "three é\tfour\n", "  five\n", "\n", "\n", "six"]),
        ("line", ["one two", "", "three é\tfour", "  five", "", "", "six"]),
        ("paragraph", ["one two", "three é\tfour\n  five", "\nsix"]),
        ("document", [TEXT]),
    ],
)
def test_rows_of_text_files_are_lines_with_their_breaks_or_as_asked(tmp_path, sample_by, rows):
    for name in ("train", "validation", "test"):
        (tmp_path / f"{name}.txt").write_text(TEXT, encoding="utf-8")
    loaded = load_data(DataArguments(dataset=str(tmp_path), sample_by=sample_by))
    assert {name: split["text"][:] for name, split in loaded.splits.items()} == dict.fromkeys(loaded.splits, rows)
    streamed = load_data(DataArguments(dataset=str(tmp_path), sample_by=sample_by, streaming=True))
    assert [row["text"] for row in streamed.splits["train"]] == rows


def test_one_text_file_is_carved_from_its_end(tmp_path):
    lines = [f"line {number}\n" for number in range(50)]
    (tmp_path / "book.txt").write_text("".join(lines))
    loaded = load_data(DataArguments(dataset=str(tmp_path / "book.txt"), carve="last"))
    assert loaded.splits["test"]["text"][:] == lines[40:]
    assert loaded.splits["validation"]["text"][:] == lines[36:40]
    assert loaded.splits["train"]["text"][:] == lines[:36]


def test_sample_by_is_for_text_files_and_leaves_others_alone(tmp_path):
    (tmp_path / "rows.csv").write_text("x\n" + "\n".join(map(str, range(100))))
    (tmp_path / "notes.md").write_text("no data")
    for given in (tmp_path, tmp_path / "rows.csv"):
        assert load_data(DataArguments(dataset=str(given), sample_by="document")).splits["train"].column_names == ["x"]


def test_a_file_without_rows_is_refused_with_the_reason(tmp_path):
    (tmp_path / "empty.csv").touch()
    with pytest.raises(HubmodelsError, match="empty.csv is empty"):  # not: an error occurred
        load_data(DataArguments(dataset=str(tmp_path / "empty.csv")))


def test_a_stream_that_is_too_short_for_its_splits_says_so(tmp_path):
    (tmp_path / "rows.csv").write_text("a,b\n" + "1,2\n" * 30)
    with pytest.raises(HubmodelsError, match="no row left for one of its splits"):
        load_data(DataArguments(dataset=str(tmp_path / "rows.csv"), streaming=True))


def test_a_folder_of_sounds_loads_whether_a_decoder_is_installed_or_not(tmp_path):
    encode = datasets.Audio.encode_example
    for name in ("high", "low"):
        (tmp_path / "train" / name).mkdir(parents=True)
        for number in range(10):
            (tmp_path / "train" / name / f"{number}.wav").write_bytes(b"RIFF" + bytes(60))
    split = load_data(DataArguments(dataset=str(tmp_path))).splits["train"]
    assert type(split.features["audio"]) is datasets.Audio
    assert split.features["label"].names == ["high", "low"]
    stored = split.cast_column("audio", datasets.Audio(decode=False))[0]["audio"]
    assert stored["path"].endswith(".wav")
    assert datasets.Audio.encode_example is encode


def test_sounds_that_a_table_names_load_whether_a_decoder_is_installed_or_not(tmp_path):
    lines = ["file_name,speaker"]
    for number in range(20):
        (tmp_path / f"{number}.wav").write_bytes(b"RIFF" + bytes(60))
        lines.append(f"{number}.wav,{'ab'[number % 2]}")
    (tmp_path / "metadata.csv").write_text("\n".join(lines))
    splits = load_data(DataArguments(dataset=str(tmp_path))).splits
    again = load_data(DataArguments(dataset=str(tmp_path))).splits  # from the cache
    assert sum(map(len, splits.values())) == 20
    for name, split in splits.items():
        assert split.features == again[name].features
        assert type(split.features["audio"]) is datasets.Audio
        stored = split.cast_column("audio", datasets.Audio(decode=False))[:]
        assert [Path(item["path"]).parent for item in stored["audio"]] == [tmp_path] * len(split)
        assert set(stored["speaker"]) <= {"a", "b"}


def test_a_data_set_of_save_to_disk_is_refused(tmp_path):
    datasets.Dataset.from_dict({"x": [1, 2]}).save_to_disk(tmp_path / "saved")
    with pytest.raises(HubmodelsError, match="saved using `save_to_disk`"):
        load_data(DataArguments(dataset=str(tmp_path / "saved")))


def test_rows_without_a_group_are_named_and_copies_across_splits_are_rows_of_the_file(tmp_path, capsys):
    lines = [f"{row % 11},{row % 7},{'' if row in (4, 9) else f'p{row % 30}'},{'ab'[row % 2]}" for row in range(70)]
    copies = [f"{row % 11},{row % 7},q{row},{'ab'[row % 2]}" for row in range(60)]
    (tmp_path / "rows.csv").write_text("\n".join(["x,z,patient,label", *lines, *copies]) + "\n")
    words = ["--family", "mlp", "--task", "tabular-classification", "--dataset", str(tmp_path / "rows.csv")]
    words += ["--group_column", "patient", "--dry_run", "--output_dir", str(tmp_path / "run")]
    assert main(["train", *words]) == 0
    streams = capsys.readouterr()
    told = " ".join((streams.out + streams.err).split())
    assert "2 rows have no 'patient'" in told
    assert "row 4 (line 6) of rows.csv" in told
    assert "row 9 (line 11) of rows.csv" in told
    assert "stand in the training rows too: row " in told
    assert " is number " not in told
    assert "with --group_column" not in told
