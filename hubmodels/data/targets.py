"""Rows without a target: they can neither be learnt from nor measured."""

import datasets
import numpy as np
import pyarrow.compute

from ..errors import HubmodelsError
from ..recipe import DataArguments
from ..report import note
from .kinds.columns import is_text
from .kinds.gaps import trimmed
from .origins import Origin, pick_rows
from .row_hashes import arrow_batches


def lacks_target(rows: datasets.Dataset, targets: tuple[str, ...]) -> np.ndarray:
    """Tell of each row whether it lacks one of its targets, (N,) bool: a gap or blank, no number, a class below 0."""
    lacking = np.zeros(len(rows), dtype=bool)
    for name in targets:
        lacking |= lacks_value(rows, name)
    return lacking


def lacks_value(rows: datasets.Dataset, name: str) -> np.ndarray:
    """Tell of each row whether a column has no value there, (N,) bool."""
    compute = pyarrow.compute
    is_class = isinstance(rows.features[name], datasets.ClassLabel)
    lacking = []
    for table in arrow_batches(rows, [name]):
        column = table.column(0)
        missing = compute.is_null(column, nan_is_null=pyarrow.types.is_floating(column.type))
        if is_text(column.type):
            missing = compute.is_null(trimmed(column))
        if is_class:
            missing = compute.or_(missing, compute.fill_null(compute.less(column, 0), False))
        lacking.append(missing.to_numpy())
    return np.concatenate(lacking) if lacking else np.zeros(0, dtype=bool)


def has_no_targets(rows: datasets.Dataset, targets: tuple[str, ...]) -> bool:
    """Tell whether a split cannot be measured at all: a target has no column there, or no value in any row."""
    return bool(targets) and any(name not in rows.features or lacks_value(rows, name).all() for name in targets)


def with_targets(
    rows: datasets.Dataset, targets: tuple[str, ...], role: str, origin: Origin, arguments: DataArguments
) -> datasets.Dataset:
    """Refuse or drop the rows without a target, as `missing_targets` says.

    Raises:
        HubmodelsError: there is one and they are to be refused, or no row has a target.
    """
    missing = lacks_target(rows, targets)
    count = int(missing.sum())
    if count == 0:
        return rows
    first = int(missing.argmax())
    column = next(name for name in targets if lacks_value(pick_rows(rows, [first]), name)[0])
    where = f"{origin.words(rows, first)}, column {column!r}"
    if count == len(rows):
        raise HubmodelsError(
            f"{where}: no row of the {role} split has this target: name another column, or another file"
        )
    if arguments.missing_targets == "refuse":
        more = f", and {count - 1:,} more row{'s have' if count > 2 else ' has'} none either" if count > 1 else ""
        raise HubmodelsError(
            f"{where}: it has no value, and it is the target{more}; fill in what is missing, or leave such rows "
            "out with --missing_targets drop"
        )
    note(
        "rows",
        f"{count:,} of {len(rows):,} rows of the {role} split have no target and were left out, the first {where}",
        surprising=True,
        remedy="missing_targets: refuse",
    )
    return pick_rows(rows, np.flatnonzero(~missing))
