"""Zero-shot image classification: images and their texts, matched by a model that has seen neither before."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..fields import part
from ..report import Baseline, Figure
from .contract.problem import Problem, Task
from .inputs.captioned_images import CaptionedImages, FittedCaptionedImages
from .targets.matches import FittedMatches, Matches

if TYPE_CHECKING:
    from .contract.types import EncodedColumns, Rows

EXAMPLES = 8  # images in the figure


class ZeroShotImageClassificationProblem(Problem["ZeroShotImageClassification", FittedCaptionedImages, FittedMatches]):
    """Images and the texts that describe them."""

    def baseline(self, train: "EncodedColumns", test: "EncodedColumns") -> Baseline:
        """Fit ridge regression from pixels and colours of images to character n-grams of their texts."""
        from .baselines.matching import Matching, ridge_matching
        from .targets.match_rows import rank_pairs

        return ridge_matching(Matching(decode=self.input.decode, rank=rank_pairs), train, test, self.seed)

    def figures(self, rows: "Rows", columns: "EncodedColumns") -> Iterator[Figure]:
        """Draw the recall by the number of texts or images that are looked at, and images with their nearest texts."""
        import numpy as np
        import torch

        from .figures.matches import nearest_texts_figure

        yield from self.target.figures(rows)
        nearest = rows["nearest"]
        shown = np.unique(np.linspace(0, len(nearest) - 1, EXAMPLES).round().astype(int))
        images = columns.batch(torch.from_numpy(shown))["pixel_values"].permute(0, 2, 3, 1).numpy()
        texts = [
            list(zip(self.input.decode(columns, nearest[number]), nearest[number] == number, strict=True))
            for number in shown
        ]
        yield Figure(
            name="nearest_texts",
            caption="Test images with the five texts that are nearest to them, of all texts of the test; bold: their "
            "own. They are evenly spaced in the rows of the data set.",
            figure=nearest_texts_figure(images, texts),
        )


@dataclass(kw_only=True)
class ZeroShotImageClassification(Task):
    """One image, one text that describes it."""

    tag: ClassVar[str] = "zero-shot-image-classification"
    head: ClassVar[str] = "ForZeroShotImageClassification"
    problem_class: ClassVar[type[Problem]] = ZeroShotImageClassificationProblem
    requires: ClassVar[tuple[str, ...]] = ("num_channels", "image_size", "vocab_size")

    input: CaptionedImages = part(CaptionedImages)
    target: Matches = part(Matches)

    def example(self) -> str:
        """Return lines that use transformers' own pipeline."""
        return (
            "import hubmodels  # makes transformers know the family\n"
            "from transformers import pipeline\n"
            "\n"
            'classifier = pipeline("zero-shot-image-classification", model="{model_id}")\n'
            'labels = ["red apple", "green tree", "face with tears"]\n'
            'print(classifier("picture.png", candidate_labels=labels, hypothesis_template="{}"))\n'
        )
