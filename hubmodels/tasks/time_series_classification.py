"""Time-series classification: one series of one or many channels, of any length, and its class, or its labels."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import HubmodelsError
from ..fields import part
from ..report import Baseline, Figure
from .contract.problem import Problem, Task
from .inputs.whole_series import FittedWholeSeries, WholeSeries
from .targets.several_labels import FittedLabels, FittedSeveralLabels, SeveralLabels

if TYPE_CHECKING:
    import datasets
    import pyarrow

    from .contract.types import EncodedColumns, Rows


class TimeSeriesClassificationProblem(Problem["TimeSeriesClassification", FittedWholeSeries, FittedLabels]):
    """Series with their classes, or with their labels."""

    def baseline(self, train: "EncodedColumns", test: "EncodedColumns") -> Baseline:
        """Fit logistic regression on features of each channel and the length (see `series_features`)."""
        from .baselines.linear import LinearFeatures, logistic_regression
        from .inputs.series_values import series_features

        features = LinearFeatures(name="mean, spread, range, ends, slope and length", compute=series_features)
        target = self.target
        return logistic_regression(features, train, test, len(target.names), target.probability_rows, self.seed)

    @property
    def answers_whole_files(self) -> bool:
        """Tell whether the training rows were steps of series."""
        return self.input.gathers_rows

    def answer_table(self, table: Any, run: Callable[..., Any], **options: Any) -> "pyarrow.Table":
        """Classify the series of a long table, a row a series with its id; of whole series a row each."""
        import pyarrow

        if options:
            raise HubmodelsError(f"{self.task.tag} forecasts nothing: leave out --{next(iter(options))}")
        ids, encoded = self.input.encode_long(table)
        return pyarrow.table(ids | run(encoded))

    def figures(self, rows: "Rows", columns: "EncodedColumns") -> Iterator[Figure]:
        """Draw the confusion matrix, series of each class and the reliability diagram; of labels their scores."""
        from .figures.series import class_examples_plot

        if isinstance(self.target, FittedSeveralLabels):
            yield from self.target.figures(rows)
            return
        confusion, reliability = self.target.figures(rows)
        yield confusion
        yield class_examples_plot(rows, columns, self.target.names, self.input.num_channels)
        yield reliability


@dataclass(kw_only=True)
class TimeSeriesClassification(Task):
    """One series, one class; or several labels, as the columns say (see `SeveralLabels`)."""

    tag: ClassVar[str] = "time-series-classification"
    head: ClassVar[str] = "ForTimeSeriesClassification"
    problem_class: ClassVar[type[Problem]] = TimeSeriesClassificationProblem
    requires: ClassVar[tuple[str, ...]] = ("num_input_channels",)

    input: WholeSeries = part(WholeSeries)
    target: SeveralLabels = part(SeveralLabels)

    def prepare(self, rows: "datasets.Dataset") -> "datasets.Dataset":
        """Make rows of whole series of a long or wide table, so that whole series are carved."""
        if rows.features is None or not hasattr(rows, "__len__"):
            return rows
        if self.target.label_column_name is None and all(name.isdecimal() for name in rows.features):
            raise HubmodelsError(
                f"the file names no columns, of which there are {len(rows.features):,}: where each line is a class and "
                f"then a series, say --series_layout class_first; else name the class with --label_column_name"
            )
        targets = self.target.columns(rows.features, self.input.claims(rows.features))
        of_series = [*targets, *self.weight_columns(rows.features)]
        self.input.decide(rows, of_series)
        return self.input.gather(rows, of_series, "values" if len(of_series) > len(targets) else "classes")

    def select(self, dataset: "datasets.Dataset") -> "datasets.Dataset":
        """Select the series and their classes, one row a series."""
        if dataset.features is None:
            raise HubmodelsError("the stream does not tell its columns; leave out --streaming")
        if not hasattr(dataset, "__len__") and self.input.series_column(dataset.features) is None:
            raise HubmodelsError(
                "steps of series cannot be streamed: a series needs all its rows; leave out --streaming"
            )
        dataset = self.prepare(dataset)
        inputs, targets = self.columns(dataset.features)
        return dataset.select_columns([*inputs, *targets, *self.weight_columns(dataset.features)])

    def example(self) -> str:
        """Return lines that use the pipeline."""
        return (
            "import hubmodels  # makes transformers know the family and the pipeline\n"
            "import numpy as np\n"
            "from transformers import pipeline\n"
            "\n"
            'classify = pipeline("time-series-classification", model="{model_id}")\n'
            "series = np.zeros((20, len(classify.processor.channels)))  # steps x channels, or a list of such arrays\n"
            'print(classify(series))  # {"label": ..., "score": ..., "probabilities": {...}}\n'
        )
