"""What all inputs of text have in common: the options of a tokenizer, and the tokenizer as their processor."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from ...fields import option
from ..contract.parts import FittedInput, Input
from .text_columns import ROWS_AT_ONCE, missing_texts, text_pieces
from .tokenizers import (
    BYTES,
    UNDERSTANDING_TOKENS,
    load_tokenizer,
    pattern_tokens,
    tokenizer_key,
    train_tokenizer,
    vocabulary_size,
)

if TYPE_CHECKING:
    import datasets
    import torch
    from transformers import PreTrainedTokenizerBase as Tokenizer

    from ..contract.types import Batch

LARGEST_LENGTH = 10**6  # a tokenizer of the Hub that states no limit says 1e30
GOLDEN_LENGTH = 16  # tokens of a golden row at most


@dataclass(kw_only=True)
class TokenizedInput(Input):
    """Holds the options of reading text with a tokenizer."""

    decided_fields: ClassVar[tuple[str, ...]] = ("vocab_size", "pad_token_id")

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

    def texts(self, train: "datasets.Dataset", columns: list[str]) -> Iterator[str]:
        """Give every text of the columns, for the tokenizer's training."""
        for rows in train.select_columns(columns).iter(batch_size=ROWS_AT_ONCE):
            for values in rows.values():
                yield from (piece for value in values if isinstance(value, str) for piece in text_pieces(value))

    def unreadable(
        self, dataset: "datasets.Dataset", columns: list[str], targets: Sequence[str] = ()
    ) -> dict[int, str]:
        """Find the rows without a text, with the reason."""
        return missing_texts(dataset, columns)

    def longest(self, train: "datasets.Dataset", columns: list[str], tokenizer: "Tokenizer") -> int:
        """Return the tokens of the longest input, which a new tokenizer states as its `model_max_length`."""
        raise NotImplementedError

    def check_tokenizer(self, tokenizer: "Tokenizer", path: str | None = None) -> "Tokenizer":
        """Refuse a tokenizer that this input cannot use, by HubmodelsError; `path` is where it came from."""
        return tokenizer

    def fit_tokenizer(self, train: "datasets.Dataset", columns: list[str]) -> "Tokenizer":
        """Train a tokenizer on the training texts, or load the named one; it states the longest input's length."""
        if self.tokenizer in ("characters", "bpe"):
            texts = self.texts(train, columns)
            tokenizer = train_tokenizer(self.tokenizer, texts, self.special_tokens, self.vocab_size)
            self.check_tokenizer(tokenizer)
        else:
            tokenizer = self.load_tokenizer(self.tokenizer)
        if tokenizer.model_max_length > LARGEST_LENGTH:
            tokenizer.model_max_length = self.longest(train, columns, tokenizer)
        return tokenizer

    def load_tokenizer(self, path: str, **kwargs: Any) -> "Tokenizer":
        """Load a tokenizer whose vocabulary stays, since a network may have been built for it."""
        return self.check_tokenizer(load_tokenizer(path, **kwargs), path)

    def fit(self, train: "datasets.Dataset", columns: list[str]) -> "FittedInput[Any]":
        """Fit the tokenizer to the training texts (see `fit_tokenizer`)."""
        return self.bind(self.fit_tokenizer(train, columns))

    def load(self, path: str, **kwargs: Any) -> "FittedInput[Any]":
        """Take the tokenizer of a checkpoint."""
        return self.bind(self.load_tokenizer(path, **kwargs))


OptionsT = TypeVar("OptionsT", bound=TokenizedInput)


@dataclass(kw_only=True)
class FittedTokenized(FittedInput[OptionsT]):
    """Text with its tokenizer."""

    @property
    def tokenizer(self) -> "Tokenizer":
        """Return the processor: it splits texts into tokens."""
        return self.processor

    def config_fields(self) -> dict[str, Any]:
        """Return `vocab_size` and `pad_token_id`, as the tokenizer has them."""
        return {"vocab_size": vocabulary_size(self.tokenizer), "pad_token_id": self.tokenizer.pad_token_id}

    def cache_key(self) -> str:
        """Return a hash of everything that decides how the tokenizer splits a text."""
        return tokenizer_key(self.tokenizer)

    def golden_inputs(self) -> "Batch":
        """Return two fixed rows of token numbers, the second one padded."""
        import torch

        length = min(self.tokenizer.model_max_length, GOLDEN_LENGTH)
        tokens = pattern_tokens(length, vocabulary_size(self.tokenizer))
        mask = torch.ones_like(tokens)
        mask[1, -(length // 2) :] = 0
        return {"input_ids": tokens.masked_fill(mask == 0, self.tokenizer.pad_token_id), "attention_mask": mask}


def attention_mask(lengths: "torch.Tensor", longest: int) -> "torch.Tensor":
    """Return 1 where a row has a token and 0 where it is padding, (B, longest) int64, from its length (B,)."""
    import torch

    return (torch.arange(longest, device=lengths.device) < lengths[:, None]).long()
