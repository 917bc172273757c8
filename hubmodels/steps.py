"""The steps that training a model and measuring a release share, each from one stage to the next."""

import contextlib
import dataclasses
import functools
import logging
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from datasets import Dataset

from . import checkpoint, families
from .budget import attempt, attempt_each
from .checkpoint import saving_plainly
from .data import (
    Batches,
    Columns,
    Origin,
    StepSource,
    StreamedBatches,
    WindowedColumns,
    cache_key,
    encode_dataset,
    stream_head,
)
from .errors import BadRow, HubmodelsError
from .evaluation import Evaluation, evaluation_mode, predict
from .fields import build
from .files import read_json, write_json
from .recipe import Recipe, TrainingArguments
from .report import Examination, Figure, Note, Sound, collect_notes, note, repeat_notes
from .tasks import AnyProblem, Task

logger = logging.getLogger("hubmodels")

FITTING_NOTES = "notes.json"  # beside a cached processor: what was decided when it was fitted

# Data


def select_rows(task: Task, splits: Mapping[str, Any]) -> dict[str, Any]:
    """Select of each split the columns that the task reads, and of training and validation the rows to learn from."""
    rows = {name: task.select(split) for name, split in splits.items()}
    return rows | {name: task.training_rows(rows[name]) for name in ("train", "validation") if name in rows}


def drop_unreadable(
    task: Task, rows: Mapping[str, Any], origins: Mapping[str, Origin], max_unreadable: float
) -> dict[str, Any]:
    """Leave out rows whose files cannot be read, and name them.

    Args:
        task: finds them.
        rows: the selected rows of each split; those of a stream are not looked at.
        origins: the files of each split.
        max_unreadable: share of a split's rows that may be left out; one always may.

    Raises:
        HubmodelsError: there are more of them.
    """
    readable = dict(rows)
    for name, split in rows.items():
        if not isinstance(split, Dataset):
            continue
        with PartialState().main_process_first():
            unreadable = task.unreadable(split)
        if not unreadable:
            continue
        origin = origins.get(name, Origin())
        lines = [f"{origin.words(split, row)}: {reason}" for row, reason in sorted(unreadable.items())]
        shown = "; ".join(lines[:5]) + (f"; and {len(lines) - 5:,} more" if len(lines) > 5 else "")
        if len(unreadable) > max(1, int(max_unreadable * len(split))):
            share = math.ceil(100 * len(unreadable) / len(split)) / 100
            raise HubmodelsError(
                f"{len(unreadable):,} of {len(split):,} {name} rows cannot be read: {shown} (repair or remove them, or "
                f"leave them out with --max_unreadable {share:g})"
            )
        words = f"{len(unreadable):,} of {len(split):,} {name} rows are left out, since they cannot be read: {shown}."
        note("rows", words, surprising=True, remedy="max_unreadable: 0")
        readable[name] = split.select([row for row in range(len(split)) if row not in unreadable])
    return readable


def suit_task(task: Task, train: Any, recipe: Recipe) -> Task:
    """Return the task with options that the fresh network bounds, such as the size of images, chosen where nobody did.

    Args:
        task: with the options of the recipe.
        train: the selected training rows; a stream leaves the task as it is.
        recipe: says the network. One that is loaded, or told its size, leaves the task as it is.
    """
    if not isinstance(train, Dataset) or recipe.model_name_or_path or recipe.model.keys() & set(task.decided_fields):
        return task

    def accepts(values: dict[str, Any]) -> bool:
        try:
            families.build_config(recipe.family, families.declared(recipe.family, values) | recipe.model)
        except HubmodelsError:
            return False
        return True

    suited = task.input.suit(train, task.columns(train.features)[0], accepts)
    return task if suited is task.input else dataclasses.replace(task, input=suited)


def fit_problem(task: Task, train: Any, checkpoint: str | None, seed: int, origin: Origin | None = None) -> AnyProblem:
    """Bind the task to the training rows, or to the first of a stream.

    A processor that was fitted is kept beside the data set's cache: a second start reads no row for it.
    Raises HubmodelsError for a bad row, in the words of its file where `origin` knows it."""
    with naming_rows(train, origin):
        return fit_once(task, train, checkpoint, seed)


@contextlib.contextmanager
def naming_rows(rows: Any, origin: Origin | None) -> Iterator[None]:
    """Say errors about a row inside the block in the words of its file; a stream's rows by their number."""
    try:
        yield
    except BadRow as error:
        known = origin if isinstance(rows, Dataset) and origin is not None else None
        raise error.named(f"row {error.row}" if known is None else known.words(rows, error.row)) from error


def fit_once(task: Task, train: Any, checkpoint: str | None, seed: int) -> AnyProblem:
    """Bind the task to the training rows; by the processor in the cache where it was fitted before."""
    if not isinstance(train, Dataset):
        return task.fit(stream_head(train), checkpoint=checkpoint, seed=seed)
    if checkpoint or not train.cache_files:
        return task.fit(train, checkpoint=checkpoint, seed=seed)
    folder = Path(train.cache_files[0]["filename"]).parent
    cache = folder / f"processor-{cache_key(train._fingerprint, repr(task))}"
    with PartialState().main_process_first():
        if not (cache / FITTING_NOTES).exists():
            with collect_notes() as notes:
                problem = task.fit(train, seed=seed)
            with saving_plainly():
                problem.processor.save_pretrained(cache)
            write_json(
                cache / FITTING_NOTES, {"notes": [said.to_dict() for said in notes]}
            )  # last: with it the cache is whole
            repeat_notes(notes)
            return problem
    repeat_notes(build(Note, said) for said in read_json(cache / FITTING_NOTES)["notes"])
    return task.fit(train, checkpoint=os.fspath(cache), seed=seed)


def encode_splits(
    problem: AnyProblem, rows: Mapping[str, Dataset], origins: Mapping[str, Origin] | None = None
) -> dict[str, Any]:
    """Encode the rows of each split: the main process encodes, the others map what it wrote.

    Raises HubmodelsError for a bad row, in the words of its file where `origins` knows it."""
    columns: dict[str, Any] = {}
    for name, split in rows.items():
        with naming_rows(split, (origins or {}).get(name, Origin())), PartialState().main_process_first():
            columns[name] = encode_dataset(
                split,
                functools.partial(problem.encode, features=split.features),
                features=problem.encoded_features(),
                key=problem.cache_key(),
                description=f"Encoding {name}",
            )
        problem.input.say_encoded(columns[name], name)
        if (windows := problem.windows(columns[name])) is not None:
            columns[name] = WindowedColumns(columns[name], *windows)
    return columns


def make_batches(columns: Columns | None, rows: Any, problem: AnyProblem, arguments: TrainingArguments) -> StepSource:
    """Make the training batches: from encoded columns, or, streaming, encoded as the rows come."""
    seed, num_workers = arguments.seed, arguments.dataloader_num_workers
    if columns is not None:
        in_lanes, max_shift = arguments.carry_state, problem.task.window_shift()
        return Batches(columns, seed=seed, num_workers=num_workers, in_lanes=in_lanes, max_shift=max_shift)
    if problem.task.windowed or arguments.carry_state:
        raise HubmodelsError(f"{problem.task.tag} cuts windows from all its training rows: leave out --streaming")

    def encode(batch: dict[str, list], numbers: list[int]) -> dict[str, Any]:
        return problem.encode(batch, numbers, rows.features)

    return StreamedBatches(rows, encode, seed=seed, num_workers=num_workers)


# Model


def build_model(recipe: Recipe, problem: AnyProblem, seed: int) -> Any:
    """Build a fresh model, or load the checkpoint to fine-tune, with the config fields that the data decide.

    A family is given the fields that it declares; what the recipe says wins. The problem learns the model's values."""
    values = families.declared(recipe.family, problem.config_fields()) | recipe.model
    torch.manual_seed(seed)
    if recipe.model_name_or_path:
        model = checkpoint.load_model(recipe.model_name_or_path, recipe.family, problem.task.head, values)
    else:
        model = families.build_model(recipe.family, problem.task.head, values)
    problem.know_model(model.config)
    return model


# Results


def measure(
    model: Any, problem: AnyProblem, columns: Mapping[str, Any], arguments: TrainingArguments, split: str = "test"
) -> Evaluation:
    """Measure a model on the rows of a split, with nothing beside it; every process gets the same."""
    rows = predict(
        model,
        columns[split],
        problem.predict,
        problem.transform(training=False),
        arguments.per_device_eval_batch_size,
        description="Evaluating",
        carry_state=arguments.carry_state,
    )
    return Evaluation(problem.relate(rows), problem)


def add_evidence(
    evaluation: Evaluation,
    model: Any,
    problem: AnyProblem,
    columns: Mapping[str, Any],
    seconds: float,
    baseline: bool,
    split: str = "test",
) -> list[Figure | Sound]:
    """Add what is measured of the model as a whole, and the classical baseline where asked. On the main process alone.

    What fails, or takes longer than `seconds`, is left out with a note. Returns figures and sounds of the model."""

    def examine() -> Examination:
        examined = {name: columns[name] for name in ("train",) if name in columns} | {"test": columns[split]}
        with evaluation_mode(model), torch.no_grad():
            return problem.examine(model, examined)

    examination = attempt("What is measured of the model as a whole", examine) or Examination()
    if not baseline:
        examination.baseline_name = None
    evaluation.add_examination(examination)
    if baseline and "train" not in columns:
        note("results", "There is no classical baseline, since the training rows are a stream")
    elif baseline:
        logger.info("Fitting the classical baseline on the same split ...")
        name = "The classical baseline"
        classical = attempt(name, lambda: problem.baseline(columns["train"], columns[split]), seconds)
        if classical is not None:
            attempt(name, functools.partial(evaluation.add_baseline, classical))
    return examination.figures


def draw_figures(
    evaluation: Evaluation,
    model: Any,
    problem: AnyProblem,
    columns: Mapping[str, Any],
    arguments: TrainingArguments,
    seconds: float,
) -> list[Figure]:
    """Draw the results and what explains the model, on the main process alone.

    What fails, or takes longer than `seconds`, is left out with a note."""
    transform = problem.transform(training=False)

    def predict_alone(rows: Any) -> dict[str, Any]:
        batch_size = arguments.per_device_eval_batch_size
        return predict(model, rows, problem.predict, transform, batch_size, distributed=False)

    of_rows = attempt_each("A figure of the results", lambda: problem.figures(evaluation.rows, columns["test"]))
    explained = attempt_each(
        "What explains the model", lambda: problem.explain(predict_alone, columns["test"]), seconds
    )
    return [*of_rows, *explained]
