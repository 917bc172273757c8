"""What stages hand to each other and to a reader: notes, estimates, figures, sounds, baselines. Nothing is computed."""

import contextlib
import contextvars
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from .formatting import format_number

if TYPE_CHECKING:  # described without paying for these imports
    import matplotlib.figure
    import numpy as np

    Rows = dict[str, np.ndarray]  # predictions beside references, first dimension the rows


Topic = Literal["files", "columns", "rows", "splits", "check", "training", "results"]


@dataclass(frozen=True)
class Note:
    """Holds one decision that the program took for a person, or one thing that it saw in their data.

    Nothing about a person's data is decided silently: who decides calls `note`."""

    topic: Topic  # what it is about, in the order in which notes are shown
    text: str  # a sentence in plain words, with the names of the data
    column: str | None = None  # of notes about one column: it then has a row in the table of columns
    kind: str | None = None  # of such a note: what the column was taken for ("number", "date", "left out", ...)
    surprising: bool = False  # shown in full on the screen; the others in a table
    remedy: str | None = None  # the field, with its value, that would decide otherwise

    def to_dict(self) -> dict[str, Any]:
        """Give plain values for JSON, without what says nothing."""
        return {name: value for name, value in asdict(self).items() if value not in (None, False)}


# What was said so far, in order, and the same as a set.
_collector: contextvars.ContextVar[tuple[list[Note], set[Note]] | None] = contextvars.ContextVar("notes", default=None)


def note(topic: Topic, text: str, **fields: Any) -> None:
    """Say a decision to whoever collects notes (see `collect_notes`); `fields` are those of `Note`.

    The same note is kept once: several splits may lead to it."""
    collected = _collector.get()
    said = Note(topic, text, **fields)
    if collected is not None and said not in collected[1]:
        collected[0].append(said)
        collected[1].add(said)


def said_of(column: str) -> Note | None:
    """Return the last note about a column that was said to whoever collects them now; None where there is none."""
    collected = _collector.get()
    notes = [] if collected is None else [said for said in collected[0] if said.column == column]
    return notes[-1] if notes else None


@contextlib.contextmanager
def collect_notes(into: list[Note] | None = None) -> Iterator[list[Note]]:
    """Collect the notes that are said inside the block, in this thread; an inner block hides them from an outer one."""
    notes: list[Note] = [] if into is None else into
    token = _collector.set((notes, set(notes)))
    try:
        yield notes
    finally:
        _collector.reset(token)


def repeat_notes(notes: Iterable[Note]) -> None:
    """Say notes again to whoever collects them now: what comes from a cache was decided at another time."""
    for said in notes:
        values = dict(vars(said))
        note(values.pop("topic"), values.pop("text"), **values)


@dataclass
class Baseline:
    """Holds what a classical method says of the same split: its name, and rows as a network gives them."""

    name: str  # "logistic regression"
    rows: "Rows"  # as Task.predict gives them, for the test split
    seconds: float  # wall-clock time of fitting and predicting
    others: list["Baseline"] = field(default_factory=list)  # weaker ones, which stand beside it


@dataclass
class Figure:
    """Holds a figure of the results, with the sentence that stands under it."""

    name: str  # file name without ending: "confusion_matrix"
    caption: str
    figure: "matplotlib.figure.Figure"


@dataclass
class Sound:
    """Holds something to listen to in a card, as a figure is something to look at, with what it is."""

    name: str  # file name without ending
    caption: str
    waveform: "np.ndarray"  # (T,) in -1..1
    sampling_rate: int  # in Hz


@dataclass(frozen=True)
class Estimate:
    """Holds a value and the ends of its 95 % interval; None where it is undefined, or has no interval."""

    value: float | None
    low: float | None = None
    high: float | None = None
    # The bootstrap's, where those of two models are pairs: of their difference. No part of what is written.
    draws: "np.ndarray | None" = field(default=None, compare=False, repr=False)

    def to_dict(self) -> dict[str, float | None]:
        """Give the numbers as metrics.json has them."""
        return {"value": self.value, "low": self.low, "high": self.high}

    def __str__(self) -> str:
        if self.value is None:
            return "undefined"
        if self.low is None or self.high is None:
            return format_number(self.value)
        return f"{format_number(self.value)} ({format_number(self.low)} to {format_number(self.high)})"


@dataclass
class Examination:
    """Holds what was measured of a model as a whole, beside what the rows say: metrics, the baseline's, figures."""

    metrics: dict[str, Estimate] = field(default_factory=dict)
    baseline_metrics: dict[str, Estimate] = field(default_factory=dict)
    figures: list[Figure | Sound] = field(default_factory=list)
    baseline_name: str | None = None  # of the classical method where it gives no rows (`Task.baseline` is None)
    baseline_seconds: float | None = None  # wall-clock time of its fitting and sampling
