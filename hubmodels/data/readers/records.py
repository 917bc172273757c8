"""Files that tell the types of their cells: JSON, Excel, SQLite, NumPy arrays, Arrow and Parquet, as Arrow tables."""

import contextlib
import datetime
import decimal
import io
import itertools
import json
import math
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.feather
import pyarrow.ipc
import pyarrow.parquet

from ...errors import HubmodelsError, nearest, one_line
from ...recipe import ReadingOptions
from ...report import note
from .archives import open_bytes, seekable
from .encodings import scan_text
from .pieces import PIECE_BYTES

ROWS_AT_ONCE = 10_000
HEAD_ROWS = 200  # by which it is seen how many cells a row of a sheet has
MOST_TITLES = 20  # rows above a table


# Tables of Python's values


def value_table(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> pyarrow.Table:
    """Make a table of rows of values, (rows, columns)."""
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(names)
    return pyarrow.table([value_column(column) for column in columns], names=list(names))


def value_column(values: Sequence[Any]) -> pyarrow.Array:
    """Make a column of values; where their types do not go together, of their text."""
    kinds = {type(value) for value in values if value is not None}
    if kinds == {int, float}:
        values = [None if value is None else float(value) for value in values]
    elif len(kinds) > 1 and not kinds <= {datetime.datetime, datetime.date}:
        return pyarrow.array([None if value is None else cell_text(value) for value in values], pyarrow.string())
    try:
        return pyarrow.array(values)
    except (pyarrow.ArrowException, OverflowError, TypeError, ValueError):
        return pyarrow.array([None if value is None else cell_text(value) for value in values], pyarrow.string())


def cell_text(value: Any) -> str:
    """Write a value as a text file would hold it."""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, datetime.datetime | datetime.date | datetime.time | datetime.timedelta | decimal.Decimal):
        return str(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return json.dumps(value, ensure_ascii=False, default=str)


# JSON


def read_json(path: Path, options: ReadingOptions, remembered: bool) -> Iterator[pyarrow.Table]:
    """Read JSON lines, an array of records, or a record of columns.

    Raises HubmodelsError naming the line that is no JSON."""
    encoding = scan_text(path, options.encoding, remembered).encoding
    with io.TextIOWrapper(open_bytes(path), encoding=encoding.replace("utf-8", "utf-8-sig")) as file:
        lines = ((number, line) for number, line in enumerate(file, 1) if line.strip())
        head = list(itertools.islice(lines, 2))
        if not head:
            raise HubmodelsError(f"{path.name} is empty")
        numbered = itertools.chain(head, lines)
        if is_record(head[0][1], alone=len(head) == 1):
            for lines_at_once in bounded_lines(numbered):
                yield from record_tables(parse_line(path, *line) for line in lines_at_once)
            return
        text = "".join(line for _, line in numbered)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise HubmodelsError(f"{path.name} is neither JSON nor JSON lines: {one_line(error)}") from None
    yield from record_tables(records_of(path, content))


def is_record(line: str, alone: bool) -> bool:
    """Tell whether a line is a JSON record by itself, as of JSON lines; alone it may hold all rows in its values."""
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        # A damaged first line of JSON lines ends as a record does; of a record in several lines it does not.
        return line.lstrip().startswith("{") and line.rstrip().endswith("}")
    return isinstance(values, dict) and not (alone and any(isinstance(item, list | dict) for item in values.values()))


def bounded_lines(lines: Iterable[tuple[int, str]]) -> Iterator[list[tuple[int, str]]]:
    """Group numbered lines, each group with so many rows and characters at most, or one line."""
    group: list[tuple[int, str]] = []
    num_characters = 0
    for number, line in lines:
        if group and (len(group) >= ROWS_AT_ONCE or num_characters + len(line) > PIECE_BYTES):
            yield group
            group, num_characters = [], 0
        group.append((number, line))
        num_characters += len(line)
    if group:
        yield group


def parse_line(path: Path, number: int, line: str) -> dict[str, Any]:
    """Read a line of JSON lines. Raises HubmodelsError naming it where it is no record."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise HubmodelsError(f"line {number} of {path.name} is no JSON: {one_line(error)}") from None
    if not isinstance(record, dict):
        raise HubmodelsError(f"line {number} of {path.name} is no record in braces, but {line.strip()[:40]}")
    return record


def records_of(path: Path, content: Any) -> Iterable[dict[str, Any]]:
    """Find the records in a JSON document: an array of them, one below a name, or a record of columns.

    Raises HubmodelsError where there are none."""
    if isinstance(content, dict):
        arrays = {name: value for name, value in content.items() if is_records(value)}
        if len(arrays) == 1:
            ((name, content),) = arrays.items()
            note("files", f"the rows of {path.name} are the records below {name!r}", surprising=True)
        elif content and all(isinstance(value, list) for value in content.values()):
            if len({len(value) for value in content.values()}) == 1:
                return (dict(zip(content, row, strict=True)) for row in zip(*content.values(), strict=True))
        elif content and all(isinstance(value, dict) for value in content.values()):  # pandas' own form
            keys = list(dict.fromkeys(key for column in content.values() for key in column))
            return ({name: column.get(key) for name, column in content.items()} for key in keys)
        else:
            content = [content]
    if not is_records(content):
        raise HubmodelsError(f"{path.name} holds no records: give JSON lines, an array of records, or one of columns")
    return content


def is_records(value: Any) -> bool:
    """Tell whether a value of JSON is an array of records."""
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


def record_tables(records: Iterable[dict[str, Any]]) -> Iterator[pyarrow.Table]:
    """Make tables of records; a name that a record lacks is a gap."""
    names: dict[str, None] = {}
    iterator = iter(records)
    while some := list(itertools.islice(iterator, ROWS_AT_ONCE)):
        names |= dict.fromkeys(name for record in some for name in record)
        yield value_table(list(names), [[finite(record.get(name)) for name in names] for record in some])


def finite(value: Any) -> Any:
    """Give a value, and nothing for the NaN that Python writes into JSON."""
    return None if isinstance(value, float) and math.isnan(value) else value


# Excel


def find_sheet(path: Path, sheet_name: str | None, remembered: bool) -> str:
    """Find the sheet to read: the named one, or the only one that is not empty.

    Raises HubmodelsError where there is none of this name, or none or several are filled."""
    with open_workbook(path) as workbook:
        names: list[str] = [sheet.title for sheet in workbook.worksheets]
        if sheet_name is not None and sheet_name in names:
            return sheet_name
        if sheet_name is not None and not remembered:
            hint = nearest(sheet_name, names)
            raise HubmodelsError(f"{path.name} has no sheet {sheet_name!r}{hint}; its sheets are {', '.join(names)}")
        filled = [sheet.title for sheet in workbook.worksheets if any(any_cell(row) for row in first_rows(sheet))]
    if not filled:
        raise HubmodelsError(f"{path.name} is empty")
    if len(filled) > 1:
        names_given = ", ".join(map(repr, filled))
        raise HubmodelsError(f"{path.name} has the sheets {names_given}: name one with --sheet_name")
    if len(names) > 1:
        note("files", f"of {path.name} the sheet {filled[0]!r} is read, the only one with cells", remedy="sheet_name")
    return filled[0]


def first_rows(sheet: Any) -> Iterable[tuple[Any, ...]]:
    """Return the first rows of a sheet."""
    return itertools.islice(sheet.iter_rows(values_only=True), 100)


def any_cell(row: Iterable[Any]) -> bool:
    """Tell whether a row has a cell that is not empty."""
    return any(cell is not None for cell in row)


@contextlib.contextmanager
def open_workbook(path: Path) -> Iterator[Any]:
    """Open an Excel file to read it row by row. Raises HubmodelsError where openpyxl is missing, or it is none."""
    try:
        import openpyxl
    except ImportError:
        raise HubmodelsError(f"{path.name}: Excel files need openpyxl: pip install 'hubmodels[excel]'") from None
    with seekable(path) as file:
        try:
            workbook = openpyxl.load_workbook(file, read_only=True, data_only=True)
        except Exception as error:  # openpyxl lets through whatever zipfile and XML raise
            raise HubmodelsError(f"{path.name} is no Excel file: {one_line(error)}") from None
        try:
            yield workbook
        finally:
            workbook.close()


NumberedRow = tuple[int, tuple[Any, ...]]  # of a sheet: its number there, from 1, and its cells


@dataclass
class SheetRows:
    """Says where the rows of a table that were read so far stand in their sheet."""

    first: int | None = None  # the sheet's number of row 0, from 1; None where the file is no sheet
    shifts: list[tuple[int, int]] = field(default_factory=list)  # see `Piece.shifts`

    def look(self, row: int, number: int) -> None:
        """Take in a row of the table and the number that the sheet has for it."""
        self.first = number if self.first is None else self.first
        shift = number - row - self.first
        if shift != (self.shifts[-1][1] if self.shifts else 0):
            self.shifts.append((row, shift))


def read_excel(path: Path, sheet_name: str, header: bool | None, sheet_rows: SheetRows) -> Iterator[pyarrow.Table]:
    """Read a sheet: its first row with cells names the columns, unless `header` is false. Empty rows are left out.

    A title above the table is skipped, unless `header` is true. Where the rows stand in the sheet is put into
    `sheet_rows`."""
    from .csv_form import unique_names

    with open_workbook(path) as workbook:
        all_rows = enumerate(workbook[sheet_name].iter_rows(values_only=True), 1)
        rows: Iterator[NumberedRow] = ((number, row) for number, row in all_rows if any_cell(row))
        if header is None:
            rows = without_title(rows, path.name)
        first_number, first = next(rows, (0, None))
        if first is None:
            raise HubmodelsError(f"the sheet {sheet_name!r} of {path.name} is empty")
        if header is False:
            names = [str(number) for number in range(len(first))]
            rows = itertools.chain([(first_number, first)], rows)
        else:
            names = unique_names(["" if cell is None else cell_text(cell) for cell in first])
        num_rows = 0
        while some := list(itertools.islice(rows, ROWS_AT_ONCE)):
            for row, (number, _) in enumerate(some, num_rows):
                sheet_rows.look(row, number)
            yield value_table(names, [(*row, *[None] * (len(names) - len(row)))[: len(names)] for _, row in some])
            num_rows += len(some)
        if num_rows == 0:
            yield value_table(names, [])


def without_title(rows: Iterator[NumberedRow], name: str) -> Iterator[NumberedRow]:
    """Skip the rows above a table, a title or remarks, and say it: they have few cells, the rows behind them many."""
    head = list(itertools.islice(rows, HEAD_ROWS))
    filled = [sum(cell is not None and cell_text(cell).strip() != "" for cell in row) for _, row in head]
    usual = sorted(filled)[len(filled) // 2] if filled else 0
    few = 1 if usual < 5 else 2  # cells of a title: "Report", or "Date:" and the date
    count = next((number for number, cells in enumerate(filled) if cells > few), 0) if usual > few else 0
    if 0 < count < min(len(head) - 1, MOST_TITLES):
        words = ", ".join(repr(cell_text(cell)[:40]) for _, row in head[:count] for cell in row if cell is not None)
        are = "row with cells is" if count == 1 else f"{count} rows with cells are"
        note("files", f"{name}: its first {are} a title and skipped ({words[:120]})", surprising=True,
             remedy="header: true")  # fmt: skip
        head = head[count:]
    return itertools.chain(head, rows)


# SQLite


def find_query(path: Path, query: str | None) -> str:
    """Give the SELECT of a query, a table's name, or the only table. Raises HubmodelsError where there are several."""
    with open_database(path) as database:
        listed = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite%'"
        names = [name for (name,) in database.execute(listed)]
    words = ", ".join(names) or "none"
    if query is None:
        if len(names) != 1:
            raise HubmodelsError(f"{path.name} has the tables {words}: name one, or give a SELECT, with --query")
        query = names[0]
    if query in names:
        escaped = query.replace('"', '""')
        return f'SELECT * FROM "{escaped}"'
    if len(query.split()) == 1:
        raise HubmodelsError(f"{path.name} has no table {query!r}{nearest(query, names)}; its tables are {words}")
    return query


@contextlib.contextmanager
def open_database(path: Path) -> Iterator[sqlite3.Connection]:
    """Open an SQLite file to be read alone. Raises HubmodelsError where it is none."""
    if not path.is_file():
        raise HubmodelsError(f"{path.name} is no file")

    def allow(action: int, *details: Any) -> int:
        readings = (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE)
        return sqlite3.SQLITE_OK if action in readings else sqlite3.SQLITE_DENY

    database = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    try:
        database.set_authorizer(allow)
        yield database
    except sqlite3.Error as error:
        raise HubmodelsError(f"cannot read {path.name}: {one_line(error)} (--query is a SELECT)") from None
    finally:
        database.close()


def read_sqlite(path: Path, query: str) -> Iterator[pyarrow.Table]:
    """Read the rows that a SELECT gives."""
    from .csv_form import unique_names

    with open_database(path) as database:
        cursor = database.execute(query)
        names = unique_names([column[0] for column in cursor.description])
        yield value_table(names, [])
        while rows := cursor.fetchmany(ROWS_AT_ONCE):
            yield value_table(names, rows)


# NumPy


def read_numpy(path: Path) -> Iterator[pyarrow.Table]:
    """Read arrays as columns: numbers (N, C) as columns 0 to C-1, those of an .npz by their names.

    Raises HubmodelsError for arrays of more dimensions, of different lengths, or of Python objects."""
    with seekable(path) as file:
        mapped = isinstance(getattr(file, "name", None), str)
        try:
            loaded = np.load(path if mapped else file, mmap_mode="r" if mapped else None, allow_pickle=False)
        except (ValueError, OSError, EOFError) as error:
            pickled = "pickled" in str(error)  # of NumPy, for all that it does not know
            reason = "it holds no array of NumPy, or Python objects, which are not read" if pickled else one_line(error)
            raise HubmodelsError(f"cannot read {path.name}: {reason}") from None
        arrays = {"": loaded} if isinstance(loaded, np.ndarray) else read_members(path, loaded)
    columns: dict[str, np.ndarray] = {}
    for name, array in arrays.items():
        columns |= array_columns(path, name, array)
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        words = ", ".join(f"{name}: {length:,}" for name, length in list(lengths.items())[:5])
        raise HubmodelsError(f"the arrays of {path.name} have different numbers of rows ({words})")
    for start in range(0, max(next(iter(lengths.values()), 0), 1), ROWS_AT_ONCE):
        some = {name: np.ascontiguousarray(column[start : start + ROWS_AT_ONCE]) for name, column in columns.items()}
        yield pyarrow.table({name: pyarrow.array(column) for name, column in some.items()})


def read_members(path: Path, archive: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Read the arrays of an .npz. Raises HubmodelsError for one of Python objects."""
    try:
        return {name: archive[name] for name in archive}
    except ValueError as error:
        raise HubmodelsError(f"cannot read {path.name}: {one_line(error, 150)} (Python objects are not read)") from None


def array_columns(path: Path, name: str, array: np.ndarray) -> dict[str, np.ndarray]:
    """Name the columns of an array. Raises HubmodelsError for one of no or of more than two dimensions."""
    if array.dtype.names:
        return {field: array[field] for field in array.dtype.names}
    if array.ndim == 1:
        return {name or "0": array}
    if array.ndim != 2:
        raise HubmodelsError(
            f"the array {name or 'of'} {path.name} has the shape {array.shape}: a table's has one or two dimensions"
        )
    return {f"{name}_{number}" if name else str(number): array[:, number] for number in range(array.shape[1])}


# Arrow and Parquet


def read_parquet(path: Path, rows_per_piece: int) -> Iterator[pyarrow.Table]:
    """Read a Parquet file piece by piece."""
    with seekable(path) as file, pyarrow.parquet.ParquetFile(file) as table_file:
        bytes_per_row = parquet_bytes(table_file.metadata) / max(table_file.metadata.num_rows, 1)
        count = max(1, min(rows_per_piece, int(2**26 / max(bytes_per_row, 1))))
        yield table_file.schema_arrow.empty_table()
        for batch in table_file.iter_batches(batch_size=count):
            yield whole_table(batch)


def parquet_bytes(metadata: pyarrow.parquet.FileMetaData) -> int:
    """Return the bytes of all rows, uncompressed."""
    return sum(metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups))


def read_arrow(path: Path) -> Iterator[pyarrow.Table]:
    """Read an Arrow or Feather file, or a stream of Arrow as `datasets` writes it, piece by piece."""
    with seekable(path) as file:
        if file.read(4) == b"FEA1":
            file.seek(0)
            yield whole_table(pyarrow.feather.read_table(file, memory_map=False))
            return
        file.seek(0)
        try:
            reader = pyarrow.ipc.open_file(file)
        except pyarrow.ArrowInvalid:
            file.seek(0)
            with pyarrow.ipc.open_stream(file) as stream:
                yield stream.schema.empty_table()
                yield from map(whole_table, stream)
            return
        yield reader.schema.empty_table()
        for number in range(reader.num_record_batches):
            yield whole_table(reader.get_batch(number))


def whole_table(rows: pyarrow.Table | pyarrow.RecordBatch) -> pyarrow.Table:
    """Make a table of rows as they were read. Raises ArrowInvalid where the file is damaged: it says lengths and
    offsets itself, and a kernel that believes wrong ones ends the process."""
    rows.validate(full=True)
    return rows if isinstance(rows, pyarrow.Table) else pyarrow.Table.from_batches([rows])
