"""How near generated sounds are to real ones: what `sample_quality` needs of sounds, and what it cannot know of them.

Everything is measured of waveforms, after a spectrogram has been turned into one: what the inversion spoils counts.
Waveforms are (N, T) int16 at the rate of a processor, as it stores them.
"""

import os
from typing import Any

import numpy as np
import torch

from ..errors import HubmodelsError
from ..report import Estimate

BATCH = 250
NUM_RESAMPLES = 100
SILENCE = 1e-2  # of full scale: a sound whose largest sample is below this is silent


class SoundClassifier:
    """The features of an audio classifier, and its predictions.

    Args:
        path: a folder or Hub id of any checkpoint that `AutoModelForAudioClassification` loads.
        sampling_rate: of the sounds that will be given, in Hz.

    Raises:
        HubmodelsError: there is no such classifier.
    """

    def __init__(self, path: str | os.PathLike, sampling_rate: int, device: torch.device | None = None) -> None:
        from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

        try:
            model = AutoModelForAudioClassification.from_pretrained(path)
            self.extractor = AutoFeatureExtractor.from_pretrained(path)
        except (OSError, ValueError, TypeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise HubmodelsError(f"audio_classifier: cannot load {path} as an audio classifier: {reason}") from None
        self.model = model.to(device or "cpu").eval()
        self.sampling_rate = sampling_rate

    @property
    def class_names(self) -> list[str]:
        """The classes of `classify`, in its order."""
        return [str(name) for name in self.model.config.id2label.values()]

    def __call__(self, samples: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Of sounds (N, T) int16 the features (N, D) float64, which are the means of the last hidden state over time
        (and frequency), and the predicted classes (N,) int64."""
        from ..processors.processing_audio_wav import resample

        features, classes = [], []
        weight = next(self.model.parameters())
        for part in samples.split(BATCH):
            waveforms = resample(part.float() / 32767, self.sampling_rate, self.extractor.sampling_rate).clamp(-1, 1)
            # A feature extractor may refuse silence, which a bad model can give: it is heard as faint noise.
            silent = waveforms.abs().amax(dim=1) < SILENCE
            noise = torch.rand(waveforms.shape, generator=torch.Generator().manual_seed(0)) - 0.5
            waveforms[silent] = 2 * SILENCE * noise[silent]
            inputs = self.extractor(
                list(waveforms.numpy()), sampling_rate=self.extractor.sampling_rate, return_tensors="pt", padding=True
            )
            inputs = {
                name: value.to(weight.device, weight.dtype if value.is_floating_point() else value.dtype)
                for name, value in inputs.items()
            }
            with torch.inference_mode():
                outputs = self.model(**inputs, output_hidden_states=True)
            hidden = outputs.hidden_states[-1]
            pooled = hidden.mean(dim=(2, 3)) if hidden.dim() == 4 else hidden.mean(dim=1)
            features.append(pooled.double().cpu().numpy())
            classes.append(outputs.logits.argmax(dim=1).cpu().numpy())
        return np.concatenate(features), np.concatenate(classes)


class LevelComponents:
    """The principal components of spectrograms as features, where no classifier is named."""

    class_names: list[str] = []  # noqa: RUF012

    def __init__(self, samples: torch.Tensor, processor: Any, num_components: int = 32, seed: int = 0) -> None:
        from sklearn.decomposition import PCA

        self.processor = processor
        rows = self._rows(samples)
        self.model = PCA(min(num_components, *rows.shape), random_state=seed).fit(rows)

    def __call__(self, samples: torch.Tensor) -> tuple[np.ndarray, None]:
        """Features (N, D) float64, and no classes."""
        return self.model.transform(self._rows(samples)).astype(np.float64), None

    def _rows(self, samples: torch.Tensor) -> np.ndarray:
        from ._audio_figures import spectrogram_levels

        return spectrogram_levels(self.processor, samples).reshape(len(samples), -1)


def to_samples(values: torch.Tensor, processor: Any) -> torch.Tensor:
    """What a model gives, spectrograms or waveforms, as the processor's sounds, (N, T) int16 on the CPU."""
    parts = [processor.to_audio(part) for part in values.split(BATCH)]
    return (torch.cat(parts).cpu() * 32767).round().to(torch.int16)


def sample_sounds(
    model: Any, processor: Any, count: int, seed: int, labels: torch.Tensor | None = None, **options: Any
) -> torch.Tensor:
    """`count` samples of a model as sounds (count, T) int16, from a generator with this seed; of these classes (count,)
    where they are given; `options` go to the model's `sample`."""
    device = next(model.parameters()).device
    generator = torch.Generator(device=device).manual_seed(seed)
    parts = []
    for start in range(0, count, BATCH):
        if labels is not None:
            options["labels"] = labels[start : start + BATCH].to(device)
        parts.append(model.sample(min(BATCH, count - start), generator=generator, **options).float())
    return to_samples(torch.cat(parts), processor)


def mean_sounds(values: torch.Tensor, classes: torch.Tensor, wanted: torch.Tensor, seed: int) -> torch.Tensor:
    """The classical method: of each wanted class (N,) the mean of its training spectrograms plus noise of the standard
    deviation that they have at each place, (N, ...). Waveforms, whose mean is silence, become noise of their envelope.

    Args:
        values: training inputs (R, ...).
        classes: of these (R,); all of one class for a model without classes.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.empty(len(wanted), *values.shape[1:])
    for label in wanted.unique():
        chosen, own = wanted == label, values[classes == label]
        if not len(own):
            own = values
        noise = torch.randn(int(chosen.sum()), *values.shape[1:], generator=generator)
        drawn[chosen] = own.mean(dim=0) + own.std(dim=0, correction=0) * noise
    return drawn.clamp_min(-1)


def diversity(fake: np.ndarray, fake_classes: np.ndarray, real: np.ndarray, real_classes: np.ndarray) -> Estimate:
    """How far samples of a class are from each other, over how far real rows of the class are: the mean over the rows
    of the mean distance to the others of the class. About 1 for samples as different as real ones, near 0 for one
    sound a class. The interval is the bootstrap's over the rows.

    Args:
        fake, real: features (N, D) and (M, D).
        fake_classes, real_classes: (N,) and (M,).
    """
    first, second = _mean_distances(fake, fake_classes), _mean_distances(real, real_classes)
    if not len(first) or not len(second) or second.mean() == 0:
        return Estimate(float("nan"))
    generator = np.random.default_rng(0)

    def drawn(values: np.ndarray) -> float:
        return float(values[generator.integers(0, len(values), len(values))].mean())

    draws = [drawn(first) / drawn(second) for _ in range(NUM_RESAMPLES)]
    low, high = np.quantile(draws, [0.025, 0.975])
    return Estimate(float(first.mean() / second.mean()), float(low), float(high))


def _mean_distances(features: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Of each row that is not alone in its class the mean distance to the others of it."""
    parts = []
    for label in np.unique(classes):
        own = features[classes == label]
        if len(own) > 1:
            distances = np.sqrt(np.square(own[:, None] - own[None]).sum(axis=2))
            parts.append(distances.sum(axis=1) / (len(own) - 1))
    return np.concatenate(parts) if parts else np.empty(0)
