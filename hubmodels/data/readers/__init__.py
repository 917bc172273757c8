"""One way to read each kind of file, for training, evaluation, prediction and pipelines alike."""

from .opening import STANDARD_INPUT, open_source
from .pieces import NamesFiles, Piece, ReadsShards, Source
from .table_files import TABLE_KINDS

__all__ = ["STANDARD_INPUT", "TABLE_KINDS", "NamesFiles", "Piece", "ReadsShards", "Source", "open_source"]
