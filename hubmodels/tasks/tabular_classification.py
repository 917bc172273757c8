"""Tabular classification: a row of a table and its class, or its labels."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import HubmodelsError
from ..fields import part
from ..report import Baseline, Figure
from .contract.parts import FittedInput
from .contract.problem import Problem, Task
from .inputs.tables import FittedTables, Tables
from .targets.scored_class import FittedScoredClass, ScoredClass
from .targets.several_labels import MULTI_LABEL, FittedSeveralLabels, SeveralLabels

if TYPE_CHECKING:
    import datasets

    from .contract.types import EncodedColumns, Predict, RawRows, Rows


class TabularClassificationProblem(
    Problem["TabularClassification", FittedTables, FittedScoredClass | FittedSeveralLabels]
):
    """Rows of a table with their class, or with their labels."""

    def encode(self, rows: "RawRows", row_numbers: list[int], features: "datasets.Features") -> "Rows":
        """Encode a batch of selected rows. Raises HubmodelsError where classes stand for labels, or labels for classes.

        `labels` are (B,) int64 as the model numbers classes, or (B, K) float32 of 0 and 1."""
        several = isinstance(self.target, FittedSeveralLabels)
        if several != bool(self.task.target.several(features)):
            columns = self.task.target.columns(features, [])
            raise HubmodelsError(
                f"the model has {'several labels' if several else 'one class'} a row, unlike "
                f"column {', '.join(map(repr, columns))}; choose another --label_column_name"
            )
        return super().encode(rows, row_numbers, features)

    def baseline(self, train: "EncodedColumns", test: "EncodedColumns") -> Baseline:
        """Fit gradient boosting and logistic regression, for each label where there are several, and a constant."""
        from .baselines.tables import class_methods, table_baseline

        target, targets = self.target, train.tensor("labels").numpy()
        methods = class_methods(self.input, targets, len(target.names), target.probability_rows, self.seed)
        return table_baseline(methods, self.input, train, test, self.seed)

    def explain(self, predict: "Predict", columns: "EncodedColumns") -> Iterator[Figure]:
        """Draw the permutation importance of each column, and the partial dependence on the strongest."""
        from .figures.tables import column_figures

        def loss(rows: "Rows") -> float:
            return -self.metrics(rows)[self.task.main_metric]

        metric = self.task.metric_names[self.task.main_metric]
        return column_figures(self.input, self.target, predict, columns, loss, metric)


@dataclass(kw_only=True)
class TabularClassification(Task):
    """One row, one class; or several labels, where `label_column_name` names several columns or one of lists."""

    tag: ClassVar[str] = "tabular-classification"
    head: ClassVar[str] = "ForTabularClassification"
    problem_class: ClassVar[type[Problem]] = TabularClassificationProblem
    requires: ClassVar[tuple[str, ...]] = ("num_numeric_features", "categorical_cardinalities")

    input: Tables = part(Tables)
    target: SeveralLabels = part(SeveralLabels)

    def fit_target(
        self, train: "datasets.Dataset", columns: list[str], fitted_input: FittedInput[Any]
    ) -> FittedScoredClass | FittedSeveralLabels:
        """Decide by the columns whether rows have one class each or several labels."""
        if self.target.several(train.features):
            return self.target.fit(train, columns)
        return ScoredClass(label_column_name=columns[0]).fit(train, columns)

    def restore_target(
        self, config: Mapping[str, Any], state: Mapping[str, Any]
    ) -> FittedScoredClass | FittedSeveralLabels:
        """Decide by the model's `problem_type` whether rows have one class each or several labels."""
        if config.get("problem_type") == MULTI_LABEL:
            return self.target.restore(config, state)
        return ScoredClass().restore(config, state)

    def example(self) -> str:
        """Return lines that use our own pipeline."""
        return (
            "import hubmodels  # makes transformers know the family and the pipeline\n"
            "from transformers import pipeline\n"
            "\n"
            'classify = pipeline("tabular-classification", model="{model_id}")\n'
            'print(classify("rows.csv"))  # a path, a DataFrame, a row as a dict or a list of them:\n'
            '# [{"label": ..., "score": ..., "probabilities": {...}}, ...]\n'
        )
