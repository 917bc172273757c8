"""What a table's columns are taken for, what is left out of it, and what is said: by small tables of known content."""

import datetime

import datasets
import numpy as np
import pytest

from hubmodels.errors import BadRow, HubmodelsError
from hubmodels.report import Note, collect_notes
from hubmodels.tasks import AnyProblem
from hubmodels.tasks.contract.columns import class_names, class_numbers
from hubmodels.tasks.tabular_classification import TabularClassification

NUM_ROWS = 60


def make_table(**columns) -> datasets.Dataset:
    """Columns beside a class and one number that is of use."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=NUM_ROWS)
    return datasets.Dataset.from_dict({"x": x, **columns, "label": np.where(x > 0, "high", "low")})


def fit(table: datasets.Dataset, checkpoint: str | None = None, **options) -> tuple[AnyProblem, dict[str, Note]]:
    """The problem, and the notes about columns by their names."""
    task = TabularClassification.from_options(label_column_name="label", **options)
    with collect_notes() as notes:
        problem = task.fit(task.select(table), checkpoint=checkpoint)
    return problem, {note.column: note for note in notes}


MANY = {
    "count": [*range(10)] * 6,
    "town": ["north", "south", None] * 20,
    "day": [datetime.datetime(2024, 1 + row % 12, 5) for row in range(NUM_ROWS)],
    "same": [7] * NUM_ROWS,
    "remark": [f"words of row {row}" for row in range(NUM_ROWS)],
    "customer_id": [1000 + 7 * row for row in range(NUM_ROWS)],
    "Unnamed: 0": list(range(NUM_ROWS)),
    "again": [*range(10)] * 6,
}


def test_each_column_is_said_with_what_it_was_taken_for_and_why(tmp_path) -> None:
    problem, notes = fit(make_table(**MANY))
    assert {name: note.kind for name, note in notes.items()} == {
        "x": "number", "count": "number", "town": "category", "day": "date", "same": "left out", "remark": "left out",
        "customer_id": "left out", "Unnamed: 0": "left out", "again": "left out", "label": "target",
    }  # fmt: skip
    words = {
        "count": "a number, 0 to 9", "town": "2 values.*with gaps", "day": "month", "same": "constant: 7",
        "remark": "an identifier or free text", "customer_id": "an identifier: 60 different", "Unnamed: 0": "row index",
        "again": "the same as 'count'",
    }  # fmt: skip
    for name, pattern in words.items():
        with pytest.raises(AssertionError, match=pattern):
            raise AssertionError(notes[name].text)
    assert [name for name, note in notes.items() if note.surprising] == ["customer_id", "Unnamed: 0", "remark", "again"]
    problem.processor.save_pretrained(tmp_path)
    assert fit(make_table(**MANY), checkpoint=str(tmp_path))[1] == notes  # also where the processor is kept


def test_a_copy_of_the_target_is_left_out_whatever_its_name_and_one_that_differs_once_is_not() -> None:
    table = make_table()
    copy = table.add_column("outcome", table["label"][:])
    problem, notes = fit(copy)
    assert problem.processor.column_names == ["x"]
    assert notes["outcome"].text.endswith("a copy of the target 'label'")
    nearly = table.add_column(
        "outcome", ["low", *table["label"][1:]] if table["label"][0] == "high" else ["high", *table["label"][1:]]
    )
    assert fit(nearly)[0].processor.column_names == ["x", "outcome"]


@pytest.mark.parametrize("name", ["paid", "grid", "valid", "humid", "keyboard", "weight", "number", "year"])
def test_different_whole_numbers_of_another_name_are_numbers(name: str) -> None:
    problem, _ = fit(make_table(**{name: [3 * row for row in range(NUM_ROWS)]}))
    assert name in problem.processor.column_names


@pytest.mark.parametrize("name", ["id", "ID", "PassengerId", "userID", "row_id", "index", "order_no", "uuid", "idx"])
def test_different_whole_numbers_of_an_identifiers_name_are_left_out(name: str) -> None:
    problem, notes = fit(make_table(**{name: [3 * row for row in range(NUM_ROWS)]}))
    assert problem.processor.column_names == ["x"]
    assert notes[name].surprising


def test_what_a_person_says_of_a_column_wins() -> None:
    said = {"customer_id": "number", "count": "category", "town": "identifier"}
    problem, notes = fit(make_table(**MANY), column_kinds=said)
    kinds = {column["name"]: column["kind"] for column in problem.processor.columns}
    assert (kinds["customer_id"], kinds["count"]) == ("number", "category")
    assert problem.processor.dropped["town"] == "identifier, as column_kinds says"
    assert not notes["town"].surprising
    with pytest.raises(ValueError, match="'town' cannot be 'categry', did you mean 'category'"):
        fit(make_table(**MANY), column_kinds={"town": "categry"})


def test_gaps_are_refused_where_that_is_asked_for() -> None:
    table = make_table(town=["north", "south", None] * 20)
    problem, _ = fit(table, missing_values="refuse")
    rows = table.select_columns(["x", "town", "label"])
    with pytest.raises(BadRow, match=r"row 102, column 'town': it is a gap \(19 more .*missing_values indicator"):
        problem.encode(rows[:], list(range(100, 160)), rows.features)
    rows = table.filter(lambda row: row["town"] is not None)
    assert len(problem.encode(rows[:], list(range(40)), rows.features)["labels"]) == 40


def test_a_value_that_is_no_number_is_named_by_its_row_in_the_data_set() -> None:
    problem, _ = fit(make_table())
    with pytest.raises(BadRow) as caught:
        problem.input.encode({"x": ["1.5", "much"]}, [40, 41], ["x"])
    assert (caught.value.row, caught.value.column) == (41, "x")


# ---------------------------------------------------------------- classes


def test_whole_floats_are_classes_also_with_gaps() -> None:
    rows = datasets.Dataset.from_dict({"label": [1.0, 0.0, None, 10.0, 2.0]})
    names = class_names(rows, "label")
    assert names == ["0", "1", "2", "10"]
    feature = rows.features["label"]
    numbers = class_numbers([10.0, 0, "2", 1.0], [0, 1, 2, 3], "label", feature, dict(enumerate(names)))
    assert numbers.tolist() == [3, 0, 2, 1]
    with pytest.raises(BadRow, match="row 8, column 'label': it has no class .it holds nan, nor have 1 more"):
        class_numbers([1.0, float("nan"), None], [7, 8, 9], "label", feature, dict(enumerate(names)))


def test_booleans_are_classes() -> None:
    assert class_names(datasets.Dataset.from_dict({"label": [True, False, None]}), "label") == ["False", "True"]


@pytest.mark.parametrize("values", [[0.5, 1.0, 2.0], list(range(40)), [float(row) for row in range(40)]])
def test_a_column_of_many_numbers_is_refused_as_classes_with_the_task_that_predicts_numbers(values: list) -> None:
    with pytest.raises(HubmodelsError, match="these are not classes; .* task of regression"):
        class_names(datasets.Dataset.from_dict({"label": values}), "label")
