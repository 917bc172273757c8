"""Sounds: one a row, stored as 16-bit samples of one rate, loudness and length."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ...errors import HubmodelsError, one_line
from ...fields import option
from ...progress import without_bars
from ..contract.columns import kind_of
from ..contract.parts import FittedInput, Input
from .sound_files import AUDIO_NAMES, audio_column, read_sounds, sound_batches, survey_sounds, unreadable_sounds

if TYPE_CHECKING:
    import datasets
    import numpy as np
    import pyarrow
    import torch

    from ..contract.types import Batch, RawRows, Rows, Transform

LONGEST, MIN_FITTED = 30.0, 0.05  # seconds that a fitted duration may have
WINDOW, HOP = 0.048, 0.0125  # seconds of a spectrogram's window and step where the options say nothing
MAX_FITTED = 2_000  # training sounds that the reference level is taken from
FULL_SCALE = 32_767  # of a stored sample
SOUNDS_AT_ONCE = 250  # that are turned from spectrograms into waveforms


@dataclass(kw_only=True)
class Sounds(Input):
    """Holds the options of reading sounds, and of what is done to waveforms in training."""

    decided_fields: ClassVar[tuple[str, ...]] = ("data", "num_mel_bins", "num_frames")

    audio_column_name: str | None = option(None, "column of the sounds; the only audio column when absent")
    sampling_rate: int | None = option(None, "of the model, in Hz; the usual one of the training sounds when absent")
    duration: float | None = option(
        None, "of the model's input, in seconds; what 98 % of the training sounds do not exceed when absent"
    )
    audio_alignment: Literal["center", "start"] = option(
        "center", "where a sound lies that is shorter than duration; what is longer is cut"
    )
    loudness: Literal["peak", "rms", "none"] = option("peak", "what is brought to one level: peak, rms, or none")
    audio_features: Literal["log_mel", "waveform"] = option("log_mel", "what the model sees of a sound")
    num_mel_bins: int | None = option(None, "log_mel: bands of a spectrogram, >= 1; 40 when absent")
    n_fft: int | None = option(None, "log_mel: samples of a window; 48 ms when absent")
    hop_length: int | None = option(None, "log_mel: samples from one frame to the next; 12.5 ms when absent")
    time_shift: float = option(0.0, "augmentation: largest shift, as a share of duration, in [0, 1)")
    speed: float = option(0.0, "augmentation: largest change of speed and pitch, as a share, >= 0")

    def __post_init__(self) -> None:
        for name in ("sampling_rate", "duration", "num_mel_bins", "n_fft", "hop_length"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be greater than 0, got {value}")
        if not 0 <= self.time_shift < 1:
            raise ValueError(f"time_shift must be at least 0 and below 1, got {self.time_shift}")
        if not self.speed >= 0:
            raise ValueError(f"speed must be at least 0, got {self.speed}")

    def claims(self, features: "datasets.Features") -> list[str]:
        """Name the column of sounds: the chosen one, else the only one of sounds."""
        return [audio_column(features, self.audio_column_name)]

    def undecoded(self, dataset: "datasets.Dataset", columns: list[str]) -> "datasets.Dataset":
        """Leave the sounds as bytes or paths."""
        import datasets

        feature = dataset.features[columns[0]]
        if isinstance(feature, datasets.Audio) and not feature.decode:
            return dataset
        plain = {"large_string": "string", "large_binary": "binary"}.get(kind_of(feature))
        if plain is not None:  # which alone Arrow casts to sounds
            with without_bars():
                dataset = dataset.cast_column(columns[0], datasets.Value(plain))
        return dataset.cast_column(columns[0], datasets.Audio(decode=False))

    def unreadable(
        self, dataset: "datasets.Dataset", columns: list[str], targets: Sequence[str] = ()
    ) -> dict[int, str]:
        """Find the rows whose sound cannot be opened or has no samples, with the reason; headers alone are read."""
        return unreadable_sounds(dataset, columns[0])

    def fit(self, train: "datasets.Dataset", columns: list[str]) -> "FittedSounds":
        """Fit a feature extractor with the options; what they leave open is taken from the training sounds."""
        return self.bind(self.fit_processor(train, columns[0]))

    def fit_processor(self, train: "datasets.Dataset", column: str) -> Any:
        """Fit rate, duration and the reference level of spectrograms to the training sounds."""
        import numpy as np

        from ...processors.processing_audio import HubmodelsAudioFeatureExtractor

        survey = survey_sounds(train, column)
        rate = self.sampling_rate or survey.usual_rate
        usual = max(MIN_FITTED, math.ceil(float(np.percentile(survey.lengths, 98)) * 20) / 20)
        duration = self.duration or min(LONGEST, usual)
        survey.say(rate, duration, self.audio_alignment)
        processor = HubmodelsAudioFeatureExtractor(
            sampling_rate=rate,
            duration=duration,
            alignment=self.audio_alignment,
            loudness=self.loudness,
            loudness_level=-20.0 if self.loudness == "rms" else -1.0,
            features=self.audio_features,
            num_mel_bins=self.num_mel_bins or 40,
            n_fft=self.n_fft or min(2 * math.ceil(WINDOW * rate / 2), max(2, round(duration * rate))),
            hop_length=self.hop_length or max(1, round(HOP * rate)),
        )
        if self.audio_features == "log_mel":

            def levels(samples: "torch.Tensor") -> "torch.Tensor":
                return processor.mel_levels(samples.float() / FULL_SCALE)

            processor.fit_reference(compute_of_first(train, column, processor.to_samples, levels, "Sound levels"))
        return processor

    def bind(self, processor: Any) -> "FittedSounds":
        """Take a feature extractor as it is."""
        return FittedSounds(options=self, processor=processor)

    def load(self, path: str, **kwargs: Any) -> "FittedSounds":
        """Take the feature extractor of a checkpoint; the network was built for it: other options are refused."""
        from ...processors.processing_audio import HubmodelsAudioFeatureExtractor

        try:
            processor = HubmodelsAudioFeatureExtractor.from_pretrained(path, **kwargs)
        except (OSError, ValueError, TypeError) as error:
            reason = one_line(error, 200)
            raise HubmodelsError(
                f"no usable feature extractor (preprocessor_config.json) at {path}: {reason}"
            ) from error
        for name in ("sampling_rate", "duration", "num_mel_bins", "n_fft", "hop_length"):
            if getattr(self, name) not in (None, getattr(processor, name)):
                raise HubmodelsError(
                    f"{path} has the {name} {getattr(processor, name)}; leave out --{name} {getattr(self, name)}"
                )
        return self.bind(processor)


@dataclass(kw_only=True)
class Spectrograms(Sounds):
    """Holds the options of sounds that a model sees as images of one channel, which training changes."""

    decided_fields: ClassVar[tuple[str, ...]] = ("num_channels", "image_size")

    noise: float = option(0.0, "augmentation: largest level of white noise, relative to the sound's, >= 0")
    time_masking: float = option(0.0, "augmentation: largest share of the frames that is silenced, in [0, 1)")
    frequency_masking: float = option(0.0, "augmentation: largest share of the bands that is silenced, in [0, 1)")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.audio_features != "log_mel":
            raise ValueError("the classifiers see spectrograms: audio_features must be log_mel")
        for name, value in (("time_masking", self.time_masking), ("frequency_masking", self.frequency_masking)):
            if not 0 <= value < 1:
                raise ValueError(f"{name} must be at least 0 and below 1, got {value}")
        if not self.noise >= 0:
            raise ValueError(f"noise must be at least 0, got {self.noise}")

    def bind(self, processor: Any) -> "FittedSpectrograms":
        """Take a feature extractor as it is."""
        return FittedSpectrograms(options=self, processor=processor)


@dataclass(kw_only=True)
class FittedSounds(FittedInput[Sounds]):
    """Sounds with their feature extractor. Encoded they are `samples` (B, T) int16."""

    single = "audio"

    def config_fields(self) -> dict[str, Any]:
        """Return the kind of `data`, `num_mel_bins`, 0 for waveforms, and `num_frames`, of waveforms the samples."""
        spectrograms = self.processor.features == "log_mel"
        return {
            "data": "audio",
            "num_mel_bins": self.processor.num_mel_bins if spectrograms else 0,
            "num_frames": self.processor.input_shape[-1],
        }

    def encoded_features(self) -> dict[str, Any]:
        """Return the Arrow type of `samples`."""
        import datasets

        return {"samples": datasets.List(datasets.Value("int16"), length=self.processor.num_samples)}

    def encode(self, rows: "RawRows", row_numbers: list[int], columns: list[str]) -> "Rows":
        """Read sounds as `samples` (B, T) int16."""
        return {"samples": read_sounds(rows[columns[0]], row_numbers, columns[0], self.processor.to_samples)}

    def transform(self, *, training: bool) -> "Transform":
        """Return what makes `input_values` of `samples`: in training shift and speed, then the spectrogram, if any.

        Other columns pass through."""

        def prepare(batch: "Batch", generator: "torch.Generator | None" = None) -> "Batch":
            others = {name: column for name, column in batch.items() if name != "samples"}
            waveforms = batch["samples"].float() / FULL_SCALE
            if training:
                waveforms = self.augment_waveforms(waveforms, generator)
            values = self.processor.to_values(waveforms)
            return {"input_values": self.augment_values(values, generator) if training else values, **others}

        return prepare

    def augment_waveforms(self, waveforms: "torch.Tensor", generator: "torch.Generator | None") -> "torch.Tensor":
        """Shift waveforms (B, T) of -1..1, and make them faster or slower."""
        from . import sound_augmentation as augmentation

        limit = round(self.options.time_shift * self.processor.num_samples)
        if self.options.time_shift:
            waveforms = augmentation.random_shift(waveforms, limit, generator)
        if self.options.speed:
            waveforms = augmentation.random_speed(waveforms, self.options.speed, generator)
        return waveforms

    def augment_values(self, values: "torch.Tensor", generator: "torch.Generator | None") -> "torch.Tensor":
        """Change what the model sees, (B, T) or (B, M, N); not at all by default."""
        return values

    def statistics(self, train: "datasets.Dataset", columns: list[str]) -> tuple[float, float]:
        """Compute the mean and standard deviation of what the model sees of the first training sounds."""
        values = compute_of_first(
            train, columns[0], self.processor.to_samples, self.processor.to_values, "Sound statistics"
        )
        return float(values.mean()), float(values.std())

    def to_sounds(self, values: "torch.Tensor") -> "torch.Tensor":
        """Turn what a model gives, spectrograms or waveforms, into stored sounds, (N, T) int16 on the CPU."""
        import torch

        waveforms = [self.processor.to_audio(some) for some in values.split(SOUNDS_AT_ONCE)]
        return (torch.cat(waveforms).cpu() * FULL_SCALE).round().to(torch.int16)

    def levels(self, samples: "torch.Tensor") -> "np.ndarray":
        """Compute what figures show of samples (B, T), int16 or -1..1, also where the model sees waveforms.

        It is (B, M, N), -1 (silence) to 1."""
        waveforms = samples.float() if samples.is_floating_point() else samples.float() / FULL_SCALE
        levels = self.processor.mel_levels(waveforms)
        top = self.processor.reference_level if self.processor.features == "log_mel" else float(levels.max())
        return (1 + 2 * (levels - top) / self.processor.dynamic_range).clamp(-1, 1).numpy()

    def input_columns(self) -> list[str]:
        """Name the chosen column, or all usual ones."""
        return [self.options.audio_column_name] if self.options.audio_column_name else list(AUDIO_NAMES)

    def encode_inputs(self, table: "pyarrow.Table", row_numbers: list[int]) -> "Rows":
        """Encode a column of sounds, of their bytes or of their paths."""
        column = next((name for name in self.input_columns() if name in table.column_names), None)
        if column is None:
            raise HubmodelsError(
                f"no column of sounds ({', '.join(self.input_columns())}) among {', '.join(table.column_names)}"
            )
        values = table.column(column).to_pylist()
        return {"samples": read_sounds(values, row_numbers, column, self.processor.to_samples)}

    def golden_inputs(self) -> "Batch":
        """Return two fixed chirps, which grow louder."""
        import torch

        duration = self.processor.duration
        times = torch.arange(self.processor.num_samples, dtype=torch.float64) / self.processor.sampling_rate
        pitches = torch.tensor([[200.0], [330.0]], dtype=torch.float64) * (1 + times / duration)
        waves = 0.5 * torch.sin(2 * torch.pi * pitches * times) * times / duration
        return {"input_values": self.processor.to_values((waves * FULL_SCALE).round().to(torch.int16))}


@dataclass(kw_only=True)
class FittedSpectrograms(FittedSounds):
    """Sounds with the feature extractor that makes spectrograms of them."""

    options: Spectrograms

    def config_fields(self) -> dict[str, Any]:
        """Return `num_channels` and `image_size` of a spectrogram as an image."""
        return {"num_channels": 1, "image_size": list(self.processor.input_shape)}

    def augment_waveforms(self, waveforms: "torch.Tensor", generator: "torch.Generator | None") -> "torch.Tensor":
        """Shift waveforms, make them faster or slower, and add noise."""
        from .sound_augmentation import random_noise

        waveforms = super().augment_waveforms(waveforms, generator)
        return random_noise(waveforms, self.options.noise, generator) if self.options.noise else waveforms

    def augment_values(self, values: "torch.Tensor", generator: "torch.Generator | None") -> "torch.Tensor":
        """Silence a stretch of the frames and one of the bands."""
        from .sound_augmentation import random_mask

        if self.options.time_masking:
            values = random_mask(values, self.options.time_masking, generator, frequency=False)
        if self.options.frequency_masking:
            values = random_mask(values, self.options.frequency_masking, generator, frequency=True)
        return values


def compute_of_first(
    train: "datasets.Dataset",
    column: str,
    to_samples: "Callable[[list[Any]], np.ndarray]",
    compute: "Callable[[torch.Tensor], torch.Tensor]",
    description: str,
) -> "torch.Tensor":
    """Compute something, (N, ...), of the first `MAX_FITTED` training sounds.

    Args:
        train: the selected training rows.
        column: of the sounds.
        to_samples: the processor's.
        compute: gets samples (B, T) int16.
        description: of the progress bar.
    """
    import torch

    results: list[torch.Tensor] = []
    for rows, numbers in sound_batches(train, description):
        results.append(compute(torch.from_numpy(read_sounds(rows[column], numbers, column, to_samples))))
        if sum(map(len, results)) >= MAX_FITTED:
            break
    return torch.cat(results)
