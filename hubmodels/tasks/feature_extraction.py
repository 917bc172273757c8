"""Feature extraction from tables: the numbers of a row to fewer, from which they can be drawn again (dimension
reduction). The Hub has no tag of its own for tables; `feature-extraction` is its word for models that give features.
"""

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ..fields import part
from ..report import Baseline, Examination, Figure
from .contract.problem import Problem, Task
from .contract.rows import draw_rows
from .inputs.numbers import FittedNumberColumns, NumberColumns
from .targets.reconstruction import FittedNumberReconstruction, NumberReconstruction

if TYPE_CHECKING:
    from .contract.types import EncodedColumns, Rows

MAP_ROWS = 2_000  # in the map of latents


class FeatureExtractionProblem(Problem["FeatureExtraction", FittedNumberColumns, FittedNumberReconstruction]):
    """Rows of numbers and their latents. Errors are of the numbers as the processor scales them."""

    def class_names(self) -> list[str]:
        """Name the columns, which have a table of their own."""
        return self.input.names

    def baseline(self, train: "EncodedColumns", test: "EncodedColumns") -> Baseline:
        """Fit principal components, as many as there are latents."""
        from .baselines.components import PrincipalComponents

        started = time.perf_counter()
        num_components = math.prod(self.model_values["latent_shape"])
        components = PrincipalComponents(self.input.scaled(train), num_components, seed=self.seed)
        values = self.input.scaled(test)
        drawn = components.decode(components.encode(values))
        rows = {"values": values, "squared_errors": (drawn - values) ** 2}
        return Baseline(f"PCA of {components.num_components} components", rows, time.perf_counter() - started)

    def figures(self, rows: "Rows", columns: "EncodedColumns") -> Iterator[Figure]:
        """Draw how well each column comes back."""
        return self.target.errors_of_columns(rows, self.class_names())

    def examine(self, model: Any, columns: "Mapping[str, EncodedColumns]") -> Examination:
        """Draw the map of the latents."""
        import numpy as np

        from .figures.latents import latent_map, map_figure
        from .targets.latents import encode_rows

        test = columns["test"]
        rows = draw_rows(test, MAP_ROWS, self.seed).numpy()
        points = latent_map(encode_rows(model, test, rows, self.transform(training=False))["latents"], self.seed)
        flat = math.prod(self.model_values["latent_shape"]) <= 2
        caption = f"The latents of {len(rows):,} test rows in the plane" + ("." if flat else " (t-SNE).")
        return Examination(figures=[Figure("latents", caption, map_figure(points, np.full(len(rows), -1), []))])


@dataclass(kw_only=True)
class FeatureExtraction(Task):
    """A row of numbers and its latents."""

    tag: ClassVar[str] = "feature-extraction"
    head: ClassVar[str] = "Model"
    problem_class: ClassVar[type[Problem]] = FeatureExtractionProblem
    requires: ClassVar[tuple[str, ...]] = ("num_numeric_features",)
    model_fields: ClassVar[tuple[str, ...]] = ("latent_shape",)

    input: NumberColumns = part(NumberColumns)
    target: NumberReconstruction = part(NumberReconstruction)

    def example(self) -> str:
        """Return lines that give latents by the pipeline and by the model."""
        return (
            "import hubmodels  # makes transformers know the family, and the pipeline tables\n"
            "import pandas\n"
            "from transformers import AutoModel, AutoProcessor, pipeline\n"
            "\n"
            'extract = pipeline("feature-extraction", model="{model_id}")\n'
            'print(extract("rows.csv"))  # a path, a row or a DataFrame: [[latent, latent, ...], ...]\n'
            "\n"
            'model = AutoModel.from_pretrained("{model_id}").eval()\n'
            'processor = AutoProcessor.from_pretrained("{model_id}")\n'
            'rows = processor(pandas.read_csv("rows.csv"), return_tensors="pt")\n'
            'print(model(numeric_features=rows["numeric_features"]).latents)\n'
        )
