"""Principal components: the classical way to latents, beside an autoencoder; and an isolation forest for anomalies."""

import math

import numpy as np

EXACT_SIDE = 2_048  # up to this many numbers a row the covariance's eigenvectors are computed exactly
PCA_BITS = 8  # of each component where the latents are codes, which are counted in bits
FOREST_TREES = 200


class PrincipalComponents:
    """Encode rows of numbers by principal component analysis.

    Args:
        rows: (N, D) float, to be fitted on.
        num_components: how many, cut to what the rows allow.
        bits: each component is rounded to one of 2^bits even steps between its ends in `rows`; None leaves it exact.
        seed: of the randomised solver that large D take.
    """

    def __init__(self, rows: np.ndarray, num_components: int, bits: int | None = None, seed: int = 0) -> None:
        from sklearn.decomposition import PCA

        self.num_components = max(1, min(num_components, *rows.shape))
        solver = "covariance_eigh" if rows.shape[1] <= EXACT_SIDE else "randomized"
        self.model = PCA(self.num_components, svd_solver=solver, random_state=seed).fit(rows)
        self.bits = bits
        if bits is not None:
            components = self.model.transform(rows)
            self.low, self.high = components.min(axis=0), components.max(axis=0)

    def encode(self, rows: np.ndarray) -> np.ndarray:
        """Compute the components (N, num_components) of rows (N, D), rounded where they are stored in bits."""
        components = self.model.transform(rows)
        if self.bits is None:
            return components
        step = np.maximum(self.high - self.low, 1e-12) / (2**self.bits - 1)
        return np.rint((np.clip(components, self.low, self.high) - self.low) / step) * step + self.low

    def decode(self, components: np.ndarray) -> np.ndarray:
        """Compute the rows (N, D) of components (N, num_components)."""
        return self.model.inverse_transform(components)

    def sample(self, count: int, seed: int) -> np.ndarray:
        """Draw rows (count, D) of the normal distribution that principal components are (Tipping and Bishop 1999).

        Its noise of single numbers is left out."""
        spread = np.sqrt(self.model.explained_variance_)
        return self.decode(np.random.default_rng(seed).standard_normal((count, self.num_components)) * spread)


def equal_size(latent_shape: tuple[int, ...], num_codes: int) -> tuple[int, int | None]:
    """Compute how many principal components store as much as latents do.

    Args:
        latent_shape: of one row's latents; of codes (size, positions...).
        num_codes: how many codes each position chooses from; 0 for latents that are numbers.

    Returns:
        The number of components, and the bits of each, None for numbers. Codes are matched by as many bits.
    """
    if not num_codes:
        return math.prod(latent_shape), None
    return max(1, round(math.prod(latent_shape[1:]) * math.log2(num_codes) / PCA_BITS)), PCA_BITS


def forest_scores(train: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
    """Score how anomalous an isolation forest (Liu et al. 2008) on training rows calls each test row, (N,)."""
    from sklearn.ensemble import IsolationForest

    forest = IsolationForest(n_estimators=FOREST_TREES, random_state=seed).fit(train)
    return -forest.score_samples(test)
