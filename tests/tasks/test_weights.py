"""Weights of rows from the column to the results: against scikit-learn, and a row of weight k against k rows."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn import metrics
from sklearn.linear_model import LogisticRegression

from hubmodels.cli import main
from hubmodels.errors import BadRow, HubmodelsError
from hubmodels.evaluation import evaluate, predict
from hubmodels.evaluation.bootstrap import effective_rows
from hubmodels.files import read_json
from hubmodels.recipe import Recipe
from hubmodels.report import collect_notes
from hubmodels.tasks import get_task, list_tasks
from hubmodels.tasks.baselines.choice import fit_quietly
from hubmodels.tasks.contract.weights import check_weights
from hubmodels.tasks.targets.numbers import Numbers
from hubmodels.tasks.targets.scored_class import ScoredClass
from hubmodels.tasks.targets.several_labels import SeveralLabels
from hubmodels.tasks.targets.tags import Tags
from hubmodels.use import evaluate_release
from hubmodels.workflow import train_and_release

DRAW = np.random.default_rng(0)
N, K = 120, 3
WEIGHTS = DRAW.integers(0, 4, N)
SCORES = DRAW.dirichlet(np.ones(K), N).round(2).astype(np.float32)  # ties
LABELS = DRAW.integers(0, K, N)
MULTI = DRAW.integers(0, 2, (N, K))
NAMES = {"id2label": {0: "a", 1: "b", 2: "c"}}
MULTI_LABEL = {**NAMES, "problem_type": "multi_label_classification"}


def class_rows() -> tuple[Any, dict[str, np.ndarray]]:
    target = ScoredClass().restore(NAMES, {})
    return target, target.probability_rows(SCORES, LABELS)


def label_rows() -> tuple[Any, dict[str, np.ndarray]]:
    target = SeveralLabels().restore(MULTI_LABEL, {})
    return target, target.probability_rows(DRAW.random((N, K)).round(2), MULTI)


def number_rows() -> tuple[Any, dict[str, np.ndarray]]:
    labels = DRAW.normal(size=(N, 2)).astype(np.float32)
    quantiles = np.sort(labels[..., None] + DRAW.normal(size=(N, 2, 3)).astype(np.float32), axis=-1)
    rows = {"labels": labels, "predictions": labels + DRAW.normal(size=(N, 2)).astype(np.float32)}
    rows |= {"quantile_values": quantiles, "quantile_losses": DRAW.random((N, 2)).astype(np.float32)}
    return Numbers().restore({}, {"names": ["p", "q"]}), rows


def tag_rows() -> tuple[Any, dict[str, np.ndarray]]:
    words = DRAW.integers(1, 9, N)
    rows = {"words": words, "hits": DRAW.integers(0, words + 1)}
    actual, predicted = DRAW.integers(0, 3, (N, 2)), DRAW.integers(0, 3, (N, 2))
    rows |= {"actual": actual, "predicted": predicted, "right": np.minimum(actual, predicted)}
    return Tags().restore({"id2label": {0: "O", 1: "B-X", 2: "B-Y"}}, {}), rows


@pytest.mark.parametrize("make", [class_rows, label_rows, number_rows, tag_rows])
def test_metrics_of_a_row_of_weight_k_are_those_of_k_rows(make: Callable) -> None:
    target, rows = make()
    weighted = {**rows, "sample_weight": WEIGHTS.astype(np.float32)}
    copies = {name: values.repeat(WEIGHTS, axis=0) for name, values in rows.items()}
    for measure in (target.metrics, target.class_metrics):
        first, second = measure(weighted), measure(copies)
        assert list(first) == list(second)
        for name in first:
            np.testing.assert_allclose(first[name], second[name], rtol=1e-9, err_msg=name)
    scaled = target.metrics({**rows, "sample_weight": (WEIGHTS * 1e-20).astype(np.float32)})
    assert scaled == pytest.approx(target.metrics(weighted), rel=1e-6)  # only ratios matter


def test_metrics_of_classes_are_scikit_learns_with_sample_weight() -> None:
    target, rows = class_rows()
    measured = target.metrics({**rows, "sample_weight": WEIGHTS.astype(np.float32)})
    predictions, given = SCORES.argmax(axis=1), {"sample_weight": WEIGHTS}
    assert measured["accuracy"] == pytest.approx(metrics.accuracy_score(LABELS, predictions, **given))
    assert measured["macro_f1"] == pytest.approx(metrics.f1_score(LABELS, predictions, average="macro", **given))
    balanced = metrics.balanced_accuracy_score(LABELS, predictions, **given)
    assert measured["balanced_accuracy"] == pytest.approx(balanced)
    one_hot = np.eye(K)[LABELS]
    area = np.mean([metrics.roc_auc_score(one_hot[:, k], SCORES[:, k], **given) for k in range(K)])
    assert measured["roc_auc"] == pytest.approx(area)


def test_metrics_of_numbers_are_scikit_learns_with_sample_weight() -> None:
    target, rows = number_rows()
    measured = target.metrics({**rows, "sample_weight": WEIGHTS.astype(np.float32)})
    pair, given = (rows["labels"].astype(float), rows["predictions"].astype(float)), {"sample_weight": WEIGHTS}
    assert measured["rmse"] == pytest.approx(metrics.root_mean_squared_error(*pair, **given))
    assert measured["mae"] == pytest.approx(metrics.mean_absolute_error(*pair, **given))
    assert measured["r2"] == pytest.approx(metrics.r2_score(*pair, **given))


def test_the_bootstrap_draws_a_weight_with_its_row_and_results_say_how_many_rows_tell_as_much() -> None:
    target, rows = class_rows()
    problem = get_task("tabular-classification")
    bound = problem.problem_class(task=problem(), input=None, target=target)
    rows["predictions"] = rows["labels"].copy()
    rows["predictions"][WEIGHTS == 0] = (rows["labels"][WEIGHTS == 0] + 1) % K  # mistakes that weigh nothing
    weighted = {**rows, "sample_weight": WEIGHTS.astype(np.float32)}
    results = evaluate(weighted, bound, num_resamples=20)
    accuracy = results.metrics["accuracy"]
    assert (accuracy.value, accuracy.high) == (1, pytest.approx(1))
    assert results.effective_rows == pytest.approx(WEIGHTS.sum() ** 2 / (WEIGHTS**2).sum())
    # Wilson's interval is of as many rows as tell, and so wider than that of all rows.
    assert accuracy.low == pytest.approx(1 / (1 + 1.959964**2 / effective_rows(weighted)), rel=1e-6)
    assert "rows are weighted and count as" in results.table()
    assert "effective_rows" not in evaluate(rows, bound, num_resamples=2).to_dict()


def test_a_baseline_fitted_with_weights_is_that_of_copies() -> None:
    inputs = DRAW.normal(size=(N, 4))
    weighted = fit_quietly(LogisticRegression(), inputs, LABELS, WEIGHTS.astype(float))
    mean = WEIGHTS.mean()  # the weights are scaled to a mean of 1 against the penalty
    copies = LogisticRegression(C=1 / mean).fit(inputs.repeat(WEIGHTS, axis=0), LABELS.repeat(WEIGHTS))
    np.testing.assert_allclose(weighted.predict_proba(inputs), copies.predict_proba(inputs), atol=1e-4)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1.0, -2.0, 1.0], "row 1, column 'w': the weight -2.0 is negative"),
        ([1.0, None, 1.0], "row 1, column 'w': the row has no weight"),
        ([1.0, float("nan"), 1.0], "row 1, column 'w': the row has no weight"),
        ([1.0, 1.0, float("inf")], "row 2, column 'w': the weight inf is too large"),
        ([1.0, 1e300, 1.0], "row 1, column 'w': the weight 1e[+]300 is too large"),
    ],
)
def test_a_weight_that_is_none_is_named_with_its_row(values: list, message: str) -> None:
    with pytest.raises(BadRow, match=message):
        check_weights(datasets.Dataset.from_dict({"w": values}), "w")


def test_weights_of_0_alone_words_and_missing_columns_are_refused() -> None:
    with pytest.raises(HubmodelsError, match="all 2 training rows have weight 0 in column 'w'"):
        check_weights(datasets.Dataset.from_dict({"w": [0, 0]}), "w")
    table = datasets.Dataset.from_dict({"x": [1.0, 2.0], "label": [0, 1], "w": ["a", "b"]})
    for column, words in (("w", "holds string, not numbers; choose another --weight_column"), ("v", "no column 'v'")):
        with pytest.raises(HubmodelsError, match=words):
            get_task("tabular-classification").from_options(weight_column=column).select(table)


def test_every_task_weighs_its_rows_or_says_who_does() -> None:
    weighing = {tag for tag in list_tasks() if get_task(tag)().target.weighs_rows}
    assert {"tabular-classification", "tabular-regression", "text-classification", "token-classification",
            "image-classification", "audio-classification", "time-series-classification"} <= weighing  # fmt: skip
    features = datasets.Features(w=datasets.Value("float64"))
    for tag in set(list_tasks()) - weighing:
        with pytest.raises(HubmodelsError, match=f"{tag} does not weigh its rows: leave out --weight_column"):
            get_task(tag).from_options(weight_column="w").weight_columns(features)


def test_a_weight_is_no_feature_and_its_range_is_a_note(encode_rows: Callable) -> None:
    table = datasets.Dataset.from_dict({"x": [1.0, 2.0, 3.0, 4.0], "label": [0, 1, 0, 1], "w": [0, 1, 1, 2]})
    task = get_task("tabular-classification").from_options(weight_column="w")
    rows = task.select(table)
    with collect_notes() as notes:
        problem = task.fit(rows)
    assert problem.processor.column_names == ["x"]
    assert encode_rows(problem, rows).tensor("sample_weight").tolist() == [0, 1, 1, 2]
    (said,) = [note for note in notes if note.column == "w"]
    assert "rows weigh 0 to 2" in said.text
    assert "count as 3 of 4" in said.text  # 16 / 6
    assert "1 have weight 0" in said.text


def test_a_long_table_of_series_has_one_weight_a_series(encode_rows: Callable) -> None:
    ids = np.repeat(["a", "b", "c", "d"], 5)
    frame = pd.DataFrame({"id": ids, "x": DRAW.normal(size=20), "label": (ids > "b").astype(int)})
    frame["w"] = (ids == "a") + 1.5
    options = {"series_id_column_name": "id", "weight_column": "w"}
    task = get_task("time-series-classification").from_options(**options)
    rows = task.select(datasets.Dataset.from_pandas(frame))
    problem = task.fit(rows)
    assert encode_rows(problem, rows).tensor("sample_weight").tolist() == [2.5, 1.5, 1.5, 1.5]
    assert problem.processor.channels == ["x"] or len(problem.processor.channels) == 1
    frame.loc[1, "w"] = 9
    with pytest.raises(HubmodelsError, match="series 'a' has several values in column 'w'"):
        task.select(datasets.Dataset.from_pandas(frame))


def write_table(folder: Path, target: str) -> Path:
    """Rows whose target is right where they weigh much, and wrong where they weigh nothing."""
    draw = np.random.default_rng(1)
    for split, count in (("train", 160), ("validation", 40), ("test", 60)):
        x = draw.normal(size=count)
        weight = (np.arange(count) % 2) * 2.5
        y = np.where(weight > 0, x, -x)
        label = np.where(y > 0, "up", "down") if target == "label" else y
        pd.DataFrame({"x": x, target: label, "w": weight}).to_csv(folder / f"{split}.csv", index=False)
    return folder


@pytest.mark.parametrize(("task", "target", "metric"), [("tabular-classification", "label", "accuracy"),
                                                        ("tabular-regression", "y", "r2")])  # fmt: skip
def test_a_training_learns_measures_and_compares_by_the_weights(
    task: str, target: str, metric: str, tmp_path: Path
) -> None:
    names = {"label_column_name": "label"} if target == "label" else {"target_column_names": ["y"]}
    recipe = Recipe(
        family="mlp", task=task,
        data={"dataset": str(write_table(tmp_path, target)), "weight_column": "w", **names},
        model={"hidden_sizes": [16]},
        training={"output_dir": str(tmp_path / "run"), "max_steps": 60, "learning_rate": 0.02,
                  "per_device_train_batch_size": 80},
    )  # fmt: skip
    outcome = train_and_release(recipe)
    results = outcome.results
    assert results.metrics[metric].value > 0.9  # half of the rows say the opposite, and weigh nothing
    assert results.baseline_metrics[metric].value > 0.9
    assert results.effective_rows == pytest.approx(30)
    assert read_json(outcome.folder / "metrics.json")["results"]["effective_rows"] == 30
    again = evaluate_release(str(outcome.folder), {})
    assert again.metrics[metric].value == pytest.approx(results.metrics[metric].value)
    rows = tmp_path / "new.csv"  # predict needs no weights
    pd.DataFrame({"x": [1.0, -1.0]}).to_csv(rows, index=False)
    assert main(["predict", str(outcome.folder), str(rows), "--output", str(tmp_path / "answers.csv")]) in (0, None)
    assert len(pd.read_csv(tmp_path / "answers.csv")) == 2


def test_predictions_carry_the_weights_and_the_model_sees_none(encode_rows: Callable) -> None:
    table = datasets.Dataset.from_dict({"x": [1.0, 2.0, 3.0, 4.0], "label": [0, 1, 0, 1], "w": [0, 1, 1, 2]})
    task = get_task("tabular-classification").from_options(weight_column="w")
    rows = task.select(table)
    problem = task.fit(rows)

    class Model(torch.nn.Module):
        def forward(self, **batch: torch.Tensor) -> Any:
            assert "sample_weight" not in batch
            return type("Outputs", (), {"logits": torch.zeros(len(batch["labels"]), 2)})

    told = predict(Model(), encode_rows(problem, rows), problem.predict, problem.transform(training=False), 3)
    assert told["sample_weight"].tolist() == [0, 1, 1, 2]
