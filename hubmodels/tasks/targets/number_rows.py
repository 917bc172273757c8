"""Numbers as float64 has them: reading targets, their scale, and the errors of predictions. NumPy."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import BadRow, HubmodelsError
from ...report import note
from ..contract.weights import mean_over_rows, row_weights

if TYPE_CHECKING:
    from ..contract.types import RawRows, Rows

# A model computes in float32, which has 7 digits. Targets are centred and scaled first where that would show.
DIGITS = 1_000  # how far from 0, in spreads, numbers may lie
LARGEST, SMALLEST = 1e12, 1e-12  # spreads and sizes outside of which squares and reciprocals leave float32
EXACT = 2**53  # the largest integers that float64 tells apart


def number_matrix(rows: "RawRows", row_numbers: Sequence[int], names: Sequence[str]) -> np.ndarray:
    """Return the targets (B, L) float64. Raises BadRow for one that is missing, not finite, or no number of float64."""
    columns = []
    for name in names:
        try:
            columns.append(np.array([np.nan if value is None else value for value in rows[name]], dtype=np.float64))
        except (OverflowError, TypeError, ValueError):
            for value, number in zip(rows[name], row_numbers, strict=True):
                if not is_number(value):
                    raise BadRow(number, name, f"the target {value!r} is no number that float64 holds") from None
            raise
    targets = np.stack(columns, axis=1)
    if not np.isfinite(targets).all():
        row, target = np.argwhere(~np.isfinite(targets))[0]
        value = rows[names[target]][row]
        is_gap = value is None or np.isnan(value)
        what = "the row has no target" if is_gap else f"the target is {float(value)!r}, not finite"
        raise BadRow(row_numbers[row], names[target], f"{what}; drop such rows")
    return targets


def is_number(value: Any) -> bool:
    """Tell whether float64 holds a value; a gap is NaN."""
    try:
        return value is None or float(value) is not None
    except (OverflowError, TypeError, ValueError):
        return False


def check_targets(rows: "RawRows", values: np.ndarray, names: Sequence[str]) -> None:
    """Refuse targets of which there is nothing to learn; note integers that float64 rounds.

    Args:
        rows: the training rows.
        values: the same as numbers, (N, L).
        names: of the targets.
    """
    for index, name in enumerate(names):
        column = values[:, index]
        if len(column) > 1 and column.min() == column.max():
            raise HubmodelsError(
                f"column {name!r} has one value, {rows[name][0]!r}, in all {len(column):,} training "
                "rows: there is nothing to learn; choose another --target_column_names"
            )
        rounded = sum(isinstance(value, int) and int(float(value)) != value for value in rows[name])
        if rounded:
            step = np.spacing(np.abs(column).max())
            note(
                "columns",
                f"{rounded:,} whole numbers lie beyond 2^53 and are rounded, to steps of {step:,.0f} at most",
                column=name,
                kind="target",
                surprising=True,
            )


def mean_and_spread(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute mean and standard deviation (L,) of numbers (N, L) of any size, whose squares float64 may not hold."""
    size = np.abs(values).max(axis=0)
    size = np.where(size > 0, size, 1.0)
    scaled = values / size
    return scaled.mean(axis=0) * size, scaled.std(axis=0) * size


def needs_centring(values: np.ndarray, mean: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Tell of which targets (N, L) float32 would lose digits that matter, (L,) of booleans.

    Its steps are 2^-24 of a number, and so up to 6e-5 of the spread where numbers are 1,000 spreads from 0."""
    size = np.abs(values).max(axis=0)
    far = size > DIGITS * spread
    return far | (size > LARGEST) | (spread < SMALLEST)


def metrics_by_target(rows: "Rows") -> dict[str, np.ndarray]:
    """Compute RMSE, MAE and R2 (NaN where the targets are all equal) of each target, (L,), in float64."""
    labels, weights = rows["labels"].astype(np.float64), row_weights(rows)
    errors = rows["predictions"] - labels
    size = np.abs(errors).max(axis=0)  # squares of very large and very small errors are no float64
    size = np.where((size > 0) & np.isfinite(size), size, 1.0)
    squares = mean_over_rows(np.square(errors / size), weights)
    deviations = (labels - mean_over_rows(labels / size, weights) * size) / size
    variance = mean_over_rows(np.square(deviations), weights)
    with np.errstate(divide="ignore", invalid="ignore"):
        r2 = np.where(variance > 0, 1 - squares / variance, np.nan)
    return {"rmse": np.sqrt(squares) * size, "mae": mean_over_rows(np.abs(errors) / size, weights) * size, "r2": r2}
