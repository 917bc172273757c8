"""Tabular classification: a row of a table and its class. Metrics, baselines and figures."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import HubmodelsError
from ..fields import option
from ..report import Figure
from ._tabular import TabularTask
from .contract.columns import class_names, class_numbers, label_column, label_maps

if TYPE_CHECKING:
    import datasets
    import numpy as np

    from ._unbound import Batch, Rows

MAX_LINES = 7  # classes in a figure of partial dependence
LINEAR_PENALTIES = (1.0, 0.01, 0.1, 10.0)  # inverse strengths of logistic regression's L2 penalty
MULTI_LABEL = "multi_label_classification"  # transformers' problem_type


def is_multi_label(config_values: dict[str, Any]) -> bool:
    """Whether a row may have several labels, or none."""
    return config_values.get("problem_type") == MULTI_LABEL


@dataclass(kw_only=True)
class TabularClassification(TabularTask):
    """One row, one class; or several labels, where `label_column_name` names several columns or one of lists.

    Of several labels the metric `accuracy` counts a row whose labels are all right, as scikit-learn's does."""

    tag: ClassVar[str] = "tabular-classification"
    head: ClassVar[str] = "ForTabularClassification"
    config_fields: ClassVar[tuple[str, ...]] = (*TabularTask.table_fields, "id2label", "label2id", "problem_type")
    main_metric: ClassVar[str] = "accuracy"
    greater_is_better: ClassVar[bool] = True
    shares: ClassVar[tuple[str, ...]] = ("accuracy",)
    metric_names: ClassVar[dict[str, str]] = {
        "accuracy": "accuracy",
        "balanced_accuracy": "balanced accuracy",
        "macro_f1": "macro F1",
        "roc_auc": "ROC-AUC",
        "log_loss": "log loss",
        "calibration_error": "expected calibration error",
        "label_accuracy": "share of labels that are right",
    }
    baseline_names: ClassVar[dict[str, str]] = {
        "boosting": "histogram gradient boosting with early stopping",
        "linear": "logistic regression",
        "dummy": "the most frequent class",
    }

    label_column_name: str | list[str] | None = option(
        None, "column of the classes (the only class column when absent), or of lists of labels, or several of 0 and 1"
    )

    def label_columns(self, features: "datasets.Features") -> list[str] | None:
        """The columns of rows with several labels; None where each row has one class."""
        if self.label_column_name is None:
            return None
        from ._multi_label import label_columns

        return label_columns(features, self.label_column_name)

    def target_columns(self, features: "datasets.Features") -> list[str]:
        chosen = self.label_column_name
        if isinstance(chosen, list):
            chosen = chosen[0] if chosen else None
        return self.label_columns(features) or [label_column(features, chosen)]

    def fit_config(self, train: "datasets.Dataset", processor: Any) -> dict[str, Any]:
        """The columns as the processor has them. The classes are a class column's own names in their order, or the
        distinct texts or integers of the training rows, sorted; labels are the names of their columns in their order,
        or found in lists as classes are."""
        if columns := self.label_columns(train.features):
            from ._multi_label import label_names

            names = label_names(train, columns)
        else:
            names = class_names(train, self.target_columns(train.features)[0])
        return {
            **self.fit_table(processor),
            **label_maps(names),
            "problem_type": MULTI_LABEL if columns else None,
        }

    def encoded_features(self, processor: Any, config_values: dict[str, Any]) -> "datasets.Features":
        import datasets

        labels = datasets.Value("int64")
        if is_multi_label(config_values):
            labels = datasets.List(datasets.Value("float32"), length=len(config_values["id2label"]))
        return datasets.Features(**self.table_features(processor), labels=labels)

    def encode(
        self,
        rows: dict[str, list],
        row_numbers: list[int],
        features: "datasets.Features",
        processor: Any,
        config_values: dict[str, Any],
    ) -> "Rows":
        """The features, and `labels`: (B,) int64 as the model numbers classes, or (B, L) float32 of 0 and 1."""
        columns = self.target_columns(features)
        inputs = {name: rows[name] for name in rows if name not in columns}
        if is_multi_label(config_values) != bool(self.label_columns(features)):
            raise HubmodelsError(
                f"the model has {'several labels' if is_multi_label(config_values) else 'one class'} a row, unlike "
                f"column {', '.join(map(repr, columns))}; choose another --label_column_name"
            )
        if is_multi_label(config_values):
            from ._multi_label import label_matrix

            labels = label_matrix(rows, row_numbers, columns, features, config_values["id2label"])
        else:
            (label,) = columns
            labels = class_numbers(rows[label], row_numbers, label, features[label], config_values["id2label"])
        return {**self.encode_table(inputs, row_numbers, processor), "labels": labels}

    # ---------------------------------------------------------------- results

    def predict(self, outputs: Any, batch: "Batch") -> "Batch":
        """What every classification has (see `classification_rows`), and the `probabilities` (B, L); of several labels
        what `_multi_label.probability_rows` says."""
        from .targets.class_rows import classification_rows

        if batch["labels"].ndim == 2:
            import torch

            from ._multi_label import probability_rows

            probabilities, labels = outputs.logits.float().sigmoid().cpu().numpy(), batch["labels"].cpu().numpy()
            found = probability_rows(probabilities, labels)
            return {name: torch.from_numpy(values).to(outputs.logits.device) for name, values in found.items()}
        probabilities = outputs.logits.float().softmax(dim=-1)
        return {**classification_rows(outputs.logits, batch["labels"]), "probabilities": probabilities}

    def answers(self, outputs: Any, config_values: dict[str, Any]) -> "dict[str, np.ndarray]":
        from .targets.class_rows import classification_answers

        if is_multi_label(config_values):
            from ._multi_label import multi_label_answers

            return multi_label_answers(
                outputs.logits, self.class_names(config_values), getattr(outputs, "spread", None)
            )
        return classification_answers(outputs.logits, self.class_names(config_values), getattr(outputs, "spread", None))

    def metrics(self, rows: "Rows", config_values: dict[str, Any]) -> dict[str, float]:
        from .targets.class_rows import classification_metrics, confusion_matrix, roc_auc

        if is_multi_label(config_values):
            from ._multi_label import multi_label_metrics

            return multi_label_metrics(rows)
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
        from .targets.class_rows import class_precision_recall

        if is_multi_label(config_values):
            from ._multi_label import label_scores

            return label_scores(rows)
        return class_precision_recall(rows, len(config_values["id2label"]))

    # ---------------------------------------------------------------- baselines

    def name_baseline(self, kind: str, targets: "np.ndarray") -> str:
        if targets.ndim == 1:
            return self.baseline_names[kind]
        return "each label's share in training" if kind == "dummy" else f"{self.baseline_names[kind]} for each label"

    def linear_settings(self) -> list[dict[str, Any]]:
        return [{"C": penalty} for penalty in LINEAR_PENALTIES]

    def make_baseline(
        self, kind: str, settings: dict[str, Any], targets: "np.ndarray", seed: int, **boosting: Any
    ) -> Any:
        """Of several labels one estimator each, a constant where a label has one value in training."""
        from sklearn.dummy import DummyClassifier
        from sklearn.ensemble import HistGradientBoostingClassifier
        from sklearn.linear_model import LogisticRegression
        from sklearn.multiclass import OneVsRestClassifier

        if kind == "boosting":
            model = HistGradientBoostingClassifier(**boosting, **settings, random_state=seed)
        else:
            model = DummyClassifier() if kind == "dummy" else LogisticRegression(max_iter=1_000, **settings)
        return OneVsRestClassifier(model) if targets.ndim == 2 else model

    def score_baseline(
        self, model: Any, inputs: "np.ndarray", targets: "np.ndarray", config_values: dict[str, Any]
    ) -> float:
        """Minus the log loss: on few rows it tells settings apart that have the same accuracy."""
        return -float(self.baseline_rows(model, inputs, targets, config_values)["losses"].mean())

    def baseline_rows(
        self, model: Any, inputs: "np.ndarray", targets: "np.ndarray", config_values: dict[str, Any]
    ) -> "Rows":
        import numpy as np

        from .targets.class_rows import probability_rows

        if is_multi_label(config_values):
            from ._multi_label import probability_rows as label_rows

            return label_rows(model.predict_proba(inputs), targets)
        probabilities = np.zeros((len(inputs), len(config_values["id2label"])), dtype=np.float32)
        probabilities[:, model.classes_] = model.predict_proba(inputs)
        return {**probability_rows(probabilities, targets), "probabilities": probabilities}

    # ---------------------------------------------------------------- figures and words

    def mean_prediction(self, rows: "Rows") -> "np.ndarray":
        """The mean probability of each class or label, of the second alone where there are two classes."""
        probabilities = rows["probabilities"].mean(axis=0)
        return probabilities[1:] if len(probabilities) == 2 and rows["labels"].ndim == 1 else probabilities[:MAX_LINES]

    def dependence_labels(self, config_values: dict[str, Any]) -> list[str]:
        names = self.class_names(config_values)
        two_classes = len(names) == 2 and not is_multi_label(config_values)
        return [f"probability of {names[1]}"] if two_classes else names[:MAX_LINES]

    def plots(self, rows: "Rows", columns: Any, processor: Any, config_values: dict[str, Any]) -> Iterator[Figure]:
        """Confusion matrix, or of several labels the precision and recall of each, and reliability diagram."""
        if is_multi_label(config_values):
            from ._multi_label import flat_rows, label_figure
            from .figures.classes import reliability_figure
            from .targets.class_rows import calibration_error

            yield Figure(
                name="labels",
                caption="Precision and recall of each label on the test rows (left; the best F1 on top), and the share "
                "of the rows that have it (right).",
                figure=label_figure(rows, self.class_names(config_values)),
            )
            rows = flat_rows(rows)
            yield Figure(
                name="reliability",
                caption="Share of right decisions against their confidence in 15 bins, each label of each test row a "
                "decision (above), and the share of the decisions in each (below). The expected calibration error is "
                f"{calibration_error(rows):.3f}.",
                figure=reliability_figure(rows),
            )
            return
        from .figures.classes import confusion_plot, reliability_plot

        yield confusion_plot(rows, self.class_names(config_values))
        yield reliability_plot(rows)

    def example(self) -> str:
        return (
            "import hubmodels  # makes transformers know the family and the pipeline\n"
            "from transformers import pipeline\n"
            "\n"
            'classify = pipeline("tabular-classification", model="{model_id}")\n'
            'print(classify("rows.csv"))  # a path, a DataFrame, a row as a dict or a list of them:\n'
            '# [{"label": ..., "score": ..., "probabilities": {...}}, ...]\n'
        )
