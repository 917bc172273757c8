"""Splits of a data set: rows named by a slice, and splits that it lacks, carved from its training rows."""

import datasets
import numpy as np

from ..errors import HubmodelsError
from ..recipe import DataArguments
from ..units import Units


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
    rows = [raw[item.splitname].select(numbers) for item, numbers in zip(slices, ranges, strict=True)]
    return rows[0] if len(rows) == 1 else datasets.concatenate_datasets(rows)


def carve_split(
    rows: datasets.Dataset, fraction: float, seed: int | None, role: str, units: Units
) -> tuple[datasets.Dataset, datasets.Dataset]:
    """Carve rows for another split: drawn by the seed, or without one the last.

    Returns:
        The rows that remain and the rows carved, both in their old order.
    """
    count = round(len(rows) * fraction)
    if not 0 < count < len(rows):
        raise HubmodelsError(
            f"cannot carve a {role} split of {fraction:g} from {len(rows)} rows: it would take {count}; "
            f"change --{role}_fraction or give the data set a {role} split"
        )
    if seed is None:
        return rows.select(range(len(rows) - count)), rows.select(range(len(rows) - count, len(rows)))
    order = np.random.default_rng(seed).permutation(len(rows))
    return rows.select(np.sort(order[count:])), rows.select(np.sort(order[:count]))
