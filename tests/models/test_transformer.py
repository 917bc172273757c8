"""The transformer: attention that sees no future, caches, padding, attention implementations, rotary positions by hand,
the contrastive loss over processes, and its config's limits."""

import torch

from hubmodels import TransformerConfig

# What test_all_families.py runs over this family.
SMALL = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 13, "max_position_embeddings": 9,
    "num_labels": 3, "image_size": [8, 12], "num_channels": 2, "initializer_range": 0.1,
}  # fmt: skip
PLAIN = {"normalization": "layer_norm", "gated_mlp": False, "position_embedding_type": "learned",
         "attention_bias": True, "mlp_bias": True}  # fmt: skip
BERT = {**PLAIN, "is_causal": False, "norm_position": "post", "norm_eps": 1e-12, "embedding_norm": True,
        "type_vocab_size": 2, "hidden_act": "gelu", "pooling": "first", "pooler_act": "tanh"}  # fmt: skip
VIT = {**PLAIN, "patch_size": 4, "hidden_act": "gelu", "pooling": "first"}
TINY = {
    "llama": {**SMALL, "num_key_value_heads": 2, "use_qk_norm": True, "pooling": "last"},
    "gpt2": {**SMALL, **PLAIN, "hidden_act": "gelu_new", "hidden_dropout_prob": 0.01, "tie_word_embeddings": False},
    "bert": {**SMALL, **BERT},
    "vit": {**SMALL, **VIT, "drop_path_rate": 0.01},
    "clip": {**SMALL, "patch_size": 4, "projection_dim": 8, "text_tower": {"num_hidden_layers": 1}},
}
HEADS = {
    "llama": ["Model", "ForCausalLM", "ForSequenceClassification"],
    "gpt2": ["ForCausalLM"],
    "bert": ["Model", "ForMaskedLM", "ForSequenceClassification", "ForTokenClassification"],
    "vit": ["Model", "ForImageClassification"],
    "clip": ["ForZeroShotImageClassification"],
}


def tiny_inputs(config: TransformerConfig, head: str, rows: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """Inputs of `forward`, with targets where the head has them."""
    inputs = {}
    if config.patch_size is not None:
        inputs["pixel_values"] = torch.randn(rows, *config.image_shape, generator=generator)
    if config.patch_size is None or head.startswith("ForZeroShot"):
        tokens = torch.randint(1, config.vocab_size, (rows, 7), generator=generator)
        tokens[:, 0] = torch.arange(rows)  # tells the rows apart from the first token on
        inputs["input_ids"] = tokens
    if config.type_vocab_size:
        inputs["token_type_ids"] = torch.arange(7).expand(rows, 7) // 4
    if head == "ForCausalLM":
        inputs["labels"] = inputs["input_ids"]
    elif head in ("ForMaskedLM", "ForTokenClassification"):
        count = config.vocab_size if head == "ForMaskedLM" else config.num_labels
        inputs["labels"] = torch.randint(count, (rows, 7), generator=generator)
        inputs["labels"][:, 2] = -100
    elif head.endswith("Classification") and not head.startswith("ForZeroShot"):
        inputs["labels"] = torch.arange(rows) % config.num_labels
    return inputs
