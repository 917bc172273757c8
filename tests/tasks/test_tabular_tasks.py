"""The tabular tasks: columns, encoded rows, metrics against scikit-learn, baselines, figures, predictions in files."""

import datasets
import numpy as np
import pyarrow
import pytest
import torch
from sklearn import metrics

from hubmodels.data.columns import encode_dataset
from hubmodels.errors import HubmodelsError
from hubmodels.tasks._tabular import Table
from hubmodels.tasks.tabular_classification import TabularClassification
from hubmodels.tasks.tabular_regression import TabularRegression
from hubmodels.tasks.targets.class_rows import roc_auc

NUM_ROWS = 300


def make_table(seed: int = 0) -> datasets.Dataset:
    """The target follows x, a little the town, and never noise."""
    generator = np.random.default_rng(seed)
    x, noise = generator.normal(size=(2, NUM_ROWS))
    town = generator.choice(["north", "south"], NUM_ROWS)
    value = 10 * x + 3 * (town == "north") + generator.normal(size=NUM_ROWS)
    kind = np.where(value > 0, "high", "low")
    return datasets.Dataset.from_dict({"x": x, "noise": noise, "town": town, "value": value, "kind": kind})


CLASSIFY = TabularClassification(label_column_name="kind", ignored_column_names=["value"])
REGRESS = TabularRegression(target_column_names=["value"], ignored_column_names=["kind"])
both = pytest.mark.parametrize("task", [CLASSIFY, REGRESS], ids=["classification", "regression"])


def encode(task, rows: datasets.Dataset, processor=None):
    processor = processor or task.fit_processor(rows)
    values = task.fit_config(rows, processor)
    columns = encode_dataset(
        rows,
        lambda batch, numbers: task.encode(batch, numbers, rows.features, processor, values),
        task.encoded_features(processor, values),
        key=[processor.to_dict(), repr(task)],
        description="encoding",
    )
    return processor, values, columns


@both
def test_encoded_rows_are_the_processors_features_and_the_targets(task) -> None:
    rows = task.select(make_table())
    processor, values, columns = encode(task, rows)
    assert processor.column_names == ["x", "noise", "town"]
    expected = processor(rows, return_tensors="pt")
    for name in expected:
        assert torch.equal(columns.tensor(name), expected[name])
    if task is CLASSIFY:
        assert values["id2label"] == {0: "high", 1: "low"}
        assert columns.tensor("labels").tolist() == [values["label2id"][kind] for kind in rows["kind"]]
    else:
        targets = np.array(rows["value"][:])
        np.testing.assert_allclose(columns.tensor("labels")[:, 0], targets, rtol=1e-6)
        assert values["target_mean"] == pytest.approx([targets.mean()], rel=1e-5)
        assert values["target_std"] == pytest.approx([targets.std()], rel=1e-5)
        assert values["target_min"] == pytest.approx([targets.min()], rel=1e-5)


@both
def test_rows_to_predict_need_no_target_and_other_columns_are_left_alone(task) -> None:
    rows = task.select(make_table())
    processor, values, columns = encode(task, rows)
    table = make_table().remove_columns(["kind", "value"]).add_column("id", range(NUM_ROWS)).data.table
    inputs = task.encode_inputs(pyarrow.table(table.to_pydict()), range(NUM_ROWS), processor, values)
    assert all(np.array_equal(inputs[name], columns.tensor(name)) for name in inputs)
    assert "labels" not in inputs
    assert task.input_columns(processor) == ["x", "noise", "town"]


@both
def test_the_golden_input_has_the_shape_of_encoded_rows(task) -> None:
    processor, values, columns = encode(task, task.select(make_table()))
    golden = task.golden_inputs(processor, values)
    batch = columns.batch(torch.arange(2))
    batch.pop("labels")
    assert {name: (value.shape, value.dtype) for name, value in golden.items()} == {
        name: (value.shape, value.dtype) for name, value in batch.items()
    }


@pytest.mark.parametrize("num_classes", [2, 4])
def test_classification_metrics_are_scikit_learns(num_classes: int) -> None:
    generator = np.random.default_rng(1)
    labels = generator.integers(0, num_classes, 200)
    scores = generator.normal(size=(200, num_classes)).round(1)  # ties
    scores[np.arange(200), labels] += 1
    logits = torch.from_numpy(scores)
    outputs = type("Outputs", (), {"logits": logits})
    rows = {
        name: value.numpy() for name, value in CLASSIFY.predict(outputs, {"labels": torch.from_numpy(labels)}).items()
    }
    found = CLASSIFY.metrics(rows, {"id2label": dict.fromkeys(range(num_classes))})
    probabilities = logits.softmax(-1).numpy()
    auc_input = probabilities[:, 1] if num_classes == 2 else probabilities
    predicted = probabilities.argmax(1)
    assert [*found, "label_accuracy"] == list(CLASSIFY.metric_names)  # that one is of rows with several labels
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(labels, predicted))
    assert found["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(labels, predicted))
    assert found["macro_f1"] == pytest.approx(metrics.f1_score(labels, predicted, average="macro"))
    assert found["roc_auc"] == pytest.approx(metrics.roc_auc_score(labels, auc_input, multi_class="ovr"), abs=1e-6)
    assert found["log_loss"] == pytest.approx(metrics.log_loss(labels, probabilities), rel=1e-5)


def test_the_area_under_the_curve_is_undefined_without_both_classes() -> None:
    assert np.isnan(roc_auc(np.array([[0.5, 0.5], [0.2, 0.8]]), np.array([1, 1])))


def test_regression_metrics_are_scikit_learns_and_means_over_targets() -> None:
    generator = np.random.default_rng(2)
    labels = generator.normal(size=(100, 2)).astype(np.float32)
    predictions = labels + generator.normal(size=(100, 2)).astype(np.float32)
    rows = {"labels": labels, "predictions": predictions}
    found = REGRESS.metrics(rows, {})
    rmse = [metrics.root_mean_squared_error(labels[:, i], predictions[:, i]) for i in range(2)]
    assert found["rmse"] == pytest.approx(np.mean(rmse), rel=1e-5)
    assert found["mae"] == pytest.approx(metrics.mean_absolute_error(labels, predictions), rel=1e-5)
    assert found["r2"] == pytest.approx(metrics.r2_score(labels, predictions), rel=1e-5)
    names = {"id2label": {0: "a", 1: "b"}}
    assert REGRESS.class_metrics(rows, names)["rmse"] == pytest.approx(rmse, rel=1e-5)
    rows["quantile_values"] = np.stack([labels - 1, labels + (np.arange(200).reshape(100, 2) % 4 - 2)], axis=-1)
    assert REGRESS.metrics(rows, {})["coverage"] == pytest.approx(0.5)  # -2, -1 lie below; 0 and 1 do not
    levels, values = [0.1, 0.5, 0.9], np.stack([predictions - 1, predictions, predictions + 1], axis=-1)
    outputs = type("Outputs", (), {"logits": torch.from_numpy(predictions)})
    outputs.quantile_values = torch.from_numpy(values)
    outputs.quantile_levels = torch.tensor([levels]).repeat(100, 1)
    rows = REGRESS.predict(outputs, {"labels": torch.from_numpy(labels)})
    found = REGRESS.metrics({name: value.numpy() for name, value in rows.items()}, {})
    pinball = [metrics.mean_pinball_loss(labels, values[..., place], alpha=level) for place, level in enumerate(levels)]
    assert found["quantile_loss"] == pytest.approx(np.mean(pinball), rel=1e-5)


@both
def test_the_strongest_baseline_stands_first_and_a_constant_last(task) -> None:
    processor, values, columns = encode(task, task.select(make_table()))
    _, _, test = encode(task, task.select(make_table(1)), processor)
    best = task.baseline(columns, test, processor, values, seed=0)
    assert [len(best.others), best.others[-1].name] == [2, task.baseline_names["dummy"]]
    scores = [task.metrics(item.rows, values)[task.main_metric] for item in (best, best.others[-1])]
    assert (scores[0] > scores[1] + 0.2) if task is CLASSIFY else (scores[0] < 0.5 * scores[1])
    if task is REGRESS:  # the target is linear
        assert best.name.startswith("ridge regression")
        assert scores[0] == pytest.approx(1.0, abs=0.15)  # the noise of the table


@both
def test_importance_and_dependence_find_the_column_that_matters(task) -> None:
    processor, values, columns = encode(task, task.select(make_table()))

    def predict(table):  # a model that knows x alone
        batch = table.batch(torch.arange(len(table)))
        x = batch["numeric_features"][:, 0]
        if task is REGRESS:
            return {"labels": batch["labels"].numpy(), "predictions": 10 * x[:, None].numpy()}
        outputs = type("Outputs", (), {"logits": torch.stack([5 * x, -5 * x], dim=1)})
        return {name: value.numpy() for name, value in task.predict(outputs, batch).items()}

    table = Table.take(columns, np.arange(NUM_ROWS))
    importances = task.importances(predict, table, processor, values)
    assert importances["x"].min() > 0.2
    assert importances["noise"].tolist() == importances["town"].tolist() == [0, 0, 0]
    points, lines = task.dependence(predict, table, processor, values, "x")
    assert points == sorted(points)
    change = np.diff(lines[:, 0])
    assert (change >= 0).all() if task is REGRESS else (change <= 0).all()  # "low" becomes less likely with x
    plots = list(task.explain(predict, columns, processor, values))
    assert [plot.name for plot in plots] == ["permutation_importance", "partial_dependence"]
    rows = predict(table)
    assert len(list(task.plots(rows, columns, processor, values))) == (2 if task is CLASSIFY else 1)


def test_answers_are_columns_with_probabilities_or_intervals() -> None:
    outputs = type(
        "Outputs", (), {"logits": torch.tensor([[2.0, 0.0], [0.0, 2.0]]), "spread": torch.tensor([[0.1, 0.3]] * 2)}
    )
    answers = CLASSIFY.answers(outputs, {"id2label": {0: "high", 1: "low"}})
    assert list(answers) == ["prediction", "probability_high", "probability_low", "uncertainty"]
    assert answers["prediction"].tolist() == ["high", "low"]
    assert answers["uncertainty"] == pytest.approx([0.1, 0.3])
    outputs = type(
        "Outputs", (), {"logits": torch.ones(2, 1), "quantile_values": torch.tensor([[[0.5, 1.5]]] * 2), "spread": None}
    )
    answers = REGRESS.answers(outputs, {"id2label": {0: "value"}})
    assert {name: column.tolist() for name, column in answers.items()} == {
        "prediction": [1, 1], "low": [0.5, 0.5], "high": [1.5, 1.5],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (TabularClassification(), "no class column"),
        (TabularRegression(target_column_names=["values"]), "did you mean 'value'"),
        (TabularRegression(target_column_names=["town"]), "'town' holds string, not numbers"),
        (TabularRegression(target_column_names=["value"], feature_column_names=["value"]), "is the target"),
        (TabularRegression(target_column_names=["value"], feature_column_names=["y"]), "no column 'y'"),
        (
            TabularRegression(target_column_names=["value"], ignored_column_names=["x", "noise", "town", "kind"]),
            "no column to predict from",
        ),
    ],
)
def test_columns_that_do_not_fit_are_refused(task, message) -> None:
    table = make_table()
    with pytest.raises(HubmodelsError, match=message):
        task.select(table)


def test_a_regression_without_a_usual_target_name_asks_for_one() -> None:
    table = make_table().rename_column("value", "sum")
    with pytest.raises(HubmodelsError, match="--target_column_names"):
        TabularRegression().select(table)


def test_a_missing_target_is_refused_with_its_row() -> None:
    table = datasets.Dataset.from_dict({"x": [1.0, 2.0, 3.0], "value": [1.0, None, 3.0]})
    task = TabularRegression()
    rows = task.select(table)
    with pytest.raises(HubmodelsError, match="row 1 has no target in column 'value'"):
        task.fit_config(rows, task.fit_processor(rows))


def test_a_checkpoint_without_its_processor_is_refused(tmp_path):
    with pytest.raises(HubmodelsError, match=r"no usable table processor .* is missing"):
        TabularRegression().load_processor(str(tmp_path))
