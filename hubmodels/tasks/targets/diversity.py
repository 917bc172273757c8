"""Measuring how different the samples of a class are from each other, by features."""

import numpy as np

from ...report import Estimate
from .sample_quality import NUM_RESAMPLES


def diversity(fake: np.ndarray, fake_classes: np.ndarray, real: np.ndarray, real_classes: np.ndarray) -> Estimate:
    """Compute how far samples of a class are from each other, over how far real rows of the class are.

    It is a ratio of means over rows of the mean distance to the others of the class: about 1 for samples as different
    as real rows, near 0 for one sample a class. The interval is the bootstrap's over the rows.

    Args:
        fake, real: features (N, D) and (M, D).
        fake_classes, real_classes: (N,) and (M,).
    """
    first, second = _mean_distances(fake, fake_classes), _mean_distances(real, real_classes)
    if not len(first) or not len(second) or second.mean() == 0:
        return Estimate(float("nan"))
    generator = np.random.default_rng(0)

    def drawn(values: np.ndarray) -> float:
        return float(values[generator.integers(0, len(values), len(values))].mean())

    draws = [drawn(first) / drawn(second) for _ in range(NUM_RESAMPLES)]
    low, high = np.quantile(draws, [0.025, 0.975])
    return Estimate(float(first.mean() / second.mean()), float(low), float(high))


def _mean_distances(features: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Compute of each row that is not alone in its class the mean distance to the others of it."""
    means = []
    for label in np.unique(classes):
        members = features[classes == label]
        if len(members) > 1:
            distances = np.sqrt(np.square(members[:, None] - members[None]).sum(axis=2))
            means.append(distances.sum(axis=1) / (len(members) - 1))
    return np.concatenate(means) if means else np.empty(0)
