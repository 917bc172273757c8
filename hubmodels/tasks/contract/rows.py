"""Rows of a split: which ones are drawn, and where a model takes them."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import torch

    from .types import SomeRows


def draw_rows(columns: "SomeRows", count: int, seed: int, rows: "np.ndarray | None" = None) -> "torch.Tensor":
    """Draw row numbers without replacement and sort them.

    Args:
        columns: the encoded rows of a split.
        count: how many rows, all where there are fewer.
        seed: of the draw.
        rows: the numbers to draw from; those of all rows when None.
    """
    import numpy as np
    import torch

    rows = np.arange(len(columns)) if rows is None else rows
    return torch.from_numpy(np.sort(np.random.default_rng(seed).permutation(rows)[:count]))


def model_device(model: Any) -> "torch.device":
    """Return the device of a model's weights."""
    return next(model.parameters()).device
