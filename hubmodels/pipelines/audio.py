"""Pipelines on sounds: transformers' own, which do more for our models and stay as they were for others.

`pipeline("audio-classification", model=...)` reads files and changes their rate without ffmpeg and torchaudio.
`pipeline("text-to-audio", model=...)` draws by the name of a class.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from transformers.pipelines.audio_classification import AudioClassificationPipeline
from transformers.pipelines.text_to_audio import TextToAudioPipeline

from ..abilities import ReadsSounds, RestoresSounds, Samples, is_class_conditional
from ._answers import ProblemPipeline
from ._classes import check_sample_options, class_number

CHANNELS = 64  # of one sound, at most: more rows are more likely sounds of their own


class SoundClassificationPipeline(ProblemPipeline, AudioClassificationPipeline):
    """Give the likeliest classes of each sound: `[{"label": ..., "score": ...}, ...]`.

    A sound is a path, the bytes of a file, samples (of several channels their mean), or a mapping of `array` and
    `sampling_rate`."""

    tag = "audio-classification"

    def preprocess(self, inputs: Any) -> Any:
        fetched = isinstance(inputs, str) and inputs.startswith(("http://", "https://"))
        reads_sounds = isinstance(self.feature_extractor, ReadsSounds)
        if fetched or not reads_sounds:
            return super().preprocess(inputs)  # what it fetches it decodes with ffmpeg
        if not isinstance(inputs, str | os.PathLike | bytes | Mapping | Sequence | np.ndarray | torch.Tensor):
            raise ValueError(
                "a sound must be a path, the bytes of a file, samples, or a mapping of `array`, `sampling_rate`; got "
                f"{type(inputs).__name__}"
            )
        if isinstance(inputs, np.ndarray) and (inputs.ndim > 2 or (inputs.ndim == 2 and min(inputs.shape) > CHANNELS)):
            raise ValueError(
                f"a sound has the shape (samples,), or of at most {CHANNELS} channels (channels, samples), got "
                f"{inputs.shape}; give several sounds as a list"
            )
        return self.feature_extractor([inputs], return_tensors="pt").to(self.dtype)

    def postprocess(self, model_outputs: Any, top_k: int = 5, function_to_apply: str | None = None) -> Any:
        if function_to_apply is not None or not self.tells_classes:
            return super().postprocess(model_outputs, top_k, function_to_apply)
        return self.likeliest_classes(model_outputs, top_k)


class ClassToAudioPipeline(TextToAudioPipeline):
    """Draw a new sound of each class by name: `{"audio": array (samples,) in -1..1, "sampling_rate": Hz}`.

    A list of names gives a list of sounds. `seed` makes them repeatable. Every other keyword goes to the model's
    `sample` (`num_inference_steps`, `guidance_scale`, ...)."""

    # Not every model of the task has a tokenizer: ours has a feature extractor, which also turns spectrograms back.
    _load_tokenizer = _load_feature_extractor = None

    @property
    def draws(self) -> bool:
        """Tell whether the model samples, and its processor makes sounds of that."""
        return isinstance(self.model, Samples) and isinstance(self.feature_extractor, RestoresSounds)

    def __call__(self, text_inputs: str | int | list[str | int], **kwargs: Any) -> Any:
        """Draw sounds.

        Raises:
            ValueError: a class that there is not, or several names for a model that knows no classes.
        """
        if not self.draws:
            return super().__call__(text_inputs, **kwargs)
        names = text_inputs if isinstance(text_inputs, list) else [text_inputs]
        if not names:
            raise ValueError("give at least one class")
        # In a mapping, since a Pipeline takes a list for inputs to be run one by one.
        sounds = super().__call__({"names": names}, **kwargs)
        return sounds if isinstance(text_inputs, list) else sounds[0]

    def _sanitize_parameters(self, **kwargs: Any) -> tuple[dict, dict, dict]:
        if not self.draws:
            return super()._sanitize_parameters(**kwargs)
        check_sample_options(self.model, kwargs, "text-to-audio")
        return {}, {"seed": kwargs.pop("seed", None), "options": kwargs}, {}

    def preprocess(self, text: Any, **kwargs: Any) -> Any:
        if not self.draws:
            return super().preprocess(text, **kwargs)
        names = text["names"]
        if not is_class_conditional(self.model.config):
            return {"num_samples": len(names)}
        return {
            "num_samples": len(names),
            "labels": torch.tensor([class_number(self.model.config, name) for name in names]),
        }

    def _forward(self, model_inputs: Any, seed: int | None = None, options: dict | None = None, **kwargs: Any) -> Any:
        if not self.draws:
            return super()._forward(model_inputs, **kwargs)
        generator = None if seed is None else torch.Generator(device=self.device).manual_seed(seed)
        return {"values": self.model.sample(**model_inputs, generator=generator, **(options or {}))}

    def postprocess(self, audio: Any) -> Any:
        if not self.draws:
            return super().postprocess(audio)
        waveforms = self.feature_extractor.to_audio(audio["values"]).numpy()
        rate = self.feature_extractor.sampling_rate
        return [{"audio": waveform, "sampling_rate": rate} for waveform in waveforms]


PIPELINES = {
    "audio-classification": (SoundClassificationPipeline, "ForAudioClassification"),
    "text-to-audio": (ClassToAudioPipeline, "Model"),
}
