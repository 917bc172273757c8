"""One class a row or several labels, as the columns say: `SeveralLabels` decides it for every task that classifies.

Several labels stand in columns of 0 and 1, in a column of lists of names, or in texts such as "a;b" with a
`label_separator`. They are 0 or 1 for each of K names, (B, K) float32. A label is predicted where its probability is at
least 1/2.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ...errors import HubmodelsError
from ...fields import option
from ...report import Figure, note
from ...units import Units
from ..contract.columns import label_column, label_maps, ordered_labels
from ..contract.parts import FittedTarget, Target
from .label_columns import check_labels, label_columns, label_matrix, label_names
from .one_class import FittedOneClass, OneClass
from .scored_class import ScoredClass

if TYPE_CHECKING:
    import datasets
    import numpy as np

    from ..contract.types import Batch, ModelOutput, RawRows, Rows

MULTI_LABEL = "multi_label_classification"  # transformers' problem_type
MAX_LINES = 7  # labels in a figure of mean predictions


@dataclass(kw_only=True)
class SeveralLabels(Target):
    """Holds the options of the class of a row, or of its labels.

    Where the columns say so it has one class, which `one_class` measures. Of several labels the metric `accuracy`
    counts a row whose labels are all right, as scikit-learn's does."""

    one_class: ClassVar[type[OneClass]] = OneClass
    decided_fields: ClassVar[tuple[str, ...]] = ("id2label", "label2id", "problem_type")

    weighs_rows: ClassVar[bool] = True
    main_metric: ClassVar[str] = "accuracy"
    greater_is_better: ClassVar[bool] = True
    shares: ClassVar[tuple[str, ...]] = ("accuracy",)
    metric_names: ClassVar[dict[str, str]] = {  # of rows with one class too
        "accuracy": "accuracy",
        "balanced_accuracy": "balanced accuracy",
        "macro_f1": "macro F1",
        "roc_auc": "ROC-AUC",
        "log_loss": "log loss",
        "calibration_error": "expected calibration error",
        "label_accuracy": "share of labels that are right",
    }

    label_column_name: str | list[str] | None = option(
        None, "column of the classes (the only class column when absent), or of lists of labels, or several of 0 and 1"
    )

    label_separator: str | None = option(
        None, "what stands between the labels of a row in a column of text, such as ; in a;b: then each is a label"
    )

    def several(self, features: "datasets.Features") -> list[str]:
        """Name the columns of rows with several labels; none where each row has one class."""
        return label_columns(features, self.label_column_name, self.label_separator)

    def columns(self, features: "datasets.Features", claimed: list[str]) -> list[str]:
        """Name the columns of the labels, or the one class column."""
        chosen = self.label_column_name
        if isinstance(chosen, list):
            chosen = chosen[0] if chosen else None
        return self.several(features) or [label_column(features, chosen, others=tuple(claimed))]

    def units(self, features: "datasets.Features", columns: list[str]) -> Units:
        """Balance carved rows by their classes, where each row has one."""
        return Units(targets=tuple(columns), classes=None if self.several(features) else columns[0])

    def fit(self, train: "datasets.Dataset", columns: list[str]) -> "FittedLabels":
        """Decide by the columns whether rows have one class each or several labels, and name these.

        Names are those of several columns in their order, or what the lists of the training rows hold, sorted."""
        if not self.several(train.features):
            return self.one_class(label_column_name=columns[0]).fit(train, columns)
        names = label_names(train, columns, self.label_separator)
        check_labels(train, columns, names, self.label_separator)
        return FittedSeveralLabels(options=self, names=names)

    def restore(self, config: Mapping[str, Any], state: Mapping[str, Any]) -> "FittedLabels":
        """Decide by the model's `problem_type`, and take the names from the config's `id2label`."""
        if config.get("problem_type") != MULTI_LABEL:
            return self.one_class().restore(config, state)
        return FittedSeveralLabels(options=self, names=ordered_labels(config))


@dataclass(kw_only=True)
class ScoredLabels(SeveralLabels):
    """Holds the options of the class of a row, which is measured by its probability too, or of its labels."""

    one_class: ClassVar[type[OneClass]] = ScoredClass


@dataclass(kw_only=True)
class FittedSeveralLabels(FittedTarget[SeveralLabels]):
    """Labels in the order of their numbers."""

    names: list[str]

    def config_fields(self) -> dict[str, Any]:
        """Return the label maps and the `problem_type`."""
        return {**label_maps(self.names), "problem_type": MULTI_LABEL}

    def encoded_features(self) -> dict[str, Any]:
        """Return the Arrow type of `labels`."""
        import datasets

        return {"labels": datasets.List(datasets.Value("float32"), length=len(self.names))}

    def encode(
        self, rows: "RawRows", row_numbers: list[int], columns: list[str], features: "datasets.Features"
    ) -> "Rows":
        """Encode `labels` (B, K) float32 of 0 and 1. Raises BadRow for what is no label of the model."""
        if not self.options.several(features):
            raise HubmodelsError(
                f"the model has several labels a row, unlike column {', '.join(map(repr, columns))}; choose another "
                "--label_column_name"
            )
        return {"labels": label_matrix(rows, row_numbers, columns, features, self.names, self.options.label_separator)}

    def predict(self, outputs: "ModelOutput", batch: "Batch") -> "Batch":
        """Return labels, predictions, probabilities and losses of each row (see `probability_rows`)."""
        import torch

        probabilities = outputs.logits.float().sigmoid().cpu().numpy()
        rows = self.probability_rows(probabilities, batch["labels"].cpu().numpy())
        return {name: torch.from_numpy(values).to(outputs.logits.device) for name, values in rows.items()}

    def relate(self, rows: "Rows") -> "Rows":
        """Note which labels are true of all measured rows or of none: ROC-AUC is undefined then."""
        shares = rows["labels"].mean(axis=0).tolist()
        if constant := [name for name, share in zip(self.names, shares, strict=True) if share in (0, 1)]:
            shown = ", ".join(map(repr, constant[:6])) + (f" and {len(constant) - 6} more" if len(constant) > 6 else "")
            note(
                "results",
                f"ROC-AUC is undefined: the label {shown} is true of all measured rows or of none",
                surprising=True,
            )
        return rows

    def metrics(self, rows: "Rows") -> dict[str, float]:
        """Compute what scikit-learn calls so (see `label_metrics`)."""
        from .label_rows import label_metrics

        return label_metrics(rows)

    def class_names(self) -> list[str]:
        """Name the labels in the order of their numbers."""
        return self.names

    def class_metrics(self, rows: "Rows") -> "dict[str, np.ndarray]":
        """Compute precision, recall and F1 of each label."""
        from .label_rows import label_scores

        return label_scores(rows)

    def answers(self, outputs: "ModelOutput") -> "dict[str, np.ndarray]":
        """Return the labels of each row, and of every label its probability and uncertainty (see `label_answers`)."""
        from ...abilities import spread
        from .label_rows import label_answers

        return label_answers(outputs.logits, self.names, spread(outputs))

    def probability_rows(self, probabilities: "np.ndarray", labels: "np.ndarray") -> "Rows":
        """Return what `predict` gives, from the probabilities (N, K) of a classical method."""
        from .label_rows import probability_rows

        return probability_rows(probabilities, labels)

    def figures(self, rows: "Rows") -> Iterator[Figure]:
        """Draw precision and recall of each label, and the reliability diagram of all decisions."""
        from ..figures.labels import label_plot, label_reliability_plot

        yield label_plot(rows, self.names)
        yield label_reliability_plot(rows)

    def mean_prediction(self, rows: "Rows") -> "np.ndarray":
        """Compute the mean probability of the first labels."""
        return rows["probabilities"].mean(axis=0)[:MAX_LINES]

    def line_names(self) -> list[str]:
        """Name the entries of `mean_prediction`."""
        return self.names[:MAX_LINES]


FittedLabels = FittedOneClass | FittedSeveralLabels
