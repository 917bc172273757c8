"""Rows of a table of any kind -> `numeric_features` (B, F) float32 and `categorical_features` (B, M) int64 codes.

    processor = TabularProcessor.fit(train_frame)         # statistics of the training rows alone
    processor.save_pretrained(folder)                     # processor_config.json
    batch = processor(frame, return_tensors="pt")         # a DataFrame, a dict of columns, a row, a list of rows, ...

Numbers are scaled by their quantiles to a normal distribution, or robustly by median and quartiles with a smooth clip
(RealMLP, Holzmuller et al. 2024, arXiv:2407.04491, section 3). A missing number is its median, and a category of its
own says so. A category's values are coded 1..n, 0 is unknown. Columns that tell nothing are dropped, with the reason.
This file goes to the Hub as code.
"""

import difflib
import warnings
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from transformers.feature_extraction_utils import BatchFeature
from transformers.processing_utils import ProcessorMixin
from transformers.utils import logging

from .processing_table_columns import (
    DATE_PARTS,
    MAX_QUANTILES,
    BadValue,
    category_text,
    date_part,
    fit_category,
    fit_date,
    fit_number,
    other_spellings,
    recognise,
    to_dates,
    to_numbers,
    to_seconds,
)

logger = logging.get_logger(__name__)

SCALINGS = ("quantile", "robust")


class TabularProcessor(ProcessorMixin):
    """Turns rows of a table into the tensors that a tabular model takes. `fit` makes one from training rows.

    Args:
        columns: what is known of each column that is used, in the order of the features: its `name`, its `kind`
            (number, category or date) and its statistics.
        dropped: the columns of the training rows that are not used, name -> reason.
        scaling: of numbers: "quantile" or "robust".

    Raises:
        ValueError: an unknown scaling or kind of column.
    """

    def __init__(
        self,
        columns: list[dict[str, Any]] | None = None,
        dropped: dict[str, str] | None = None,
        scaling: str = "quantile",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if scaling not in SCALINGS:
            raise ValueError(f"scaling must be one of {', '.join(SCALINGS)}, got {scaling!r}")
        self.columns, self.dropped, self.scaling = columns or [], dropped or {}, scaling
        self._numbers: list[tuple[str, _Scaler]] = []  # column name and scaler of each numeric feature, in order
        # The places of each column's features among the numeric and among the categorical ones.
        self.feature_places: dict[str, tuple[list[int], list[int]]] = {}
        self.categorical_names: list[str] = []
        self.cardinalities: list[int] = []  # of each categorical feature: codes are 1..n, 0 is unknown
        for column in self.columns:
            name, kind = column["name"], column["kind"]
            numbers_before, categories_before = len(self._numbers), len(self.cardinalities)
            if kind not in ("number", "category", "date"):
                raise ValueError(
                    f"column {name!r} is of the unknown kind {kind!r}; kinds are number, category and date"
                )
            if column.get("quantiles") is not None:
                self._numbers.append((name, _Scaler(column, scaling)))
            if kind == "category":
                self._add_category(name, len(column["values"]) + column["has_rare"])
            for part in column.get("parts", []):
                self._add_category(f"{name} {part}", DATE_PARTS[part])
            if column.get("has_missing"):
                self._add_category(f"{name} is missing", 1)
            self.feature_places[name] = (
                list(range(numbers_before, len(self._numbers))),
                list(range(categories_before, len(self.cardinalities))),
            )
        self._lookups = {
            column["name"]: {value: code for code, value in enumerate(column["values"], start=1)}
            for column in self.columns
            if column["kind"] == "category"
        }

    def _add_category(self, name: str, cardinality: int) -> None:
        self.categorical_names.append(name)
        self.cardinalities.append(cardinality)

    @property
    def column_names(self) -> list[str]:
        """Return the columns that a row must have."""
        return [column["name"] for column in self.columns]

    @property
    def numeric_names(self) -> list[str]:
        """Return what each entry of `numeric_features` is."""
        return [name for name, _ in self._numbers]

    @property
    def model_input_names(self) -> list[str]:
        """Return the names of the arrays that a call gives."""
        names = ["numeric_features"] if self._numbers else []
        return names + (["categorical_features"] if self.cardinalities else [])

    # ---------------------------------------------------------------- fitting

    @classmethod
    def fit(
        cls,
        table: Any,
        *,
        scaling: str = "quantile",
        categorical: Sequence[str] = (),
        min_frequency: int = 3,
        left_out: Mapping[str, str] | None = None,
    ) -> "TabularProcessor":
        """Return a processor with the statistics of these rows.

        Args:
            table: the training rows, of any kind that `__call__` takes, without the target.
            scaling: "quantile": each number becomes normally distributed; "robust": (x - median) / (interquartile
                range), smoothly clipped to +-3.
            categorical: columns of numbers that are categories.
            min_frequency: values of a category that occur less often are one value, the rare, >= 1.
            left_out: columns that are dropped whatever they hold, name -> reason.

        Raises:
            ValueError: there are no rows or no column that tells anything, or `categorical` names an unknown column.
        """
        data, num_rows = read_table(table)
        if num_rows == 0:
            raise ValueError("there are no rows to fit on")
        for name in categorical:
            if name not in data:
                raise ValueError(f"there is no column {name!r}{_nearest(name, data)}; columns are {', '.join(data)}")
        columns: list[Any] = []
        dropped: dict[str, str] = dict(left_out or {})
        seen: dict[int, tuple[str, tuple]] = {}
        for name, values in data.items():
            if name in dropped:
                continue
            kind, values = recognise(values, name, name in categorical)
            fitted = {"number": fit_number, "category": fit_category, "date": fit_date}[kind](values, min_frequency)
            if isinstance(fitted, str):
                dropped[name] = fitted
                continue
            content = (kind, values.tobytes() if values.dtype != object else tuple(values))
            if (twin := seen.setdefault(hash(content), (name, content)))[1] == content and twin[0] != name:
                dropped[name] = f"the same as {twin[0]!r}"
                continue
            columns.append({"name": name, **fitted})
        if not columns:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in dropped.items())
            raise ValueError(f"no column tells anything ({reasons or 'there are none'})")
        return cls(columns=columns, dropped=dropped, scaling=scaling)

    # ---------------------------------------------------------------- use

    def __call__(self, table: Any, return_tensors: str | None = None, **kwargs: Any) -> BatchFeature:
        """Prepare rows.

        Args:
            table: a pandas DataFrame, a pyarrow Table, a data set of `datasets` or its slice, a mapping of columns, one
                row as a mapping or a pandas Series, or a list of rows. Columns go by name, in any order; others are
                ignored.
            return_tensors: "pt" or "np"; by default arrays.

        Returns:
            `numeric_features` (B, F) float32 where there are numbers, `categorical_features` (B, M) int64 where there
            are categories.

        Raises:
            ValueError: a column is missing, or holds what its kind cannot be.
        """
        data, num_rows = read_table(table, self.column_names)
        missing = [name for name in self.column_names if name not in data]
        if missing:
            hint = _nearest(missing[0], data)
            names = ", ".join(map(repr, missing))
            raise ValueError(f"missing column{'s' * (len(missing) > 1)} {names}{hint}; given are {', '.join(data)}")
        ignored = [name for name in data if name not in self.column_names and name not in self.dropped]
        if ignored:
            logger.warning_once(f"columns that the model does not use are ignored: {', '.join(ignored)}")
        numeric = np.empty((num_rows, len(self._numbers)), dtype=np.float32)
        categorical = np.zeros((num_rows, len(self.cardinalities)), dtype=np.int64)
        number, category = 0, 0
        for column in self.columns:
            name, values = column["name"], data[column["name"]]
            if column["kind"] == "category":
                categorical[:, category] = self._codes(values, column)
                category += 1
                continue
            if column["kind"] == "date":
                dates = to_dates(values, name)
                values = to_seconds(dates)
                absent = np.isnan(values)
                for part in column["parts"]:
                    categorical[:, category] = np.where(absent, 0, date_part(dates, part) + 1)
                    category += 1
            else:
                values = to_numbers(values, name)
                absent = np.isnan(values)
            if not column["has_missing"] and (count := np.count_nonzero(absent)):
                warnings.warn(
                    f"column {name!r} lacks {count:,} of {num_rows:,} values, none in training: the median is taken",
                    stacklevel=2,
                )
            if column.get("quantiles") is not None:
                numeric[:, number] = self._numbers[number][1](values, absent)
                number += 1
            if column["has_missing"]:
                categorical[:, category] = absent
                category += 1
        features = {"numeric_features": numeric, "categorical_features": categorical}
        return BatchFeature({name: features[name] for name in self.model_input_names}, tensor_type=return_tensors)

    def _codes(self, values: np.ndarray, column: dict[str, Any]) -> np.ndarray:
        """Return the codes (B,) of a category's values; of unknown ones the code of the rare where there is one, else
        0."""
        lookup = self._lookups[column["name"]]
        unknown = len(column["values"]) + 1 if column["has_rare"] else 0
        listed = values.tolist()

        def code_of(value: Any) -> int:
            if value in lookup:  # as releases before 0.2 wrote values: with the blanks around them
                return lookup[value]
            text = category_text(value)
            if text in lookup or text is None:
                return lookup.get(text, unknown)
            return next((lookup[other] for other in other_spellings(text) if other in lookup), unknown)

        try:
            known = {value: code_of(value) for value in set(listed)}
        except TypeError:
            row = next((row for row, value in enumerate(listed) if not isinstance(value, Hashable)), 0)
            reason = f"must hold one value a row, row {row} holds {listed[row]!r:.60}"
            raise BadValue(row, column["name"], reason) from None
        return np.fromiter(map(known.__getitem__, listed), dtype=np.int64, count=len(listed))

    def numeric_grid(self, index: int, num_points: int) -> tuple[np.ndarray, np.ndarray]:
        """Return values of a numeric feature at even quantiles of the training rows, ascending: (values in the column's
        unit, the same scaled), each (G,) with G at most `num_points`."""
        scaler = self._numbers[index][1]
        values = np.unique(np.interp(np.linspace(0, 1, num_points), scaler.levels, scaler.values))
        return values, scaler(values, np.zeros(len(values), dtype=bool)).astype(np.float32)

    def restore_numbers(self, numeric_features: np.ndarray) -> np.ndarray:
        """Return scaled numbers (B, F) in their columns' own units, float64. What lay beyond the training rows' ends is
        at them, and what was missing is the median."""
        features = np.asarray(numeric_features, dtype=np.float64)
        columns = [scaler.restore(features[:, index]) for index, (_, scaler) in enumerate(self._numbers)]
        return np.stack(columns, axis=1) if columns else features

    def bin_edges(self, num_bins: int) -> list[list[float]]:
        """Return for each numeric feature the edges of at most `num_bins` bins, which hold about equally many training
        rows.

        Raises ValueError when `num_bins` is below 1."""
        if num_bins < 1:
            raise ValueError(f"num_bins must be at least 1, got {num_bins}")
        return [scaler.bin_edges(num_bins) for _, scaler in self._numbers]


# -------------------------------------------------------------------- numbers


class _Scaler:
    """One number's scaling, from its stored quantiles."""

    def __init__(self, column: dict[str, Any], scaling: str) -> None:
        self.values = np.array(column["quantiles"], dtype=np.float64)  # ascending
        self.levels = np.array(column["levels"], dtype=np.float64)  # the share of training rows below each
        self.median = column["median"]
        low, high = np.interp([0.25, 0.75], self.levels, self.values)
        spread = high - low if high > low else (self.values[-1] - self.values[0]) / 2
        self.factor, self.robust = 1 / spread, scaling == "robust"
        # The ends of the distribution lie half a quantile within, where the normal one is finite.
        margin = 0.5 / MAX_QUANTILES
        scores = torch.special.ndtri(torch.from_numpy(self.levels.clip(margin, 1 - margin)))
        self.scores = scores.numpy()

    def __call__(self, numbers: np.ndarray, absent: np.ndarray) -> np.ndarray:
        numbers = np.where(absent, self.median, numbers) if absent.any() else numbers
        if not self.robust:
            return np.interp(numbers, self.values, self.scores)
        scaled = ((numbers - self.median) * self.factor).clip(-1e6, 1e6)
        return scaled / np.sqrt(1 + (scaled / 3) ** 2)

    def restore(self, scaled: np.ndarray) -> np.ndarray:
        """Return scaled numbers in their own unit."""
        if not self.robust:
            return np.interp(scaled, self.scores, self.values)
        scaled = scaled.clip(-2.999999, 2.999999)
        return scaled / np.sqrt(1 - (scaled / 3) ** 2) / self.factor + self.median

    def bin_edges(self, num_bins: int) -> list[float]:
        """Return the edges of at most `num_bins` bins of equally many training rows, scaled."""
        values = self.values  # a number of few values has an edge at each
        if len(values) > num_bins + 1:
            values = np.interp(np.linspace(0, 1, num_bins + 1), self.levels, self.values)
        edges = self(values, np.zeros(len(values), dtype=bool)).astype(np.float32)
        return [round(float(edge), 6) for edge in np.unique(edges.round(6))]


# -------------------------------------------------------------------- categories


# -------------------------------------------------------------------- dates


# -------------------------------------------------------------------- reading


def read_table(table: Any, names: Iterable[str] | None = None) -> tuple[dict[str, np.ndarray], int]:
    """Return any form of a table as one array (B,) a column, and the number of its rows.

    Args:
        table: see `TabularProcessor.__call__`.
        names: columns that are needed; the others may be left out of the result's arrays (they are empty arrays then).

    Raises:
        ValueError: it is no table, or its columns are not of one length or have one name.
    """
    if hasattr(table, "to_dict") and hasattr(table, "index") and not hasattr(table, "columns"):  # a row of pandas
        table = table.to_dict()
    needed = None if names is None else set(names)
    column: Callable[[str], Any]
    if hasattr(table, "to_pandas") and hasattr(table, "column_names") and not hasattr(table, "with_format"):  # pyarrow
        known, num_rows, column = list(table.column_names), table.num_rows, lambda name: table.column(name).to_pandas()
    elif hasattr(table, "column_names") and hasattr(table, "with_format"):  # datasets
        return read_table(table.with_format("arrow")[:], names)
    elif hasattr(table, "columns") and hasattr(table, "to_numpy"):  # pandas
        known, num_rows, column = [str(name) for name in table.columns], len(table), lambda name: table[name]
    elif isinstance(table, Mapping):
        if not table:
            raise ValueError("the row is empty: it has no columns")
        is_column = {name: _is_sequence(values) for name, values in table.items()}
        if any(is_column.values()) != all(is_column.values()):
            one = next(name for name, is_list in is_column.items() if not is_list)
            raise ValueError(f"a mapping must hold columns or one row: {one!r} is a single value, others are lists")
        columns = table if all(is_column.values()) else {name: [value] for name, value in table.items()}
        lengths = {name: len(values) for name, values in columns.items()}
        if len(set(lengths.values())) > 1:
            shown = ", ".join(f"{name} {length}" for name, length in lengths.items())
            raise ValueError(f"the columns must be of one length, got {shown}")
        known, num_rows, column = list(columns), next(iter(lengths.values())), columns.__getitem__
    elif (
        isinstance(table, Sequence)
        and not isinstance(table, str | bytes)
        and all(isinstance(r, Mapping) for r in table)
    ):
        if len(table) == 0:
            raise ValueError("the list is empty: it has no rows")
        known = list(dict.fromkeys(name for row in table for name in row))
        for number, row in enumerate(table):
            lacking = [name for name in (needed or known) if name not in row]
            if lacking:
                raise ValueError(f"row {number}: missing columns {', '.join(map(repr, lacking))}")
        num_rows, column = len(table), lambda name: [row.get(name) for row in table]
    else:
        raise ValueError(
            f"a table must be a DataFrame, a mapping of columns, one row as a mapping or a list of rows; "
            f"got {type(table).__name__}"
        )
    if twice := sorted({str(name) for name in known if known.count(name) > 1} & (needed or set(known))):
        raise ValueError(f"there are several columns of the name {', '.join(map(repr, twice))}; keep one of each")
    empty = np.empty(0)
    return {name: _array(column(name)) if needed is None or name in needed else empty for name in known}, num_rows


def _is_sequence(values: Any) -> bool:
    if isinstance(values, str | bytes | Mapping) or not hasattr(values, "__len__"):
        return False
    return getattr(values, "ndim", 1) != 0


def _array(values: Any) -> np.ndarray:
    """Return one column as an array: numbers, booleans and dates in their own type, everything else as objects."""
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu().numpy()
    if hasattr(values, "to_numpy"):
        values = values.to_numpy()
    if isinstance(values, np.ndarray) and values.ndim == 1 and values.dtype.kind in "fiubM":
        return values
    if isinstance(values, np.ndarray) and values.ndim == 1 and values.dtype.kind == "m":  # durations, in seconds
        return values / np.timedelta64(1, "s")
    result = np.empty(len(values), dtype=object)
    result[:] = values if isinstance(values, np.ndarray) else list(values)
    kinds = set(map(type, result))
    if any(issubclass(kind, np.generic | torch.Tensor) for kind in kinds):
        result[:] = [value.item() if isinstance(value, np.generic | torch.Tensor) else value for value in values]
        kinds = set(map(type, result))
    if kinds <= {int, float} and kinds:
        return result.astype(np.float64)
    return result.astype(bool) if kinds == {bool} else result


def _nearest(name: str, names: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(names), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
