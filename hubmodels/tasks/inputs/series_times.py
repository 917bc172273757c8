"""Times of series, found by what a column holds: dates, text of dates in any order, whole numbers that are dates."""

import re
import warnings
from typing import TYPE_CHECKING, Any

from ...errors import HubmodelsError

if TYPE_CHECKING:
    import numpy as np
    import pandas

NEARLY_ALL = 0.95  # share of the texts of a column that must be times for it to be one of times
SAMPLE = 1_000  # different texts that are looked at
YEARS = (1500, 2200)  # whole numbers between these can be years
YEAR_NAMES = ("year", "years", "yr", "jahr", "annee", "année", "anno", "ano", "año", "vuosi", "rok")
STEP_NAMES = ("t", "step", "time", "timestep", "time_step", "tick", "period", "day", "week", "month", "hour", "ds")
OTHER_FORMATS = ("iso", "%b %Y", "%B %Y", "%b-%y", "%b-%Y", "%d-%b-%y", "%d-%b-%Y", "%d %b %Y", "%YM%m", "quarter")
ROW_NUMBER = re.compile(r"|unnamed: ?\d+|index|__index_level_\d+__|row|row_?(number|id|no|nr)|idx|nr|no\.?|#", re.I)


def time_format(values: "pandas.Series", name: str) -> str | None:
    """Say how a column of text or of whole numbers is read as times: a format of `strptime`, "unix" or "iso".

    None where it holds no times. The order of day and month is decided by all values; where both orders can be, by the
    one whose steps are more even."""
    filled = values.dropna()
    if not len(filled):
        return None
    kind = filled.dtype.kind
    if kind in "iu" or (kind == "f" and (filled % 1 == 0).all()):
        return whole_number_format(filled.astype("int64"))
    texts = filled.astype(str).drop_duplicates()
    texts = texts.iloc[:: max(1, len(texts) // SAMPLE)]
    if not texts.str.contains(r"\d").all() or texts.str.fullmatch(r"\s*[-+]?[\d.,]*\s*").mean() > 1 - NEARLY_ALL:
        if texts.str.fullmatch(r"\d{6}|\d{8}").all():
            return whole_number_format(texts.astype("int64"))
        if not texts.str.fullmatch(r"\d{1,2}[.]\d{1,2}[.]\d{2,4}").any():
            return None
    guesses = [guess_format(text, order) for order in (False, True) for text in (texts.iloc[0], texts.max())]
    parsed = {form: parse(texts, form) for form in dict.fromkeys((*guesses, *OTHER_FORMATS)) if form is not None}
    parsed = {form: times for form, times in parsed.items() if times.notna().mean() >= NEARLY_ALL}
    # More texts that are times are better, then steps that differ less.
    return min(parsed, key=lambda form: (-parsed[form].notna().sum(), unevenness(parsed[form])), default=None)


def unevenness(times: "pandas.Series") -> float:
    """Compute the standard deviation of steps between times as a share of their mean; 0 for steps that are equal."""
    steps = times.sort_values().diff().dropna().dt.total_seconds()
    return float(steps.std(ddof=0) / steps.mean()) if len(steps) and steps.mean() > 0 else 0.0


def guess_format(text: str, day_first: bool) -> str | None:
    """Guess the format of one text, as pandas does; "iso" for ISO 8601."""
    from pandas.tseries.api import guess_datetime_format

    if re.match(r"\s*\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}.*)?\s*$", text):
        return "iso"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return guess_datetime_format(text.strip(), dayfirst=day_first)


def parse(texts: "pandas.Series", form: str) -> "pandas.Series":
    """Read texts as times, NaT where one is none."""
    import pandas

    if form == "quarter":
        year_and_quarter = texts.str.extract(r"^\s*(\d{4})\D{0,2}Q([1-4])\s*$")
        months = (
            year_and_quarter[0]
            + "-"
            + (year_and_quarter[1].astype("float") * 3 - 2).astype("Int64").astype(str).str.zfill(2)
        )
        return pandas.to_datetime(months, format="%Y-%m", errors="coerce")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if form == "iso":
            return pandas.to_datetime(texts.str.strip(), format="ISO8601", errors="coerce", utc=True)
        return pandas.to_datetime(texts.str.strip(), format=form, errors="coerce", utc="%z" in form)


def whole_number_format(numbers: "pandas.Series") -> str | None:
    """Say how whole numbers are dates: 20191231, 201912, or seconds, milliseconds, ... since 1970; else None."""
    low, high = int(numbers.min()), int(numbers.max())
    for form, digits in (("%Y%m%d", 8), ("%Y%m", 6)):
        years = 10 ** (digits - 4)
        if YEARS[0] * years < low and high < YEARS[1] * years and parse(numbers.astype(str), form).notna().all():
            return form
    if numbers.nunique() > 1:
        for scale in (1, 10**3, 10**6, 10**9):  # from 1990 to 2100
            if 631_152_000 * scale <= low and high <= 4_102_444_800 * scale:
                return f"unix*{scale}"
    return None


def read_times(values: "pandas.Series", name: str, form: str | None) -> "np.ndarray":
    """Read a column as times, datetime64[us] or int64 (N,). Raises HubmodelsError naming the first that is none."""
    from ...processors.processing_series_times import to_times

    try:
        if form not in (None, "iso") and "datetime" not in str(values.dtype) and values.dtype.kind in "Oiuf":
            return to_times(values, name, form)
        return to_times(values, name)
    except ValueError as error:
        raise HubmodelsError(f"the series cannot be used: {error}") from None


def are_steps(values: "pandas.Series", name: str) -> bool:
    """Tell whether whole numbers count time: years, or steps that ascend or descend evenly."""
    import numpy as np

    filled = values.dropna()
    if len(filled) < len(values) or len(filled) < 3 or filled.dtype.kind not in "iuf" or (filled % 1 != 0).any():
        return False
    numbers = filled.astype("int64").to_numpy()
    different = np.unique(numbers)
    steps = np.unique(np.diff(different))
    if is_year(values, name):
        return len(different) > 2
    in_order = len(np.unique(np.sign(np.diff(numbers)))) == 1 and len(different) == len(numbers)
    named = name.lower() in STEP_NAMES
    return len(different) > 2 and (len(steps) == 1 or named) and (named or (filled.dtype.kind in "iu" and in_order))


def is_year(values: "pandas.Series", name: str) -> bool:
    """Tell whether a column of whole numbers is named a year, and holds what can be years."""
    filled = values.dropna()
    if not len(filled) or filled.dtype.kind not in "iuf" or (filled % 1 != 0).any():
        return False
    return bool(name.lower() in YEAR_NAMES and filled.between(*YEARS).all())


def is_row_number(values: "pandas.Series", name: str) -> bool:
    """Tell whether a column is the number of the row, as files get one from a table's index."""
    import numpy as np

    if not ROW_NUMBER.fullmatch(name.strip()) or values.dtype.kind not in "iu" or not len(values):
        return False
    first = int(values.min())
    return bool(first in (0, 1) and np.array_equal(np.sort(values.to_numpy()), np.arange(first, first + len(values))))


def time_words(form: str | None, values: Any) -> str:
    """Say how times were read."""
    if form is None or form == "iso":
        return "dates" if str(getattr(values, "dtype", "")).startswith("datetime") or form == "iso" else "numbers"
    if form.startswith("unix"):
        return "seconds since 1970" if form == "unix*1" else f"1/{int(form[5:]):,} seconds since 1970"
    return f"dates in the form {form}"
