"""What the tasks share whose rows have one class each, whatever the rows are: predictions, metrics and figures."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from ..report import Figure

if TYPE_CHECKING:
    import numpy as np

    from ._unbound import Batch, Rows


class OneClassARow:
    """The results of a classifier with one class a row, for a `Task` whose `id2label` names the classes. It stands
    before the task among the base classes."""

    main_metric: ClassVar[str] = "accuracy"
    greater_is_better: ClassVar[bool] = True
    shares: ClassVar[tuple[str, ...]] = ("accuracy",)
    metric_names: ClassVar[dict[str, str]] = {
        "accuracy": "accuracy",
        "macro_f1": "macro F1",
        "calibration_error": "expected calibration error",
        "log_loss": "log loss",
    }

    def predict(self, outputs: Any, batch: "Batch") -> "Batch":
        """Of each row the label, the prediction, its probability, and the loss (see `classification_rows`)."""
        from .targets.class_rows import classification_rows

        return classification_rows(outputs.logits, batch["labels"])

    def answers(self, outputs: Any, config_values: dict[str, Any]) -> "dict[str, np.ndarray]":
        """The class of each row and the probability of every class (see `classification_answers`)."""
        from .targets.class_rows import classification_answers

        return classification_answers(outputs.logits, self.class_names(config_values))

    def metrics(self, rows: "Rows", config_values: dict[str, Any]) -> dict[str, float]:
        from .targets.class_rows import classification_metrics

        return classification_metrics(rows, len(config_values["id2label"]))

    def class_names(self, config_values: dict[str, Any]) -> list[str]:
        return list(config_values["id2label"].values())

    def class_metrics(self, rows: "Rows", config_values: dict[str, Any]) -> "dict[str, np.ndarray]":
        from .targets.class_rows import class_precision_recall

        return class_precision_recall(rows, len(config_values["id2label"]))

    def plots(self, rows: "Rows", columns: Any, processor: Any, config_values: dict[str, Any]) -> Iterator[Figure]:
        """Confusion matrix, what the task shows of its rows, and the reliability diagram."""
        from .figures.classes import confusion_plot, reliability_plot

        yield confusion_plot(rows, self.class_names(config_values))
        yield from self.row_plots(rows, columns, processor, config_values)
        yield reliability_plot(rows)

    def row_plots(self, rows: "Rows", columns: Any, processor: Any, config_values: dict[str, Any]) -> Iterator[Figure]:
        """Figures of test rows: examples, mistakes; none by default."""
        return iter(())
