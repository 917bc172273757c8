"""Rows of a split: which ones are drawn, where a model takes them, and which one a processor refuses."""

import ast
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...errors import BadRow, HubmodelsError

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


def refused_row(error: ValueError, row_numbers: Sequence[int], context: str = "") -> HubmodelsError:
    """Turn what a processor says of one of its rows into a BadRow.

    A processor is uploaded and knows no class of ours: it says "column 'x' must hold numbers, row 3 holds 'a'".

    Args:
        error: what a processor raised.
        row_numbers: of the rows that the processor was given.
        context: stands before a message that is of no single row.
    """
    if isinstance(error, HubmodelsError):
        return error
    words = " ".join(str(error).split())
    named = re.match(r"column ('(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"),? (.*)", words)
    column, rest = (ast.literal_eval(named[1]), named[2]) if named else (None, words)
    match = re.search(r"(?:^|,? (?:in )?)row (\d+)(:| |;|$)", rest)
    if match is None or int(match[1]) >= len(row_numbers):
        return HubmodelsError(f"{context}{words}")
    before, after = rest[: match.start()], rest[match.end() :].strip()
    between = {" ": "; it ", ":": ": ", ";": "; ", "": ""}[match[2]] if before else ""
    return BadRow(row_numbers[int(match[1])], column, before + between + after)
