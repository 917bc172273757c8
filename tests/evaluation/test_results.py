"""Intervals, the comparison with a baseline, and the verdict."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest

from hubmodels.evaluation import evaluate
from hubmodels.evaluation.bootstrap import wilson_interval
from hubmodels.report import Baseline
from hubmodels.tasks.image_classification import ImageClassification
from hubmodels.tasks.targets.one_class import FittedOneClass

OPTIONS = ImageClassification()
TARGET = FittedOneClass(options=OPTIONS.target, names=["cat", "dog", "owl"])
PROBLEM = OPTIONS.problem_class(task=OPTIONS, input=None, target=TARGET)


def rows_with(accuracy: float, num_rows: int, seed: int, labels: np.ndarray | None = None) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 3, num_rows) if labels is None else labels
    wrong = np.arange(num_rows) >= round(accuracy * num_rows)
    generator.shuffle(wrong)
    return {
        "labels": labels,
        "predictions": np.where(wrong, (labels + 1) % 3, labels),
        "confidences": generator.uniform(0.4, 1.0, num_rows),
        "losses": generator.uniform(0.0, 1.0, num_rows),
    }


def baseline_of(rows: dict) -> Baseline:
    return Baseline(name="logistic regression", rows=rows, seconds=1.25)


class Error:
    """A problem with one metric, the mean error, of which less is better."""

    task = SimpleNamespace(
        main_metric="error", greater_is_better=False, metric_names={"error": "mean error"}, shares=()
    )

    def __init__(self, block: int = 1) -> None:
        self.block = block

    def metrics(self, rows: dict) -> dict[str, float]:
        return {"error": float(rows["errors"].mean())}

    def class_names(self) -> list:
        return []

    def resample_block(self) -> int:
        return self.block


def test_a_share_without_a_mistake_has_wilsons_interval_and_other_shares_the_bootstraps() -> None:
    rows = rows_with(1.0, 359, 0)
    results = evaluate(rows, PROBLEM, baseline_of(rows_with(0.0, 359, 0, rows["labels"])))
    found, worst = results.metrics["accuracy"], results.baseline_metrics["accuracy"]
    # Wilson's interval is where the score test of a share is at its limit: |share - p| = 1.96 sqrt(p (1 - p) / n).
    assert (found.value, found.high, worst.value, worst.low) == (1.0, pytest.approx(1.0), 0.0, pytest.approx(0.0))
    assert 1 - found.low == pytest.approx(1.959964 * math.sqrt(found.low * (1 - found.low) / 359), rel=1e-5)
    assert worst.high == pytest.approx(1 - found.low)
    assert str(found) == "1.0000 (0.9894 to 1.0000)"
    for share, num_rows in ((0.3, 50), (0.0, 7)):
        low, high = wilson_interval(share, num_rows)
        for end in (low, high):
            assert abs(share - end) == pytest.approx(1.959964 * math.sqrt(end * (1 - end) / num_rows), abs=1e-6)
    constant = evaluate({"errors": np.ones(20)}, Error()).metrics["error"]
    assert (constant.low, constant.high) == (1.0, 1.0)  # no share


@pytest.mark.parametrize(("accuracy", "num_rows"), [(0.9, 2000), (0.5, 300)])
def test_the_interval_of_the_accuracy_is_the_binomials(accuracy: float, num_rows: int) -> None:
    estimate = evaluate(rows_with(accuracy, num_rows, 0), PROBLEM).metrics["accuracy"]
    half = 1.96 * math.sqrt(accuracy * (1 - accuracy) / num_rows)
    assert estimate.value == pytest.approx(accuracy)
    # 1000 resamples know an end to about 5 % of the interval's half width.
    assert estimate.low == pytest.approx(accuracy - half, abs=0.15 * half)
    assert estimate.high == pytest.approx(accuracy + half, abs=0.15 * half)


def test_the_interval_of_a_mean_covers_the_truth_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    covered = 0
    for index in range(300):
        rows = {"errors": generator.normal(2.0, 1.0, 60)}
        estimate = evaluate(rows, Error(), num_resamples=200, seed=index).metrics["error"]
        covered += estimate.low <= 2.0 <= estimate.high
    # 95 % of 300 is 285; the percentile interval of 60 rows covers about 94 %, and the count's deviation is 4.
    assert 266 <= covered <= 298


def test_overlapping_rows_are_drawn_as_stretches_of_neighbours() -> None:
    # Ten equal rows in a row tell as much as one: the interval must be that of the 40 values behind the 400 rows.
    values = np.random.default_rng(0).normal(2.0, 1.0, 40)
    rows = {"errors": np.repeat(values, 10)}
    results = evaluate(rows, Error(block=10))
    alone, expected = (evaluate(some, Error()).metrics["error"] for some in (rows, {"errors": values}))
    found = results.metrics["error"]
    assert found.value == pytest.approx(values.mean())
    # A stretch can begin in the middle of ten equal rows, which evens it out a little.
    assert 0.75 < (found.high - found.low) / (expected.high - expected.low) < 1.1
    assert alone.high - alone.low < 0.4 * (expected.high - expected.low)
    assert results.to_dict()["resample_block"] == 10
    assert "of stretches of 10 rows" in results.table()


def test_a_resample_gathers_only_the_columns_that_metrics_read() -> None:
    class Unread:
        def __getitem__(self, rows: np.ndarray) -> None:
            raise AssertionError("this column was gathered")

    rows = {"errors": np.arange(5.0), "forecasts": Unread()}
    assert evaluate(rows, Error()).metrics["error"].value == 2


def test_a_baseline_may_lack_some_of_the_networks_metrics() -> None:
    class Several(Error):
        def metrics(self, rows: dict) -> dict[str, float]:
            spread = {"spread": float(rows["spreads"].mean())} if "spreads" in rows else {}
            return {"error": float(rows["errors"].mean()), **spread}

        def class_names(self) -> list:
            return ["one", "two"]

        def class_metrics(self, rows: dict) -> dict:
            return {"share": np.array([7.0, 8.0])}

    rows = {"errors": np.arange(6.0), "spreads": np.ones(6)}
    results = evaluate(rows, Several(), baseline_of({"errors": np.arange(6.0) + 1}))
    assert list(results.baseline_metrics) == ["error"]
    assert results.baseline_metrics["error"].value == 3.5
    assert results.difference.value == -1


def test_equal_seeds_give_equal_intervals_and_other_seeds_do_not() -> None:
    rows = rows_with(0.8, 200, 0)
    first, again, other = (evaluate(rows, PROBLEM, seed=seed).metrics["macro_f1"] for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_each_class_has_its_precision_and_recall_with_intervals() -> None:
    rows = rows_with(0.8, 600, 0)
    per_class = evaluate(rows, PROBLEM).per_class
    assert list(per_class) == ["cat", "dog", "owl"]
    for index, name in enumerate(per_class):
        mine = rows["labels"] == index
        estimate = per_class[name]["recall"]
        assert estimate.value == pytest.approx((rows["predictions"][mine] == index).mean())
        assert estimate.low < estimate.value < estimate.high
        chosen = rows["predictions"] == index
        assert per_class[name]["precision"].value == pytest.approx((rows["labels"][chosen] == index).mean())


def test_a_clearly_better_network_was_worth_it() -> None:
    network = rows_with(0.9, 1000, 0)
    results = evaluate(network, PROBLEM, baseline_of(rows_with(0.8, 1000, 1, network["labels"])))
    assert results.difference.value == pytest.approx(0.1)
    assert 0 < results.difference.low < 0.1 < results.difference.high
    assert results.verdict.startswith("The network was worth it")
    assert "accuracy 0.9000 against 0.8000, a difference of +0.1000" in results.verdict


def test_a_clearly_worse_network_was_not_worth_it() -> None:
    network = rows_with(0.7, 1000, 0)
    results = evaluate(network, PROBLEM, baseline_of(rows_with(0.8, 1000, 1, network["labels"])))
    assert results.verdict.startswith("The network was not worth it: logistic regression beats it")


def test_a_difference_within_its_interval_is_called_unclear() -> None:
    network = rows_with(0.81, 200, 0)
    results = evaluate(network, PROBLEM, baseline_of(rows_with(0.8, 200, 1, network["labels"])))
    assert results.difference.low < 0 < results.difference.high
    assert results.verdict.startswith("No clear difference between the network and logistic regression")


def test_where_less_is_better_the_smaller_error_wins() -> None:
    generator = np.random.default_rng(0)
    network, classical = {"errors": generator.random(300)}, {"errors": generator.random(300) + 1}
    assert evaluate(network, Error(), baseline_of(classical)).verdict.startswith("The network was worth it")
    assert evaluate(classical, Error(), baseline_of(network)).verdict.startswith("The network was not worth it")


def test_the_difference_is_paired_row_by_row() -> None:
    generator = np.random.default_rng(0)
    errors = generator.normal(0.0, 10.0, 100)
    results = evaluate({"errors": errors - 0.5}, Error(), baseline_of({"errors": errors}))
    # Every resample sees the same rows twice, so the difference has no spread although each mean has a large one.
    assert results.difference.low == pytest.approx(-0.5)
    assert results.difference.high == pytest.approx(-0.5)
    assert results.metrics["error"].high - results.metrics["error"].low > 3


def test_what_is_undefined_is_none_and_the_json_has_no_nan() -> None:
    rows = rows_with(0.8, 40, 0)
    rows["labels"] = np.zeros(40, dtype=np.int64)
    rows["predictions"] = np.zeros(40, dtype=np.int64)
    results = evaluate(rows, PROBLEM, baseline_of(rows))
    text = json.dumps(results.to_dict(), allow_nan=False)
    stored = json.loads(text)
    assert stored["per_class"]["owl"]["recall"] == {"value": None, "low": None, "high": None}
    assert stored["per_class"]["cat"]["recall"]["value"] == 1.0
    assert stored["num_rows"] == 40
    assert stored["baseline"]["name"] == "logistic regression"
    assert stored["difference"]["metric"] == "accuracy"
    assert "undefined" in results.table()


def test_the_table_names_metrics_classes_and_the_verdict() -> None:
    network = rows_with(0.9, 500, 0)
    results = evaluate(network, PROBLEM, baseline_of(rows_with(0.8, 500, 1, network["labels"])))
    lines = results.table().splitlines()
    assert lines[0].split() == ["metric", "network", "baseline"]
    assert lines[2].startswith("accuracy")
    assert "0.9000 (" in lines[2]
    assert "0.8000 (" in lines[2]
    assert any(line.startswith("dog ") for line in lines)
    assert results.verdict == lines[-1]
    assert max(len(line) for line in lines[:-1]) <= 120
    alone = evaluate(network, PROBLEM)
    assert alone.verdict == ""
    assert "baseline" not in alone.table()
    assert "baseline" not in alone.to_dict()


def test_no_rows_or_another_number_of_baseline_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="no rows to evaluate"):
        evaluate({"labels": np.zeros(0)}, PROBLEM)
    with pytest.raises(ValueError, match="the baseline has 30 rows, the network 40"):
        evaluate(rows_with(0.5, 40, 0), PROBLEM, baseline_of(rows_with(0.5, 30, 0)))
