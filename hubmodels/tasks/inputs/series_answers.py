"""Forecasts of whole series: files and tables of them have answers together, not row by row."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ...errors import HubmodelsError

if TYPE_CHECKING:
    import pyarrow

    from ..contract.types import Rows


class ForecastsSeries:
    """Adds to a problem of forecasts what answers series in any form."""

    task: Any  # see `Problem`
    input: Any

    def encode_inputs(self, table: "pyarrow.Table", row_numbers: list[int]) -> "Rows":
        """Refuse rows: many of them give one forecast, which `forecast` gives."""
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
        import datetime

        import pyarrow

        columns = self.forecast(table, run, **options)
        time = self.input.processor.time_column
        times = columns.get(time, []) if time is not None else []
        if times and all(isinstance(one, datetime.datetime) and one.time() == datetime.time() for one in times):
            columns[time] = [one.date() for one in times]
        return pyarrow.table(columns)

    def forecast(
        self, table: Any, run: Callable[..., Any], prediction_length: int | None = None, future: Any = None
    ) -> dict[str, list[Any]]:
        """Forecast series in any form, see `forecast_columns`; `run` takes encoded series that are `ready`."""
        from .series_forecasts import forecast_columns

        def run_ready(encoded: "Rows") -> "Rows":
            return run(encoded, ready=True)

        table, future = (None if one is None else self.input.with_times(one) for one in (table, future))
        return forecast_columns(self.input.processor, table, future, prediction_length, run_ready)
