"""Logistic regression on features of any input: the classical method for one class a row, or for several labels.

An input says what a linear model sees of it (`LinearFeatures`); which penalty is taken is decided in one way for all.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...report import Baseline
from ..contract.types import EncodedColumns, RowsOfProbabilities
from ..contract.weights import column_weights
from .choice import choose, class_probabilities, negative_log_loss, of_each_label

PENALTIES = (0.01, 0.1, 1.0, 10.0)  # inverse strengths of the L2 penalty
ROWS_AT_ONCE = 10_000  # of the test rows


@dataclass(kw_only=True)
class LinearFeatures:
    """Gives what a linear model sees of encoded rows."""

    name: str  # what follows "logistic regression on": "standardised pixels"
    compute: Callable[[EncodedColumns, np.ndarray], Any]  # columns, row numbers (B,) -> (B, F), dense or sparse
    max_rows: int | None = None  # at most so many training rows are seen, so that it ends in minutes
    max_iter: int = 1_000
    scaled: bool = True  # whether each feature is standardised first


def logistic_regression(
    features: LinearFeatures,
    train: EncodedColumns,
    test: EncodedColumns,
    num_classes: int,
    rows_of: RowsOfProbabilities,
    seed: int,
) -> Baseline:
    """Fit logistic regression, its penalty chosen on held-out rows (see `choose`), and apply it to the test rows.

    Args:
        features: what it sees.
        train, test: encoded columns that have `labels`, int64 (N,), or (N, num_classes) of 0 and 1.
        num_classes: the number of classes or labels.
        rows_of: makes of probabilities (N, num_classes) and labels what the target's `predict` gives.
        seed: of the rows that are seen and held out.
    """
    started = time.perf_counter()
    labels, weights = train.tensor("labels").numpy(), column_weights(train)
    several = labels.ndim == 2
    name = f"logistic regression{' for each label' if several else ''} on {features.name}"
    rows = np.random.default_rng(seed).permutation(len(labels))
    if features.max_rows is not None and len(rows) > features.max_rows:
        name += f" ({features.max_rows:,} of {len(rows):,} training rows)"
        rows = rows[: features.max_rows]
    labels, weights = labels[rows], None if weights is None else weights[rows]
    probabilities = np.zeros((len(test), num_classes))
    if not several and len(np.unique(labels if weights is None else labels[weights > 0])) == 1:  # nothing to separate
        probabilities[:, labels[0 if weights is None else weights.argmax()]] = 1
    else:
        makers = [_maker(penalty, features, labels, seed) for penalty in PENALTIES]
        score = negative_log_loss(num_classes)
        chosen = choose(makers, features.compute(train, rows), labels, score, seed, weights=weights)
        for some in np.array_split(np.arange(len(test)), -(-len(test) // ROWS_AT_ONCE)):
            probabilities[some] = class_probabilities(chosen.model, features.compute(test, some), num_classes, several)
    result = rows_of(probabilities, test.tensor("labels").numpy())
    return Baseline(name=name, rows=result, seconds=time.perf_counter() - started)


def _maker(penalty: float, features: LinearFeatures, labels: np.ndarray, seed: int) -> Callable[[], Any]:
    """Return a function that makes the estimator of a penalty."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def make() -> Any:
        model = of_each_label(LogisticRegression(C=penalty, max_iter=features.max_iter, random_state=seed), labels)
        return make_pipeline(StandardScaler(), model) if features.scaled else model

    return make
