"""The form of a table in text: its encoding, separator, quotes and header, found in its first lines."""

import collections
import csv
import io
import itertools
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ...errors import HubmodelsError
from ...recipe import ReadingOptions
from .archives import open_bytes
from .encodings import check_encoding, scan_text

HEAD_CHARACTERS = 2**20
HEAD_ROWS = 1_000
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
NOTHING = "\x1f"  # stands in no text: the separator of a single column
BLANKS = r"\s+"  # the separator of columns that blanks align
NUMBER = re.compile(r"\s*[-+]?(\d[\d.,' ]*|[.,]\d+)([eE][-+]?\d+)?\s*%?\s*")
OTHER_KINDS = {b"PAR1": "a Parquet file", b"PK\x03\x04": "a ZIP archive or Excel file", b"\x1f\x8b": "a gzip archive",
               b"SQLite format 3": "an SQLite database", b"\xd0\xcf\x11\xe0": "an old Excel file"}  # fmt: skip


@dataclass(frozen=True)
class CsvForm:
    """Says how a text file of rows is read."""

    encoding: str
    separator: str
    quotechar: str | None
    names: list[str]  # of the columns, each once
    header: bool
    lines_before: int  # lines in front of the first row
    blank_lines: bool = False  # stand between others, so that rows are no lines
    num_quotes: int = 0  # in the whole file
    remarks: dict[str, str] = field(default_factory=dict)  # what is odd about it, by the field that would decide it


def find_form(path: Path, options: ReadingOptions, remembered: bool) -> CsvForm:
    """Find the form of a text file.

    Args:
        path: of the file, which may be compressed.
        options: what a person decided, or with `remembered` what the training's files had: the file may differ.

    Raises:
        HubmodelsError: it is empty or no text, or the encoding is not known.
    """
    given = check_encoding(options.encoding) if options.encoding else None
    scan = scan_text(path, given, remembered)
    encoding = scan.encoding
    text, whole = read_head(path, encoding)
    if not text.strip():
        raise HubmodelsError(f"{path.name} is empty")
    lines_before, separator = 0, None if remembered else options.separator
    if declared := re.match(r"sep=(.)\r?\n", text):  # Excel's first line
        separator, lines_before = separator or declared[1], 1
        text = text[declared.end() :]
    quotechar = '"' if options.quotechar is None else (options.quotechar or None)
    suffix = next((suffix.lower() for suffix in path.suffixes if suffix.lower() in (".tsv", ".tab", ".psv")), "")
    usual = {".tsv": "\t", ".tab": "\t", ".psv": "|"}.get(suffix, ",")
    if separator is None:
        preferred = [options.separator] if remembered and options.separator else []
        separator = find_separator(text, whole, quotechar, [*preferred, usual])
    rows, ends = split_head(text, whole, separator, quotechar)
    remarks = {}
    if options.quotechar is None and (ragged_share(rows) > 0.02 or has_open_quote(text, whole, separator)):
        bare = split_head(text, whole, separator, None)
        if ragged_share(bare[0]) == 0:
            (rows, ends), quotechar = bare, None
            remarks["quotechar"] = "quotes are part of the cells: as signs around cells they do not fit its lines"
    preamble = count_preamble(rows)
    if preamble:
        skipped = ends[preamble] - 1 - sum(cell.count("\n") for cell in rows[preamble])  # blank ones too
        remarks["header"] = f"{first_lines(skipped)} no part of the table and skipped"
        lines_before += ends[preamble - 1]
        rows, ends = rows[preamble:], [end - ends[preamble - 1] for end in ends[preamble:]]
    header = options.header if options.header is not None else has_header(rows)
    names = column_names(rows, header, remarks)
    lines_before += ends[0] if header else 0
    return CsvForm(
        encoding, separator, quotechar, names, header, lines_before, scan.blank_lines, scan.num_quotes, remarks
    )


def read_head(path: Path, encoding: str) -> tuple[str, bool]:
    """Read the first characters of a file; tells too whether these are all.

    Raises HubmodelsError for bytes that are no text, or not of this encoding."""
    with open_bytes(path) as file:
        start = file.read(16)
    for magic, words in OTHER_KINDS.items():
        if start.startswith(magic):
            raise HubmodelsError(f"{path.name} is {words} by its content: give it the ending of what it is")
    if start.lstrip().lower().startswith((b"<!doctype", b"<html")):
        raise HubmodelsError(f"{path.name} is a page of HTML by its content, and no table: download the file itself")
    try:
        with io.TextIOWrapper(open_bytes(path), encoding=encoding, newline="") as file:
            text = file.read(HEAD_CHARACTERS)
            while text and "\n" not in text and "\r" not in text and (more := file.read(HEAD_CHARACTERS)):
                text += more  # a header of more than a megabyte
            return text.removeprefix("\ufeff"), not file.read(1)
    except UnicodeError as error:
        raise HubmodelsError(f"{path.name} is no text in {encoding} ({error}): give another encoding") from None


def split_head(text: str, whole: bool, separator: str, quotechar: str | None) -> tuple[list[list[str]], list[int]]:
    """Split the first lines into rows of cells, without blank ones, each with the number of lines up to its end."""
    if separator == BLANKS:
        numbered = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
        rows, ends = [line.split() for _, line in numbered], [number for number, _ in numbered]
        return (rows, ends) if whole else (rows[:-1][:HEAD_ROWS], ends)
    csv.field_size_limit(2**31 - 1)
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if quotechar else csv.QUOTE_NONE
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, quotechar=quotechar or '"', quoting=quoting)
    rows, ends = [], []
    for row in itertools.islice(reader, HEAD_ROWS + 1):
        if row:
            rows.append(row)
            ends.append(reader.line_num)
    if len(rows) > 1 and not whole:  # the last one may be cut
        rows.pop()
        ends.pop()
    return rows, ends


def has_open_quote(text: str, whole: bool, separator: str) -> bool:
    """Tell whether a cell's quote is still open at the end of a file that was read whole."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter="," if separator == BLANKS else separator, strict=True)
    try:
        for _ in reader:
            pass
    except csv.Error as error:
        return whole and "unexpected end" in str(error)
    return False


def modal_width(rows: list[list[str]]) -> int:
    """Return the number of cells that most rows have."""
    return collections.Counter(map(len, rows)).most_common(1)[0][0] if rows else 0


def ragged_share(rows: list[list[str]]) -> float:
    """Return the share of rows that have another number of cells than most."""
    width = modal_width(rows)
    return sum(len(row) != width for row in rows) / max(len(rows), 1)


def find_separator(text: str, whole: bool, quotechar: str | None, preferred: list[str]) -> str:
    """Find what stands between cells: what gives the header and nearly all rows one number of cells, two or more.

    Where several do, the header decides: a decimal comma stands in no name."""
    best, best_rank = preferred[-1], (0.0, 0.0, 0.0)
    for candidate in dict.fromkeys([*preferred, *SEPARATORS]):
        if len(candidate) != 1:
            continue
        rows, _ = split_head(text, whole, candidate, quotechar)
        preamble = count_preamble(rows)
        rows = rows[preamble:]
        width = modal_width(rows)
        if width < 2 or ragged_share(rows) > 0.1 or len(rows[0]) == 1:
            continue
        as_header = float(abs(len(rows[0]) - width) <= 1) - 0.5 * bool(preamble)
        # Where only commas split numbers in two, other signs do as well or better.
        rank = (as_header, float(candidate != ",") if decimal_commas(rows, candidate) else 0.5, 1 - ragged_share(rows))
        if rank > best_rank:
            best, best_rank = candidate, rank
    if best_rank[0] > 0:
        return best
    if "\t" not in preferred and aligned_by_blanks(text, whole):
        return BLANKS
    first_line = next(line for line in text.splitlines() if line.strip())
    if not any(sign in first_line for sign in SEPARATORS):  # one column, whose text may have any sign in it
        return next((sign for sign in preferred[-1:] + list(SEPARATORS) if sign not in text), NOTHING)
    return best


def decimal_commas(rows: list[list[str]], candidate: str) -> bool:
    """Tell whether a comma as separator leaves another separator inside cells, or another one leaves decimal commas."""
    others = [sign for sign in SEPARATORS if sign != candidate]
    cells = [cell for row in rows[:50] for cell in row]
    if candidate == ",":
        return sum(any(sign in cell for sign in others) for cell in cells) > 0.2 * len(cells)
    return any(re.fullmatch(r"\s*-?\d+,\d+\s*", cell) for cell in cells)


def aligned_by_blanks(text: str, whole: bool) -> bool:
    """Tell whether blanks separate columns: all lines have as many words, two or more, and most of them numbers."""
    rows, _ = split_head(text, whole, BLANKS, None)
    if len(rows) < 2 or modal_width(rows) < 2 or ragged_share(rows) > 0:
        return False
    cells = [cell for row in rows[1:50] for cell in row]
    return sum(NUMBER.fullmatch(cell) is not None for cell in cells) > 0.5 * len(cells)


def count_preamble(rows: list[list[str]]) -> int:
    """Count the first rows that are a title or remark: one cell, where the rows behind have several."""
    width = modal_width(rows)
    if width < 2:
        return 0
    filled = [sum(bool(cell.strip()) for cell in row) for row in rows[:20]]
    count = next((number for number, cells in enumerate(filled) if cells > 1), 0)
    if any(re.fullmatch(r"[\w.-]+", "".join(row).strip()) for row in rows[:count]):
        return 0  # one word may be the name of a single column, whose text has the separator in it
    return count if all(len(row) == 1 or not any(row[1:]) for row in rows[:count]) and count < len(rows) - 1 else 0


def first_lines(count: int) -> str:
    """Say of the first lines of a file that they are something: "its first 2 lines are"."""
    return "its first line is" if count == 1 else f"its first {count} lines are"


def has_header(rows: list[list[str]]) -> bool:
    """Tell whether the first row names the columns.

    It does not where it looks like the rows below: a number above each column of numbers, unless these count up as
    years do; or a word that stands again in its column."""
    first, others = rows[0], rows[1:]
    if not others:
        return True
    columns = list(zip(*(row for row in others if len(row) == len(first)), strict=True))
    if not columns:
        return True
    numeric = [
        index
        for index, column in enumerate(columns)
        if any(column) and all(NUMBER.fullmatch(cell) for cell in column if cell)
    ]
    if numeric:
        if not all(NUMBER.fullmatch(first[index]) for index in numeric):
            return True
        if all(re.fullmatch(r"\d+", first[index]) for index in numeric) and len(numeric) > 1:
            numbers = [int(first[index]) for index in numeric]
            if all(later > earlier for earlier, later in itertools.pairwise(numbers)):
                return True
        if all(is_year(first[index]) and not all(map(is_year, columns[index])) for index in numeric):
            return True
        # One column of numbers below a number that is a name, as 2015, cannot be told; its rows decide.
        return len(set(first)) == len(first) and len(columns) > 1 and len(numeric) == 1 and looks_named(first, columns)
    return not any(
        len(column) > 4 and len(set(column)) <= len(column) // 2 and name and name in column
        for name, column in zip(first, columns, strict=True)
    )


def is_year(cell: str) -> bool:
    """Tell whether a cell may be a year."""
    return re.fullmatch(r"(19|20)\d\d", cell.strip()) is not None


def looks_named(first: list[str], columns: list[tuple[str, ...]]) -> bool:
    """Tell whether no word of the first row stands again in its column, where columns repeat their words."""
    repeated = [
        name in column
        for name, column in zip(first, columns, strict=True)
        if len(set(column)) <= len(column) // 2 and not NUMBER.fullmatch(name)
    ]
    return bool(repeated) and not any(repeated)


def column_names(rows: list[list[str]], header: bool, remarks: dict[str, str]) -> list[str]:
    """Name the columns: as the header does, each once, else by their numbers."""
    width = max(modal_width(rows), len(rows[0]))
    if not header:
        called = "it is called 0" if width == 1 else f"they are called 0 to {width - 1}"
        remarks["header"] = f"the first line is a row like the others, and names no columns: {called}"
        return [str(number) for number in range(width)]
    first = list(rows[0])
    if rows[1:] and modal_width(rows[1:]) == len(first) + 1:
        if any(row[-1] for row in rows[1:] if len(row) == width):
            remarks["header"] = "the header has no name for the first column, of names of rows"
            first = ["", *first]
        else:
            first = [*first, ""]
    elif rows[1:] and sum(NUMBER.fullmatch(name) is not None for name in first) > len(first) / 2:
        remarks["header"] = "the first line was taken for the names of the columns, though numbers stand in it"
    return unique_names(first)


def unique_names(names: list[str]) -> list[str]:
    """Make each name occur once, as pandas does: a, a.1; and name those without as it does: Unnamed: 0."""
    named = [name.strip() or f"Unnamed: {number}" for number, name in enumerate(names)]
    seen, unique = set(named), []
    counts: dict[str, int] = {}
    for name in named:
        number = counts.get(name, 0)
        counts[name] = number + 1
        other = name
        while number and (other := f"{name}.{number}") in seen:
            number += 1
        seen.add(other)
        unique.append(other)
    return unique
