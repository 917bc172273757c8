"""The training stage: one loop for every family, on one process or many."""

from .loop import Run, train

__all__ = ["Run", "train"]
