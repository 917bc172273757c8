"""Image classification: an image and its class, or its labels."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..fields import option, part
from ..report import Baseline, Figure
from .contract.problem import Problem, Task
from .inputs.images import FittedImages, Images
from .targets.several_labels import FittedLabels, FittedSeveralLabels, SeveralLabels

if TYPE_CHECKING:
    import numpy as np
    import torch

    from .contract.types import Batch, EncodedColumns, Rows, Transform

# Logistic regression sees at most this many numbers (rows x pixels x channels), which takes about two minutes.
BASELINE_NUMBERS = 48_000_000
BASELINE_SIDE = 32  # larger images are averaged down to this many pixels a side for it
BASELINE_ITERATIONS = 100


class ImageClassificationProblem(Problem["ImageClassification", FittedImages, FittedLabels]):
    """Images with their classes, or with their labels."""

    def transform(self, *, training: bool) -> "Transform":
        """Return crop, flip and erasing on the bytes, then normalisation, then mixup; normalisation alone in use."""
        normalize = self.input.transform(training=training)
        if not training:
            return normalize
        from .inputs import image_augmentation as augmentation

        task, num_classes = self.task, len(self.target.names)

        def augment(batch: "Batch", generator: "torch.Generator | None" = None) -> "Batch":
            pixels = batch["pixel_values"]
            if task.random_crop_padding:
                pixels = augmentation.random_crop(pixels, task.random_crop_padding, generator)
            if task.horizontal_flip:
                pixels = augmentation.random_horizontal_flip(pixels, task.horizontal_flip, generator)
            if task.random_erasing:
                pixels = augmentation.random_erasing(pixels, task.random_erasing, generator)
            batch = normalize({**batch, "pixel_values": pixels}, generator)
            if task.mixup_alpha:
                batch |= augmentation.mixup_weighted(batch, num_classes, task.mixup_alpha, generator)
            return batch

        return augment

    def baseline(self, train: "EncodedColumns", test: "EncodedColumns") -> Baseline:
        """Fit logistic regression on standardised pixels.

        Large images are averaged down and many rows subsampled so that it ends in minutes; its name says so."""
        from .baselines.linear import LinearFeatures, logistic_regression

        channels, height, width = self.input.shape
        block = math.ceil(max(height, width) / BASELINE_SIDE)
        height, width = math.ceil(height / block), math.ceil(width / block)
        features = LinearFeatures(
            name="standardised pixels" + (f" averaged to {height} x {width}" if block > 1 else ""),
            compute=lambda columns, rows: flat_pixels(columns, rows, block),
            max_rows=max(1, BASELINE_NUMBERS // (channels * height * width)),
            max_iter=BASELINE_ITERATIONS,
        )
        target = self.target
        return logistic_regression(features, train, test, len(target.names), target.probability_rows, self.seed)

    def figures(self, rows: "Rows", columns: "EncodedColumns") -> Iterator[Figure]:
        """Draw confusion matrix, most confident mistakes and reliability diagram; of labels their scores."""
        from .figures.images import mistakes_figure

        if isinstance(self.target, FittedSeveralLabels):
            yield from self.target.figures(rows)
            return
        confusion, reliability = self.target.figures(rows)
        yield confusion
        if (rows["predictions"] != rows["labels"]).any():
            yield Figure(
                name="worst_mistakes",
                caption="The mistakes on the test rows that the model is most confident of: true class → predicted "
                "class and its probability.",
                figure=mistakes_figure(rows, columns, self.target.names),
            )
        yield reliability


@dataclass(kw_only=True)
class ImageClassification(Task):
    """One image, one class; or several labels, as the columns say (see `SeveralLabels`)."""

    tag: ClassVar[str] = "image-classification"
    head: ClassVar[str] = "ForImageClassification"
    problem_class: ClassVar[type[Problem]] = ImageClassificationProblem
    requires: ClassVar[tuple[str, ...]] = ("num_channels", "image_size")

    input: Images = part(Images)
    target: SeveralLabels = part(SeveralLabels)
    random_crop_padding: int = option(0, "augmentation: pad by this many pixels and crop at random, >= 0")
    horizontal_flip: float = option(0.0, "augmentation: probability of mirroring left to right, in [0, 1]")
    random_erasing: float = option(0.0, "augmentation: probability of a random rectangle of noise, in [0, 1]")
    mixup_alpha: float = option(0.0, "augmentation: blend pairs by a Beta(alpha, alpha) share, >= 0; 0 for none")

    def __post_init__(self) -> None:
        for name, value in (("horizontal_flip", self.horizontal_flip), ("random_erasing", self.random_erasing)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must be a probability between 0 and 1, got {value}")
        for name, value in (("random_crop_padding", self.random_crop_padding), ("mixup_alpha", self.mixup_alpha)):
            if not value >= 0:
                raise ValueError(f"{name} must be at least 0, got {value}")

    def example(self) -> str:
        """Return lines that use transformers' own pipeline."""
        return (
            "import hubmodels  # makes transformers know the family\n"
            "from transformers import pipeline\n"
            "\n"
            'classifier = pipeline("image-classification", model="{model_id}")\n'
            'print(classifier("picture.png"))  # a path, a URL or a PIL image: [{"label": ..., "score": ...}, ...]\n'
        )


def flat_pixels(columns: "EncodedColumns", rows: "np.ndarray", block: int) -> "np.ndarray":
    """Return pixels (N, features), float32 in 0..255, averaged over blocks of block x block pixels."""
    import torch
    from torch.nn.functional import avg_pool2d

    pieces = []
    for numbers in torch.from_numpy(rows).split(1000):
        pixels = columns.batch(numbers)["pixel_values"].float()
        pixels = avg_pool2d(pixels, block, ceil_mode=True) if block > 1 else pixels
        pieces.append(pixels.flatten(1))
    return torch.cat(pieces).numpy()
