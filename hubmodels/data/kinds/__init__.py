"""What each column is: decided once over all training rows, said, saved, and the same for every file afterwards."""

from .columns import ColumnKind, Kinds
from .decide import decide_kinds

__all__ = ["ColumnKind", "Kinds", "decide_kinds"]
