"""Metrics with 95 % intervals, and whether the network was worth it beside a classical baseline.

Intervals are percentile intervals of the bootstrap over the test rows (Efron and Tibshirani 1993, chapter 13); the
difference is bootstrapped in pairs: both methods are measured on the same resampled rows. They speak of the choice of
test rows, not of the choice of seed or training rows. Rows that overlap (windows of one series) are drawn as stretches
of neighbours (the circular block bootstrap of Politis and Romano 1992): alone they would pretend to be independent.
Where no resample changes a share of the rows, as one without a mistake, the bootstrap knows nothing, and the interval
is Wilson's (1927, JASA 22:209).
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..formatting import format_number

Rows = dict[str, np.ndarray]
LEVEL = 0.95
QUANTILE = 1.959964  # of the normal distribution at (1 + LEVEL) / 2


@dataclass(frozen=True)
class Estimate:
    """A value and the ends of its 95 % interval; None where it is undefined."""

    value: float | None
    low: float | None
    high: float | None

    def to_dict(self) -> dict[str, float | None]:
        return {"value": self.value, "low": self.low, "high": self.high}

    def __str__(self) -> str:
        if self.value is None:
            return "undefined"
        if self.low is None or self.high is None:
            return format_number(self.value)
        return f"{format_number(self.value)} ({format_number(self.low)} to {format_number(self.high)})"


@dataclass
class Results:
    """What an evaluation found. `to_dict` is what a release stores, `table` what a person reads in the terminal."""

    num_rows: int
    metrics: dict[str, Estimate]
    per_class: dict[str, dict[str, Estimate]] = field(default_factory=dict)  # class -> metric -> estimate
    main_metric: str = ""
    greater_is_better: bool = True
    metric_names: dict[str, str] = field(default_factory=dict)
    baseline_name: str | None = None
    baseline_seconds: float | None = None
    baseline_metrics: dict[str, Estimate] | None = None
    other_baselines: list[dict[str, Any]] = field(default_factory=list)  # name, seconds, metrics -> estimate
    difference: Estimate | None = None  # network minus baseline, of the main metric
    resample_block: int = 1  # neighbouring rows that the bootstrap drew together
    verdict: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: no NaN, plain numbers."""
        result: dict[str, Any] = {
            "num_rows": self.num_rows,
            "main_metric": self.main_metric,
            "greater_is_better": self.greater_is_better,
            "metrics": _plain(self.metrics),
            "metric_names": self.metric_names,
            "per_class": {name: _plain(estimates) for name, estimates in self.per_class.items()},
        }
        if self.resample_block > 1:
            result["resample_block"] = self.resample_block
        if self.baseline_metrics is not None:
            result["baseline"] = {
                "name": self.baseline_name,
                "seconds": None if self.baseline_seconds is None else round(self.baseline_seconds, 1),
                "metrics": _plain(self.baseline_metrics),
            }
            if self.other_baselines:
                result["other_baselines"] = [
                    {**other, "metrics": _plain(other["metrics"])} for other in self.other_baselines
                ]
            result["difference"] = {"metric": self.main_metric, **self.difference.to_dict()}
            result["verdict"] = self.verdict
        return result

    def table(self, max_classes: int = 20) -> str:
        """The metrics with their intervals, beside the baseline, then the classes, as aligned text."""
        header = ["metric", "network"] + (["baseline"] if self.baseline_metrics is not None else [])
        lines = [header]
        for name, estimate in self.metrics.items():
            line = [self.metric_names.get(name, name), str(estimate)]
            if self.baseline_metrics is not None:
                line.append(str(self.baseline_metrics[name]) if name in self.baseline_metrics else "")
            lines.append(line)
        text = _align(lines)
        if self.per_class:
            columns = list(next(iter(self.per_class.values())))
            lines = [["class", *(name.replace("_", " ") for name in columns)]]
            shown = list(self.per_class.items())[:max_classes]
            lines += [[name, *(str(estimates[column]) for column in columns)] for name, estimates in shown]
            text += "\n\n" + _align(lines)
            if len(self.per_class) > max_classes:
                text += f"\n... and {len(self.per_class) - max_classes} more classes"
        text += f"\n\n{self.num_rows:,} rows; in brackets the 95 % bootstrap interval"
        if self.resample_block > 1:
            text += f" (of stretches of {self.resample_block} rows)"
        if self.baseline_name:
            text += f"; baseline: {self.baseline_name}"
        for other in self.other_baselines:
            estimate = other["metrics"][self.main_metric]
            text += f"\n{other['name']}: {self.metric_names.get(self.main_metric, self.main_metric)} {estimate}"
        return text + (f"\n{self.verdict}" if self.verdict else "")


def evaluate(
    rows: Rows,
    problem: Any,
    baseline: Any = None,
    examination: Any = None,
    num_resamples: int = 1000,
    seed: int = 0,
) -> Results:
    """Measure predictions, with intervals, beside a baseline on the same rows.

    Args:
        rows: what `predict` gave.
        problem: gives `metrics`, `class_metrics`, `class_names` and `resample_block`; its task `main_metric`,
            `greater_is_better`, `metric_names`, and `shares`, the metrics that are a share of the rows.
        baseline: `name`, `seconds` and `rows` of a classical method on the same rows in the same order; None for none.
        examination: `metrics` and `baseline_metrics` that were measured of the model as a whole, each with value, low,
            high and draws; they join those of the rows. With `baseline_name` it holds the whole baseline.
        num_resamples: bootstrap resamples, >= 1.
        seed: of the resampling.

    Raises:
        ValueError: there are no rows, or the baseline has another number of them.
    """
    num_rows = len(next(iter(rows.values()), ()))
    if num_rows == 0:
        raise ValueError("there are no rows to evaluate; give a split with at least one")
    task = problem.task
    classes = list(problem.class_names())

    def measure(some: Rows) -> np.ndarray:
        scalars = list(problem.metrics(some).values())
        arrays = problem.class_metrics(some).values() if classes else []
        return np.concatenate([np.asarray(scalars, dtype=np.float64), *arrays])

    names = list(problem.metrics(rows))
    class_metrics = list(problem.class_metrics(rows)) if classes else []
    block = min(problem.resample_block(), num_rows)

    def resample(some: Rows) -> tuple[dict[str, Estimate], list[Estimate], np.ndarray]:
        """The estimates of the rows' metrics and of their classes', and the values on the resamples."""
        # The same seed draws the same rows of a network and of its baselines, which makes the pairs. A baseline can
        # lack some of the metrics: it has no quantiles, for example.
        present = list(problem.metrics(some))
        shares = [place for place, name in enumerate(present) if name in task.shares]
        found, values = _bootstrap(measure, some, num_resamples, seed, block, shares)
        return dict(zip(present, found, strict=False)), found[len(present) :], values

    metrics, class_estimates, samples = resample(rows)
    per_class = {
        label: {
            metric: class_estimates[position * len(classes) + index] for position, metric in enumerate(class_metrics)
        }
        for index, label in enumerate(classes)
    }
    results = Results(
        num_rows=num_rows,
        metrics=metrics,
        per_class=per_class,
        main_metric=task.main_metric,
        greater_is_better=task.greater_is_better,
        metric_names=dict(task.metric_names),
        resample_block=block,
    )
    if examination is not None:
        results.metrics |= _examined(examination.metrics)
    if baseline is not None:
        if len(next(iter(baseline.rows.values()))) != num_rows:
            raise ValueError(f"the baseline has {len(next(iter(baseline.rows.values())))} rows, the network {num_rows}")
        results.baseline_metrics, _, baseline_samples = resample(baseline.rows)
        results.baseline_name = baseline.name
        results.baseline_seconds = baseline.seconds
        for other in getattr(baseline, "others", []):
            metrics, _, _ = resample(other.rows)
            results.other_baselines.append({"name": other.name, "seconds": round(other.seconds, 1), "metrics": metrics})
    elif examination is not None and examination.baseline_name is not None:
        results.baseline_name = examination.baseline_name
        results.baseline_seconds = examination.baseline_seconds
        results.baseline_metrics = {}
    else:
        return results
    of_rows = list(results.baseline_metrics)
    if examination is not None:
        results.baseline_metrics |= _examined(examination.baseline_metrics)
    main = task.main_metric
    value = _difference(results.metrics[main].value, results.baseline_metrics[main].value)
    if main in of_rows:
        results.difference = _estimate(value, samples[:, names.index(main)] - baseline_samples[:, of_rows.index(main)])
    else:
        results.difference = _paired(value, examination.metrics[main].draws, examination.baseline_metrics[main].draws)
    results.verdict = _verdict(results)
    return results


def _paired(value: float | None, first: np.ndarray | None, second: np.ndarray | None) -> Estimate:
    """A difference of two values with bootstrap draws that are pairs: 1.96 of their standard deviations to either
    side."""
    if value is None or first is None or second is None:
        return Estimate(value, None, None)
    error = QUANTILE * float((first - second).std())
    return Estimate(value, value - error, value + error)


class _Drawn(Mapping):
    """Some of the rows, each column gathered only when it is asked for: metrics need few of those that figures do."""

    def __init__(self, rows: Rows, drawn: np.ndarray) -> None:
        self.rows, self.drawn = rows, drawn

    def __getitem__(self, name: str) -> np.ndarray:
        return self.rows[name][self.drawn]

    def __contains__(self, name: object) -> bool:
        return name in self.rows

    def __iter__(self) -> Iterator[str]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)


def _bootstrap(
    measure: Callable[[Rows], np.ndarray], rows: Rows, num_resamples: int, seed: int, block: int, shares: list[int]
) -> tuple[list[Estimate], np.ndarray]:
    """The estimate of each number that `measure` gives, and its values on the resamples, (num_resamples, numbers). The
    numbers at the places `shares` are shares of the rows."""
    values = measure(rows)
    num_rows = len(next(iter(rows.values())))
    generator = np.random.default_rng(seed)
    samples = np.empty((num_resamples, len(values)))
    for index in range(num_resamples):
        if block == 1:
            drawn = generator.integers(0, num_rows, num_rows)
        else:  # stretches, the last one cut, that go on at the first row behind the last
            firsts = generator.integers(0, num_rows, -(-num_rows // block))
            drawn = ((firsts[:, None] + np.arange(block)).ravel()[:num_rows]) % num_rows
        samples[index] = measure(_Drawn(rows, drawn))
    estimates = [_estimate(value, samples[:, index]) for index, value in enumerate(values)]
    for place in shares:
        found = estimates[place]
        if found.value is not None and found.low == found.high == found.value:
            estimates[place] = Estimate(found.value, *wilson_interval(found.value, num_rows))
    return estimates, samples


def wilson_interval(share: float, num_rows: int) -> tuple[float, float]:
    """The 95 % interval of a share of so many rows, which has a width at 0 and 1 too (Wilson 1927)."""
    square = QUANTILE**2 / num_rows
    middle = share + square / 2
    half = QUANTILE * math.sqrt(share * (1 - share) / num_rows + square / (4 * num_rows))
    return max(0.0, (middle - half) / (1 + square)), min(1.0, (middle + half) / (1 + square))


def _estimate(value: float | None, samples: np.ndarray) -> Estimate:
    samples = samples[np.isfinite(samples)]  # a class may be absent from a resample
    if value is None or not math.isfinite(value) or len(samples) == 0:
        return Estimate(None, None, None)
    low, high = np.quantile(samples, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(float(value), float(low), float(high))


def _examined(metrics: dict[str, Any]) -> dict[str, Estimate]:
    def finite(value: float | None) -> float | None:
        return float(value) if value is not None and math.isfinite(value) else None

    return {name: Estimate(*map(finite, (item.value, item.low, item.high))) for name, item in metrics.items()}


def _difference(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else first - second


def _verdict(results: Results) -> str:
    """One plain sentence: was the network worth it beside the baseline?"""
    metric = results.metric_names.get(results.main_metric, results.main_metric)
    network = results.metrics[results.main_metric].value
    classical = results.baseline_metrics[results.main_metric].value
    gap = results.difference
    if gap.value is None:
        return f"The network cannot be compared with {results.baseline_name}: {metric} is undefined on these rows."
    if gap.low is None or gap.high is None:
        better = (gap.value > 0) == results.greater_is_better
        return (
            f"{'The network' if better else results.baseline_name} is ahead on the same split, {metric} "
            f"{format_number(network)} against {format_number(classical)}; the difference has no interval."
        )
    low, high = format_number(gap.low, "+"), format_number(gap.high, "+")
    numbers = (
        f"{metric} {format_number(network)} against {format_number(classical)}, a difference of "
        f"{format_number(gap.value, '+')} (95 % interval {low} to {high})"
    )
    if gap.low <= 0 <= gap.high:
        return (
            f"No clear difference between the network and {results.baseline_name} on these {results.num_rows:,} rows: "
            f"{numbers}; the simpler method may be enough."
        )
    if (gap.low > 0) == results.greater_is_better:
        return f"The network was worth it: it beats {results.baseline_name} on the same split, {numbers}."
    return f"The network was not worth it: {results.baseline_name} beats it on the same split, {numbers}."


def _plain(estimates: dict[str, Estimate]) -> dict[str, dict[str, float | None]]:
    return {name: estimate.to_dict() for name, estimate in estimates.items()}


def _align(lines: list[list[str]]) -> str:
    widths = [max(len(line[index]) for line in lines) for index in range(len(lines[0]))]
    padded = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    padded.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(padded)
