"""Splits of a data set: rows named by a slice, and splits that it lacks, carved from its training rows."""

from collections.abc import Mapping, Sequence

import datasets
import numpy as np

from ..errors import HubmodelsError, nearest
from ..recipe import DataArguments
from ..report import note
from ..units import Units
from .carving import Pool, draw_units, gather_units
from .origins import pick_rows
from .row_hashes import hash_rows, read_column


def cut_split(raw: dict[str, datasets.Dataset], spec: str, arguments: DataArguments) -> datasets.Dataset:
    """Select the rows of a split that a slice names."""
    if arguments.streaming:
        raise HubmodelsError(f"the rows {spec!r} of a stream cannot be counted off: leave out --streaming")
    try:
        slices = datasets.ReadInstruction.from_spec(spec).to_absolute({name: len(split) for name, split in raw.items()})
    except (ValueError, AssertionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise HubmodelsError(
            f"cannot cut {spec!r} from data set {arguments.dataset}: {reason}; give a split such as train[:80%]"
        ) from None
    # `select` refuses an empty range behind the last row, which is one more split without rows.
    ranges = [range(item.from_ or 0, item.to) or range(0) for item in slices]
    rows = [pick_rows(raw[item.splitname], numbers) for item, numbers in zip(slices, ranges, strict=True)]
    return rows[0] if len(rows) == 1 else datasets.concatenate_datasets(rows)


def carve_splits(
    rows: datasets.Dataset, fractions: Mapping[str, float], units: Units, arguments: DataArguments
) -> tuple[dict[str, datasets.Dataset], list[str]]:
    """Carve splits from the training rows, one after the other, and say how (`report.note`).

    With `carve` "last" they are the last steps of each series, else units that `split_seed` draws. The order of the
    rows in their file decides only what comes last where there is no time.

    Args:
        rows: all training rows.
        fractions: of each split to carve, its share of the rows that are left, in order.
        units: what may not be torn apart.
        arguments: how to carve.

    Returns:
        The splits, the training rows among them, with their rows in their old order; and what was done, in sentences.

    Raises:
        HubmodelsError: there are too few rows or groups, or no such column of groups.
    """
    if not fractions:
        return {"train": rows}, []
    for role, fraction in fractions.items():
        check_count(round(len(rows) * fraction), len(rows), role, fraction, "rows")
    if arguments.group_column is not None and arguments.group_column not in rows.features:
        raise HubmodelsError(
            f"group_column: the data set has no column {arguments.group_column!r}"
            f"{nearest(arguments.group_column, rows.features)}; its columns are {', '.join(rows.features)}"
        )
    if arguments.carve == "last":
        splits, sentence, remedy = carve_last(rows, fractions, units, arguments)
    else:
        splits, sentence, remedy = carve_drawn(rows, fractions, units, arguments)
    sizes = [f"{count:,} {words_of(role)}" for role, count in count_rows(splits, tuple(fractions)).items()]
    carved = " and ".join(fractions)
    sentences = [
        f"The data set has no {carved} split of its own: carved from its {len(rows):,} rows, {', '.join(sizes)}.",
        *sentence,
    ]
    note("splits", " ".join(sentences), remedy=remedy)
    return splits, sentences


def count_rows(splits: Mapping[str, datasets.Dataset], carved: Sequence[str]) -> dict[str, int]:
    """Count the rows of each split; of carved ones without those that an earlier split has, to look back on."""
    counts: dict[str, int] = {}
    earlier: list[np.ndarray] = []
    for role in (name for name in ("train", "validation", "test") if name in splits):
        numbers = row_numbers(splits[role])
        is_back = np.isin(numbers, np.concatenate(earlier)) if earlier and role in carved else np.zeros(0)
        counts[role] = len(numbers) - int(np.count_nonzero(is_back))
        if role == "train" or role in carved:  # they come from one table
            earlier.append(numbers)
    return counts


def row_numbers(rows: datasets.Dataset) -> np.ndarray:
    """Return the numbers of rows in the table that they were selected from, (N,)."""
    return np.arange(len(rows)) if rows._indices is None else rows._indices.column(0).to_numpy()


def words_of(role: str) -> str:
    """Say whose rows those of a split are."""
    return {"train": "to train on", "validation": "for validation", "test": "for the test"}[role]


def check_count(count: int, total: int, role: str, fraction: float, what: str) -> None:
    """Refuse a split that would be empty or leave nothing."""
    if not 0 < count < total:
        raise HubmodelsError(
            f"cannot carve a {role} split of {fraction:g} from {total} {what}: it would take {count}; "
            f"change --{role}_fraction or give the data set a {role} split"
        )


# Drawn units


def carve_drawn(
    rows: datasets.Dataset, fractions: Mapping[str, float], units: Units, arguments: DataArguments
) -> tuple[dict[str, datasets.Dataset], list[str], str]:
    """Carve units that the seed draws, each class in its share; gives splits, sentences and the remedy."""
    group = (arguments.group_column,) if arguments.group_column else units.group or units.series
    pool = gather_units(rows, units, group, arguments.split_seed)
    needed = len(fractions) + 1
    if pool.num_units < needed:
        what = f"groups of equal {' and '.join(map(repr, group))}" if group else "different rows"
        raise HubmodelsError(
            f"cannot carve {' and '.join(fractions)} rows from {pool.num_units} {what}: {needed} are needed; give the "
            "data set these splits"
        )
    left, splits = np.arange(len(rows)), {}
    for number, (role, fraction) in enumerate(fractions.items()):
        count = round(len(left) * fraction)
        check_count(count, len(left), role, fraction, "rows")
        drawn = draw_units(pool, left, count, splits_left=len(fractions) - number)
        check_count(int(drawn.sum()), len(left), role, fraction, "rows")
        splits[role] = pick_rows(rows, left[drawn])
        left = left[~drawn]
    splits["train"] = pick_rows(rows, left)
    return splits, draw_sentences(pool, units, group, arguments.split_seed), f"split_seed: {arguments.split_seed + 1}"


def draw_sentences(pool: Pool, units: Units, group: tuple[str, ...], seed: int) -> list[str]:
    """Say how units were drawn."""
    balanced = ""
    if pool.num_classes > 1:
        balanced = (
            f", each of the {pool.num_classes:,} classes of {units.classes!r} in its share"
            if units.classes is not None
            else f", balanced over the range of {units.numbers!r}"
        )
    what = f"whole groups of equal {' and '.join(map(repr, group))} ({pool.num_units:,})" if group else "rows"
    sentences = [f"{what[0].upper()}{what[1:]} were drawn by seed {seed} and what they hold{balanced}."]
    if pool.num_repeated:
        sentences.append(f"{pool.num_repeated:,} rows occur twice or more; equal rows stand in one split.")
    if pool.num_common:
        sentences.append(
            f"There are only {pool.num_common:,} different rows: equal ones are no copies and were drawn one by one."
        )
    return sentences


def limit_rows(
    rows: datasets.Dataset, limit: int, role: str, units: Units, arguments: DataArguments
) -> datasets.Dataset:
    """Keep at most so many rows of a split: of a time order the first ones, else units drawn with each class."""
    if limit >= len(rows):
        return rows
    if arguments.carve == "last":
        note("rows", f"of {len(rows):,} {role} rows the first {limit:,} were taken")
        return pick_rows(rows, range(limit))
    group = units.group or units.series
    pool = gather_units(rows, units, group, arguments.split_seed)
    drawn = draw_units(pool, np.arange(len(rows)), limit, splits_left=0, at_most=True)
    if not drawn.any():
        return pick_rows(rows, range(limit))
    note("rows", f"of {len(rows):,} {role} rows {int(drawn.sum()):,} were drawn by seed {arguments.split_seed}")
    return pick_rows(rows, np.flatnonzero(drawn))


# Time


def carve_last(
    rows: datasets.Dataset, fractions: Mapping[str, float], units: Units, arguments: DataArguments
) -> tuple[dict[str, datasets.Dataset], list[str], str]:
    """Carve the last steps of each series, with the steps before them that their first windows look back on."""
    if arguments.group_column is not None:
        raise HubmodelsError(
            f"group_column {arguments.group_column!r} keeps whole groups together, and carve last takes the last steps "
            "of each series: give --carve random, or leave out --group_column"
        )
    series, steps, lengths = order_steps(rows, units)
    ends = lengths.copy()
    splits: dict[str, datasets.Dataset] = {}
    for role, fraction in fractions.items():
        counts = np.where(ends > 1, np.clip(np.round(ends * fraction), 1, ends - 1), 0).astype(np.int64)
        if len(lengths) == 1:
            check_count(round(int(ends[0]) * fraction), int(ends[0]), role, fraction, "rows")
            counts = np.array([round(int(ends[0]) * fraction)])
        first = np.where(counts > 0, np.maximum(ends - counts - units.context, 0), ends)
        splits[role] = pick_rows(rows, select_steps(series, steps, first, ends))
        ends = ends - counts
    splits["train"] = pick_rows(rows, select_steps(series, steps, np.zeros_like(ends), ends))
    order = f"in the order of {units.time!r}" if units.time is not None else "in the order of the file"
    of_each = f" of each of {len(lengths):,} series" if units.series else ""
    sentences = [f"They are the last rows{of_each}, {order}."]
    if units.context:
        counts = count_rows(splits, tuple(fractions))
        backs = [f"{len(splits[role]) - counts[role]:,} {words_of(role)}" for role in fractions]
        text = f"Up to {units.context:,} steps before them are there to look back on, rows of the split before"
        sentences.append(f"{text}: {' and '.join(backs)} beside the counted ones.")
    return splits, sentences, "carve: random"


def select_steps(series: np.ndarray, steps: np.ndarray, first: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Return the numbers of the rows whose step of their series lies in first..ends, which are (S,) both."""
    return np.flatnonzero((steps >= first[series]) & (steps < ends[series]))


def order_steps(rows: datasets.Dataset, units: Units) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Number the series, and the steps of each by its time, or by the order of the rows.

    Returns:
        The series of each row, (N,), its step within it, (N,), and the steps of each series, (S,).
    """
    series = np.zeros(len(rows), dtype=np.int64)
    if units.series:
        series = np.unique(hash_rows(rows, units.series), return_inverse=True)[1]
    times = np.arange(len(rows))
    if units.time is not None:
        times = np.unique(read_column(rows, units.time).to_numpy(), return_inverse=True)[1]
    order = np.lexsort([times, series])
    lengths = np.bincount(series)
    steps = np.empty(len(rows), dtype=np.int64)
    steps[order] = np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return series, steps, lengths
