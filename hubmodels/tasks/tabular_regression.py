"""Tabular regression: a row of a table and one number or several."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..fields import part
from ..report import Baseline, Figure
from .contract.problem import Problem, Task
from .inputs.tables import FittedTables, Tables
from .targets.numbers import FittedNumbers, Numbers

if TYPE_CHECKING:
    from .contract.types import EncodedColumns, Predict, Rows


class TabularRegressionProblem(Problem["TabularRegression", FittedTables, FittedNumbers]):
    """Rows of a table with their numbers."""

    def baseline(self, train: "EncodedColumns", test: "EncodedColumns") -> Baseline:
        """Fit gradient boosting, ridge regression and the mean; the best on held-out rows stands first."""
        from .baselines.tables import number_methods, table_baseline

        methods = number_methods(self.input, len(train), self.seed)
        baseline = table_baseline(methods, self.input, train, test, self.seed)
        for one in (baseline, *baseline.others):
            one.rows = self.target.rows_in_own_units(one.rows)
        return baseline

    def explain(self, predict: "Predict", columns: "EncodedColumns") -> Iterator[Figure]:
        """Draw the permutation importance of each column, and the partial dependence on the strongest."""
        from .figures.tables import column_figures

        def loss(rows: "Rows") -> float:
            return self.metrics(rows)[self.task.main_metric]

        metric = self.task.metric_names[self.task.main_metric]
        return column_figures(self.input, self.target, predict, columns, loss, metric)


@dataclass(kw_only=True)
class TabularRegression(Task):
    """One row, one number, or one of each of several targets."""

    tag: ClassVar[str] = "tabular-regression"
    head: ClassVar[str] = "ForTabularRegression"
    problem_class: ClassVar[type[Problem]] = TabularRegressionProblem
    requires: ClassVar[tuple[str, ...]] = ("num_numeric_features", "categorical_cardinalities")

    input: Tables = part(Tables)
    target: Numbers = part(Numbers)

    def example(self) -> str:
        """Return lines that use our own pipeline."""
        return (
            "import hubmodels  # makes transformers know the family and the pipeline\n"
            "from transformers import pipeline\n"
            "\n"
            'predict = pipeline("tabular-regression", model="{model_id}")\n'
            'print(predict("rows.csv"))  # a path, a DataFrame, a row as a dict or a list of them:\n'
            '# [{"prediction": ..., ...}, ...]\n'
        )
