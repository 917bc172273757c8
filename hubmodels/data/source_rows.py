"""From a source's pieces to splits in the cache: what columns are is decided over all training rows, then applied."""

import dataclasses
import itertools
from collections.abc import Iterator

import datasets
import pyarrow

from ..errors import BadRow
from .cache import cached_rows
from .kinds import Kinds, decide_kinds
from .origins import FileRows, Origin
from .readers import NamesFiles, Piece, Source
from .reading import Reading, row_words

ROWS_PER_PIECE = 65_536


def read_source(source: Source) -> tuple[dict[str, datasets.Dataset], dict[str, Origin], Reading]:
    """Read all splits of a source.

    Returns:
        Its splits by name, the files of each, and how they were read.

    Raises:
        HubmodelsError: a file cannot be read, or a row of it.
    """
    key = [source.content_key(), dataclasses.asdict(source.options)]
    first = "train" if "train" in source.splits else source.splits[0]
    kinds = decide_kinds(pyarrow.concat_tables(raw_tables(source, first), promote_options="permissive"), source.options)
    splits, origins = {}, {}
    location = source.location if isinstance(source, NamesFiles) else ""
    for split in source.splits:
        files: list[FileRows] = []
        table = pyarrow.concat_tables(value_tables(source, split, kinds, files), promote_options="permissive")
        arrow_features = datasets.Features.from_arrow_schema(table.schema.remove_metadata())
        features = datasets.Features(arrow_features | dict(source.features))
        splits[split] = cached_rows([key, split, kinds.to_dict()], table.to_batches, features, location)
        origins[split] = Origin(tuple(files))
    return splits, origins, Reading(source.options, kinds)


def raw_tables(source: Source, split: str) -> list[pyarrow.Table]:
    """Read the rows of a split as the files have them."""
    return [piece.values for piece in source.pieces(split, ROWS_PER_PIECE)]


def value_tables(source: Source, split: str, kinds: Kinds, files: list[FileRows]) -> Iterator[pyarrow.Table]:
    """Read the rows of a split as values, and append to `files` how many rows came from each file.

    Raises HubmodelsError naming the file and the row of a value that cannot be what its column is."""
    for (file, first_line), pieces in itertools.groupby(
        source.pieces(split, ROWS_PER_PIECE), key=lambda piece: (piece.file, piece.first_line)
    ):
        num_rows = 0
        for piece in pieces:
            num_rows += len(piece.table)
            yield values_of(piece, kinds)
        files.append(FileRows(file, num_rows, first_line))


def values_of(piece: Piece, kinds: Kinds) -> pyarrow.Table:
    """Turn a piece's text into values. Raises HubmodelsError naming the file and the row of one that cannot be."""
    try:
        return kinds.apply(piece.values)
    except BadRow as error:
        raise error.named(row_words(piece.file, piece.first_row + error.row, piece.first_line)) from None
