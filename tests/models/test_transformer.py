"""The transformer: attention that sees no future, caches, padding, attention implementations, rotary positions by hand,
the contrastive loss over processes, and its config's limits."""

import cmath
import math
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from torch.nn.attention.flex_attention import create_block_mask
from torch.nn.attention.flex_attention import flex_attention as plain_flex
from transformers import masking_utils
from transformers.integrations import flex_attention as flex

from hubmodels import TransformerConfig, families
from hubmodels.models.transformer.conversion_transformer import convert_vit
from hubmodels.models.transformer.modeling_transformer_attention import (
    RmsNormOnCpu,
    half_precision_attention_on_cpu,
    rotary_tables,
    rotate,
)

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
    "stem": {**SMALL, "patch_size": 4, "stem_sizes": [6], "position_embedding_type": "learned"},
    "clip": {**SMALL, "patch_size": 4, "projection_dim": 8, "text_tower": {"num_hidden_layers": 1}},
}
HEADS = {
    "llama": ["Model", "ForCausalLM", "ForSequenceClassification"],
    "gpt2": ["ForCausalLM"],
    "bert": ["Model", "ForMaskedLM", "ForSequenceClassification", "ForTokenClassification"],
    "vit": ["Model", "ForImageClassification"],
    "stem": ["ForImageClassification"],
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


WORDS = torch.arange(1, 8).expand(2, 7) + torch.arange(2).view(2, 1)  # two rows of seven tokens


def build(head: str, tiny: str, **fields: object) -> torch.nn.Module:
    torch.manual_seed(0)
    return families.build_model("transformer", head, {**TINY[tiny], **fields}).eval()


@pytest.mark.parametrize("tiny", ["llama", "gpt2"])
@torch.no_grad()
def test_no_future_token_changes_an_earlier_logit(tiny: str) -> None:
    model = build("ForCausalLM", tiny)
    logits = model(WORDS).logits
    for place in range(7):
        changed = WORDS.clone()
        changed[:, place] = 12
        others = model(changed).logits
        torch.testing.assert_close(others[:, :place], logits[:, :place], rtol=0, atol=1e-6)
        assert not torch.allclose(others[:, place], logits[:, place], atol=1e-3)


@torch.no_grad()
def test_a_bidirectional_network_sees_every_token_from_every_place() -> None:
    model = build("Model", "bert")
    hidden = model(WORDS).last_hidden_state
    changed = WORDS.clone()
    changed[:, 6] = 12
    assert ((model(changed).last_hidden_state - hidden).abs().amax(-1) > 1e-4).all()


@pytest.mark.parametrize("tiny", ["llama", "gpt2"])
@pytest.mark.parametrize("how", [{}, {"do_sample": True}, {"num_beams": 3}], ids=["greedy", "sampling", "beam"])
def test_a_cache_dynamic_or_static_changes_no_generated_token(tiny: str, how: dict) -> None:
    model = build("ForCausalLM", tiny, max_position_embeddings=40, initializer_range=0.5)
    how = {**how, "no_repeat_ngram_size": 2}  # random weights would stand on one token
    prompt = WORDS.clone()
    prompt[1, :3] = 0  # padding on the left
    mask = (prompt != 0).long()
    found = []
    for cache in ({"use_cache": False}, {}, {"cache_implementation": "static"}):
        torch.manual_seed(3)
        found.append(model.generate(prompt, attention_mask=mask, max_new_tokens=20, pad_token_id=0, **how, **cache))
    assert found[0].shape == (2, 27)
    assert len(found[0][:, 7:].unique()) > 3
    for other in found[1:]:
        assert torch.equal(found[0], other)


@pytest.mark.parametrize("tiny", ["llama", "gpt2", "bert"])
@torch.no_grad()
def test_padding_left_or_right_changes_nothing_of_the_tokens(tiny: str) -> None:
    model = build("ForMaskedLM" if tiny == "bert" else "ForCausalLM", tiny)
    expected = model(WORDS).logits
    for left, right in ((0, 2), (2, 0)):
        padded = torch.nn.functional.pad(WORDS, (left, right), value=9)
        mask = torch.nn.functional.pad(torch.ones_like(WORDS), (left, right))
        found = model(padded, attention_mask=mask).logits[:, left : left + 7]
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("pooling", ["mean", "first", "last"])
@pytest.mark.parametrize("tiny", ["llama", "bert"])
@torch.no_grad()
def test_pooling_leaves_out_padding(tiny: str, pooling: str) -> None:
    model = build("ForSequenceClassification", tiny, pooling=pooling)
    expected = model(WORDS).logits
    for left, right in ((0, 2), (1, 1)):
        padded = torch.nn.functional.pad(WORDS, (left, right), value=9)
        mask = torch.nn.functional.pad(torch.ones_like(WORDS), (left, right))
        torch.testing.assert_close(model(padded, attention_mask=mask).logits, expected, rtol=1e-5, atol=1e-5)


CASES = [("llama", "ForCausalLM"), ("bert", "ForMaskedLM"), ("vit", "ForImageClassification"),
         ("clip", "ForZeroShotImageClassification")]  # fmt: skip


@pytest.mark.parametrize(("tiny", "head"), CASES)
@torch.no_grad()
def test_every_attention_implementation_gives_the_same(tiny: str, head: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Uncompiled: the compiler takes a minute, and the numbers are those of torch's own tests of it.
    def uncompiled(*args: object, _compile: bool, **kwargs: object) -> object:
        return create_block_mask(*args, **kwargs)

    monkeypatch.setattr(masking_utils, "create_block_mask", uncompiled)
    monkeypatch.setattr(
        flex, "compile_friendly_flex_attention", lambda *args, training, **kwargs: plain_flex(*args, **kwargs)
    )
    model = build(head, tiny)
    inputs = tiny_inputs(model.config, head, 3, torch.Generator().manual_seed(1))
    inputs.pop("labels", None)
    masks = [None] if "input_ids" not in inputs else [None, torch.ones(3, 7).tril(4).flip(0).long()]
    for mask in masks:
        given = inputs if mask is None else {**inputs, "attention_mask": mask}
        found = {}
        for name in ("eager", "sdpa", "flex_attention"):
            model.set_attn_implementation(name)
            assert {
                module.config._attn_implementation for module in model.modules() if hasattr(module, "qkv_proj")
            } == {name}
            found[name] = model(**given, return_dict=False)[0]
            if mask is not None and found[name].dim() == 3:
                found[name] = found[name][mask.bool()]
        torch.testing.assert_close(found["sdpa"], found["eager"], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(found["flex_attention"], found["eager"], rtol=1e-5, atol=1e-5)


def test_attention_weights_are_given_by_eager_alone() -> None:
    model = build("ForCausalLM", "llama")
    with pytest.raises(ValueError, match="output_attentions needs attn_implementation eager, got sdpa"):
        model(WORDS, output_attentions=True)
    model.set_attn_implementation("eager")
    attentions = model(WORDS, output_attentions=True).attentions
    assert [tuple(weights.shape) for weights in attentions] == [(2, 4, 7, 7)] * 2
    assert torch.equal(attentions[0].triu(1), torch.zeros(2, 4, 7, 7))
    torch.testing.assert_close(attentions[0].sum(-1), torch.ones(2, 4, 7))


@pytest.mark.parametrize(("tiny", "head"), CASES)
def test_gradient_checkpointing_gives_the_same_gradients(tiny: str, head: str) -> None:
    model = build(head, tiny, hidden_dropout_prob=0.0, drop_path_rate=0.0).train()
    inputs = tiny_inputs(model.config, head, 3, torch.Generator().manual_seed(1))
    found = []
    for _ in range(2):
        model.zero_grad()
        model(**inputs).loss.backward()
        found.append({name: weight.grad.clone() for name, weight in model.named_parameters()})
        model.gradient_checkpointing_enable()
    assert all(layer.gradient_checkpointing for layer in model.base_model.layers)
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, rtol=1e-5, atol=1e-6)


def test_rotary_positions_turn_pairs_of_a_head_by_multiples_of_their_wavelengths() -> None:
    K, theta = 8, 100.0
    heads = torch.randn(1, 5, 1, K)
    positions = torch.tensor([[0, 1, 2, 7, 30]])
    found = rotate(heads, rotary_tables(positions, K, theta, torch.float32))
    for place, position in enumerate(positions[0].tolist()):
        for pair in range(K // 2):
            number = complex(heads[0, place, 0, pair], heads[0, place, 0, pair + K // 2])
            number *= cmath.exp(1j * position * theta ** (-2 * pair / K))
            assert found[0, place, 0, pair].item() == pytest.approx(number.real, abs=1e-5)
            assert found[0, place, 0, pair + K // 2].item() == pytest.approx(number.imag, abs=1e-5)


def test_rotary_positions_of_images_turn_one_half_by_rows_and_one_by_columns() -> None:
    places = torch.tensor([[[2.0, 5.0]]])
    cos, _ = rotary_tables(places, 8, 100.0, torch.float32)
    frequencies = [1.0, 100.0**-0.5]
    expected = [math.cos(axis * frequency) for axis in (2, 5) for frequency in frequencies]
    torch.testing.assert_close(cos.flatten(), torch.tensor(expected * 2))


@torch.no_grad()
def test_rotary_attention_sees_only_how_far_apart_tokens_are() -> None:
    model = build("ForCausalLM", "llama", max_position_embeddings=100)
    shifted = model(WORDS, position_ids=torch.arange(50, 57).unsqueeze(0)).logits
    torch.testing.assert_close(shifted, model(WORDS).logits, rtol=1e-4, atol=1e-5)


def test_rms_norm_on_a_cpu_has_the_gradients_of_the_formula() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(5, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, weight: RmsNormOnCpu.apply(x, weight, 1e-3), (x, weight))
    expected = torch.nn.functional.rms_norm(x, (5,), weight, 1e-3)
    torch.testing.assert_close(RmsNormOnCpu.apply(x, weight, 1e-3), expected)


@pytest.mark.parametrize("masked", ["not", "later", "padding", "whole"])
def test_half_precision_attention_is_attention_where_nothing_is_rounded(masked: str) -> None:
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(2, heads, 5, 3, generator=generator).requires_grad_() for heads in (4, 2, 2))
    mask = {"padding": torch.tensor([[1, 1, 1, 1, 1], [0, 0, 1, 1, 0]]).bool()[:, None, None].expand(2, 1, 5, 5),
            "whole": torch.randn(2, 1, 5, 5, generator=generator)}.get(masked)  # fmt: skip
    module = SimpleNamespace(num_key_value_groups=2, is_causal=masked == "later", training=True)
    found, _ = half_precision_attention_on_cpu(module, query, key, value, mask, scaling=0.3)
    expected = torch.nn.functional.scaled_dot_product_attention(
        query, key, value, mask, is_causal=masked == "later", scale=0.3, enable_gqa=True
    ).transpose(1, 2)
    torch.testing.assert_close(found, expected)
    weights = torch.randn(found.shape, generator=generator)
    gradients = [torch.autograd.grad((output * weights).sum(), (query, key, value)) for output in (found, expected)]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("tiny", ["llama", "bert"])
def test_training_in_bfloat16_follows_float32(tiny: str) -> None:
    model = build("Model", tiny, hidden_dropout_prob=0.0).train()
    mask = torch.ones(2, 7, dtype=torch.long)
    mask[1, 4:] = 0
    gradients = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            hidden = model(WORDS, attention_mask=mask).last_hidden_state
        (hidden.float() * mask[..., None] * torch.arange(16)).sum().backward()
        gradients.append(torch.cat([weight.grad.flatten() for weight in model.parameters() if weight.grad is not None]))
        model.zero_grad()
    # bfloat16 has 8 bits: each product is off by up to 1/256, and a gradient has a few of them in a row.
    assert (gradients[1] - gradients[0]).norm() < 0.03 * gradients[0].norm()


def test_labels_are_shifted_inside_and_shift_labels_are_taken_as_they_are() -> None:
    model = build("ForCausalLM", "llama")
    logits = model(WORDS).logits
    expected = torch.nn.functional.cross_entropy(logits[:, :-1].reshape(-1, 13), WORDS[:, 1:].reshape(-1))
    torch.testing.assert_close(model(WORDS, labels=WORDS).loss, expected)
    shifted = torch.nn.functional.pad(WORDS[:, 1:], (0, 1), value=-100)
    torch.testing.assert_close(model(WORDS, shift_labels=shifted).loss, expected)
    torch.testing.assert_close(model(WORDS, logits_to_keep=2).logits, logits[:, -2:])


def test_tied_embeddings_are_one_weight() -> None:
    for head, tiny in (("ForCausalLM", "llama"), ("ForMaskedLM", "bert")):
        model = build(head, tiny)
        assert model.lm_head.weight is model.transformer.embed_tokens.weight
    model = build("ForCausalLM", "gpt2")
    assert model.lm_head.weight is not model.transformer.embed_tokens.weight


@pytest.mark.parametrize("position", ["learned", "rotary", "none"])
@pytest.mark.parametrize("pooling", ["mean", "first"])
@torch.no_grad()
def test_images_of_any_size_that_the_patch_divides_are_taken(position: str, pooling: str) -> None:
    model = build("ForImageClassification", "vit", position_embedding_type=position, pooling=pooling)
    for height, width in ((8, 12), (4, 4), (20, 8)):
        outputs = model(torch.randn(2, 2, height, width), output_hidden_states=True)
        assert outputs.logits.shape == (2, 3)
        assert outputs.hidden_states[0].shape[1] == height * width // 16 + (pooling == "first")


@torch.no_grad()
def test_patches_are_a_convolution_and_positions_stretch_as_transformers_vit() -> None:
    config = transformers.ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
                                    image_size=12, patch_size=4, num_labels=3)  # fmt: skip
    theirs = transformers.ViTForImageClassification(config).eval()
    torch.nn.init.normal_(theirs.vit.embeddings.position_embeddings)
    pixel_values = torch.randn(2, 3, 20, 24)
    expected = theirs(pixel_values, interpolate_pos_encoding=True).logits
    torch.testing.assert_close(convert_vit(theirs)(pixel_values).logits, expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_a_stem_is_convolutions_before_smaller_patches() -> None:
    embed = build("ForImageClassification", "stem").transformer.embed_patches
    pixel_values = torch.randn(2, 2, 8, 12)
    convolution, _ = embed.stem
    maps = torch.nn.functional.conv2d(pixel_values, convolution.weight, convolution.bias, stride=2, padding=1).clamp(0)
    patches = torch.nn.functional.unfold(maps, 2, stride=2).transpose(1, 2)  # (2, 6, 6 * 2 * 2)
    expected = patches @ embed.projection.weight.T + embed.projection.bias + embed.positions.weight
    found, grid = embed(pixel_values)
    assert grid == (2, 3)
    torch.testing.assert_close(found, expected)
    stretched, grid = embed(torch.randn(1, 2, 16, 4))
    assert grid == (4, 1)
    assert stretched.shape == (1, 4, 16)


def test_stochastic_depth_rises_linearly_and_drops_whole_rows() -> None:
    model = build("Model", "vit", drop_path_rate=0.5, num_hidden_layers=3)
    assert [layer.drop_path.rate for layer in model.layers] == [0.0, 0.25, 0.5]
    torch.manual_seed(0)
    dropped = model.layers[-1].drop_path.train()(torch.ones(4000, 2, 3))
    assert torch.equal(dropped, dropped[:, :1, :1].expand_as(dropped))
    assert dropped.unique().tolist() == [0.0, 2.0]
    # The mean of 4000 rows of 0 or 2 has a standard error of 1 / sqrt(4000) = 0.016.
    assert dropped.mean().item() == pytest.approx(1, abs=0.06)


def test_the_contrastive_loss_is_the_mean_of_both_directions_by_hand() -> None:
    model = build("ForZeroShotImageClassification", "clip")
    inputs = tiny_inputs(model.config, "ForZeroShotImageClassification", 3, torch.Generator().manual_seed(1))
    outputs = model(**inputs)
    images, texts = outputs.image_embeds.detach(), outputs.text_embeds.detach()
    torch.testing.assert_close(images, model.get_image_features(inputs["pixel_values"]))
    torch.testing.assert_close(texts, model.get_text_features(inputs["input_ids"]))
    torch.testing.assert_close(images.norm(dim=1), torch.ones(3))
    scale = math.exp(2.6592)
    total = 0.0
    for i in range(3):
        rows = [
            [scale * float(images[i] @ text) for text in texts],
            [scale * float(image @ texts[i]) for image in images],
        ]
        total += sum(math.log(sum(map(math.exp, row))) - row[i] for row in rows) / 6
    assert outputs.loss.item() == pytest.approx(total, abs=1e-5)
    assert model(**{**inputs, "input_ids": inputs["input_ids"][:2]}).loss is None
    assert outputs.logits_per_text.shape == (3, 3)


CONTRAST = """
import os, sys, torch, torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
sys.path.insert(0, {folder!r})
import test_transformer as cases
model = cases.build("ForZeroShotImageClassification", "clip").train()
inputs = cases.tiny_inputs(model.config, "ForZeroShotImageClassification", 5, torch.Generator().manual_seed(1))
dist.init_process_group("gloo")
rank = dist.get_rank()
mine = slice(0, 3) if rank == 0 else slice(3, 5)  # 3 and 2 rows
parallel = DistributedDataParallel(model)
loss = parallel(**{{name: value[mine] for name, value in inputs.items()}}).loss
(loss * (3 if rank == 0 else 2) / 5 * 2).backward()  # the weight of its rows, as the training loop has it
if rank == 0:
    gradients = {{name: weight.grad for name, weight in model.named_parameters()}}
    torch.save({{"loss": loss.detach(), **gradients}}, {path!r})
dist.barrier()
os._exit(0)  # gloo's threads abort about one exit in thirty where they are taken down (torch 2.13)
"""


def test_the_contrastive_loss_of_two_processes_is_that_of_the_whole_batch(tmp_path: Path) -> None:
    script, path = tmp_path / "contrast.py", tmp_path / "found.pt"
    script.write_text(CONTRAST.format(folder=str(Path(__file__).parent), path=str(path)))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(script)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = torch.load(path)
    model = build("ForZeroShotImageClassification", "clip").train()
    loss = model(
        **tiny_inputs(model.config, "ForZeroShotImageClassification", 5, torch.Generator().manual_seed(1))
    ).loss
    loss.backward()
    torch.testing.assert_close(found.pop("loss"), loss.detach(), rtol=1e-5, atol=1e-6)
    for name, weight in model.named_parameters():
        torch.testing.assert_close(found[name], weight.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("tiny", "head", "inputs", "message"),
    [
        ("llama", "ForCausalLM", {"input_ids": torch.zeros(1, 10, dtype=torch.long)},
         "at most 9 tokens here .*, got 10; truncate it, or load the model with a larger max_position_embeddings"),
        ("gpt2", "ForCausalLM", {"input_ids": torch.zeros(1, 10, dtype=torch.long)}, "got 10; truncate it$"),
        ("llama", "ForCausalLM", {"input_ids": torch.tensor([[3, 13]])}, r"must be in 0..12, got 3 to 13; use the"),
        ("llama", "ForCausalLM", {}, "input_ids or inputs_embeds"),
        ("bert", "Model", {"input_ids": torch.tensor([[-1, 2]])}, r"must be in 0..12, got -1 to 2"),
        ("bert", "Model", {"input_ids": torch.tensor([[1, 2]]), "past_key_values": transformers.DynamicCache()},
         "needs a causal network"),
        ("vit", "ForImageClassification", {"pixel_values": torch.zeros(1, 2, 8, 10)},
         "patch size 4 divides, got 8 x 10; resize or crop"),
        ("vit", "ForImageClassification", {"pixel_values": torch.zeros(1, 3, 8, 8)}, r"\(batch, 2, height, width\)"),
        ("vit", "ForImageClassification", {"pixel_values": torch.zeros(1, 2, 8, 8).byte()}, "floating-point"),
        ("clip", "ForZeroShotImageClassification", {"input_ids": torch.tensor([[1]])}, "pixel_values must be"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_with_what_is_allowed(tiny: str, head: str, inputs: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(head, tiny)(**inputs)


@pytest.mark.parametrize("cache", [{}, {"use_cache": False}])
def test_a_generated_text_longer_than_the_positions_is_refused(cache: dict) -> None:
    with pytest.raises(ValueError, match="at most 9 tokens here"):
        build("ForCausalLM", "gpt2").generate(WORDS, attention_mask=torch.ones_like(WORDS), max_new_tokens=5, **cache)


@torch.no_grad()
def test_rows_that_are_packed_into_one_see_only_themselves() -> None:
    model = build("ForCausalLM", "gpt2")
    packed = WORDS.reshape(1, 14)  # longer than the positions, which begin anew
    found = model(packed, position_ids=torch.arange(7).repeat(2).unsqueeze(0)).logits
    torch.testing.assert_close(found.view(2, 7, 13), model(WORDS).logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("head", "fields", "message"),
    [
        ("ForCausalLM", {"is_causal": False}, "needs is_causal true"),
        ("ForMaskedLM", {}, "needs is_causal false"),
        ("ForCausalLM", {"patch_size": 4}, "reads tokens: its config must not give patch_size, got 4"),
        ("ForImageClassification", {}, "reads images: its config must give patch_size, got None"),
    ],
)
def test_a_head_refuses_a_config_of_another_kind(head: str, fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        families.build_model("transformer", head, {"hidden_size": 16, "image_size": 8, **fields})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_attention_heads": 5}, "must divide hidden_size 256, got 5; take 4, or give head_dim"),
        ({"num_key_value_heads": 3}, "num_key_value_heads must divide num_attention_heads 4, got 3"),
        ({"patch_size": 5}, "patch_size 5 does not divide image_size 32: take a patch_size that divides 32"),
        ({"patch_size": 4, "image_size": [28, 30]}, "divides 2, or another image_size"),
        ({"head_dim": 3}, "rotary positions need heads whose width 2 divides, got 3"),
        ({"patch_size": 4, "head_dim": 6}, "width 4 divides, got 6"),
        ({"hidden_size": 0}, "hidden_size must be at least 1"),
        ({"type_vocab_size": -1}, "type_vocab_size must be at least 0"),
        ({"image_size": [1, 2, 3]}, "height and width"),
        ({"hidden_act": "sillu"}, "hidden_act must be one of"),
        ({"attention_dropout": 1.0}, "below 1"),
        ({"rope_theta": 0}, "rope_theta must be greater than 0"),
        ({"norm_eps": -1e-5}, "norm_eps must be at least 0"),
        ({"pad_token_id": 256}, r"pad_token_id must be in 0..255, got 256"),
        ({"text_tower": {"num_hidden_layers": 1}}, "text_tower needs an image tower"),
        ({"patch_size": 4, "text_tower": {"patch_size": 2}}, "no field of a text tower"),
        ({"patch_size": 4, "text_tower": {"num_attention_heads": 3}}, "must divide hidden_size"),
        ({"norm_position": "middle"}, "norm_position"),
        ({"stem_sizes": [8]}, "stem_sizes needs patch_size"),
        ({"patch_size": 4, "stem_sizes": [8, 0]}, "stem_sizes must be at least 1"),
        ({"patch_size": 4, "stem_sizes": [8, 8, 8]}, "take a patch_size that 8 divides, got 4"),
        ({"patch_size": 4, "text_tower": {"stem_sizes": [8]}}, "no field of a text tower"),
    ],
)
def test_a_config_that_cannot_work_is_refused(fields: dict, message: str) -> None:
    with pytest.raises(StrictDataclassError, match=message):
        TransformerConfig(**fields)
