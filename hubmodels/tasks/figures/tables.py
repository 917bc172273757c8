"""Figures of tables: how much predictions owe to each column, and how they go with its values."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ...figures import BLUE, GREY, house_style, new_figure
from ...formatting import shorten
from ...report import Figure
from ..inputs.table_changes import IMPORTANCE_REPEATS, TableRows, dependence, has_dependence, importances

if TYPE_CHECKING:
    from ..contract.types import EncodedColumns, Predict, Rows
    from ..inputs.tables import FittedTables

MAX_BARS = 20
IMPORTANCE_ROWS = 2_000
DEPENDENCE_ROWS, DEPENDENCE_COLUMNS = 500, 4


class Averages(Protocol):
    """A target whose predictions have a mean, one number a line of a figure."""

    def mean_prediction(self, rows: "Rows") -> np.ndarray: ...

    def line_names(self) -> list[str]: ...


@house_style()
def importance_figure(importances: list[tuple[str, np.ndarray]], metric: str) -> Any:
    """Draw bars of the mean over repeats, the strongest on top, with lines from the least to the greatest.

    Args:
        importances: (column, loss of the metric at each repeat), the strongest first.
        metric: its name for the axis.
    """
    shown = importances[:MAX_BARS][::-1]
    figure, axes = new_figure(5.6, max(1.8, 0.26 * len(shown) + 0.9))
    heights = np.arange(len(shown))
    means = np.array([values.mean() for _, values in shown])
    axes.barh(heights, means, color=BLUE, height=0.7)
    axes.hlines(heights, [v.min() for _, v in shown], [v.max() for _, v in shown], color="#262626", linewidth=1)
    axes.set_yticks(heights, [shorten(name, 30) for name, _ in shown])
    axes.axvline(0, color=GREY, linewidth=0.8)
    axes.set_xlabel(f"loss of {metric} when the column is shuffled")
    axes.grid(axis="x")
    return figure


@house_style()
def dependence_figure(curves: list[tuple[str, list, np.ndarray]], labels: list[str]) -> Any:
    """Draw one panel a column: lines over numbers and dates, points over categories; a common vertical axis.

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


def column_figures(
    tables: "FittedTables",
    target: Averages,
    predict: "Predict",
    columns: "EncodedColumns",
    loss: "Callable[[Rows], float]",
    metric: str,
) -> Iterator[Figure]:
    """Draw the permutation importance of each column, and the partial dependence on the strongest.

    Args:
        tables: the fitted input.
        target: the fitted target.
        predict: makes of encoded rows what metrics need.
        columns: the encoded test rows.
        loss: of what `predict` gives, less is better: the main metric, or minus it.
        metric: its name in words.
    """
    order = np.random.default_rng(0).permutation(len(columns))
    rows = TableRows.take(columns, order[:IMPORTANCE_ROWS])
    growth = importances(tables, rows, predict, loss)
    names = sorted(growth, key=lambda name: -growth[name].mean())
    yield Figure(
        name="permutation_importance",
        caption=f"How much worse the {metric} becomes when one column is shuffled over {len(rows):,} test rows "
        f"({IMPORTANCE_REPEATS} times; the lines span them). Columns that say the same share their importance.",
        figure=importance_figure([(name, growth[name]) for name in names], metric),
    )
    rows = TableRows.take(columns, order[:DEPENDENCE_ROWS])
    strongest = [name for name in names if growth[name].mean() > 0 and has_dependence(tables, name)]
    curves = [
        (name, *dependence(tables, rows, predict, target.mean_prediction, name))
        for name in strongest[:DEPENDENCE_COLUMNS]
    ]
    if curves:
        yield Figure(
            name="partial_dependence",
            caption="Mean prediction when the column has this value in every row, all else as it is, over "
            f"{len(rows):,} test rows; the {len(curves)} strongest columns, numbers at even quantiles.",
            figure=dependence_figure(curves, target.line_names()),
        )
