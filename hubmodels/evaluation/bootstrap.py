"""Metrics with 95 % intervals by the bootstrap over the rows.

Intervals are percentile intervals of the bootstrap over the test rows (Efron and Tibshirani 1993, chapter 13). They
speak of the choice of test rows, not of the choice of seed or training rows. Rows that overlap (windows of one series)
are drawn as stretches of neighbours (the circular block bootstrap of Politis and Romano 1992): alone they would pretend
to be independent. Where no resample changes a share of the rows, as one without a mistake, the bootstrap knows nothing,
and the interval is Wilson's (1927, JASA 22:209).
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ..report import Estimate

Rows = Mapping[str, np.ndarray]
WEIGHT = "sample_weight"  # of a row; metrics read it, and it is drawn with its row
LEVEL = 0.95
QUANTILE = 1.959964  # of the normal distribution at (1 + LEVEL) / 2


@dataclass
class Measured:
    """Holds what the bootstrap says of some rows."""

    metrics: dict[str, Estimate]
    per_class: dict[str, dict[str, Estimate]]  # class -> metric -> estimate
    draws: dict[str, np.ndarray]  # metric -> its values on the resamples, (num_resamples,)


class MeasuredTask(Protocol):
    """Names what a measurement asks of a task."""

    @property
    def main_metric(self) -> str: ...

    @property
    def greater_is_better(self) -> bool: ...

    @property
    def metric_names(self) -> Mapping[str, str]: ...

    @property
    def shares(self) -> Sequence[str]: ...


class MeasuredProblem(Protocol):
    """Names what a measurement asks of a problem, the task bound to data."""

    @property
    def task(self) -> MeasuredTask: ...

    def metrics(self, rows: Any, /) -> Mapping[str, float]:
        """Compute every metric over these rows."""
        ...

    def class_names(self) -> Sequence[str]:
        """Name the classes that `class_metrics` speaks of."""
        ...

    def class_metrics(self, rows: Any, /) -> Mapping[str, np.ndarray]:
        """Compute the metrics of each class, one entry a class."""
        ...

    def resample_block(self) -> int:
        """Return how many neighbouring rows are drawn together."""
        ...


class Bootstrap:
    """Measures rows and their resamples by a problem's metrics.

    The same seed draws the same rows of a network and of its baselines, which makes their draws pairs.

    Args:
        problem: see `evaluate`.
        num_rows: how many rows are measured at a time.
        num_resamples: >= 1.
        seed: of the resampling.
    """

    def __init__(self, problem: MeasuredProblem, num_rows: int, num_resamples: int, seed: int) -> None:
        self.problem = problem
        self.num_rows, self.num_resamples, self.seed = num_rows, num_resamples, seed
        self.classes = list(problem.class_names())
        self.block = min(problem.resample_block(), num_rows)

    def measure(self, rows: Rows) -> Measured:
        """Estimate each metric of the rows and of their classes."""
        # A baseline can lack some of the metrics: it has no quantiles, for example.
        names = list(self.problem.metrics(rows))
        class_metrics = list(self.problem.class_metrics(rows)) if self.classes else []
        values = self.values_of(rows)
        samples = np.stack([self.values_of(Resample(rows, numbers)) for numbers in self.resamples()])
        estimates = [estimate_value(value, samples[:, index]) for index, value in enumerate(values.tolist())]
        metrics = dict(zip(names, estimates, strict=False))
        for name in self.problem.task.shares:
            share = metrics.get(name)
            if share is not None and share.value is not None and share.low == share.high == share.value:
                metrics[name] = Estimate(share.value, *wilson_interval(share.value, effective_rows(rows)))
        by_class = iter(estimates[len(names) :])
        per_metric = {name: [next(by_class) for _ in self.classes] for name in class_metrics}
        per_class = {
            label: {name: per_metric[name][index] for name in class_metrics} for index, label in enumerate(self.classes)
        }
        return Measured(metrics, per_class, {name: samples[:, index] for index, name in enumerate(names)})

    def values_of(self, rows: Rows) -> np.ndarray:
        """Compute all metrics of some rows, then each metric of every class, as one array."""
        scalars = list(self.problem.metrics(rows).values())
        arrays = self.problem.class_metrics(rows).values() if self.classes else []
        return np.concatenate([np.asarray(scalars, dtype=np.float64), *arrays])

    def resamples(self) -> Iterator[np.ndarray]:
        """Draw the row numbers of each resample, (num_rows,)."""
        generator = np.random.default_rng(self.seed)
        num_rows, block = self.num_rows, self.block
        for _ in range(self.num_resamples):
            if block == 1:
                yield generator.integers(0, num_rows, num_rows)
            else:  # stretches, the last one cut, that go on at the first row behind the last
                firsts = generator.integers(0, num_rows, -(-num_rows // block))
                yield ((firsts[:, None] + np.arange(block)).ravel()[:num_rows]) % num_rows


class Resample(Mapping[str, np.ndarray]):
    """Gathers some of the rows, each column only when it is asked for: metrics need few of those that figures do."""

    def __init__(self, rows: Rows, numbers: np.ndarray) -> None:
        self.rows, self.numbers = rows, numbers

    def __getitem__(self, name: str) -> np.ndarray:
        return self.rows[name][self.numbers]

    def __contains__(self, name: object) -> bool:
        return name in self.rows

    def __iter__(self) -> Iterator[str]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)


def estimate_value(value: float | None, draws: np.ndarray) -> Estimate:
    """Give a value with the percentile interval of its draws, of which those that are not finite do not count.

    A class may be absent from a resample. Where the value is not finite, or no draw is, it is undefined."""
    draws = draws[np.isfinite(draws)]
    if value is None or not math.isfinite(value) or len(draws) == 0:
        return Estimate(None)
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(float(value), float(low), float(high))


def estimate_difference(first: Estimate, second: Estimate) -> Estimate:
    """Give the difference of two values whose draws are pairs: 1.96 of their standard deviations to either side."""
    if first.value is None or second.value is None:
        return Estimate(None)
    value = first.value - second.value
    if first.draws is None or second.draws is None:
        return Estimate(value)
    error = QUANTILE * float((first.draws - second.draws).std())
    return Estimate(value, value - error, value + error)


def effective_rows(rows: Rows) -> float:
    """Count the rows, with weights how many equal ones tell as much: (sum w)^2 / sum w^2 (Kish 1965)."""
    weights = rows.get(WEIGHT)
    if weights is None:
        return float(len(next(iter(rows.values()))))
    scaled = weights.astype(np.float64) / (weights.max() or 1)
    return float(scaled.sum() ** 2 / np.square(scaled).sum()) if scaled.any() else 1.0


def wilson_interval(share: float, num_rows: float) -> tuple[float, float]:
    """Compute the 95 % interval of a share of so many rows, which has a width at 0 and 1 too (Wilson 1927)."""
    square = QUANTILE**2 / num_rows
    middle = share + square / 2
    half = QUANTILE * math.sqrt(share * (1 - share) / num_rows + square / (4 * num_rows))
    return max(0.0, (middle - half) / (1 + square)), min(1.0, (middle + half) / (1 + square))
