"""One number a row or several, whatever the row is: names, scale, predictions, metrics, answers, residuals.

A model computes in float32. Numbers that lose digits there, such as seconds since 1970, are centred and scaled in
float64 before a model sees them, and what it says is restored in float64.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ...errors import BadRow, HubmodelsError
from ...fields import option
from ...report import Figure, note, said_of
from ...units import Units
from ..contract.columns import choose_column, describe_columns, existing_column, kind_of, ordered_labels
from ..contract.parts import FittedTarget, Target
from ..contract.weights import mean_over_rows, row_weights

if TYPE_CHECKING:
    import datasets
    import numpy as np

    from ..contract.types import Batch, ModelOutput, RawRows, Rows

TARGET_NAMES = ("target", "targets", "label", "labels", "y", "value", "price")
NUMERIC = ("int", "uint", "float", "bool", "decimal")  # how the types of columns of numbers begin
LARGEST_FLOAT32 = 3.4e38
SCALE = ("target_mean", "target_std", "target_min", "target_max")  # config fields, one number a target each


@dataclass(kw_only=True)
class Numbers(Target):
    """Holds the options of the numbers of a row."""

    state_fields: ClassVar[dict[str, Any]] = {"names": list[str], "center": list[float], "spread": list[float]}
    decided_fields: ClassVar[tuple[str, ...]] = ("num_labels", "problem_type", *SCALE)

    weighs_rows: ClassVar[bool] = True
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
                said = said_of(name)
                why = f" ({said.text.partition(': ')[2]})" if said is not None and said.kind == "text" else ""
                remedy = "choose another with --target_column_names"
                if kind in ("string", "large_string"):
                    reads = f"--column_kinds '{{{name}: number}}' reads the numbers in it, and the rest as gaps"
                    remedy = f"{reads}; or {remedy}"
                raise HubmodelsError(f"column {name!r} holds {kind}, not numbers{why}; {remedy}")
        return list(names)

    def units(self, features: "datasets.Features", columns: list[str]) -> Units:
        """Balance carved rows by the range of the first number."""
        return Units(targets=tuple(columns), numbers=columns[0])

    def fit(self, train: "datasets.Dataset", columns: list[str]) -> "FittedNumbers":
        """Take each target's name, mean, standard deviation and range over the training rows.

        Raises HubmodelsError for a target that is the same in all of them."""
        import numpy as np

        from .number_rows import check_targets, mean_and_spread, needs_centring, number_matrix

        table = train.select_columns(columns).with_format("arrow")[:].to_pydict()
        values = number_matrix(table, range(len(train)), columns)
        check_targets(table, values, columns)
        mean, std = mean_and_spread(values)
        center, spread = np.zeros(len(columns)), np.ones(len(columns))
        for index in np.flatnonzero(needs_centring(values, mean, std)):
            center[index], spread[index] = mean[index], std[index] or 1.0
            note(
                "columns",
                f"the model predicts (value - {center[index]:.17g}) / {spread[index]:.6g}: as they are, float32 would "
                "not tell these values apart; answers and metrics are in the column's own units",
                column=columns[index],
                kind="target",
                surprising=True,
            )
        values = (values - center) / spread
        mean, std = mean_and_spread(values)
        scale = {
            "target_mean": mean.tolist(),
            "target_std": [float(deviation) or 1.0 for deviation in std],
            "target_min": values.min(axis=0).tolist(),
            "target_max": values.max(axis=0).tolist(),
        }
        return FittedNumbers(
            options=self, names=list(columns), scale=scale, center=center.tolist(), spread=spread.tolist()
        )

    def restore(self, config: Mapping[str, Any], state: Mapping[str, Any]) -> "FittedNumbers":
        """Take the names from problem.json, of a release of 0.1.0 from the config's `id2label`."""
        scale = {name: list(config[name]) for name in SCALE if config.get(name) is not None}
        labels = ordered_labels(config)  # as many as there are numbers, also where they name none
        names = list(state.get("names") or labels)
        if labels and len(names) != len(labels):
            raise HubmodelsError(f"problem.json names {len(names)} targets, the model has {len(labels)}")
        center, spread = (list(state.get(name) or ()) for name in ("center", "spread"))
        if {len(center), len(spread)} not in ({0}, {len(names)}):
            raise HubmodelsError(f"problem.json has {len(center)} centers and {len(spread)} spreads of {len(names)}")
        return FittedNumbers(
            options=self,
            names=names,
            scale=scale,
            center=center or [0.0] * len(names),
            spread=spread or [1.0] * len(names),
        )


@dataclass(kw_only=True)
class FittedNumbers(FittedTarget[Numbers]):
    """Numbers by name, L of them, and their scale over the training rows. They are told in their own units."""

    names: list[str]
    scale: dict[str, list[float]]  # of `SCALE`, as the model sees numbers; empty for one that does not normalise
    center: list[float]  # what is taken from each number, and
    spread: list[float]  # what it is divided by before a model sees it: 0 and 1 where float32 holds it as it is

    @property
    def is_scaled(self) -> bool:
        """Tell whether a model sees other numbers than the targets' own."""
        return any(self.center) or any(value != 1 for value in self.spread)

    def config_fields(self) -> dict[str, Any]:
        """Return how many numbers there are, their scale and the `problem_type`."""
        return {"num_labels": len(self.names), "problem_type": "regression", **self.scale}

    def state(self) -> dict[str, Any]:
        """Return the names of the targets, and how their numbers become those that a model sees."""
        return {"names": self.names} | ({"center": self.center, "spread": self.spread} if self.is_scaled else {})

    def encoded_features(self) -> dict[str, Any]:
        """Return the Arrow type of `labels`."""
        import datasets

        return {"labels": datasets.List(datasets.Value("float32"), length=len(self.names))}

    def encode(
        self, rows: "RawRows", row_numbers: list[int], columns: list[str], features: "datasets.Features"
    ) -> "Rows":
        """Encode `labels` (B, L) float32 as a model sees them. Raises BadRow for one that is missing or not finite."""
        import numpy as np

        from .number_rows import number_matrix

        if len(columns) != len(self.names):
            raise HubmodelsError(
                f"the model predicts {len(self.names)} number(s) ({', '.join(self.names)}), not {len(columns)} "
                f"({', '.join(columns)}); name as many columns with --target_column_names"
            )
        values = (number_matrix(rows, row_numbers, columns) - self.center) / self.spread
        for row, target in np.argwhere(np.abs(values) > LARGEST_FLOAT32)[:1]:
            raise BadRow(
                row_numbers[row],
                columns[target],
                f"the target {rows[columns[target]][row]!r} is too large beside those of the training for float32",
            )
        return {"labels": values.astype(np.float32)}

    def own_units(self, values: Any) -> Any:
        """Turn numbers (..., L) that a model sees, a tensor or an array, into the targets' units, in float64.

        Where they are the same they stay as they are."""
        import numpy as np

        if not self.is_scaled:
            return values
        if isinstance(values, np.ndarray):
            return values.astype(np.float64) * self.spread + self.center
        values = (values.cpu() if values.device.type == "mps" else values).double()
        return values * values.new_tensor(self.spread) + values.new_tensor(self.center)

    def own_spread(self, values: Any) -> Any:
        """Turn differences (..., L) of numbers that a model sees, a tensor, into the targets' units."""
        zero = values.new_zeros(len(self.names))
        return self.own_units(values) - self.own_units(zero) if self.is_scaled else values

    def rows_in_own_units(self, rows: "Rows") -> "Rows":
        """Return `labels` and `predictions` of a classical method in the targets' units."""
        return {**rows, **{name: self.own_units(rows[name]) for name in ("labels", "predictions")}}

    def predict(self, outputs: "ModelOutput", batch: "Batch") -> "Batch":
        """Return `labels` and `predictions` (B, L), of a model with quantiles their values and losses too.

        These are `quantile_values` (B, L, Q) and `quantile_losses` (B, L), the mean pinball loss over the quantiles
        (Koenker and Bassett 1978). All are in the targets' own units."""
        from ...abilities import quantile_values

        rows = {"labels": self.own_units(batch["labels"]), "predictions": self.own_units(outputs.logits.float())}
        if (values := quantile_values(outputs)) is not None:
            values = values.float()
            levels = outputs.quantile_levels.float()[:, None]  # (B, 1, Q)
            errors = batch["labels"].view(values.shape[:2])[..., None] - values  # (B, L, Q)
            rows["quantile_losses"] = self.own_spread((errors * (levels - (errors < 0).float())).mean(dim=-1))
            rows["quantile_values"] = self.own_units(values.movedim(1, -1)).movedim(-1, 1)
        return rows

    def metrics(self, rows: "Rows") -> dict[str, float]:
        """Compute means over the targets; coverage and quantile loss only where there are quantiles."""
        import numpy as np

        from .number_rows import metrics_by_target

        weights = row_weights(rows)
        metrics = {name: float(values.mean()) for name, values in metrics_by_target(rows).items()}
        if "quantile_values" in rows and rows["quantile_values"].shape[-1] > 1:
            low, high = rows["quantile_values"].min(axis=-1), rows["quantile_values"].max(axis=-1)
            covered = (low <= rows["labels"]) & (rows["labels"] <= high)
            metrics["coverage"] = float(mean_over_rows(covered.mean(axis=1), weights))
        if "quantile_losses" in rows:
            losses = rows["quantile_losses"].mean(axis=1, dtype=np.float64)
            metrics["quantile_loss"] = float(mean_over_rows(losses, weights))
        return metrics

    def class_names(self) -> list[str]:
        """Name the targets where there are several: they have a table of their own."""
        return self.names if len(self.names) > 1 else []

    def class_metrics(self, rows: "Rows") -> "dict[str, np.ndarray]":
        """Compute the metrics of each of several targets."""
        from .number_rows import metrics_by_target

        return metrics_by_target(rows) if len(self.names) > 1 else {}

    def answers(self, outputs: "ModelOutput") -> "dict[str, np.ndarray]":
        """Return the `prediction` of each target, `low` and `high`, and an ensemble's `uncertainty`.

        Low and high are the outer ones of at least two quantiles; the uncertainty is the standard deviation over the
        members. Of several targets each column ends in the target's name."""
        from ...abilities import quantile_values, spread

        told = {"prediction": self.own_units(outputs.logits.float())}
        if (quantiles := quantile_values(outputs)) is not None and quantiles.shape[-1] > 1:
            low, high = quantiles.float().amin(dim=-1), quantiles.float().amax(dim=-1)
            told |= {"low": self.own_units(low), "high": self.own_units(high)}
        if (deviations := spread(outputs)) is not None:
            told["uncertainty"] = self.own_spread(deviations.float())
        return {
            self.answer_name(what, target): values[:, target].cpu().numpy()
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
