"""The columns of a table: what kind each is of, and what is fitted to it.

processing_table.py reads tables and turns them into tensors."""

import datetime
import decimal
import math
import re
from typing import Any

import numpy as np

MAX_QUANTILES = 256  # stored of each number; more change nothing that a network could learn
MAX_CATEGORIES = 1_000  # values of a category beyond the most frequent ones are rare
DATE = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?)?(Z|[+-]\d{2}:?\d{2})?")
FREE_TEXT = "an identifier or free text"  # how the reason begins for which such a column is dropped
DATE_PARTS = {"month": 12, "weekday": 7, "hour": 24}  # as categories: part -> number of its values


def fit_number(values: np.ndarray, _: int) -> dict[str, Any] | str:
    """Return what is stored of a column of numbers, or why it is of no use."""
    absent = np.isnan(values)
    present = values[~absent]
    if len(present) == 0 or (present.min() == present.max() and not absent.any()):
        return constant_reason(values[0])
    fitted: dict[str, Any] = {"kind": "number", "has_missing": bool(absent.any()), "quantiles": None}
    if present.min() < present.max():
        fitted |= fit_quantiles(present)
    return fitted


def fit_quantiles(values: np.ndarray) -> dict[str, Any]:
    """Return the median, and quantiles at even levels; a value that stands at several is kept once, at their mean
    level."""
    levels = np.linspace(0, 1, min(MAX_QUANTILES, max(10, len(values) // 10)) + 1)
    quantiles, indices = np.unique(np.quantile(values, levels), return_inverse=True)
    if len(quantiles) < 2:
        quantiles, indices = np.array([values.min(), values.max()]), None
    means = np.bincount(indices, weights=levels) / np.bincount(indices) if indices is not None else np.array([0.0, 1.0])
    return {
        "median": float(np.median(values)),
        "quantiles": quantiles.tolist(),
        "levels": [round(float(level), 9) for level in means],
    }


class BadValue(ValueError):
    """Says which cell of a table is not what its column is: `row` from 0, `column`, and the `reason`."""

    def __init__(self, row: int, column: str, reason: str) -> None:
        super().__init__(f"column {column!r} {reason}")
        self.row, self.column, self.reason = row, column, reason


def to_numbers(values: np.ndarray, name: str) -> np.ndarray:
    """Return float64, NaN where missing; text is read as Python reads numbers.

    Raises BadValue for the first value that is no number."""
    if values.dtype.kind in "fiub":
        numbers = values.astype(np.float64)
    else:
        absent = np.array([is_missing(value) or value == "" for value in values], dtype=bool)
        present = values if not absent.any() else values[~absent]
        numbers = np.full(len(values), np.nan)
        try:
            numbers[~absent] = present.astype(np.float64)
        except (TypeError, ValueError):
            numbers[~absent] = one_by_one(values, absent, name)
    largest = np.finfo(np.float64).max
    return numbers.clip(-largest, largest) if np.isinf(numbers).any() else numbers


def one_by_one(values: np.ndarray, absent: np.ndarray, name: str) -> list[float]:
    """Return the present values as numbers, durations and times of day in seconds. Raises BadValue for the first that
    is none."""
    numbers = []
    for row in np.flatnonzero(~absent):
        try:
            numbers.append(seconds_of(values[row]) if is_duration(values[row]) else float(values[row]))
        except (TypeError, ValueError):
            raise BadValue(int(row), name, f"must hold numbers, row {row} holds {values[row]!r:.60}") from None
    return numbers


def is_duration(value: Any) -> bool:
    """Tell whether a value is a duration or a time of day."""
    return isinstance(value, datetime.timedelta | datetime.time | np.timedelta64)


def seconds_of(value: Any) -> float:
    """Return a duration, or a time of day since midnight, in seconds."""
    if isinstance(value, datetime.time):
        return value.hour * 3600 + value.minute * 60 + value.second + value.microsecond / 1e6
    return float(value / np.timedelta64(1, "s")) if isinstance(value, np.timedelta64) else value.total_seconds()


def fit_category(values: np.ndarray, min_frequency: int) -> dict[str, Any] | str:
    """Return what is stored of a column of categories, or why it is of no use."""
    texts, counts = np.unique(np.array([sort_key(value) for value in values], dtype=object), return_counts=True)
    if len(texts) < 2:
        return constant_reason(values[0])
    if len(texts) > max(20, len(values) // 2):
        return f"{FREE_TEXT}: {len(texts):,} values in {len(values):,} rows"
    keep = counts >= min_frequency
    if len(texts) > MAX_CATEGORIES:
        keep &= counts >= np.sort(counts)[-MAX_CATEGORIES]
    category_values = [None if key == sort_key(None) else key[1:] for key in texts[keep]]
    return {"kind": "category", "values": category_values, "has_rare": bool((~keep).any())}


def sort_key(text: str | None) -> str:
    """Return texts with a mark before them, so that None and texts can be sorted together."""
    return "0" if text is None else "1" + text


def category_text(value: Any) -> str | None:
    """Return a category's value as text, None where it is missing or blank; 1, 1.0 and "1" are the same value.

    Blanks around it do not count."""
    if is_missing(value):
        return None
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value).strip() or None


def other_spellings(text: str) -> tuple[str, ...]:
    """Return how else files write a value: 1.0 as a whole number, true as Python has it."""
    whole = re.fullmatch(r"(-?\d+)\.0*", text)
    if whole:
        return (whole[1],)
    return (text.capitalize(),) if text.lower() in ("true", "false") else ()


def is_missing(value: Any) -> bool:
    """Tell whether a value is None, NaN, NaT or pandas' NA."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float | np.floating) and math.isnan(value)


def constant_reason(value: Any) -> str:
    """Say why a column of this value alone is of no use."""
    text = category_text(value)
    return "always missing" if text is None else f"constant: {text}"


def fit_date(values: np.ndarray, _: int) -> dict[str, Any] | str:
    """Return what is stored of a column of dates, or why it is of no use."""
    seconds = to_seconds(values)
    fitted = fit_number(seconds, 0)
    if isinstance(fitted, str):
        return "always missing" if np.isnat(values[0]) else f"constant: {values[0]}"
    present = values[~np.isnat(values)]
    varying_parts = [part for part in DATE_PARTS if len(np.unique(date_part(present, part))) > 1]
    return {**fitted, "kind": "date", "parts": varying_parts}


def to_seconds(dates: np.ndarray) -> np.ndarray:
    """Return seconds since 1970 (UTC), NaN where missing."""
    return np.where(np.isnat(dates), np.nan, dates.astype(np.int64).astype(np.float64))


def date_part(dates: np.ndarray, part: str) -> np.ndarray:
    """Return month 0..11, weekday 0..6 from Monday, or hour 0..23."""
    if part == "month":
        return dates.astype("datetime64[M]").astype(np.int64) % 12
    if part == "weekday":
        return (dates.astype("datetime64[D]").astype(np.int64) + 3) % 7  # 1970-01-01 was a Thursday
    return dates.astype("datetime64[h]").astype(np.int64) % 24


def to_dates(values: np.ndarray, name: str) -> np.ndarray:
    """Return datetime64[s] in UTC, NaT where missing. Raises BadValue for the first value that is no date."""
    if values.dtype.kind == "M":
        return values.astype("datetime64[s]")
    dates = np.empty(len(values), dtype="datetime64[s]")
    for row, value in enumerate(values):
        try:
            dates[row] = parse_date(value)
        except (TypeError, ValueError):
            raise BadValue(row, name, f"must hold dates (2026-01-31), row {row} holds {value!r:.60}") from None
    return dates


def parse_date(value: Any) -> Any:
    """Return a date in UTC, NaT where it is missing. Raises ValueError or TypeError where it is none."""
    if is_missing(value) or value == "":
        return np.datetime64("NaT")
    if isinstance(value, str):
        value = datetime.datetime.fromisoformat(value)
    if isinstance(value, datetime.datetime) and value.tzinfo is not None:
        value = value.astimezone(datetime.UTC).replace(tzinfo=None)
    if not isinstance(value, datetime.date | np.datetime64):
        raise TypeError
    return np.datetime64(value, "s")


def recognise(values: np.ndarray, name: str, categorical: bool) -> tuple[str, np.ndarray]:
    """Return the kind of a column and its values in that kind's form: float64, datetime64 or texts and None as
    objects."""
    if values.dtype.kind == "M":
        return "date", to_dates(values, name)
    if not categorical and values.dtype.kind in "fiu":
        return "number", to_numbers(values, name)
    if not categorical and values.dtype.kind == "O":
        present = [value for value in values if not is_missing(value)]
        if present and all(
            (isinstance(value, int | float | np.number | decimal.Decimal) or is_duration(value))
            and not isinstance(value, bool)
            for value in present
        ):
            return "number", to_numbers(values, name)
        if present and all(looks_like_date(value) for value in present):
            return "date", to_dates(values, name)
    return "category", np.array([category_text(value) for value in values], dtype=object)


def looks_like_date(value: Any) -> bool:
    """Tell whether a value is a date, or a text written like one."""
    return isinstance(value, datetime.date) or (isinstance(value, str) and DATE.fullmatch(value) is not None)
