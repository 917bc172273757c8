"""What an evaluation says, and whether the network was worth it beside a classical baseline.

The difference of both is bootstrapped in pairs: they are measured on the same resampled rows (see `bootstrap`).
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..formatting import align, format_number
from ..report import Baseline, Estimate, Examination
from .bootstrap import (
    WEIGHT,
    Bootstrap,
    Measured,
    MeasuredProblem,
    Rows,
    effective_rows,
    estimate_difference,
    estimate_value,
)


@dataclass
class Results:
    """Holds what an evaluation says: `to_dict` is what a release stores, `table` what a person reads."""

    num_rows: int
    metrics: dict[str, Estimate]
    per_class: dict[str, dict[str, Estimate]] = field(default_factory=dict)  # class -> metric -> estimate
    main_metric: str = ""
    greater_is_better: bool = True
    metric_names: dict[str, str] = field(default_factory=dict)
    baseline_name: str | None = None
    baseline_seconds: float | None = None
    baseline_metrics: dict[str, Estimate] | None = None  # None where no baseline was measured
    other_baselines: list[dict[str, Any]] = field(default_factory=list)  # name, seconds, metrics -> estimate
    difference: Estimate | None = None  # network minus baseline, of the main metric
    resample_block: int = 1  # neighbouring rows that the bootstrap drew together
    effective_rows: float | None = None  # of weighted rows: how many equal ones tell as much
    verdict: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Give plain numbers for JSON, without NaN."""
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
        if self.effective_rows is not None:
            result["effective_rows"] = round(self.effective_rows, 1)
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
            difference = self.difference or Estimate(None)
            result["difference"] = {"metric": self.main_metric, **difference.to_dict()}
            result["verdict"] = self.verdict
        return result

    def table(self, max_classes: int = 20) -> str:
        """Give the metrics with their intervals, beside the baseline, then the classes, as aligned text."""
        header = ["metric", "network"] + (["baseline"] if self.baseline_metrics is not None else [])
        lines = [header]
        for name, estimate in self.metrics.items():
            line = [self.metric_names.get(name, name), str(estimate)]
            if self.baseline_metrics is not None:
                line.append(str(self.baseline_metrics[name]) if name in self.baseline_metrics else "")
            lines.append(line)
        text = "\n".join(align(lines))
        if self.per_class:
            columns = list(next(iter(self.per_class.values())))
            lines = [["class", *(name.replace("_", " ") for name in columns)]]
            shown = list(self.per_class.items())[:max_classes]
            lines += [[name, *(str(estimates[column]) for column in columns)] for name, estimates in shown]
            text += "\n\n" + "\n".join(align(lines))
            if len(self.per_class) > max_classes:
                text += f"\n... and {len(self.per_class) - max_classes} more classes"
        text += f"\n\n{self.num_rows:,} rows; in brackets the 95 % bootstrap interval"
        if self.resample_block > 1:
            text += f" (of stretches of {self.resample_block} rows)"
        if self.effective_rows is not None:
            text += f"; rows are weighted and count as {self.effective_rows:,.0f} equal ones"
        if self.baseline_name:
            text += f"; baseline: {self.baseline_name}"
        for other in self.other_baselines:
            estimate = other["metrics"][self.main_metric]
            text += f"\n{other['name']}: {self.metric_names.get(self.main_metric, self.main_metric)} {estimate}"
        return text + (f"\n{self.verdict}" if self.verdict else "")


def evaluate(
    rows: Rows,
    problem: MeasuredProblem,
    baseline: Baseline | None = None,
    examination: Examination | None = None,
    num_resamples: int = 1000,
    seed: int = 0,
) -> Results:
    """Measure predictions, with intervals, beside a baseline on the same rows.

    Args:
        rows: what `predict` gave.
        problem: gives `metrics`, `class_metrics`, `class_names` and `resample_block`; its task `main_metric`,
            `greater_is_better`, `metric_names`, and `shares`, the metrics that are a share of the rows.
        baseline: a classical method on the same rows in the same order; None for none.
        examination: what was measured of the model as a whole; its metrics join those of the rows. With
            `baseline_name` it holds the whole baseline.
        num_resamples: bootstrap resamples, >= 1.
        seed: of the resampling.

    Raises:
        ValueError: there are no rows, or the baseline has another number of them.
    """
    evaluation = Evaluation(rows, problem, num_resamples, seed)
    if examination is not None:
        evaluation.add_examination(examination)
    if baseline is not None:
        evaluation.add_baseline(baseline)
    return evaluation.results


class Evaluation:
    """Measures the rows of a model once; what stands beside them joins the results as it comes.

    Args: as `evaluate` takes them.

    Raises:
        ValueError: there are no rows.
    """

    def __init__(self, rows: Rows, problem: MeasuredProblem, num_resamples: int = 1000, seed: int = 0) -> None:
        num_rows = count_rows(rows)
        if num_rows == 0:
            raise ValueError("there are no rows to evaluate; give a split with at least one")
        task = problem.task
        self.rows = dict(rows)
        self.bootstrap = Bootstrap(problem, num_rows, num_resamples, seed)
        self.network = self.bootstrap.measure(rows)
        self.classical: Measured | None = None
        self.examination: Examination | None = None
        self.results = Results(
            num_rows=num_rows,
            metrics=dict(self.network.metrics),
            per_class=self.network.per_class,
            main_metric=task.main_metric,
            greater_is_better=task.greater_is_better,
            metric_names=dict(task.metric_names),
            resample_block=self.bootstrap.block,
            effective_rows=effective_rows(rows) if WEIGHT in rows else None,
        )

    def add_examination(self, examination: Examination) -> None:
        """Add what was measured of the model as a whole; with a `baseline_name` it holds the whole baseline."""
        self.examination, results = examination, self.results
        results.metrics |= finite_estimates(examination.metrics)
        if examination.baseline_name is not None and results.baseline_metrics is None:
            results.baseline_name, results.baseline_seconds = examination.baseline_name, examination.baseline_seconds
            results.baseline_metrics = {}
        self.conclude()

    def add_baseline(self, baseline: Baseline) -> None:
        """Add a classical method on the same rows. Raises ValueError where it has another number of them."""
        weights = {name: self.rows[name] for name in (WEIGHT,) if name in self.rows}
        self.classical = add_baseline(self.results, self.bootstrap, baseline, weights)
        self.conclude()

    def conclude(self) -> None:
        """Compare the network with the baseline, where there is one, and say whether it was worth it."""
        results = self.results
        if results.baseline_metrics is None:
            return
        if self.examination is not None:
            results.baseline_metrics |= finite_estimates(self.examination.baseline_metrics)
        if results.main_metric not in results.metrics or results.main_metric not in results.baseline_metrics:
            return  # an examination that failed
        results.difference = compare(results, self.network, self.classical, self.examination)
        results.verdict = _verdict(results, results.baseline_metrics, results.difference)


def count_rows(rows: Rows) -> int:
    """Count the rows of predictions, 0 where there are no columns."""
    return len(next(iter(rows.values()), ()))


def add_baseline(
    results: Results, bootstrap: Bootstrap, baseline: Baseline, weights: dict[str, np.ndarray]
) -> Measured:
    """Measure a baseline, and the others that stand beside it, into the results; give what was measured of the first.

    `weights` holds the rows' weights as the network's rows have them, or nothing.

    Raises ValueError for another number of rows than the network's."""
    if count_rows(baseline.rows) != results.num_rows:
        raise ValueError(f"the baseline has {count_rows(baseline.rows)} rows, the network {results.num_rows}")
    for one in (baseline, *baseline.others):
        one.rows = {**one.rows, **weights}
    classical = bootstrap.measure(baseline.rows)
    results.baseline_metrics = dict(classical.metrics)
    results.baseline_name, results.baseline_seconds = baseline.name, baseline.seconds
    for other in baseline.others:
        metrics = bootstrap.measure(other.rows).metrics
        results.other_baselines.append({"name": other.name, "seconds": round(other.seconds, 1), "metrics": metrics})
    return classical


def compare(
    results: Results, network: Measured, classical: Measured | None, examination: Examination | None
) -> Estimate:
    """Estimate the network's main metric less the baseline's, from what measured both: the rows or the examination."""
    main = results.main_metric
    if classical is not None and main in classical.metrics:
        first, second = results.metrics[main].value, (results.baseline_metrics or {})[main].value
        value = None if first is None or second is None else first - second
        return estimate_value(value, network.draws[main] - classical.draws[main])
    examined = examination or Examination()
    return estimate_difference(
        finite_estimates(examined.metrics)[main], finite_estimates(examined.baseline_metrics)[main]
    )


def finite_estimates(metrics: dict[str, Estimate]) -> dict[str, Estimate]:
    """Give estimates without the numbers that are not finite, which JSON has not."""

    def finite(value: float | None) -> float | None:
        return float(value) if value is not None and math.isfinite(value) else None

    return {
        name: Estimate(finite(item.value), finite(item.low), finite(item.high), item.draws)
        for name, item in metrics.items()
    }


def _verdict(results: Results, baseline_metrics: dict[str, Estimate], gap: Estimate) -> str:
    """Say in one plain sentence whether the network was worth it beside the baseline."""
    metric = results.metric_names.get(results.main_metric, results.main_metric)
    network, classical = results.metrics[results.main_metric], baseline_metrics[results.main_metric]
    if gap.value is None or network.value is None or classical.value is None:
        return f"The network cannot be compared with {results.baseline_name}: {metric} is undefined on these rows."
    against = f"{metric} {format_number(network.value)} against {format_number(classical.value)}"
    if gap.low is None or gap.high is None:
        better = (gap.value > 0) == results.greater_is_better
        ahead = "The network" if better else results.baseline_name
        return f"{ahead} is ahead on the same split, {against}; the difference has no interval."
    low, high = format_number(gap.low, "+"), format_number(gap.high, "+")
    numbers = f"{against}, a difference of {format_number(gap.value, '+')} (95 % interval {low} to {high})"
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
