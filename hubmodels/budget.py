"""What stands beside a model may not lose it: it is guarded, has a time of its own, and is said where it failed."""

import contextlib
import contextvars
import logging
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from .errors import one_line
from .report import note

logger = logging.getLogger("hubmodels")
Result = TypeVar("Result")
GRACE = 1.5  # what looks at `seconds_left` ends by itself; what does not is ended after this multiple of its time

_deadline: contextvars.ContextVar[float] = contextvars.ContextVar("deadline", default=math.inf)


class OutOfTime(Exception):
    """Says that the time of a block is over."""


def seconds_left() -> float:
    """Return how long the present block may still take, in seconds; infinite outside of `time_limit`.

    What can give a part of its result looks here, and says with a note what it left out."""
    return _deadline.get() - time.monotonic()


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Give a block so many seconds, after which `seconds_left` is negative.

    In the main thread of a system with alarms OutOfTime is raised in the block a little later. It comes between two
    instructions of Python; a single call into a library that takes longer is waited for."""
    token = _deadline.set(time.monotonic() + seconds)
    alarmed = math.isfinite(seconds) and hasattr(signal, "setitimer")
    alarmed = alarmed and threading.current_thread() is threading.main_thread()
    before: Any = None

    def end(*_: Any) -> None:
        raise OutOfTime

    try:
        if alarmed:
            before = signal.signal(signal.SIGALRM, end)
            signal.setitimer(signal.ITIMER_REAL, max(seconds * GRACE, 0.001))
        yield
    finally:
        if alarmed:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        _deadline.reset(token)


def attempt(what: str, compute: Callable[[], Result], seconds: float = math.inf) -> Result | None:
    """Compute what decorates a result.

    Args:
        what: its name, which begins a sentence: "The classical baseline".
        compute: gives it.
        seconds: that it may take.

    Returns:
        What `compute` gave; None, with a note, where it failed or took too long.
    """
    results = attempt_each(what, lambda: (compute() for _ in range(1)), seconds)
    return results[0] if results else None


def attempt_each(what: str, compute: Callable[[], Iterator[Result]], seconds: float = math.inf) -> list[Result]:
    """Take what an iterator gives until it ends, fails or takes too long; the latter two are said in a note."""
    taken: list[Result] = []
    try:
        with time_limit(seconds):
            for result in compute():
                taken.append(result)
    except OutOfTime:
        text = f"{what} was cut after {seconds * GRACE:,.0f} seconds"
        note("results", text, surprising=True, remedy="evaluation_budget: a larger share of the training time")
    except Exception as error:  # of whatever library: the model is worth more
        logger.debug("%s failed", what, exc_info=True)
        reason = one_line(error, 200) or type(error).__name__
        note("results", f"{what} could not be computed: {reason}", surprising=True)
    return taken
