"""What generative checkpoints are used for: samples as files, and data sets that samples join."""

import re
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from datasets import Features, concatenate_datasets

from .data import load_data
from .errors import HubmodelsError
from .evaluation import evaluation_mode
from .files import atomic_folder
from .workflow import find_processes, open_release


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
    model, name = opened.model, f"{type(opened.model).__name__} at {model_name_or_path}"
    if not hasattr(model, "sample"):
        raise HubmodelsError(f"{name} draws no samples (it has no `sample`): use its pipeline in Python")
    numbers = class_numbers(model.config, labels, num_samples, name)
    model.to(PartialState().device)
    with evaluation_mode(model), torch.no_grad():
        drawn = opened.task.draw_files(model, opened.processor, num_samples, seed, numbers, **(options or {}))
        files = {}
        for place, (ending, content) in enumerate(drawn):
            words = "" if numbers is None else "-" + file_words(model.config.id2label[int(numbers[place])])
            files[f"{place:0{len(str(num_samples - 1))}}{words}{ending}"] = content
    with atomic_folder(output_dir) as temporary:
        for file, content in files.items():
            (temporary / file).write_bytes(content)
    return list(files)


def class_numbers(config: Any, labels: list[str] | None, count: int, name: str) -> torch.Tensor | None:
    """The classes of `count` samples, (count,), the named ones in turn; None for a model that is told none."""
    if not getattr(config, "class_conditional", False):
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
    """A class's name as a part of a file's."""
    return re.sub(r"[^\w.]+", "-", label).strip("-.") or "class"


def check_new(output_dir: str) -> None:
    """Raises HubmodelsError where there is something already."""
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
    if not getattr(opened.model.config, "class_conditional", False):  # before any data are loaded
        name = type(opened.model).__name__
        raise HubmodelsError(f"{name} at {model_name_or_path} does not draw rows of a given class (class_conditional)")
    loaded = load_data(opened.data_arguments).splits
    rows = {name: opened.task.select(split) for name, split in loaded.items()}
    opened.model.to(PartialState().device)
    with evaluation_mode(opened.model), torch.no_grad():
        samples = opened.task.draw_rows(opened.model, rows["train"], opened.processor, per_class, seed)
    parts = {name: [split.add_column("generated", [False] * len(split))] for name, split in rows.items()}
    samples = samples.add_column("generated", [True] * len(samples))
    parts["train"] = [samples] if generated_only else [*parts["train"], samples]
    joined = {}
    for name, some in parts.items():
        whole, own = concatenate_datasets(some), loaded[name].features  # as the data had them, images decoded
        kinds = {column: own.get(column, kind) for column, kind in whole.features.items()}
        joined[name] = whole.cast(Features(kinds))
    with atomic_folder(output_dir) as temporary:
        for name, split in joined.items():
            split.to_parquet(temporary / f"{name}-00000-of-00001.parquet")
    return {name: len(split) for name, split in joined.items()} | {"generated": len(samples)}
