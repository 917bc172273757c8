"""Linear methods on words and pairs of words: logistic regression and naive Bayes, for one class a text or labels."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import MultinomialNB

from ...report import Baseline
from ..contract.types import EncodedColumns, RowsOfProbabilities
from ..contract.weights import column_weights
from .choice import Estimator, Weights, choose, class_probabilities, of_each_label
from .linear import PENALTIES

MAX_ROWS = 200_000  # training texts that are seen at most
MAX_WORDS = 300_000  # words and pairs of words
SMOOTHING = (0.1, 0.3, 1.0)  # what naive Bayes adds to every count
MAX_ITERATIONS = 1_000

ReadTexts = Callable[[EncodedColumns, np.ndarray], list[str]]  # columns, row numbers (B,) -> B texts


def words_baseline(
    read_texts: ReadTexts,
    train: EncodedColumns,
    test: EncodedColumns,
    num_classes: int,
    rows_of: RowsOfProbabilities,
    seed: int,
) -> Baseline:
    """Fit logistic regression and naive Bayes on TF-IDF of words and pairs, their settings chosen (see `choose`).

    The one that is right more often on the held-out texts is the baseline, the other stands beside it.

    Args:
        read_texts: gives encoded rows as text again.
        train, test: encoded columns that have `labels`, int64 (N,), or (N, num_classes) of 0 and 1.
        num_classes: the number of classes or labels.
        rows_of: makes of probabilities (N, num_classes) and labels what the target's `predict` gives.
        seed: of the rows that are seen and held out.
    """
    started = time.perf_counter()
    rows = np.random.default_rng(seed).permutation(len(train))[:MAX_ROWS]
    note = f" ({len(rows):,} of {len(train):,} training texts)" if len(rows) < len(train) else ""
    labels, references = train.tensor("labels").numpy()[rows], test.tensor("labels").numpy()
    weights, several = column_weights(train), labels.ndim == 2
    weights = None if weights is None else weights[rows]
    inputs, test_inputs = word_weights(read_texts(train, rows), read_texts(test, np.arange(len(test))))
    seconds_of_both = time.perf_counter() - started
    scored: list[tuple[float, Baseline]] = []
    for method, make_models in _methods(labels, seed).items():
        started = time.perf_counter()
        probabilities, score = np.zeros((len(test), num_classes)), 0.0
        if not several and len(np.unique(labels if weights is None else labels[weights > 0])) == 1:
            probabilities[:, labels[0 if weights is None else weights.argmax()]] = 1  # nothing to separate
        else:
            choice = choose(make_models, inputs, labels, accuracy, seed, weights=weights)
            probabilities = class_probabilities(choice.model, test_inputs, num_classes, several)
            score = choice.score
        name = f"{method}{' for each label' if several else ''} on TF-IDF of words and pairs{note}"
        seconds = seconds_of_both + time.perf_counter() - started
        scored.append((score, Baseline(name=name, rows=rows_of(probabilities, references), seconds=seconds)))
    (_, main), *others = sorted(scored, key=lambda pair: -pair[0])
    main.others = [other for _, other in others]
    return main


def word_weights(texts: list[str], test_texts: list[str]) -> tuple[Any, Any]:
    """Weigh the words and pairs of words of texts by TF-IDF; the characters where they have no word of two letters.

    Returns:
        Two sparse matrices (texts, words): of the texts that the weights are fitted to, and of the test texts.
    """
    options = {"ngram_range": (1, 2), "sublinear_tf": True, "max_features": MAX_WORDS}
    try:
        vectorizer = TfidfVectorizer(**options)
        inputs = vectorizer.fit_transform(texts)
    except ValueError:
        vectorizer = TfidfVectorizer(analyzer="char", **options)
        inputs = vectorizer.fit_transform(texts)
    return inputs, vectorizer.transform(test_texts)


def accuracy(model: Estimator, inputs: Any, targets: np.ndarray, weights: Weights) -> float:
    """Return the share of rows with the right class, of several labels the share of labels that are right.

    The log loss does not tell these two methods apart: naive Bayes knows the class better than its probability."""
    right = (model.predict(inputs) == targets).reshape(len(targets), -1).mean(axis=1)
    return float(np.average(right, weights=weights))


def _methods(labels: np.ndarray, seed: int) -> dict[str, Sequence[Callable[[], Estimator]]]:
    """Return the functions that make each method's estimators for such labels, one a setting."""

    def logistic(penalty: float) -> Estimator:
        return of_each_label(LogisticRegression(C=penalty, max_iter=MAX_ITERATIONS, random_state=seed), labels)

    def bayes(smoothing: float) -> Estimator:
        return of_each_label(MultinomialNB(alpha=smoothing), labels)

    return {
        "logistic regression": [partial(logistic, penalty) for penalty in PENALTIES],
        "naive Bayes": [partial(bayes, smoothing) for smoothing in SMOOTHING],
    }
