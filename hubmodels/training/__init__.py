"""The training stage: one loop for every family, on one process or many."""

from .estimate import TrainingEstimate, estimate
from .loop import train
from .run import Run

__all__ = ["Run", "TrainingEstimate", "estimate", "train"]
