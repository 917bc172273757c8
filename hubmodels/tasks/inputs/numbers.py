"""Numbers of a table: its columns of numbers alone, scaled as those of every table."""

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ...errors import HubmodelsError
from ..contract.columns import describe_columns, kind_of
from .tables import FittedTableColumns, TableColumns

if TYPE_CHECKING:
    import datasets

    from ..contract.types import Batch, EncodedColumns, Rows

logger = logging.getLogger("hubmodels")


@dataclass(kw_only=True)
class NumberColumns(TableColumns):
    """Holds the options of reading the columns of numbers; classes, texts and dates are left out."""

    decided_fields: ClassVar[tuple[str, ...]] = ("num_numeric_features",)

    def check(self, features: "datasets.Features", targets: list[str]) -> None:
        """Refuse options that name columns which are not there, and say which columns are left out."""
        super().check(features, targets)
        numbers = self.columns(features, targets)
        left_out = [name for name in super().columns(features, targets) if name not in numbers]
        if left_out:
            logger.info("Columns without numbers are left out: %s", ", ".join(left_out))

    def columns(self, features: "datasets.Features", targets: list[str]) -> list[str]:
        """Name the chosen columns, or all, that hold numbers."""
        names = super().columns(features, targets)
        numbers = [name for name in names if kind_of(features[name]).startswith(("int", "uint", "float"))]
        if not numbers:
            chosen = {name: features[name] for name in names}
            raise HubmodelsError(f"the data set has no column of numbers, only {describe_columns(chosen)}")
        return numbers

    def fit(self, train: "datasets.Dataset", columns: list[str]) -> "FittedNumberColumns":
        """Fit a `TabularProcessor`. Raises HubmodelsError where no column varies."""
        fitted = self.bind(super().fit(train, columns).processor)
        if not fitted.num_numbers:
            raise HubmodelsError("no column of numbers tells anything: each holds one value only")
        return fitted

    def bind(self, processor: Any) -> "FittedNumberColumns":
        """Take a table processor as it is."""
        return FittedNumberColumns(options=self, processor=processor)


@dataclass(kw_only=True)
class FittedNumberColumns(FittedTableColumns[NumberColumns]):
    """Numbers of a table with their processor. Encoded they are `numeric_features` (B, F) float32."""

    @property
    def names(self) -> list[str]:
        """Return the columns that vary, in the order of the numbers."""
        return self.processor.numeric_names

    def config_fields(self) -> dict[str, Any]:
        """Return how many numbers there are."""
        return {"num_numeric_features": self.num_numbers}

    def encoded_features(self) -> dict[str, Any]:
        """Return the Arrow type of the numbers."""
        return {"numeric_features": super().encoded_features()["numeric_features"]}

    def process(self, table: Any, row_numbers: list[int]) -> "Rows":
        """Scale the numbers; where one is missing it is the median, of which nothing else tells."""
        return {"numeric_features": super().process(table, row_numbers)["numeric_features"]}

    def golden_inputs(self) -> "Batch":
        """Return two rows of numbers spread over their scaled range."""
        return {"numeric_features": super().golden_inputs()["numeric_features"]}

    def scaled(self, columns: "EncodedColumns") -> Any:
        """Return the numbers as they are scaled, (N, F) float32, for classical methods."""
        return columns.tensor("numeric_features").numpy()
