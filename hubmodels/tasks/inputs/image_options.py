"""What all inputs with images have in common: the options of their form, and the processor that is fitted to them."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ...fields import option
from ...report import note
from ..contract.parts import Input
from .image_files import image_statistics
from .image_survey import default_size, suitable_size, survey_images, usual_shape

if TYPE_CHECKING:
    import datasets
    import torch


@dataclass(kw_only=True)
class ImageOptions(Input):
    """Holds the options of the form that images are brought to."""

    decided_fields: ClassVar[tuple[str, ...]] = ("num_channels", "image_size")

    image_column_name: str | None = option(None, "column of the images; the only image column when absent")
    image_size: int | list[int] | None = option(None, "side in pixels, or height and width; the usual one when absent")
    num_channels: int | None = option(None, "1 for grey, 3 for RGB; 1 when absent if every training image is grey")

    def __post_init__(self) -> None:
        if self.image_size is not None:
            sides = [self.image_size] if isinstance(self.image_size, int) else self.image_size
            if len(sides) not in (1, 2) or min(sides) < 1:
                raise ValueError(
                    f"image_size must be a side or [height, width], each at least 1, got {self.image_size}"
                )
        if self.num_channels not in (None, 1, 3):
            raise ValueError(f"num_channels must be 1 (grey) or 3 (RGB), got {self.num_channels}")

    @property
    def height_and_width(self) -> tuple[int, int] | None:
        """Return the size where the options say it."""
        if self.image_size is None:
            return None
        sides = [self.image_size] if isinstance(self.image_size, int) else self.image_size
        return sides[0], sides[-1]

    def suit(
        self, dataset: "datasets.Dataset", columns: list[str], accepts: Callable[[dict[str, Any]], bool]
    ) -> "ImageOptions":
        """Choose the size where nobody did: the usual one, smaller for photographs, or the nearest that can be."""
        import datasets

        images = [name for name in columns if isinstance(dataset.features[name], datasets.Image)]
        if not images:
            return self
        survey = survey_images(dataset, images[:1])
        survey.say_sizes()
        if self.image_size is not None:
            return self
        usual = survey.usual_size
        channels = self.num_channels or (1 if survey.all_grey else 3)
        size = suitable_size(usual, lambda sides: accepts(config_size((channels, *sides))))
        if size is None or size == usual:
            return self
        small = default_size(usual) != usual
        why = "large images would take long" if small else "the network takes no images of that size"
        words = f"Images are usually {usual[0]} x {usual[1]} pixels and are brought to {size[0]} x {size[1]}: {why}."
        note("columns", words, surprising=True, remedy=f"image_size: [{usual[0]}, {usual[1]}]" if small else None)
        return dataclasses.replace(self, image_size=list(size))

    def unreadable(
        self, dataset: "datasets.Dataset", columns: list[str], targets: Sequence[str] = ()
    ) -> dict[int, str]:
        """Find the rows whose images cannot be decoded, with the reason."""
        import datasets

        features = dataset.features
        images = [name for name in (*columns, *targets) if isinstance(features[name], datasets.Image)]
        return dict(survey_images(dataset, images).unreadable)

    def fit_image_processor(self, train: "datasets.Dataset", column: str) -> Any:
        """Fit an image processor with the usual size and channels, and each channel's mean and standard deviation.

        They are taken over all pixels of all training images, of bytes divided by 255, from exact counts of bytes."""
        from ...processors.processing_image import HubmodelsImageProcessor

        fields = usual_shape(train, column, self.height_and_width, self.num_channels)
        mean, std = image_statistics(train, column, HubmodelsImageProcessor(**fields).to_pixels)
        return HubmodelsImageProcessor(**fields, image_mean=mean, image_std=std)


def config_size(shape: tuple[int, int, int]) -> dict[str, Any]:
    """Return a config's `num_channels` and `image_size`, one side or [height, width], of images (C, H, W)."""
    channels, height, width = shape
    return {"num_channels": channels, "image_size": height if height == width else [height, width]}


def pattern_pixels(*shape: int) -> "torch.Tensor":
    """Return fixed patterns of bytes of this shape, from integers alone."""
    import torch

    numbers = torch.arange(math.prod(shape))
    return (numbers * numbers // 7 % 256).to(torch.uint8).view(shape)
