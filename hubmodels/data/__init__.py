"""The data stage: loading and splits, encoded columns in Arrow, batches of tensors."""

from .batches import Batches, StepSource, StreamedBatches
from .columns import Columns, WindowedColumns, encode_dataset
from .loading import LoadedData, load_data, stream_head
from .tables import TableWriter, check_readable, read_tables

__all__ = [
    "Batches",
    "Columns",
    "LoadedData",
    "StepSource",
    "StreamedBatches",
    "TableWriter",
    "WindowedColumns",
    "check_readable",
    "encode_dataset",
    "load_data",
    "read_tables",
    "stream_head",
]
