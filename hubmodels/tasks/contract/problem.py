"""A task, and the problem that it becomes when it is bound to data.

Options, fitted state and work are three things: a `Task` has the options, `Task.fit` binds them to the training rows,
and the `Problem` that comes of it does the work without being handed anything again (as scikit-learn's `fit` does).
"""

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar

from ...errors import HubmodelsError
from ...fields import build, option, part
from ...files import write_json
from ...report import Baseline, Examination, Figure, Note
from ...units import Units
from .parts import FittedInput, FittedTarget, Input, Target
from .weights import WEIGHT, check_weights, read_weights, weight_name

if TYPE_CHECKING:
    import datasets
    import numpy as np
    import pyarrow
    import torch

    from .types import Batch, EncodedColumns, ModelOutput, Predict, RawRows, Rows, Transform

PROBLEM_FILE = "problem.json"


@dataclass(kw_only=True)
class Task:
    """The options of a task: those of its input, those of its target and its own, unique over all three."""

    tag: ClassVar[str]  # the Hub's pipeline tag: "image-classification"
    head: ClassVar[str]  # suffix of the model classes: "ForImageClassification"
    problem_class: ClassVar[type["Problem[Any, Any, Any]"]]
    requires: ClassVar[tuple[str, ...]] = ()  # config fields without which a family cannot do the task
    model_fields: ClassVar[tuple[str, ...]] = ()  # config fields that the recipe decides and the task must know
    windowed: ClassVar[bool] = False  # whether windows are cut from all encoded rows (see `Problem.windows`)
    carve: ClassVar[str] = "random"  # which rows become a missing split: `random` ones, or the `last` (time)

    input: Input = part(Input)
    target: Target = part(Target)
    weight_column: str | None = option(
        None, "column of the rows' weights, >= 0: loss, metrics and baseline honour them; no feature"
    )

    @classmethod
    def from_options(cls, **options: Any) -> Self:
        """Make the task from flat options, as a recipe's data section has them.

        Raises ValueError for an option that it does not have, or a value that the option does not take."""
        return build(cls, options)

    @property
    def main_metric(self) -> str:
        """Return the metric that decides about checkpoints and about network against baseline."""
        return self.target.main_metric

    @property
    def greater_is_better(self) -> bool:
        """Tell whether a larger main metric is better."""
        return self.target.greater_is_better

    @property
    def shares(self) -> tuple[str, ...]:
        """Return the metrics that are a share of the rows: they have an interval at 0 and 1 too."""
        return self.target.shares

    @property
    def metric_names(self) -> dict[str, str]:
        """Return the name of each metric in a table."""
        return self.target.metric_names

    @property
    def decided_fields(self) -> tuple[str, ...]:
        """Return the config fields that the data decide, whatever these are: no person chooses them."""
        return (*self.input.decided_fields, *self.target.decided_fields)

    def columns(self, features: "datasets.Features") -> tuple[list[str], list[str]]:
        """Name the input's and the target's columns. Raises HubmodelsError where it cannot be told which they are."""
        features = self.without_weights(features)
        targets = self.target.columns(features, self.input.claims(features))
        return self.input.columns(features, targets), targets

    def weight_columns(self, features: "datasets.Features") -> list[str]:
        """Name the column of weights, if any. Raises HubmodelsError where the rows of this task cannot be weighed."""
        if self.weight_column is None:
            return []
        if not self.target.weighs_rows:
            raise HubmodelsError(
                f"{self.tag} does not weigh its rows: leave out --weight_column (tasks that tell a class, labels, tags "
                "or numbers of a row weigh them, in the families mlp, cnn, rnn and transformer)"
            )
        return [weight_name(self.weight_column, features)]

    def without_weights(self, features: "datasets.Features") -> "datasets.Features":
        """Leave out the column of weights, which is no feature and no target."""
        import datasets

        if self.weight_column is None:
            return features
        return datasets.Features({name: kind for name, kind in features.items() if name != self.weight_column})

    def select(self, dataset: "datasets.Dataset") -> "datasets.Dataset":
        """Select the columns that the task reads: inputs, targets, weights; files are left undecoded.

        Raises HubmodelsError when a column that it needs is not there or is of the wrong type."""
        weights, features = self.weight_columns(dataset.features), self.without_weights(dataset.features)
        self.input.check(features, self.target.columns(features, self.input.claims(features)))
        inputs, targets = self.columns(features)
        return self.input.undecoded(dataset.select_columns([*inputs, *targets, *weights]), inputs)

    def prepare(self, rows: "datasets.Dataset") -> "datasets.Dataset":
        """Make rows of what a split holds, where its rows are not those that the task speaks of, as steps of series.

        Called with the training rows first, of which nothing is selected or carved yet; unchanged by default."""
        return rows

    def unreadable(self, rows: "datasets.Dataset") -> dict[int, str]:
        """Find those of the selected rows whose files cannot be read, with the reason."""
        inputs, targets = self.columns(rows.features)
        return self.input.unreadable(rows, inputs, targets)

    def units(self, features: "datasets.Features") -> Units:
        """Say what of the data set, of which nothing is selected yet, may not be torn apart when splits are carved.

        It also says what is read, what a row must have, and by what carved rows are balanced."""
        inputs, targets = self.columns(features)
        return dataclasses.replace(self.target.units(features, targets), inputs=tuple(inputs))

    def training_rows(self, rows: "datasets.Dataset") -> "datasets.Dataset":
        """Keep those of the selected training and validation rows that the model learns from; all by default."""
        return rows

    def window_shift(self) -> int:
        """Return by how many steps the windows of an epoch may begin later than `Problem.windows` says, at random.

        Where borders of windows mean nothing, the model shall not learn them. 0 leaves them where they are."""
        return 0

    def fit_input(self, train: "datasets.Dataset", columns: list[str]) -> FittedInput[Any]:
        """Fit the input to the selected training rows."""
        return self.input.fit(train, columns)

    def fit_target(
        self, train: "datasets.Dataset", columns: list[str], fitted_input: FittedInput[Any]
    ) -> FittedTarget[Any]:
        """Fit the target to the selected training rows."""
        return self.target.fit(train, columns)

    def fit(self, train: "datasets.Dataset", *, checkpoint: str | None = None, seed: int = 0) -> "AnyProblem":
        """Bind the task to data.

        Args:
            train: the selected training rows.
            checkpoint: a folder or Hub id whose processor is taken; it is fitted to the rows when None.
            seed: of everything that is drawn when the model is measured.

        Raises:
            HubmodelsError: the rows cannot be used, or the checkpoint has no processor that fits the options.
        """
        for column in self.weight_columns(train.features):
            check_weights(train, column)
        inputs, targets = self.columns(train.features)
        fitted_input = self.input.load(checkpoint) if checkpoint else self.fit_input(train, inputs)
        fitted_target = self.fit_target(train, targets, fitted_input)
        return self.problem_class(task=self, input=fitted_input, target=fitted_target, seed=seed)

    def bind(
        self, fitted_input: FittedInput[Any], config: Mapping[str, Any], state: Mapping[str, Any], seed: int = 0
    ) -> "AnyProblem":
        """Bind the task to what a checkpoint holds, without data.

        Args:
            fitted_input: the input with the checkpoint's processor: `task.input.load(path)` or `.bind(processor)`.
            config: of the model, as in config.json.
            state: what problem.json holds of the target; empty for releases of 0.1.0.
            seed: of everything that is drawn when the model is measured.
        """
        target = self.restore_target(config, state)
        problem = self.problem_class(task=self, input=fitted_input, target=target, seed=seed)
        problem.know_model(config)
        return problem

    def restore_target(self, config: Mapping[str, Any], state: Mapping[str, Any]) -> FittedTarget[Any]:
        """Make the fitted target again from a checkpoint's config and problem.json."""
        return self.target.restore(config, state)

    def example(self) -> str:
        """Return Python lines that use a release, for its card; {model_id} stands for its id."""
        raise NotImplementedError


TaskT = TypeVar("TaskT", bound=Task)
FittedInputT = TypeVar("FittedInputT", bound=FittedInput[Any])
FittedTargetT = TypeVar("FittedTargetT", bound=FittedTarget[Any])


@dataclass(kw_only=True)
class Problem(Generic[TaskT, FittedInputT, FittedTargetT]):
    """A task bound to data: its options, the fitted input, the fitted target. In the order of the straight line."""

    task: TaskT
    input: FittedInputT
    target: FittedTargetT
    seed: int = 0
    # What the recipe decides about the network and the task must know (`Task.model_fields`), once there is a config;
    # None for a field that the family does not have.
    model_values: dict[str, Any] = field(default_factory=dict)
    reading: Mapping[str, Any] = field(default_factory=dict)  # how files were read: `data.Reading` as plain values
    notes: list[Note] = field(default_factory=list)  # what was decided about the data, as problem.json repeats it

    @property
    def processor(self) -> Any:
        """Return the processor of the input: raw rows -> tensors."""
        return self.input.processor

    # ---------------------------------------------------------------- the model

    def config_fields(self) -> dict[str, Any]:
        """Return the config fields that the data decide; a family is given those of them that it declares."""
        fields = {**self.input.config_fields(), **self.target.config_fields()}
        assert set(fields) <= set(self.task.decided_fields), "a part decides a field that it does not declare"
        return fields

    def know_model(self, config: Any) -> None:
        """Take the `Task.model_fields` from a model's config, an object or a mapping."""
        values = config if isinstance(config, Mapping) else config.to_dict() | vars(config)
        for name in self.task.model_fields:
            inherited = None if isinstance(config, Mapping) else getattr(config, name, None)
            self.model_values[name] = values.get(name, inherited)

    # ---------------------------------------------------------------- rows -> tensors

    def cache_key(self) -> list[Any]:
        """Return plain values that decide what `encode` gives; with the rows' fingerprint they name its cache."""
        return [self.input.cache_key(), repr(self.task), self.config_fields(), self.target.state()]

    def encoded_features(self) -> "datasets.Features":
        """Return the Arrow types of what `encode` gives, all of fixed size."""
        import datasets

        weights = {} if self.task.weight_column is None else {WEIGHT: datasets.Value("float32")}
        return datasets.Features(**self.input.encoded_features(), **self.target.encoded_features(), **weights)

    def encode(self, rows: "RawRows", row_numbers: list[int], features: "datasets.Features") -> "Rows":
        """Encode a batch of selected rows as arrays, once and for all epochs.

        `features` are the selected data set's own: they hold the names of its classes.
        Raises HubmodelsError naming a bad row."""
        inputs, targets = self.task.columns(features)
        return {
            **self.input.encode(rows, row_numbers, inputs),
            **self.target.encode(rows, row_numbers, targets, features),
            **self.encode_weights(rows, row_numbers),
        }

    def encode_weights(self, rows: "RawRows", row_numbers: list[int]) -> "Rows":
        """Encode `sample_weight` (B,) float32 where the task has a column of weights. Raises BadRow for a bad one."""
        column = self.task.weight_column
        if column is None:
            return {}
        return {WEIGHT: read_weights(rows[column], row_numbers, column).astype("float32")}

    def windows(self, columns: "EncodedColumns") -> "tuple[torch.Tensor, int] | None":
        """Return the first step of each window, int64 (W,), and the steps in a window, where rows are steps.

        A batch then holds windows, (B, length, ...). None where each row stands for itself."""
        return self.input.windows(columns)

    def transform(self, *, training: bool) -> "Transform":
        """Return what happens to each batch of encoded tensors, on the device, before the model's forward takes it."""
        return self.input.transform(training=training)

    # ---------------------------------------------------------------- results

    def predict(self, outputs: "ModelOutput", batch: "Batch") -> "Batch":
        """Return what metrics need of each row, predictions and references, from outputs and transformed batch."""
        return self.target.predict(outputs, batch)

    def relate(self, rows: "Rows") -> "Rows":
        """Compute per-row values that need the whole split, such as ranks; called once before any metric."""
        return self.target.relate(rows)

    def metrics(self, rows: "Rows") -> dict[str, float]:
        """Compute every metric over these rows, NaN where it is undefined. The bootstrap calls it a thousand times."""
        return self.target.metrics(rows)

    def resample_block(self) -> int:
        """Return how many neighbouring rows the bootstrap draws together, since they overlap; 1 by default."""
        return 1

    def class_names(self) -> list[str]:
        """Name the classes that `class_metrics` speaks of, in its order; none for targets without classes."""
        return self.target.class_names()

    def class_metrics(self, rows: "Rows") -> "dict[str, np.ndarray]":
        """Compute the metrics of each class: one array a metric, one entry a class, NaN where undefined."""
        return self.target.class_metrics(rows)

    def baseline(self, train: "EncodedColumns", test: "EncodedColumns") -> Baseline | None:
        """Fit a classical method on the encoded training rows and apply it to the test rows.

        None where it gives no rows, as a sampler does: then `examine` measures it."""
        raise NotImplementedError

    def validate(self, model: Any, columns: "EncodedColumns") -> dict[str, float]:
        """Measure what an evaluation during training tells of the model as a whole; nothing by default.

        Fast, and the same on every process; the model is in eval mode."""
        return {}

    def preview(self, model: Any) -> Iterator[Figure]:
        """Draw how far the model is at an evaluation during training, on the main process alone; nothing by default."""
        return iter(())

    def figures(self, rows: "Rows", columns: "EncodedColumns") -> Iterator[Figure]:
        """Draw the results on the encoded test columns."""
        return self.target.figures(rows)

    def explain(self, predict: "Predict", columns: "EncodedColumns") -> Iterator[Figure]:
        """Draw what the model makes of its inputs; nothing by default."""
        return iter(())

    def examine(self, model: Any, columns: Mapping[str, "EncodedColumns"]) -> Examination:
        """Measure what cannot be measured row by row (samples, probes on latents), and draw what needs the model.

        Called on the main process, the model in eval mode. `columns` holds the measured split as "test" and, where
        they are at hand, the training rows as "train"."""
        return Examination()

    # ---------------------------------------------------------------- use

    def input_columns(self) -> list[str] | None:
        """Name the columns that `encode_inputs` reads; None where only the data can tell."""
        return self.input.input_columns()

    def encode_inputs(self, table: "pyarrow.Table", row_numbers: list[int]) -> "Rows":
        """Encode rows without targets. Raises HubmodelsError naming a bad row or a missing column."""
        return self.input.encode_inputs(table, row_numbers)

    @property
    def answers_whole_files(self) -> bool:
        """Tell whether rows have an answer only together, as steps of a series (`answer_table`)."""
        return False

    def answer_table(self, table: "pyarrow.Table", run: Callable[..., Any], **options: Any) -> "pyarrow.Table":
        """Answer rows that have an answer only together.

        Args:
            table: all of them.
            run: encoded rows -> answers; with `ready` they are what the model takes.
            **options: a person's.

        Raises:
            HubmodelsError: they cannot be read, or an option is none of this task.
        """
        raise HubmodelsError(f"{self.task.tag} answers row by row: leave out {', '.join(options)}")

    def answers(self, outputs: "ModelOutput") -> "dict[str, np.ndarray]":
        """Return what is told of each row, in files of predictions and in pipelines: one array a column."""
        return self.target.answers(outputs)

    def draw_files(
        self, model: Any, count: int, seed: int, labels: "torch.Tensor | None", **options: Any
    ) -> Iterator[tuple[str, bytes]]:
        """Draw samples of a model in eval mode as files: ending (".png") and content.

        Args:
            count: how many.
            seed: of the samples.
            labels: the class of each, int64 (count,); None for a model that is told none.
            **options: of the model's `sample`.
        """
        raise HubmodelsError(f"models for {self.task.tag} have no samples that are files: use `sample` in Python")

    def draw_rows(self, model: Any, rows: "datasets.Dataset", per_class: int, seed: int) -> "datasets.Dataset":
        """Draw new rows like the selected ones, as many of each class, with their features.

        Raises HubmodelsError where the rows know no classes, or others than the model."""
        raise HubmodelsError(f"models for {self.task.tag} draw no new rows")

    def golden_inputs(self) -> "Batch":
        """Return a fixed input of two rows, ready for the model, whose output a release holds to be verified by."""
        return self.input.golden_inputs()

    # ---------------------------------------------------------------- files

    def save(self, folder: str | os.PathLike) -> None:
        """Write the processor's files and problem.json into a folder."""
        self.processor.save_pretrained(folder)
        self.save_state(folder)

    def save_state(self, folder: str | os.PathLike) -> None:
        """Write problem.json alone into a folder, beside a processor that is there."""
        content = {"task": self.task.tag, "target": self.target.state()}
        known = {"reading": dict(self.reading), "notes": [note.to_dict() for note in self.notes]}
        write_json(Path(folder) / PROBLEM_FILE, content | {name: value for name, value in known.items() if value})


AnyProblem = Problem[Any, Any, Any]  # of whatever task: what the stages see
