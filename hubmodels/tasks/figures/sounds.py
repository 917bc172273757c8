"""Figures of sounds: grids of spectrograms."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...figures import house_style, new_figure
from ...formatting import shorten

if TYPE_CHECKING:
    from ..contract.types import Rows

NUM_MISTAKES = 12


def worst_mistakes(rows: "Rows") -> np.ndarray:
    """Return the row numbers of the most confident mistakes, the worst first; none where all is right."""
    wrong = np.flatnonzero(rows["predictions"] != rows["labels"])
    return wrong[np.argsort(-rows["confidences"][wrong], kind="stable")][:NUM_MISTAKES]


def mistakes_figure(rows: "Rows", mistakes: np.ndarray, levels: np.ndarray, names: list[str], duration: float) -> Any:
    """Draw spectrograms of mistakes.

    Args:
        rows: of the target.
        mistakes: row numbers (B,).
        levels: spectrograms (B, M, N) of these rows, -1..1.
        names: of the classes.
        duration: of a sound, in seconds.
    """
    titles = []
    for row in mistakes:
        true, predicted = (shorten(names[rows[name][row]], 12) for name in ("labels", "predictions"))
        titles.append(f"{true} → {predicted} ({rows['confidences'][row]:.0%})")
    return spectrogram_grid(levels, titles, min(6, max(3, len(mistakes))), duration)


@house_style()
def spectrogram_grid(
    levels: np.ndarray, titles: Sequence[str], ncols: int, duration: float, row_labels: Sequence[str] = ()
) -> Any:
    """Draw spectrograms in rows, each with its title; the first of a row may have a label.

    Args:
        levels: (B, M, N), -1..1.
        titles: B of them; "" for none.
        ncols: spectrograms in a row.
        duration: of a sound, in seconds.
        row_labels: of the first rows.
    """
    nrows = -(-len(levels) // ncols)
    width, height = 1.25, 1.15 if any(titles) else 0.95
    figure, grid = new_figure(width * max(ncols, 3) + 0.5, height * nrows + 0.4, nrows, ncols, squeeze=False)
    extent = (0, duration, 0, levels.shape[1])
    for axes in grid.flat:
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set_visible(False)
    for axes, one, title in zip(grid.flat, levels, titles, strict=False):
        axes.imshow(one, origin="lower", aspect="auto", cmap="magma", vmin=-1, vmax=1, extent=extent)
        axes.set_title(title, size=7, pad=3)
    for axes, label in zip(grid[:, 0], row_labels, strict=False):
        axes.set_ylabel(label, size=8, rotation=0, ha="right", va="center")
    corner = grid[-1, 0]
    corner.set_xticks([0, duration], ["0", f"{duration:g} s"], size=7)
    for label, side in zip(corner.get_xticklabels(), ("left", "right"), strict=True):
        label.set_ha(side)  # within the panel's width, which is that of all
    return figure
