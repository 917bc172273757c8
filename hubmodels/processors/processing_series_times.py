"""Columns of numbers and of times, for `processing_series.py`: reading, statistics, frequency, gaps, calendar."""

import datetime
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch

from .processing_series_calendar import UNITS, find_rule, parse_rule

CALENDAR = {"minute": 60, "hour": 24, "weekday": 7, "day": 31, "month": 12}  # part -> its period
MAX_GAP = 10_000_000  # steps of one series; more come from a wrong frequency and would fill the memory


# -------------------------------------------------------------------- numbers


def channel_statistics(values: np.ndarray, names: Sequence[str]) -> tuple[list[float], list[float]]:
    """Compute mean and standard deviation of each column of (N, C), missing values left out; a constant column's is 1.

    Raises ValueError for a column without any value."""
    counts = (~np.isnan(values)).sum(axis=0)
    for name, count in zip(names, counts, strict=True):
        if count == 0:
            raise ValueError(f"column {name!r} has no value: all are missing; leave it out")
    mean, std = np.nanmean(values, axis=0), np.nanstd(values, axis=0)
    return mean.tolist(), [float(value) if value > 0 else 1.0 for value in std]


def to_numbers(values: Any, name: str) -> np.ndarray:
    """Return float64 (N,), NaN where missing. Raises ValueError naming the first value that is infinite or no
    number."""
    array = as_array(values)
    if array.dtype.kind not in "fiub":
        numbers = np.empty(len(array))
        for row, value in enumerate(array):
            try:
                numbers[row] = math.nan if is_missing(value) else float(value)
            except (TypeError, ValueError):
                raise ValueError(f"column {name!r} must hold numbers, row {row} holds {value!r}") from None
        array = numbers
    array = array.astype(np.float64)
    if np.isinf(array).any():
        raise ValueError(f"column {name!r} holds an infinite number in row {int(np.isinf(array).argmax())}")
    return array


def category_columns(values: Any, categories: Sequence[str]) -> np.ndarray:
    """Return one column of 0 and 1 for each category (N, categories); a word that is none of them is all 0."""
    numbers = {name: index for index, name in enumerate(categories)}
    words = as_array(values)
    result = np.zeros((len(words), len(categories)))
    for row, word in enumerate(words.tolist()):
        if not is_missing(word) and (number := numbers.get(category_name(word))) is not None:
            result[row, number] = 1
    return result


def category_name(value: Any) -> str:
    """Return a category as text: true and "True" are one, and so are 3 and 3.0."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value)


def is_missing(value: Any) -> bool:
    """Tell whether a value is None, NaN, NaT, pandas' NA or an empty text."""
    return value is None or type(value).__name__ in ("NAType", "NaTType") or value == "" or value != value


# -------------------------------------------------------------------- times


def to_times(values: Any, name: str, form: str | None = None) -> np.ndarray:
    """Return datetime64[us] or int64 step numbers, (N,).

    Times with a zone become UTC; where they are whole days of the zone, its own dates. Raises ValueError naming the
    first value that is no time.

    Args:
        values: dates, ISO texts, whole numbers, or what `form` says.
        name: of the column.
        form: a format of `strptime`, `quarter` (2024Q1), or `unix*1000` for thousandths of seconds since 1970.
    """
    if "tz" in str(getattr(values, "dtype", "")) or "," in str(getattr(values, "dtype", "")):  # pandas with a zone
        local = values.dt.tz_localize(None).to_numpy().astype("datetime64[us]")
        values = choose_clock(values.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy(), local)
    array, form = as_array(values), None if form == "iso" else form
    if array.dtype.kind == "M":
        times = array.astype("datetime64[us]")
    elif form is not None and form.startswith("unix") and array.dtype.kind in "iuf":
        times = (array.astype(np.int64) * 1_000_000 // int(form[5:])).astype("datetime64[us]")
    elif form is not None and not form.startswith("unix"):
        times = _formatted(array, name, form)
    elif array.dtype.kind in "iu" or (array.dtype.kind == "f" and not np.isnan(array).any() and (array % 1 == 0).all()):
        return array.astype(np.int64)
    else:
        try:  # ISO texts at once
            if any((len(text) > 20 and text[-6] in "+-") or text.endswith("Z") for text in array[:1]):
                raise ValueError
            times = np.array(array.tolist(), dtype="datetime64[us]")
        except (TypeError, ValueError, AttributeError):
            clocks = [_time(value, row, name) for row, value in enumerate(array)]
            utc, local = (np.array(times, dtype="datetime64[us]") for times in zip(*clocks, strict=True))
            times = choose_clock(utc, local)
    if np.isnat(times).any():
        raise ValueError(f"column {name!r} has no time in row {int(np.isnat(times).argmax())}; drop such rows")
    return times


def read_quarter(text: str) -> datetime.datetime:
    """Return the first day of a quarter (2024Q1, 2024-Q1). Raises ValueError for another text."""
    match = re.fullmatch(r"(\d{4})\D{0,2}Q([1-4])", text)
    if match is None:
        raise ValueError
    return datetime.datetime(int(match[1]), 3 * int(match[2]) - 2, 1)


def choose_clock(utc: np.ndarray, local: np.ndarray) -> np.ndarray:
    """Return times of a zone as UTC, or as they stand where they are days: clock changes move those in UTC."""
    filled = ~np.isnat(local)
    within_utc, within_local = ((times - times.astype("datetime64[D]"))[filled] for times in (utc, local))
    days = not within_local.astype(np.int64).any()
    same = len(np.unique(within_local)) <= 1 < len(np.unique(within_utc))
    return local if days or same else utc.astype("datetime64[us]")


def _formatted(array: np.ndarray, name: str, form: str) -> np.ndarray:
    read: dict[str, np.datetime64] = {"": np.datetime64("NaT", "us")}
    times = np.empty(len(array), dtype="datetime64[us]")
    for row, value in enumerate(array.tolist()):
        key = "" if is_missing(value) else category_name(value).strip()
        if key not in read:
            try:
                moment = read_quarter(key) if form == "quarter" else datetime.datetime.strptime(key, form)
            except (TypeError, ValueError):
                raise ValueError(
                    f"column {name!r} must hold times of the form {form}, row {row} holds {value!r}"
                ) from None
            moment = moment.astimezone(datetime.UTC).replace(tzinfo=None) if moment.tzinfo is not None else moment
            read[key] = np.datetime64(moment, "us")
        times[row] = read[key]
    return times


def _time(value: Any, row: int, name: str) -> tuple[np.datetime64, np.datetime64]:
    """Return a time as UTC, and as it stands."""
    if is_missing(value):
        return np.datetime64("NaT", "us"), np.datetime64("NaT", "us")
    try:
        value = datetime.datetime.fromisoformat(value.strip()) if isinstance(value, str) else value
        if not isinstance(value, datetime.date | np.datetime64):
            raise TypeError
        if not isinstance(value, datetime.datetime) or value.tzinfo is None:
            return np.datetime64(value, "us"), np.datetime64(value, "us")
        utc = value.astimezone(datetime.UTC).replace(tzinfo=None)
        return np.datetime64(utc, "us"), np.datetime64(value.replace(tzinfo=None), "us")
    except (TypeError, ValueError):
        raise ValueError(
            f"column {name!r} must hold times (2026-01-31 14:00) or whole numbers, row {row} holds {value!r}"
        ) from None


def find_frequency(series: Iterable[np.ndarray]) -> str:
    """Find how the times of series go on (see `find_rule`). Raises ValueError where no series has two steps."""
    series = [times for times in series if len(times) > 1]
    if not series:
        raise ValueError("no series has two steps, so that the time between them is unknown; give its frequency")
    if not any((np.diff(times.astype(np.int64)) > 0).any() for times in series):
        raise ValueError("the times are not sorted: they never ascend; sort the rows of each series by time")
    return find_rule(series)


def step_numbers(times: np.ndarray, frequency: str, what: str) -> np.ndarray:
    """Return each time's step, counted from the first, int64 (T,).

    Raises ValueError for times that descend, occur twice or lie between two steps; `what` names their column."""
    differences = np.diff(times.astype(np.int64))
    if (differences == 0).any():
        count = int((differences == 0).sum())
        more = f" and {count - 1:,} other times more than once" if count > 1 else ""
        remedy = "keep one row of each, or name the columns that tell the series apart (--series_id_column_name)"
        if are_clock_changes(times[1:][differences == 0]):
            remedy = "where clocks go back in autumn, name the zone of the times (--time_zone Europe/Vienna)"
        raise ValueError(f"{what} holds the time {times[int((differences == 0).argmax())]} twice{more}; {remedy}")
    if (differences < 0).any():
        index = int((differences < 0).argmax())
        raise ValueError(
            f"{what} is not sorted: {times[index + 1]} follows {times[index]}; sort the rows of each series by time"
        )
    rule = parse_rule(frequency)
    if (rule.unit == "") != (times.dtype.kind != "M"):
        raise ValueError(f"{what} and the frequency {frequency!r} do not fit: one is of dates, the other of integers")
    ordinals, on_rule = rule.ordinals(times)
    offsets = ordinals - ordinals[0]
    uneven = ~on_rule | (offsets % rule.number != 0)
    if uneven.any():
        raise ValueError(
            f"{what} holds {times[int(uneven.argmax())]}, which is no whole number of steps of {frequency} after "
            f"{times[0]} ({int(uneven.sum()):,} of {len(times):,} times are not); resample the rows or give another "
            f"frequency (--frequency)"
        )
    steps = offsets // rule.number
    if steps[-1] >= max(MAX_GAP, 100 * len(steps)):
        raise ValueError(f"{what} spans {int(steps[-1]):,} steps of {frequency} with {len(steps):,} rows; check both")
    return steps


def are_clock_changes(times: np.ndarray) -> bool:
    """Tell whether times that occur twice can be of hours in which clocks go back: by night on one Sunday a year.

    So they do in Europe, America and Australia; the other remedy is said for other zones."""
    if times.dtype.kind != "M":
        return False
    days = np.unique(times.astype("datetime64[D]"))
    hours = (times - times.astype("datetime64[D]")).astype(np.int64) // UNITS["h"]
    sundays = (days.astype(np.int64) + 3) % 7 == 6  # 1970-01-01 was a Thursday, Monday is 0
    years, counts = np.unique(days.astype("datetime64[Y]"), return_counts=True)
    return bool(sundays.all() and (hours < 4).all() and len(years) and counts.max() <= 1)


def move_times(start: Any, steps: np.ndarray, frequency: str) -> np.ndarray:
    """Return the times that lie these numbers of steps after `start`."""
    return parse_rule(frequency).move(start, steps)


def calendar_part(times: np.ndarray, part: str) -> np.ndarray:
    """Return a part of the time, counted from 0, in its own unit with fractions: 14:30 is the hour 14.5."""
    days = times.astype("datetime64[D]")
    hours = (times - days).astype(np.int64) / UNITS["h"]
    if part == "hour":
        return hours
    if part == "minute":
        return hours % 1 * 60
    if part == "weekday":
        return (days.astype(np.int64) + 3) % 7 + hours / 24  # 1970-01-01 was a Thursday, Monday is 0
    months = days.astype("datetime64[M]")
    day = (days - months.astype("datetime64[D]")).astype(np.int64)
    if part == "day":
        return day.astype(np.float64)
    return months.astype(np.int64) % 12 + day / 31


def as_array(values: Any) -> np.ndarray:
    """Return one column as an array: numbers and times in their own type, everything else as objects."""
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu().numpy()
    if hasattr(values, "to_numpy"):
        values = values.to_numpy()
    if isinstance(values, np.ndarray) and values.ndim == 1 and values.dtype.kind in "fiubM":
        return values
    result = np.empty(len(values), dtype=object)
    result[:] = [value.item() if isinstance(value, np.generic | torch.Tensor) else value for value in values]
    kinds = set(map(type, result))
    if kinds <= {int, float} and kinds:
        return result.astype(np.int64 if kinds == {int} else np.float64)
    return result
