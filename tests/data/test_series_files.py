"""Files of the UCR and UEA archives: .ts and .arff, of one channel and several, with gaps and without classes."""

import numpy as np
import pytest

from hubmodels.data.readers import open_source
from hubmodels.errors import HubmodelsError

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
