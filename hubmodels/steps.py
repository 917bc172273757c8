"""The steps that training a model and measuring a release share, each from one stage to the next."""

import functools
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from datasets import Dataset
from datasets.fingerprint import Hasher

from . import checkpoint, families
from .data import Batches, Columns, Origin, StepSource, StreamedBatches, WindowedColumns, encode_dataset, stream_head
from .errors import BadRow, HubmodelsError
from .evaluation import Results, evaluate, evaluation_mode, predict
from .recipe import Recipe, TrainingArguments
from .report import Examination, Figure, Sound
from .tasks import AnyProblem, Task

logger = logging.getLogger("hubmodels")

# Data


def select_rows(task: Task, splits: Mapping[str, Any]) -> dict[str, Any]:
    """Select of each split the columns that the task reads, and of training and validation the rows to learn from."""
    rows = {name: task.select(split) for name, split in splits.items()}
    return rows | {name: task.training_rows(rows[name]) for name in ("train", "validation") if name in rows}


def fit_problem(task: Task, train: Any, checkpoint: str | None, seed: int, origin: Origin | None = None) -> AnyProblem:
    """Bind the task to the training rows, or to the first of a stream.

    A processor that was fitted is kept beside the data set's cache: a second start reads no row for it.
    Raises HubmodelsError for a bad row, in the words of its file where `origin` knows it."""
    try:
        return bind_rows(task, train, checkpoint, seed)
    except BadRow as error:
        if not isinstance(train, Dataset):
            raise
        raise error.named((origin or Origin()).words(train, error.row)) from error


def bind_rows(task: Task, train: Any, checkpoint: str | None, seed: int) -> AnyProblem:
    """Bind the task to the training rows; see `fit_problem`. Raises BadRow for a bad one."""
    if not isinstance(train, Dataset):
        return task.fit(stream_head(train), checkpoint=checkpoint, seed=seed)
    if checkpoint or not train.cache_files:
        return task.fit(train, checkpoint=checkpoint, seed=seed)
    folder = Path(train.cache_files[0]["filename"]).parent
    cache = folder / f"processor-{Hasher.hash([train._fingerprint, repr(task)])}"
    if (cache / "complete").exists():
        return task.fit(train, checkpoint=os.fspath(cache), seed=seed)
    with PartialState().main_process_first():
        if (cache / "complete").exists():
            return task.fit(train, checkpoint=os.fspath(cache), seed=seed)
        problem = task.fit(train, seed=seed)
        problem.processor.save_pretrained(cache)
        (cache / "complete").touch()
    return problem


def encode_splits(
    problem: AnyProblem, rows: Mapping[str, Dataset], origins: Mapping[str, Origin] | None = None
) -> dict[str, Any]:
    """Encode the rows of each split: the main process encodes, the others map what it wrote.

    Raises HubmodelsError for a bad row, in the words of its file where `origins` knows it."""
    columns: dict[str, Any] = {}
    for name, split in rows.items():
        try:
            with PartialState().main_process_first():
                columns[name] = encode_dataset(
                    split,
                    functools.partial(problem.encode, features=split.features),
                    features=problem.encoded_features(),
                    key=problem.cache_key(),
                    description=f"Encoding {name}",
                )
        except BadRow as error:
            origin = (origins or {}).get(name, Origin())
            raise error.named(origin.words(split, error.row)) from error
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
    model: Any,
    problem: AnyProblem,
    columns: Mapping[str, Any],
    arguments: TrainingArguments,
    baseline: bool,
    split: str = "test",
) -> tuple[Results, dict[str, Any], list[Figure | Sound]]:
    """Measure a model on a split, beside the classical baseline where asked.

    Returns:
        The results, the rows that they came from, and figures and sounds of the model as a whole.
    """
    rows = predict(
        model,
        columns[split],
        problem.predict,
        problem.transform(training=False),
        arguments.per_device_eval_batch_size,
        description="Evaluating",
        carry_state=arguments.carry_state,
    )
    rows = problem.relate(rows)
    classical = None
    if baseline and "train" not in columns:
        logger.info("No classical baseline: the training rows are a stream")
    elif baseline and PartialState().is_main_process:
        logger.info("Fitting the classical baseline on the same split ...")
        classical = problem.baseline(columns["train"], columns[split])
    examination = Examination()
    if PartialState().is_main_process:
        examined = {name: columns[name] for name in ("train",) if name in columns} | {"test": columns[split]}
        with evaluation_mode(model), torch.no_grad():
            examination = problem.examine(model, examined)
    if not baseline:
        examination.baseline_name = None
    return evaluate(rows, problem, classical, examination), rows, examination.figures


def measure_with_figures(
    model: Any, problem: AnyProblem, columns: Mapping[str, Any], arguments: TrainingArguments, baseline: bool
) -> tuple[Results, list[Figure | Sound]]:
    """Measure a model on the test split and draw all figures of a release but those of the training.

    Returns:
        The results (see `measure`), and the figures and sounds; the latter on the main process alone.
    """
    results, rows, of_model = measure(model, problem, columns, arguments, baseline)
    if not PartialState().is_main_process:
        return results, []
    transform = problem.transform(training=False)

    def predict_alone(rows: Any) -> dict[str, Any]:
        batch_size = arguments.per_device_eval_batch_size
        return predict(model, rows, problem.predict, transform, batch_size, distributed=False)

    of_rows = problem.figures(rows, columns["test"])
    return results, [*of_rows, *problem.explain(predict_alone, columns["test"]), *of_model]
