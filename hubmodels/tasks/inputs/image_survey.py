"""What the images of a data set are like: their sizes, whether all are grey, and which of them cannot be read."""

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import BadRow, HubmodelsError
from ...files import read_json, write_json
from ...report import note
from .image_files import image_batches, open_image, unreadable_words

if TYPE_CHECKING:
    import datasets

NUM_THREADS = 4  # each has one decoded image in memory
NUM_REMEMBERED = 8  # surveys of rows that have no folder in the cache
MULTIPLES = (2, 4, 8, 16, 32, 64)  # of which sides are made where a network halves them, or cuts them to patches
LARGEST_DEFAULT = 256  # pixels of the longer side, where nobody said a size
GREY_MODES = ("1", "L", "LA", "La", "I", "F")

_remembered: "dict[str, ImageSurvey]" = {}  # by the rows' fingerprint


@dataclass(frozen=True)
class ImageSurvey:
    """Holds what was seen of the images of some rows."""

    sizes: Mapping[tuple[int, int], int] = field(default_factory=dict)  # (height, width) -> number of images
    all_grey: bool = True
    unreadable: Mapping[int, str] = field(default_factory=dict)  # row -> reason

    @property
    def usual_size(self) -> tuple[int, int]:
        """Return the size of most images, or the median of each side. Raises HubmodelsError where there are none."""
        import numpy as np

        if not self.sizes:
            raise HubmodelsError("the training split has no rows")
        common = max(self.sizes, key=lambda size: self.sizes[size])
        if 2 * self.sizes[common] > sum(self.sizes.values()):
            return common
        sides = np.repeat(np.array(list(self.sizes)), list(self.sizes.values()), axis=0)
        height, width = (int(side) for side in np.median(sides, axis=0))
        return height, width

    def say_sizes(self) -> None:
        """Say how the sizes differ."""
        if len(self.sizes) > 1:
            height, width = self.usual_size
            sides = [sorted(size[axis] for size in self.sizes) for axis in (0, 1)]
            words = f"Images differ in size: {sides[0][0]} to {sides[0][-1]} pixels high, {sides[1][0]} to "
            note("check", f"{words}{sides[1][-1]} wide, usually {height} x {width}.")

    def to_dict(self) -> dict[str, Any]:
        """Give plain values for JSON."""
        sizes = [[*size, count] for size, count in self.sizes.items()]
        return {"sizes": sizes, "all_grey": self.all_grey, "unreadable": list(self.unreadable.items())}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ImageSurvey":
        """Make again what `to_dict` gave."""
        sizes = {(height, width): count for height, width, count in values["sizes"]}
        return cls(sizes, values["all_grey"], {row: reason for row, reason in values["unreadable"]})


def survey_images(rows: "datasets.Dataset", columns: Iterable[str]) -> ImageSurvey:
    """Decode the images of some columns once; what was seen is kept in the cache, beside the rows.

    Args:
        rows: with images that are not decoded.
        columns: of images.
    """
    import datasets

    columns = list(columns)
    in_memory = isinstance(rows, datasets.Dataset)
    key = datasets.fingerprint.Hasher.hash([rows._fingerprint, columns, 1]) if in_memory else ""
    folders = [Path(cached["filename"]).parent for cached in rows.cache_files] if in_memory else []
    file = folders[0] / f"images-{key}.json" if folders else None
    if file is not None and file.is_file():
        return ImageSurvey.from_dict(read_json(file))
    if key and key in _remembered:
        return _remembered[key]
    survey = _decode_all(rows, columns)
    if file is not None:
        write_json(file, survey.to_dict())
    elif key and not _names_files(rows, columns):
        while len(_remembered) >= NUM_REMEMBERED:
            _remembered.pop(next(iter(_remembered)))
        _remembered[key] = survey
    return survey


def _names_files(rows: "datasets.Dataset", columns: list[str]) -> bool:
    """Tell whether rows name files, which may be overwritten while the rows stay."""
    return len(rows) > 0 and any(value is not None and value["bytes"] is None for value in map(rows[0].get, columns))


def _decode_all(rows: "datasets.Dataset", columns: list[str]) -> ImageSurvey:
    """Decode all images."""
    sizes: Counter[tuple[int, int]] = Counter()
    all_grey, unreadable = True, {}
    with ThreadPoolExecutor(max_workers=NUM_THREADS) as threads:
        for batch, numbers in image_batches(rows, "Reading images"):
            for column in columns:
                values = batch[column]
                pieces = [values[start : start + 64] for start in range(0, len(values), 64)]
                seen = itertools.chain.from_iterable(threads.map(_look_at_all, pieces))
                for number, (size, grey, reason) in zip(numbers, seen, strict=True):
                    if reason is not None:
                        unreadable[number] = reason
                    else:
                        sizes[size] += 1
                        all_grey &= grey
    return ImageSurvey(sizes, all_grey, unreadable)


def _look_at_all(values: Iterable[Any]) -> list[tuple[tuple[int, int], bool, str | None]]:
    """Decode some images."""
    return [_look_at(value) for value in values]


def _look_at(value: Any) -> tuple[tuple[int, int], bool, str | None]:
    """Decode an image and return its (height, width), whether it is grey, and the reason why it cannot be read."""
    from ...processors.processing_image import upright_size

    try:
        image = open_image(value)
        size, mode = upright_size(image), image.mode
        if image.format == "JPEG":
            image.draft("L", (1, 1))  # all bytes are read, an eighth of the pixels is computed
        image.load()
    except Exception as error:  # decoders raise a dozen types
        return (0, 0), True, unreadable_words(error, value)
    return size, mode in GREY_MODES or mode.startswith("I;16"), None


def suitable_size(usual: tuple[int, int], accepts: Callable[[tuple[int, int]], bool]) -> tuple[int, int] | None:
    """Return the size to train at where nobody said one: the default, or the nearest that the network takes.

    Args:
        usual: (height, width) of the images.
        accepts: tells whether a network takes images of a size.

    Returns:
        The size; None where the network takes none that is near.
    """
    height, width = default_size(usual)
    if accepts((height, width)):
        return height, width
    for multiple in MULTIPLES:
        sides = [max(multiple, multiple * round(side / multiple)) for side in (height, width)]
        if accepts((sides[0], sides[1])):
            return sides[0], sides[1]
    return None


def default_size(usual: tuple[int, int]) -> tuple[int, int]:
    """Return the size to train at where nobody said one: the usual one, or smaller in the same proportions."""
    longest = max(usual)
    if longest <= LARGEST_DEFAULT:
        return usual
    height, width = (max(1, round(side * LARGEST_DEFAULT / longest)) for side in usual)
    return height, width


def usual_shape(
    train: "datasets.Dataset", column: str, size: tuple[int, int] | None, num_channels: int | None
) -> dict[str, Any]:
    """Return an image processor's `size` and `num_channels`: as given, or where None as the images usually are."""
    if size is None or num_channels is None:
        survey = survey_images(train, [column])
        for row, reason in survey.unreadable.items():
            raise BadRow(row, column, reason)
        survey.say_sizes()
        size = size or default_size(survey.usual_size)
        num_channels = num_channels or (1 if survey.all_grey else 3)
    return {"size": {"height": size[0], "width": size[1]}, "num_channels": num_channels}
