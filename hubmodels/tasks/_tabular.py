"""Columns, the processor and encoded rows of tables for feature-extraction, which is not bound yet."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ..errors import HubmodelsError
from ..fields import option
from ._unbound import Task
from .contract.columns import existing_column, kind_of

if TYPE_CHECKING:
    import datasets
    import torch

    from ._unbound import Batch, Rows


@dataclass(kw_only=True)
class TabularTask(Task):
    """The rows of a table and what is to be told of each."""

    feature_column_names: list[str] | None = option(None, "columns to predict from; all but the target when absent")
    ignored_column_names: list[str] | None = option(None, "columns not to predict from, such as row numbers")
    categorical_column_names: list[str] | None = option(None, "columns of numbers that are categories")
    numeric_scaling: Literal["quantile", "robust"] = option(
        "quantile", "scaling of numbers: to a normal distribution, or by median and quartiles with a smooth clip"
    )
    min_category_frequency: int = option(3, "values of a category that occur less often are one value, the rare, >= 1")
    num_bins: int = option(48, "bins of each number where the model embeds it piecewise linearly, >= 1")

    def __post_init__(self) -> None:
        for name in ("min_category_frequency", "num_bins"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    # ---------------------------------------------------------------- columns

    def target_columns(self, features: "datasets.Features") -> list[str]:
        """The columns to predict. Raises HubmodelsError where it cannot be told which they are."""
        raise NotImplementedError

    def select(self, dataset: "datasets.Dataset") -> "datasets.Dataset":
        """The columns to predict from, in the data set's order, then the targets."""
        features = dataset.features
        if features is None:
            raise HubmodelsError("tables cannot be streamed: their statistics need all rows; leave out --streaming")
        targets = self.target_columns(features)
        names = [name for name in features if name not in targets]
        if self.feature_column_names is not None:
            for name in self.feature_column_names:
                if existing_column(name, features, "feature_column_names") in targets:
                    raise HubmodelsError(f"column {name!r} is the target; leave it out of --feature_column_names")
            names = [name for name in names if name in self.feature_column_names]
        for flag in ("ignored_column_names", "categorical_column_names"):
            for name in getattr(self, flag) or []:
                existing_column(name, features, flag)
        names = [name for name in names if name not in (self.ignored_column_names or [])]
        if not names:
            raise HubmodelsError("the data set has no column to predict from beside the target")
        for name in names:
            if kind_of(features[name]) in ("Image", "Audio", "Video", "List", "LargeList", "Sequence", "dict"):
                raise HubmodelsError(
                    f"column {name!r} holds {kind_of(features[name])}, not one number, date or category a row; "
                    f"leave it out with --ignored_column_names"
                )
        return dataset.select_columns([*names, *targets])

    def feature_table(self, dataset: "datasets.Dataset") -> "datasets.Dataset":
        """A selected data set without its targets."""
        targets = self.target_columns(dataset.features)
        return dataset.select_columns([name for name in dataset.features if name not in targets])

    # ---------------------------------------------------------------- what the data decide

    def fit_processor(self, train: "datasets.Dataset") -> Any:
        """A `TabularProcessor` with the statistics of the training rows."""
        from ..processors.processing_table import TabularProcessor

        if not hasattr(train, "__len__"):
            raise HubmodelsError("tables cannot be streamed: their statistics need all rows; leave out --streaming")
        table = self.feature_table(train)
        classes = [name for name, kind in table.features.items() if kind_of(kind) == "classes"]
        named = [name for name in self.categorical_column_names or [] if name in table.features]
        try:
            return TabularProcessor.fit(
                table,
                scaling=self.numeric_scaling,
                categorical=list(dict.fromkeys([*classes, *named])),
                min_frequency=self.min_category_frequency,
            )
        except ValueError as error:
            raise HubmodelsError(f"the table cannot be used: {error}") from None

    def load_processor(self, path: str, **kwargs: Any) -> Any:
        """The processor of a checkpoint; its columns and statistics stay, since the network was built for them."""
        from ..processors.processing_table import TabularProcessor

        try:
            processor = TabularProcessor.from_pretrained(path, **kwargs)
            if not processor.columns:  # transformers makes an empty one of a missing file
                raise ValueError("it is missing, or names no column")
            return processor
        except (OSError, ValueError, TypeError, KeyError) as error:
            reason = " ".join(str(error).split())[:200]
            raise HubmodelsError(f"no usable table processor (processor_config.json) at {path}: {reason}") from error

    # ---------------------------------------------------------------- rows -> tensors

    def table_features(self, processor: Any) -> dict[str, Any]:
        """The Arrow types of the encoded features."""
        import datasets

        types = {
            "numeric_features": (len(processor.numeric_names), "float32"),
            "categorical_features": (len(processor.cardinalities), "int64"),
        }
        return {name: datasets.List(datasets.Value(kind), length=n) for name, (n, kind) in types.items() if n}

    def encode_table(self, rows: Any, row_numbers: list[int], processor: Any) -> "Rows":
        """The features of a batch of rows. Raises HubmodelsError for a column that is missing or of the wrong kind."""
        try:
            return dict(processor(rows))
        except ValueError as error:
            first = f" (rows are counted from row {row_numbers[0]})" if len(row_numbers) and row_numbers[0] else ""
            raise HubmodelsError(f"{error}{first}") from None

    def encode_inputs(self, rows: Any, row_numbers: list[int], processor: Any, config_values: dict[str, Any]) -> "Rows":
        # The others, which the processor would speak of, go to the output.
        known = [name for name in processor.column_names if name in rows.column_names]
        return self.encode_table(rows.select(known) if len(known) == len(processor.column_names) else rows,
                                 row_numbers, processor)  # fmt: skip

    def input_columns(self, processor: Any) -> list[str]:
        return processor.column_names

    def transform(
        self, processor: Any, config_values: dict[str, Any], *, training: bool
    ) -> "Callable[[Batch, torch.Generator | None], Batch]":
        """Encoded rows are what the model takes."""
        return lambda batch, generator=None: batch

    def golden_inputs(self, processor: Any, config_values: dict[str, Any]) -> "Batch":
        """Two rows: numbers spread over their scaled range, categories of codes 0, 1, 2, ..."""
        import torch

        inputs = {}
        if count := len(processor.numeric_names):
            inputs["numeric_features"] = torch.linspace(-2, 2, 2 * count).view(2, count)
        if processor.cardinalities:
            limits = torch.tensor(processor.cardinalities) + 1
            inputs["categorical_features"] = torch.arange(2 * len(limits)).view(2, -1) % limits
        return inputs
