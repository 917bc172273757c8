"""A mixture of Gaussians: the classical method that samples are held against."""

import numpy as np

from .components import PrincipalComponents

NUM_COMPONENTS = 64  # principal components that the mixture is of
MIXTURE_COMPONENTS, MIXTURE_ROWS = 20, 20_000  # Gaussians, and rows that they are fitted on, at most


def mixture_samples(rows: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Draw `count` rows (count, D) from a mixture of Gaussians of full covariance that is fitted on rows (N, D)."""
    from sklearn.mixture import GaussianMixture

    rows = rows[np.random.default_rng(seed).permutation(len(rows))[:MIXTURE_ROWS]].astype(np.float64)
    num_components = max(1, min(MIXTURE_COMPONENTS, len(rows) // (4 * rows.shape[1])))
    mixture = GaussianMixture(num_components, reg_covar=1e-4, random_state=seed, init_params="k-means++").fit(rows)
    drawn = mixture.sample(count)[0]
    return drawn[np.random.default_rng(seed).permutation(count)]  # they come ordered by component


def component_mixture(
    rows: np.ndarray, count: int, seed: int, classes: np.ndarray | None = None, asked: np.ndarray | None = None
) -> np.ndarray:
    """Draw rows (count, D) from a mixture of Gaussians on principal components.

    Args:
        rows: (N, D), to be fitted on.
        count: how many are drawn.
        seed: of the fit and the draw.
        classes: (N,) of the rows; then each class has a mixture of its own. None for a single one.
        asked: (count,) classes of what is drawn, where there are classes.
    """
    components = PrincipalComponents(rows, NUM_COMPONENTS, seed=seed)
    codes = components.encode(rows)
    drawn = np.zeros((count, codes.shape[1]))  # of a class with a single training row the mean of all
    groups = [(np.arange(len(codes)), np.arange(count))]
    if classes is not None and asked is not None:
        groups = [(np.flatnonzero(classes == label), np.flatnonzero(asked == label)) for label in np.unique(asked)]
    for fitted, drawn_rows in groups:
        if len(fitted) > 1:
            drawn[drawn_rows] = mixture_samples(codes[fitted], len(drawn_rows), seed)
    return components.decode(drawn)
