"""Tokenizers that the text tasks train, and what they tell of their tokens."""

import datasets
import pytest
from transformers import AutoTokenizer

from hubmodels.errors import BadRow, HubmodelsError
from hubmodels.formatting import without_surrogates
from hubmodels.report import collect_notes
from hubmodels.tasks.inputs import text_columns
from hubmodels.tasks.inputs.text_columns import (
    check_texts,
    missing_texts,
    text_column,
    text_groups,
    text_pieces,
)
from hubmodels.tasks.inputs.tokenizers import (
    GENERATION_TOKENS,
    UNDERSTANDING_TOKENS,
    byte_alphabet,
    load_tokenizer,
    token_characters,
    tokenize,
    tokenizer_key,
    train_tokenizer,
    vocabulary_size,
    word_starts,
)
from hubmodels.tasks.text_generation import TextGeneration

TEXTS = ["The cat's  cat sat,\n\tthe 猫 sat 🐈 é!\n", "<b>no</b> more ' cats .\r\n\n", "  "]


@pytest.mark.parametrize("kind", ["characters", "bpe"])
@pytest.mark.parametrize("special", [GENERATION_TOKENS, UNDERSTANDING_TOKENS])
def test_every_training_text_comes_back_character_by_character(kind: str, special: dict, tmp_path) -> None:
    train_tokenizer(kind, TEXTS, special, None).save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    for text in TEXTS:
        tokens = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert tokenizer.decode(tokens) == text
        assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text
    assert list(tokenizer(TEXTS[0])) == ["input_ids", "attention_mask"]
    assert {role: getattr(tokenizer, role) for role in special} == special


def test_of_characters_every_one_is_a_token_and_an_unseen_one_is_unknown() -> None:
    tokenizer = train_tokenizer("characters", ["abcab\n"], GENERATION_TOKENS, None)
    assert tokenizer.get_vocab() == {"<pad>": 0, "<unk>": 1, "<|endoftext|>": 2, "\n": 3, "a": 4, "b": 5, "c": 6}
    assert tokenizer("cxz\na")["input_ids"] == [6, 1, 1, 3, 4]
    assert vocabulary_size(tokenizer) == 7
    few = train_tokenizer("characters", ["abcab\n"], GENERATION_TOKENS, 5)
    assert set(few.get_vocab()) == {"<pad>", "<unk>", "<|endoftext|>", "a", "b"}  # the most frequent


def test_bpe_has_the_tokens_that_were_asked_for_and_knows_any_text() -> None:
    texts = ["low lower lowest new newer newest wide wider widest"] * 3
    tokenizer = train_tokenizer("bpe", texts, GENERATION_TOKENS, 270)
    assert vocabulary_size(tokenizer) == len(tokenizer) == 270
    assert tokenizer.decode(tokenizer("日本 ñ")["input_ids"]) == "日本 ñ"
    assert "Ġlo" in tokenizer.tokenize("a low")


def test_training_twice_gives_the_same_tokenizer_and_another_text_another_key() -> None:
    keys = [tokenizer_key(train_tokenizer("bpe", some, GENERATION_TOKENS, 300)) for some in (TEXTS, TEXTS, ["abab"])]
    assert keys[0] == keys[1] != keys[2]


def test_texts_and_pairs_are_enclosed_for_understanding_and_not_for_generation() -> None:
    tokenizer = train_tokenizer("characters", ["ab"], UNDERSTANDING_TOKENS, None)
    assert tokenizer("a", "b").tokens() == ["<s>", "a", "</s>", "b", "</s>"]
    assert train_tokenizer("characters", ["ab"], GENERATION_TOKENS, None)("a").tokens() == ["a"]


def test_a_mask_takes_the_blank_before_it_along() -> None:
    tokenizer = train_tokenizer("bpe", ["the cat sat"] * 3, UNDERSTANDING_TOKENS, None)
    tokens = tokenizer("the <mask> sat", add_special_tokens=False)["input_ids"]
    assert tokens[1] == tokenizer.mask_token_id
    assert tokenizer.convert_ids_to_tokens(tokens)[2].startswith("Ġ")


@pytest.mark.parametrize("kind", ["characters", "bpe"])
def test_the_characters_of_the_tokens_are_those_of_the_text(kind: str) -> None:
    tokenizer = train_tokenizer(kind, TEXTS, GENERATION_TOKENS, None)
    counts = token_characters(tokenizer)
    for text in (*TEXTS, "ünknown 漢字"[: None if kind == "bpe" else 0]):
        tokens = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert sum(counts[token] for token in tokens) == len(text)
    assert counts[tokenizer.eos_token_id] == 0


def test_the_byte_alphabet_is_that_of_the_tokenizers_library() -> None:
    from tokenizers.pre_tokenizers import ByteLevel

    assert set(byte_alphabet()) == set(ByteLevel.alphabet())
    assert sorted(byte_alphabet().values()) == list(range(256))
    shown, byte = ByteLevel(add_prefix_space=False).pre_tokenize_str("é")[0][0], "é".encode()
    assert [byte_alphabet()[character] for character in shown] == list(byte)


def test_words_begin_at_blanks_and_special_tokens() -> None:
    for kind, words in (("bpe", ["<s>", "the", " cat", " sat", "</s>"]), ("characters", None)):
        tokenizer = train_tokenizer(kind, ["the cat sat"] * 3, UNDERSTANDING_TOKENS, None)
        tokens = tokenizer("the cat sat")["input_ids"]
        starts = word_starts(tokenizer, tokens)
        found = [tokenizer.decode(tokens[i:j]) for i, j in zip(starts, [*starts[1:], len(tokens)], strict=True)]
        assert "".join(found) == "<s>the cat sat</s>"
        assert found == words or [word.strip() for word in found if word.strip()] == [
            "<s>",
            "the",
            "cat",
            "sat",
            "</s>",
        ]


def test_no_text_at_all_is_refused() -> None:
    for kind in ("characters", "bpe"):
        with pytest.raises(HubmodelsError, match="hold no character"):
            train_tokenizer(kind, ["", ""], GENERATION_TOKENS, None)


def test_a_tokenizer_that_is_not_there_is_refused_in_one_line(tmp_path) -> None:
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(HubmodelsError, match="no usable tokenizer") as caught:
        load_tokenizer(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_tokenizer_without_padding_pads_with_its_end(tmp_path) -> None:
    tokenizer = train_tokenizer("characters", ["ab"], {"unk_token": "<unk>", "eos_token": "<end>"}, None)
    tokenizer.save_pretrained(tmp_path)
    assert load_tokenizer(str(tmp_path)).pad_token == "<end>"


@pytest.mark.parametrize(("kind", "size"), [("bpe", 200), ("characters", 2)])
def test_a_vocabulary_too_small_for_its_kind_is_refused(kind: str, size: int) -> None:
    with pytest.raises(ValueError, match="vocab_size must be at least"):
        TextGeneration.from_options(tokenizer=kind, vocab_size=size)


def test_the_text_column_is_found_by_type_then_by_name_or_refused() -> None:
    text, number = datasets.Value("string"), datasets.Value("int64")
    assert text_column(datasets.Features(a=text, b=number), None) == "a"
    assert text_column(datasets.Features(title=text, text=text), None) == "text"
    assert text_column(datasets.Features(title=text, text=text), "title") == "title"
    for features, chosen, message in (
        (datasets.Features(b=number), None, "no text column"),
        (datasets.Features(x=text, y=text), None, "several text columns: x, y"),
        (datasets.Features(a=text, b=number), "b", "holds int64, not text"),
        (datasets.Features(a=text), "aa", "no column 'aa', did you mean 'a'"),
    ):
        with pytest.raises(HubmodelsError, match=message):
            text_column(features, chosen)


def test_a_row_without_text_is_named() -> None:
    check_texts(["a", "", " \n"], [0, 1, 2], "text")
    with pytest.raises(BadRow, match="row 8, column 'text': there is no text .*give it one, or drop the row"):
        check_texts(["a", None], [7, 8], "text")


def test_rows_without_text_are_found_and_empty_texts_counted() -> None:
    rows = datasets.Dataset.from_dict({"text": ["a", None, "", " \t", "None"], "pair": ["b", "c", None, "d", "e"]})
    with collect_notes() as notes:
        assert missing_texts(rows, ["text", "pair"]) == {
            1: "there is no text in column 'text'",
            2: "there is no text in column 'pair'",
        }
    assert [note.text for note in notes] == ["2 of 5 texts are empty: the rows stay, as texts without words"]


@pytest.mark.parametrize("kind", ["bpe", "characters"])
@pytest.mark.parametrize(
    "text", ["a bird_of prey, or two " * 300, "nothing" * 900, "one. \n\n two  three\tand four " * 300]
)
def test_a_very_long_text_has_the_same_tokens_in_pieces(kind: str, text: str) -> None:
    tokenizer = train_tokenizer(kind, [text], GENERATION_TOKENS, None if kind == "characters" else 300)
    pieces = list(text_pieces(text, size=500))
    assert "".join(pieces) == text
    assert len(pieces) > 3
    assert max(map(len, pieces)) <= 500
    in_pieces = [token for piece in pieces for token in tokenize(tokenizer, [piece])[0]]
    if " " in text or kind == "characters":
        assert in_pieces == tokenize(tokenizer, [text])[0]
    assert tokenizer.decode(in_pieces) == text


@pytest.mark.parametrize("kind", ["bpe", "characters"])
def test_no_character_stops_a_tokenizer(kind: str) -> None:
    odd = ["\x00", "\ud800 lone", "\u202eright", "\U0001f468\u200d\U0001f469", "\u200b", "", "\ufeffx", "\udc00\ud800"]
    tokenizer = train_tokenizer(kind, ["plain words"], UNDERSTANDING_TOKENS, None if kind == "characters" else 300)
    tokens = tokenize(tokenizer, odd)
    assert len(tokens) == len(odd)
    assert tokenize(tokenizer, odd, odd[::-1])[0][0] == tokenizer.cls_token_id
    assert without_surrogates("\ud83d\ude00") == "\U0001f600"  # two halves of one


def test_texts_are_tokenized_in_groups_of_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_columns, "CHARACTERS_AT_ONCE", 10)
    assert list(text_groups(["abcd", "efgh", "ijkl", "m" * 30, "n"])) == [["abcd", "efgh"], ["ijkl"], ["m" * 30], ["n"]]
