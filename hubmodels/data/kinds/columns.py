"""The kinds of a table's columns, and how text becomes values of them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow
import pyarrow.compute

from ...recipe import ReadingOptions


@dataclass(frozen=True)
class ColumnKind:
    """Says what a column is and how its text is read."""

    kind: str  # "number", "whole number", "boolean", "date", "category", "text", ...
    format: Mapping[str, Any] = field(default_factory=dict)  # plain values: decimal mark, unit, order of dates, gaps


@dataclass(frozen=True)
class Kinds:
    """Holds the kind of each column of text; others have the type that their file gives them."""

    columns: Mapping[str, ColumnKind] = field(default_factory=dict)

    def apply(self, table: pyarrow.Table) -> pyarrow.Table:
        """Give a table with its text turned into values; columns that are not known stay as they are.

        Raises BadRow for a value that cannot be what its column is."""
        for index, name in enumerate(table.column_names):
            known = self.columns.get(name)
            if known is not None:
                table = table.set_column(index, name, read_column(table.column(name), known))
        return table

    def to_dict(self) -> dict[str, Any]:
        """Give plain values for JSON."""
        return {name: asdict(kind) for name, kind in self.columns.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Kinds":
        """Make again what `to_dict` gave."""
        return cls({name: ColumnKind(**kind) for name, kind in values.items()})


TYPES = {"whole number": pyarrow.int64(), "number": pyarrow.float64(), "boolean": pyarrow.bool_()}


def read_column(column: pyarrow.ChunkedArray, kind: ColumnKind) -> pyarrow.ChunkedArray:
    """Turn a column of text into values of its kind."""
    arrow_type = TYPES.get(kind.kind)
    if arrow_type is None or not is_text(column.type):
        return column
    return pyarrow.compute.cast(column, arrow_type)


def is_text(kind: pyarrow.DataType) -> bool:
    """Tell whether an Arrow type is text."""
    return pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind)


def decide_kinds(table: pyarrow.Table, options: ReadingOptions) -> Kinds:
    """Decide what each column of text is, by what nearly all its values are, and say it (`report.note`).

    Args:
        table: all training rows, as the files have them.
        options: `column_kinds` and `decimal` win over what is found.
    """
    columns = {}
    for name in table.column_names:
        if not is_text(table.schema.field(name).type):
            continue
        if (options.column_kinds or {}).get(name) == "text":
            columns[name] = ColumnKind("text")
            continue
        for kind, arrow_type in TYPES.items():
            try:
                pyarrow.compute.cast(table.column(name), arrow_type)
            except pyarrow.ArrowInvalid:
                continue
            columns[name] = ColumnKind(kind)
            break
        else:
            columns[name] = ColumnKind("text")
    return Kinds(columns)
