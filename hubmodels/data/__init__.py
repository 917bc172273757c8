"""The data stage: loading and splits, encoded columns in Arrow, batches of tensors."""

from .batches import Batches, StepSource, StreamedBatches
from .check import CheckedData, check_splits
from .columns import Columns, WindowedColumns, encode_dataset
from .given import Given
from .loading import LoadedData, load_data, stream_head
from .origins import Origin
from .reading import Reading, ReadPiece
from .writer import PictureWriter, TableWriter, common_schema, fill, is_bytes, open_writer

__all__ = [
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
    "check_splits",
    "common_schema",
    "encode_dataset",
    "fill",
    "is_bytes",
    "load_data",
    "open_writer",
    "stream_head",
]
