"""Pipelines on time series: `pipeline("time-series-classification", model=...)` and
`pipeline("time-series-forecasting", model=...)`.

They take a pandas DataFrame, a mapping of columns, a data set of `datasets`, a pyarrow Table, the path of a CSV,
JSON-lines or Parquet file, an array (steps, channels), or a list of such arrays.
"""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from transformers.pipelines.base import Pipeline

from .. import abilities
from ._files import read_file

DEFAULT_BATCH_SIZE = 256


class SeriesPipeline(Pipeline):
    """Share what both pipelines do: all series go through the processor at once and through the model in batches."""

    _load_processor = True
    _load_tokenizer = _load_feature_extractor = _load_image_processor = False

    def _sanitize_parameters(self, **kwargs: Any) -> tuple[dict, dict, dict]:
        return {}, {}, {}

    def run_batches(self, inputs: Mapping[str, torch.Tensor], batch_size: int | None) -> list[Any]:
        """Run the model batch by batch, and give its outputs."""
        size = batch_size or self._batch_size or DEFAULT_BATCH_SIZE
        count = len(next(iter(inputs.values())))
        return [
            self.forward({name: values[start : start + size] for name, values in inputs.items()})
            for start in range(0, count, size)
        ]

    def _forward(self, batch: dict[str, torch.Tensor]) -> Any:
        return self.model(**batch)

    def preprocess(self, series: Any) -> dict[str, torch.Tensor]:
        return dict(self.processor(series, return_tensors="pt"))

    def postprocess(self, outputs: Any) -> Any:
        return outputs


class TimeSeriesClassificationPipeline(SeriesPipeline):
    """Give each series' `label`, its `score` (probability) and all `probabilities`.

    One array gives one answer, and so does a frame without ids; everything else a list of them, in the order of the
    series."""

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
        answers = []
        for outputs in self.run_batches(self.preprocess(table), batch_size):
            answers += self.describe(outputs)
        return answers[0] if one else answers

    def frame_series(self, table: Any, id_column: str | None) -> list[np.ndarray] | None:
        """Give a frame's series as arrays, or None where the inputs are arrays."""
        from ..processors.processing_series import group_rows, table_columns
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

    def describe(self, outputs: Any) -> list[dict[str, Any]]:
        """Say in words and numbers what the model gave for a batch."""
        names = list(self.model.config.id2label.values())
        multi = self.model.config.problem_type == "multi_label_classification"
        logits = outputs["logits"].float()
        probabilities = logits.sigmoid() if multi else logits.softmax(dim=-1)
        scores, classes = probabilities.max(dim=-1)
        return [
            {"label": names[number], "score": score, "probabilities": dict(zip(names, row, strict=True))}
            for number, score, row in zip(classes.tolist(), scores.tolist(), probabilities.tolist(), strict=True)
        ]


class TimeSeriesForecastingPipeline(SeriesPipeline):
    """Forecast the steps ahead, as a list of mappings, which `pandas.DataFrame` takes.

    There is one mapping for each step of each series: its id and time under the columns' own names, or `series` and
    `step` where there are none; the point forecast of each channel under its name; and of a model with quantiles each
    one under `<name>_<level>`. All are in the channels' own units."""

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
        all_series = processor.read(table)
        if not all_series:
            raise ValueError("there are no series to forecast")
        encoded = processor.encode_forecast(all_series, future)
        outputs = self.run_batches({name: torch.from_numpy(values) for name, values in encoded.items()}, batch_size)
        channels = processor.target_indices
        values = torch.cat([batch["prediction_outputs"] for batch in outputs])  # (B, H, Y)
        points = processor.restore(values.float().numpy(), channels)
        quantiles = None
        batches = [batch for batch in map(abilities.quantile_values, outputs) if batch is not None]
        if batches:
            values = torch.cat(batches).float().numpy()  # (B, H, Y, Q)
            quantiles = np.moveaxis(processor.restore(np.moveaxis(values, 3, 2), channels), 2, 3)
        rows = []
        for number, series in enumerate(all_series):
            times = processor.future_times(series)
            for step in range(points.shape[1]):
                row: dict[str, Any] = {}
                if series.name is not None:
                    row[processor.id_column] = series.name
                elif len(all_series) > 1:
                    row["series"] = number
                if times is not None:
                    row[processor.time_column] = times[step].item()
                else:
                    row["step"] = step + 1
                ends = None if quantiles is None else quantiles[number, step]
                rows.append(row | self.name_values(points[number, step], ends))
        return rows

    def name_values(self, points: np.ndarray, quantiles: np.ndarray | None) -> dict[str, float]:
        """Name the values of one step: point forecasts (Y,) by channel, quantiles (Y, Q) by channel and level."""
        names = [self.processor.channels[index] for index in self.processor.target_indices]
        values: dict[str, float] = {}
        for index, name in enumerate(names):
            values[name] = float(points[index])
            if quantiles is not None:
                levels = zip(self.model.config.quantiles, quantiles[index].tolist(), strict=True)
                values |= {f"{name}_{level:g}": value for level, value in levels}
        return values


def is_one_series(series: Any) -> bool:
    """Tell whether arrays are one series (steps, channels) and not a list of them."""
    from ..processors.processing_series import is_list_of_arrays, nesting

    depth = getattr(series, "ndim", None) or nesting(series)
    return depth <= 2 and not (isinstance(series, list | tuple) and is_list_of_arrays(series))


PIPELINES = {
    "time-series-classification": (TimeSeriesClassificationPipeline, "ForTimeSeriesClassification"),
    "time-series-forecasting": (TimeSeriesForecastingPipeline, "ForTimeSeriesPrediction"),
}
