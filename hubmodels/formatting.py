"""Numbers as people read them, in one form wherever they stand: a table in a terminal, a card, the README."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any


def format_number(value: float, sign: str = "") -> str:
    """Format a number: four decimals near 0..1, four digits and thousands separated elsewhere; `sign` "+" shows it."""
    if value == 0 or not math.isfinite(value):
        return f"{value:{sign}g}"
    size = math.floor(math.log10(abs(value)))
    if size < -6:
        return f"{value:{sign}.3e}"
    return f"{value:{sign},.{4 if -3 <= size < 1 else max(0, 3 - size)}f}"


def format_interval(entry: Mapping[str, Any] | None, sign: str = "") -> str:
    """Format a value with `low` and `high` as `0.9553 [0.9512, 0.9593]`; alone without them, as a dash for none."""
    if not entry or entry.get("value") is None:
        return "-"
    text = format_number(entry["value"], sign)
    if entry.get("low") is None or entry.get("high") is None:
        return text
    return f"{text} [{format_number(entry['low'], sign)}, {format_number(entry['high'], sign)}]"


def format_spread(values: Sequence[float], sign: str = "") -> str:
    """Format mean and standard deviation as `0.9553 ± 0.0021`, both with as many decimals; the latter is 0 of one."""
    text = format_number(statistics.mean(values), sign)
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    if "e" in text:
        return f"{text} ± {deviation:.0e}"
    return f"{text} ± {deviation:,.{len(text.partition('.')[2])}f}"


def shorten(name: str, length: int = 18) -> str:
    """Cut a name so that it fits beside an axis."""
    return name if len(name) <= length else name[: length - 1] + "…"


def without_surrogates(text: str) -> str:
    """Replace halves of characters, which no tokenizer takes; broken JSON has them."""
    try:
        text.encode()
        return text
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
