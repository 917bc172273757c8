"""What latents are worth: probes, principal components as the classical way to them, codebooks, anomalies."""

import math
import warnings
from typing import Any

import numpy as np
import torch

from ..report import Estimate
from ._sample_quality import mean_with_interval

PROBE_ROWS = 10_000  # training rows of a linear probe and of the nearest neighbours
PROBE_ITERATIONS = 1_000
NEIGHBOURS = 5
PCA_NUMBERS = 64_000_000  # principal components are fitted on at most this many numbers (rows x pixels)
EXACT_SIDE = 2_048  # up to this many pixels the covariance's eigenvectors are computed exactly
PCA_BITS = 8  # of each component where the latents are codes, which are counted in bits
NUM_RESAMPLES = 200
FOREST_TREES = 200


def linear_probe(train: np.ndarray, labels: np.ndarray, test: np.ndarray, test_labels: np.ndarray) -> Estimate:
    """Test accuracy of a logistic regression on standardised latents."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=PROBE_ITERATIONS)).fit(train, labels)
    return mean_with_interval(probe.predict(test) == test_labels)


def neighbour_probe(train: np.ndarray, labels: np.ndarray, test: np.ndarray, test_labels: np.ndarray) -> Estimate:
    """Test accuracy of the 5 nearest neighbours in the latents as they are."""
    from sklearn.neighbors import KNeighborsClassifier

    probe = KNeighborsClassifier(n_neighbors=min(NEIGHBOURS, len(train))).fit(train, labels)
    return mean_with_interval(probe.predict(test) == test_labels)


def probe_rows(labels: np.ndarray, seed: int) -> np.ndarray:
    """The numbers of the rows that probes are fitted on: those with a class, at most `PROBE_ROWS`, drawn."""
    rows = np.flatnonzero(labels >= 0)
    return np.sort(np.random.default_rng(seed).permutation(rows)[:PROBE_ROWS])


class PrincipalComponents:
    """Principal component analysis as a coder of rows of numbers: the classical method beside an autoencoder.

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
            found = self.model.transform(rows)
            self.low, self.high = found.min(axis=0), found.max(axis=0)

    def encode(self, rows: np.ndarray) -> np.ndarray:
        """(N, components), rounded where they are stored in bits."""
        found = self.model.transform(rows)
        if self.bits is None:
            return found
        step = np.maximum(self.high - self.low, 1e-12) / (2**self.bits - 1)
        return np.rint((np.clip(found, self.low, self.high) - self.low) / step) * step + self.low

    def decode(self, components: np.ndarray) -> np.ndarray:
        """(N, D)."""
        return self.model.inverse_transform(components)

    def sample(self, count: int, seed: int) -> np.ndarray:
        """Rows (count, D) of the normal distribution that principal components are (Tipping and Bishop 1999), without
        its noise of single pixels."""
        spread = np.sqrt(self.model.explained_variance_)
        return self.decode(np.random.default_rng(seed).standard_normal((count, self.num_components)) * spread)


def equal_size(latent_shape: tuple[int, ...], num_codes: int) -> tuple[int, int | None]:
    """How many principal components store as much as the latents do, and the bits of each: as many numbers (None), or,
    for latents (size, places...) that are one of `num_codes` codes at each place, as many bits, by 8 a component."""
    if not num_codes:
        return math.prod(latent_shape), None
    return max(1, round(math.prod(latent_shape[1:]) * math.log2(num_codes) / PCA_BITS)), PCA_BITS


def codebook_counts(codes: np.ndarray, num_codes: int) -> np.ndarray:
    """How often each code occurs, (num_codes,)."""
    return np.bincount(codes.ravel(), minlength=num_codes)


def codebook_measures(codes: np.ndarray, num_codes: int, seed: int) -> dict[str, Estimate]:
    """The share of the codebook that occurs in these rows' codes (N, ...), and its perplexity, the exponential of the
    entropy in nats; the perplexity with a 95 % bootstrap interval over the rows."""
    flat = codes.reshape(len(codes), -1)
    counts = codebook_counts(flat, num_codes)
    generator = np.random.default_rng(seed)
    draws = [
        _perplexity(codebook_counts(flat[generator.integers(0, len(flat), len(flat))], num_codes))
        for _ in range(NUM_RESAMPLES)
    ]
    low, high = np.quantile(draws, [0.025, 0.975])
    return {
        "codebook_usage": Estimate(float((counts > 0).mean())),
        "codebook_perplexity": Estimate(_perplexity(counts), float(low), float(high)),
    }


def _perplexity(counts: np.ndarray) -> float:
    shares = counts[counts > 0] / counts.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def anomaly_area(scores: np.ndarray, anomalous: np.ndarray, seed: int) -> Estimate:
    """Area under the ROC curve of scores (N,) that should be larger for anomalous rows, with a bootstrap interval."""
    from .targets.class_rows import roc_auc

    generator = np.random.default_rng(seed)
    sides = np.stack([-scores, scores], axis=1)
    draws = []
    for _ in range(NUM_RESAMPLES):
        rows = generator.integers(0, len(scores), len(scores))
        draws.append(roc_auc(sides[rows], anomalous[rows].astype(np.int64)))
    low, high = np.nanquantile(draws, [0.025, 0.975])
    return Estimate(roc_auc(sides, anomalous.astype(np.int64)), float(low), float(high))


def forest_scores(train: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
    """How anomalous an isolation forest (Liu et al. 2008) on the training rows finds each test row, (N,)."""
    from sklearn.ensemble import IsolationForest

    forest = IsolationForest(n_estimators=FOREST_TREES, random_state=seed).fit(train)
    return -forest.score_samples(test)


def encode_rows(model: Any, columns: Any, rows: np.ndarray, transform: Any, batch_size: int = 500) -> dict[str, Any]:
    """The model's outputs that describe these rows: `latents` (N, L) float32 and, of a codebook, `codes`."""
    device = next(model.parameters()).device
    parts: dict[str, list[np.ndarray]] = {}
    with torch.inference_mode():
        for numbers in torch.from_numpy(rows).split(batch_size):
            batch = transform({name: value.to(device) for name, value in columns.batch(numbers).items()}, None)
            outputs = model(**batch)
            parts.setdefault("latents", []).append(outputs.latents.flatten(1).float().cpu().numpy())
            if outputs.get("codes") is not None:
                parts.setdefault("codes", []).append(outputs.codes.flatten(1).cpu().numpy())
    return {name: np.concatenate(values) for name, values in parts.items()}


def flat_rows(columns: Any, rows: np.ndarray) -> np.ndarray:
    """The pixels of these rows in 0..1, (N, C * H * W) float32."""
    return columns.batch(torch.from_numpy(rows))["pixel_values"].flatten(1).float().div_(255).numpy()


def fitting_rows(columns: Any, seed: int) -> np.ndarray:
    """The numbers of the rows that principal components are fitted on: all, or as many as `PCA_NUMBERS` allow."""
    width = columns.batch(torch.zeros(1, dtype=torch.int64))["pixel_values"].numel()
    count = max(2, PCA_NUMBERS // width)
    return np.sort(np.random.default_rng(seed).permutation(len(columns))[:count])
