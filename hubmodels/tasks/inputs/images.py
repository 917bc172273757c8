"""Images: one a row, stored as bytes of one size."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ...errors import HubmodelsError, one_line
from ...fields import option
from ..contract.parts import FittedInput, Input
from .image_files import IMAGE_NAMES, image_column, image_statistics, open_value, read_pixels, usual_shape

if TYPE_CHECKING:
    import datasets
    import pyarrow
    import torch

    from ..contract.types import Batch, RawRows, Rows, Transform


@dataclass(kw_only=True)
class Images(Input):
    """Options of reading images."""

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
        """The size where the options say it."""
        if self.image_size is None:
            return None
        sides = [self.image_size] if isinstance(self.image_size, int) else self.image_size
        return sides[0], sides[-1]

    def claims(self, features: "datasets.Features") -> list[str]:
        """Name the column of images: the chosen one, else the only one of images."""
        return [image_column(features, self.image_column_name)]

    def undecoded(self, dataset: "datasets.Dataset", columns: list[str]) -> "datasets.Dataset":
        """Leave the images as bytes or paths."""
        import datasets

        return dataset.cast_column(columns[0], datasets.Image(decode=False))

    def fit(self, train: "datasets.Dataset", columns: list[str]) -> "FittedImages":
        """Fit an image processor with the usual size and channels, and each channel's mean and standard deviation.

        They are taken over all pixels of all training images, of bytes divided by 255, from exact counts of bytes."""
        from ...processors.processing_image import HubmodelsImageProcessor

        fields = usual_shape(train, columns[0], self.height_and_width, self.num_channels)
        mean, std = image_statistics(train, columns[0], HubmodelsImageProcessor(**fields))
        processor = HubmodelsImageProcessor(**fields, image_mean=mean, image_std=std)
        return FittedImages(options=self, processor=processor)

    def bind(self, processor: Any) -> "FittedImages":
        """Take an image processor as it is."""
        return FittedImages(options=self, processor=processor)

    def load(self, path: str, **kwargs: Any) -> "FittedImages":
        """Take the image processor of a checkpoint; its size and channels stay: the network was built for them."""
        from ...processors.processing_image import HubmodelsImageProcessor

        try:
            processor = HubmodelsImageProcessor.from_pretrained(path, **kwargs)
        except (OSError, ValueError, TypeError) as error:
            reason = one_line(error, 200)
            raise HubmodelsError(f"no usable image processor (preprocessor_config.json) at {path}: {reason}") from error
        size = (processor.size["height"], processor.size["width"])
        if self.height_and_width not in (None, size):
            raise HubmodelsError(
                f"{path} takes images of {size[0]} x {size[1]} pixels; leave out --image_size {self.image_size}"
            )
        if self.num_channels not in (None, processor.num_channels):
            raise HubmodelsError(
                f"{path} takes images of {processor.num_channels} channel(s); "
                f"leave out --num_channels {self.num_channels}"
            )
        return self.bind(processor)


@dataclass(kw_only=True)
class PlainImages(Images):
    """Images whose values are in 0..1: what is reconstructed or drawn must have an end."""

    def fit(self, train: "datasets.Dataset", columns: list[str]) -> "FittedImages":
        """Fit an image processor with the usual size and channels that gives values in 0..1."""
        from ...processors.processing_image import HubmodelsImageProcessor

        fields = usual_shape(train, columns[0], self.height_and_width, self.num_channels)
        return FittedImages(options=self, processor=HubmodelsImageProcessor(**fields, do_normalize=False))


@dataclass(kw_only=True)
class FittedImages(FittedInput[Images]):
    """Images with their processor. Encoded they are bytes, `pixel_values` (B, C, H, W) uint8."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of a prepared image."""
        return self.processor.num_channels, self.processor.size["height"], self.processor.size["width"]

    def config_fields(self) -> dict[str, Any]:
        """Return `num_channels` and `image_size`, one side or [height, width]."""
        channels, height, width = self.shape
        return {"num_channels": channels, "image_size": height if height == width else [height, width]}

    def encoded_features(self) -> dict[str, Any]:
        """Return the Arrow type of `pixel_values`."""
        import datasets

        return {"pixel_values": datasets.Array3D(self.shape, "uint8")}

    def encode(self, rows: "RawRows", row_numbers: list[int], columns: list[str]) -> "Rows":
        """Decode and resize images to `pixel_values` (B, C, H, W) uint8, before normalisation."""
        return {"pixel_values": read_pixels(rows[columns[0]], row_numbers, columns[0], self.processor)}

    def transform(self, *, training: bool) -> "Transform":
        """Return the normalisation of `pixel_values`; other columns pass through."""

        def normalize(batch: "Batch", generator: "torch.Generator | None" = None) -> "Batch":
            return {**batch, "pixel_values": self.processor.normalize_pixels(batch["pixel_values"])}

        return normalize

    def input_columns(self) -> list[str]:
        """Name the chosen column, or all usual ones."""
        return [self.options.image_column_name] if self.options.image_column_name else list(IMAGE_NAMES)

    def encode_inputs(self, table: "pyarrow.Table", row_numbers: list[int]) -> "Rows":
        """Encode a column of images, of their bytes or of their paths."""
        column = next((name for name in self.input_columns() if name in table.column_names), None)
        if column is None:
            raise HubmodelsError(
                f"no column of images ({', '.join(self.input_columns())}) among {', '.join(table.column_names)}"
            )
        images = [open_value(value) for value in table.column(column).to_pylist()]
        return {"pixel_values": read_pixels(images, row_numbers, column, self.processor)}

    def golden_inputs(self) -> "Batch":
        """Return two fixed patterns of bytes, from integers alone, normalised."""
        import torch

        numbers = torch.arange(math.prod((2, *self.shape)))
        pixels = (numbers * numbers // 7 % 256).to(torch.uint8).view(2, *self.shape)
        return {"pixel_values": self.processor.normalize_pixels(pixels)}
