"""Series in lines of numbers, as the UCR archive has them: no header, the class first, then the steps.

Tabs, commas, semicolons or blanks stand between numbers. Shorter series end in NaN."""

import io
import math
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ...errors import HubmodelsError, one_line
from ...recipe import ReadingOptions, SeriesLayout
from ...report import note
from .archives import open_bytes, table_suffix

LINE_KINDS = (".tsv", ".txt", ".csv", ".data", "")
ARCHIVE_NAME = re.compile(r".*_(TRAIN|TEST)")  # of files of the archive, without their ending
FEWEST_STEPS = 8  # numbers of a line that are the steps of a series
HEAD_CHARACTERS = 2**20
HEAD_LINES = 50
LINES_AT_ONCE = 1_000
MISSING = ("NaN", "nan", "?", "")
LAYOUTS = ("class_first", "no_class")


def find_layout(path: Path, options: ReadingOptions, remembered: bool) -> SeriesLayout | None:
    """Find whether lines of numbers are series, and whether their class stands first, and say it.

    Args:
        path: of a text file, which may be compressed.
        options: `series_layout` says it, or with `remembered` what the training's files had: new ones may lack classes.
        remembered: see there.

    Returns:
        "class_first" or "no_class"; None where the lines are no series, or can as well be rows of a table.

    Raises:
        HubmodelsError: the options say that they are series, but they are no numbers.
    """
    asked = options.series_layout in LAYOUTS
    kind = table_suffix(path)[0]
    named = ARCHIVE_NAME.fullmatch(path.name[: path.name.find(".")] if "." in path.name else path.name) is not None
    if not (asked or named or kind == ".txt"):
        return None
    head = read_head(path)
    if head is None:
        if asked and not remembered:
            raise HubmodelsError(
                f"{path.name} is no text of lines with as many numbers each, as series_layout: {options.series_layout} "
                f"says: leave it out"
            )
        return None
    layout = options.series_layout if asked and not remembered else guess_layout(head)
    if layout == "no_class" and not asked:
        return None
    steps = head.shape[1] - (layout == "class_first")
    words = "a class and then a series" if layout == "class_first" else "a series without a class"
    other = "table" if not asked else next(name for name in LAYOUTS if name != layout)
    note("files", f"{path.name}: each line is {words} of {steps:,} steps (UCR archive)", surprising=True,
         remedy=f"series_layout: {other}")  # fmt: skip
    return layout


def guess_layout(lines: np.ndarray) -> SeriesLayout:
    """Tell by the first lines (N, numbers) whether a class stands first: a whole number, unlike the steps.

    Where all are whole, a class is a number that other lines have too."""
    first, steps = lines[:, 0], lines[:, 1:]
    if np.isnan(first).any() or (first % 1 != 0).any():
        return "no_class"
    fractions = (np.nan_to_num(steps) % 1 != 0).any()
    return "class_first" if fractions or len(np.unique(first)) <= len(first) / 2 else "no_class"


def read_head(path: Path) -> np.ndarray | None:
    """Read the first lines as float64 (N, numbers); None where they are no numbers, or not as many in each."""
    try:
        with io.TextIOWrapper(open_bytes(path), encoding="utf-8-sig") as file:
            text = file.read(HEAD_CHARACTERS)
            whole = not file.read(1)
    except (UnicodeError, OSError):
        return None
    lines = [line for line in text.splitlines() if line.strip()]
    lines = (lines if whole else lines[:-1])[:HEAD_LINES]
    try:
        rows = [[to_number(word) for word in split_line(line)] for line in lines]
    except ValueError:
        return None
    if not rows or len(rows[0]) <= FEWEST_STEPS or len({len(row) for row in rows}) > 1:
        return None
    return np.array(rows)


def split_line(line: str) -> list[str]:
    """Split a line at tabs, else semicolons, else commas, else blanks."""
    line = line.strip(" \r\n")
    for separator in ("\t", ";", ","):
        if separator in line:
            return [word.strip() for word in line.split(separator)]
    return line.split()


def to_number(word: str) -> float:
    """Read a number, NaN where it is missing. Raises ValueError for what is none, or infinite."""
    number = math.nan if word in MISSING else float(word)
    if math.isinf(number):
        raise ValueError(f"{word} is infinite")
    return number


def read_lines(path: Path, layout: str) -> Iterator[tuple[list[list[float]], str | None]]:
    """Read series, steps x 1, each with its class. Raises HubmodelsError naming a line that is none."""
    with io.TextIOWrapper(open_bytes(path), encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            words = split_line(line)
            try:
                label = class_name(words.pop(0)) if layout == "class_first" else None
                values = [to_number(word) for word in words]
            except ValueError as error:
                reason = one_line(error, 100)
                raise HubmodelsError(f"{path.name}, line {number} holds no series: {reason}") from None
            while len(values) > 1 and math.isnan(values[-1]):
                values.pop()
            yield [[value] for value in values], label


def class_name(word: str) -> str | None:
    """Name a class: 1 and 1.0000000e+00 are one; None where it is missing."""
    number = to_number(word)
    return None if math.isnan(number) else str(int(number)) if number.is_integer() else word
