"""Tags of words by classical methods: logistic regression on a word and its neighbours, and a word's usual tag."""

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import SGDClassifier

from ...report import Baseline
from .choice import choose, negative_log_loss

if TYPE_CHECKING:
    from ..contract.types import Rows

MAX_WORDS = 300_000  # training words that the linear method sees, which takes minutes
PENALTIES = (1e-7, 1e-6, 1e-5)  # strengths of the L2 penalty
NUM_EPOCHS = 10

Sentence = tuple[list[str], list[int]]  # words and the numbers of their tags
RowsOfTags = Callable[[list[tuple[list[int], list[int]]]], "Rows"]  # (true, predicted) tags of sentences -> rows


def tags_baseline(
    train: list[Sentence],
    test: list[Sentence],
    num_tags: int,
    rows_of: RowsOfTags,
    seed: int,
    weights: Sequence[float] | None = None,
) -> Baseline:
    """Fit logistic regression on the word, its ends, its shape and its neighbours.

    Beside it stands each word's most frequent tag; alone, where there is nothing to separate. Sentences count by their
    weights where there are any."""
    started = time.perf_counter()
    pairs = [(tags, predicted) for (_, tags), predicted in zip(test, usual_tags(train, test, weights), strict=True)]
    name = "each word's most frequent tag"
    lookup = Baseline(name=name, rows=rows_of(pairs), seconds=time.perf_counter() - started)
    if len({tag for _, tags in train for tag in tags}) == 1:
        return lookup
    started = time.perf_counter()
    predictions, note = linear_tags(train, test, num_tags, seed, weights)
    pairs = [(tags, predicted) for (_, tags), predicted in zip(test, predictions, strict=True)]
    return Baseline(
        name=f"logistic regression on the word, its ends, its shape and its neighbours{note}",
        rows=rows_of(pairs),
        seconds=time.perf_counter() - started,
        others=[lookup],
    )


def usual_tags(train: list[Sentence], test: list[Sentence], weights: Sequence[float] | None = None) -> list[list[int]]:
    """Predict each word's most frequent training tag; of an unknown word the most frequent one of all.

    A sentence counts by its weight where there are any."""
    counts: dict[str, dict[int, float]] = defaultdict(lambda: defaultdict(float))
    of_tags: dict[int, float] = defaultdict(float)
    for (words, tags), weight in zip(train, weights or [1.0] * len(train), strict=True):
        for word, tag in zip(words, tags, strict=True):
            counts[word][tag] += weight
            of_tags[tag] += weight
    usual = {word: _most_frequent(of_word) for word, of_word in counts.items()}
    of_all = _most_frequent(of_tags)
    return [[usual.get(word, of_all) for word in words] for words, _ in test]


def _most_frequent(counts: dict[int, float]) -> int:
    """Return the most frequent number, of equally frequent ones the smallest."""
    return min(counts, key=lambda number: (-counts[number], number))


def word_features(words: Sequence[str], index: int) -> dict[str, bool]:
    """Describe a word of a sentence: itself, its ends, its shape, and the words beside it."""
    word = words[index]
    lower = word.lower()
    shape = "".join("X" if c.isupper() else "x" if c.islower() else "9" if c.isdigit() else c for c in word)
    short = "".join(c for number, c in enumerate(shape) if number == 0 or shape[number - 1] != c)
    before, after = (words[index - 1] if index else "<s>"), (words[index + 1] if index + 1 < len(words) else "</s>")
    names = [f"word={lower}", f"shape={short}", f"before={before.lower()}", f"after={after.lower()}"]
    names += [f"end={lower[-size:]}" for size in (1, 2, 3)] + [f"start={lower[:size]}" for size in (2, 3)]
    names += [f"capital before={before[:1].isupper()}", f"capital after={after[:1].isupper()}", f"first={not index}"]
    return dict.fromkeys(names, True)


def linear_tags(
    train: list[Sentence],
    test: list[Sentence],
    num_tags: int,
    seed: int,
    weights: Sequence[float] | None = None,
) -> tuple[list[list[int]], str]:
    """Predict tags by logistic regression, trained by stochastic gradient, its penalty chosen (see `choose`).

    Returns:
        The tags of the test sentences, and what the name says where not all training sentences were used.
    """
    import numpy as np

    sentences: list[Sentence] = []
    count = 0
    for sentence in train:
        if count >= MAX_WORDS:
            break
        sentences.append(sentence)
        count += len(sentence[0])
    note = f" ({len(sentences):,} of {len(train):,} training rows)" if len(sentences) < len(train) else ""
    vectorizer = DictVectorizer()
    described = (word_features(words, index) for words, _ in sentences for index in range(len(words)))
    inputs = _narrow(vectorizer.fit_transform(described))
    labels: np.ndarray = np.array([tag for _, tags in sentences for tag in tags])
    if len(np.unique(labels)) == 1:
        return [[int(labels[0])] * len(words) for words, _ in test], note
    classifier = partial(SGDClassifier, loss="log_loss", max_iter=NUM_EPOCHS, tol=None, random_state=seed, average=True)
    makers = [partial(classifier, alpha=penalty) for penalty in PENALTIES]
    of_words = None
    if weights is not None:
        of_words = np.repeat(np.array(weights[: len(sentences)]), [len(words) for words, _ in sentences])
    model = choose(makers, inputs, labels, negative_log_loss(num_tags), seed, weights=of_words).model
    predictions = []
    for words, _ in test:
        rows = [word_features(words, index) for index in range(len(words))]
        predictions.append(model.predict(_narrow(vectorizer.transform(rows))).tolist() if rows else [])
    return predictions, note


def _narrow(matrix: Any) -> Any:
    """Give a sparse matrix 32-bit indices: scikit-learn 1.9's stochastic gradient refuses its vectorizer's own."""
    matrix.indices, matrix.indptr = matrix.indices.astype("int32"), matrix.indptr.astype("int32")
    return matrix
