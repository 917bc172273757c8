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

from ._answers import ProblemPipeline, answer_rows
from ._files import read_file

DEFAULT_BATCH_SIZE = 256

Answers = dict[str, np.ndarray]  # one array a column, first dimension the series


class SeriesPipeline(ProblemPipeline):
    """Take all series through the processor at once and through the model in batches."""

    _load_processor = True
    _load_tokenizer = _load_feature_extractor = _load_image_processor = False

    def _sanitize_parameters(self, **kwargs: Any) -> tuple[dict, dict, dict]:
        """Take no parameters beside those of `__call__`."""
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
        table = read_file(inputs) if isinstance(inputs, str | os.PathLike) else inputs
        series = self.frame_series(table, id_column)
        one = series is None and is_one_series(table)
        if series is not None:
            one, table = id_column is None, series
        described = self.describe(self.answer(self.preprocess(table), batch_size))
        return described[0] if one else described

    def frame_series(self, table: Any, id_column: str | None) -> list[np.ndarray] | None:
        """Read a frame's series as arrays; None where the inputs are arrays."""
        from ..processors.processing_series_forms import group_rows, table_columns
        from ..processors.processing_series_times import to_numbers

        columns = table_columns(table)
        if columns is None:
            return None
        channels = self.processor.channels
        if not all(name in columns for name in channels):
            channels = [
                name for name, column in columns.items() if name != id_column and np.asarray(column).dtype.kind in "fiu"
            ]
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
        self, inputs: Any, batch_size: int | None = None, future: Any = None, **kwargs: Any
    ) -> list[dict[str, Any]]:
        """Forecast series.

        Args:
            inputs: see this module's head; of each series at least `context_length` steps, of which the last count.
            batch_size: series in one forward pass.
            future: a frame, a mapping or a file of the columns that are known ahead, for models that need them.

        Raises:
            ValueError: a column is missing, a series is too short, its times are unsorted, duplicated or uneven, or the
                file's kind is unknown.
        """
        processor = self.processor
        table = read_file(inputs) if isinstance(inputs, str | os.PathLike) else inputs
        future = read_file(future) if isinstance(future, str | os.PathLike) else future
        series = processor.read(table)
        if not series:
            raise ValueError("there are no series to forecast")
        encoded = processor.encode_forecast(series, future)
        answers = self.answer({name: torch.from_numpy(array) for name, array in encoded.items()}, batch_size)
        rows = []
        for number, one in enumerate(series):
            times = processor.future_times(one)
            for step in range(processor.prediction_length):
                row: dict[str, Any] = {}
                if one.name is not None:
                    row[processor.id_column] = one.name
                elif len(series) > 1:
                    row["series"] = number
                if times is not None:
                    row[processor.time_column] = times[step].item()
                else:
                    row["step"] = step + 1
                rows.append(row | {name: float(values[number, step]) for name, values in answers.items()})
        return rows


def is_one_series(series: Any) -> bool:
    """Tell whether arrays are one series (steps, channels) and not a list of them."""
    from ..processors.processing_series_forms import is_list_of_arrays, nesting

    depth = getattr(series, "ndim", None) or nesting(series)
    return depth <= 2 and not (isinstance(series, list | tuple) and is_list_of_arrays(series))


PIPELINES = {
    "time-series-classification": (TimeSeriesClassificationPipeline, "ForTimeSeriesClassification"),
    "time-series-forecasting": (TimeSeriesForecastingPipeline, "ForTimeSeriesPrediction"),
}
