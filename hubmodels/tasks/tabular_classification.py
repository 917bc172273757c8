"""Tabular classification: a row of a table and its class, or its labels."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..fields import part
from ..report import Baseline, Figure
from .contract.problem import Problem, Task
from .inputs.tables import FittedTables, Tables
from .targets.scored_class import FittedScoredClass
from .targets.several_labels import FittedLabels, FittedSeveralLabels, ScoredLabels

if TYPE_CHECKING:
    from .contract.types import EncodedColumns, Predict, Rows


class TabularClassificationProblem(Problem["TabularClassification", FittedTables, FittedLabels]):
    """Rows of a table with their class, or with their labels."""

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

        assert isinstance(self.target, FittedScoredClass | FittedSeveralLabels)
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
    target: ScoredLabels = part(ScoredLabels)

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
