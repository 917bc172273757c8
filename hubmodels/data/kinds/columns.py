"""The kinds of a table's columns, and how cells become values of them."""

import contextlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import pyarrow
import pyarrow.compute as compute

from ...errors import BadRow
from ...report import note
from .gaps import are_gaps, trimmed, without_gaps
from .numbers import NumberFormat, finite, read_numbers
from .times import read_dates, read_seconds, read_whole_dates

LEFT_OUT = "left out"
# What a person may say that a column is, and the kind that stands for it.
NAMED_KINDS = ("number", "category", "date", "text", "boolean", "identifier")
AS_TRAINED = "as trained"  # in a format that a person overruled: the one of the training
NUMBER_KINDS = ("number", "whole number", "row index")
TEXT_KINDS = ("category", "text", "identifier")
TRUE_WORDS = ("true", "yes", "y", "t", "1", "on")
FALSE_WORDS = ("false", "no", "n", "f", "0", "off")
ZONE = r":\d\d(\.\d+)?\s?(Z|UTC|[+-]\d\d:?\d\d)\s*$"  # how a text of a time ends that says its zone
SHOWN_ROWS = 4  # of a cell that stands in many
SHOWN = 40  # characters of a cell in a message


@dataclass(frozen=True)
class ColumnKind:
    """Says what a column is and how its cells are read.

    `format` holds plain values: of numbers `decimal`, `thousands`, `unit`; of dates `order`, `precision`, or `whole`
    (20191201, seconds since 1970); and `gaps`, cells of the training rows that did not fit and became gaps. Where there
    were none, a cell that does not fit is refused."""

    kind: str  # "whole number", "number", "boolean", "date", "duration", "row index", "left out", or one of TEXT_KINDS
    format: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Kinds:
    """Holds the kind of each column of text, and of others that are not read as their file's type says."""

    columns: Mapping[str, ColumnKind] = field(default_factory=dict)

    def apply(self, table: pyarrow.Table) -> pyarrow.Table:
        """Give a table with its cells turned into values; columns that are not known stay as they are.

        Raises BadRow for a cell that cannot be what its column is."""
        counts = Counter(table.column_names)
        columns = []
        for name, column in zip(table.column_names, table.columns, strict=True):
            known = self.columns.get(name) if counts[name] == 1 else None
            if known is None:
                columns.append((name, column))
            elif known.kind != LEFT_OUT:
                columns.append((name, read_column(name, column, known)))
        if not columns:
            return table.select([])
        values = pyarrow.table([column for _, column in columns], names=[name for name, _ in columns])
        return values.replace_schema_metadata(table.schema.metadata)

    def written(self, decimal: str | None = None, date_order: str | None = None) -> "Kinds":
        """Return the kinds of files that write numbers and dates otherwise, as a person says; None leaves them."""
        return Kinds({name: written_kind(kind, decimal, date_order) for name, kind in self.columns.items()})

    def apply_to_values(self, columns: Mapping[str, Sequence[Any]]) -> dict[str, Sequence[Any]]:
        """Give columns of Python's values, (B,) each, with their texts read as cells of files are.

        Raises BadRow for a text that cannot be what its column is."""
        known = self.columns
        return {
            name: read_cells(name, values, known[name]) if name in known else values for name, values in columns.items()
        }

    def to_dict(self) -> dict[str, Any]:
        """Give plain values for JSON."""
        return {name: asdict(kind) for name, kind in self.columns.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Kinds":
        """Make again what `to_dict` gave."""
        return cls({name: ColumnKind(**kind) for name, kind in values.items()})


def written_kind(kind: ColumnKind, decimal: str | None, date_order: str | None) -> ColumnKind:
    """Return a kind whose numbers have another decimal mark, or whose dates another order; None leaves them.

    A column whose numbers do not have this mark, but that of the training, is read by that."""
    form = NumberFormat.of(kind.format)
    if kind.kind in NUMBER_KINDS and decimal not in (None, form.decimal):
        thousands = form.thousands if form.thousands in (" ", "'") else form.decimal
        others = {name: value for name, value in kind.format.items() if name not in form.to_dict()}
        changed = replace(form, decimal=decimal, thousands=thousands)
        return replace(kind, format={**changed.to_dict(), **others, AS_TRAINED: dict(kind.format)})
    if kind.kind == "date" and date_order is not None and "whole" not in kind.format:
        return replace(kind, format={**kind.format, "order": date_order})
    return kind


def is_text(kind: pyarrow.DataType) -> bool:
    """Tell whether an Arrow type is text."""
    types = pyarrow.types
    return types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)


def read_column(name: str, column: pyarrow.ChunkedArray, kind: ColumnKind) -> pyarrow.ChunkedArray:
    """Turn a column into values of its kind, chunk by chunk.

    Raises BadRow for the first cell that cannot be, with how many more there are."""
    column = with_kernels(column)
    chunks, unfit, first_row = [], Unfit(), 0
    for chunk in column.chunks:
        values = read_chunk(chunk, kind)
        if is_text(chunk.type) and not is_text(values.type):
            unfit.look(chunk, values, first_row)
        chunks.append(values)
        first_row += len(chunk)
    if unfit.count and AS_TRAINED in kind.format:
        with contextlib.suppress(BadRow):
            return read_column(name, column, replace(kind, format=kind.format[AS_TRAINED]))
    if unfit.count:
        said = f"{shorten(unfit.words[0])} is no {kind.kind}"
        if remedy := find_remedy(column, kind, unfit):
            raise BadRow(unfit.first_row, name, f"{said} as those of the training are written; with {remedy} it is one")
        if "gaps" not in kind.format:
            more = f" (nor are {unfit.count - 1:,} more values)" if unfit.count > 1 else ""
            raise BadRow(unfit.first_row, name, f"{said}{more}; correct it or leave the cell empty")
        if any(word not in kind.format["gaps"] for word in unfit.words):
            note("rows", f"column {name!r}: {said}; {unfit.count:,} such cells are read as gaps, as in training")
    if kind.kind == "date" and "zone" not in kind.format and any(map(says_zone, column.chunks)):
        note(
            "rows",
            f"column {name!r}: its times say a zone, which those of the training rows did not: they are read in UTC",
            surprising=True,
        )
    if len({chunk.type for chunk in chunks}) > 1:  # whole numbers, and then some that are not
        chunks = [compute.cast(chunk, pyarrow.float64()) for chunk in chunks]
    return pyarrow.chunked_array(chunks, type=None if chunks else empty_type(column.type, kind))


def find_remedy(column: pyarrow.ChunkedArray, kind: ColumnKind, unfit: "Unfit") -> str | None:
    """Give the flag by which all cells can be read that are no gaps, some of which are `unfit`; None for none."""
    others: list[tuple[str, ColumnKind]] = []
    if kind.kind in NUMBER_KINDS:
        mark = "." if NumberFormat.of(kind.format).decimal == "," else ","
        others = [(f"--decimal {mark}", written_kind(kind, mark, None))]
    elif kind.kind == "date":
        others = [(f"--date_order {order}", written_kind(kind, None, order)) for order in ("dmy", "mdy", "ymd")]
    for flag, other in others:
        if other == kind:
            continue
        left = Unfit()
        for chunk in column.chunks:
            left.look(chunk, read_chunk(chunk, other), 0)
        if left.count < unfit.count and all(word in kind.format.get("gaps", ()) for word in left.words):
            return flag
    return None


def read_cells(name: str, values: Sequence[Any], kind: ColumnKind) -> Sequence[Any]:
    """Read the texts among Python's values (B,) as a file's cells; other values stay as they are.

    Raises BadRow for the first text that cannot be what its column is."""
    if kind.kind in (*TEXT_KINDS, LEFT_OUT) or not any(isinstance(value, str) for value in values):
        return values
    texts = [str(value) if isinstance(value, str) else None for value in values]
    read = read_column(name, pyarrow.chunked_array([pyarrow.array(texts, pyarrow.string())]), kind).to_pylist()
    return [one if isinstance(value, str) else value for value, one in zip(values, read, strict=True)]


def with_kernels(column: pyarrow.ChunkedArray) -> pyarrow.ChunkedArray:
    """Give a column of views of text as text, which Arrow can compute with."""
    return compute.cast(column, pyarrow.large_string()) if pyarrow.types.is_string_view(column.type) else column


def empty_type(arrow_type: pyarrow.DataType, kind: ColumnKind) -> pyarrow.DataType:
    """Return the type of a column of no chunks."""
    return read_chunk(pyarrow.array([], arrow_type), kind).type


@dataclass
class Unfit:
    """Collects the cells of text that are no gap and could not be read."""

    count: int = 0
    rows_of: dict[str, list[int]] = field(default_factory=dict)  # distinct cells, at most `limit`: their first rows
    limit: int = 100

    @property
    def words(self) -> list[str]:
        """Return the distinct cells, the first ones."""
        return list(self.rows_of)

    @property
    def first_row(self) -> int:
        """Return the row of the first cell."""
        return next(iter(self.rows_of.values()))[0]

    def look(self, text: pyarrow.Array, values: pyarrow.Array, first_row: int) -> None:
        """Take in a chunk and what was read of it; `first_row` is the number of its first cell."""
        if values.null_count == text.null_count:
            return
        mask = compute.and_(compute.is_null(values), compute.invert(are_gaps(trimmed(text))))
        rows = compute.indices_nonzero(mask)
        if not len(rows):
            return
        self.count += len(rows)
        cells = text.take(rows)
        for word in cells.unique()[: self.limit].to_pylist():
            if word in self.rows_of or len(self.rows_of) < self.limit:
                of_word = self.rows_of.setdefault(word, [])
                first = rows.filter(compute.equal(cells, word))[: SHOWN_ROWS - len(of_word)]
                of_word += [first_row + row.as_py() for row in first]


def shorten(value: Any) -> str:
    """Give a cell as a message shows it."""
    text = str(value)
    return repr(text if len(text) <= SHOWN else text[: SHOWN - 3] + "...")


def read_chunk(chunk: pyarrow.Array, kind: ColumnKind) -> pyarrow.Array:
    """Turn a chunk of any type into values of a kind; null for gaps and for what cannot be."""
    if pyarrow.types.is_dictionary(chunk.type):
        chunk = chunk.dictionary_decode()
    if kind.kind in TEXT_KINDS:
        return to_text(chunk)
    if kind.kind in NUMBER_KINDS:
        return to_number(chunk, kind)
    if kind.kind == "date":
        return to_date(chunk, kind)
    if kind.kind == "duration":
        return to_seconds(chunk)
    if kind.kind == "boolean" and is_text(chunk.type):
        return to_boolean(chunk)
    if kind.kind == "boolean" and (pyarrow.types.is_integer(chunk.type) or pyarrow.types.is_floating(chunk.type)):
        return compute.cast(chunk, pyarrow.bool_())
    return chunk


def to_text(chunk: pyarrow.Array) -> pyarrow.Array:
    """Give a category, an identifier or a text as text, whatever type its file has: 1, 1.0 and "1" are the same."""
    types = pyarrow.types
    if types.is_boolean(chunk.type):
        return compute.if_else(chunk, "True", "False")
    if types.is_floating(chunk.type):
        chunk = finite(chunk)
        if compute.all(compute.equal(chunk, compute.floor(chunk))).as_py() is not False:
            chunk = compute.cast(chunk, pyarrow.int64(), safe=False)
    if types.is_integer(chunk.type) or types.is_floating(chunk.type) or types.is_temporal(chunk.type):
        return compute.cast(chunk, pyarrow.string())
    return compute.cast(chunk, pyarrow.string()) if types.is_decimal(chunk.type) else chunk


def to_number(chunk: pyarrow.Array, kind: ColumnKind) -> pyarrow.Array:
    """Give numbers, int64 where the column holds whole ones and this chunk does too, else float64."""
    types = pyarrow.types
    if is_text(chunk.type):
        chunk = read_numbers(chunk, NumberFormat.of(kind.format))
    elif types.is_boolean(chunk.type):
        chunk = compute.cast(chunk, pyarrow.int64())
    elif types.is_decimal(chunk.type) or types.is_float16(chunk.type) or types.is_null(chunk.type):
        chunk = compute.cast(chunk, pyarrow.float64(), safe=False)
    if kind.kind == "number" and types.is_integer(chunk.type):
        return compute.cast(chunk, pyarrow.float64(), safe=False)
    chunk = finite(chunk)
    if kind.kind == "number" or not types.is_floating(chunk.type):
        return chunk
    fractions = compute.any(compute.not_equal(chunk, compute.floor(chunk))).as_py()
    return chunk if fractions else compute.cast(chunk, pyarrow.int64(), safe=False)


def to_date(chunk: pyarrow.Array, kind: ColumnKind) -> pyarrow.Array:
    """Give dates as timestamps in UTC without a zone, in seconds, or microseconds where the training rows had them."""
    types = pyarrow.types
    if types.is_timestamp(chunk.type):
        naive = compute.cast(chunk, pyarrow.timestamp(chunk.type.unit, "UTC")) if chunk.type.tz else chunk
        naive = compute.cast(naive, pyarrow.timestamp(chunk.type.unit))
        return compute.cast(naive, pyarrow.timestamp(kind.format.get("precision", "us")), safe=False)
    if types.is_date(chunk.type):
        return compute.cast(compute.cast(chunk, pyarrow.date64()), pyarrow.timestamp("s"), safe=False)
    whole = kind.format.get("whole")
    if is_text(chunk.type):
        text = chunk
        values = read_whole_dates(read_numbers(text, NumberFormat()), whole) if whole else None
        if values is None:
            values = read_dates(text, kind.format.get("order", "dmy"))
    elif whole and (types.is_integer(chunk.type) or types.is_floating(chunk.type)):
        values = read_whole_dates(chunk, whole)
    else:
        return chunk
    precision = pyarrow.timestamp(kind.format.get("precision", "s"))
    return compute.cast(pyarrow.array(values), precision, safe=False)


def says_zone(chunk: pyarrow.Array) -> bool:
    """Tell whether times say their zone, as type or in the text of the first ones."""
    if pyarrow.types.is_timestamp(chunk.type):
        return chunk.type.tz is not None
    head = without_gaps(chunk.slice(0, 1_000)) if is_text(chunk.type) else None
    return head is not None and compute.any(compute.match_substring_regex(head, ZONE)).as_py() is True


def to_seconds(chunk: pyarrow.Array) -> pyarrow.Array:
    """Give durations and times of day as seconds, float64."""
    types = pyarrow.types
    if is_text(chunk.type):
        return read_seconds(chunk)
    if types.is_duration(chunk.type) or types.is_time(chunk.type):
        per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[chunk.type.unit]
        whole = compute.cast(chunk, pyarrow.int32()) if types.is_time32(chunk.type) else chunk
        return compute.divide(compute.cast(compute.cast(whole, pyarrow.int64()), pyarrow.float64()), float(per_second))
    return chunk


def to_boolean(text: pyarrow.Array) -> pyarrow.Array:
    """Read the usual words of yes and no, in any case."""
    words = compute.utf8_lower(trimmed(text))
    true = compute.is_in(words, value_set=pyarrow.array(TRUE_WORDS, words.type))
    known = compute.is_in(words, value_set=pyarrow.array(TRUE_WORDS + FALSE_WORDS, words.type))
    return compute.if_else(known, true, pyarrow.scalar(None, pyarrow.bool_()))
