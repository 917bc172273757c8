"""Reading the images of a data set: their column, sizes, modes and bytes."""

import io
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from ...errors import BadRow, HubmodelsError, one_line
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
    for rows, numbers in image_batches(train, "Image statistics"):
        pixels = read_pixels(rows[column], numbers, column, to_pixels)
        channels = pixels.swapaxes(0, 1)  # (C, B, H, W)
        in_batch = np.stack([np.bincount(values.ravel(), minlength=256) for values in channels])
        counts = in_batch if counts is None else counts + in_batch
    if counts is None:
        raise HubmodelsError("the training split has no rows")
    return counts


def bad_image(error: BaseException, row: int, column: str, value: Any) -> BadRow:
    """Make one line of whatever went wrong with an image, naming its row and its file; decoders raise a dozen types."""
    return BadRow(row, column, unreadable_words(error, value))


def unreadable_words(error: BaseException, value: Any) -> str:
    """Say which image cannot be read, and why."""
    path = value.get("path") if isinstance(value, Mapping) else None
    name = f" {short_path(path)}" if isinstance(path, str) else ""
    return f"cannot read the image{name}: {one_line(error, 200) or type(error).__name__}"


def short_path(path: str) -> str:
    """Return a file's name with its folder's: notes stand in releases, which tell nobody's whole paths."""
    return "/".join(PurePath(path).parts[-2:])


def open_image(value: Any) -> Any:
    """Open what an undecoded image column holds as a PIL image, its pixels not yet decoded. Raises ValueError."""
    from ...processors import processing_image

    if value is None:
        raise ValueError("it is missing")
    if value["bytes"] is not None:
        return processing_image.open_image(value["bytes"])
    path = value["path"]
    if path is None:
        raise ValueError("it is missing")
    if os.path.exists(path):
        return processing_image.open_image(path)
    if path.startswith(("http://", "https://")):
        raise ValueError("it is a file of the network, which could not be had or was not asked for (--allow_urls)")
    if "://" not in path:
        raise ValueError("there is no such file")
    from datasets.utils.file_utils import xopen

    with xopen(path, "rb") as file:  # inside an archive, or of the Hub
        return processing_image.open_image(file.read())


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
        BadRow: an image cannot be read; it names the row, the column and the file.
    """
    current: tuple[int, Any] = (next(iter(row_numbers), 0), None)

    def opened() -> Iterator[Any]:
        nonlocal current
        for current in zip(row_numbers, images, strict=True):
            yield open_image(current[1])

    try:
        return to_pixels(opened())
    except Exception as error:
        raise bad_image(error, current[0], column, current[1]) from error


def image_batches(dataset: "datasets.Dataset", description: str, batch_size: int = 500) -> Iterator[tuple[dict, range]]:
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
