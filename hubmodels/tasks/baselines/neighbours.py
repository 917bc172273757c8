"""A mixture of unigrams and of the bigrams to the left and right: the classical method for hidden tokens."""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.sparse import csr_matrix, diags

from ...report import Baseline
from ..contract.types import EncodedColumns

if TYPE_CHECKING:
    from ..contract.types import Transform

MAX_TOKENS = 5_000_000  # of training text that are counted
MAX_HIDDEN = 20_000  # hidden tokens on which the weights are chosen
EM_STEPS = 30
NUMBERS_AT_ONCE = 2**25  # probabilities in memory
WINDOWS_AT_ONCE = 1_000
IGNORED = -100  # the label of what is not hidden


def neighbours_baseline(
    train: EncodedColumns, test: EncodedColumns, train_starts: np.ndarray, hide: "Transform", vocab_size: int
) -> Baseline:
    """Fit a mixture of a token's frequency and its frequencies after its left and before its right neighbour.

    It sees the neighbours as the network does. The weights are those that fit hidden tokens of the last tenth of the
    training windows best (expectation maximisation); these windows are counted afterwards.

    Args:
        train, test: windows of streams, with `input_ids`.
        train_starts: the first token of each training window, (W,).
        hide: the problem's transform in an evaluation.
        vocab_size: the number of tokens.
    """
    started = time.perf_counter()
    stream = train.tensor("input_ids").numpy().astype(np.int64)
    note = f" ({MAX_TOKENS:,} of {len(stream):,} training tokens)" if len(stream) > MAX_TOKENS else ""
    stream = stream[:MAX_TOKENS]
    count = len(stream) - max(2, len(stream) // 10)
    held_out = np.flatnonzero(train_starts >= count)
    held_out = held_out if len(held_out) else np.array([len(train) - 1])
    neighbours, hidden, _ = hidden_neighbours(train, hide, held_out)
    model = Neighbours(stream[:count], vocab_size)
    model.fit_weights(neighbours[:MAX_HIDDEN], hidden[:MAX_HIDDEN])
    model = Neighbours(stream, vocab_size, model.weights)
    neighbours, hidden, windows = hidden_neighbours(test, hide, np.arange(len(test)))
    losses, hits = model.score(neighbours, hidden)
    rows = {
        "losses": np.bincount(windows, losses, len(test)).astype(np.float32),
        "hits": np.bincount(windows, hits, len(test)).astype(np.float32),
        "tokens": np.bincount(windows, minlength=len(test)).astype(np.float32),
    }
    name = f"mixture of unigrams and left and right bigrams{note}"
    return Baseline(name=name, rows=rows, seconds=time.perf_counter() - started)


def hidden_neighbours(
    columns: EncodedColumns, hide: "Transform", windows: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find what stands beside the hidden tokens of windows.

    Returns:
        The visible tokens to the left and right of each hidden one (M, 2), -1 at a window's end, the hidden tokens
        (M,) and their windows (M,).
    """
    pieces = []
    for numbers in torch.from_numpy(windows).split(WINDOWS_AT_ONCE):
        batch = hide(columns.batch(numbers), None)
        rows, positions = (batch["labels"] != IGNORED).nonzero(as_tuple=True)
        padded = torch.nn.functional.pad(batch["input_ids"], (1, 1), value=-1)
        pairs = torch.stack([padded[rows, positions], padded[rows, positions + 2]], dim=1)
        pieces.append((pairs.numpy(), batch["labels"][rows, positions].numpy(), numbers[rows].numpy()))
    neighbours, hidden, of_windows = (np.concatenate(values) for values in zip(*pieces, strict=True))
    return neighbours, hidden, of_windows


class Neighbours:
    """p(token) = w0 / V + w1 p(token) + w2 p(token | left) + w3 p(token | right), from counts of a text.

    Args:
        tokens: the text, (N,) int64.
        vocab_size: V.
        weights: (w0, w1, w2, w3), which sum to 1.
    """

    def __init__(self, tokens: np.ndarray, vocab_size: int, weights: np.ndarray | None = None) -> None:
        self.vocab_size = vocab_size
        self.weights = np.full(4, 0.25) if weights is None else weights
        self.unigrams = np.bincount(tokens, minlength=vocab_size) / len(tokens)
        ones = np.ones(max(len(tokens) - 1, 0))
        self.after, self.before = (
            _row_shares(csr_matrix((ones, pair), shape=(vocab_size, vocab_size)))
            for pair in ((tokens[:-1], tokens[1:]), (tokens[1:], tokens[:-1]))
        )

    def components(self, neighbours: np.ndarray) -> np.ndarray:
        """Return the four probabilities of every token beside these neighbours, (M, 4, V).

        Where a neighbour is unknown, the token's own frequency stands for its share."""
        M, V = len(neighbours), self.vocab_size
        probabilities = np.empty((M, 4, V))
        probabilities[:, 0], probabilities[:, 1] = 1 / V, self.unigrams
        for index, (side, table) in enumerate(((neighbours[:, 0], self.after), (neighbours[:, 1], self.before))):
            beside = table[side.clip(min=0)].toarray()
            unknown = (side < 0) | (beside.sum(axis=1) == 0)
            beside[unknown] = self.unigrams
            probabilities[:, 2 + index] = beside
        return probabilities

    def fit_weights(self, neighbours: np.ndarray, hidden: np.ndarray) -> None:
        """Choose the weights under which these hidden tokens are most probable."""
        pieces = []
        for some in self._batches(len(hidden)):
            probabilities = self.components(neighbours[some])
            pieces.append(probabilities[np.arange(len(probabilities)), :, hidden[some]])
        shares = np.concatenate(pieces)  # (M, 4)
        for _ in range(EM_STEPS):
            mixed = shares * self.weights
            self.weights = (mixed / mixed.sum(axis=1, keepdims=True)).mean(axis=0)

    def score(self, neighbours: np.ndarray, hidden: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Score hidden tokens.

        Returns:
            Of each one minus its log probability in nats, and whether it is the most probable, (M,) each.
        """
        losses, hits = [], []
        for some in self._batches(len(hidden)):
            mixed = np.einsum("mkv,k->mv", self.components(neighbours[some]), self.weights)
            losses.append(-np.log(mixed[np.arange(len(mixed)), hidden[some]]))
            hits.append(mixed.argmax(axis=1) == hidden[some])
        return np.concatenate(losses), np.concatenate(hits).astype(np.float64)

    def _batches(self, count: int) -> Iterator[slice]:
        """Cut so many hidden tokens into slices whose probabilities fit into memory."""
        step = max(1, NUMBERS_AT_ONCE // (4 * self.vocab_size))
        return (slice(start, start + step) for start in range(0, count, step))


def _row_shares(counts: Any) -> Any:
    """Divide the rows of a sparse matrix of counts by their sums."""
    totals = np.asarray(counts.sum(axis=1)).ravel()
    return (diags(1 / totals.clip(min=1)) @ counts).tocsr()
