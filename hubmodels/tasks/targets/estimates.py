"""Means over rows with their 95 % intervals."""

import numpy as np

from ...report import Estimate


def mean_with_interval(values: np.ndarray) -> Estimate:
    """Compute a mean over rows (N,) and its 95 % interval.

    The interval is normal, from the standard error. That of a share (bool) is Wilson's (1927), which stays within
    0..1."""
    mean, count = float(values.mean()), len(values)
    if values.dtype != bool:
        error = 1.96 * float(values.std()) / np.sqrt(count)
        return Estimate(mean, mean - error, mean + error)
    z = 1.96**2 / count
    middle, error = (mean + z / 2) / (1 + z), np.sqrt(mean * (1 - mean) * z + z**2 / 4) / (1 + z)
    return Estimate(mean, max(0.0, middle - error), min(1.0, middle + error))
