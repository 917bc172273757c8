"""Series of every form as tensors: statistics, missing values, gaps, times, bad input."""

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoProcessor

from hubmodels.processors.processing_series import TimeSeriesProcessor
from hubmodels.processors.processing_series_times import (
    calendar_part,
    find_frequency,
    move_times,
    step_numbers,
    to_times,
)


def make_frame(rows: int = 40, seed: int = 0) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    times = pd.date_range("2026-01-30 20:00", periods=rows, freq="h")
    return pd.DataFrame({"time": times, "a": generator.normal(3, 2, rows), "b": generator.normal(-1, 5, rows)})


FORECAST = {"context_length": 8, "prediction_length": 4, "time_column": "time"}


@pytest.fixture
def processor() -> TimeSeriesProcessor:
    return TimeSeriesProcessor.fit(make_frame(), **FORECAST)


def test_values_are_z_scores_of_the_training_rows_and_come_back(processor) -> None:
    frame = make_frame()
    batch = processor(frame, return_tensors="pt")
    values = frame[["a", "b"]].to_numpy()
    expected = (values - values.mean(0)) / values.std(0)
    assert batch["past_values"].shape == (1, 8, 2)
    np.testing.assert_allclose(batch["past_values"][0], expected[-8:], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(processor.restore(batch["past_values"][0].numpy()), values[-8:], rtol=1e-5)
    np.testing.assert_allclose(
        processor.restore(batch["past_values"][0, :, 1:].numpy(), [1]), values[-8:, 1:], rtol=1e-5
    )
    assert batch["past_observed_mask"].all()


def test_missing_values_are_zero_and_masked_and_left_out_of_the_statistics() -> None:
    frame = make_frame()
    frame.loc[35, "a"] = np.nan
    processor = TimeSeriesProcessor.fit(frame, **FORECAST)
    assert processor.mean[0] == pytest.approx(frame["a"].mean())
    assert processor.std[0] == pytest.approx(frame["a"].std(ddof=0))
    batch = processor(frame)
    assert batch["past_values"][0, 3, 0] == 0
    assert (~batch["past_observed_mask"]).nonzero() == (0, 3, 0)


def test_a_gap_in_the_times_is_as_long_as_it_was(processor) -> None:
    whole = make_frame()
    batch, expected = processor(whole.drop(index=[34, 36, 37])), processor(whole)
    mask = batch["past_observed_mask"][0].all(axis=1)
    assert mask.tolist() == [True, True, False, True, False, False, True, True]
    np.testing.assert_array_equal(batch["past_values"][0][mask], expected["past_values"][0][mask])


def test_every_form_of_one_series_gives_the_same_tensors(processor) -> None:
    frame = make_frame()
    values = frame[["a", "b"]].to_numpy()
    expected = processor(frame)["past_values"]
    with_texts = frame.assign(time=frame["time"].astype(str))
    for form in (
        with_texts,
        frame.to_dict("list"),
        values,
        values.tolist(),
        [values],
        torch.tensor(values),
        values[None],
    ):
        np.testing.assert_array_equal(processor(form)["past_values"], expected)


def test_a_long_table_is_one_row_a_series_whatever_lies_between_its_rows() -> None:
    first, second = make_frame(seed=1).assign(id="x"), make_frame(seed=2).assign(id="y")
    interleaved = pd.concat([first, second]).sort_values("time", kind="stable")
    processor = TimeSeriesProcessor.fit(interleaved, id_column="id", **FORECAST)
    assert processor.channels == ["a", "b"]
    batch = processor(interleaved)["past_values"]
    alone = [processor(one)["past_values"][0] for one in (first, second)]
    np.testing.assert_array_equal(batch, np.stack(alone))


def test_whole_series_are_padded_behind_with_a_mask() -> None:
    series = [np.arange(6.0).reshape(3, 2), np.arange(10.0).reshape(5, 2)]
    processor = TimeSeriesProcessor.fit(series, max_length=5)
    batch = processor(series, return_tensors="pt")
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 0, 0], [1] * 5]
    assert batch["past_values"].shape == (2, 5, 2)
    assert batch["past_values"][0, 3:].abs().sum() == 0
    assert not batch["past_observed_mask"][0, 3:].any()
    assert processor(series[:1])["past_values"].shape == (1, 3, 2)


def test_a_longer_series_than_in_training_is_refused_or_cut_as_chosen() -> None:
    series = [np.ones((3, 1)), np.zeros((4, 1))]
    processor = TimeSeriesProcessor.fit(series, max_length=4)
    longer = np.arange(6.0)[:, None]
    with pytest.raises(ValueError, match="6 steps, the longest in training had 4"):
        processor(longer)
    processor.too_long = "truncate"
    np.testing.assert_array_equal(processor(longer)["past_values"], processor(longer[:4])["past_values"])


def test_the_saved_processor_is_found_by_name_and_does_the_same(tmp_path) -> None:
    frame = make_frame().assign(price=np.linspace(0, 1, 40), size=3.0)
    processor = TimeSeriesProcessor.fit(frame, calendar=["hour"], known=["price"], static=["size"], **FORECAST)
    processor.save_pretrained(tmp_path)
    loaded = AutoProcessor.from_pretrained(tmp_path)
    assert type(loaded) is TimeSeriesProcessor
    assert loaded.to_dict() == processor.to_dict()
    future = pd.DataFrame({"price": [1.0, 2.0, 3.0, 4.0]})
    ours, theirs = processor(frame, future=future), loaded(frame, future=future)
    assert set(ours) == set(processor.model_input_names)
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)


def test_covariates_are_sines_of_the_calendar_then_z_scores_of_what_is_known_ahead() -> None:
    frame = make_frame().assign(price=np.arange(40.0), size=2.0)
    processor = TimeSeriesProcessor.fit(
        frame, calendar=["hour", "weekday"], known=["price"], static=["size"], **FORECAST
    )
    future = pd.DataFrame({"time": pd.date_range("2026-02-01 12:00", periods=4, freq="h"), "price": [40.0, 41, 42, 43]})
    batch = processor(frame, future=future)
    assert batch["past_time_features"].shape == (1, 8, 5)
    hours = np.arange(12, 16)  # 1 February 2026 is a Sunday
    expected = [
        np.sin(2 * np.pi * hours / 24), np.cos(2 * np.pi * hours / 24),
        np.sin(2 * np.pi * (6 + hours / 24) / 7), np.cos(2 * np.pi * (6 + hours / 24) / 7),
        (np.arange(40, 44) - 19.5) / np.arange(40).std(),
    ]  # fmt: skip
    np.testing.assert_allclose(batch["future_time_features"][0], np.stack(expected, axis=1), atol=1e-6)
    assert batch["static_real_features"].tolist() == [[0.0]]
    for wrong, message in (
        (None, "needs price for the 4 steps ahead"),
        (future[:3], "3 steps"),
        (future.assign(time=future["time"] + pd.Timedelta("1h")), "must begin at 2026-02-01T12"),
        (future.drop(columns="price"), "must be a frame with the columns price"),
    ):
        with pytest.raises(ValueError, match=message):
            processor(frame, future=wrong)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame.iloc[:0], "no series"),
        (lambda frame: frame.iloc[:5], "5 steps, but a forecast sees 8"),
        (lambda frame: frame.iloc[::-1].iloc[:5], "5 steps"),
        (lambda frame: pd.concat([frame, frame.iloc[-1:]]), "2026-02-01T11:00:00.000000 twice"),
        (lambda frame: frame.assign(time=frame["time"].where(frame.index != 39, frame["time"] + pd.Timedelta("25min"))),
         "no whole number of steps of 1h"),
        (lambda frame: frame.drop(columns="b"), "missing columns 'b'"),
        (lambda frame: frame.assign(a="x"), "'a' must hold numbers, row 0 holds 'x'"),
        (lambda frame: frame.assign(a=np.inf), "infinite number in row 0"),
        (lambda frame: frame.assign(a=np.nan, b=np.nan), "all are missing"),
        (lambda frame: frame.assign(time="soon"), "must hold times"),
        (lambda frame: frame.assign(time=None), "no time in row 0"),
        (lambda frame: np.zeros((9, 3)), "3 channels, the others or the model have 2"),
        (lambda frame: [np.zeros((9, 2)), np.zeros((0, 2))], "series 1 is empty"),
        (lambda frame: [[[1.0, 2.0], [1.0]]], "steps differ in length"),
        (lambda frame: "text", "got str"),
    ],
)  # fmt: skip
def test_what_is_no_such_series_is_refused_in_one_line(processor, change, message) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        processor(change(make_frame()))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"too_long": "cut"}, "refuse, truncate"),
        ({"calendar": ["century"]}, "minute, hour"),
        ({"frequency": "2 fortnights"}, "15min"),
        ({"targets": ["z"]}, "no channel"),
        ({"channels": ["a"]}, "needs one number"),
        ({"frequency": "1", "calendar": ["hour"]}, "times are integers"),
    ],
)
def test_a_processor_that_cannot_work_is_refused(options, message) -> None:
    with pytest.raises(ValueError, match=message):
        TimeSeriesProcessor(**options)


@pytest.mark.parametrize(
    ("times", "frequency"),
    [
        (pd.date_range("2026-01-01", periods=5, freq="15min"), "15min"),
        (pd.date_range("2026-01-01", periods=5, freq="h"), "1h"),
        (pd.date_range("2026-01-01", periods=5, freq="W"), "W-SUN"),
        (pd.date_range("2026-01-01", periods=14, freq="MS"), "1M"),
        (pd.date_range("2020-04-01", periods=6, freq="QS"), "3M"),
        (np.array([3, 5, 7, 11]), "2"),
    ],
)
def test_the_frequency_is_found_and_goes_on_where_the_times_end(times, frequency) -> None:
    array = to_times(times, "time")
    assert find_frequency([array[:-1]]) == frequency
    gap = len(array) - (2 if frequency == "2" else 0)
    steps = step_numbers(array, frequency, "time")
    np.testing.assert_array_equal(move_times(array[0], steps, frequency), array)
    assert len(steps) >= gap


def test_parts_of_a_time_are_pandas_own() -> None:
    times = pd.date_range("2024-02-27 13:37", periods=200, freq="5h")
    array = to_times(times, "time")
    hours = times.hour + times.minute / 60
    np.testing.assert_allclose(calendar_part(array, "hour"), hours)
    np.testing.assert_allclose(calendar_part(array, "minute"), times.minute)
    np.testing.assert_allclose(calendar_part(array, "weekday"), times.weekday + hours / 24)
    np.testing.assert_allclose(calendar_part(array, "day"), times.day - 1)
    np.testing.assert_allclose(calendar_part(array, "month"), times.month - 1 + (times.day - 1) / 31)


def test_times_with_a_zone_are_read_as_utc() -> None:
    texts = ["2026-01-01 01:00:00+01:00", "2026-01-01 02:00:00+01:00"]
    expected = np.array(["2026-01-01T00", "2026-01-01T01"], dtype="datetime64[us]")
    np.testing.assert_array_equal(to_times(texts, "time"), expected)
    np.testing.assert_array_equal(to_times(pd.Series(pd.to_datetime(texts)), "time"), expected)
