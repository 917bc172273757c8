"""Columns that have a type: what of it models do not read as it is, and whole numbers that are dates or row numbers."""

import re

import numpy as np
import pyarrow
import pyarrow.compute as compute

from .columns import ColumnKind, read_column
from .decision import LARGEST_UNFIT, Decision
from .numbers import LARGEST_EXACT
from .times import guess_whole_dates, read_whole_dates

INDEX_NAME = re.compile(r"(Unnamed: \d+|__index_level_\d+__|)")  # pandas writes its index under these names


def decide_typed(name: str, column: pyarrow.ChunkedArray) -> Decision | None:
    """Decide what a column with a type is, where that is not what the type says; None where it is."""
    types, kind = pyarrow.types, column.type
    if types.is_dictionary(kind):
        return Decision(ColumnKind("category"), "a categorical column: its words")
    if types.is_timestamp(kind):
        zone = f"; its times of the zone {kind.tz} are read in UTC" if kind.tz else ""
        precision = "s" if kind.unit == "s" else "us"
        format = {"precision": precision, **({"zone": "UTC"} if kind.tz else {})}
        return Decision(ColumnKind("date", format), f"dates{zone}", trivial=not zone)
    if types.is_date(kind):
        return Decision(ColumnKind("date", {"precision": "s"}), "dates", trivial=True)
    if types.is_duration(kind) or types.is_time(kind):
        return Decision(ColumnKind("duration"), "durations or times of day, in seconds")
    if types.is_decimal(kind):
        lost = " rounded to 15 digits" if kind.precision > 15 else ""
        return Decision(ColumnKind("number"), f"decimals of {kind.precision} digits, read as numbers{lost}")
    if types.is_float16(kind):
        return Decision(ColumnKind("number"), "numbers of 16 bits", trivial=True)
    if types.is_floating(kind):
        return decide_floats(column)
    if types.is_integer(kind):
        return decide_whole(name, column, column)
    return None


def decide_floats(column: pyarrow.ChunkedArray) -> Decision | None:
    """Say of infinities that they become gaps."""
    infinite = compute.is_inf(column)
    if not compute.any(infinite).as_py():
        return None
    rows = np.flatnonzero(compute.fill_null(infinite, False).to_numpy())
    first = ", ".join(map(str, rows[:3]))
    text = f"numbers; {len(rows):,} infinite value(s) become gaps (row {first}{', ...' if len(rows) > 3 else ''})"
    return Decision(ColumnKind("number"), text, surprising=True)


def decide_whole(name: str, column: pyarrow.ChunkedArray, values: pyarrow.ChunkedArray) -> Decision | None:
    """Decide whether whole numbers are a row index or dates; None where they are numbers.

    Args:
        name: of the column.
        column: as the file has it.
        values: the same as whole numbers.
    """
    ends = compute.min_max(values).as_py()
    lowest, highest = ends["min"], ends["max"]
    if lowest is None:
        return None
    if is_row_index(values, lowest, highest):
        if INDEX_NAME.fullmatch(name):
            text = f"the file's row index ({lowest}, {lowest + 1}, ...): it numbers the rows and tells nothing else"
            return Decision(ColumnKind("row index"), text, surprising=True)
        text = f"whole numbers that number the rows ({lowest}, {lowest + 1}, ...)"
        remedy = f"drop_columns: [{name}]"
        return Decision(ColumnKind("whole number"), text, surprising=True, remedy=remedy)
    form = guess_whole_dates(name, lowest, highest)
    if form is None:
        if max(abs(lowest), abs(highest)) > LARGEST_EXACT:
            text = f"whole numbers up to {highest}: more digits than a number holds"
            return Decision(ColumnKind("category"), f"{text}, so they are text", surprising=True)
        return None
    valid = sum(int(np.count_nonzero(~np.isnat(read_whole_dates(chunk, form)))) for chunk in values.chunks)
    present = len(values) - values.null_count
    if present - valid > LARGEST_UNFIT * present:
        return None
    whole: dict[str, object] = {"whole": form, "precision": "s" if form in ("compact", "s") else "us"}
    if valid < present:
        whole["gaps"] = []
    described = f"such as {highest}" if form == "compact" else f"{form} since 1970, such as {highest}"
    text = f"dates written as whole numbers ({described})"
    return Decision(ColumnKind("date", whole), text, surprising=True, remedy=f"column_kinds: {{{name}: number}}")


def is_row_index(values: pyarrow.ChunkedArray, lowest: int, highest: int) -> bool:
    """Tell whether a column counts the rows in their order, from 0 or 1."""
    if values.null_count or lowest not in (0, 1) or highest - lowest + 1 != len(values) or len(values) < 20:
        return False
    expected = lowest
    for chunk in values.chunks:
        counted = np.arange(expected, expected + len(chunk))
        if not np.array_equal(chunk.to_numpy(zero_copy_only=False), counted):
            return False
        expected += len(chunk)
    return True


def as_whole(name: str, column: pyarrow.ChunkedArray) -> pyarrow.ChunkedArray:
    """Read a column of text that holds whole numbers, as was found out."""
    return read_column(name, column, ColumnKind("whole number", {"gaps": []}))
