"""Measuring what latents are worth: probes, codebooks, anomalies."""

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import abilities
from ...report import Estimate
from ..contract.rows import model_device
from .class_rows import roc_auc
from .estimates import mean_with_interval

if TYPE_CHECKING:
    from ..contract.types import SomeRows, Transform

PROBE_ROWS = 10_000  # training rows of a linear probe and of the nearest neighbours
PROBE_ITERATIONS = 1_000
NEIGHBOURS = 5
NUM_RESAMPLES = 200


def linear_probe(train: np.ndarray, labels: np.ndarray, test: np.ndarray, test_labels: np.ndarray) -> Estimate:
    """Measure the test accuracy of a logistic regression on standardised latents."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=PROBE_ITERATIONS)).fit(train, labels)
    return mean_with_interval(probe.predict(test) == test_labels)


def neighbour_probe(train: np.ndarray, labels: np.ndarray, test: np.ndarray, test_labels: np.ndarray) -> Estimate:
    """Measure the test accuracy of the 5 nearest neighbours in the latents as they are."""
    from sklearn.neighbors import KNeighborsClassifier

    probe = KNeighborsClassifier(n_neighbors=min(NEIGHBOURS, len(train))).fit(train, labels)
    return mean_with_interval(probe.predict(test) == test_labels)


def probe_rows(labels: np.ndarray, seed: int) -> np.ndarray:
    """Draw the numbers of the rows that probes are fitted on: those with a class, at most `PROBE_ROWS`."""
    rows = np.flatnonzero(labels >= 0)
    return np.sort(np.random.default_rng(seed).permutation(rows)[:PROBE_ROWS])


def codebook_counts(codes: np.ndarray, num_codes: int) -> np.ndarray:
    """Count how often each code occurs, (num_codes,)."""
    return np.bincount(codes.ravel(), minlength=num_codes)


def codebook_measures(codes: np.ndarray, num_codes: int, seed: int) -> dict[str, Estimate]:
    """Measure the share of the codebook that occurs in these rows' codes (N, ...), and its perplexity.

    The perplexity is the exponential of the entropy in nats, with a 95 % bootstrap interval over the rows."""
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
    """Measure the area under the ROC curve of scores (N,) that should be larger for anomalous rows.

    Its interval is the bootstrap's."""
    generator = np.random.default_rng(seed)
    sides = np.stack([-scores, scores], axis=1)
    draws = []
    for _ in range(NUM_RESAMPLES):
        rows = generator.integers(0, len(scores), len(scores))
        draws.append(roc_auc(sides[rows], anomalous[rows].astype(np.int64)))
    low, high = np.nanquantile(draws, [0.025, 0.975])
    return Estimate(roc_auc(sides, anomalous.astype(np.int64)), float(low), float(high))


def encode_rows(
    model: Any, columns: "SomeRows", rows: np.ndarray, transform: "Transform", batch_size: int = 500
) -> dict[str, np.ndarray]:
    """Compute the model's outputs that describe these rows: `latents` (N, L) float32 and, of a codebook, `codes`."""
    import torch

    device = model_device(model)
    outputs: dict[str, list[np.ndarray]] = {}
    with torch.inference_mode():
        for numbers in torch.from_numpy(rows).split(batch_size):
            batch = transform({name: value.to(device) for name, value in columns.batch(numbers).items()}, None)
            given = model(**batch)
            outputs.setdefault("latents", []).append(latent_rows(given))
            if (codes := abilities.codes(given)) is not None:
                outputs.setdefault("codes", []).append(codes.flatten(1).cpu().numpy())
    return {name: np.concatenate(values) for name, values in outputs.items()}


def latent_rows(outputs: Any) -> np.ndarray:
    """Return the latents of a model's outputs, (B, L) float32."""
    return outputs.latents.flatten(1).float().cpu().numpy()


def latent_answers(outputs: Any) -> dict[str, np.ndarray]:
    """Return one column a latent number: `latent_0`, ..."""
    latents = latent_rows(outputs)
    return {f"latent_{number}": latents[:, number] for number in range(latents.shape[1])}
