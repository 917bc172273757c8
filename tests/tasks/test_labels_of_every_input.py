"""Several labels a row, for every input: from the columns to loss, metrics, baseline, figures, answers and pipeline."""

import io
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from sklearn import metrics
from transformers import pipeline

from hubmodels import families
from hubmodels.errors import HubmodelsError
from hubmodels.evaluation import predict
from hubmodels.recipe import Recipe
from hubmodels.report import collect_notes
from hubmodels.tasks import get_task
from hubmodels.tasks.targets.several_labels import FittedSeveralLabels

NAMES = ["red", "round"]
NUM_ROWS = 24


def labels_of(count: int = NUM_ROWS) -> np.ndarray:
    """Every combination of two labels, none included."""
    return np.array([[number % 2, number // 2 % 2] for number in range(count)])


def pictures() -> dict[str, Any]:
    draw = np.random.default_rng(0)
    images = draw.integers(0, 60, (NUM_ROWS, 8, 8, 3), dtype=np.uint8) + 150 * labels_of()[:, :1, None, None]
    return {"image": [Image.fromarray(pixels.astype(np.uint8)) for pixels in images]}


def texts() -> dict[str, Any]:
    words = [["red " * red + "round " * round_ + f"thing number {number % 5}"] for number, (red, round_) in
             enumerate(labels_of().tolist())]  # fmt: skip
    return {"text": [word for (word,) in words]}


def sounds() -> dict[str, Any]:
    draw, files = np.random.default_rng(0), []
    for red, _ in labels_of().tolist():
        samples = (3000 * np.sin(np.arange(2000) * (0.2 + 0.3 * red)) + draw.normal(0, 100, 2000)).astype(np.int16)
        content = io.BytesIO()
        with wave.open(content, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(8000)
            file.writeframes(samples.tobytes())
        files.append({"bytes": content.getvalue(), "path": None})
    return {"audio": files}


def series() -> dict[str, Any]:
    draw = np.random.default_rng(0)
    return {
        "series": [(draw.normal(size=(6, 2)) + 3 * red).tolist() for red in labels_of()[:, 0].tolist()],
    }


RNN = {"hidden_size": 8, "embedding_size": 8, "num_hidden_layers": 1}
CNN = {"hidden_sizes": [4], "depths": [1], "embedding_size": 4}
CASES: dict[str, tuple[Callable[[], dict], str, dict, dict, Any]] = {
    "image-classification": (pictures, "cnn", {}, CNN, datasets.Image()),
    "text-classification": (texts, "rnn", {"vocab_size": 300}, RNN, None),
    "audio-classification": (
        sounds, "cnn", {"n_fft": 128, "hop_length": 40, "num_mel_bins": 12}, CNN, datasets.Audio(decode=False),
    ),
    "time-series-classification": (series, "rnn", {}, RNN, None),
}  # fmt: skip


def make_rows(tag: str, form: str) -> tuple[datasets.Dataset, dict[str, Any]]:
    """Give the rows of a task with labels of a form, and the options that name them."""
    columns, kind = CASES[tag][0](), CASES[tag][4]
    labels = labels_of().tolist()
    names = [[name for name, value in zip(NAMES, row, strict=True) if value] for row in labels]
    options: dict[str, Any]
    if form == "columns":
        columns |= {name: [row[index] for row in labels] for index, name in enumerate(NAMES)}
        options = {"label_column_name": NAMES}
    elif form == "lists":
        columns["tags"], options = names, {"label_column_name": "tags"}
    elif form == "usual lists":
        columns["labels"], options = names, {}
    else:
        columns["tags"] = [" ; ".join(some) for some in names]
        options = {"label_column_name": "tags", "label_separator": ";"}
    rows = datasets.Dataset.from_dict(columns)
    return (rows if kind is None else rows.cast_column(next(iter(columns)), kind)), options


FORMS = ["columns", "lists", "usual lists", "text"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("tag", CASES)
def test_every_form_of_labels_gives_the_same_matrix(tag: str, form: str, encode_rows: Callable) -> None:
    table, options = make_rows(tag, form)
    task = get_task(tag).from_options(**CASES[tag][2], **options)
    rows = task.select(table)
    problem = task.fit(rows)
    assert isinstance(problem.target, FittedSeveralLabels)
    assert encode_rows(problem, rows).tensor("labels").tolist() == labels_of().tolist()
    fields = problem.config_fields()
    assert (fields["problem_type"], list(fields["id2label"].values())) == ("multi_label_classification", NAMES)


@pytest.mark.parametrize("tag", CASES)
def test_labels_go_through_loss_metrics_baseline_figures_answers_and_pipeline(
    tag: str, encode_rows: Callable, tmp_path: Path
) -> None:
    _, family, data, fields, _ = CASES[tag]
    table, options = make_rows(tag, "columns")
    task = get_task(tag).from_options(**data, **options)
    rows = task.select(table)
    problem = task.fit(rows)
    columns = encode_rows(problem, rows)
    torch.manual_seed(0)
    values = {**families.declared(family, problem.config_fields()), **fields}
    model = families.build_model(family, task.head, values).eval()
    batch = problem.transform(training=False)(columns.batch(torch.arange(NUM_ROWS)), None)
    with torch.no_grad():
        outputs = model(**batch)
    truth = torch.from_numpy(labels_of()).float()
    expected = torch.nn.functional.binary_cross_entropy_with_logits(outputs.logits, truth)
    assert outputs.loss.item() == pytest.approx(expected.item(), rel=1e-6)

    told = predict(model, columns, problem.predict, problem.transform(training=False), 8)
    probabilities = outputs.logits.sigmoid().numpy()
    measured = problem.metrics(problem.relate(told))
    assert measured["label_accuracy"] == pytest.approx((labels_of() == (probabilities >= 0.5)).mean())
    assert measured["roc_auc"] == pytest.approx(metrics.roc_auc_score(labels_of(), probabilities), abs=1e-6)
    baseline = problem.baseline(columns, columns)
    assert "for each label" in baseline.name
    assert problem.metrics(baseline.rows)["label_accuracy"] > 0.7  # the first label shows in every input
    figures = [*problem.figures(told, columns), *problem.explain(lambda some: told, columns)]
    assert {figure.name for figure in figures} >= {"reliability"}

    model.save_pretrained(tmp_path)
    problem.save(tmp_path)
    Recipe(family=family, task=tag, data=options | data, model=fields).save(tmp_path / "recipe.yaml")
    ask = pipeline(tag, model=str(tmp_path))
    column = next(iter(CASES[tag][0]()))
    one = table[0][column]
    answer = ask(np.array(one)) if tag.startswith("time") else ask(one["bytes"]) if "audio" in tag else ask(one)
    answer = answer[0] if tag.startswith("text") else answer  # transformers' list of the texts
    scores = answer["probabilities"] if isinstance(answer, dict) else {item["label"]: item["score"] for item in answer}
    assert set(scores) == set(NAMES)  # all of them, though nobody asked for so many
    for name, index in zip(NAMES, range(2), strict=True):
        assert scores[name] == pytest.approx(float(probabilities[0, index]), abs=1e-5)


@pytest.mark.parametrize("tag", CASES)
def test_a_model_of_one_class_refuses_rows_of_several_labels_and_the_reverse(tag: str) -> None:
    table, options = make_rows(tag, "columns")
    several, one = (
        get_task(tag).from_options(**CASES[tag][2], label_column_name=names)
        for names in (options["label_column_name"], "red")
    )
    for task, other, words in ((several, one, "several labels"), (one, several, "one class")):
        problem, others = task.fit(task.select(table)), other.select(table)
        bound = other.bind(problem.input, problem.config_fields(), {})  # as `evaluate` does with other columns
        with pytest.raises(HubmodelsError, match=f"the model has {words} a row"):
            bound.encode(others[:2], [0, 1], others.features)


def test_a_label_that_never_changes_is_said_and_labels_that_all_never_change_are_refused() -> None:
    table = datasets.Dataset.from_dict({"text": ["a", "b"] * 5, "toxic": [0, 1] * 5, "threat": [1] * 10})
    task = get_task("text-classification").from_options(label_column_name=["toxic", "threat"], vocab_size=300)
    with collect_notes() as notes:
        task.fit(task.select(table))
    assert any("label 'threat' is true of all of the 10 training rows" in note.text for note in notes)
    constant = table.remove_columns("toxic").add_column("toxic", [0] * 10)
    with pytest.raises(HubmodelsError, match="has one value in all 10 training rows: there is nothing to learn"):
        task.fit(task.select(constant))


@pytest.mark.parametrize(("separator", "column", "words"), [("", "tags", "is empty"), (";", "number", "divides the")])
def test_a_separator_that_divides_nothing_is_refused(separator: str, column: str, words: str) -> None:
    table = datasets.Dataset.from_dict({"text": ["a", "b"], "tags": ["x;y", "x"], "number": [1, 2]})
    task = get_task("text-classification").from_options(label_column_name=column, label_separator=separator)
    with pytest.raises(HubmodelsError, match=words):
        task.fit(task.select(table))


def test_a_blank_text_is_a_row_without_labels(encode_rows: Callable) -> None:
    table = datasets.Dataset.from_dict({"text": ["a", "b", "c", "d"], "tags": ["x|y", "", None, " y "]})
    options = {"label_column_name": "tags", "label_separator": "|", "vocab_size": 300}
    task = get_task("text-classification").from_options(**options)
    rows = task.select(table)
    assert encode_rows(task.fit(rows), rows).tensor("labels").tolist() == [[1, 1], [0, 0], [0, 0], [0, 1]]
