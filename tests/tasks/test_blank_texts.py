"""A blank text is a gap in every kind of file, and blanks around a category or a class do not count."""

import datasets
import numpy as np
import pandas as pd
import pytest

from hubmodels.data.readers import open_source
from hubmodels.data.source_rows import read_source
from hubmodels.data.targets import lacks_value
from hubmodels.processors.processing_table import TabularProcessor
from hubmodels.recipe import ReadingOptions
from hubmodels.report import collect_notes
from hubmodels.tasks.contract.columns import class_names, class_numbers

FLAGS = ["Y", "N", "", None, " Y", "N  ", "  "] * 20


@pytest.mark.parametrize("kind", ["csv", "parquet", "json"])
def test_the_same_rows_have_the_same_codes_whatever_file_they_stand_in(kind: str, tmp_path) -> None:
    frame = pd.DataFrame({"flag": FLAGS, "size": np.arange(len(FLAGS)) % 11 + 0.5})
    path = tmp_path / f"rows.{kind}"
    writers = {
        "csv": lambda: frame.to_csv(path, index=False),
        "parquet": lambda: frame.to_parquet(path),
        "json": lambda: frame.to_json(path, orient="records"),
    }
    writers[kind]()
    source = open_source(path, ReadingOptions())
    assert source is not None
    rows = read_source(source)[0]["train"]
    processor = TabularProcessor.fit(rows)
    flag = next(column for column in processor.columns if column["name"] == "flag")
    assert flag["values"] == [None, "N", "Y"]
    codes = processor(rows)["categorical_features"][:, 0]
    expected = {"": 1, None: 1, "  ": 1, "N": 2, "N  ": 2, "Y": 3, " Y": 3}
    assert codes.tolist() == [expected[value] for value in FLAGS]


def test_a_release_that_kept_blanks_around_its_values_still_knows_them() -> None:
    column = {"name": "job", "kind": "category", "values": ["", " Sales", "Clerk"], "has_rare": False}
    processor = TabularProcessor(columns=[column])
    codes = processor({"job": [" Sales", "", "Clerk", " Clerk"]})["categorical_features"][:, 0]
    assert codes.tolist() == [2, 1, 3, 3]


def test_a_constant_is_named_as_files_write_it() -> None:
    dropped = TabularProcessor.fit({"one": [1.0] * 9, "half": [0.5] * 9, "no": [""] * 9, "x": range(9)}).dropped
    assert dropped == {"one": "constant: 1", "half": "constant: 0.5", "no": "always missing"}


def rows_of(labels: list) -> datasets.Dataset:
    return datasets.Dataset.from_dict({"y": labels}, features=datasets.Features({"y": datasets.Value("string")}))


def test_blanks_around_classes_are_no_other_classes_and_it_is_said() -> None:
    rows = rows_of(["no", "no ", " yes", "yes"] * 5)
    with collect_notes() as notes:
        names = class_names(rows, "y")
    assert names == ["no", "yes"]
    assert class_numbers(rows["y"], list(range(20)), "y", rows.features["y"], dict(enumerate(names))).tolist() == [
        0, 0, 1, 1] * 5  # fmt: skip
    assert [note.text for note in notes if note.surprising] == [
        "column 'y': blanks around the class of 10 rows are left out"
    ]
    assert next(note for note in notes if note.kind == "target").text.endswith("'no' (10), 'yes' (10)")


def test_classes_of_an_older_release_keep_their_blanks() -> None:
    rows = rows_of([" >50K", " <=50K", ">50K"])
    numbers = class_numbers(rows["y"][:2], [0, 1], "y", rows.features["y"], {0: " <=50K", 1: " >50K"})
    assert numbers.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (["a", "b", "NA", "b"] * 6, "'NA' (6) is a class, though such words often stand for a gap"),
        (["a", "?", "nan", "b"] * 6, "'?' (6), 'nan' (6) are classes"),
        (["no", "NO", "Yes", "yes", "b"] * 6, "different ones: 'NO' (6), 'no' (6); 'Yes' (6), 'yes' (6)"),
        (["New York", "new  york", "Rome"] * 6, "different ones: 'New York' (6), 'new  york' (6)"),
    ],
)
def test_classes_that_may_be_gaps_or_one_are_named_with_their_rows(labels: list, words: str) -> None:
    with collect_notes() as notes:
        names = class_names(rows_of(labels), "y")
    assert names == sorted(set(labels))
    (surprise,) = [note.text for note in notes if note.surprising]
    assert words in surprise


def test_a_blank_target_is_a_missing_one() -> None:
    assert lacks_value(rows_of(["a", "", None, "  ", "b "]), "y").tolist() == [False, True, True, True, False]
