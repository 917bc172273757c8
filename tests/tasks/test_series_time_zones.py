"""Local times: an hour that occurs twice, one that is skipped; read by a zone, and written in it."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from transformers import pipeline

from hubmodels.errors import HubmodelsError
from hubmodels.processors.processing_series import TimeSeriesProcessor
from hubmodels.processors.processing_series_zones import has_zones, to_local, to_utc
from hubmodels.recipe import Recipe
from hubmodels.use import evaluate_release, predict
from hubmodels.workflow import train_and_release

ZONE = "Europe/Vienna"
QUICK = {"max_steps": 2, "eval_strategy": "no", "save_strategy": "no", "seed": 1}


def local_frame(start: str, hours: int, step: str = "h") -> pd.DataFrame:
    """Rows with the times that a wall clock showed, without a zone; pandas made them of UTC."""
    utc = pd.date_range(start, periods=hours, freq=step, tz="UTC")
    shown = utc.tz_convert(ZONE).tz_localize(None)
    return pd.DataFrame({"time": shown, "load": np.sin(np.arange(hours) / 5) + 3, "utc": utc.tz_localize(None)})


@pytest.mark.parametrize("step", ["h", "15min", "30min"])
@pytest.mark.parametrize(("start", "zone"), [("2024-10-26", ZONE), ("2024-11-02", "America/New_York"),
                                             ("2024-04-06", "Australia/Sydney"), ("2024-03-30", ZONE)])  # fmt: skip
@pytest.mark.parametrize("newest_first", [False, True])
def test_local_times_become_the_utc_that_pandas_made_them_of(step, start, zone, newest_first) -> None:
    utc = pd.date_range(start, periods=200, freq=step, tz="UTC")
    local = utc.tz_convert(zone).tz_localize(None).to_numpy().astype("datetime64[us]")
    expected = utc.tz_localize(None).to_numpy().astype("datetime64[us]")
    order = slice(None, None, -1 if newest_first else 1)
    np.testing.assert_array_equal(to_utc(local[order], "t", zone), expected[order])
    shown = [moment.replace(tzinfo=None) for moment in to_local(expected, zone)]
    np.testing.assert_array_equal(np.array(shown, dtype="datetime64[us]"), local)


def test_a_time_that_clocks_skip_and_an_unknown_zone_are_refused() -> None:
    times = np.array(["2024-03-31T01:00", "2024-03-31T02:00"], dtype="datetime64[us]")
    with pytest.raises(ValueError, match="'t' holds 2024-03-31T02:00:00.000000, which the clocks of Europe/Vienna sk"):
        to_utc(times, "t", ZONE)
    with pytest.raises(ValueError, match="such as Europe/Vienna, got 'Middle/Earth'"):
        TimeSeriesProcessor(time_zone="Middle/Earth")


def test_rows_in_no_order_do_not_tell_which_of_two_hours_they_are_of() -> None:
    frame = local_frame("2024-10-26", 40)
    shuffled = frame["time"].to_numpy().astype("datetime64[us]")[np.random.default_rng(0).permutation(40)]
    with pytest.raises(ValueError, match="an hour that occurs twice in Europe/Vienna, and its rows are in no order"):
        to_utc(shuffled, "t", ZONE)


@pytest.mark.parametrize(("text", "says"), [("2024-10-27T02:00:00+02:00", True), ("2024-10-27 02:00Z", True),
                                            ("2024-10-27 02:00", False), ("2024-10-27", False)])  # fmt: skip
def test_texts_say_a_zone_or_none(text, says) -> None:
    assert has_zones(np.array([text], dtype=object)) is says


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[str, pd.DataFrame, list]:
    folder = tmp_path_factory.mktemp("zones")
    frame = local_frame("2024-10-20", 240)  # its clocks go back on the 27th
    frame[["time", "load"]].to_csv(folder / "train.csv", index=False)
    data = {"dataset": str(folder / "train.csv"), "context_length": 12, "prediction_length": 4, "time_zone": ZONE,
            "calendar": ["hour"]}  # fmt: skip
    recipe = Recipe(family="rnn", task="time-series-forecasting", data=data, model={"hidden_size": 4},
                    training={**QUICK, "output_dir": str(folder / "run")})  # fmt: skip
    model = str(train_and_release(recipe, baseline=False).folder)
    return model, frame, json.loads(Path(model, "problem.json").read_text())["notes"]


def test_training_reads_the_double_hour_as_two_and_says_so(trained) -> None:
    _, _, notes = trained
    assert any("local ones of Europe/Vienna, read as UTC; 1 of them occur twice" in note["text"] for note in notes)
    assert any("times in time go on by 1h" in note["text"] for note in notes)
    assert not any("steps are not there" in note["text"] for note in notes)


def test_predict_and_the_pipeline_write_times_in_that_zone(trained, tmp_path) -> None:
    model, frame, _ = trained
    history = frame[:169]  # its last row is the hour before clocks go back
    assert str(history["time"].iloc[-1]) == "2024-10-27 02:00:00"
    history[["time", "load"]].to_csv(tmp_path / "new.csv", index=False)
    predict(model, str(tmp_path / "new.csv"), str(tmp_path / "out.parquet"))
    written = pd.read_parquet(tmp_path / "out.parquet")["time"]
    assert str(written.dt.tz) == ZONE
    assert written.dt.tz_convert("UTC").dt.tz_localize(None).tolist() == frame["utc"][169:173].tolist()
    assert written.dt.hour.tolist() == [2, 3, 4, 5]
    predict(model, str(tmp_path / "new.csv"), str(tmp_path / "out.csv"))
    assert "2024-10-27 02:00:00" in (tmp_path / "out.csv").read_text()
    assert "02:00:00.000000+0100" in (tmp_path / "out.csv").read_text()
    rows = pipeline("time-series-forecasting", model=model)(history[["time", "load"]])
    assert [str(row["time"]) for row in rows] == [str(time) for time in written]


def test_evaluate_reads_local_times_by_the_zone_of_the_training(trained, tmp_path) -> None:
    model, frame, _ = trained
    frame[["time", "load"]].to_csv(tmp_path / "local.csv", index=False)
    measured = evaluate_release(model, {"dataset": str(tmp_path / "local.csv")})
    assert measured.num_rows == 240 - 12 - 4 + 1  # windows without a gap: the hour occurs twice


def test_the_calendar_shows_what_clocks_show() -> None:
    frame = local_frame("2024-06-01", 48)
    common = {"channels": ["load"], "mean": [0.0], "std": [1.0], "context_length": 24, "prediction_length": 2,
              "time_column": "time", "frequency": "1h", "calendar": ["hour"]}  # fmt: skip
    by_zone = TimeSeriesProcessor(**common, time_zone=ZONE)(frame)["past_time_features"]
    as_shown = TimeSeriesProcessor(**common)(frame)["past_time_features"]
    np.testing.assert_allclose(by_zone, as_shown, atol=1e-6)


def test_days_of_a_zone_stay_days(tmp_path: Path) -> None:
    frame = pd.DataFrame({"time": pd.date_range("2024-10-01", periods=60, freq="D"), "load": np.arange(60.0)})
    processor = TimeSeriesProcessor.fit(
        frame, channels=["load"], time_column="time", time_zone=ZONE, context_length=8, prediction_length=2
    )
    (one,) = processor.read(frame)
    np.testing.assert_array_equal(one.times, frame["time"].to_numpy().astype("datetime64[us]"))


def test_the_refusal_of_a_double_hour_names_the_field(tmp_path: Path) -> None:
    frame = local_frame("2024-10-20", 240)
    frame[["time", "load"]].to_csv(tmp_path / "train.csv", index=False)
    recipe = Recipe(family="rnn", task="time-series-forecasting", data={"dataset": str(tmp_path / "train.csv")},
                    model={"hidden_size": 4}, training={**QUICK, "output_dir": str(tmp_path / "run")})  # fmt: skip
    with pytest.raises(HubmodelsError, match="2024-10-27T02:00.* twice; .*--time_zone Europe/Vienna"):
        train_and_release(recipe, baseline=False)
    frame.loc[5, "time"] = frame.loc[4, "time"]
    frame[["time", "load"]].to_csv(tmp_path / "train.csv", index=False)
    with pytest.raises(HubmodelsError, match="keep one row of each"):
        train_and_release(recipe, baseline=False)
