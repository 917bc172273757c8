"""Files of the UCR and UEA archives: .ts and .arff, of one channel and several, with gaps and without classes."""

import gzip

import numpy as np
import pytest

from hubmodels.data.readers import open_source
from hubmodels.errors import HubmodelsError
from hubmodels.recipe import ReadingOptions
from hubmodels.report import collect_notes

TS = "#comment\n@problemName x\n@univariate false\n@classLabel true a b\n@data\n1,2,3:4,5,?:a\n7,8:9,10:b\n"
ARFF = "@relation x\n" + "".join(f"@attribute t{n} numeric\n" for n in range(8)) + "@attribute target {0,1}\n@data\n"
NESTED = (
    "@relation x\n@attribute bag relational\n@attribute t0 numeric\n@end bag\n@attribute class {u,v}\n@data\n"
    "'1,2\\n3,4',u\n"
)


def read(path):
    source = open_source(path)
    return {
        split: [row for piece in source.pieces(split, 1) for row in piece.table.to_pylist()] for split in source.splits
    }


def test_a_ts_file_gives_steps_by_channels_and_classes(tmp_path) -> None:
    (tmp_path / "X.ts").write_text(TS)
    first, second = read(tmp_path / "X.ts")["train"]
    np.testing.assert_array_equal(first["series"], [[1, 4], [2, 5], [3, np.nan]])
    assert (first["label"], second["series"], second["label"]) == ("a", [[7, 9], [8, 10]], "b")


def test_a_folder_of_the_archive_has_its_two_splits(tmp_path) -> None:
    for name in ("X_TRAIN.ts", "X_TEST.ts"):
        (tmp_path / name).write_text(TS)
    assert {split: len(rows) for split, rows in read(tmp_path).items()} == {"train": 2, "test": 2}


def test_an_arff_file_gives_the_same_form_flat_or_nested(tmp_path) -> None:
    (tmp_path / "a.arff").write_text(ARFF + "1,2,3,4,5,6,7,?,1\n")
    (row,) = read(tmp_path / "a.arff")["train"]
    assert row["label"] == "1"
    np.testing.assert_array_equal(np.array(row["series"])[:, 0], [1, 2, 3, 4, 5, 6, 7, np.nan])
    (tmp_path / "b.arff").write_text(NESTED)
    assert read(tmp_path / "b.arff")["train"] == [{"series": [[1, 3], [2, 4]], "label": "u"}]


def test_a_line_that_is_no_series_is_named(tmp_path) -> None:
    (tmp_path / "X.ts").write_text(TS + "1,oops:2,3:a\n")
    with pytest.raises(HubmodelsError, match="X.ts, line 8 holds no series: .*oops"):
        read(tmp_path / "X.ts")


STEPS = np.sin(np.arange(24).reshape(2, 12) / 3).round(4)  # two series of 12 steps
SEPARATORS = {"tsv": "\t", "csv": ",", "txt": "  ", "": " "}


def ucr_lines(labels, series, separator):
    return "".join(
        separator.join([*([label] if label else []), *map(str, steps)]) + "\n"
        for label, steps in zip(labels, series, strict=True)
    )


@pytest.mark.parametrize("kind", SEPARATORS)
def test_a_folder_of_lines_of_the_ucr_archive_is_series_with_their_classes(kind, tmp_path) -> None:
    for name in ("Toy_TRAIN", "Toy_TEST"):
        text = ucr_lines(["1", "-1.0000000e+00"], STEPS, SEPARATORS[kind])
        (tmp_path / f"{name}{'.' if kind else ''}{kind}").write_text(text)
    (tmp_path / "README.md").write_text("# Toy")
    with collect_notes() as notes:
        splits = read(tmp_path)
    assert list(splits) == ["train", "test"]
    assert [row["label"] for row in splits["test"]] == ["1", "-1"]
    np.testing.assert_array_equal(np.array([row["series"] for row in splits["train"]])[..., 0], STEPS)
    assert "a class and then a series of 12 steps" in notes[0].text
    assert notes[0].remedy == "series_layout: table"


def test_a_file_of_the_ucr_archive_is_read_alone_compressed_with_gaps_and_shorter_series(tmp_path) -> None:
    lines = "1\t0.5\tNaN\t" + "\t".join(["1.5"] * 8) + "\n2\t" + "\t".join(["0.5"] * 9) + "\tNaN\n"
    (tmp_path / "X_TEST.tsv.gz").write_bytes(gzip.compress(lines.encode()))
    first, second = read(tmp_path / "X_TEST.tsv.gz")["train"]
    assert (len(first["series"]), len(second["series"])) == (10, 9)
    assert np.isnan(first["series"][1][0])


def test_lines_without_classes_are_read_as_the_training_had_them_with(tmp_path) -> None:
    (tmp_path / "new.txt").write_text(ucr_lines(["", ""], STEPS, ","))
    (tmp_path / "labelled.csv").write_text(ucr_lines(["3", "4"], STEPS, ","))
    learnt = ReadingOptions(series_layout="class_first")
    for name, labels in (("new.txt", [None, None]), ("labelled.csv", ["3", "4"])):
        source = open_source(tmp_path / name, learnt, remembered=True)
        rows = [row for piece in source.pieces("train", 9) for row in piece.table.to_pylist()]
        assert [row.get("label") for row in rows] == labels
        np.testing.assert_array_equal(np.array([row["series"] for row in rows])[..., 0], STEPS)


def test_a_table_of_numbers_without_a_header_stays_a_table_unless_it_is_said(tmp_path) -> None:
    (tmp_path / "wine.csv").write_text(ucr_lines(["1", "2"], STEPS, ","))
    assert "series" not in read(tmp_path / "wine.csv")["train"][0]
    source = open_source(tmp_path / "wine.csv", ReadingOptions(series_layout="class_first"))
    assert next(source.pieces("train", 9)).table.column_names == ["series", "label"]
    (tmp_path / "prose.txt").write_text("a text of words\n")
    with pytest.raises(HubmodelsError, match="prose.txt is no text of lines with as many numbers each"):
        open_source(tmp_path / "prose.txt", ReadingOptions(series_layout="class_first"))


@pytest.mark.parametrize("first", [False, True])
def test_arrays_of_three_dimensions_are_series_and_which_one_is_the_channels_is_said(first, tmp_path) -> None:
    values = np.arange(2 * 9 * 3, dtype=np.float32).reshape(2, 9, 3)
    stored = values.transpose(0, 2, 1) if first else values
    np.savez(tmp_path / "a.npz", X=stored, y=np.array([7.0, 8.0]))
    with collect_notes() as notes:
        rows = read(tmp_path / "a.npz")["train"]
    np.testing.assert_array_equal([row["series"] for row in rows], values)
    assert [row["label"] for row in rows] == ["7", "8"]
    assert "2 series of 9 steps and 3 channels; their classes are y" in notes[0].text
    assert notes[0].remedy == f"series_layout: {'channels_last' if first else 'channels_first'}"
    np.savez(tmp_path / "b.npz", X_train=stored, y_train=["u", "v"], X_test=stored[:1], y_test=["u"])
    assert {split: [row["label"] for row in rows] for split, rows in read(tmp_path / "b.npz").items()} == {
        "train": ["u", "v"], "test": ["u"],
    }  # fmt: skip
    np.save(tmp_path / "c.npy", stored)
    source = open_source(tmp_path / "c.npy", ReadingOptions(series_layout="channels_last"), remembered=True)
    assert np.shape(next(source.pieces("train", 9)).table.column("series").to_pylist()) == stored.shape
