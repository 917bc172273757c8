"""Features of images, real ones or samples: of a named classifier, or principal components of the pixels."""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ... import abilities
from ...errors import HubmodelsError, one_line
from ..contract.rows import draw_rows, model_device
from .image_files import encode_png

if TYPE_CHECKING:
    from ..contract.types import EncodedColumns, SomeRows

FEATURE_BATCH = 500
PIXEL_COMPONENTS = 64  # features where no classifier is named
PCA_NUMBERS = 64_000_000  # principal components are fitted on at most this many numbers (rows x pixels)


class FeatureExtractor:
    """Compute the pooled features of an image classifier's body, and its predictions.

    Args:
        path: a folder or Hub id of any checkpoint that `AutoModelForImageClassification` loads.
        device: where it computes; the CPU when None.

    Raises:
        HubmodelsError: there is no such classifier.
    """

    def __init__(self, path: str | os.PathLike, device: torch.device | None = None) -> None:
        from transformers import AutoImageProcessor, AutoModelForImageClassification

        try:
            model = AutoModelForImageClassification.from_pretrained(path)
            self.processor = AutoImageProcessor.from_pretrained(path)
        except (OSError, ValueError, TypeError) as error:
            reason = one_line(error, 200)
            raise HubmodelsError(f"fid_classifier: cannot load {path} as an image classifier: {reason}") from None
        self.model = model.to(device or "cpu").eval()
        self.body = self.model.base_model

    @property
    def class_names(self) -> list[str]:
        """Return the classes of `classify`, in its order."""
        return [str(name) for name in self.model.config.id2label.values()]

    def __call__(self, images: torch.Tensor) -> np.ndarray:
        """Compute features (N, D) float64 of images (N, C, H, W) in bytes.

        Each is brought to the classifier's size, channels and normalisation by its own processor."""
        features = []
        for values in self._prepared(images):
            with torch.inference_mode():
                pooled = abilities.pooler_output(self.body(pixel_values=values))
            if pooled is None:
                raise HubmodelsError(
                    f"fid_classifier: {type(self.body).__name__} gives no pooler_output; name another classifier"
                )
            features.append(pooled.flatten(1).double().cpu().numpy())
        return np.concatenate(features)

    def classify(self, images: torch.Tensor) -> np.ndarray:
        """Predict the classes (N,) int64 of images (N, C, H, W) in bytes."""
        with torch.inference_mode():
            classes = [self.model(pixel_values=values).logits.argmax(1) for values in self._prepared(images)]
        return torch.cat(classes).cpu().numpy()

    def _prepared(self, images: torch.Tensor) -> Iterator[torch.Tensor]:
        from PIL import Image

        weight = next(self.model.parameters())
        for batch in images.split(FEATURE_BATCH):
            arrays = batch.permute(0, 2, 3, 1).cpu().numpy()
            pictures = [Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array) for array in arrays]
            pictures = [self._mode(picture) for picture in pictures]
            yield self.processor(pictures, return_tensors="pt")["pixel_values"].to(weight.device, weight.dtype)

    def _mode(self, picture: Any) -> Any:
        """Convert to colour where the classifier takes three channels: processors of transformers do not."""
        settings = self.processor.to_dict()  # not every processor knows a number of channels
        channels = settings.get("num_channels") or len(np.atleast_1d(self.processor.image_mean))
        return picture.convert("RGB") if channels == 3 and picture.mode != "RGB" else picture


class PixelComponents:
    """Compute the principal components of the pixels as features, where no classifier is named.

    Args:
        images: (N, C, H, W) in bytes, to be fitted on: the real ones.
        seed: of the solver.
    """

    def __init__(self, images: torch.Tensor, seed: int = 0) -> None:
        from sklearn.decomposition import PCA

        rows = self._rows(images)
        self.model = PCA(min(PIXEL_COMPONENTS, *rows.shape), random_state=seed).fit(rows)

    def __call__(self, images: torch.Tensor) -> np.ndarray:
        """Compute features (N, D) float64 of images (N, C, H, W) in bytes."""
        return self.model.transform(self._rows(images)).astype(np.float64)

    @staticmethod
    def _rows(images: torch.Tensor) -> np.ndarray:
        return images.flatten(1).float().div(255).cpu().numpy()


def to_bytes(values: torch.Tensor) -> torch.Tensor:
    """Round values in 0..1 to bytes."""
    return (values.clamp(0, 1) * 255).round().to(torch.uint8)


def take_pixels(columns: "SomeRows", count: int, seed: int, rows: np.ndarray | None = None) -> torch.Tensor:
    """Take the bytes (count, C, H, W) of the rows that `draw_rows` draws."""
    return columns.batch(draw_rows(columns, count, seed, rows))["pixel_values"]


def sample_images(
    model: abilities.Samples,
    count: int,
    seed: int,
    labels: torch.Tensor | None = None,
    batch_size: int = 500,
    **options: Any,
) -> torch.Tensor:
    """Draw `count` samples of a model as bytes, (count, C, H, W).

    Args:
        model: on any device.
        count: how many, >= 1.
        seed: of the generator that they come from.
        labels: their classes (count,), for a model that is told them.
        batch_size: samples drawn at once.
        **options: of the model's `sample`.
    """
    device = model_device(model)
    generator = torch.Generator(device=device).manual_seed(seed)
    samples = []
    for start in range(0, count, batch_size):
        if labels is not None:
            options["labels"] = labels[start : start + batch_size].to(device)
        drawn = model.sample(min(batch_size, count - start), generator=generator, **options)
        samples.append(to_bytes(drawn).cpu())
    return torch.cat(samples)


def sample_files(
    model: abilities.Samples, count: int, seed: int, labels: torch.Tensor | None = None, **options: Any
) -> Iterator[tuple[str, bytes]]:
    """Draw samples as PNG files: ending and content (see `sample_images`)."""
    for pixels in sample_images(model, count, seed, labels, **options):
        yield ".png", encode_png(pixels)


def pixel_rows(columns: "SomeRows", rows: np.ndarray) -> np.ndarray:
    """Return the pixels of these rows in 0..1, (N, C * H * W) float32."""
    return columns.batch(torch.from_numpy(rows))["pixel_values"].flatten(1).float().div_(255).numpy()


def fitting_rows(columns: "EncodedColumns", seed: int) -> np.ndarray:
    """Draw the numbers of the rows that principal components are fitted on: all, or as many as `PCA_NUMBERS` allow."""
    width = columns.batch(torch.zeros(1, dtype=torch.int64))["pixel_values"].numel()
    count = max(2, PCA_NUMBERS // width)
    return np.sort(np.random.default_rng(seed).permutation(len(columns))[:count])
