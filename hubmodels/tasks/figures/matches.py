"""Figures of matches: recall, and images with their nearest texts."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...figures import BLUE, GREEN, GREY, ORANGE, house_style, new_figure
from ...formatting import shorten
from ...report import Figure

LARGEST_K = 100  # of the figure of recall


@house_style()
def recall_figure(ranks: Mapping[str, np.ndarray]) -> Any:
    """Draw the recall among the k nearest against k, a line each, and that by chance."""
    count = len(next(iter(ranks.values())))
    k = np.arange(1, min(count, LARGEST_K) + 1)
    figure, axes = new_figure(4.6, 3.2)
    for (name, values), colour in zip(ranks.items(), (BLUE, ORANGE), strict=True):
        axes.plot(k, [(values <= number).mean() for number in k], color=colour, label=name)
    axes.plot(k, k / count, color=GREY, linestyle="--", label="chance")
    axes.set_xlabel("k")
    axes.set_ylabel("recall@k")
    axes.set_ylim(0, 1)
    axes.set_xlim(1, max(2, len(k)))
    axes.legend(loc="lower right")
    return figure


def recall_plot(ranks: Mapping[str, np.ndarray]) -> Figure:
    """Draw the recall with its sentence; `ranks` are of image to text and of text to image, (N,) each."""
    count = len(next(iter(ranks.values())))
    return Figure(
        name="recall",
        caption=f"Share of the {count:,} test pairs whose text (or image) is among the k nearest to its image (or "
        "text), against k; grey: by chance.",
        figure=recall_figure(ranks),
    )


@house_style()
def nearest_texts_figure(images: np.ndarray, texts: Sequence[Sequence[tuple[str, bool]]]) -> Any:
    """Draw images, and below each the texts that are nearest to it; those of pairs are bold.

    Args:
        images: (B, H, W, C) uint8.
        texts: of each image, the nearest first, and whether it is its own.
    """
    ncols = min(4, len(images))
    nrows = math.ceil(len(images) / ncols)
    figure, grid = new_figure(1.9 * max(ncols, 2), 2.5 * nrows, nrows, ncols, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for axes, image, lines in zip(grid.flat, images, texts, strict=False):
        axes.imshow(image[..., 0] if image.shape[-1] == 1 else image, cmap="gray", vmin=0, vmax=255)
        for line, (text, is_pair) in enumerate(lines):
            axes.text(
                0.5, -0.06 - 0.13 * line, shorten(text, 26), transform=axes.transAxes, ha="center", va="top",
                size=7, weight="bold" if is_pair else "normal", color=GREEN if is_pair else "black",
            )  # fmt: skip
    return figure
