"""The two halves of a task: an input (images, tables, ...) and a target (one class, numbers, ...).

Each half is two classes: its options, a strict dataclass whose fields stand in a recipe's data section, and what
`fit` makes of them and the training rows. A target never asks which input it has. What belongs to a pair of the two,
as a forecast's windows, stands in the task's file.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar

from ...errors import HubmodelsError
from ...report import Figure
from ...units import Units

if TYPE_CHECKING:
    import datasets
    import numpy as np
    import pyarrow
    import torch

    from .types import Batch, EncodedColumns, ModelOutput, RawRows, Rows, Transform


@dataclass(kw_only=True)
class Input:
    """Holds the options of reading one kind of input."""

    decided_fields: ClassVar[tuple[str, ...]] = ()  # what `FittedInput.config_fields` may hold

    def claims(self, features: "datasets.Features") -> list[str]:
        """Name the columns that can be nothing but this input; the target is looked for among the others.

        Raises HubmodelsError where it cannot be told which they are."""
        return []

    def check(self, features: "datasets.Features", targets: list[str]) -> None:
        """Refuse options that name columns which the data set, of which nothing is selected yet, does not have."""

    def columns(self, features: "datasets.Features", targets: list[str]) -> list[str]:
        """Name the columns that are read, in the order in which `fit` and `encode` get them.

        Raises HubmodelsError where one is missing or of the wrong type."""
        return self.claims(features)

    def undecoded(self, dataset: "datasets.Dataset", columns: list[str]) -> "datasets.Dataset":
        """Leave files, such as images, as they are until they are encoded."""
        return dataset

    def suit(
        self, dataset: "datasets.Dataset", columns: list[str], accepts: Callable[[dict[str, Any]], bool]
    ) -> "Input":
        """Return the options with what nobody chose and the network bounds, chosen and said; unchanged by default.

        Args:
            dataset: the selected training rows.
            columns: those that are read.
            accepts: tells whether the network takes these config fields.
        """
        return self

    def unreadable(
        self, dataset: "datasets.Dataset", columns: list[str], targets: Sequence[str] = ()
    ) -> dict[int, str]:
        """Find the rows whose files cannot be read: their numbers, with reasons that name the file; none by default.

        Args:
            dataset: the selected rows.
            columns: the input's.
            targets: the target's, which may hold files too, as pairs of images do.
        """
        return {}

    def fit(self, train: "datasets.Dataset", columns: list[str]) -> "FittedInput[Any]":
        """Fit the processor (raw input -> tensors) to the selected training rows alone."""
        raise NotImplementedError

    def bind(self, processor: Any) -> "FittedInput[Any]":
        """Take a processor as it is."""
        raise NotImplementedError

    def load(self, path: str, **kwargs: Any) -> "FittedInput[Any]":
        """Take the processor of a checkpoint. Raises HubmodelsError where it is missing or contradicts the options."""
        raise NotImplementedError


InputT = TypeVar("InputT", bound=Input)


@dataclass(kw_only=True)
class FittedInput(Generic[InputT]):
    """An input with its processor: all that turns raw rows into what the model takes."""

    single: ClassVar[Literal["image", "audio", "text"] | None] = None  # what a row is, where it is one file or text

    options: InputT
    processor: Any  # of transformers, or of `hubmodels.processors`: what has `save_pretrained`

    def config_fields(self) -> dict[str, Any]:
        """Return the config fields that follow from the processor: `num_channels`, `vocab_size`, ..."""
        return {}

    def cache_key(self) -> Any:
        """Return plain values that tell two processors apart, for the cache of encoded rows."""
        values = self.processor.to_dict()
        return {name: value for name, value in values.items() if name != "auto_map"}  # which says where its code lies

    def encoded_features(self) -> dict[str, Any]:
        """Return the Arrow type of each encoded column, of fixed size: `Array3D`, `List(..., length=n)`, `Value`."""
        raise NotImplementedError

    def encode(self, rows: "RawRows", row_numbers: list[int], columns: list[str]) -> "Rows":
        """Encode a batch of rows, once for all epochs. Raises HubmodelsError naming a bad row."""
        raise NotImplementedError

    def say_encoded(self, columns: "EncodedColumns", split: str) -> None:
        """Say what encoding did to the rows of a split (`report.note`): how many were cut; nothing by default."""

    def windows(self, columns: "EncodedColumns") -> "tuple[torch.Tensor, int] | None":
        """Return the first step of each window, int64 (W,), and the steps in a window, for encoded streams of steps.

        None where each row stands for itself."""
        return None

    def transform(self, *, training: bool) -> "Transform":
        """Return what happens to a batch on the device: normalisation and, in training, augmentation.

        Its random numbers come from the generator alone. Columns that it does not know pass through."""

        def unchanged(batch: "Batch", generator: "torch.Generator | None" = None) -> "Batch":
            return batch

        return unchanged

    def input_columns(self) -> list[str] | None:
        """Name the columns that `encode_inputs` reads, which a file of predictions does not repeat.

        None where only the data can tell."""
        return None

    def encode_inputs(self, table: "pyarrow.Table", row_numbers: list[int]) -> "Rows":
        """Encode rows without targets. Raises HubmodelsError naming a bad row or a missing column."""
        raise HubmodelsError("there is no prediction from files for this input: use the model's pipeline in Python")

    def golden_inputs(self) -> "Batch":
        """Return a fixed input of two rows, ready for the model, to verify a release with anywhere."""
        raise NotImplementedError


@dataclass(kw_only=True)
class Target:
    """Holds the options of what is to be told of each row, and how it is measured."""

    main_metric: ClassVar[str]  # decides about checkpoints and about network against baseline
    greater_is_better: ClassVar[bool]
    shares: ClassVar[tuple[str, ...]] = ()  # metrics that are a share of the rows: they have an interval at 0 and 1 too
    decided_fields: ClassVar[tuple[str, ...]] = ()  # what `FittedTarget.config_fields` may hold
    state_fields: ClassVar[dict[str, Any]] = {}  # what `FittedTarget.state` holds, with the type of each
    metric_names: ClassVar[dict[str, str]]  # metric -> its name in a table: {"macro_f1": "macro F1"}
    weighs_rows: ClassVar[bool] = False  # whether its metrics, losses and baselines honour weights of rows

    def columns(self, features: "datasets.Features", claimed: list[str]) -> list[str]:
        """Name the target's columns among those that the input does not claim; none where inputs are their own target.

        Raises HubmodelsError where it cannot be told which they are."""
        return []

    def units(self, features: "datasets.Features", columns: list[str]) -> Units:
        """Say which of the target's columns a row must have, and by which of them carved rows are balanced.

        Args:
            features: of the data set, of which nothing is selected yet.
            columns: the target's own, as `columns` names them.
        """
        return Units(targets=tuple(columns))

    def fit(self, train: "datasets.Dataset", columns: list[str]) -> "FittedTarget[Any]":
        """Take names and statistics of the target from the selected training rows."""
        raise NotImplementedError

    def restore(self, config: Mapping[str, Any], state: Mapping[str, Any]) -> "FittedTarget[Any]":
        """Make again what `fit` gave.

        Args:
            config: of the model, as in config.json.
            state: what `FittedTarget.state` gave, as in problem.json; empty for releases of 0.1.0.
        """
        raise NotImplementedError


TargetT = TypeVar("TargetT", bound=Target)


@dataclass(kw_only=True)
class FittedTarget(Generic[TargetT]):
    """A target with its names and statistics: labels, predictions, metrics, answers."""

    options: TargetT

    def config_fields(self) -> dict[str, Any]:
        """Return the config fields that the target decides: `id2label`, `problem_type`, ..."""
        return {}

    def state(self) -> dict[str, Any]:
        """Return what measuring needs and no network reads, ready for JSON; it goes to problem.json."""
        return {}

    def encoded_features(self) -> dict[str, Any]:
        """Return the Arrow type of each encoded column of the target."""
        return {}

    def encode(
        self, rows: "RawRows", row_numbers: list[int], columns: list[str], features: "datasets.Features"
    ) -> "Rows":
        """Encode the targets of a batch of rows. Raises HubmodelsError naming a bad row.

        `features` are the data set's own: they hold the names of its classes."""
        return {}

    def check_training(self, columns: "EncodedColumns") -> None:
        """Refuse encoded training rows of which there is nothing to learn. Raises HubmodelsError."""

    def predict(self, outputs: "ModelOutput", batch: "Batch") -> "Batch":
        """Return what metrics need of each row, predictions and references, from outputs and transformed batch."""
        raise NotImplementedError

    def relate(self, rows: "Rows") -> "Rows":
        """Compute per-row values that need the whole split, such as ranks; called once before any metric."""
        return rows

    def metrics(self, rows: "Rows") -> dict[str, float]:
        """Compute every metric over these rows, NaN where it is undefined. The bootstrap calls it a thousand times."""
        raise NotImplementedError

    def class_names(self) -> list[str]:
        """Name the classes that `class_metrics` speaks of, in its order; none for targets without classes."""
        return []

    def class_metrics(self, rows: "Rows") -> "dict[str, np.ndarray]":
        """Compute the metrics of each class: one array a metric, one entry a class, NaN where undefined."""
        return {}

    def answers(self, outputs: "ModelOutput") -> "dict[str, np.ndarray]":
        """Return what is told of each row, from the model's outputs.

        One array a column: `prediction` first, then probabilities or intervals."""
        raise HubmodelsError("there is no prediction from files for this target: use the model's pipeline in Python")

    def figures(self, rows: "Rows") -> Iterator[Figure]:
        """Draw what the rows alone show: a confusion matrix, residuals, ..."""
        return iter(())
