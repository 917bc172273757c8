"""Texts: one a row, or a pair of them, stored as token numbers of one length."""

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...errors import HubmodelsError
from ...fields import option
from ...formatting import without_surrogates
from ...report import note
from ..contract.columns import kind_of
from .text_columns import TEXT_NAMES, TEXT_TYPES, check_texts, text_column
from .tokenized import ROWS_AT_ONCE, FittedTokenized, TokenizedInput, attention_mask
from .tokenizers import special_ids, tokenize, unknown_id

if TYPE_CHECKING:
    import datasets
    import numpy as np
    import pyarrow
    import torch
    from transformers import PreTrainedTokenizerBase as Tokenizer

    from ..contract.types import Batch, EncodedColumns, RawRows, Rows, Transform

MAX_LENGTH = 512  # tokens of the longest training text that are kept without --max_length
SHORTEST = 3  # one token between two special ones

CHARACTERS_A_TOKEN = 64  # at most, on average over the tokens of one text

logger = logging.getLogger("hubmodels")


def usable_length(num_tokens: int) -> int:
    """Return how many characters so many tokens may stand for, with a wide margin."""
    return max(100_000, CHARACTERS_A_TOKEN * (num_tokens + 1))


@dataclass(kw_only=True)
class Texts(TokenizedInput):
    """Holds the options of reading texts."""

    text_pair_column_name: str | None = option(None, "column of a second text beside the first; none when absent")
    text_column_names: list[str] | None = option(
        None, "columns of a text and of a second one beside it, [premise, hypothesis], in place of the two above"
    )
    max_length: int | None = option(
        None, "tokens of a text, longer ones are cut; when absent the longest training text's, 512 at most"
    )
    token_dropout: float = option(0.0, "augmentation: share of tokens made unknown, in [0, 1)")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.text_column_names is not None:
            if len(set(self.text_column_names)) != len(self.text_column_names) or len(self.text_column_names) > 2:
                raise ValueError(f"text_column_names must be one column or two, got {self.text_column_names}")
            if self.text_column_name is not None or self.text_pair_column_name is not None:
                raise ValueError(
                    "text_column_names stands for text_column_name and text_pair_column_name: give it alone"
                )
        if self.max_length is not None and self.max_length < SHORTEST:
            raise ValueError(f"max_length must be at least {SHORTEST}, got {self.max_length}")
        if not 0 <= self.token_dropout < 1:
            raise ValueError(f"token_dropout must be at least 0 and below 1, got {self.token_dropout}")

    @property
    def chosen(self) -> tuple[str | None, str | None]:
        """Return the columns of the text and of the second text that the options choose."""
        if self.text_column_names:
            return self.text_column_names[0], self.text_column_names[1] if len(self.text_column_names) > 1 else None
        return self.text_column_name, self.text_pair_column_name

    def claims(self, features: "datasets.Features") -> list[str]:
        """Name the columns that the options choose; any other text may be a class."""
        return [name for name in self.chosen if name is not None]

    def columns(self, features: "datasets.Features", targets: list[str]) -> list[str]:
        """Name the text, and the second text where one is chosen; say which texts are not read."""
        first, pair = self.chosen
        several = self.text_column_names is not None
        pair_flag = "text_column_names" if several else "text_pair_column_name"
        pairs = [] if pair is None else [text_column(features, pair, pair_flag)]
        others = {name: feature for name, feature in features.items() if name not in (*targets, *pairs)}
        flag = "text_column_names" if several else "text_column_name"
        text = text_column(features if first else others, first, flag)
        unread = [name for name, kind in others.items() if name != text and kind_of(kind) in TEXT_TYPES]
        if unread and first is None:
            words = f"The text is the column {text!r}; not read: {', '.join(map(repr, unread[:5]))}"
            note("columns", words + ", ..." * (len(unread) > 5), remedy=f"text_column_names: [{text}, {unread[0]}]")
        return [text, *pairs]

    def longest(self, train: "datasets.Dataset", columns: list[str], tokenizer: "Tokenizer") -> int:
        """Return the tokens of the longest training text, at most 512, where the options do not say them."""
        if self.max_length is not None:
            return self.max_length
        longest = SHORTEST
        for rows in train.select_columns(columns).iter(batch_size=ROWS_AT_ONCE):
            texts = [[(text or "")[: usable_length(MAX_LENGTH)] for text in rows[column]] for column in columns]
            longest = max(longest, *map(len, tokenize(tokenizer, *texts)))
            if longest >= MAX_LENGTH:
                return MAX_LENGTH
        return longest

    def load_tokenizer(self, path: str, **kwargs: Any) -> "Tokenizer":
        """Load a tokenizer; the options' length wins over its own."""
        tokenizer = super().load_tokenizer(path, **kwargs)
        if self.max_length is not None:
            tokenizer.model_max_length = self.max_length
        return tokenizer

    def bind(self, processor: Any) -> "FittedTexts":
        """Take a tokenizer as it is."""
        return FittedTexts(options=self, processor=processor)


@dataclass(kw_only=True)
class FittedTexts(FittedTokenized[Texts]):
    """Texts with their tokenizer."""

    single = "text"

    @property
    def has_segments(self) -> bool:
        """Tell whether rows are pairs, and the tokenizer says which token is of which text, as BERT's does."""
        return self.options.chosen[1] is not None and "token_type_ids" in self.tokenizer.model_input_names

    def encoded_features(self) -> dict[str, Any]:
        """Return the Arrow types of `input_ids`, `lengths`, `is_cut` and, with segments, `second_start`."""
        import datasets

        return {
            "input_ids": datasets.List(datasets.Value("int32"), length=self.tokenizer.model_max_length),
            "lengths": datasets.Value("int32"),
            "is_cut": datasets.Value("bool"),
            **({"second_start": datasets.Value("int32")} if self.has_segments else {}),
        }

    def encode(self, rows: "RawRows", row_numbers: list[int], columns: list[str]) -> "Rows":
        """Encode texts to `input_ids` (B, model_max_length) padded on the right, `lengths` (B,) and `is_cut` (B,).

        A text without any token becomes one unknown token."""
        import numpy as np

        for name in columns:
            check_texts(rows[name], row_numbers, name)
        longest = self.tokenizer.model_max_length
        # Of a text of millions of characters, no more than can be among its first tokens.
        texts = [[text[: usable_length(longest)] for text in rows[name]] for name in columns]
        encoded = tokenize(self.tokenizer, *texts)
        is_cut = np.array([len(tokens) > longest for tokens in encoded])
        if is_cut.any():
            too_long = np.flatnonzero(is_cut).tolist()
            some = [[of_column[index] for index in too_long] for of_column in texts]
            cut = tokenize(self.tokenizer, *some, truncation=True, max_length=longest)
            for index, tokens in zip(too_long, cut, strict=True):
                encoded[index] = tokens
        input_ids = np.full((len(encoded), longest), self.tokenizer.pad_token_id, dtype=np.int32)
        for index, tokens in enumerate(encoded):
            encoded[index] = tokens = tokens or [unknown_id(self.tokenizer)]
            input_ids[index, : len(tokens)] = tokens
        lengths = np.array([len(tokens) for tokens in encoded], dtype=np.int32)
        columns_of_rows = {"input_ids": input_ids, "lengths": lengths, "is_cut": is_cut}
        if self.has_segments:
            columns_of_rows["second_start"] = self.second_starts(texts)
        return columns_of_rows

    def second_starts(self, texts: list[list[str]]) -> "np.ndarray":
        """Return the first token of the second text of each pair, (B,) int32."""
        import numpy as np

        pairs = [[without_surrogates(text) for text in of_column] for of_column in texts]
        options = {"truncation": True, "max_length": self.tokenizer.model_max_length, "return_token_type_ids": True}
        types = self.tokenizer(*pairs, **options)["token_type_ids"]
        return np.array([row.index(1) if 1 in row else len(row) for row in types], dtype=np.int32)

    def say_encoded(self, columns: "EncodedColumns", split: str) -> None:
        """Say how many texts of a split are cut."""
        self.say_cut(int(columns.tensor("is_cut").sum()), len(columns), f"{split} ")

    def say_cut(self, count: int, total: int, split: str = "") -> None:
        """Say how many texts are longer than the model reads, if any are."""
        if count:
            limit = self.tokenizer.model_max_length
            words = f"{count:,} of {total:,} {split}texts have more than {limit:,} tokens and are cut"
            note("rows", words, surprising=count > 0.1 * total, remedy=f"max_length: {2 * limit}")
            logger.warning("%s (--max_length)", words)

    def transform(self, *, training: bool) -> "Transform":
        """Return the cut to the longest text of a batch: `input_ids` and `attention_mask` (B, longest) int64.

        In training with token dropout (as Bowman et al. 2016, arXiv:1511.06349, section 3.1): a dropped token becomes
        the unknown one. Other columns pass through."""
        import torch

        special, unknown = special_ids(self.tokenizer), unknown_id(self.tokenizer)
        dropout = self.options.token_dropout if training else 0.0

        def trim(batch: "Batch", generator: "torch.Generator | None" = None) -> "Batch":
            batch = {name: values for name, values in batch.items() if name != "is_cut"}
            lengths = batch.pop("lengths")
            tokens = batch["input_ids"][:, : int(lengths.max())].long()
            mask = attention_mask(lengths, tokens.shape[1])
            if (second := batch.pop("second_start", None)) is not None:
                positions = torch.arange(tokens.shape[1], device=tokens.device)
                batch["token_type_ids"] = (positions >= second[:, None]).long() * mask
            if dropout:
                drawn = torch.rand(tokens.shape, generator=generator, device=tokens.device) < dropout
                tokens = tokens.masked_fill(drawn & ~torch.isin(tokens, special.to(tokens.device)), unknown)
            return {**batch, "input_ids": tokens, "attention_mask": mask}

        return trim

    def input_columns(self) -> list[str]:
        """Name the chosen columns, or all usual ones."""
        first, pair = self.options.chosen
        return [*([first] if first else TEXT_NAMES), *([pair] if pair else [])]

    def encode_inputs(self, table: "pyarrow.Table", row_numbers: list[int]) -> "Rows":
        """Encode the columns that the options name, or one with a usual name."""
        first, pair = self.options.chosen
        usual = [name for name in TEXT_NAMES if name in table.column_names and name != pair]
        names = [first or (usual or TEXT_NAMES)[0], *([pair] if pair else [])]
        for name in names:
            if name not in table.column_names:
                raise HubmodelsError(f"there is no column of text {name!r} among {', '.join(table.column_names)}")
        encoded = self.encode({name: table.column(name).to_pylist() for name in names}, list(row_numbers), names)
        self.say_cut(int(encoded["is_cut"].sum()), len(row_numbers))
        return encoded

    def decode(self, columns: "EncodedColumns", rows: "np.ndarray") -> list[str]:
        """Read the texts of encoded rows again, as far as the network sees them: special tokens become blanks."""
        import re

        import torch

        tokenizer = self.tokenizer
        special = re.compile("|".join(map(re.escape, sorted(tokenizer.all_special_tokens, key=len, reverse=True))))
        texts = []
        for numbers in torch.from_numpy(rows).split(ROWS_AT_ONCE):
            batch = columns.batch(numbers)
            for tokens, length in zip(batch["input_ids"], batch["lengths"].tolist(), strict=True):
                texts.append(special.sub(" ", tokenizer.decode(tokens[:length])))
        return texts
