"""Figures of texts: words that speak for a class, lines of typewritten text."""

import math
import warnings
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ...figures import BLUE, house_style, new_figure
from ...formatting import shorten
from ...report import Figure
from ..inputs.tokenizers import word_starts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase as Tokenizer

    from ..contract.types import Batch, EncodedColumns, Predict

# Leaving out one word after the other stops after about this many tokens, and this many rows.
OCCLUDED_TOKENS = 300_000
OCCLUDED_ROWS = 300
WORDS_SHOWN = 8  # of each class
CLASSES_SHOWN = 6
INK = "#262626"
TYPEWRITER = {"family": "DejaVu Sans Mono", "size": 8, "va": "center", "parse_math": False, "in_layout": False}


def printable(text: str) -> str:
    """Return a text on one line of a figure: control characters and line breaks are blanks."""
    return "".join(character if character.isprintable() else " " for character in text)


@contextmanager
def typewriter_style() -> Iterator[None]:
    """Draw any text in the house style: a box stands in the place of a character that the font lacks."""
    with house_style(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        yield


def word_influence(
    predict: "Predict", columns: "EncodedColumns", tokenizer: "Tokenizer"
) -> dict[int, dict[str, float]]:
    """Measure by how much the log probability of a text's label falls when a word is left out, in nats.

    Returns:
        Label -> word -> the sum over its texts, divided by their number plus one: what was seen once counts half.
    """
    sums: dict[int, dict[str, list[float]]] = defaultdict(lambda: defaultdict(lambda: [0.0, 0]))
    rows = torch.linspace(0, len(columns) - 1, min(OCCLUDED_ROWS, len(columns))).round().long().unique()
    # Every k-th row: the order of a data set may be that of its classes.
    rows = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))]
    budget = OCCLUDED_TOKENS
    for row in rows:
        encoded = columns.batch(row[None])
        length, label = int(encoded["lengths"]), int(encoded["labels"])
        tokens = encoded["input_ids"][0, :length].tolist()
        spans = word_spans(tokenizer, tokens)
        if not spans:
            continue
        budget -= length * (len(spans) + 1)
        if budget < 0 and sums:
            break
        variants = [tokens, *(tokens[:start] + tokens[end:] for start, end in spans)]
        losses = predict(Variants(variants, label, tokenizer.pad_token_id))["losses"]
        for (start, end), loss in zip(spans, losses[1:], strict=True):
            word = tokenizer.decode(tokens[start:end]).strip().lower()
            if word:
                entry = sums[label][word]
                entry[0] += float(loss - losses[0])
                entry[1] += 1
    return {
        label: {word: total / (number + 1) for word, (total, number) in words.items()} for label, words in sums.items()
    }


def word_spans(tokenizer: "Tokenizer", tokens: list[int]) -> list[tuple[int, int]]:
    """Return first token and end of each word that can be left out: no special token, and not all that there is."""
    special = set(tokenizer.all_special_ids)
    starts = word_starts(tokenizer, tokens)
    spans = zip(starts, [*starts[1:], len(tokens)], strict=True)
    return [
        (start, end)
        for start, end in spans
        if not special.intersection(tokens[start:end]) and end - start < len(tokens)
    ]


class Variants:
    """Rows of tokens as encoded columns give them, all of one label."""

    def __init__(self, rows: list[list[int]], label: int, pad: int) -> None:
        self.lengths = torch.tensor([len(row) for row in rows])
        self.tokens = torch.full((len(rows), int(self.lengths.max())), pad)
        for index, row in enumerate(rows):
            self.tokens[index, : len(row)] = torch.tensor(row)
        self.labels = torch.full((len(rows),), label)

    def __len__(self) -> int:
        return len(self.lengths)

    def batch(self, rows: torch.Tensor) -> "Batch":
        """Gather the rows with these numbers, int64 (B,)."""
        return {"input_ids": self.tokens[rows], "lengths": self.lengths[rows], "labels": self.labels[rows]}


def words_plots(influence: dict[int, dict[str, float]], names: list[str]) -> Iterator[Figure]:
    """Draw the words that speak most for each class with their sentence, where there is one that does."""
    chosen: dict[str, list[tuple[str, float]]] = {}
    for label, words in sorted(influence.items())[:CLASSES_SHOWN]:
        strongest = sorted(words.items(), key=lambda pair: -pair[1])[:WORDS_SHOWN]
        if speaking := [pair for pair in strongest if pair[1] > 0]:
            chosen[names[label]] = speaking
    if chosen:
        yield Figure(
            name="indicative_words",
            caption="Words that speak most for each class: how much the log probability of the true class falls "
            f"without the word, mean over up to {OCCLUDED_ROWS} test texts (words seen once count half).",
            figure=words_figure(chosen),
        )


@house_style()
def words_figure(words_of_classes: dict[str, list[tuple[str, float]]]) -> Any:
    """Draw the words of each class and their influence in nats as bars."""
    ncols = min(3, len(words_of_classes))
    nrows = math.ceil(len(words_of_classes) / ncols)
    figure, grid = new_figure(2.6 * max(ncols, 2), 2.2 * nrows, nrows, ncols, squeeze=False, sharex=True)
    for axes in grid.flat[len(words_of_classes) :]:
        axes.axis("off")
    for axes, (name, words) in zip(grid.flat, words_of_classes.items(), strict=False):
        labels = [shorten(word).replace("$", r"\$") for word, _ in words]
        axes.barh(np.arange(len(words)), [value for _, value in words], color=BLUE)
        axes.set_yticks(np.arange(len(words)), labels)
        axes.invert_yaxis()
        axes.set_title(shorten(name))
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x")
    for axes in grid[-1]:
        axes.set_xlabel("nats")
    return figure
