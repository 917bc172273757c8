"""The training stage: one loop for every family, on one process or many."""

from .devices import computes_bf16
from .loop import train
from .run import Run

__all__ = ["Run", "computes_bf16", "train"]
