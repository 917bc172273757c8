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

from ._files import read_file

DEFAULT_BATCH_SIZE = 256


class SeriesPipeline(Pipeline):
    """What both pipelines share: all series go through the processor at once and through the model in batches."""

    _load_processor = True
    _load_tokenizer = _load_feature_extractor = _load_image_processor = False

    def _sanitize_parameters(self, **kwargs: Any) -> tuple[dict, dict, dict]:
        return {}, {}, {}

    def run_batches(self, features: Mapping[str, torch.Tensor], batch_size: int | None) -> list[Any]:
        """The model's outputs, batch by batch."""
        size = batch_size or self._batch_size or DEFAULT_BATCH_SIZE
        count = len(next(iter(features.values())))
        return [
            self.forward({name: values[start : start + size] for name, values in features.items()})
            for start in range(0, count, size)
        ]

    def _forward(self, batch: dict[str, torch.Tensor]) -> Any:
        return self.model(**batch)

    def preprocess(self, series: Any) -> dict[str, torch.Tensor]:
        return dict(self.processor(series, return_tensors="pt"))

    def postprocess(self, outputs: Any) -> Any:
        return outputs


class TimeSeriesClassificationPipeline(SeriesPipeline):
    """Of each series `label`, its `score` (probability) and all `probabilities`. One array gives one answer, and so
    does a frame without ids; everything else a list of them, in the order of the series."""

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
        """A frame's series as arrays, or None where the inputs are arrays."""
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
        """The answers of a batch."""
        names = list(self.model.config.id2label.values())
        multi = self.model.config.problem_type == "multi_label_classification"
        logits = outputs["logits"].float()
        probabilities = logits.sigmoid() if multi else logits.softmax(dim=-1)
        scores, classes = probabilities.max(dim=-1)
        return [
            {"label": names[place], "score": score, "probabilities": dict(zip(names, row, strict=True))}
            for place, score, row in zip(classes.tolist(), scores.tolist(), probabilities.tolist(), strict=True)
        ]


class TimeSeriesForecastingPipeline(SeriesPipeline):
    """The steps ahead as a list of mappings, which `pandas.DataFrame` takes. Of each series in turn and each step: its
    id and time where there are any (under the columns' own names), else `series` and `step`; of each channel the point
    forecast under its name and, of a model with quantiles, each under `<name>_<level>`. All in the channels' own units.
    """

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
        found = processor.read(table)
        if not found:
            raise ValueError("there are no series to forecast")
        encoded = processor.encode_forecast(found, future)
        outputs = self.run_batches({name: torch.from_numpy(values) for name, values in encoded.items()}, batch_size)
        places = processor.target_indices
        values = torch.cat([batch["prediction_outputs"] for batch in outputs])  # (B, H, Y)
        points = processor.restore(values.float().numpy(), places)
        quantiles = None
        if outputs[0].get("quantile_values") is not None:
            values = torch.cat([batch["quantile_values"] for batch in outputs]).float().numpy()  # (B, H, Y, Q)
            quantiles = np.moveaxis(processor.restore(np.moveaxis(values, 3, 2), places), 2, 3)
        names, levels = [processor.channels[place] for place in places], self.model.config.quantiles
        rows = []
        for number, one in enumerate(found):
            times = processor.future_times(one)
            for step in range(points.shape[1]):
                row: dict[str, Any] = {}
                if one.name is not None:
                    row[processor.id_column] = one.name
                elif len(found) > 1:
                    row["series"] = number
                if times is not None:
                    row[processor.time_column] = times[step].item()
                else:
                    row["step"] = step + 1
                for place, name in enumerate(names):
                    row[name] = float(points[number, step, place])
                    if quantiles is not None:
                        ends = quantiles[number, step, place].tolist()
                        row |= {f"{name}_{level:g}": value for level, value in zip(levels, ends, strict=True)}
                rows.append(row)
        return rows


def is_one_series(series: Any) -> bool:
    """Whether arrays are one series (steps, channels) and not a list of them."""
    from ..processors.processing_series import is_list_of_arrays, nesting

    depth = getattr(series, "ndim", None) or nesting(series)
    return depth <= 2 and not (isinstance(series, list | tuple) and is_list_of_arrays(series))


PIPELINES = {
    "time-series-classification": (TimeSeriesClassificationPipeline, "ForTimeSeriesClassification"),
    "time-series-forecasting": (TimeSeriesForecastingPipeline, "ForTimeSeriesPrediction"),
}
