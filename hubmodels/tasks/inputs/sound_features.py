"""Features of sounds, real ones or samples: of a named classifier, or principal components of spectrograms.

Everything is measured of waveforms, after a spectrogram has been turned into one: what the inversion spoils counts.
Sounds are (N, T) int16 of one rate, as they are stored.
"""

import logging
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from ...abilities import Samples
from ...errors import HubmodelsError, one_line
from ..contract.rows import model_device
from .sounds import FULL_SCALE, SOUNDS_AT_ONCE, FittedSounds

logger = logging.getLogger("hubmodels")

SILENCE = 1e-2  # of full scale: a sound whose largest sample is below this is silent
LEVEL_COMPONENTS = 32  # features where no classifier is named


class SoundClassifier:
    """Compute the features of an audio classifier, and its predictions.

    Args:
        path: a folder or Hub id of any checkpoint that `AutoModelForAudioClassification` loads.
        sampling_rate: of the sounds that will be given, in Hz.
        device: where it computes; the CPU when None.

    Raises:
        HubmodelsError: there is no such classifier.
    """

    def __init__(self, path: str | os.PathLike, sampling_rate: int, device: torch.device | None = None) -> None:
        from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

        try:
            model = AutoModelForAudioClassification.from_pretrained(path)
            self.extractor = AutoFeatureExtractor.from_pretrained(path)
        except (OSError, ValueError, TypeError) as error:
            reason = one_line(error, 200)
            raise HubmodelsError(f"audio_classifier: cannot load {path} as an audio classifier: {reason}") from None
        self.model = model.to(device or "cpu").eval()
        self.sampling_rate = sampling_rate

    @property
    def class_names(self) -> list[str]:
        """Return the classes in the order of their numbers."""
        return [str(name) for name in self.model.config.id2label.values()]

    def __call__(self, samples: torch.Tensor) -> np.ndarray:
        """Compute features (N, D) float64 of sounds (N, T) int16."""
        return self.recognise(samples)[0]

    def recognise(self, samples: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Compute features of sounds (N, T) int16, and their classes.

        Returns:
            The means of the last hidden state over time (and frequency), (N, D) float64, and the predicted classes
            (N,) int64.
        """
        features, classes = [], []
        for some in samples.split(SOUNDS_AT_ONCE):
            with torch.inference_mode():
                outputs = self.model(**self._prepared(some), output_hidden_states=True)
            hidden = outputs.hidden_states[-1]
            pooled = hidden.mean(dim=(2, 3)) if hidden.dim() == 4 else hidden.mean(dim=1)
            features.append(pooled.double().cpu().numpy())
            classes.append(outputs.logits.argmax(dim=1).cpu().numpy())
        return np.concatenate(features), np.concatenate(classes)

    def _prepared(self, samples: torch.Tensor) -> dict[str, torch.Tensor]:
        """Bring sounds to the classifier's rate and form."""
        from ...processors.processing_audio_wav import resample

        rate = self.extractor.sampling_rate
        waveforms = resample(samples.float() / FULL_SCALE, self.sampling_rate, rate).clamp(-1, 1)
        # A feature extractor may refuse silence, which a bad model can give: it is heard as faint noise.
        silent = waveforms.abs().amax(dim=1) < SILENCE
        noise = torch.rand(waveforms.shape, generator=torch.Generator().manual_seed(0)) - 0.5
        waveforms[silent] = 2 * SILENCE * noise[silent]
        inputs = self.extractor(list(waveforms.numpy()), sampling_rate=rate, return_tensors="pt", padding=True)
        weight = next(self.model.parameters())
        return {
            name: value.to(weight.device, weight.dtype if value.is_floating_point() else value.dtype)
            for name, value in inputs.items()
        }


class LevelComponents:
    """Compute the principal components of spectrograms as features, where no classifier is named.

    Args:
        samples: sounds (N, T) int16, to be fitted on.
        levels: makes spectrograms (N, M, frames) of sounds (`FittedSounds.levels`).
        seed: of the solver.
    """

    def __init__(self, samples: torch.Tensor, levels: Callable[[torch.Tensor], np.ndarray], seed: int = 0) -> None:
        from sklearn.decomposition import PCA

        self.levels = levels
        rows = self._rows(samples)
        self.model = PCA(min(LEVEL_COMPONENTS, *rows.shape), random_state=seed).fit(rows)

    @property
    def class_names(self) -> list[str]:
        """Return no classes."""
        return []

    def __call__(self, samples: torch.Tensor) -> np.ndarray:
        """Compute features (N, D) float64 of sounds (N, T) int16."""
        return self.model.transform(self._rows(samples)).astype(np.float64)

    def recognise(self, samples: torch.Tensor) -> tuple[np.ndarray, None]:
        """Compute features of sounds (N, T) int16.

        Returns:
            The features (N, D) float64, and no classes.
        """
        return self(samples), None

    def _rows(self, samples: torch.Tensor) -> np.ndarray:
        return self.levels(samples).reshape(len(samples), -1)


def make_extractor(
    classifier: str | None, sounds: FittedSounds, samples: torch.Tensor, device: torch.device, seed: int
) -> SoundClassifier | LevelComponents:
    """Load the named classifier, or fit principal components to the spectrograms of real sounds (N, T) int16."""
    if classifier is not None:
        return SoundClassifier(classifier, sounds.processor.sampling_rate, device)
    logger.info("Distances are between components of spectrograms: name a classifier with --audio_classifier")
    return LevelComponents(samples, sounds.levels, seed)


def sample_sounds(
    model: Samples, sounds: FittedSounds, count: int, seed: int, labels: torch.Tensor | None = None, **options: Any
) -> torch.Tensor:
    """Draw `count` samples of a model as sounds, (count, T) int16.

    Args:
        model: on any device.
        sounds: whose processor turns what the model gives into waveforms.
        count: how many, >= 1.
        seed: of the generator that they come from.
        labels: their classes (count,), for a model that is told them.
        **options: of the model's `sample`.
    """
    device = model_device(model)
    generator = torch.Generator(device=device).manual_seed(seed)
    samples = []
    for start in range(0, count, SOUNDS_AT_ONCE):
        if labels is not None:
            options["labels"] = labels[start : start + SOUNDS_AT_ONCE].to(device)
        number = min(SOUNDS_AT_ONCE, count - start)
        samples.append(model.sample(number, generator=generator, **options).float())
    return sounds.to_sounds(torch.cat(samples))
