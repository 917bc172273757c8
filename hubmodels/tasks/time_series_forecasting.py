"""Time-series forecasting: the next steps of one series or many, from windows that slide over them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import HubmodelsError
from ..fields import part
from ..report import Baseline, Figure
from ..units import Units
from .contract.problem import AnyProblem, Problem, Task
from .inputs.series import DEFAULT_CONTEXT, DEFAULT_PREDICTION, FittedSeriesWindows, SeriesWindows
from .inputs.series_answers import ForecastsSeries
from .inputs.series_tables import sort_rows
from .targets.forecast import FittedForecast, Forecast, forecast_answers, not_below

if TYPE_CHECKING:
    import datasets
    import numpy as np

    from .contract.parts import FittedInput
    from .contract.types import Batch, EncodedColumns, ModelOutput, Rows
    from .figures.forecasts import Panel


class ForecastingProblem(ForecastsSeries, Problem["TimeSeriesForecasting", FittedSeriesWindows, FittedForecast]):
    """Windows of series with what comes next."""

    def resample_block(self) -> int:
        """Return the windows that begin within a horizon: windows that follow each other share most of their steps."""
        return max(1, self.processor.prediction_length // self.task.input.window_stride)

    def baseline(self, train: "EncodedColumns", test: "EncodedColumns") -> Baseline:
        """Forecast by the last season or by ridge regression, the stronger first (see `stronger_forecast`)."""
        from .baselines.forecasts import Windows, stronger_forecast

        split, channels = self.transform(training=False), self.input.forecast_channels
        train_windows, test_windows = (Windows(columns, split, channels) for columns in (train, test))
        return stronger_forecast(train_windows, test_windows, self.target.season_length, self.target.point_rows)

    def figures(self, rows: "Rows", columns: "EncodedColumns") -> Iterator[Figure]:
        """Draw forecasts against the truth in a few windows, and the error of each step ahead."""
        from .figures.forecasts import forecast_plot

        yield forecast_plot(self.panels(rows, columns))
        yield from self.target.figures(rows)

    def panels(self, rows: "Rows", columns: "EncodedColumns") -> "list[Panel]":
        """Make what the figure of forecasts shows: windows at even distances, in the channels' own units."""
        from .figures.forecasts import window_panels

        return window_panels(rows, columns, self.transform(training=False), self.input, self.target)

    def predict(self, outputs: "ModelOutput", batch: "Batch") -> "Batch":
        """Return forecasts beside what came; counts are not forecast below 0."""
        return super().predict(self.limited(outputs), batch)

    def limited(self, outputs: "ModelOutput") -> "ModelOutput":
        """Return outputs whose z-scores of counts lie at 0 at least, in the channels' own units."""
        return not_below(outputs, self.processor.lowest()) if self.processor.counts else outputs

    def answers(self, outputs: "ModelOutput") -> "dict[str, np.ndarray]":
        """Return the steps ahead (B, H) in the channels' own units, see `forecast_answers`."""
        series = self.input
        return forecast_answers(self.limited(outputs), series.restore, series.forecast_names, self.target.levels)


@dataclass(kw_only=True)
class TimeSeriesForecasting(Task):
    """Windows of series: what came before, and what comes next."""

    tag: ClassVar[str] = "time-series-forecasting"
    head: ClassVar[str] = "ForTimeSeriesPrediction"
    problem_class: ClassVar[type[Problem]] = ForecastingProblem
    requires: ClassVar[tuple[str, ...]] = ("num_input_channels", "context_length", "prediction_length")
    windowed: ClassVar[bool] = True
    carve: ClassVar[str] = "last"  # what is to be told lies after what was seen

    input: SeriesWindows = part(SeriesWindows)
    target: Forecast = part(Forecast)

    def __post_init__(self) -> None:
        season, context = self.target.season_length, self.input.context_length
        if season is not None and context is not None and not 1 <= season <= context:
            raise HubmodelsError(f"season_length must be between 1 and context_length ({context}), got {season}")

    def prepare(self, rows: "datasets.Dataset") -> "datasets.Dataset":
        """Decide what each column is, by the first rows that come, and sort the rows of each series by time."""
        self.decide(rows)
        ids, time = self.input.order_columns()
        assert self.input.roles is not None, "roles are decided"
        return sort_rows(rows, ids, time, self.input.roles.time_format)[0]

    def decide(self, rows: "datasets.Dataset") -> None:
        """Decide what each column is, where that is not decided yet. Raises HubmodelsError for a stream."""
        if rows.features is None or not hasattr(rows, "__len__"):
            raise HubmodelsError("series cannot be streamed: a window needs its steps at hand; leave out --streaming")
        self.input.decide(rows, self.target.columns(rows.features, self.input.claims(rows.features)))
        self.__post_init__()  # the lengths are known

    def units(self, features: "datasets.Features") -> Units:
        """Say that the last steps of each series are carved, and how many before them a window may look back on."""
        assert self.input.roles is not None, "`prepare` comes first"
        ids, time = self.input.order_columns()
        readable = self.input.roles.time_format in (None, "iso")
        return Units(time=time if readable else None, series=tuple(ids), context=self.input.context_length or 0)

    def select(self, dataset: "datasets.Dataset") -> "datasets.Dataset":
        """Select the columns of all roles, the rows of each series together (see `SeriesWindows.order`)."""
        self.decide(dataset)
        return self.input.order(dataset.select_columns(self.columns(dataset.features)[0]))  # with the targets

    def fit(self, train: "datasets.Dataset", *, checkpoint: str | None = None, seed: int = 0) -> "AnyProblem":
        """Bind the task to data, and say what its processor decided."""
        problem = super().fit(train, checkpoint=checkpoint, seed=seed)
        problem.input.say()
        return problem

    def fit_input(self, train: "datasets.Dataset", columns: list[str]) -> FittedSeriesWindows:
        """Fit the input, and tell it which channels are forecast."""
        fitted = self.input.fit(train, columns)
        fitted.forecast_only(self.target.columns(train.features, []))
        return fitted

    def fit_target(
        self, train: "datasets.Dataset", columns: list[str], fitted_input: "FittedInput[Any]"
    ) -> FittedForecast:
        """Fit the target to the z-scores of the forecast channels."""
        from .targets.seasons import usual_seasons

        assert isinstance(fitted_input, FittedSeriesWindows)
        fitted = self.target.fit(train, fitted_input.forecast_names)
        values, series = fitted_input.forecast_steps(train)
        processor = fitted_input.processor
        longest = min(processor.context_length, max(1, len(values) // 3))
        fitted.learn(values, series, longest, processor.prediction_length, usual_seasons(processor.frequency))
        return fitted

    def example(self) -> str:
        """Return lines that use the pipeline."""
        context = self.input.context_length or DEFAULT_CONTEXT
        horizon = self.input.prediction_length or DEFAULT_PREDICTION
        return (
            "import hubmodels  # makes transformers know the family and the pipeline\n"
            "from transformers import pipeline\n"
            "\n"
            'forecast = pipeline("time-series-forecasting", model="{model_id}")\n'
            f'rows = forecast("series.csv")  # the last {context} steps or more: a path or a DataFrame\n'
            f"print(rows[:2])  # {horizon} rows a series, in the channels' own units\n"
        )
