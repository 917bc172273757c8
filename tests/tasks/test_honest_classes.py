"""What cannot be measured or learned of classes is said, and never 1.0000."""

import math
from collections.abc import Callable

import datasets
import numpy as np
import pytest

from hubmodels.errors import HubmodelsError
from hubmodels.report import collect_notes
from hubmodels.tasks import get_task
from hubmodels.tasks.targets.scored_class import FittedScoredClass, ScoredClass
from hubmodels.tasks.targets.several_labels import SeveralLabels

NAMES = {"id2label": {0: "sound", 1: "fraud", 2: "odd"}}


def rows_of(labels: list[int], classes: int) -> tuple[FittedScoredClass, dict[str, np.ndarray]]:
    target = ScoredClass().restore({"id2label": dict(list(NAMES["id2label"].items())[:classes])}, {})
    probabilities = np.eye(classes)[labels] * 0.9 + 0.05
    return target, target.probability_rows(probabilities, np.array(labels))


def test_of_one_measured_class_neither_balanced_accuracy_nor_area_is_told() -> None:
    target, rows = rows_of([0] * 20, 2)
    with collect_notes() as notes:
        measured = target.metrics(target.relate(rows))
    assert measured["accuracy"] == 1
    assert math.isnan(measured["balanced_accuracy"])
    assert math.isnan(measured["roc_auc"])
    assert [note.topic for note in notes] == ["results"]
    assert "no measured row has the class 'fraud': the balanced accuracy is undefined" in notes[0].text


def test_of_two_of_three_classes_the_balanced_accuracy_says_how_many() -> None:
    target, rows = rows_of([0, 1] * 10, 3)
    with collect_notes() as notes:
        measured = target.metrics(target.relate(rows))
    assert measured["balanced_accuracy"] == 1
    assert math.isnan(measured["roc_auc"])
    assert "class 'odd': the balanced accuracy is over the 2 of 3 classes that occur" in notes[0].text


def test_all_classes_measured_need_no_note() -> None:
    target, rows = rows_of([0, 1] * 10, 2)
    with collect_notes() as notes:
        target.relate(rows)
    assert notes == []


def test_a_label_of_no_measured_row_is_named() -> None:
    config = {**NAMES, "problem_type": "multi_label_classification"}
    target = SeveralLabels().restore(config, {})
    labels = np.array([[1, 0, 1], [0, 0, 1], [1, 0, 0]])
    rows = target.probability_rows(labels * 0.8 + 0.1, labels)
    with collect_notes() as notes:
        assert math.isnan(target.metrics(target.relate(rows))["roc_auc"])
    assert "the label 'fraud' is true of all measured rows or of none" in notes[0].text


def test_training_rows_of_one_class_are_refused_with_its_name(encode_rows: Callable) -> None:
    features = datasets.Features(x=datasets.Value("float64"), label=datasets.ClassLabel(names=["cat", "dog"]))
    table = datasets.Dataset.from_dict({"x": [1.0, 2.0], "label": [1, 1]}, features=features)
    task = get_task("tabular-classification")()
    rows = task.select(table)
    problem = task.fit(rows)
    with pytest.raises(HubmodelsError, match="all 2 training rows have the class 'dog': there is nothing"):
        problem.target.check_training(encode_rows(problem, rows))


def test_the_only_class_with_a_weight_is_refused(encode_rows: Callable) -> None:
    table = datasets.Dataset.from_dict({"x": [1.0, 2.0, 3.0], "label": ["cat", "dog", "cat"], "w": [1, 0, 2]})
    task = get_task("tabular-classification").from_options(weight_column="w")
    rows = task.select(table)
    problem = task.fit(rows)
    with pytest.raises(HubmodelsError, match="all 2 training rows with a weight have the class 'cat'"):
        problem.target.check_training(encode_rows(problem, rows))
