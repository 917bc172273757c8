"""Series step by step: a row of a table is a step, and a model sees windows that slide over the steps.

A wide table is one series (a time column and channels). A long one holds several below each other or interleaved, and
names the series of a row in an id column. Encoded, the steps of all series stand one after another. A window is
`context_length` steps that are seen and `prediction_length` steps that are told, of one series and one split.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ...errors import HubmodelsError
from ...fields import option
from ..contract.parts import FittedInput, Input
from ..contract.rows import refused_row
from .series_tables import (
    id_column,
    load_series_processor,
    number_columns,
    order_rows,
    read_columns,
    read_numbers,
    series_codes,
    stretches,
    time_column,
    usual_frequency,
)

if TYPE_CHECKING:
    import datasets
    import numpy as np
    import torch

    from ..contract.types import Batch, EncodedColumns, RawRows, Rows, Transform


@dataclass(kw_only=True)
class SeriesWindows(Input):
    """Holds the options of reading steps and cutting windows."""

    decided_fields: ClassVar[tuple[str, ...]] = (
        "num_input_channels",
        "prediction_channel_indices",
        "context_length",
        "prediction_length",
        "num_time_features",
        "num_static_real_features",
    )

    context_length: int = option(96, "steps that a forecast sees, >= 1")
    prediction_length: int = option(24, "steps that are forecast, >= 1")
    window_stride: int = option(1, "steps from one window to the next, >= 1")
    channel_column_names: list[str] | None = option(
        None, "columns that a forecast sees; all numeric ones without another role when absent"
    )
    time_column_name: str | None = option(None, "column of times; the one named date or time when absent, if any")
    series_id_column_name: str | None = option(None, "column that names a row's series; the one named id when absent")
    future_column_names: list[str] | None = option(None, "columns of numbers that are known ahead, such as prices")
    static_column_names: list[str] | None = option(None, "columns of numbers that are constant in each series")
    calendar: list[Literal["minute", "hour", "weekday", "day", "month"]] | None = option(
        None, "parts of the time that the model is told, as sine and cosine"
    )
    frequency: str | None = option(
        None, "step between times: 15min, 1h, 1D, 1M, or a whole number; the commonest when absent"
    )

    def __post_init__(self) -> None:
        for name, value in (
            ("context_length", self.context_length),
            ("prediction_length", self.prediction_length),
            ("window_stride", self.window_stride),
        ):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")

    # ---------------------------------------------------------------- columns

    def order_columns(self, features: "datasets.Features") -> tuple[str | None, str | None]:
        """Name the column that says a row's series, and that of the times; None where there is none."""
        time_name = time_column(features, self.time_column_name)
        return id_column(features, self.series_id_column_name), time_name

    def covariates(self, features: "datasets.Features") -> tuple[list[str], list[str]]:
        """Name the columns that are known ahead, and those that are constant in each series."""
        known, static = self.future_column_names or [], self.static_column_names or []
        for names, flag in ((known, "future_column_names"), (static, "static_column_names")):
            number_columns(features, names, (), flag)
        return known, static

    def claims(self, features: "datasets.Features") -> list[str]:
        """Name the columns of ids, of times and of covariates."""
        known, static = self.covariates(features)
        return [name for name in (*self.order_columns(features), *known, *static) if name is not None]

    def columns(self, features: "datasets.Features", targets: list[str]) -> list[str]:
        """Name the columns of ids and times, the channels, which the targets are some of, and the covariates."""
        claimed = self.claims(features)
        channels = number_columns(features, self.channel_column_names, claimed, "channel_column_names")
        channels += [name for name in targets if name not in channels]
        for name in channels:
            if name in claimed:
                raise HubmodelsError(f"column {name!r} cannot be a channel and the time, the id or a covariate as well")
        id_name, time_name = self.order_columns(features)
        if self.calendar and time_name is None:
            raise HubmodelsError("calendar needs a column of times; name it with --time_column_name")
        known, static = self.covariates(features)
        return [name for name in (id_name, time_name, *channels, *known, *static) if name is not None]

    def order(self, dataset: "datasets.Dataset") -> "datasets.Dataset":
        """Put the rows of each series together, with a row of missing values for each step that the times leave out."""
        return order_rows(dataset, *self.order_columns(dataset.features), self.frequency)

    # ---------------------------------------------------------------- fitting

    def fit(self, train: "datasets.Dataset", columns: list[str]) -> "FittedSeriesWindows":
        """Fit a processor: means and standard deviations of channels and covariates, and the times' frequency."""
        from ...processors.processing_series import TimeSeriesProcessor
        from ...processors.processing_series_times import channel_statistics

        features = train.features
        id_name, time_name = self.order_columns(features)
        known, static = self.covariates(features)
        claimed = self.claims(features)
        channels = [name for name in columns if name not in claimed]
        numbers = {"": (channels, read_numbers(train, channels))}
        numbers |= {
            prefix: (names, read_numbers(train, names))
            for prefix, names in (("known_", known), ("static_", static))
            if names
        }
        frequency = self.frequency
        if frequency is None and time_name is not None:
            frequency = usual_frequency(train, id_name, time_name)
        try:
            statistics: dict[str, Any] = {}
            for prefix, (names, values) in numbers.items():
                statistics[f"{prefix}mean"], statistics[f"{prefix}std"] = channel_statistics(values, names)
            processor = TimeSeriesProcessor(
                channels=channels,
                context_length=self.context_length,
                prediction_length=self.prediction_length,
                time_column=time_name,
                id_column=id_name,
                frequency=frequency,
                calendar=list(self.calendar or []),
                known=known,
                static=static,
                **statistics,
            )
        except ValueError as error:
            raise refused_row(error, range(len(train)), "the series cannot be used: ") from None
        return FittedSeriesWindows(options=self, processor=processor)

    def bind(self, processor: Any) -> "FittedSeriesWindows":
        """Take a processor as it is."""
        return FittedSeriesWindows(options=self, processor=processor)

    def load(self, path: str, **kwargs: Any) -> "FittedSeriesWindows":
        """Take the processor of a checkpoint; its lengths must be these options': the network was built for them."""
        processor = load_series_processor(path, **kwargs)
        for name, trained, given in (
            ("context_length", processor.context_length, self.context_length),
            ("prediction_length", processor.prediction_length, self.prediction_length),
        ):
            if trained != given:
                raise HubmodelsError(
                    f"{path} was trained with {name} {trained}, not {given}: leave out --{name} or train another model"
                )
        return self.bind(processor)


@dataclass(kw_only=True)
class FittedSeriesWindows(FittedInput[SeriesWindows]):
    """Steps of series with their processor. Encoded, a row is a step.

    `values` (B, C) float32 are z-scores, 0 where not `observed` (B, C) uint8, and `series` (B,) int64 is a number of
    the series. Covariates are there where the processor has them: `time_features` and `static_real_features`."""

    @property
    def forecast_channels(self) -> list[int]:
        """Return the channels that are forecast."""
        return self.processor.target_indices

    @property
    def forecast_names(self) -> list[str]:
        """Return the names of the channels that are forecast."""
        return [self.processor.channels[channel] for channel in self.forecast_channels]

    def forecast_only(self, names: list[str]) -> None:
        """Let only the named channels be forecast; all where no names are given."""
        self.processor.targets = names if names and names != self.processor.channels else None

    def config_fields(self) -> dict[str, Any]:
        """Return the numbers of channels and covariates, the lengths, and which channels are forecast."""
        processor = self.processor
        return {
            "num_input_channels": len(processor.channels),
            "prediction_channel_indices": None if processor.targets is None else self.forecast_channels,
            "context_length": processor.context_length,
            "prediction_length": processor.prediction_length,
            "num_time_features": processor.num_time_features,
            "num_static_real_features": len(processor.static),
        }

    def encoded_features(self) -> dict[str, Any]:
        """Return the Arrow types of series, values and covariates."""
        import datasets

        channels = len(self.processor.channels)
        types = {
            "series": datasets.Value("int64"),
            "values": datasets.List(datasets.Value("float32"), length=channels),
            "observed": datasets.List(datasets.Value("uint8"), length=channels),
        }
        for name, count in (
            ("time_features", self.processor.num_time_features),
            ("static_real_features", len(self.processor.static)),
        ):
            if count:
                types[name] = datasets.List(datasets.Value("float32"), length=count)
        return types

    def encode(self, rows: "RawRows", row_numbers: list[int], columns: list[str]) -> "Rows":
        """Encode each row as a step. Raises HubmodelsError naming the first bad row or a missing column."""
        import numpy as np

        from ...processors.processing_series_times import step_numbers, to_numbers, to_times

        processor = self.processor
        lacking = [name for name in (*processor.channels, *processor.known, *processor.static) if name not in rows]
        if lacking:
            raise HubmodelsError(f"missing column {lacking[0]!r}; the data set has {', '.join(rows)}")

        def numbers(names: list[str]) -> "np.ndarray":
            return np.stack([to_numbers(rows[name], name) for name in names], axis=1)

        try:
            scaled, observed = processor.scale(numbers(processor.channels))
            id_name, time_name = processor.id_column, processor.time_column
            codes = np.zeros(len(scaled), dtype=np.int64) if id_name is None else series_codes(rows[id_name])
            encoded = {"series": codes, "values": scaled, "observed": observed.astype(np.uint8)}
            times = None
            if time_name is not None and time_name in rows:
                times = to_times(rows[time_name], time_name)
                for first, last in stretches(codes):
                    step_numbers(times[first:last], processor.frequency, f"column {time_name!r}")
            if processor.num_time_features:
                known = numbers(processor.known) if processor.known else None
                encoded["time_features"] = processor.time_features(times, known)
            if processor.static:
                encoded["static_real_features"] = processor.scale_static(numbers(processor.static))
        except ValueError as error:
            raise refused_row(error, row_numbers) from None
        return encoded

    def windows(self, columns: "EncodedColumns") -> "tuple[torch.Tensor, int]":
        """Return the first steps of all windows of a split, int64 (W,), and the steps in a window.

        A window lies within one series, and has an observed value both in what is seen and in what is told.
        Raises HubmodelsError when there is none."""
        import torch

        context, horizon = self.processor.context_length, self.processor.prediction_length
        length = context + horizon
        series = columns.tensor("series")
        some = columns.tensor("observed")[:, self.forecast_channels].bool().any(dim=1).long()
        before = torch.cat([torch.zeros(1, dtype=torch.int64), some.cumsum(0)])  # observed steps before each step
        starts_of_series, longest = [], 0
        for first, last in stretches(series.numpy()):
            longest = max(longest, last - first)
            starts = torch.arange(first, max(first, last - length + 1), self.options.window_stride)
            seen = before[starts + context] > before[starts]
            told = before[starts + length] > before[starts + context]
            starts_of_series.append(starts[seen & told])
        starts = torch.cat(starts_of_series) if starts_of_series else torch.empty(0, dtype=torch.int64)
        if len(starts) == 0:
            reason = f"the longest series has {longest}" if longest < length else "all of them are missing values"
            raise HubmodelsError(
                f"no window of {context} + {horizon} steps (context_length + prediction_length) fits a split of "
                f"{len(series)} rows: {reason}; shorten them or give more rows"
            )
        return starts, length

    def transform(self, *, training: bool) -> "Transform":
        """Return the split of a batch of windows into what is seen and what is told, as the model's inputs."""
        context, channels = self.processor.context_length, self.forecast_channels

        def split(batch: "Batch", generator: "torch.Generator | None" = None) -> "Batch":
            values, observed = batch["values"], batch["observed"].bool()
            inputs = {
                "past_values": values[:, :context],
                "past_observed_mask": observed[:, :context],
                "future_values": values[:, context:, channels],  # of the forecast channels alone
                "future_observed_mask": observed[:, context:, channels],
            }
            if "time_features" in batch:
                inputs["past_time_features"] = batch["time_features"][:, :context]
                inputs["future_time_features"] = batch["time_features"][:, context:]
            if "static_real_features" in batch:
                inputs["static_real_features"] = batch["static_real_features"][:, 0]
            return inputs

        return split

    def restore(self, values: "np.ndarray") -> "np.ndarray":
        """Restore z-scores of the forecast channels (..., Y) to the channels' units, float64."""
        return self.processor.restore(values, self.forecast_channels)

    def forecast_steps(self, dataset: "datasets.Dataset") -> "tuple[np.ndarray, np.ndarray]":
        """Read the forecast channels of selected rows, before windows are cut.

        Returns:
            Their z-scores (N, Y) float64, NaN where missing, and a number of each row's series, int64 (N,).
        """
        import numpy as np

        channels, id_name = self.forecast_channels, self.processor.id_column
        mean, std = np.array(self.processor.mean)[channels], np.array(self.processor.std)[channels]
        values = (read_numbers(dataset, self.forecast_names) - mean) / std
        if id_name is None:
            return values, np.zeros(len(values), dtype=np.int64)
        return values, series_codes(read_columns(dataset, [id_name])[id_name])

    def golden_inputs(self) -> "Batch":
        """Return two windows of waves of different lengths, one value missing, and waves as covariates."""
        import torch

        processor = self.processor
        context, horizon = processor.context_length, processor.prediction_length

        def waves(steps: int, count: int, first: int = 0) -> "torch.Tensor":
            step = torch.arange(first, first + steps, dtype=torch.float64)[:, None]
            lengths = torch.arange(2 * count, dtype=torch.float64).view(2, 1, count) * 2 + 7
            return torch.sin(2 * torch.pi * step / lengths).float()

        values = waves(context, len(processor.channels))
        observed = torch.ones(values.shape, dtype=torch.bool)
        values[0, 0], observed[0, 0] = 0, context == 1
        inputs = {"past_values": values, "past_observed_mask": observed}
        if count := processor.num_time_features:
            inputs |= {
                "past_time_features": waves(context, count),
                "future_time_features": waves(horizon, count, context),
            }
        if processor.static:
            inputs["static_real_features"] = torch.linspace(-1, 1, 2 * len(processor.static)).view(2, -1)
        return inputs
