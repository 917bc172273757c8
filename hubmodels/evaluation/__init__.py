"""The evaluation stage: rows of predictions, metrics with confidence intervals, network against baseline."""

from .prediction import answer, evaluation_mode, predict, transformed_batches
from .results import Evaluation, Results, evaluate

__all__ = ["Evaluation", "Results", "answer", "evaluate", "evaluation_mode", "predict", "transformed_batches"]
