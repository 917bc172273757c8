"""What the tasks on images share: the options of their column and size, the processor, encoded pixels."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..recipe import HubmodelsError, option
from . import Task
from ._images import IMAGE_NAMES, check_image_options, height_and_width, processor_fields, read_pixels

if TYPE_CHECKING:
    import datasets

    from . import Batch, Rows


@dataclass(kw_only=True)
class ImageTask(Task):
    """One image a row, stored as bytes of one size."""

    image_column_name: str | None = option(None, "column of the images; the only image column when absent")
    image_size: int | list[int] | None = option(None, "side in pixels, or height and width; the usual one when absent")
    num_channels: int | None = option(None, "1 for grey, 3 for RGB; 1 when absent if every training image is grey")

    def __post_init__(self) -> None:
        check_image_options(self.image_size, self.num_channels)

    def wanted_size(self) -> tuple[int, int] | None:
        """(height, width) where the options say it."""
        return height_and_width(self.image_size)

    def fit_processor(self, train: "datasets.Dataset") -> Any:
        """An image processor with the usual size and channels that gives values in 0..1."""
        from ..processors.processing_image import HubmodelsImageProcessor

        column = next(iter(train.features))  # the images come first in `select`
        fields = processor_fields(train, column, self.wanted_size(), self.num_channels)
        return HubmodelsImageProcessor(**fields, do_normalize=False)

    def load_processor(self, path: str, **kwargs: Any) -> Any:
        """The image processor of a checkpoint; its size and channels stay, since the network was built for them."""
        from ..processors.processing_image import HubmodelsImageProcessor

        try:
            processor = HubmodelsImageProcessor.from_pretrained(path, **kwargs)
        except (OSError, ValueError, TypeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise HubmodelsError(f"no usable image processor (preprocessor_config.json) at {path}: {reason}") from error
        size = (processor.size["height"], processor.size["width"])
        if self.wanted_size() not in (None, size):
            raise HubmodelsError(
                f"{path} takes images of {size[0]} x {size[1]} pixels; leave out --image_size {self.image_size}"
            )
        if self.num_channels not in (None, processor.num_channels):
            raise HubmodelsError(
                f"{path} takes images of {processor.num_channels} channel(s); "
                f"leave out --num_channels {self.num_channels}"
            )
        return processor

    def image_config(self, processor: Any) -> dict[str, Any]:
        """The config's `num_channels` and `image_size` as the processor gives them."""
        height, width = processor.size["height"], processor.size["width"]
        return {"num_channels": processor.num_channels, "image_size": height if height == width else [height, width]}

    def image_feature(self, processor: Any) -> Any:
        """The Arrow type of `pixel_values`."""
        import datasets

        shape = (processor.num_channels, processor.size["height"], processor.size["width"])
        return datasets.Array3D(shape, "uint8")

    def input_columns(self, processor: Any) -> list[str]:
        return [self.image_column_name] if self.image_column_name else list(IMAGE_NAMES)

    def encode_inputs(self, rows: Any, row_numbers: list[int], processor: Any, config_values: dict[str, Any]) -> "Rows":
        """The images, from a column of images, of their bytes or of their paths."""
        column = next((name for name in self.input_columns(processor) if name in rows.column_names), None)
        if column is None:
            raise HubmodelsError(
                f"no column of images ({', '.join(self.input_columns(processor))}) among {', '.join(rows.column_names)}"
            )
        values = [
            {"bytes": value, "path": None}
            if isinstance(value, bytes)
            else {"bytes": None, "path": value}
            if isinstance(value, str)
            else value
            for value in rows.column(column).to_pylist()
        ]
        return {"pixel_values": read_pixels(values, row_numbers, column, processor)}

    def golden_inputs(self, processor: Any, config_values: dict[str, Any]) -> "Batch":
        """Two fixed patterns of bytes, from integers alone, normalised."""
        import torch

        shape = (2, processor.num_channels, processor.size["height"], processor.size["width"])
        numbers = torch.arange(math.prod(shape))
        return {"pixel_values": processor.normalize_pixels((numbers * numbers // 7 % 256).to(torch.uint8).view(shape))}
