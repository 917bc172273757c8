"""Series in any form for `processing_series.py`: tables of columns, arrays, lists of arrays; their rows by id."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from .processing_series_times import as_array, is_missing


@dataclass
class Series:
    """One series: its name, its values (T, C) in their own units with NaN where missing, and what else is known."""

    name: Any
    values: np.ndarray
    times: np.ndarray | None = None  # (T,) datetime64[us] or int64
    known: np.ndarray | None = None  # (T, K) covariates that are known ahead
    static: np.ndarray | None = None  # (S,)


def group_rows(ids: Any, num_rows: int) -> list[tuple[Any, np.ndarray]]:
    """Return the rows of each series with its id, in the order in which the ids occur; one series without ids.

    `ids` is one column, or a list of several: a series' id then is a tuple of theirs."""
    if ids is None:
        return [(None, np.arange(num_rows))] if num_rows else []
    several = isinstance(ids, list) and len(ids) > 0 and hasattr(ids[0], "__len__") and not isinstance(ids[0], str)
    columns = [as_array(column).tolist() for column in (ids if several else [ids])]
    owner_numbers: dict[Any, int] = {}
    owners = np.empty(num_rows, dtype=np.int64)
    for row, names in enumerate(zip(*columns, strict=True)):
        if any(is_missing(name) for name in names):
            raise ValueError(f"row {row} has no series id")
        owners[row] = owner_numbers.setdefault(names if several else names[0], len(owner_numbers))
    order = np.argsort(owners, kind="stable")
    edges = np.searchsorted(owners[order], np.arange(len(owner_numbers) + 1))
    return [(name, order[edges[owner] : edges[owner + 1]]) for name, owner in owner_numbers.items()]


def table_columns(series: Any) -> dict[str, Any] | None:
    """Return a table's columns by name, or None where `series` is arrays."""
    if hasattr(series, "columns") and hasattr(series, "to_numpy"):  # pandas
        return {str(name): series[name] for name in series.columns}
    if hasattr(series, "column_names") and hasattr(series, "with_format"):  # datasets
        table = series.with_format("arrow")[:]
        return {name: table.column(name).to_pandas() for name in table.column_names}
    if hasattr(series, "column_names") and hasattr(series, "to_pandas"):  # pyarrow
        return {name: series.column(name).to_pandas() for name in series.column_names}
    if isinstance(series, Mapping):
        lengths = {name: len(values) if hasattr(values, "__len__") else -1 for name, values in series.items()}
        if len(set(lengths.values())) != 1 or -1 in lengths.values():
            raise ValueError(f"a mapping of series must hold columns of one length, got {lengths}")
        return dict(series)
    return None


def read_arrays(series: Any, channels: Sequence[str] | None) -> Iterable[Series]:
    """Return series from one array (T, C) or (T,), an array (B, T, C), or a list of arrays (T, C)."""
    if isinstance(series, str | bytes) or not hasattr(series, "__len__"):
        raise ValueError(
            f"series must be a DataFrame, a mapping of columns, an array (steps, channels) or a list of such arrays; "
            f"got {type(series).__name__}"
        )
    if (isinstance(series, list | tuple) and nesting(series) <= 2 and not is_list_of_arrays(series)) or (
        getattr(series, "ndim", 3) <= 2
    ):
        series = [series]
    count = None if channels is None else len(channels)
    for index, one in enumerate(series):
        try:
            if isinstance(one, torch.Tensor):
                one = one.detach().cpu().numpy()
            values = np.asarray(
                [[math.nan if value is None else value for value in step] for step in one]
                if isinstance(one, list | tuple) and one and isinstance(one[0], list | tuple)
                else one,
                dtype=np.float64,
            )
        except (TypeError, ValueError):
            raise ValueError(
                f"series {index} must be an array (steps, channels) of numbers: its steps differ in length or hold text"
            ) from None
        if values.size == 0:
            raise ValueError(f"series {index} is empty: it needs at least 1 step")
        values = values[:, None] if values.ndim == 1 else values
        if values.ndim != 2:
            raise ValueError(f"series {index} must be an array (steps, channels), got one of shape {values.shape}")
        count = values.shape[1] if count is None else count
        if values.shape[1] != count:
            raise ValueError(f"series {index} has {values.shape[1]} channels, the others or the model have {count}")
        if np.isinf(values).any():
            step, channel = np.argwhere(np.isinf(values))[0]
            raise ValueError(f"series {index} holds an infinite number in step {step}, channel {channel}")
        yield Series(None, values)


def is_list_of_arrays(series: Any) -> bool:
    """Tell whether each entry of a list is an array or tensor of a whole series, of several channels (T, C)."""
    return len(series) > 0 and getattr(series[0], "ndim", 0) == 2


def nesting(values: Any) -> int:
    """Return how deeply lists are nested: 2 for one series (steps of channels) as plain lists, 3 for several."""
    depth = 0
    while isinstance(values, list | tuple) and values:
        depth, values = depth + 1, values[0]
    return depth + (values.ndim if isinstance(values, np.ndarray | torch.Tensor) else 0)
