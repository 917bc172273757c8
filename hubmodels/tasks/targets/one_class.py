"""One class a row, whatever the row is: labels, predictions, metrics, answers and the figures of classes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ...errors import HubmodelsError
from ...fields import option
from ...report import Figure
from ...units import Units
from ..contract.columns import (
    class_names,
    class_numbers,
    holds_lists,
    label_column,
    label_maps,
    ordered_labels,
)
from ..contract.parts import FittedTarget, Target
from ..contract.weights import column_weights

if TYPE_CHECKING:
    import datasets
    import numpy as np

    from ..contract.types import Batch, EncodedColumns, ModelOutput, RawRows, Rows


@dataclass(kw_only=True)
class OneClass(Target):
    """Holds the options of a class a row."""

    decided_fields: ClassVar[tuple[str, ...]] = ("id2label", "label2id", "problem_type")
    weighs_rows: ClassVar[bool] = True
    main_metric: ClassVar[str] = "accuracy"
    greater_is_better: ClassVar[bool] = True
    shares: ClassVar[tuple[str, ...]] = ("accuracy",)
    metric_names: ClassVar[dict[str, str]] = {
        "accuracy": "accuracy",
        "macro_f1": "macro F1",
        "calibration_error": "expected calibration error",
        "log_loss": "log loss",
    }

    label_column_name: str | None = option(None, "column of the classes; the only class column when absent")

    def columns(self, features: "datasets.Features", claimed: list[str]) -> list[str]:
        """Name the class column: the chosen one, else the only one of classes, else one with a usual name."""
        return [label_column(features, self.label_column_name, others=tuple(claimed))]

    def units(self, features: "datasets.Features", columns: list[str]) -> Units:
        """Balance carved rows by their classes."""
        return Units(targets=tuple(columns), classes=columns[0])

    def fit(self, train: "datasets.Dataset", columns: list[str]) -> "FittedOneClass":
        """Take a class column's own names in their order, or the distinct texts or integers of the rows, sorted."""
        return FittedOneClass(options=self, names=class_names(train, columns[0]))

    def restore(self, config: Mapping[str, Any], state: Mapping[str, Any]) -> "FittedOneClass":
        """Take the names of the classes from the config's `id2label`."""
        return FittedOneClass(options=self, names=ordered_labels(config))


@dataclass(kw_only=True)
class FittedOneClass(FittedTarget[OneClass]):
    """Classes in the order of their numbers."""

    names: list[str]

    def config_fields(self) -> dict[str, Any]:
        """Return the label maps, and the `problem_type`, which stays also when labels are probabilities (mixup)."""
        return {**label_maps(self.names), "problem_type": "single_label_classification"}

    def encoded_features(self) -> dict[str, Any]:
        """Return the Arrow type of `labels`."""
        import datasets

        return {"labels": datasets.Value("int64")}

    def encode(
        self, rows: "RawRows", row_numbers: list[int], columns: list[str], features: "datasets.Features"
    ) -> "Rows":
        """Encode `labels` (B,) int64 as the model numbers them. Raises HubmodelsError for an unknown class."""
        column = columns[0]
        if len(columns) > 1 or holds_lists(features[column]):
            raise HubmodelsError(
                f"the model has one class a row, unlike column {', '.join(map(repr, columns))}; choose another "
                "--label_column_name"
            )
        return {
            "labels": class_numbers(rows[column], row_numbers, column, features[column], dict(enumerate(self.names)))
        }

    def check_training(self, columns: "EncodedColumns") -> None:
        """Refuse rows that are all of one class."""
        labels, weights = columns.tensor("labels"), column_weights(columns)
        if weights is not None:
            labels = labels[weights > 0]
        classes = labels.unique().tolist()
        if len(classes) == 1:
            raise HubmodelsError(
                f"all {len(labels):,} training rows{'' if weights is None else ' with a weight'} have the class "
                f"{self.names[classes[0]]!r}: there is nothing to tell apart; give rows of at least two classes"
            )

    def predict(self, outputs: "ModelOutput", batch: "Batch") -> "Batch":
        """Return label, prediction, its probability and the loss of each row (see `classification_rows`)."""
        from .class_rows import classification_rows

        return classification_rows(outputs.logits, batch["labels"])

    def metrics(self, rows: "Rows") -> dict[str, float]:
        """Compute accuracy, macro F1, expected calibration error and log loss (see `classification_metrics`)."""
        from .class_rows import classification_metrics

        return classification_metrics(rows, len(self.names))

    def class_names(self) -> list[str]:
        """Name the classes in the order of their numbers."""
        return self.names

    def class_metrics(self, rows: "Rows") -> "dict[str, np.ndarray]":
        """Compute precision and recall of each class."""
        from .class_rows import class_precision_recall

        return class_precision_recall(rows, len(self.names))

    def answers(self, outputs: "ModelOutput") -> "dict[str, np.ndarray]":
        """Return class, probability of every class, and an ensemble's uncertainty (see `classification_answers`)."""
        from ...abilities import spread
        from .class_rows import classification_answers

        return classification_answers(outputs.logits, self.names, spread(outputs))

    def probability_rows(self, probabilities: "np.ndarray", labels: "np.ndarray") -> "Rows":
        """Return what `predict` gives, from the probabilities (N, K) of a classical method."""
        from .class_rows import probability_rows

        return probability_rows(probabilities, labels)

    def figures(self, rows: "Rows") -> Iterator[Figure]:
        """Draw the confusion matrix and the reliability diagram."""
        from ..figures.classes import confusion_plot, reliability_plot

        yield confusion_plot(rows, self.names)
        yield reliability_plot(rows)
