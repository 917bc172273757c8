"""Ranks of pairs among all pairs of a split, from one vector of each side. NumPy alone."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ..contract.types import Rows

AT_ONCE = 2**24  # similarities in memory at once
SAME = 1e-6  # the same vectors multiplied in another order differ in their last digits
NEAREST = 5


def rank_pairs(images: np.ndarray, texts: np.ndarray) -> "Rows":
    """Rank each pair among all pairs by cosine: 1 for the nearest, and where several are equally near their mean rank.

    A vector of zeros is as near to each as to any other.

    Args:
        images: (N, E), of any length.
        texts: (N, E).

    Returns:
        `image_to_text_ranks` (N,), of a pair's text among all texts for its image; `text_to_image_ranks` (N,), of its
        image among all images; and `nearest` (N, 5), the numbers of the texts that are nearest to its image.
    """
    images, texts = _unit_length(images), _unit_length(texts)
    ranks: dict[str, list[np.ndarray]] = {"image_to_text_ranks": [], "text_to_image_ranks": [], "nearest": []}
    of_pairs = (images * texts).sum(axis=1)
    step = max(1, AT_ONCE // len(images))
    for start in range(0, len(images), step):
        block = slice(start, start + step)
        for name, left, right in (("image_to_text_ranks", images, texts), ("text_to_image_ranks", texts, images)):
            similarity = left[block] @ right.T  # (step, N)
            rows = np.arange(len(similarity))
            similarity[rows, start + rows] = of_pairs[block]
            near = np.abs(similarity - of_pairs[block, None]) <= SAME
            above = ((similarity > of_pairs[block, None]) & ~near).sum(axis=1)
            ranks[name].append(1 + above + (near.sum(axis=1) - 1) / 2)
            if name == "image_to_text_ranks":
                order = np.argsort(-similarity, axis=1, kind="stable")
                ranks["nearest"].append(order[:, : min(NEAREST, len(texts))])
    return {name: np.concatenate(blocks) for name, blocks in ranks.items()}


def _unit_length(vectors: np.ndarray) -> np.ndarray:
    """Scale vectors (N, E) to length 1, float32; zeros stay."""
    lengths = np.linalg.norm(vectors.astype(np.float32), axis=1, keepdims=True)
    return vectors.astype(np.float32) / np.maximum(lengths, 1e-12)
