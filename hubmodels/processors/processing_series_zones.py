"""Local times of a time zone, for `processing_series.py`: to UTC and back, where clocks go back or ahead. NumPy alone.

An hour that occurs twice in autumn is told apart by the order of the rows: its times are of the second pass from where
they step back. Times of whole days stay as they are."""

import datetime
import re
from collections.abc import Iterable
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from .processing_series_calendar import parse_rule
from .processing_series_times import as_array, choose_clock, to_times

OFFSET = re.compile(r".*\d[T ]?\s*(Z|[+-]\d\d(:?\d\d)?)\s*")
WITHIN_DAYS = ("h", "min", "s", "ms", "us")  # units of frequencies whose steps clock changes make uneven


def find_zone(name: str) -> ZoneInfo:
    """Return a time zone. Raises ValueError where its name is none."""
    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError):  # KeyError: no such zone
        reason = f"time_zone must be a name of the IANA's list, such as Europe/Vienna, got {name!r}"
        raise ValueError(reason) from None


def read_local_times(
    values: Any, name: str, form: str | None, zone: str | None, series: Iterable[np.ndarray], frequency: str | None
) -> np.ndarray:
    """Return times as `to_times` does; those without a zone of their own are of `zone`, and become UTC.

    Args:
        values, name, form: see `to_times`.
        zone: an IANA name; None where times are read as they stand.
        series: the numbers of each series' rows, in their order.
        frequency: how times go on; None where that is not known yet.

    Raises:
        ValueError: see `to_times`; or a time is of an hour that the zone's clocks skip, or that occurs twice while the
            rows are in no order.
    """
    local = to_times(values, name, form)
    if zone is None or local.dtype.kind != "M" or has_zones(values):
        return local
    utc = local.copy()
    for rows in series:
        utc[rows] = to_utc(local[rows], name, zone)
    if frequency is None:
        return choose_clock(utc, local)
    return utc if is_within_days(frequency) else local


def has_zones(values: Any) -> bool:
    """Tell whether times say their zone themselves."""
    kind = str(getattr(values, "dtype", ""))
    if "tz" in kind or "," in kind:
        return True
    array = as_array(values)
    if array.dtype.kind != "O":
        return False
    first = next((value for value in array if value is not None and value == value), None)
    if isinstance(first, datetime.datetime):
        return first.tzinfo is not None
    return isinstance(first, str) and ":" in first and OFFSET.fullmatch(first) is not None


def is_within_days(frequency: str) -> bool:
    """Tell whether steps are parts of days: times then are UTC, else the zone's own dates."""
    rule = parse_rule(frequency)
    return rule.unit in WITHIN_DAYS and rule.weekday is None


def to_utc(local: np.ndarray, name: str, zone: str) -> np.ndarray:
    """Return the local times of one series, datetime64[us] (T,) in the order of its rows, as UTC."""
    if not len(local):
        return local
    info = find_zone(zone)
    moments, numbers = np.unique(local, return_inverse=True)
    first, second = np.empty_like(moments), np.empty_like(moments)
    for index, moment in enumerate(moments.tolist()):
        for passes, fold in ((first, 0), (second, 1)):
            offset = moment.replace(tzinfo=info, fold=fold).utcoffset()
            passes[index] = np.datetime64(moment - offset, "us")
    skipped = second < first
    if skipped.any():
        raise ValueError(
            f"column {name!r} holds {moments[int(skipped.argmax())]}, which the clocks of {zone} skip: name the zone "
            f"that the times are of (--time_zone)"
        )
    utc = first[numbers]
    twice = np.flatnonzero((second > first)[numbers])
    if len(twice):
        descends = local[-1] < local[0]
        steps = np.diff(np.delete(local, twice).astype(np.int64))
        if (steps < 0).any() and (steps > 0).any():
            raise ValueError(
                f"column {name!r} holds {local[twice[0]]}, an hour that occurs twice in {zone}, and its rows are in no "
                f"order that would tell which it is: sort them"
            )
        before: np.datetime64 | None = None
        late = False
        for row in twice[::-1] if descends else twice:
            if before is None or local[row] - before > np.timedelta64(1, "D"):
                late = False  # another autumn
            late = late or (before is not None and local[row] <= before)
            before = local[row]
            if late:
                utc[row] = second[numbers[row]]
    return utc


def to_local(times: np.ndarray, zone: str) -> list[datetime.datetime]:
    """Return times in UTC, datetime64[us] (T,), as times of a zone, which say it."""
    info = find_zone(zone)
    return [moment.replace(tzinfo=datetime.UTC).astimezone(info) for moment in times.tolist()]


def local_clock(times: np.ndarray, zone: str | None, frequency: str | None) -> np.ndarray:
    """Return what the zone's clocks show at times in UTC, datetime64[us] (T,); times of whole days as they are."""
    if zone is None or frequency is None or times.dtype.kind != "M" or not is_within_days(frequency):
        return times
    moments, numbers = np.unique(times, return_inverse=True)
    shown = [moment.replace(tzinfo=None) for moment in to_local(moments, zone)]
    return np.array(shown, dtype="datetime64[us]")[numbers]
