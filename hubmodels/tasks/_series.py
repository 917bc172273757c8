"""What the time-series tasks share: finding the columns of a table of series, its order, and its gaps."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..errors import HubmodelsError
from .contract.columns import choose_column, describe_columns, existing_column, kind_of

if TYPE_CHECKING:
    import datasets
    import numpy as np

TIME_NAMES = ("time", "date", "datetime", "timestamp", "ds", "step")
ID_NAMES = ("id", "series_id", "item_id", "unique_id", "sample_id", "case_id")


def time_column(features: "datasets.Features", chosen: str | None) -> str | None:
    """The column of times: the chosen one, else the only one of dates, else one with a usual name, else none. Raises
    HubmodelsError when there is no such column, or several to choose from."""
    if chosen is not None:
        return existing_column(chosen, features, "time_column_name")
    found = [name for name in features if kind_of(features[name]).startswith(("timestamp", "date"))]
    found = found or [
        name
        for name in features
        if name.lower() in TIME_NAMES and kind_of(features[name]).startswith(("string", "large_string", "int", "uint"))
    ]
    return choose_column(found, TIME_NAMES, "time", "time_column_name") if found else None


def id_column(features: "datasets.Features", chosen: str | None) -> str | None:
    """The column that says which series a row is of: the chosen one, else one with a usual name, else none."""
    if chosen is not None:
        return existing_column(chosen, features, "series_id_column_name")
    found = [
        name
        for name in features
        if name.lower() in ID_NAMES
        and kind_of(features[name]).startswith(("string", "large_string", "int", "uint", "classes"))
    ]
    return choose_column(found, ID_NAMES, "series id", "series_id_column_name") if found else None


def number_columns(
    features: "datasets.Features", chosen: list[str] | None, others: Iterable[str | None], flag: str
) -> list[str]:
    """The chosen columns, which must hold numbers, or all columns of numbers but `others`. Raises HubmodelsError when
    there is none."""
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


def is_number(feature: Any) -> bool:
    return kind_of(feature).startswith(("int", "uint", "float", "decimal", "bool"))


def read_columns(dataset: "datasets.Dataset", names: Iterable[str]) -> "dict[str, Any]":
    """Whole columns as pandas Series. Raises HubmodelsError for a stream, whose rows are not all at hand."""
    if not hasattr(dataset, "__len__"):
        raise HubmodelsError("tables of series cannot be streamed: a series needs all its rows; leave out --streaming")
    names = list(names)
    table = dataset.select_columns(names).with_format("arrow")[:]
    return {name: table.column(name).to_pandas() for name in names}


def order_rows(
    dataset: "datasets.Dataset", id_name: str | None, time_name: str | None, frequency: str | None
) -> "datasets.Dataset":
    """The rows of each series together and, where the times leave steps out, rows of missing values in their places.

    A series' rows must ascend in time; other series' rows may lie between them. Raises HubmodelsError for times that
    are unsorted, duplicated or uneven."""
    import datasets
    import numpy as np

    from ..processors.processing_series import group_rows
    from ..processors.processing_series_times import find_frequency, move_times, step_numbers, to_times

    names = [name for name in (id_name, time_name) if name is not None]
    if not names or len(dataset) == 0:
        return dataset
    columns = read_columns(dataset, names)
    gap_rows: dict[str, list] = {name: [] for name in names}
    order = []
    try:
        groups = group_rows(columns[id_name] if id_name else None, len(dataset))
        if time_name is not None:
            times = to_times(columns[time_name], time_name)
            frequency = frequency or find_frequency([times[rows] for _, rows in groups])
        for name, rows in groups:
            if time_name is not None:
                label = f"column {time_name!r}" + ("" if name is None else f" of series {name!r}")
                steps = step_numbers(times[rows], frequency, label)
                missing = np.setdiff1d(np.arange(steps[-1] + 1), steps)
                if len(missing):
                    places = np.empty(steps[-1] + 1, dtype=np.int64)
                    places[steps] = rows
                    places[missing] = len(dataset) + len(gap_rows[time_name]) + np.arange(len(missing))
                    gap_rows[time_name] += move_times(times[rows[0]], missing, frequency).tolist()
                    if id_name is not None:
                        gap_rows[id_name] += [name] * len(missing)
                    rows = places
            order.append(rows)
    except ValueError as error:
        raise HubmodelsError(str(error)) from None
    order = np.concatenate(order)
    if time_name is not None and gap_rows[time_name]:
        dataset = datasets.concatenate_datasets([dataset, _gaps(gap_rows, dataset.features, time_name)])
    elif np.array_equal(order, np.arange(len(dataset))):
        return dataset
    return dataset.select(order)


def _gaps(rows: dict[str, list], features: "datasets.Features", time_name: str) -> "datasets.Dataset":
    """Rows with an id and a time, in the columns' own types, and nothing else."""
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
    """The processor of a checkpoint. Raises HubmodelsError where there is none."""
    from ..processors.processing_series import TimeSeriesProcessor

    try:
        return TimeSeriesProcessor.from_pretrained(path, **kwargs)
    except (OSError, ValueError, TypeError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise HubmodelsError(f"no usable processor of series (processor_config.json) at {path}: {reason}") from error


def fill_forward(values: "np.ndarray", observed: "np.ndarray") -> "np.ndarray":
    """Values (B, T, C) with each missing one replaced by the last observed before it, or else the first after it, or
    else 0."""
    import numpy as np

    if observed.all():
        return values
    steps = np.arange(values.shape[1])[None, :, None]
    last = np.maximum.accumulate(np.where(observed, steps, -1), axis=1)
    first = np.where(observed.any(axis=1), observed.argmax(axis=1), 0)[:, None]  # (B, 1, C)
    filled = np.take_along_axis(values, np.where(last >= 0, last, first), axis=1)
    return np.where(observed.any(axis=1)[:, None], filled, 0)
