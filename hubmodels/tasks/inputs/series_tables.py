"""Tables of series: finding their columns, their order, and their gaps."""

import hashlib
import itertools
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ...errors import HubmodelsError, one_line
from ...report import note
from ..contract.columns import is_number, kind_of
from ..contract.rows import refused_row
from .series_times import read_times

if TYPE_CHECKING:
    import datasets
    import numpy as np

MAX_CATEGORIES = 100  # different words of a covariate


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
        raise refused_row(error, range(len(dataset)), "the series cannot be used: ") from None


def sort_rows(
    dataset: "datasets.Dataset",
    ids: list[str],
    time_name: str | None,
    form: str | None = None,
    zone: str | None = None,
) -> "tuple[datasets.Dataset, list[tuple[Any, np.ndarray]], np.ndarray | None]":
    """Put the rows of each series together, by time, and say it where they were not so.

    Local times of a `zone` become UTC in their column too, which says so from then on.

    Returns:
        The rows; each series' id with the numbers of its rows; and the times, datetime64[us] or int64 (N,).

    Raises:
        HubmodelsError: a row has no time or no id.
    """
    import numpy as np

    from ...processors.processing_series_forms import group_rows

    names = [name for name in (*ids, time_name) if name is not None]
    columns = read_columns(dataset, names) if names else {}
    try:
        id_values = [columns[name] for name in ids]
        groups = group_rows((id_values[0] if len(ids) == 1 else id_values) if ids else None, len(dataset))
    except ValueError as error:
        raise HubmodelsError(str(error)) from None
    times = None
    if time_name is not None:
        times = read_times(columns[time_name], time_name, form)
        if zone is not None:
            dataset, times = with_zone(dataset, columns[time_name], time_name, form, zone, groups, times)
    if times is None:
        order = np.concatenate([rows for _, rows in groups]) if groups else np.arange(0)
    else:
        orders = [rows[np.argsort(times[rows], kind="stable")] for _, rows in groups]
        order = np.concatenate(orders) if orders else np.arange(0)
        unsorted = sum(bool((rows != sorted_rows).any()) for (_, rows), sorted_rows in zip(groups, orders, strict=True))
        if unsorted:
            descending = all((np.diff(times[rows].astype(np.int64)) <= 0).all() for _, rows in groups)
            which = "" if not ids else f" of {unsorted:,} of {len(groups):,} series"
            was = "with the newest first" if descending else "in no order"
            if not descending and (repeated := only_repeated(times, groups)):
                was = (
                    f"in order but for {repeated:,} whose time{'s stand' if repeated > 1 else ' stands'} above already"
                )
            note("rows", f"the rows{which} stood {was}: they were sorted by {time_name}", surprising=True)
        times = times[order]
    edges = np.cumsum([0, *(len(rows) for _, rows in groups)])
    stretches_of = [(name, np.arange(edges[index], edges[index + 1])) for index, (name, _) in enumerate(groups)]
    sorted_already = np.array_equal(order, np.arange(len(dataset)))
    return (dataset if sorted_already else dataset.select(order)), stretches_of, times


def only_repeated(times: "np.ndarray", groups: "list[tuple[Any, np.ndarray]]") -> int:
    """Count the rows whose time an earlier row of their series has, where without them all are in order; else 0."""
    import numpy as np

    repeated = 0
    for _, rows in groups:
        first = np.sort(np.unique(times[rows], return_index=True)[1])
        if (np.diff(times[rows][first].astype(np.int64)) < 0).any():
            return 0
        repeated += len(rows) - len(first)
    return repeated


def with_zone(
    dataset: "datasets.Dataset", values: Any, name: str, form: str | None, zone: str,
    groups: "list[tuple[Any, np.ndarray]]", local: "np.ndarray",
) -> "tuple[datasets.Dataset, np.ndarray]":  # fmt: skip
    """Read the local times of a zone as UTC, in the rows too, and say it; times that say their zone stay.

    Raises HubmodelsError for a time that the zone's clocks skip, or a zone that there is not."""
    import numpy as np
    import pyarrow

    from ...processors.processing_series_zones import has_zones, read_local_times

    try:
        times = read_local_times(values, name, form, zone, [rows for _, rows in groups], None)
    except ValueError as error:
        raise HubmodelsError(f"the series cannot be used: {error}") from None
    if times.dtype.kind != "M" or has_zones(values) or np.array_equal(times, local):
        return dataset, times
    doubled = sum(len(rows) - len(np.unique(local[rows])) for _, rows in groups)
    twice = f"; {doubled:,} of them occur twice, where clocks go back" if doubled else ""
    note("rows", f"times in {name} are local ones of {zone}, read as UTC{twice}", surprising=True,
         remedy="time_zone, which files whose times say their zone need not: these are read in UTC")  # fmt: skip
    return replace_column(dataset, name, pyarrow.array(times, pyarrow.timestamp("us", "UTC"))), times


def order_rows(
    dataset: "datasets.Dataset", ids: list[str], time_name: str | None, frequency: str | None, form: str | None = None,
    static: Iterable[str] = (), zone: str | None = None,
) -> "datasets.Dataset":  # fmt: skip
    """Put the rows of each series together, by time, with a row of missing values for each step that is not there.

    Times a little beside their step are put on it. Raises HubmodelsError for times that are duplicated or uneven.

    Args:
        dataset: the rows.
        ids: the columns that together name a row's series; none for one series.
        time_name: the column of times; None where the order of rows is time.
        frequency: how times go on; found when None.
        form: how times that are text or numbers are read (see `to_times`).
        static: columns that gaps repeat.
        zone: of times that say none.
    """
    import numpy as np

    from ...processors.processing_series_calendar import snap_times
    from ...processors.processing_series_times import find_frequency, move_times, step_numbers

    if len(dataset) == 0 or not (ids or time_name):
        return dataset
    dataset, groups, times = sort_rows(dataset, ids, time_name, form, zone)
    if time_name is None or times is None:
        return dataset
    first_rows: list[int] = []  # of the series of each gap
    gap_times: list[Any] = []
    orders, snapped = [], times.copy()
    gappy = 0
    try:
        step = frequency or find_frequency([times[rows] for _, rows in groups])
        for name, rows in groups:
            label = f"column {time_name!r}" + ("" if name is None else f" of series {name!r}")
            snapped[rows] = snap_times(times[rows], step)
            steps = step_numbers(snapped[rows], step, label)
            missing = np.setdiff1d(np.arange(steps[-1] + 1), steps)
            if len(missing):
                gappy += 1
                row_of_step = np.empty(steps[-1] + 1, dtype=np.int64)
                row_of_step[steps] = rows
                row_of_step[missing] = len(dataset) + len(first_rows) + np.arange(len(missing))
                gap_times += move_times(snapped[rows[0]], missing, step).tolist()
                first_rows += [int(rows[0])] * len(missing)
                rows = row_of_step
            orders.append(rows)
    except ValueError as error:
        raise HubmodelsError(str(error)) from None
    say_steps(times, snapped, step, time_name, len(first_rows), gappy, len(groups))
    moved = not np.array_equal(times, snapped)
    if moved or form not in (None, "iso"):
        dataset = replace_column(dataset, time_name, snapped)
    if not first_rows:
        return dataset
    gaps = _gaps(dataset, first_rows, gap_times, time_name, [*ids, *static])
    return datasets_joined(dataset, gaps).select(np.concatenate(orders))


def say_steps(
    times: "np.ndarray", snapped: "np.ndarray", step: str, time_name: str, gaps: int, gappy: int, num_series: int
) -> None:
    """Say how times go on, which steps are missing, and by how much times were moved."""
    import numpy as np

    which = "" if num_series == 1 else f" of {gappy:,} of {num_series:,} series"
    note("rows", f"times in {time_name} go on by {step}", remedy="frequency")
    if gaps:
        note(
            "rows",
            f"{gaps:,} steps{which} are not there: they count as missing values",
            surprising=gaps > len(times) / 10,
        )
    moved = np.abs((times - snapped).astype(np.int64))
    if moved.any():
        count, most = int((moved > 0).sum()), moved.max() / 1e6
        note(
            "rows",
            f"{count:,} times in {time_name} lay up to {most:,.6g} s beside a step of {step}: they were put on it",
            surprising=True,
            remedy="frequency",
        )


def replace_column(dataset: "datasets.Dataset", name: str, values: Any) -> "datasets.Dataset":
    """Give rows with other values in a column, an array of NumPy or of Arrow, of the values' own type."""
    import datasets
    import pyarrow

    table = dataset.with_format("arrow")[:]
    column = values if isinstance(values, pyarrow.Array) else pyarrow.array(values)
    table = table.set_column(table.column_names.index(name), name, column)
    features = dataset.features.copy()
    features[name] = datasets.Features.from_arrow_schema(table.select([name]).schema.remove_metadata())[name]
    return datasets.Dataset(table.replace_schema_metadata(None).cast(features.arrow_schema), split=dataset.split)


def datasets_joined(first: "datasets.Dataset", second: "datasets.Dataset") -> "datasets.Dataset":
    """Put the rows of two data sets below each other."""
    import datasets

    return datasets.concatenate_datasets([first, second])


def _gaps(
    dataset: "datasets.Dataset", first_rows: list[int], times: list[Any], time_name: str, repeated: Iterable[str]
) -> "datasets.Dataset":
    """Make rows with a time and what a series' rows have in common, in the columns' own types, and nothing else."""
    import datasets

    features = dataset.features
    kind = kind_of(features[time_name])
    if kind.startswith(("string", "large_string")):
        times = [str(time) for time in times]
    elif kind.startswith("date"):
        times = [time.date() for time in times]
    columns: dict[str, list] = {name: [None] * len(times) for name in features}
    columns[time_name] = times
    names = list(repeated)
    if names:
        common = dataset.select_columns(names).with_format("arrow")[:]
        for name in names:
            columns[name] = common.column(name).take(first_rows).to_pylist()
    return datasets.Dataset.from_dict(columns, features=features)


def load_series_processor(path: str, **kwargs: Any) -> Any:
    """Load the processor of a checkpoint. Raises HubmodelsError where there is none."""
    from ...processors.processing_series import TimeSeriesProcessor

    try:
        return TimeSeriesProcessor.from_pretrained(path, **kwargs)
    except (OSError, ValueError, TypeError, KeyError) as error:
        reason = one_line(error, 200)
        raise HubmodelsError(f"no usable processor of series (processor_config.json) at {path}: {reason}") from error


def usual_frequency(groups: "list[tuple[Any, np.ndarray]]", times: "np.ndarray") -> str:
    """Find how the times of sorted series go on. Raises HubmodelsError where no series has two steps."""
    from ...processors.processing_series_times import find_frequency

    try:
        return find_frequency([times[rows] for _, rows in groups])
    except ValueError as error:
        raise HubmodelsError(f"the series cannot be used: {error}") from None


def is_single_value(feature: Any) -> bool:
    """Tell whether a column holds one number, text, time or class a row."""
    import datasets

    return isinstance(feature, datasets.Value | datasets.ClassLabel)


def read_categories(dataset: "datasets.Dataset", name: str) -> list[str] | None:
    """Name the categories of a column of words in sorted order; None for a column of numbers.

    Raises HubmodelsError where there are too many for these to be categories."""
    from ...processors.processing_series_times import category_name

    if is_number(dataset.features[name]):
        return None
    words = read_columns(dataset, [name])[name].dropna()
    names = sorted({category_name(word) for word in words.unique()})
    if len(names) > MAX_CATEGORIES:
        raise HubmodelsError(
            f"column {name!r} has {len(names):,} different words: at most {MAX_CATEGORIES} are categories; leave it out"
        )
    return names


def say_unknown_words(columns: Mapping[str, Any], categories: Mapping[str, list[str]]) -> None:
    """Say which words of covariates no training row had, and in how many rows: they count as none of the categories."""
    from ...processors.processing_series_times import as_array, category_name, is_missing

    for name, known in categories.items():
        if name not in columns:
            continue
        words = [category_name(word) for word in as_array(columns[name]).tolist() if not is_missing(word)]
        unknown = Counter(word for word in words if word not in known)
        if unknown:
            shown = ", ".join(f"{word!r} ({count:,})" for word, count in unknown.most_common(5))
            more = f" and {len(unknown) - 5:,} other words" if len(unknown) > 5 else ""
            note(
                "rows",
                f"column {name!r}: {sum(unknown.values()):,} of {len(words):,} rows hold words that the training rows "
                f"had not: {shown}{more}; they count as none of the categories {', '.join(known[:8])}",
                surprising=True,
            )


def series_codes(*columns: Any) -> "np.ndarray":
    """Compute int64 codes of series' ids that do not depend on the batch: a number itself, else 63 bits of a hash."""
    import numpy as np

    arrays = [np.asarray(column) for column in columns]
    if len(arrays) == 1 and arrays[0].dtype.kind in "iu":
        return arrays[0].astype(np.int64)
    names = arrays[0].tolist() if len(arrays) == 1 else list(zip(*(array.tolist() for array in arrays), strict=True))
    codes = {
        name: int.from_bytes(hashlib.blake2b(str(name).encode(), digest_size=8).digest()) >> 1 for name in set(names)
    }
    return np.array([codes[name] for name in names], dtype=np.int64)


def stretches(codes: "np.ndarray") -> list[tuple[int, int]]:
    """Find the stretches (first, last + 1) of equal entries that follow each other."""
    edges = [0, *((codes[1:] != codes[:-1]).nonzero()[0] + 1).tolist(), len(codes)]
    return [(int(first), int(last)) for first, last in itertools.pairwise(edges) if last > first]
