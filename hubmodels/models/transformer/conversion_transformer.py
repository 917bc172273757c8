"""Weights of transformers' Llama, GPT-2, BERT and ViT -> ours, for the heads that both have.

The tensors stay as they are, but for the projections of queries, keys and values, and the two halves of SwiGLU, which
are put one below the other: the outputs are equal up to the order of float additions (1e-5).

    ours = convert_llama(LlamaForCausalLM.from_pretrained("HuggingFaceTB/SmolLM2-135M"))
    ours.save_pretrained("smollm2-135m")
"""

import re
from typing import Any

import torch
from torch import Tensor
from transformers.modeling_utils import PreTrainedModel

from .configuration_transformer import TransformerConfig
from .modeling_transformer import (
    TransformerForCausalLM,
    TransformerForImageClassification,
    TransformerForMaskedLM,
    TransformerForSequenceClassification,
    TransformerForTokenClassification,
    TransformerModel,
)

# Pattern of a foreign module's name -> ours; {0} is the layer. A slash and a number: which part of ours it becomes.
LLAMA_NAMES = {
    r"model\.embed_tokens": "transformer.embed_tokens",
    r"model\.layers\.(\d+)\.input_layernorm": "transformer.layers.{0}.attention_norm",
    r"model\.layers\.(\d+)\.self_attn\.q_proj": "transformer.layers.{0}.attention.qkv_proj/0",
    r"model\.layers\.(\d+)\.self_attn\.k_proj": "transformer.layers.{0}.attention.qkv_proj/1",
    r"model\.layers\.(\d+)\.self_attn\.v_proj": "transformer.layers.{0}.attention.qkv_proj/2",
    r"model\.layers\.(\d+)\.self_attn\.o_proj": "transformer.layers.{0}.attention.o_proj",
    r"model\.layers\.(\d+)\.post_attention_layernorm": "transformer.layers.{0}.mlp_norm",
    r"model\.layers\.(\d+)\.mlp\.gate_proj": "transformer.layers.{0}.mlp.up_proj/0",
    r"model\.layers\.(\d+)\.mlp\.up_proj": "transformer.layers.{0}.mlp.up_proj/1",
    r"model\.layers\.(\d+)\.mlp\.down_proj": "transformer.layers.{0}.mlp.down_proj",
    r"model\.norm": "transformer.norm",
    r"lm_head": "lm_head",
}
GPT2_NAMES = {
    r"transformer\.wte": "transformer.embed_tokens",
    r"transformer\.wpe": "transformer.embed_positions",
    r"transformer\.h\.(\d+)\.ln_1": "transformer.layers.{0}.attention_norm",
    r"transformer\.h\.(\d+)\.attn\.c_attn": "transformer.layers.{0}.attention.qkv_proj",
    r"transformer\.h\.(\d+)\.attn\.c_proj": "transformer.layers.{0}.attention.o_proj",
    r"transformer\.h\.(\d+)\.ln_2": "transformer.layers.{0}.mlp_norm",
    r"transformer\.h\.(\d+)\.mlp\.c_fc": "transformer.layers.{0}.mlp.up_proj",
    r"transformer\.h\.(\d+)\.mlp\.c_proj": "transformer.layers.{0}.mlp.down_proj",
    r"transformer\.ln_f": "transformer.norm",
    r"lm_head": "lm_head",
}
BERT_NAMES = {
    r"bert\.embeddings\.word_embeddings": "transformer.embed_tokens",
    r"bert\.embeddings\.position_embeddings": "transformer.embed_positions",
    r"bert\.embeddings\.token_type_embeddings": "transformer.embed_token_types",
    r"bert\.embeddings\.LayerNorm": "transformer.embedding_norm",
    r"bert\.encoder\.layer\.(\d+)\.attention\.self\.query": "transformer.layers.{0}.attention.qkv_proj/0",
    r"bert\.encoder\.layer\.(\d+)\.attention\.self\.key": "transformer.layers.{0}.attention.qkv_proj/1",
    r"bert\.encoder\.layer\.(\d+)\.attention\.self\.value": "transformer.layers.{0}.attention.qkv_proj/2",
    r"bert\.encoder\.layer\.(\d+)\.attention\.output\.dense": "transformer.layers.{0}.attention.o_proj",
    r"bert\.encoder\.layer\.(\d+)\.attention\.output\.LayerNorm": "transformer.layers.{0}.attention_norm",
    r"bert\.encoder\.layer\.(\d+)\.intermediate\.dense": "transformer.layers.{0}.mlp.up_proj",
    r"bert\.encoder\.layer\.(\d+)\.output\.dense": "transformer.layers.{0}.mlp.down_proj",
    r"bert\.encoder\.layer\.(\d+)\.output\.LayerNorm": "transformer.layers.{0}.mlp_norm",
    r"bert\.pooler\.dense": "classifier.pooler",
    r"cls\.predictions\.transform\.dense": "dense",
    r"cls\.predictions\.transform\.LayerNorm": "head_norm",
    r"cls\.predictions\.decoder": "lm_head",
    r"cls\.predictions": "",  # the decoder's bias, a second time
    r"classifier": "classifier",
}
VIT_NAMES = {
    r"vit\.embeddings": "transformer.embed_patches",
    r"vit\.embeddings\.patch_embeddings\.projection": "transformer.embed_patches.projection",
    r"vit\.layers\.(\d+)\.layernorm_before": "transformer.layers.{0}.attention_norm",
    r"vit\.layers\.(\d+)\.attention\.q_proj": "transformer.layers.{0}.attention.qkv_proj/0",
    r"vit\.layers\.(\d+)\.attention\.k_proj": "transformer.layers.{0}.attention.qkv_proj/1",
    r"vit\.layers\.(\d+)\.attention\.v_proj": "transformer.layers.{0}.attention.qkv_proj/2",
    r"vit\.layers\.(\d+)\.attention\.o_proj": "transformer.layers.{0}.attention.o_proj",
    r"vit\.layers\.(\d+)\.layernorm_after": "transformer.layers.{0}.mlp_norm",
    r"vit\.layers\.(\d+)\.mlp\.fc1": "transformer.layers.{0}.mlp.up_proj",
    r"vit\.layers\.(\d+)\.mlp\.fc2": "transformer.layers.{0}.mlp.down_proj",
    r"vit\.layernorm": "transformer.norm",
    r"classifier": "classifier.output",
}
HEADS = {
    "Model": TransformerModel,
    "ForCausalLM": TransformerForCausalLM,
    "ForMaskedLM": TransformerForMaskedLM,
    "ForSequenceClassification": TransformerForSequenceClassification,
    "ForTokenClassification": TransformerForTokenClassification,
    "ForImageClassification": TransformerForImageClassification,
}
PLAIN = {
    "normalization": "layer_norm",
    "gated_mlp": False,
    "position_embedding_type": "learned",
    "attention_bias": True,
    "mlp_bias": True,
}
COMMON = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act",
          "initializer_range", "pad_token_id", "bos_token_id", "eos_token_id", "tie_word_embeddings",
          "max_position_embeddings", "id2label", "label2id", "problem_type")  # fmt: skip


def convert_llama(model: PreTrainedModel) -> PreTrainedModel:
    """Return a LlamaForCausalLM or LlamaModel as a `TransformerForCausalLM` or `TransformerModel` in evaluation mode.
    Raises ValueError for another model, and for rotary positions that are scaled."""
    heads = {"LlamaForCausalLM": "ForCausalLM", "LlamaModel": "Model"}
    theirs, head = check(model, heads)
    rope = theirs.rope_parameters
    if rope["rope_type"] != "default":
        raise ValueError(f"only rotary positions of rope_type default can be converted, got {rope['rope_type']}")
    names = ("num_key_value_heads", "head_dim", "attention_bias", "mlp_bias", "attention_dropout")
    fields = {name: getattr(theirs, name) for name in (*COMMON, *names)}
    config = TransformerConfig(**fields, rope_theta=rope["rope_theta"], norm_eps=theirs.rms_norm_eps)
    return fill(head, config, rename(model, LLAMA_NAMES))


def convert_gpt2(model: PreTrainedModel) -> PreTrainedModel:
    """Return a GPT2LMHeadModel or GPT2Model as a `TransformerForCausalLM` or `TransformerModel` in evaluation mode.
    Raises ValueError for another model, and for attention whose scores are scaled otherwise."""
    theirs, head = check(model, {"GPT2LMHeadModel": "ForCausalLM", "GPT2Model": "Model"})
    if not theirs.scale_attn_weights or theirs.scale_attn_by_inverse_layer_idx or theirs.add_cross_attention:
        raise ValueError(
            "only a GPT-2 with plain self-attention, its scores scaled by the heads' width, can be converted"
        )
    fields = {name: getattr(theirs, name) for name in COMMON if name not in ("intermediate_size", "hidden_act")}
    config = TransformerConfig(
        **fields, **PLAIN, intermediate_size=theirs.n_inner, hidden_act=theirs.activation_function,
        norm_eps=theirs.layer_norm_epsilon, hidden_dropout_prob=theirs.resid_pdrop,
        attention_dropout=theirs.attn_pdrop,
    )  # fmt: skip
    weights = rename(model, GPT2_NAMES)
    for name, value in weights.items():
        if "proj.weight" in name:  # its Conv1D holds them transposed
            weights[name] = value.T
    return fill(head, config, weights)


def convert_bert(model: PreTrainedModel) -> PreTrainedModel:
    """Return a BertForMaskedLM, BertForSequenceClassification, BertForTokenClassification or BertModel (without its
    pooler) as ours in evaluation mode. Raises ValueError for another model."""
    heads = {f"Bert{head}": head for head in ("ForMaskedLM", "ForSequenceClassification", "ForTokenClassification")}
    theirs, head = check(model, {**heads, "BertModel": "Model"})
    if theirs.is_decoder:
        raise ValueError("only a BERT that sees in both directions can be converted, got is_decoder true")
    fields = {name: getattr(theirs, name) for name in (*COMMON, "type_vocab_size", "hidden_dropout_prob")}
    dropout = theirs.hidden_dropout_prob if theirs.classifier_dropout is None else theirs.classifier_dropout
    config = TransformerConfig(
        **fields, **PLAIN, is_causal=False, norm_position="post", embedding_norm=True, pooling="first",
        pooler_act="tanh", norm_eps=theirs.layer_norm_eps, attention_dropout=theirs.attention_probs_dropout_prob,
        classifier_dropout_prob=dropout,
    )  # fmt: skip
    weights = rename(model, BERT_NAMES)
    if head == "ForSequenceClassification":  # behind the pooler, which tokens do not have
        weights |= {f"classifier.output.{kind}": weights.pop(f"classifier.{kind}") for kind in ("weight", "bias")}
    if head == "Model":
        weights = {name: value for name, value in weights.items() if not name.startswith("classifier.")}
    return fill(head, config, weights)


def convert_vit(model: PreTrainedModel) -> PreTrainedModel:
    """Return a ViTForImageClassification or ViTModel (without its pooler) as ours in evaluation mode. Raises ValueError
    for another model."""
    theirs, head = check(model, {"ViTForImageClassification": "ForImageClassification", "ViTModel": "Model"})
    names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act",
             "initializer_range", "id2label", "label2id", "problem_type", "num_channels", "image_size", "patch_size",
             "hidden_dropout_prob")  # fmt: skip
    fields = {name: getattr(theirs, name) for name in names}
    dropout = theirs.attention_probs_dropout_prob
    config = TransformerConfig(
        **fields, **PLAIN, norm_eps=theirs.layer_norm_eps, attention_dropout=dropout, pooling="first"
    )
    weights = {name: value for name, value in rename(model, VIT_NAMES, skip=r"(vit\.)?pooler\..*").items()}
    body = "" if head == "Model" else "transformer."
    weights[f"{body}embed_patches.class_token"] = weights.pop(f"{body}embed_patches.cls_token").flatten()
    weights[f"{body}embed_patches.positions.weight"] = weights.pop(f"{body}embed_patches.position_embeddings")[0]
    projection = f"{body}embed_patches.projection.weight"
    weights[projection] = weights[projection].flatten(1)
    if not theirs.qkv_bias:
        for layer in range(config.num_hidden_layers):
            name = f"{body}layers.{layer}.attention.qkv_proj"
            weights[f"{name}.bias"] = torch.zeros(len(weights[f"{name}.weight"]))
    return fill(head, config, weights)


def check(model: PreTrainedModel, heads: dict[str, str]) -> tuple[Any, str]:
    """Return the model's config, and our head for its class. Raises ValueError for a class that has none."""
    name = type(model).__name__
    if name not in heads:
        raise ValueError(f"expected one of transformers' {', '.join(heads)}, got {name}")
    return model.config, heads[name]


def rename(model: PreTrainedModel, names: dict[str, str], skip: str = r"$^") -> dict[str, Tensor]:
    """Return the model's weights under our names, parts put together. Raises ValueError for a weight that has none."""
    prefix = f"{model.base_model_prefix}."
    is_body = model.base_model is model
    pieces: dict[str, dict[int, Tensor]] = {}
    for name, value in model.state_dict().items():
        if re.fullmatch(skip, name):
            continue
        module, _, kind = (prefix + name if is_body else name).rpartition(".")
        for pattern, template in names.items():
            if match := re.fullmatch(pattern, module):
                target, _, number = template.format(*match.groups()).partition("/")
                target = target.removeprefix("transformer.") if is_body else target
                if template:
                    pieces.setdefault(f"{target}.{kind}", {})[int(number or 0)] = value
                break
        else:
            raise ValueError(f"unexpected weight {name} of {type(model).__name__}: it cannot be converted")
    return {name: torch.cat([value for _, value in sorted(numbered.items())]) for name, numbered in pieces.items()}


def fill(head: str, config: TransformerConfig, weights: dict[str, Tensor]) -> PreTrainedModel:
    """Return a model with exactly these weights. Raises ValueError when they are not those that the config needs."""
    model = HEADS[head](config)
    try:
        model.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        raise ValueError(f"the weights do not fit the layout: {' '.join(str(error).split())}") from None
    return model.eval()


__all__ = ["convert_bert", "convert_gpt2", "convert_llama", "convert_vit"]
