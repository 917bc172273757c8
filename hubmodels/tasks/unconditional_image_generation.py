"""Unconditional image generation, and by class: images that nobody took, as near to the real ones as can be measured.

Without a named classifier the features are principal components of the pixels, which are blind to much: name one.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ..fields import option, part
from ..report import Examination, Figure
from .contract.problem import Problem, Task
from .contract.rows import draw_rows
from .inputs.images import FittedPlainImages, PlainImages
from .targets.samples import CURVE_STEPS, Extractor, Samples, SamplesProblem

if TYPE_CHECKING:
    import torch

    from .contract.types import Batch, EncodedColumns, Transform

logger = logging.getLogger("hubmodels")


@dataclass(kw_only=True)
class UnconditionalImageGenerationProblem(SamplesProblem["UnconditionalImageGeneration", FittedPlainImages, Extractor]):
    """Images to be drawn like, and their classes where the model is told them."""

    validation_samples: ClassVar[int] = 1_000

    def transform(self, *, training: bool) -> "Transform":
        """Return flips in training, then values in 0..1. Labels stay behind where the model takes none."""
        prepare = self.input.transform(training=training)
        names = ("pixel_values", "labels") if self.class_conditional else ("pixel_values",)

        def select(batch: "Batch", generator: "torch.Generator | None" = None) -> "Batch":
            return prepare({name: batch[name] for name in names}, generator)

        return select

    def take_real(self, columns: "EncodedColumns", count: int, seed: int) -> "tuple[torch.Tensor, torch.Tensor]":
        """Draw real images in bytes, and their classes."""
        batch = columns.batch(draw_rows(columns, count, seed))
        return batch["pixel_values"], batch["labels"]

    def draw_samples(
        self, model: Any, count: int, seed: int, labels: "torch.Tensor | None" = None, **options: Any
    ) -> "torch.Tensor":
        """Draw samples of the model in bytes."""
        from .inputs.image_features import sample_images

        return sample_images(model, count, seed, labels, **options)

    def extractor(self, real: "torch.Tensor", device: "torch.device") -> Extractor:
        """Take the named classifier for features, else principal components of the real pixels."""
        from .inputs.image_features import FeatureExtractor, PixelComponents

        if self.task.fid_classifier is not None:
            return FeatureExtractor(self.task.fid_classifier, device)
        logger.info("Distances are between principal components of the pixels: name a classifier with --fid_classifier")
        return PixelComponents(real, self.seed)

    def preview(self, model: Any) -> Iterator[Figure]:
        """Draw the samples of the final figure, as far as they are."""
        from .examinations.image_samples import samples_figure

        yield samples_figure(self, model)

    def examine(self, model: Any, columns: "Mapping[str, EncodedColumns]") -> Examination:
        """Measure distance, classes and novelty of samples (see `examine_image_samples`)."""
        from .examinations.image_samples import examine_image_samples

        return examine_image_samples(self, model, columns)

    def draw_files(
        self, model: Any, count: int, seed: int, labels: "torch.Tensor | None", **options: Any
    ) -> Iterator[tuple[str, bytes]]:
        """Draw each sample as a PNG."""
        from .inputs.image_features import sample_files

        yield from sample_files(model, count, seed, labels, **options)


@dataclass(kw_only=True)
class UnconditionalImageGeneration(Task):
    """Images to be drawn like, and their classes where the model is to know them."""

    tag: ClassVar[str] = "unconditional-image-generation"
    head: ClassVar[str] = "Model"
    problem_class: ClassVar[type[Problem]] = UnconditionalImageGenerationProblem
    requires: ClassVar[tuple[str, ...]] = ("num_channels", "image_size")
    model_fields: ClassVar[tuple[str, ...]] = ("class_conditional",)

    input: PlainImages = part(PlainImages)
    target: Samples = part(Samples)
    fid_classifier: str | None = option(None, "image classifier (folder or Hub id) whose features measure samples")

    @property
    def metric_names(self) -> dict[str, str]:
        """Return the name of each metric in a table."""
        return {
            **self.target.metric_names,
            "loss": "loss of test images",
            "class_accuracy": "samples that are of the class asked for",
            "class_distance": "distance of the classes' shares from the real ones",
            "classes_covered": "share of the classes that occur",
            "novelty": "distance to the nearest training image, over that of test images",
            **{f"fid_{steps}_steps": f"Fréchet distance at {steps} steps (1,000 samples)" for steps in CURVE_STEPS},
        }

    def example(self) -> str:
        """Return lines that draw images by the pipeline and by the model."""
        return (
            "import hubmodels  # makes transformers know the family and the task\n"
            "from transformers import AutoModel, pipeline\n"
            "\n"
            'draw = pipeline("unconditional-image-generation", model="{model_id}")\n'
            'images = draw(4)  # PIL images; where it knows classes also draw("name") or a list of names\n'
            "for number, image in enumerate(images):\n"
            '    image.save(f"sample-{number}.png")\n'
            "\n"
            'model = AutoModel.from_pretrained("{model_id}").eval()\n'
            "print(model.sample(16).shape)  # images in 0..1, (16, channels, height, width)\n"
        )
