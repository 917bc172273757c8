"""Series step by step: a row of a table is a step, and a model sees windows that slide over the steps.

A wide table is one series (a time column and channels). A long one holds several below each other or interleaved, and
names the series of a row in an id column. Encoded, the steps of all series stand one after another. A window is
`context_length` steps that are seen and `prediction_length` steps that are told, of one series and one split.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ...errors import HubmodelsError, nearest
from ...fields import option
from ...report import note
from ..contract.columns import describe_columns, existing_column, kind_of
from ..contract.parts import FittedInput, Input
from ..contract.rows import refused_row
from .series_roles import ColumnRoles, Roles, say_channels
from .series_tables import (
    is_single_value,
    load_series_processor,
    order_rows,
    read_categories,
    read_columns,
    read_numbers,
    say_unknown_words,
    series_codes,
    sort_rows,
    stretches,
    usual_frequency,
)

if TYPE_CHECKING:
    import datasets
    import numpy as np
    import torch

    from ..contract.types import Batch, EncodedColumns, RawRows, Rows, Transform


DEFAULT_CONTEXT, DEFAULT_PREDICTION = 96, 24  # steps
SHORTEST_SPLIT = 0.08  # share of a series that is its validation rows, where splits are carved by default
TRAINING_SHARE = 0.72  # share of a series that is its training rows then


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

    context_length: int | None = option(None, "steps that a forecast sees, >= 1; 96 when absent, less of short series")
    prediction_length: int | None = option(None, "steps that are forecast, >= 1; 24 when absent, less of short series")
    window_stride: int = option(1, "steps from one window to the next, >= 1")
    channel_column_names: list[str] | None = option(
        None, "columns that a forecast sees; all numeric ones without another role when absent"
    )
    time_column_name: str | None = option(None, "column of times; found by what columns hold when absent, if any")
    series_id_column_name: str | list[str] | None = option(
        None, "column that names a row's series, or several that do together; found when absent, if any"
    )
    future_column_names: list[str] | None = option(
        None, "columns of numbers or words that are known ahead, such as prices and holidays"
    )
    static_column_names: list[str] | None = option(
        None, "columns of numbers or words that are constant in each series, such as a region"
    )
    calendar: list[Literal["minute", "hour", "weekday", "day", "month"]] | None = option(
        None, "parts of the time that the model is told, as sine and cosine"
    )
    frequency: str | None = option(
        None,
        "how times go on: 15min, 1h, ME (month ends), B (business days), W-MON, a whole number; found when absent",
    )
    time_zone: str | None = option(
        None,
        "zone of times that do not say it, such as Europe/Vienna: clock changes are heeded, forecasts say it",
    )
    forecast_below_zero: bool | None = option(
        None, "whether forecasts may be below 0; when absent not those of counts (whole numbers of 0 and more)"
    )
    roles: Roles | None = field(default=None, init=False)  # what was decided about columns, of data or a checkpoint
    categories: dict[str, list[str]] = field(default_factory=dict, init=False)  # of covariates of a checkpoint

    def __post_init__(self) -> None:
        for name, value in (
            ("context_length", self.context_length),
            ("prediction_length", self.prediction_length),
            ("window_stride", self.window_stride),
        ):
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")

    # ---------------------------------------------------------------- columns

    def decide(self, train: "datasets.Dataset", targets: list[str]) -> None:
        """Decide what each column is, by the training rows, where that is not decided yet; and the lengths.

        Raises HubmodelsError where it cannot be told."""
        if self.roles is not None:
            return
        features = train.features
        known, static = self.covariates(features)
        columns = read_columns(train, [name for name in features if is_single_value(features[name])])
        taken = {*targets, *known, *static}
        if self.channel_column_names is not None:
            taken |= set(self.channel_column_names)
        deciding = ColumnRoles(features, columns, taken)
        time, form = deciding.find_time(self.time_column_name)
        ids = deciding.find_ids(self.series_id_column_name, time, form)
        channels = deciding.find_channels(self.channel_column_names, targets, ids)
        channels += [name for name in targets if name not in channels]
        say_channels(channels, targets, known, static)
        self.roles = Roles(time, form, ids, channels)
        self.check_roles(features, known, static)
        _, groups, times = sort_rows(train, ids, time, form, self.time_zone)
        if self.frequency is None and times is not None:
            self.frequency = usual_frequency(groups, times)
        self.fit_lengths([len(numbers) for _, numbers in groups])

    def check_roles(self, features: "datasets.Features", known: list[str], static: list[str]) -> None:
        """Refuse a column with two roles, and a calendar without times."""
        assert self.roles is not None, "roles are decided first"
        claimed = [*self.roles.ids, *([self.roles.time] if self.roles.time else []), *known, *static]
        for name in self.roles.channels:
            if name in claimed:
                raise HubmodelsError(f"column {name!r} cannot be a channel and the time, the id or a covariate as well")
        if self.calendar and self.roles.time is None:
            raise HubmodelsError("calendar needs a column of times; name it with --time_column_name")

    def fit_lengths(self, lengths: list[int]) -> None:
        """Choose the lengths that are not given: 96 and 24 steps, or what series of these lengths allow."""
        longest = max(lengths, default=0)
        asked = self.context_length, self.prediction_length
        if self.prediction_length is None:
            self.prediction_length = max(1, min(DEFAULT_PREDICTION, int(SHORTEST_SPLIT * longest)))
        if self.context_length is None:
            horizon = self.prediction_length
            some = min(DEFAULT_CONTEXT, int(TRAINING_SHARE * longest) - 2 * horizon)
            self.context_length = max(some // horizon * horizon, min(horizon, some), 1)
        if asked != (self.context_length, self.prediction_length):
            short = self.context_length < DEFAULT_CONTEXT or self.prediction_length < DEFAULT_PREDICTION
            note(
                "training",
                f"a forecast sees {self.context_length} steps and tells {self.prediction_length}"
                + (f": the longest series has {longest:,} steps" if short and None in asked else ""),
                surprising=short and asked == (None, None),
                remedy=f"context_length: {self.context_length}, prediction_length: {self.prediction_length}",
            )

    def order_columns(self) -> tuple[list[str], str | None]:
        """Name the columns that say a row's series, and that of the times; None where there is none."""
        assert self.roles is not None, "roles are decided first"
        return self.roles.ids, self.roles.time

    def covariates(self, features: "datasets.Features") -> tuple[list[str], list[str]]:
        """Name the columns that are known ahead, and those that are constant in each series."""
        known, static = self.future_column_names or [], self.static_column_names or []
        for names, flag in ((known, "future_column_names"), (static, "static_column_names")):
            for name in names:
                existing_column(name, features, flag)
                if not is_single_value(features[name]):
                    raise HubmodelsError(
                        f"column {name!r} holds {kind_of(features[name])}, not numbers or words (--{flag})"
                    )
        return known, static

    def claims(self, features: "datasets.Features") -> list[str]:
        """Name the columns of ids, of times and of covariates."""
        if self.roles is None:
            return [*self.covariates(features)[0], *self.covariates(features)[1]]
        known, static = self.covariates(features)
        ids, time = self.order_columns()
        return [name for name in (*ids, time, *known, *static) if name is not None]

    def columns(self, features: "datasets.Features", targets: list[str]) -> list[str]:
        """Name the columns of ids and times, the channels, which the targets are some of, and the covariates."""
        assert self.roles is not None, "roles are decided first"
        known, static = self.covariates(features)
        ids, time = self.order_columns()
        names = [name for name in (*ids, time, *self.roles.channels, *known, *static) if name is not None]
        for name in names:
            if name not in features:
                raise HubmodelsError(
                    f"there is no column {name!r}{nearest(name, features)}, which the model reads; the data set has "
                    f"{describe_columns(features)}"
                )
        return names

    def order(self, dataset: "datasets.Dataset") -> "datasets.Dataset":
        """Put the rows of each series together, with a row of missing values for each step that the times leave out."""
        assert self.roles is not None, "roles are decided first"
        ids, time = self.order_columns()
        static = self.static_column_names or []
        if self.categories:
            say_unknown_words(read_columns(dataset, self.categories), self.categories)
        return order_rows(dataset, ids, time, self.frequency, self.roles.time_format, static, self.time_zone)

    # ---------------------------------------------------------------- fitting

    def fit(self, train: "datasets.Dataset", columns: list[str]) -> "FittedSeriesWindows":
        """Fit a processor: means and standard deviations of channels and covariates, and the times' frequency."""
        from ...processors.processing_series import TimeSeriesProcessor
        from ...processors.processing_series_times import channel_statistics

        assert self.roles is not None, "roles are decided first"
        known, static = self.covariates(train.features)
        channels = self.roles.channels
        words = {name: read_categories(train, name) for name in (*known, *static)}
        categories = {name: names for name, names in words.items() if names is not None}
        try:
            statistics: dict[str, Any] = {}
            for prefix, names in (("", channels), ("known_", known), ("static_", static)):
                numbers = [name for name in names if name not in categories]
                moments = channel_statistics(read_numbers(train, numbers), numbers) if numbers else ([], [])
                for kind, plain, values in (("mean", 0.0, moments[0]), ("std", 1.0, moments[1])):
                    by_name = dict(zip(numbers, values, strict=True))
                    statistics[f"{prefix}{kind}"] = [by_name.get(name, plain) for name in names]
            processor = TimeSeriesProcessor(
                channels=channels,
                context_length=self.context_length,
                prediction_length=self.prediction_length,
                time_column=self.roles.time,
                time_format=self.roles.time_format,
                time_zone=self.time_zone,
                id_column=self.roles.ids[0] if len(self.roles.ids) == 1 else self.roles.ids or None,
                frequency=self.frequency,
                calendar=list(self.calendar or []),
                known=known,
                static=static,
                categories=categories,
                counts=self.find_counts(train, channels),
                **statistics,
            )
        except ValueError as error:
            raise refused_row(error, range(len(train)), "the series cannot be used: ") from None
        return FittedSeriesWindows(options=self, processor=processor)

    def find_counts(self, train: "datasets.Dataset", channels: list[str]) -> list[str]:
        """Name the channels that are not forecast below 0: those of whole numbers of 0 and more."""
        if self.forecast_below_zero is not None:
            return [] if self.forecast_below_zero else list(channels)
        import numpy as np

        values = read_numbers(train, channels)
        filled = np.nan_to_num(values)
        whole = (filled >= 0).all(axis=0) & (filled % 1 == 0).all(axis=0) & (filled.max(axis=0) > 1)
        return [name for name, counts in zip(channels, whole.tolist(), strict=True) if counts]

    def bind(self, processor: Any) -> "FittedSeriesWindows":
        """Take a processor as it is, and what it says of columns and lengths."""
        self.roles = Roles(processor.time_column, processor.time_format, processor.id_columns, list(processor.channels))
        self.context_length, self.prediction_length = processor.context_length, processor.prediction_length
        self.frequency, self.time_zone = processor.frequency, processor.time_zone
        self.future_column_names, self.static_column_names = list(processor.known), list(processor.static)
        self.categories = dict(processor.categories)
        return FittedSeriesWindows(options=self, processor=processor)

    def load(self, path: str, **kwargs: Any) -> "FittedSeriesWindows":
        """Take the processor of a checkpoint; its lengths must be these options': the network was built for them.

        Raises HubmodelsError where the data, if they are known, lack a column that the network reads."""
        processor = load_series_processor(path, **kwargs)
        for name, trained, given in (
            ("context_length", processor.context_length, self.context_length),
            ("prediction_length", processor.prediction_length, self.prediction_length),
        ):
            if given is not None and trained != given:
                raise HubmodelsError(
                    f"{path} was trained with {name} {trained}, not {given}: leave out --{name} or train another model"
                )
        if self.roles is not None:
            for flag, trained_names, names in (
                ("channel_column_names", processor.channels, self.roles.channels),
                ("future_column_names", processor.known, self.future_column_names or []),
                ("static_column_names", processor.static, self.static_column_names or []),
            ):
                if lacking := [name for name in trained_names if name not in names]:
                    raise HubmodelsError(
                        f"{path} reads the columns {', '.join(trained_names)}, and the data have no {lacking[0]!r} "
                        f"among {', '.join(names) or 'none'}: rename columns, name them with --{flag}, or train a "
                        f"model without a checkpoint"
                    )
            # Times and ids may be named otherwise than in the training of the checkpoint.
            roles = self.roles
            processor.time_column, processor.time_format = roles.time, roles.time_format
            processor.id_column = roles.ids[0] if len(roles.ids) == 1 else roles.ids or None
            processor.frequency, processor.time_zone = self.frequency, self.time_zone
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
            "num_static_real_features": processor.num_static_features,
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
            ("static_real_features", self.processor.num_static_features),
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

        try:
            numbers = np.stack([to_numbers(rows[name], name) for name in processor.channels], axis=1)
            scaled, observed = processor.scale(numbers)
            time_name, ids = processor.time_column, [rows[name] for name in processor.id_columns]
            codes = series_codes(*ids) if ids else np.zeros(len(scaled), dtype=np.int64)
            encoded = {"series": codes, "values": scaled, "observed": observed.astype(np.uint8)}
            times = None
            if time_name is not None and time_name in rows:
                times = to_times(rows[time_name], time_name)
                for first, last in stretches(codes):
                    step_numbers(times[first:last], processor.frequency, f"column {time_name!r}")
            if processor.num_time_features:
                known = processor.covariates(rows, processor.known) if processor.known else None
                encoded["time_features"] = processor.time_features(times, known)
            if processor.static:
                encoded["static_real_features"] = processor.scale_static(processor.covariates(rows, processor.static))
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

        channels, ids = self.forecast_channels, self.processor.id_columns
        mean, std = np.array(self.processor.mean)[channels], np.array(self.processor.std)[channels]
        values = (read_numbers(dataset, self.forecast_names) - mean) / std
        if not ids:
            return values, np.zeros(len(values), dtype=np.int64)
        return values, series_codes(*read_columns(dataset, ids).values())

    def say(self) -> None:
        """Say what the processor decided: which words are categories, and what is not forecast below 0."""
        for name, words in self.processor.categories.items():
            shown = ", ".join(words[:8]) + (", ..." if len(words) > 8 else "")
            note("columns", f"{name} has the categories {shown}; another word counts as none of them")
        if counts := [name for name in self.processor.counts if name in self.forecast_names]:
            note(
                "columns",
                f"{', '.join(counts)}: whole numbers that are never below 0, and are not forecast below it",
                remedy="forecast_below_zero: true",
            )

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
            inputs["static_real_features"] = torch.linspace(-1, 1, 2 * processor.num_static_features).view(2, -1)
        return inputs
