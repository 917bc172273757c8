"""Files of rows to predict, read and written in pieces: memory holds a few pieces, whatever the file's size."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pyarrow
import pyarrow.csv
import pyarrow.parquet

from ..errors import HubmodelsError
from ..files import atomic_file

INPUT_KINDS = (".csv", ".tsv", ".parquet", ".jsonl")
OUTPUT_KINDS = (".csv", ".parquet", ".jsonl")
FOLDER_KINDS = {  # what a folder may hold, by the name of the column of paths
    "image": (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp"),
    "audio": (".wav",),
}


def read_tables(path: str | os.PathLike, rows_per_table: int) -> Iterator[pyarrow.Table]:
    """Read the rows of a file in order, in pieces of at most `rows_per_table`.

    Args:
        path: a CSV, TSV, JSON-lines or Parquet file; or a folder of images or of sounds, whose rows are `image`
            or `audio` (a path) and `file_name`, in the order of the names.
        rows_per_table: >= 1.

    Raises:
        HubmodelsError: there is no such file, its kind is unknown, or it cannot be read.
    """
    path = check_readable(path)
    try:
        if path.is_dir():
            yield from _read_folder(path, rows_per_table)
        elif path.suffix == ".parquet":
            with pyarrow.parquet.ParquetFile(path) as file:
                for batch in file.iter_batches(batch_size=rows_per_table):
                    yield pyarrow.Table.from_batches([batch])
        else:
            yield from _read_text(path, rows_per_table)
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise HubmodelsError(f"cannot read {path}: {' '.join(str(error).split())[:300]}") from error


def check_readable(path: str | os.PathLike) -> Path:
    """Give the path of rows that `read_tables` can try to read.

    Raises HubmodelsError when there is none or its kind is unknown."""
    path = Path(path)
    if not path.exists():
        raise HubmodelsError(f"there is no file {path}")
    if not path.is_dir() and path.suffix not in INPUT_KINDS:
        raise HubmodelsError(f"cannot read {path}: the kinds of files are {', '.join(INPUT_KINDS)}, or a folder")
    return path


def _read_text(path: Path, rows_per_table: int) -> Iterator[pyarrow.Table]:
    import pandas

    if path.stat().st_size == 0:
        raise HubmodelsError(f"{path} is empty")
    if path.suffix == ".jsonl":
        pieces = pandas.read_json(path, lines=True, chunksize=rows_per_table, convert_dates=False)
    else:
        pieces = pandas.read_csv(path, sep="\t" if path.suffix == ".tsv" else ",", chunksize=rows_per_table)
    with pieces:
        for piece in pieces:
            yield pyarrow.Table.from_pandas(piece, preserve_index=False)


def _read_folder(path: Path, rows_per_table: int) -> Iterator[pyarrow.Table]:
    paths = sorted(path.rglob("*"), key=lambda file: file.relative_to(path).as_posix())
    columns = {name: [file for file in paths if file.suffix.lower() in kinds] for name, kinds in FOLDER_KINDS.items()}
    columns = {name: files for name, files in columns.items() if files}
    if len(columns) != 1:
        kinds = ", ".join(kind for kinds in FOLDER_KINDS.values() for kind in kinds)
        what = "images and sounds; take one kind" if columns else f"no image and no sound ({kinds})"
        raise HubmodelsError(f"the folder {path} holds {what}")
    ((column, files),) = columns.items()
    for start in range(0, len(files), rows_per_table):
        piece = files[start : start + rows_per_table]
        names = [file.relative_to(path).as_posix() for file in piece]
        yield pyarrow.table({column: [os.fspath(file) for file in piece], "file_name": names})


class TableWriter:
    """Writes a file of rows in numbered pieces, by any number of processes, which `join` joins in order.

    Args:
        path: of the file; .csv, .jsonl or .parquet. The pieces lie in a folder beside it until they are joined.

    Raises:
        HubmodelsError: an unknown kind of file.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = Path(path)
        if self.path.suffix not in OUTPUT_KINDS:
            raise HubmodelsError(f"cannot write {path}: the kinds of files are {', '.join(OUTPUT_KINDS)}")
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
        path = self.folder / f"{number:09d}"
        nested = [field.name for field in table.schema if pyarrow.types.is_nested(field.type)]
        if nested and self.path.suffix == ".csv":
            raise HubmodelsError(
                f"a CSV file cannot hold column {nested[0]!r}, whose values are lists or records: name the columns "
                "to --keep without it, or write to .parquet"
            )
        if self.path.suffix == ".parquet":
            pyarrow.parquet.write_table(table, path)
        elif self.path.suffix == ".csv":
            options = pyarrow.csv.WriteOptions(include_header=number == 0, quoting_style="needed")
            pyarrow.csv.write_csv(table, path, options)
        else:
            table.to_pandas().to_json(path, orient="records", lines=True, force_ascii=False)

    def join(self) -> int:
        """Join the pieces into the file, which appears whole or not at all. To be called by one process after all have
        written. Gives the number of pieces."""
        pieces = sorted(self.folder.iterdir())
        with atomic_file(self.path) as temporary:
            if self.path.suffix == ".parquet":
                schema = common_schema([pyarrow.parquet.read_schema(piece) for piece in pieces])
                with pyarrow.parquet.ParquetWriter(temporary, schema) as writer:
                    for piece in pieces:
                        writer.write_table(pyarrow.parquet.read_table(piece).cast(schema))
            else:
                with open(temporary, "wb") as joined:
                    for piece in pieces:
                        with open(piece, "rb") as source:
                            shutil.copyfileobj(source, joined, 2**20)
        self.discard()
        return len(pieces)


def common_schema(schemas: list[pyarrow.Schema]) -> pyarrow.Schema:
    """Find one schema for pieces whose types differ, since text files tell none: numbers become wider, else text."""
    fields = []
    for name in schemas[0].names:
        of_pieces = [pyarrow.schema([schema.field(name).remove_metadata()]) for schema in schemas]
        try:
            unified = pyarrow.unify_schemas(of_pieces, promote_options="permissive")
            fields.append(unified.field(0))
        except pyarrow.ArrowException:
            fields.append(pyarrow.field(name, pyarrow.string()))
    return pyarrow.schema(fields)
