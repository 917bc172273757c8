"""Series in arrays of NumPy: X (N, steps, channels) or (N, channels, steps), and their classes y (N,) beside it."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import HubmodelsError
from ...recipe import ReadingOptions, SeriesLayout
from ...report import note
from .archives import DAMAGED, seekable

ARRAY_KINDS = (".npy", ".npz")
SPLIT_ENDING = re.compile(r"(.*?)_?(train|test|val|validation)", re.IGNORECASE)
LAYOUTS = ("channels_last", "channels_first")


def find_arrays(path: Path, options: ReadingOptions, remembered: bool) -> dict[str, SeriesLayout]:
    """Find the splits of a file of arrays of three dimensions, and which of these are channels, and say it.

    Args:
        path: of an .npy or .npz file.
        options: `series_layout` says which dimension is the channels.
        remembered: the options are those of the training's files.

    Returns:
        "channels_last" or "channels_first" of each split; nothing where there is no array of three dimensions.

    Raises:
        HubmodelsError: a split has several such arrays.
    """
    layouts: dict[str, SeriesLayout] = {}
    for split, arrays in load_splits(path).items():
        series = [name for name, array in arrays.items() if array.ndim == 3 and array.dtype.kind in "fiub"]
        if not series:
            continue
        if len(series) > 1:
            raise HubmodelsError(f"{path.name} has several arrays of three dimensions: {', '.join(series)}; keep one")
        shape = arrays[series[0]].shape
        layout = options.series_layout if options.series_layout in LAYOUTS else None
        layout = layout or ("channels_last" if shape[1] >= shape[2] else "channels_first")
        steps, channels = shape[1:] if layout == "channels_last" else shape[:0:-1]
        label = label_of(arrays, shape[0])
        others = [name for name in arrays if name not in (series[0], label)]
        classes = f"; their classes are {label}" if label else ""
        left_out = f"; not read: {', '.join(others)}" if others else ""
        note(
            "files",
            f"{path.name}: {series[0] or 'the array'} {shape} is {shape[0]:,} series of {steps:,} steps and "
            f"{channels:,} channels{classes}{left_out}",
            surprising=not remembered,
            remedy=f"series_layout: {next(name for name in LAYOUTS if name != layout)}",
        )
        layouts[split] = layout
    return layouts


def load_splits(path: Path) -> dict[str, dict[str, np.ndarray]]:
    """Load arrays by split and name: X_train is of `train`, X alone too. None for what NumPy cannot read safely."""
    splits: dict[str, dict[str, np.ndarray]] = {}
    try:
        with seekable(path) as file:
            loaded = np.load(file, allow_pickle=False)
            arrays: Mapping[str, Any] = {"": loaded} if isinstance(loaded, np.ndarray) else dict(loaded.items())
    except (ValueError, OSError, *DAMAGED):
        return {}  # who reads tables says why
    for name, array in arrays.items():
        match = SPLIT_ENDING.fullmatch(name)
        split = match[2].lower().replace("validation", "val") if match else "train"
        splits.setdefault({"val": "validation"}.get(split, split), {})[name] = array
    order = ("train", "validation", "test")
    return {split: splits[split] for split in order if split in splits}


def label_of(arrays: Mapping[str, np.ndarray], num_series: int) -> str | None:
    """Name the array of classes: the only one with an entry for each series; None where there is none."""
    names = [name for name, array in arrays.items() if array.shape in ((num_series,), (num_series, 1))]
    return names[0] if len(names) == 1 else None


def read_arrays(path: Path, split: str, layout: str) -> Iterator[tuple[list[list[float]], str | None]]:
    """Read the series of a split, steps x channels, each with its class; None where there are no classes."""
    arrays = load_splits(path)[split]
    values = next(array for array in arrays.values() if array.ndim == 3)
    name = label_of(arrays, len(values))
    labels = None if name is None else arrays[name].reshape(-1)
    for number, one in enumerate(values):
        steps = one if layout == "channels_last" else one.T
        steps = steps.astype(np.float64)
        filled = np.flatnonzero(~np.isnan(steps).all(axis=1))
        length = int(filled[-1]) + 1 if len(filled) else 1
        yield steps[:length].tolist(), None if labels is None else class_text(labels[number])


def class_text(value: Any) -> str:
    """Write a class as text: 1.0 is 1."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(int(value)) if isinstance(value, np.floating | float) and float(value).is_integer() else str(value)
