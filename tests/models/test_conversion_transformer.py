"""Llama, GPT-2, BERT and ViT of transformers, with random weights, and ours with the same: the same outputs."""

import pytest
import torch
import transformers
from torch import nn

from hubmodels.models.transformer.conversion_transformer import convert_bert, convert_gpt2, convert_llama, convert_vit

SIZES = {
    "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 40, "vocab_size": 23,
    "max_position_embeddings": 16, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip
LLAMA = transformers.LlamaConfig(
    **SIZES, num_key_value_heads=2, rope_parameters={"rope_type": "default", "rope_theta": 500.0}
)
TIED = transformers.LlamaConfig(**SIZES, tie_word_embeddings=True, attention_bias=True, mlp_bias=True, head_dim=12)
GPT2 = transformers.GPT2Config(
    n_embd=32, n_layer=3, n_head=4, n_positions=16, vocab_size=23, bos_token_id=1, eos_token_id=2
)
BERT = transformers.BertConfig(**SIZES, num_labels=3)
VIT = transformers.ViTConfig(
    hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=40, image_size=12, patch_size=4,
    num_labels=3,
)  # fmt: skip
UNBIASED_VIT = transformers.ViTConfig(**{**VIT.to_diff_dict(), "qkv_bias": False})
CASES = [
    (convert_llama, transformers.LlamaForCausalLM, LLAMA),
    (convert_llama, transformers.LlamaForCausalLM, TIED),
    (convert_llama, transformers.LlamaModel, LLAMA),
    (convert_gpt2, transformers.GPT2LMHeadModel, GPT2),
    (convert_gpt2, transformers.GPT2Model, GPT2),
    (convert_bert, transformers.BertForMaskedLM, BERT),
    (convert_bert, transformers.BertForSequenceClassification, BERT),
    (convert_bert, transformers.BertForTokenClassification, BERT),
    (convert_bert, transformers.BertModel, BERT),
    (convert_vit, transformers.ViTForImageClassification, VIT),
    (convert_vit, transformers.ViTForImageClassification, UNBIASED_VIT),
    (convert_vit, transformers.ViTModel, VIT),
]


def randomize(model: nn.Module) -> nn.Module:
    """Weights that differ everywhere, biases and norms too, so that none can be left out unnoticed."""
    torch.manual_seed(0)
    for weight in model.parameters():
        nn.init.normal_(weight, std=0.2)
        if weight.dim() == 1:
            weight.data += 0.5
    return model.eval()


def inputs_of(config: transformers.PreTrainedConfig) -> dict[str, torch.Tensor]:
    if config.model_type == "vit":
        return {"pixel_values": torch.randn(2, 3, 12, 12)}
    inputs = {"input_ids": torch.randint(3, 23, (2, 9)), "attention_mask": torch.ones(2, 9, dtype=torch.long)}
    inputs["attention_mask"][1, 6:] = 0
    if config.model_type == "bert":
        inputs["token_type_ids"] = (torch.arange(9) > 4).long().expand(2, 9)
    return inputs


@pytest.mark.parametrize(
    ("convert", "cls", "config"), CASES, ids=[f"{cls.__name__}-{i}" for i, (_, cls, _) in enumerate(CASES)]
)
@torch.no_grad()
def test_the_outputs_are_those_of_transformers(convert, cls, config) -> None:
    theirs = randomize(cls(config))
    ours = convert(theirs)
    inputs = inputs_of(config)
    expected = theirs(**inputs, output_hidden_states=True)
    found = ours(**inputs, output_hidden_states=True)
    # Float additions in another order, in three layers of numbers near 1.
    real = inputs.get("attention_mask", torch.ones(found.hidden_states[0].shape[:2])).bool()
    keep = real if found[0].dim() == 3 else slice(None)  # what stands at padding means nothing
    torch.testing.assert_close(found[0][keep], expected[0][keep], rtol=1e-5, atol=1e-5)
    assert len(found.hidden_states) == len(expected.hidden_states)
    for layer, (hidden, other) in enumerate(zip(found.hidden_states, expected.hidden_states, strict=True)):
        if convert is convert_vit and layer == len(found.hidden_states) - 1:
            continue  # transformers' ViT gives it before its last normalisation
        torch.testing.assert_close(hidden[real], other[real], rtol=1e-5, atol=1e-5)


def test_a_converted_model_has_no_weights_more_or_fewer() -> None:
    for convert, cls, config in CASES:
        if cls.__name__ in ("BertModel", "ViTModel") or config is UNBIASED_VIT:  # poolers stay behind, zeros are added
            continue
        theirs = cls(config)
        assert convert(theirs).num_parameters() == theirs.num_parameters()


def test_another_model_is_refused_with_the_right_ones() -> None:
    with pytest.raises(ValueError, match="expected one of transformers' GPT2LMHeadModel, GPT2Model, got LlamaModel"):
        convert_gpt2(transformers.LlamaModel(LLAMA))


def test_scaled_rotary_positions_are_refused() -> None:
    rope = {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}
    with pytest.raises(ValueError, match="rope_type default can be converted, got linear"):
        convert_llama(transformers.LlamaModel(transformers.LlamaConfig(**SIZES, rope_parameters=rope)))
