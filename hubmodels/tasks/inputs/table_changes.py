"""What a column of a table does to predictions: rows whose column is shuffled, or has one value, predicted again."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ...budget import seconds_left
from ...report import note

if TYPE_CHECKING:
    from ..contract.types import Batch, EncodedColumns, Predict, Rows
    from .tables import FittedTables

IMPORTANCE_REPEATS = 3
DEPENDENCE_POINTS = 21


class TableRows:
    """Encoded rows in memory, to be changed: what evaluation needs of a split, `len()` and `batch()`."""

    def __init__(self, tensors: "Batch") -> None:
        self.tensors = tensors

    @classmethod
    def take(cls, columns: "EncodedColumns", rows: np.ndarray) -> "TableRows":
        """Take some rows of a split."""
        return cls(columns.batch(torch.from_numpy(rows)))

    def __len__(self) -> int:
        return len(next(iter(self.tensors.values())))

    def batch(self, rows: torch.Tensor) -> "Batch":
        """Gather the rows with these numbers."""
        return {name: tensor[rows] for name, tensor in self.tensors.items()}

    def shuffled(self, numbers: list[int], categories: list[int], order: np.ndarray) -> "TableRows":
        """Take these numbers and categories from other rows."""
        tensors = dict(self.tensors)
        for name, indices in (("numeric_features", numbers), ("categorical_features", categories)):
            if indices:
                tensors[name] = tensors[name].clone()
                tensors[name][:, indices] = self.tensors[name][order][:, indices]
        return TableRows(tensors)

    def filled(self, name: str, index: int, value: float) -> "TableRows":
        """Give one number or category, by its tensor's name and its index, the same value in every row."""
        tensors = dict(self.tensors)
        tensors[name] = tensors[name].clone()
        tensors[name][:, index] = value
        return TableRows(tensors)


def importances(
    tables: "FittedTables", rows: TableRows, predict: "Predict", loss: "Callable[[Rows], float]"
) -> dict[str, np.ndarray]:
    """Measure how much the loss grows when a column is shuffled, (repeats,) for each column.

    Args:
        tables: the fitted input.
        rows: some encoded rows with their targets.
        predict: makes of encoded rows what metrics need.
        loss: of these, less is better.
    """
    generator = np.random.default_rng(0)
    whole = loss(predict(rows))
    growth: dict[str, np.ndarray] = {}
    columns = tables.processor.feature_places
    for name, (numbers, categories) in columns.items():
        if growth and seconds_left() < 0:
            said = f"The importance of {len(growth):,} of {len(columns):,} columns was measured: the time was over"
            note("results", said, surprising=True, remedy="evaluation_budget: a larger share of the training time")
            break
        orders = [generator.permutation(len(rows)) for _ in range(IMPORTANCE_REPEATS)]
        losses = [loss(predict(rows.shuffled(numbers, categories, order))) for order in orders]
        growth[name] = np.array(losses) - whole
    return growth


def has_dependence(tables: "FittedTables", name: str) -> bool:
    """Tell whether a column is one number, date or category, whose values can be gone through."""
    numbers, categories = tables.processor.feature_places[name]
    return bool(numbers) or len(categories) == 1


def dependence(
    tables: "FittedTables", rows: TableRows, predict: "Predict", mean: "Callable[[Rows], np.ndarray]", name: str
) -> tuple[list[Any], np.ndarray]:
    """Predict rows once for each value of a column, all else as it is.

    Returns:
        The values, of numbers at even quantiles, and the mean prediction at each, (values, lines).
    """
    processor = tables.processor
    numbers, categories = processor.feature_places[name]
    column = next(column for column in processor.columns if column["name"] == name)
    if numbers:
        values, scaled = processor.numeric_grid(numbers[0], DEPENDENCE_POINTS)
        changed = [rows.filled("numeric_features", numbers[0], value) for value in scaled.tolist()]
        values = values.astype("datetime64[s]") if column["kind"] == "date" else values
    else:
        values = [str(value) for value in column.get("values", ["missing"])][:DEPENDENCE_POINTS]
        changed = [rows.filled("categorical_features", categories[0], code) for code in range(1, len(values) + 1)]
    return list(values), np.array([mean(predict(some)) for some in changed])
