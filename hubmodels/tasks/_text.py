"""What text tasks share: finding the text, and tokenizers that plain `AutoTokenizer` loads."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import HubmodelsError
from ..fields import option
from ._unbound import Task
from .contract.columns import choose_column, describe_columns, existing_column, kind_of

if TYPE_CHECKING:
    import datasets

    from ._unbound import Batch

TEXT_NAMES = ("text", "sentence", "content", "document", "review", "tweet", "question", "premise", "sentence1", "line")
TEXT_TYPES = ("string", "large_string")
BPE_VOCAB_SIZE = 4_096
BYTES = 256  # tokens that a byte-level tokenizer has at least
# A tokenizer of the Hub that states no limit says 1e30.
LARGEST_LENGTH = 10**6
SAMPLE = 1_000  # rows read at once
NO_TEXT = "the training texts hold no character; choose another --text_column_name"

# What stands around and between texts: a language model continues one, the others take one or a pair as a whole.
GENERATION_TOKENS = {
    "pad_token": "<pad>",
    "unk_token": "<unk>",
    "bos_token": "<|endoftext|>",
    "eos_token": "<|endoftext|>",
}
UNDERSTANDING_TOKENS = {
    "pad_token": "<pad>",
    "unk_token": "<unk>",
    "bos_token": "<s>",
    "eos_token": "</s>",
    "cls_token": "<s>",
    "sep_token": "</s>",
    "mask_token": "<mask>",
}


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


def train_tokenizer(kind: str, texts: Iterable[str], special_tokens: dict[str, str], vocab_size: int | None) -> Any:
    """A tokenizer fitted to texts, as a stock class of transformers.

    `characters`: every character that occurs is a token, in code-point order after the special tokens; decoding gives
    the very text. `bpe`: byte-level byte-pair encoding as GPT-2's (Sennrich et al. 2016, arXiv:1508.07909); no text is
    unknown to it and decoding gives the very text. With a `cls_token` texts are enclosed in it and the `sep_token`.

    Args:
        kind: `characters` or `bpe`.
        texts: the training texts.
        special_tokens: role (`pad_token`, ...) -> token; their numbers are the first.
        vocab_size: tokens at most, special ones included; None for all characters, 4,096 for bpe.

    Raises:
        HubmodelsError: there is no text.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    special = list(dict.fromkeys(special_tokens.values()))
    if kind == "characters":
        counts: Counter = Counter()
        for text in texts:
            counts.update(text)
        if not counts:
            raise HubmodelsError(NO_TEXT)
        kept = len(counts) if vocab_size is None else vocab_size - len(special)
        # The most frequent ones; of equally frequent ones the first in the order of their code points.
        found = sorted(sorted(counts, key=lambda character: (-counts[character], character))[:kept])
        vocabulary = {token: number for number, token in enumerate([*special, *found])}
        # Byte-pair encoding without a merge splits into characters, faster than a regular expression would.
        backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token=special_tokens["unk_token"]))
        backend.decoder = decoders.Fuse()
    else:
        backend = Tokenizer(models.BPE())
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size or BPE_VOCAB_SIZE,
            min_frequency=2,
            # In "a <mask> b" the mask stands for " word": it takes the blank before along, as RoBERTa's does.
            special_tokens=[AddedToken(token, lstrip=token == special_tokens.get("mask_token")) for token in special],
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
        backend.train_from_iterator(_not_empty(texts), trainer)
    if "cls_token" in special_tokens:
        start, end = special_tokens["cls_token"], special_tokens["sep_token"]
        backend.post_processor = processors.TemplateProcessing(
            single=f"{start} $A {end}",
            pair=f"{start} $A {end} $B {end}",
            special_tokens=[(token, backend.token_to_id(token)) for token in (start, end)],
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_input_names=["input_ids", "attention_mask"],  # no token_type_ids, which models of ours do not take
        clean_up_tokenization_spaces=False,  # it would change the text
        **special_tokens,
    )


def load_tokenizer(path: str, **kwargs: Any) -> Any:
    """The tokenizer in a folder or Hub repository, with a token that pads.

    Raises:
        HubmodelsError: there is none, or it has neither a padding nor an end token.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(path, **kwargs)
    except Exception as error:  # the tokenizers library raises plain Exceptions on a damaged file
        reason = " ".join(str(error).split())[:200]
        raise HubmodelsError(
            f"no usable tokenizer at {path}: {reason}; give characters, bpe, a folder or a Hub id"
        ) from error
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is None:
            raise HubmodelsError(f"the tokenizer at {path} has neither a padding nor an end token; choose another")
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def tokenizer_key(tokenizer: Any) -> str:
    """A hash of everything that decides how a tokenizer splits a text."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    content = tokenizer.get_vocab()
    if backend is not None:  # cutting and padding are set by each call; the folder that it came from means nothing
        content = {**json.loads(backend.to_str()), "truncation": None, "padding": None}
    settings = {"length": tokenizer.model_max_length, "sides": [tokenizer.padding_side, tokenizer.truncation_side]}
    parts = [json.dumps(content, sort_keys=True), type(tokenizer).__name__, json.dumps(settings)]
    parts.append(repr(sorted(tokenizer.special_tokens_map.items())))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def vocabulary_size(tokenizer: Any) -> int:
    """The number of embeddings that a tokenizer needs: one more than its largest token number."""
    return max(tokenizer.get_vocab().values()) + 1


def tokenize(tokenizer: Any, texts: list[str], pairs: list[str] | None = None, **options: Any) -> list[list[int]]:
    """The token numbers of each text or pair of texts, of any length, without a warning about it."""
    return tokenizer(texts, pairs, return_attention_mask=False, verbose=False, **options)["input_ids"]


def token_characters(tokenizer: Any) -> list[int]:
    """How many characters of text each token stands for, by its number; 0 for special tokens. Of a byte-level tokenizer
    a character counts where its first byte stands."""
    from tokenizers.pre_tokenizers import ByteLevel

    vocabulary = tokenizer.get_vocab()
    special = set(tokenizer.all_special_ids)
    alphabet = set(ByteLevel.alphabet())
    backend = getattr(tokenizer, "backend_tokenizer", None)
    is_bytes = backend is not None and "ByteLevel" in str(json.loads(backend.to_str()).get("decoder"))
    inner = {character for character, byte in byte_alphabet().items() if byte & 0xC0 == 0x80}
    counts = [0] * vocabulary_size(tokenizer)
    for token, number in vocabulary.items():
        if number in special:
            continue
        if is_bytes and set(token) <= alphabet:
            counts[number] = sum(character not in inner for character in token)
        else:
            counts[number] = len(token.removeprefix("##"))
    return counts


def byte_alphabet() -> dict[str, int]:
    """The printable character that stands for each byte in a byte-level tokenizer, as GPT-2 chose them."""
    visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(BYTES) if byte not in set(visible)]
    return {chr(byte): byte for byte in visible} | {chr(BYTES + place): byte for place, byte in enumerate(others)}


def text_column(features: "datasets.Features", chosen: str | None, flag: str = "text_column_name") -> str:
    """The column with the text: the `chosen` one, else the only one of text, else one with a usual name.

    Raises:
        HubmodelsError: there is none, there are several, or the chosen one holds no text.
    """
    if chosen is not None:
        name = existing_column(chosen, features, flag)
        if kind_of(features[name]) not in TEXT_TYPES:
            raise HubmodelsError(f"column {name!r} holds {kind_of(features[name])}, not text; choose another --{flag}")
        return name
    found = [name for name, kind in features.items() if kind_of(kind) in TEXT_TYPES]
    if not found:
        raise HubmodelsError(f"the data set has no text column; its columns are {describe_columns(features)}")
    return choose_column(found, TEXT_NAMES, "text", flag)


def check_texts(values: list, row_numbers: list[int], column: str, empty: bool = False) -> None:
    """Raises HubmodelsError naming the first row without text, or, unless `empty` may be, with none but white space."""
    for value, number in zip(values, row_numbers, strict=True):
        if not isinstance(value, str):
            raise HubmodelsError(f"row {number} has no text in column {column!r} (it holds {value!r}); drop such rows")
        if not empty and not value.strip():
            raise HubmodelsError(f"row {number} has an empty text in column {column!r}; drop such rows")


def _not_empty(texts: Iterable[str]) -> Iterator[str]:
    """The texts. Raises HubmodelsError at their end when there was no character in them."""
    empty = True
    for text in texts:
        empty &= not text
        yield text
    if empty:
        raise HubmodelsError(NO_TEXT)


def word_starts(tokenizer: Any, tokens: list[int]) -> list[int]:
    """The places in a row of token numbers where a word begins, the first one among them. A word begins at white space
    (which tokenizers write as Ġ, Ċ or ▁ in front of a word), and at and behind a special token; of WordPiece, at what
    has no ## before it."""
    special = set(tokenizer.all_special_ids)
    pieces = tokenizer.convert_ids_to_tokens(tokens)
    is_wordpiece = type(getattr(getattr(tokenizer, "backend_tokenizer", None), "model", None)).__name__ == "WordPiece"
    starts = []
    for place, (number, piece) in enumerate(zip(tokens, pieces, strict=True)):
        before = pieces[place - 1] if place else " "
        if (
            number in special
            or (place and tokens[place - 1] in special)
            or (is_wordpiece and not piece.startswith("##"))
            or (not is_wordpiece and (piece[:1] in "ĠĊ▁" or piece[:1].isspace() or before.isspace()))
            or not place
        ):
            starts.append(place)
    return starts


def printable(text: str) -> str:
    """A text on one line of a figure: control characters and line breaks are blanks."""
    return "".join(character if character.isprintable() else " " for character in text)
