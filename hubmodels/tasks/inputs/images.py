"""Images: one a row, stored as bytes of one size."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...errors import HubmodelsError, one_line
from ...fields import option
from ..contract.parts import FittedInput
from .image_files import IMAGE_NAMES, image_column, open_value, read_pixels
from .image_options import ImageOptions, config_size, pattern_pixels
from .image_survey import usual_shape

if TYPE_CHECKING:
    import datasets
    import pyarrow
    import torch

    from ..contract.types import Batch, RawRows, Rows, Transform


@dataclass(kw_only=True)
class Images(ImageOptions):
    """Holds the options of reading images."""

    def claims(self, features: "datasets.Features") -> list[str]:
        """Name the column of images: the chosen one, else the only one of images."""
        return [image_column(features, self.image_column_name)]

    def undecoded(self, dataset: "datasets.Dataset", columns: list[str]) -> "datasets.Dataset":
        """Leave the images as bytes or paths."""
        import datasets

        for column in columns:
            dataset = dataset.cast_column(column, datasets.Image(decode=False))
        return dataset

    def fit(self, train: "datasets.Dataset", columns: list[str]) -> "FittedImages":
        """Fit an image processor with the usual size and channels, and each channel's mean and standard deviation."""
        return self.bind(self.fit_image_processor(train, columns[0]))

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
class FittedImages(FittedInput[Images]):
    """Images with their processor. Encoded they are bytes, `pixel_values` (B, C, H, W) uint8."""

    single = "image"

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return channels, height and width of a prepared image."""
        return self.processor.num_channels, self.processor.size["height"], self.processor.size["width"]

    def config_fields(self) -> dict[str, Any]:
        """Return `num_channels` and `image_size`, one side or [height, width]."""
        return config_size(self.shape)

    def encoded_features(self) -> dict[str, Any]:
        """Return the Arrow type of `pixel_values`."""
        import datasets

        return {"pixel_values": datasets.Array3D(self.shape, "uint8")}

    def encode(self, rows: "RawRows", row_numbers: list[int], columns: list[str]) -> "Rows":
        """Decode and resize images to `pixel_values` (B, C, H, W) uint8, before normalisation."""
        return {"pixel_values": read_pixels(rows[columns[0]], row_numbers, columns[0], self.processor.to_pixels)}

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
        return {"pixel_values": read_pixels(images, row_numbers, column, self.processor.to_pixels)}

    def golden_inputs(self) -> "Batch":
        """Return two fixed patterns of bytes, from integers alone, normalised."""
        return {"pixel_values": self.processor.normalize_pixels(pattern_pixels(2, *self.shape))}


@dataclass(kw_only=True)
class PlainImages(Images):
    """Holds the options of images whose values are in 0..1: what is reconstructed or drawn must have an end."""

    horizontal_flip: float = option(0.0, "augmentation: probability of mirroring left to right, in [0, 1]")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.horizontal_flip <= 1:
            raise ValueError(f"horizontal_flip must be a probability between 0 and 1, got {self.horizontal_flip}")

    def fit(self, train: "datasets.Dataset", columns: list[str]) -> "FittedPlainImages":
        """Fit an image processor with the usual size and channels that gives values in 0..1."""
        from ...processors.processing_image import HubmodelsImageProcessor

        fields = usual_shape(train, columns[0], self.height_and_width, self.num_channels)
        return self.bind(HubmodelsImageProcessor(**fields, do_normalize=False))

    def bind(self, processor: Any) -> "FittedPlainImages":
        """Take an image processor as it is."""
        return FittedPlainImages(options=self, processor=processor)


@dataclass(kw_only=True)
class FittedPlainImages(FittedImages):
    """Images with a processor that gives values in 0..1."""

    options: PlainImages

    def transform(self, *, training: bool) -> "Transform":
        """Return flips in training, then values in 0..1; other columns pass through."""
        normalize = super().transform(training=training)
        probability = self.options.horizontal_flip
        if not (training and probability):
            return normalize
        from .image_augmentation import random_horizontal_flip

        def flip(batch: "Batch", generator: "torch.Generator | None" = None) -> "Batch":
            pixels = random_horizontal_flip(batch["pixel_values"], probability, generator)
            return normalize({**batch, "pixel_values": pixels}, generator)

        return flip
