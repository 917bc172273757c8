"""Time-series forecasting: the next steps of one series or many, from windows that slide over them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import HubmodelsError
from ..fields import part
from ..units import Units
from .contract.problem import AnyProblem, Problem, Task
from .inputs.series import DEFAULT_CONTEXT, DEFAULT_PREDICTION, FittedSeriesWindows, SeriesWindows
from .inputs.series_tables import sort_rows
from .problems.forecasting import ForecastingProblem
from .targets.forecast import FittedForecast, Forecast

if TYPE_CHECKING:
    import datasets

    from .contract.parts import FittedInput


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
            raise ValueError(f"season_length must be between 1 and context_length ({context}), got {season}")

    def prepare(self, rows: "datasets.Dataset") -> "datasets.Dataset":
        """Decide what each column is, by the first rows that come, and sort the rows of each series by time."""
        self.decide(rows)
        ids, time = self.input.order_columns()
        assert self.input.roles is not None, "roles are decided"
        return sort_rows(rows, ids, time, self.input.roles.time_format, self.input.time_zone)[0]

    def decide(self, rows: "datasets.Dataset") -> None:
        """Decide what each column is, where that is not decided yet. Raises HubmodelsError for a stream."""
        if rows.features is None or not hasattr(rows, "__len__"):
            raise HubmodelsError("series cannot be streamed: a window needs its steps at hand; leave out --streaming")
        self.input.decide(rows, self.target.columns(rows.features, self.input.claims(rows.features)))
        season, context = self.target.season_length, self.input.context_length
        if season is not None and context is not None and season > context:
            raise HubmodelsError(f"season_length must be between 1 and context_length ({context}), got {season}")

    def units(self, features: "datasets.Features") -> Units:
        """Say that the last steps of each series are carved, and how many before them a window may look back on."""
        assert self.input.roles is not None, "`prepare` comes first"
        ids, time = self.input.order_columns()
        readable = time is not None and self.input.roles.time_format in (None, "iso")
        context = self.input.context_length or 0
        return Units(time=time if readable else None, series=tuple(ids), context=context)

    def select(self, dataset: "datasets.Dataset") -> "datasets.Dataset":
        """Select the columns of all roles, the rows of each series together (see `SeriesWindows.order`)."""
        self.decide(dataset)
        inputs, _ = self.columns(dataset.features)  # the targets are among the channels
        return self.input.order(dataset.select_columns(inputs))

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
