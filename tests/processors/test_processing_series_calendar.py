"""Calendar rules against pandas, which has its own."""

import numpy as np
import pandas as pd
import pytest

from hubmodels.processors.processing_series_calendar import find_rule, parse_rule, snap_times
from hubmodels.processors.processing_series_times import move_times, step_numbers

CASES = [
    ("2019-11-30", "ME", "ME"), ("2019-11-01", "MS", "1M"), ("1999-12-31", "QE", "QE"), ("2001-04-01", "QS", "3M"),
    ("1950-12-31", "YE", "YE"), ("1950-01-01", "YS", "12M"), ("2024-02-26", "B", "B"), ("2024-02-28", "W-WED", "W-WED"),
    ("2024-03-03", "W-SUN", "W-SUN"), ("2023-06-30", "2ME", "2ME"), ("2019-10-31", "BME", "BME"),
    ("2024-03-30 20:00", "3h", "3h"), ("2024-01-01 00:15", "15min", "15min"), ("2024-01-01", "D", "1D"),
]  # fmt: skip


@pytest.mark.parametrize(("start", "pandas_rule", "expected"), CASES)
def test_a_rule_is_found_and_goes_on_as_pandas_goes_on(start, pandas_rule, expected) -> None:
    every = pd.date_range(start, periods=60, freq=pandas_rule).to_numpy().astype("datetime64[us]")
    assert find_rule([every[:40]]) == expected
    np.testing.assert_array_equal(move_times(every[39], np.arange(1, 21), expected), every[40:])
    np.testing.assert_array_equal(step_numbers(every, expected, "time"), np.arange(60))
    with_gap = np.delete(every, [20, 21, 22])  # missing steps are steps
    assert find_rule([with_gap]) == expected
    np.testing.assert_array_equal(step_numbers(with_gap, expected, "time"), np.delete(np.arange(60), [20, 21, 22]))


@pytest.mark.parametrize(("start", "pandas_rule", "expected"), CASES)
def test_the_names_of_pandas_are_understood(start, pandas_rule, expected) -> None:
    every = pd.date_range(start, periods=20, freq=pandas_rule).to_numpy().astype("datetime64[us]")
    np.testing.assert_array_equal(move_times(every[0], np.arange(20), pandas_rule), every)


def test_months_on_the_thirtieth_go_through_february() -> None:
    every = pd.to_datetime(["2023-12-30", "2024-01-30", "2024-02-29", "2024-03-30", "2024-04-30"])
    times = every.to_numpy().astype("datetime64[us]")
    assert find_rule([times]) == "1M-30"
    np.testing.assert_array_equal(move_times(times[2], np.arange(1, 3), "1M-30"), times[3:])


def test_times_that_jitter_are_put_on_their_steps_and_others_are_left() -> None:
    grid = pd.date_range("2024-05-01", periods=200, freq="10min").to_numpy().astype("datetime64[us]")
    beside = np.random.default_rng(0).integers(-60_000_000, 60_000_000, 200)
    times = grid + beside.astype("timedelta64[us]")
    assert find_rule([times]) == "10min"
    np.testing.assert_array_equal(snap_times(times, "10min"), grid)
    np.testing.assert_array_equal(snap_times(grid, "10min"), grid)
    random = grid[0] + np.sort(np.random.default_rng(1).integers(0, 10**11, 50)).astype("timedelta64[us]")
    np.testing.assert_array_equal(snap_times(random, "10min"), random)


def test_stock_prices_have_no_weekends_and_holidays_are_gaps() -> None:
    days = pd.bdate_range("2023-12-01", "2024-02-01").difference(pd.to_datetime(["2023-12-25", "2024-01-01"]))
    times = days.to_numpy().astype("datetime64[us]")
    assert find_rule([times]) == "B"
    assert step_numbers(times, "B", "time")[-1] + 1 == len(times) + 2


@pytest.mark.parametrize("text", ["", "fortnight", "0D", "-1h", "1.5h"])
def test_a_frequency_that_is_none_is_refused_with_examples(text) -> None:
    with pytest.raises(ValueError, match="15min"):
        parse_rule(text)
