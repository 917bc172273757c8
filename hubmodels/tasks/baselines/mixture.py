"""A mixture of Gaussians: the classical method that samples are held against."""

import numpy as np

MIXTURE_COMPONENTS, MIXTURE_ROWS = 20, 20_000  # Gaussians, and rows that they are fitted on, at most


def mixture_samples(rows: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Draw `count` rows (count, D) from a mixture of Gaussians of full covariance that is fitted on rows (N, D)."""
    from sklearn.mixture import GaussianMixture

    rows = rows[np.random.default_rng(seed).permutation(len(rows))[:MIXTURE_ROWS]].astype(np.float64)
    num_components = max(1, min(MIXTURE_COMPONENTS, len(rows) // (4 * rows.shape[1])))
    mixture = GaussianMixture(num_components, reg_covar=1e-4, random_state=seed, init_params="k-means++").fit(rows)
    drawn = mixture.sample(count)[0]
    return drawn[np.random.default_rng(seed).permutation(count)]  # they come ordered by component
