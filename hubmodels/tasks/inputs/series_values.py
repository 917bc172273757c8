"""Series as lists of steps: reading one, and what a linear model sees of many."""

from typing import TYPE_CHECKING, Any

from ...errors import BadRow

if TYPE_CHECKING:
    import numpy as np

    from ..contract.types import EncodedColumns


def is_series(feature: Any) -> bool:
    """Tell whether a column holds lists of numbers, or lists of such lists."""
    import datasets

    if isinstance(feature, datasets.Array2D):
        return True
    depth = 0
    while isinstance(feature, datasets.List | datasets.LargeList):
        feature, depth = feature.feature, depth + 1
    return (
        depth in (1, 2) and isinstance(feature, datasets.Value) and feature.dtype.startswith(("int", "uint", "float"))
    )


def read_series(values: Any, row: int, column: str) -> "np.ndarray":
    """Read one series (T, C) float64, NaN where missing. Raises HubmodelsError naming the row."""
    import numpy as np

    from ...processors.processing_series_forms import read_arrays

    try:
        if values is None or len(values) == 0:
            raise ValueError("it is empty")
        if not isinstance(values[0], list | tuple | np.ndarray):  # one channel
            values = [[value] for value in values]
        (series,) = read_arrays([values], None)
    except (ValueError, TypeError) as error:
        reason = str(error).removeprefix("series 0 ").removeprefix("series 0: ")
        raise BadRow(row, column, f"it holds no series: {reason}") from None
    return series.values


def series_features(columns: "EncodedColumns", rows: "np.ndarray") -> "np.ndarray":
    """Compute what a linear model sees of series of any length, (B, 7 C + 1) float64.

    Of each channel the mean, standard deviation, minimum, maximum, first and last value and slope; and the length. What
    was not observed is left out; a channel without any value counts as 0."""
    import numpy as np
    import torch

    batch = {name: value.numpy() for name, value in columns.batch(torch.from_numpy(rows)).items()}
    observed, lengths = batch["observed"].astype(bool), batch["length"]
    counts = observed.sum(axis=1).clip(1)  # (B, C)
    values = np.where(observed, batch["values"].astype(np.float64), 0)
    mean = values.sum(axis=1) / counts
    std = np.sqrt((np.where(observed, values - mean[:, None], 0) ** 2).sum(axis=1) / counts)
    some = observed.any(axis=1)
    low = np.where(some, np.where(observed, values, np.inf).min(axis=1), 0)
    high = np.where(some, np.where(observed, values, -np.inf).max(axis=1), 0)
    first = observed.argmax(axis=1)
    last = values.shape[1] - 1 - observed[:, ::-1].argmax(axis=1)
    ends = [np.take_along_axis(values, step[:, None], axis=1)[:, 0] for step in (first, last)]
    steps = np.arange(values.shape[1])[None, :, None]
    center = np.where(observed, steps, 0).sum(axis=1) / counts
    offsets = np.where(observed, steps - center[:, None], 0)
    slope = (offsets * values).sum(axis=1) / (offsets**2).sum(axis=1).clip(1)
    return np.concatenate([mean, std, low, high, *ends, slope, lengths[:, None]], axis=1)
