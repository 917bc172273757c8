"""Rows with several labels or none: columns, metrics against scikit-learn, baselines, and the line from end to end."""

import json
from collections.abc import Sequence

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn import metrics
from transformers import pipeline

import hubmodels  # noqa: F401  makes transformers know the pipeline
from hubmodels.errors import HubmodelsError
from hubmodels.tasks.baselines import tables as baselines
from hubmodels.tasks.tabular_classification import TabularClassification
from hubmodels.tasks.targets.label_rows import probability_rows
from hubmodels.tasks.targets.several_labels import FittedSeveralLabels, SeveralLabels

NAMES = ["warm", "wet", "windy"]


def make_frame(num_rows: int = 240, seed: int = 0) -> pd.DataFrame:
    """Two numbers that decide two labels, and a third label by chance."""
    generator = np.random.default_rng(seed)
    x, y = generator.normal(size=(2, num_rows))
    noise = generator.normal(scale=0.3, size=(2, num_rows))
    labels = {"warm": x + noise[0] > 0, "wet": y - x + noise[1] > 0.3, "windy": generator.random(num_rows) < 0.3}
    return pd.DataFrame({"x": x, "y": y, **{name: values.astype(int) for name, values in labels.items()}})


def with_lists(frame: pd.DataFrame) -> datasets.Dataset:
    lists = [[name for name in NAMES if row[name]] for row in frame.to_dict("records")]
    return datasets.Dataset.from_dict({"x": frame["x"], "y": frame["y"], "tags": lists})


COLUMNS = TabularClassification.from_options(label_column_name=NAMES)
LISTS = TabularClassification.from_options(label_column_name="tags")


@pytest.fixture
def bound(encode_rows):
    """Bind a task to a table: the problem and the encoded rows."""

    def bind(task: TabularClassification, table: datasets.Dataset):
        rows = task.select(table)
        problem = task.fit(rows)
        return problem, encode_rows(problem, rows)

    return bind


def labels_named(names: Sequence[str]) -> FittedSeveralLabels:
    config = {"id2label": dict(enumerate(names)), "problem_type": "multi_label_classification"}
    return SeveralLabels().restore(config, {})


def test_columns_of_0_and_1_and_lists_of_names_give_the_same_labels(bound) -> None:
    frame = make_frame()
    expected = torch.tensor(frame[NAMES].to_numpy(), dtype=torch.float32)
    assert (expected.sum(dim=1) == 0).any()  # rows without a label
    classes = datasets.List(datasets.ClassLabel(names=NAMES))
    for task, rows in (
        (COLUMNS, datasets.Dataset.from_pandas(frame)),
        (COLUMNS, datasets.Dataset.from_pandas(frame.astype(dict.fromkeys(NAMES, bool)))),
        (LISTS, with_lists(frame)),
        (LISTS, with_lists(frame).cast_column("tags", classes)),
    ):
        problem, columns = bound(task, rows)
        assert problem.processor.column_names == ["x", "y"]
        values = problem.config_fields()
        assert (values["id2label"], values["problem_type"]) == (dict(enumerate(NAMES)), "multi_label_classification")
        assert torch.equal(columns.tensor("labels"), expected)


def test_one_named_column_is_one_class_a_row(bound) -> None:
    rows = datasets.Dataset.from_pandas(make_frame())
    problem, columns = bound(TabularClassification.from_options(label_column_name=["warm"]), rows)
    assert problem.config_fields()["problem_type"] == "single_label_classification"
    assert columns.tensor("labels").dtype == torch.int64


def test_multi_label_metrics_are_scikit_learns() -> None:
    generator = np.random.default_rng(1)
    labels = generator.integers(0, 2, (200, 4))
    logits = torch.from_numpy((generator.normal(size=(200, 4)) + labels).round(1)) - 0.5  # ties
    outputs = type("Outputs", (), {"logits": logits})
    target = labels_named("abcd")
    rows = target.predict(outputs, {"labels": torch.from_numpy(labels).float()})
    rows = {name: value.numpy() for name, value in rows.items()}
    measured = target.metrics(rows)
    probabilities = logits.float().sigmoid().numpy()
    predicted = probabilities >= 0.5
    assert measured.keys() <= COLUMNS.metric_names.keys()
    assert measured["accuracy"] == pytest.approx(metrics.accuracy_score(labels, predicted))
    assert measured["macro_f1"] == pytest.approx(metrics.f1_score(labels, predicted, average="macro"))
    assert measured["roc_auc"] == pytest.approx(metrics.roc_auc_score(labels, probabilities), abs=1e-6)
    assert measured["label_accuracy"] == pytest.approx(1 - metrics.hamming_loss(labels, predicted))
    of_labels = [metrics.log_loss(labels[:, k], probabilities[:, k]) for k in range(4)]
    assert measured["log_loss"] == pytest.approx(np.mean(of_labels), rel=1e-5)
    scores = target.class_metrics(rows)
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(labels, predicted)
    for name, expected in (("precision", precision), ("recall", recall), ("f1", f1)):
        np.testing.assert_allclose(scores[name], expected)
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, torch.from_numpy(labels).double())
    assert measured["log_loss"] == pytest.approx(loss.item(), rel=1e-5)


def test_a_label_of_no_row_leaves_the_area_undefined_and_the_rest_defined() -> None:
    labels = np.array([[1, 0], [0, 0], [1, 0]])
    rows = probability_rows(np.array([[0.9, 0.1], [0.2, 0.2], [0.4, 0.0]]), labels)
    measured = labels_named("ab").metrics(rows)
    assert np.isnan(measured["roc_auc"])
    assert measured["accuracy"] == pytest.approx(2 / 3)  # the last row's first label is missed
    assert measured["macro_f1"] == pytest.approx(2 / 3)  # of the first label alone: the second never occurs


def test_baselines_beat_each_labels_share_and_bear_a_constant_label(bound, monkeypatch) -> None:
    monkeypatch.setattr(baselines, "BOOSTING_SETTINGS", ({"max_leaf_nodes": 4},))  # one, since each label has its own
    monkeypatch.setattr(baselines, "BOOSTING_ITERATIONS", 20)
    frame = make_frame().assign(never=0)
    task = TabularClassification.from_options(label_column_name=[*NAMES, "never"])
    problem, columns = bound(task, datasets.Dataset.from_pandas(frame))
    best = problem.baseline(columns, columns)
    assert "for each label" in best.name
    assert [len(best.others), best.others[-1].name] == [2, "each label's share in training"]
    first, last = (problem.metrics(item.rows) for item in (best, best.others[-1]))
    assert first["accuracy"] > last["accuracy"] + 0.2
    shares = columns.tensor("labels").mean(dim=0).numpy()
    np.testing.assert_allclose(best.others[-1].rows["probabilities"][0], shares, atol=1e-6)


def test_answers_are_the_labels_and_a_probability_of_each() -> None:
    outputs = type("Outputs", (), {"logits": torch.tensor([[2.0, -1.0, 1.0], [-3.0, -1.0, -2.0]])})
    outputs.spread = torch.full((2, 3), 0.25)
    answers = labels_named(NAMES).answers(outputs)
    assert list(answers) == [
        "prediction",
        *(f"probability_{name}" for name in NAMES),
        *(f"uncertainty_{name}" for name in NAMES),
    ]
    assert answers["prediction"].tolist() == ["warm; windy", ""]
    assert answers["probability_wet"] == pytest.approx(torch.tensor(-1.0).sigmoid().item())


@pytest.mark.parametrize(
    ("frame", "label", "message"),
    [
        (make_frame().assign(wet=2), NAMES, "row 0, column 'wet': 2 is not 0 or 1"),
        (make_frame().assign(wet="yes"), NAMES, "column 'wet' holds string, not 0 or 1"),
        (make_frame(), ["warm", "wett"], "did you mean 'wet'"),
        (make_frame().assign(wet=[float("nan")] + [1] * 239), NAMES, "row 0, column 'wet': nan is not 0 or 1"),
    ],
)
def test_what_is_no_label_is_refused_with_its_row(bound, frame, label, message) -> None:
    rows = datasets.Dataset.from_dict({name: frame[name].tolist() for name in frame})
    with pytest.raises(HubmodelsError, match=message):
        bound(TabularClassification.from_options(label_column_name=label), rows)


def test_lists_of_unknown_labels_or_of_numbers_in_a_row_are_refused() -> None:
    rows = LISTS.select(with_lists(make_frame()))
    problem = LISTS.fit(rows)
    table = {"x": [0.0, 0.0], "y": [0.0, 0.0]}
    with pytest.raises(HubmodelsError, match="row 8, column 'tags': unknown label 'wett', did you mean 'wet'"):
        problem.encode({**table, "tags": [["warm"], ["wett"]]}, [7, 8], rows.features)
    with pytest.raises(HubmodelsError, match="row 7, column 'tags': the row has no list"):
        problem.encode({**table, "tags": [None, []]}, [7, 8], rows.features)
    fixed = datasets.List(datasets.Value("int64"), length=2)
    hot = datasets.Dataset.from_dict({"x": [1.0], "tags": [[0, 1]]}).cast_column("tags", fixed)
    with pytest.raises(HubmodelsError, match="fixed length"):
        LISTS.select(hot)


def test_classes_do_not_stand_for_labels_nor_labels_for_classes() -> None:
    rows = datasets.Dataset.from_pandas(make_frame())
    one = TabularClassification.from_options(label_column_name="warm", feature_column_names=["x", "y"])
    for model, data, words in ((COLUMNS, one, "several labels a row, unlike column 'warm'"),
                               (one, COLUMNS, "one class a row, unlike column 'warm', 'wet', 'windy'")):  # fmt: skip
        fitted = model.fit(model.select(rows))
        problem = data.bind(fitted.input, fitted.config_fields(), fitted.target.state())
        selected = data.select(rows)
        with pytest.raises(HubmodelsError, match=words):
            problem.encode(selected[:], list(range(240)), selected.features)


def test_a_table_with_several_label_columns_is_trained_measured_and_predicted(run_cli, tmp_path) -> None:
    frame = make_frame(400)
    frame.to_csv(tmp_path / "rows.csv", index=False)
    words = "train --family mlp --task tabular-classification --hidden_sizes 32 --num_ensemble 2 --no_baseline"
    rates = "--num_train_epochs 5 --per_device_train_batch_size 32 --learning_rate 1e-2"
    options = ["--dataset", tmp_path / "rows.csv", "--label_column_name", *NAMES, "--output_dir", tmp_path / "run"]
    code, _, err = run_cli(*words.split(), *rates.split(), *options)
    assert code == 0, err
    release = tmp_path / "run" / "release"
    stated = json.loads((release / "metrics.json").read_text())["results"]
    assert list(stated["per_class"]) == NAMES
    assert stated["per_class"]["warm"]["f1"]["value"] > 0.85  # 0.67 for always yes
    assert {path.name for path in (release / "figures").iterdir()} >= {"labels.png", "reliability.png"}
    code, out, err = run_cli("evaluate", release, "--json")
    assert code == 0, err
    assert json.loads(out)["metrics"]["macro_f1"] == pytest.approx(stated["metrics"]["macro_f1"], rel=1e-6)
    code, _, err = run_cli("predict", release, tmp_path / "rows.csv", "--output", tmp_path / "out.csv")
    assert code == 0, err
    told = pd.read_csv(tmp_path / "out.csv", keep_default_na=False)
    answers = pipeline("tabular-classification", model=str(release))(frame)
    assert told["prediction"].tolist() == ["; ".join(answer["labels"]) for answer in answers]
    for name in NAMES:
        ours = [answer["probabilities"][name] for answer in answers]
        np.testing.assert_allclose(told[f"probability_{name}"], ours, atol=1e-5)
