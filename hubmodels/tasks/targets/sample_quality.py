"""Measuring how near samples are to real rows, by features of both.

One protocol for every generative family. Its main measure is the Fréchet distance (Heusel et al. 2017,
arXiv:1706.08500, with another network than theirs) between as many samples as there are test rows and the test rows.
Beside it stand its floor, the same distance between as many training rows and the test rows, and the ratio of both.
Distances by different features, or of different numbers of rows, cannot be compared. Precision and recall say how many
samples lie among the real rows and how many real rows among the samples (Kynkäänniemi et al. 2019, arXiv:1904.06991);
density and coverage are the same less sensitive to outliers (Naeem et al. 2020, arXiv:2002.09797).
"""

import numpy as np

from ...report import Estimate
from .estimates import mean_with_interval

NUM_RESAMPLES = 100
NEIGHBOURS = 5  # as Naeem et al.
COVERED_SHARE = 0.2  # a class with less than this share of its samples' due number counts as lost
DISTANCE_ROWS = 1_000  # of a block of the matrix of all distances


def sample_quality(fake: np.ndarray, train: np.ndarray | None, real: np.ndarray, seed: int = 0) -> dict[str, Estimate]:
    """Compute all of `SAMPLE_METRICS` by the protocol of this module; floor and ratio only with training rows.

    Args:
        fake: features (N, D) of samples, as many as test rows.
        train: features of as many training rows; None where they are not at hand.
        real: features of the test rows.
        seed: of the resampling. With the same one the draws of two calls with the same test rows are pairs.

    Returns:
        Each with a 95 % interval. That of a Fréchet distance is 1.96 standard deviations of the bootstrap over both
        sets to either side. Its percentiles would lie above the value, since fewer different rows are further apart.
    """
    generator = np.random.default_rng(seed)
    resampled = [FeatureMoments.resampled(real, generator) for _ in range(NUM_RESAMPLES)]

    def distance(features: np.ndarray) -> tuple[float, np.ndarray]:
        value = FeatureMoments.of(features).distance(FeatureMoments.of(real))
        draws = [FeatureMoments.resampled(features, generator).distance(other) for other in resampled]
        return value, np.array(draws)

    fid, fid_draws = distance(fake)
    quality = {"fid": _around(fid, fid_draws)}
    if train is not None:
        floor, floor_draws = distance(train)
        quality["fid_floor"] = _around(floor, floor_draws)
        # The logarithm is nearly symmetric; the bias of the bootstrap of both parts nearly cancels in the ratio.
        # Of few rows rounding can carry a distance below 0.
        spread = 1.96 * np.log(np.maximum(fid_draws, 1e-12) / np.maximum(floor_draws, 1e-12)).std()
        ratio = fid / floor
        quality["fid_ratio"] = Estimate(ratio, ratio * np.exp(-spread), ratio * np.exp(spread))
    rows = neighbour_rows(real, fake)
    return quality | {f"sample_{name}": mean_with_interval(values) for name, values in rows.items()}


class FeatureMoments:
    """Mean (D,) and covariance (D, D) of features, float64."""

    def __init__(self, mean: np.ndarray, covariance: np.ndarray) -> None:
        self.mean, self.covariance = mean, covariance
        self._root: np.ndarray | None = None

    @classmethod
    def of(cls, features: np.ndarray) -> "FeatureMoments":
        """Compute the moments of features (N, D)."""
        return cls(features.mean(axis=0), np.atleast_2d(np.cov(features, rowvar=False)))

    @classmethod
    def resampled(cls, features: np.ndarray, generator: np.random.Generator) -> "FeatureMoments":
        """Compute the moments of as many rows, drawn with replacement."""
        return cls.of(features[generator.integers(0, len(features), len(features))])

    @property
    def root(self) -> np.ndarray:
        """Return the symmetric square root of the covariance."""
        if self._root is None:
            values, vectors = np.linalg.eigh(self.covariance)
            self._root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
        return self._root

    def distance(self, other: "FeatureMoments") -> float:
        """Compute the squared Fréchet distance of two normal distributions (Dowson and Landau 1982).

        It is |m - m'|^2 + tr(C + C' - 2 (C C')^(1/2)), and exact. The trace of the root is the sum of the roots of the
        eigenvalues of C'^(1/2) C C'^(1/2)."""
        values = np.linalg.eigvalsh(other.root @ self.covariance @ other.root)
        trace = np.trace(self.covariance) + np.trace(other.covariance) - 2 * np.sqrt(np.maximum(values, 0)).sum()
        return float(np.square(self.mean - other.mean).sum() + trace)


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Compute the distance of the normal distributions with the moments of two sets of features, (N, D) and (M, D)."""
    return FeatureMoments.of(first).distance(FeatureMoments.of(second))


def neighbour_rows(real: np.ndarray, fake: np.ndarray, neighbours: int = NEIGHBOURS) -> dict[str, np.ndarray]:
    """Compute precision and density of each sample, recall and coverage of each real row; their means are the measures.

    A ball around each row reaches to its k-th nearest neighbour among its own kind. Precision: whether the sample is
    in any ball of the real rows; density: in how many, over k. Recall: whether the real row is in any ball of the
    samples; coverage: whether its own ball holds any sample.
    """
    if min(len(real), len(fake)) <= neighbours:
        return {}
    real_radii, fake_radii = _radii(real, neighbours), _radii(fake, neighbours)
    inside = np.zeros(len(fake))
    recall, coverage = np.zeros(len(real), dtype=bool), np.zeros(len(real), dtype=bool)
    for start in range(0, len(real), DISTANCE_ROWS):
        block = slice(start, start + DISTANCE_ROWS)
        distances = _distances(real[block], fake)  # (rows, M)
        balls = distances <= real_radii[block, None]
        inside += balls.sum(axis=0)
        coverage[block] = balls.any(axis=1)
        recall[block] = (distances <= fake_radii[None, :]).any(axis=1)
    return {"precision": inside > 0, "recall": recall, "density": inside / neighbours, "coverage": coverage}


def nearest_rows(features: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the nearest of the others (M, D) to each row (N, D).

    Returns:
        Its distance (N,) and its number (N,).
    """
    features, others = features.astype(np.float32), others.astype(np.float32)
    distances, numbers = [], []
    for start in range(0, len(features), DISTANCE_ROWS):
        block = _distances(features[start : start + DISTANCE_ROWS], others)
        nearest = block.argmin(axis=1)
        distances.append(np.take_along_axis(block, nearest[:, None], axis=1)[:, 0])
        numbers.append(nearest)
    return np.concatenate(distances), np.concatenate(numbers)


def novelty(fake: np.ndarray, real: np.ndarray, seed: int = 0) -> Estimate:
    """Compare how far samples are from the training rows with how far test rows are, which no model has seen.

    The value is the ratio of the median distances: about 1 for samples that are as new as test rows, near 0 for
    copies. The interval is the bootstrap's over both.

    Args:
        fake: (N,) distances of samples to their nearest training rows (`nearest_rows`).
        real: (M,) those of test rows.
        seed: of the bootstrap.
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


def feature_novelty(fake: np.ndarray, real: np.ndarray, near: np.ndarray, seed: int = 0) -> Estimate:
    """Compute the `novelty` of samples from the features of samples, test rows and training rows, each (N, D)."""
    return novelty(nearest_rows(fake, near)[0], nearest_rows(real, near)[0], seed)


def class_shares(seen: np.ndarray, real: np.ndarray, num_classes: int) -> tuple[dict[str, Estimate], list[np.ndarray]]:
    """Compare which classes a classifier sees in samples with those that it sees in test rows, each (N,).

    Returns:
        The distance of the shares from the real ones and the share of the classes that occur, and both shares of each
        class, of samples and of test rows, (num_classes,).
    """
    shares, due = (np.bincount(classes, minlength=num_classes) / len(classes) for classes in (seen, real))
    covered = (shares >= COVERED_SHARE * due)[due > 0]
    measures = {
        "class_distance": Estimate(float(np.abs(shares - due).sum() / 2)),
        "classes_covered": Estimate(float(covered.mean())),
    }
    return measures, [shares, due]


def _radii(features: np.ndarray, neighbours: int) -> np.ndarray:
    """Compute the distance of each row to its k-th nearest other row."""
    radii = []
    for start in range(0, len(features), DISTANCE_ROWS):
        distances = _distances(features[start : start + DISTANCE_ROWS], features)
        radii.append(np.partition(distances, neighbours, axis=1)[:, neighbours])  # the nearest is the row itself
    return np.concatenate(radii)


def _distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Compute Euclidean distances, (N, M)."""
    squares = np.square(first).sum(axis=1)[:, None] + np.square(second).sum(axis=1)[None, :] - 2 * first @ second.T
    return np.sqrt(np.maximum(squares, 0))


def _around(value: float, draws: np.ndarray) -> Estimate:
    """Give a value with an interval of 1.96 standard deviations of its draws to either side."""
    error = 1.96 * float(draws.std())
    return Estimate(value, value - error, value + error, draws)
