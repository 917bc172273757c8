"""Figures of images: rows of pictures with words beside them, maps of latents, bars of codes."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..figures import BLUE, GREY, ORANGE, house_style, new_figure
from ..formatting import shorten

GAP = 14  # a picture's width over the white gap beside it
PICTURE_SIDE = 64  # larger pictures are averaged down to about this many pixels a side
# Okabe and Ito's colours without the grey, then darker ones that go between them; from 13 classes on a colour map.
CLASS_COLORS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#8C6D31", "#332288", "#999999",
                "#882255", "#B3B000", "#44AA99")  # fmt: skip


def mosaic(grid: np.ndarray) -> np.ndarray:
    """Pictures (R, K, C, H, W) in 0..1 as one picture (height, width, 3), a white gap between them."""
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
        for place in range(K):
            top, left = row * (H + gap), place * (W + gap)
            result[top : top + H, left : left + W] = grid[row, place].transpose(1, 2, 0)
    return result.clip(0, 1)


def extent(picture: np.ndarray) -> tuple[float, float, float, float]:
    """The axes' limits that give each pixel of a picture (height, width, 3) its number as its middle."""
    return -0.5, picture.shape[1] - 0.5, picture.shape[0] - 0.5, -0.5


@house_style()
def picture_rows(
    grid: np.ndarray, row_names: Sequence[str] = (), column_names: Sequence[str] = (), width: float = 7.2
) -> Any:
    """Rows of pictures with a word left of each row and above each column.

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


def latent_map(latents: np.ndarray, seed: int) -> np.ndarray:
    """Latents (N, L) in the plane by t-SNE (van der Maaten and Hinton 2008), (N, 2), begun at their principal
    components; as they are where L is 2."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    if latents.shape[1] <= 2 or len(latents) < 5:
        return np.pad(latents[:, :2], ((0, 0), (0, max(0, 2 - latents.shape[1]))))
    if latents.shape[1] > 50:  # as its authors do
        latents = PCA(min(50, len(latents)), random_state=seed).fit_transform(latents)
    perplexity = min(30.0, (len(latents) - 1) / 3)
    return TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(latents)


@house_style()
def map_figure(points: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> Any:
    """Points (N, 2) coloured by class, each class's name at its middle; grey where there are no classes."""
    classes = [number for number in range(len(names)) if (labels == number).any()]
    figure, axes = new_figure(6.4, 5.4)
    axes.set_aspect("equal", adjustable="datalim")
    axes.axis("off")
    if not classes:
        axes.scatter(*points.T, s=7, color=BLUE, alpha=0.6, linewidths=0)
        return figure
    import matplotlib.patheffects as effects
    from matplotlib import colormaps

    colors = CLASS_COLORS
    if len(classes) > len(colors):
        colors = [colormaps["turbo"](value) for value in np.linspace(0.05, 0.95, len(classes))]
    for place, number in enumerate(classes):
        mine = points[labels == number]
        axes.scatter(*mine.T, s=8, color=colors[place], alpha=0.75, linewidths=0)
    for place, number in enumerate(classes):
        middle = np.median(points[labels == number], axis=0)
        text = axes.text(*middle, shorten(names[number]), color=colors[place], size=9, weight="bold", ha="center",
                         va="center")  # fmt: skip
        text.set_path_effects([effects.withStroke(linewidth=3, foreground="white")])
    return figure


@house_style()
def codes_figure(counts: np.ndarray) -> Any:
    """How often each code of a codebook occurs, the most frequent first, beside the even share."""
    shares = np.sort(counts / counts.sum())[::-1] * 100
    figure, axes = new_figure(6.4, 2.8)
    axes.fill_between(np.arange(len(shares) + 1), np.append(shares, shares[-1]), step="post", color=BLUE, alpha=0.85)
    even = 100 / len(shares)
    axes.axhline(even, color=ORANGE, linewidth=1.4)
    axes.annotate("all alike", (len(shares), even), xytext=(0, 3), textcoords="offset points", ha="right",
                  color=ORANGE, size=8)  # fmt: skip
    axes.set(xlabel="code, the most frequent first", ylabel="share of all codes, %")
    axes.set(xlim=(0, len(shares)), ylim=(0, None))
    axes.grid(axis="y")
    return figure


@house_style()
def shares_figure(names: Sequence[str], groups: Sequence[tuple[str, np.ndarray]]) -> Any:
    """The share of each class, a bar a group: name -> shares (classes,) in 0..1. At most 40 classes, the first ones."""
    names = [shorten(name, 16) for name in names][:40]
    figure, axes = new_figure(6.4, 3.0)
    width = 0.8 / len(groups)
    for place, (name, shares) in enumerate(groups):
        middles = np.arange(len(names)) + (place - (len(groups) - 1) / 2) * width
        axes.bar(middles, 100 * shares[: len(names)], width=width, label=name, alpha=0.9)
    axes.set_xticks(range(len(names)), names, rotation=35 if max(map(len, names)) > 3 else 0, ha="right")
    axes.set_ylabel("share, %")
    axes.grid(axis="y")
    figure.legend(loc="outside upper left", ncols=len(groups))
    return figure


@house_style()
def errors_figure(groups: Sequence[tuple[str, np.ndarray]], xlabel: str) -> Any:
    """Boxes of the rows' errors, one a group: the quartiles, whiskers to the 5th and 95th percentile, the median."""
    figure, axes = new_figure(5.6, max(1.6, 0.32 * len(groups) + 0.8))
    values = [errors for _, errors in groups][::-1]
    parts = axes.boxplot(
        values, orientation="horizontal", whis=(5, 95), showfliers=False, patch_artist=True, widths=0.6,
        medianprops={"color": ORANGE, "linewidth": 1.6}, whiskerprops={"color": GREY}, capprops={"color": GREY},
        boxprops={"facecolor": BLUE, "edgecolor": BLUE, "alpha": 0.85},
    )  # fmt: skip
    assert parts["boxes"]
    axes.set_yticks(range(1, len(groups) + 1), [shorten(name, 24) for name, _ in groups][::-1])
    axes.set_xlabel(xlabel)
    axes.set_xlim(left=0)
    axes.grid(axis="x")
    return figure


@house_style()
def roc_figure(curves: Sequence[tuple[str, np.ndarray]], anomalous: np.ndarray) -> Any:
    """ROC curves of anomaly scores (N,): name -> scores."""
    from sklearn.metrics import roc_curve

    figure, axes = new_figure(4.2, 4.0)
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--")
    for name, scores in curves:
        false, true, _ = roc_curve(anomalous, scores)
        axes.plot(false, true, label=name)
    axes.set(xlabel="normal rows above the threshold", ylabel="anomalies above the threshold", xlim=(0, 1), ylim=(0, 1))
    axes.set_aspect("equal")
    axes.grid()
    axes.legend(loc="lower right")
    return figure


@house_style()
def curves_figure(places: np.ndarray, curves: Sequence[tuple[str, np.ndarray]], xlabel: str, ylabel: str) -> Any:
    """Lines with a point at each place: name -> values, the same length as `places`."""
    figure, axes = new_figure(5.6, 3.4)
    for name, values in curves:
        axes.plot(places, values, marker="o", markersize=3.5, label=name)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.grid(axis="y")
    figure.legend(loc="outside upper left", ncols=len(curves))
    return figure
