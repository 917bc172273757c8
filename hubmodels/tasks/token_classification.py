"""Token classification: the words of a sentence and a tag for each (names, parts of speech).

The first token of a word carries its tag; the others have none (label -100).
"""

import logging
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from ..fields import part
from ..report import Baseline
from .contract.problem import Problem, Task
from .contract.weights import column_weights
from .inputs.words import FittedWords, Words
from .targets.tags import NO_LABEL, FittedTags, Tags

if TYPE_CHECKING:
    import datasets
    import torch

    from .contract.types import Batch, EncodedColumns, RawRows, Rows, Transform

ROWS_AT_ONCE = 1_000

logger = logging.getLogger("hubmodels")


class TokenClassificationProblem(Problem["TokenClassification", FittedWords, FittedTags]):
    """Sentences whose words have tags."""

    def encoded_features(self) -> "datasets.Features":
        """Return the Arrow types of the input's columns and of `labels`, one a token."""
        import datasets

        features = super().encoded_features()
        features["labels"] = datasets.List(datasets.Value("int32"), length=self.input.length)
        return features

    def encode(self, rows: "RawRows", row_numbers: list[int], features: "datasets.Features") -> "Rows":
        """Encode sentences, and `labels` (B, length) int32 at the first token of each word."""
        import numpy as np

        inputs, (tags,) = self.task.columns(features)
        encoded, starts = self.input.encode_with_starts(rows, row_numbers, inputs)
        numbers = self.target.number_tags(rows, row_numbers, tags, features, words=inputs[0])
        labels = np.full(encoded["input_ids"].shape, NO_LABEL, dtype=np.int32)
        num_lost = 0
        for row, (firsts, of_words) in enumerate(zip(starts, numbers, strict=True)):
            with_token = [index for index, first in enumerate(firsts) if first is not None]
            labels[row, [firsts[index] for index in with_token]] = of_words[with_token]
            num_lost += len(firsts) - len(with_token)
        if num_lost:
            logger.warning(
                "%d of %d words have no token of their own or lie beyond %d tokens: their tags are not used "
                "(--max_length)", num_lost, sum(map(len, starts)), self.input.length,
            )  # fmt: skip
        return {**encoded, "labels": labels, **self.encode_weights(rows, row_numbers)}

    def transform(self, *, training: bool) -> "Transform":
        """Return the cut to the longest sentence of a batch, labels included."""
        trim = self.input.transform(training=training)

        def trim_all(batch: "Batch", generator: "torch.Generator | None" = None) -> "Batch":
            batch = trim(batch, generator)
            return {**batch, "labels": batch["labels"][:, : batch["input_ids"].shape[1]].long()}

        return trim_all

    def read_sentences(self, columns: "EncodedColumns") -> list[tuple[list[str], list[int]]]:
        """Read the words of encoded rows again, as far as they have a label, and their labels."""
        import torch

        sentences = []
        for numbers in torch.arange(len(columns)).split(ROWS_AT_ONCE):
            batch = columns.batch(numbers)
            for tokens, labels, length in zip(
                *(batch[name] for name in ("input_ids", "labels", "lengths")), strict=True
            ):
                starts = (labels[:length] != NO_LABEL).nonzero()[:, 0].tolist()
                words = self.input.decode_words(tokens[:length].numpy(), starts)
                sentences.append((words, labels[starts].tolist()))
        return sentences

    def baseline(self, train: "EncodedColumns", test: "EncodedColumns") -> Baseline:
        """Fit logistic regression on a word and its neighbours; beside it stands each word's most frequent tag."""
        from .baselines.tags import tags_baseline
        from .targets.tag_rows import tag_rows

        started = time.perf_counter()
        sentences, test_sentences = self.read_sentences(train), self.read_sentences(test)
        seconds, names = time.perf_counter() - started, self.target.names
        weights = column_weights(train)
        baseline = tags_baseline(
            sentences, test_sentences, len(names), partial(tag_rows, tags=names), self.seed,
            None if weights is None else weights.tolist(),
        )  # fmt: skip
        for either in (baseline, *baseline.others):
            either.seconds += seconds
        return baseline


@dataclass(kw_only=True)
class TokenClassification(Task):
    """A sentence of words, a tag for each word."""

    tag: ClassVar[str] = "token-classification"
    head: ClassVar[str] = "ForTokenClassification"
    problem_class: ClassVar[type[Problem]] = TokenClassificationProblem
    requires: ClassVar[tuple[str, ...]] = ("vocab_size",)

    input: Words = part(Words)
    target: Tags = part(Tags)

    def example(self) -> str:
        """Return lines that use transformers' own pipeline."""
        return (
            "import hubmodels  # makes transformers know the family\n"
            "from transformers import pipeline\n"
            "\n"
            "# The first token of a word decides, as in training.\n"
            'tag = pipeline("token-classification", model="{model_id}", aggregation_strategy="first")\n'
            'print(tag("Ada Lovelace was born in London"))  # [{"entity_group": ..., "word": ..., "score": ...}, ...]\n'
        )
