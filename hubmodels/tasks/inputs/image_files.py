"""Reading the images of a data set: their column, sizes, modes and bytes."""

import io
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ...errors import BadRow, HubmodelsError
from ..contract.columns import choose_column, describe_columns, existing_column, kind_of

if TYPE_CHECKING:
    import datasets
    import numpy as np
    import torch

ToPixels = Callable[[Iterable[Any]], "np.ndarray"]  # of an image processor: images -> (B, C, H, W) uint8
IMAGE_NAMES = ("image", "images", "img", "picture", "photo", "pixel_values")
PATH_TYPES = ("string", "large_string", "binary", "large_binary")  # types that Arrow casts to undecoded images


def image_column(features: "datasets.Features", chosen: str | None) -> str:
    """Name the column with the images: the `chosen` one (of images, or of their paths), else the only one of images.

    Raises:
        HubmodelsError: there is none, there are several, or the chosen one holds no images.
    """
    import datasets

    if chosen is not None:
        name = existing_column(chosen, features, "image_column_name")
        if not isinstance(features[name], datasets.Image) and kind_of(features[name]) not in PATH_TYPES:
            raise HubmodelsError(
                f"column {name!r} holds {kind_of(features[name])}, not images or their paths; "
                f"choose another --image_column_name"
            )
        return name
    candidates = [name for name, kind in features.items() if isinstance(kind, datasets.Image)]
    if not candidates:
        raise HubmodelsError(
            f"the data set has no image column; its columns are {describe_columns(features)} "
            f"(a column of image paths can be named with --image_column_name)"
        )
    return choose_column(candidates, IMAGE_NAMES, "image", "image_column_name")


def survey_images(train: "datasets.Dataset", column: str) -> tuple[tuple[int, int], bool]:
    """Read the files' headers.

    Returns:
        The usual (height, width), and whether all images are grey.
    """
    import numpy as np

    from ...processors.processing_image import upright_size

    sizes: Counter = Counter()
    all_grey = True
    for rows, numbers in _batches(train, "Image sizes"):
        for value, number in zip(rows[column], numbers, strict=True):
            with _Naming(number, column):
                image = open_image(value)
                sizes[upright_size(image)] += 1
                all_grey &= image.mode in ("1", "L", "LA", "La", "I", "F") or image.mode.startswith("I;16")
    if not sizes:
        raise HubmodelsError("the training split has no rows")
    (common, count), *_ = sizes.most_common(1)
    if 2 * count <= sizes.total():  # no usual size: the median of each side
        sides = np.repeat(np.array(list(sizes)), list(sizes.values()), axis=0)
        common = tuple(int(side) for side in np.median(sides, axis=0))
    return common, all_grey


def usual_shape(
    train: "datasets.Dataset", column: str, size: tuple[int, int] | None, num_channels: int | None
) -> dict[str, Any]:
    """Return an image processor's `size` and `num_channels`: as given, or where None as the images usually are."""
    if size is None or num_channels is None:
        usual_size, all_grey = survey_images(train, column)
        size = size or usual_size
        num_channels = num_channels or (1 if all_grey else 3)
    return {"size": {"height": size[0], "width": size[1]}, "num_channels": num_channels}


def image_statistics(train: "datasets.Dataset", column: str, to_pixels: ToPixels) -> tuple[list[float], list[float]]:
    """Compute each channel's mean and standard deviation over all pixels of all images, of bytes divided by 255.

    Returns:
        The means and the standard deviations, a number a channel.
    """
    import numpy as np

    counts = byte_counts(train, column, to_pixels)
    values = np.arange(256) / 255
    total = counts.sum(axis=1)
    mean = counts @ values / total
    std = np.sqrt((counts * (values - mean[:, None]) ** 2).sum(axis=1) / total)
    std = np.maximum(std, 1 / 255)  # images of one flat colour
    return mean.round(8).tolist(), std.round(8).tolist()


def byte_counts(train: "datasets.Dataset", column: str, to_pixels: ToPixels) -> "np.ndarray":
    """Count how often each byte occurs in each channel of all prepared images, (C, 256) int64."""
    import numpy as np

    counts = None
    for rows, numbers in _batches(train, "Image statistics"):
        pixels = read_pixels(rows[column], numbers, column, to_pixels)
        channels = pixels.swapaxes(0, 1)  # (C, B, H, W)
        in_batch = np.stack([np.bincount(values.ravel(), minlength=256) for values in channels])
        counts = in_batch if counts is None else counts + in_batch
    if counts is None:
        raise HubmodelsError("the training split has no rows")
    return counts


class _Naming:
    """Turns whatever goes wrong with an image into one line that names its row; decoders raise a dozen types."""

    def __init__(self, number: int, column: str) -> None:
        self.number, self.column = number, column

    def __enter__(self) -> "_Naming":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, Exception):
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise BadRow(self.number, self.column, f"cannot read the image: {reason}") from error


def open_image(value: Any) -> Any:
    """Open what an undecoded image column holds as a PIL image, its pixels not yet decoded."""
    import datasets
    from PIL import Image, UnidentifiedImageError

    if value is None:
        raise ValueError("it is missing")
    try:
        if value["bytes"] is not None:
            return Image.open(io.BytesIO(value["bytes"]))
        if os.path.exists(value["path"]):
            with open(value["path"], "rb") as file:
                return Image.open(io.BytesIO(file.read()))
    except UnidentifiedImageError:
        raise ValueError("the bytes are of no image format that Pillow knows") from None
    if "://" not in value["path"]:
        raise ValueError(f"no file at {value['path']}")
    return datasets.Image().decode_example(value)  # inside an archive, or remote


def open_value(value: Any) -> Any:
    """Return what an undecoded image column would hold for bytes, for a path, or for itself."""
    if isinstance(value, bytes):
        return {"bytes": value, "path": None}
    return {"bytes": None, "path": value} if isinstance(value, str) else value


def encode_png(pixels: "torch.Tensor") -> bytes:
    """Encode bytes (C, H, W), grey or RGB, as a PNG file."""
    from PIL import Image

    array = pixels.permute(1, 2, 0).numpy()
    file = io.BytesIO()
    Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array).save(file, format="PNG")
    return file.getvalue()


def read_pixels(images: list, row_numbers: Sequence[int], column: str, to_pixels: ToPixels) -> "np.ndarray":
    """Read a batch of undecoded images as (B, C, H, W) uint8, by a processor's `to_pixels`.

    They are decoded one by one, so that only one large photo is in memory.

    Raises:
        HubmodelsError: an image cannot be read; it names the row and the column.
    """
    naming = _Naming(next(iter(row_numbers), 0), column)

    def opened() -> Iterator[Any]:
        for number, value in zip(row_numbers, images, strict=True):
            naming.number = number
            yield open_image(value)

    with naming:
        return to_pixels(opened())


def _batches(dataset: "datasets.Dataset", description: str, batch_size: int = 500) -> Iterator[tuple[dict, range]]:
    """Go through batches of rows with their row numbers, with a progress bar on the main process."""
    from accelerate.utils import tqdm

    total = len(dataset) if hasattr(dataset, "__len__") else None
    start = 0
    with tqdm(total=total, desc=description, unit=" images", leave=False) as bar:
        for rows in dataset.iter(batch_size=batch_size):
            count = len(next(iter(rows.values())))
            yield rows, range(start, start + count)
            start += count
            bar.update(count)
