"""One way to read each kind of file, for training, evaluation, prediction and pipelines alike."""

from .opening import open_source
from .pieces import Piece, Source

__all__ = ["Piece", "Source", "open_source"]
