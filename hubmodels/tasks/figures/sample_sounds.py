"""Samples that are sounds, beside real ones: spectrograms to look at, and files to listen to."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from ...formatting import shorten
from ...report import Figure, Sound
from ..inputs.sounds import FULL_SCALE, FittedSounds
from .sounds import spectrogram_grid

REAL_COLUMNS, SAMPLE_COLUMNS, MAX_CLASSES = 3, 6, 10  # of the figure of samples
NEAREST_COLUMNS = 8
TRAJECTORIES, STATES = 4, 8  # rows and columns of the figure of how noise becomes samples
SOUNDS_A_FILE, PAUSE = 3, 0.2  # samples in one audio file, and seconds between them


@dataclass(kw_only=True)
class SoundFigures:
    """Draw samples as spectrograms, and join them to files.

    Sounds are (N, T) int16, labels (N,), None for a model that is told none."""

    sounds: FittedSounds
    names: list[str]  # of the classes

    @property
    def scale(self) -> str:
        """Say what the colours of a spectrogram mean."""
        return f"low bands below, {self.sounds.processor.dynamic_range:g} dB from black to white"

    def preview(self, draw: Callable[..., torch.Tensor], with_classes: bool) -> Figure:
        """Draw samples, `SAMPLE_COLUMNS` in a row, a row a class for a model that is told them.

        Args:
            draw: gives `count` samples of the classes `labels` (count,), None for a model that is told none.
            with_classes: whether it is told classes.
        """
        labels = torch.arange(min(len(self.names), MAX_CLASSES)).repeat_interleave(SAMPLE_COLUMNS)
        count = len(labels) if with_classes else 2 * SAMPLE_COLUMNS
        levels = self.sounds.levels(draw(count=count, labels=labels if with_classes else None))
        words = self._words(labels[::SAMPLE_COLUMNS]) if with_classes else []
        figure = spectrogram_grid(levels, [""] * count, SAMPLE_COLUMNS, self.sounds.processor.duration, words)
        return Figure("samples", "Spectrograms of samples, not chosen.", figure)

    def samples(self, samples: torch.Tensor, sounds: torch.Tensor, labels: torch.Tensor | None) -> Iterator[Figure]:
        """Draw real sounds and samples side by side, a row a class; nothing of classes that have too few."""
        groups = torch.zeros(len(samples), dtype=torch.int64) if labels is None else labels
        rows, classes = [], []
        for label in groups.unique()[:MAX_CLASSES].tolist():
            members = (groups == label).nonzero()[:, 0]
            if len(members) >= max(REAL_COLUMNS, SAMPLE_COLUMNS):
                rows.append(torch.cat([sounds[members[:REAL_COLUMNS]], samples[members[:SAMPLE_COLUMNS]]]))
                classes.append(label)
        if not rows:
            return
        ncols = REAL_COLUMNS + SAMPLE_COLUMNS
        titles = ["real"] * REAL_COLUMNS + ["sample"] * SAMPLE_COLUMNS + [""] * (ncols * (len(rows) - 1))
        words = [""] if labels is None else self._words(torch.tensor(classes))
        yield Figure(
            name="samples",
            caption=f"Spectrograms of {REAL_COLUMNS} test sounds and {SAMPLE_COLUMNS} samples"
            + ("" if labels is None else " of each class")
            + f", not chosen ({self.scale}).",
            figure=spectrogram_grid(
                self.sounds.levels(torch.cat(rows)), titles, ncols, self.sounds.processor.duration, words
            ),
        )

    def nearest(self, samples: torch.Tensor, nearest: torch.Tensor) -> Figure:
        """Draw samples, and below each its nearest training sound."""
        levels = self.sounds.levels(torch.cat([samples, nearest]))
        return Figure(
            name="nearest_training_sounds",
            caption=f"Samples (above) and the training sound nearest to each by the features (below; {self.scale}).",
            figure=spectrogram_grid(
                levels, [""] * len(levels), len(samples), self.sounds.processor.duration, ["samples", "nearest"]
            ),
        )

    def trajectories(self, states: torch.Tensor, labels: torch.Tensor | None) -> Figure:
        """Draw how noise becomes spectrograms.

        Args:
            states: (N, steps, M, frames), -1..1.
            labels: (N,).
        """
        levels = states.clamp(-1, 1).float().flatten(0, 1).cpu().numpy()
        words = [] if labels is None else self._words(labels)
        caption = "How noise becomes the spectrogram of a sample, from left to right."
        figure = spectrogram_grid(levels, [""] * len(levels), states.shape[1], self.sounds.processor.duration, words)
        return Figure("trajectories", caption, figure)

    def files(self, samples: torch.Tensor, sounds: torch.Tensor, labels: torch.Tensor | None) -> Iterator[Sound]:
        """Join of each class (at most 10) a few samples one after the other, and a test sound of each class."""
        if labels is None:
            yield Sound(
                "samples",
                f"{SOUNDS_A_FILE} samples",
                self._joined(samples[:SOUNDS_A_FILE]),
                self.sounds.processor.sampling_rate,
            )
            return
        classes = labels.unique()[:MAX_CLASSES].tolist()
        for label in classes:
            rows = samples[labels == label][:SOUNDS_A_FILE]
            caption = f"{self.names[label]}: {len(rows)} samples, not chosen"
            yield Sound(f"samples_{label}", caption, self._joined(rows), self.sounds.processor.sampling_rate)
        first = torch.stack([sounds[(labels == label).nonzero()[0, 0]] for label in classes])
        caption = f"For comparison, a test sound of each class: {', '.join(self.names[label] for label in classes)}"
        yield Sound("real", caption, self._joined(first), self.sounds.processor.sampling_rate)

    def _joined(self, sounds: torch.Tensor) -> np.ndarray:
        """Join sounds with a pause behind each."""
        pauses = torch.zeros(len(sounds), round(PAUSE * self.sounds.processor.sampling_rate), dtype=sounds.dtype)
        return torch.cat([sounds, pauses], dim=1).flatten().numpy() / FULL_SCALE

    def _words(self, labels: torch.Tensor) -> list[str]:
        return [shorten(self.names[label], 12) for label in labels.tolist()]
