"""Figures of latents: maps, codes, anomalies."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...figures import BLUE, GREY, ORANGE, house_style, new_figure
from ...formatting import shorten

# Okabe and Ito's colours without the grey, then darker ones that go between them; from 13 classes on a colour map.
CLASS_COLORS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#8C6D31", "#332288", "#999999",
                "#882255", "#B3B000", "#44AA99")  # fmt: skip


def latent_map(latents: np.ndarray, seed: int) -> np.ndarray:
    """Bring latents (N, L) to the plane by t-SNE (van der Maaten and Hinton 2008), (N, 2).

    It begins at their principal components. Where L is 2, they stay as they are."""
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
    """Draw points (N, 2) coloured by class, each class's name at its middle; in one colour without classes."""
    classes = [number for number in range(len(names)) if (labels == number).any()]
    figure, axes = new_figure(6.4, 5.4)
    axes.set_aspect("equal", adjustable="datalim")
    axes.axis("off")
    if not classes:
        axes.scatter(*points.T, s=7, color=BLUE, alpha=0.6, linewidths=0)
        return figure
    import matplotlib.patheffects as effects
    from matplotlib import colormaps

    colors: Sequence[Any] = CLASS_COLORS
    if len(classes) > len(colors):
        colors = [colormaps["turbo"](value) for value in np.linspace(0.05, 0.95, len(classes))]
    for color, number in zip(colors, classes, strict=False):
        axes.scatter(*points[labels == number].T, s=8, color=color, alpha=0.75, linewidths=0)
    for color, number in zip(colors, classes, strict=False):
        middle = np.median(points[labels == number], axis=0)
        text = axes.text(*middle, shorten(names[number]), color=color, size=9, weight="bold", ha="center",
                         va="center")  # fmt: skip
        text.set_path_effects([effects.withStroke(linewidth=3, foreground="white")])
    return figure


@house_style()
def codes_figure(counts: np.ndarray) -> Any:
    """Draw how often each code of a codebook occurs, the most frequent first, beside the even share."""
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
def roc_figure(curves: Sequence[tuple[str, np.ndarray]], anomalous: np.ndarray) -> Any:
    """Draw ROC curves of anomaly scores (N,): name -> scores."""
    from sklearn.metrics import roc_curve

    figure, axes = new_figure(4.2, 4.0)
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--")
    for name, scores in curves:
        false_rates, true_rates, _ = roc_curve(anomalous, scores)
        axes.plot(false_rates, true_rates, label=name)
    axes.set(xlabel="normal rows above the threshold", ylabel="anomalies above the threshold", xlim=(0, 1), ylim=(0, 1))
    axes.set_aspect("equal")
    axes.grid()
    axes.legend(loc="lower right")
    return figure
