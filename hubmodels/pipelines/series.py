"""Pipelines on time series: `pipeline("time-series-classification", model=...)` and
`pipeline("time-series-forecasting", model=...)`.

They take an array (steps, channels), a list of such arrays, or a table: a pandas DataFrame, a mapping of columns, a
data set of `datasets`, or a pyarrow Table. A path is of a CSV, JSON-lines or Parquet file.
"""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from ._answers import ProblemPipeline, answer_rows, rows_of

DEFAULT_BATCH_SIZE = 256

Answers = dict[str, np.ndarray]  # one array a column, first dimension the series


class SeriesPipeline(ProblemPipeline):
    """Take all series through the processor at once and through the model in batches."""

    _load_processor = True
    _load_tokenizer = _load_feature_extractor = _load_image_processor = False

    def _sanitize_parameters(self, **options: Any) -> tuple[dict, dict, dict]:
        """Refuse options of nobody; those of `__call__` are its own."""
        self.check_options(options)
        return {}, {}, {}

    def answer(self, inputs: Mapping[str, torch.Tensor], batch_size: int | None) -> Answers:
        """Answer batch by batch."""
        size = batch_size or self._batch_size or DEFAULT_BATCH_SIZE
        count = len(next(iter(inputs.values())))
        batches = [
            self.forward({name: values[start : start + size] for name, values in inputs.items()})
            for start in range(0, count, size)
        ]
        return {name: np.concatenate([answers[name] for answers in batches]) for name in batches[0]}

    def _forward(self, batch: dict[str, torch.Tensor]) -> Answers:
        """Run the model on a batch, and answer as the problem does."""
        return self.problem.answers(self.model(**batch))

    def preprocess(self, series: Any) -> dict[str, torch.Tensor]:
        """Encode series."""
        return dict(self.processor(series, return_tensors="pt"))

    def postprocess(self, answers: Answers) -> Answers:
        """Leave the answers as they are."""
        return answers


class TimeSeriesClassificationPipeline(SeriesPipeline):
    """Give of each series `label`, its `score` (probability) and all `probabilities`.

    Of a model of several labels also `labels`, all of a probability of at least 1/2; `label` is the likeliest one.

    One array gives one answer, and so does a frame without ids; everything else a list of them, in the order of the
    series."""

    tag = "time-series-classification"

    def __call__(
        self, inputs: Any, batch_size: int | None = None, id_column: str | None = None, **kwargs: Any
    ) -> dict[str, Any] | list[dict[str, Any]]:
        """Classify series.

        Args:
            inputs: see this module's head. A frame's rows are steps and its numeric columns channels: those of the
                processor's names, or where it has no names, all in their order.
            batch_size: series in one forward pass.
            id_column: the frame's column that says which series a row is of.

        Raises:
            ValueError: another number of channels, an empty or too long series, or an unknown kind of file.
        """
        self.check_options(kwargs)
        path = inputs if isinstance(inputs, str | os.PathLike) else None
        table = inputs if path is None else self.read_file(path)
        if path is not None and id_column is None and self.problem.answers_whole_files:
            return self.describe_long(table, batch_size)
        if path is not None and (columns := self.problem.input_columns()) and set(columns) <= set(table.column_names):
            encoded = self.problem.encode_inputs(table, list(range(len(table))))
            return self.describe(self.answer(self.ready(encoded), batch_size))
        series = self.frame_series(table, id_column)
        one = series is None and is_one_series(table)
        if series is not None:
            one, table = id_column is None, series
        described = self.describe(self.answer(self.preprocess(table), batch_size))
        return described[0] if one else described

    def describe_long(self, table: Any, batch_size: int | None) -> list[dict[str, Any]]:
        """Classify the series of a long table, each by its id."""
        ids, encoded = self.problem.input.encode_long(table)
        described = self.describe(self.answer(self.ready(encoded), batch_size))
        return [named | row for named, row in zip(rows_of(ids), described, strict=True)]

    def ready(self, encoded: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
        """Make what the model takes of encoded series."""
        tensors = {name: torch.as_tensor(values) for name, values in encoded.items()}
        return self.problem.transform(training=False)(tensors, None)

    def frame_series(self, table: Any, id_column: str | None) -> list[np.ndarray] | None:
        """Read a frame's series as arrays; None where the inputs are arrays."""
        from ..processors.processing_series_forms import group_rows, table_columns
        from ..processors.processing_series_times import to_numbers

        columns = table_columns(table)
        if columns is None:
            return None
        channels = self.processor.channels
        if not all(name in columns for name in channels):
            channels = [name for name, column in columns.items() if name != id_column and holds_numbers(column, name)]
            if len(channels) != len(self.processor.channels):
                raise ValueError(
                    f"the model reads {len(self.processor.channels)} channels, the frame has {len(channels)} numeric "
                    f"columns ({', '.join(channels)}) beside the id"
                )
        if id_column is not None and id_column not in columns:
            raise ValueError(f"there is no column {id_column!r}; columns are {', '.join(columns)}")
        values = np.stack([to_numbers(columns[name], name) for name in channels], axis=1)
        return [values[rows] for _, rows in group_rows(columns[id_column] if id_column else None, len(values))]

    def describe(self, answers: Answers) -> list[dict[str, Any]]:
        """Describe the answers, a mapping a series."""
        described = []
        for row in answer_rows(answers):
            probabilities = {
                name.removeprefix("probability_"): value for name, value in row.items() if name != "prediction"
            }
            label = max(probabilities, key=probabilities.__getitem__)
            told = {"label": label, "score": probabilities[label], "probabilities": probabilities}
            if self.tells_labels:
                told["labels"] = [name for name, value in probabilities.items() if value >= 0.5]
            described.append(told)
        return described


class TimeSeriesForecastingPipeline(SeriesPipeline):
    """Give the steps ahead as a list of mappings, which `pandas.DataFrame` takes.

    There is one for each series in turn and each step. It has the id and the time where there are any, under the
    columns' own names, else `series` and `step`. Of each channel it has the point forecast under its name and, of a
    model with quantiles, each under `<name>_<level>`. All are in the channels' own units.
    """

    tag = "time-series-forecasting"

    def __call__(
        self,
        inputs: Any,
        batch_size: int | None = None,
        future: Any = None,
        prediction_length: int | None = None,
        **kwargs: Any,
    ) -> list[dict[str, Any]]:
        """Forecast series.

        Args:
            inputs: see this module's head; of each series at least `context_length` steps, of which the last count. A
                frame's index of times, or of ids and times, is taken for these columns.
            batch_size: series in one forward pass.
            future: a frame, a mapping or a file of the columns that are known ahead, for models that need them.
            prediction_length: steps ahead; the model's own number when None. More are forecast from forecasts.

        Raises:
            ValueError: a column is missing, a series is too short, its times are duplicated or uneven, so many steps
                cannot be forecast, or the file's kind is unknown.
        """
        self.check_options(kwargs)
        table, future = (self.read_file(one) if isinstance(one, str | os.PathLike) else one for one in (inputs, future))

        def run(encoded: Answers, ready: bool) -> Answers:
            return self.answer({name: torch.from_numpy(array) for name, array in encoded.items()}, batch_size)

        problem: Any = self.problem
        return rows_of(problem.forecast(table, run, prediction_length, future))


def holds_numbers(column: Any, name: str) -> bool:
    """Tell whether a column holds numbers, or text that is numbers, as a file's that no training has read."""
    from ..processors.processing_series_times import to_numbers

    try:
        return not np.isnan(to_numbers(column, name)).all()
    except ValueError:
        return False


def is_one_series(series: Any) -> bool:
    """Tell whether arrays are one series (steps, channels) and not a list of them."""
    from ..processors.processing_series_forms import is_list_of_arrays, nesting

    depth = getattr(series, "ndim", None) or nesting(series)
    return depth <= 2 and not (isinstance(series, list | tuple) and is_list_of_arrays(series))


PIPELINES = {
    "time-series-classification": (TimeSeriesClassificationPipeline, "ForTimeSeriesClassification"),
    "time-series-forecasting": (TimeSeriesForecastingPipeline, "ForTimeSeriesPrediction"),
}
