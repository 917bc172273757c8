"""An n-gram model of tokens: interpolated, modified Kneser-Ney smoothing (Chen and Goodman 1999, eq. 26 and 17).

Every n-gram is a number. Its context is the (n-1)-gram that ends one token before it: with V tokens and the context's
number c the n-gram's key is c * V + token. Counting is then sorting, and a whole text is scored at once: 1 M characters
at 8 orders take about 3 s to count.
"""

from dataclasses import dataclass

import numpy as np

MAX_ORDER = 8  # the longest n-grams that are tried
MAX_TOKENS = 5_000_000  # of training text that are counted


def fit_ngrams(tokens: np.ndarray, vocab_size: int) -> "tuple[NgramModel, str]":
    """Fit an n-gram model whose order is chosen on the last tenth of the tokens.

    Returns:
        The model, and what its name says where not all tokens were counted.
    """
    note = ""
    if len(tokens) > MAX_TOKENS:
        note = f" ({MAX_TOKENS:,} of {len(tokens):,} training tokens)"
        tokens = tokens[:MAX_TOKENS]
    count = len(tokens) - max(1, len(tokens) // 10)
    scores: list[float] = []
    # One model of the longest order would not do: the counts of its shorter n-grams are of another kind.
    for order in range(1, MAX_ORDER + 1):
        scores.append(float(NgramModel(tokens[:count], vocab_size, order).losses(tokens)[count:].mean()))
        if len(scores) > 1 and scores[-1] > scores[-2]:
            break
    return NgramModel(tokens, vocab_size, int(np.argmin(scores)) + 1), note


@dataclass
class _Level:
    """All n-grams of one length: sorted keys, their discounted probabilities, and what their contexts pass down."""

    keys: np.ndarray  # (G,) int64, context * V + token
    discounted: np.ndarray  # (G,) max(count - discount, 0) / count of the context
    passed: np.ndarray  # (contexts,) share of each context that the shorter context distributes


class NgramModel:
    """Probabilities of the next token given up to `order - 1` tokens before it.

    Args:
        tokens: the training text, (N,) integers in 0..vocab_size-1, N >= 1.
        vocab_size: V, number of tokens.
        order: tokens in the longest n-gram, >= 1.
    """

    def __init__(self, tokens: np.ndarray, vocab_size: int, order: int) -> None:
        tokens = np.asarray(tokens, dtype=np.int64)
        self.vocab_size = vocab_size
        self.order = order
        self.levels: list[_Level] = []
        contexts = np.zeros(len(tokens), dtype=np.int64)  # of the empty context there is one
        counted = self._count(contexts, tokens)
        for length in range(1, order + 1):
            keys, _, ids, counts = counted
            if length < order and len(tokens) > length:
                # The n-gram that ends at i-1 is the context of the longer one that ends at i.
                counted = self._count(ids[:-1], tokens[length:])
                # Of a shorter n-gram it counts after how many different tokens it came, not how often (eq. 17).
                counts = np.bincount(ids[1:][counted[1]], minlength=len(keys))
                # What came only at the very beginning of the text followed no token; it was seen all the same.
                counts = np.maximum(counts, 1)
                self.levels.append(self._level(keys, counts))
            else:
                self.levels.append(self._level(keys, counts))
                break

    def _count(self, contexts: np.ndarray, tokens: np.ndarray) -> tuple[np.ndarray, ...]:
        """Count n-grams.

        Returns:
            The keys of the different ones, a position of each, the number of the one at each position, and counts.
        """
        return np.unique(
            contexts * self.vocab_size + tokens, return_index=True, return_inverse=True, return_counts=True
        )

    def _level(self, keys: np.ndarray, counts: np.ndarray) -> _Level:
        """Discount the counts of n-grams of one length."""
        contexts = keys // self.vocab_size
        num_contexts = int(contexts[-1]) + 1
        discounts = _discounts(counts)[np.minimum(counts, 3)]
        totals = np.bincount(contexts, weights=counts, minlength=num_contexts)
        discounted = counts - discounts
        freed = np.bincount(contexts, weights=discounts, minlength=num_contexts)
        # A context that occurs only as the last token of the text has no n-gram: it passes everything down.
        passed = np.divide(freed, totals, out=np.ones(num_contexts), where=totals > 0)
        return _Level(keys, discounted / totals[contexts], passed)

    def losses(self, tokens: np.ndarray) -> np.ndarray:
        """Return minus the log probability of each token given those before it, in nats, (N,) float64."""
        tokens = np.asarray(tokens, dtype=np.int64)
        probabilities = np.full(len(tokens), 1 / self.vocab_size)
        contexts = np.zeros(len(tokens), dtype=np.int64)  # -1 for a context that was never seen
        for length, level in enumerate(self.levels):
            if length >= len(tokens):
                break
            keys = contexts * self.vocab_size + tokens[length:]
            ids = np.searchsorted(level.keys, keys).clip(max=len(level.keys) - 1)
            seen = (level.keys[ids] == keys) & (contexts >= 0)
            passed = level.passed[contexts.clip(min=0, max=len(level.passed) - 1)]
            known = (contexts >= 0) & (contexts < len(level.passed))
            here = probabilities[length:]
            mixed = np.where(seen, level.discounted[ids], 0) + passed * here
            probabilities[length:] = np.where(known, mixed, here)
            contexts = np.where(seen, ids, -1)[:-1]
        return -np.log(probabilities)


def _discounts(counts: np.ndarray) -> np.ndarray:
    """Return what is taken from counts of 1, 2 and 3 or more, at these indices of an array of four (eq. 26).

    Half of a count is taken where a text is too small to estimate them."""
    n1, n2, n3, n4 = (float((counts == number).sum()) for number in (1, 2, 3, 4))
    if min(n1, n2, n3) == 0:
        return np.array([0, 0.5, 0.5, 0.5])
    share = n1 / (n1 + 2 * n2)
    discounts = [1 - 2 * share * n2 / n1, 2 - 3 * share * n3 / n2, 3 - 4 * share * n4 / n3]
    return np.array([0, *(min(max(value, 0.05), number) for number, value in enumerate(discounts, start=1))])
