"""What a person can get wrong, and the words of its messages. The standard library only."""

import difflib
from collections.abc import Iterable


class HubmodelsError(ValueError):
    """Tells a person what was given, what is allowed and what to do, in one line."""


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Give the words `, did you mean 'x'?` for the closest allowed name, or nothing when none is close."""
    close = difflib.get_close_matches(name, list(allowed), n=1, cutoff=0.6)
    return f", did you mean {close[0]!r}?" if close else ""


def one_line(error: BaseException | str, limit: int = 300) -> str:
    """Give an error's message on one line of at most `limit` characters, without the closing full stop."""
    return " ".join(str(error).split())[:limit].rstrip(".")
