"""The tabular tasks: columns, encoded rows, metrics against scikit-learn, baselines, figures, predictions in files."""

import json

import datasets
import numpy as np
import pyarrow
import pytest
import torch
from sklearn import metrics

from hubmodels.data.columns import Columns
from hubmodels.errors import HubmodelsError
from hubmodels.tasks import AnyProblem, Task
from hubmodels.tasks.baselines import tables as baselines
from hubmodels.tasks.inputs.table_changes import TableRows, dependence, importances
from hubmodels.tasks.tabular_classification import TabularClassification
from hubmodels.tasks.tabular_regression import TabularRegression
from hubmodels.tasks.targets.class_rows import roc_auc
from hubmodels.tasks.targets.numbers import Numbers
from hubmodels.tasks.targets.scored_class import FittedScoredClass, ScoredClass

NUM_ROWS = 300


def make_table(seed: int = 0) -> datasets.Dataset:
    """The target follows x, a little the town, and never noise."""
    generator = np.random.default_rng(seed)
    x, noise = generator.normal(size=(2, NUM_ROWS))
    town = generator.choice(["north", "south"], NUM_ROWS)
    value = 10 * x + 3 * (town == "north") + generator.normal(size=NUM_ROWS)
    kind = np.where(value > 0, "high", "low")
    return datasets.Dataset.from_dict({"x": x, "noise": noise, "town": town, "value": value, "kind": kind})


CLASSIFY = TabularClassification.from_options(label_column_name="kind", ignored_column_names=["value"])
REGRESS = TabularRegression.from_options(target_column_names=["value"], ignored_column_names=["kind"])
both = pytest.mark.parametrize("task", [CLASSIFY, REGRESS], ids=["classification", "regression"])


@pytest.fixture
def bound(encode_rows):
    """Bind a task to a table: the problem and the encoded rows."""

    def bind(task: Task, table: datasets.Dataset | None = None) -> tuple[AnyProblem, Columns]:
        rows = task.select(make_table() if table is None else table)
        problem = task.fit(rows)
        return problem, encode_rows(problem, rows)

    return bind


@both
def test_encoded_rows_are_the_processors_features_and_the_targets(task, bound) -> None:
    rows = task.select(make_table())
    problem, columns = bound(task)
    assert problem.processor.column_names == ["x", "noise", "town"]
    expected = problem.processor(rows, return_tensors="pt")
    for name in expected:
        assert torch.equal(columns.tensor(name), expected[name])
    values = problem.config_fields()
    if task is CLASSIFY:
        assert values["id2label"] == {0: "high", 1: "low"}
        assert columns.tensor("labels").tolist() == [values["label2id"][kind] for kind in rows["kind"]]
    else:
        targets = np.array(rows["value"][:])
        np.testing.assert_allclose(columns.tensor("labels")[:, 0], targets, rtol=1e-6)
        assert values["target_mean"] == pytest.approx([targets.mean()], rel=1e-5)
        assert values["target_std"] == pytest.approx([targets.std()], rel=1e-5)
        assert values["target_min"] == pytest.approx([targets.min()], rel=1e-5)
        assert values["target_max"] == pytest.approx([targets.max()], rel=1e-5)


def test_names_of_targets_are_told_to_problem_json_and_not_to_the_network(bound, tmp_path) -> None:
    problem, _ = bound(REGRESS)
    values = problem.config_fields()
    assert not {"id2label", "label2id"} & set(values)
    assert (values["num_labels"], values["problem_type"]) == (1, "regression")
    problem.save(tmp_path)
    state = json.loads((tmp_path / "problem.json").read_text())["target"]
    assert state == {"names": ["value"]}
    again = REGRESS.bind(REGRESS.input.load(str(tmp_path)), values, state)
    assert again.target == problem.target
    assert again.config_fields() == values


def test_a_release_of_the_first_edition_has_the_names_of_its_targets_as_labels(bound) -> None:
    problem, _ = bound(REGRESS)
    config = {**problem.config_fields(), "id2label": {"1": "rent", "0": "price"}}
    assert REGRESS.bind(problem.input, config, {}).target.names == ["price", "rent"]


@both
def test_rows_to_predict_need_no_target_and_other_columns_are_left_alone(task, bound) -> None:
    problem, columns = bound(task)
    table = make_table().remove_columns(["kind", "value"]).add_column("id", range(NUM_ROWS)).data.table
    inputs = problem.encode_inputs(pyarrow.table(table.to_pydict()), range(NUM_ROWS))
    assert all(np.array_equal(inputs[name], columns.tensor(name)) for name in inputs)
    assert "labels" not in inputs
    assert problem.input_columns() == ["x", "noise", "town"]


@both
def test_the_golden_input_has_the_shape_of_encoded_rows(task, bound) -> None:
    problem, columns = bound(task)
    golden = problem.golden_inputs()
    batch = columns.batch(torch.arange(2))
    batch.pop("labels")
    assert {name: (value.shape, value.dtype) for name, value in golden.items()} == {
        name: (value.shape, value.dtype) for name, value in batch.items()
    }


def classes(count: int) -> FittedScoredClass:
    return FittedScoredClass(options=ScoredClass(), names=[f"class {number}" for number in range(count)])


@pytest.mark.parametrize("num_classes", [2, 4])
def test_classification_metrics_are_scikit_learns(num_classes: int) -> None:
    generator = np.random.default_rng(1)
    labels = generator.integers(0, num_classes, 200)
    scores = generator.normal(size=(200, num_classes)).round(1)  # ties
    scores[np.arange(200), labels] += 1
    logits = torch.from_numpy(scores)
    outputs = type("Outputs", (), {"logits": logits})
    target = classes(num_classes)
    rows = {
        name: value.numpy() for name, value in target.predict(outputs, {"labels": torch.from_numpy(labels)}).items()
    }
    measured = target.metrics(rows)
    probabilities = logits.softmax(-1).numpy()
    auc_input = probabilities[:, 1] if num_classes == 2 else probabilities
    predicted = probabilities.argmax(1)
    assert [*measured, "label_accuracy"] == list(CLASSIFY.metric_names)  # that one is of rows with several labels
    assert measured["accuracy"] == pytest.approx(metrics.accuracy_score(labels, predicted))
    assert measured["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(labels, predicted))
    assert measured["macro_f1"] == pytest.approx(metrics.f1_score(labels, predicted, average="macro"))
    assert measured["roc_auc"] == pytest.approx(metrics.roc_auc_score(labels, auc_input, multi_class="ovr"), abs=1e-6)
    assert measured["log_loss"] == pytest.approx(metrics.log_loss(labels, probabilities), rel=1e-5)


def test_the_area_under_the_curve_is_undefined_without_both_classes() -> None:
    assert np.isnan(roc_auc(np.array([[0.5, 0.5], [0.2, 0.8]]), np.array([1, 1])))


def test_regression_metrics_are_scikit_learns_and_means_over_targets() -> None:
    generator = np.random.default_rng(2)
    labels = generator.normal(size=(100, 2)).astype(np.float32)
    predictions = labels + generator.normal(size=(100, 2)).astype(np.float32)
    rows = {"labels": labels, "predictions": predictions}
    target = Numbers().restore({}, {"names": ["a", "b"]})
    measured = target.metrics(rows)
    rmse = [metrics.root_mean_squared_error(labels[:, i], predictions[:, i]) for i in range(2)]
    assert measured["rmse"] == pytest.approx(np.mean(rmse), rel=1e-5)
    assert measured["mae"] == pytest.approx(metrics.mean_absolute_error(labels, predictions), rel=1e-5)
    assert measured["r2"] == pytest.approx(metrics.r2_score(labels, predictions), rel=1e-5)
    assert target.class_names() == ["a", "b"]
    assert target.class_metrics(rows)["rmse"] == pytest.approx(rmse, rel=1e-5)
    rows["quantile_values"] = np.stack([labels - 1, labels + (np.arange(200).reshape(100, 2) % 4 - 2)], axis=-1)
    assert target.metrics(rows)["coverage"] == pytest.approx(0.5)  # -2, -1 lie below; 0 and 1 do not
    levels, values = [0.1, 0.5, 0.9], np.stack([predictions - 1, predictions, predictions + 1], axis=-1)
    outputs = type("Outputs", (), {"logits": torch.from_numpy(predictions)})
    outputs.quantile_values = torch.from_numpy(values)
    outputs.quantile_levels = torch.tensor([levels]).repeat(100, 1)
    rows = target.predict(outputs, {"labels": torch.from_numpy(labels)})
    measured = target.metrics({name: value.numpy() for name, value in rows.items()})
    pinball = [metrics.mean_pinball_loss(labels, values[..., index], alpha=level) for index, level in enumerate(levels)]
    assert measured["quantile_loss"] == pytest.approx(np.mean(pinball), rel=1e-5)


@both
def test_the_strongest_baseline_stands_first_and_a_constant_last(task, bound, encode_rows) -> None:
    problem, columns = bound(task)
    test = encode_rows(problem, task.select(make_table(1)))
    best = problem.baseline(columns, test)
    constant = "the most frequent class" if task is CLASSIFY else "the training mean"
    assert [len(best.others), best.others[-1].name] == [2, constant]
    scores = [problem.metrics(item.rows)[task.main_metric] for item in (best, best.others[-1])]
    assert (scores[0] > scores[1] + 0.2) if task is CLASSIFY else (scores[0] < 0.5 * scores[1])
    if task is REGRESS:  # the target is linear
        assert best.name.startswith("ridge regression")
        assert scores[0] == pytest.approx(1.0, abs=0.15)  # the noise of the table


def test_a_baseline_bears_a_class_of_one_row(bound, monkeypatch) -> None:
    monkeypatch.setattr(baselines, "BOOSTING_SETTINGS", ({},))
    table = make_table().to_dict()
    table["kind"][7] = "odd"
    problem, columns = bound(CLASSIFY, datasets.Dataset.from_dict(table))
    best = problem.baseline(columns, columns)
    assert problem.metrics(best.rows)["accuracy"] > 0.9


@both
def test_importance_and_dependence_find_the_column_that_matters(task, bound) -> None:
    problem, columns = bound(task)

    def predict(table):  # a model that knows x alone
        batch = table.batch(torch.arange(len(table)))
        x = batch["numeric_features"][:, 0]
        if task is REGRESS:
            return {"labels": batch["labels"].numpy(), "predictions": 10 * x[:, None].numpy()}
        outputs = type("Outputs", (), {"logits": torch.stack([5 * x, -5 * x], dim=1)})
        return {name: value.numpy() for name, value in problem.predict(outputs, batch).items()}

    def loss(rows):
        value = problem.metrics(rows)[task.main_metric]
        return -value if task.greater_is_better else value

    table = TableRows.take(columns, np.arange(NUM_ROWS))
    growth = importances(problem.input, table, predict, loss)
    assert growth["x"].min() > 0.2
    assert growth["noise"].tolist() == growth["town"].tolist() == [0, 0, 0]
    points, lines = dependence(problem.input, table, predict, problem.target.mean_prediction, "x")
    assert points == sorted(points)
    change = np.diff(lines[:, 0])
    assert (change >= 0).all() if task is REGRESS else (change <= 0).all()  # "low" becomes less likely with x
    figures = list(problem.explain(predict, columns))
    assert [figure.name for figure in figures] == ["permutation_importance", "partial_dependence"]
    names = [figure.name for figure in problem.figures(predict(table), columns)]
    assert names == (["confusion_matrix", "reliability"] if task is CLASSIFY else ["residuals"])


def test_answers_are_columns_with_probabilities_or_intervals() -> None:
    outputs = type(
        "Outputs", (), {"logits": torch.tensor([[2.0, 0.0], [0.0, 2.0]]), "spread": torch.tensor([[0.1, 0.3]] * 2)}
    )
    answers = ScoredClass().restore({"id2label": {0: "high", 1: "low"}}, {}).answers(outputs)
    assert list(answers) == ["prediction", "probability_high", "probability_low", "uncertainty"]
    assert answers["prediction"].tolist() == ["high", "low"]
    assert answers["uncertainty"] == pytest.approx([0.1, 0.3])
    outputs = type(
        "Outputs", (), {"logits": torch.ones(2, 1), "quantile_values": torch.tensor([[[0.5, 1.5]]] * 2), "spread": None}
    )
    answers = Numbers().restore({}, {"names": ["value"]}).answers(outputs)
    assert {name: column.tolist() for name, column in answers.items()} == {
        "prediction": [1, 1], "low": [0.5, 0.5], "high": [1.5, 1.5],
    }  # fmt: skip


def test_one_quantile_is_no_interval() -> None:
    outputs = type("Outputs", (), {"logits": torch.ones(2, 1), "quantile_values": torch.full((2, 1, 1), 0.5)})
    assert list(Numbers().restore({}, {"names": ["value"]}).answers(outputs)) == ["prediction"]


def regression(targets: list[str], **options: list[str]) -> TabularRegression:
    return TabularRegression.from_options(target_column_names=targets, **options)


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (TabularClassification(), "no class column"),
        (regression(["values"]), "did you mean 'value'"),
        (regression(["town"]), "'town' holds string, not numbers"),
        (regression(["value"], feature_column_names=["value"]), "is the target"),
        (regression(["value"], feature_column_names=["y"]), "no column 'y'"),
        (regression(["value"], ignored_column_names=["y"]), "no column 'y'.*--ignored_column_names"),
        (regression(["value"], categorical_column_names=["y"]), "no column 'y'.*--categorical_column_names"),
        (regression(["value"], ignored_column_names=["x", "noise", "town", "kind"]), "no column to predict from"),
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
    with pytest.raises(HubmodelsError, match="row 1, column 'value': the row has no target"):
        task.fit(rows)


def test_as_many_targets_are_measured_as_the_model_predicts(bound) -> None:
    problem, _ = bound(regression(["value"], feature_column_names=["x"]))
    other = regression(["value", "noise"], feature_column_names=["x"])
    rows = other.select(make_table())
    again = other.bind(problem.input, problem.config_fields(), problem.target.state())
    with pytest.raises(HubmodelsError, match=r"predicts 1 number\(s\) \(value\), not 2 \(value, noise\)"):
        again.encode(rows[:], list(range(NUM_ROWS)), rows.features)


def test_a_stream_is_refused_since_statistics_need_all_rows() -> None:
    stream = make_table().to_iterable_dataset()
    for task in (CLASSIFY, REGRESS):
        with pytest.raises(HubmodelsError, match="tables cannot be streamed: .* leave out --streaming"):
            task.fit(task.select(stream))
        with pytest.raises(HubmodelsError, match="tables cannot be streamed"):
            task.columns(None)  # what a stream says of columns that it does not know


def test_a_checkpoint_without_its_processor_is_refused(tmp_path):
    with pytest.raises(HubmodelsError, match=r"no usable table processor .* is missing"):
        TabularRegression().input.load(str(tmp_path))
