"""Choosing among settings of a classical method on rows held out of the training rows: one rule for every baseline.

A tenth of the rows decides; of few rows, on which a tenth decides nothing, five folds do. The measure is one that tells
settings apart which err on the same rows, minus the log loss of classes and minus the error of numbers.
"""

import inspect
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

FEW_ROWS, FEW_FOLDS = 2_000, 5

Estimator = Any  # of scikit-learn: has fit and predict, a classifier also predict_proba and classes_
Weights: TypeAlias = np.ndarray | None  # of rows, (N,); None where all weigh the same
Score = Callable[[Estimator, Any, np.ndarray, Weights], float]  # fitted estimator, inputs, targets -> greater is better


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
    weights: Weights = None,
) -> Choice:
    """Fit every setting without the held-out rows, and the best one to all rows.

    Args:
        make_models: one function a setting that makes an estimator, which is not fitted yet.
        inputs: (N, F), dense or sparse.
        targets: (N,) or (N, L).
        score: measures a fitted estimator on held-out rows.
        seed: of the order in which rows are held out.
        seconds: no further setting is tried after this long.
        weights: of the rows, which every fit and every score honours.
    """
    if weights is not None:  # a row of weight 0 is no row, also for what counts rows
        inputs, targets, weights = inputs[weights > 0], targets[weights > 0], weights[weights > 0]
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
            seen, measured = (None, None) if weights is None else (weights[rest], weights[held_out])
            model = fit_quietly(make_model(), inputs[rest], targets[rest], seen)
            per_fold.append(score(model, inputs[held_out], targets[held_out], measured))
        scores.append(float(np.mean(per_fold)) if per_fold else 0.0)
    best = int(np.argmax(scores))
    return Choice(fit_quietly(make_models[best](), inputs, targets, weights), scores[best], len(scores))


def fit_quietly(model: Estimator, inputs: Any, targets: np.ndarray, weights: Weights = None) -> Estimator:
    """Fit an estimator without the warnings that choosing among settings answers; `weights` are the rows'."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        # The measure on held-out rows stands still, or falls, long before the weights stand still.
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", message="Found unknown categories")
        warnings.filterwarnings("ignore", message="Label .* is present in all training examples")
        return model.fit(inputs, targets) if weights is None else fit_weighted(model, inputs, targets, weights)


def fit_weighted(model: Estimator, inputs: Any, targets: np.ndarray, weights: np.ndarray) -> Estimator:
    """Fit an estimator, or one made of several, whose members that know weights of rows honour them."""
    import sklearn

    scaled = weights / weights.mean()  # a penalty weighs against rows of weight 1
    with sklearn.config_context(enable_metadata_routing=True):
        for member in (model, *model.get_params(deep=True).values()):
            if hasattr(member, "fit") and "sample_weight" in inspect.signature(member.fit).parameters:
                member.set_fit_request(sample_weight=True)
        return model.fit(inputs, targets, sample_weight=scaled)


def of_each_label(model: Estimator, targets: np.ndarray) -> Estimator:
    """Return an estimator of one class a row as it is; of several labels, (N, K), one that fits each by itself."""
    from sklearn.multiclass import OneVsRestClassifier

    return OneVsRestClassifier(model) if targets.ndim == 2 else model


def class_probabilities(model: Estimator, inputs: Any, num_classes: int, several: bool = False) -> np.ndarray:
    """Return the probabilities of all classes (N, num_classes), 0 for one that the estimator never saw.

    Of `several` labels a row each has a probability of its own."""
    if several:
        return model.predict_proba(inputs)
    probabilities = np.zeros((inputs.shape[0], num_classes))
    probabilities[:, model.classes_] = model.predict_proba(inputs)
    return probabilities


def negative_log_loss(num_classes: int) -> Score:
    """Return the score of classifiers: minus the mean log loss, in nats; of several labels the mean over these."""

    def score(model: Estimator, inputs: Any, targets: np.ndarray, weights: Weights) -> float:
        several, smallest = targets.ndim == 2, np.finfo(np.float32).tiny
        chances = class_probabilities(model, inputs, num_classes, several)
        if several:
            chances = np.where(targets > 0, chances, 1 - chances)
            logarithms = np.log(np.maximum(chances, smallest)).mean(axis=1)
        else:
            logarithms = np.log(np.maximum(chances[np.arange(len(targets)), targets], smallest))
        return float(np.average(logarithms, weights=weights))

    return score
