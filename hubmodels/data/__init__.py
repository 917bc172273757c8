"""The data stage: loading and splits, encoded columns in Arrow, batches of tensors."""

from .batches import Batches, StepSource, StreamedBatches
from .cache import cache_key
from .check import CheckedData, check_splits
from .columns import Columns, WindowedColumns, encode_dataset
from .given import Given, check_given
from .loading import LoadedData, load_data, stream_head
from .origins import Origin
from .reading import Reading, ReadPiece
from .schemas import cast_table
from .splits import count_rows
from .writer import ERROR_COLUMN, PictureWriter, TableWriter, answers_schema, is_bytes, open_writer

__all__ = [
    "ERROR_COLUMN",
    "Batches",
    "CheckedData",
    "Columns",
    "Given",
    "LoadedData",
    "Origin",
    "PictureWriter",
    "ReadPiece",
    "Reading",
    "StepSource",
    "StreamedBatches",
    "TableWriter",
    "WindowedColumns",
    "answers_schema",
    "cache_key",
    "cast_table",
    "check_given",
    "check_splits",
    "count_rows",
    "encode_dataset",
    "is_bytes",
    "load_data",
    "open_writer",
    "stream_head",
]
