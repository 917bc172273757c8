"""Tabular classification: a row of a table and its class. Metrics, baselines and figures."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ..recipe import option
from . import Plot
from ._columns import class_names, class_numbers, label_column
from ._tabular import TabularTask

if TYPE_CHECKING:
    import datasets
    import numpy as np

    from . import Batch, Rows

MAX_LINES = 7  # classes in a figure of partial dependence
LINEAR_PENALTIES = (1.0, 0.01, 0.1, 10.0)  # inverse strengths of logistic regression's L2 penalty


@dataclass(kw_only=True)
class TabularClassification(TabularTask):
    """One row, one class."""

    tag: ClassVar[str] = "tabular-classification"
    head: ClassVar[str] = "ForTabularClassification"
    config_fields: ClassVar[tuple[str, ...]] = (*TabularTask.table_fields, "id2label", "label2id")
    main_metric: ClassVar[str] = "accuracy"
    greater_is_better: ClassVar[bool] = True
    metric_names: ClassVar[dict[str, str]] = {
        "accuracy": "accuracy",
        "balanced_accuracy": "balanced accuracy",
        "macro_f1": "macro F1",
        "roc_auc": "ROC-AUC",
        "log_loss": "log loss",
        "calibration_error": "expected calibration error",
    }
    baseline_names: ClassVar[dict[str, str]] = {
        "boosting": "histogram gradient boosting with early stopping",
        "linear": "logistic regression",
        "dummy": "the most frequent class",
    }

    label_column_name: str | None = option(None, "column of the classes; the only class column when absent")

    def target_columns(self, features: "datasets.Features") -> list[str]:
        return [label_column(features, self.label_column_name)]

    def fit_config(self, train: "datasets.Dataset", processor: Any) -> dict[str, Any]:
        """The columns as the processor has them. The classes are a class column's own names in their order, or the
        distinct texts or integers of the training rows, sorted."""
        names = class_names(train, self.target_columns(train.features)[0])
        return {
            **self.fit_table(processor),
            "id2label": dict(enumerate(names)),
            "label2id": {name: index for index, name in enumerate(names)},
        }

    def encoded_features(self, processor: Any, config_values: dict[str, Any]) -> "datasets.Features":
        import datasets

        return datasets.Features(**self.table_features(processor), labels=datasets.Value("int64"))

    def encode(
        self,
        rows: dict[str, list],
        row_numbers: list[int],
        features: "datasets.Features",
        processor: Any,
        config_values: dict[str, Any],
    ) -> "Rows":
        """The features, and `labels` (B,) int64 as the model numbers them."""
        (label,) = self.target_columns(features)
        inputs = {name: rows[name] for name in rows if name != label}
        labels = class_numbers(rows[label], row_numbers, label, features[label], config_values["id2label"])
        return {**self.encode_table(inputs, row_numbers, processor), "labels": labels}

    # ---------------------------------------------------------------- results

    def predict(self, outputs: Any, batch: "Batch") -> "Batch":
        """What every classification has (see `classification_rows`), and the `probabilities` (B, L)."""
        from ._classification import classification_rows

        probabilities = outputs.logits.float().softmax(dim=-1)
        return {**classification_rows(outputs.logits, batch["labels"]), "probabilities": probabilities}

    def answers(self, outputs: Any, config_values: dict[str, Any]) -> "dict[str, np.ndarray]":
        from ._classification import classification_answers

        return classification_answers(outputs.logits, self.class_names(config_values), getattr(outputs, "spread", None))

    def metrics(self, rows: "Rows", config_values: dict[str, Any]) -> dict[str, float]:
        from ._classification import classification_metrics, confusion_matrix, roc_auc

        num_classes = len(config_values["id2label"])
        shared = classification_metrics(rows, num_classes)
        counts = confusion_matrix(rows, num_classes)
        present = counts.sum(axis=1) > 0
        return {
            "accuracy": shared["accuracy"],
            "balanced_accuracy": (counts.diagonal()[present] / counts.sum(axis=1)[present]).mean(),
            "macro_f1": shared["macro_f1"],
            "roc_auc": roc_auc(rows["probabilities"], rows["labels"]),
            "log_loss": shared["log_loss"],
            "calibration_error": shared["calibration_error"],
        }

    def class_names(self, config_values: dict[str, Any]) -> list[str]:
        return list(config_values["id2label"].values())

    def class_metrics(self, rows: "Rows", config_values: dict[str, Any]) -> "dict[str, np.ndarray]":
        from ._classification import class_precision_recall

        return class_precision_recall(rows, len(config_values["id2label"]))

    # ---------------------------------------------------------------- baselines

    def linear_settings(self) -> list[dict[str, Any]]:
        return [{"C": penalty} for penalty in LINEAR_PENALTIES]

    def make_baseline(self, kind: str, settings: dict[str, Any], seed: int, **boosting: Any) -> Any:
        from sklearn.dummy import DummyClassifier
        from sklearn.ensemble import HistGradientBoostingClassifier
        from sklearn.linear_model import LogisticRegression

        if kind == "boosting":
            return HistGradientBoostingClassifier(**boosting, **settings, random_state=seed)
        return DummyClassifier() if kind == "dummy" else LogisticRegression(max_iter=1_000, **settings)

    def score_baseline(
        self, model: Any, inputs: "np.ndarray", targets: "np.ndarray", config_values: dict[str, Any]
    ) -> float:
        """Minus the log loss: on few rows it tells settings apart that have the same accuracy."""
        return -float(self.baseline_rows(model, inputs, targets, config_values)["losses"].mean())

    def baseline_rows(
        self, model: Any, inputs: "np.ndarray", targets: "np.ndarray", config_values: dict[str, Any]
    ) -> "Rows":
        import numpy as np

        from ._classification import probability_rows

        probabilities = np.zeros((len(inputs), len(config_values["id2label"])), dtype=np.float32)
        probabilities[:, model.classes_] = model.predict_proba(inputs)
        return {**probability_rows(probabilities, targets), "probabilities": probabilities}

    # ---------------------------------------------------------------- figures and words

    def mean_prediction(self, rows: "Rows") -> "np.ndarray":
        """The mean probability of each class, of the second alone where there are two."""
        probabilities = rows["probabilities"].mean(axis=0)
        return probabilities[1:] if len(probabilities) == 2 else probabilities[:MAX_LINES]

    def dependence_labels(self, config_values: dict[str, Any]) -> list[str]:
        names = self.class_names(config_values)
        return [f"probability of {names[1]}"] if len(names) == 2 else names[:MAX_LINES]

    def plots(self, rows: "Rows", columns: Any, processor: Any, config_values: dict[str, Any]) -> Iterator[Plot]:
        """Confusion matrix and reliability diagram."""
        from ._classification import calibration_error, confusion_figure, reliability_figure

        yield Plot(
            name="confusion_matrix",
            caption="Confusion matrix on the test rows: true classes down, predicted classes across, coloured by the "
            "share of the true class.",
            figure=confusion_figure(rows, self.class_names(config_values)),
        )
        yield Plot(
            name="reliability",
            caption="Accuracy against confidence in 15 bins on the test rows (above), and the share of the rows in "
            f"each (below). The expected calibration error is {calibration_error(rows):.3f}.",
            figure=reliability_figure(rows),
        )

    def example(self) -> str:
        return (
            "import hubmodels  # makes transformers know the family and the pipeline\n"
            "from transformers import pipeline\n"
            "\n"
            'classify = pipeline("tabular-classification", model="{model_id}")\n'
            'print(classify("rows.csv"))  # a path, a DataFrame, a row as a dict or a list of them:\n'
            '# [{"label": ..., "score": ..., "probabilities": {...}}, ...]\n'
        )
