"""Choosing among settings of a classical method on rows held out of the training rows: one rule for every baseline.

A tenth of the rows decides; of few rows, on which a tenth decides nothing, five folds do. The measure is one that tells
settings apart which err on the same rows, minus the log loss of classes and minus the error of numbers.
"""

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

FEW_ROWS, FEW_FOLDS = 2_000, 5

Estimator = Any  # of scikit-learn: has fit and predict, a classifier also predict_proba and classes_
Score = Callable[[Estimator, Any, np.ndarray], float]  # fitted estimator, inputs, targets -> greater is better


@dataclass
class Choice:
    """The best of several settings, fitted to all rows."""

    model: Estimator
    score: float  # on the held-out rows, mean over the folds
    num_settings: int  # that were tried


def choose(
    make_models: Sequence[Callable[[], Estimator]],
    inputs: Any,
    targets: np.ndarray,
    score: Score,
    seed: int,
    seconds: float = float("inf"),
) -> Choice:
    """Fit every setting without the held-out rows, and the best one to all rows.

    Args:
        make_models: one function a setting that makes an estimator, which is not fitted yet.
        inputs: (N, F), dense or sparse.
        targets: (N,) or (N, L).
        score: measures a fitted estimator on held-out rows.
        seed: of the order in which rows are held out.
        seconds: no further setting is tried after this long.
    """
    order = np.random.default_rng(seed).permutation(len(targets))
    folds = np.array_split(order, FEW_FOLDS) if len(order) < FEW_ROWS else np.array_split(order, 10)[:1]
    folds = [fold for fold in folds if 0 < len(fold) < len(order)]
    started = time.perf_counter()
    scores: list[float] = []
    for make_model in make_models:
        if scores and (len(make_models) == 1 or not folds or time.perf_counter() - started > seconds):
            break
        per_fold = []
        for held_out in folds:
            rest = np.setdiff1d(order, held_out)
            if targets.ndim == 1 and len(np.unique(targets[rest])) == 1 < len(np.unique(targets)):
                continue  # without the held-out rows there is nothing to separate
            model = fit_quietly(make_model(), inputs[rest], targets[rest])
            per_fold.append(score(model, inputs[held_out], targets[held_out]))
        scores.append(float(np.mean(per_fold)) if per_fold else 0.0)
    best = int(np.argmax(scores))
    return Choice(fit_quietly(make_models[best](), inputs, targets), scores[best], len(scores))


def fit_quietly(model: Estimator, inputs: Any, targets: np.ndarray) -> Estimator:
    """Fit an estimator without the warnings that choosing among settings answers."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        # The measure on held-out rows stands still, or falls, long before the weights stand still.
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", message="Found unknown categories")
        warnings.filterwarnings("ignore", message="Label .* is present in all training examples")
        return model.fit(inputs, targets)


def class_probabilities(model: Estimator, inputs: Any, num_classes: int) -> np.ndarray:
    """Return the probabilities of all classes (N, num_classes), 0 for one that the estimator never saw."""
    probabilities = np.zeros((inputs.shape[0], num_classes))
    probabilities[:, model.classes_] = model.predict_proba(inputs)
    return probabilities


def negative_log_loss(num_classes: int) -> Score:
    """Return the score of classifiers: minus the mean log loss, in nats."""

    def score(model: Estimator, inputs: Any, targets: np.ndarray) -> float:
        chances = class_probabilities(model, inputs, num_classes)[np.arange(len(targets)), targets]
        return float(np.log(np.maximum(chances, np.finfo(np.float32).tiny)).mean())

    return score
