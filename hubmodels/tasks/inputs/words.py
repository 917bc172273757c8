"""Sentences of words: one a row, stored as token numbers of one length.

A sentence is its words with a blank between them, tokenized as any other text, so that a model takes running text too.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...errors import BadRow, HubmodelsError
from ...fields import option
from ..contract.columns import choose_column, describe_columns, existing_column, kind_of
from .text_columns import TEXT_TYPES
from .tokenized import ROWS_AT_ONCE, FittedTokenized, TokenizedInput, attention_mask
from .tokenizers import tokenize

if TYPE_CHECKING:
    import datasets
    import numpy as np
    import torch
    from transformers import PreTrainedTokenizerBase as Tokenizer

    from ..contract.types import Batch, RawRows, Rows, Transform

MAX_LENGTH = 512  # tokens of the longest training sentence that are kept without --max_length
SHORTEST = 3  # one token between two special ones
WORD_NAMES = ("tokens", "words", "sentence", "text")


@dataclass(kw_only=True)
class Words(TokenizedInput):
    """Holds the options of reading sentences of words."""

    max_length: int | None = option(
        None, "tokens of a sentence, longer ones are cut; when absent the longest training sentence's, 512 at most"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_length is not None and self.max_length < SHORTEST:
            raise ValueError(f"max_length must be at least {SHORTEST}, got {self.max_length}")

    def claims(self, features: "datasets.Features") -> list[str]:
        """Name the chosen column; any other list of texts may be the tags."""
        if self.text_column_name is None:
            return []
        return [existing_column(self.text_column_name, features, "text_column_name")]

    def columns(self, features: "datasets.Features", targets: list[str]) -> list[str]:
        """Name the column of words: the chosen one, else the only one of lists of texts, else by a usual name."""
        return [word_column(features, self.text_column_name, targets)]

    def unreadable(
        self, dataset: "datasets.Dataset", columns: list[str], targets: Sequence[str] = ()
    ) -> dict[int, str]:
        """Find the rows without a list of words, with the reason."""
        (column,) = columns
        reasons: dict[int, str] = {}
        first_row = 0
        for rows in dataset.select_columns(columns).iter(batch_size=ROWS_AT_ONCE):
            for row, words in enumerate(rows[column], first_row):
                if not words:
                    reasons[row] = f"there are no words in column {column!r}"
            first_row += len(rows[column])
        return reasons

    def texts(self, train: "datasets.Dataset", columns: list[str]) -> Iterator[str]:
        """Give every sentence as a text."""
        (column,) = columns
        for rows in train.select_columns(columns).iter(batch_size=ROWS_AT_ONCE):
            yield from (" ".join(word or "" for word in words) for words in rows[column] if words)

    def longest(self, train: "datasets.Dataset", columns: list[str], tokenizer: "Tokenizer") -> int:
        """Return the tokens of the longest training sentence, at most 512, where the options do not say them."""
        if self.max_length is not None:
            return self.max_length
        longest = SHORTEST
        for text in self.texts(train, columns):
            longest = max(longest, len(tokenize(tokenizer, [text])[0]))
            if longest >= MAX_LENGTH:
                return MAX_LENGTH
        return longest

    def check_tokenizer(self, tokenizer: "Tokenizer", path: str | None = None) -> "Tokenizer":
        """Refuse a tokenizer that does not say where its tokens stand."""
        if not tokenizer.is_fast:
            raise HubmodelsError(
                f"the tokenizer {type(tokenizer).__name__} does not say where its tokens stand in the text, which tags "
                f"need; choose another --tokenizer"
            )
        return tokenizer

    def load_tokenizer(self, path: str, **kwargs: Any) -> "Tokenizer":
        """Load a tokenizer; the options' length wins over its own."""
        tokenizer = super().load_tokenizer(path, **kwargs)
        if self.max_length is not None:
            tokenizer.model_max_length = self.max_length
        return tokenizer

    def bind(self, processor: Any) -> "FittedWords":
        """Take a tokenizer as it is."""
        return FittedWords(options=self, processor=processor)


@dataclass(kw_only=True)
class FittedWords(FittedTokenized[Words]):
    """Sentences of words with their tokenizer."""

    @property
    def length(self) -> int:
        """Count the tokens of an encoded sentence, padding included."""
        return self.tokenizer.model_max_length

    def encoded_features(self) -> dict[str, Any]:
        """Return the Arrow types of `input_ids` and `lengths`."""
        import datasets

        return {
            "input_ids": datasets.List(datasets.Value("int32"), length=self.length),
            "lengths": datasets.Value("int32"),
        }

    def encode(self, rows: "RawRows", row_numbers: list[int], columns: list[str]) -> "Rows":
        """Encode sentences to `input_ids` (B, length) padded on the right, and `lengths` (B,), both int32."""
        return self.encode_with_starts(rows, row_numbers, columns)[0]

    def encode_with_starts(
        self, rows: "RawRows", row_numbers: list[int], columns: list[str]
    ) -> "tuple[Rows, list[list[int | None]]]":
        """Encode sentences and say where their words begin.

        Returns:
            What `encode` gives, and of each sentence the number of each word's first token (see `first_tokens`).
        """
        import numpy as np

        (column,) = columns
        for words, number in zip(rows[column], row_numbers, strict=True):
            check_words(words, number, column)
        encoded = self.tokenizer(
            [" ".join(words) for words in rows[column]],
            truncation=True,
            max_length=self.length,
            return_offsets_mapping=True,
            return_attention_mask=False,
        )
        tokens_of_rows: list[list[int]] = encoded["input_ids"]
        input_ids = np.full((len(tokens_of_rows), self.length), self.tokenizer.pad_token_id, dtype=np.int32)
        for index, tokens in enumerate(tokens_of_rows):
            input_ids[index, : len(tokens)] = tokens
        lengths = np.array([len(tokens) for tokens in tokens_of_rows], dtype=np.int32)
        starts = [
            first_tokens(words, offsets) for words, offsets in zip(rows[column], encoded["offset_mapping"], strict=True)
        ]
        return {"input_ids": input_ids, "lengths": lengths}, starts

    def transform(self, *, training: bool) -> "Transform":
        """Return the cut to the longest sentence of a batch: `input_ids`, `attention_mask` (B, longest) int64.

        Other columns pass through."""

        def trim(batch: "Batch", generator: "torch.Generator | None" = None) -> "Batch":
            batch = dict(batch)
            lengths = batch.pop("lengths")
            longest = int(lengths.max())
            tokens = batch["input_ids"][:, :longest].long()
            return {**batch, "input_ids": tokens, "attention_mask": attention_mask(lengths, longest)}

        return trim

    def decode_words(self, tokens: "np.ndarray", starts: Sequence[int]) -> list[str]:
        """Read words again from the tokens of a row without padding (T,) and the first token of each word."""
        special = set(self.tokenizer.all_special_ids)
        spans = zip(starts, [*starts[1:], len(tokens)], strict=True)
        numbers = tokens.tolist()
        return [
            self.tokenizer.decode([number for number in numbers[start:end] if number not in special]).strip()
            for start, end in spans
        ]


def word_column(features: "datasets.Features", chosen: str | None, others: Sequence[str]) -> str:
    """Name the column of words (lists of text): the `chosen` one, else by type and usual name, not of the `others`.

    Raises:
        HubmodelsError: there is none, there are several, or the chosen one is of another type.
    """
    import datasets

    kinds = datasets.List | datasets.LargeList
    candidates = [
        name
        for name, feature in features.items()
        if isinstance(feature, kinds) and kind_of(feature.feature) in TEXT_TYPES and name not in others
    ]
    if chosen is not None:
        if existing_column(chosen, features, "text_column_name") not in candidates:
            raise HubmodelsError(f"column {chosen!r} holds no lists of words; choose another --text_column_name")
        return chosen
    if not candidates:
        raise HubmodelsError(
            f"the data set has no column of words (a list of texts); its columns are {describe_columns(features)}"
        )
    return choose_column(candidates, WORD_NAMES, "word", "text_column_name")


def check_words(words: list[Any] | None, row_number: int, column: str) -> None:
    """Refuse a row without words, or with an empty one, by BadRow."""
    if not words or not all(isinstance(word, str) and word.strip() for word in words):
        raise BadRow(row_number, column, "there are no words, or an empty one; drop such rows")


def first_tokens(words: Sequence[str], offsets: Sequence[tuple[int, int]]) -> list[int | None]:
    """Return the number of the first token of each word of " ".join(words), None where it was cut off.

    A token is of the word that its last character is of: byte-level ones begin at the blank before."""
    result: list[int | None] = []
    token, begin = 0, 0
    for word in words:
        end = begin + len(word)
        while token < len(offsets) and offsets[token][1] <= begin:  # special tokens stand at (0, 0)
            token += 1
        is_there = token < len(offsets) and offsets[token][1] <= end
        result.append(token if is_there else None)
        while token < len(offsets) and offsets[token][1] <= end:
            token += 1
        begin = end + 1
    return result
