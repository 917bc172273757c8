"""What the tasks on images share: the options of their column and size, the processor, encoded pixels, and classes
that are optional."""

import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import HubmodelsError
from ..fields import option
from ._unbound import Task
from .contract.columns import class_names, existing_column, label_column, label_maps
from .inputs.image_files import (
    IMAGE_NAMES,
    image_column,
    read_pixels,
)
from .inputs.image_files import (
    usual_shape as processor_fields,
)

if TYPE_CHECKING:
    import datasets
    import torch

    from ._unbound import Batch, Rows


def check_image_options(image_size, num_channels):
    from .inputs.images import Images

    Images(image_size=image_size, num_channels=num_channels)


def height_and_width(image_size):
    from .inputs.images import Images

    return Images(image_size=image_size).height_and_width


logger = logging.getLogger("hubmodels")


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


@dataclass(kw_only=True)
class LabelledImageTask(ImageTask):
    """An image a row, which may have a class."""

    config_fields: ClassVar[tuple[str, ...]] = ("num_channels", "image_size", "id2label", "label2id")

    label_column_name: str | None = option(None, "column of classes; the usual one when absent, or none")
    horizontal_flip: float = option(0.0, "augmentation: probability of mirroring left to right, in [0, 1]")
    fid_classifier: str | None = option(None, "image classifier (folder or Hub id) whose features measure samples")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.horizontal_flip <= 1:
            raise ValueError(f"horizontal_flip must be a probability between 0 and 1, got {self.horizontal_flip}")

    def needs_labels(self) -> bool:
        """Whether the options make no sense without a class column."""
        return False

    def takes_labels(self, config_values: dict[str, Any]) -> bool:
        """Whether the model is given the classes."""
        return False

    def select(self, dataset: "datasets.Dataset") -> "datasets.Dataset":
        """The image column, undecoded, and the class column where there is one."""
        import datasets

        image = image_column(dataset.features, self.image_column_name)
        label = self._label_column(dataset.features, image)
        columns = [image] if label is None else [image, label]
        return dataset.select_columns(columns).cast_column(image, datasets.Image(decode=False))

    def _label_column(self, features: "datasets.Features", image: str) -> str | None:
        if self.label_column_name is not None:
            return label_column(features, existing_column(self.label_column_name, features, "label_column_name"))
        try:
            return label_column(features, None, others=(image,))
        except HubmodelsError:
            if self.needs_labels():
                raise
            return None

    def fit_config(self, train: "datasets.Dataset", processor: Any) -> dict[str, Any]:
        """Channels and size as the processor gives them, and the names of the classes where there are any."""
        values = self.image_config(processor)
        _, *label = train.features
        if label and (names := self._names(train, label[0])):
            values |= label_maps(names)
        return values

    def _names(self, train: "datasets.Dataset", column: str) -> list[str]:
        try:
            return class_names(train, column)
        except HubmodelsError as error:  # one class, or no classes at all: then there is nothing to tell apart
            if self.label_column_name is not None and not self.needs_labels():
                raise
            logger.info("Column %r is not used: %s", column, error)
            return []

    def encoded_features(self, processor: Any, config_values: dict[str, Any]) -> "datasets.Features":
        import datasets

        return datasets.Features(pixel_values=self.image_feature(processor), labels=datasets.Value("int64"))

    def encode(
        self,
        rows: dict[str, list],
        row_numbers: list[int],
        features: "datasets.Features",
        processor: Any,
        config_values: dict[str, Any],
    ) -> "Rows":
        """`pixel_values` (B, C, H, W) uint8, and `labels` (B,) int64, -1 where a row has no class that is known."""
        import datasets
        import numpy as np

        image, *label = features
        labels = np.full(len(rows[image]), -1, dtype=np.int64)
        if label:
            feature = features[label[0]]
            numbers = {name: int(number) for number, name in (config_values.get("id2label") or {}).items()}
            for place, value in enumerate(rows[label[0]]):
                if isinstance(feature, datasets.ClassLabel):
                    value = feature.names[value] if value is not None and 0 <= value < len(feature.names) else None
                labels[place] = numbers.get(str(value), -1)
        return {"pixel_values": read_pixels(rows[image], row_numbers, image, processor), "labels": labels}

    def transform(
        self, processor: Any, config_values: dict[str, Any], *, training: bool
    ) -> "Callable[[Batch, torch.Generator | None], Batch]":
        """Flips in training, then values in 0..1. Labels stay behind where the model takes none."""
        with_labels = self.takes_labels(config_values)

        def prepare(batch: "Batch", generator: "torch.Generator | None" = None) -> "Batch":
            pixels = batch["pixel_values"]
            if training and self.horizontal_flip:
                from .inputs.image_augmentation import random_horizontal_flip

                pixels = random_horizontal_flip(pixels, self.horizontal_flip, generator)
            prepared = {"pixel_values": processor.normalize_pixels(pixels)}
            return prepared | {"labels": batch["labels"]} if with_labels else prepared

        return prepare

    def draw_files(
        self, model: Any, processor: Any, count: int, seed: int, labels: "torch.Tensor | None", **options: Any
    ) -> Iterator[tuple[str, bytes]]:
        """Each sample as a PNG."""
        from ._sample_quality import sample_images
        from .inputs.image_files import encode_png

        for pixels in sample_images(model, count, seed, labels, **options):
            yield ".png", encode_png(pixels)
