"""The evaluation stage: rows of predictions, metrics with confidence intervals, network against baseline."""

from .prediction import answer, evaluation_mode, predict, transformed_batches
from .results import Results, evaluate

__all__ = ["Results", "answer", "evaluate", "evaluation_mode", "predict", "transformed_batches"]
