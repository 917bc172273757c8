"""What a release is used for: predict files, measure it, draw samples, join them to data.

Each opens the release by its own recipe: a folder or a Hub id is all that it is given.
"""

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from datasets import Dataset, Features, concatenate_datasets

from . import checkpoint, publishing
from .abilities import HasMembers, Samples, is_class_conditional
from .answering import Answering, collect_answers, say_unreadable, write_answers
from .binding import bind_checkpoint
from .cpu import computes_bf16
from .data import LoadedData, Reading, TableWriter, check_given, load_data, open_writer
from .errors import HubmodelsError
from .evaluation import Results, evaluation_mode
from .fields import option_fields
from .files import atomic_folder, read_json, write_json
from .processes import find_processes
from .progress import without_bars
from .recipe import DataArguments, ReadingOptions, TrainingArguments
from .recipes import parse_recipe, read_recipe
from .steps import add_evidence, draw_figures, drop_unreadable, encode_splits, measure, select_rows
from .tasks import AnyProblem, forget_absent_columns, get_task
from .whole_files import answer_whole

MEASURED_FIELDS = {"season_errors", "season_length"}  # of configs of 0.1.0, which no network reads
STAYING_FIELDS = {"group_column", "missing_targets", "max_unreadable"}  # of the data section, for other data too
MOST_ROWS_SHOWN = 1_000  # of predictions that are written to no file


# Opening


@dataclass
class OpenedRelease:
    """A checkpoint with what its recipe says of it, ready to be measured or to predict."""

    data_arguments: DataArguments
    arguments: TrainingArguments
    model: Any
    problem: AnyProblem
    other_data: bool = False  # whether the data set is another than the one that it was trained on
    given: tuple[str, ...] = ()  # fields of the data section that were given now, which win whatever the data hold

    def load(self, measured: str | None = None) -> LoadedData:
        """Load its data set; other data are read as the files of the training were.

        Columns that the training named and other data do not have are found anew."""
        task, reading = self.problem.task, self.problem.reading

        def prepare(rows: Dataset) -> Dataset:
            absent: list[str] = []
            if self.other_data:
                for options in (task, task.input, task.target, self.data_arguments):
                    absent += forget_absent_columns(options, rows.features, self.given)
            rows = task.prepare(rows)
            if absent and rows.features is not None:
                self.check_columns(rows, absent)
            return rows

        learnt = Reading.from_dict(reading) if self.other_data and reading else None
        return load_data(self.data_arguments, task.units, measured, prepare, learnt)

    def check_columns(self, rows: Dataset, absent: list[str]) -> None:
        """Refuse other data in which nothing can stand for the columns that the training named and they lack."""
        try:
            self.problem.task.columns(rows.features)
        except HubmodelsError as error:
            names = ", ".join(map(repr, dict.fromkeys(absent)))
            raise HubmodelsError(f"the release expects column {names}, which these data do not have: {error}") from None

    def encode_splits(self, *names: str) -> dict[str, Any]:
        """Encode the named splits of its data set; one alone of other data is all of them where there are no splits."""
        task = self.problem.task
        loaded = self.load(names[0] if self.other_data and len(names) == 1 else None)
        splits = {name: loaded.splits[name] for name in names}
        rows = select_rows(task, splits)
        rows = drop_unreadable(task, rows, loaded.origins, self.data_arguments.max_unreadable)
        return encode_splits(self.problem, rows, loaded.origins)


def open_release(
    model_name_or_path: str, overrides: dict[str, Any] | None = None, config_values: dict[str, Any] | None = None
) -> OpenedRelease:
    """Open a checkpoint, local or on the Hub, by its own recipe.

    Args:
        model_name_or_path: the release.
        overrides: fields of the recipe's data section that are to be others.
        config_values: fields of the config that are to be others.

    Raises:
        HubmodelsError: no such checkpoint, no recipe in it, or it is damaged.
    """
    recipe = read_recipe(model_name_or_path)
    overrides = overrides or {}
    other_data = overrides.get("dataset") not in (None, recipe.data.get("dataset"))
    if other_data:  # it has its own splits and rows
        stay = option_fields(get_task(recipe.task)).keys() | option_fields(ReadingOptions).keys() | STAYING_FIELDS
        recipe.data = {name: value for name, value in recipe.data.items() if name in stay}
    recipe.data |= overrides
    data_arguments, task, arguments = parse_recipe(recipe)
    model = checkpoint.load_model(model_name_or_path, recipe.family, task.head, config_values)
    problem = bind_checkpoint(model_name_or_path, task, model.config.to_dict(), seed=arguments.seed)
    problem.know_model(model.config)
    if other_data and problem.reading:  # it holds the options of the training, and what was found in its files
        for name in option_fields(ReadingOptions):
            setattr(data_arguments, name, overrides.get(name))
    return OpenedRelease(data_arguments, arguments, model, problem, other_data, tuple(overrides))


# Measuring


def evaluate_release(
    model_name_or_path: str, overrides: dict[str, Any], split: str = "test", baseline: bool = False
) -> Results:
    """Measure a checkpoint, local or on the Hub, on a split of a data set (its own recipe's when none is named).

    Raises:
        HubmodelsError: no such checkpoint, no recipe in it, or data that do not fit it.
    """
    find_processes()
    opened = open_release(model_name_or_path, overrides)
    columns = opened.encode_splits("train", split) if baseline else opened.encode_splits(split)
    evaluation = measure(opened.model, opened.problem, columns, opened.arguments, split)
    if PartialState().is_main_process:
        add_evidence(evaluation, opened.model, opened.problem, columns, math.inf, baseline, split)
    return evaluation.results


def remeasure_release(folder: str, overrides: dict[str, Any], config_values: dict[str, Any]) -> Results:
    """Measure a release folder on its test split anew and replace its results, figures and card; the weights stay.

    Args:
        folder: the release.
        overrides: fields of the recipe's data section, such as `dataset_path`.
        config_values: fields of the config to measure with, which config.json and the recipe say afterwards.

    Raises:
        HubmodelsError: no release, data that do not fit it, or a field that its weights do not fit.
    """
    opened = open_release(folder, overrides, config_values)
    columns = opened.encode_splits("train", "test")
    model, problem, arguments = opened.model, opened.problem, opened.arguments
    evaluation = measure(model, problem, columns, arguments)
    plots = add_evidence(evaluation, model, problem, columns, math.inf, baseline=True)
    plots = [*draw_figures(evaluation, model, problem, columns, arguments, math.inf), *plots]
    results = evaluation.results
    publishing.replace_results(
        folder, task=problem.task, results=results.to_dict(), plots=plots, config_values=config_values
    )
    return results


def refresh_card(folder: str | os.PathLike, notes: str | None = None) -> None:
    """Write the card of a release folder anew, with notes where they are given (see `publishing.refresh_card`)."""
    _, task, _ = parse_recipe(read_recipe(os.fspath(folder)))
    publishing.refresh_card(folder, task, notes)


def migrate_release(folder: str | os.PathLike) -> float:
    """Bring a release folder of 0.1.0 to the present form; weights and answers stay.

    What only measuring needs moves from config.json to problem.json: names of targets and channels, errors of a season.

    Returns:
        By how much its golden outputs deviate afterwards, as a share of their scale.

    Raises:
        HubmodelsError: it is no release, or its golden outputs are others then.
    """
    opened = open_release(os.fspath(folder))
    problem = opened.problem
    decided = problem.config_fields()

    def change(copy: Path) -> None:
        config = read_json(copy / checkpoint.CONFIG_FILE)
        for name in ("id2label", "label2id"):
            if name not in decided:
                config.pop(name, None)
        if "num_labels" in decided:  # as transformers writes a number of labels without names
            names = [f"LABEL_{number}" for number in range(decided["num_labels"])]
            config["id2label"] = {str(number): name for number, name in enumerate(names)}
            config["label2id"] = {name: number for number, name in enumerate(names)}
        defaults = type(opened.model.config)()
        for name in MEASURED_FIELDS & config.keys():
            config[name] = getattr(defaults, name)
        ordered = sorted(config.items(), key=lambda item: (item[0] == "auto_map", item[0]))  # as transformers has it
        write_json(copy / checkpoint.CONFIG_FILE, dict(ordered))
        problem.save_state(copy)

    return publishing.replace_files(folder, problem.task, change)


# Predicting


@dataclass
class Predicted:
    """Says what became of the rows that were given; holds their answers where these were written to no file."""

    num_rows: int
    num_unreadable: int = 0  # rows without an answer; the output says why, each in its place
    table: Any = None  # pyarrow.Table


def predict_file(model_name_or_path: str, source: str | Sequence[str], output: str, **options: Any) -> int:
    """Predict into a file, and return the number of rows (see `predict`)."""
    return predict(model_name_or_path, source, output, **options).num_rows


def predict(
    model_name_or_path: str,
    source: str | Sequence[str],
    output: str | None = None,
    *,
    keep: list[str] | None = None,
    batch_size: int = 2_048,
    member: int | None = None,
    bf16: bool = False,
    anomaly_scores: bool = False,
    reading: Mapping[str, Any] | None = None,
    prediction_length: int | None = None,
    future: str | None = None,
    column_name: Mapping[str, str] | None = None,
) -> Predicted:
    """Predict every row of what is given, streaming it over all processes; rows keep their order.

    A row that cannot be read has no answer, and says why in the column `error`, which is there where there is one.

    Args:
        model_name_or_path: a release, local or on the Hub.
        source: what to predict, or several: a file of rows, a folder, a picture, a sound, a text.
        output: a .csv, .jsonl or .parquet file: the kept columns, then what the task answers. Without an ending a new
            folder of pictures, for tasks that answer such. None gives the answers of few rows as a table.
        keep: columns of the source to repeat (an id); all that the model does not read when None.
        batch_size: rows in one forward pass, >= 1.
        member: predict with this member of an ensemble alone, which is faster.
        bf16: bfloat16 autocast, which is faster and good for two to three digits; where it is not, float32.
        anomaly_scores: give of each row how little it resembles the training rows, in place of the task's answers.
        reading: fields of `ReadingOptions` that overrule how the files of the training were read.
        prediction_length: of forecasters, steps ahead; the model's own number when None.
        future: of forecasters that read what is known ahead, a file of it.
        column_name: the field of the task's input that names its column, such as `image_column_name`, and the column.

    Raises:
        HubmodelsError: no such release or file, a column is missing, or no row can be read.
    """
    inputs = [source] if isinstance(source, str | os.PathLike) else list(source)
    inputs = [os.fspath(one) for one in inputs]
    if output is not None and any(Path(one).resolve() == Path(output).resolve() for one in inputs):
        raise HubmodelsError(f"{output} is the input, which would be lost: give another --output")
    writer = None if output is None else open_writer(output)
    check_given(inputs)
    find_processes()
    state = PartialState()
    opened = open_release(model_name_or_path)
    model, problem = opened.model, opened.problem
    model = (model if member is None else extract_member(model, member)).to(state.device)
    dtype = torch.bfloat16 if bf16 and computes_bf16(state.device) else None
    answering = Answering(model, problem, keep, batch_size, dtype, anomaly_scores)
    answering.column = named_column(problem, column_name or {})
    files = Reading.from_dict(problem.reading).overruled(reading or {})
    options = {"prediction_length": prediction_length, "future": future}
    if problem.answers_whole_files and not anomaly_scores:
        return predict_whole(writer, inputs, files, answering, options)
    if given := [name for name, value in options.items() if value is not None]:
        raise HubmodelsError(f"{problem.task.tag} answers row by row: leave out --{given[0]}")
    if writer is not None:
        return write_predictions(writer, inputs, files, answering)
    return show_predictions(inputs, files, answering)


def named_column(problem: AnyProblem, names: Mapping[str, str]) -> str | None:
    """Return the column of the images, sounds or texts that was named. Raises HubmodelsError for another field."""
    single = problem.input.single
    field = None if single is None else f"{single}_column_name"
    for name in names:
        if name != field:
            remedy = "leave it out" if field is None else f"its column is named by --{field}"
            raise HubmodelsError(f"--{name}: {problem.task.tag} reads no such column; {remedy}")
    return names.get(field) if field is not None else None


def show_predictions(inputs: list[str], reading: Reading, answering: Answering) -> Predicted:
    """Predict few rows into memory, by one process, and say what could not be read."""
    problem = answering.problem
    if PartialState().num_processes > 1:
        raise HubmodelsError("several processes share no screen: give --output FILE")
    if answering.keep is None and problem.input.single == "text" and not any(Path(one).exists() for one in inputs):
        answering.keep = (problem.input_columns() or [])[:1]  # texts that were typed stand beside their answers
    table = collect_answers(inputs, reading, answering, MOST_ROWS_SHOWN)
    predicted = Predicted(len(table), len(answering.unreadable), table)
    if answering.unreadable:
        say_unreadable(answering.unreadable, predicted.num_unreadable, predicted.num_rows)
    return predicted


def predict_whole(
    writer: TableWriter | None, inputs: list[str], reading: Reading, answering: Answering, options: dict[str, Any]
) -> Predicted:
    """Predict files whose rows have answers only together, on the main process alone."""
    state = PartialState()
    if not state.is_main_process:
        state.wait_for_everyone()
        return Predicted(0)
    table = answer_whole(inputs, reading, answering, **options)
    if writer is not None:
        writer.clear()
        try:
            writer.write(0, table)
            writer.join()
        except BaseException:
            writer.discard()
            raise
    state.wait_for_everyone()
    return Predicted(len(table), table=None if writer is not None else table)


def write_predictions(writer: TableWriter, inputs: list[str], reading: Reading, answering: Answering) -> Predicted:
    """Predict what is given into a file by all processes, and say what could not be read."""
    state = PartialState()
    try:
        num_rows = write_answers(writer, inputs, reading, answering)
        state.wait_for_everyone()
        counts = [writer.join() if state.is_main_process else 0]
    except BaseException:
        writer.discard()
        raise
    state.wait_for_everyone()
    broadcast_object_list(counts)
    if counts[0] and state.is_main_process:
        say_unreadable(answering.unreadable, counts[0], num_rows)
    return Predicted(num_rows, counts[0])


def extract_member(model: Any, member: int) -> Any:
    """Return one member of an ensemble. Raises HubmodelsError where the model is none, or has no such member."""
    if not isinstance(model, HasMembers):
        raise HubmodelsError(f"{type(model).__name__} is no ensemble: leave out --member")
    try:
        return model.extract_member(member)
    except ValueError as error:
        raise HubmodelsError(f"--member: {error}") from None


# Sampling


def sample(
    model_name_or_path: str,
    output_dir: str,
    num_samples: int,
    *,
    labels: list[str] | None = None,
    options: dict[str, Any] | None = None,
    seed: int = 0,
) -> list[str]:
    """Draw samples of a model into files, one a sample, named by their number and their class.

    Args:
        model_name_or_path: a release, local or on the Hub, whose model has `sample`.
        output_dir: a new folder.
        num_samples: how many, >= 1.
        labels: names of classes, taken in turn; all of them when None. Only of a model that is told classes.
        options: what else the model's `sample` takes, as num_inference_steps.
        seed: of the samples.

    Returns:
        The names of the files.

    Raises:
        HubmodelsError: the model has no `sample`, or not these classes, or there is something at `output_dir`.
        ValueError: an option that the model refuses.
    """
    if num_samples < 1:
        raise HubmodelsError(f"num_samples must be at least 1, got {num_samples}")
    check_new(output_dir)
    find_processes()
    opened = open_release(model_name_or_path)
    name = f"{type(opened.model).__name__} at {model_name_or_path}"
    if not isinstance(opened.model, Samples):
        raise HubmodelsError(f"{name} draws no samples (it has no `sample`): use its pipeline in Python")
    model: Any = opened.model
    numbers = class_numbers(model.config, labels, num_samples, name)
    model.to(PartialState().device)
    with evaluation_mode(model), torch.no_grad():
        drawn = opened.problem.draw_files(model, num_samples, seed, numbers, **(options or {}))
        files = {}
        for index, (ending, content) in enumerate(drawn):
            words = "" if numbers is None else "-" + file_words(model.config.id2label[int(numbers[index])])
            files[f"{index:0{len(str(num_samples - 1))}}{words}{ending}"] = content
    with atomic_folder(output_dir) as temporary:
        for file, content in files.items():
            (temporary / file).write_bytes(content)
    return list(files)


def class_numbers(config: Any, labels: list[str] | None, count: int, name: str) -> torch.Tensor | None:
    """Return the classes of `count` samples, (count,), the named ones in turn; None for a model that is told none."""
    if not is_class_conditional(config):
        if labels is not None:
            raise HubmodelsError(f"{name} is told no classes: leave out --labels")
        return None
    known = {str(label): int(number) for number, label in config.id2label.items()}
    for label in labels or ():
        if label not in known:
            raise HubmodelsError(f"{name} draws no {label!r}: its classes are {', '.join(known)}")
    chosen = torch.tensor([known[label] for label in labels or known])
    return chosen.repeat(-(-count // len(chosen)))[:count]


def file_words(label: str) -> str:
    """Turn a class's name into a part of a file's."""
    return re.sub(r"[^\w.]+", "-", label).strip("-.") or "class"


def check_new(output_dir: str) -> None:
    """Refuse to write where there is something already."""
    if Path(output_dir).exists():
        raise HubmodelsError(f"{output_dir} exists: name a new folder with --output_dir")


def augment(
    model_name_or_path: str,
    output_dir: str,
    per_class: int,
    overrides: dict[str, Any] | None = None,
    *,
    generated_only: bool = False,
    seed: int = 0,
) -> dict[str, int]:
    """Write a data set whose training rows are joined by samples of a model, a Parquet file a split.

    Every split has the columns that the task reads of the real data, and `generated`, true for a sample.

    Args:
        model_name_or_path: a release, local or on the Hub, that draws rows of a class.
        output_dir: a new folder, which `datasets.load_dataset` takes.
        per_class: samples of each class of the data, >= 1.
        overrides: fields of the recipe's data section: which data, when not the model's own.
        generated_only: the training rows are the samples alone.
        seed: of the samples.

    Returns:
        The number of rows of each split, and of the samples as "generated".

    Raises:
        HubmodelsError: the model draws no classes, the data have others, or there is something at `output_dir`.
    """
    if per_class < 1:
        raise HubmodelsError(f"per_class must be at least 1, got {per_class}")
    check_new(output_dir)
    find_processes()
    opened = open_release(model_name_or_path, overrides)
    if not is_class_conditional(opened.model.config):  # before any data are loaded
        name = type(opened.model).__name__
        raise HubmodelsError(f"{name} at {model_name_or_path} does not draw rows of a given class (class_conditional)")
    loaded = opened.load().splits
    rows = {name: opened.problem.task.select(split) for name, split in loaded.items()}
    opened.model.to(PartialState().device)
    with evaluation_mode(opened.model), torch.no_grad():
        samples = opened.problem.draw_rows(opened.model, rows["train"], per_class, seed)
    splits = {name: [split.add_column("generated", [False] * len(split))] for name, split in rows.items()}
    samples = samples.add_column("generated", [True] * len(samples))
    splits["train"] = [samples] if generated_only else [*splits["train"], samples]
    joined = {}
    for name, some in splits.items():
        whole, types = concatenate_datasets(some), loaded[name].features  # as the data had them, images decoded
        kinds = {column: types.get(column, kind) for column, kind in whole.features.items()}
        with without_bars():
            joined[name] = whole.cast(Features(kinds))
    with atomic_folder(output_dir) as temporary:
        for name, split in joined.items():
            split.to_parquet(temporary / f"{name}-00000-of-00001.parquet")
    return {name: len(split) for name, split in joined.items()} | {"generated": len(samples)}
