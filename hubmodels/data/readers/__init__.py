"""One way to read each kind of file, for training, evaluation, prediction and pipelines alike."""

from .opening import STANDARD_INPUT, open_source
from .pieces import Piece, Source

__all__ = ["STANDARD_INPUT", "Piece", "Source", "open_source"]
