"""Cells that stand for no value: what is written into a column of numbers or dates where there is none."""

import pyarrow
import pyarrow.compute as compute

# In a column of numbers or dates alone, in lower case. In a category only the empty cell is a gap: NA is Namibia.
GAP_WORDS = (
    "", "?", "??", "na", "n/a", "n.a.", "n.a", "#n/a", "#n/a n/a", "#na", "<na>", "-", "--", "---",
    "\u2013", "\u2014", ".", "..", "null", "none", "nil", "nan", "-nan", "nat", "missing", "unknown", "not available",
    "#value!", "#div/0!", "#num!",
    "#ref!", "#null!", "#name?", "1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan", "\\n", "0000-00-00", "0000-00-00 00:00:00",
)  # fmt: skip


def trimmed(text: pyarrow.Array) -> pyarrow.Array:
    """Give text without blanks at its ends; what is empty then is null."""
    text = compute.utf8_trim_whitespace(text)
    return compute.if_else(compute.equal(text, ""), pyarrow.scalar(None, text.type), text)


def are_gaps(text: pyarrow.Array) -> pyarrow.Array:
    """Tell of each trimmed cell whether it is empty or one of `GAP_WORDS`; never null."""
    words = pyarrow.array(GAP_WORDS, text.type)
    listed = compute.is_in(compute.utf8_lower(text), value_set=words)
    return compute.or_(compute.is_null(text), compute.fill_null(listed, False))


def without_gaps(text: pyarrow.Array) -> pyarrow.Array:
    """Give trimmed text with nulls where a cell is a gap."""
    text = trimmed(text)
    return compute.if_else(are_gaps(text), pyarrow.scalar(None, text.type), text)
