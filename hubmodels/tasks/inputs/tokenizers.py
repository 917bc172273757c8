"""Tokenizers that plain `AutoTokenizer` loads, and what they tell of their tokens."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from ...errors import HubmodelsError, one_line
from ...formatting import without_surrogates
from .text_columns import text_groups

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase as Tokenizer

BPE_VOCAB_SIZE = 4_096
BYTES = 256  # tokens that a byte-level tokenizer has at least
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


def train_tokenizer(
    kind: str, texts: Iterable[str], special_tokens: dict[str, str], vocab_size: int | None
) -> "Tokenizer":
    """Fit a tokenizer to texts, as a stock class of transformers.

    `characters`: every character that occurs is a token, in code-point order after the special tokens. `bpe`:
    byte-level byte-pair encoding as GPT-2's (Sennrich et al. 2016, arXiv:1508.07909), to which no text is unknown.
    Decoding gives the very text. With a `cls_token` texts are enclosed in it and the `sep_token`.

    Args:
        kind: `characters` or `bpe`.
        texts: the training texts.
        special_tokens: role (`pad_token`, ...) -> token; their numbers are the first.
        vocab_size: tokens at most, special ones included; None for all characters, 4,096 for bpe.

    Raises:
        HubmodelsError: there is no text.
    """
    from tokenizers import processors
    from transformers import PreTrainedTokenizerFast

    train_backend = _train_characters if kind == "characters" else _train_bpe
    backend = train_backend(texts, special_tokens, vocab_size)
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


def _train_characters(texts: Iterable[str], special_tokens: dict[str, str], vocab_size: int | None) -> Any:
    """Make a backend whose tokens are the most frequent characters."""
    from tokenizers import Tokenizer, decoders, models

    special = list(dict.fromkeys(special_tokens.values()))
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    if not counts:
        raise HubmodelsError(NO_TEXT)
    size = len(counts) if vocab_size is None else vocab_size - len(special)
    # The most frequent ones; of equally frequent ones the first in the order of their code points.
    characters = sorted(sorted(counts, key=lambda character: (-counts[character], character))[:size])
    vocabulary = {token: number for number, token in enumerate([*special, *characters])}
    # Byte-pair encoding without a merge splits into characters, faster than a regular expression would.
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token=special_tokens["unk_token"]))
    backend.decoder = decoders.Fuse()
    return backend


def _train_bpe(texts: Iterable[str], special_tokens: dict[str, str], vocab_size: int | None) -> Any:
    """Make a backend of byte-level byte-pair encoding."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

    special = list(dict.fromkeys(special_tokens.values()))
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
    return backend


def _not_empty(texts: Iterable[str]) -> Iterator[str]:
    """Pass the texts on. Raises HubmodelsError at their end when there was no character in them."""
    empty = True
    for text in texts:
        empty &= not text
        yield text
    if empty:
        raise HubmodelsError(NO_TEXT)


def load_tokenizer(path: str, **kwargs: Any) -> "Tokenizer":
    """Load the tokenizer in a folder or Hub repository, and see to it that a token pads.

    Raises:
        HubmodelsError: there is none, or it has neither a padding nor an end token.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(path, **kwargs)
    except Exception as error:  # the tokenizers library raises plain Exceptions on a damaged file
        raise HubmodelsError(
            f"no usable tokenizer at {path}: {one_line(error, 200)}; give characters, bpe, a folder or a Hub id"
        ) from error
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is None:
            raise HubmodelsError(f"the tokenizer at {path} has neither a padding nor an end token; choose another")
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def backend_content(tokenizer: "Tokenizer") -> dict[str, Any] | None:
    """Return what tokenizer.json holds of a fast tokenizer; None of one that is written in Python."""
    return json.loads(tokenizer.backend_tokenizer.to_str()) if tokenizer.is_fast else None


def tokenizer_key(tokenizer: "Tokenizer") -> str:
    """Hash everything that decides how a tokenizer splits a text."""
    content: Any = backend_content(tokenizer)
    if content is None:
        content = tokenizer.get_vocab()
    else:  # cutting and padding are set by each call; the folder that it came from means nothing
        content |= {"truncation": None, "padding": None}
    settings = {"length": tokenizer.model_max_length, "sides": [tokenizer.padding_side, tokenizer.truncation_side]}
    pieces = [json.dumps(content, sort_keys=True), type(tokenizer).__name__, json.dumps(settings)]
    pieces.append(repr(sorted(tokenizer.special_tokens_map.items())))
    return hashlib.sha256("\0".join(pieces).encode()).hexdigest()


def vocabulary_size(tokenizer: "Tokenizer") -> int:
    """Return the number of embeddings that a tokenizer needs: one more than its largest token number."""
    return max(tokenizer.get_vocab().values()) + 1


def tokenize(
    tokenizer: "Tokenizer", texts: list[str], pairs: list[str] | None = None, **options: Any
) -> list[list[int]]:
    """Return the token numbers of each text or pair of texts, of any length, without a warning about it."""
    texts = [without_surrogates(text) for text in texts]
    if pairs is not None:
        pairs = [without_surrogates(text) for text in pairs]
        return tokenizer(texts, pairs, return_attention_mask=False, verbose=False, **options)["input_ids"]
    tokens: list[list[int]] = []
    for group in text_groups(texts):
        tokens += tokenizer(group, return_attention_mask=False, verbose=False, **options)["input_ids"]
    return tokens


def token_characters(tokenizer: "Tokenizer") -> list[int]:
    """Return how many characters of text each token stands for, by its number; 0 for special tokens.

    Of a byte-level tokenizer a character counts where its first byte stands."""
    from tokenizers.pre_tokenizers import ByteLevel

    special = set(tokenizer.all_special_ids)
    alphabet = set(ByteLevel.alphabet())
    content = backend_content(tokenizer)
    is_bytes = content is not None and "ByteLevel" in str(content.get("decoder"))
    inner = {character for character, byte in byte_alphabet().items() if byte & 0xC0 == 0x80}
    counts = [0] * vocabulary_size(tokenizer)
    for token, number in tokenizer.get_vocab().items():
        if number in special:
            continue
        if is_bytes and set(token) <= alphabet:
            counts[number] = sum(character not in inner for character in token)
        else:
            counts[number] = len(token.removeprefix("##"))
    return counts


def byte_alphabet() -> dict[str, int]:
    """Return the printable character that stands for each byte in a byte-level tokenizer, as GPT-2 chose them."""
    visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(BYTES) if byte not in set(visible)]
    return {chr(byte): byte for byte in visible} | {chr(BYTES + index): byte for index, byte in enumerate(others)}


def word_starts(tokenizer: "Tokenizer", tokens: list[int]) -> list[int]:
    """Return the positions in a row of token numbers where a word begins, the first one among them.

    A word begins at white space, which tokenizers write as Ġ, Ċ or ▁ in front of it, and at and behind a special
    token; of WordPiece, at what has no ## before it."""
    special = set(tokenizer.all_special_ids)
    pieces = tokenizer.convert_ids_to_tokens(tokens)
    is_wordpiece = tokenizer.is_fast and type(tokenizer.backend_tokenizer.model).__name__ == "WordPiece"
    starts = []
    for position, (number, piece) in enumerate(zip(tokens, pieces, strict=True)):
        before = pieces[position - 1] if position else " "
        if (
            number in special
            or (position and tokens[position - 1] in special)
            or (is_wordpiece and not piece.startswith("##"))
            or (not is_wordpiece and (piece[:1] in "ĠĊ▁" or piece[:1].isspace() or before.isspace()))
            or not position
        ):
            starts.append(position)
    return starts


def special_ids(tokenizer: "Tokenizer") -> "torch.Tensor":
    """Return the numbers of the special tokens, ascending, int64."""
    import torch

    return torch.tensor(sorted(set(tokenizer.all_special_ids)))


def unknown_id(tokenizer: "Tokenizer") -> int:
    """Return the number of the token that stands for a dropped one: unknown, else mask, else padding."""
    candidates = (tokenizer.unk_token_id, tokenizer.mask_token_id, tokenizer.pad_token_id)
    return next(number for number in candidates if number is not None)


def pattern_tokens(length: int, vocab_size: int) -> "torch.Tensor":
    """Return two fixed rows of token numbers, (2, length) int64, from integers alone."""
    import torch

    numbers = torch.arange(2 * length)
    return (numbers * numbers // 7 % vocab_size).view(2, length)
