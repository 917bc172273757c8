"""Calendar rules for `processing_series_times.py`: how the times of a series go on. NumPy alone.

A frequency is written as pandas writes it: a number and a unit (15min, 1h, 7D), or a rule. The rules are ME, QE and YE
(the last days of months, quarters and years), MS, QS and YS (their first days), BME (the last business day of a
month), B (Monday to Friday) and W-MON to W-SUN. 1M steps by months from whatever day the series begins on, 1M-30 from
the 30th, or the last day of a shorter month.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

UNITS = {"D": 86_400_000_000, "h": 3_600_000_000, "min": 60_000_000, "s": 1_000_000, "ms": 1_000, "us": 1}
WEEKDAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
PATTERN = re.compile(r"(\d*)(BME|BM|ME|MS|QE|QS|YE|YS|Q|Y|A|B|W|min|ms|M|D|h|H|T|s|S|us|)(?:-([A-Z]{3}|\d{1,2}))?")
MONTHS = {"M": 1, "ME": 1, "MS": 1, "QE": 3, "QS": 3, "Q": 3, "YE": 12, "YS": 12, "Y": 12, "A": 12, "BME": 1, "BM": 1}
SPELLINGS = {"H": "h", "T": "min", "S": "s"}
USUAL_STEPS = sorted(
    count * UNITS[unit]
    for unit, counts in {
        "ms": (1, 2, 5, 10, 20, 50, 100, 200, 500), "s": (1, 2, 5, 10, 15, 20, 30), "min": (1, 2, 5, 10, 15, 20, 30),
        "h": (1, 2, 3, 4, 6, 8, 12), "D": (1, 7),
    }.items()
    for count in counts
)  # fmt: skip
JITTER = 0.2  # share of a step by which a time may lie beside it
LAST_DAY = 31


@dataclass(frozen=True)
class Rule:
    """Says how times go on: by `number` times a unit, which is one of UNITS, M (months), BM, B or "" (integers)."""

    number: int
    unit: str
    day: int | None = None  # of months: on this day, or the last one of a shorter month; the first time's when None
    weekday: int | None = None  # of weeks, Monday is 0

    def ordinals(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the number of each time on the unit's scale, int64 (T,), and whether it lies on the rule, (T,)."""
        if self.unit in ("M", "BM"):
            months, days, within = split_months(times)
            on_rule = (days == self.month_days(months, int(days[0]))) & (within == within[0])
            return months.astype(np.int64), on_rule
        if self.unit == "B":
            whole_days = times.astype("datetime64[D]")
            within = (times - whole_days).astype(np.int64)
            on_rule = np.is_busday(whole_days) & (within == within[0])
            return np.busday_count(np.datetime64("1970-01-01"), whole_days).astype(np.int64), on_rule
        numbers = times.astype(np.int64)
        size = UNITS.get(self.unit, 1)
        on_rule = (numbers - numbers[0]) % size == 0
        if self.weekday is not None:
            on_rule &= weekdays(times) == self.weekday
        return (numbers - numbers[0]) // size, on_rule

    def move(self, start: np.datetime64 | np.int64, steps: np.ndarray) -> np.ndarray:
        """Return the times that lie these numbers of steps after `start`."""
        if self.unit in ("M", "BM"):
            months, days, _ = split_months(np.array([start]))
            whole_day = start.astype("datetime64[D]")
            moved = months[0] + steps * self.number
            on_days = moved.astype("datetime64[D]") + (self.month_days(moved, int(days[0])) - 1)
            return on_days.astype("datetime64[us]") + (start - whole_day)
        if self.unit == "B":
            whole_day = start.astype("datetime64[D]")
            moved = np.busday_offset(whole_day, steps * self.number, roll="backward")
            return moved.astype("datetime64[us]") + (start - whole_day)
        size = self.number * UNITS.get(self.unit, 1)
        return start + (steps * size).astype("timedelta64[us]" if self.unit else np.int64)

    def month_days(self, months: np.ndarray, first_day: int) -> np.ndarray:
        """Return the day of each month on which a time lies, counted from 1."""
        next_month = (months + 1).astype("datetime64[D]")
        if self.unit == "BM":
            last = np.busday_offset(next_month, -1, roll="forward")
            return (last - months.astype("datetime64[D]")).astype(np.int64) + 1
        lengths = (next_month - months.astype("datetime64[D]")).astype(np.int64)
        return np.minimum(self.day or first_day, lengths)


def parse_rule(text: str) -> Rule:
    """Read a frequency. Raises ValueError for another form."""
    match = PATTERN.fullmatch(text) if text else None
    number = int(match[1] or 1) if match else 0
    if match is None or number == 0 or (match[1] == "" and match[2] == ""):
        raise ValueError(
            f"frequency must be a number and one of D, h, min, s, ms, us (15min), or a rule such as ME, MS, QE, QS, "
            f"YE, YS, B, W-MON, got {text!r}"
        )
    unit, anchor = match[2], match[3]
    if unit == "W":
        weekday = WEEKDAYS.index(anchor) if anchor in WEEKDAYS else None
        return Rule(7 * number, "D", weekday=weekday if anchor else WEEKDAYS.index("SUN"))
    if unit in ("BME", "BM"):
        return Rule(number, "BM")
    if unit in MONTHS:
        day = LAST_DAY if unit in ("ME", "QE", "YE", "Q", "Y", "A") else 1 if unit in ("MS", "QS", "YS") else None
        day = int(anchor) if unit == "M" and anchor and anchor.isdigit() else day
        return Rule(number * MONTHS[unit], "M", day=day)
    return Rule(number, SPELLINGS.get(unit, unit))


def split_months(times: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return month, day of the month (from 1) and microseconds within the day."""
    whole_days = times.astype("datetime64[D]")
    months = whole_days.astype("datetime64[M]")
    return months, (whole_days - months).astype(np.int64) + 1, (times - whole_days).astype(np.int64)


def weekdays(times: np.ndarray) -> np.ndarray:
    """Return the day of the week, Monday is 0."""
    return (times.astype("datetime64[D]").astype(np.int64) + 3) % 7  # 1970-01-01 was a Thursday


def find_rule(series: Sequence[np.ndarray]) -> str:
    """Find how the times of series go on, each of which ascends and has two steps at least.

    That is the rule that fits all of them, else the commonest difference."""
    differences = np.concatenate([np.diff(times.astype(np.int64)) for times in series])
    differences = differences[differences > 0]
    values, counts = np.unique(differences, return_counts=True)
    step = int(values[counts.argmax()])
    every = np.concatenate(series)
    if every.dtype.kind != "M":
        return str(step)
    day = UNITS["D"]
    if differences.min() >= 28 * day and (rule := _months(series, every)):
        return rule
    if step == day and _skips_weekends(series, every):
        return "B"
    if step == 7 * day and np.unique(weekdays(every)).size == 1:
        return f"W-{WEEKDAYS[int(weekdays(every[:1])[0])]}"
    if any(((times - times[0]).astype(np.int64) % step).any() for times in series):  # not all on the grid
        middle = float(np.median(differences))
        nearest = min(USUAL_STEPS, key=lambda usual: abs(usual - middle))
        if abs(nearest - middle) <= JITTER * nearest and all(_jitter(times, nearest) is not None for times in series):
            step = nearest
    unit = next(unit for unit, size in UNITS.items() if step % size == 0)
    return f"{step // UNITS[unit]}{unit}"


def _months(series: Sequence[np.ndarray], every: np.ndarray) -> str | None:
    months, days, within = split_months(every)
    gaps = np.concatenate([np.diff(times.astype("datetime64[M]").astype(np.int64)) for times in series])
    if np.unique(within).size > 1 or (gaps <= 0).any():
        return None
    kinds, numbers = np.unique(gaps, return_counts=True)
    number = int(kinds[numbers.argmax()])
    lengths = Rule(1, "M", day=LAST_DAY).month_days(months, LAST_DAY)
    if (days == lengths).all():
        return {1: "ME", 3: "QE", 12: "YE"}.get(number, f"{number}ME")
    if (days == days[0]).all():
        return f"{number}M"
    if (days == np.minimum(days.max(), lengths)).all():
        return f"{number}M-{int(days.max())}"
    if number == 1 and (days == Rule(1, "BM").month_days(months, LAST_DAY)).all():
        return "BME"
    return None


def _skips_weekends(series: Sequence[np.ndarray], every: np.ndarray) -> bool:
    """Tell whether days are there on both sides of two weekends or more, but none of a weekend."""
    crossed = sum(int((np.diff(weekdays(times)) < 0).sum()) for times in series)
    return crossed >= 2 and bool((weekdays(every) < 5).all())


def _jitter(times: np.ndarray, step: int) -> np.ndarray | None:
    """Return by how much each time lies beside a grid of this step, int64 (T,); None where it is no grid."""
    numbers = times.astype(np.int64)
    for start in (0, int(numbers[0])):
        beside = (numbers - start + step // 2) % step - step // 2
        beside = beside - (0 if start == 0 else int(np.median(beside)))
        if np.abs(beside).max() <= JITTER * step:
            return beside
    return None


def snap_times(times: np.ndarray, frequency: str) -> np.ndarray:
    """Return times that lie a little beside the steps of a frequency on them; others as they are."""
    rule = parse_rule(frequency)
    if times.dtype.kind != "M" or rule.unit not in UNITS or len(times) < 2:
        return times
    step = rule.number * UNITS[rule.unit]
    if not ((times - times[0]).astype(np.int64) % step).any():
        return times
    beside = _jitter(times, step)
    return times if beside is None else times - beside.astype("timedelta64[us]")
