"""The straight line, from a data set to a model repository. The only module that imports every stage."""

import logging
import os
import platform
import shlex
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import tqdm
from datasets import Dataset

from . import auto, publishing
from .cpu import computes_bf16
from .data import (
    Batches,
    Columns,
    LoadedData,
    StreamedBatches,
    TableWriter,
    WindowedColumns,
    check_readable,
    encode_dataset,
    load_data,
    read_tables,
    stream_head,
)
from .errors import HubmodelsError, nearest
from .evaluation import Results, answer, evaluate, evaluation_mode, predict, transformed_batches
from .fields import check_names, own_fields, parse_section
from .recipe import DataArguments, Recipe, TrainingArguments
from .report import Examination, Figure
from .tasks import Task, get_task
from .training import Run, train

logger = logging.getLogger("hubmodels")

ROWS_PER_TABLE = 65_536  # of a file to predict: at once in memory, encoded and not


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
    checkpoint = recipe.model_name_or_path
    fitted = stream_head(rows["train"]) if data_arguments.streaming else rows["train"]
    processor = task.load_processor(checkpoint) if checkpoint else fit_processor(task, fitted)
    values = task.fit_config(fitted, processor)
    stored = {name: split for name, split in rows.items() if isinstance(split, Dataset)}
    columns = encode_splits(task, stored, processor, values)
    torch.manual_seed(arguments.seed)
    if checkpoint:
        model = auto.load_model(checkpoint, recipe.family, task.head, values | recipe.model)
    else:
        model = auto.build_model(recipe.family, task.head, values | recipe.model)
    if hasattr(model, "check_training_rows") and "train" in columns:
        model.check_training_rows(len(columns["train"]))
    values |= read_fields(model, task.model_fields)
    transform = task.transform(processor, values, training=False)

    def validate(model: torch.nn.Module) -> tuple[dict[str, float], list[Figure]]:
        batch_size, carry = arguments.per_device_eval_batch_size, arguments.carry_state
        rows = predict(model, columns["validation"], task.predict, transform, batch_size, carry_state=carry)
        metrics = task.metrics(task.relate(rows), values)
        metrics |= task.validate(model, columns["validation"], transform, processor, values, arguments.seed)
        is_main = PartialState().is_main_process
        return metrics, list(task.preview(model, processor, values, arguments.seed)) if is_main else []

    run = train(
        model,
        make_batches(columns.get("train"), rows["train"], task, processor, values, arguments),
        arguments,
        transform=task.transform(processor, values, training=True),
        evaluate=validate,
        metric_for_best_model=arguments.metric_for_best_model,
        greater_is_better=arguments.greater_is_better,
        output_dir=arguments.output_dir,
        recipe={name: value for name, value in recipe.to_dict().items() if name != "training"}
        | {"fingerprint": loaded.fingerprint},
    )
    if hasattr(model, "fit_after_training") and "train" in columns:
        batch_size = arguments.per_device_eval_batch_size
        model.fit_after_training(transformed_batches(model, columns["train"], transform, batch_size))
    results, plots = measure_with_figures(model, task, columns, processor, values, arguments, baseline)
    folder = Path(arguments.output_dir) / "release"
    if PartialState().is_main_process:
        publishing.release(
            folder,
            model=model,
            processor=processor,
            task=task,
            recipe=recipe,
            results=results.to_dict(),
            golden_inputs=task.golden_inputs(processor, values),
            plots=[*run.figures(), *plots],
            data=describe_data(loaded),
            model_id=model_id,
            provenance=describe_run(run, arguments, time.perf_counter() - started),
        )
    PartialState().wait_for_everyone()
    return Outcome(folder=folder, results=results, run=run)


def evaluate_release(
    model_name_or_path: str, overrides: dict[str, Any], split: str = "test", baseline: bool = False
) -> Results:
    """Measure a checkpoint, local or on the Hub, on a split of a data set (its own recipe's when none is named).

    Raises:
        HubmodelsError: no such checkpoint, no recipe in it, or data that do not fit it.
    """
    find_processes()
    opened = open_release(model_name_or_path, overrides)
    task, processor, values = opened.task, opened.processor, opened.values
    columns = opened.encode_splits("train", split) if baseline else opened.encode_splits(split)
    return measure(opened.model, task, columns, processor, values, opened.arguments, baseline, split)[0]


def remeasure_release(folder: str, overrides: dict[str, Any], config_values: dict[str, Any]) -> Results:
    """Measure a release folder on its test split anew, beside the classical baseline, and replace its results, its
    figures and its card; the weights stay.

    Args:
        folder: the release.
        overrides: fields of the recipe's data section, such as `dataset_path`.
        config_values: fields of the config to measure with, which config.json and the recipe say afterwards.

    Raises:
        HubmodelsError: no release, data that do not fit it, or a field that its weights do not fit.
    """
    opened = open_release(folder, overrides, config_values)
    task, processor, values = opened.task, opened.processor, opened.values
    columns = opened.encode_splits("train", "test")
    results, plots = measure_with_figures(
        opened.model, task, columns, processor, values, opened.arguments, baseline=True
    )
    publishing.replace_results(folder, task=task, results=results.to_dict(), plots=plots, config_values=config_values)
    return results


@dataclass
class OpenedRelease:
    """A checkpoint with what its recipe says of it, ready to be measured or to predict."""

    data_arguments: DataArguments
    task: Task
    arguments: TrainingArguments
    model: Any
    processor: Any
    values: dict[str, Any]  # of the config fields that the task knows

    def encode_splits(self, *names: str) -> dict[str, Columns]:
        """The named splits of its data set, as `encode_splits` gives them."""
        splits = load_data(self.data_arguments).splits
        rows = select_rows(self.task, {name: splits[name] for name in names})
        return encode_splits(self.task, rows, self.processor, self.values)


def open_release(
    model_name_or_path: str, overrides: dict[str, Any] | None = None, config_values: dict[str, Any] | None = None
) -> OpenedRelease:
    """A checkpoint, local or on the Hub, by its own recipe; `overrides` are fields of the recipe's data section,
    `config_values` fields of the config that are to be others.

    Raises:
        HubmodelsError: no such checkpoint, no recipe in it, or it is damaged.
    """
    recipe = read_recipe(model_name_or_path)
    if "dataset" in (overrides or {}):  # another data set has other columns and splits
        recipe.data = {}
    recipe.data |= overrides or {}
    data_arguments, task, arguments = parse_recipe(recipe)
    model = auto.load_model(model_name_or_path, recipe.family, task.head, config_values)
    processor = task.load_processor(model_name_or_path)
    values = read_fields(model, task.config_fields + task.model_fields)
    return OpenedRelease(data_arguments, task, arguments, model, processor, values)


def refresh_card(folder: str | os.PathLike, notes: str | None = None) -> None:
    """Write the card of a release folder anew, with notes where they are given (see `publishing.refresh_card`)."""
    _, task, _ = parse_recipe(read_recipe(os.fspath(folder)))
    publishing.refresh_card(folder, task, notes)


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


def predict_file(
    model_name_or_path: str,
    source: str,
    output: str,
    *,
    keep: list[str] | None = None,
    batch_size: int = 2_048,
    member: int | None = None,
    bf16: bool = False,
) -> int:
    """Predict every row of a file, streaming it over all processes; rows keep their order.

    Args:
        model_name_or_path: a release, local or on the Hub.
        source: a CSV, TSV, JSON-lines or Parquet file, or a folder of images or sounds.
        output: a .csv, .jsonl or .parquet file: the kept columns, then what the task answers.
        keep: columns of the source to repeat (an id); all that the model does not read when None.
        batch_size: rows in one forward pass, >= 1.
        member: predict with this member of an ensemble alone, which is faster.
        bf16: bfloat16 autocast, which is faster and good for two to three digits; where it is not, float32.

    Returns:
        The number of rows.

    Raises:
        HubmodelsError: no such release or file, a column is missing, or a row cannot be read.
    """
    if batch_size < 1:
        raise HubmodelsError(f"batch_size must be at least 1, got {batch_size}")
    if check_readable(source).resolve() == Path(output).resolve():
        raise HubmodelsError(f"{output} is the input, which would be lost: give another --output")
    writer = TableWriter(output)
    find_processes()
    state = PartialState()
    opened = open_release(model_name_or_path)
    model, task, processor, values = opened.model, opened.task, opened.processor, opened.values
    if member is not None:
        if not hasattr(model, "extract_member"):
            raise HubmodelsError(f"{type(model).__name__} is no ensemble: leave out --member")
        try:
            model = model.extract_member(member)
        except ValueError as error:
            raise HubmodelsError(f"--member: {error}") from None
    model = model.to(state.device)
    transform = task.transform(processor, values, training=False)

    def answers(outputs: Any) -> dict[str, Any]:
        return task.answers(outputs, values)

    if state.is_main_process:
        writer.clear()
    state.wait_for_everyone()
    dtype = torch.bfloat16 if bf16 and computes_bf16(state.device) else None
    start = 0
    try:
        with tqdm(desc="Predicting", unit=" rows", disable=not state.is_main_process) as bar:
            for number, table in enumerate(read_tables(source, ROWS_PER_TABLE)):
                if number % state.num_processes == state.process_index:
                    numbers = range(start, start + len(table))
                    encoded = task.encode_inputs(table, numbers, processor, values)
                    found = answer(model, encoded, answers, transform, batch_size, dtype)
                    writer.write(number, join_answers(table, found, keep, task.input_columns(processor)))
                start += len(table)
                bar.update(len(table))
        if start == 0:
            raise HubmodelsError(f"{source} has no rows")
    except BaseException:
        writer.discard()
        raise
    state.wait_for_everyone()
    if state.is_main_process:
        writer.join()
    state.wait_for_everyone()
    return start


def join_answers(table: Any, answers: dict[str, Any], keep: list[str] | None, inputs: list[str] | None) -> Any:
    """The kept columns of a table beside what the task answers; an answer wins over a column of its name."""
    if keep is None:
        keep = [name for name in table.column_names if name not in (inputs or ())]
    for name in keep:
        if name not in table.column_names:
            raise HubmodelsError(f"there is no column {name!r} to keep{nearest(name, table.column_names)}")
    kept = table.select([name for name in keep if name not in answers])
    for name, column in answers.items():
        kept = kept.append_column(name, [column])
    return kept


def parse_recipe(recipe: Recipe) -> tuple[DataArguments, Task, TrainingArguments]:
    """The checked arguments of a recipe's sections, and its task. Model fields are checked where the model is built."""
    task_class = get_task(recipe.task)
    auto.check_family(recipe.family)
    check_names(recipe.model, auto.config_fields(recipe.family), "model")  # before the data are read
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


def select_rows(task: Task, splits: dict[str, Any]) -> dict[str, Any]:
    """The rows and columns of each split that the task reads; the training and validation splits without rows that the
    model shall not learn from."""
    rows = {name: task.select(split) for name, split in splits.items()}
    return rows | {name: task.training_rows(rows[name]) for name in ("train", "validation") if name in rows}


def read_fields(model: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """Fields of a model's config; None where it has no such field."""
    return {name: getattr(model.config, name, None) for name in names}


def fit_processor(task: Task, train: Any) -> Any:
    """The task's processor for these training rows, kept beside the data set's cache: a second start reads no row."""
    from datasets.fingerprint import Hasher

    files = train.cache_files
    if not files:
        return task.fit_processor(train)
    cache = Path(files[0]["filename"]).parent / f"processor-{Hasher.hash([train._fingerprint, repr(task)])}"
    if (cache / "complete").exists():
        return task.load_processor(os.fspath(cache))
    with PartialState().main_process_first():
        if (cache / "complete").exists():
            return task.load_processor(os.fspath(cache))
        processor = task.fit_processor(train)
        processor.save_pretrained(cache)
        (cache / "complete").touch()
    return processor


def encode_splits(task: Task, rows: dict[str, Dataset], processor: Any, values: dict[str, Any]) -> dict[str, Columns]:
    """The encoded columns of each split; encoded by the main process, mapped by the others."""
    columns = {}
    # What the model's section says changes no row's encoding: one cache for training and evaluation.
    values = {name: value for name, value in values.items() if name not in task.model_fields}
    for name, split in rows.items():
        with PartialState().main_process_first():
            columns[name] = encode_dataset(
                split,
                lambda batch, numbers, features=split.features: task.encode(
                    batch, numbers, features, processor, values
                ),
                features=task.encoded_features(processor, values),
                key=[task.processor_key(processor), repr(task), values],
                description=f"Encoding {name}",
            )
        if (windows := task.windows(columns[name], processor, values)) is not None:
            columns[name] = WindowedColumns(columns[name], *windows)
    return columns


def make_batches(
    columns: Columns | None, rows: Any, task: Task, processor: Any, values: dict[str, Any], arguments: TrainingArguments
) -> Batches:
    """The training batches: from encoded columns, or, streaming, encoded as the rows come."""
    seed, num_workers = arguments.seed, arguments.dataloader_num_workers
    if columns is not None:
        in_lanes, max_shift = arguments.carry_state, task.window_shift()
        return Batches(columns, seed=seed, num_workers=num_workers, in_lanes=in_lanes, max_shift=max_shift)
    if type(task).windows is not Task.windows or arguments.carry_state:
        raise HubmodelsError(f"{task.tag} cuts windows from all its training rows: leave out --streaming")

    def encode(batch: dict[str, list], numbers: list[int]) -> dict[str, Any]:
        return task.encode(batch, numbers, rows.features, processor, values)

    return StreamedBatches(rows, encode, seed=seed, num_workers=num_workers)


def measure(
    model: Any,
    task: Task,
    columns: dict[str, Columns],
    processor: Any,
    values: dict[str, Any],
    arguments: TrainingArguments,
    baseline: bool,
    split: str = "test",
) -> tuple[Results, dict, list[Figure]]:
    """The metrics of a model on a split, beside the classical baseline where asked, the rows they came from, and
    figures of the model."""
    transform = task.transform(processor, values, training=False)
    rows = predict(
        model,
        columns[split],
        task.predict,
        transform,
        arguments.per_device_eval_batch_size,
        description="Evaluating",
        carry_state=arguments.carry_state,
    )
    rows = task.relate(rows)
    classical = None
    if baseline and "train" not in columns:
        logger.info("No classical baseline: the training rows are a stream")
    elif baseline and PartialState().is_main_process:
        logger.info("Fitting the classical baseline on the same split ...")
        classical = task.baseline(columns["train"], columns[split], processor, values, arguments.seed)
    examination = Examination()
    if PartialState().is_main_process:
        examined = {name: columns[name] for name in ("train",) if name in columns} | {"test": columns[split]}
        with evaluation_mode(model), torch.no_grad():
            examination = task.examine(model, examined, transform, processor, values, arguments.seed)
    if not baseline:
        examination.baseline_name = None
    return evaluate(rows, task, values, classical, examination), rows, examination.figures


def measure_with_figures(
    model: Any,
    task: Task,
    columns: dict[str, Columns],
    processor: Any,
    values: dict[str, Any],
    arguments: TrainingArguments,
    baseline: bool,
) -> tuple[Results, list[Figure]]:
    """The metrics on the test split, see `measure`, and all figures of a release but those of the training."""
    results, rows, plots = measure(model, task, columns, processor, values, arguments, baseline)
    if not PartialState().is_main_process:
        return results, []
    transform = task.transform(processor, values, training=False)

    def predict_alone(rows: Any) -> dict[str, Any]:
        batch_size = arguments.per_device_eval_batch_size
        return predict(model, rows, task.predict, transform, batch_size, distributed=False)

    figures = task.plots(rows, columns["test"], processor, values)
    return results, [*figures, *task.explain(predict_alone, columns["test"], processor, values), *plots]


def describe_data(loaded: LoadedData) -> dict[str, Any]:
    """What a release says of its data."""
    return {
        "dataset": loaded.dataset,
        "revision": loaded.revision,
        "fingerprint": loaded.fingerprint,
        "license": loaded.license,
        "carved": list(loaded.carved),
        "num_rows": {name: len(split) for name, split in loaded.splits.items() if isinstance(split, Dataset)},
    }


def describe_run(run: Run, arguments: TrainingArguments, seconds: float) -> dict[str, Any]:
    """What a release says of how it came about, so that it can be had again."""
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


def read_recipe(model_name_or_path: str) -> Recipe:
    """The recipe of a release, from its folder or the Hub. Raises HubmodelsError where there is none."""
    return Recipe.load(auto.find_file(model_name_or_path, "recipe.yaml"))


def default_recipe(family: str, task: str) -> Recipe:
    """The family's defaults for a task, for data that has no recipe yet."""
    auto.check_family(family)
    get_task(task)
    return Recipe.from_dict(
        {"family": family, "task": task, **auto.family_recipe(family, task)}, f"{family}/recipe.yaml"
    )


def finetuning_recipe(model_name_or_path: str, task: str | None = None) -> Recipe:
    """The recipe for fine-tuning a checkpoint: its family and task (or another one) with the family's defaults, its
    network kept, and for the same task its options: how inputs are encoded belongs to the network. Which columns are
    read does not."""
    parent = read_recipe(model_name_or_path)
    recipe = default_recipe(parent.family, task or parent.task)
    recipe.model = {}
    if recipe.task == parent.task:
        options = [name for name in own_fields(get_task(recipe.task)) if "_column_name" not in name]
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
