"""Weights of rows: how much each counts in the loss, in every metric and in the baseline's fit.

A weight is a number of at least 0. Only ratios matter: two rows of weight 1 are one row of weight 2.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...errors import BadRow, HubmodelsError
from ...formatting import format_number
from ...report import note
from .columns import existing_column, is_number, kind_of

if TYPE_CHECKING:
    import datasets
    import numpy as np

    from .types import EncodedColumns

WEIGHT = "sample_weight"  # of an encoded row, and of a row of predictions
LARGEST = 3.4e38  # weights are float32
ROWS_AT_ONCE = 10_000


def weight_name(column: str, features: "datasets.Features") -> str:
    """Return the name of the column of weights. Raises HubmodelsError where there is none, or it holds no numbers."""
    existing_column(column, features, "weight_column")
    if not is_number(features[column]):
        raise HubmodelsError(
            f"column {column!r} holds {kind_of(features[column])}, not numbers; choose another --weight_column"
        )
    return column


def read_weights(values: Sequence[Any], row_numbers: Sequence[int], column: str) -> "np.ndarray":
    """Return the weights of rows, float64 (B,). Raises BadRow for one that is missing, negative or not finite."""
    import numpy as np

    for value, number in zip(values, row_numbers, strict=True):
        if value is None or (number_of := float(value)) != number_of:
            raise BadRow(number, column, "the row has no weight; give it a number of at least 0")
        if number_of < 0:
            raise BadRow(number, column, f"the weight {value!r} is negative; a weight is a number of at least 0")
        if number_of > LARGEST:
            raise BadRow(number, column, f"the weight {value!r} is too large for float32; divide all weights by one")
    return np.array(values, dtype=np.float64)


def check_weights(rows: "datasets.Dataset", column: str) -> None:
    """Refuse weights that cannot be used, and note what those of the training rows are.

    Raises BadRow for a row's weight, HubmodelsError where all of them are 0."""
    import numpy as np

    pieces, start = [], 0
    for batch in rows.select_columns([column]).iter(batch_size=ROWS_AT_ONCE):
        values = batch[column]
        pieces.append(read_weights(values, range(start, start + len(values)), column))
        start += len(values)
    weights = np.concatenate(pieces)
    if not weights.any():
        raise HubmodelsError(
            f"all {len(weights):,} training rows have weight 0 in column {column!r}: leave out --weight_column"
        )
    low, high = (format_number(float(value)) for value in (weights.min(), weights.max()))
    text = (
        f"rows weigh {low} to {high}; they count as {effective_rows(weights):,.0f} of {len(weights):,} "
        "equal ones (Kish's effective sample size)"
    )
    if num_idle := int((weights == 0).sum()):
        text += f"; {num_idle:,} have weight 0 and teach nothing"
    note("columns", text, column=column, kind="weight", remedy="weight_column: null")


def effective_rows(weights: "np.ndarray") -> float:
    """Compute how many rows of equal weight tell as much: (sum w)^2 / sum w^2 (Kish 1965)."""
    scaled = weights.astype("float64") / (weights.max() or 1)
    return float(scaled.sum() ** 2 / (scaled**2).sum()) if scaled.any() else 0.0


def row_weights(rows: "Mapping[str, np.ndarray]") -> "np.ndarray | None":
    """Return the weights of rows of predictions, float64 (N,); None where all weigh the same."""
    weights = rows.get(WEIGHT)
    return None if weights is None else weights.astype("float64")


def column_weights(columns: "EncodedColumns") -> "np.ndarray | None":
    """Return the weights of encoded rows, float64 (N,); None where all weigh the same."""
    return columns.tensor(WEIGHT).double().numpy() if WEIGHT in columns.names else None


def mean_over_rows(values: "np.ndarray", weights: "np.ndarray | None") -> Any:
    """Compute the weighted mean over the first dimension, in float64; NaN where all weights are 0."""
    import numpy as np

    if weights is None:
        return values.mean(axis=0, dtype=np.float64)
    total = weights.sum()
    return np.tensordot(weights, values.astype(np.float64), axes=1) / total if total > 0 else values[0] * math.nan


def sum_over_rows(values: "np.ndarray", weights: "np.ndarray | None") -> Any:
    """Compute the weighted sum over the first dimension."""
    import numpy as np

    return values.sum(axis=0) if weights is None else np.tensordot(weights, values.astype(np.float64), axes=1)
