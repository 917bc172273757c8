"""Texts: one a row, or a pair of them, stored as token numbers of one length."""

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...errors import HubmodelsError
from ...fields import option
from .text_columns import TEXT_NAMES, check_texts, text_column
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

logger = logging.getLogger("hubmodels")


@dataclass(kw_only=True)
class Texts(TokenizedInput):
    """Holds the options of reading texts."""

    text_pair_column_name: str | None = option(None, "column of a second text beside the first; none when absent")
    max_length: int | None = option(
        None, "tokens of a text, longer ones are cut; when absent the longest training text's, 512 at most"
    )
    token_dropout: float = option(0.0, "augmentation: share of tokens made unknown, in [0, 1)")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_length is not None and self.max_length < SHORTEST:
            raise ValueError(f"max_length must be at least {SHORTEST}, got {self.max_length}")
        if not 0 <= self.token_dropout < 1:
            raise ValueError(f"token_dropout must be at least 0 and below 1, got {self.token_dropout}")

    def claims(self, features: "datasets.Features") -> list[str]:
        """Name the columns that the options choose; any other text may be a class."""
        return [name for name in (self.text_column_name, self.text_pair_column_name) if name is not None]

    def columns(self, features: "datasets.Features", targets: list[str]) -> list[str]:
        """Name the text, and the second text where one is chosen."""
        pair = self.text_pair_column_name
        pairs = [] if pair is None else [text_column(features, pair, "text_pair_column_name")]
        others = {name: feature for name, feature in features.items() if name not in (*targets, *pairs)}
        return [text_column(features if self.text_column_name else others, self.text_column_name), *pairs]

    def longest(self, train: "datasets.Dataset", columns: list[str], tokenizer: "Tokenizer") -> int:
        """Return the tokens of the longest training text, at most 512, where the options do not say them."""
        if self.max_length is not None:
            return self.max_length
        longest = SHORTEST
        for rows in train.select_columns(columns).iter(batch_size=ROWS_AT_ONCE):
            texts = [[text or "" for text in rows[column]] for column in columns]
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

    def encoded_features(self) -> dict[str, Any]:
        """Return the Arrow types of `input_ids` and `lengths`."""
        import datasets

        return {
            "input_ids": datasets.List(datasets.Value("int32"), length=self.tokenizer.model_max_length),
            "lengths": datasets.Value("int32"),
        }

    def encode(self, rows: "RawRows", row_numbers: list[int], columns: list[str]) -> "Rows":
        """Encode texts to `input_ids` (B, model_max_length) padded on the right, and `lengths` (B,), both int32."""
        import numpy as np

        for name in columns:
            check_texts(rows[name], row_numbers, name)
        longest = self.tokenizer.model_max_length
        encoded = tokenize(self.tokenizer, *(rows[name] for name in columns))
        too_long = [index for index, tokens in enumerate(encoded) if len(tokens) > longest]
        if too_long:
            texts = [[rows[name][index] for index in too_long] for name in columns]
            cut = tokenize(self.tokenizer, *texts, truncation=True, max_length=longest)
            for index, tokens in zip(too_long, cut, strict=True):
                encoded[index] = tokens
            logger.warning(
                "%d of %d texts have more than %d tokens and are cut (--max_length)",
                len(too_long), len(encoded), longest,
            )  # fmt: skip
        input_ids = np.full((len(encoded), longest), self.tokenizer.pad_token_id, dtype=np.int32)
        for index, tokens in enumerate(encoded):
            input_ids[index, : len(tokens)] = tokens
        return {"input_ids": input_ids, "lengths": np.array([len(tokens) for tokens in encoded], dtype=np.int32)}

    def transform(self, *, training: bool) -> "Transform":
        """Return the cut to the longest text of a batch: `input_ids` and `attention_mask` (B, longest) int64.

        In training with token dropout (as Bowman et al. 2016, arXiv:1511.06349, section 3.1): a dropped token becomes
        the unknown one. Other columns pass through."""
        import torch

        special, unknown = special_ids(self.tokenizer), unknown_id(self.tokenizer)
        dropout = self.options.token_dropout if training else 0.0

        def trim(batch: "Batch", generator: "torch.Generator | None" = None) -> "Batch":
            batch = dict(batch)
            lengths = batch.pop("lengths")
            tokens = batch["input_ids"][:, : int(lengths.max())].long()
            mask = attention_mask(lengths, tokens.shape[1])
            if dropout:
                drawn = torch.rand(tokens.shape, generator=generator, device=tokens.device) < dropout
                tokens = tokens.masked_fill(drawn & ~torch.isin(tokens, special.to(tokens.device)), unknown)
            return {**batch, "input_ids": tokens, "attention_mask": mask}

        return trim

    def input_columns(self) -> list[str]:
        """Name the chosen columns, or all usual ones."""
        pair = self.options.text_pair_column_name
        chosen = self.options.text_column_name
        return [*([chosen] if chosen else TEXT_NAMES), *([pair] if pair else [])]

    def encode_inputs(self, table: "pyarrow.Table", row_numbers: list[int]) -> "Rows":
        """Encode the columns that the options name, or one with a usual name."""
        pair = [self.options.text_pair_column_name] if self.options.text_pair_column_name else []
        usual = [name for name in TEXT_NAMES if name in table.column_names and name not in pair]
        names = [self.options.text_column_name or (usual or TEXT_NAMES)[0], *pair]
        for name in names:
            if name not in table.column_names:
                raise HubmodelsError(f"there is no column of text {name!r} among {', '.join(table.column_names)}")
        return self.encode({name: table.column(name).to_pylist() for name in names}, list(row_numbers), names)

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
