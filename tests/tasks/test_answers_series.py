"""Pipelines on series give the problem's answers: those of `hubmodels predict`, to the digit."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from datasets import Dataset
from transformers import pipeline

from hubmodels.recipe import Recipe
from hubmodels.use import open_release, predict_file
from hubmodels.workflow import train_and_release

MODEL = {"cell": "gru", "hidden_size": 6, "embedding_size": 4, "num_hidden_layers": 1}
TRAINING = {"max_steps": 2, "per_device_train_batch_size": 8, "eval_strategy": "no", "save_strategy": "no", "seed": 0}


def release(family: str, task: str, folder: Path, data: dict, model: dict) -> Path:
    """A model trained for a moment."""
    training = TRAINING | {"output_dir": str(folder / "run")}
    sections = {"family": family, "task": task, "data": data, "model": MODEL | model, "training": training}
    return train_and_release(Recipe.from_dict(sections), baseline=False).folder


@pytest.fixture(scope="module")
def series() -> list[np.ndarray]:
    """Series of 4 to 9 steps and 2 channels, one of them with a missing value."""
    generator = np.random.default_rng(0)
    series = [generator.normal(size=(4 + row % 6, 2)) for row in range(30)]
    series[3][1, 0] = np.nan
    return series


def test_series_are_told_the_same_class_and_probabilities(series, tmp_path) -> None:
    file, output = tmp_path / "rows.parquet", tmp_path / "answers.parquet"
    rows = {"series": [one.tolist() for one in series], "label": ["down", "up"] * 15}
    Dataset.from_dict(rows).to_parquet(file)
    folder = release("rnn", "time-series-classification", tmp_path, {"dataset": str(file)}, {"bidirectional": True})
    # Batches of fewer than 64 steps: `predict` takes more of them through another kernel, equal to rounding alone.
    assert predict_file(str(folder), str(file), str(output), batch_size=6) == len(series)
    predicted = pd.read_parquet(output)
    answers = pipeline("time-series-classification", model=str(folder))(series, batch_size=6)
    for row, answer in zip(predicted.to_dict("records"), answers, strict=True):
        assert answer["label"] == row["prediction"]
        assert answer["score"] == row[f"probability_{answer['label']}"]
        assert {f"probability_{name}": value for name, value in answer["probabilities"].items()} == {
            name: row[name] for name in ("probability_down", "probability_up")
        }


def test_forecasts_are_the_problems_answers_and_predict_refuses_them(tmp_path) -> None:
    generator, steps = np.random.default_rng(0), np.arange(90)
    dates = pd.date_range("2026-01-01", periods=90, freq="h")
    frame = pd.DataFrame({"date": dates, "a": 5 + np.sin(steps), "b": generator.normal(size=90)})
    frame.to_csv(tmp_path / "series.csv", index=False)
    data = {"dataset": str(tmp_path / "series.csv"), "context_length": 12, "prediction_length": 4,
            "quantiles": [0.1, 0.5, 0.9], "test_fraction": 0.3, "validation_fraction": 0.4}  # fmt: skip
    network = {"segment_length": 4, "distribution_output": "quantile"}
    folder = release("rnn", "time-series-forecasting", tmp_path, data, network)
    opened = open_release(str(folder))
    with torch.no_grad():
        outputs = opened.model.eval()(**opened.problem.processor(frame, return_tensors="pt"))
    answers = opened.problem.answers(outputs)
    rows = pd.DataFrame(pipeline("time-series-forecasting", model=str(folder))(frame))
    assert list(rows) == ["date", *answers] == ["date", "a", "a_0.1", "a_0.5", "a_0.9", "b", "b_0.1", "b_0.5", "b_0.9"]
    for name, values in answers.items():
        assert rows[name].tolist() == values[0].tolist()
    with pytest.raises(ValueError, match="time-series-forecasting has no prediction from files"):
        predict_file(str(folder), str(tmp_path / "series.csv"), str(tmp_path / "out.csv"))
