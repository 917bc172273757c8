"""Matching images and texts by ridge regression: the classical method for pairs that nobody has seen."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn.functional import avg_pool2d

from ...report import Baseline
from ..contract.types import EncodedColumns
from .choice import choose

if TYPE_CHECKING:
    from ..contract.types import Rows

MAX_ROWS = 20_000  # pairs that it is fitted on at most
SIDE = 16  # images are averaged down to this many pixels a side
COMPONENTS = 200
MAX_NGRAMS = 20_000
PENALTIES = (1.0, 10.0, 100.0)
AT_ONCE = 500  # images


@dataclass(kw_only=True)
class Matching:
    """Says what a classical method sees of encoded pairs, and how it is measured."""

    decode: Callable[[EncodedColumns, np.ndarray], list[str]]  # columns, row numbers (B,) -> texts
    rank: Callable[
        [np.ndarray, np.ndarray], "Rows"
    ]  # vectors of images and of texts, (N, E) each -> rows of the target


def ridge_matching(matching: Matching, train: EncodedColumns, test: EncodedColumns, seed: int) -> Baseline:
    """Fit ridge regression from an image to its text, and rank the test pairs by cosine.

    An image is principal components of its averaged pixels, and its histogram of colours; a text is the TF-IDF of its
    character n-grams. The penalty is chosen on held-out pairs by their ranks (see `choose`).
    """
    from sklearn.decomposition import PCA
    from sklearn.feature_extraction.text import TfidfVectorizer

    started = time.perf_counter()
    numbers = np.random.default_rng(seed).permutation(len(train))[:MAX_ROWS]
    vectorizer = TfidfVectorizer(
        analyzer="char_wb", ngram_range=(1, 4), lowercase=False, sublinear_tf=True, max_features=MAX_NGRAMS
    )
    targets = vectorizer.fit_transform(matching.decode(train, numbers)).toarray().astype(np.float32)
    mean = targets.mean(axis=0)
    targets -= mean
    pixels, colours = describe_images(train, numbers)
    projection = PCA(min(COMPONENTS, *pixels.shape), random_state=seed).fit(pixels)
    inputs = np.hstack([projection.transform(pixels), colours])

    def score(model: Any, inputs: np.ndarray, targets: np.ndarray, weights: np.ndarray | None) -> float:
        return -float(np.log(matching.rank(model.predict(inputs), targets)["image_to_text_ranks"]).mean())

    chosen = choose([_maker(penalty) for penalty in PENALTIES], inputs, targets, score, seed)
    everything = np.arange(len(test))
    pixels, colours = describe_images(test, everything)
    predicted = chosen.model.predict(np.hstack([projection.transform(pixels), colours]))
    texts = vectorizer.transform(matching.decode(test, everything)).toarray() - mean
    return Baseline(
        name="ridge regression from pixels and colours to TF-IDF of character n-grams",
        rows=matching.rank(predicted, texts),
        seconds=time.perf_counter() - started,
    )


def _maker(penalty: float) -> Callable[[], Any]:
    """Return a function that makes the estimator of a penalty."""
    from sklearn.linear_model import Ridge

    return lambda: Ridge(alpha=penalty)


def describe_images(columns: EncodedColumns, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Describe encoded images by what a linear model can use, (N, features) each.

    Returns:
        The averaged pixels in 0..1, and the square roots of the shares of 4 levels a channel, combined (64 colours of
        RGB).
    """
    averaged, histograms = [], []
    for rows in torch.from_numpy(numbers).split(AT_ONCE):
        pixels = columns.batch(rows)["pixel_values"]
        B, C, H, W = pixels.shape
        block = math.ceil(max(H, W) / SIDE)
        averaged.append(avg_pool2d(pixels.float() / 255, block, ceil_mode=True).flatten(1))
        weights = 4 ** torch.arange(C).view(1, C, 1, 1)
        colours = (pixels.long() // 64 * weights).sum(dim=1).flatten(1)  # (B, H W)
        counts = torch.zeros(B, 4**C).scatter_add_(1, colours, torch.ones_like(colours, dtype=torch.float32))
        histograms.append((counts / (H * W)).sqrt())
    # Five times: so a histogram weighs about as much as the components, which 16 x 16 pixels carry.
    return torch.cat(averaged).numpy(), 5 * torch.cat(histograms).numpy()
