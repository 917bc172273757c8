"""The recipe: what to train, on what data, how. Strict dataclasses to and from YAML.

A recipe names a family and a task and has three sections, whose field names are unique over all three, so that a
command-line flag needs no prefix:

    data      the fields of `DataArguments` and the fields of the task's own dataclass (columns, augmentation, ...)
    model     the fields of the family's config
    training  the fields of `TrainingArguments`

This module imports the standard library and PyYAML only: it knows the general fields, and checks the others against
whatever dataclasses its caller names.
"""

import dataclasses
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from .errors import HubmodelsError, nearest
from .fields import option, option_fields, run_only
from .files import atomic_file

SECTIONS = ("data", "model", "training")


SeriesLayout = Literal["class_first", "no_class", "channels_last", "channels_first", "table"]


@dataclass(kw_only=True)
class ReadingOptions:
    """Says how files are read where what they hold shall not decide. A release keeps what was decided for `predict`."""

    separator: str | None = option(None, "CSV: what stands between two cells; found in the file when absent")
    decimal: Literal[".", ","] | None = option(None, "decimal mark of numbers in text; found in the column when absent")
    encoding: str | None = option(None, "encoding of text files (utf-8, cp1252, ...); found in the file when absent")
    quotechar: str | None = option(None, 'CSV: the sign around cells, "" for none; found in the file when absent')
    header: bool | None = option(None, "CSV: whether the first line names the columns; found in the file when absent")
    sheet_name: str | None = option(None, "Excel: the sheet; the only one when absent")
    query: str | None = option(None, "SQLite: a SELECT, or the name of a table; the only table when absent")
    series_layout: SeriesLayout | None = option(
        None,
        "series in lines of numbers: whether a class stands first (UCR archive); arrays of three dimensions: which is "
        "the channels; found in the file when absent; table for rows that are no series",
    )
    sample_by: Literal["line", "paragraph", "document"] | None = option(
        None, "what a row of plain text files is; when absent a line together with its line break"
    )
    column_kinds: dict | None = option(
        None,
        "what columns are, over what they look like: {age: number, city: category}; kinds are number, "
        "category, date, text, boolean and identifier",
    )
    drop_columns: list[str] | None = option(None, "columns that are left out, whatever they hold")
    allow_urls: bool | None = option(None, "files that rows name by URL are downloaded; refused when absent")
    date_order: Literal["dmy", "mdy", "ymd"] | None = option(
        None, "order of day, month and year in dates such as 1/2/2024; found in the columns when absent"
    )

    def reading_options(self) -> "ReadingOptions":
        """Return these options alone, without what a class that extends this one adds."""
        return ReadingOptions(**{item.name: getattr(self, item.name) for item in dataclasses.fields(ReadingOptions)})


@dataclass(kw_only=True)
class DataArguments(ReadingOptions):
    """Says where the rows come from, how they are read and how they are split."""

    dataset: str | None = option(None, "Hub id, folder or file that datasets.load_dataset takes, or sklearn:NAME")
    dataset_path: str | None = run_only(None, "a local copy of the data set, read in its place")
    dataset_config_name: str | None = option(None, "configuration of a Hub data set that has several")
    dataset_revision: str | None = option(None, "commit, tag or branch of the Hub data set")
    train_split: str = option("train", "the split to train on: a name, or rows of it such as train[:8640]")
    validation_split: str = option("validation", "the split that chooses, name or slice; carved from train when absent")
    test_split: str = option("test", "the split that is measured once, by name or slice; carved when absent")
    validation_fraction: float = option(0.1, "share of the training rows carved for validation, in (0, 1)")
    test_fraction: float = option(0.2, "share of all rows carved for the test when there is no test split, in (0, 1)")
    carve: Literal["random", "last"] | None = option(
        None, "carve rows drawn at random, or the last ones (time series); the task knows when absent"
    )
    split_seed: int = option(0, "seed of the carving")
    max_train_samples: int | None = option(None, "use this many training rows at most, >= 1")
    max_eval_samples: int | None = option(None, "use this many validation and test rows at most, >= 1")
    streaming: bool = option(False, "read the training rows as they come instead of loading them first")
    group_column: str | None = option(None, "rows with the same value here stay together when splits are carved")
    max_unreadable: float = option(0.01, "share of a split's files that may be unreadable; one always may, in [0, 1]")
    missing_targets: Literal["refuse", "drop"] = option(
        "refuse", "what is done with rows without a target: they end the run, or they are left out and counted"
    )
    strict_data: bool = option(False, "what the check of the data finds ends the run before the training")

    def __post_init__(self) -> None:
        for name in ("validation_fraction", "test_fraction"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} must be between 0 and 1 (both excluded), got {getattr(self, name)}")
        if not 0 <= self.max_unreadable <= 1:
            raise ValueError(f"max_unreadable must be between 0 and 1, got {self.max_unreadable}")
        for name in ("max_train_samples", "max_eval_samples"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")


@dataclass(kw_only=True)
class TrainingArguments:
    """Says how to train. Names are those of transformers.TrainingArguments wherever the meaning is the same."""

    num_train_epochs: float = option(3.0, "passes over the training rows, > 0")
    max_steps: int = option(-1, "optimizer steps; when positive it overrides num_train_epochs")
    per_device_train_batch_size: int = option(128, "rows in one forward pass of one process, >= 1")
    per_device_eval_batch_size: int = option(512, "rows in one evaluation pass of one process, >= 1")
    gradient_accumulation_steps: int = option(1, "forward passes for one optimizer step, >= 1")
    optim: Literal["adamw", "sgd"] = option("adamw", "optimizer; sgd has Nesterov momentum")
    learning_rate: float = option(1e-3, "peak learning rate, > 0")
    weight_decay: float = option(0.0, "decay of weights (never of norms, biases or embeddings), >= 0")
    adam_beta1: float = option(0.9, "AdamW: decay of the gradient's mean, in [0, 1)")
    adam_beta2: float = option(0.999, "AdamW: decay of the gradient's square, in [0, 1)")
    adam_epsilon: float = option(1e-8, "AdamW: added to the denominator, > 0")
    momentum: float = option(0.9, "SGD: momentum, in [0, 1)")
    lr_scheduler_type: str = option("cosine", "a schedule of transformers.get_scheduler, or coslog4")
    lr_scheduler_kwargs: dict | None = option(None, "further arguments of that schedule")
    warmup_steps: float = option(0, "optimizer steps of linear warm-up; below 1 a share of all steps")
    max_grad_norm: float = option(1.0, "clip the gradient's 2-norm to this, 0 for no clipping")
    label_smoothing_factor: float = option(0.0, "share of the target spread over all classes, in [0, 1)")
    class_weights: Literal["none", "balanced"] = option("none", "balanced weighs classes by the inverse of their count")
    ema_decay: float = option(0.0, "decay of the averaged weights that are evaluated and saved, in [0, 1); 0 for none")
    freeze_backbone: bool = option(False, "fine-tuning: train the head alone, the body's weights stay bit for bit")
    bf16: bool = option(False, "bfloat16 autocast")
    fp16: bool = option(False, "float16 autocast with loss scaling (GPU)")
    tf32: bool = option(True, "TF32 matrix products on GPUs that have them")
    torch_compile: bool = option(False, "compile the forward pass with torch.compile")
    auto_find_batch_size: bool = option(
        False, "halve the batch on out-of-memory, accumulating to keep the global batch"
    )
    eval_strategy: Literal["no", "steps", "epoch"] = option("epoch", "when to evaluate on the validation split")
    eval_steps: int = option(500, "optimizer steps between evaluations with eval_strategy steps")
    save_strategy: Literal["no", "steps", "epoch"] = option("epoch", "when to write a checkpoint")
    save_steps: int = option(500, "optimizer steps between checkpoints with save_strategy steps")
    save_total_limit: int = option(2, "newest checkpoints kept, beside the best, >= 1")
    load_best_model_at_end: bool = option(False, "end with the weights of the best evaluation instead of the last")
    metric_for_best_model: str | None = option(None, "metric that decides; the task's main metric when absent")
    greater_is_better: bool | None = option(None, "whether a larger metric is better; the task knows when absent")
    early_stopping_patience: int | None = option(None, "stop after this many evaluations without a better one, >= 1")
    early_stopping_threshold: float = option(0.0, "how much better counts as better, >= 0")
    carry_state: bool = option(
        False,
        "truncated back-propagation: a row goes on where it ended in the step before and takes the model's state along "
        "(recurrent models); an evaluation begins with per_device_eval_batch_size rows without a state",
    )
    evaluation_budget: float = option(
        0.5, "share of the training time that the baseline, and what explains the model, may each take (30 s at least)"
    )
    logging_steps: int = option(50, "optimizer steps between log lines, >= 1")
    seed: int = option(42, "seed of weights, row order, dropout and augmentation")
    # One run's own: not part of a released recipe.
    output_dir: str | None = run_only(None, "folder of the run: checkpoints, logs, figures, release")
    resume_from_checkpoint: str | None = run_only(None, "`latest` or a checkpoint folder to go on from")
    report_to: list[str] | None = run_only(None, "trackers: tensorboard, trackio, wandb")
    dataloader_num_workers: int = run_only(0, "threads that fetch batches ahead, >= 0")

    def __post_init__(self) -> None:
        at_least_one = (
            "per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps", "eval_steps",
            "save_steps", "save_total_limit", "logging_steps",
        )  # fmt: skip
        for name in at_least_one:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("num_train_epochs", "learning_rate", "adam_epsilon"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be greater than 0, got {getattr(self, name)}")
        for name in (
            "weight_decay",
            "warmup_steps",
            "max_grad_norm",
            "early_stopping_threshold",
            "evaluation_budget",
            "dataloader_num_workers",
        ):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        for name in ("adam_beta1", "adam_beta2", "momentum", "label_smoothing_factor", "ema_decay"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 0 and below 1, got {getattr(self, name)}")
        if self.max_steps == 0 or self.max_steps < -1:
            raise ValueError(f"max_steps must be -1 (none) or at least 1, got {self.max_steps}")
        if self.early_stopping_patience is not None and self.early_stopping_patience < 1:
            raise ValueError(f"early_stopping_patience must be at least 1, got {self.early_stopping_patience}")
        if self.bf16 and self.fp16:
            raise ValueError("bf16 and fp16 were both given; choose one")
        if self.eval_strategy == "no" and (self.load_best_model_at_end or self.early_stopping_patience):
            raise ValueError("load_best_model_at_end and early_stopping_patience need eval_strategy steps or epoch")


def run_only_fields() -> set[str]:
    """List the names of the fields that belong to one run only."""
    fields = option_fields(DataArguments) | option_fields(TrainingArguments)
    return {name for name, item in fields.items() if item.metadata.get("run_only")}


@dataclass(kw_only=True)
class Recipe:
    """Says what to train, on what, how. The sections hold only what was given; defaults are the dataclasses' own."""

    family: str
    task: str
    data: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    model_name_or_path: str | None = None  # the checkpoint that was or will be fine-tuned

    @classmethod
    def from_dict(cls, values: Any, origin: str = "the recipe") -> "Recipe":
        """Check plain values and make a recipe of them.

        Raises HubmodelsError when they are no mapping, lack family or task, or have an unknown top-level name."""
        if not isinstance(values, dict):
            raise HubmodelsError(f"{origin} must be a mapping with family, task, data, model and training")
        check_top = [item.name for item in dataclasses.fields(cls)]
        for name in values:
            if name not in check_top:
                raise HubmodelsError(f"unknown field {name!r} in {origin}{nearest(name, check_top)}")
        for name in ("family", "task"):
            if not isinstance(values.get(name), str):
                raise HubmodelsError(f"{origin} names no {name}; add a line `{name}: ...`")
        for name in SECTIONS:
            if not isinstance(values.get(name) or {}, dict):
                raise HubmodelsError(f"section {name} of {origin} must be a mapping, got {values[name]!r}")
        data, model, training = (dict(values.get(name) or {}) for name in SECTIONS)
        return cls(
            family=values["family"],
            task=values["task"],
            data=data,
            model=model,
            training=training,
            model_name_or_path=values.get("model_name_or_path"),
        )

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Recipe":
        """Read a YAML recipe. Raises HubmodelsError when it is missing or no recipe."""
        return cls.from_dict(load_yaml(path), f"the recipe {path}")

    def to_dict(self) -> dict[str, Any]:
        """Give the recipe as plain values, without what belongs to one run only."""
        values = dataclasses.asdict(self)
        for name in run_only_fields():
            for section in SECTIONS:
                values[section].pop(name, None)
        return {name: value for name, value in values.items() if value not in (None, {})}

    def to_yaml(self) -> str:
        """Return the recipe as the text of a recipe.yaml."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True, width=110)

    def save(self, path: str | os.PathLike) -> None:
        """Write the recipe to a file, whole or not at all."""
        with atomic_file(path) as temporary:
            temporary.write_text(self.to_yaml(), encoding="utf-8")


class _Loader(yaml.SafeLoader):
    """Reads numbers as YAML 1.2 does: PyYAML reads `3e-4` as text."""


class _StrictLoader(_Loader):
    """Refuses aliases, which unfold to any size."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Make the node of the next event. Raises YAMLError for an alias."""
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.YAMLError(f"it has an alias, *{self.peek_event().anchor}: write the value out")
        return super().compose_node(parent, index)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)$"),
    list("-+0123456789."),
)


def load_yaml(path: str | os.PathLike, with_aliases: bool = False) -> Any:
    """Read the value of a YAML file, with aliases where it is one of ours.

    Raises HubmodelsError when it is missing or not YAML."""
    path = Path(path)
    if not path.is_file():
        raise HubmodelsError(f"no recipe at {path}: give the path of a YAML file")
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader if with_aliases else _StrictLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise HubmodelsError(f"{path} is not YAML: {reason}") from None
