"""Answers about what a person gives: read, encoded, predicted and written piece by piece.

What cannot be read stands in its row's place with the reason; the other rows are answered.
"""

import itertools
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow
import torch
from accelerate import PartialState
from accelerate.utils import tqdm

from .abilities import ScoresAnomalies
from .data import ERROR_COLUMN, Given, Reading, ReadPiece, TableWriter, answers_schema, cast_table, is_bytes
from .errors import BadRow, HubmodelsError, nearest
from .evaluation import answer
from .families import family_classes, family_tasks, list_families
from .tasks import AnyProblem, get_task

logger = logging.getLogger("hubmodels")

ROWS_PER_TABLE = 65_536  # of a file to predict: at once in memory, encoded and not
FILES_PER_TABLE = 1_024  # of images, sounds or texts, which are larger
SHOWN_ERRORS = 3

Encoded = dict[str, np.ndarray]


@dataclass
class Answering:
    """Answers rows by a model, as they are read, on this process alone.

    Args:
        model: on its device.
        problem: bound to the model's checkpoint.
        keep: columns of the source to repeat; all that the model does not read when None.
        batch_size: rows in one forward pass, >= 1.
        dtype: of autocast; None in the weights' own type.
        anomaly_scores: give the anomaly score of each row in place of what the task answers.
    """

    model: Any
    problem: AnyProblem
    keep: list[str] | None = None
    batch_size: int = 2_048
    dtype: torch.dtype | None = None
    anomaly_scores: bool = False
    column: str | None = None  # of tables, in which images, sounds or texts are looked for
    unreadable: list[str] = field(default_factory=list)  # where and why, of all rows so far that have no answer

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise HubmodelsError(f"batch_size must be at least 1, got {self.batch_size}")
        if self.anomaly_scores and not isinstance(self.model, ScoresAnomalies):
            raise HubmodelsError(
                f"{type(self.model).__name__} has no anomaly scores: models that reconstruct their input have, such as "
                + list_scoring()
            )
        self.transform = self.problem.transform(training=False)

    @property
    def rows_per_piece(self) -> int:
        """Return how many rows are in memory at once."""
        return ROWS_PER_TABLE if self.problem.input.single is None else FILES_PER_TABLE

    def pieces(self, inputs: Sequence[str], reading: Reading) -> Iterator[ReadPiece]:
        """Read what is given, in pieces. Raises HubmodelsError where files have other columns than the first."""
        given = Given(reading, self.problem.input.single, self.problem.input_columns() or [""], self.column)
        first: ReadPiece | None = None
        for piece in given.pieces(inputs, self.rows_per_piece):
            if len(piece.raw) == 0:
                continue
            first = first or piece
            lacking = set(first.raw.column_names) ^ set(piece.raw.column_names)
            if lacking and len(inputs) > 1:
                raise HubmodelsError(
                    f"{piece.piece.file} has other columns than {first.piece.file} ({', '.join(sorted(lacking)[:5])}): "
                    "predict them one by one"
                )
            yield piece

    def answer_piece(self, piece: ReadPiece) -> pyarrow.Table:
        """Answer rows: the kept columns as their file has them, the answers, and `error` where a row has none.

        Raises HubmodelsError where no row can be read for a reason that is of none alone, as a missing column."""
        readable: list[tuple[int, int, Encoded]] = []
        errors: dict[int, str] = {}

        def encode(start: int, stop: int) -> Encoded:
            values = piece.values(start, stop)
            return self.problem.encode_inputs(values, list(range(stop - start)))

        for start, stop, result in by_halves(encode, 0, len(piece.raw)):
            if isinstance(result, BadRow):
                result = piece.in_file_words(result)
                errors[start] = f"{'' if result.column is None else f'column {result.column!r}: '}{result.reason}"
                self.unreadable.append(str(result.named(self.where(piece, start))))
            else:
                readable.append((start, stop, result))
        answers = self.answer_encoded([encoded for _, _, encoded in readable]) if readable else {}
        if errors:
            rows = np.concatenate([np.arange(start, stop) for start, stop, _ in readable] or [np.arange(0)])
            answers = {name: spread_rows(values, rows, len(piece.raw)) for name, values in answers.items()}
            reasons = [errors.get(row) for row in range(len(piece.raw))]
            answers[ERROR_COLUMN] = pyarrow.array(reasons, pyarrow.string())
        inputs = [name for name in self.problem.input_columns() or () if name not in piece.file_columns]
        return join_answers(piece.raw, answers, self.keep, inputs)

    def where(self, piece: ReadPiece, row: int) -> str:
        """Say where a row stands: of files its name, of tables its number and line."""
        names = piece.raw.column_names
        name = piece.raw.column("file_name")[row].as_py() if "file_name" in names else None
        return name or piece.words(row)

    def answer_encoded(self, encoded: list[Encoded]) -> dict[str, Any]:
        """Answer encoded rows, which may come in several stretches."""
        whole = {name: np.concatenate([one[name] for one in encoded]) for name in encoded[0]}
        if self.anomaly_scores:
            scores = AnomalyScores(self.model)
            return answer(scores, whole, told_scores, self.transform, self.batch_size, self.dtype)
        return answer(self.model, whole, self.problem.answers, self.transform, self.batch_size, self.dtype)


def list_scoring() -> str:
    """List the models that have anomaly scores, each with the tasks that train it."""
    words = []
    for family in list_families():
        for head, cls in family_classes(family).items():
            if issubclass(cls, ScoresAnomalies):
                tags = [f"--task {tag}" for tag in family_tasks(family) if get_task(tag).head == head]
                words.append(f"{cls.__name__} (--family {family}, {' or '.join(tags)})")
    return ", ".join(words)


class AnomalyScores(torch.nn.Module):
    """Runs a model for the anomaly score of each row (B,)."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, **batch: torch.Tensor) -> torch.Tensor:
        """Score the rows that the model reconstructs."""
        name = next(name for name in ("numeric_features", "pixel_values", "input_values") if name in batch)
        return self.model.anomaly_score(batch[name])


def told_scores(scores: torch.Tensor) -> dict[str, np.ndarray]:
    """Give scores (B,) as a column."""
    return {"anomaly_score": scores.float().cpu().numpy()}


def by_halves(
    encode: Callable[[int, int], Encoded], start: int, stop: int
) -> Iterator[tuple[int, int, Encoded | BadRow]]:
    """Encode rows `start` to `stop`, and by halves where a row cannot be read: the error of each, in its place."""
    if start == stop:
        return
    try:
        encoded = encode(start, stop)
    except BadRow as error:
        if stop - start == 1:
            yield start, stop, error
            return
        middle = (start + stop) // 2
        yield from by_halves(encode, start, middle)
        yield from by_halves(encode, middle, stop)
        return
    yield start, stop, encoded


def spread_rows(values: Any, rows: np.ndarray, num_rows: int) -> pyarrow.Array:
    """Put the answers of some rows at their places among all, which are empty between them."""
    indices = np.full(num_rows, -1)
    indices[rows] = np.arange(len(rows))
    return pyarrow.array(values).take(pyarrow.array(indices, mask=indices < 0))


def write_answers(writer: TableWriter, inputs: Sequence[str], reading: Reading, answering: Answering) -> int:
    """Predict what is given piece by piece, and write the pieces that fall to this process.

    Returns:
        The number of rows of all that is given.

    Raises:
        HubmodelsError: there are none, a column is missing, or none can be read.
    """
    state = PartialState()
    pieces = read_first(answering.pieces(inputs, reading), inputs)
    if state.is_main_process:
        writer.clear()
    state.wait_for_everyone()
    num_rows = 0  # of the pieces so far
    with tqdm(desc="Predicting", unit=" rows", disable=not state.is_main_process) as bar:
        for number, piece in enumerate(pieces):
            if number % state.num_processes == state.process_index:
                writer.write(number, answering.answer_piece(piece))
            num_rows += len(piece.raw)
            bar.update(len(piece.raw))
    if len(answering.unreadable) == num_rows:
        raise nothing_readable(answering.unreadable)
    return num_rows


def collect_answers(inputs: Sequence[str], reading: Reading, answering: Answering, limit: int) -> pyarrow.Table:
    """Predict what is given, as one table in memory.

    Raises HubmodelsError as `write_answers` does, for more than `limit` rows, and for answers that are pictures."""
    tables: list[pyarrow.Table] = []
    for piece in read_first(answering.pieces(inputs, reading), inputs):
        if sum(map(len, tables)) + len(piece.raw) > limit:
            raise HubmodelsError(f"there are more than {limit:,} rows, too many to print: give --output FILE")
        tables.append(answering.answer_piece(piece))
        if any(is_bytes(column.type) for column in tables[-1].schema):
            raise HubmodelsError("the answers are pictures: give --output a new folder, or a .parquet file")
    if len(answering.unreadable) == sum(map(len, tables)):
        raise nothing_readable(answering.unreadable)
    schema = answers_schema([table.schema for table in tables])
    return pyarrow.concat_tables([cast_table(table, schema) for table in tables])


def read_first(pieces: Iterator[ReadPiece], inputs: Sequence[str]) -> Iterator[ReadPiece]:
    """Read the first piece now, before anything is written. Raises HubmodelsError where there is none."""
    first = next(pieces, None)
    if first is None:
        raise HubmodelsError(f"{', '.join(inputs)} has no rows")
    return itertools.chain([first], pieces)


def nothing_readable(unreadable: list[str]) -> HubmodelsError:
    """Say that no row has an answer, and why the first has none."""
    more = f" (and so the other {len(unreadable) - 1:,} rows)" if len(unreadable) > 1 else ""
    return HubmodelsError(f"{unreadable[0]}{more}")


def say_unreadable(unreadable: list[str], num_unreadable: int, num_rows: int) -> None:
    """Say which rows have no answer, the first ones in full."""
    shown = "; ".join(unreadable[:SHOWN_ERRORS])
    more = f"; and {num_unreadable - SHOWN_ERRORS:,} more" if num_unreadable > SHOWN_ERRORS else ""
    logger.warning("%s of %s rows could not be read: %s%s", f"{num_unreadable:,}", f"{num_rows:,}", shown, more)


def join_answers(table: Any, answers: dict[str, Any], keep: list[str] | None, inputs: list[str] | None) -> Any:
    """Put what the task answers beside the kept columns of a table; an answer wins over a column of its name."""
    if keep is None:
        keep = [name for name in table.column_names if name not in (inputs or ())]
    for name in keep:
        if name not in table.column_names:
            raise HubmodelsError(f"there is no column {name!r} to keep{nearest(name, table.column_names)}")
    answered = table.select([name for name in keep if name not in answers])
    for name, column in answers.items():
        answered = answered.append_column(name, [column])
    return answered
