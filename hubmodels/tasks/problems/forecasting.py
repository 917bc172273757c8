"""Forecasts: what windows of series and the points and quantiles that follow them give together."""

import copy
import datetime
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from ...abilities import quantile_values
from ...errors import HubmodelsError
from ...report import Baseline, Figure
from ..contract.problem import Problem, Task
from ..inputs.series import FittedSeriesWindows
from ..targets.forecast import FittedForecast

if TYPE_CHECKING:
    import numpy as np
    import pyarrow

    from ..contract.types import Batch, EncodedColumns, ModelOutput, Rows
    from ..figures.forecasts import Panel


class ForecastingProblem(Problem[Task, FittedSeriesWindows, FittedForecast]):
    """Windows of series with what comes next."""

    def resample_block(self) -> int:
        """Return the windows that begin within a horizon: windows that follow each other share most of their steps."""
        return max(1, self.processor.prediction_length // self.input.options.window_stride)

    def baseline(self, train: "EncodedColumns", test: "EncodedColumns") -> Baseline:
        """Forecast by the last season or by ridge regression, the stronger first (see `stronger_forecast`)."""
        from ..baselines.forecasts import Windows, stronger_forecast

        split, channels = self.transform(training=False), self.input.forecast_channels
        train_windows, test_windows = (Windows(columns, split, channels) for columns in (train, test))
        return stronger_forecast(train_windows, test_windows, self.target.season_length, self.target.point_rows)

    def figures(self, rows: "Rows", columns: "EncodedColumns") -> Iterator[Figure]:
        """Draw forecasts against the truth in a few windows, and the error of each step ahead."""
        from ..figures.forecasts import forecast_plot

        yield forecast_plot(self.panels(rows, columns))
        yield from self.target.figures(rows)

    def panels(self, rows: "Rows", columns: "EncodedColumns") -> "list[Panel]":
        """Make what the figure of forecasts shows: windows at even distances, in the channels' own units."""
        import numpy as np
        import torch

        from ..figures.forecasts import forecast_panels, shown_windows

        windows = shown_windows(len(columns))
        inputs = self.transform(training=False)(columns.batch(torch.from_numpy(windows)), None)
        past = np.where(inputs["past_observed_mask"], inputs["past_values"], np.nan)[..., self.input.forecast_channels]
        target = self.target
        return forecast_panels(rows, windows, past, self.input.restore, target.names, target.levels)

    def encode_inputs(self, table: "pyarrow.Table", row_numbers: list[int]) -> "Rows":
        """Refuse rows: many of them give one forecast, which `forecast_file` writes."""
        tag = self.task.tag
        raise HubmodelsError(
            f"{tag} forecasts whole series, not rows: use `hubmodels predict` or pipeline({tag!r}, ...)"
        )

    @property
    def answers_whole_files(self) -> bool:
        """Tell that steps have a forecast only together."""
        return True

    def answer_table(self, table: Any, run: Callable[..., Any], **options: Any) -> "pyarrow.Table":
        """Forecast series: a row a step ahead, with id, time, each target and its quantiles.

        The options `prediction_length` and `future` are those of `forecast_columns`."""
        import pyarrow

        columns = self.forecast(table, run, **options)
        time = self.processor.time_column
        times = columns.get(time, []) if time is not None else []
        if times and all(isinstance(one, datetime.datetime) and one.time() == datetime.time() for one in times):
            columns[time] = [one.date() for one in times]
        return pyarrow.table(columns)

    def forecast(
        self, table: Any, run: Callable[..., Any], prediction_length: int | None = None, future: Any = None
    ) -> dict[str, list[Any]]:
        """Forecast series in any form, see `forecast_columns`; `run` takes encoded series that are `ready`."""
        from ..inputs.series_forecasts import forecast_columns, with_times

        def run_ready(encoded: "Rows") -> "Rows":
            return run(encoded, ready=True)

        table, future = (None if one is None else with_times(self.processor, one) for one in (table, future))
        return forecast_columns(self.processor, table, future, prediction_length, run_ready)

    def predict(self, outputs: "ModelOutput", batch: "Batch") -> "Batch":
        """Return forecasts beside what came; counts are not forecast below 0."""
        return super().predict(self.limited(outputs), batch)

    def limited(self, outputs: "ModelOutput") -> "ModelOutput":
        """Return outputs whose z-scores of counts lie at 0 at least, in the channels' own units."""
        import torch

        lowest = self.processor.lowest()
        if not self.processor.counts:
            return outputs
        limit = torch.tensor(lowest, dtype=torch.float32, device=outputs.prediction_outputs.device)
        outputs = copy.copy(outputs)
        outputs.prediction_outputs = outputs.prediction_outputs.float().maximum(limit)
        if (quantiles := quantile_values(outputs)) is not None:
            outputs.quantile_values = quantiles.float().maximum(limit[:, None])
        return outputs

    def answers(self, outputs: "ModelOutput") -> "dict[str, np.ndarray]":
        """Return the steps ahead (B, H) in the channels' own units.

        Of each channel the points stand under its name, and each quantile under `<name>_<level>`."""
        outputs = self.limited(outputs)
        points = self.input.restore(outputs.prediction_outputs.float().cpu().numpy())
        forecasts = {"": points}
        if (quantiles := quantile_values(outputs)) is not None:
            for level, values in zip(self.target.levels, quantiles.float().cpu().unbind(-1), strict=True):
                forecasts[f"_{level:g}"] = self.input.restore(values.numpy())
        return {
            f"{name}{ending}": values[..., channel]
            for channel, name in enumerate(self.input.forecast_names)
            for ending, values in forecasts.items()
        }
