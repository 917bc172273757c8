"""Tabular regression: a row of a table and one number or several. Metrics, baselines and figures."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import HubmodelsError
from ..fields import option
from ..report import Figure
from ._tabular import TabularTask
from .contract.columns import choose_column, describe_columns, existing_column, kind_of, label_maps

if TYPE_CHECKING:
    import datasets
    import numpy as np

    from ._unbound import Batch, Rows

TARGET_NAMES = ("target", "targets", "label", "labels", "y", "value", "price")
LINEAR_PENALTIES = (1.0, 0.01, 0.1, 10.0, 100.0)  # strengths of ridge regression's L2 penalty


@dataclass(kw_only=True)
class TabularRegression(TabularTask):
    """One row, one number, or one of each of several targets."""

    tag: ClassVar[str] = "tabular-regression"
    head: ClassVar[str] = "ForTabularRegression"
    config_fields: ClassVar[tuple[str, ...]] = (
        *TabularTask.table_fields, "id2label", "label2id", "target_mean", "target_std", "target_min", "target_max",
    )  # fmt: skip
    main_metric: ClassVar[str] = "rmse"
    greater_is_better: ClassVar[bool] = False
    shares: ClassVar[tuple[str, ...]] = ("coverage",)
    metric_names: ClassVar[dict[str, str]] = {
        "rmse": "RMSE",
        "mae": "mean absolute error",
        "r2": "R²",
        "coverage": "share of targets between the outer quantiles",
        "quantile_loss": "mean quantile loss",
    }
    baseline_names: ClassVar[dict[str, str]] = {
        "boosting": "histogram gradient boosting with early stopping",
        "linear": "ridge regression",
        "dummy": "the training mean",
    }

    target_column_names: list[str] | None = option(
        None, "columns to predict; the one named target or label when absent"
    )

    def target_columns(self, features: "datasets.Features") -> list[str]:
        names = self.target_column_names
        if names is None:
            found = [name for name in features if name.lower() in TARGET_NAMES]
            if not found:
                raise HubmodelsError(
                    f"the data set has no column with a target's usual name; its columns are "
                    f"{describe_columns(features)} (name the one to predict with --target_column_names)"
                )
            names = [choose_column(found, TARGET_NAMES, "target", "target_column_names")]
        for name in names:
            kind = kind_of(features[existing_column(name, features, "target_column_names")])
            if not kind.startswith(("int", "uint", "float", "bool", "decimal")):
                raise HubmodelsError(
                    f"column {name!r} holds {kind}, not numbers; choose another with --target_column_names"
                )
        return list(names)

    def fit_config(self, train: "datasets.Dataset", processor: Any) -> dict[str, Any]:
        """The columns as the processor has them; each target's name, mean, standard deviation and range over the
        training rows."""
        names = self.target_columns(train.features)
        columns = train.select_columns(names).with_format("arrow")[:]
        targets = _targets(columns.to_pydict(), list(range(len(train))), names).astype("float64")
        std = targets.std(axis=0)
        return {
            **self.fit_table(processor),
            **label_maps(names),
            "target_mean": targets.mean(axis=0).tolist(),
            "target_std": [float(value) or 1.0 for value in std],
            "target_min": targets.min(axis=0).tolist(),
            "target_max": targets.max(axis=0).tolist(),
        }

    def encoded_features(self, processor: Any, config_values: dict[str, Any]) -> "datasets.Features":
        import datasets

        length = len(config_values["id2label"])
        labels = datasets.List(datasets.Value("float32"), length=length)
        return datasets.Features(**self.table_features(processor), labels=labels)

    def encode(
        self,
        rows: dict[str, list],
        row_numbers: list[int],
        features: "datasets.Features",
        processor: Any,
        config_values: dict[str, Any],
    ) -> "Rows":
        """The features, and `labels` (B, L) float32 in the targets' own units."""
        names = self.target_columns(features)
        inputs = {name: rows[name] for name in rows if name not in names}
        return {**self.encode_table(inputs, row_numbers, processor), "labels": _targets(rows, row_numbers, names)}

    # ---------------------------------------------------------------- results

    def predict(self, outputs: Any, batch: "Batch") -> "Batch":
        """`labels` and `predictions` (B, L), and where the model gives quantiles `quantile_values` (B, L, Q) and
        `quantile_losses` (B, L): the mean pinball loss over the quantiles (Koenker and Bassett 1978)."""
        rows = {"labels": batch["labels"], "predictions": outputs.logits.float()}
        if getattr(outputs, "quantile_values", None) is not None:
            values = rows["quantile_values"] = outputs.quantile_values.float()
            levels = outputs.quantile_levels.float()[:, None]  # (B, 1, Q)
            errors = batch["labels"].view(values.shape[:2])[..., None] - values  # (B, L, Q)
            rows["quantile_losses"] = (errors * (levels - (errors < 0).float())).mean(dim=-1)
        return rows

    def answers(self, outputs: Any, config_values: dict[str, Any]) -> "dict[str, np.ndarray]":
        """The prediction of each target, `low` and `high` where the model gives quantiles, and `uncertainty`, the
        standard deviation over the members, for an ensemble."""
        names = list(config_values["id2label"].values())
        endings = [""] if len(names) == 1 else [f"_{name}" for name in names]
        parts = {"prediction": outputs.logits}
        if (quantiles := getattr(outputs, "quantile_values", None)) is not None and quantiles.shape[-1] > 1:
            parts |= {"low": quantiles.amin(dim=-1), "high": quantiles.amax(dim=-1)}
        if (spread := getattr(outputs, "spread", None)) is not None:
            parts["uncertainty"] = spread
        return {
            f"{part}{ending}": values[:, index].float().cpu().numpy()
            for part, values in parts.items()
            for index, ending in enumerate(endings)
        }

    def metrics(self, rows: "Rows", config_values: dict[str, Any]) -> dict[str, float]:
        """Means over the targets; coverage and quantile loss only where there are quantiles."""
        import numpy as np

        result = {name: float(values.mean()) for name, values in _target_metrics(rows).items()}
        if "quantile_values" in rows and rows["quantile_values"].shape[-1] > 1:
            low, high = rows["quantile_values"].min(axis=-1), rows["quantile_values"].max(axis=-1)
            result["coverage"] = float(np.mean((low <= rows["labels"]) & (rows["labels"] <= high)))
        if "quantile_losses" in rows:
            result["quantile_loss"] = float(rows["quantile_losses"].mean(dtype=np.float64))
        return result

    def class_names(self, config_values: dict[str, Any]) -> list[str]:
        """Several targets have a table of their own."""
        names = list(config_values["id2label"].values())
        return names if len(names) > 1 else []

    def class_metrics(self, rows: "Rows", config_values: dict[str, Any]) -> "dict[str, np.ndarray]":
        return _target_metrics(rows) if len(config_values["id2label"]) > 1 else {}

    # ---------------------------------------------------------------- baselines

    def linear_settings(self) -> list[dict[str, Any]]:
        return [{"alpha": penalty} for penalty in LINEAR_PENALTIES]

    def make_baseline(
        self, kind: str, settings: dict[str, Any], targets: "np.ndarray", seed: int, **boosting: Any
    ) -> Any:
        from sklearn.dummy import DummyRegressor
        from sklearn.ensemble import HistGradientBoostingRegressor
        from sklearn.linear_model import Ridge
        from sklearn.multioutput import MultiOutputRegressor

        if kind == "boosting":
            return MultiOutputRegressor(HistGradientBoostingRegressor(**boosting, **settings, random_state=seed))
        return DummyRegressor() if kind == "dummy" else Ridge(**settings)

    def score_baseline(
        self, model: Any, inputs: "np.ndarray", targets: "np.ndarray", config_values: dict[str, Any]
    ) -> float:
        return -self.metrics(self.baseline_rows(model, inputs, targets, config_values), config_values)["rmse"]

    def baseline_rows(
        self, model: Any, inputs: "np.ndarray", targets: "np.ndarray", config_values: dict[str, Any]
    ) -> "Rows":
        predictions = model.predict(inputs).reshape(targets.shape)
        return {"labels": targets, "predictions": predictions.astype(targets.dtype)}

    # ---------------------------------------------------------------- figures and words

    def mean_prediction(self, rows: "Rows") -> "np.ndarray":
        return rows["predictions"].mean(axis=0)

    def dependence_labels(self, config_values: dict[str, Any]) -> list[str]:
        return list(config_values["id2label"].values())

    def plots(self, rows: "Rows", columns: Any, processor: Any, config_values: dict[str, Any]) -> Iterator[Figure]:
        """Predictions against targets and the errors, for each target."""
        from ._tabular_figures import residual_figure

        for index, name in config_values["id2label"].items():
            ending = f"_{index}" if len(config_values["id2label"]) > 1 else ""
            yield Figure(
                name=f"residuals{ending}",
                caption=f"Predicted against true {name} on the test rows (left; darker is more rows, the line is a "
                "perfect prediction), and the errors beside a normal distribution of their spread (right).",
                figure=residual_figure(rows["predictions"][:, int(index)], rows["labels"][:, int(index)], name),
            )

    def example(self) -> str:
        return (
            "import hubmodels  # makes transformers know the family and the pipeline\n"
            "from transformers import pipeline\n"
            "\n"
            'predict = pipeline("tabular-regression", model="{model_id}")\n'
            'print(predict("rows.csv"))  # a path, a DataFrame, a row as a dict or a list of them:\n'
            '# [{"prediction": ..., ...}, ...]\n'
        )


def _targets(rows: dict[str, list], row_numbers: list[int], names: list[str]) -> "np.ndarray":
    """(B, L) float32. Raises HubmodelsError for a target that is missing or not finite."""
    import numpy as np

    targets = np.array([rows[name] for name in names], dtype=np.float64).T
    if not np.isfinite(targets).all():
        row, place = np.argwhere(~np.isfinite(targets))[0]
        raise HubmodelsError(
            f"row {row_numbers[row]} has no target in column {names[place]!r} (it holds {rows[names[place]][row]!r}); "
            f"drop such rows"
        )
    return targets.astype(np.float32)


def _target_metrics(rows: "Rows") -> "dict[str, np.ndarray]":
    """RMSE, MAE and R2 (NaN where the targets are all equal) of each target, (L,)."""
    import numpy as np

    labels = rows["labels"].astype(np.float64)
    errors = rows["predictions"] - labels
    squares = np.square(errors).mean(axis=0)
    variance = labels.var(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        r2 = np.where(variance > 0, 1 - squares / variance, np.nan)
    return {"rmse": np.sqrt(squares), "mae": np.abs(errors).mean(axis=0), "r2": r2}
