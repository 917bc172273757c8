"""Time-series classification: one series of one or many channels, of any length, and its class.

A row holds a whole series (a nested list, steps x channels), or, in a long table, one step of the series that its id
column names; all steps of a series then have its class.
"""

import itertools
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ..errors import HubmodelsError
from ..fields import option
from ..report import Baseline, Figure
from ._one_class import OneClassARow
from ._series import id_column, load_series_processor, number_columns, order_rows, read_columns, time_column
from ._unbound import Task
from .contract.columns import (
    class_names,
    class_numbers,
    describe_columns,
    existing_column,
    kind_of,
    label_column,
    label_maps,
)

if TYPE_CHECKING:
    import datasets
    import numpy as np
    import torch

    from ._unbound import Batch, Rows

SERIES_NAMES = ("series", "past_values", "values", "data", "x", "signal", "time_series")
BASELINE_PENALTIES = (0.1, 1.0, 10.0)  # inverse strengths of logistic regression's L2 penalty
NUM_EXAMPLES, MAX_CLASSES, MAX_CHANNELS = 3, 12, 4  # of the figure of series


@dataclass(kw_only=True)
class TimeSeriesClassification(OneClassARow, Task):
    """One series, one class."""

    tag: ClassVar[str] = "time-series-classification"
    head: ClassVar[str] = "ForTimeSeriesClassification"
    config_fields: ClassVar[tuple[str, ...]] = ("num_input_channels", "id2label", "label2id")

    series_column_name: str | None = option(None, "column of whole series; the only one of lists when absent")
    label_column_name: str | None = option(None, "column of the classes; the only class column when absent")
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
        for name in ("jitter", "magnitude_scaling"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        for name in ("time_warping", "random_cropping"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 0 and below 1, got {getattr(self, name)}")

    # ---------------------------------------------------------------- columns

    def series_column(self, features: "datasets.Features") -> str | None:
        """The column of whole series, or None where there is none. Raises HubmodelsError when the chosen one holds no
        series, or there are several."""
        if self.series_column_name is not None:
            name = existing_column(self.series_column_name, features, "series_column_name")
            if not is_series(features[name]):
                raise HubmodelsError(
                    f"column {name!r} holds {kind_of(features[name])}, not lists of numbers; choose another "
                    f"--series_column_name, or leave it out for a long table"
                )
            return name
        found = [name for name in features if is_series(features[name])]
        if len(found) > 1:
            named = [name for name in found if name.lower() in SERIES_NAMES]
            if len(named) != 1:
                raise HubmodelsError(
                    f"the data set has several columns of lists: {', '.join(found)}; choose with --series_column_name"
                )
            found = named
        return found[0] if found else None

    def select(self, dataset: "datasets.Dataset") -> "datasets.Dataset":
        """The column of series and the column of classes; of a long table one row a series, in order of appearance."""
        if dataset.features is None:
            raise HubmodelsError("the stream does not tell its columns; leave out --streaming")
        series = self.series_column(dataset.features)
        if series is None:
            return self.gather(dataset)
        label = label_column(dataset.features, self.label_column_name, others=(series,))
        return dataset.select_columns([series, label])

    def gather(self, dataset: "datasets.Dataset") -> "datasets.Dataset":
        """A long table as one row a series. Raises HubmodelsError when its columns cannot be told, its times do not
        ascend evenly, or a series has several classes."""
        import datasets
        import numpy as np

        from ..processors.processing_series_times import to_numbers

        features = dataset.features
        id_name = id_column(features, self.series_id_column_name)
        time_name = time_column(features, self.time_column_name)
        if id_name is None:
            raise HubmodelsError(
                f"the data set has neither a column of lists (whole series) nor one that names a row's series; "
                f"its columns are {describe_columns(features)} (--series_column_name, --series_id_column_name)"
            )
        label = label_column(features, self.label_column_name, others=(id_name, time_name))
        channels = number_columns(
            features, self.channel_column_names, (id_name, time_name, label), "channel_column_names"
        )
        # The class goes through the gaps' rows as missing; those are of the series around them.
        dataset = order_rows(dataset.select_columns([name for name in (id_name, time_name, *channels, label) if name]),
                             id_name, time_name, None)  # fmt: skip
        columns = read_columns(dataset, [id_name, *channels, label])
        ids = columns[id_name].to_numpy()
        edges = [0, *((ids[1:] != ids[:-1]).nonzero()[0] + 1), len(ids)]
        try:
            values = np.stack([to_numbers(columns[name], name) for name in channels], axis=1).astype(np.float32)
        except ValueError as error:
            raise HubmodelsError(f"the series cannot be used: {error}") from None
        classes = []
        for first, last in itertools.pairwise(edges):
            found = columns[label].iloc[first:last].dropna().unique().tolist()
            if len(found) > 1:
                raise HubmodelsError(f"series {ids[first]!r} has several classes in column {label!r}: {found[:5]}")
            classes.append(found[0] if found else None)
        kind = features[label]
        if isinstance(kind, datasets.ClassLabel):
            classes = [None if value is None else int(value) for value in classes]
        rows = {"series": [values[a:b].tolist() for a, b in itertools.pairwise(edges)], label: classes}
        types = datasets.Features({"series": datasets.List(datasets.List(datasets.Value("float32"))), label: kind})
        return datasets.Dataset.from_dict(rows, features=types)

    # ---------------------------------------------------------------- what the data decide

    def fit_processor(self, train: "datasets.Dataset") -> Any:
        """A `TimeSeriesProcessor` with each channel's mean and standard deviation over all steps of the training
        series, and the length of the longest."""
        from ..processors.processing_series import TimeSeriesProcessor

        (column, _) = train.features
        series = [self.read(values, row, column) for row, values in enumerate(train[column])]
        try:
            processor = TimeSeriesProcessor.fit(series, too_long=self.longer_series, series_column=column)
        except ValueError as error:
            raise HubmodelsError(f"the series cannot be used: {error}") from None
        processor.max_length = max(map(len, series))
        return processor

    def load_processor(self, path: str, **kwargs: Any) -> Any:
        """The processor of a checkpoint; its channels and length stay, since the network was trained on them."""
        processor = load_series_processor(path, **kwargs)
        processor.too_long = self.longer_series
        return processor

    def fit_config(self, train: "datasets.Dataset", processor: Any) -> dict[str, Any]:
        """The channels as the processor has them. The classes are a class column's own names in their order, or the
        distinct texts or integers of the training rows, sorted."""
        (_, label) = train.features
        names = class_names(train, label)
        return {
            "num_input_channels": len(processor.channels),
            **label_maps(names),
        }

    # ---------------------------------------------------------------- rows -> tensors

    def read(self, values: Any, row: int, column: str) -> "np.ndarray":
        """One series (T, C) float64, NaN where missing. Raises HubmodelsError naming the row."""
        import numpy as np

        from ..processors.processing_series import read_arrays

        try:
            if values is None or len(values) == 0:
                raise ValueError("it is empty")
            if not isinstance(values[0], list | tuple | np.ndarray):  # one channel
                values = [[value] for value in values]
            (found,) = read_arrays([values], None)
        except (ValueError, TypeError) as error:
            reason = str(error).removeprefix("series 0 ").removeprefix("series 0: ")
            raise HubmodelsError(f"row {row}, column {column!r} holds no series: {reason}") from None
        return found.values

    def encoded_features(self, processor: Any, config_values: dict[str, Any]) -> "datasets.Features":
        import datasets

        shape = (processor.max_length, len(processor.channels))
        return datasets.Features(
            values=datasets.Array2D(shape, "float32"),
            observed=datasets.Array2D(shape, "uint8"),
            length=datasets.Value("int64"),
            labels=datasets.Value("int64"),
        )

    def encode(
        self,
        rows: dict[str, list],
        row_numbers: list[int],
        features: "datasets.Features",
        processor: Any,
        config_values: dict[str, Any],
    ) -> "Rows":
        """The series (see `encode_series`) and `labels` (B,) int64 as the model numbers them."""
        column, label = features
        labels = class_numbers(rows[label], row_numbers, label, features[label], config_values["id2label"])
        return {**self.encode_series(rows[column], row_numbers, column, processor), "labels": labels}

    def encode_series(self, series: list, row_numbers: list[int], column: str, processor: Any) -> "Rows":
        """`values` (B, T, C) float32 in z-scores and `observed` (B, T, C) uint8, T being the longest series of
        training, with zeros behind each series' `length` (B,) int64. Raises HubmodelsError naming a bad row."""
        import numpy as np

        from ..processors.processing_series import Series

        length, channels = processor.max_length, len(processor.channels)
        values = np.zeros((len(series), length, channels), dtype=np.float32)
        observed, lengths = np.zeros(values.shape, dtype=np.uint8), np.zeros(len(series), dtype=np.int64)
        for place, (row, one) in enumerate(zip(row_numbers, series, strict=True)):
            steps = self.read(one, row, column)
            if steps.shape[1] != channels:
                raise HubmodelsError(
                    f"row {row}, column {column!r} has {steps.shape[1]} channels, the training series have {channels}"
                )
            try:
                encoded = processor.encode_whole([Series(None, steps)])
            except ValueError as error:
                raise HubmodelsError(
                    f"row {row}, column {column!r}: {error} (--longer_series truncate)".replace("series 0 ", "it ")
                ) from None
            lengths[place] = encoded["past_values"].shape[1]
            values[place, : lengths[place]] = encoded["past_values"][0]
            observed[place, : lengths[place]] = encoded["past_observed_mask"][0]
        return {"values": values, "observed": observed, "length": lengths}

    def input_columns(self, processor: Any) -> list[str]:
        return [self.series_column_name or processor.series_column]

    def encode_inputs(self, rows: Any, row_numbers: list[int], processor: Any, config_values: dict[str, Any]) -> "Rows":
        """The series of a file's column of lists (JSON lines or Parquet)."""
        name = self.input_columns(processor)[0]
        if name not in rows.column_names:
            raise HubmodelsError(
                f"no column of whole series {name!r} among {', '.join(rows.column_names)}: give JSON lines or Parquet "
                f"with lists (steps x channels) in such a column"
            )
        return self.encode_series(rows.column(name).to_pylist(), list(row_numbers), name, processor)

    def transform(
        self, processor: Any, config_values: dict[str, Any], *, training: bool
    ) -> "Callable[[Batch, torch.Generator | None], Batch]":
        """Series as the model takes them, trimmed to the longest of the batch; in training augmented: time first, then
        values, of observed steps only."""
        from . import _series_augmentation as augmentation

        def prepare(batch: "Batch", generator: "torch.Generator | None" = None) -> "Batch":
            lengths = batch["length"]
            longest = int(lengths.max())
            values, observed = batch["values"][:, :longest], batch["observed"][:, :longest].bool()
            if training and self.random_cropping:
                values, observed, lengths = augmentation.random_crop(
                    values, observed, lengths, self.random_cropping, generator
                )
            if training and self.time_warping:
                values, observed, lengths = augmentation.time_warp(
                    values, observed, lengths, self.time_warping, generator
                )
            if training and self.magnitude_scaling:
                values = augmentation.scale_magnitude(values, self.magnitude_scaling, generator)
            if training and self.jitter:
                values = augmentation.jitter(values, self.jitter, generator)
            inputs = {"past_values": values.where(observed, 0), "past_observed_mask": observed}
            steps = torch_arange(values.shape[1], lengths)
            inputs["attention_mask"] = (steps < lengths[:, None]).long()
            return inputs | ({"labels": batch["labels"]} if "labels" in batch else {})

        return prepare

    # ---------------------------------------------------------------- results

    def baseline(self, train: Any, test: Any, processor: Any, config_values: dict[str, Any], seed: int) -> Baseline:
        """Logistic regression on features of each channel (mean, standard deviation, minimum, maximum, first and last
        value, slope) and the length, its L2 penalty chosen by cross-validation."""
        import numpy as np
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import cross_val_score
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        from .targets.class_rows import probability_rows

        started = time.perf_counter()
        inputs, test_inputs = series_features(train), series_features(test)
        labels, test_labels = train.tensor("labels").numpy(), test.tensor("labels").numpy()
        probabilities = np.zeros((len(test_labels), len(config_values["id2label"])))
        found, counts = np.unique(labels, return_counts=True)
        if len(found) == 1:  # nothing to separate
            probabilities[:, found[0]] = 1
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                models = [
                    make_pipeline(StandardScaler(), LogisticRegression(C=penalty, max_iter=1_000, random_state=seed))
                    for penalty in BASELINE_PENALTIES
                ]
                best = 1
                if (folds := min(5, counts.min())) > 1:
                    scores = [
                        cross_val_score(model, inputs, labels, cv=int(folds), scoring="neg_log_loss").mean()
                        for model in models
                    ]
                    best = int(np.argmax(scores))
                model = models[best].fit(inputs, labels)
            probabilities[:, found] = model.predict_proba(test_inputs)
        name = "logistic regression on mean, spread, range, ends, slope and length"
        return Baseline(
            name=name, rows=probability_rows(probabilities, test_labels), seconds=time.perf_counter() - started
        )

    def row_plots(self, rows: "Rows", columns: Any, processor: Any, config_values: dict[str, Any]) -> Iterator[Figure]:
        """Series of each class."""
        channels = min(len(processor.channels), MAX_CHANNELS)
        yield Figure(
            name="examples",
            caption=f"The first {NUM_EXAMPLES} test series of each class, z-scored"
            + (f", their first {channels} channels by colour." if channels > 1 else "."),
            figure=examples_figure(rows, columns, self.class_names(config_values)),
        )

    # ---------------------------------------------------------------- a release

    def golden_inputs(self, processor: Any, config_values: dict[str, Any]) -> "Batch":
        """A whole wave and half of one in each channel, with one value missing where there are several."""
        import torch

        length, channels = processor.max_length, len(processor.channels)
        steps = torch.arange(length, dtype=torch.float64)[:, None]
        values = (
            torch.sin(2 * torch.pi * steps / (torch.arange(channels) + 5)).float().expand(2, length, channels).clone()
        )
        lengths = torch.tensor([length, max(1, length // 2)])
        inside = torch.arange(length) < lengths[:, None]
        observed = inside[..., None].expand(values.shape).clone()
        observed[0, 0, 0] = length * channels == 1
        values = values.where(observed, 0)
        return {"past_values": values, "past_observed_mask": observed, "attention_mask": inside.long()}

    def example(self) -> str:
        return (
            "import hubmodels  # makes transformers know the family and the pipeline\n"
            "import numpy as np\n"
            "from transformers import pipeline\n"
            "\n"
            'classify = pipeline("time-series-classification", model="{model_id}")\n'
            "series = np.zeros((20, len(classify.processor.channels)))  # steps x channels, or a list of such arrays\n"
            'print(classify(series))  # {"label": ..., "score": ..., "probabilities": {...}}\n'
        )


def is_series(feature: Any) -> bool:
    """Whether a column holds lists of numbers, or lists of such lists."""
    import datasets

    if isinstance(feature, datasets.Array2D):
        return True
    depth = 0
    while isinstance(feature, datasets.List | datasets.LargeList):
        feature, depth = feature.feature, depth + 1
    return (
        depth in (1, 2) and isinstance(feature, datasets.Value) and feature.dtype.startswith(("int", "uint", "float"))
    )


def torch_arange(count: int, like: "torch.Tensor") -> "torch.Tensor":
    import torch

    return torch.arange(count, device=like.device)


def series_features(columns: Any) -> "np.ndarray":
    """(N, 7 C + 1) float64: mean, standard deviation, minimum, maximum, first and last value and slope of each channel,
    and the length. What was not observed is left out; a channel without any value counts as 0."""
    import numpy as np

    values = columns.tensor("values").numpy().astype(np.float64)
    observed, lengths = columns.tensor("observed").numpy().astype(bool), columns.tensor("length").numpy()
    counts = observed.sum(axis=1).clip(1)  # (N, C)
    values = np.where(observed, values, 0)
    mean = values.sum(axis=1) / counts
    std = np.sqrt((np.where(observed, values - mean[:, None], 0) ** 2).sum(axis=1) / counts)
    some = observed.any(axis=1)
    low = np.where(some, np.where(observed, values, np.inf).min(axis=1), 0)
    high = np.where(some, np.where(observed, values, -np.inf).max(axis=1), 0)
    first = observed.argmax(axis=1)
    last = values.shape[1] - 1 - observed[:, ::-1].argmax(axis=1)
    ends = [np.take_along_axis(values, place[:, None], axis=1)[:, 0] for place in (first, last)]
    steps = np.arange(values.shape[1])[None, :, None]
    center = np.where(observed, steps, 0).sum(axis=1) / counts
    offsets = np.where(observed, steps - center[:, None], 0)
    slope = (offsets * values).sum(axis=1) / (offsets**2).sum(axis=1).clip(1)
    return np.concatenate([mean, std, low, high, *ends, slope, lengths[:, None]], axis=1)


def examples_figure(rows: "Rows", columns: Any, names: list[str]) -> Any:
    """The first series of each class, a class a panel, a colour a channel."""
    import numpy as np
    import torch

    from ..figures import CYCLE, house_style, new_figure
    from ..formatting import shorten

    classes = [label for label in range(len(names)) if (rows["labels"] == label).any()][:MAX_CLASSES]
    ncols = min(3, len(classes))
    nrows = -(-len(classes) // ncols)
    with house_style():
        figure, grid = new_figure(2.4 * ncols + 0.6, 1.5 * nrows + 0.3, nrows, ncols, squeeze=False, sharex=True)
        for axes in grid.flat[len(classes) :]:
            axes.axis("off")
        for axes, label in zip(grid.flat, classes, strict=False):
            numbers = np.flatnonzero(rows["labels"] == label)[:NUM_EXAMPLES]
            batch = columns.batch(torch.from_numpy(numbers))
            for values, observed, length in zip(batch["values"], batch["observed"], batch["length"], strict=True):
                shown = values.where(observed.bool(), torch.nan)[:length]
                for channel in range(min(shown.shape[1], MAX_CHANNELS)):
                    axes.plot(shown[:, channel], color=CYCLE[channel], linewidth=0.9, alpha=0.8)
            axes.set_title(shorten(names[label]), size=8, pad=3)
        for axes in grid[-1]:
            axes.set_xlabel("step")
    return figure
