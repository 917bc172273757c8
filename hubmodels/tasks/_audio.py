"""What the tasks on sounds share: the column, the processor and its options, encoded samples."""

import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ..errors import HubmodelsError
from ..fields import option
from ._unbound import Task
from .contract.columns import choose_column, class_numbers, describe_columns, existing_column, kind_of, label_column

if TYPE_CHECKING:
    import datasets
    import numpy as np
    import torch

    from ._unbound import Batch, Rows

AUDIO_NAMES = ("audio", "sound", "speech", "wav", "file", "path")
PATH_TYPES = ("string", "large_string", "binary", "large_binary")  # types that Arrow casts to undecoded sounds
LONGEST = 30.0  # seconds that a fitted duration may have
WINDOW, HOP = 0.048, 0.0125  # seconds of a spectrogram's window and step where the options say nothing
MAX_FITTED = 2_000  # training sounds that the reference level is taken from


def audio_column(features: "datasets.Features", chosen: str | None) -> str:
    """The column with the sounds: the `chosen` one (of sounds, of their paths or bytes), else the only one of sounds.

    Raises:
        HubmodelsError: there is none, there are several, or the chosen one holds no sounds.
    """
    import datasets

    if chosen is not None:
        name = existing_column(chosen, features, "audio_column_name")
        if not isinstance(features[name], datasets.Audio) and kind_of(features[name]) not in PATH_TYPES:
            raise HubmodelsError(
                f"column {name!r} holds {kind_of(features[name])}, not sounds or their paths; choose another "
                f"--audio_column_name"
            )
        return name
    found = [name for name, kind in features.items() if isinstance(kind, datasets.Audio)]
    if not found:
        raise HubmodelsError(
            f"the data set has no audio column; its columns are {describe_columns(features)} (a column of paths can be "
            f"named with --audio_column_name)"
        )
    return choose_column(found, AUDIO_NAMES, "audio", "audio_column_name")


def open_sound(value: Any) -> Any:
    """What the processor reads, from what an undecoded audio column holds: the bytes of a wav file, or, where soundfile
    is installed, samples and rate of any file that it reads."""
    from pathlib import Path

    if value is None:
        raise ValueError("it is missing")
    data = value
    if isinstance(value, dict):
        data = value.get("bytes")
        if data is None:
            if not value.get("path") or not Path(value["path"]).is_file():
                raise ValueError(f"no file at {value.get('path')}")
            data = Path(value["path"]).read_bytes()
    if data[:4] in (b"RIFF", b"RIFX"):
        return data
    try:
        import soundfile
    except ImportError:
        return data  # the processor says what to do
    array, rate = soundfile.read(io.BytesIO(data), dtype="float32")
    return {"array": array.clip(-1, 1), "sampling_rate": rate}


def read_sounds(sounds: list, row_numbers: Sequence[int], column: str, processor: Any) -> "np.ndarray":
    """A batch of undecoded sounds as (B, num_samples) int16. Raises HubmodelsError naming the row of a bad one."""
    import numpy as np

    rows = []
    for number, value in zip(row_numbers, sounds, strict=True):
        try:
            rows.append(processor.to_samples([open_sound(value)]))
        except Exception as error:
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise HubmodelsError(f"row {number}, column {column!r}: cannot read the sound: {reason}") from error
    return np.concatenate(rows)


@dataclass(kw_only=True)
class AudioTask(Task):
    """One sound a row, stored as 16-bit samples of one rate, loudness and length."""

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

    def __post_init__(self) -> None:
        for name in ("sampling_rate", "duration", "num_mel_bins", "n_fft", "hop_length"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be greater than 0, got {value}")

    def fit_processor(self, train: "datasets.Dataset") -> Any:
        """The processor of the options, what they leave open and the reference level from the training sounds."""
        import numpy as np
        import torch

        from ..processors.processing_audio import HubmodelsAudioFeatureExtractor

        column = next(iter(train.features))  # the sounds come first in `select`
        rate, duration = self.sampling_rate, self.duration
        if rate is None or duration is None:
            usual, lengths = survey_sounds(train, column)
            rate = rate or usual
            duration = duration or min(LONGEST, math.ceil(float(np.percentile(lengths, 98)) * 20) / 20)
        n_fft = self.n_fft or min(2 * math.ceil(WINDOW * rate / 2), max(2, round(duration * rate)))
        processor = HubmodelsAudioFeatureExtractor(
            sampling_rate=rate,
            duration=duration,
            alignment=self.audio_alignment,
            loudness=self.loudness,
            loudness_level=-20.0 if self.loudness == "rms" else -1.0,
            features=self.audio_features,
            num_mel_bins=self.num_mel_bins or 40,
            n_fft=n_fft,
            hop_length=self.hop_length or max(1, round(HOP * rate)),
        )
        if self.audio_features == "log_mel":
            levels, count = [], 0
            for rows, numbers in batches(train, "Sound levels"):
                samples = torch.from_numpy(read_sounds(rows[column], numbers, column, processor))
                levels.append(processor.mel_levels(samples.float() / 32767))
                count += len(samples)
                if count >= MAX_FITTED:
                    break
            processor.fit_reference(torch.cat(levels))
        return processor

    def load_processor(self, path: str, **kwargs: Any) -> Any:
        """The feature extractor of a checkpoint; what the options say otherwise is refused, since the network was built
        for it."""
        from ..processors.processing_audio import HubmodelsAudioFeatureExtractor

        try:
            processor = HubmodelsAudioFeatureExtractor.from_pretrained(path, **kwargs)
        except (OSError, ValueError, TypeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise HubmodelsError(
                f"no usable feature extractor (preprocessor_config.json) at {path}: {reason}"
            ) from error
        for name in ("sampling_rate", "duration", "num_mel_bins", "n_fft", "hop_length"):
            if getattr(self, name) not in (None, getattr(processor, name)):
                raise HubmodelsError(
                    f"{path} has the {name} {getattr(processor, name)}; leave out --{name} {getattr(self, name)}"
                )
        return processor

    def input_columns(self, processor: Any) -> list[str]:
        return [self.audio_column_name] if self.audio_column_name else list(AUDIO_NAMES)

    def encode_inputs(self, rows: Any, row_numbers: list[int], processor: Any, config_values: dict[str, Any]) -> "Rows":
        """The sounds, from a column of sounds, of their bytes or of their paths."""
        column = next((name for name in self.input_columns(processor) if name in rows.column_names), None)
        if column is None:
            raise HubmodelsError(
                f"no column of sounds ({', '.join(self.input_columns(processor))}) among {', '.join(rows.column_names)}"
            )
        values = [
            {"bytes": None, "path": value} if isinstance(value, str) else value
            for value in rows.column(column).to_pylist()
        ]
        return {"samples": read_sounds(values, row_numbers, column, processor)}

    def golden_inputs(self, processor: Any, config_values: dict[str, Any]) -> "Batch":
        """Two fixed chirps, which grow louder."""
        import torch

        times = torch.arange(processor.num_samples, dtype=torch.float64) / processor.sampling_rate
        pitches = torch.tensor([[200.0], [330.0]], dtype=torch.float64) * (1 + times / processor.duration)
        waves = 0.5 * torch.sin(2 * torch.pi * pitches * times) * times / processor.duration
        return {"input_values": processor.to_values((waves * 32767).round().to(torch.int16))}


@dataclass(kw_only=True)
class LabelledAudioTask(AudioTask):
    """A sound a row and its class, and what is done to waveforms in training."""

    label_column_name: str | None = option(None, "column of the classes; the only class column when absent")
    time_shift: float = option(0.0, "augmentation: largest shift, as a share of duration, in [0, 1)")
    speed: float = option(0.0, "augmentation: largest change of speed and pitch, as a share, >= 0")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.time_shift < 1:
            raise ValueError(f"time_shift must be at least 0 and below 1, got {self.time_shift}")
        if not self.speed >= 0:
            raise ValueError(f"speed must be at least 0, got {self.speed}")

    def select(self, dataset: "datasets.Dataset") -> "datasets.Dataset":
        """The audio column, undecoded, and the class column, under their own names."""
        import datasets

        audio = audio_column(dataset.features, self.audio_column_name)
        label = label_column(dataset.features, self.label_column_name, others=(audio,))
        return dataset.select_columns([audio, label]).cast_column(audio, datasets.Audio(decode=False))

    def encoded_features(self, processor: Any, config_values: dict[str, Any]) -> "datasets.Features":
        import datasets

        samples = datasets.List(datasets.Value("int16"), length=processor.num_samples)
        return datasets.Features(samples=samples, labels=datasets.Value("int64"))

    def encode(
        self,
        rows: dict[str, list],
        row_numbers: list[int],
        features: "datasets.Features",
        processor: Any,
        config_values: dict[str, Any],
    ) -> "Rows":
        """`samples` (B, T) int16 and `labels` (B,) int64 as the model numbers them."""
        audio, label = features
        return {
            "samples": read_sounds(rows[audio], row_numbers, audio, processor),
            "labels": class_numbers(rows[label], row_numbers, label, features[label], config_values["id2label"]),
        }

    def waveforms(
        self, samples: "torch.Tensor", processor: Any, generator: "torch.Generator | None", *, training: bool
    ) -> "torch.Tensor":
        """Encoded samples (B, T) as waveforms in -1..1, in training shifted and faster or slower."""
        from . import _audio_augmentation as augmentation

        waveforms = samples.float() / 32767
        if training and self.time_shift:
            waveforms = augmentation.random_shift(waveforms, round(self.time_shift * processor.num_samples), generator)
        if training and self.speed:
            waveforms = augmentation.random_speed(waveforms, self.speed, generator)
        return waveforms


def batches(dataset: "datasets.Dataset", description: str, batch_size: int = 250) -> Iterator[tuple[dict, range]]:
    """Batches of rows with their row numbers, with a progress bar on the main process."""
    from accelerate.utils import tqdm

    total = len(dataset) if hasattr(dataset, "__len__") else None
    start = 0
    with tqdm(total=total, desc=description, unit=" sounds", leave=False) as bar:
        for rows in dataset.iter(batch_size=batch_size):
            count = len(next(iter(rows.values())))
            yield rows, range(start, start + count)
            start += count
            bar.update(count)


def survey_sounds(train: "datasets.Dataset", column: str) -> tuple[int, "np.ndarray"]:
    """The usual rate in Hz, and the length of each training sound in seconds (N,)."""
    from collections import Counter

    import numpy as np

    from ..processors.processing_audio import load_sound

    rates: Counter = Counter()
    lengths = []
    for rows, numbers in batches(train, "Sound lengths"):
        for value, number in zip(rows[column], numbers, strict=True):
            try:
                waveform, rate = load_sound(open_sound(value), 0)
            except Exception as error:
                reason = " ".join(str(error).split())[:200] or type(error).__name__
                raise HubmodelsError(f"row {number}, column {column!r}: cannot read the sound: {reason}") from error
            rates[rate] += 1
            lengths.append(len(waveform) / rate)
    if not lengths:
        raise HubmodelsError("the training split has no rows")
    return rates.most_common(1)[0][0], np.array(lengths)
