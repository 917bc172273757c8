"""Image to image: a noisy image and the clean one (denoising).

Either the data set has clean images, and the noise that the model's config names (`noise_types`, `noise_strength`) is
made here: drawn anew for each batch in training, the same for a row in every evaluation. Or it has pairs of columns,
the image as it is and as it should be (`target_column_name`).
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import HubmodelsError
from ..fields import part
from ..report import Baseline, Examination
from .contract.columns import existing_column
from .contract.problem import Problem, Task
from .inputs.images import FittedPlainImages, PlainImages
from .targets.pictures import FittedPictures, Pictures

if TYPE_CHECKING:
    import datasets
    import torch

    from .contract.types import Batch, EncodedColumns, RawRows, Rows, Transform
    from .examinations.denoising import ImagePairs


class ImageToImageProblem(Problem["ImageToImage", FittedPlainImages, FittedPictures]):
    """Images as they are and as they should be."""

    @property
    def paired(self) -> bool:
        """Tell whether the data have pairs; else the images are clean, and noise is made here."""
        return self.task.target.target_column_name is not None

    def encoded_features(self) -> "datasets.Features":
        """Return the Arrow types of the images and of their targets, or of the row numbers, which decide the noise."""
        import datasets

        images = self.input.encoded_features()
        second = {"targets": images["pixel_values"]} if self.paired else {"rows": datasets.Value("int64")}
        return datasets.Features(**images, **second)

    def encode(self, rows: "RawRows", row_numbers: list[int], features: "datasets.Features") -> "Rows":
        """Encode `pixel_values` (B, C, H, W) uint8 and likewise `targets`, or the row numbers `rows` (B,) int64."""
        import numpy as np

        inputs, targets = self.task.columns(features)
        encoded = self.input.encode(rows, row_numbers, inputs)
        if targets:
            return {**encoded, "targets": self.input.encode(rows, row_numbers, targets)["pixel_values"]}
        return {**encoded, "rows": np.array(row_numbers, dtype=np.int64)}

    def transform(self, *, training: bool) -> "Transform":
        """Return `pixel_values` as they are and `labels` as they should be, (B, C, H, W) in 0..1."""
        prepare = self.input.transform(training=training)
        if self.paired:
            return functools.partial(self._prepare_pairs, prepare)
        kinds, strengths = self.model_values["noise_types"], self.model_values["noise_strength"]
        if not (kinds and strengths):
            raise HubmodelsError(
                "the model's config names no noise: name the column of the images as they should be with "
                "--target_column_name"
            )
        from .inputs.image_noise import draw_noise, fixed_noise

        def make_noisy(batch: "Batch", generator: "torch.Generator | None" = None) -> "Batch":
            values = prepare({"pixel_values": batch["pixel_values"]}, generator)["pixel_values"]
            if training:
                return {"pixel_values": draw_noise(values, kinds, strengths, generator), "labels": values}
            if "rows" not in batch:  # images of a person who wants them without their noise
                return {"pixel_values": values}
            return {"pixel_values": fixed_noise(values, batch["rows"], kinds, strengths), "labels": values}

        return make_noisy

    def _prepare_pairs(self, prepare: "Transform", batch: "Batch", generator: "torch.Generator | None") -> "Batch":
        """Prepare both images of a pair alike."""
        import torch

        if "targets" not in batch:
            return prepare({"pixel_values": batch["pixel_values"]}, generator)
        both = torch.cat([batch["pixel_values"], batch["targets"]], dim=2)  # one above the other: they turn together
        images, targets = prepare({"pixel_values": both}, generator)["pixel_values"].chunk(2, dim=2)
        return {"pixel_values": images, "labels": targets}

    def image_pairs(self) -> "ImagePairs":
        """Bind what filters and figures need."""
        from .examinations.denoising import ImagePairs

        strengths = None if self.paired else self.model_values["noise_strength"]
        return ImagePairs(self.transform(training=False), strengths, self.seed)

    def baseline(self, train: "EncodedColumns", test: "EncodedColumns") -> Baseline:
        """Apply non-local means and a median filter, each at its best strength on training images, and no filter.

        The best on these training images comes first."""
        return self.image_pairs().baseline(train, test)

    def examine(self, model: Any, columns: "Mapping[str, EncodedColumns]") -> Examination:
        """Draw pictures before and after, and the PSNR over the strength of the noise."""
        return Examination(figures=[*self.image_pairs().figures(model, columns.get("train"), columns["test"])])


@dataclass(kw_only=True)
class ImageToImage(Task):
    """An image and what it should be."""

    tag: ClassVar[str] = "image-to-image"
    head: ClassVar[str] = "ForImageToImage"
    problem_class: ClassVar[type[Problem]] = ImageToImageProblem
    requires: ClassVar[tuple[str, ...]] = ("num_channels", "image_size")
    model_fields: ClassVar[tuple[str, ...]] = ("noise_types", "noise_strength")

    input: PlainImages = part(PlainImages)
    target: Pictures = part(Pictures)

    def __post_init__(self) -> None:
        target = self.target.target_column_name
        if target is not None and target == self.input.image_column_name:
            raise ValueError(f"image_column_name and target_column_name are both {target!r}")

    def columns(self, features: "datasets.Features") -> tuple[list[str], list[str]]:
        """Name the column of the images and, of pairs, that of the images as they should be."""
        import datasets

        from .inputs.image_files import image_column

        if self.target.target_column_name is None:
            return self.input.columns(features, []), []
        existing_column(self.target.target_column_name, features, "target_column_name")
        target = image_column(features, self.target.target_column_name)
        others = datasets.Features({name: kind for name, kind in features.items() if name != target})
        return self.input.columns(others, [target]), [target]

    def select(self, dataset: "datasets.Dataset") -> "datasets.Dataset":
        """Select the images and, of pairs, what they should be, both undecoded."""
        images, targets = self.columns(dataset.features)
        return self.input.undecoded(dataset.select_columns([*images, *targets]), [*images, *targets])

    def unreadable(self, rows: "datasets.Dataset") -> dict[int, str]:
        """Find the rows of which an image cannot be read, of pairs either of them."""
        images, targets = self.columns(rows.features)
        return self.input.unreadable(rows, [*images, *targets])

    def example(self) -> str:
        """Return lines that use the pipeline."""
        return (
            "import hubmodels  # makes transformers know the family and the task\n"
            "from transformers import pipeline\n"
            "\n"
            'denoise = pipeline("image-to-image", model="{model_id}")\n'
            'denoise("noisy.png").save("clean.png")  # a path, a URL or a PIL image: a PIL image\n'
        )
