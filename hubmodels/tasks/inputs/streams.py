"""Streams of tokens: the texts of all rows one after another, cut into windows, so that no position is padding."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from ...errors import HubmodelsError
from ...fields import option
from .text_columns import check_texts, text_column, text_groups, text_pieces
from .tokenized import FittedTokenized, TokenizedInput
from .tokenizers import GENERATION_TOKENS, pattern_tokens, token_characters, tokenize, vocabulary_size

if TYPE_CHECKING:
    import datasets
    import torch
    from transformers import PreTrainedTokenizerBase as Tokenizer

    from ..contract.types import Batch, EncodedColumns, RawRows, Rows, Transform

GOLDEN_LENGTH = 32  # tokens of a golden row at most


@dataclass(kw_only=True)
class TokenStream(TokenizedInput):
    """Holds the options of reading texts as one stream of tokens."""

    decided_fields: ClassVar[tuple[str, ...]] = (*TokenizedInput.decided_fields, "bos_token_id", "eos_token_id")

    overlap: ClassVar[int] = 0  # tokens that a window shares with the next one, and has beyond `context_length`

    context_length: int = option(256, "tokens that the model reads at once in training, >= 1")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.context_length < 1:
            raise ValueError(f"context_length must be at least 1, got {self.context_length}")

    def columns(self, features: "datasets.Features", targets: list[str]) -> list[str]:
        """Name the column of the text."""
        return [text_column(features, self.text_column_name)]

    def longest(self, train: "datasets.Dataset", columns: list[str], tokenizer: "Tokenizer") -> int:
        """Return the tokens of a window."""
        return self.context_length


@dataclass(kw_only=True)
class ContinuedTexts(TokenStream):
    """Texts that go on: windows share one token, so that each token but the first follows those before it once."""

    special_tokens: ClassVar[dict[str, str]] = GENERATION_TOKENS
    overlap: ClassVar[int] = 1

    def bind(self, processor: Any) -> "FittedContinuedTexts":
        """Take a tokenizer as it is."""
        return FittedContinuedTexts(options=self, processor=processor)


@dataclass(kw_only=True)
class EnclosedTexts(TokenStream):
    """Texts, each between special tokens: windows share no token."""

    def check_tokenizer(self, tokenizer: "Tokenizer", path: str | None = None) -> "Tokenizer":
        """Refuse a tokenizer without a token that hides others."""
        if tokenizer.mask_token_id is None:
            raise HubmodelsError(f"the tokenizer at {path} has no mask token, which fill-mask needs; choose another")
        return tokenizer

    def bind(self, processor: Any) -> "FittedEnclosedTexts":
        """Take a tokenizer as it is."""
        return FittedEnclosedTexts(options=self, processor=processor)


StreamT = TypeVar("StreamT", bound=TokenStream)


@dataclass(kw_only=True)
class FittedStream(FittedTokenized[StreamT]):
    """A stream with its tokenizer. Encoded it is `input_ids`, one number a token."""

    def pack(self, texts: list[str]) -> Iterator[list[int]]:
        """Give the tokens of the texts with what stands between texts; an empty text has none."""
        raise NotImplementedError

    def config_fields(self) -> dict[str, Any]:
        """Return the size of the vocabulary and the numbers of special tokens, as the tokenizer has them."""
        tokenizer = self.tokenizer
        return {
            **super().config_fields(),
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
        }

    def encoded_features(self) -> dict[str, Any]:
        """Return the Arrow type of `input_ids`."""
        import datasets

        return {"input_ids": datasets.Value("int32")}

    def encode(self, rows: "RawRows", row_numbers: list[int], columns: list[str]) -> "Rows":
        """Encode the tokens of all rows, one after another, `input_ids` (N,) int32."""
        import numpy as np

        (column,) = columns
        check_texts(rows[column], row_numbers, column)
        tokens = [
            np.array(tokens, dtype=np.int32) for group in text_groups(rows[column]) for tokens in self.pack(group)
        ]
        return {"input_ids": np.concatenate(tokens) if tokens else np.empty(0, dtype=np.int32)}

    def windows(self, columns: "EncodedColumns") -> "tuple[torch.Tensor, int]":
        """Return the first token of each window, int64 (W,), and the tokens in a window.

        Less than a window at the end of the stream is left out. So is an end-of-text token at the very end, which
        separates nothing, where windows predict what follows."""
        import torch

        overlap, context = self.options.overlap, self.options.context_length
        count = 0
        if len(columns):
            tokens = columns.tensor("input_ids")
            count = len(tokens) - int(overlap > 0 and int(tokens[-1]) == self.tokenizer.eos_token_id)
        num_windows = (count - overlap) // context
        if num_windows < 1:
            raise HubmodelsError(
                f"a split has only {count:,} tokens, fewer than the {context + overlap} of a window; "
                f"give more text or a smaller --context_length"
            )
        return torch.arange(num_windows) * context, context + overlap

    def transform(self, *, training: bool) -> "Transform":
        """Return the widening of `input_ids` (B, L) to int64."""

        def widen(batch: "Batch", generator: "torch.Generator | None" = None) -> "Batch":
            return {**batch, "input_ids": batch["input_ids"].long()}

        return widen

    def golden_inputs(self) -> "Batch":
        """Return two fixed rows of token numbers."""
        length = min(self.options.context_length, GOLDEN_LENGTH)
        return {"input_ids": pattern_tokens(length, vocabulary_size(self.tokenizer))}


@dataclass(kw_only=True)
class FittedContinuedTexts(FittedStream[ContinuedTexts]):
    """Texts that go on, with their tokenizer."""

    @cached_property
    def characters(self) -> "torch.Tensor":
        """Count the characters of text that each token stands for, (V,) int64."""
        import torch

        return torch.tensor(token_characters(self.tokenizer))

    def pack(self, texts: list[str]) -> Iterator[list[int]]:
        """Give the tokens of each text, of a very long one piece by piece, the end-of-text token behind it.

        Not behind a text that ends in a line break: it is a line of a text that goes on in the next row."""
        end = self.tokenizer.eos_token_id
        if end is None:
            raise HubmodelsError(
                "the tokenizer has no end-of-text token to stand between texts; choose another --tokenizer"
            )
        pieces = [(text, list(text_pieces(text))) for text in texts]
        if all(len(some) == 1 for _, some in pieces):
            encoded = tokenize(self.tokenizer, texts, add_special_tokens=False)
            ends = [[end] if text and not text.endswith("\n") else [] for text in texts]
            yield from (tokens + behind for tokens, behind in zip(encoded, ends, strict=True))
            return
        for text, some in pieces:
            for piece in some:
                yield from tokenize(self.tokenizer, [piece], add_special_tokens=False)
            if text and not text.endswith("\n"):
                yield [end]


@dataclass(kw_only=True)
class FittedEnclosedTexts(FittedStream[EnclosedTexts]):
    """Texts between special tokens, with their tokenizer."""

    def pack(self, texts: list[str]) -> Iterator[list[int]]:
        """Give the tokens of each text between the tokenizer's own special tokens (`<s>` and `</s>`)."""
        yield from tokenize(self.tokenizer, [text for text in texts if text])

    def golden_inputs(self) -> "Batch":
        """Return two fixed rows of token numbers, every fifth one masked."""
        batch = super().golden_inputs()
        batch["input_ids"][:, ::5] = self.tokenizer.mask_token_id
        return batch
