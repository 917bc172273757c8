"""Time-series forecasting: the next steps of one series or many, from windows that slide over them.

Rows of a table are steps. A wide table is one series (a time column and channels), a long one holds several below each
other or interleaved (an id column too). Encoded, the steps of all series stand one after another; a window is
`context_length` steps that are seen and `prediction_length` steps that are told, always of one series and one split.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ..errors import HubmodelsError
from ..fields import option
from ..report import Baseline, Figure
from ._series import (
    id_column,
    load_series_processor,
    number_columns,
    order_rows,
    read_columns,
    time_column,
)
from ._unbound import Task
from .contract.columns import existing_column, label_maps

if TYPE_CHECKING:
    import datasets
    import numpy as np
    import torch

    from ._unbound import Batch, Rows

NUM_PANELS, MAX_CHANNELS = 6, 3  # of the figure of forecasts


@dataclass(kw_only=True)
class TimeSeriesForecasting(Task):
    """Windows of series: what came before, and what comes next."""

    tag: ClassVar[str] = "time-series-forecasting"
    head: ClassVar[str] = "ForTimeSeriesPrediction"
    carve: ClassVar[str] = "last"  # what is to be told lies after what was seen
    config_fields: ClassVar[tuple[str, ...]] = (
        "num_input_channels", "prediction_channel_indices", "context_length", "prediction_length", "quantiles",
        "num_time_features", "num_static_real_features", "season_length", "season_errors", "id2label", "label2id",
    )  # fmt: skip
    main_metric: ClassVar[str] = "mse"
    greater_is_better: ClassVar[bool] = False
    metric_names: ClassVar[dict[str, str]] = {
        "mse": "MSE of z-scores",
        "mae": "MAE of z-scores",
        "mase": "MASE",
        "quantile_loss": "quantile loss of z-scores",
        "coverage": "share of values between the outer quantiles",
    }

    context_length: int = option(96, "steps that a forecast sees, >= 1")
    prediction_length: int = option(24, "steps that are forecast, >= 1")
    window_stride: int = option(1, "steps from one window to the next, >= 1")
    target_column_names: list[str] | None = option(None, "columns to forecast; all channels when absent")
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
    season_length: int | None = option(
        None, "steps after which the series recur, for MASE and the naive baseline; found when absent"
    )
    quantiles: list[float] = option(
        [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9], "levels of a model that forecasts quantiles, ascending"
    )

    def __post_init__(self) -> None:
        for name in ("context_length", "prediction_length", "window_stride"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.season_length is not None and not 1 <= self.season_length <= self.context_length:
            raise ValueError(
                f"season_length must be between 1 and context_length ({self.context_length}), got {self.season_length}"
            )
        if list(self.quantiles) != sorted(set(self.quantiles)) or not all(0 < level < 1 for level in self.quantiles):
            raise ValueError(f"quantiles must ascend between 0 and 1 (both excluded), got {self.quantiles}")

    # ---------------------------------------------------------------- columns

    def columns(self, features: "datasets.Features") -> dict[str, Any]:
        """The columns by role: `time` and `id` (a name or None), `channels`, `targets`, `known`, `static` (lists).
        Raises HubmodelsError where it cannot be told which they are."""
        time_name, id_name = (
            time_column(features, self.time_column_name),
            id_column(features, self.series_id_column_name),
        )
        known, static = self.future_column_names or [], self.static_column_names or []
        others = [time_name, id_name, *known, *static]
        channels = number_columns(features, self.channel_column_names, others, "channel_column_names")
        for names, flag in (
            (known, "future_column_names"),
            (static, "static_column_names"),
            (self.target_column_names or [], "target_column_names"),
        ):
            if names:
                number_columns(features, names, (), flag)
        targets = self.target_column_names or channels
        for name in targets:
            if name not in channels:
                existing_column(name, features, "target_column_names")
                channels = [*channels, name]
        for name in channels:
            if name in others:
                raise HubmodelsError(f"column {name!r} cannot be a channel and the time, the id or a covariate as well")
        if self.calendar and time_name is None:
            raise HubmodelsError("calendar needs a column of times; name it with --time_column_name")
        return {"time": time_name, "id": id_name, "channels": channels, "targets": targets, "known": known,
                "static": static}  # fmt: skip

    def select(self, dataset: "datasets.Dataset") -> "datasets.Dataset":
        """The columns of all roles; the rows of each series together, with rows of missing values where the times leave
        steps out."""
        if dataset.features is None or not hasattr(dataset, "__len__"):
            raise HubmodelsError("series cannot be streamed: a window needs its steps at hand; leave out --streaming")
        roles = self.columns(dataset.features)
        names = [roles["id"], roles["time"], *roles["channels"], *roles["known"], *roles["static"]]
        dataset = dataset.select_columns([name for name in names if name is not None])
        return order_rows(dataset, roles["id"], roles["time"], self.frequency)

    # ---------------------------------------------------------------- what the data decide

    def fit_processor(self, train: "datasets.Dataset") -> Any:
        """A `TimeSeriesProcessor` with the channels' means and standard deviations and the times' frequency."""
        from ..processors.processing_series import TimeSeriesProcessor
        from ..processors.processing_series_times import channel_statistics, find_frequency, to_times

        roles = self.columns(train.features)
        frequency = self.frequency
        numbers = self.numbers(train, [*roles["channels"], *roles["known"], *roles["static"]])
        try:
            if roles["time"] is not None and frequency is None:
                names = [name for name in (roles["id"], roles["time"]) if name is not None]
                columns = read_columns(train, names)
                times, edges = to_times(columns[roles["time"]], roles["time"]), []
                if roles["id"] is not None:
                    ids = columns[roles["id"]].to_numpy()
                    edges = [row + 1 for row in (ids[1:] != ids[:-1]).nonzero()[0]]
                parts = [times[a:b] for a, b in zip([0, *edges], [*edges, len(times)], strict=True)]
                frequency = find_frequency(parts)
            fields: dict[str, Any] = {}
            for kind in ("channels", "known", "static"):
                prefix = "" if kind == "channels" else f"{kind}_"
                if roles[kind]:
                    values = numbers[kind_slice(roles, kind)]
                    fields[f"{prefix}mean"], fields[f"{prefix}std"] = channel_statistics(values.T, roles[kind])
            return TimeSeriesProcessor(
                channels=roles["channels"],
                targets=None if roles["targets"] == roles["channels"] else roles["targets"],
                context_length=self.context_length,
                prediction_length=self.prediction_length,
                time_column=roles["time"],
                id_column=roles["id"],
                frequency=frequency,
                calendar=list(self.calendar or []),
                known=roles["known"],
                static=roles["static"],
                **fields,
            )
        except ValueError as error:
            raise HubmodelsError(f"the series cannot be used: {error}") from None

    def load_processor(self, path: str, **kwargs: Any) -> Any:
        """The processor of a checkpoint; its lengths must be those of this task, since the network was built for
        them."""
        processor = load_series_processor(path, **kwargs)
        for name in ("context_length", "prediction_length"):
            if getattr(processor, name) != getattr(self, name):
                raise HubmodelsError(
                    f"{path} was trained with {name} {getattr(processor, name)}, not {getattr(self, name)}: "
                    f"leave out --{name} or train another model"
                )
        return processor

    def fit_config(self, train: "datasets.Dataset", processor: Any) -> dict[str, Any]:
        """The channels, lengths and covariates as the processor has them; the season, and the error of repeating the
        last one, in z-scores of the training rows."""
        import numpy as np

        from ._forecasts import find_season, seasonal_errors

        names = [processor.channels[place] for place in processor.target_indices]
        values = self.numbers(train, names).T
        places = processor.target_indices
        values = (values - np.array(processor.mean)[places]) / np.array(processor.std)[places]
        series = self.series_numbers(train, processor)
        season = self.season_length
        if season is None:
            longest = min(self.context_length, max(1, len(values) // 3))
            season = find_season(values, series, longest, self.prediction_length, usual_seasons(processor.frequency))
        errors = seasonal_errors(values, series, season)
        return {
            "num_input_channels": len(processor.channels),
            "prediction_channel_indices": None if processor.targets is None else places,
            "context_length": self.context_length,
            "prediction_length": self.prediction_length,
            "quantiles": list(self.quantiles),
            "num_time_features": processor.num_time_features,
            "num_static_real_features": len(processor.static),
            "season_length": season,
            "season_errors": [float(error) if np.isfinite(error) else 0.0 for error in errors],
            **label_maps(names),
        }

    def numbers(self, dataset: "datasets.Dataset", names: list[str]) -> "np.ndarray":
        """Columns as float64 (columns, N), NaN where missing."""
        import numpy as np

        from ..processors.processing_series_times import to_numbers

        columns = read_columns(dataset, names)
        try:
            return np.stack([to_numbers(columns[name], name) for name in names])
        except ValueError as error:
            raise HubmodelsError(f"the series cannot be used: {error}") from None

    def series_numbers(self, dataset: "datasets.Dataset", processor: Any) -> "np.ndarray":
        """A number for each row that is the same within a series only, int64 (N,)."""
        import numpy as np

        if processor.id_column is None:
            return np.zeros(len(dataset), dtype=np.int64)
        return series_codes(read_columns(dataset, [processor.id_column])[processor.id_column])

    # ---------------------------------------------------------------- rows -> tensors

    def encoded_features(self, processor: Any, config_values: dict[str, Any]) -> "datasets.Features":
        import datasets

        channels = len(processor.channels)
        features = {
            "series": datasets.Value("int64"),
            "values": datasets.List(datasets.Value("float32"), length=channels),
            "observed": datasets.List(datasets.Value("uint8"), length=channels),
        }
        for name, count in (
            ("time_features", processor.num_time_features),
            ("static_real_features", len(processor.static)),
        ):
            if count:
                features[name] = datasets.List(datasets.Value("float32"), length=count)
        return datasets.Features(features)

    def encode(
        self,
        rows: dict[str, list],
        row_numbers: list[int],
        features: "datasets.Features",
        processor: Any,
        config_values: dict[str, Any],
    ) -> "Rows":
        """Each row as one step: `values` (B, C) in z-scores, 0 where not `observed`, a number of its `series`, and the
        covariates that the model has."""
        import numpy as np

        from ..processors.processing_series_times import step_numbers, to_numbers, to_times

        lacking = [name for name in (*processor.channels, *processor.known, *processor.static) if name not in rows]
        if lacking:
            raise HubmodelsError(f"missing column {lacking[0]!r}; the data set has {', '.join(rows)}")
        try:
            values = np.stack([to_numbers(rows[name], name) for name in processor.channels], axis=1)
            scaled, observed = processor.scale(values)
            count = len(values)
            id_name, time_name = processor.id_column, processor.time_column
            codes = series_codes(rows[id_name]) if id_name is not None else np.zeros(count, dtype=np.int64)
            encoded = {"series": codes, "values": scaled, "observed": observed.astype(np.uint8)}
            times = None
            if time_name is not None and time_name in rows:
                times = to_times(rows[time_name], time_name)
                for first, last in runs(codes):
                    step_numbers(times[first:last], processor.frequency, f"column {time_name!r}")
            if processor.num_time_features:
                known = (
                    np.stack([to_numbers(rows[name], name) for name in processor.known], axis=1)
                    if processor.known
                    else None
                )
                encoded["time_features"] = processor.time_features(times, known)
            if processor.static:
                static = np.stack([to_numbers(rows[name], name) for name in processor.static], axis=1)
                encoded["static_real_features"] = processor.scale_static(static)
        except ValueError as error:
            first = f" (rows are counted from row {row_numbers[0]})" if len(row_numbers) and row_numbers[0] else ""
            raise HubmodelsError(f"{error}{first}") from None
        return encoded

    def windows(self, columns: Any, processor: Any, config_values: dict[str, Any]) -> "tuple[torch.Tensor, int]":
        """The first steps of all windows of a split, and their length. A window lies within one series, and has an
        observed value both in what is seen and in what is told.

        Raises HubmodelsError when there is none."""
        import torch

        context, horizon = config_values["context_length"], config_values["prediction_length"]
        length = context + horizon
        series = columns.tensor("series")
        targets = processor.target_indices
        some = columns.tensor("observed")[:, targets].bool().any(dim=1).long()
        before = torch.cat([torch.zeros(1, dtype=torch.int64), some.cumsum(0)])  # observed steps before each step
        found, longest = [], 0
        for first, last in runs(series.numpy()):
            longest = max(longest, last - first)
            starts = torch.arange(first, max(first, last - length + 1), self.window_stride)
            seen = before[starts + context] > before[starts]
            told = before[starts + length] > before[starts + context]
            found.append(starts[seen & told])
        starts = torch.cat(found) if found else torch.empty(0, dtype=torch.int64)
        if len(starts) == 0:
            reason = f"the longest series has {longest}" if longest < length else "all of them are missing values"
            raise HubmodelsError(
                f"no window of {context} + {horizon} steps (context_length + prediction_length) fits a split of "
                f"{len(series)} rows: {reason}; shorten them or give more rows"
            )
        return starts, length

    def transform(
        self, processor: Any, config_values: dict[str, Any], *, training: bool
    ) -> "Callable[[Batch, torch.Generator | None], Batch]":
        """A batch of windows as the model's inputs: what is seen and what is told."""
        context, targets = config_values["context_length"], processor.target_indices

        def split(batch: "Batch", generator: "torch.Generator | None" = None) -> "Batch":
            values, observed = batch["values"], batch["observed"].bool()
            inputs = {
                "past_values": values[:, :context],
                "past_observed_mask": observed[:, :context],
                "future_values": values[:, context:, targets],  # of the forecast channels alone
                "future_observed_mask": observed[:, context:, targets],
            }
            if "time_features" in batch:
                inputs["past_time_features"] = batch["time_features"][:, :context]
                inputs["future_time_features"] = batch["time_features"][:, context:]
            if "static_real_features" in batch:
                inputs["static_real_features"] = batch["static_real_features"][:, 0]
            return inputs

        return split

    # ---------------------------------------------------------------- results

    def predict(self, outputs: Any, batch: "Batch") -> "Batch":
        """See `forecast_rows`; the channels are those that are forecast."""
        from ._forecasts import forecast_rows

        quantile_values = getattr(outputs, "quantile_values", None)
        targets, observed = batch["future_values"], batch["future_observed_mask"]
        return forecast_rows(outputs.prediction_outputs, targets, observed, quantile_values, self.quantiles)

    def metrics(self, rows: "Rows", config_values: dict[str, Any]) -> dict[str, float]:
        from ._forecasts import forecast_metrics

        return forecast_metrics(rows, config_values["season_errors"])

    def resample_block(self, config_values: dict[str, Any]) -> int:
        """Windows that follow each other share most of their steps: the bootstrap draws stretches as long as a
        horizon."""
        return max(1, config_values["prediction_length"] // self.window_stride)

    def class_names(self, config_values: dict[str, Any]) -> list[str]:
        """Several channels have a table of their own."""
        names = list(config_values["id2label"].values())
        return names if len(names) > 1 else []

    def class_metrics(self, rows: "Rows", config_values: dict[str, Any]) -> "dict[str, np.ndarray]":
        from ._forecasts import channel_metrics

        return channel_metrics(rows, config_values["season_errors"]) if len(config_values["id2label"]) > 1 else {}

    def baseline(self, train: Any, test: Any, processor: Any, config_values: dict[str, Any], seed: int) -> Baseline:
        """The seasonal naive forecast or a ridge regression, whichever errs less on the last training windows; the
        other stands beside it."""
        from ._forecasts import naive_baseline, naive_error, ridge_baseline

        split = self.transform(processor, config_values, training=False)
        targets, season = processor.target_indices, config_values["season_length"]
        naive = naive_baseline(test, split, targets, season)
        try:
            ridge, error = ridge_baseline(train, test, split, targets)
        except ValueError:  # no training window without a missing value
            return naive
        better = error <= naive_error(train, split, targets, season)
        first, second = (ridge, naive) if better else (naive, ridge)
        first.others = [second]
        return first

    def plots(self, rows: "Rows", columns: Any, processor: Any, config_values: dict[str, Any]) -> Iterator[Figure]:
        """Forecasts against the truth in a few windows, and the error of each step ahead."""
        from ._forecasts import forecast_figure, horizon_figure

        banded = "quantile_values" in rows and len(self.quantiles) > 1
        band = f", the band spans the quantiles {self.quantiles[0]:g} to {self.quantiles[-1]:g}" if banded else ""
        yield Figure(
            name="forecasts",
            caption=f"Forecasts of test windows at even distances, in the channels' own units{band}; of the past only "
            "as much as lies ahead, twice.",
            figure=forecast_figure(self.panels(rows, columns, processor, config_values)),
        )
        if rows["predictions"].shape[1] > 1:
            yield Figure(
                name="error_by_step",
                caption="Mean squared and mean absolute error of each step ahead, over the test windows and channels.",
                figure=horizon_figure(rows),
            )

    def panels(self, rows: "Rows", columns: Any, processor: Any, config_values: dict[str, Any]) -> list[dict[str, Any]]:
        """What the figure of forecasts shows: windows at even distances, of the first channels in turn."""
        import numpy as np
        import torch

        places, names = processor.target_indices, list(config_values["id2label"].values())
        windows = np.unique(np.linspace(0, len(columns) - 1, NUM_PANELS).round().astype(int))
        inputs = self.transform(processor, config_values, training=False)(columns.batch(torch.from_numpy(windows)))
        past = np.where(inputs["past_observed_mask"], inputs["past_values"], np.nan)
        panels = []
        for number, window in enumerate(windows):
            channel = number % min(len(places), MAX_CHANNELS)

            def restore(values: "np.ndarray", place: int = places[channel]) -> "np.ndarray":
                return processor.restore(values[:, None], [place])[:, 0]

            truth = np.where(rows["observed"][window, :, channel], rows["targets"][window, :, channel], np.nan)
            panel = {
                "title": f"{names[channel]}, window {window:,}",
                "past": restore(past[number, -2 * len(truth) :, places[channel]]),
                "truth": restore(truth),
                "forecast": restore(rows["predictions"][window, :, channel]),
            }
            if "quantile_values" in rows and len(self.quantiles) > 1:
                ends = rows["quantile_values"][window, :, channel]
                panel |= {"low": restore(ends.min(-1)), "high": restore(ends.max(-1))}
                panel["band"] = f"quantiles {self.quantiles[0]:g} to {self.quantiles[-1]:g}"
            panels.append(panel)
        return panels

    # ---------------------------------------------------------------- a release

    def encode_inputs(self, rows: Any, row_numbers: list[int], processor: Any, config_values: dict[str, Any]) -> "Rows":
        raise HubmodelsError(
            f"{self.tag} has no prediction from files: many rows give one forecast of {processor.prediction_length} "
            f'steps; use pipeline("{self.tag}", ...) in Python'
        )

    def golden_inputs(self, processor: Any, config_values: dict[str, Any]) -> "Batch":
        """Two windows of waves of different lengths, one value missing, and waves as covariates."""
        import torch

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

    def example(self) -> str:
        return (
            "import hubmodels  # makes transformers know the family and the pipeline\n"
            "from transformers import pipeline\n"
            "\n"
            'forecast = pipeline("time-series-forecasting", model="{model_id}")\n'
            f'rows = forecast("series.csv")  # the last {self.context_length} steps or more: a path or a DataFrame\n'
            f"print(rows[:2])  # {self.prediction_length} rows a series, in the channels' own units\n"
        )


def usual_seasons(frequency: str | None) -> tuple[int, ...]:
    """Seasons that series of a frequency often have: a day and a week of hours, a week and a year of days, ..."""
    if frequency is None or frequency.isdigit():
        return ()
    from ..processors.processing_series_times import UNITS, parse_frequency

    number, unit = parse_frequency(frequency)
    if unit == "M":
        return (12 // number,) if 12 % number == 0 and number < 12 else ()
    step = number * UNITS[unit]
    wholes = (UNITS["h"], UNITS["D"], 7 * UNITS["D"], 365 * UNITS["D"])
    return tuple(whole // step for whole in wholes if whole > step and whole % step == 0)


def series_codes(ids: Any) -> "np.ndarray":
    """Integers for series' ids that are the same whatever batch an id is in: its own number, or 63 bits of its hash."""
    import hashlib

    import numpy as np

    array = np.asarray(ids)
    if array.dtype.kind in "iu":
        return array.astype(np.int64)
    codes = {
        name: int.from_bytes(hashlib.blake2b(str(name).encode(), digest_size=8).digest()) >> 1
        for name in set(array.tolist())
    }
    return np.array([codes[name] for name in array.tolist()], dtype=np.int64)


def runs(codes: "np.ndarray") -> list[tuple[int, int]]:
    """The stretches (first, last + 1) of equal numbers that follow each other."""
    edges = [0, *((codes[1:] != codes[:-1]).nonzero()[0] + 1).tolist(), len(codes)]
    return [(int(first), int(last)) for first, last in itertools.pairwise(edges) if last > first]


def kind_slice(roles: dict[str, Any], kind: str) -> slice:
    """Where a kind's columns stand among channels, known and static ones."""
    first = 0
    for name in ("channels", "known", "static"):
        if name == kind:
            return slice(first, first + len(roles[name]))
        first += len(roles[name])
    raise AssertionError(kind)
