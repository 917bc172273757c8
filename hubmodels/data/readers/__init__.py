"""One way to read each kind of file, for training, evaluation, prediction and pipelines alike."""

from .opening import STANDARD_INPUT, open_source
from .pieces import NamesFiles, Piece, Source

__all__ = ["STANDARD_INPUT", "NamesFiles", "Piece", "Source", "open_source"]
