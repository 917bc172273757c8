"""The straight line, from a data set to a release folder: load, fit, encode, build, train, evaluate, release.

What a release is used for afterwards is `use.py`.
"""

import functools
import logging
import os
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
from datasets.fingerprint import Hasher

from . import checkpoint, families, publishing
from .abilities import FitsAfterTraining
from .data import (
    Batches,
    Columns,
    LoadedData,
    StepSource,
    StreamedBatches,
    WindowedColumns,
    encode_dataset,
    load_data,
    stream_head,
)
from .errors import HubmodelsError
from .evaluation import Results, evaluate, evaluation_mode, predict, transformed_batches
from .fields import check_names, option_fields, parse_section
from .recipe import DataArguments, Recipe, TrainingArguments
from .report import Examination, Figure, Sound
from .tasks import AnyProblem, Task, get_task
from .training import Run, train

logger = logging.getLogger("hubmodels")


@dataclass
class Outcome:
    """What a training gave: the release folder, the test results and the run."""

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
    data_arguments, task, arguments = parse_recipe(recipe)
    loaded = load_data(data_arguments)
    rows = select_rows(task, loaded.splits)
    problem = fit_problem(task, rows["train"], recipe.model_name_or_path, arguments.seed)
    columns = encode_splits(problem, {name: split for name, split in rows.items() if isinstance(split, Dataset)})
    model = build_model(recipe, problem, arguments.seed)
    run = train_model(model, problem, columns, rows["train"], recipe, arguments, loaded.fingerprint)
    results, figures = measure_with_figures(model, problem, columns, arguments, baseline)
    folder = Path(str(arguments.output_dir)) / "release"
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


# Recipe


def parse_recipe(recipe: Recipe) -> tuple[DataArguments, Task, TrainingArguments]:
    """Check a recipe's sections; the values of model fields are checked where the model is built.

    Returns:
        The arguments of the section data, the task, and the arguments of the section training.
    """
    task_class = get_task(recipe.task)
    families.check_family(recipe.family)
    check_names(recipe.model, families.config_fields(recipe.family), "model")  # before the data are read
    data_arguments, task = parse_section(recipe.data, "data", DataArguments, task_class)
    data_arguments.carve = data_arguments.carve or task.carve
    (arguments,) = parse_section(recipe.training, "training", TrainingArguments)
    arguments.metric_for_best_model = arguments.metric_for_best_model or task.main_metric
    if arguments.greater_is_better is None:  # the task says it of its main metric only
        if arguments.metric_for_best_model != task.main_metric:
            raise HubmodelsError(
                f"metric_for_best_model is {arguments.metric_for_best_model}: say with greater_is_better (true or "
                f"false) whether a larger one is better, or leave both out for {task.main_metric}"
            )
        arguments.greater_is_better = task.greater_is_better
    return data_arguments, task, arguments


def read_recipe(model_name_or_path: str) -> Recipe:
    """Return the recipe of a release, from its folder or the Hub. Raises HubmodelsError where there is none."""
    return Recipe.load(checkpoint.find_file(model_name_or_path, "recipe.yaml"))


def default_recipe(family: str, task: str) -> Recipe:
    """Return the family's defaults for a task, for data that has no recipe yet."""
    families.check_family(family)
    get_task(task)
    return Recipe.from_dict(
        {"family": family, "task": task, **families.family_recipe(family, task)}, f"{family}/recipe.yaml"
    )


def finetuning_recipe(model_name_or_path: str, task: str | None = None) -> Recipe:
    """Return the recipe for fine-tuning a checkpoint: its family and task (or another one), with the family's defaults.

    Its network stays, and for the same task its options: how inputs are encoded belongs to the network. Which columns
    are read does not."""
    parent = read_recipe(model_name_or_path)
    recipe = default_recipe(parent.family, task or parent.task)
    recipe.model = {}
    if recipe.task == parent.task:
        options = [name for name in option_fields(get_task(recipe.task)) if "_column_name" not in name]
        recipe.data |= {name: parent.data[name] for name in options if name in parent.data}
    recipe.model_name_or_path = model_name_or_path
    return recipe


def require_output_dir(recipe: Recipe) -> None:
    """Give a run that names no folder one of its own: runs/<family>-<data set>."""
    if not recipe.training.get("output_dir"):
        dataset = str(recipe.data.get("dataset") or "").rstrip("/").replace("sklearn:", "").split("/")[-1]
        dataset = Path(dataset).stem if os.path.isfile(recipe.data.get("dataset") or "") else dataset
        if not dataset:
            raise HubmodelsError("no data set: give --dataset a Hub id, a folder, a file or sklearn:NAME")
        recipe.training["output_dir"] = os.fspath(Path("runs", f"{recipe.family}-{dataset}"))


# Data


def select_rows(task: Task, splits: Mapping[str, Any]) -> dict[str, Any]:
    """Select of each split the columns that the task reads, and of training and validation the rows to learn from."""
    rows = {name: task.select(split) for name, split in splits.items()}
    return rows | {name: task.training_rows(rows[name]) for name in ("train", "validation") if name in rows}


def fit_problem(task: Task, train: Any, checkpoint: str | None, seed: int) -> AnyProblem:
    """Bind the task to the training rows, or to the first of a stream.

    A processor that was fitted is kept beside the data set's cache: a second start reads no row for it."""
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


def encode_splits(problem: AnyProblem, rows: Mapping[str, Dataset]) -> dict[str, Any]:
    """Encode the rows of each split: the main process encodes, the others map what it wrote."""
    columns: dict[str, Any] = {}
    for name, split in rows.items():
        with PartialState().main_process_first():
            columns[name] = encode_dataset(
                split,
                functools.partial(problem.encode, features=split.features),
                features=problem.encoded_features(),
                key=problem.cache_key(),
                description=f"Encoding {name}",
            )
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
    families.check_requires(recipe.family, recipe.task, problem.task.requires)
    values = families.declared(recipe.family, problem.config_fields()) | recipe.model
    torch.manual_seed(seed)
    if recipe.model_name_or_path:
        model = checkpoint.load_model(recipe.model_name_or_path, recipe.family, problem.task.head, values)
    else:
        model = families.build_model(recipe.family, problem.task.head, values)
    problem.know_model(model.config)
    return model


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
        recipe={name: value for name, value in recipe.to_dict().items() if name != "training"}
        | {"fingerprint": fingerprint},
    )
    if isinstance(model, FitsAfterTraining) and "train" in columns:
        batch_size = arguments.per_device_eval_batch_size
        model.fit_after_training(transformed_batches(model, columns["train"], transform, batch_size))
    return run


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


# Processes


def find_processes() -> None:
    """Make the processes of a launch known, before anything asks which one this is."""
    # Without `cpu` accelerate does not see the processes of a torchrun on a machine without a GPU.
    PartialState(cpu=not torch.accelerator.is_available())


def leave_processes(code: int) -> None:
    """End this process at once where it is one of several on CPUs: everything is written, and gloo's threads abort
    about one exit in thirty where the interpreter takes them down (torch 2.13)."""
    group = torch.distributed
    if group.is_available() and group.is_initialized() and group.get_world_size() > 1 and group.get_backend() == "gloo":
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
