"""Pipelines on sounds: transformers' own `pipeline("audio-classification", model=...)`, which for our models reads wav
files and changes their rate without ffmpeg and torchaudio. For other models it is transformers' own as it was.
"""

from typing import Any

import numpy as np
from transformers.pipelines.audio_classification import AudioClassificationPipeline


class SoundClassificationPipeline(AudioClassificationPipeline):
    """Of each sound (a path or URL, the bytes of a wav file, samples, or a mapping of `array` and `sampling_rate`) the
    likeliest classes: `[{"label": ..., "score": ...}, ...]`."""

    def preprocess(self, inputs: Any) -> Any:
        if not hasattr(self.feature_extractor, "to_samples"):
            return super().preprocess(inputs)
        if isinstance(inputs, str) and inputs.startswith(("http://", "https://")):
            import httpx

            inputs = httpx.get(inputs, follow_redirects=True).raise_for_status().content
        if isinstance(inputs, np.ndarray) and inputs.ndim != 1:  # rows would be taken for sounds of their own
            raise ValueError(f"a sound must have the shape (samples,), got {inputs.shape}; give its channels' mean")
        return self.feature_extractor([inputs], return_tensors="pt").to(self.dtype)


PIPELINES = {"audio-classification": (SoundClassificationPipeline, "ForAudioClassification")}
