"""The straight line, from a data set to a release folder: load, fit, encode, build, train, evaluate, release.

What a release is used for afterwards is `use.py`.
"""

import functools
import logging
import platform
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from datasets import Dataset

from . import publishing
from .abilities import FitsAfterTraining
from .budget import attempt
from .data import CheckedData, LoadedData, check_splits, count_rows, load_data
from .evaluation import Evaluation, Results, predict, transformed_batches
from .formatting import format_notes
from .processes import find_processes
from .recipe import Recipe, TrainingArguments
from .recipes import fill_recipe, parse_recipe, require_output_dir
from .report import Figure, Note, collect_notes
from .steps import (
    add_evidence,
    build_model,
    draw_figures,
    drop_unreadable,
    encode_splits,
    fit_problem,
    make_batches,
    measure,
    select_rows,
    suit_task,
)
from .tasks import AnyProblem
from .training import Run, TrainingEstimate, estimate, train

logger = logging.getLogger("hubmodels")


MIN_EXTRA_SECONDS = 30  # of the baseline, and of what explains the model, however short the training was


@dataclass
class Prepared:
    """Holds all that is decided before the first step: the data as they were read, the problem, the model."""

    recipe: Recipe
    arguments: TrainingArguments
    loaded: LoadedData
    rows: Mapping[str, Any]  # split -> the rows that the task reads
    problem: AnyProblem
    columns: Mapping[str, Any]  # split -> encoded rows; without those of a stream
    model: Any


@dataclass
class Outcome:
    """Holds what a training gave: the release folder, the test results, the run and all that was decided."""

    folder: Path
    results: Results
    run: Run
    notes: list[Note]


def train_and_release(recipe: Recipe, baseline: bool = True, model_id: str | None = None) -> Outcome:
    """Train by a recipe, measure on the test split, and write the release folder `<output_dir>/release`.

    The release is there as soon as the model is measured. What stands beside the model (the classical baseline,
    figures) joins it afterwards; where that fails, a note says so. Every process of an `accelerate launch` calls this;
    only the main one writes.

    Args:
        recipe: what to train, on what, how.
        baseline: whether the task's classical baseline is fitted on the same split.
        model_id: the Hub id that the card's examples load; the run's name when None.

    Raises:
        HubmodelsError: the recipe, the data or the checkpoint to start from cannot be used.
    """
    started = time.perf_counter()
    with collect_notes() as notes:
        prepared = prepare(recipe, notes)
        decided, problem = len(notes), prepared.problem
        run = train_model(prepared)
        evaluation = measure(prepared.model, problem, prepared.columns, prepared.arguments)
        folder = Path(prepared.arguments.output_dir or "") / "release"
        if PartialState().is_main_process:
            describe = functools.partial(describe_run, run, prepared.arguments)
            publishing.release(
                folder,
                model=prepared.model,
                processor=problem.processor,
                task=problem.task,
                recipe=recipe,
                results=evaluation.results.to_dict(),
                golden_inputs=problem.golden_inputs(),
                save_problem=problem.save_state,
                plots=run.figures(),
                data=describe_data(prepared.loaded),
                model_id=model_id,
                provenance=describe(time.perf_counter() - started),
            )
            complete_release(folder, prepared, evaluation, baseline, run.seconds)
            say_notes(notes[decided:])
        PartialState().wait_for_everyone()
    return Outcome(folder=folder, results=evaluation.results, run=run, notes=notes)


def prepare(recipe: Recipe, notes: list[Note]) -> Prepared:
    """Read and split the data, fit and encode them, build the model: all that is decided before the first step.

    Args:
        recipe: what to train, on what, how.
        notes: what is collected at present (see `report.collect_notes`): it is said, whether this ends well or not.
    """
    find_processes()
    require_output_dir(recipe)
    data_arguments, task, arguments = parse_recipe(recipe)
    try:
        loaded = load_data(data_arguments, task.units, prepare=task.prepare)
        rows = select_rows(task, loaded.splits)
        rows = drop_unreadable(task, rows, loaded.origins, data_arguments.max_unreadable)
        task = suit_task(task, rows["train"], recipe)
        problem = fit_problem(
            task, rows["train"], recipe.model_name_or_path, arguments.seed, loaded.origins.get("train")
        )
        in_memory = {name: split for name, split in rows.items() if isinstance(split, Dataset)}
        columns = encode_splits(problem, in_memory, loaded.origins)
        inputs, read = list(problem.input.encoded_features()), problem.input_columns()
        checked = CheckedData(in_memory, columns, inputs, loaded.units, loaded.origins, read, loaded.group_column)
        check_splits(checked, strict=data_arguments.strict_data)
        model = build_model(recipe, problem, arguments.seed)
    finally:
        if PartialState().is_main_process:
            say_notes(notes)
    problem.reading, problem.notes = loaded.reading.to_dict(), notes
    return Prepared(recipe, arguments, loaded, rows, problem, columns, model)


def say_notes(notes: Sequence[Note]) -> None:
    """Show notes on the screen, or wherever the log goes."""
    if notes:
        logger.info("%s\n", format_notes(notes))


def complete_release(
    folder: Path, prepared: Prepared, evaluation: Evaluation, baseline: bool, training_seconds: float
) -> None:
    """Add to a release what stands beside its model: the baseline, and figures. What fails is left out, with a note."""
    model, problem, columns, arguments = prepared.model, prepared.problem, prepared.columns, prepared.arguments
    seconds = max(MIN_EXTRA_SECONDS, arguments.evaluation_budget * training_seconds)
    plots = add_evidence(evaluation, model, problem, columns, seconds, baseline)
    plots = [*draw_figures(evaluation, model, problem, columns, arguments, seconds), *plots]
    replace = functools.partial(
        publishing.replace_results,
        folder,
        task=problem.task,
        results=evaluation.results.to_dict(),
        plots=plots,
        save_problem=problem.save_state,
    )
    attempt("What stands in the release beside the model", replace)


@dataclass
class Plan:
    """Holds what a training would do, as far as that is known without it."""

    recipe: Recipe  # with every default filled in
    num_parameters: int
    estimate: TrainingEstimate
    notes: list[Note]


def plan(recipe: Recipe) -> Plan:
    """Read the data and decide all that a training decides, time a few of its steps, and stop.

    Raises HubmodelsError for what would end the training."""
    with collect_notes() as notes:
        prepared = prepare(recipe, notes)
        model, problem, arguments = prepared.model, prepared.problem, prepared.arguments
        batches = make_batches(prepared.columns.get("train"), prepared.rows["train"], problem, arguments)
        weighted = problem.task.weight_column is not None
        timed = estimate(model, batches, arguments, problem.transform(training=True), weighted)
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    return Plan(fill_recipe(recipe, model.config), num_parameters, timed, notes)


def train_model(prepared: Prepared) -> Run:
    """Train on the encoded training rows (or on the stream of them), choosing by the validation rows."""
    recipe, model, problem, arguments = prepared.recipe, prepared.model, prepared.problem, prepared.arguments
    columns = prepared.columns
    transform = problem.transform(training=False)
    if "train" in columns:
        problem.target.check_training(columns["train"])
    if isinstance(model, FitsAfterTraining) and "train" in columns:
        model.check_training_rows(len(columns["train"]))

    def validate(model: torch.nn.Module) -> tuple[dict[str, float], list[Figure]]:
        batch_size, carry = arguments.per_device_eval_batch_size, arguments.carry_state
        rows = predict(model, columns["validation"], problem.predict, transform, batch_size, carry_state=carry)
        metrics = problem.metrics(problem.relate(rows)) | problem.validate(model, columns["validation"])
        return metrics, list(problem.preview(model)) if PartialState().is_main_process else []

    run = train(
        model,
        make_batches(columns.get("train"), prepared.rows["train"], problem, arguments),
        arguments,
        transform=problem.transform(training=True),
        evaluate=validate,
        metric_for_best_model=arguments.metric_for_best_model,
        greater_is_better=arguments.greater_is_better,
        output_dir=arguments.output_dir,
        weighted=problem.task.weight_column is not None,
        recipe={name: value for name, value in recipe.to_dict().items() if name != "training"}
        | {"fingerprint": prepared.loaded.fingerprint},
    )
    if isinstance(model, FitsAfterTraining) and "train" in columns:
        batch_size = arguments.per_device_eval_batch_size
        model.fit_after_training(transformed_batches(model, columns["train"], transform, batch_size))
    return run


def describe_data(loaded: LoadedData) -> dict[str, Any]:
    """Describe the data of a release."""
    return {
        "dataset": loaded.dataset,
        "revision": loaded.revision,
        "fingerprint": loaded.fingerprint,
        "license": loaded.license,
        "carved": list(loaded.carved),
        "split_sentences": loaded.split_sentences,
        "num_rows": count_rows(
            {name: split for name, split in loaded.splits.items() if isinstance(split, Dataset)}, loaded.carved
        ),
    }


def describe_run(run: Run, arguments: TrainingArguments, seconds: float) -> dict[str, Any]:
    """Describe how a release came about, so that it can be had again."""
    import accelerate
    import datasets
    import transformers

    from . import __version__

    modules = {"torch": torch, "transformers": transformers, "datasets": datasets, "accelerate": accelerate}
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "command": shlex.join([Path(sys.argv[0]).name.replace("__main__.py", "hubmodels"), *sys.argv[1:]]),
        "seed": arguments.seed,
        "hardware": run.hardware,
        "training_minutes": round(run.seconds / 60, 2),
        "total_minutes": round(seconds / 60, 2),
        "steps": run.steps,
        "epochs": run.epochs,
        "versions": {"python": platform.python_version(), "hubmodels": __version__}
        | {name: module.__version__ for name, module in modules.items()},
    }
