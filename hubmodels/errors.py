"""What a person can get wrong, and the words of its messages. The standard library only."""

import difflib
from collections.abc import Iterable


class HubmodelsError(ValueError):
    """Tells a person what was given, what is allowed and what to do, in one line."""


class BadRow(HubmodelsError):
    """Says what is wrong with one row of those that were given; who knows their files says which row of which file.

    Args:
        row: its number among the rows that were given, from 0.
        column: where in the row; None where the whole row is meant.
        reason: what is wrong and what to do, in words that fit behind a colon.
    """

    def __init__(self, row: int, column: str | None, reason: str) -> None:
        super().__init__(f"row {row}{'' if column is None else f', column {column!r}'}: {reason}")
        self.row, self.column, self.reason = row, column, reason

    def __reduce__(self) -> tuple[type["BadRow"], tuple[int, str | None, str]]:
        """Say how another process makes it again: `datasets` maps rows in several."""
        return type(self), (self.row, self.column, self.reason)

    def named(self, where: str) -> HubmodelsError:
        """Return the error in the words of a file: `where` is "row 37 (line 39) of rows.csv"."""
        return HubmodelsError(f"{where}{'' if self.column is None else f', column {self.column!r}'}: {self.reason}")


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Give the words `, did you mean 'x'?` for the closest allowed name, or nothing when none is close."""
    close = difflib.get_close_matches(name, list(allowed), n=1, cutoff=0.6)
    return f", did you mean {close[0]!r}?" if close else ""


def one_line(error: BaseException | str, limit: int = 300) -> str:
    """Give an error's message on one line of at most `limit` characters, without the closing full stop."""
    return " ".join(str(error).split())[:limit].rstrip(".")
