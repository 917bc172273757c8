"""Figures of pictures: rows of them with words beside."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...figures import house_style, new_figure
from ...report import Figure

GAP = 14  # a picture's width over the white gap beside it
PICTURE_SIDE = 64  # larger pictures are averaged down to about this many pixels a side


def mosaic(grid: np.ndarray) -> np.ndarray:
    """Join pictures (R, K, C, H, W) in 0..1 to one picture (height, width, 3), a white gap between them."""
    R, K, C, H, W = grid.shape
    block = max(1, -(-max(H, W) // PICTURE_SIDE))
    if block > 1:
        grid = grid[..., : H // block * block, : W // block * block]
        grid = grid.reshape(R, K, C, H // block, block, W // block, block).mean(axis=(4, 6))
        H, W = grid.shape[3:]
    grid = np.broadcast_to(grid, (R, K, 3, H, W)) if C == 1 else grid
    gap = max(1, W // GAP)
    result = np.ones((R * (H + gap) - gap, K * (W + gap) - gap, 3))
    for row in range(R):
        for column in range(K):
            top, left = row * (H + gap), column * (W + gap)
            result[top : top + H, left : left + W] = grid[row, column].transpose(1, 2, 0)
    return result.clip(0, 1)


def extent(picture: np.ndarray) -> tuple[float, float, float, float]:
    """Return the axes' limits that give each pixel of a picture (height, width, 3) its number as its middle."""
    return -0.5, picture.shape[1] - 0.5, picture.shape[0] - 0.5, -0.5


@house_style()
def picture_rows(
    grid: np.ndarray, row_names: Sequence[str] = (), column_names: Sequence[str] = (), width: float = 7.2
) -> Any:
    """Draw rows of pictures with a word left of each row and above each column.

    Args:
        grid: (R, K, C, H, W) in 0..1.
        row_names: R words, or none.
        column_names: K words, or none.
        width: of the figure in inches.
    """
    picture = mosaic(grid)
    beside = 0.07 * max(map(len, row_names), default=0)
    above = 0.25 if any(column_names) else 0.0
    height = (width - beside) * picture.shape[0] / picture.shape[1]
    figure, axes = new_figure(width, height + above + 0.05)
    # Enlarged first, as a scale of 2.4 would make every second pixel wider than its neighbours.
    axes.imshow(picture.repeat(4, axis=0).repeat(4, axis=1), interpolation="hanning", extent=extent(picture))
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=0, pad=4)
    R, K = grid.shape[:2]
    middles = [(np.arange(count) + 0.5) * side / count for count, side in zip((R, K), picture.shape[:2], strict=True)]
    axes.set_yticks(middles[0] if row_names else [], row_names or [])
    axes.set_xticks(middles[1] if column_names else [], column_names or [], size=7.5)
    axes.xaxis.tick_top()
    return figure


def samples_plot(samples: np.ndarray, num_rows: int, words: Sequence[str], caption: str) -> Figure:
    """Draw samples (N, C, H, W) in bytes in as many rows, with a word left of each."""
    grid = samples.reshape(num_rows, -1, *samples.shape[1:]) / 255
    return Figure("samples", caption, picture_rows(grid, words))


def neighbours_plot(samples: np.ndarray, nearest: np.ndarray, num_images: int) -> Figure:
    """Draw samples (N, C, H, W) in bytes in two rows, below each the nearest of `num_images` training images."""
    num_columns = max(1, len(samples) // 2)
    blocks = [images[: 2 * num_columns].reshape(2, num_columns, *images.shape[1:]) for images in (samples, nearest)]
    grid = np.stack([blocks[0][0], blocks[1][0], blocks[0][1], blocks[1][1]]) / 255
    return Figure(
        name="neighbours",
        caption=f"Samples, and below each the nearest of {num_images:,} training images in the features.",
        figure=picture_rows(grid, ["sample", "nearest"] * 2),
    )
