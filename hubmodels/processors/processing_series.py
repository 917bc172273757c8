"""Time series of any form -> `past_values` (B, T, C) float32, z-scored, and where values are missing.

    processor = TimeSeriesProcessor.fit(train_frame, context_length=96, prediction_length=24)  # forecasting
    processor = TimeSeriesProcessor.fit(list_of_arrays, max_length=29)  # classification
    processor.save_pretrained(folder)  # processor_config.json
    batch = processor(frame, return_tensors="pt")     # a DataFrame, a dict of columns, an array, a list of arrays, ...

A frame is wide (a time column and channels) or long (an id column too: several series below each other). Channels are
z-scored by the training rows' means and standard deviations; a missing value (NaN) becomes 0, their mean, and its mask
entry says so. Steps that a time column lacks are missing values as well, so that a gap is as long as it was.
This file goes to the Hub as code.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from transformers.feature_extraction_utils import BatchFeature
from transformers.processing_utils import ProcessorMixin

from .processing_series_calendar import parse_rule, snap_times
from .processing_series_forms import Series, group_rows, read_arrays, table_columns
from .processing_series_times import (
    CALENDAR,
    calendar_part,
    category_columns,
    channel_statistics,
    find_frequency,
    move_times,
    step_numbers,
    to_numbers,
)
from .processing_series_zones import find_zone, local_clock, read_local_times

TOO_LONG = ("refuse", "truncate")


class TimeSeriesProcessor(ProcessorMixin):
    """Turns series into the tensors that a model of time series takes. `fit` makes one from training series.

    Args:
        channels: the names of the channels, in the model's order.
        mean, std: of each channel over the training rows; values become (value - mean) / std.
        max_length: classification: the longest series, in steps; None for any.
        too_long: what happens to a longer one: it is refused, or truncated to its first `max_length` steps.
        series_column: classification: the column of whole series in tables of them.
        context_length, prediction_length: forecasting: steps that a forecast sees and steps ahead; None otherwise.
        targets: the channels that are forecast; all when None.
        time_column: the name of the column of times, where frames have one.
        id_column: the name of the column of series' ids, or a list of several, where frames have any.
        frequency: how times go on: a number and a unit ("15min"), a rule of the calendar ("ME", see
            `processing_series_calendar.py`), or a number alone for times that are integers. None where there are no
            times.
        calendar: parts of the time that the model is told as sine and cosine: minute, hour, weekday, day, month.
        known: columns that are known ahead, with `known_mean` and `known_std`.
        static: columns that are constant in a series, with `static_mean` and `static_std`.
        categories: of known and static columns that are words: their categories. The model is told which one it is, a
            number of 0 or 1 for each; a word that is none of them is all 0.
        counts: channels of whole numbers that are never below 0, and are not forecast below it.
        time_format: how times that are text or whole numbers are read (see `to_times`); ISO when None.
        time_zone: the IANA name of the zone of times that say none; they become UTC, and forecasts say times in it.
        step_columns: classification: tables with a series a row and a column a step have these columns, in order.

    Raises:
        ValueError: lists of different lengths, or an unknown frequency or calendar part.
    """

    def __init__(
        self,
        channels: list[str] | None = None,
        mean: list[float] | None = None,
        std: list[float] | None = None,
        max_length: int | None = None,
        too_long: str = "refuse",
        series_column: str | None = None,
        context_length: int | None = None,
        prediction_length: int | None = None,
        targets: list[str] | None = None,
        time_column: str | None = None,
        id_column: str | list[str] | None = None,
        frequency: str | None = None,
        calendar: list[str] | None = None,
        known: list[str] | None = None,
        known_mean: list[float] | None = None,
        known_std: list[float] | None = None,
        static: list[str] | None = None,
        static_mean: list[float] | None = None,
        static_std: list[float] | None = None,
        categories: dict[str, list[str]] | None = None,
        counts: list[str] | None = None,
        step_columns: list[str] | None = None,
        time_format: str | None = None,
        time_zone: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.channels, self.mean, self.std = channels or [], mean or [], std or []
        self.max_length, self.too_long, self.series_column = max_length, too_long, series_column
        self.context_length, self.prediction_length = context_length, prediction_length
        self.targets, self.time_column, self.id_column = targets, time_column, id_column
        self.frequency, self.calendar = frequency, calendar or []
        self.known, self.known_mean, self.known_std = known or [], known_mean or [], known_std or []
        self.static, self.static_mean, self.static_std = static or [], static_mean or [], static_std or []
        self.categories, self.counts, self.step_columns = categories or {}, counts or [], step_columns
        self.time_format, self.time_zone = time_format, time_zone
        for kind, names in (("", self.channels), ("known_", self.known), ("static_", self.static)):
            for part in ("mean", "std"):
                if len(getattr(self, f"{kind}{part}")) != len(names):
                    raise ValueError(
                        f"{kind}{part} needs one number for each of {names}, got {getattr(self, f'{kind}{part}')}"
                    )
        if too_long not in TOO_LONG:
            raise ValueError(f"too_long must be one of {', '.join(TOO_LONG)}, got {too_long!r}")
        for part in self.calendar:
            if part not in CALENDAR:
                raise ValueError(f"calendar parts are {', '.join(CALENDAR)}, got {part!r}")
        for name in targets or []:
            if name not in self.channels:
                raise ValueError(f"target {name!r} is no channel; channels are {', '.join(self.channels)}")
        if frequency is not None:
            parse_rule(frequency)
        if time_zone is not None:
            find_zone(time_zone)
        if self.calendar and isinstance(frequency, str) and frequency.isdigit():
            raise ValueError(f"calendar parts need dates, but the times are integers (frequency {frequency!r})")

    @property
    def num_time_features(self) -> int:
        """Return K: sine and cosine of each calendar part, then the known covariates."""
        return 2 * len(self.calendar) + len(self.spread(self.known, self.known_mean))

    @property
    def num_static_features(self) -> int:
        """Return S: the static covariates, of categories one for each."""
        return len(self.spread(self.static, self.static_mean))

    @property
    def id_columns(self) -> list[str]:
        """Return the names of the columns that together name a row's series."""
        if self.id_column is None:
            return []
        return [self.id_column] if isinstance(self.id_column, str) else list(self.id_column)

    def spread(self, names: list[str], values: list[float]) -> np.ndarray:
        """Return a value of each column once for each number that the column becomes: several where it is words."""
        return np.repeat(np.array(values, dtype=np.float64), [len(self.categories.get(name, "1")) for name in names])

    @property
    def target_indices(self) -> list[int]:
        """Return the places of the forecast channels."""
        names = self.channels if self.targets is None else self.targets
        return [self.channels.index(name) for name in names]

    @property
    def model_input_names(self) -> list[str]:
        """Return the names of the arrays that a call gives."""
        names = ["past_values", "past_observed_mask"]
        if self.prediction_length is None:
            return [*names, "attention_mask"]
        names += ["past_time_features", "future_time_features"] if self.num_time_features else []
        return names + (["static_real_features"] if self.static else [])

    # ---------------------------------------------------------------- fitting

    @classmethod
    def fit(cls, series: Any, *, channels: Sequence[str] | None = None, **options: Any) -> "TimeSeriesProcessor":
        """Return a processor with the statistics of these series.

        Args:
            series: the training series, of any form that `__call__` takes.
            channels: columns of a frame that are channels; all numeric ones that have no other role when None.
            **options: see the class: `context_length`, `time_column`, `calendar`, ...; means, standard deviations and,
                where it is not given, the frequency are found here.

        Raises:
            ValueError: there are no series, one is of another number of channels, a channel has no value at all, or
                times are unsorted, duplicated or uneven.
        """
        columns = table_columns(series)
        if columns is not None and channels is None:
            ids = options.get("id_column")
            special = {options.get("time_column"), *(ids if isinstance(ids, list) else [ids])}
            special |= {*(options.get("known") or []), *(options.get("static") or [])}
            channels = [
                name
                for name, column in columns.items()
                if name not in special and np.asarray(column).dtype.kind in "fiu"
            ]
        if columns is None:
            first = next(iter(read_arrays(series, None)), None)
            if first is None:
                raise ValueError("there are no series to fit on")
            channels = channels or [str(number) for number in range(first.values.shape[1])]
        for kind in ("known", "static"):
            if options.get(kind):
                count = len(options[kind])
                options |= {f"{kind}_mean": [0.0] * count, f"{kind}_std": [1.0] * count}
        channels = list(channels or [])
        if not channels:
            raise ValueError("there is no numeric column to be a channel")
        draft = cls(channels=channels, mean=[0.0] * len(channels), std=[1.0] * len(channels), **options)
        all_series = draft.read(series)
        if not all_series:
            raise ValueError("there are no series to fit on")
        if draft.time_column is not None and draft.frequency is None:
            draft.frequency = find_frequency([one.times for one in all_series])
        for one in all_series:
            draft.fill_gaps(one)
        options["frequency"] = draft.frequency
        mean, std = channel_statistics(np.concatenate([one.values for one in all_series]), channels)
        for kind in ("known", "static"):
            if names := options.get(kind):
                per_series = [getattr(one, kind) for one in all_series]
                values = np.concatenate(per_series) if kind == "known" else np.stack(per_series)
                if options.get("categories"):
                    raise ValueError("categories are fitted by the task, not here: give them with all statistics")
                options[f"{kind}_mean"], options[f"{kind}_std"] = channel_statistics(values, names)
        return cls(channels=channels, mean=mean, std=std, **options)

    # ---------------------------------------------------------------- use

    def __call__(
        self, series: Any, return_tensors: str | None = None, future: Any = None, **kwargs: Any
    ) -> BatchFeature:
        """Prepare series: all of each for classification, the last `context_length` steps of each for forecasting.

        Args:
            series: a pandas DataFrame or mapping of columns (wide, or long with the id column), an array (T, C), or a
                list of arrays. NaN is a missing value.
            return_tensors: "pt" or "np"; by default arrays.
            future: forecasting with covariates that are known ahead: a frame of theirs for the `prediction_length`
                steps after each series (with the id column where there are several series).

        Returns:
            `past_values` (B, T, C) float32 and `past_observed_mask` (B, T, C) bool. For classification T is the longest
            of the batch and `attention_mask` (B, T) int64 is 1 on the series and 0 on the zeros behind it. For
            forecasting, where the model has them: `past_time_features` (B, T, K), `future_time_features` (B, H, K),
            `static_real_features` (B, S).

        Raises:
            ValueError: a series is empty, too short, too long, of another number of channels, or its times are
                unsorted, duplicated or not at the processor's frequency.
        """
        all_series = self.read(series)
        if not all_series:
            raise ValueError("there are no series")
        forecasts = self.prediction_length is not None
        batch = self.encode_forecast(all_series, future) if forecasts else self.encode_whole(all_series)
        return BatchFeature(batch, tensor_type=return_tensors)

    def read(self, series: Any) -> list[Series]:
        """Return any form of series as a list of them, in the order in which their ids occur. Raises ValueError as
        `__call__` does for what is no series."""
        columns = table_columns(series)
        if columns is None:
            if self.known or self.static or self.calendar:
                raise ValueError(
                    f"arrays lack what the model reads ({', '.join([*self.known, *self.static, *self.calendar])}): "
                    f"give a DataFrame or a mapping of columns"
                )
            return list(read_arrays(series, self.channels))
        needed = [*self.channels, *self.known, *self.static, *self.id_columns]
        needed += [self.time_column] if self.calendar and self.time_column is not None else []
        lacking = [name for name in needed if name not in columns]
        if lacking:
            raise ValueError(f"missing columns {', '.join(map(repr, lacking))}; given are {', '.join(columns)}")
        values = np.stack([to_numbers(columns[name], name) for name in self.channels], axis=1)
        groups = group_rows(self.id_values(columns), len(values))
        times = self.read_times(columns, groups)
        known, static = self.covariates(columns, self.known), self.covariates(columns, self.static)
        all_series = []
        for name, rows in groups:
            if times is not None:  # whatever the order of the rows
                rows = rows[np.argsort(times[rows], kind="stable")]
            one = Series(name, values[rows], None if times is None else times[rows])
            if self.known:
                one.known = known[rows]
            if self.static:
                one.static = static[rows[0]]
                for label in self.static:
                    column = self.covariates(columns, [label])[rows]
                    if not np.array_equal(column, np.broadcast_to(column[0], column.shape), equal_nan=True):
                        raise ValueError(f"column {label!r} is static, but changes within series {name!r}")
            all_series.append(one)
        return all_series

    def read_times(self, columns: Mapping[str, Any], groups: list[tuple[Any, np.ndarray]]) -> np.ndarray | None:
        """Return the times of a table's rows; None where it has none. `groups` are the rows of each series."""
        name = self.time_column
        if name is None or name not in columns:
            return None
        series = [rows for _, rows in groups]
        return read_local_times(columns[name], name, self.time_format, self.time_zone, series, self.frequency)

    def id_values(self, columns: Mapping[str, Any]) -> Any:
        """Return the column of series' ids, or a list of several; None where series have none."""
        ids = [columns[name] for name in self.id_columns if name in columns]
        return ids[0] if len(ids) == 1 else ids or None

    def covariates(self, columns: Mapping[str, Any], names: list[str]) -> np.ndarray:
        """Return covariates as numbers (N, K), NaN where missing; a column of words becomes one for each category."""
        blocks = [
            category_columns(columns[name], self.categories[name])
            if name in self.categories
            else to_numbers(columns[name], name)[:, None]
            for name in names
        ]
        return np.concatenate(blocks, axis=1) if blocks else np.empty((0, 0))

    def encode_whole(self, all_series: list[Series]) -> dict[str, np.ndarray]:
        """Return whole series for classification, padded behind to the longest."""
        for index, one in enumerate(all_series):
            label = index if one.name is None else repr(one.name)
            if len(one.values) == 0:
                raise ValueError(f"series {label} is empty: it needs at least 1 step")
            if one.times is not None and self.frequency is not None:
                self.fill_gaps(one)
            if self.max_length is not None and len(one.values) > self.max_length:
                if self.too_long == "refuse":
                    raise ValueError(
                        f"series {label} has {len(one.values)} steps, the longest in training had {self.max_length}: "
                        f"cut it, or set the processor's too_long to 'truncate' to use its first steps"
                    )
                one.values = one.values[: self.max_length]
        length = max(len(one.values) for one in all_series)
        values = np.zeros((len(all_series), length, len(self.channels)), dtype=np.float32)
        observed, mask = np.zeros(values.shape, dtype=bool), np.zeros(values.shape[:2], dtype=np.int64)
        for index, one in enumerate(all_series):
            steps = len(one.values)
            values[index, :steps], observed[index, :steps] = self.scale(one.values)
            mask[index, :steps] = 1
        return {"past_values": values, "past_observed_mask": observed, "attention_mask": mask}

    def encode_forecast(self, all_series: list[Series], future: Any) -> dict[str, np.ndarray]:
        """Return the last steps of each series, and what is known of the steps ahead."""
        assert self.prediction_length is not None  # of a processor of forecasts
        for one in all_series:
            self.fill_gaps(one)
        return self.encode_last(all_series, self.known_ahead(all_series, future, self.prediction_length))

    def encode_last(self, all_series: list[Series], known: list[np.ndarray | None]) -> dict[str, np.ndarray]:
        """Return the last steps of each series without gaps; `known` are covariates of the steps ahead."""
        context = self.context_length
        assert context is not None  # of a processor of forecasts
        arrays: dict[str, list[np.ndarray]] = {name: [] for name in self.model_input_names}
        for index, (one, ahead) in enumerate(zip(all_series, known, strict=True)):
            label = index if one.name is None else repr(one.name)
            if len(one.values) < context:
                raise ValueError(
                    f"series {label} has {len(one.values)} steps, but a forecast sees {context} (context_length): "
                    f"give at least that many"
                )
            values, observed = self.scale(one.values[-context:])
            if not observed[:, self.target_indices].any():
                raise ValueError(f"series {label} has no value in its last {context} steps: all are missing")
            arrays["past_values"].append(values)
            arrays["past_observed_mask"].append(observed)
            if self.static:
                assert one.static is not None  # `read` has checked it
                arrays["static_real_features"].append(self.scale_static(one.static[None])[0])
            if self.num_time_features:
                past_times = None if one.times is None else one.times[-context:]
                past_known = None if one.known is None else one.known[-context:]
                arrays["past_time_features"].append(self.time_features(past_times, past_known))
                arrays["future_time_features"].append(self.time_features(self.future_times(one), ahead))
        return {name: np.stack(of_series) for name, of_series in arrays.items()}

    def known_ahead(self, all_series: list[Series], future: Any, steps: int) -> list[np.ndarray | None]:
        """Return the known covariates of the steps after each series, (steps, K); None where the model reads none.

        Rows of `future` are found by their times, or without times are taken as they stand. Without a column of ids
        they are of every series. Raises ValueError where some are missing."""
        if not self.known:
            return [None] * len(all_series)
        ahead = {one.name: one for one in self._read_future(future)}
        common = ahead.get(None)
        result: list[np.ndarray | None] = []
        for index, one in enumerate(all_series):
            label = index if one.name is None else repr(one.name)
            following = ahead.get(one.name, common)
            if following is None:
                raise ValueError(
                    f"series {label} needs {', '.join(self.known)} for the {steps} steps ahead: give them as `future` "
                    f"(--future FILE)"
                )
            values, coming = following.values, self.future_times(one, steps)
            if coming is not None and following.times is not None:
                rows = {time: row for row, time in enumerate(following.times.tolist())}
                row_numbers = [rows.get(time) for time in coming.tolist()]
                if None in row_numbers:
                    raise ValueError(
                        f"`future` of series {label} must begin at {coming[0]} and go on by {self.frequency} to "
                        f"{coming[-1]}: it has {len(values)} steps, and none at {coming[row_numbers.index(None)]}"
                    )
                values = values[[row for row in row_numbers if row is not None]]
            elif len(values) != steps:
                raise ValueError(f"`future` has {len(values)} steps of series {label}, the forecast has {steps}")
            result.append(values)
        return result

    def _read_future(self, future: Any) -> list[Series]:
        if future is None:
            return []
        columns = table_columns(future)
        lacking = [name for name in self.known if name not in (columns or {})]
        if columns is None or lacking:
            raise ValueError(f"`future` must be a frame with the columns {', '.join(self.known)}")
        known = self.covariates(columns, self.known)
        with_ids = all(name in columns for name in self.id_columns)
        groups = group_rows(self.id_values(columns) if with_ids else None, len(known))
        times = self.read_times(columns, groups)
        return [Series(name, known[rows], None if times is None else times[rows]) for name, rows in groups]

    # ---------------------------------------------------------------- parts

    def scale(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return z-scored values (T, C) float32, 0 where missing, and where they are not missing, bool (T, C)."""
        observed = ~np.isnan(values)
        scaled = (values - np.array(self.mean)) / np.array(self.std)
        return np.where(observed, scaled, 0).astype(np.float32), observed

    def restore(self, values: np.ndarray, indices: Sequence[int] | None = None) -> np.ndarray:
        """Return z-scored values (..., C) in the channels' own units; `indices` are the channels that they are of."""
        channels = list(range(len(self.channels))) if indices is None else list(indices)
        return np.asarray(values, dtype=np.float64) * np.array(self.std)[channels] + np.array(self.mean)[channels]

    def scale_static(self, static: np.ndarray) -> np.ndarray:
        """Return z-scored static covariates (B, S) float32; what is missing is 0, the mean."""
        mean, std = (self.spread(self.static, values) for values in (self.static_mean, self.static_std))
        scaled = (static - mean) / std
        return np.nan_to_num(scaled).astype(np.float32)

    def time_features(self, times: np.ndarray | None, known: np.ndarray | None) -> np.ndarray:
        """Return (T, K) float32: sine and cosine of each calendar part, then the known covariates as z-scores."""
        features = []
        if self.calendar:
            if times is None or times.dtype.kind != "M":
                raise ValueError(
                    f"the calendar parts {', '.join(self.calendar)} need dates in column {self.time_column!r}"
                )
            clock = local_clock(times, self.time_zone, self.frequency)
            for part in self.calendar:
                angle = 2 * np.pi * calendar_part(clock, part) / CALENDAR[part]
                features += [np.sin(angle), np.cos(angle)]
        if self.known:
            mean, std = (self.spread(self.known, values) for values in (self.known_mean, self.known_std))
            features += list(np.nan_to_num((known - mean) / std).T)
        return np.stack(features, axis=1).astype(np.float32)

    def future_times(self, one: Series, steps: int | None = None) -> np.ndarray | None:
        """Return the times of the steps ahead, `prediction_length` of them by default; None for series without."""
        if one.times is None:
            return None
        count = self.prediction_length if steps is None else steps
        assert count is not None  # of forecasts
        assert self.frequency is not None  # of those with times
        return move_times(one.times[-1], np.arange(1, count + 1), self.frequency)

    def lowest(self) -> np.ndarray:
        """Return the z-score below which each forecast channel is not forecast, (Y,); minus infinity for most."""
        names = [self.channels[index] for index in self.target_indices]
        bounds = [-self.mean[index] / self.std[index] for index in self.target_indices]
        return np.array([bound if name in self.counts else -np.inf for name, bound in zip(names, bounds, strict=True)])

    def fill_gaps(self, one: Series) -> None:
        """Put a step of missing values wherever the series' times leave one out; check that times ascend evenly."""
        if one.times is None or len(one.times) == 0 or self.frequency is None:
            return
        name = "" if one.name is None else f" of series {one.name!r}"
        one.times = snap_times(one.times, self.frequency)
        steps = step_numbers(one.times, self.frequency, f"column {self.time_column!r}{name}")
        if steps[-1] == len(steps) - 1:
            return
        count = int(steps[-1]) + 1
        values = np.full((count, one.values.shape[1]), np.nan)
        values[steps] = one.values
        one.values, one.times = values, move_times(one.times[0], np.arange(count), self.frequency)
        if one.known is not None:
            known = np.full((count, one.known.shape[1]), np.nan)
            known[steps] = one.known
            one.known = known
