"""Reconstructions: what is left of a row after a model has brought it to few numbers, or codes, its latents.

Nothing is predicted but the row itself. Classes are optional: no model learns from them, only probes and figures use
them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ...errors import HubmodelsError, nearest
from ...fields import option
from ...report import Figure
from ...units import Units
from ..contract.columns import class_names, ordered_labels
from ..contract.parts import FittedTarget, Target

if TYPE_CHECKING:
    import datasets
    import numpy as np

    from ..contract.types import Batch, ModelOutput, RawRows, Rows

MAX_CLASSES = 40  # in the figure of errors
LIKELIHOOD_ROWS, IMPORTANCE_SAMPLES = 500, 100  # of the likelihood, which is estimated by importance sampling


@dataclass(kw_only=True)
class ImageReconstruction(Target):
    """Holds the options of an image that is drawn again from its latents."""

    state_fields: ClassVar[dict[str, Any]] = {"names": list[str]}

    main_metric: ClassVar[str] = "mse"
    greater_is_better: ClassVar[bool] = False
    metric_names: ClassVar[dict[str, str]] = {
        "mse": "mean squared error",
        "psnr": "PSNR (dB)",
        "ssim": "SSIM",
        "linear_probe": "linear probe accuracy",
        "neighbour_accuracy": "5-nearest-neighbour accuracy",
        "negative_elbo": "negative ELBO (nats)",
        "negative_log_likelihood": f"negative log-likelihood (nats; {IMPORTANCE_SAMPLES} samples each, at most "
        f"{LIKELIHOOD_ROWS} rows)",
        "codebook_usage": "share of the codebook in use",
        "codebook_perplexity": "codebook perplexity",
        "anomaly_auroc": "AUROC of anomalies",
    }

    label_column_name: str | None = option(None, "column of classes; the usual one when absent, or none")
    normal_classes: list[str] | None = option(None, "classes to learn from; the others of the test are anomalies")

    def __post_init__(self) -> None:
        if self.normal_classes is not None and not self.normal_classes:
            raise ValueError("normal_classes must name at least one class, or be left out")

    def columns(self, features: "datasets.Features", claimed: list[str]) -> list[str]:
        """Name the class column where there is one. Raises HubmodelsError for none with normal classes."""
        from .optional_class import optional_label_column

        needed = self.normal_classes is not None
        return optional_label_column(features, self.label_column_name, claimed, needed=needed)

    def units(self, features: "datasets.Features", columns: list[str]) -> Units:
        """Balance carved rows by their classes, where there are any; a row needs none."""
        return Units(classes=columns[0] if columns else None)

    def fit(self, train: "datasets.Dataset", columns: list[str]) -> "FittedImageReconstruction":
        """Take the names of the classes where there are any."""
        from .optional_class import optional_class_names

        needed = self.label_column_name is not None and self.normal_classes is None
        return FittedImageReconstruction(options=self, names=optional_class_names(train, columns, needed=needed))

    def restore(self, config: Mapping[str, Any], state: Mapping[str, Any]) -> "FittedImageReconstruction":
        """Take the names of the classes from the state; releases of 0.1.0 have them in the config's `id2label`."""
        names = state["names"] if "names" in state else ordered_labels(config)
        return FittedImageReconstruction(options=self, names=list(names))

    def normal_rows(self, rows: "datasets.Dataset", column: str) -> "datasets.Dataset":
        """Keep the rows of the normal classes, all where these are not named.

        Raises HubmodelsError for a class that there is not, or when no row is left."""
        import datasets

        if self.normal_classes is None:
            return rows
        feature = rows.features[column]
        known = class_names(rows, column)
        for name in self.normal_classes:
            if name not in known:
                raise HubmodelsError(
                    f"normal_classes: unknown class {name!r}{nearest(name, known)}; classes are {', '.join(known)}"
                )
        numbered = isinstance(feature, datasets.ClassLabel)
        normal = {feature.names.index(name) if numbered else name for name in self.normal_classes}

        def is_normal(value: Any) -> bool:
            return (value if numbered else str(value)) in normal

        if isinstance(rows, datasets.IterableDataset):
            return rows.filter(lambda row: is_normal(row[column]))
        normal_rows = rows.select([number for number, value in enumerate(rows[column]) if is_normal(value)])
        if len(normal_rows) == 0:
            raise HubmodelsError(f"no training row is of the classes {', '.join(self.normal_classes)} (normal_classes)")
        return normal_rows


@dataclass(kw_only=True)
class FittedImageReconstruction(FittedTarget[ImageReconstruction]):
    """Images as they are, and the names of their classes; none where they have none."""

    names: list[str]

    def state(self) -> dict[str, Any]:
        """Return the names of the classes, which no network reads."""
        return {"names": self.names}

    def encoded_features(self) -> dict[str, Any]:
        """Return the Arrow type of `labels`."""
        import datasets

        return {"labels": datasets.Value("int64")}

    def encode(
        self, rows: "RawRows", row_numbers: list[int], columns: list[str], features: "datasets.Features"
    ) -> "Rows":
        """Encode `labels` (B,) int64, -1 where a row has no class that is known."""
        import numpy as np

        from .optional_class import optional_class_numbers

        if not columns:
            return {"labels": np.full(len(row_numbers), -1, dtype=np.int64)}
        return {"labels": optional_class_numbers(rows[columns[0]], features[columns[0]], self.names)}

    def predict(self, outputs: "ModelOutput", batch: "Batch") -> "Batch":
        """Return squared error, PSNR and SSIM of each row (see `quality_rows`)."""
        from .picture_quality import quality_rows

        return quality_rows(outputs.reconstruction, batch["pixel_values"])

    def metrics(self, rows: "Rows") -> dict[str, float]:
        """Compute the means over the rows."""
        from .picture_quality import mean_quality

        return mean_quality(rows)

    def answers(self, outputs: "ModelOutput") -> "dict[str, np.ndarray]":
        """Return one column a latent number: `latent_0`, ..."""
        from .latents import latent_answers

        return latent_answers(outputs)

    def normal(self, labels: "np.ndarray") -> "np.ndarray":
        """Tell which rows are of the classes that the model learnt from, (N,) bool; all where these are not named."""
        import numpy as np

        if self.options.normal_classes is None:
            return np.ones(len(labels), dtype=bool)
        return np.isin(labels, [self.names.index(name) for name in self.options.normal_classes if name in self.names])

    def errors_of_classes(self, rows: "Rows", labels: "np.ndarray") -> Figure:
        """Draw which classes are drawn well, of rows with these labels (N,)."""
        from ..figures.charts import errors_figure

        errors = rows["squared_errors"]
        groups = [(name, errors[labels == number]) for number, name in enumerate(self.names)]
        groups = [(name, values) for name, values in groups if len(values)] if len(self.names) <= MAX_CLASSES else []
        return Figure(
            name="errors",
            caption="Mean squared error of the test images"
            + (" of each class" if groups else "")
            + ": quartiles and median, whiskers from the 5th to the 95th percentile.",
            figure=errors_figure(groups or [("all", errors)], "mean squared error of an image"),
        )


@dataclass(kw_only=True)
class NumberReconstruction(Target):
    """Holds the options of a row of numbers that is drawn again from its latents.

    Errors are of the numbers as scaled."""

    main_metric: ClassVar[str] = "mse"
    greater_is_better: ClassVar[bool] = False
    metric_names: ClassVar[dict[str, str]] = {
        "mse": "mean squared error of scaled numbers",
        "explained_variance": "share of the variance explained",
    }

    def fit(self, train: "datasets.Dataset", columns: list[str]) -> "FittedNumberReconstruction":
        """Take nothing from the rows: they are their own target."""
        return FittedNumberReconstruction(options=self)

    def restore(self, config: Mapping[str, Any], state: Mapping[str, Any]) -> "FittedNumberReconstruction":
        """Take nothing from the checkpoint."""
        return FittedNumberReconstruction(options=self)


@dataclass(kw_only=True)
class FittedNumberReconstruction(FittedTarget[NumberReconstruction]):
    """Rows of numbers as they are."""

    def predict(self, outputs: "ModelOutput", batch: "Batch") -> "Batch":
        """Return `values` (B, N) and the `squared_errors` (B, N) of their reconstruction."""
        values = batch["numeric_features"].float()
        return {"values": values, "squared_errors": (outputs.reconstruction.float() - values).square()}

    def metrics(self, rows: "Rows") -> dict[str, float]:
        """Compute error and explained variance over all columns; one that varies more counts more."""
        error = float(rows["squared_errors"].mean(dtype="float64"))
        variance = float(rows["values"].var(axis=0, dtype="float64").mean())
        return {"mse": error, "explained_variance": 1 - error / variance if variance > 0 else float("nan")}

    def class_metrics(self, rows: "Rows") -> "dict[str, np.ndarray]":
        """Compute error and explained variance of each column."""
        import numpy as np

        errors, variances = rows["squared_errors"].mean(axis=0), rows["values"].var(axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            explained = np.where(variances > 0, 1 - errors / variances, np.nan)
        return {"mse": errors, "explained_variance": explained}

    def answers(self, outputs: "ModelOutput") -> "dict[str, np.ndarray]":
        """Return one column a latent number: `latent_0`, ..."""
        from .latents import latent_answers

        return latent_answers(outputs)

    def errors_of_columns(self, rows: "Rows", names: list[str]) -> Iterator[Figure]:
        """Draw how well each column comes back, of at most 40."""
        from ..figures.charts import errors_figure

        if len(names) <= MAX_CLASSES:
            groups = [(name, rows["squared_errors"][:, number]) for number, name in enumerate(names)]
            yield Figure(
                name="errors",
                caption="Squared error of the test rows in each column as it is scaled: quartiles and median, whiskers "
                "from the 5th to the 95th percentile.",
                figure=errors_figure(groups, "squared error"),
            )
