"""Tables: numbers, dates and categories of a row, encoded once as the model takes them."""

import contextlib
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar

from ...errors import BadRow, HubmodelsError, nearest, one_line
from ...fields import option
from ...report import note
from ..contract.columns import existing_column, kind_of
from ..contract.parts import FittedInput, Input
from ..contract.rows import refused_row
from .table_notes import columns_to_leave_out, say_blanks, say_columns

if TYPE_CHECKING:
    import datasets
    import numpy as np
    import pyarrow

    from ..contract.types import Batch, EncodedColumns, RawRows, Rows

SAID_CATEGORIES = ("category", "boolean")  # of these
COLUMN_KINDS = ("number", "category", "date", "text", "boolean", "identifier")
UNREADABLE = ("Image", "Audio", "Video", "List", "LargeList", "Sequence", "dict")  # kinds that no table model reads


@dataclass(kw_only=True)
class TableColumns(Input):
    """Holds the options of choosing a table's columns and of scaling its numbers."""

    feature_column_names: list[str] | None = option(None, "columns to predict from; all but the target when absent")
    ignored_column_names: list[str] | None = option(None, "columns not to predict from, such as row numbers")
    categorical_column_names: list[str] | None = option(None, "columns of numbers that are categories")
    numeric_scaling: Literal["quantile", "robust"] = option(
        "quantile", "scaling of numbers: to a normal distribution, or by median and quartiles with a smooth clip"
    )

    column_kinds: dict | None = option(None, "what columns are; text and identifiers are not predicted from")
    missing_values: Literal["indicator", "refuse"] = option(
        "indicator", "gaps among the columns to predict from: the median, and a category that says so; or an error"
    )

    def __post_init__(self) -> None:
        for name, kind in (self.column_kinds or {}).items():
            if kind not in COLUMN_KINDS:
                hint = nearest(str(kind), COLUMN_KINDS)
                allowed = ", ".join(COLUMN_KINDS)
                raise ValueError(f"column_kinds: {name!r} cannot be {kind!r}{hint}; kinds are {allowed}")

    def claims(self, features: "datasets.Features") -> list[str]:
        """Name no column: any may be the target. Raises HubmodelsError where the columns of a stream are not known."""
        if features is None:
            raise streamed()
        return []

    def check(self, features: "datasets.Features", targets: list[str]) -> None:
        """Refuse options that name columns which are not there, or the target as a column to predict from."""
        for name in self.feature_column_names or []:
            if existing_column(name, features, "feature_column_names") in targets:
                raise HubmodelsError(f"column {name!r} is the target; leave it out of --feature_column_names")
        for name in self.ignored_column_names or []:
            existing_column(name, features, "ignored_column_names")
        for name in self.categorical_column_names or []:
            existing_column(name, features, "categorical_column_names")

    def columns(self, features: "datasets.Features", targets: list[str]) -> list[str]:
        """Name the columns to predict from, in the data set's order: the chosen ones, or all but the targets."""
        names = [name for name in features if name not in targets and name not in (self.ignored_column_names or [])]
        if self.feature_column_names is not None:
            names = [name for name in names if name in self.feature_column_names]
        if not names:
            raise HubmodelsError("the data set has no column to predict from beside the target")
        for name in names:
            if kind_of(features[name]) in UNREADABLE:
                raise HubmodelsError(
                    f"column {name!r} holds {kind_of(features[name])}, not one number, date or category a row; "
                    f"leave it out with --ignored_column_names"
                )
        return names

    def fit(self, train: "datasets.Dataset", columns: list[str]) -> "FittedTableColumns[Any]":
        """Fit a `TabularProcessor` with the statistics of the training rows."""
        from ...processors.processing_table import TabularProcessor

        if not hasattr(train, "__len__"):
            raise streamed()
        table = train.select_columns(columns)
        features = train.features  # a copy, which of thousands of columns takes its time
        classes = [name for name in columns if kind_of(features[name]) == "classes"]
        kinds = {name: kind for name, kind in (self.column_kinds or {}).items() if name in columns}
        said = [*(self.categorical_column_names or []), *(name for name in kinds if kinds[name] in SAID_CATEGORIES)]
        categories = [name for name in said if name in columns]
        try:
            processor = TabularProcessor.fit(
                table,
                scaling=self.numeric_scaling,
                categorical=list(dict.fromkeys([*classes, *categories])),
                min_frequency=self.min_frequency,
                left_out=columns_to_leave_out(train, columns, kinds),
            )
        except ValueError as error:
            raise refused_row(error, range(len(train)), "the table cannot be used: ") from None
        say_columns(processor)
        say_blanks(table, [column["name"] for column in processor.columns if column["kind"] == "category"])
        return self.bind(processor)

    @property
    def min_frequency(self) -> int:
        """Return how often a value of a category must occur to be told from the rare ones."""
        return 3

    def bind(self, processor: Any) -> "FittedTableColumns[Any]":
        """Take a table processor as it is."""
        raise NotImplementedError

    def load(self, path: str, **kwargs: Any) -> "FittedTableColumns[Any]":
        """Take the processor of a checkpoint; columns and statistics stay, since the network was built for them."""
        from ...processors.processing_table import TabularProcessor

        try:
            processor = TabularProcessor.from_pretrained(path, **kwargs)
            if not processor.columns:  # transformers makes an empty one of a missing file
                raise ValueError("it is missing, or names no column")
        except (OSError, ValueError, TypeError, KeyError) as error:
            reason = one_line(error, 200)
            raise HubmodelsError(f"no usable table processor (processor_config.json) at {path}: {reason}") from error
        say_columns(processor)
        return self.bind(processor)


@contextlib.contextmanager
def noting_warnings() -> Iterator[None]:
    """Say what a processor warns of inside the block as notes, without the counts, which are those of one batch."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        yield
    for warning in caught:
        if warning.category is not UserWarning:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
            continue
        text = re.sub(r" lacks [\d,]+ of [\d,]+ values", " lacks values", str(warning.message))
        note("rows", text, surprising=True)


def streamed() -> HubmodelsError:
    """Return what is said of a table whose rows are not all at hand."""
    return HubmodelsError("tables cannot be streamed: their statistics need all rows; leave out --streaming")


TableColumnsT = TypeVar("TableColumnsT", bound=TableColumns)


@dataclass(kw_only=True)
class FittedTableColumns(FittedInput[TableColumnsT], Generic[TableColumnsT]):
    """Tables with their processor.

    Encoded they are `numeric_features` (B, F) float32, `categorical_features` (B, M) int64, or one of the two."""

    @property
    def num_numbers(self) -> int:
        """Count the numbers of a row, F."""
        return len(self.processor.numeric_names)

    @property
    def cardinalities(self) -> list[int]:
        """Return the number of values of each of the M categories; codes are 1..n, 0 is unknown."""
        return self.processor.cardinalities

    def encoded_features(self) -> dict[str, Any]:
        """Return the Arrow types of numbers and categories, where there are any."""
        import datasets

        types = {
            "numeric_features": (self.num_numbers, "float32"),
            "categorical_features": (len(self.cardinalities), "int64"),
        }
        return {name: datasets.List(datasets.Value(kind), length=n) for name, (n, kind) in types.items() if n}

    def encode(self, rows: "RawRows", row_numbers: list[int], columns: list[str]) -> "Rows":
        """Scale numbers and code categories. Raises HubmodelsError for a column that is missing or of another kind."""
        return self.process({name: rows[name] for name in columns}, row_numbers)

    def process(self, table: Any, row_numbers: list[int]) -> "Rows":
        """Let the processor encode a mapping of columns, or a pyarrow Table."""
        if self.options.missing_values == "refuse":
            self.refuse_gaps(table, row_numbers)
        try:
            with noting_warnings():
                return dict(self.processor(table))
        except ValueError as error:
            raise refused_row(error, row_numbers) from None

    def refuse_gaps(self, table: Any, row_numbers: list[int]) -> None:
        """Raise BadRow for the first gap in a column that the processor reads."""
        from ...processors.processing_table import read_table
        from ...processors.processing_table_columns import is_missing

        for name, values in read_table(table, self.input_columns())[0].items():
            gaps = [row for row, value in enumerate(values) if is_missing(value) or not str(value).strip()]
            if gaps and name in self.input_columns():
                more = f" ({len(gaps) - 1:,} more of the rows read with it have one)" if len(gaps) > 1 else ""
                reason = f"it is a gap{more}, and missing_values is refuse; fill it, or choose missing_values indicator"
                raise BadRow(row_numbers[gaps[0]], name, reason)

    def input_columns(self) -> list[str]:
        """Name the columns that the processor reads."""
        return self.processor.column_names

    def encode_inputs(self, table: "pyarrow.Table", row_numbers: list[int]) -> "Rows":
        """Encode the processor's columns of a table; the others, of which it would speak, go to the output."""
        names = self.input_columns()
        complete = all(name in table.column_names for name in names)
        return self.process(table.select(names) if complete else table, row_numbers)

    def golden_inputs(self) -> "Batch":
        """Return two rows: numbers spread over their scaled range, categories of codes 0, 1, 2, ..."""
        import torch

        inputs = {}
        if self.num_numbers:
            inputs["numeric_features"] = torch.linspace(-2, 2, 2 * self.num_numbers).view(2, self.num_numbers)
        if self.cardinalities:
            limits = torch.tensor(self.cardinalities) + 1
            inputs["categorical_features"] = torch.arange(2 * len(limits)).view(2, -1) % limits
        return inputs

    def matrix(self, columns: "EncodedColumns") -> "np.ndarray":
        """Return numbers in their own units and codes side by side, (N, F + M) float64, for classical methods."""
        import numpy as np

        halves = []
        if self.num_numbers:
            halves.append(self.processor.restore_numbers(columns.tensor("numeric_features").numpy()))
        if self.cardinalities:
            halves.append(columns.tensor("categorical_features").numpy().astype(np.float64))
        return np.concatenate(halves, axis=1)


@dataclass(kw_only=True)
class Tables(TableColumns):
    """Holds the options of reading the rows of a table: numbers, dates and categories."""

    decided_fields: ClassVar[tuple[str, ...]] = ("num_numeric_features", "categorical_cardinalities", "bin_edges")

    min_category_frequency: int = option(3, "values of a category that occur less often are one value, the rare, >= 1")
    num_bins: int = option(48, "bins of each number where the model embeds it piecewise linearly, >= 1")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, value in (("min_category_frequency", self.min_category_frequency), ("num_bins", self.num_bins)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")

    @property
    def min_frequency(self) -> int:
        """Return how often a value of a category must occur to be told from the rare ones."""
        return self.min_category_frequency

    def bind(self, processor: Any) -> "FittedTables":
        """Take a table processor as it is."""
        return FittedTables(options=self, processor=processor)


@dataclass(kw_only=True)
class FittedTables(FittedTableColumns[Tables]):
    """Numbers and categories of a table with their processor."""

    def config_fields(self) -> dict[str, Any]:
        """Return how many numbers there are, the values of each category, and the bins of each number."""
        return {
            "num_numeric_features": self.num_numbers,
            "categorical_cardinalities": self.cardinalities or None,
            "bin_edges": self.processor.bin_edges(self.options.num_bins) or None,
        }
