"""One class a row, ranked and weighed too: with balanced accuracy, the area under the ROC curve, and probabilities."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ...report import note
from ..contract.columns import class_names, ordered_labels
from ..contract.weights import row_weights
from .one_class import FittedOneClass, OneClass

if TYPE_CHECKING:
    import datasets
    import numpy as np

    from ..contract.types import Batch, ModelOutput, Rows

MAX_LINES = 7  # classes in a figure of mean predictions


@dataclass(kw_only=True)
class ScoredClass(OneClass):
    """Holds the options of a class a row that is measured by its probability too."""

    metric_names: ClassVar[dict[str, str]] = {
        "accuracy": "accuracy",
        "balanced_accuracy": "balanced accuracy",
        "macro_f1": "macro F1",
        "roc_auc": "ROC-AUC",
        "log_loss": "log loss",
        "calibration_error": "expected calibration error",
    }

    def fit(self, train: "datasets.Dataset", columns: list[str]) -> "FittedScoredClass":
        """Take a class column's own names in their order, or the distinct texts or integers of the rows, sorted."""
        return FittedScoredClass(options=self, names=class_names(train, columns[0]))

    def restore(self, config: Mapping[str, Any], state: Mapping[str, Any]) -> "FittedScoredClass":
        """Take the names of the classes from the config's `id2label`."""
        return FittedScoredClass(options=self, names=ordered_labels(config))


@dataclass(kw_only=True)
class FittedScoredClass(FittedOneClass):
    """Classes in the order of their numbers, whose rows keep the probability of every class."""

    def predict(self, outputs: "ModelOutput", batch: "Batch") -> "Batch":
        """Return what every class a row has (see `classification_rows`), and the `probabilities` (B, K)."""
        return {**super().predict(outputs, batch), "probabilities": outputs.logits.float().softmax(dim=-1)}

    def relate(self, rows: "Rows") -> "Rows":
        """Note which classes no measured row has: the balanced accuracy is without them, ROC-AUC is undefined."""
        import numpy as np

        counts = np.bincount(rows["labels"], minlength=len(self.names))
        if missing := [name for name, count in zip(self.names, counts.tolist(), strict=True) if not count]:
            shown = ", ".join(map(repr, missing[:6])) + (f" and {len(missing) - 6} more" if len(missing) > 6 else "")
            present = len(self.names) - len(missing)
            over = f"over the {present} of {len(self.names)} classes that occur" if present > 1 else "undefined"
            note(
                "results",
                f"no measured row has the class {shown}: the balanced accuracy is {over}, ROC-AUC is undefined",
                surprising=True,
            )
        return rows

    def metrics(self, rows: "Rows") -> dict[str, float]:
        """Compute the metrics of one class a row, the balanced accuracy and the area under the ROC curve.

        The balanced accuracy is over the classes that occur, NaN where these are fewer than two."""
        from .class_rows import confusion_matrix, roc_auc

        shared = super().metrics(rows)
        weights = row_weights(rows)
        counts = confusion_matrix(rows, len(self.names), weights)
        present = counts.sum(axis=1) > 0
        recalls = counts.diagonal()[present] / counts.sum(axis=1)[present]
        return {
            "accuracy": shared["accuracy"],
            # Of a single class it would be its recall, and 1 for a model that always says that class.
            "balanced_accuracy": recalls.mean() if len(recalls) > 1 else float("nan"),
            "macro_f1": shared["macro_f1"],
            "roc_auc": roc_auc(rows["probabilities"], rows["labels"], weights),
            "log_loss": shared["log_loss"],
            "calibration_error": shared["calibration_error"],
        }

    def probability_rows(self, probabilities: "np.ndarray", labels: "np.ndarray") -> "Rows":
        """Return what `predict` gives, from the probabilities (N, K) of a classical method."""
        probabilities = probabilities.astype("float32")
        return {**super().probability_rows(probabilities, labels), "probabilities": probabilities}

    def mean_prediction(self, rows: "Rows") -> "np.ndarray":
        """Compute the mean probability of each class, of the second alone where there are two."""
        probabilities = rows["probabilities"].mean(axis=0)
        return probabilities[1:] if len(probabilities) == 2 else probabilities[:MAX_LINES]

    def line_names(self) -> list[str]:
        """Name the entries of `mean_prediction`."""
        return [f"probability of {self.names[1]}"] if len(self.names) == 2 else self.names[:MAX_LINES]
