"""Classification metrics against scikit-learn and sums by hand."""

import warnings

import numpy as np
import pytest
from sklearn import metrics as reference

from hubmodels.formatting import shorten
from hubmodels.tasks.targets import class_rows as classification


def random_rows(num_rows: int, num_classes: int, used: int, seed: int) -> tuple[dict, np.ndarray]:
    """Rows of a method that is right more often than not, and its probabilities; only `used` classes occur."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, used, num_rows)
    logits = generator.normal(size=(num_rows, num_classes))
    logits[:, used:] = -50
    logits[np.arange(num_rows), labels] += 1.5
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return classification.probability_rows(probabilities, labels), probabilities


@pytest.mark.parametrize(("num_rows", "num_classes", "used"), [(500, 10, 10), (40, 3, 3), (200, 12, 7), (7, 5, 5)])
def test_metrics_are_scikit_learns(num_rows: int, num_classes: int, used: int) -> None:
    rows, probabilities = random_rows(num_rows, num_classes, used, num_rows)
    got = classification.classification_metrics(rows, num_classes)
    labels, predictions = rows["labels"], rows["predictions"]
    assert got["accuracy"] == pytest.approx(reference.accuracy_score(labels, predictions))
    assert got["macro_f1"] == pytest.approx(reference.f1_score(labels, predictions, average="macro"))
    wanted = reference.log_loss(labels, probabilities, labels=np.arange(num_classes))
    assert got["log_loss"] == pytest.approx(wanted, rel=1e-5)
    per_class = classification.class_precision_recall(rows, num_classes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        precision, recall, _, _ = reference.precision_recall_fscore_support(
            labels, predictions, labels=np.arange(num_classes), zero_division=np.nan
        )
    np.testing.assert_allclose(per_class["precision"], precision)
    np.testing.assert_allclose(per_class["recall"], recall)
    np.testing.assert_array_equal(
        classification.confusion_matrix(rows, num_classes),
        reference.confusion_matrix(labels, predictions, labels=np.arange(num_classes)),
    )


def test_a_class_that_never_occurs_is_undefined_and_not_zero() -> None:
    rows, _ = random_rows(50, 4, 3, 0)
    per_class = classification.class_precision_recall(rows, 4)
    assert np.isnan(per_class["precision"][3])
    assert np.isnan(per_class["recall"][3])
    assert np.isfinite(per_class["precision"][:3]).all()


def test_the_calibration_error_is_the_weighted_gap_of_its_fifteen_bins() -> None:
    rows, _ = random_rows(400, 6, 6, 1)
    confidences, hits = rows["confidences"].astype(np.float64), rows["labels"] == rows["predictions"]
    total = 0.0
    for index in range(15):
        inside = (confidences > index / 15) & (confidences <= (index + 1) / 15)
        if inside.any():
            total += inside.mean() * abs(hits[inside].mean() - confidences[inside].mean())
    assert classification.calibration_error(rows) == pytest.approx(total, abs=1e-6)


@pytest.mark.parametrize("confidence", [0.0, 1 / 15, 0.2, 1.0])
def test_confidences_at_the_edges_fall_into_a_bin(confidence: float) -> None:
    rows = {"labels": np.array([1, 1]), "predictions": np.array([1, 0]), "confidences": np.full(2, confidence)}
    assert classification.calibration_error(rows) == pytest.approx(abs(0.5 - confidence))
    assert classification.calibration_bins(rows)[0].sum() == 2


def test_a_probability_of_zero_for_the_label_gives_a_finite_loss() -> None:
    rows = classification.probability_rows(np.array([[1.0, 0.0]]), np.array([1]))
    assert 80 < rows["losses"][0] < 100


def test_long_class_names_are_cut_for_the_axes() -> None:
    assert shorten("cat") == "cat"
    assert shorten("x" * 40, 10) == "x" * 9 + "…"
