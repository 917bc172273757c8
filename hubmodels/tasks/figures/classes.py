"""Figures of classes: the confusion matrix and the reliability diagram."""

from typing import TYPE_CHECKING, Any

import numpy as np

from ...figures import BLUE, GREY, ORANGE, house_style, new_figure
from ...formatting import shorten
from ...report import Figure
from ..targets.class_rows import NUM_BINS, calibration_bins, calibration_error, confusion_matrix

if TYPE_CHECKING:
    from ..contract.types import Rows


@house_style()
def confusion_figure(rows: "Rows", names: list[str]) -> Any:
    """Draw the confusion matrix, coloured by the share of each true class, with counts where they are readable."""
    num_classes = len(names)
    counts = confusion_matrix(rows, num_classes)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    readable = num_classes <= 20
    side = min(max(3.2, 0.46 * num_classes + 1.6), 10.0) if readable else 8.0
    figure, axes = new_figure(side + 0.8, side)
    # The square root lets a mistake of 1 % be seen beside a diagonal of 95 %.
    image = axes.imshow(np.sqrt(shares), cmap="Blues", vmin=0, vmax=1)
    ticks = range(0, num_classes, -(-num_classes // 50))
    labels = [shorten(names[index]) for index in ticks]
    size = 8 if readable else 6
    if max(map(len, labels)) <= 3:
        axes.set_xticks(ticks, labels, size=size)
    elif readable:
        axes.set_xticks(ticks, labels, size=size, rotation=45, ha="right", rotation_mode="anchor")
    else:
        axes.set_xticks(ticks, labels, size=size, rotation=90)
    axes.set_yticks(ticks, labels, size=size)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    if readable:
        font = 8 if counts.max() < 10_000 and num_classes <= 12 else 6
        for row, column in np.argwhere(counts > 0):
            color = "white" if shares[row, column] > 0.36 else "#262626"
            axes.text(column, row, f"{counts[row, column]}", ha="center", va="center", color=color, size=font)
    bar = figure.colorbar(image, ax=axes, shrink=0.7, pad=0.02, label="share of the true class")
    marks = np.array([0, 0.01, 0.1, 0.25, 0.5, 1])
    bar.set_ticks(np.sqrt(marks), labels=[f"{mark:.0%}" for mark in marks])
    bar.outline.set_visible(False)
    return figure


@house_style()
def reliability_figure(rows: "Rows") -> Any:
    """Draw accuracy against confidence in each bin, and how many rows each bin holds."""
    counts, hits, confidences = calibration_bins(rows)
    filled = counts > 0
    figure, (above, below) = new_figure(4.2, 4.6, 2, 1, sharex=True, gridspec_kw={"height_ratios": [4, 1]})
    accuracy, confidence = hits[filled] / counts[filled], confidences[filled] / counts[filled]
    centers = (np.arange(NUM_BINS)[filled] + 0.5) / NUM_BINS
    above.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--", label="perfectly calibrated")
    above.bar(centers, accuracy, width=0.92 / NUM_BINS, color=BLUE, alpha=0.85, label="accuracy in the bin")
    above.plot(confidence, confidence, linestyle="", marker="_", markersize=13, markeredgewidth=2, color=ORANGE,
               label="mean confidence in the bin")  # fmt: skip
    above.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy")
    above.grid(axis="y")
    title = f"expected calibration error {calibration_error(rows):.3f}"
    # Above the axes, since a bar may be anywhere inside.
    figure.legend(loc="outside upper left", title=title, alignment="left", title_fontsize=8)
    below.bar((np.arange(NUM_BINS) + 0.5) / NUM_BINS, counts / counts.sum(), width=0.92 / NUM_BINS, color=GREY)
    below.set(xlabel="confidence of the prediction", ylabel="share of rows", ylim=(0, None))
    below.grid(axis="y")
    return figure


def confusion_plot(rows: "Rows", names: list[str]) -> Figure:
    """Draw the confusion matrix with its sentence."""
    return Figure(
        name="confusion_matrix",
        caption="Confusion matrix on the test rows: true classes down, predicted classes across, coloured by the share "
        "of the true class.",
        figure=confusion_figure(rows, names),
    )


def reliability_plot(rows: "Rows") -> Figure:
    """Draw the reliability diagram with its sentence."""
    return Figure(
        name="reliability",
        caption="Accuracy against confidence in 15 bins on the test rows (above), and the share of the rows in each "
        f"(below). The expected calibration error is {calibration_error(rows):.3f}.",
        figure=reliability_figure(rows),
    )
