"""Files of predictions, written in pieces: memory holds a few, whatever the file's size."""

import gzip
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pyarrow
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet

from ..errors import HubmodelsError
from ..files import atomic_file, atomic_folder
from .schemas import cast_table, common_schema

ERROR_COLUMN = "error"  # says why a row has no answer; it stands last
OUTPUT_KINDS = (".csv", ".tsv", ".jsonl", ".parquet")
SEPARATORS = {".csv": ",", ".tsv": "\t"}


class TableWriter:
    """Writes a file of rows in numbered pieces, by any number of processes, which `join` joins in order.

    Args:
        path: of the file; .csv, .tsv, .jsonl or .parquet, in any case; of text with .gz behind it too. The
            pieces lie in a folder beside it until they are joined.

    Raises:
        HubmodelsError: an unknown kind of file.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = Path(path)
        suffixes = [suffix.lower() for suffix in self.path.suffixes]
        self.is_compressed = suffixes[-1:] == [".gz"]
        self.kind = "".join(suffixes[-2:-1] if self.is_compressed else suffixes[-1:])
        if self.kind not in OUTPUT_KINDS or (self.is_compressed and self.kind == ".parquet"):
            kinds = f"{', '.join(OUTPUT_KINDS)}, and of text .gz behind it"
            raise HubmodelsError(f"cannot write {path}: the kinds of files are {kinds}")
        self.folder = self.path.with_name(f".{self.path.name}.pieces")

    def clear(self) -> None:
        """Remove pieces that an earlier run left. To be called by one process before any writes."""
        self.discard()
        try:
            self.folder.mkdir(parents=True)
        except OSError as error:
            raise HubmodelsError(f"cannot write {self.path}: {error.strerror}; give another --output") from None

    def discard(self) -> None:
        """Remove the pieces without a file, after an error."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def write(self, number: int, table: pyarrow.Table) -> None:
        """Write piece `number`, from 0 on. Raises HubmodelsError for a column that the kind of file cannot hold."""
        self.check(table.schema)
        pyarrow.feather.write_feather(table, self.folder / f"{number:09d}", compression="uncompressed")

    def check(self, schema: pyarrow.Schema) -> None:
        """Refuse columns that the kind of file cannot hold, by HubmodelsError."""
        nested = [field.name for field in schema if pyarrow.types.is_nested(field.type)]
        if nested and self.kind in SEPARATORS:
            raise HubmodelsError(
                f"a {self.kind[1:].upper()} file cannot hold column {nested[0]!r}, whose values are lists or records: "
                "name the columns to --keep without it, or write to .parquet"
            )
        files = [field.name for field in schema if is_bytes(field.type)]
        if files and self.kind != ".parquet":
            raise HubmodelsError(
                f"{self.path.name} cannot hold column {files[0]!r}, whose values are files such as pictures: write to "
                ".parquet, or to a folder (an --output without an ending)"
            )

    def pieces(self) -> list[Path]:
        """List the pieces in order."""
        return sorted(self.folder.iterdir())

    def tables(self) -> Iterator[pyarrow.Table]:
        """Read the pieces in order, all with the same columns: what only some pieces have is empty in the others."""
        pieces = self.pieces()
        schema = answers_schema([pyarrow.ipc.open_file(piece).schema for piece in pieces])
        for piece in pieces:
            yield cast_table(pyarrow.feather.read_table(piece), schema)

    def join(self) -> int:
        """Join the pieces into the file, which appears whole or not at all. To be called by one process after all have
        written. Gives the number of rows without an answer."""
        num_errors = 0
        with atomic_file(self.path) as temporary, self.opened(temporary) as file:
            writer = None
            for number, table in enumerate(self.tables()):
                num_errors += count_errors(table)
                if self.kind == ".jsonl":
                    table.to_pandas().to_json(file, orient="records", lines=True, force_ascii=False)
                elif self.kind == ".parquet":
                    writer = writer or pyarrow.parquet.ParquetWriter(file, table.schema)
                    writer.write_table(table)
                else:
                    file.write(csv_bytes(table, SEPARATORS[self.kind], header=number == 0))
            if writer is not None:
                writer.close()
        self.discard()
        return num_errors

    def opened(self, path: Path) -> IO[bytes]:
        """Open the file to be written, compressed where its name says so."""
        file: Any = gzip.open(path, "wb") if self.is_compressed else open(path, "wb")  # noqa: SIM115 - the caller closes
        return file


class PictureWriter(TableWriter):
    """Writes a folder of pictures, one a row, beside `answers.csv`, which names the picture of each row.

    A picture is called as the file that it came from, else by its row's number.

    Args:
        path: of a new folder.

    Raises:
        HubmodelsError: there is something already.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = Path(path)
        if self.path.exists():
            raise HubmodelsError(f"{path} exists: name a new folder with --output")
        self.folder = self.path.with_name(f".{self.path.name}.pieces")

    def check(self, schema: pyarrow.Schema) -> None:
        """Refuse answers without pictures, by HubmodelsError."""
        answered = ERROR_COLUMN not in schema.names or any(is_bytes(field.type) for field in schema)
        if answered and not any(is_bytes(field.type) for field in schema):
            raise HubmodelsError(
                f"the answers are no pictures: give an --output with an ending ({', '.join(OUTPUT_KINDS)})"
            )

    def join(self) -> int:
        """Write the folder, which appears whole or not at all. Gives the number of rows without an answer."""
        num_errors, number, names = 0, 0, set[str]()
        listed = []
        with atomic_folder(self.path) as temporary:
            for table in self.tables():
                num_errors += count_errors(table)
                column = next((field.name for field in table.schema if is_bytes(field.type)), None)
                pictures = [None] * len(table) if column is None else table.column(column).to_pylist()
                sources = table.column("file_name").to_pylist() if "file_name" in table.column_names else pictures
                files: list[str | None] = []
                for picture, source in zip(pictures, sources, strict=True):
                    name = picture_name(source, number, names)
                    files.append(None if picture is None else name)
                    if picture is not None:
                        (temporary / name).write_bytes(picture)
                    number += 1
                others = table if column is None else table.drop_columns([column])
                at = len(others.column_names) - (ERROR_COLUMN in others.column_names)
                listed.append(others.add_column(at, "picture", pyarrow.array(files, pyarrow.string())))
            (temporary / "answers.csv").write_bytes(csv_bytes(pyarrow.concat_tables(listed), ",", header=True))
        self.discard()
        return num_errors


def csv_bytes(table: pyarrow.Table, separator: str, header: bool) -> bytes:
    """Give rows as CSV: in quotes are those cells alone whose piece has one that needs them."""

    def written(quoting: str) -> bytes:
        sink = pyarrow.BufferOutputStream()
        options = pyarrow.csv.WriteOptions(
            quoting_style=quoting, quoting_header=quoting, delimiter=separator, include_header=header
        )
        pyarrow.csv.write_csv(table, sink, options)
        return sink.getvalue().to_pybytes()

    try:
        return written("none")
    except pyarrow.ArrowInvalid:  # a cell holds a separator, a quote or a line break
        return written("needed")


def picture_name(source: object, number: int, taken: set[str]) -> str:
    """Name a picture by the file that it came from, else by its number; no name twice."""
    path = Path(source).with_suffix("").as_posix() if isinstance(source, str) else ""
    stem = re.sub(r"[^\w.-]+", "-", path).strip("-.")
    name = f"{stem[-100:]}.png" if stem else f"{number:06d}.png"
    if name in taken:
        name = f"{name.removesuffix('.png')}-{number:06d}.png"
    taken.add(name)
    return name


def open_writer(path: str | os.PathLike) -> TableWriter:
    """Give what writes to a path: a file of rows, or without an ending a folder of pictures."""
    return PictureWriter(path) if Path(path).suffix == "" else TableWriter(path)


def is_bytes(kind: pyarrow.DataType) -> bool:
    """Tell whether a column holds files."""
    return pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind)


def count_errors(table: pyarrow.Table) -> int:
    """Count the rows that have no answer."""
    if ERROR_COLUMN not in table.column_names:
        return 0
    return len(table) - table.column(ERROR_COLUMN).null_count


def answers_schema(schemas: list[pyarrow.Schema]) -> pyarrow.Schema:
    """Find one schema for pieces whose columns or types differ (see `common_schema`); errors stand last."""
    schema = common_schema(schemas)
    return pyarrow.schema(sorted(schema, key=lambda field: field.name == ERROR_COLUMN))
