"""What was decided about one column, and the words in which it is said."""

from dataclasses import dataclass

from ...report import note
from .columns import ColumnKind, Unfit, shorten

LARGEST_UNFIT = (
    0.005  # share of the present cells that may be no number (date, ...) in a column of numbers (dates, ...)
)
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
    rows = ", ".join(map(str, unfit.rows))
    word, more = shorten(unfit.words[0]), ", ..." if unfit.count > len(unfit.rows) else ""
    verbs = "is no {} and becomes a gap" if unfit.count == 1 else "are no {} and become gaps"
    return (
        f"; {unfit.count:,} of {num_present:,} values {verbs.format(kind)}: {word} "
        f"(row{'s' * (unfit.count > 1)} {rows}{more})"
    )
