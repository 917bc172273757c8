"""Columns of a table that tell nothing, or everything: constants, and those that give the target away alone."""

from collections.abc import Iterator, Mapping

import datasets
import numpy as np
import pyarrow
import pyarrow.compute
from datasets.formatting import query_table

from ..units import Units
from .findings import Finding
from .row_hashes import arrow_batches

MOST_ROWS = 2_000  # training rows that columns are tried on, one half to learn from, one to be told
FEWEST_ROWS = 60
MOST_VALUES = 200  # different values of a column of texts that can be learnt by heart
NEARLY, SUSPECTED = 0.99, 0.9  # of balanced accuracy or R²: what gives away, and with a name that speaks of it
LATER_WORDS = ("next", "future", "outcome", "result", "final", "after", "later", "actual", "leak", "answer")


def check_table(splits: Mapping[str, datasets.Dataset], units: Units) -> Iterator[Finding]:
    """Look for constant columns, and for columns that give the target away, among plain values a row."""
    train = splits["train"]
    features = train.features
    names = [name for name in units.inputs if is_scalar(features.get(name)) and name not in units.targets]
    if len(names) < len(units.inputs) or len(train) < 2:
        return  # images, sounds, whole series
    first = next(arrow_batches(train, names, 20))
    constant = [name for name in names if len(first.column(name).unique()) == 1 and is_constant(train, name)]
    if constant and len(names) > 1:
        yield Finding(
            "constant",
            "train",
            len(constant),
            "of the columns hold one value in all training rows and tell nothing",
            [repr(name) for name in constant[:3]],
            f"drop_columns: [{', '.join(constant[:3])}]",
        )
    target = units.classes or units.numbers
    if target is None or target not in features or len(train) < FEWEST_ROWS:
        return
    chosen = np.sort(np.random.default_rng(0).permutation(len(train))[:MOST_ROWS])
    sample = query_table(train.data.select([*names, target]), chosen, indices=train._indices)
    told = read_target(sample.column(target), units.classes is not None)
    measured = len(chosen) // 2
    for name in names:
        if name in constant:
            continue
        score = score_column(sample.column(name), told)
        needed = SUSPECTED if speaks_of(name, target) else NEARLY
        if score >= needed:
            measure = "balanced accuracy" if told.is_class else "R²"
            yield Finding(
                "giveaway",
                "train",
                1,
                f"column tells the target {target!r} nearly alone",
                [f"{name!r} ({measure} {score:.3f} on {measured:,} rows that it was not read off)"],
                f"leave it out where it is not known when predicting: drop_columns: [{name}]",
            )


def is_scalar(feature: object) -> bool:
    """Tell whether a column holds one plain value a row."""
    return isinstance(feature, datasets.Value | datasets.ClassLabel)


def is_constant(rows: datasets.Dataset, name: str) -> bool:
    """Tell whether a column holds one value in all rows."""
    seen: set = set()
    for table in arrow_batches(rows, [name]):
        seen |= set(pyarrow.compute.unique(table.column(0)).slice(0, 2).to_pylist())
        if len(seen) > 1:
            return False
    return True


def speaks_of(name: str, target: str) -> bool:
    """Tell whether a column's name holds the target's, or a word for what comes later."""
    words = name.lower().replace("-", "_").replace(" ", "_").split("_")
    return (len(target) > 2 and target.lower() in name.lower()) or any(word in LATER_WORDS for word in words)


class Told:
    """Holds the target of the sampled rows: class numbers or values, (N,), and how many classes there are."""

    def __init__(self, values: np.ndarray, is_class: bool) -> None:
        self.values, self.is_class = values, is_class
        self.num_classes = int(values.max()) + 1 if is_class else 0


def read_target(column: pyarrow.ChunkedArray, is_class: bool) -> Told:
    """Read the target of the sampled rows."""
    if is_class:
        return Told(pyarrow.compute.fill_null(column.dictionary_encode().combine_chunks().indices, 0).to_numpy(), True)
    return Told(np.nan_to_num(column.cast(pyarrow.float64()).to_numpy()), False)


def score_column(column: pyarrow.ChunkedArray, told: Told) -> float:
    """Measure how well a column alone tells the target: learnt on every other row, told of the rest.

    Numbers and times tell what the nearest ones had, other values what equal ones had."""
    read = read_values(column)
    if read is None:
        return 0.0
    values, ordered = read
    distinct, numbers = np.unique(values[0::2], return_inverse=True)
    measured, truth = values[1::2], told.values[1::2]
    if ordered:
        upper = np.searchsorted(distinct, measured).clip(0, len(distinct) - 1)
        lower = (upper - 1).clip(0)
        nearest = np.where(measured - distinct[lower] < distinct[upper] - measured, lower, upper)
    else:
        nearest = np.searchsorted(distinct, measured).clip(0, len(distinct) - 1)
    if told.is_class:
        return balanced_accuracy(numbers, told, nearest, truth)
    means = np.bincount(numbers, weights=told.values[0::2]) / np.bincount(numbers)
    guesses = np.interp(measured, distinct, means) if ordered else means[nearest]
    spread = np.square(truth - truth.mean()).sum()
    return float(1 - np.square(truth - guesses).sum() / spread) if spread > 0 else 0.0


def balanced_accuracy(numbers: np.ndarray, told: Told, nearest: np.ndarray, truth: np.ndarray) -> float:
    """Compute the mean share of each class that is told rightly.

    Args:
        numbers: of the values that were learnt, one a learnt row.
        told: the target.
        nearest: of the learnt values, the one that each measured row has.
        truth: the classes of the measured rows.
    """
    num_classes = told.num_classes
    size = (int(numbers.max()) + 1) * num_classes
    counts = np.bincount(numbers * num_classes + told.values[0::2], minlength=size).reshape(-1, num_classes)
    guesses = (counts / np.maximum(counts.sum(axis=0), 1)).argmax(axis=1)[nearest]
    occurring = np.bincount(truth, minlength=num_classes)
    hits = np.bincount(truth[guesses == truth], minlength=num_classes)
    present = occurring > 0
    return float((hits[present] / occurring[present]).mean()) if present.sum() > 1 else 0.0


def read_values(column: pyarrow.ChunkedArray) -> tuple[np.ndarray, bool] | None:
    """Read a column's numbers or times as they are, or number its different values; None for too many texts.

    Returns:
        The values, (N,), a gap below all others, and whether they are ordered.
    """
    kind, types = column.type, pyarrow.types
    if types.is_temporal(kind):
        column = column.cast(pyarrow.int32() if kind.bit_width == 32 else pyarrow.int64())
    if types.is_integer(column.type) or types.is_floating(column.type) or types.is_decimal(column.type):
        values = column.cast(pyarrow.float64()).to_numpy()
        known = np.isfinite(values)
        if not known.any():
            return None
        smallest, largest = values[known].min(), values[known].max()
        return np.where(known, values, smallest - (largest - smallest) - 1), True
    coded = column.dictionary_encode().combine_chunks()
    if len(coded.dictionary) > min(MOST_VALUES, len(column) // 4):
        return None
    return pyarrow.compute.fill_null(coded.indices, len(coded.dictionary)).to_numpy(), False
