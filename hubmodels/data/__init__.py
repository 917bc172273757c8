"""The data stage: loading and splits, encoded columns in Arrow, batches of tensors."""

from .batches import Batches, StepSource, StreamedBatches
from .check import CheckedData, check_splits
from .columns import Columns, WindowedColumns, encode_dataset
from .loading import LoadedData, load_data, stream_head
from .origins import Origin
from .reading import Reading
from .writer import TableWriter

__all__ = [
    "Batches",
    "CheckedData",
    "Columns",
    "LoadedData",
    "Origin",
    "Reading",
    "StepSource",
    "StreamedBatches",
    "TableWriter",
    "WindowedColumns",
    "check_splits",
    "encode_dataset",
    "load_data",
    "stream_head",
]
