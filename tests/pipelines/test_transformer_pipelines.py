"""transformers' own pipelines on folders of tiny transformers with a tokenizer or an image processor."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import pipeline

from hubmodels import families
from hubmodels.processors.processing_image import HubmodelsImageProcessor
from hubmodels.tasks.inputs.tokenizers import UNDERSTANDING_TOKENS, train_tokenizer

SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "id2label": {0: "no", 1: "yes"}}
TEXT = "the quick brown fox jumps over the lazy dog"


@pytest.fixture
def save(tmp_path: Path):
    tokenizer = train_tokenizer("bpe", [TEXT], UNDERSTANDING_TOKENS, 300)
    tokenizer.model_max_length = 32

    def build(head: str, **fields: object) -> str:
        torch.manual_seed(0)
        values = {**SMALL, "vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id, **fields}
        families.build_model("transformer", head, values).save_pretrained(tmp_path)
        tokenizer.save_pretrained(tmp_path)
        if "patch_size" in fields:
            HubmodelsImageProcessor(size={"height": 8, "width": 8}).save_pretrained(tmp_path)
        return str(tmp_path)

    return build


def test_text_generation(save) -> None:
    generate = pipeline("text-generation", model=save("ForCausalLM"))
    answers = generate(["the quick", "over the lazy dog"], max_new_tokens=4, batch_size=2, do_sample=False)
    assert all(answer[0]["generated_text"].startswith(("the quick", "over the lazy")) for answer in answers)
    alone = generate("the quick", max_new_tokens=4, do_sample=False)
    assert alone[0]["generated_text"] == answers[0][0]["generated_text"]  # padding changes nothing


def test_fill_mask(save) -> None:
    fill = pipeline("fill-mask", model=save("ForMaskedLM", is_causal=False))
    answers = fill("the quick <mask> fox", top_k=3)
    assert len(answers) == 3
    assert answers[0]["score"] >= answers[1]["score"] > 0


def test_text_classification(save) -> None:
    classify = pipeline("text-classification", model=save("ForSequenceClassification", is_causal=False))
    answers = classify([TEXT, "the fox"], batch_size=2, top_k=None)
    assert {item["label"] for item in answers[0]} == {"no", "yes"}
    assert sum(item["score"] for item in answers[1]) == pytest.approx(1, abs=1e-5)


def test_token_classification(save) -> None:
    classify = pipeline("token-classification", model=save("ForTokenClassification", is_causal=False))
    answers = classify("the quick brown fox")
    assert {answer["entity"] for answer in answers} <= {"no", "yes"}
    assert answers[0]["start"] == 0


def test_feature_extraction(save) -> None:
    extract = pipeline("feature-extraction", model=save("Model", is_causal=False))
    found = torch.tensor(extract("the quick brown fox"))
    assert found.shape[0] == 1
    assert found.shape[2] == 16


def test_image_classification(save) -> None:
    classify = pipeline("image-classification", model=save("ForImageClassification", patch_size=4, image_size=8))
    answers = classify([Image.new("RGB", (20, 30), "red"), Image.new("L", (8, 8))])
    assert {item["label"] for item in answers[0]} == {"no", "yes"}


def test_zero_shot_image_classification(save) -> None:
    folder = save("ForZeroShotImageClassification", patch_size=4, image_size=8)
    classify = pipeline("zero-shot-image-classification", model=folder)
    answers = classify(Image.new("RGB", (20, 30), "red"), candidate_labels=["fox", "lazy dog"])
    assert {item["label"] for item in answers} == {"fox", "lazy dog"}
    assert sum(item["score"] for item in answers) == pytest.approx(1, abs=1e-5)
