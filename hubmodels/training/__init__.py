"""The training stage: one loop for every family, on one process or many."""

from .devices import computes_bf16
from .loop import Run, train

__all__ = ["Run", "computes_bf16", "train"]
