"""Dates, times and durations in text: their order, and their values, vectorised over whole columns.

ISO 8601, day, month and year in any order and with any separator, names of months, years of two digits, months and
quarters alone, a clock of 24 or 12 hours, zones; 20191201 and seconds since 1970 as whole numbers; 1:23:45.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow
import pyarrow.compute as compute

from .gaps import without_gaps
from .numbers import cast_all

ORDERS = {"ymd": "year, month, day", "dmy": "day, month, year", "mdy": "month, day, year"}
MONTHS = {  # the first letters of a month's name, in the languages that spreadsheets write
    1: "jan ene gen janv", 2: "feb fev fév févr febr", 3: "mar mär mrz maa mars", 4: "apr abr avr avril",
    5: "may mai mag mei maj maio",
    6: "jun juin giu juni", 7: "jul juil lug juli", 8: "aug ago aoû août", 9: "sep set sept", 10: "oct okt ott out",
    11: "nov", 12: "dec dez dic déc des",
}  # fmt: skip
MONTH_NUMBERS = {letters[:3]: number for number, words in MONTHS.items() for letters in words.split()}
NAME = r"[a-zà-ÿ]{3,10}"
CLOCK = (
    r"(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,](?P<fraction>\d{1,9}))?)?"
    r"\s*(?P<half>[ap]\.?m\.?)?\s*(?P<zone>z|utc|gmt|[+-]\d{2}(?::?\d{2})?)?"
)
DATE = (
    r"^(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*[.,]*\s+)?"
    rf"(?P<a>\d{{1,4}}|{NAME})(?:st|nd|rd|th)?(?P<mark>[-/.,\s])[,\s]*(?P<b>\d{{1,4}}|{NAME})(?:st|nd|rd|th)?"
    rf"(?:[-/.,\s][,\s]*(?P<c>\d{{4}}|\d{{1,2}}))?(?:[t,\s]+{CLOCK})?$"
)
QUARTER = r"^(?P<a>\d{4})[-/ ]?q(?P<b>[1-4])$"
TIME_OF_DAY = rf"^{CLOCK}$"
DURATION = (
    r"^(?:(?P<days>-?\d+)\s*days?,?\s*\+?)?(?P<minus>-)?"
    r"(?:(?P<hours>\d{1,4}):(?P<minutes>[0-5]\d)(?::(?P<seconds>[0-5]\d)(?:\.(?P<fraction>\d{1,9}))?)?)?$"
)
TIME_NAME = re.compile(r"(time|date|stamp|epoch|created|updated|(^|_)(ts|at|when|day)$)", re.IGNORECASE)
EPOCHS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
FIRST_YEAR, LAST_YEAR = 1900, 2100  # of whole numbers that are dates
FIRST_EPOCH, LAST_EPOCH = 315_532_800, 4_102_444_800  # seconds of 1980 and 2100


@dataclass(frozen=True)
class DateCount:
    """Counts over a column how many cells each order reads, and what else is needed to read it."""

    total: int = 0
    dmy: int = 0
    mdy: int = 0
    numeric: int = 0  # cells whose day and month are both numbers and stand before the year
    zoned: int = 0
    fractions: int = 0
    first_of_month: int = 0  # cells that name no day

    def __add__(self, other: "DateCount") -> "DateCount":
        return DateCount(*(mine + its for mine, its in zip(vars(self).values(), vars(other).values(), strict=True)))


def looks_like_dates(sample: Sequence[str]) -> bool:
    """Tell whether at least nine of ten trimmed cells are dates in some order."""
    dates = read_dates(pyarrow.array(sample, pyarrow.string()), "dmy"), read_dates(pyarrow.array(sample), "mdy")
    return any(np.count_nonzero(~np.isnat(values)) >= 0.9 * len(sample) for values in dates)


def read_dates(text: pyarrow.Array, order: str) -> np.ndarray:
    """Read dates as datetime64[us] in UTC, NaT for gaps and for what is no date.

    Args:
        text: the cells.
        order: of three numbers of which the first has no four digits: "dmy", "mdy" or "ymd".
    """
    iso = cast_all(text, pyarrow.timestamp("us"))
    if iso is None:
        iso = cast_all(text, pyarrow.timestamp("us", "UTC"))
    if iso is not None:
        return iso.to_numpy(zero_copy_only=False).astype("datetime64[us]")
    cells = without_gaps(text).dictionary_encode()  # dates repeat
    values = dates_of_parts(split_dates(cells.dictionary), order)
    indices = compute.fill_null(cells.indices, len(values)).to_numpy(zero_copy_only=False)
    return np.append(values, np.datetime64("NaT", "us"))[indices]


def count_dates(text: pyarrow.Array) -> DateCount:
    """Count what tells of the order of a column's dates."""
    for zone in (None, "UTC"):  # ISO 8601 throughout: there is nothing to choose
        if (iso := cast_all(text, pyarrow.timestamp("us", zone))) is not None:
            present = len(iso) - iso.null_count
            rounded = compute.cast(iso, pyarrow.timestamp("s", zone), safe=False)
            fractions = compute.sum(compute.not_equal(iso, compute.cast(rounded, iso.type))).as_py() or 0
            return DateCount(present, present, present, zoned=present if zone else 0, fractions=fractions)
    cells = without_gaps(text)
    counted = compute.value_counts(cells.drop_null())
    weights = counted.field("counts").to_numpy(zero_copy_only=False)
    columns = split_dates(counted.field("values"))
    dmy, mdy = (~np.isnat(dates_of_parts(columns, order)) for order in ("dmy", "mdy"))
    numeric = columns["first"] & columns["numeric"]

    def count(mask: np.ndarray) -> int:
        return int(weights[mask].sum())

    return DateCount(
        total=int(weights.sum()),
        dmy=count(dmy),
        mdy=count(mdy),
        numeric=count(numeric & (dmy | mdy)),
        zoned=count(columns["zoned"] & dmy),
        fractions=count((columns["fraction"] > 0) & dmy),
        first_of_month=count(columns["no_day"] & dmy),
    )


def split_dates(text: pyarrow.Array) -> dict[str, np.ndarray]:
    """Split distinct cells into whole numbers, -1 where there is none: a, b, c, hour, minute, second, ..."""
    text = compute.utf8_lower(text)
    fields = compute.extract_regex(text, DATE)
    text_of = {field.name: compute.fill_null(fields.field(index), "") for index, field in enumerate(fields.type)}
    columns: dict[str, np.ndarray] = {}
    names = {}
    for part in "abc":
        columns[part] = whole(text_of[part])
        months = month_numbers(text_of[part])
        names[part] = months > 0
        columns[part] = np.where(names[part], months, columns[part])
        columns[part + " digits"] = compute.utf8_length(text_of[part]).to_numpy(zero_copy_only=False)
    columns["a named"], columns["b named"] = names["a"], names["b"]
    quarters = compute.extract_regex(text, QUARTER)
    is_quarter = compute.is_valid(quarters).to_numpy(zero_copy_only=False)
    if is_quarter.any():
        years, quarter = (whole(compute.fill_null(quarters.field(index), "")) for index in range(2))
        columns["a"] = np.where(is_quarter, years, columns["a"])
        columns["b"] = np.where(is_quarter, 3 * quarter - 2, columns["b"])
        columns["a digits"] = np.where(is_quarter, 4, columns["a digits"])
    columns["numeric"] = ~names["a"] & ~names["b"]
    columns["no_day"] = columns["c"] < 0
    columns["first"] = (columns["a digits"] < 4) & ~columns["no_day"]
    for part in ("hour", "minute", "second"):
        columns[part] = whole(text_of[part]).clip(0)
    columns["has clock"] = compute.not_equal(text_of["hour"], "").to_numpy(zero_copy_only=False)
    columns["fraction"] = microseconds(text_of["fraction"])
    columns["half"] = half_of_day(text_of["half"])
    columns["zoned"] = compute.not_equal(text_of["zone"], "").to_numpy(zero_copy_only=False)
    columns["zone"] = zone_minutes(text_of["zone"])
    return columns


def dates_of_parts(columns: Mapping[str, np.ndarray], order: str) -> np.ndarray:
    """Put dates together, datetime64[us]; NaT where a number is out of its range."""
    a, b, c = columns["a"], columns["b"], columns["c"]
    a_named, b_named, no_day = columns["a named"], columns["b named"], columns["no_day"]
    year_first = (columns["a digits"] == 4) & ~a_named
    if order == "ymd":
        year_first |= ~a_named & ~no_day & (columns["c digits"] < 4)
    month_first = a_named | (~b_named & (order == "mdy"))
    year = np.where(year_first, a, np.where(no_day, b, c))
    year_digits = np.where(year_first, columns["a digits"], np.where(no_day, columns["b digits"], columns["c digits"]))
    month = np.where(year_first, b, np.where(no_day | month_first, a, b))
    day = np.where(no_day, 1, np.where(year_first, c, np.where(month_first, b, a)))
    year = np.where(year_digits == 2, np.where(year < 69, 2000, 1900) + year, year)
    valid = (year > 0) & np.isin(year_digits, (2, 4)) & (month >= 1) & (month <= 12) & (day >= 1)
    valid &= ~(no_day & (year_digits != 4))  # 12.05 is no date
    months = (np.where(valid, year, 1970) - 1970) * 12 + np.where(valid, month, 1) - 1
    first = months.astype("datetime64[M]")
    days = first.astype("datetime64[D]") + (np.where(valid, day, 1) - 1)
    valid &= days.astype("datetime64[M]") == first
    seconds, in_day = seconds_of_day(columns)
    moment = days.astype("datetime64[us]") + (seconds - 60 * columns["zone"]) * 1_000_000 + columns["fraction"]
    return np.where(valid & in_day, moment, np.datetime64("NaT", "us"))


def seconds_of_day(columns: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the seconds since midnight, and whether the clock shows such a time."""
    hour, half = columns["hour"], columns["half"]
    valid = (hour < 24) & (columns["minute"] < 60) & (columns["second"] < 61)
    valid &= (half < 0) | ((hour >= 1) & (hour <= 12))
    hour = np.where(half >= 0, hour % 12 + 12 * half.clip(0), hour)
    return hour * 3600 + columns["minute"] * 60 + columns["second"], valid


def whole(text: pyarrow.Array) -> np.ndarray:
    """Read whole numbers, -1 where a cell is none."""
    digits = compute.if_else(compute.match_substring_regex(text, r"^\d+$"), text, pyarrow.scalar(None, text.type))
    return compute.fill_null(compute.cast(digits, pyarrow.int64()), -1).to_numpy(zero_copy_only=False)


def month_numbers(text: pyarrow.Array) -> np.ndarray:
    """Read the names of months as 1..12, 0 where a cell is none."""
    letters = compute.utf8_slice_codeunits(text, 0, 3)
    keys = pyarrow.array(MONTH_NUMBERS, letters.type)
    indices = compute.fill_null(compute.index_in(letters, value_set=keys), -1).to_numpy(zero_copy_only=False)
    return np.append(np.array(list(MONTH_NUMBERS.values())), 0)[indices]


def microseconds(text: pyarrow.Array) -> np.ndarray:
    """Read the digits behind a second's point as microseconds."""
    padded = compute.utf8_slice_codeunits(compute.utf8_rpad(text, 6, "0"), 0, 6)
    return whole(padded).clip(0)


def half_of_day(text: pyarrow.Array) -> np.ndarray:
    """Return 0 for a.m., 1 for p.m., -1 where neither stands."""
    first = compute.utf8_slice_codeunits(text, 0, 1)
    return (
        compute.index_in(first, value_set=pyarrow.array(["a", "p"], first.type))
        .fill_null(-1)
        .to_numpy(zero_copy_only=False)
    )


def zone_minutes(text: pyarrow.Array) -> np.ndarray:
    """Return the minutes by which a zone is ahead of UTC."""
    fields = compute.extract_regex(text, r"^(?P<sign>[+-])(?P<hours>\d{2}):?(?P<minutes>\d{2})?$")
    sign, hours, minutes = (compute.fill_null(fields.field(index), "") for index in range(3))
    ahead = whole(hours).clip(0) * 60 + whole(minutes).clip(0)
    return np.where(compute.equal(sign, "-").to_numpy(zero_copy_only=False), -ahead, ahead)


# Durations and times of day


def read_seconds(text: pyarrow.Array) -> pyarrow.Array:
    """Read durations (1:23:45, 2 days 03:00:00) and times of day (14:05, 2:05 pm) as seconds, float64."""
    text = compute.utf8_lower(without_gaps(text))
    clock = compute.extract_regex(text, TIME_OF_DAY)
    half = half_of_day(compute.fill_null(clock.field(4), ""))
    fields = compute.extract_regex(text, DURATION)
    days, minus, hours, minutes, seconds, fraction = (compute.fill_null(fields.field(n), "") for n in range(6))
    given = compute.is_valid(fields).to_numpy(zero_copy_only=False)
    given &= compute.or_(compute.not_equal(days, ""), compute.not_equal(hours, "")).to_numpy(zero_copy_only=False)
    day_count = compute.cast(compute.if_else(compute.equal(days, ""), "0", days), pyarrow.int64())
    total = day_count.to_numpy(zero_copy_only=False) * 86_400.0
    total += whole(hours).clip(0) * 3600 + whole(minutes).clip(0) * 60 + whole(seconds).clip(0)
    total += microseconds(fraction) / 1e6
    total = np.where(compute.equal(minus, "-").to_numpy(zero_copy_only=False), -total, total)
    if (half >= 0).any():
        values = [whole(compute.fill_null(clock.field(n), "")).clip(0) for n in range(3)]
        columns = dict(zip(("hour", "minute", "second"), values, strict=True)) | {"half": half}
        shown, valid = seconds_of_day(columns)
        total, given = np.where(half >= 0, shown, total), np.where(half >= 0, valid, given)
    return pyarrow.array(total, mask=~given)


# Whole numbers that are dates


def guess_whole_dates(name: str, lowest: int, highest: int) -> str | None:
    """Guess how whole numbers in this range are dates: "compact" (20191201), "s", "ms", "us", "ns" since 1970, or None.

    Seconds since 1970 are guessed only where the column's name speaks of a time."""
    if lowest > FIRST_YEAR * 10_000 and highest < (LAST_YEAR + 1) * 10_000:
        return "compact"
    if TIME_NAME.search(name):
        for unit, per_second in EPOCHS.items():
            if FIRST_EPOCH * per_second <= lowest and highest < LAST_EPOCH * per_second:
                return unit
    return None


def read_whole_dates(values: pyarrow.Array, form: str) -> np.ndarray:
    """Read whole numbers as dates, datetime64[us], NaT for nulls and for what is no date."""
    numbers = compute.fill_null(compute.cast(values, pyarrow.float64()), np.nan).to_numpy(zero_copy_only=False)
    missing = np.isnan(numbers) | (numbers != np.floor(numbers))
    if form != "compact":
        whole_numbers = compute.fill_null(compute.cast(values, pyarrow.int64(), safe=False), 0)
        moments = whole_numbers.to_numpy(zero_copy_only=False).astype(f"datetime64[{form}]").astype("datetime64[us]")
        return np.where(missing, np.datetime64("NaT", "us"), moments)
    digits = np.where(missing, 0, numbers).astype(np.int64)
    columns: dict[str, Any] = {"a": digits // 10_000, "b": digits // 100 % 100, "c": digits % 100}
    nothing = np.zeros(len(digits), dtype=np.int64)
    columns |= {name: nothing for name in ("hour", "minute", "second", "fraction", "zone")}
    columns |= {"a digits": nothing + 4, "b digits": nothing + 2, "c digits": nothing + 2, "half": nothing - 1}
    columns |= {name: nothing > 0 for name in ("a named", "b named")} | {"no_day": nothing > 0}
    return np.where(missing | (digits < 10_000_000), np.datetime64("NaT", "us"), dates_of_parts(columns, "ymd"))
