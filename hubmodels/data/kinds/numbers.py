"""Numbers in text: how a column writes them, and their values, vectorised over whole columns.

    guess_formats(["$1,200.50", "$99"])          # [NumberFormat(decimal=".", thousands=",", unit="$")]
    read_numbers(pyarrow.array(["(1.234,5)"]), NumberFormat(",", "."))   # [-1234.5]

Signs, accounting parentheses, a sign behind, signs and codes of currencies, percent, one unit of measure, separators of
thousands (, . ' or a blank of any width), decimal commas, scientific notation.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow
import pyarrow.compute as compute

from .gaps import without_gaps

BLANKS = " \u00a0\u2007\u2009\u202f"  # what separates thousands as a blank: also the narrow and the no-break space
APOSTROPHES = "'\u2019"
MINUS = "-\u2212\u2013"  # hyphen, the sign proper, the dash that word processors make of it
# A sign or a code before or after a number. Other units stand after it.
CURRENCIES = " ".join(
    [
        "$ US$ R$ A$ C$ NZ$ HK$ S$ € £ ¥ ₹ ₽ ₩ ₺ ₴ ₫ ฿ ₦ ₱ ₪ Rs Rs. zł Kč kr kr. Ft Fr. lei лв",
        "USD EUR GBP JPY CHF CNY RMB INR AUD CAD NZD SEK NOK DKK PLN CZK HUF RON BGN RUB UAH TRY BRL MXN ZAR KRW SGD",
        "HKD THB IDR MYR PHP VND ILS AED SAR EGP NGN KES COP CLP ARS PEN BTC ETH",
    ]
).split()
BLANK = f"[{BLANKS}]*"
TOKEN = re.compile(
    rf"\(?{BLANK}[{MINUS}+]?{BLANK}(?P<before>[^{MINUS}+\d\s.,'()][^{MINUS}\d\s()]*)?{BLANK}[{MINUS}+]?{BLANK}"
    rf"(?P<body>\d[\d.,{APOSTROPHES}{BLANKS}]*|[.,]\d+)(?P<exponent>[eE][-+]?\d+)?{BLANK}"
    rf"(?P<after>[^{MINUS}\d\s().,'][^\d()]*?)?{BLANK}[{MINUS}]?{BLANK}\)?",
    re.ASCII,
)
PLAIN = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", re.ASCII)
THOUSANDS_OR_DECIMALS = re.compile(r"[-+]?[1-9]\d{0,2}\.\d{3}", re.ASCII)
MOST_FORMATS = (  # decimal mark and separator of thousands, the first that fits counts
    (".", None), (".", ","), (".", " "), (".", "'"), (",", None), (",", "."), (",", " "), (",", "'"),
)  # fmt: skip
LARGEST_EXACT = 2**53  # beyond it float64 does not tell neighbouring whole numbers apart


@dataclass(frozen=True)
class NumberFormat:
    """Says how a column writes its numbers."""

    decimal: str = "."
    thousands: str | None = None  # "," "." "'" or " " for a blank of any width
    unit: str | None = None  # a currency, which may stand before or after or be absent; others stand after each number

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "NumberFormat":
        """Make it of what `ColumnKind.format` holds."""
        return cls(values.get("decimal", "."), values.get("thousands"), values.get("unit"))

    def to_dict(self) -> dict[str, Any]:
        """Give plain values, without what is as usual."""
        usual = NumberFormat()
        return {name: value for name, value in asdict(self).items() if value != getattr(usual, name)}

    @property
    def plain(self) -> bool:
        """Tell whether it is what every programming language reads."""
        return self == NumberFormat()

    def describe(self) -> str:
        """Say it in words."""
        words = []
        if self.unit:
            words.append(f"unit {self.unit}")
        if self.thousands:
            words.append(f"thousands separated by {'a blank' if self.thousands == ' ' else repr(self.thousands)}")
        if self.decimal != ".":
            words.append("decimal comma")
        return ", ".join(words)

    def body(self) -> str:
        """Return the pattern of the digits."""
        mark = re.escape(self.decimal)
        whole = r"\d+"
        if self.thousands:
            separator = {" ": f"[{BLANKS}]", "'": f"[{APOSTROPHES}]"}.get(self.thousands, re.escape(self.thousands))
            whole = rf"(?:[1-9]\d{{0,2}}(?:{separator}\d{{3}})+|\d+)"
            if self.thousands == ",":  # lakh and crore: 12,34,567
                whole = rf"(?:{whole}|[1-9]\d?(?:,\d{{2}})+,\d{{3}})"
        return rf"(?:{whole}(?:{mark}\d*)?|{mark}\d+)(?:[eE][-+]?\d+)?"

    def pattern(self) -> str:
        """Return the pattern of a whole cell, for RE2 and for Python."""
        sign, before, after = f"[{MINUS}+]?", "", ""
        if self.unit:
            unit = "|".join(map(re.escape, sorted(spellings(self.unit), key=len, reverse=True)))
            currency = self.unit in CURRENCIES
            before = f"(?:{unit})?{BLANK}{sign}{BLANK}" if currency else ""
            after = f"{BLANK}(?:{unit}){'?' if currency else ''}"
        inner = f"{sign}{BLANK}{before}{self.body()}{after}"
        return rf"^(?:{inner}|\({BLANK}{inner}{BLANK}\)|{before}{self.body()}{after}[{MINUS}])$"


def spellings(unit: str) -> tuple[str, ...]:
    """Return the ways in which a unit is written: the sign and the code of one currency are the same."""
    same = (
        ("$", "USD", "US$"),
        ("€", "EUR"),
        ("£", "GBP"),
        ("¥", "JPY"),
        ("₹", "INR", "Rs", "Rs."),
        ("CHF", "Fr."),
        ("kr", "kr."),
    )
    return next((units for units in same if unit in units), (unit,))


def guess_formats(sample: Sequence[str], decimal: str | None = None) -> list[NumberFormat]:
    """Guess how numbers are written: no format where most cells are none, several where the marks are ambiguous.

    Args:
        sample: trimmed cells without gaps.
        decimal: the decimal mark where it is known.
    """
    if decimal != "," and all(map(PLAIN.fullmatch, sample)) and sample:  # what most files hold, and fast
        marked = [text for text in sample if "." in text]
        if not marked or not all(map(THOUSANDS_OR_DECIMALS.fullmatch, marked)):
            return [NumberFormat()]
    tokens = [token for text in sample if (token := TOKEN.fullmatch(text)) is not None]
    tokens = [token for token in tokens if not (token["after"] and token["body"][-1] in ".,")]  # 000.png
    if len(tokens) < 0.9 * len(sample) or not tokens:
        return []
    units = Counter(unit for token in tokens for unit in (token["before"], token["after"]) if unit)
    unit = units.most_common(1)[0][0] if units else None
    if unit is not None and unit not in CURRENCIES and units[unit] < 0.9 * len(tokens):
        unit = None  # a few cells have it, and then they are what does not fit
    if unit is not None and unit in CURRENCIES and units[unit] < 0.1 * len(tokens):
        unit = None
    marks = [(mark, separator) for mark, separator in MOST_FORMATS if decimal in (None, mark)]
    formats = [NumberFormat(mark, separator, unit) for mark, separator in marks]
    fits = {form: sum(map(bool, map(re.compile(form.pattern(), re.ASCII).match, sample))) for form in formats}
    best = max(fits.values())
    if best < 0.9 * len(sample):
        return []
    best_formats = [form for form in formats if fits[form] == best]
    # Formats that differ in marks which no cell has are one; of those that read a mark otherwise both stand.
    used = {mark for token in tokens for mark in token["body"] if mark in ".,"}
    first = best_formats[0]
    for other in best_formats[1:]:
        if used and other.decimal != first.decimal and {first.decimal, first.thousands} & used:
            return [first, other]
    return [first]


def read_numbers(text: pyarrow.Array, form: NumberFormat) -> pyarrow.Array:
    """Read numbers as int64 where all are whole, else as float64; null for gaps and for what is no finite number."""
    if form.plain and (values := cast_all(text, pyarrow.float64())) is not None:
        return whole_numbers(text, finite(values))
    text = without_gaps(text)
    fits = compute.match_substring_regex(text, form.pattern())
    text = compute.if_else(fits, text, pyarrow.scalar(None, text.type))
    negative = compute.match_substring_regex(text, rf"^\(|[{MINUS}]$|^[^\d.,]*[{MINUS}]")
    digits = bare_digits(text, form)
    values = cast_all(digits, pyarrow.float64())
    if values is None:  # one beyond float64
        import pandas

        values = pyarrow.array(pandas.to_numeric(pandas.Series(digits.to_pylist()), errors="coerce"), from_pandas=True)
    values = whole_numbers(digits, finite(values))
    return compute.if_else(compute.fill_null(negative, False), compute.negate(values), values)


def bare_digits(text: pyarrow.Array, form: NumberFormat) -> pyarrow.Array:
    """Leave digits, the exponent and a decimal point of cells that fit the format; signs are left out."""
    for unit in sorted(spellings(form.unit), key=len, reverse=True) if form.unit else ():
        text = compute.replace_substring(text, unit, "")
    strays = [form.thousands] if form.thousands in (",", ".") else []
    if compute.any(compute.match_substring_regex(text, f"[{BLANKS}()]")).as_py():
        strays += [*BLANKS, "(", ")"]
    if form.thousands == "'":
        strays += [*APOSTROPHES]
    for stray in strays:
        text = compute.replace_substring(text, stray, "")
    if compute.any(compute.match_substring_regex(text, rf"^[{MINUS}+]|[{MINUS}]$")).as_py():
        # The sign of an exponent stays: it is the only one behind a letter.
        text = compute.replace_substring_regex(text, rf"^[{MINUS}+]+|[{MINUS}]$", "")
    return compute.replace_substring(text, form.decimal, ".") if form.decimal != "." else text


def whole_numbers(text: pyarrow.Array, values: pyarrow.Array) -> pyarrow.Array:
    """Give numbers as int64 where all are written as whole ones."""
    head = values.slice(0, 64)
    if compute.all(compute.equal(head, compute.floor(head))).as_py() is False:
        return values
    whole = cast_all(text, pyarrow.int64())
    return values if whole is None else whole


def cast_all(text: pyarrow.Array, arrow_type: pyarrow.DataType) -> pyarrow.Array | None:
    """Cast text, or give None where one cell cannot be."""
    try:
        return compute.cast(text, arrow_type)
    except pyarrow.ArrowInvalid:
        return None


def finite(values: pyarrow.Array) -> pyarrow.Array:
    """Give numbers with nulls for infinities and what is not a number."""
    if not pyarrow.types.is_floating(values.type):
        return values
    is_finite = compute.is_finite(values)
    if compute.all(is_finite).as_py() in (True, None):
        return values
    return compute.if_else(is_finite, values, pyarrow.scalar(None, values.type))


def count_codes(text: pyarrow.Array) -> tuple[int, bool]:
    """Count the whole numbers that lose digits when read as numbers: 007, and those beyond 2^53.

    Returns:
        How many, and whether all cells are whole numbers of one width, as codes are.
    """
    text = trimmed_digits(text)
    zeros = compute.match_substring_regex(text, r"^0\d")
    count = compute.sum(compute.cast(zeros, pyarrow.int64())).as_py() or 0
    lengths = compute.utf8_length(text)
    ends = compute.min_max(lengths).as_py()
    if (ends["max"] or 0) >= 16:
        long = text.filter(compute.fill_null(compute.greater_equal(lengths, 16), False)).to_pylist()
        count += sum(not digits.startswith("0") and not float_keeps(digits) for digits in long)
    return count, ends["min"] == ends["max"]


def float_keeps(digits: str) -> bool:
    """Tell whether float64 holds a whole number as it is written."""
    return int(digits) <= LARGEST_EXACT or (len(digits) > 20 and digits.endswith("0" * (len(digits) - 15)))


def trimmed_digits(text: pyarrow.Array) -> pyarrow.Array:
    """Give the cells that are digits alone, and nulls for the others."""
    text = compute.utf8_trim_whitespace(text)
    return compute.if_else(compute.match_substring_regex(text, r"^\d+$"), text, pyarrow.scalar(None, text.type))
