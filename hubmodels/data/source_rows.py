"""From a source's pieces to splits in the cache: what columns are is decided over all training rows, then applied.

Memory holds a few pieces, whatever the size of the files: the rows are written once as the files have them, their kinds
are decided over that file mapped into memory, and they are written again as values."""

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import datasets
import pyarrow

from ..errors import BadRow
from ..fields import build
from ..recipe import ReadingOptions
from ..report import Note, collect_notes, repeat_notes
from .cache import TableSpool, cache_key, cached_folder, mapped_table, open_rows, write_tables
from .kinds import ColumnKind, Kinds, decide_kinds
from .origins import FileRows, Origin
from .readers import NamesFiles, Piece, Source
from .reading import ROWS_PER_PIECE, Reading


def read_source(
    source: Source, known: Kinds | None = None
) -> tuple[dict[str, datasets.Dataset], dict[str, Origin], Reading]:
    """Read all splits of a source, once: afterwards they are in the cache, with what was decided.

    Args:
        source: what is read.
        known: what each column is; decided by the training rows when None.

    Returns:
        Its splits by name, the files of each, and how they were read.

    Raises:
        HubmodelsError: a file cannot be read, or a row of it.
    """
    options = dataclasses.asdict(source.options)
    key = cache_key(source.content_key(), options, list(source.splits), str(dict(source.features)))
    if known is not None:
        key = cache_key(key, known.to_dict())
    # At another place the same content has other names, in rows or in notes: the fingerprint stays.
    location = source.location if isinstance(source, NamesFiles) else ""
    folder, described = cached_folder(
        cache_key(key, location), lambda temporary: write_splits(source, temporary, known)
    )
    repeat_notes(build(Note, said) for said in described["notes"])  # now written, or at another time
    splits = {split: open_rows(folder / name, cache_key(key, split)) for split, name in described["splits"].items()}
    origins = {
        split: Origin(tuple(FileRows(**file) for file in files)) for split, files in described["origins"].items()
    }
    kinds = Kinds.from_dict(described["kinds"])
    return splits, origins, Reading(build(ReadingOptions, {k: v for k, v in options.items() if v is not None}), kinds)


def write_splits(source: Source, folder: Path, known: Kinds | None = None) -> dict[str, Any]:
    """Write the rows of each split as values, and describe them: kinds, notes, files.

    Raises HubmodelsError naming the file and the row of a value that cannot be what its column is."""
    names, origins = {}, {}
    first = "train" if "train" in source.splits else source.splits[0]
    notes: list[Note] = []
    with collect_notes(notes):
        spools = {split: TableSpool(folder, f"raw-{number}") for number, split in enumerate(source.splits)}
        for split, spool in spools.items():
            files: list[FileRows] = []
            write_tables(raw_tables(source, split, files), spool)
            origins[split] = files
        kinds = decide_kinds(spools[first].whole(), source.options) if known is None else known
        for number, (split, spool) in enumerate(spools.items()):
            values = TableSpool(folder, f"values-{number}", dict(source.features))
            position = 0
            for table in spool.tables():
                try:
                    values.write(kinds.apply(table))
                except BadRow as error:
                    origin = Origin(tuple(origins[split]))
                    raise error.named(origin.file_words(position + error.row)) from None
                position += len(table)
            names[split] = f"rows-{number}.arrow"
            values.join(folder / names[split])
            spool.remove()
    return {
        "splits": names,
        "kinds": with_types(kinds, mapped_table(folder / names[first]).schema, source.features).to_dict(),
        "notes": [said.to_dict() for said in notes],
        "origins": {split: [dataclasses.asdict(file) for file in files] for split, files in origins.items()},
    }


def with_types(kinds: Kinds, schema: pyarrow.Schema, described: Mapping[str, Any]) -> Kinds:
    """Join the types that files gave their columns to the kinds: a file of text has the same columns without types."""
    types = pyarrow.types
    names = {
        "whole number": [item.name for item in schema if types.is_integer(item.type)],
        "number": [item.name for item in schema if types.is_floating(item.type)],
        "boolean": [item.name for item in schema if types.is_boolean(item.type)],
    }
    of_types = {name: ColumnKind(kind) for kind, columns in names.items() for name in columns if name not in described}
    return Kinds(of_types | dict(kinds.columns))


def raw_tables(source: Source, split: str, files: list[FileRows]) -> Iterator[Any]:
    """Read the rows of a split as the files have them, and append to `files` how many rows came from where."""
    for piece in source.pieces(split, ROWS_PER_PIECE):
        add_origin(files, piece)
        yield piece.values


def add_origin(files: list[FileRows], piece: Piece) -> None:
    """Append a piece's rows to the files that they came from."""
    last = files[-1] if files else None
    follows = last is not None and (last.file, last.first_line, last.shifts) == (
        piece.file,
        piece.first_line,
        piece.shifts,
    )
    if last is not None and follows and piece.first_row == last.first_row + last.num_rows:
        files[-1] = dataclasses.replace(last, num_rows=last.num_rows + len(piece.table))
    else:
        files.append(FileRows(piece.file, len(piece.table), piece.first_line, piece.first_row, piece.shifts))
