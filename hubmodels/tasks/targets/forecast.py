"""Forecasts: the next steps of each channel as points and, where the model gives them, quantiles; their errors."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from ...abilities import quantile_values
from ...errors import HubmodelsError
from ...fields import option
from ...report import Figure
from ...units import Units
from ..contract.columns import existing_column, is_number, kind_of, ordered_labels
from ..contract.parts import FittedTarget, Target

if TYPE_CHECKING:
    import datasets
    import numpy as np

    from ..contract.types import Batch, ModelOutput, Rows


@dataclass(kw_only=True)
class Forecast(Target):
    """Holds the options of what is forecast."""

    state_fields: ClassVar[dict[str, Any]] = {
        "names": list[str], "season_length": int, "season_errors": list[float],
    }  # fmt: skip
    decided_fields: ClassVar[tuple[str, ...]] = ("quantiles",)

    main_metric: ClassVar[str] = "mse"
    greater_is_better: ClassVar[bool] = False
    metric_names: ClassVar[dict[str, str]] = {
        "mse": "MSE of z-scores",
        "mae": "MAE of z-scores",
        "mase": "MASE",
        "quantile_loss": "quantile loss of z-scores",
        "coverage": "share of values between the outer quantiles",
    }

    target_column_names: list[str] | None = option(None, "columns to forecast; all channels when absent")
    season_length: int | None = option(
        None, "steps after which the series recur, for MASE and the naive baseline; found when absent"
    )
    quantiles: list[float] = option(
        [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9], "levels of a model that forecasts quantiles, ascending"
    )

    def __post_init__(self) -> None:
        if list(self.quantiles) != sorted(set(self.quantiles)) or not all(0 < level < 1 for level in self.quantiles):
            raise ValueError(f"quantiles must ascend between 0 and 1 (both excluded), got {self.quantiles}")

    def columns(self, features: "datasets.Features", claimed: list[str]) -> list[str]:
        """Name the columns to forecast, which must hold numbers; none where all channels are forecast."""
        names = list(self.target_column_names or [])
        for name in names:
            if not is_number(features[existing_column(name, features, "target_column_names")]):
                raise HubmodelsError(
                    f"column {name!r} holds {kind_of(features[name])}, not numbers (--target_column_names)"
                )
        return names

    def units(self, features: "datasets.Features", columns: list[str]) -> Units:
        """Ask nothing of a step: channels have gaps."""
        return Units()

    def fit(self, train: "datasets.Dataset", columns: list[str]) -> "FittedForecast":
        """Take the names of the channels; what is measured against their season follows (`FittedForecast.learn`)."""
        return FittedForecast(options=self, names=columns, levels=list(self.quantiles))

    def restore(self, config: Mapping[str, Any], state: Mapping[str, Any]) -> "FittedForecast":
        """Take names and seasons from problem.json, of releases of 0.1.0 from the config; the levels are the model's.

        Without a season's errors MASE is NaN."""
        names = state.get("names") or ordered_labels(config)
        return FittedForecast(
            options=self,
            names=names,
            levels=list(config.get("quantiles") or self.quantiles),
            season_length=state.get("season_length") or config.get("season_length") or 1,
            season_errors=state.get("season_errors") or config.get("season_errors") or [float("nan")],
        )


@dataclass(kw_only=True)
class FittedForecast(FittedTarget[Forecast]):
    """Channels by name, and the errors that repeating their last season makes on the training rows."""

    names: list[str]
    levels: list[float]  # of the quantiles, ascending
    season_length: int = 1
    season_errors: list[float] = field(default_factory=lambda: [float("nan")])  # mean absolute, in z-scores

    def learn(
        self, values: "np.ndarray", series: "np.ndarray", longest: int, horizon: int, usual: tuple[int, ...]
    ) -> None:
        """Learn the season, where the options do not say it, and the errors of repeating it.

        Args:
            values: z-scores of the channels at the training steps, (N, C), NaN where missing.
            series: equal for steps of one series, (N,).
            longest, horizon, usual: see `find_season`.
        """
        import numpy as np

        from .seasons import find_season, seasonal_errors

        season = self.options.season_length
        self.season_length = find_season(values, series, longest, horizon, usual) if season is None else season
        errors = seasonal_errors(values, series, self.season_length)
        self.season_errors = [float(error) if np.isfinite(error) else 0.0 for error in errors]

    def config_fields(self) -> dict[str, Any]:
        """Return the `quantiles`."""
        return {"quantiles": self.levels}

    def state(self) -> dict[str, Any]:
        """Return the channels' names and what is known of their seasons."""
        return {"names": self.names, "season_length": self.season_length, "season_errors": self.season_errors}

    def predict(self, outputs: "ModelOutput", batch: "Batch") -> "Batch":
        """Return forecasts beside what came, and the errors of each window (see `forecast_rows`)."""
        from .forecast_rows import forecast_rows

        future, observed = batch["future_values"], batch["future_observed_mask"]
        return forecast_rows(outputs.prediction_outputs, future, observed, quantile_values(outputs), self.levels)

    def point_rows(self, predictions: "np.ndarray", targets: "np.ndarray", observed: "np.ndarray") -> "Rows":
        """Return what `predict` gives, from the points (B, H, C) of a classical method."""
        import torch

        from .forecast_rows import forecast_rows

        rows = forecast_rows(*map(torch.from_numpy, (predictions, targets, observed)))
        return {name: values.numpy() for name, values in rows.items()}

    def metrics(self, rows: "Rows") -> dict[str, float]:
        """Compute MSE, MAE, MASE and, with quantiles, their loss and coverage (see `forecast_metrics`)."""
        from .forecast_rows import forecast_metrics

        return forecast_metrics(rows, self.season_errors)

    def class_names(self) -> list[str]:
        """Name the channels, where there are several."""
        return self.names if len(self.names) > 1 else []

    def class_metrics(self, rows: "Rows") -> "dict[str, np.ndarray]":
        """Compute MSE, MAE and MASE of each channel, where there are several."""
        from .forecast_rows import channel_metrics

        return channel_metrics(rows, self.season_errors) if len(self.names) > 1 else {}

    def figures(self, rows: "Rows") -> Iterator[Figure]:
        """Draw the error of each step ahead, where there are several."""
        from ..figures.forecasts import horizon_plot

        if rows["predictions"].shape[1] > 1:
            yield horizon_plot(rows)
