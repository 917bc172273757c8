"""What the tasks share whose rows have one class each, whatever the rows are: predictions and their metrics."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from . import Batch, Rows


class OneClassARow:
    """The results of a classifier with one class a row, for a `Task` whose `id2label` names the classes. It stands
    before the task among the base classes."""

    def predict(self, outputs: Any, batch: "Batch") -> "Batch":
        """Of each row the label, the prediction, its probability, and the loss (see `classification_rows`)."""
        from ._classification import classification_rows

        return classification_rows(outputs.logits, batch["labels"])

    def metrics(self, rows: "Rows", config_values: dict[str, Any]) -> dict[str, float]:
        from ._classification import classification_metrics

        return classification_metrics(rows, len(config_values["id2label"]))

    def class_names(self, config_values: dict[str, Any]) -> list[str]:
        return list(config_values["id2label"].values())

    def class_metrics(self, rows: "Rows", config_values: dict[str, Any]) -> "dict[str, np.ndarray]":
        from ._classification import class_precision_recall

        return class_precision_recall(rows, len(config_values["id2label"]))
