"""Tables of series: finding their columns, their order, and their gaps."""

import hashlib
import itertools
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ...errors import HubmodelsError, one_line
from ..contract.columns import choose_column, describe_columns, existing_column, is_number, kind_of

if TYPE_CHECKING:
    import datasets
    import numpy as np

TIME_NAMES = ("time", "date", "datetime", "timestamp", "ds", "step")
ID_NAMES = ("id", "series_id", "item_id", "unique_id", "sample_id", "case_id")


def time_column(features: "datasets.Features", chosen: str | None) -> str | None:
    """Name the column of times: the chosen one, else the only one of dates, else one with a usual name, else none.

    Raises HubmodelsError when there is no such column, or several to choose from."""
    if chosen is not None:
        return existing_column(chosen, features, "time_column_name")
    dates = [name for name in features if kind_of(features[name]).startswith(("timestamp", "date"))]
    candidates = dates or [
        name
        for name in features
        if name.lower() in TIME_NAMES and kind_of(features[name]).startswith(("string", "large_string", "int", "uint"))
    ]
    return choose_column(candidates, TIME_NAMES, "time", "time_column_name") if candidates else None


def id_column(features: "datasets.Features", chosen: str | None) -> str | None:
    """Name the column that says which series a row is of: the chosen one, else one with a usual name, else none."""
    if chosen is not None:
        return existing_column(chosen, features, "series_id_column_name")
    candidates = [
        name
        for name in features
        if name.lower() in ID_NAMES
        and kind_of(features[name]).startswith(("string", "large_string", "int", "uint", "classes"))
    ]
    return choose_column(candidates, ID_NAMES, "series id", "series_id_column_name") if candidates else None


def number_columns(
    features: "datasets.Features", chosen: list[str] | None, others: Iterable[str], flag: str
) -> list[str]:
    """Name the chosen columns, which must hold numbers, or all columns of numbers but `others`.

    Raises HubmodelsError when there is none."""
    if chosen is None:
        taken = set(others)
        chosen = [name for name in features if name not in taken and is_number(features[name])]
        if not chosen:
            raise HubmodelsError(
                f"the data set has no column of numbers for the series; its columns are {describe_columns(features)} "
                f"(name them with --{flag})"
            )
    for name in chosen:
        if not is_number(features[existing_column(name, features, flag)]):
            raise HubmodelsError(f"column {name!r} holds {kind_of(features[name])}, not numbers (--{flag})")
    return list(chosen)


def read_columns(dataset: "datasets.Dataset", names: Iterable[str]) -> dict[str, Any]:
    """Read whole columns as pandas Series. Raises HubmodelsError for a stream, whose rows are not all at hand."""
    if not hasattr(dataset, "__len__"):
        raise HubmodelsError("tables of series cannot be streamed: a series needs all its rows; leave out --streaming")
    names = list(names)
    table = dataset.select_columns(names).with_format("arrow")[:]
    return {name: table.column(name).to_pandas() for name in names}


def read_numbers(dataset: "datasets.Dataset", names: Iterable[str]) -> "np.ndarray":
    """Read whole columns as float64 (N, columns), NaN where a value is missing.

    Raises HubmodelsError naming the first value that is infinite or no number."""
    import numpy as np

    from ...processors.processing_series_times import to_numbers

    columns = read_columns(dataset, names)
    try:
        return np.stack([to_numbers(values, name) for name, values in columns.items()], axis=1)
    except ValueError as error:
        raise HubmodelsError(f"the series cannot be used: {error}") from None


def order_rows(
    dataset: "datasets.Dataset", id_name: str | None, time_name: str | None, frequency: str | None
) -> "datasets.Dataset":
    """Put the rows of each series together, with a row of missing values for each step that the times leave out.

    A series' rows must ascend in time; other series' rows may lie between them. Raises HubmodelsError for times that
    are unsorted, duplicated or uneven."""
    import datasets
    import numpy as np

    from ...processors.processing_series_forms import group_rows
    from ...processors.processing_series_times import find_frequency, move_times, step_numbers, to_times

    names = [name for name in (id_name, time_name) if name is not None]
    if not names:
        return dataset
    columns = read_columns(dataset, names)
    if len(dataset) == 0:
        return dataset
    gap_rows: dict[str, list] = {name: [] for name in names}
    stretches = []
    try:
        groups = group_rows(columns[id_name] if id_name else None, len(dataset))
        if time_name is not None:
            times = to_times(columns[time_name], time_name)
            step = frequency or find_frequency([times[rows] for _, rows in groups])
        for name, rows in groups:
            if time_name is not None:
                label = f"column {time_name!r}" + ("" if name is None else f" of series {name!r}")
                steps = step_numbers(times[rows], step, label)
                missing = np.setdiff1d(np.arange(steps[-1] + 1), steps)
                if len(missing):
                    row_of_step = np.empty(steps[-1] + 1, dtype=np.int64)
                    row_of_step[steps] = rows
                    row_of_step[missing] = len(dataset) + len(gap_rows[time_name]) + np.arange(len(missing))
                    gap_rows[time_name] += move_times(times[rows[0]], missing, step).tolist()
                    if id_name is not None:
                        gap_rows[id_name] += [name] * len(missing)
                    rows = row_of_step
            stretches.append(rows)
    except ValueError as error:
        raise HubmodelsError(str(error)) from None
    order = np.concatenate(stretches)
    if time_name is not None and gap_rows[time_name]:
        dataset = datasets.concatenate_datasets([dataset, _gaps(gap_rows, dataset.features, time_name)])
    elif np.array_equal(order, np.arange(len(dataset))):
        return dataset
    return dataset.select(order)


def _gaps(rows: dict[str, list], features: "datasets.Features", time_name: str) -> "datasets.Dataset":
    """Make rows with an id and a time, in the columns' own types, and nothing else."""
    import datasets

    kind = kind_of(features[time_name])
    if kind.startswith(("string", "large_string")):
        rows[time_name] = [str(time) for time in rows[time_name]]
    elif kind.startswith("date"):
        rows[time_name] = [time.date() for time in rows[time_name]]
    count = len(rows[time_name])
    whole = {name: rows.get(name, [None] * count) for name in features}
    return datasets.Dataset.from_dict(whole, features=features)


def load_series_processor(path: str, **kwargs: Any) -> Any:
    """Load the processor of a checkpoint. Raises HubmodelsError where there is none."""
    from ...processors.processing_series import TimeSeriesProcessor

    try:
        return TimeSeriesProcessor.from_pretrained(path, **kwargs)
    except (OSError, ValueError, TypeError, KeyError) as error:
        reason = one_line(error, 200)
        raise HubmodelsError(f"no usable processor of series (processor_config.json) at {path}: {reason}") from error


def usual_frequency(train: "datasets.Dataset", id_name: str | None, time_name: str) -> str:
    """Find the commonest step between the times of rows that stand in order. Raises HubmodelsError without any."""
    from ...processors.processing_series_times import find_frequency, to_times

    columns = read_columns(train, [name for name in (id_name, time_name) if name is not None])
    try:
        times = to_times(columns[time_name], time_name)
        if id_name is None:
            return find_frequency([times])
        return find_frequency([times[first:last] for first, last in stretches(columns[id_name].to_numpy())])
    except ValueError as error:
        raise HubmodelsError(f"the series cannot be used: {error}") from None


def series_codes(ids: Any) -> "np.ndarray":
    """Compute int64 codes of series' ids that do not depend on the batch: a number itself, else 63 bits of a hash."""
    import numpy as np

    array = np.asarray(ids)
    if array.dtype.kind in "iu":
        return array.astype(np.int64)
    codes = {
        name: int.from_bytes(hashlib.blake2b(str(name).encode(), digest_size=8).digest()) >> 1
        for name in set(array.tolist())
    }
    return np.array([codes[name] for name in array.tolist()], dtype=np.int64)


def stretches(codes: "np.ndarray") -> list[tuple[int, int]]:
    """Find the stretches (first, last + 1) of equal entries that follow each other."""
    edges = [0, *((codes[1:] != codes[:-1]).nonzero()[0] + 1).tolist(), len(codes)]
    return [(int(first), int(last)) for first, last in itertools.pairwise(edges) if last > first]
