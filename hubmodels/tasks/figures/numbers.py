"""Figures of numbers: predictions against the truth."""

from typing import Any

import numpy as np

from ...figures import BLUE, GREY, ORANGE, house_style, new_figure
from ...formatting import shorten
from ...report import Figure


@house_style()
def residual_figure(predictions: np.ndarray, targets: np.ndarray, name: str) -> Any:
    """Draw predicted against true values, and the errors beside a normal distribution of the same spread."""
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


def residual_plot(name: str, target: str, predictions: np.ndarray, targets: np.ndarray) -> Figure:
    """Draw predicted against true values of a target with their sentence.

    Args:
        name: of the figure's file.
        target: the target's name in words.
        predictions, targets: (N,).
    """
    return Figure(
        name=name,
        caption=f"Predicted against true {target} on the test rows (left; darker is more rows, the line is a "
        "perfect prediction), and the errors beside a normal distribution of their spread (right).",
        figure=residual_figure(predictions, targets, target),
    )
