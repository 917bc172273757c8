"""Answers about files whose rows have answers only together, as steps of series: each is read whole.

A row of the answer is what the task says: a step of a forecast, or a series with its class.
"""

from collections.abc import Sequence
from typing import Any

import pyarrow

from .answering import Answering
from .data import Reading
from .errors import HubmodelsError
from .evaluation import answer


def answer_whole(
    inputs: Sequence[str], reading: Reading, answering: Answering, future: str | None = None, **options: Any
) -> pyarrow.Table:
    """Answer what is given, all of it at once.

    Args:
        inputs: files or folders.
        reading: how they are read.
        answering: the model and how it runs.
        future: a file of what is known ahead.
        **options: of the problem's `answer_table`; None stands for one that was not given.

    Raises:
        HubmodelsError: a file cannot be read, or has no answer.
    """
    problem = answering.problem
    table = read_whole(inputs, reading)
    if future is not None:
        options["future"] = read_whole([future], reading)

    def run(encoded: dict[str, Any], ready: bool = False) -> dict[str, Any]:
        transform = None if ready else problem.transform(training=False)
        return answer(answering.model, encoded, problem.answers, transform, answering.batch_size, answering.dtype)

    given = {name: value for name, value in options.items() if value is not None}
    try:
        return problem.answer_table(table, run, **given)
    except ValueError as error:
        if future is None or "`future`" not in str(error):
            raise
        words = str(error).replace("`future` must be a frame with", "`future` must have")
        raise HubmodelsError(words.replace("`future`", f"the file {future} (--future)")) from None


def read_whole(inputs: Sequence[str], reading: Reading) -> pyarrow.Table:
    """Read all rows of files. Raises HubmodelsError where there are none."""
    table = reading.table(*inputs)
    if not len(table):
        raise HubmodelsError(f"{', '.join(inputs)} has no rows")
    return table
