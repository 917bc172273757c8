"""One way to read each kind of file, for training, evaluation, prediction and pipelines alike."""

from .opening import open_source
from .pieces import NamesFiles, Piece, Source

__all__ = ["NamesFiles", "Piece", "Source", "open_source"]
