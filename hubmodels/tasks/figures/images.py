"""Figures of images: mistakes, grids."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ...figures import house_style, new_figure
from ...formatting import shorten

if TYPE_CHECKING:
    from ..contract.types import EncodedColumns, Rows

MISTAKE_SIDE = 64  # larger images are averaged down to this many pixels a side in the figure of mistakes


@house_style()
def mistakes_figure(rows: "Rows", columns: "EncodedColumns", names: list[str]) -> Any:
    """Draw the 18 most confident mistakes, the worst first."""
    import torch
    from torch.nn.functional import avg_pool2d

    wrong = np.flatnonzero(rows["predictions"] != rows["labels"])
    worst = wrong[np.argsort(-rows["confidences"][wrong], kind="stable")][:18]
    pixels = columns.batch(torch.from_numpy(worst))["pixel_values"].float()
    block = math.ceil(max(pixels.shape[2:]) / MISTAKE_SIDE)
    images = avg_pool2d(pixels, block, ceil_mode=True).byte().permute(0, 2, 3, 1).numpy()
    ncols = min(6, len(worst))
    nrows = math.ceil(len(worst) / ncols)
    figure, grid = new_figure(1.35 * max(ncols, 2), 1.72 * nrows, nrows, ncols, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for axes, row, image in zip(grid.flat, worst, images, strict=False):
        axes.imshow(image[..., 0] if image.shape[-1] == 1 else image, cmap="gray", vmin=0, vmax=255)
        true, predicted = (shorten(names[rows[name][row]], 16) for name in ("labels", "predictions"))
        axes.set_title(f"{true}\n→ {predicted} ({rows['confidences'][row]:.0%})", size=7, pad=3)
    return figure
