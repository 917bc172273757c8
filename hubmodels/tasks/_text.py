"""What text tasks share that are not bound yet; the rest is in `inputs/`."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ..fields import option
from ._unbound import Task
from .inputs.text_columns import TEXT_NAMES, TEXT_TYPES, check_texts, text_column
from .inputs.tokenizers import (
    BYTES,
    GENERATION_TOKENS,
    UNDERSTANDING_TOKENS,
    load_tokenizer,
    token_characters,
    tokenize,
    tokenizer_key,
    train_tokenizer,
    vocabulary_size,
    word_starts,
)

if TYPE_CHECKING:
    import datasets

    from ._unbound import Batch

__all__ = [
    "GENERATION_TOKENS",
    "TEXT_NAMES",
    "TEXT_TYPES",
    "UNDERSTANDING_TOKENS",
    "TextTask",
    "check_texts",
    "load_tokenizer",
    "text_column",
    "token_characters",
    "tokenize",
    "tokenizer_key",
    "train_tokenizer",
    "vocabulary_size",
    "word_starts",
]

LARGEST_LENGTH = 10**6  # a tokenizer of the Hub that states no limit says 1e30
SAMPLE = 1_000  # rows read at once


@dataclass(kw_only=True)
class TextTask(Task):
    """A task whose input is text: its processor is a tokenizer."""

    special_tokens: ClassVar[dict[str, str]] = UNDERSTANDING_TOKENS

    text_column_name: str | None = option(None, "column of the text; the only text column when absent")
    tokenizer: str = option("bpe", "characters, bpe (byte-level, trained here), or a tokenizer's Hub id or folder")
    vocab_size: int | None = option(
        None, "tokens that a tokenizer trained here has at most; 4,096 of bpe and all characters when absent"
    )

    def __post_init__(self) -> None:
        smallest = BYTES if self.tokenizer == "bpe" else 1
        smallest += len(set(self.special_tokens.values()))
        if self.vocab_size is not None and self.vocab_size < smallest:
            raise ValueError(
                f"vocab_size must be at least {smallest} for the tokenizer {self.tokenizer!r} with its special tokens, "
                f"got {self.vocab_size}"
            )

    # ---------------------------------------------------------------- tokenizer

    def longest(self, train: "datasets.Dataset", tokenizer: Any) -> int:
        """The tokens of the longest input, which a new tokenizer states as its `model_max_length`."""
        raise NotImplementedError

    def texts(self, train: "datasets.Dataset") -> Iterator[str]:
        """Every text of the selected rows, for the tokenizer's training."""
        for rows in train.iter(batch_size=SAMPLE):
            for column in rows.values():
                yield from (value for value in column if isinstance(value, str))

    def fit_processor(self, train: "datasets.Dataset") -> Any:
        """A tokenizer trained on the training texts, or the named one of the Hub."""
        if self.tokenizer in ("characters", "bpe"):
            tokenizer = train_tokenizer(self.tokenizer, self.texts(train), self.special_tokens, self.vocab_size)
        else:
            tokenizer = self.load_processor(self.tokenizer)
        if tokenizer.model_max_length > LARGEST_LENGTH:
            tokenizer.model_max_length = self.longest(train, tokenizer)
        return tokenizer

    def load_processor(self, path: str, **kwargs: Any) -> Any:
        """The tokenizer of a checkpoint; its vocabulary stays, since the network was built for it."""
        return load_tokenizer(path, **kwargs)

    def processor_key(self, processor: Any) -> Any:
        """A hash of everything that decides how the tokenizer splits a text."""
        return tokenizer_key(processor)

    def golden_inputs(self, processor: Any, config_values: dict[str, Any]) -> "Batch":
        """Two fixed rows of token numbers, the second one padded."""
        import torch

        length = min(processor.model_max_length, 16)
        numbers = torch.arange(2 * length)
        tokens = (numbers * numbers // 7 % config_values["vocab_size"]).view(2, length)
        mask = torch.ones_like(tokens)
        mask[1, -(length // 2) :] = 0
        return {"input_ids": tokens.masked_fill(mask == 0, processor.pad_token_id), "attention_mask": mask}
