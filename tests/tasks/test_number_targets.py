"""Targets of numbers that float32 does not hold as they are: centred, scaled and restored in float64."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pyarrow
import pytest
import torch
from sklearn import metrics

from hubmodels.data.kinds import decide_kinds
from hubmodels.errors import BadRow, HubmodelsError
from hubmodels.files import read_json
from hubmodels.recipe import ReadingOptions, Recipe
from hubmodels.report import collect_notes
from hubmodels.tasks.tabular_regression import TabularRegression
from hubmodels.tasks.targets.number_rows import metrics_by_target
from hubmodels.tasks.targets.numbers import FittedNumbers, Numbers
from hubmodels.use import predict_file
from hubmodels.workflow import train_and_release

DRAW = np.random.default_rng(0)
NOISE = DRAW.normal(size=80)
COLUMNS = {
    "seconds since 1970": 1.7e9 + 10 * NOISE,
    "close to a million": 1e6 + 1e-3 * NOISE,
    "huge": 1e300 * NOISE,
    "tiny": 1e-300 * NOISE,
    "nanoseconds": (1_700_000_000_000_000_000 + (NOISE * 1e12).astype(np.int64)),
}


def fit(values: Any, name: str = "y") -> FittedNumbers:
    rows = datasets.Dataset.from_dict({name: list(values)})
    return Numbers(target_column_names=[name]).fit(rows, [name])


def encode(target: FittedNumbers, values: Any) -> np.ndarray:
    return target.encode({"y": list(values)}, list(range(len(values))), ["y"], None)["labels"]


@pytest.mark.parametrize("name", COLUMNS)
def test_what_float32_does_not_hold_is_scaled_before_and_restored_after(name: str) -> None:
    values = COLUMNS[name].tolist()
    with collect_notes() as notes:
        target = fit(values)
    labels = encode(target, values)
    assert labels.dtype == np.float32
    assert labels.mean() == pytest.approx(0, abs=1e-5)
    assert labels.std() == pytest.approx(1, rel=1e-5)
    restored = target.own_units(torch.from_numpy(labels)).numpy()[:, 0]
    size = {"huge": 1e300, "tiny": 1e-300}.get(name, 1.0)
    spread = np.std(np.array(values, dtype=np.float64) / size) * size
    # 1e-6: a float32 of up to 4 spreads has steps of 2.4e-7
    assert np.abs(restored - np.array(values, dtype=np.float64)).max() <= 1e-6 * spread + np.spacing(1.7e18) * (
        name == "nanoseconds"
    )
    said = [note for note in notes if "float32 would not tell these values apart" in note.text]
    assert [(note.column, note.surprising) for note in said] == [("y", True)]
    again = Numbers().restore(target.config_fields(), target.state())
    assert (again.center, again.spread, again.scale) == (target.center, target.spread, target.scale)


def test_numbers_that_float32_holds_stay_as_they_are() -> None:
    values = 206_000 + 115_000 * NOISE
    target = fit(values)
    assert not target.is_scaled
    assert target.state() == {"names": ["y"]}  # as releases have it
    assert encode(target, values).tolist() == values.astype(np.float32)[:, None].tolist()
    assert target.config_fields()["target_mean"] == pytest.approx([values.mean()])
    logits = torch.randn(3, 1)
    assert target.own_units(logits) is logits


def test_answers_and_rows_of_scaled_targets_are_in_their_own_units() -> None:
    target = fit(COLUMNS["seconds since 1970"])
    ((center,), (spread,)) = target.center, target.spread
    outputs = SimpleNamespace(
        logits=torch.tensor([[0.5], [-1.0]]),
        quantile_values=torch.tensor([[[-1.0, 1.0]], [[-2.0, 0.0]]]),
        quantile_levels=torch.tensor([[0.1, 0.9]] * 2),
        spread=torch.tensor([[0.25], [0.5]]),
    )
    answers = target.answers(outputs)
    assert answers["prediction"].tolist() == [center + 0.5 * spread, center - spread]
    assert answers["low"].tolist() == pytest.approx([center - spread, center - 2 * spread], rel=1e-15)
    assert answers["uncertainty"].tolist() == pytest.approx([0.25 * spread, 0.5 * spread], rel=1e-6)
    rows = {name: value.numpy() for name, value in target.predict(outputs, {"labels": torch.zeros(2, 1)}).items()}
    assert rows["quantile_values"][0, 0].tolist() == pytest.approx([center - spread, center + spread], rel=1e-15)
    assert rows["quantile_losses"][:, 0].tolist() == pytest.approx([0.1 * spread, 0.1 * spread], rel=1e-6)
    assert target.metrics(rows)["coverage"] == 1


@pytest.mark.parametrize("size", [1e-200, 1.0, 1e200])
def test_metrics_of_any_size_are_scikit_learns(size: float) -> None:
    labels, predictions = DRAW.normal(size=(50, 2)), DRAW.normal(size=(50, 2))
    measured = metrics_by_target({"labels": labels * size, "predictions": predictions * size})
    errors = metrics.root_mean_squared_error(labels, predictions, multioutput="raw_values")
    np.testing.assert_allclose(measured["rmse"], errors * size, rtol=1e-12)
    np.testing.assert_allclose(measured["r2"], metrics.r2_score(labels, predictions, multioutput="raw_values"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1.0, float("inf"), 3.0], "row 1, column 'y': the target is inf, not finite"),
        ([1.0, 2.0, float("nan")], "row 2, column 'y': the row has no target"),
        ([1.0, None, 3.0], "row 1, column 'y': the row has no target"),
    ],
)
def test_what_is_no_number_is_named_with_its_row(values: list, message: str) -> None:
    with pytest.raises(BadRow, match=message):
        fit(values)


def test_an_infinity_of_float16_is_named() -> None:
    table = datasets.Dataset.from_dict({"y": [1.0, 2.0]}).cast_column("y", datasets.Value("float16"))
    target = fit([1.0, 2.0])
    with pytest.raises(BadRow, match="row 1, column 'y': the target is inf"):
        target.encode({"y": [1.0, np.float16(7e4)]}, [0, 1], ["y"], table.features)


def test_a_later_number_beyond_float32_is_named() -> None:
    with pytest.raises(BadRow, match=r"row 7, column 'y': the target 1e\+300 is too large beside those"):
        fit([1.0, 2.0]).encode({"y": [1.0, 1e300]}, [3, 7], ["y"], None)


def test_a_constant_target_is_refused() -> None:
    with pytest.raises(HubmodelsError, match=r"column 'y' has one value, 5.0, in all 4 training rows"):
        fit([5.0] * 4)


def test_whole_numbers_that_float64_rounds_are_counted() -> None:
    with collect_notes() as notes:
        fit([2**53 + 1, 2**53 + 3, 4])
    assert any("2 whole numbers lie beyond 2^53 and are rounded" in note.text for note in notes)


def test_decimals_and_booleans_are_numbers() -> None:
    target = fit([1.0, 2.0])
    assert encode(target, [Decimal("1.25"), True]).tolist() == [[1.25], [1.0]]


def test_a_model_of_unix_times_answers_in_seconds(tmp_path: Path) -> None:
    x = DRAW.normal(size=300)
    frame = pd.DataFrame({"x": x, "at": 1_700_000_000 + 3600 * x + 60 * DRAW.normal(size=300), "big": 1e300 * (x + 3)})
    frame[:240].to_csv(tmp_path / "train.csv", index=False)
    frame[240:].to_csv(tmp_path / "test.csv", index=False)
    recipe = Recipe(
        family="mlp", task="tabular-regression",
        data={"dataset": str(tmp_path), "target_column_names": ["at", "big"], "feature_column_names": ["x"]},
        model={"hidden_sizes": [32]},
        training={"output_dir": str(tmp_path / "run"), "max_steps": 150, "learning_rate": 0.02},
    )  # fmt: skip
    outcome = train_and_release(recipe)
    assert read_json(outcome.folder / "problem.json")["target"]["center"][0] == pytest.approx(1.7e9, rel=1e-3)
    per_target = outcome.results.per_class
    assert 40 < per_target["at"]["rmse"].value < 1200  # the noise is 60 s, the spread an hour
    assert per_target["at"]["r2"].value > 0.9
    assert per_target["big"]["r2"].value > 0.9
    assert outcome.results.baseline_metrics["r2"].value > 0.9
    predict_file(str(outcome.folder), str(tmp_path / "test.csv"), str(tmp_path / "answers.parquet"), keep=[])
    answers = pd.read_parquet(tmp_path / "answers.parquet")
    assert answers["prediction_at"].dtype == np.float64
    error = np.sqrt(np.square(answers["prediction_at"] - frame["at"][240:].to_numpy()).mean())
    assert error == pytest.approx(per_target["at"]["rmse"].value, rel=1e-6)


def test_a_task_of_numbers_encodes_through_the_problem(encode_rows: Callable) -> None:
    values = COLUMNS["seconds since 1970"]
    table = datasets.Dataset.from_dict({"x": NOISE, "y": values})
    task = TabularRegression.from_options(target_column_names=["y"])
    rows = task.select(table)
    problem = task.fit(rows)
    columns = encode_rows(problem, rows)
    baseline = problem.baseline(columns, columns)
    np.testing.assert_allclose(baseline.rows["labels"][:, 0], values, rtol=1e-14)
    assert problem.metrics(baseline.rows)["rmse"] < 10


def test_a_target_of_text_that_is_nearly_numbers_is_refused_with_the_cell_and_what_reads_the_others() -> None:
    cells = [str(row) if row != 30 else "sold" for row in range(40)]
    features = datasets.Features({"price": datasets.Value("string")})
    with collect_notes():
        decide_kinds(pyarrow.table({"price": cells}), ReadingOptions())
        with pytest.raises(HubmodelsError) as refusal:
            Numbers(target_column_names=["price"]).columns(features, [])
    assert "39 of 40 values are numbers, others such as 'sold' (row 30) are not" in str(refusal.value)
    assert "--column_kinds '{price: number}' reads the numbers in it" in str(refusal.value)
    kinds = decide_kinds(pyarrow.table({"price": cells}), ReadingOptions(column_kinds={"price": "number"}))
    assert kinds.apply(pyarrow.table({"price": cells}))["price"].null_count == 1
