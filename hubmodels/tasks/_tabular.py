"""What the tabular tasks share: columns, the processor, encoded rows, classical baselines and figures of the model."""

import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ..errors import HubmodelsError
from ..fields import option
from ..report import Baseline, Figure
from ._unbound import Task
from .contract.columns import existing_column, kind_of

if TYPE_CHECKING:
    import datasets
    import numpy as np
    import torch

    from ._unbound import Batch, Rows

BASELINE_SECONDS = 30  # no further setting of the boosting is tried after this long
# Settings of gradient boosting that are tried, in this order: the first is scikit-learn's own.
BOOSTING_SETTINGS = (
    {},
    {"learning_rate": 0.05, "max_leaf_nodes": 31, "l2_regularization": 1.0, "min_samples_leaf": 10},
    {"learning_rate": 0.05, "max_leaf_nodes": 63, "l2_regularization": 1.0, "min_samples_leaf": 20},
    {"learning_rate": 0.03, "max_leaf_nodes": 15, "l2_regularization": 0.1, "min_samples_leaf": 5},
    {"learning_rate": 0.05, "max_leaf_nodes": 63, "l2_regularization": 10.0, "max_features": 0.5},
    {"learning_rate": 0.05, "max_leaf_nodes": 31, "l2_regularization": 1.0, "max_features": 0.3},
)
BOOSTING_ITERATIONS = 1_000
FEW_ROWS, FEW_FOLDS = 2_000, 5  # fewer training rows are cross-validated, since a tenth of them decides nothing
IMPORTANCE_ROWS, IMPORTANCE_REPEATS = 2_000, 3
DEPENDENCE_ROWS, DEPENDENCE_POINTS, DEPENDENCE_COLUMNS = 500, 21, 4


@dataclass(kw_only=True)
class TabularTask(Task):
    """The rows of a table and what is to be told of each."""

    table_fields: ClassVar[tuple[str, ...]] = ("num_numeric_features", "categorical_cardinalities", "bin_edges")

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

    def fit_table(self, processor: Any) -> dict[str, Any]:
        """The values of `table_fields`."""
        return {
            "num_numeric_features": len(processor.numeric_names),
            "categorical_cardinalities": processor.cardinalities or None,
            "bin_edges": processor.bin_edges(self.num_bins) or None,
        }

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

    # ---------------------------------------------------------------- baselines

    def baseline(self, train: Any, test: Any, processor: Any, config_values: dict[str, Any], seed: int) -> Baseline:
        """Gradient boosting or a linear model, whichever is better on a tenth of the training rows (on few rows, by
        cross-validation); the other one and a constant prediction are beside it."""
        import numpy as np

        inputs, targets = _table_array(train, processor), train.tensor("labels").numpy()
        test_inputs, test_targets = _table_array(test, processor), test.tensor("labels").numpy()
        order = np.random.default_rng(seed).permutation(len(inputs))
        folds = np.array_split(order, FEW_FOLDS if len(inputs) < FEW_ROWS else 10)
        folds = folds if len(inputs) < FEW_ROWS else folds[:1]
        found: list[tuple[float, Baseline]] = []
        for kind, choices in (("boosting", BOOSTING_SETTINGS), ("linear", self.linear_settings()), ("dummy", ({},))):
            started = time.perf_counter()
            scores: list[float] = []
            for settings in choices:
                if scores and time.perf_counter() - started > BASELINE_SECONDS:
                    break
                parts = []
                for held in folds:
                    kept = np.setdiff1d(order, held)
                    model = self.fit_baseline(kind, settings, inputs[kept], targets[kept], processor, seed)
                    parts.append(self.score_baseline(model, inputs[held], targets[held], config_values))
                scores.append(float(np.mean(parts)))
            best = max(range(len(scores)), key=scores.__getitem__)
            model = self.fit_baseline(kind, choices[best], inputs, targets, processor, seed)
            rows = self.baseline_rows(model, test_inputs, test_targets, config_values)
            name = self.name_baseline(kind, targets) + (f", best of {len(scores)} settings" if len(scores) > 1 else "")
            found.append((scores[best], Baseline(name, rows, time.perf_counter() - started)))
        first, *others = (item for _, item in sorted(found, key=lambda pair: -pair[0]))
        first.others = others
        return first

    baseline_names: ClassVar[dict[str, str]] = {}  # boosting, linear, dummy -> words

    def linear_settings(self) -> list[dict[str, Any]]:
        """The settings of the linear model that are tried."""
        raise NotImplementedError

    def name_baseline(self, kind: str, targets: "np.ndarray") -> str:
        """The words for a kind."""
        return self.baseline_names[kind]

    def make_baseline(
        self, kind: str, settings: dict[str, Any], targets: "np.ndarray", seed: int, **boosting: Any
    ) -> Any:
        """scikit-learn's estimator of a kind for such targets: boosting, linear or dummy."""
        raise NotImplementedError

    def fit_baseline(
        self,
        kind: str,
        settings: dict[str, Any],
        inputs: "np.ndarray",
        targets: "np.ndarray",
        processor: Any,
        seed: int,
    ) -> Any:
        """A fitted estimator. Boosting gets the codes of categories as categories, the linear model one-hot."""
        from sklearn.compose import make_column_transformer
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import OneHotEncoder, StandardScaler

        numbers = len(processor.numeric_names)
        categories = list(range(numbers, numbers + len(processor.cardinalities)))
        if kind == "boosting":
            few = [place for place, n in zip(categories, processor.cardinalities, strict=True) if n < 255]
            model = self.make_baseline(
                kind,
                settings,
                targets,
                seed,
                categorical_features=few or None,
                max_iter=BOOSTING_ITERATIONS,
                early_stopping=len(inputs) >= 100,
            )
            if len(inputs) < 100:  # too few to hold some out: scikit-learn's own number of trees
                model.set_params(**{name: 100 for name in model.get_params() if name.endswith("max_iter")})
        else:
            model = self.make_baseline(kind, settings, targets, seed)
        if kind == "linear":
            scaling = make_column_transformer(
                (StandardScaler(), list(range(numbers))),
                (OneHotEncoder(handle_unknown="ignore", min_frequency=5), categories),
                sparse_threshold=0,
            )
            model = make_pipeline(scaling, model)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            warnings.filterwarnings("ignore", message="Found unknown categories")
            warnings.filterwarnings("ignore", message="Label .* is present in all training examples")
            return model.fit(inputs, targets)

    def score_baseline(
        self, model: Any, inputs: "np.ndarray", targets: "np.ndarray", config_values: dict[str, Any]
    ) -> float:
        """How good a fitted estimator is on these rows; greater is better."""
        raise NotImplementedError

    def baseline_rows(
        self, model: Any, inputs: "np.ndarray", targets: "np.ndarray", config_values: dict[str, Any]
    ) -> "Rows":
        """What `predict` gives for the network, for a fitted estimator."""
        raise NotImplementedError

    # ---------------------------------------------------------------- figures of the model

    def explain(
        self, predict: "Callable[[Any], Rows]", columns: Any, processor: Any, config_values: dict[str, Any]
    ) -> Iterator[Figure]:
        """Permutation importance of each column, and the partial dependence on the strongest."""
        import numpy as np

        from ._tabular_figures import dependence_figure, importance_figure

        rows = np.random.default_rng(0).permutation(len(columns))
        table = Table.take(columns, rows[:IMPORTANCE_ROWS])
        importances = self.importances(predict, table, processor, config_values)
        names = sorted(importances, key=lambda name: -importances[name].mean())
        label = self.metric_names[self.main_metric]
        yield Figure(
            name="permutation_importance",
            caption=f"How much worse the {label} becomes when one column is shuffled over {len(table):,} test rows "
            f"({IMPORTANCE_REPEATS} times; the lines span them). Columns that say the same share their importance.",
            figure=importance_figure([(name, importances[name]) for name in names], label),
        )
        table = Table.take(columns, rows[:DEPENDENCE_ROWS])
        curves = []
        for name in names:
            numbers, categories = processor.feature_places[name]
            if len(curves) < DEPENDENCE_COLUMNS and importances[name].mean() > 0 and (numbers or len(categories) == 1):
                curves.append((name, *self.dependence(predict, table, processor, config_values, name)))
        if curves:
            yield Figure(
                name="partial_dependence",
                caption="Mean prediction when the column has this value in every row, all else as it is, over "
                f"{len(table):,} test rows; the {len(curves)} strongest columns, numbers at even quantiles.",
                figure=dependence_figure(curves, self.dependence_labels(config_values)),
            )

    def importances(
        self, predict: "Callable[[Any], Rows]", table: "Table", processor: Any, config_values: dict[str, Any]
    ) -> "dict[str, np.ndarray]":
        """For each column how much worse the main metric becomes when it is shuffled, (repeats,)."""
        import numpy as np

        sign = 1 if self.greater_is_better else -1
        generator = np.random.default_rng(0)
        whole = self.metrics(predict(table), config_values)[self.main_metric]
        result = {}
        for name, places in processor.feature_places.items():
            losses = []
            for _ in range(IMPORTANCE_REPEATS):
                shuffled = table.shuffled(places, generator.permutation(len(table)))
                losses.append(sign * (whole - self.metrics(predict(shuffled), config_values)[self.main_metric]))
            result[name] = np.array(losses)
        return result

    def dependence(
        self, predict: "Callable[[Any], Rows]", table: "Table", processor: Any, config_values: dict[str, Any], name: str
    ) -> tuple[list, "np.ndarray"]:
        """The values of a column and the mean prediction at each, (values, lines)."""
        import numpy as np

        numbers, categories = processor.feature_places[name]
        column = next(column for column in processor.columns if column["name"] == name)
        if numbers:
            values, inputs = processor.numeric_grid(numbers[0], DEPENDENCE_POINTS)
            changed = [table.filled(numbers[0], None, value) for value in inputs.tolist()]
            if column["kind"] == "date":
                values = values.astype("datetime64[s]")
        else:
            texts = column.get("values", ["missing"])
            values = [str(value) for value in texts][:DEPENDENCE_POINTS]
            changed = [table.filled(None, categories[0], code) for code in range(1, len(values) + 1)]
        lines = [self.mean_prediction(predict(item)) for item in changed]
        return list(values), np.array(lines)

    def mean_prediction(self, rows: "Rows") -> "np.ndarray":
        """What partial dependence draws: one number a line."""
        raise NotImplementedError

    def dependence_labels(self, config_values: dict[str, Any]) -> list[str]:
        """The names of these lines."""
        raise NotImplementedError


class Table:
    """Encoded rows in memory, to be changed: what evaluation needs of a split, `len()` and `batch()`."""

    def __init__(self, tensors: "Batch") -> None:
        self.tensors = tensors

    @classmethod
    def take(cls, columns: Any, rows: "np.ndarray") -> "Table":
        import torch

        return cls(columns.batch(torch.from_numpy(rows)))

    def __len__(self) -> int:
        return len(next(iter(self.tensors.values())))

    def batch(self, rows: "torch.Tensor") -> "Batch":
        return {name: tensor[rows] for name, tensor in self.tensors.items()}

    def shuffled(self, places: tuple[list[int], list[int]], order: "np.ndarray") -> "Table":
        """Numeric and categorical features at these places from other rows."""
        tensors = dict(self.tensors)
        for name, indices in zip(("numeric_features", "categorical_features"), places, strict=True):
            if indices:
                tensors[name] = tensors[name].clone()
                tensors[name][:, indices] = self.tensors[name][order][:, indices]
        return Table(tensors)

    def filled(self, number: int | None, category: int | None, value: float) -> "Table":
        """The same value in every row, of one numeric or one categorical feature."""
        tensors = dict(self.tensors)
        name, place = ("numeric_features", number) if number is not None else ("categorical_features", category)
        tensors[name] = tensors[name].clone()
        tensors[name][:, place] = value
        return Table(tensors)


def _table_array(columns: Any, processor: Any) -> "np.ndarray":
    """Numbers in their own units and codes side by side, (N, F + M) float64, for scikit-learn."""
    import numpy as np

    parts = []
    if processor.numeric_names:
        parts.append(processor.restore_numbers(columns.tensor("numeric_features").numpy()))
    if processor.cardinalities:
        parts.append(columns.tensor("categorical_features").numpy().astype(np.float64))
    return np.concatenate(parts, axis=1)
