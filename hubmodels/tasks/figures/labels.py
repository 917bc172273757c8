"""Figures of several labels a row: precision and recall of each, and how far decisions can be trusted."""

from typing import TYPE_CHECKING, Any

import numpy as np

from ...figures import BLUE, GREY, ORANGE, house_style, new_figure
from ...formatting import shorten
from ...report import Figure
from ..targets.class_rows import calibration_error
from ..targets.label_rows import flat_rows, label_scores
from .classes import reliability_figure

if TYPE_CHECKING:
    from ..contract.types import Rows

MAX_LABELS = 30  # in the figure


@house_style()
def label_figure(rows: "Rows", names: list[str]) -> Any:
    """Draw precision and recall of each label, the best F1 on top, beside the share of rows that have it."""
    scores = label_scores(rows)
    order = np.argsort(-np.nan_to_num(scores["f1"], nan=-1.0), kind="stable")[:MAX_LABELS][::-1]
    heights = np.arange(len(order))
    figure, (left, right) = new_figure(
        6.4, max(1.8, 0.26 * len(order) + 1.0), 1, 2, sharey=True, gridspec_kw={"width_ratios": [3, 1]}
    )
    left.hlines(heights, scores["precision"][order], scores["recall"][order], color=GREY, linewidth=1)
    left.plot(scores["precision"][order], heights, "o", color=BLUE, markersize=4, label="precision")
    left.plot(scores["recall"][order], heights, "o", color=ORANGE, markersize=4, label="recall")
    left.set_yticks(heights, [shorten(names[index], 26) for index in order])
    left.set(xlim=(-0.02, 1.02), xlabel="precision and recall")
    left.grid(axis="x")
    right.barh(heights, rows["labels"].mean(axis=0)[order], color=GREY, height=0.7)
    right.set_xlabel("share of rows")
    figure.legend(*left.get_legend_handles_labels(), loc="outside upper left", ncols=2)
    return figure


def label_plot(rows: "Rows", names: list[str]) -> Figure:
    """Draw precision and recall of each label with their sentence."""
    return Figure(
        name="labels",
        caption="Precision and recall of each label on the test rows (left; the best F1 on top), and the share "
        "of the rows that have it (right).",
        figure=label_figure(rows, names),
    )


def label_reliability_plot(rows: "Rows") -> Figure:
    """Draw the reliability diagram of all decisions, row by row and label by label, with its sentence."""
    decisions = flat_rows(rows)
    return Figure(
        name="reliability",
        caption="Share of right decisions against their confidence in 15 bins, each label of each test row a "
        "decision (above), and the share of the decisions in each (below). The expected calibration error is "
        f"{calibration_error(decisions):.3f}.",
        figure=reliability_figure(decisions),
    )
