"""Feature extraction from tables: the numbers of a row to fewer, from which they can be drawn again (dimension
reduction). The Hub has no tag of its own for tables; `feature-extraction` is its word for models that give features.
"""

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import HubmodelsError
from ..report import Baseline, Examination, Figure
from ._tabular import TabularTask
from .contract.columns import describe_columns, kind_of, label_maps

if TYPE_CHECKING:
    import datasets
    import numpy as np

    from ._unbound import Batch, Rows

logger = logging.getLogger("hubmodels")

MAP_ROWS = 2_000  # in the map of latents


@dataclass(kw_only=True)
class FeatureExtraction(TabularTask):
    """A row of numbers and its latents. Errors are of the numbers as the processor scales them."""

    tag: ClassVar[str] = "feature-extraction"
    head: ClassVar[str] = "Model"
    config_fields: ClassVar[tuple[str, ...]] = ("num_numeric_features", "id2label", "label2id")
    model_fields: ClassVar[tuple[str, ...]] = ("latent_shape",)
    main_metric: ClassVar[str] = "mse"
    greater_is_better: ClassVar[bool] = False
    metric_names: ClassVar[dict[str, str]] = {
        "mse": "mean squared error of scaled numbers",
        "explained_variance": "share of the variance explained",
    }

    # ---------------------------------------------------------------- columns

    def target_columns(self, features: "datasets.Features") -> list[str]:
        """None: nothing is predicted but the row itself."""
        return []

    def select(self, dataset: "datasets.Dataset") -> "datasets.Dataset":
        """The columns of numbers; classes, texts and dates are left out."""
        dataset = super().select(dataset)
        numbers = [
            name for name, kind in dataset.features.items() if kind_of(kind).startswith(("int", "uint", "float"))
        ]
        left = [name for name in dataset.features if name not in numbers]
        if not numbers:
            raise HubmodelsError(f"the data set has no column of numbers, only {describe_columns(dataset.features)}")
        if left:
            logger.info("Columns without numbers are left out: %s", ", ".join(left))
        return dataset.select_columns(numbers)

    def fit_config(self, train: "datasets.Dataset", processor: Any) -> dict[str, Any]:
        """How many numbers a row has, and their names."""
        names = processor.numeric_names
        if not names:
            raise HubmodelsError("no column of numbers tells anything: each holds one value only")
        return {
            "num_numeric_features": len(names),
            **label_maps(names),
        }

    # ---------------------------------------------------------------- rows -> tensors

    def encoded_features(self, processor: Any, config_values: dict[str, Any]) -> "datasets.Features":
        import datasets

        return datasets.Features(numeric_features=self.table_features(processor)["numeric_features"])

    def encode_table(self, rows: Any, row_numbers: list[int], processor: Any) -> "Rows":
        """`numeric_features` (B, N) float32; where a number is missing, the median, of which nothing else tells."""
        return {"numeric_features": super().encode_table(rows, row_numbers, processor)["numeric_features"]}

    def encode(
        self,
        rows: dict[str, list],
        row_numbers: list[int],
        features: "datasets.Features",
        processor: Any,
        config_values: dict[str, Any],
    ) -> "Rows":
        return self.encode_table(rows, row_numbers, processor)

    def golden_inputs(self, processor: Any, config_values: dict[str, Any]) -> "Batch":
        inputs = super().golden_inputs(processor, config_values)
        return {"numeric_features": inputs["numeric_features"]}

    # ---------------------------------------------------------------- results

    def predict(self, outputs: Any, batch: "Batch") -> "Batch":
        """`values` (B, N) and the `squared_errors` (B, N) of their reconstruction."""
        values = batch["numeric_features"].float()
        return {"values": values, "squared_errors": (outputs.reconstruction.float() - values).square()}

    def metrics(self, rows: "Rows", config_values: dict[str, Any]) -> dict[str, float]:
        """Over all columns; a column that varies more counts more."""
        error = float(rows["squared_errors"].mean(dtype="float64"))
        variance = float(rows["values"].var(axis=0, dtype="float64").mean())
        return {"mse": error, "explained_variance": 1 - error / variance if variance > 0 else float("nan")}

    def class_names(self, config_values: dict[str, Any]) -> list[str]:
        """The columns have a table of their own."""
        return list(config_values["id2label"].values())

    def class_metrics(self, rows: "Rows", config_values: dict[str, Any]) -> "dict[str, np.ndarray]":
        import numpy as np

        errors, variances = rows["squared_errors"].mean(axis=0), rows["values"].var(axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            explained = np.where(variances > 0, 1 - errors / variances, np.nan)
        return {"mse": errors, "explained_variance": explained}

    def baseline(self, train: Any, test: Any, processor: Any, config_values: dict[str, Any], seed: int) -> Baseline:
        """Principal components, as many as there are latents."""
        import math

        from ._latents import PrincipalComponents

        started = time.perf_counter()
        fitted, values = (columns.tensor("numeric_features").numpy() for columns in (train, test))
        components = PrincipalComponents(fitted, math.prod(config_values["latent_shape"]), seed=seed)
        drawn = components.decode(components.encode(values))
        rows = {"values": values, "squared_errors": (drawn - values) ** 2}
        return Baseline(f"PCA of {components.num_components} components", rows, time.perf_counter() - started)

    def plots(self, rows: "Rows", columns: Any, processor: Any, config_values: dict[str, Any]) -> Iterator[Figure]:
        """How well each column comes back."""
        from ._image_figures import errors_figure

        names = self.class_names(config_values)
        if len(names) <= 40:
            yield Figure(
                name="errors",
                caption="Squared error of the test rows in each column as it is scaled: quartiles and median, whiskers "
                "from the 5th to the 95th percentile.",
                figure=errors_figure(
                    [(name, rows["squared_errors"][:, place]) for place, name in enumerate(names)], "squared error"
                ),
            )

    def explain(
        self, predict: "Callable[[Any], Rows]", columns: Any, processor: Any, config_values: dict[str, Any]
    ) -> Iterator[Figure]:
        """None: nothing is predicted, so no column has an importance."""
        return iter(())

    def examine(
        self, model: Any, columns: dict[str, Any], transform: Callable, processor: Any, config_values: dict[str, Any],
        seed: int,
    ) -> Examination:  # fmt: skip
        """The map of the latents."""
        import numpy as np

        from ._image_figures import latent_map, map_figure
        from ._latents import encode_rows

        test = columns["test"]
        rows = np.sort(np.random.default_rng(seed).permutation(len(test))[:MAP_ROWS])
        points = latent_map(encode_rows(model, test, rows, transform)["latents"], seed)
        caption = f"The latents of {len(rows):,} test rows in the plane" + (
            "." if np.prod(config_values["latent_shape"]) <= 2 else " (t-SNE)."
        )
        return Examination(figures=[Figure("latents", caption, map_figure(points, np.full(len(rows), -1), []))])

    # ---------------------------------------------------------------- use

    def answers(self, outputs: Any, config_values: dict[str, Any]) -> "dict[str, np.ndarray]":
        """One column a latent number: `latent_0`, ..."""
        latents = outputs.latents.flatten(1).float().cpu().numpy()
        return {f"latent_{place}": latents[:, place] for place in range(latents.shape[1])}

    def example(self) -> str:
        return (
            "import hubmodels  # makes transformers know the family\n"
            "import pandas\n"
            "from transformers import AutoModel, AutoProcessor\n"
            "\n"
            'model = AutoModel.from_pretrained("{model_id}").eval()\n'
            'processor = AutoProcessor.from_pretrained("{model_id}")\n'
            'rows = processor(pandas.read_csv("rows.csv"), return_tensors="pt")\n'
            'print(model(numeric_features=rows["numeric_features"]).latents)\n'
        )
