"""Files of tables: those of text as text, the others with the types that they have."""

import contextlib
import dataclasses
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
import pyarrow
import pyarrow.ipc
import pyarrow.parquet
import xxhash

from ...errors import HubmodelsError, one_line
from ...recipe import ReadingOptions
from ...report import note
from . import records
from .archives import DAMAGED, seekable, table_suffix
from .csv_files import Lines, read_csv
from .csv_form import BLANKS, SEPARATORS, CsvForm, find_form
from .pieces import Piece, coalesce

TEXT_KINDS = (".csv", ".tsv", ".tab", ".psv", ".data")
JSON_KINDS = (".json", ".jsonl", ".ndjson")
ARROW_KINDS = (".arrow", ".feather", ".ipc")
EXCEL_KINDS = (".xlsx", ".xlsm")
SQLITE_KINDS = (".db", ".sqlite", ".sqlite3")
NUMPY_KINDS = (".npy", ".npz")
TABLE_KINDS = (
    *TEXT_KINDS, ".parquet", ".pq", *JSON_KINDS, *ARROW_KINDS, *EXCEL_KINDS, *SQLITE_KINDS, *NUMPY_KINDS,
)  # fmt: skip
DESCRIBED = (datasets.Image, datasets.Audio, datasets.ClassLabel)  # what Arrow's types do not tell
SAVED_OTHERWISE = {".xls": ".xlsx", ".ods": ".xlsx", ".xlsb": ".xlsx", ".numbers": ".xlsx", ".pkl": ".parquet",
                   ".pickle": ".parquet", ".rds": ".parquet", ".rdata": ".parquet", ".sav": ".csv", ".dta": ".csv",
                   ".orc": ".parquet", ".avro": ".parquet", ".sas7bdat": ".csv", ".h5": ".parquet"}  # fmt: skip


def is_table(path: Path) -> bool:
    """Tell whether a file's ending, without that of its compression, is one of tables."""
    return table_suffix(path)[0] in TABLE_KINDS


@dataclass(frozen=True)
class OpenedTable:
    """Reads one file of rows, whose form was found out."""

    path: Path
    kind: str  # its ending
    options: ReadingOptions  # given ones joined by what was found out
    form: CsvForm | None = None  # of text
    remembered: bool = False

    @classmethod
    def open(cls, path: Path, name: str, options: ReadingOptions, remembered: bool, kind: str) -> "OpenedTable":
        """Find out the form of a file, and say what is odd about it.

        Args:
            path: of the file.
            name: what a person calls it.
            options: how to read it.
            remembered: the options are those of the training's files, and this one may differ.
            kind: its ending.

        Raises:
            HubmodelsError: it is empty, or is not what its ending says.
        """
        if path.stat().st_size == 0:
            raise HubmodelsError(f"{name} is empty")
        if kind in TEXT_KINDS:
            form = find_form(path, options, remembered)
            say_form(name, form, options)
            changes: dict[str, Any] = {
                "separator": form.separator if form.separator != "," and len(form.names) > 1 else options.separator,
                "encoding": form.encoding if form.encoding != "utf-8" else options.encoding,
                "header": options.header if form.header else False,
                "quotechar": options.quotechar if form.quotechar else "",
            }
            return cls(path, kind, dataclasses.replace(options, **changes), form, remembered)
        if kind in EXCEL_KINDS:
            sheet = records.find_sheet(path, options.sheet_name, remembered)
            options = dataclasses.replace(options, sheet_name=sheet)
        if kind in SQLITE_KINDS:
            if table_suffix(path)[1]:
                raise HubmodelsError(f"{name}: an SQLite database is read from the disk: unpack it")
            options = dataclasses.replace(options, query=records.find_query(path, options.query))
        return cls(path, kind, options, None, remembered)

    def pieces(self, rows_per_piece: int) -> Iterator[Lines]:
        """Read its rows in order, at most so many at once."""
        if self.form is not None:
            yield from read_csv(self.path, self.form, rows_per_piece)
            return
        first_row, sheet_rows = 0, records.SheetRows()
        for table in coalesce(self.tables(rows_per_piece, sheet_rows), rows_per_piece):
            yield Lines(table, first_row, sheet_rows.first, tuple(sheet_rows.shifts))
            first_row += len(table)

    def tables(self, rows_per_piece: int, sheet_rows: records.SheetRows) -> Iterator[pyarrow.Table]:
        """Read its rows in tables of any size; where they stand in a sheet is put into `sheet_rows`."""
        if self.kind in JSON_KINDS:
            yield from records.read_json(self.path, self.options, self.remembered)
        elif self.kind in EXCEL_KINDS:
            yield from records.read_excel(self.path, self.options.sheet_name or "", self.options.header, sheet_rows)
        elif self.kind in SQLITE_KINDS:
            yield from records.read_sqlite(self.path, self.options.query or "")
        elif self.kind in NUMPY_KINDS:
            yield from records.read_numpy(self.path)
        elif self.kind in ARROW_KINDS:
            yield from records.read_arrow(self.path)
        else:
            yield from records.read_parquet(self.path, rows_per_piece)

    def column_names(self) -> list[str] | None:
        """Return the names of its columns, where they can be told before its rows are read."""
        if self.form is not None:
            return self.form.names
        schema = self.schema()
        return None if schema is None else list(schema.names)

    def schema(self) -> pyarrow.Schema | None:
        """Return the schema that an Arrow or Parquet file has."""
        if self.kind not in (".parquet", ".pq", *ARROW_KINDS):
            return None
        with seekable(self.path) as file:
            if self.kind in (".parquet", ".pq"):
                return pyarrow.parquet.read_schema(file)
            try:
                return pyarrow.ipc.open_file(file).schema
            except pyarrow.ArrowInvalid:
                file.seek(0)
                return None if file.read(4) == b"FEA1" else pyarrow.ipc.open_stream(self.path.read_bytes()).schema


def say_form(name: str, form: CsvForm, options: ReadingOptions) -> None:
    """Say how a text file is read, where that is not what everyone expects."""
    usual = "\t" if name.lower().partition(".")[2].startswith(("tsv", "tab")) else ","
    if len(form.names) == 1 and form.separator != ",":
        note("files", f"{name} has one column, as its first line has no separator", remedy="separator: ','")
    elif form.separator != usual and len(form.names) > 1 and options.separator != form.separator:
        words = "blanks" if form.separator == BLANKS else SEPARATORS.get(form.separator, repr(form.separator))
        note("files", f"{words} separate the cells of {name}", surprising=True, remedy=f"separator: {usual!r}")
    if form.encoding != "utf-8" and options.encoding is None:
        note("files", f"{name} is text in {form.encoding}", surprising=True, remedy="encoding: utf-8")
    for option, remark in form.remarks.items():
        remedy = f"header: {'false' if form.header else 'true'}" if option == "header" else "quotechar: '\"'"
        note("files", f"{name}: {remark}", surprising=True, remedy=remedy)
    doubled = [item for item in form.names if item.rpartition(".")[0] in form.names and item.rpartition(".")[2] == "1"]
    if doubled:
        columns = ", ".join(repr(item.rpartition(".")[0]) for item in doubled[:5])
        note("files", f"{name} has more than one column {columns}: the others are called {doubled[0]!r} and so on",
             surprising=True)  # fmt: skip


@dataclass(frozen=True)
class TableFiles:
    """Reads the files of each split one after the other; implements `Source`."""

    files: Mapping[str, list[OpenedTable]]  # split -> its files, in order
    names: Mapping[Path, str]  # what a person calls each
    options: ReadingOptions
    hashes: dict[Path, str] = field(default_factory=dict, compare=False)

    @classmethod
    def open(
        cls, files: Mapping[str, list[Path]], names: Mapping[Path, str], options: ReadingOptions,
        remembered: bool = False, kinds: Mapping[Path, str] | None = None,
    ) -> "TableFiles":  # fmt: skip
        """Open the files of each split; `kinds` are the endings of those whose names do not tell.

        Raises HubmodelsError naming the file that cannot be read, or files of one split that hold different things."""
        opened: dict[str, list[OpenedTable]] = {}
        columns_of: dict[str, list[str]] = {}
        for split, paths in files.items():
            opened[split] = []
            for path in paths:
                kind = (kinds or {}).get(path) or table_suffix(path)[0]
                with naming(names[path]):
                    opened[split].append(OpenedTable.open(path, names[path], options, remembered, kind))
                    columns = opened[split][-1].column_names()
                    if columns is not None:
                        columns_of.setdefault(names[path], columns)
            check_columns({name: columns_of[name] for name in map(names.get, paths) if name in columns_of})
        first = next(iter(opened.get("train") or next(iter(opened.values()))))
        return cls(opened, names, first.options)

    @property
    def splits(self) -> tuple[str, ...]:
        """Name the splits."""
        return tuple(self.files)

    @property
    def location(self) -> str:
        """Return the names of the files, which notes and messages say."""
        return "|".join(self.names.values())

    @property
    def features(self) -> Mapping[str, Any]:
        """Return the images, sounds and classes that `datasets` described in an Arrow or Parquet file."""
        for tables in self.files.values():
            for table in tables[:1]:
                schema = table.schema()
                if schema is not None and b"huggingface" in (schema.metadata or {}):
                    described = datasets.Features.from_arrow_schema(schema)
                    return {name: item for name, item in described.items() if isinstance(item, DESCRIBED)}
        return {}

    def content_key(self) -> str:
        """Hash names of splits, kinds and bytes of files."""
        described = [
            (split, [(table.kind, table_suffix(table.path)[1], hash_bytes(table.path)) for table in tables])
            for split, tables in self.files.items()
        ]
        return hashlib.sha256(repr(described).encode()).hexdigest()

    def pieces(self, split: str, rows_per_piece: int) -> Iterator[Piece]:
        """Read the rows of a split in order. Raises HubmodelsError naming the file that cannot be read."""
        for number in range(len(self.files[split])):
            yield from self.file_pieces(split, number, rows_per_piece)

    def file_pieces(self, split: str, number: int, rows_per_piece: int) -> Iterator[Piece]:
        """Read the rows of one of a split's files."""
        table = self.files[split][number]
        name = self.names[table.path]
        with naming(name):
            for lines in table.pieces(rows_per_piece):
                yield Piece(lines.table, name, lines.first_row, lines.first_line, lines.shifts)


@contextlib.contextmanager
def naming(name: str) -> Iterator[None]:
    """Name the file in the errors of those who read it."""
    try:
        yield
    except HubmodelsError as error:
        if Path(name).name in str(error):
            raise
        raise HubmodelsError(f"{name}: {error}") from error
    except (OSError, ValueError, pyarrow.ArrowException, NotImplementedError, *DAMAGED) as error:
        raise HubmodelsError(f"cannot read {name}: {one_line(error)}") from error


def hash_bytes(path: Path) -> str:
    """Hash the bytes of a file, at the speed of the disk."""
    hasher = xxhash.xxh3_128()
    with open(path, "rb", buffering=0) as file:
        while chunk := file.read(2**22):
            hasher.update(chunk)
    return hasher.hexdigest()


def check_columns(columns: Mapping[str, list[str]]) -> None:
    """Say where files of one split have other columns than its first.

    Raises HubmodelsError where these are other tables altogether."""
    first_name, first = next(iter(columns.items()), ("", []))
    for name, some in columns.items():
        lacking, more = [item for item in first if item not in some], [item for item in some if item not in first]
        if not lacking and not more:
            continue
        if len(lacking) > len(first) / 2 or len(more) > len(first) / 2:
            raise HubmodelsError(
                f"{first_name} and {name} have different columns ({', '.join(first[:4])}; {', '.join(some[:4])}): "
                "name one file, or give files the names of splits: train.csv, test.csv"
            )
        words = [f"has no {', '.join(map(repr, lacking[:5]))}"] if lacking else []
        words += [f"has {', '.join(map(repr, more[:5]))} besides"] if more else []
        note(
            "files",
            f"{name} {' and '.join(words)}, unlike {first_name}: rows without a cell have a gap there",
            surprising=True,
        )
