"""One number a row or several, whatever the row is: names, scale, predictions, metrics, answers, residuals."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ...errors import BadRow, HubmodelsError
from ...fields import option
from ...report import Figure
from ...units import Units
from ..contract.columns import choose_column, describe_columns, existing_column, kind_of, ordered_labels
from ..contract.parts import FittedTarget, Target

if TYPE_CHECKING:
    import datasets
    import numpy as np

    from ..contract.types import Batch, ModelOutput, RawRows, Rows

TARGET_NAMES = ("target", "targets", "label", "labels", "y", "value", "price")
NUMERIC = ("int", "uint", "float", "bool", "decimal")  # how the types of columns of numbers begin
SCALE = ("target_mean", "target_std", "target_min", "target_max")  # config fields, one number a target each


@dataclass(kw_only=True)
class Numbers(Target):
    """Holds the options of the numbers of a row."""

    state_fields: ClassVar[dict[str, Any]] = {"names": list[str]}
    decided_fields: ClassVar[tuple[str, ...]] = ("num_labels", "problem_type", *SCALE)

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

    target_column_names: list[str] | None = option(
        None, "columns to predict; the one named target or label when absent"
    )

    def columns(self, features: "datasets.Features", claimed: list[str]) -> list[str]:
        """Name the columns to predict: the chosen ones, or the one with a usual name."""
        names = self.target_column_names
        if names is None:
            usual = [name for name in features if name.lower() in TARGET_NAMES and name not in claimed]
            if not usual:
                raise HubmodelsError(
                    f"the data set has no column with a target's usual name; its columns are "
                    f"{describe_columns(features)} (name the one to predict with --target_column_names)"
                )
            names = [choose_column(usual, TARGET_NAMES, "target", "target_column_names")]
        for name in names:
            kind = kind_of(features[existing_column(name, features, "target_column_names")])
            if not kind.startswith(NUMERIC):
                raise HubmodelsError(
                    f"column {name!r} holds {kind}, not numbers; choose another with --target_column_names"
                )
        return list(names)

    def units(self, features: "datasets.Features", columns: list[str]) -> Units:
        """Balance carved rows by the range of the first number."""
        return Units(targets=tuple(columns), numbers=columns[0])

    def fit(self, train: "datasets.Dataset", columns: list[str]) -> "FittedNumbers":
        """Take each target's name, mean, standard deviation and range over the training rows."""
        table = train.select_columns(columns).with_format("arrow")[:]
        values = number_matrix(table.to_pydict(), list(range(len(train))), columns).astype("float64")
        scale = {
            "target_mean": values.mean(axis=0).tolist(),
            "target_std": [float(deviation) or 1.0 for deviation in values.std(axis=0)],
            "target_min": values.min(axis=0).tolist(),
            "target_max": values.max(axis=0).tolist(),
        }
        return FittedNumbers(options=self, names=list(columns), scale=scale)

    def restore(self, config: Mapping[str, Any], state: Mapping[str, Any]) -> "FittedNumbers":
        """Take the names from problem.json, of a release of 0.1.0 from the config's `id2label`."""
        scale = {name: list(config[name]) for name in SCALE if config.get(name) is not None}
        labels = ordered_labels(config)  # as many as there are numbers, also where they name none
        names = list(state.get("names") or labels)
        if labels and len(names) != len(labels):
            raise HubmodelsError(f"problem.json names {len(names)} targets, the model has {len(labels)}")
        return FittedNumbers(options=self, names=names, scale=scale)


@dataclass(kw_only=True)
class FittedNumbers(FittedTarget[Numbers]):
    """Numbers by name, L of them, and their scale over the training rows. They are told in their own units."""

    names: list[str]
    scale: dict[str, list[float]]  # of `SCALE`; empty for a model that does not normalise

    def config_fields(self) -> dict[str, Any]:
        """Return how many numbers there are, their scale and the `problem_type`."""
        return {"num_labels": len(self.names), "problem_type": "regression", **self.scale}

    def state(self) -> dict[str, Any]:
        """Return the names of the targets."""
        return {"names": self.names}

    def encoded_features(self) -> dict[str, Any]:
        """Return the Arrow type of `labels`."""
        import datasets

        return {"labels": datasets.List(datasets.Value("float32"), length=len(self.names))}

    def encode(
        self, rows: "RawRows", row_numbers: list[int], columns: list[str], features: "datasets.Features"
    ) -> "Rows":
        """Encode `labels` (B, L) float32 in the targets' own units. Raises HubmodelsError for one that is missing."""
        if len(columns) != len(self.names):
            raise HubmodelsError(
                f"the model predicts {len(self.names)} number(s) ({', '.join(self.names)}), not {len(columns)} "
                f"({', '.join(columns)}); name as many columns with --target_column_names"
            )
        return {"labels": number_matrix(rows, row_numbers, columns)}

    def predict(self, outputs: "ModelOutput", batch: "Batch") -> "Batch":
        """Return `labels` and `predictions` (B, L), of a model with quantiles their values and losses too.

        These are `quantile_values` (B, L, Q) and `quantile_losses` (B, L), the mean pinball loss over the quantiles
        (Koenker and Bassett 1978)."""
        from ...abilities import quantile_values

        rows = {"labels": batch["labels"], "predictions": outputs.logits.float()}
        if (values := quantile_values(outputs)) is not None:
            values = rows["quantile_values"] = values.float()
            levels = outputs.quantile_levels.float()[:, None]  # (B, 1, Q)
            errors = batch["labels"].view(values.shape[:2])[..., None] - values  # (B, L, Q)
            rows["quantile_losses"] = (errors * (levels - (errors < 0).float())).mean(dim=-1)
        return rows

    def metrics(self, rows: "Rows") -> dict[str, float]:
        """Compute means over the targets; coverage and quantile loss only where there are quantiles."""
        import numpy as np

        metrics = {name: float(values.mean()) for name, values in metrics_by_target(rows).items()}
        if "quantile_values" in rows and rows["quantile_values"].shape[-1] > 1:
            low, high = rows["quantile_values"].min(axis=-1), rows["quantile_values"].max(axis=-1)
            metrics["coverage"] = float(np.mean((low <= rows["labels"]) & (rows["labels"] <= high)))
        if "quantile_losses" in rows:
            metrics["quantile_loss"] = float(rows["quantile_losses"].mean(dtype=np.float64))
        return metrics

    def class_names(self) -> list[str]:
        """Name the targets where there are several: they have a table of their own."""
        return self.names if len(self.names) > 1 else []

    def class_metrics(self, rows: "Rows") -> "dict[str, np.ndarray]":
        """Compute the metrics of each of several targets."""
        return metrics_by_target(rows) if len(self.names) > 1 else {}

    def answers(self, outputs: "ModelOutput") -> "dict[str, np.ndarray]":
        """Return the `prediction` of each target, `low` and `high`, and an ensemble's `uncertainty`.

        Low and high are the outer ones of at least two quantiles; the uncertainty is the standard deviation over the
        members. Of several targets each column ends in the target's name."""
        from ...abilities import quantile_values, spread

        told = {"prediction": outputs.logits}
        if (quantiles := quantile_values(outputs)) is not None and quantiles.shape[-1] > 1:
            told |= {"low": quantiles.amin(dim=-1), "high": quantiles.amax(dim=-1)}
        if (deviations := spread(outputs)) is not None:
            told["uncertainty"] = deviations
        return {
            self.answer_name(what, target): values[:, target].float().cpu().numpy()
            for what, values in told.items()
            for target in range(len(self.names))
        }

    def answer_name(self, what: str, target: int) -> str:
        """Name the column of `answers` that holds the prediction, low, high or uncertainty of a target."""
        return what if len(self.names) == 1 else f"{what}_{self.names[target]}"

    def figures(self, rows: "Rows") -> Iterator[Figure]:
        """Draw predictions against targets, and the errors, of each target."""
        from ..figures.numbers import residual_plot

        for index, target in enumerate(self.names):
            name = f"residuals_{index}" if len(self.names) > 1 else "residuals"
            yield residual_plot(name, target, rows["predictions"][:, index], rows["labels"][:, index])

    def mean_prediction(self, rows: "Rows") -> "np.ndarray":
        """Compute the mean prediction of each target, (L,)."""
        return rows["predictions"].mean(axis=0)

    def line_names(self) -> list[str]:
        """Name the entries of `mean_prediction`."""
        return self.names


def number_matrix(rows: "RawRows", row_numbers: list[int], names: list[str]) -> "np.ndarray":
    """Return the targets (B, L) float32. Raises HubmodelsError for one that is missing or not finite."""
    import numpy as np

    targets = np.array([rows[name] for name in names], dtype=np.float64).T
    if not np.isfinite(targets).all():
        row, target = np.argwhere(~np.isfinite(targets))[0]
        raise BadRow(
            row_numbers[row],
            names[target],
            f"there is no target (it holds {rows[names[target]][row]!r}); drop such rows",
        )
    return targets.astype(np.float32)


def metrics_by_target(rows: "Rows") -> "dict[str, np.ndarray]":
    """Compute RMSE, MAE and R2 (NaN where the targets are all equal) of each target, (L,)."""
    import numpy as np

    labels = rows["labels"].astype(np.float64)
    errors = rows["predictions"] - labels
    squares = np.square(errors).mean(axis=0)
    variance = labels.var(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        r2 = np.where(variance > 0, 1 - squares / variance, np.nan)
    return {"rmse": np.sqrt(squares), "mae": np.abs(errors).mean(axis=0), "r2": r2}
