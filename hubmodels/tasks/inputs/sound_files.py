"""Reading the sounds of a data set: their column, rates, lengths and samples."""

import io
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import BadRow, HubmodelsError, one_line
from ..contract.columns import choose_column, describe_columns, existing_column, kind_of

if TYPE_CHECKING:
    import datasets
    import numpy as np

AUDIO_NAMES = ("audio", "sound", "speech", "wav", "file", "path")
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
    """Return what the processor reads, from what an undecoded audio column holds.

    That is the bytes of a wav file, or, where soundfile is installed, samples and rate of any file that it reads."""
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


def read_sounds(
    sounds: list[Any], row_numbers: Sequence[int], column: str, to_samples: "Callable[[list[Any]], np.ndarray]"
) -> "np.ndarray":
    """Read a batch of undecoded sounds as (B, num_samples) int16, each by the processor's `to_samples`.

    Raises HubmodelsError naming the row of a bad one."""
    import numpy as np

    rows = []
    for number, value in zip(row_numbers, sounds, strict=True):
        try:
            rows.append(to_samples([open_sound(value)]))
        except Exception as error:  # decoders raise a dozen types
            raise _unreadable(error, number, column) from error
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


def survey_sounds(train: "datasets.Dataset", column: str) -> tuple[int, "np.ndarray"]:
    """Find out what the training sounds are like.

    Returns:
        The usual rate in Hz, and the length of each sound in seconds (N,).
    """
    import numpy as np

    from ...processors.processing_audio import load_sound

    rates: Counter[int] = Counter()
    lengths = []
    for rows, numbers in sound_batches(train, "Sound lengths"):
        for value, number in zip(rows[column], numbers, strict=True):
            try:
                waveform, rate = load_sound(open_sound(value), 0)
            except Exception as error:
                raise _unreadable(error, number, column) from error
            rates[rate] += 1
            lengths.append(len(waveform) / rate)
    if not lengths:
        raise HubmodelsError("the training split has no rows")
    return rates.most_common(1)[0][0], np.array(lengths)


def _unreadable(error: Exception, number: int, column: str) -> BadRow:
    """Make one line of whatever went wrong with a sound, naming its row."""
    reason = one_line(error, 200) or type(error).__name__
    return BadRow(number, column, f"cannot read the sound: {reason}")
