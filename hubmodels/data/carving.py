"""Which units are drawn when a split is carved: by hashes alone, so that the order of the rows in a file is nothing.

A unit is what may not be torn apart: a row, rows that are equal, a group. Its key is a hash of what it holds and of
the seed; drawn are those with the smallest keys, from each class its share.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import datasets
import numpy as np

from ..units import Units
from .row_hashes import combine, hash_rows, mix, read_column

NUM_RANGES = 10  # ranges of a number, of equally many rows, that carved rows are balanced by
MOST_COPIES = 10  # rows a distinct row, on average, from which on equal rows are no copies
FEWEST_UNITS = 10  # distinct rows below which the same holds: so few cannot be shared out


@dataclass(frozen=True)
class Pool:
    """Holds the units of some rows: N rows, U units, K classes (or ranges of a number)."""

    unit_of: np.ndarray  # (N,) int64, the unit of each row
    keys: np.ndarray  # (U,) uint64, the units' order
    class_of: np.ndarray  # (N,) int64, the class of each row
    num_classes: int
    grouped: bool  # whether units are groups, whose rows may have several classes
    num_repeated: int = 0  # rows that occur twice or more and stay together
    num_common: int = 0  # distinct rows where these are so few that equal rows are no copies; else 0

    @property
    def num_units(self) -> int:
        """Return how many units there are."""
        return len(self.keys)


def gather_units(rows: datasets.Dataset, units: Units, group: Sequence[str], seed: int) -> Pool:
    """Gather rows into units.

    Args:
        rows: those that splits are carved from.
        units: what the task says of their columns.
        group: the columns whose equal values keep rows together.
        seed: decides the keys.
    """
    class_of, num_classes = classes_of_rows(rows, units)
    salt = mix(np.array([seed], dtype=np.int64).view(np.uint64))[0]
    if group:
        hashes = hash_rows(rows, group)
        absent = np.logical_and.reduce([are_absent(rows, name) for name in group])
        if absent.any():  # rows without a group are no group: they stay together where they are equal
            others = [name for name in units.inputs or rows.column_names if name not in group]
            hashes = np.where(absent, mix(hash_contents(rows, others)), hashes)
        distinct, unit_of = np.unique(hashes, return_inverse=True)
        return Pool(unit_of, combine(distinct, salt), class_of, num_classes, grouped=True)
    inputs = hash_contents(rows, units.inputs or rows.column_names)
    distinct, unit_of, counts = np.unique(inputs, return_inverse=True, return_counts=True)
    if len(distinct) * MOST_COPIES <= len(rows) or len(distinct) < min(FEWEST_UNITS, len(rows)):
        contents = combine(inputs, hash_rows(rows, units.targets))
        keys = combine(combine(contents, occurrences(contents)), salt)
        return Pool(np.arange(len(rows)), keys, class_of, num_classes, grouped=False, num_common=len(distinct))
    num_repeated = int(counts[counts > 1].sum())
    return Pool(unit_of, combine(distinct, salt), class_of, num_classes, grouped=False, num_repeated=num_repeated)


def are_absent(rows: datasets.Dataset, column: str) -> np.ndarray:
    """Tell of each row whether a column has nothing there, (N,) bool."""
    return read_column(rows, column).is_null(nan_is_null=True).to_numpy()


def hash_contents(rows: datasets.Dataset, columns: Sequence[str]) -> np.ndarray:
    """Hash what rows hold beside what numbers them: a table's whole numbers or texts that are all different, (N,)."""
    hashes = {name: hash_rows(rows, [name]) for name in columns}
    features = rows.features
    numbering = [
        name
        for name in columns
        if getattr(features[name], "dtype", "").startswith(("int", "uint", "string", "large_string"))
        and len(np.unique(hashes[name])) == len(rows)
    ]
    if len(columns) - len(numbering) < 2:  # too little to tell rows apart by
        numbering = []
    joined = np.zeros(len(rows), dtype=np.uint64)
    for name in columns:
        joined = joined if name in numbering else combine(joined, hashes[name])
    return joined


def occurrences(hashes: np.ndarray) -> np.ndarray:
    """Count for each row how many equal ones come before it, (N,) uint64."""
    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    lengths = np.diff(np.append(starts, len(hashes)))
    counts = np.empty(len(hashes), dtype=np.uint64)
    counts[order] = np.arange(len(hashes), dtype=np.uint64) - np.repeat(starts, lengths).astype(np.uint64)
    return counts


def classes_of_rows(rows: datasets.Dataset, units: Units) -> tuple[np.ndarray, int]:
    """Number what carved rows are balanced by: classes, or ranges of a number that hold equally many rows.

    Returns:
        The class of each row, (N,) int64, and how many there are; one where nothing is balanced.
    """
    if units.classes is not None:
        distinct, numbers = np.unique(hash_rows(rows, [units.classes]), return_inverse=True)
        if 2 * len(distinct) <= len(rows):
            return numbers, len(distinct)
    if units.numbers is not None and len(rows) > NUM_RANGES:
        values = np.asarray(read_column(rows, units.numbers).to_numpy(), dtype=np.float64)
        ends = np.quantile(np.nan_to_num(values), np.linspace(0, 1, NUM_RANGES + 1)[1:-1])
        distinct, numbers = np.unique(np.searchsorted(ends, np.nan_to_num(values)), return_inverse=True)
        return numbers, len(distinct)
    return np.zeros(len(rows), dtype=np.int64), 1


def draw_units(pool: Pool, rows: np.ndarray, count: int, splits_left: int, at_most: bool = False) -> np.ndarray:
    """Draw about `count` rows as whole units, each class in its share.

    A class of more units than `splits_left` gives one at least, and leaves one for each split that follows.

    Args:
        pool: the units.
        rows: numbers of the rows that are there to be drawn, (M,).
        count: how many rows shall be drawn, < M.
        splits_left: how many splits follow that need rows of each class, the training rows among them.
        at_most: whether `count` must not be exceeded.

    Returns:
        Whether each of `rows` is drawn, (M,) bool.
    """
    unit_of, class_of = pool.unit_of[rows], pool.class_of[rows]
    units, unit_of, sizes = np.unique(unit_of, return_inverse=True, return_counts=True)
    keys = pool.keys[units]
    if pool.grouped:
        return draw_groups(unit_of, keys, sizes, class_of, pool.num_classes, count, splits_left)[unit_of]
    # Of a unit whose rows have several classes, which are copies that contradict each other, the smallest counts.
    unit_class = np.full(len(units), pool.num_classes)
    np.minimum.at(unit_class, unit_of, class_of)
    totals = np.bincount(unit_class, weights=sizes, minlength=pool.num_classes).astype(np.int64)
    num_units = np.bincount(unit_class, minlength=pool.num_classes)
    most = num_units if at_most else num_units - reserved_units(num_units, splits_left)
    quotas = share_out(totals, most, count, at_most)
    drawn = np.zeros(len(units), dtype=bool)
    order = np.lexsort([keys, sizes > quotas[unit_class], unit_class])
    ends = np.cumsum(num_units)
    for number in np.flatnonzero(quotas):
        members = order[ends[number] - num_units[number] : ends[number]]
        sums = np.cumsum(sizes[members])
        num_drawn = int(np.searchsorted(sums, quotas[number], side="right"))
        drawn[members[: min(max(num_drawn, 0 if at_most else 1), most[number])]] = True
    return drawn[unit_of]


def reserved_units(num_units: np.ndarray, splits_left: int) -> np.ndarray:
    """Count the units of each class that stay for the splits that follow, (K,).

    Of too few units the training rows come first, then the split that is carved now."""
    return np.minimum(splits_left, np.maximum(num_units - 1, 1))


def share_out(totals: np.ndarray, most_units: np.ndarray, count: int, at_most: bool) -> np.ndarray:
    """Share rows out over classes by largest remainders, (K,) int64.

    Args:
        totals: rows of each class, (K,).
        most_units: units of each class that may be drawn, (K,).
        count: rows in all.
        at_most: see `draw_units`.
    """
    exact = totals * (count / max(1, totals.sum()))
    quotas = np.floor(exact).astype(np.int64)
    least = (most_units > 0).astype(np.int64)
    if at_most and least.sum() > count:
        least[:] = 0
    most = np.where(most_units > 0, totals, 0)
    quotas = np.minimum(np.maximum(quotas, least), most)
    order = np.argsort(-(exact - np.floor(exact)), kind="stable")
    while (missing := count - int(quotas.sum())) > 0:  # at most as often as classes are full
        open_classes = order[quotas[order] < most[order]]
        if len(open_classes) == 0:
            break
        chosen = open_classes[:missing]
        quotas[chosen] += 1
    while (excess := int(quotas.sum()) - count) > 0:
        above = order[::-1][quotas[order[::-1]] > np.maximum(least, 1)[order[::-1]]]
        if len(above) == 0:
            break
        quotas[above[:excess]] -= 1
    return quotas


def draw_groups(
    unit_of: np.ndarray,
    keys: np.ndarray,
    sizes: np.ndarray,
    class_of: np.ndarray,
    num_classes: int,
    count: int,
    splits_left: int,
) -> np.ndarray:
    """Draw groups one by one in the order of their keys, as long as each brings the classes nearer to their shares.

    Classes of few groups come first. A group is left where it is the last of its class, (U,) bool."""
    pairs, pair_counts = np.unique(unit_of * num_classes + class_of, return_counts=True)
    pair_units, pair_classes = np.divmod(pairs, num_classes)
    starts = np.searchsorted(pair_units, np.arange(len(keys) + 1))
    goal = np.bincount(class_of, minlength=num_classes) * (count / len(class_of))
    groups_of_class = np.bincount(pair_classes, minlength=num_classes)
    reserved = reserved_units(groups_of_class, splits_left)
    state = GroupDraw(np.zeros(len(keys), dtype=bool), np.zeros(num_classes), groups_of_class.copy(), goal, reserved)

    def members(unit: int) -> slice:
        return slice(starts[unit], starts[unit + 1])

    order = np.argsort(keys, kind="stable")
    position = np.empty(len(keys), dtype=np.int64)
    position[order] = np.arange(len(keys))
    for number in np.argsort(groups_of_class, kind="stable"):
        if groups_of_class[number] < 2 or state.counts[number] > 0:
            continue
        candidates = pair_units[pair_classes == number]
        candidates = candidates[np.lexsort([position[candidates], sizes[candidates] > 2 * count])]
        for unit in candidates:
            if state.can_leave(pair_classes[members(unit)]):
                state.take(unit, pair_classes[members(unit)], pair_counts[members(unit)])
                break
    for unit in order:
        classes, numbers = pair_classes[members(unit)], pair_counts[members(unit)]
        if state.counts.sum() >= count:
            break
        if not state.drawn[unit] and state.nearer(classes, numbers) and state.can_leave(classes):
            state.take(unit, classes, numbers)
    return state.drawn


@dataclass
class GroupDraw:
    """Holds the groups that are drawn so far, and what is left of each class."""

    drawn: np.ndarray  # (U,) bool
    counts: np.ndarray  # (K,) rows of each class that are drawn
    groups_left: np.ndarray  # (K,) groups of each class that are not
    goal: np.ndarray  # (K,) rows of each class that shall be drawn
    reserved: np.ndarray  # (K,) groups of each class that stay

    def can_leave(self, classes: np.ndarray) -> bool:
        """Tell whether enough groups of each class are left when one with these classes goes."""
        return bool((self.groups_left[classes] > self.reserved[classes]).all())

    def nearer(self, classes: np.ndarray, numbers: np.ndarray) -> bool:
        """Tell whether a group with so many rows of these classes brings the counts nearer to the goal."""
        before = self.counts[classes] - self.goal[classes]
        return bool((numbers * (2 * before + numbers)).sum() < 0)

    def take(self, unit: int, classes: np.ndarray, numbers: np.ndarray) -> None:
        """Draw a group."""
        self.drawn[unit] = True
        self.counts[classes] += numbers
        self.groups_left[classes] -= 1
