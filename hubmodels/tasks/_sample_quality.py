"""How near generated images are to real ones, by the features of a named classifier.

One protocol for every generative family: the Fréchet distance (Heusel et al. 2017, arXiv:1706.08500, with another
network than theirs) between as many samples as there are test images (at most 10,000) and the test images, beside its
floor, the same distance between as many training images and the test images, and the ratio of both. Distances by
different classifiers, or of different numbers of images, cannot be compared. Precision and recall say how many samples
lie among the real images and how many real images among the samples (Kynkäänniemi et al. 2019, arXiv:1904.06991);
density and coverage are the same less sensitive to outliers (Naeem et al. 2020, arXiv:2002.09797).
"""

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from ..errors import HubmodelsError
from ..report import Estimate

MAX_IMAGES = 10_000
NUM_RESAMPLES = 100
NEIGHBOURS = 5  # as Naeem et al.
FEATURE_BATCH = 500
PIXEL_COMPONENTS = 64  # features where no classifier is named
MIXTURE_COMPONENTS, MIXTURE_ROWS = 20, 20_000  # of the classical sampler: Gaussians, and rows that they are fitted on
DISTANCE_ROWS = 1_000  # of a block of the matrix of all distances


class FeatureExtractor:
    """The pooled features of an image classifier's body, and its predictions.

    Args:
        path: a folder or Hub id of any checkpoint that `AutoModelForImageClassification` loads.

    Raises:
        HubmodelsError: there is no such classifier.
    """

    def __init__(self, path: str | os.PathLike, device: torch.device | None = None) -> None:
        from transformers import AutoImageProcessor, AutoModelForImageClassification

        try:
            model = AutoModelForImageClassification.from_pretrained(path)
            self.processor = AutoImageProcessor.from_pretrained(path)
        except (OSError, ValueError, TypeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise HubmodelsError(f"fid_classifier: cannot load {path} as an image classifier: {reason}") from None
        self.model = model.to(device or "cpu").eval()
        self.body = self.model.base_model

    @property
    def class_names(self) -> list[str]:
        """The classes of `classify`, in its order."""
        return [str(name) for name in self.model.config.id2label.values()]

    def __call__(self, images: torch.Tensor) -> np.ndarray:
        """Features (N, D) float64 of images (N, C, H, W) in bytes, each brought to the classifier's size, channels and
        normalisation by its own processor."""
        parts = []
        for values in self._prepared(images):
            with torch.inference_mode():
                pooled = getattr(self.body(pixel_values=values), "pooler_output", None)
            if pooled is None:
                raise HubmodelsError(
                    f"fid_classifier: {type(self.body).__name__} gives no pooler_output; name another classifier"
                )
            parts.append(pooled.flatten(1).double().cpu().numpy())
        return np.concatenate(parts)

    def classify(self, images: torch.Tensor) -> np.ndarray:
        """Predicted classes (N,) int64 of images (N, C, H, W) in bytes."""
        with torch.inference_mode():
            parts = [self.model(pixel_values=values).logits.argmax(1) for values in self._prepared(images)]
        return torch.cat(parts).cpu().numpy()

    def _prepared(self, images: torch.Tensor) -> Iterator[torch.Tensor]:
        from PIL import Image

        weight = next(self.model.parameters())
        for batch in images.split(FEATURE_BATCH):
            arrays = batch.permute(0, 2, 3, 1).cpu().numpy()
            pictures = [Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array) for array in arrays]
            pictures = [self._mode(picture) for picture in pictures]
            yield self.processor(pictures, return_tensors="pt")["pixel_values"].to(weight.device, weight.dtype)

    def _mode(self, picture: Any) -> Any:
        """Colour where the classifier wants three channels: processors of transformers do not convert grey."""
        channels = getattr(self.processor, "num_channels", None) or len(np.atleast_1d(self.processor.image_mean))
        return picture.convert("RGB") if channels == 3 and picture.mode != "RGB" else picture


class PixelComponents:
    """The principal components of the pixels as features, where no classifier is named.

    Args:
        images: (N, C, H, W) in bytes, to be fitted on: the real ones.
    """

    def __init__(self, images: torch.Tensor, seed: int = 0) -> None:
        from sklearn.decomposition import PCA

        rows = self._rows(images)
        self.model = PCA(min(PIXEL_COMPONENTS, *rows.shape), random_state=seed).fit(rows)

    def __call__(self, images: torch.Tensor) -> np.ndarray:
        """Features (N, D) float64."""
        return self.model.transform(self._rows(images)).astype(np.float64)

    @staticmethod
    def _rows(images: torch.Tensor) -> np.ndarray:
        return images.flatten(1).float().div(255).cpu().numpy()


def to_bytes(values: torch.Tensor) -> torch.Tensor:
    """Values in 0..1 as bytes, rounded."""
    return (values.clamp(0, 1) * 255).round().to(torch.uint8)


def take_rows(columns: Any, count: int, seed: int, rows: np.ndarray | None = None) -> torch.Tensor:
    """`count` row numbers, ascending, drawn without replacement from these rows; from all when None."""
    rows = np.arange(len(columns)) if rows is None else rows
    return torch.from_numpy(np.sort(np.random.default_rng(seed).permutation(rows)[:count]))


def take_pixels(columns: Any, count: int, seed: int, rows: np.ndarray | None = None) -> torch.Tensor:
    """The bytes (count, C, H, W) of the rows that `take_rows` takes."""
    return columns.batch(take_rows(columns, count, seed, rows))["pixel_values"]


def sample_images(
    model: Any, count: int, seed: int, labels: torch.Tensor | None = None, batch_size: int = 500, **options: Any
) -> torch.Tensor:
    """`count` samples of a model as bytes, (count, C, H, W), from a generator with this seed; of these classes (count,)
    where they are given; `options` go to the model's `sample`."""
    device = next(model.parameters()).device
    generator = torch.Generator(device=device).manual_seed(seed)
    parts = []
    for start in range(0, count, batch_size):
        if labels is not None:
            options["labels"] = labels[start : start + batch_size].to(device)
        parts.append(to_bytes(model.sample(min(batch_size, count - start), generator=generator, **options)).cpu())
    return torch.cat(parts)


def sample_quality(fake: np.ndarray, train: np.ndarray | None, real: np.ndarray, seed: int = 0) -> dict[str, Estimate]:
    """All of `tasks.SAMPLE_METRICS`, by the protocol of this module; floor and ratio only with training rows.

    Args:
        fake: features (N, D) of samples, as many as test rows.
        train: features of as many training rows; None where they are not at hand.
        real: features of the test rows.
        seed: of the resampling. With the same one the draws of two calls with the same test rows are pairs.

    Returns:
        Each with a 95 % interval. That of a Fréchet distance is 1.96 standard deviations of the bootstrap over both
        sets to either side: its percentiles would lie above the value, since fewer different rows are further apart.
    """
    generator = np.random.default_rng(seed)
    resampled = [FeatureMoments.resampled(real, generator) for _ in range(NUM_RESAMPLES)]

    def distance(features: np.ndarray) -> tuple[float, np.ndarray]:
        value = FeatureMoments.of(features).distance(FeatureMoments.of(real))
        draws = [FeatureMoments.resampled(features, generator).distance(other) for other in resampled]
        return value, np.array(draws)

    fid, fid_draws = distance(fake)
    found = {"fid": _around(fid, fid_draws)}
    if train is not None:
        floor, floor_draws = distance(train)
        found["fid_floor"] = _around(floor, floor_draws)
        # The logarithm is nearly symmetric; the bias of the bootstrap of both parts nearly cancels in the ratio.
        # Of few rows rounding can carry a distance below 0.
        spread = 1.96 * np.log(np.maximum(fid_draws, 1e-12) / np.maximum(floor_draws, 1e-12)).std()
        ratio = fid / floor
        found["fid_ratio"] = Estimate(ratio, ratio * np.exp(-spread), ratio * np.exp(spread))
    rows = neighbour_rows(real, fake)
    return found | {f"sample_{name}": mean_with_interval(values) for name, values in rows.items()}


def mixture_samples(rows: np.ndarray, count: int, seed: int) -> np.ndarray:
    """`count` rows (count, D) from a mixture of Gaussians of full covariance fitted on rows (N, D)."""
    from sklearn.mixture import GaussianMixture

    rows = rows[np.random.default_rng(seed).permutation(len(rows))[:MIXTURE_ROWS]].astype(np.float64)
    num_components = max(1, min(MIXTURE_COMPONENTS, len(rows) // (4 * rows.shape[1])))
    mixture = GaussianMixture(num_components, reg_covar=1e-4, random_state=seed, init_params="k-means++").fit(rows)
    drawn = mixture.sample(count)[0]
    return drawn[np.random.default_rng(seed).permutation(count)]  # they come ordered by component


def nearest_rows(features: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nearest of the others (M, D) to each row (N, D): its distance (N,) and its number (N,)."""
    features, others = features.astype(np.float32), others.astype(np.float32)
    parts, places = [], []
    for start in range(0, len(features), DISTANCE_ROWS):
        distances = _distances(features[start : start + DISTANCE_ROWS], others)
        place = distances.argmin(axis=1)
        parts.append(np.take_along_axis(distances, place[:, None], axis=1)[:, 0])
        places.append(place)
    return np.concatenate(parts), np.concatenate(places)


def novelty(fake: np.ndarray, real: np.ndarray, seed: int = 0) -> Estimate:
    """The median distance of the samples to their nearest training rows over that of test rows, which no model has
    seen: about 1 for samples that are as new as these, near 0 for copies. The interval is the bootstrap's over both.

    Args:
        fake: (N,) distances of samples to their nearest training rows (`nearest_rows`).
        real: (M,) those of test rows.
    """
    generator = np.random.default_rng(seed)

    def drawn(values: np.ndarray) -> float:
        return float(np.median(values[generator.integers(0, len(values), len(values))]))

    below = float(np.median(real))
    if below == 0:
        return Estimate(float("nan"))
    draws = [drawn(fake) / max(drawn(real), 1e-12) for _ in range(NUM_RESAMPLES)]
    low, high = np.quantile(draws, [0.025, 0.975])
    return Estimate(float(np.median(fake)) / below, float(low), float(high))


class FeatureMoments:
    """Mean (D,) and covariance (D, D) of features, float64."""

    def __init__(self, mean: np.ndarray, covariance: np.ndarray) -> None:
        self.mean, self.covariance = mean, covariance
        self._root: np.ndarray | None = None

    @classmethod
    def of(cls, features: np.ndarray) -> "FeatureMoments":
        return cls(features.mean(axis=0), np.atleast_2d(np.cov(features, rowvar=False)))

    @classmethod
    def resampled(cls, features: np.ndarray, generator: np.random.Generator) -> "FeatureMoments":
        """Of as many rows, drawn with replacement."""
        return cls.of(features[generator.integers(0, len(features), len(features))])

    @property
    def root(self) -> np.ndarray:
        """The symmetric square root of the covariance."""
        if self._root is None:
            values, vectors = np.linalg.eigh(self.covariance)
            self._root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
        return self._root

    def distance(self, other: "FeatureMoments") -> float:
        """Squared Fréchet distance of two normal distributions, |m - m'|^2 + tr(C + C' - 2 (C C')^(1/2)) (Dowson and
        Landau 1982), exact: the trace of the root is the sum of the roots of the eigenvalues of C'^(1/2) C C'^(1/2)."""
        values = np.linalg.eigvalsh(other.root @ self.covariance @ other.root)
        trace = np.trace(self.covariance) + np.trace(other.covariance) - 2 * np.sqrt(np.maximum(values, 0)).sum()
        return float(np.square(self.mean - other.mean).sum() + trace)


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Between the normal distributions with the mean and covariance of two sets of features, (N, D) and (M, D)."""
    return FeatureMoments.of(first).distance(FeatureMoments.of(second))


def neighbour_rows(real: np.ndarray, fake: np.ndarray, neighbours: int = NEIGHBOURS) -> dict[str, np.ndarray]:
    """Precision and density of each sample, recall and coverage of each real image, whose means are the measures.

    A ball around each image reaches to its k-th nearest neighbour among its own kind. Precision: whether the sample is
    in any ball of the real images; density: in how many, over k. Recall: whether the real image is in any ball of the
    samples; coverage: whether its own ball holds any sample.
    """
    if min(len(real), len(fake)) <= neighbours:
        return {}
    real_radii, fake_radii = _radii(real, neighbours), _radii(fake, neighbours)
    inside = np.zeros(len(fake))
    recall, coverage = np.zeros(len(real), dtype=bool), np.zeros(len(real), dtype=bool)
    for start in range(0, len(real), DISTANCE_ROWS):
        part = slice(start, start + DISTANCE_ROWS)
        distances = _distances(real[part], fake)  # (rows, M)
        balls = distances <= real_radii[part, None]
        inside += balls.sum(axis=0)
        coverage[part] = balls.any(axis=1)
        recall[part] = (distances <= fake_radii[None, :]).any(axis=1)
    return {"precision": inside > 0, "recall": recall, "density": inside / neighbours, "coverage": coverage}


def _radii(features: np.ndarray, neighbours: int) -> np.ndarray:
    """The distance of each row to its k-th nearest other row."""
    parts = []
    for start in range(0, len(features), DISTANCE_ROWS):
        distances = _distances(features[start : start + DISTANCE_ROWS], features)
        parts.append(np.partition(distances, neighbours, axis=1)[:, neighbours])  # the nearest is the row itself
    return np.concatenate(parts)


def _distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Euclidean distances, (N, M)."""
    squares = np.square(first).sum(axis=1)[:, None] + np.square(second).sum(axis=1)[None, :] - 2 * first @ second.T
    return np.sqrt(np.maximum(squares, 0))


def mean_with_interval(values: np.ndarray) -> Estimate:
    """A mean over rows and its 95 % interval: normal, from the standard error, or of a share (bool) Wilson's (1927),
    which stays within 0..1."""
    mean, count = float(values.mean()), len(values)
    if values.dtype != bool:
        error = 1.96 * float(values.std()) / np.sqrt(count)
        return Estimate(mean, mean - error, mean + error)
    z = 1.96**2 / count
    middle, error = (mean + z / 2) / (1 + z), np.sqrt(mean * (1 - mean) * z + z**2 / 4) / (1 + z)
    return Estimate(mean, max(0.0, middle - error), min(1.0, middle + error))


def _around(value: float, draws: np.ndarray) -> Estimate:
    error = 1.96 * float(draws.std())
    return Estimate(value, value - error, value + error, draws)
