"""Files of predictions, written in pieces: memory holds a few, whatever the file's size."""

import gzip
import os
import shutil
from pathlib import Path

import pyarrow
import pyarrow.csv
import pyarrow.parquet

from ..errors import HubmodelsError
from ..files import atomic_file
from .schemas import cast_table, common_schema

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
        path = self.folder / f"{number:09d}"
        nested = [field.name for field in table.schema if pyarrow.types.is_nested(field.type)]
        if nested and self.kind in SEPARATORS:
            raise HubmodelsError(
                f"a {self.kind[1:].upper()} file cannot hold column {nested[0]!r}, whose values are lists or records: "
                "name the columns to --keep without it, or write to .parquet"
            )
        if self.kind == ".parquet":
            pyarrow.parquet.write_table(table, path)
        elif self.kind in SEPARATORS:
            options = pyarrow.csv.WriteOptions(
                include_header=number == 0, quoting_style="needed", delimiter=SEPARATORS[self.kind]
            )
            pyarrow.csv.write_csv(table, path, options)
        else:
            table.to_pandas().to_json(path, orient="records", lines=True, force_ascii=False)

    def join(self) -> int:
        """Join the pieces into the file, which appears whole or not at all. To be called by one process after all have
        written. Gives the number of pieces."""
        pieces = sorted(self.folder.iterdir())
        with atomic_file(self.path) as temporary:
            if self.kind == ".parquet":
                schema = common_schema([pyarrow.parquet.read_schema(piece) for piece in pieces])
                with pyarrow.parquet.ParquetWriter(temporary, schema) as writer:
                    for piece in pieces:
                        writer.write_table(cast_table(pyarrow.parquet.read_table(piece), schema))
            else:
                with (gzip.open if self.is_compressed else open)(temporary, "wb") as joined:
                    for piece in pieces:
                        with open(piece, "rb") as source:
                            shutil.copyfileobj(source, joined, 2**20)
        self.discard()
        return len(pieces)
