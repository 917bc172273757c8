"""Text classification: every option of transformers' pipeline with our models, and models of others as they were."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification, pipeline
from transformers.pipelines.text_classification import TextClassificationPipeline

from hubmodels import families
from hubmodels.pipelines.texts import SentenceClassificationPipeline
from hubmodels.tasks.inputs.tokenizers import UNDERSTANDING_TOKENS, train_tokenizer

TEXTS = ["the quick brown fox", "jumps over", "the lazy dog and the fox again"]
LONGEST = 8  # tokens
SMALL = {"hidden_size": 12, "embedding_size": 8, "num_hidden_layers": 1}
NAMES = {0: "no", 1: "perhaps", 2: "yes"}
TOKENIZER = train_tokenizer("bpe", TEXTS, UNDERSTANDING_TOKENS, 300)
TOKENIZER.model_max_length = LONGEST


@pytest.fixture
def save(tmp_path: Path):
    def build(**fields: object) -> str:
        torch.manual_seed(0)
        values = {**SMALL, "vocab_size": len(TOKENIZER), "pad_token_id": TOKENIZER.pad_token_id, "id2label": NAMES}
        families.build_model("rnn", "ForSequenceClassification", {**values, **fields}).save_pretrained(tmp_path)
        TOKENIZER.save_pretrained(tmp_path)
        return str(tmp_path)

    return build


def test_one_text_or_many_give_the_likeliest_class_or_as_many_as_asked(save) -> None:
    classify = pipeline("text-classification", model=save())
    assert type(classify) is SentenceClassificationPipeline
    everything = classify(TEXTS, top_k=None)
    assert [{item["label"] for item in items} for items in everything] == [set(NAMES.values())] * 3
    for items in everything:
        assert items == sorted(items, key=lambda item: -item["score"])
    assert classify(TEXTS) == [items[0] for items in everything]  # without top_k a mapping a text
    assert classify(TEXTS[0]) == [everything[0][0]]  # and of one text a list of it, as transformers has it
    assert classify(TEXTS[0], top_k=2) == everything[0][:2]
    assert classify(TEXTS, top_k=1) == [items[:1] for items in everything]
    by_another_name = pipeline("sentiment-analysis", model=classify.model, tokenizer=TOKENIZER, top_k=2)
    assert by_another_name(TEXTS) == [items[:2] for items in everything]


def test_texts_in_a_batch_give_what_they_give_alone(save) -> None:
    classify = pipeline("text-classification", model=save(), top_k=None)
    for alone, together in zip(classify(TEXTS), classify(TEXTS, batch_size=3), strict=True):
        assert [item["score"] for item in together] == pytest.approx([item["score"] for item in alone], abs=1e-6)


def test_a_pair_is_read_as_a_pair(save) -> None:
    classify = pipeline("text-classification", model=save(), top_k=None)
    with torch.no_grad():
        encoded = TOKENIZER("the fox", "the dog", return_tensors="pt", truncation=True)
        expected = classify.model(**encoded).logits.softmax(-1)[0]
    pair = {"text": "the fox", "text_pair": "the dog"}
    for form in (pair, [["the fox", "the dog"]]):
        (items,) = [classify(form)] if isinstance(form, dict) else classify([form])
        assert {item["label"]: item["score"] for item in items} == pytest.approx(
            {name: expected[number].item() for number, name in NAMES.items()}, abs=1e-6
        )
    assert classify([pair, pair]) == [classify(pair)] * 2


def test_a_text_is_cut_as_in_training_unless_the_caller_says_otherwise(save) -> None:
    classify = pipeline("text-classification", model=save(), top_k=None)
    text = " ".join(TEXTS)
    assert classify(text) == classify(text, truncation=True) == classify(text, truncation=True, max_length=LONGEST)
    assert classify(text, truncation=False) != classify(text)
    assert classify(text, max_length=3) == classify(text, truncation=True, max_length=3) != classify(text)


@pytest.mark.parametrize(
    ("function", "apply"),
    [
        ("none", lambda logits: logits),
        ("softmax", lambda logits: np.exp(logits) / np.exp(logits).sum()),
        ("sigmoid", lambda logits: 1 / (1 + np.exp(-logits))),
    ],
)
def test_a_function_that_is_named_is_applied(save, function: str, apply) -> None:
    classify = pipeline("text-classification", model=save())
    with torch.no_grad():
        logits = classify.model(**TOKENIZER(TEXTS[0], return_tensors="pt", truncation=True)).logits[0].numpy()
    items = classify(TEXTS[0], top_k=None, function_to_apply=function)
    expected = dict(zip(NAMES.values(), apply(logits), strict=True))
    assert {item["label"]: item["score"] for item in items} == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("problem_type", "apply"),
    [("multi_label_classification", lambda value: 1 / (1 + math.exp(-value))), ("regression", lambda value: value)],
)
def test_a_model_of_another_problem_gives_what_transformers_makes_of_it(save, problem_type: str, apply) -> None:
    classify = pipeline("text-classification", model=save(problem_type=problem_type))
    raw = classify(TEXTS[0], top_k=None, function_to_apply="none")
    expected = {item["label"]: apply(item["score"]) for item in raw}
    assert {item["label"]: item["score"] for item in classify(TEXTS[0], top_k=None)} == pytest.approx(
        expected, abs=1e-6
    )


def test_bfloat16_answers_nearly_as_float32_does(save) -> None:
    folder = save()
    exact = pipeline("text-classification", model=folder, top_k=None)(TEXTS, batch_size=3)
    rough = pipeline("text-classification", model=folder, top_k=None, dtype=torch.bfloat16)(TEXTS, batch_size=3)
    for items, others in zip(exact, rough, strict=True):
        scores = {item["label"]: item["score"] for item in others}
        assert scores == pytest.approx({item["label"]: item["score"] for item in items}, abs=0.02)


def test_a_model_of_others_goes_the_way_of_transformers() -> None:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(TOKENIZER), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        id2label=NAMES, label2id={name: number for number, name in NAMES.items()},
    )  # fmt: skip
    model = BertForSequenceClassification(config).eval()
    ours = pipeline("text-classification", model=model, tokenizer=TOKENIZER)
    theirs = TextClassificationPipeline(model=model, tokenizer=TOKENIZER)
    text = " ".join(TEXTS)
    assert ours.get_inference_context() is torch.no_grad
    for options in ({}, {"top_k": None}, {"top_k": 2}, {"function_to_apply": "sigmoid"}, {"batch_size": 2}):
        assert ours([text, *TEXTS], **options) == theirs([text, *TEXTS], **options)
