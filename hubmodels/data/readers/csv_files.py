"""Tables in text, in pieces of text: pyarrow reads them, and Python's csv those with odd lines."""

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pyarrow
import pyarrow.compute
import pyarrow.csv

from ...errors import HubmodelsError
from ...report import note
from .archives import open_bytes, plain_text
from .csv_form import BLANKS, CsvForm
from .pieces import PIECE_BYTES, coalesce

BLOCK_BYTES = 2**20
LARGEST_COUNTED = 2**28  # bytes of a file whose blank lines are counted
MOST_SHIFTS = 10_000  # rows of a piece, or of a file, behind which lines and rows part further
LARGEST_BLOCK = 2**30  # of bytes in one row
ODD_LINE = re.compile(r"Expected \d+ columns, got \d+")  # what Arrow says of a line with other cells than the others

Shifts = tuple[tuple[int, int], ...]


class Lines(NamedTuple):
    """Holds some rows of a file."""

    table: pyarrow.Table
    first_row: int  # number of the first one, from 0
    first_line: int | None  # the line of row 0 if each row were one line; None where that is not known
    shifts: Shifts = ()  # see `Piece.shifts`


def read_csv(path: Path, form: CsvForm, rows_per_piece: int) -> Iterator[Lines]:
    """Read a text file in pieces; every cell is text, or null where it is empty and not quoted.

    Raises HubmodelsError naming the line that has more cells than the others, or bytes that are no text."""
    first_row, first_line = 0, form.lines_before + 1
    try:
        in_file = shifts_of_blank_lines(path, form) if form.blank_lines else ()
        for table in coalesce(read_batches(path, form), rows_per_piece):
            shifts, breaks = in_file, 0
            if form.num_quotes and not form.blank_lines:
                shifts, breaks = shifts_of_breaks(table, first_row)
            yield Lines(table, first_row, None if shifts is None else first_line, shifts or ())
            first_row, first_line = first_row + len(table), first_line + breaks
    except UnicodeDecodeError as error:
        raise HubmodelsError(
            f"{path.name} is not in {form.encoding} as its beginning is ({error.reason}): give its encoding, such as "
            "--encoding cp1252"
        ) from None


def read_batches(path: Path, form: CsvForm) -> Iterator[pyarrow.Table]:
    """Read a text file in pieces of any size: by pyarrow, and from an odd line on by Python's csv."""
    num_rows, block_bytes = 0, BLOCK_BYTES
    if form.separator == BLANKS:
        yield from read_odd_lines(path, form, 0)
        return
    while True:
        rows_seen = 0
        try:
            for table in read_by_arrow(path, form, block_bytes):
                rows_seen += len(table)
                if rows_seen > num_rows or num_rows == 0:  # others were given before the file was begun again
                    yield table.slice(max(0, len(table) - (rows_seen - num_rows)))
                    num_rows = rows_seen
            check_quotes(path, form)
            return
        except pyarrow.ArrowInvalid as error:
            if ODD_LINE.search(str(error)):
                yield from read_odd_lines(path, form, num_rows)
                return
            if "straddling" in str(error) or "block size" in str(error):
                if block_bytes >= LARGEST_BLOCK:
                    raise HubmodelsError(f"{path.name} has a row of more than {LARGEST_BLOCK:,} bytes") from None
                block_bytes *= 16
            elif "invalid UTF8" in str(error):
                raise UnicodeDecodeError("utf-8", b"", 0, 1, "it has bytes that are no UTF-8") from None
            else:
                raise


def read_by_arrow(path: Path, form: CsvForm, block_bytes: int) -> Iterator[pyarrow.Table]:
    """Read a text file by pyarrow, which stops with an error at a line with another number of cells (`ODD_LINE`).

    Its threads read ahead, and nothing that they use may be of Python, such as an `invalid_row_handler`: a thread that
    calls Python while the interpreter ends aborts the process. The reader is closed, whatever becomes of the rows."""
    names = [str(number) for number in range(len(form.names))]  # they may hold what pyarrow takes for something else
    with plain_text(path, form.encoding) as (text, compression), pyarrow.input_stream(text, compression) as stream:
        try:
            reader = pyarrow.csv.open_csv(
                stream,
                pyarrow.csv.ReadOptions(
                    use_threads=False, column_names=names, skip_rows=form.lines_before, block_size=block_bytes
                ),
                pyarrow.csv.ParseOptions(
                    delimiter=form.separator,
                    quote_char=form.quotechar or False,
                    newlines_in_values=form.quotechar is not None,
                ),
                pyarrow.csv.ConvertOptions(
                    column_types=dict.fromkeys(names, pyarrow.string()),
                    strings_can_be_null=True,
                    quoted_strings_can_be_null=False,
                    null_values=[""],
                ),
            )
        except pyarrow.ArrowInvalid as error:
            if "Empty CSV file" not in str(error) and not is_header_alone(path, form):
                raise
            yield empty_table(form)
            return
        with reader:
            yield empty_table(form)
            for batch in reader:
                yield pyarrow.Table.from_batches([batch]).rename_columns(form.names)


def is_header_alone(path: Path, form: CsvForm) -> bool:
    """Tell whether a file ends with its header."""
    with io.TextIOWrapper(open_bytes(path), encoding=form.encoding) as file:
        return not any(line.strip() for number, line in enumerate(file) if number >= form.lines_before)


def empty_table(form: CsvForm) -> pyarrow.Table:
    """Make a table of the file's columns without rows."""
    return pyarrow.table({name: pyarrow.array([], pyarrow.string()) for name in form.names})


def read_odd_lines(path: Path, form: CsvForm, rows_before: int) -> Iterator[pyarrow.Table]:
    """Read a file whose lines have different numbers of cells, from row `rows_before` on.

    Missing cells at a line's end are gaps, and counted. Raises HubmodelsError naming a line with more cells."""
    csv.field_size_limit(2**31 - 1)
    width, number, short_lines, first_short = len(form.names), 0, 0, 0
    columns: list[list[str | None]] = [[] for _ in form.names]
    num_characters = 0
    with io.TextIOWrapper(open_bytes(path), encoding=form.encoding, newline="") as file:
        for line_number, cells in split_lines(file, form):
            extra = [cell for cell in cells[width:] if cell]
            if extra:
                raise HubmodelsError(
                    f"line {line_number} of {path.name} has {len(cells)} cells, the others {width}: put quotes around "
                    f"a cell that holds {form.separator!r}, or give another --separator"
                )
            if len(cells) < width:
                short_lines += 1
                first_short = first_short or line_number
            number += 1
            if number <= rows_before:
                continue
            for index, column in enumerate(columns):
                column.append(cells[index] or None if index < len(cells) else None)
            num_characters += sum(map(len, cells))
            if len(columns[0]) >= 10_000 or num_characters >= PIECE_BYTES // 8:
                yield text_table(form, columns)
                columns, num_characters = [[] for _ in form.names], 0
    if short_lines:
        note(
            "rows",
            f"{short_lines:,} lines of {path.name} have fewer cells than {width} (the first is line {first_short}): "
            "what they lack at their end is a gap",
            surprising=True,
        )
    yield text_table(form, columns)


def split_lines(file: io.TextIOWrapper, form: CsvForm) -> Iterator[tuple[int, list[str]]]:
    """Split the lines behind the header into cells, without blank ones: each with the number of its last line."""
    skipped = [file.readline() for _ in range(form.lines_before)]
    if form.separator == BLANKS:
        yield from ((number, line.split()) for number, line in enumerate(file, len(skipped) + 1) if line.strip())
        return
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if form.quotechar else csv.QUOTE_NONE
    reader = csv.reader(file, delimiter=form.separator, quotechar=form.quotechar or '"', quoting=quoting)
    yield from ((len(skipped) + reader.line_num, cells) for cells in reader if cells)


def text_table(form: CsvForm, columns: list[list[str | None]]) -> pyarrow.Table:
    """Make a table of cells of text."""
    return pyarrow.table([pyarrow.array(column, pyarrow.string()) for column in columns], names=form.names)


def check_quotes(path: Path, form: CsvForm) -> None:
    """Refuse a file whose last quoted cell is not closed: it has swallowed lines."""
    if form.quotechar is None or form.num_quotes % 2 == 0:
        return
    with io.TextIOWrapper(open_bytes(path), encoding=form.encoding, newline="") as file:
        reader = csv.reader(file, delimiter=form.separator, quotechar=form.quotechar, strict=True)
        before = 0
        try:
            for _ in reader:
                before = reader.line_num
        except csv.Error as error:
            if "unexpected end" in str(error):
                raise HubmodelsError(
                    f"a quoted cell that begins in line {before + 1} of {path.name} is never closed: close it, or give "
                    "--quotechar '' where quotes are part of the text"
                ) from None


def shifts_of_breaks(table: pyarrow.Table, first_row: int) -> tuple[Shifts | None, int]:
    """Find the rows that stand further down because of line breaks inside of cells.

    Returns:
        The shifts (see `Piece.shifts`), None where there are too many to keep; and how many breaks there are.
    """
    breaks = np.zeros(len(table), dtype=np.int64)
    for column in table.columns:
        if any(has_breaks(chunk) for chunk in column.chunks):
            counts = pyarrow.compute.count_substring(column, "\n")
            breaks += pyarrow.compute.fill_null(counts, 0).to_numpy()
    rows = np.flatnonzero(breaks)
    lines = np.cumsum(breaks)
    if len(rows) > MOST_SHIFTS:
        return None, int(breaks.sum())
    return tuple((first_row + int(row) + 1, int(lines[row])) for row in rows), int(breaks.sum())


def has_breaks(chunk: pyarrow.Array) -> bool:
    """Tell whether a line break stands in a chunk of text, or in others of its buffer."""
    content = chunk.buffers()[2]
    return content is not None and b"\n" in content.to_pybytes()


def shifts_of_blank_lines(path: Path, form: CsvForm) -> Shifts | None:
    """Find the rows that stand further down because of blank lines, or of line breaks inside of cells.

    None stands for a file that is too large, or has too many of them."""
    if path.stat().st_size > LARGEST_COUNTED:
        return None
    csv.field_size_limit(2**31 - 1)
    shifts: list[tuple[int, int]] = []
    last = 0
    with io.TextIOWrapper(open_bytes(path), encoding=form.encoding, newline="") as file:
        for row, (last_line, cells) in enumerate(split_lines(file, form)):
            first_line = last_line - (sum(cell.count("\n") for cell in cells) if form.num_quotes else 0)
            shift = first_line - row - form.lines_before - 1
            if shift != last:
                shifts.append((row, shift))
                last = shift
            if len(shifts) > MOST_SHIFTS:
                return None
    return tuple(shifts)
