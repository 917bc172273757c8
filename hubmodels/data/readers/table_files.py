"""Files of tables: CSV and TSV as text, Parquet and JSON lines with the types that they have."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from ...errors import HubmodelsError, one_line
from ...files import hash_file
from ...recipe import ReadingOptions
from .pieces import Piece

TABLE_KINDS = (".csv", ".tsv", ".parquet", ".jsonl", ".json")


@dataclass(frozen=True)
class TableFiles:
    """Reads the files of each split one after the other; implements `Source`."""

    files: Mapping[str, list[Path]]  # split -> its files, in order
    folder: Path  # the files are named below it
    options: ReadingOptions

    @property
    def splits(self) -> tuple[str, ...]:
        """Name the splits."""
        return tuple(self.files)

    @property
    def features(self) -> Mapping[str, Any]:
        """Return nothing: Arrow's types say it all."""
        return {}

    def content_key(self) -> str:
        """Hash names of splits and bytes of files."""
        described = [(split, [hash_file(path) for path in paths]) for split, paths in self.files.items()]
        return hashlib.sha256(repr(described).encode()).hexdigest()

    def pieces(self, split: str, rows_per_piece: int) -> Iterator[Piece]:
        """Read the rows of a split in order. Raises HubmodelsError naming the file that cannot be read."""
        for path in self.files[split]:
            name = path.relative_to(self.folder).as_posix()
            first_row = 0
            try:
                for table in read_tables(path, self.options, rows_per_piece):
                    yield Piece(table, name, first_row, 2 if path.suffix.lower() in (".csv", ".tsv") else None)
                    first_row += len(table)
            except (OSError, ValueError, pyarrow.ArrowException) as error:
                raise HubmodelsError(f"cannot read {name}: {one_line(error)}") from error


def read_tables(path: Path, options: ReadingOptions, rows_per_piece: int) -> Iterator[pyarrow.Table]:
    """Read one file in pieces."""
    import pandas

    kind = path.suffix.lower()
    if path.stat().st_size == 0:
        raise HubmodelsError(f"{path.name} is empty")
    if kind == ".parquet":
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=rows_per_piece):
                yield pyarrow.Table.from_batches([batch])
        return
    if kind == ".json" and path.read_bytes()[:200].lstrip().startswith(b"["):
        frame = pandas.read_json(path, dtype=False, convert_dates=False)
        yield pyarrow.Table.from_pandas(frame, preserve_index=False)
        return
    if kind in (".jsonl", ".json"):
        pieces = pandas.read_json(path, lines=True, chunksize=rows_per_piece, convert_dates=False, dtype=False)
    else:
        pieces = pandas.read_csv(
            path,
            sep=options.separator or ("\t" if kind == ".tsv" else ","),
            chunksize=rows_per_piece,
            dtype=str,
            keep_default_na=False,
            na_values=[""],
        )
    with pieces:
        for piece in pieces:
            yield pyarrow.Table.from_pandas(piece, preserve_index=False)
