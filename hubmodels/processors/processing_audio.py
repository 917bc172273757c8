"""Sounds of any length and rate -> `input_values` of one length: waveforms, or log-mel spectrograms, and back.

Two steps, so that a data set can be stored as 16-bit samples and turned into features on the device later:

    samples = processor.to_samples(sounds)            # (B, T) int16: one channel, rate, loudness, length
    values = processor.to_values(samples)             # waveforms (B, T) in -1..1, or spectrograms (B, bands, frames)

and `processor(sounds)["input_values"]` is exactly the second. `to_audio` goes back to waveforms: from a spectrogram by
non-negative least squares from bands to frequencies (Lee and Seung 2001), and phases by the fast Griffin-Lim algorithm
(Perraudin et al. 2013, "A fast Griffin-Lim algorithm", with momentum 0.99). This file goes to the Hub as code.
"""

import functools
import math
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from transformers.audio_utils import mel_filter_bank
from transformers.feature_extraction_utils import BatchFeature, FeatureExtractionMixin

from .processing_audio_wav import open_audio, resample, to_mono

# B batch, T samples, N num_frames, F frequencies, M mel bands

FULL_SCALE = 32767  # of 16-bit samples
SILENCE = 1e-4  # a sound whose largest sample is below this (-80 dB) is silent, and stays so
LONG = 60.0  # seconds: of a longer sound only what the model sees is read, and its loudness is that of this part
GRIFFIN_LIM_STEPS = 32
MOMENTUM = 0.99


class HubmodelsAudioFeatureExtractor(FeatureExtractionMixin):
    """Turns sounds into the tensors that an audio model takes.

    Args:
        sampling_rate: of the model, in Hz; sounds of another rate are resampled.
        duration: of the model's input, in seconds. Shorter sounds are padded with silence, longer ones cut.
        alignment: where a sound of another length lies: `center`, or `start` (padded and cut at its end).
        loudness: `peak` brings the largest sample to `loudness_level`, `rms` the root mean square (before padding, and
            never so far that a sample leaves -1..1), `none` leaves it as it is.
        loudness_level: in dB below full scale, at most 0.
        features: `log_mel` or `waveform`.
        num_mel_bins: bands of a spectrogram, on Slaney's scale.
        n_fft: window of a spectrogram, in samples (Hann).
        hop_length: from one frame to the next, in samples.
        min_frequency, max_frequency: what the bands span, in Hz; half of the rate when None.
        dynamic_range: how far below `reference_level` the values reach, in dB; quieter is the same as silence, -1.
        reference_level: the level in dB that becomes 1; `fit_reference` finds it on training data.

    Raises:
        ValueError: a field outside of these ranges.
    """

    model_input_names = ["input_values"]  # noqa: RUF012 - transformers' own form
    padding_value = 0.0  # transformers' pipelines ask for it before they join sounds to a batch

    def __init__(
        self,
        sampling_rate: int = 16_000,
        duration: float = 1.0,
        alignment: str = "center",
        loudness: str = "peak",
        loudness_level: float = -1.0,
        features: str = "log_mel",
        num_mel_bins: int = 40,
        n_fft: int = 512,
        hop_length: int = 160,
        min_frequency: float = 20.0,
        max_frequency: float | None = None,
        dynamic_range: float = 60.0,
        reference_level: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.sampling_rate, self.duration, self.alignment = sampling_rate, duration, alignment
        self.loudness, self.loudness_level = loudness, loudness_level
        self.features, self.num_mel_bins, self.n_fft, self.hop_length = features, num_mel_bins, n_fft, hop_length
        self.min_frequency, self.max_frequency = min_frequency, max_frequency
        self.dynamic_range, self.reference_level = dynamic_range, reference_level
        self._check()

    def to_dict(self) -> dict[str, Any]:
        """Return what the file holds: the fields, and the class by which AutoProcessor finds this feature extractor
        before it tries the image processors of the model's family."""
        return super().to_dict() | {"processor_class": type(self).__name__}

    def _check(self) -> None:
        choices = {
            "alignment": ("center", "start"),
            "loudness": ("peak", "rms", "none"),
            "features": ("log_mel", "waveform"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}")
        for name in ("sampling_rate", "num_mel_bins", "n_fft", "hop_length"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be an integer of at least 1, got {value!r}")
        for name in ("duration", "dynamic_range"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise ValueError(f"{name} must be greater than 0, got {getattr(self, name)}")
        if not self.loudness_level <= 0:
            raise ValueError(f"loudness_level is in dB below full scale, at most 0, got {self.loudness_level}")
        if self.features == "waveform":
            return
        top = self.sampling_rate / 2 if self.max_frequency is None else self.max_frequency
        if not 0 <= self.min_frequency < top <= self.sampling_rate / 2:
            raise ValueError(
                f"the bands must lie in 0..{self.sampling_rate / 2:g} Hz (half of the rate), got "
                f"{self.min_frequency:g} to {top:g}"
            )
        if self.hop_length > self.n_fft // 2 or self.num_samples < self.n_fft:
            raise ValueError(
                f"hop_length must be at most half of n_fft, and n_fft at most {self.num_samples} samples (duration), "
                f"got {self.hop_length} and {self.n_fft}"
            )
        if not (self._filters() > 0).any(axis=0).all():
            raise ValueError(
                f"with n_fft {self.n_fft} some of the {self.num_mel_bins} bands hold no frequency; take fewer "
                f"num_mel_bins or a larger n_fft"
            )

    @property
    def num_samples(self) -> int:
        """Return T: the length of a waveform."""
        return max(1, round(self.duration * self.sampling_rate))

    @property
    def num_frames(self) -> int:
        """Return N: the length of a spectrogram."""
        return max(1, self.num_samples // self.hop_length)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Return the shape of one row of `input_values`: (num_mel_bins, num_frames) or (num_samples,)."""
        return (self.num_mel_bins, self.num_frames) if self.features == "log_mel" else (self.num_samples,)

    # ---------------------------------------------------------------- sounds -> tensors

    def __call__(
        self,
        raw_speech: Any,
        sampling_rate: int | None = None,
        return_tensors: str | None = None,
        **kwargs: Any,
    ) -> BatchFeature:
        """Prepare one sound or several.

        Args:
            raw_speech: a sound, or a list of sounds. A sound is the path or the bytes of a file; samples (T,), or
                within a list (channels, T), as an array or tensor, floating-point ones in -1..1; a list of numbers; or
                a mapping with `array` and `sampling_rate`, or with `bytes` or `path`, as `datasets` has it. An array
                (B, T) is a batch.
            sampling_rate: of the arrays, in Hz; the model's own when None.
            return_tensors: "pt" or "np"; a list of arrays by default.
            **kwargs: what callers pass to all feature extractors alike (padding, truncation, ...); the length is fixed.

        Returns:
            `input_values`, float32, (B, num_mel_bins, num_frames) or (B, num_samples).

        Raises:
            ValueError: what was given is no sound, or is empty, or its rate is none.
        """
        values = self.to_values(torch.from_numpy(self.to_samples(raw_speech, sampling_rate)))
        data = {"input_values": values if return_tensors == "pt" else list(values.numpy())}
        return BatchFeature(data=data, tensor_type=return_tensors)

    def to_samples(self, sounds: Any, sampling_rate: int | None = None) -> np.ndarray:
        """Map sounds (see `__call__`) -> samples of one channel, rate, loudness and length, (B, num_samples) int16."""
        if (isinstance(sounds, np.ndarray | torch.Tensor) and sounds.ndim == 1) or _is_one_sound(sounds):
            sounds = [sounds]
        rows = [self._samples(sound, sampling_rate) for sound in sounds]
        if not rows:
            raise ValueError("no sound was given: the list is empty")
        return np.stack(rows)

    def _samples(self, sound: Any, sampling_rate: int | None) -> np.ndarray:
        usual = self.sampling_rate if sampling_rate is None else sampling_rate
        waveform, rate = load_sound(sound, usual, self.used_samples)
        waveform = resample(torch.from_numpy(waveform.copy()), rate, self.sampling_rate).numpy()
        return np.rint(self._fit_length(self.set_loudness(waveform)) * FULL_SCALE).astype(np.int16)

    def used_samples(self, count: int, rate: int) -> tuple[int, int]:
        """Return from where to where `count` samples of a sound at `rate` Hz are read: all of them, unless it is long.

        Of a long sound it is the part that the model sees, and a tenth of a second around it."""
        if count <= rate * max(LONG, 2 * self.duration):
            return 0, count
        seen, margin = math.ceil(self.duration * rate), math.ceil(rate / 10)
        if self.alignment == "start":
            return 0, seen + margin
        start = (count - seen) // 2 - margin
        return start, start + seen + 2 * margin

    def set_loudness(self, waveform: np.ndarray) -> np.ndarray:
        """Return samples (T,) brought to the processor's loudness, within -1..1; silence stays."""
        peak = float(np.abs(waveform).max())
        if self.loudness == "none" or peak < SILENCE:
            return np.clip(waveform, -1, 1)
        level = 10 ** (self.loudness_level / 20)
        factor = level / (peak if self.loudness == "peak" else float(np.sqrt(np.square(waveform).mean())))
        return np.clip(waveform * min(factor, 1 / peak), -1, 1)

    def _fit_length(self, waveform: np.ndarray) -> np.ndarray:
        missing = self.num_samples - len(waveform)
        before = missing // 2 if self.alignment == "center" else 0
        if missing < 0:
            start = -before if self.alignment == "center" else 0
            return waveform[start : start + self.num_samples]
        return np.pad(waveform, (before, missing - before))

    def to_values(self, samples: torch.Tensor) -> torch.Tensor:
        """Map samples (B, num_samples), int16 or floating-point in -1..1, on any device -> `input_values`, float32."""
        waveforms = samples.float() / FULL_SCALE if not samples.is_floating_point() else samples.float()
        return waveforms if self.features == "waveform" else self._scale(self.mel_levels(waveforms))

    # ---------------------------------------------------------------- spectrograms

    def mel_levels(self, waveforms: torch.Tensor) -> torch.Tensor:
        """Map waveforms (B, T) -> the level of each band and frame in dB, (B, M, N)."""
        power = self._stft(waveforms)[..., : self.num_frames].abs().square()  # (B, F, N)
        filters = torch.from_numpy(self._filters()).to(power)  # (F, M)
        mel = torch.einsum("bfn,fm->bmn", power, filters)
        return 10 * mel.clamp_min(1e-10).log10()

    def fit_reference(self, levels: torch.Tensor) -> None:
        """Take as `reference_level` what one value in a thousand of the training data's levels in dB exceeds."""
        values = levels.flatten()
        rank = max(1, round(0.999 * values.numel()))
        self.reference_level = round(float(values.kthvalue(rank).values), 3)

    def _scale(self, levels: torch.Tensor) -> torch.Tensor:
        """Map dB -> -1 (silence) to 1 (the reference) and, rarely, a little more."""
        return (1 + 2 * (levels - self.reference_level) / self.dynamic_range).clamp_min(-1)

    def to_audio(
        self,
        input_values: torch.Tensor,
        num_iterations: int = GRIFFIN_LIM_STEPS,
        generator: torch.Generator | None = None,
    ) -> torch.Tensor:
        """Return what `to_values` gives, back to waveforms (B, num_samples) float32 in -1..1, at the processor's
        loudness.

        Args:
            input_values: (B, num_mel_bins, num_frames) or (B, num_samples).
            num_iterations: of Griffin-Lim, >= 0.
            generator: of the phases that it starts from; always the same ones when None.

        Raises:
            ValueError: another shape.
        """
        if input_values.ndim != 1 + len(self.input_shape) or input_values.shape[1:] != self.input_shape:
            raise ValueError(
                f"input_values must have the shape (batch, {', '.join(map(str, self.input_shape))}), got "
                f"{tuple(input_values.shape)}"
            )
        values = input_values.detach().float()
        if self.features == "log_mel":
            values = self._griffin_lim(self._magnitudes(values), num_iterations, generator)
        rows = [self.set_loudness(row) for row in values.cpu().numpy()]
        return torch.from_numpy(np.stack(rows)) if rows else values.cpu()

    def _magnitudes(self, values: torch.Tensor) -> torch.Tensor:
        """Map spectrograms (B, M, N) -> magnitudes of each frequency (B, F, N): a non-negative power whose bands are
        the given ones, from a flat start by multiplicative updates."""
        levels = (values - 1) * self.dynamic_range / 2 + self.reference_level
        mel = torch.where(values > -1, 10 ** (levels / 10), 0.0)  # the lowest value is silence
        filters = torch.from_numpy(self._filters()).to(mel)  # (F, M)
        mel_power = torch.einsum("fm,bmn->bfn", filters, mel)
        power = mel_power / filters.sum(dim=1).clamp_min(1e-10).square()[None, :, None]
        for _ in range(50):
            bands = torch.einsum("bfn,fm->bmn", power, filters)
            power = power * mel_power / torch.einsum("fm,bmn->bfn", filters, bands).clamp_min(1e-20)
        return power.sqrt()

    def _griffin_lim(
        self, magnitudes: torch.Tensor, num_iterations: int, generator: torch.Generator | None
    ) -> torch.Tensor:
        """Return waveforms (B, T) whose spectrograms have about these magnitudes (B, F, N)."""
        missing = self.num_samples // self.hop_length + 1 - self.num_frames  # the last frame, which has no room
        magnitudes = torch.nn.functional.pad(magnitudes, (0, missing))
        generator = generator or torch.Generator().manual_seed(0)
        turns = torch.rand(magnitudes.shape, generator=generator, device=generator.device).to(magnitudes.device)
        phases, before = torch.polar(torch.ones_like(turns), 2 * math.pi * turns), 0.0
        for _ in range(num_iterations):
            rebuilt = self._stft(self._inverse(magnitudes * phases))
            phases = rebuilt - before * (MOMENTUM / (1 + MOMENTUM))
            phases = phases / phases.abs().clamp_min(1e-12)
            before = rebuilt
        return self._inverse(magnitudes * phases)

    def _stft(self, waveforms: torch.Tensor) -> torch.Tensor:
        window = torch.hann_window(self.n_fft, device=waveforms.device)
        return torch.stft(
            waveforms, self.n_fft, self.hop_length, window=window, center=True, pad_mode="constant", return_complex=True
        )

    def _inverse(self, spectrum: torch.Tensor) -> torch.Tensor:
        window = torch.hann_window(self.n_fft, device=spectrum.device)
        return torch.istft(spectrum, self.n_fft, self.hop_length, window=window, center=True, length=self.num_samples)

    def _filters(self) -> np.ndarray:
        """Return how much of each frequency's power is in each band, (F, M) float32."""
        top = self.sampling_rate / 2 if self.max_frequency is None else self.max_frequency
        return _filter_bank(self.n_fft, self.num_mel_bins, self.min_frequency, top, self.sampling_rate)


@functools.lru_cache(maxsize=16)
def _filter_bank(n_fft: int, num_bands: int, low: float, high: float, rate: int) -> np.ndarray:
    import warnings

    with warnings.catch_warnings():  # an empty band is an error of ours, which says what to do
        warnings.simplefilter("ignore")
        filters = mel_filter_bank(n_fft // 2 + 1, num_bands, low, high, rate, norm="slaney", mel_scale="slaney")
    return filters.astype(np.float32)


def load_sound(
    sound: Any, sampling_rate: int, used: Callable[[int, int], tuple[int, int]] | None = None
) -> tuple[np.ndarray, int]:
    """Return one sound (see `HubmodelsAudioFeatureExtractor.__call__`) as samples (T,) float32 in -1..1, and its rate
    in Hz.

    Args:
        sound: whatever holds one.
        sampling_rate: the rate of what does not say its own.
        used: from where to where so many samples at such a rate are read; all when None.

    Raises:
        ValueError: it is none, or has no samples.
    """
    if isinstance(sound, Mapping):
        if sound.get("array") is not None or sound.get("raw") is not None:
            sampling_rate = sound.get("sampling_rate", sampling_rate)
            sound = sound["array"] if sound.get("array") is not None else sound["raw"]
        else:
            sound = sound["bytes"] if sound.get("bytes") is not None else sound.get("path")
    if sound is None:
        raise ValueError("the audio is missing")
    if isinstance(sound, bytearray | memoryview):
        sound = bytes(sound)
    if isinstance(sound, bytes | str | os.PathLike):
        reader = open_audio(sound)
        try:
            start, stop = (0, reader.frames) if used is None else used(reader.frames, reader.rate)
            samples = reader.read(start, stop).clip(-1, 1)  # floating-point files may go beyond
        finally:
            reader.file.close()
        if samples.size == 0:
            raise ValueError("the audio is empty: it has no samples")
        return to_mono(samples), _check_rate(reader.rate)
    rate = _check_rate(sampling_rate)
    samples = sound.detach().cpu().float().numpy() if isinstance(sound, torch.Tensor) else np.asarray(sound)
    if used is not None and samples.ndim in (1, 2) and samples.size:
        axis = int(np.argmax(samples.shape))
        start, stop = used(samples.shape[axis], rate)
        samples = samples.take(range(start, stop), axis=axis) if stop - start < samples.shape[axis] else samples
    return to_mono(samples), rate


def _check_rate(rate: Any) -> int:
    if isinstance(rate, bool) or int(rate) != rate or not 1 <= rate <= 1_000_000:
        raise ValueError(f"sampling_rate must be a whole number of Hz from 1 to 1,000,000, got {rate}")
    return int(rate)


def _is_one_sound(sounds: Any) -> bool:
    """Tell whether this is a sound and not a list of sounds: also a list of numbers."""
    if isinstance(sounds, Iterator):
        return False
    return not isinstance(sounds, list | tuple | np.ndarray | torch.Tensor) or (
        len(sounds) > 0 and isinstance(sounds[0], int | float | np.number)
    )


__all__ = ["HubmodelsAudioFeatureExtractor"]
