"""Figures of whole series."""

from typing import TYPE_CHECKING, Any

import numpy as np

from ...figures import CYCLE, house_style, new_figure
from ...formatting import shorten
from ...report import Figure

if TYPE_CHECKING:
    from ..contract.types import EncodedColumns, Rows

NUM_EXAMPLES, MAX_CLASSES, MAX_CHANNELS = 3, 12, 4


@house_style()
def class_examples_figure(rows: "Rows", columns: "EncodedColumns", names: list[str]) -> Any:
    """Draw the first series of each class, a class a panel, a colour a channel."""
    import torch

    classes = [label for label in range(len(names)) if (rows["labels"] == label).any()][:MAX_CLASSES]
    ncols = min(3, len(classes))
    nrows = -(-len(classes) // ncols)
    figure, grid = new_figure(2.4 * ncols + 0.6, 1.5 * nrows + 0.3, nrows, ncols, squeeze=False, sharex=True)
    for axes in grid.flat[len(classes) :]:
        axes.axis("off")
    for axes, label in zip(grid.flat, classes, strict=False):
        numbers = np.flatnonzero(rows["labels"] == label)[:NUM_EXAMPLES]
        batch = columns.batch(torch.from_numpy(numbers))
        for values, observed, length in zip(batch["values"], batch["observed"], batch["length"], strict=True):
            shown = values.where(observed.bool(), torch.nan)[:length]
            for channel in range(min(shown.shape[1], MAX_CHANNELS)):
                axes.plot(shown[:, channel], color=CYCLE[channel], linewidth=0.9, alpha=0.8)
        axes.set_title(shorten(names[label]), size=8, pad=3)
    for axes in grid[-1]:
        axes.set_xlabel("step")
    return figure


def class_examples_plot(rows: "Rows", columns: "EncodedColumns", names: list[str], num_channels: int) -> Figure:
    """Draw series of each class with their sentence."""
    channels = min(num_channels, MAX_CHANNELS)
    return Figure(
        name="examples",
        caption=f"The first {NUM_EXAMPLES} test series of each class, z-scored"
        + (f", their first {channels} channels by colour." if channels > 1 else "."),
        figure=class_examples_figure(rows, columns, names),
    )
