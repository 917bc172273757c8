"""What was decided about one column, and the words in which it is said."""

from dataclasses import dataclass

from ...report import note
from .columns import SHOWN_ROWS, ColumnKind, Unfit, shorten

LARGEST_UNFIT = (
    0.005  # share of the present cells that may be no number (date, ...) in a column of numbers (dates, ...)
)
SHOWN_CELLS = 5  # distinct cells that a note names
ONE_OF = 50  # of so many present cells one may be odd, whatever its share


@dataclass(frozen=True)
class Decision:
    """Holds the kind of a column, what is said of it, and how a person decides otherwise."""

    kind: ColumnKind
    text: str
    surprising: bool = False
    remedy: str | None = None
    trivial: bool = False  # said by whoever uses the column: there is nothing to add

    def say(self, name: str) -> None:
        """Say the decision as a note about the column."""
        if not self.trivial:
            note(
                "columns",
                f"column {name!r}: {self.text}",
                column=name,
                kind=self.kind.kind,
                surprising=self.surprising,
                remedy=self.remedy,
            )


def bearable(num_unfit: int, num_present: int) -> bool:
    """Tell whether so few cells do not fit that they are gaps."""
    return num_unfit <= max(LARGEST_UNFIT * num_present, 1 if num_present >= ONE_OF else 0)


def describe_unfit(unfit: Unfit, num_present: int, kind: str) -> str:
    """Say which cells do not fit: how many, and where the first are; nothing where all fit."""
    if not unfit.count:
        return ""
    cells = ", ".join(describe_cell(word, rows) for word, rows in list(unfit.rows_of.items())[:SHOWN_CELLS])
    others = ", ..." if len(unfit.rows_of) > SHOWN_CELLS else ""
    verbs = "is no {} and becomes a gap" if unfit.count == 1 else "are no {} and become gaps"
    return f"; {unfit.count:,} of {num_present:,} values {verbs.format(kind)}: {cells}{others}"


def describe_cell(word: str, rows: list[int]) -> str:
    """Say of a cell in which rows it stands: 'sold' (rows 7, 30)."""
    listed = ", ".join(map(str, rows[: SHOWN_ROWS - 1])) + ", ..." * (len(rows) >= SHOWN_ROWS)
    return f"{shorten(word)} (row{'s' * (len(rows) > 1)} {listed})"
