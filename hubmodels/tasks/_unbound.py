"""The contract of tasks that are not bound yet: to be gone when the last one has an input and a target."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import HubmodelsError
from ..report import Baseline, Examination, Figure
from .contract.problem import Problem
from .contract.problem import Task as BoundTask

if TYPE_CHECKING:  # tasks are listed and described without paying for these imports
    import datasets
    import numpy as np
    import torch

    Batch = dict[str, torch.Tensor]  # one entry an input name, first dimension the rows
    Rows = dict[str, np.ndarray]  # predictions beside references, first dimension the rows


class Unbound(Problem):
    """An old task with its processor and its config values, under the new contract."""

    def __init__(self, task: Any, fitted: Any, values: dict[str, Any], seed: int) -> None:
        self.task, self.fitted, self.values, self.seed, self.model_values = task, fitted, values, seed, {}

    @property
    def processor(self) -> Any:
        return self.fitted

    @property
    def every(self) -> dict[str, Any]:
        return self.values | self.model_values

    def config_fields(self):
        return self.values

    def cache_key(self):
        return [self.task.processor_key(self.fitted), repr(self.task), self.values]

    def encoded_features(self):
        return self.task.encoded_features(self.fitted, self.values)

    def encode(self, rows, row_numbers, features):
        return self.task.encode(rows, row_numbers, features, self.fitted, self.values)

    def windows(self, columns):
        return self.task.windows(columns, self.fitted, self.values)

    def transform(self, *, training):
        return self.task.transform(self.fitted, self.every, training=training)

    def predict(self, outputs, batch):
        return self.task.predict(outputs, batch)

    def relate(self, rows):
        return self.task.relate(rows)

    def metrics(self, rows):
        return self.task.metrics(rows, self.every)

    def resample_block(self):
        return self.task.resample_block(self.every)

    def class_names(self):
        return self.task.class_names(self.every)

    def class_metrics(self, rows):
        return self.task.class_metrics(rows, self.every)

    def baseline(self, train, test):
        return self.task.baseline(train, test, self.fitted, self.every, self.seed)

    def validate(self, model, columns):
        return self.task.validate(model, columns, self.transform(training=False), self.fitted, self.every, self.seed)

    def preview(self, model):
        return self.task.preview(model, self.fitted, self.every, self.seed)

    def figures(self, rows, columns):
        return self.task.plots(rows, columns, self.fitted, self.every)

    def explain(self, predict, columns):
        return self.task.explain(predict, columns, self.fitted, self.every)

    def examine(self, model, columns):
        return self.task.examine(model, columns, self.transform(training=False), self.fitted, self.every, self.seed)

    def input_columns(self):
        return self.task.input_columns(self.fitted)

    def encode_inputs(self, table, row_numbers):
        return self.task.encode_inputs(table, row_numbers, self.fitted, self.every)

    def answers(self, outputs):
        return self.task.answers(outputs, self.every)

    def draw_files(self, model, count, seed, labels, **options):
        return self.task.draw_files(model, self.fitted, count, seed, labels, **options)

    def draw_rows(self, model, rows, per_class, seed):
        return self.task.draw_rows(model, rows, self.fitted, per_class, seed)

    def golden_inputs(self):
        return self.task.golden_inputs(self.fitted, self.every)

    def save_state(self, folder):
        pass


@dataclass(kw_only=True)
class Task(BoundTask):
    """The contract of a task. In the order in which the straight line calls it.

    `config_values` holds the `config_fields` and, from `transform` on, when there is a model, its `model_fields`:
    fields or properties of the config that the recipe decides (noise, size of the latents), None where the
    model has no such field."""

    input: Any = field(default=None, init=False, repr=False, compare=False)
    target: Any = field(default=None, init=False, repr=False)

    def __getattribute__(self, name):
        if name == "input":
            from types import SimpleNamespace

            return SimpleNamespace(load=self.load_processor, bind=lambda processor: processor, decided_fields=())
        return super().__getattribute__(name)

    @classmethod
    def from_options(cls, **options):
        return cls(**options)

    def fit(self, train, *, checkpoint=None, seed=0):
        processor = self.load_processor(checkpoint) if checkpoint else self.fit_processor(train)
        return Unbound(self, processor, self.fit_config(train, processor), seed)

    def bind(self, fitted_input, config, state, seed=0):
        values = {name: config.get(name) for name in self.config_fields}
        if values.get("id2label"):
            values["id2label"] = {int(number): name for number, name in values["id2label"].items()}
        problem = Unbound(self, fitted_input, values, seed)
        problem.know_model(config)
        return problem

    @property
    def decided_fields(self):
        return self.config_fields

    @property
    def windowed(self):
        return type(self).windows is not Task.windows

    tag: ClassVar[str]  # the Hub's pipeline tag: "image-classification"
    head: ClassVar[str]  # suffix of the model classes: "ForImageClassification"
    config_fields: ClassVar[tuple[str, ...]]  # config fields that the data decide: ("num_channels", "id2label", ...)
    model_fields: ClassVar[tuple[str, ...]] = ()  # config fields that the recipe decides and the task must know
    main_metric: ClassVar[str]  # decides about checkpoints and about network against baseline
    greater_is_better: ClassVar[bool]
    shares: ClassVar[tuple[str, ...]] = ()  # metrics that are a share of the rows: they have an interval at 0 and 1 too
    metric_names: ClassVar[dict[str, str]]  # metric -> its name in a table: {"accuracy": "accuracy"}
    carve: ClassVar[str] = "random"  # which rows become a missing split: `random` ones, or the `last` (time)

    def select(self, dataset: "datasets.Dataset") -> "datasets.Dataset":
        """Only the columns that the task reads, files and images left undecoded. Raises HubmodelsError when a column
        that it needs is not there or is of the wrong type."""
        raise NotImplementedError

    def training_rows(self, rows: "datasets.Dataset") -> "datasets.Dataset":
        """Of the selected rows of the training and validation splits those that the model learns from; all by
        default."""
        return rows

    def fit_processor(self, train: "datasets.Dataset") -> Any:
        """The processor (raw input -> tensors), its statistics from the selected training rows alone."""
        raise NotImplementedError

    def load_processor(self, path: str, **kwargs: Any) -> Any:
        """The processor of a checkpoint, for fine-tuning and evaluation."""
        raise NotImplementedError

    def fit_config(self, train: "datasets.Dataset", processor: Any) -> dict[str, Any]:
        """The values of `config_fields` that fit the selected training rows and the processor."""
        raise NotImplementedError

    def processor_key(self, processor: Any) -> Any:
        """Plain values that tell two processors apart, for the cache of encoded rows."""
        return processor.to_dict()

    def encoded_features(self, processor: Any, config_values: dict[str, Any]) -> "datasets.Features":
        """The Arrow types of what `encode` gives, all of fixed size: `Array2D...5D`, `List(..., length=n)`, `Value`."""
        raise NotImplementedError

    def encode(
        self,
        rows: dict[str, list],
        row_numbers: list[int],
        features: "datasets.Features",
        processor: Any,
        config_values: dict[str, Any],
    ) -> "Rows":
        """A batch of selected rows as arrays, once and for all epochs. `features` are the selected data set's own (they
        hold the names of its classes). Raises HubmodelsError naming a bad row."""
        raise NotImplementedError

    def windows(self, columns: Any, processor: Any, config_values: dict[str, Any]) -> "tuple[torch.Tensor, int] | None":
        """Where the encoded rows of a split are steps of a stream (tokens, hours; `encode` may then give more or fewer
        than it got): the first step of each window, int64, and the number of steps in a window, which is what a batch
        holds: (B, length, ...). None where each row stands for itself."""
        return None

    def window_shift(self) -> int:
        """How many steps later than `windows` says the training windows of an epoch may begin, at random: where their
        borders mean nothing, the model shall not learn them. 0 leaves them where they are."""
        return 0

    def transform(
        self, processor: Any, config_values: dict[str, Any], *, training: bool
    ) -> Callable[["Batch", "torch.Generator | None"], "Batch"]:
        """What happens to each batch of encoded tensors, on the device: normalisation and, in training, augmentation
        (its random numbers come from the generator alone). The result is what the model's forward takes."""
        raise NotImplementedError

    def predict(self, outputs: Any, batch: "Batch") -> "Batch":
        """From the model's outputs and the transformed batch, what metrics need: predictions and references."""
        raise NotImplementedError

    def relate(self, rows: "Rows") -> "Rows":
        """What the rows of a whole split owe to each other (a text's rank among all texts): called once on what
        `predict` gave for all of them, before any metric. As it is by default."""
        return rows

    def metrics(self, rows: "Rows", config_values: dict[str, Any]) -> dict[str, float]:
        """Every metric over these rows, NaN where it is undefined. Fast: the bootstrap calls it a thousand times."""
        raise NotImplementedError

    def resample_block(self, config_values: dict[str, Any]) -> int:
        """How many neighbouring rows the bootstrap draws together, since they overlap; 1 where rows are independent."""
        return 1

    def class_names(self, config_values: dict[str, Any]) -> list[str]:
        """The classes that `class_metrics` speaks of, in its order; none for tasks without classes."""
        return []

    def class_metrics(self, rows: "Rows", config_values: dict[str, Any]) -> "dict[str, np.ndarray]":
        """Metrics of each class: one array a metric, one entry a class, NaN where it is undefined. As fast."""
        return {}

    def baseline(
        self, train: Any, test: Any, processor: Any, config_values: dict[str, Any], seed: int
    ) -> Baseline | None:
        """A classical method fitted on the encoded training columns and applied to the encoded test columns
        (`columns.tensor(name)` gives a whole column). None where it gives no rows, as a sampler does: then `examine`
        measures it."""
        raise NotImplementedError

    def validate(
        self,
        model: Any,
        columns: Any,
        transform: Callable[["Batch", "torch.Generator | None"], "Batch"],
        processor: Any,
        config_values: dict[str, Any],
        seed: int,
    ) -> dict[str, float]:
        """What an evaluation during training measures of the model as a whole (in eval mode) beside the metrics of the
        validation rows; fast, and the same on every process. Nothing by default."""
        return {}

    def preview(self, model: Any, processor: Any, config_values: dict[str, Any], seed: int) -> Iterator[Figure]:
        """Figures that show how far the model is at an evaluation during training, alike each time but for the model;
        on the main process alone. None by default."""
        return iter(())

    def plots(self, rows: "Rows", columns: Any, processor: Any, config_values: dict[str, Any]) -> Iterator[Figure]:
        """Figures of the results on the encoded test columns."""
        raise NotImplementedError

    def explain(
        self, predict: Callable[[Any], "Rows"], columns: Any, processor: Any, config_values: dict[str, Any]
    ) -> Iterator[Figure]:
        """Figures of what the model makes of its inputs; none by default. `predict` gives the rows of anything that has
        `len()` and `batch(rows)` as the encoded test `columns` do."""
        return iter(())

    def examine(
        self,
        model: Any,
        columns: dict[str, Any],
        transform: Callable[["Batch", "torch.Generator | None"], "Batch"],
        processor: Any,
        config_values: dict[str, Any],
        seed: int,
    ) -> Examination:
        """What cannot be measured row by row (samples, probes on latents), and figures that need the model; nothing by
        default. Called on the main process, the model in eval mode. `columns` holds the measured split as "test" and,
        where they are at hand, the training rows as "train"; its metrics' names stand in `metric_names`."""
        return Examination()

    def input_columns(self, processor: Any) -> list[str] | None:
        """The columns that `encode_inputs` reads, which a file of predictions does not repeat; None where only the
        data can tell."""
        return None

    def encode_inputs(self, rows: Any, row_numbers: list[int], processor: Any, config_values: dict[str, Any]) -> "Rows":
        """Rows without targets (a pyarrow Table) as `encode` gives them, without labels. Raises HubmodelsError naming a
        bad row or a missing column."""
        raise HubmodelsError(f"{self.tag} has no prediction from files: use the model's pipeline in Python")

    def answers(self, outputs: Any, config_values: dict[str, Any]) -> "dict[str, np.ndarray]":
        """The columns of a file of predictions, from the model's outputs: first `prediction`, then probabilities or
        intervals."""
        raise HubmodelsError(f"{self.tag} has no prediction from files: use the model's pipeline in Python")

    def draw_files(
        self, model: Any, processor: Any, count: int, seed: int, labels: "torch.Tensor | None", **options: Any
    ) -> Iterator[tuple[str, bytes]]:
        """`count` samples of a model in eval mode as files: ending (".png") and content. They are of these classes
        (count,) where those are given; `options` go to the model's `sample`."""
        raise HubmodelsError(f"models for {self.tag} have no samples that are files: use `sample` in Python")

    def draw_rows(
        self, model: Any, rows: "datasets.Dataset", processor: Any, per_class: int, seed: int
    ) -> "datasets.Dataset":
        """New rows like the selected ones, with their features, as many of each of their classes, drawn by the
        class-conditional model in eval mode. Raises HubmodelsError where the rows know no classes, or others."""
        raise HubmodelsError(f"models for {self.tag} draw no new rows")

    def golden_inputs(self, processor: Any, config_values: dict[str, Any]) -> "Batch":
        """A fixed input of two rows, ready for the model, whose output is stored in a release to verify it anywhere."""
        raise NotImplementedError

    def example(self) -> str:
        """Python lines that use a release: the placeholder {model_id} stands for its id. They go to the card."""
        raise NotImplementedError
