"""What pipelines of tables tell is what `hubmodels predict` tells, to the digit, of every kind of target."""

from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
from transformers import pipeline

from hubmodels import AutoModelForTabularClassification, AutoModelForTabularRegression, MlpConfig
from hubmodels.recipe import Recipe
from hubmodels.tasks import get_task
from hubmodels.use import predict_file

MODELS = {
    "tabular-classification": AutoModelForTabularClassification,
    "tabular-regression": AutoModelForTabularRegression,
}
CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {  # task, options, fields of the model
    "one class": ("tabular-classification", {"label_column_name": "kind"}, {}),
    "one class of an ensemble": ("tabular-classification", {"label_column_name": "kind"}, {"num_ensemble": 3}),
    "several labels": ("tabular-classification", {"label_column_name": ["warm", "wet"]}, {"num_ensemble": 3}),
    "one number": ("tabular-regression", {"target_column_names": ["price"]}, {}),
    "one quantile": ("tabular-regression", {"target_column_names": ["price"]}, {"quantiles": [0.5]}),
    "three quantiles": ("tabular-regression", {"target_column_names": ["price"]}, {"quantiles": [0.1, 0.5, 0.9]}),
    "several numbers": (
        "tabular-regression",
        {"target_column_names": ["rent", "price"]},
        {"quantiles": [0.1, 0.9], "num_ensemble": 2},
    ),
}


def make_frame(num_rows: int = 60) -> pd.DataFrame:
    generator = np.random.default_rng(0)
    numbers = {name: generator.normal(size=num_rows) for name in ("x", "price", "rent")}
    labels = {name: generator.integers(0, 2, num_rows) for name in ("warm", "wet")}
    texts = {"town": generator.choice(["n", "s"], num_rows), "kind": generator.choice(["a", "b", "c"], num_rows)}
    return pd.DataFrame({**numbers, **labels, **texts})


def save_release(folder: Path, tag: str, options: dict[str, Any], fields: dict[str, Any]) -> None:
    """Save an untrained model with what is fitted and its recipe."""
    data = {**options, "feature_column_names": ["x", "town"]}
    task = get_task(tag).from_options(**data)
    problem = task.fit(task.select(datasets.Dataset.from_pandas(make_frame())))
    torch.manual_seed(0)
    values = {**problem.config_fields(), "hidden_sizes": [8], **fields}
    MODELS[tag].from_config(MlpConfig(**values)).save_pretrained(folder)
    problem.save(folder)
    Recipe(family="mlp", task=tag, data={"dataset": "rows.csv", **data}).save(folder / "recipe.yaml")


def as_columns(answers: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Return a pipeline's answers under the names of the columns of a file of predictions."""
    columns: dict[str, list[Any]] = {}
    for answer in answers:
        row: dict[str, Any] = {}
        if "label" in answer:
            several = "labels" in answer
            row["prediction"] = "; ".join(answer["labels"]) if several else answer["label"]
            row |= {f"probability_{name}": value for name, value in answer["probabilities"].items()}
            assert answer["score"] == max(answer["probabilities"].values()) == row[f"probability_{answer['label']}"]
            if "uncertainty" in answer:
                row["uncertainty of the likeliest" if several else "uncertainty"] = answer["uncertainty"]
        else:
            for what, told in answer.items():
                row |= {f"{what}_{name}": told[name] for name in told} if isinstance(told, dict) else {what: told}
        for name, value in row.items():
            columns.setdefault(name, []).append(value)
    return columns


@pytest.mark.parametrize(("tag", "options", "fields"), list(CASES.values()), ids=list(CASES))
def test_a_pipeline_and_predict_answer_alike(tmp_path: Path, tag: str, options: dict, fields: dict) -> None:
    release = tmp_path / "release"
    save_release(release, tag, options, fields)
    make_frame().to_csv(tmp_path / "rows.csv", index=False)
    predict_file(str(release), str(tmp_path / "rows.csv"), str(tmp_path / "out.parquet"), keep=[])
    told = pd.read_parquet(tmp_path / "out.parquet")
    columns = as_columns(pipeline(tag, model=str(release))(str(tmp_path / "rows.csv")))
    if "uncertainty of the likeliest" in columns:
        likeliest = told[["probability_warm", "probability_wet"]].to_numpy().argmax(axis=1)
        deviations = told[["uncertainty_warm", "uncertainty_wet"]].to_numpy()[range(len(told)), likeliest]
        assert columns.pop("uncertainty of the likeliest") == deviations.tolist()
        told = told.drop(columns=["uncertainty_warm", "uncertainty_wet"])
    assert list(columns) == list(told)
    for name, values in columns.items():
        assert values == told[name].tolist(), name  # to the digit


def test_one_quantile_tells_no_interval_and_two_do(tmp_path: Path) -> None:
    for quantiles, names in (([0.5], ["prediction"]), ([0.1, 0.9], ["prediction", "low", "high"])):
        folder = tmp_path / str(len(quantiles))
        save_release(folder, "tabular-regression", {"target_column_names": ["price"]}, {"quantiles": quantiles})
        assert list(pipeline("tabular-regression", model=str(folder))({"x": 0.3, "town": "n"})) == names


def test_targets_have_the_names_of_problem_json_and_without_it_those_of_the_config(tmp_path: Path) -> None:
    save_release(tmp_path, "tabular-regression", {"target_column_names": ["rent", "price"]}, {})
    assert set(pipeline("tabular-regression", model=str(tmp_path))({"x": 0.3, "town": "n"})["prediction"]) == {
        "rent",
        "price",
    }
    (tmp_path / "problem.json").unlink()
    answer = pipeline("tabular-regression", model=str(tmp_path))({"x": 0.3, "town": "n"})
    assert set(answer["prediction"]) == {"LABEL_0", "LABEL_1"}


def test_a_model_in_memory_answers_too(tmp_path: Path) -> None:
    save_release(tmp_path, "tabular-classification", {"label_column_name": "kind"}, {})
    saved = pipeline("tabular-classification", model=str(tmp_path))
    model = type(saved.model)(saved.model.config)
    model.load_state_dict(saved.model.state_dict())
    model.name_or_path = ""
    alone = pipeline("tabular-classification", model=model, processor=saved.processor)
    row = {"x": 0.3, "town": "n"}
    assert alone(row) == saved(row)
