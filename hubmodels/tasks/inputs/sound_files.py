"""Reading the sounds of a data set: their column, rates, lengths and samples."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from ...errors import BadRow, HubmodelsError, one_line
from ...report import note
from ..contract.columns import choose_column, describe_columns, existing_column, kind_of

if TYPE_CHECKING:
    import datasets
    import numpy as np

AUDIO_NAMES = ("audio", "sound", "speech", "wav", "file", "path")
LISTENED = 2_000  # training sounds whose samples are looked at, not their headers alone
SILENCE = 1e-4  # the largest sample of a silent sound, of full scale
MAX_CLIPPED = 0.1  # share of a sound's samples that may stand at the end of the scale
PATH_TYPES = ("string", "large_string", "binary", "large_binary")  # types that Arrow casts to undecoded sounds


def audio_column(features: "datasets.Features", chosen: str | None) -> str:
    """Name the column of sounds: the `chosen` one (of sounds, of their paths or bytes), else the only one of sounds.

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
    audio_columns = [name for name, kind in features.items() if isinstance(kind, datasets.Audio)]
    if not audio_columns:
        raise HubmodelsError(
            f"the data set has no audio column; its columns are {describe_columns(features)} (a column of paths can be "
            f"named with --audio_column_name)"
        )
    return choose_column(audio_columns, AUDIO_NAMES, "audio", "audio_column_name")


def open_sound(value: Any) -> Any:
    """Return what the processor reads, from what an undecoded audio column holds: a path, the bytes of a file."""
    if isinstance(value, dict):
        value = value["bytes"] if value.get("bytes") is not None else value.get("path")
    if value is None or value == "":
        raise ValueError("it is missing")
    return value


def read_sounds(
    sounds: list[Any], row_numbers: Sequence[int], column: str, to_samples: "Callable[[list[Any]], np.ndarray]"
) -> "np.ndarray":
    """Read a batch of undecoded sounds as (B, num_samples) int16, each by the processor's `to_samples`.

    Raises BadRow naming the row of a bad one."""
    import numpy as np

    rows = []
    for number, value in zip(row_numbers, sounds, strict=True):
        try:
            rows.append(to_samples([open_sound(value)]))
        except Exception as error:  # decoders raise a dozen types
            raise BadRow(number, column, unreadable_words(error, value)) from error
    return np.concatenate(rows)


def sound_batches(
    dataset: "datasets.Dataset", description: str, batch_size: int = 250
) -> Iterator[tuple[dict[str, list[Any]], range]]:
    """Give batches of rows with their row numbers, with a progress bar on the main process."""
    from accelerate.utils import tqdm

    total = len(dataset) if hasattr(dataset, "__len__") else None
    start = 0
    with tqdm(total=total, desc=description, unit=" sounds", leave=False) as bar:
        for rows in dataset.iter(batch_size=batch_size):
            count = len(next(iter(rows.values())))
            yield rows, range(start, start + count)
            start += count
            bar.update(count)


@dataclass
class SoundSurvey:
    """Holds what the headers of the training sounds say, and of the first of them what they sound like."""

    rates: Counter[int] = field(default_factory=Counter)  # in Hz
    channels: Counter[int] = field(default_factory=Counter)
    lengths: list[float] = field(default_factory=list)  # in seconds
    cut: list[int] = field(default_factory=list)  # rows whose file promises more samples than it has
    examined: int = 0  # sounds that were listened to
    silent: list[int] = field(default_factory=list)  # rows of these
    clipped: list[int] = field(default_factory=list)

    @property
    def usual_rate(self) -> int:
        """Return the most frequent rate in Hz; of several the higher one."""
        return max(self.rates, key=lambda rate: (self.rates[rate], rate))

    def say(self, rate: int, duration: float, alignment: str) -> None:
        """Say what is done to sounds of other rates, channels and lengths than those of the model (`report.note`)."""
        total = len(self.lengths)
        counts = ", ".join(f"{count:,} at {hertz:,} Hz" for hertz, count in sorted(self.rates.items())[:8])
        more = f" and {len(self.rates) - 8} more rates" if len(self.rates) > 8 else ""
        if set(self.rates) == {rate}:
            note("rows", f"All {total:,} training sounds have the sampling rate {rate:,} Hz")
        else:
            text = f"The training sounds have the sampling rates {counts}{more}: all are brought to {rate:,} Hz"
            note("rows", text, surprising=len(self.rates) > 1, remedy="sampling_rate: 16000")
        several = sum(count for channels, count in self.channels.items() if channels > 1)
        if several:
            text = f"{several:,} of {total:,} training sounds have {_words(self.channels)} channels: their mean is used"
            note("rows", text, surprising=several < total)
        longer, shorter = (sum(sign * (length - duration) > 0.005 for length in self.lengths) for sign in (1, -1))
        side = "the middle" if alignment == "center" else "the beginning"
        shortest, longest = min(self.lengths), max(self.lengths)
        text = f"Training sounds last {shortest:.3g} to {longest:.3g} s; the model reads {duration:g} s"
        text += f": of {longer:,} longer ones {side}" if longer else ""
        text += f"{', ' if longer else ': '}{shorter:,} shorter ones with silence around them" if shorter else ""
        note("rows", text, surprising=longer > 0.1 * total, remedy="duration: 2.0")
        self._say_rows(self.cut, total, "end before their header says: what is there is used")
        self._say_rows(self.silent, self.examined, "are silent: silence is a sound like others")
        self._say_rows(self.clipped, self.examined, "are clipped (over 10 % of their samples at the end of the scale)")

    def _say_rows(self, rows: list[int], total: int, what: str) -> None:
        if rows:
            first = ", ".join(map(str, rows[:5])) + (", ..." if len(rows) > 5 else "")
            text = f"{len(rows):,} of {total:,} training sounds {what}; row{'s'[: len(rows) > 1]} {first}"
            note("check", text, surprising=True)


def _words(channels: Counter[int]) -> str:
    numbers = sorted(number for number in channels if number > 1)
    return " or ".join(map(str, numbers[:4])) + (" or more" if len(numbers) > 4 else "")


def survey_sounds(train: "datasets.Dataset", column: str) -> SoundSurvey:
    """Find out what the training sounds are like: by their headers, the first `LISTENED` by their samples too.

    Raises BadRow for a sound that cannot be opened, HubmodelsError where there is none."""
    import numpy as np

    from ...processors.processing_audio import load_sound
    from ...processors.processing_audio_wav import open_audio

    survey = SoundSurvey()
    for rows, numbers in sound_batches(train, "Sound lengths"):
        for value, number in zip(rows[column], numbers, strict=True):
            try:
                source = open_sound(value)
                reader = open_audio(source)
                rate, channels, frames, is_cut = reader.rate, reader.channels, reader.frames, reader.is_cut
                reader.file.close()
                if not frames:
                    raise ValueError("the audio is empty: it has no samples")
                if survey.examined < LISTENED:
                    heard = np.abs(load_sound(source, 0, lambda count, rate: (0, min(count, 60 * rate)))[0])
            except Exception as error:  # decoders raise a dozen types
                raise BadRow(number, column, unreadable_words(error, value)) from error
            survey.rates[rate] += 1
            survey.channels[channels] += 1
            survey.lengths.append(frames / rate)
            if is_cut:
                survey.cut.append(number)
            if survey.examined < LISTENED:
                survey.examined += 1
                peak = float(heard.max())
                if peak < SILENCE:
                    survey.silent.append(number)
                elif float((heard >= 0.999 * max(peak, 0.99)).mean()) > MAX_CLIPPED:
                    survey.clipped.append(number)
    if not survey.lengths:
        raise HubmodelsError("the training split has no rows")
    return survey


def unreadable_sounds(dataset: "datasets.Dataset", column: str) -> dict[int, str]:
    """Find the rows whose file cannot be opened or has no samples, with the reason of each; headers alone are read."""
    from ...processors.processing_audio_wav import open_audio

    reasons = {}
    for rows, numbers in sound_batches(dataset, "Opening sounds"):
        for value, number in zip(rows[column], numbers, strict=True):
            try:
                reader = open_audio(open_sound(value))
                reader.file.close()
                if not reader.frames:
                    raise ValueError("the audio is empty: it has no samples")
            except Exception as error:  # decoders raise a dozen types
                reasons[number] = unreadable_words(error, value)
    return reasons


def unreadable_words(error: Exception, value: Any) -> str:
    """Say which sound cannot be read, and why: its file with the folder's name, as notes stand in releases."""
    path = value.get("path") if isinstance(value, dict) else value
    name = " " + "/".join(PurePath(path).parts[-2:]) if isinstance(path, str) else ""
    return f"cannot read the sound{name}: {reason_of(error)}"


def reason_of(error: Exception) -> str:
    """Say on one line whatever went wrong with a sound."""
    return one_line(error, 200) or type(error).__name__
