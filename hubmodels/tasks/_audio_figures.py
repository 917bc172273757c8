"""Figures of sounds: grids of spectrograms."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..figures import house_style, new_figure


def spectrogram_levels(processor: Any, samples: Any) -> np.ndarray:
    """What a figure shows of samples (B, T): (B, M, N), -1 (silence) to 1, also where the model sees waveforms."""
    import torch

    waveforms = samples.float() / 32767 if samples.dtype == torch.int16 else samples.float()
    levels = processor.mel_levels(waveforms)
    top = processor.reference_level if processor.features == "log_mel" else float(levels.max())
    return (1 + 2 * (levels - top) / processor.dynamic_range).clamp(-1, 1).numpy()


@house_style()
def spectrogram_grid(
    levels: np.ndarray, titles: Sequence[str], ncols: int, processor: Any, row_labels: Sequence[str] = ()
) -> Any:
    """Spectrograms (B, M, N) of -1..1 in rows of `ncols`, each with its title; the first of a row may have a label."""
    nrows = -(-len(levels) // ncols)
    width, high = 1.25, 1.15 if any(titles) else 0.95
    figure, grid = new_figure(width * max(ncols, 3) + 0.5, high * nrows + 0.4, nrows, ncols, squeeze=False)
    extent = (0, processor.duration, 0, levels.shape[1])
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
    corner.set_xticks([0, processor.duration], ["0", f"{processor.duration:g} s"], size=7)
    for label, side in zip(corner.get_xticklabels(), ("left", "right"), strict=True):
        label.set_ha(side)  # within the panel's width, which is that of all
    return figure
