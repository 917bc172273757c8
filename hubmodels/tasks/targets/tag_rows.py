"""Entities in tagged sentences, as conlleval counts them. NumPy."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ..contract.types import Rows

OUTSIDE = "O"
MATRIX_KINDS = 20  # kinds of entities in the confusion matrix, none included


def entity_kinds(tags: Sequence[str]) -> list[str]:
    """Name the kinds of entities that tags speak of, in their order: PER, LOC of B-PER, I-PER, B-LOC, O."""
    return list(dict.fromkeys(split_tag(tag)[1] for tag in tags if tag != OUTSIDE))


def split_tag(tag: str) -> tuple[str, str]:
    """Split a tag into B or I, and the kind; a tag without either is a whole entity by itself."""
    return (tag[0], tag[2:]) if tag[:2] in ("B-", "I-") and len(tag) > 2 else ("B", tag)


def find_entities(tags: Sequence[str]) -> set[tuple[int, int, str]]:
    """Find the entities of a sentence in IOB2 as (first word, word behind, kind).

    As conlleval does, an I- that continues nothing of its kind begins an entity."""
    entities = set()
    start, open_kind = 0, None
    for position, tag in enumerate([*tags, OUTSIDE]):
        mark, kind = ("O", None) if tag == OUTSIDE else split_tag(tag)
        if open_kind is not None and (mark != "I" or kind != open_kind):
            entities.add((start, position, open_kind))
            open_kind = None
        if kind is not None and open_kind is None:
            start, open_kind = position, kind
    return entities


def tag_rows(pairs: list[tuple[list[int], list[int]]], tags: Sequence[str]) -> "Rows":
    """Count what metrics need of each sentence, from its (true, predicted) tag numbers.

    Returns:
        `words` and `hits` (B,): words, and those with the right tag. `actual`, `predicted` and `right` (B, kinds):
        entities, predicted ones, and those that are both, with the same words and kind. With up to 20 kinds `confusion`
        (B, kinds + 1, kinds + 1): words by true and predicted kind, the first one being none.
    """
    kinds = {kind: index for index, kind in enumerate(entity_kinds(tags))}
    kind_numbers = np.array([0 if tag == OUTSIDE else kinds[split_tag(tag)[1]] + 1 for tag in tags])
    B, K = len(pairs), len(kinds)
    rows = {name: np.zeros((B, K), dtype=np.int32) for name in ("actual", "predicted", "right")}
    rows |= {name: np.zeros(B, dtype=np.int32) for name in ("words", "hits")}
    if K < MATRIX_KINDS:
        rows["confusion"] = np.zeros((B, K + 1, K + 1), dtype=np.int32)
    for row, (labels, predictions) in enumerate(pairs):
        rows["words"][row] = len(labels)
        rows["hits"][row] = sum(label == prediction for label, prediction in zip(labels, predictions, strict=True))
        actual, predicted = (find_entities([tags[number] for number in some]) for some in (labels, predictions))
        for name, entities in (("actual", actual), ("predicted", predicted), ("right", actual & predicted)):
            for _, _, kind in entities:
                rows[name][row, kinds[kind]] += 1
        if "confusion" in rows:
            np.add.at(rows["confusion"][row], (kind_numbers[labels], kind_numbers[predictions]), 1)
    return rows


def pairs_of_counts(counts: np.ndarray) -> "Rows":
    """Turn a confusion matrix into rows of labels and predictions, which `confusion_figure` takes."""
    labels, predictions = np.indices(counts.shape).reshape(2, -1)
    return {"labels": labels.repeat(counts.ravel()), "predictions": predictions.repeat(counts.ravel())}
