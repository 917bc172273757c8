"""The types that tasks and stages exchange. Importing this costs nothing."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    import torch

    Batch = dict[str, torch.Tensor]  # one entry an input name, first dimension the rows
    Rows = dict[str, np.ndarray]  # predictions beside references, or encoded rows; first dimension the rows
    Transform = Callable[[Batch, torch.Generator | None], Batch]
    ModelOutput = Any  # a transformers ModelOutput: which tensors it has depends on the head
    RawRows = Mapping[str, list]  # a batch of a data set, column by column


class EncodedColumns(Protocol):
    """The encoded rows of one split, as the data stage keeps them."""

    def __len__(self) -> int: ...

    @property
    def names(self) -> list[str]:
        """Return the names of the columns."""
        ...

    def batch(self, rows: "torch.Tensor") -> "Batch":
        """Gather the rows with these numbers, int64 (B,), as one tensor a column."""
        ...

    def tensor(self, name: str) -> "torch.Tensor":
        """Return a whole column, (N, ...)."""
        ...


class SomeRows(Protocol):
    """Rows that a model can predict: encoded columns, or what a task makes of them."""

    def __len__(self) -> int: ...

    def batch(self, rows: "torch.Tensor") -> "Batch":
        """Gather the rows with these numbers, int64 (B,), as one tensor a column."""
        ...


RowsOfProbabilities = Callable[["np.ndarray", "np.ndarray"], "Rows"]  # (N, K), labels (N,) -> what `predict` gives
Predict = Callable[[SomeRows], "Rows"]  # the rows that a model gives for some encoded rows
