"""The straight line, from a data set to a release folder: load, fit, encode, build, train, evaluate, release.

What a release is used for afterwards is `use.py`.
"""

import platform
import shlex
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from datasets import Dataset

from . import publishing
from .abilities import FitsAfterTraining
from .data import LoadedData, load_data
from .evaluation import Results, predict, transformed_batches
from .processes import find_processes
from .recipe import Recipe, TrainingArguments
from .recipes import parse_recipe, require_output_dir
from .report import Figure, collect_notes
from .steps import build_model, encode_splits, fit_problem, make_batches, measure_with_figures, select_rows
from .tasks import AnyProblem
from .training import Run, train


@dataclass
class Outcome:
    """Holds what a training gave: the release folder, the test results and the run."""

    folder: Path
    results: Results
    run: Run


def train_and_release(recipe: Recipe, baseline: bool = True, model_id: str | None = None) -> Outcome:
    """Train by a recipe, measure on the test split, and write the release folder `<output_dir>/release`.

    Every process of an `accelerate launch` calls this; only the main one writes.

    Args:
        recipe: what to train, on what, how.
        baseline: whether the task's classical baseline is fitted on the same split.
        model_id: the Hub id that the card's examples load; the run's name when None.

    Raises:
        HubmodelsError: the recipe, the data or the checkpoint to start from cannot be used.
    """
    started = time.perf_counter()
    find_processes()
    require_output_dir(recipe)
    data_arguments, task, arguments = parse_recipe(recipe)
    assert arguments.output_dir is not None, "a run has a folder"
    with collect_notes() as notes:
        loaded = load_data(data_arguments, task.units)
        rows = select_rows(task, loaded.splits)
        origin = loaded.origins.get("train")
        problem = fit_problem(task, rows["train"], recipe.model_name_or_path, arguments.seed, origin)
        in_memory = {name: split for name, split in rows.items() if isinstance(split, Dataset)}
        columns = encode_splits(problem, in_memory, loaded.origins)
    problem.reading, problem.notes = loaded.reading.to_dict(), notes
    model = build_model(recipe, problem, arguments.seed)
    run = train_model(model, problem, columns, rows["train"], recipe, arguments, loaded.fingerprint)
    results, figures = measure_with_figures(model, problem, columns, arguments, baseline)
    folder = Path(arguments.output_dir) / "release"
    if PartialState().is_main_process:
        publishing.release(
            folder,
            model=model,
            processor=problem.processor,
            task=problem.task,
            recipe=recipe,
            results=results.to_dict(),
            golden_inputs=problem.golden_inputs(),
            save_problem=problem.save_state,
            plots=[*run.figures(), *figures],
            data=describe_data(loaded),
            model_id=model_id,
            provenance=describe_run(run, arguments, time.perf_counter() - started),
        )
    PartialState().wait_for_everyone()
    return Outcome(folder=folder, results=results, run=run)


def train_model(
    model: Any,
    problem: AnyProblem,
    columns: Mapping[str, Any],
    train_rows: Any,
    recipe: Recipe,
    arguments: TrainingArguments,
    fingerprint: str,
) -> Run:
    """Train on the encoded training rows (or on the stream of them), choosing by the validation rows."""
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
        make_batches(columns.get("train"), train_rows, problem, arguments),
        arguments,
        transform=problem.transform(training=True),
        evaluate=validate,
        metric_for_best_model=arguments.metric_for_best_model,
        greater_is_better=arguments.greater_is_better,
        output_dir=arguments.output_dir,
        weighted=problem.task.weight_column is not None,
        recipe={name: value for name, value in recipe.to_dict().items() if name != "training"}
        | {"fingerprint": fingerprint},
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
        "num_rows": {name: len(split) for name, split in loaded.splits.items() if isinstance(split, Dataset)},
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
