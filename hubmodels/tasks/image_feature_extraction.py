"""Image feature extraction: images to few numbers, or codes, from which they can be drawn again (dimension reduction).

Labels are optional: no model learns from them, only probes and figures use them.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ..fields import option, part
from ..report import Baseline, Examination, Figure
from .contract.problem import Problem, Task
from .inputs.images import FittedPlainImages, PlainImages
from .targets.reconstruction import FittedImageReconstruction, ImageReconstruction
from .targets.samples import SAMPLE_METRICS

if TYPE_CHECKING:
    import datasets
    import torch

    from .baselines.components import PrincipalComponents
    from .contract.types import Batch, EncodedColumns, Rows, Transform

BASELINE_ROWS = 1_000  # test rows at once through the principal components


class ImageFeatureExtractionProblem(Problem["ImageFeatureExtraction", FittedPlainImages, FittedImageReconstruction]):
    """Images and their latents."""

    @property
    def num_codes(self) -> int:
        """Return the size of the model's codebook; 0 where latents are numbers."""
        return self.model_values["num_codes"] if self.model_values["kind"] == "vector_quantized" else 0

    def transform(self, *, training: bool) -> "Transform":
        """Return flips in training, then values in 0..1. Labels stay behind."""
        prepare = self.input.transform(training=training)

        def select(batch: "Batch", generator: "torch.Generator | None" = None) -> "Batch":
            return prepare({"pixel_values": batch["pixel_values"]}, generator)

        return select

    def baseline(self, train: "EncodedColumns", test: "EncodedColumns") -> Baseline:
        """Fit principal components of the pixels: as many numbers as there are latents, or for codes as many bits."""
        import numpy as np
        import torch

        from .inputs.image_features import pixel_rows
        from .targets.picture_quality import quality_rows

        started = time.perf_counter()
        components = self.components(train)
        blocks = []
        for numbers in np.array_split(np.arange(len(test)), -(-len(test) // BASELINE_ROWS)):
            pixels = pixel_rows(test, numbers)
            drawn = torch.from_numpy(components.decode(components.encode(pixels)))
            shape = (-1, *self.input.shape)
            blocks.append(quality_rows(drawn.view(shape), torch.from_numpy(pixels).view(shape)))
        rows = {name: torch.cat([block[name] for block in blocks]).numpy() for name in blocks[0]}
        name = f"PCA of {components.num_components} components"
        if components.bits is not None:
            name += f" of {components.bits} bits (as many bits as the codes)"
        return Baseline(name=name, rows=rows, seconds=time.perf_counter() - started)

    def components(self, train: "EncodedColumns") -> "PrincipalComponents":
        """Fit principal components of the training images that store as much as the latents do."""
        from .baselines.components import PrincipalComponents, equal_size
        from .inputs.image_features import fitting_rows, pixel_rows

        count, bits = equal_size(self.model_values["latent_shape"], self.num_codes)
        return PrincipalComponents(pixel_rows(train, fitting_rows(train, self.seed)), count, bits, self.seed)

    def figures(self, rows: "Rows", columns: "EncodedColumns") -> Iterator[Figure]:
        """Draw which classes are drawn well."""
        yield self.target.errors_of_classes(rows, columns.tensor("labels").numpy())

    def examine(self, model: Any, columns: "Mapping[str, EncodedColumns]") -> Examination:
        """Measure probes of the latents, likelihood, codebook, samples and anomalies (see `ImageLatents`)."""
        from .examinations.image_latents import ImageLatents

        train = columns.get("train")
        return ImageLatents(
            model=model,
            transform=self.transform(training=False),
            target=self.target,
            train=train,
            test=columns["test"],
            components=None if train is None else self.components(train),
            num_codes=self.num_codes,
            latent_shape=self.model_values["latent_shape"],
            fid_classifier=self.task.fid_classifier,
            seed=self.seed,
        ).examine()

    def draw_files(
        self, model: Any, count: int, seed: int, labels: "torch.Tensor | None", **options: Any
    ) -> Iterator[tuple[str, bytes]]:
        """Draw each sample as a PNG."""
        from .inputs.image_features import sample_files

        yield from sample_files(model, count, seed, labels, **options)


@dataclass(kw_only=True)
class ImageFeatureExtraction(Task):
    """An image and its latents."""

    tag: ClassVar[str] = "image-feature-extraction"
    head: ClassVar[str] = "Model"
    problem_class: ClassVar[type[Problem]] = ImageFeatureExtractionProblem
    requires: ClassVar[tuple[str, ...]] = ("num_channels", "image_size")
    model_fields: ClassVar[tuple[str, ...]] = ("latent_shape", "num_codes", "kind")

    input: PlainImages = part(PlainImages)
    target: ImageReconstruction = part(ImageReconstruction)
    fid_classifier: str | None = option(None, "image classifier (folder or Hub id) whose features measure samples")

    @property
    def metric_names(self) -> dict[str, str]:
        """Return the name of each metric in a table."""
        return {**self.target.metric_names, **SAMPLE_METRICS}

    def training_rows(self, rows: "datasets.Dataset") -> "datasets.Dataset":
        """Keep the rows of the normal classes, where these are named."""
        _, labels = self.columns(rows.features)
        return self.target.normal_rows(rows, labels[0]) if self.target.normal_classes is not None else rows

    def example(self) -> str:
        """Return lines that give latents by the pipeline and by the model."""
        return (
            "import hubmodels  # makes transformers know the family\n"
            "from transformers import AutoImageProcessor, AutoModel, pipeline\n"
            "\n"
            'extract = pipeline("image-feature-extraction", model="{model_id}", pool=True)\n'
            'print(extract("picture.png"))  # a path, a URL or a PIL image: [[latent, latent, ...]]\n'
            "\n"
            'model = AutoModel.from_pretrained("{model_id}").eval()\n'
            'processor = AutoImageProcessor.from_pretrained("{model_id}")\n'
            'outputs = model(**processor(["picture.png"], return_tensors="pt"))\n'
            "print(outputs.latents, outputs.reconstruction)  # pixels in 0..1\n"
        )
