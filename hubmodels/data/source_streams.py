"""From a source's pieces to streams: rows are read and turned into values as they are asked for."""

from collections.abc import Iterator

import datasets
import pyarrow
from datasets.iterable_dataset import ArrowExamplesIterable

from ..errors import BadRow, HubmodelsError, one_line
from ..report import note
from .kinds import Kinds, decide_kinds
from .origins import Origin
from .readers import Piece, ReadsShards, Source
from .reading import Reading, ReadPiece
from .schemas import cast_table, common_schema
from .source_rows import with_types

HEAD_ROWS = 10_000  # of the training rows, over which kinds are decided
ROWS_PER_PIECE = 8_192


def stream_source(source: Source) -> tuple[dict[str, datasets.IterableDataset], dict[str, Origin], Reading]:
    """Stream all splits of a source: a file is a shard, and a stream goes on where its state says (`state_dict`).

    Returns:
        Its splits by name, nothing of the files of single rows, and how rows are read.

    Raises:
        HubmodelsError: the first rows cannot be read.
    """
    first = "train" if "train" in source.splits else source.splits[0]
    head = read_head(source, first)
    kinds = decide_kinds(head, source.options)
    note(
        "columns",
        f"what columns are was decided over the first {len(head):,} rows, as the rows are streamed",
        surprising=True,
        remedy="streaming: false",
    )
    try:
        values = kinds.apply(head)
    except BadRow as error:
        raise error.named(f"row {error.row} of the stream") from None
    streams = {}
    for split in source.splits:
        schema = values.schema if split == first else kinds.apply(read_head(source, split)).schema
        features = datasets.Features.from_arrow_schema(schema.remove_metadata()) | dict(source.features)
        features = datasets.Features({name: features[name] for name in schema.names})
        rows = ArrowExamplesIterable(
            stream_tables,
            {"source": source, "split": split, "kinds": kinds, "schema": schema, "shards": list_shards(source, split)},
        )
        streams[split] = datasets.IterableDataset(rows, info=datasets.DatasetInfo(features=features))
    return streams, {}, Reading(source.options, with_types(kinds, values.schema, source.features))


def read_head(source: Source, split: str) -> pyarrow.Table:
    """Read the first rows of a split, of every file some where there are several."""
    shards = list_shards(source, split)
    rows_each = -(-HEAD_ROWS // len(shards[:20]))
    tables = []
    for shard in shards[:20]:
        num_rows = 0
        for piece in shard_pieces(source, split, shard, min(rows_each, ROWS_PER_PIECE)):
            tables.append(piece.values.slice(0, rows_each - num_rows))
            num_rows += len(tables[-1])
            if num_rows >= rows_each:
                break
    schema = common_schema([table.schema for table in tables])
    return pyarrow.concat_tables([cast_table(table, schema) for table in tables])


def list_shards(source: Source, split: str) -> list[int]:
    """Number the files of a split, where its reader tells them apart."""
    return list(range(len(source.files[split]))) if isinstance(source, ReadsShards) else [0]


def shard_pieces(source: Source, split: str, shard: int, rows_per_piece: int) -> Iterator[Piece]:
    """Read the rows of one shard."""
    if isinstance(source, ReadsShards):
        yield from source.file_pieces(split, shard, rows_per_piece)
    else:
        yield from source.pieces(split, rows_per_piece)


def stream_tables(
    source: Source, split: str, kinds: Kinds, schema: pyarrow.Schema, shards: list[int]
) -> Iterator[tuple[str, pyarrow.Table]]:
    """Read shards as values in one schema, each table with a key.

    Raises HubmodelsError naming file and row of a value that is not what the first rows of its column are."""
    for shard in shards:
        for number, piece in enumerate(shard_pieces(source, split, shard, ROWS_PER_PIECE)):
            try:
                yield f"{shard}-{number}", cast_table(kinds.apply(piece.values), schema)
            except BadRow as error:
                raise error.named(ReadPiece(piece, kinds).words(error.row)) from None
            except pyarrow.ArrowException as error:
                where = ReadPiece(piece, kinds).words(0)
                raise HubmodelsError(
                    f"from {where} on, rows are not as the first ones ({one_line(error, 150)}): name the column in "
                    "column_kinds, or leave out --streaming"
                ) from None
