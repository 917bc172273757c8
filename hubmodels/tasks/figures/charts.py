"""Figures of numbers, whatever they measure: shares, errors, curves."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...figures import BLUE, GREY, ORANGE, house_style, new_figure
from ...formatting import shorten


@house_style()
def shares_figure(names: Sequence[str], groups: Sequence[tuple[str, np.ndarray]]) -> Any:
    """Draw the share of each class, a bar a group: name -> shares (classes,) in 0..1.

    Of more than 40 classes these are the first ones."""
    names = [shorten(name, 16) for name in names][:40]
    figure, axes = new_figure(6.4, 3.0)
    width = 0.8 / len(groups)
    for number, (name, shares) in enumerate(groups):
        middles = np.arange(len(names)) + (number - (len(groups) - 1) / 2) * width
        axes.bar(middles, 100 * shares[: len(names)], width=width, label=name, alpha=0.9)
    axes.set_xticks(range(len(names)), names, rotation=35 if max(map(len, names)) > 3 else 0, ha="right")
    axes.set_ylabel("share, %")
    axes.grid(axis="y")
    figure.legend(loc="outside upper left", ncols=len(groups))
    return figure


@house_style()
def errors_figure(groups: Sequence[tuple[str, np.ndarray]], xlabel: str) -> Any:
    """Draw boxes of the rows' errors, one a group: quartiles and median, whiskers to the 5th and 95th percentile."""
    figure, axes = new_figure(5.6, max(1.6, 0.32 * len(groups) + 0.8))
    values = [errors for _, errors in groups][::-1]
    axes.boxplot(
        values, orientation="horizontal", whis=(5, 95), showfliers=False, patch_artist=True, widths=0.6,
        medianprops={"color": ORANGE, "linewidth": 1.6}, whiskerprops={"color": GREY}, capprops={"color": GREY},
        boxprops={"facecolor": BLUE, "edgecolor": BLUE, "alpha": 0.85},
    )  # fmt: skip
    axes.set_yticks(range(1, len(groups) + 1), [shorten(name, 24) for name, _ in groups][::-1])
    axes.set_xlabel(xlabel)
    axes.set_xlim(left=0)
    axes.grid(axis="x")
    return figure


@house_style()
def curves_figure(positions: np.ndarray, curves: Sequence[tuple[str, np.ndarray]], xlabel: str, ylabel: str) -> Any:
    """Draw lines with a point at each position: name -> values, one a position."""
    figure, axes = new_figure(5.6, 3.4)
    for name, values in curves:
        axes.plot(positions, values, marker="o", markersize=3.5, label=name)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.grid(axis="y")
    figure.legend(loc="outside upper left", ncols=len(curves))
    return figure
