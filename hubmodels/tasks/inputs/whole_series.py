"""Whole series: one a row, of one or many channels and of any length.

A row holds a series as a nested list (steps x channels). In a long table it holds one step of the series that its id
column names. What such a table tells of a series beside its channels is the same in all its rows.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ...errors import HubmodelsError
from ...fields import option
from ..contract.columns import describe_columns, existing_column, kind_of
from ..contract.parts import FittedInput, Input
from .series_tables import (
    id_column,
    load_series_processor,
    number_columns,
    order_rows,
    read_columns,
    stretches,
    time_column,
)
from .series_values import is_series, read_series

if TYPE_CHECKING:
    import datasets
    import pyarrow
    import torch

    from ..contract.types import Batch, RawRows, Rows, Transform

SERIES_NAMES = ("series", "past_values", "values", "data", "x", "signal", "time_series")


@dataclass(kw_only=True)
class WholeSeries(Input):
    """Holds the options of reading whole series."""

    decided_fields: ClassVar[tuple[str, ...]] = ("num_input_channels",)

    series_column_name: str | None = option(None, "column of whole series; the only one of lists when absent")
    series_id_column_name: str | None = option(None, "long tables: column that names a row's series")
    time_column_name: str | None = option(None, "long tables: column of times; the one named date or time when absent")
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

    def claims(self, features: "datasets.Features") -> list[str]:
        """Name the column of whole series; of a long table the columns of ids and, where there is one, of times."""
        series = self.series_column(features)
        if series is not None:
            return [series]
        id_name = id_column(features, self.series_id_column_name)
        time_name = time_column(features, self.time_column_name)
        if id_name is None:
            raise HubmodelsError(
                f"the data set has neither a column of lists (whole series) nor one that names a row's series; "
                f"its columns are {describe_columns(features)} (--series_column_name, --series_id_column_name)"
            )
        return [id_name] if time_name is None else [id_name, time_name]

    def columns(self, features: "datasets.Features", targets: list[str]) -> list[str]:
        """Name the column of whole series; of a long table the columns of ids, of times and the channels."""
        claimed = self.claims(features)
        if self.series_column(features) is not None:
            return claimed
        others = [*claimed, *targets]
        return [*claimed, *number_columns(features, self.channel_column_names, others, "channel_column_names")]

    def gather(self, dataset: "datasets.Dataset", targets: list[str], noun: str) -> "datasets.Dataset":
        """Gather a long table into one row a series, in order of appearance; whole series stay as they are.

        Args:
            dataset: the columns that the task reads, and no others.
            targets: those that tell something of a whole series.
            noun: what these hold, for an error message: "classes".

        Raises:
            HubmodelsError: the times do not ascend evenly, a channel holds no numbers, or a target changes within a
                series.
        """
        import datasets
        import numpy as np

        from ...processors.processing_series_times import to_numbers

        features = dataset.features
        if self.series_column(features) is not None:
            return dataset
        id_name = self.claims(features)[0]
        channels = [name for name in self.columns(features, targets) if name not in self.claims(features)]
        # A target goes through the gaps' rows as missing; those are of the series around them.
        dataset = order_rows(dataset, id_name, time_column(features, self.time_column_name), None)
        columns = read_columns(dataset, [id_name, *channels, *targets])
        ids = columns[id_name].to_numpy()
        try:
            values = np.stack([to_numbers(columns[name], name) for name in channels], axis=1).astype(np.float32)
        except ValueError as error:
            raise HubmodelsError(f"the series cannot be used: {error}") from None
        rows = {"series": [values[first:last].tolist() for first, last in stretches(ids)]}
        types = {"series": datasets.List(datasets.List(datasets.Value("float32")))}
        for name in targets:
            types[name], rows[name] = features[name], []
            for first, last in stretches(ids):
                different = columns[name].iloc[first:last].dropna().unique().tolist()
                if len(different) > 1:
                    raise HubmodelsError(
                        f"series {ids[first]!r} has several {noun} in column {name!r}: {different[:5]}"
                    )
                if isinstance(features[name], datasets.ClassLabel):  # the gaps made numbers with a point of them
                    different = [int(value) for value in different]
                rows[name].append(different[0] if different else None)
        return datasets.Dataset.from_dict(rows, features=datasets.Features(types))

    def fit(self, train: "datasets.Dataset", columns: list[str]) -> "FittedWholeSeries":
        """Fit a processor to all steps of the training series, as `gather` gives them.

        It has each channel's mean and standard deviation, and the length of the longest series."""
        from ...processors.processing_series import TimeSeriesProcessor

        (column,) = columns
        series = [read_series(values, row, column) for row, values in enumerate(train[column])]
        try:
            processor = TimeSeriesProcessor.fit(series, too_long=self.longer_series, series_column=column)
        except ValueError as error:
            raise HubmodelsError(f"the series cannot be used: {error}") from None
        processor.max_length = max(map(len, series))
        return FittedWholeSeries(options=self, processor=processor)

    def bind(self, processor: Any) -> "FittedWholeSeries":
        """Take a processor as it is."""
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
                raise HubmodelsError(
                    f"row {row}, column {column!r} has {steps.shape[1]} channels, the training series have {channels}"
                )
            try:
                encoded = self.processor.encode_whole([Series(None, steps)])
            except ValueError as error:
                raise HubmodelsError(
                    f"row {row}, column {column!r}: {error} (--longer_series truncate)".replace("series 0 ", "it ")
                ) from None
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

    def input_columns(self) -> list[str]:
        """Name the chosen column, or that of the training rows."""
        return [self.options.series_column_name or self.processor.series_column]

    def encode_inputs(self, table: "pyarrow.Table", row_numbers: list[int]) -> "Rows":
        """Encode the series of a file's column of lists (JSON lines or Parquet)."""
        (name,) = self.input_columns()
        if name not in table.column_names:
            raise HubmodelsError(
                f"no column of whole series {name!r} among {', '.join(table.column_names)}: give JSON lines or Parquet "
                f"with lists (steps x channels) in such a column"
            )
        return self.encode_series(table.column(name).to_pylist(), row_numbers, name)

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
