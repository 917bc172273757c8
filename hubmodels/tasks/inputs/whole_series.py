"""Whole series: one a row, of one or many channels and of any length.

A row holds a series as a nested list (steps x channels). In a long table it holds one step of the series that its id
column names; what such a table tells of a series beside its channels is the same in all its rows. In a wide table it
holds a series of one channel, a column a step.
"""

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ...errors import BadRow, HubmodelsError
from ...fields import option
from ...report import note
from ..contract.columns import describe_columns, existing_column, is_number, kind_of
from ..contract.parts import FittedInput, Input
from .series_roles import ColumnRoles, Roles, number_columns, say_channels
from .series_tables import (
    is_single_value,
    load_series_processor,
    order_rows,
    read_columns,
    sort_rows,
    stretches,
    usual_frequency,
)
from .series_values import is_series, read_series

if TYPE_CHECKING:
    import datasets
    import numpy as np
    import pyarrow
    import torch

    from ..contract.types import Batch, RawRows, Rows, Transform

FEWEST_STEPS = 8  # columns with numbered names that make a table a wide one
SERIES_NAMES = ("series", "past_values", "values", "data", "x", "signal", "time_series")


def ragged_end(values: "np.ndarray") -> "np.ndarray":
    """Cut missing values off the end of a series (T,): in wide tables shorter series end so. One step stays."""
    filled = (values == values).nonzero()[0]
    return values[: int(filled[-1]) + 1 if len(filled) else 1]


@dataclass(kw_only=True)
class WholeSeries(Input):
    """Holds the options of reading whole series."""

    decided_fields: ClassVar[tuple[str, ...]] = ("num_input_channels",)

    series_column_name: str | None = option(None, "column of whole series; the only one of lists when absent")
    series_id_column_name: str | list[str] | None = option(
        None, "long tables: column that names a row's series, or several that do together; found when absent"
    )
    time_column_name: str | None = option(None, "long tables: column of times; found by what columns hold when absent")
    time_zone: str | None = option(
        None, "long tables: zone of times that say none, such as Europe/Vienna: clock changes are heeded"
    )
    wide_series: bool | None = option(
        None,
        "whether a row is a series and each column of numbers a step; by their numbered names (t0, t1) when absent",
    )
    channel_column_names: list[str] | None = option(None, "long tables: the channels; all numeric columns when absent")
    longer_series: Literal["refuse", "truncate"] = option(
        "refuse", "what happens to a series longer than any in training: an error, or its first steps are used"
    )
    jitter: float = option(0.0, "augmentation: standard deviation of noise added to each value, in z-scores, >= 0")
    magnitude_scaling: float = option(
        0.0, "augmentation: standard deviation of a factor of each channel, around 1, >= 0"
    )
    time_warping: float = option(
        0.0, "augmentation: largest share by which a series is stretched or cut short, in [0, 1)"
    )
    random_cropping: float = option(
        0.0, "augmentation: largest share of a series that is left out at its ends, in [0, 1)"
    )

    roles: Roles | None = field(default=None, init=False)  # what was decided about columns, of data or a checkpoint
    step_columns: list[str] | None = field(default=None, init=False)  # of wide tables
    frequency: str | None = field(default=None, init=False)  # how the times of long tables go on

    def __post_init__(self) -> None:
        for name, value in (("jitter", self.jitter), ("magnitude_scaling", self.magnitude_scaling)):
            if not value >= 0:
                raise ValueError(f"{name} must be at least 0, got {value}")
        for name, value in (("time_warping", self.time_warping), ("random_cropping", self.random_cropping)):
            if not 0 <= value < 1:
                raise ValueError(f"{name} must be at least 0 and below 1, got {value}")

    def series_column(self, features: "datasets.Features") -> str | None:
        """Name the column of whole series, or None where there is none.

        Raises HubmodelsError when the chosen one holds no series, or there are several."""
        if self.series_column_name is not None:
            name = existing_column(self.series_column_name, features, "series_column_name")
            if not is_series(features[name]):
                raise HubmodelsError(
                    f"column {name!r} holds {kind_of(features[name])}, not lists of numbers; choose another "
                    f"--series_column_name, or leave it out for a long table"
                )
            return name
        candidates = [name for name in features if is_series(features[name])]
        if len(candidates) > 1:
            named = [name for name in candidates if name.lower() in SERIES_NAMES]
            if len(named) != 1:
                raise HubmodelsError(
                    f"the data set has several columns of lists: {', '.join(candidates)}; choose with "
                    f"--series_column_name"
                )
            candidates = named
        return candidates[0] if candidates else None

    def decide(self, train: "datasets.Dataset", targets: list[str]) -> None:
        """Decide whether rows are whole series, steps of them (long) or series with a column a step (wide).

        Raises HubmodelsError where it cannot be told."""
        features = train.features
        if self.roles is not None or self.step_columns is not None or self.series_column(features) is not None:
            return
        if self.wide_series is not False and self.series_id_column_name is None and self.time_column_name is None:
            self.step_columns = self.find_step_columns(features, targets)
            if self.step_columns is not None:
                names = self.step_columns
                others = [name for name in features if name not in (*names, *targets)]
                note(
                    "columns",
                    f"each row is a series: {len(names):,} columns from {names[0]} to {names[-1]} are its steps"
                    + (f"; left out: {', '.join(others[:8])}" if others else ""),
                    surprising=True,
                    remedy="wide_series: false",
                )
                return
        columns = read_columns(train, [name for name in features if is_single_value(features[name])])
        deciding = ColumnRoles(features, columns, {*targets, *(self.channel_column_names or [])})
        time, form = deciding.find_time(self.time_column_name)
        ids = deciding.find_ids(self.series_id_column_name, time, form)
        if not ids:
            raise HubmodelsError(
                f"the data set has neither a column of lists (whole series) nor one that names a row's series; "
                f"its columns are {describe_columns(features)} (--series_column_name, --series_id_column_name; "
                f"--wide_series where a row is a series and a column a step)"
            )
        channels = deciding.find_channels(self.channel_column_names, [], ids)
        self.roles = Roles(time, form, ids, channels)
        say_channels(channels, channels[:0], [], [])
        if time is not None:
            _, groups, times = sort_rows(train, ids, time, form, self.time_zone)
            assert times is not None, "there is a column of times"
            self.frequency = usual_frequency(groups, times)

    def find_step_columns(self, features: "datasets.Features", targets: list[str]) -> list[str] | None:
        """Name the columns that are the steps of a wide table, in their order; None where it is none."""
        numbers = [name for name in features if is_number(features[name]) and name not in targets]
        if self.wide_series:
            return number_columns(features, self.channel_column_names, targets, "channel_column_names")
        numbered: dict[str, dict[int, str]] = {}
        for name in numbers:
            if match := re.fullmatch(r"(.*?)(\d+)", name.strip()):
                numbered.setdefault(match[1].lower(), {})[int(match[2])] = name
        steps = max(numbered.values(), key=len, default={})
        low, high = min(steps, default=0), max(steps, default=0)
        if len(steps) < FEWEST_STEPS or high - low + 1 != len(steps) or 2 * len(steps) < len(numbers):
            return None
        return [steps[number] for number in sorted(steps)]

    def claims(self, features: "datasets.Features") -> list[str]:
        """Name the column of whole series; of a long table the columns of ids and, where there is one, of times."""
        series = self.series_column(features)
        if series is not None:
            return [series]
        if self.roles is None:
            return []
        return [name for name in (*self.roles.ids, self.roles.time) if name is not None]

    def columns(self, features: "datasets.Features", targets: list[str]) -> list[str]:
        """Name the column of whole series, which `gather` gives where there is none yet."""
        if (series := self.series_column(features)) is None:
            raise HubmodelsError(f"there is no column of whole series; the columns are {describe_columns(features)}")
        return [series]

    def gather(self, dataset: "datasets.Dataset", targets: list[str], noun: str) -> "datasets.Dataset":
        """Gather a long or a wide table into one row a series, in order of appearance; whole series stay as they are.

        Args:
            dataset: of which nothing is selected yet.
            targets: the columns that tell something of a whole series.
            noun: what these hold, for an error message: "classes".

        Raises:
            HubmodelsError: the times do not go on evenly, a channel holds no numbers, or a target changes within a
                series.
        """
        import datasets
        import numpy as np

        features = dataset.features
        if self.series_column(features) is not None:
            return dataset
        series_type = {"series": datasets.List(datasets.List(datasets.Value("float32")))}
        if self.step_columns is not None:
            values = self.read_values(dataset, self.step_columns)
            rows = {"series": [ragged_end(row)[:, None].tolist() for row in values]}
            gathered = datasets.Dataset.from_dict(rows, features=datasets.Features(series_type))
            return datasets.concatenate_datasets([gathered, dataset.select_columns(targets)], axis=1)
        assert self.roles is not None, "roles are decided first"
        ids, names = self.roles.ids, [*self.roles.ids, self.roles.time, *self.roles.channels, *targets]
        dataset = dataset.select_columns([name for name in names if name is not None])
        # A target goes through the gaps' rows as missing; those are of the series around them.
        dataset = order_rows(dataset, ids, self.roles.time, self.frequency, self.roles.time_format, zone=self.time_zone)
        columns = read_columns(dataset, [*ids, *targets])
        names_of_rows = list(zip(*(columns[name].tolist() for name in ids), strict=True))
        different_ids = {name: number for number, name in enumerate(dict.fromkeys(names_of_rows))}
        edges = stretches(np.array([different_ids[name] for name in names_of_rows], dtype=np.int64))
        values = self.read_values(dataset, self.roles.channels)
        rows = {"series": [values[first:last].tolist() for first, last in edges]}
        types: dict[str, Any] = series_type
        for name in targets:
            types[name], rows[name] = features[name], []
            for first, last in edges:
                different = columns[name].iloc[first:last].dropna().unique().tolist()
                if len(different) > 1:
                    label = names_of_rows[first][0] if len(ids) == 1 else names_of_rows[first]
                    raise HubmodelsError(f"series {label!r} has several {noun} in column {name!r}: {different[:5]}")
                if kind_of(features[name]).startswith(("classes", "int", "uint")):  # the gaps made fractions of them
                    different = [int(value) for value in different]
                rows[name].append(different[0] if different else None)
        lengths = [last - first for first, last in edges]
        note(
            "rows",
            f"{len(dataset):,} rows are {len(edges):,} series of {min(lengths):,} to {max(lengths):,} steps, by "
            f"{' and '.join(ids)}: whole series are split",
        )
        return datasets.Dataset.from_dict(rows, features=datasets.Features(types))

    def read_values(self, dataset: "datasets.Dataset", names: list[str]) -> "np.ndarray":
        """Read columns of numbers as float32 (N, columns)."""
        import numpy as np

        from ...processors.processing_series_times import to_numbers

        columns = read_columns(dataset, names)
        try:
            return np.stack([to_numbers(columns[name], name) for name in names], axis=1).astype(np.float32)
        except ValueError as error:
            raise HubmodelsError(f"the series cannot be used: {error}") from None

    def fit(self, train: "datasets.Dataset", columns: list[str]) -> "FittedWholeSeries":
        """Fit a processor to all steps of the training series, as `gather` gives them.

        It has each channel's mean and standard deviation, and the length of the longest series."""
        from ...processors.processing_series import TimeSeriesProcessor

        (column,) = columns
        series = [read_series(values, row, column) for row, values in enumerate(train[column])]
        try:
            roles = self.roles or Roles()
            processor = TimeSeriesProcessor.fit(
                series,
                channels=roles.channels or None,
                too_long=self.longer_series,
                series_column=column,
                id_column=roles.ids[0] if len(roles.ids) == 1 else roles.ids or None,
                time_column=roles.time,
                time_format=roles.time_format,
                time_zone=self.time_zone,
                frequency=self.frequency,
                step_columns=self.step_columns,
            )
        except ValueError as error:
            raise HubmodelsError(f"the series cannot be used: {error}") from None
        processor.max_length = max(map(len, series))
        return FittedWholeSeries(options=self, processor=processor)

    def bind(self, processor: Any) -> "FittedWholeSeries":
        """Take a processor as it is, and what it says of the columns of its training."""
        if processor.id_columns and self.roles is None:
            self.roles = Roles(
                processor.time_column, processor.time_format, processor.id_columns, list(processor.channels)
            )
            self.frequency, self.time_zone = processor.frequency, processor.time_zone
        self.step_columns = self.step_columns or processor.step_columns
        return FittedWholeSeries(options=self, processor=processor)

    def load(self, path: str, **kwargs: Any) -> "FittedWholeSeries":
        """Take the processor of a checkpoint; its channels and length stay: the network was trained on them."""
        processor = load_series_processor(path, **kwargs)
        processor.too_long = self.longer_series
        return self.bind(processor)


@dataclass(kw_only=True)
class FittedWholeSeries(FittedInput[WholeSeries]):
    """Whole series with their processor. Encoded they all are as long as the longest series of training.

    `values` (B, T, C) float32 are z-scores and `observed` (B, T, C) uint8 says where they are not missing. Both are 0
    behind each series' `length` (B,) int64."""

    @property
    def num_channels(self) -> int:
        """Count the channels of a series."""
        return len(self.processor.channels)

    def config_fields(self) -> dict[str, Any]:
        """Return `num_input_channels`."""
        return {"num_input_channels": self.num_channels}

    def encoded_features(self) -> dict[str, Any]:
        """Return the Arrow types of `values`, `observed` and `length`."""
        import datasets

        shape = (self.processor.max_length, self.num_channels)
        return {
            "values": datasets.Array2D(shape, "float32"),
            "observed": datasets.Array2D(shape, "uint8"),
            "length": datasets.Value("int64"),
        }

    def encode(self, rows: "RawRows", row_numbers: list[int], columns: list[str]) -> "Rows":
        """Encode a column of series. Raises HubmodelsError naming a bad row."""
        (column,) = columns
        return self.encode_series(rows[column], row_numbers, column)

    def encode_series(self, series: list, row_numbers: list[int], column: str) -> "Rows":
        """Encode series as lists of steps. Raises HubmodelsError naming a bad row."""
        import numpy as np

        from ...processors.processing_series_forms import Series

        length, channels = self.processor.max_length, self.num_channels
        values = np.zeros((len(series), length, channels), dtype=np.float32)
        observed, lengths = np.zeros(values.shape, dtype=np.uint8), np.zeros(len(series), dtype=np.int64)
        for index, (row, raw) in enumerate(zip(row_numbers, series, strict=True)):
            steps = read_series(raw, row, column)
            if steps.shape[1] != channels:
                raise BadRow(row, column, f"there are {steps.shape[1]} channels, the training series have {channels}")
            try:
                encoded = self.processor.encode_whole([Series(None, steps)])
            except ValueError as error:
                reason = f"{error} (--longer_series truncate)".replace("series 0 ", "it ")
                raise BadRow(row, column, reason) from None
            lengths[index] = encoded["past_values"].shape[1]
            values[index, : lengths[index]] = encoded["past_values"][0]
            observed[index, : lengths[index]] = encoded["past_observed_mask"][0]
        return {"values": values, "observed": observed, "length": lengths}

    def transform(self, *, training: bool) -> "Transform":
        """Return series as the model takes them, trimmed to the longest of the batch; other columns pass through.

        In training they are augmented: time first, then values, of observed steps only."""
        import torch

        from . import series_augmentation as augmentation

        options = self.options

        def prepare(batch: "Batch", generator: "torch.Generator | None" = None) -> "Batch":
            others = {name: value for name, value in batch.items() if name not in ("values", "observed", "length")}
            lengths = batch["length"]
            longest = int(lengths.max())
            values, observed = batch["values"][:, :longest], batch["observed"][:, :longest].bool()
            if training and options.random_cropping:
                values, observed, lengths = augmentation.random_crop(
                    values, observed, lengths, options.random_cropping, generator
                )
            if training and options.time_warping:
                values, observed, lengths = augmentation.time_warp(
                    values, observed, lengths, options.time_warping, generator
                )
            if training and options.magnitude_scaling:
                values = augmentation.scale_magnitude(values, options.magnitude_scaling, generator)
            if training and options.jitter:
                values = augmentation.jitter(values, options.jitter, generator)
            steps = torch.arange(values.shape[1], device=lengths.device)
            return {
                "past_values": values.where(observed, 0),
                "past_observed_mask": observed,
                "attention_mask": (steps < lengths[:, None]).long(),
                **others,
            }

        return prepare

    @property
    def gathers_rows(self) -> bool:
        """Tell whether the training rows were steps: files of them are read as a whole."""
        return bool(self.processor.id_columns)

    def encode_long(self, table: Any) -> "tuple[dict[str, list[Any]], Rows]":
        """Encode the series of a long table.

        Returns:
            Their ids, a list a column, and the encoded series.

        Raises:
            HubmodelsError: a column is missing, or a series cannot be read.
        """
        name = self.options.series_column_name or self.processor.series_column
        if name in getattr(table, "column_names", []):  # whole series after all
            values = table.column(name).to_pylist()
            return {"series": list(range(len(values)))}, self.encode_series(values, list(range(len(values))), name)
        try:
            series = self.processor.read(table)
            for one in series:
                self.processor.fill_gaps(one)
        except ValueError as error:
            raise HubmodelsError(f"the series cannot be used: {error}") from None
        names = self.processor.id_columns
        by_column = [[one.name] if len(names) == 1 else list(one.name) for one in series]
        ids = {label: [values[index] for values in by_column] for index, label in enumerate(names)}
        encoded = self.encode_series([one.values for one in series], list(range(len(series))), names[0])
        return ids, encoded

    def input_columns(self) -> list[str]:
        """Name the chosen column, or that of the training rows, or those of the steps of a wide table."""
        steps = self.processor.step_columns
        return steps or [self.options.series_column_name or self.processor.series_column]

    def encode_inputs(self, table: "pyarrow.Table", row_numbers: list[int]) -> "Rows":
        """Encode the series of a file: a column of lists, or a column a step."""
        import numpy as np

        from ...processors.processing_series_times import to_numbers

        names = self.input_columns()
        name = self.options.series_column_name or self.processor.series_column
        if name in table.column_names:
            return self.encode_series(table.column(name).to_pylist(), row_numbers, name)
        lacking = [name for name in names if name not in table.column_names]
        if lacking and self.processor.step_columns:
            raise HubmodelsError(
                f"no column {lacking[0]!r}, which is a step of the series; the file has "
                f"{', '.join(table.column_names[:20])}"
            )
        if lacking:
            raise HubmodelsError(
                f"no column of whole series {name!r} among {', '.join(table.column_names)}: give JSON lines or Parquet "
                f"with lists (steps x channels) in such a column"
            )
        try:
            values = np.stack([to_numbers(table.column(one).to_pandas(), one) for one in names], axis=1)
        except ValueError as error:
            raise HubmodelsError(f"the series cannot be used: {error}") from None
        return self.encode_series([ragged_end(row)[:, None] for row in values], row_numbers, names[0])

    def golden_inputs(self) -> "Batch":
        """Return a whole wave and half of one in each channel, with one value missing where there are several."""
        import torch

        length, channels = self.processor.max_length, self.num_channels
        steps = torch.arange(length, dtype=torch.float64)[:, None]
        waves = torch.sin(2 * torch.pi * steps / (torch.arange(channels) + 5)).float()  # (T, C)
        values = waves.expand(2, length, channels).clone()
        lengths = torch.tensor([length, max(1, length // 2)])
        inside = torch.arange(length) < lengths[:, None]
        observed = inside[..., None].expand(values.shape).clone()
        observed[0, 0, 0] = length * channels == 1
        values = values.where(observed, 0)
        return {"past_values": values, "past_observed_mask": observed, "attention_mask": inside.long()}
