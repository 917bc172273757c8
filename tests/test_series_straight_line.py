"""From series to a model repository and back: training by the command line, measuring again, pipelines."""

import json

import datasets
import numpy as np
import pandas as pd
import pytest
from transformers import pipeline

import hubmodels  # noqa: F401  makes transformers know the pipelines

NETWORK = "--hidden_size 8 --embedding_size 8 --num_train_epochs 2 --seed 0"


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    """Two series below each other, with a gap and a missing value."""
    generator, steps = np.random.default_rng(0), np.arange(80)
    parts = [
        pd.DataFrame({"id": name, "date": pd.date_range("2026-01-01", periods=80, freq="h"), "load": level})
        for name, level in (("a", 5 + np.sin(steps / 2)), ("b", 9 + np.cos(steps / 2)))
    ]
    frame = pd.concat(parts)
    frame["load"] += generator.normal(0, 0.1, len(frame))
    frame.iloc[7, 2] = np.nan
    return frame.drop(index=[20, 21]).sort_values("date", kind="stable")


@pytest.fixture(scope="module")
def forecaster(run_cli, frame, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    frame.to_csv(folder / "load.csv", index=False)
    words = (
        f"train --family rnn --task time-series-forecasting --dataset {folder / 'load.csv'} --calendar hour {NETWORK}"
    )
    lengths = (
        "--context_length 12 --prediction_length 4 --segment_length 4 --test_fraction 0.3 --validation_fraction 0.4"
    )
    code, _, err = run_cli(*words.split(), *lengths.split(), "--output_dir", folder / "run")
    assert code == 0, err
    return folder / "run" / "release"


def test_a_forecasters_release_says_how_overlapping_windows_were_measured(forecaster, run_cli) -> None:
    names = {str(path.relative_to(forecaster)) for path in forecaster.rglob("*") if path.is_file()}
    assert {
        "processor_config.json", "processing_series.py", "processing_series_times.py", "configuration_rnn.py",
        "modeling_rnn_encoder.py", "modeling_rnn_series.py", "figures/forecasts.png", "figures/error_by_step.png",
    } <= names  # fmt: skip
    results = json.loads((forecaster / "metrics.json").read_text())["results"]
    assert results["resample_block"] == 4
    assert set(results["metrics"]) == {"mse", "mae", "mase", "quantile_loss", "coverage"}
    assert set(results["baseline"]["metrics"]) == {"mse", "mae", "mase"}
    assert "stretches of 4 neighbours" in (forecaster / "README.md").read_text()
    code, out, err = run_cli("evaluate", forecaster, "--json")
    assert code == 0, err
    measured = json.loads(out)["metrics"]
    for metric in ("mse", "mase"):
        assert measured[metric] == pytest.approx(results["metrics"][metric], rel=1e-5)


def test_what_only_measuring_needs_is_beside_the_config(forecaster) -> None:
    target = json.loads((forecaster / "problem.json").read_text())["target"]
    assert target["names"] == ["load"]
    assert target["season_length"] >= 1
    assert all(error > 0 for error in target["season_errors"])
    config = json.loads((forecaster / "config.json").read_text())
    assert config["season_errors"] is None
    assert "id2label" not in config


def test_a_released_forecaster_goes_on_where_each_series_ends(forecaster, frame) -> None:
    rows = pd.DataFrame(pipeline("time-series-forecasting", model=str(forecaster))(frame))
    assert rows["id"].tolist() == ["a"] * 4 + ["b"] * 4
    assert rows["date"].tolist() == list(pd.date_range("2026-01-04 08:00", periods=4, freq="h")) * 2
    assert (rows["load_0.1"] <= rows["load"]).all()
    assert (rows["load"] <= rows["load_0.9"]).all()


def test_a_classifier_of_series_of_any_length_is_trained_released_and_used(run_cli, tmp_path) -> None:
    generator = np.random.default_rng(0)
    labels = ["down", "up"] * 20
    series = [
        (np.arange(4 + row % 5)[:, None] * (row % 2 - 0.5) + generator.normal(0, 0.1, (4 + row % 5, 2))).tolist()
        for row in range(40)
    ]
    datasets.Dataset.from_dict({"series": series, "label": labels}).to_parquet(tmp_path / "rows.parquet")
    words = f"train --family rnn --task time-series-classification --dataset {tmp_path / 'rows.parquet'} {NETWORK}"
    code, _, err = run_cli(*words.split(), "--output_dir", tmp_path / "run")
    assert code == 0, err
    release = tmp_path / "run" / "release"
    assert (release / "figures" / "examples.png").is_file()
    code, _, err = run_cli("predict", release, tmp_path / "rows.parquet", "--output", tmp_path / "out.csv")
    assert code == 0, err
    answers = pipeline("time-series-classification", model=str(release))([np.array(one) for one in series])
    found = pd.read_csv(tmp_path / "out.csv")
    assert found["prediction"].tolist() == [answer["label"] for answer in answers]
    expected = [answer["probabilities"]["up"] for answer in answers]
    np.testing.assert_allclose(found["probability_up"], expected, atol=1e-5)
