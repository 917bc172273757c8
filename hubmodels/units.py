"""What of a data set may not be torn apart when splits are carved from it: tasks say it, the data stage obeys."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Units:
    """Names the columns that decide how rows may be split, as a task reads them off a data set's features."""

    inputs: tuple[str, ...] = ()  # the columns that are read: rows with equal values in all of them are copies
    targets: tuple[str, ...] = ()  # what a row must have to be learnt from and measured
    group: tuple[str, ...] = ()  # rows with equal values here stay together: a whole series, a patient, a lot
    time: str | None = None  # rows are steps in time: the last ones are carved, of each `series` by itself
    series: tuple[str, ...] = ()  # with `time`, or where the order of rows is time: which series a row is a step of
    classes: str | None = None  # carved rows have each class in its share
    numbers: str | None = None  # carved rows have each tenth of the range of these numbers in its share
    context: int = 0  # steps before a carved split that its first windows may look back on
