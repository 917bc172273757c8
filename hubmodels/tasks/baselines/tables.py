"""Classical methods on tables: gradient boosting, a linear model, and a constant, of classes, labels or numbers.

Each method chooses among its settings on held-out rows (see `choose`), and so is chosen which one stands first.
"""

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ...report import Baseline
from ..contract.weights import column_weights
from .choice import Estimator, Score, Weights, choose, class_probabilities, of_each_label
from .linear import PENALTIES

if TYPE_CHECKING:
    from ..contract.types import EncodedColumns, Rows, RowsOfProbabilities
    from ..inputs.tables import FittedTables

BASELINE_SECONDS = 30  # no further setting of a method is tried after this long
# Settings of gradient boosting that are tried, in this order: the first is scikit-learn's own.
BOOSTING_SETTINGS: tuple[dict[str, Any], ...] = (
    {},
    {"learning_rate": 0.05, "max_leaf_nodes": 31, "l2_regularization": 1.0, "min_samples_leaf": 10},
    {"learning_rate": 0.05, "max_leaf_nodes": 63, "l2_regularization": 1.0, "min_samples_leaf": 20},
    {"learning_rate": 0.03, "max_leaf_nodes": 15, "l2_regularization": 0.1, "min_samples_leaf": 5},
    {"learning_rate": 0.05, "max_leaf_nodes": 63, "l2_regularization": 10.0, "max_features": 0.5},
    {"learning_rate": 0.05, "max_leaf_nodes": 31, "l2_regularization": 1.0, "max_features": 0.3},
)
BOOSTING_ITERATIONS = 1_000  # at most, since it stops early
FEW_ITERATIONS, FEW_ROWS = 100, 100  # of fewer rows none are held out to stop by: scikit-learn's own number of trees
RARE = 10  # a class of fewer rows may be missing among those that are held out
MAX_CATEGORIES = 254  # values that scikit-learn's boosting takes as categories, of more as numbers
RIDGE_PENALTIES = (0.01, 0.1, 1.0, 10.0, 100.0)  # strengths of ridge regression's L2 penalty


@dataclass(kw_only=True)
class Method:
    """A classical method and the settings among which it is chosen."""

    name: str
    makers: Sequence[Callable[[], Estimator]]  # one a setting, of estimators that are not fitted yet


@dataclass(kw_only=True)
class Methods:
    """The classical methods for one kind of target."""

    methods: Sequence[Method]
    rows_of: Callable[[Estimator, np.ndarray, np.ndarray], "Rows"]  # fitted, inputs, targets -> what `predict` gives
    score: Score


def table_baseline(
    methods: Methods, tables: "FittedTables", train: "EncodedColumns", test: "EncodedColumns", seed: int
) -> Baseline:
    """Fit each method to the training rows and apply it to the test rows.

    Returns:
        The method that is best on held-out training rows, the others beside it, the weakest last.
    """
    inputs, targets = tables.matrix(train), train.tensor("labels").numpy()
    weights = column_weights(train)
    test_inputs, test_targets = tables.matrix(test), test.tensor("labels").numpy()
    scored: list[tuple[float, Baseline]] = []
    for method in methods.methods:
        started = time.perf_counter()
        choice = choose(method.makers, inputs, targets, methods.score, seed, BASELINE_SECONDS, weights)
        rows = methods.rows_of(choice.model, test_inputs, test_targets)
        name = method.name + (f", best of {choice.num_settings} settings" if choice.num_settings > 1 else "")
        scored.append((choice.score, Baseline(name, rows, time.perf_counter() - started)))
    first, *others = (baseline for _, baseline in sorted(scored, key=lambda pair: -pair[0]))
    first.others = others
    return first


def class_methods(
    tables: "FittedTables", targets: np.ndarray, num_classes: int, rows_of: "RowsOfProbabilities", seed: int
) -> Methods:
    """Return the methods for one class a row, or for several labels a row, each of which has an estimator of its own.

    Args:
        tables: the fitted input.
        targets: of the training rows, (N,) int64 or (N, K) of 0 and 1.
        num_classes: the number of classes or labels, K.
        rows_of: makes of probabilities (N, K) and targets what the target's `predict` gives.
        seed: of what is drawn in fitting.
    """
    from sklearn.dummy import DummyClassifier
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression

    several = targets.ndim == 2

    def of_each(model: Estimator) -> Estimator:
        return of_each_label(model, targets)  # a constant where a label has one value in training

    def rows_of_model(model: Estimator, inputs: np.ndarray, targets: np.ndarray) -> "Rows":
        return rows_of(class_probabilities(model, inputs, num_classes, several), targets)

    def score(model: Estimator, inputs: np.ndarray, targets: np.ndarray, weights: Weights) -> float:
        return -float(np.average(rows_of_model(model, inputs, targets)["losses"], weights=weights))

    def boosting(settings: dict[str, Any]) -> Estimator:
        stopping = boosting_options(tables, len(targets), rarest(targets) >= RARE)
        return of_each(HistGradientBoostingClassifier(**stopping, **settings, random_state=seed))

    def linear(penalty: float) -> Estimator:
        return one_hot(tables, of_each(LogisticRegression(C=penalty, max_iter=1_000)))

    ending = " for each label" if several else ""
    constant = "each label's share in training" if several else "the most frequent class"
    return Methods(
        methods=(
            Method(name=f"histogram gradient boosting with early stopping{ending}",
                   makers=[functools.partial(boosting, settings) for settings in BOOSTING_SETTINGS]),
            Method(name=f"logistic regression{ending}",
                   makers=[functools.partial(linear, penalty) for penalty in PENALTIES]),
            Method(name=constant, makers=[lambda: of_each(DummyClassifier())]),
        ),
        rows_of=rows_of_model,
        score=score,
    )  # fmt: skip


def number_methods(tables: "FittedTables", num_rows: int, seed: int) -> Methods:
    """Return the methods for numbers, scored by the root mean squared error.

    Args:
        tables: the fitted input.
        num_rows: of the training rows.
        seed: of what is drawn in fitting.
    """
    from sklearn.dummy import DummyRegressor
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.linear_model import Ridge
    from sklearn.multioutput import MultiOutputRegressor

    def rows_of_model(model: Estimator, inputs: np.ndarray, targets: np.ndarray) -> "Rows":
        predictions = model.predict(inputs).reshape(targets.shape)
        return {"labels": targets, "predictions": predictions.astype(targets.dtype)}

    def score(model: Estimator, inputs: np.ndarray, targets: np.ndarray, weights: Weights) -> float:
        errors = rows_of_model(model, inputs, targets)["predictions"] - targets.astype(np.float64)
        return -float(np.sqrt(np.average(np.square(errors), axis=0, weights=weights)).mean())

    def boosting(settings: dict[str, Any]) -> Estimator:
        stopping = boosting_options(tables, num_rows, True)
        return MultiOutputRegressor(HistGradientBoostingRegressor(**stopping, **settings, random_state=seed))

    def linear(penalty: float) -> Estimator:
        return one_hot(tables, Ridge(alpha=penalty))

    return Methods(
        methods=(
            Method(name="histogram gradient boosting with early stopping",
                   makers=[functools.partial(boosting, settings) for settings in BOOSTING_SETTINGS]),
            Method(name="ridge regression", makers=[functools.partial(linear, penalty) for penalty in RIDGE_PENALTIES]),
            Method(name="the training mean", makers=[DummyRegressor]),
        ),
        rows_of=rows_of_model,
        score=score,
    )  # fmt: skip


def boosting_options(tables: "FittedTables", num_rows: int, may_stop: bool) -> dict[str, Any]:
    """Return which of the codes scikit-learn takes as categories, and when it stops."""
    stops = may_stop and num_rows * 4 // 5 >= FEW_ROWS  # a fifth may be held out of the fit (see `choose`)
    codes = enumerate(tables.cardinalities, start=tables.num_numbers)
    return {
        "categorical_features": [column for column, count in codes if count <= MAX_CATEGORIES] or None,
        "max_iter": BOOSTING_ITERATIONS if stops else FEW_ITERATIONS,
        "early_stopping": stops,
    }


def rarest(targets: np.ndarray) -> int:
    """Count the rows of the rarest class, or of the rarest value of a label."""
    columns = targets.reshape(len(targets), -1).T
    return min(int(np.unique(column, return_counts=True)[1].min()) for column in columns)


def one_hot(tables: "FittedTables", model: Estimator) -> Estimator:
    """Put standardised numbers and one-hot categories before a linear model."""
    from sklearn.compose import make_column_transformer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    numbers = list(range(tables.num_numbers))
    categories = [tables.num_numbers + index for index in range(len(tables.cardinalities))]
    scaling = make_column_transformer(
        (StandardScaler(), numbers),
        (OneHotEncoder(handle_unknown="ignore", min_frequency=5), categories),
        sparse_threshold=0,
    )
    return make_pipeline(scaling, model)
