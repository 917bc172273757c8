"""Images of any kind -> `pixel_values` of one size with 1 (luminance) or 3 (RGB) channels. Pillow, no torchvision.

Two steps, so that a data set can be stored as bytes and normalised on the device later:

    pixels = processor.to_pixels(images)              # (B, C, H, W) uint8: orientation, mode, transparency, size
    values = processor.normalize_pixels(pixels)       # (B, C, H, W) float32: rescaled and normalised

and `processor(images)["pixel_values"]` is exactly the second. This file goes to the Hub as code.
"""

import base64
import binascii
import importlib
import io
import math
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import torch
from huggingface_hub import get_session
from PIL import Image, ImageOps, UnidentifiedImageError
from transformers.image_processing_backends import PilBackend
from transformers.image_processing_utils import BatchFeature

_ORIENTATION = 0x0112  # the EXIF tag
_TRANSPARENT_MODES = ("RGBA", "LA", "PA", "RGBa", "La")
_DEEP_MODES = ("I;16", "I;16L", "I;16B", "I;16N", "I", "F")  # more than 8 bits a channel; Pillow would clip them
# The kinds that Pillow decodes itself: others start programs (PostScript) or have no signature. MPO is a phone's JPEG.
IMAGE_FORMATS = ("PNG", "JPEG", "MPO", "GIF", "BMP", "DIB", "TIFF", "WEBP", "PPM", "JPEG2000", "ICO", "AVIF", "HEIF")
LARGEST_IMAGE_FILE = 1024**3  # bytes
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


class HubmodelsImageProcessorKwargs(TypedDict, total=False):
    """The fields of `HubmodelsImageProcessor`, which can also be given to one call."""

    do_resize: bool
    size: dict[str, int]
    resample: int
    do_rescale: bool
    rescale_factor: float
    do_normalize: bool
    image_mean: float | list[float]
    image_std: float | list[float]
    num_channels: int
    background_color: int


class HubmodelsImageProcessor(PilBackend):
    """Turns images of any mode, size and layout into the tensors that an image model takes.

    Args:
        do_resize: whether images of another size are resized (the aspect ratio gives way); False refuses them.
        size: `{"height": ..., "width": ...}` in pixels; a number is a square.
        resample: the Pillow filter of the resizing, 2 (bilinear, with antialiasing) by default.
        do_rescale: whether bytes are multiplied by `rescale_factor`.
        rescale_factor: 1/255 by default, bytes -> 0..1.
        do_normalize: whether `image_mean` is subtracted and the result divided by `image_std`.
        image_mean: one value a channel, in units of the rescaled values; a number counts for every channel.
        image_std: likewise, greater than 0.
        num_channels: 1 for luminance (ITU-R 601-2, as Pillow), 3 for RGB.
        background_color: 0..255, the grey that transparent pixels are composited on.

    Raises:
        ValueError: a field outside of these ranges.
    """

    valid_kwargs = HubmodelsImageProcessorKwargs
    model_input_names = ["pixel_values"]  # noqa: RUF012 - transformers' own form

    do_resize = True
    size = {"height": 224, "width": 224}  # noqa: RUF012
    resample = int(Image.Resampling.BILINEAR)
    do_rescale = True
    rescale_factor = 1 / 255
    do_normalize = True
    image_mean = (0.5,)
    image_std = (0.5,)
    num_channels = 3
    background_color = 255

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for name, value in self._check(_own_settings(self)).items():
            setattr(self, name, value)

    def preprocess(
        self,
        images: Any,
        *args: Any,
        return_tensors: str | None = None,
        input_data_format: str | None = None,
        **kwargs: Any,
    ) -> BatchFeature:
        """Prepare one image or several.

        Args:
            images: an image, or a list or iterator of images. An image is a PIL image of any mode, a path or URL, or an
                array or tensor of shape (H, W), (H, W, C) or (C, H, W) with C 1, 3 or 4; one more dimension in front
                is a batch. Integers are bytes 0..255 (uint16: 0..65535), floating-point values are 0..1.
            return_tensors: "pt" or "np"; by default a list of arrays.
            input_data_format: "channels_first" or "channels_last" for arrays whose layout is ambiguous.
            **kwargs: any field of the processor, for this call only.

        Returns:
            `pixel_values`, float32, (B, num_channels, height, width).

        Raises:
            ValueError: what was given is no image, or an unknown or impossible field.
        """
        settings = self._settings(kwargs)
        pixels = torch.from_numpy(self._to_pixels(images, settings, input_data_format))
        values = _normalize(pixels, settings)
        data = {"pixel_values": values if return_tensors == "pt" else list(values.numpy())}
        return BatchFeature(data=data, tensor_type=return_tensors)

    def to_pixels(self, images: Any, input_data_format: str | None = None, **kwargs: Any) -> np.ndarray:
        """Map images (see `preprocess`) -> bytes of one size and channel count, (B, num_channels, height, width)
        uint8."""
        return self._to_pixels(images, self._settings(kwargs), input_data_format)

    def normalize_pixels(self, pixels: torch.Tensor) -> torch.Tensor:
        """Map bytes (..., num_channels, height, width), on any device -> the float32 values that `preprocess` gives."""
        return _normalize(pixels, _own_settings(self))

    def _settings(self, overrides: dict[str, Any]) -> dict[str, Any]:
        settings = _own_settings(self)
        if not overrides:
            return settings
        given = {name: value for name, value in overrides.items() if value is not None}
        # Switches of other processors, which callers pass to all alike; only turning on what is not here is refused.
        unknown = [name for name, value in given.items() if name not in settings and value not in (False, "cpu")]
        if unknown:
            names = ", ".join(sorted(settings))
            raise ValueError(f"unknown image processor field {unknown[0]!r}; the fields are {names}")
        settings.update({name: value for name, value in given.items() if name in settings})
        return self._check(settings)

    def _check(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Return the settings in their canonical form: size a plain dict, mean and std lists with one value a
        channel."""
        channels = settings["num_channels"]
        if channels not in (1, 3):
            raise ValueError(f"num_channels must be 1 (luminance) or 3 (RGB), got {channels!r}")
        settings["size"] = _check_size(settings["size"])
        for name in ("image_mean", "image_std"):
            values = settings[name]
            values = [float(value) for value in values] if isinstance(values, Iterable) else [float(values)]
            if len(values) == 1:
                values = values * channels
            if len(values) != channels or not all(math.isfinite(value) for value in values):
                raise ValueError(f"{name} must have one finite value for each of the {channels} channels, got {values}")
            if name == "image_std" and min(values) <= 0:
                raise ValueError(f"image_std must be greater than 0, got {values}")
            settings[name] = values
        if settings["resample"] not in list(Image.Resampling):
            choices = ", ".join(f"{item.value} ({item.name.lower()})" for item in Image.Resampling)
            raise ValueError(f"resample must be one of {choices}, got {settings['resample']!r}")
        settings["resample"] = int(settings["resample"])
        if not 0 <= settings["background_color"] <= 255:
            raise ValueError(f"background_color must be 0 to 255, got {settings['background_color']}")
        return settings

    def _to_pixels(self, images: Any, settings: dict[str, Any], layout: str | None) -> np.ndarray:
        if layout not in (None, "channels_first", "channels_last"):
            raise ValueError(f"input_data_format must be channels_first or channels_last, got {layout!r}")
        height, width = settings["size"]["height"], settings["size"]["width"]
        arrays: list[np.ndarray] = []
        for image in self._flatten(images, layout):  # one by one: an iterator of large photos needs the memory of one
            if not settings["do_resize"] and not arrays:  # the first image says the size, and all must agree
                height, width = upright_size(image)
            arrays.append(_image_pixels(image, height, width, settings))
        if not arrays:
            raise ValueError("no image was given: the list is empty")
        return np.stack(arrays).reshape(len(arrays), settings["num_channels"], height, width)

    def _flatten(self, images: Any, layout: str | None) -> Iterable[Image.Image | np.ndarray]:
        """Return PIL images and uint8 arrays (H, W) or (H, W, C), one by one."""
        if isinstance(images, Image.Image):
            yield images
        elif isinstance(images, list | tuple | Iterator):
            for item in images:
                yield from self._flatten(item, layout)
        elif isinstance(images, str | Path):
            yield open_image(images)
        elif isinstance(images, np.ndarray | torch.Tensor):
            array = images.detach().cpu() if isinstance(images, torch.Tensor) else images
            if isinstance(array, torch.Tensor):
                array = (array.float() if array.dtype in (torch.bfloat16, torch.float16) else array).numpy()
            if array.ndim == 4:
                for item in array:
                    yield _array_image(item, layout)
            else:
                yield _array_image(array, layout)
        else:
            raise ValueError(
                f"an image must be a PIL image, an array or tensor (H, W), (H, W, C) or (C, H, W), a path, or a list "
                f"of them; got {type(images).__name__}"
            )


def open_image(source: Any, timeout: float | None = None) -> Image.Image:
    """Open a person's image: its header is read, its pixels are not yet decoded.

    Args:
        source: the path of a plain file, a URL (http, https), bytes of a file, base64 text, or a PIL image.
        timeout: seconds to wait for a URL; None waits for ever.

    Raises:
        ValueError: there is none, it is no plain file, too large, or of no kind that is read (`IMAGE_FORMATS`).
    """
    if isinstance(source, Image.Image):
        return source
    if isinstance(source, bytes | bytearray):
        return _open_bytes(bytes(source))
    text = os.fspath(source)
    if text.startswith(("http://", "https://")):
        answer = get_session().get(text, timeout=timeout, follow_redirects=True)
        answer.raise_for_status()
        return _open_bytes(answer.content)
    if os.path.exists(text):
        return _open_bytes(_read_plain_file(text))
    try:
        encoded = text.partition(",")[2] if text.startswith("data:image/") else text
        return _open_bytes(base64.b64decode(encoded, validate=True))
    except (binascii.Error, ValueError):
        shown = text if len(text) <= 200 else f"{text[:200]}..."
        raise ValueError(f"no file at {shown}") from None


def _read_plain_file(path: str) -> bytes:
    """Read a whole file. Raises ValueError for a folder, a pipe or a device, which may never end, and a huge file."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("it is no plain file")
        content = file.read(LARGEST_IMAGE_FILE + 1)
    if len(content) > LARGEST_IMAGE_FILE:
        raise ValueError(f"it has more than {LARGEST_IMAGE_FILE:,} bytes")
    return content


def _open_bytes(content: bytes) -> Image.Image:
    """Open the bytes of an image file."""
    if not content:
        raise ValueError("the file is empty")
    if content[4:8] == b"ftyp" and content[8:12] in _HEIC_BRANDS and "HEIF" not in Image.OPEN:
        try:
            importlib.import_module("pillow_heif").register_heif_opener()
        except ImportError:
            raise ValueError("it is a HEIC photograph: pip install pillow-heif, or save it as JPEG") from None
    try:
        return Image.open(io.BytesIO(content), formats=[name for name in IMAGE_FORMATS if _is_known(name)])
    except UnidentifiedImageError:
        raise ValueError(
            f"it is of no image format that is read ({', '.join(IMAGE_FORMATS)}), or its first bytes are damaged"
        ) from None
    except Image.DecompressionBombError:
        raise ValueError(f"it has more pixels than {2 * (Image.MAX_IMAGE_PIXELS or 0):,}: make it smaller") from None


def _is_known(name: str) -> bool:
    """Tell whether this Pillow reads a kind of image."""
    Image.init()
    return name in Image.OPEN


def _own_settings(processor: HubmodelsImageProcessor) -> dict[str, Any]:
    return {name: getattr(processor, name) for name in HubmodelsImageProcessorKwargs.__annotations__}


def _check_size(size: Any) -> dict[str, int]:
    try:
        height, width = (size, size) if isinstance(size, int) else (size["height"], size["width"])
    except (KeyError, TypeError):
        height, width = 0, 0
    if not all(isinstance(side, int) and side >= 1 for side in (height, width)):
        shown = dict(size) if hasattr(size, "keys") else size
        raise ValueError(f'size must be {{"height": ..., "width": ...}} in pixels, each at least 1, got {shown!r}')
    return {"height": height, "width": width}


def _normalize(pixels: torch.Tensor, settings: dict[str, Any]) -> torch.Tensor:
    """Return (x * rescale_factor - mean) / std as one multiplication and one addition, in float32."""
    factor = settings["rescale_factor"] if settings["do_rescale"] else 1.0
    values = pixels.to(torch.float32, copy=True)  # a new tensor, which is then changed in place
    if not settings["do_normalize"]:
        return values.mul_(factor)
    scale = [factor / std for std in settings["image_std"]]
    shift = [-mean / std for mean, std in zip(settings["image_mean"], settings["image_std"], strict=True)]
    if len(set(scale)) == len(set(shift)) == 1:  # plain numbers cost no transfer to the device
        return values.mul_(scale[0]).add_(shift[0])
    scale, shift = torch.tensor([scale, shift], device=pixels.device).view(2, -1, 1, 1)
    return values.mul_(scale).add_(shift)


def _array_image(array: np.ndarray, layout: str | None) -> np.ndarray:
    """Return an array of any layout and number type -> uint8, (H, W) or (H, W, C)."""
    shape = array.shape
    if array.ndim == 3:
        first = layout == "channels_first" or (layout is None and shape[0] in (1, 3, 4))
        if shape[0 if first else 2] not in (1, 3, 4):
            raise ValueError(
                f"an image array must have 1, 3 or 4 channels, first or last, got shape {tuple(shape)}; "
                f"give several grey images as (B, 1, H, W) or as a list"
            )
        array = array.transpose(1, 2, 0) if first else array
    elif array.ndim != 2:
        raise ValueError(f"an image array must be (H, W), (H, W, C) or (C, H, W), got shape {tuple(shape)}")
    if 0 in array.shape:
        raise ValueError(f"an image must have at least one pixel, got shape {tuple(shape)}")
    if array.dtype == np.uint8:
        return array
    if array.dtype == bool:
        return array.astype(np.uint8) * 255
    if array.dtype.kind not in "iuf":
        raise ValueError(f"an image array must hold numbers, got {array.dtype}")
    low, high = array.min(), array.max()
    if np.issubdtype(array.dtype, np.floating):
        if not (low >= 0 and high <= 1):
            raise ValueError(
                f"floating-point images must be between 0 and 1, got {low:g} to {high:g}; divide by 255, or give uint8"
            )
        return np.rint(array * 255).astype(np.uint8)
    if array.dtype == np.uint16:
        return _from_16_bits(array)
    if low < 0 or high > 255:
        raise ValueError(f"integer images must be between 0 and 255, got {low} to {high}")
    return array.astype(np.uint8)


def _from_16_bits(array: np.ndarray) -> np.ndarray:
    return ((array.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)


def _image_pixels(image: Image.Image | np.ndarray, height: int, width: int, settings: dict[str, Any]) -> np.ndarray:
    """Map one image -> (3, H, W) uint8, or (H, W) for one channel."""
    channels = settings["num_channels"]
    if isinstance(image, np.ndarray):
        grey = image.ndim == 2 or image.shape[2] == 1
        image = Image.fromarray(np.ascontiguousarray(image.reshape(image.shape[:2]) if grey else image))
    else:
        if 0 in image.size:
            raise ValueError(f"an image must have at least one pixel, got size {image.size}")
        if _orientation(image) != 1:
            image = ImageOps.exif_transpose(image)
        if image.mode in _DEEP_MODES:
            image = _shallow(image)
    if image.mode in _TRANSPARENT_MODES or "transparency" in image.info:
        image = image.convert("RGBA")
        background = Image.new("RGBA", image.size, (settings["background_color"],) * 3 + (255,))
        image = Image.alpha_composite(background, image)
    if image.mode == "1":
        image = image.convert("L")
    elif image.mode not in ("L", "RGB"):
        image = image.convert("RGB")
    if channels == 1 and image.mode == "RGB":
        image = image.convert("L")
    if image.size != (width, height):
        if not settings["do_resize"]:
            raise ValueError(
                f"images of {image.size[1]} x {image.size[0]} and {height} x {width} pixels cannot be one batch with "
                f"do_resize false; give them one by one, or set do_resize"
            )
        image = image.resize((width, height), settings["resample"])
    array = np.asarray(image)
    if channels == 1:
        return array
    # A grey image is resized once and then repeated.
    return np.broadcast_to(array, (3, height, width)) if array.ndim == 2 else array.transpose(2, 0, 1)


def _shallow(image: Image.Image) -> Image.Image:
    """Return a 16-bit, 32-bit or floating-point grey image in 8 bits. Pillow would cut everything above 255 to
    white."""
    array = np.asarray(image)
    if image.mode == "F":
        return Image.fromarray(_array_image(array, None))
    if array.min() < 0 or array.max() > 65535:
        raise ValueError(f"integer images must be between 0 and 65535, got {array.min()} to {array.max()}")
    return Image.fromarray(_from_16_bits(array))  # "I" is how Pillow up to 11 opens a 16-bit PNG


def upright_size(image: Image.Image | np.ndarray) -> tuple[int, int]:
    """Return height and width after the EXIF orientation, whose values from 5 on turn the image by 90 degrees."""
    if isinstance(image, np.ndarray):
        return image.shape[:2]
    width, height = image.size
    return (width, height) if _orientation(image) >= 5 else (height, width)


def _orientation(image: Image.Image) -> int:
    # Pillow's getexif decodes a PNG to its end to look for EXIF data behind the pixels; those before them are enough.
    if image.format == "PNG" and "exif" not in image.info:
        return 1
    return image.getexif().get(_ORIENTATION, 1)
