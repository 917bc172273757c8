"""What the check of the data sees."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """Holds one thing that the check of the data saw."""

    check: str  # which check: "copies", "near copies", "contradictions", "classes", "giveaway", "constant", ...
    split: str  # of which split; "all" where several are meant
    count: int  # how many rows, classes or columns
    what: str  # goes on behind the count: "of 200 test rows stand in the training rows too"
    examples: Sequence[str]  # the first ones, in the file's words
    remedy: str  # what to do

    def text(self) -> str:
        """Say it in one sentence."""
        more = ", ..." if self.count > len(self.examples) > 0 else ""
        return f"{self.count:,} {self.what}" + (f": {', '.join(self.examples)}{more}" if self.examples else "")
