"""Figures of tabular models: importance of columns, partial dependence, residuals."""

from typing import Any

import numpy as np

from ..figures import BLUE, GREY, ORANGE, house_style, new_figure
from ..formatting import shorten

MAX_BARS = 20


@house_style()
def importance_figure(importances: list[tuple[str, np.ndarray]], metric: str) -> Any:
    """Bars of the mean over repeats, the strongest on top, with lines from the least to the greatest.

    Args:
        importances: (column, loss of the metric at each repeat), the strongest first.
        metric: its name for the axis.
    """
    shown = importances[:MAX_BARS][::-1]
    figure, axes = new_figure(5.6, max(1.8, 0.26 * len(shown) + 0.9))
    places = np.arange(len(shown))
    means = np.array([values.mean() for _, values in shown])
    axes.barh(places, means, color=BLUE, height=0.7)
    axes.hlines(places, [v.min() for _, v in shown], [v.max() for _, v in shown], color="#262626", linewidth=1)
    axes.set_yticks(places, [shorten(name, 30) for name, _ in shown])
    axes.axvline(0, color=GREY, linewidth=0.8)
    axes.set_xlabel(f"loss of {metric} when the column is shuffled")
    axes.grid(axis="x")
    return figure


@house_style()
def dependence_figure(curves: list[tuple[str, list, np.ndarray]], labels: list[str]) -> Any:
    """One panel a column: lines over numbers and dates, points over categories; a common vertical axis.

    Args:
        curves: (column, its values, predictions (values, lines)).
        labels: names of the lines; one label names the axis.
    """
    ncols = min(2, len(curves))
    nrows = -(-len(curves) // ncols)
    figure, grid = new_figure(3.4 * ncols + 0.4, 2.5 * nrows + 0.2, nrows, ncols, squeeze=False, sharey=True)
    for axes in grid.flat[len(curves) :]:
        axes.axis("off")
    for axes, (name, values, lines) in zip(grid.flat, curves, strict=False):
        texts = isinstance(values[0], str)
        for line, label in zip(lines.T, labels, strict=True):
            axes.plot(range(len(values)) if texts else values, line, label=shorten(label),
                      linestyle="" if texts else "-", marker="o", markersize=4 if texts else 2)  # fmt: skip
        if texts:
            axes.set_xticks(range(len(values)), [shorten(value, 14) for value in values], rotation=30, ha="right")
            axes.set_xlim(-0.5, len(values) - 0.5)
        else:
            axes.tick_params(axis="x", rotation=0 if isinstance(values[0], float | np.floating) else 30)
        axes.set_xlabel(shorten(name, 36))
        axes.grid(axis="y")
    for axes in grid[:, 0]:
        axes.set_ylabel(labels[0] if len(labels) == 1 else "mean probability")
    if len(labels) > 1:
        figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside upper left", ncols=min(4, len(labels)))
    return figure


@house_style()
def residual_figure(predictions: np.ndarray, targets: np.ndarray, name: str) -> Any:
    """Predicted against true values, and the errors' distribution beside a normal one of the same spread."""
    figure, (left, right) = new_figure(7.2, 3.3, 1, 2, gridspec_kw={"width_ratios": [3, 2]})
    low, high = float(min(predictions.min(), targets.min())), float(max(predictions.max(), targets.max()))
    left.hexbin(targets, predictions, gridsize=45, mincnt=1, bins="log", cmap="Blues", linewidths=0.1)
    left.plot([low, high], [low, high], color=ORANGE, linewidth=1.2)
    left.set(xlabel=f"true {shorten(name, 28)}", ylabel=f"predicted {shorten(name, 28)}")
    errors = predictions - targets
    edge = np.quantile(np.abs(errors), 0.995) or 1.0
    counts, edges, _ = right.hist(errors, bins=41, range=(-edge, edge), color=BLUE, alpha=0.85)
    centres = (edges[:-1] + edges[1:]) / 2
    spread = errors.std() or 1.0
    normal = np.exp(-((centres - errors.mean()) ** 2) / (2 * spread**2)) / (spread * np.sqrt(2 * np.pi))
    right.plot(centres, normal * len(errors) * (edges[1] - edges[0]), color=GREY, linewidth=1.2, label="normal")
    right.axvline(0, color=ORANGE, linewidth=1.2)
    right.set(xlabel="predicted - true", ylabel="rows")
    right.legend(loc="upper right")
    return figure
