"""The recurrent network against cells, loops and searches written by hand, and its config's limits."""

import itertools

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor, nn

from hubmodels import (
    RnnConfig,
    RnnForCausalLM,
    RnnForSequenceClassification,
    RnnForTokenClassification,
    RnnModel,
)
from hubmodels.models.rnn.modeling_rnn_encoder import RnnEncoder, drop_features

# What test_all_families.py runs over this family.
TINY = {
    "lstm": {
        "cell": "lstm", "vocab_size": 11, "embedding_size": 6, "hidden_size": 16, "num_hidden_layers": 2,
        "tie_word_embeddings": True, "embedding_dropout_prob": 0.05, "input_dropout_prob": 0.05,
        "hidden_dropout_prob": 0.05, "weight_dropout_prob": 0.05, "output_dropout_prob": 0.05, "num_labels": 3,
    },
    "gru": {
        "cell": "gru", "bidirectional": True, "vocab_size": 11, "embedding_size": 6, "hidden_size": 8, "pooling": "max",
        "num_hidden_layers": 2, "num_labels": 3,
    },
    "rnn": {
        "cell": "rnn", "vocab_size": 11, "embedding_size": 16, "hidden_size": 16, "num_hidden_layers": 1,
        "hidden_act": "relu", "pooling": "mean", "tie_word_embeddings": True, "num_labels": 3,
    },
    "series": {
        "cell": "gru", "num_input_channels": 2, "embedding_size": 8, "hidden_size": 16, "num_hidden_layers": 1,
        "reads_observed_mask": True, "num_labels": 3, "context_length": 8, "prediction_length": 4, "segment_length": 2,
        "channel_mixing": "independent", "forecast_decoder": "segments", "num_static_real_features": 3,
        "num_time_features": 1, "distribution_output": "quantile",
    },
    "series_joint": {
        "cell": "lstm", "num_input_channels": 3, "embedding_size": 8, "hidden_size": 16, "num_hidden_layers": 1,
        "pooling": "mean", "bidirectional": True, "num_labels": 3, "context_length": 8, "prediction_length": 4,
        "prediction_channel_indices": [2, 0], "instance_normalization": "standard", "distribution_output": "student_t",
        "num_time_features": 1,
    },
    "series_point": {
        "cell": "rnn", "num_input_channels": 1, "embedding_size": 16, "hidden_size": 16, "num_hidden_layers": 1,
        "num_labels": 3, "context_length": 6, "prediction_length": 4, "segment_length": 2, "output_dropout_prob": 0.05,
        "forecast_decoder": "segments", "instance_normalization": "none",
    },
}  # fmt: skip
TEXT_HEADS = ["Model", "ForSequenceClassification", "ForTokenClassification"]
SERIES_HEADS = ["Model", "ForTimeSeriesClassification", "ForTimeSeriesPrediction"]
HEADS = {
    name: SERIES_HEADS
    if "num_input_channels" in tiny
    else TEXT_HEADS
    if tiny.get("bidirectional")
    else [*TEXT_HEADS, "ForCausalLM"]
    for name, tiny in TINY.items()
}


def tiny_inputs(config: RnnConfig, head: str, rows: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Inputs of `forward`, with targets where the head has them: sequences of different lengths."""
    if config.num_input_channels:
        return series_inputs(config, head, rows, generator)
    ids = torch.randint(config.vocab_size, (rows, 5), generator=generator)
    ids[:, 0] = torch.arange(rows)  # by which a language model can tell the rows apart
    mask = (torch.arange(5) < (torch.arange(rows) % 3 + 3)[:, None]).long()
    inputs = {"input_ids": ids, "attention_mask": mask}
    if head == "ForCausalLM":
        inputs["labels"] = ids.where(mask == 1, -100)
    elif head == "ForTokenClassification":
        inputs["labels"] = (ids % config.num_labels).where(mask == 1, -100)
    elif head == "ForSequenceClassification":
        inputs["labels"] = torch.arange(rows) % config.num_labels
    return inputs


def series_inputs(config: RnnConfig, head: str, rows: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Series with a missing value, the classifier's of different lengths."""
    if head == "Model":
        return {"inputs_embeds": torch.randn(rows, 5, config.embedding_size, generator=generator)}
    T, H, C = config.context_length, config.prediction_length, config.num_input_channels
    inputs = {"past_values": torch.randn(rows, T, C, generator=generator)}
    inputs["past_observed_mask"] = torch.ones(rows, T, C, dtype=torch.bool)
    inputs["past_observed_mask"][0, 2, 0] = False
    if head == "ForTimeSeriesClassification":
        inputs["attention_mask"] = (torch.arange(T) < (torch.arange(rows) % 3 + 4)[:, None]).long()
        return inputs | {"labels": torch.arange(rows) % config.num_labels}
    if K := config.num_time_features:
        inputs["past_time_features"] = torch.randn(rows, T, K, generator=generator)
        inputs["future_time_features"] = torch.randn(rows, H, K, generator=generator)
    if S := config.num_static_real_features:
        inputs["static_real_features"] = torch.randn(rows, S, generator=generator)
    inputs["future_values"] = torch.randn(rows, H, len(config.forecast_channels), generator=generator)
    return inputs


KINDS = [("rnn", "tanh"), ("rnn", "relu"), ("lstm", "tanh"), ("gru", "tanh")]
every_kind = pytest.mark.parametrize(("cell", "hidden_act"), KINDS, ids=["tanh", "relu", "lstm", "gru"])
every_cell = pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
one_and_two_directions = pytest.mark.parametrize("bidirectional", [False, True], ids=["forward", "both"])
# Padding at the end, at the beginning, in between, none, and one step alone.
MASKS = torch.tensor(
    [
        [1, 1, 1, 1, 1, 0, 0, 0],
        [0, 0, 0, 1, 1, 1, 1, 1],
        [0, 1, 0, 0, 1, 1, 0, 1],
        [1, 1, 1, 1, 1, 1, 1, 1],
        [0, 0, 0, 0, 1, 0, 0, 0],
    ]
)


def make(head: type = RnnModel, **fields: object) -> nn.Module:
    """A small model in evaluation mode, every weight at random."""
    fields = {"vocab_size": 13, "embedding_size": 5, "hidden_size": 6, "num_hidden_layers": 2, **fields}
    generator = torch.Generator().manual_seed(0)
    model = head(RnnConfig(**fields)).eval()
    for weight in model.parameters():
        weight.data.copy_(torch.randn(weight.shape, generator=generator) * 0.5)
    return model


def tokens(rows: int, length: int, vocab_size: int = 13) -> Tensor:
    return torch.randint(vocab_size, (rows, length), generator=torch.Generator().manual_seed(2))


# Cells


def one_step(kind: str, x: Tensor, h: Tensor, c: Tensor, weights: list[Tensor]) -> tuple[Tensor, Tensor]:
    """A cell's formula: vectors x (E,), h and c (H,) -> the next h and c."""
    input_weight, recurrent_weight, input_bias, recurrent_bias = weights
    a, b = input_weight @ x + input_bias, recurrent_weight @ h + recurrent_bias
    if kind in ("tanh", "relu"):
        return (torch.tanh(a + b) if kind == "tanh" else (a + b).clamp_min(0)), c
    if kind == "gru":
        (ra, za, na), (rb, zb, nb) = a.chunk(3), b.chunk(3)
        reset, update = 1 / (1 + torch.exp(-ra - rb)), 1 / (1 + torch.exp(-za - zb))
        return (1 - update) * torch.tanh(na + reset * nb) + update * h, c
    i, f, g, o = (a + b).chunk(4)
    c = c / (1 + torch.exp(-f)) + torch.tanh(g) / (1 + torch.exp(-i))
    return torch.tanh(c) / (1 + torch.exp(-o)), c


def by_hand(encoder: RnnEncoder, inputs: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
    """Row by row, layer by layer, direction by direction, step by step, in float64."""
    weights = {name: weight.detach().double() for name, weight in encoder.recurrence.named_parameters()}
    kind = encoder.kind.removeprefix("rnn_")
    outputs, states = [], []
    for row, sequence in enumerate(inputs.double()):
        layer_input, row_states = list(sequence), []
        for layer in range(encoder.num_layers):
            directions = []
            for direction, suffix in enumerate(["", "_reverse"][: encoder.num_directions]):
                names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
                own = [weights[f"{name}_l{layer}{suffix}"] for name in names]
                h = c = torch.zeros(encoder.hidden_size, dtype=torch.float64)
                if state is not None:
                    start = state[row, layer * encoder.num_directions + direction].double()
                    h, c = start[0], start[-1]
                given = {}
                steps = range(len(layer_input))
                for step in reversed(steps) if direction else steps:
                    h, c = one_step(kind, layer_input[step], h, c, own)
                    given[step] = h
                directions.append([given[step] for step in steps])
                row_states.append(torch.stack([h, c] if kind == "lstm" else [h]))
            layer_input = [torch.cat(parts) for parts in zip(*directions, strict=True)]
        outputs.append(torch.stack(layer_input))
        states.append(torch.stack(row_states))
    return torch.stack(outputs).float(), torch.stack(states).float()


@every_kind
@one_and_two_directions
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("length", [1, 6])
def test_a_cell_is_its_formula(cell: str, hidden_act: str, bidirectional: bool, layers: int, length: int) -> None:
    model = make(cell=cell, hidden_act=hidden_act, bidirectional=bidirectional, num_hidden_layers=layers)
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(3, length, 5, generator=generator)
    state = torch.randn(3, *model.config.state_shape, generator=generator)
    for start in (None, state):
        expected = by_hand(model.encoder, inputs, start)
        scale = expected[0].abs().max().clamp_min(1)  # relu has no bound; float32 has 7 digits
        for grad in (True, False):  # a single step without gradients takes another path
            for each_layer in (False, True):
                with torch.set_grad_enabled(grad):
                    given = model.encoder(inputs, state=start, output_hidden_states=each_layer)
                for ours, theirs in zip(given[:2], expected, strict=True):
                    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6 * scale.item())


@every_kind
@one_and_two_directions
def test_padding_never_changes_a_result(cell: str, hidden_act: str, bidirectional: bool) -> None:
    model = make(cell=cell, hidden_act=hidden_act, bidirectional=bidirectional)
    ids = tokens(len(MASKS), MASKS.shape[1])
    state = torch.randn(len(MASKS), *model.config.state_shape, generator=torch.Generator().manual_seed(1))
    for pooling, start in itertools.product(("last", "max", "mean"), (None, state)):
        model.config.pooling = pooling
        together = model(ids, MASKS, start, output_hidden_states=True)
        assert not together.last_hidden_state[MASKS == 0].any()
        for row, mask in enumerate(MASKS.bool()):
            first = None if start is None else start[row : row + 1]
            alone = model(ids[row : row + 1, mask], None, first, output_hidden_states=True)
            pairs = [
                (together.last_hidden_state[row, mask], alone.last_hidden_state[0]),
                (together.pooler_output[row], alone.pooler_output[0]),
                (together.state[row], alone.state[0]),
                *((a[row, mask], b[0]) for a, b in zip(together.hidden_states, alone.hidden_states, strict=True)),
            ]
            for ours, theirs in pairs:
                torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6 * theirs.abs().max().clamp_min(1).item())


@every_cell
@one_and_two_directions
def test_padding_never_changes_a_gradient(cell: str, bidirectional: bool) -> None:
    model = make(RnnForSequenceClassification, cell=cell, bidirectional=bidirectional).train()
    ids, labels = tokens(5, 8), torch.tensor([0, 1, 1, 0, 1])
    model(ids, MASKS, labels).loss.backward()
    together = [weight.grad.clone() for weight in model.parameters()]
    model.zero_grad()
    for row, mask in enumerate(MASKS.bool()):
        (model(ids[row : row + 1, mask], None, labels[row : row + 1]).loss / 5).backward()
    for ours, weight in zip(together, model.parameters(), strict=True):
        torch.testing.assert_close(ours, weight.grad, rtol=1e-5, atol=1e-6)


def test_what_stands_at_padding_does_not_matter_even_when_it_is_no_number() -> None:
    encoder = make(bidirectional=True).encoder
    inputs = torch.randn(5, 8, 5, generator=torch.Generator().manual_seed(1))
    broken = inputs.masked_fill(MASKS[..., None] == 0, torch.nan).requires_grad_()
    outputs, state, _ = encoder(broken, MASKS)
    assert torch.equal(outputs, encoder(inputs, MASKS)[0])
    (outputs.sum() + state.sum()).backward()
    assert broken.grad.isfinite().all()
    assert not broken.grad[MASKS == 0].any()


def test_a_mask_of_ones_is_no_mask() -> None:
    model, ids = make(), tokens(3, 7)
    assert torch.equal(model(ids, torch.ones_like(ids)).state, model(ids).state)


@every_cell
def test_no_later_token_changes_an_earlier_logit(cell: str) -> None:
    model, ids = make(RnnForCausalLM, cell=cell), tokens(3, 8)
    for step in range(1, 8):
        changed = ids.clone()
        changed[:, step:] = (changed[:, step:] + 1) % 13
        before, after = model(ids).logits, model(changed).logits
        torch.testing.assert_close(before[:, :step], after[:, :step], rtol=0, atol=1e-6)
        assert (before[:, step] - after[:, step]).abs().max() > 1e-3


@every_cell
@pytest.mark.parametrize("cut", [1, 5, 8])
def test_two_halves_with_the_state_carried_are_one_sequence(cell: str, cut: int) -> None:
    model, ids = make(RnnForCausalLM, cell=cell), tokens(3, 9)
    whole = model(ids)
    first = model(ids[:, :cut])
    second = model(ids[:, cut:], state=first.state)
    torch.testing.assert_close(torch.cat([first.logits, second.logits], dim=1), whole.logits, rtol=0, atol=1e-6)
    torch.testing.assert_close(second.state, whole.state, rtol=0, atol=1e-6)
    assert first.state.shape == (3, *model.config.state_shape)


def test_the_state_carries_no_gradient_into_the_past_once_it_is_detached() -> None:
    model, ids = make(RnnForCausalLM), tokens(3, 8)
    first = model(ids[:, :4])
    second = model(ids[:, 4:], state=first.state.detach())
    assert first.state.requires_grad
    assert torch.autograd.grad(second.logits.sum(), first.state, allow_unused=True) == (None,)


# Training


def grad_of_recurrent_weights(encoder: RnnEncoder) -> dict[str, Tensor]:
    return {name: w.grad for name, w in encoder.recurrence.named_parameters() if name.startswith("weight_hh")}


@every_cell
@one_and_two_directions
def test_weight_dropout_takes_the_same_recurrent_weights_out_of_every_step(cell: str, bidirectional: bool) -> None:
    encoder = make(cell=cell, bidirectional=bidirectional, weight_dropout_prob=0.5).encoder
    inputs = torch.randn(4, 7, 5, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(0)
    outputs = encoder.train()(inputs)[0]
    outputs.square().sum().backward()
    # A weight without any gradient took part in no step. With a draw for each step hardly one would be left without.
    kept = {name: grad != 0 for name, grad in grad_of_recurrent_weights(encoder).items()}
    share = torch.cat([mask.flatten() for mask in kept.values()]).float().mean()
    assert 0.35 < share < 0.65
    twin = make(cell=cell, bidirectional=bidirectional).encoder
    for name, mask in kept.items():
        weight = getattr(twin.recurrence, name)
        weight.data.mul_(mask * 2)
    torch.testing.assert_close(outputs, by_hand(twin, inputs, None)[0], rtol=0, atol=1e-6)
    assert torch.equal(encoder.eval()(inputs)[0], make(cell=cell, bidirectional=bidirectional).encoder(inputs)[0])


def test_a_dropped_feature_is_dropped_at_every_step() -> None:
    torch.manual_seed(0)
    dropped = drop_features(torch.ones(50, 7, 40), 0.25, training=True)
    assert torch.equal(dropped, dropped[:, :1].expand(-1, 7, -1))
    assert dropped.unique().tolist() == pytest.approx([0, 1 / 0.75])
    assert (dropped[:, 0] == 0).float().mean().item() == pytest.approx(0.25, abs=0.03)
    assert not torch.equal(dropped[0], dropped[1])
    hidden = torch.randn(2, 3, 4)
    assert drop_features(hidden, 0.25, training=False) is hidden


def test_a_dropped_word_is_dropped_wherever_it_occurs() -> None:
    model = make(vocab_size=200, embedding_dropout_prob=0.5).train()
    ids = tokens(8, 50, 200)
    torch.manual_seed(0)
    scales = model.embed(ids) / model.embeddings(ids)
    by_word = {int(word): scales[ids == word].unique().tolist() for word in ids.unique()}
    assert all(len(found) == 1 or max(found) - min(found) < 1e-5 for found in by_word.values())
    shares = torch.tensor([round(found[0]) for found in by_word.values()])
    assert sorted(shares.unique().tolist()) == [0, 2]
    assert (shares == 0).float().mean().item() == pytest.approx(0.5, abs=0.15)


def test_dropout_between_the_layers_leaves_the_first_and_the_last_alone() -> None:
    model, ids = make(hidden_dropout_prob=0.5), tokens(4, 6)
    plain = model(ids, output_hidden_states=True).hidden_states
    torch.manual_seed(0)
    dropped = model.train()(ids, output_hidden_states=True).hidden_states
    torch.testing.assert_close(dropped[1], plain[1], rtol=0, atol=1e-6)
    second = nn.LSTM(6, 6, batch_first=True)
    for name, weight in second.named_parameters():
        weight.data.copy_(getattr(model.encoder.recurrence, name.replace("l0", "l1")))
    torch.manual_seed(0)
    mask = torch.nn.functional.dropout(torch.ones(4, 1, 6), 0.5)
    torch.testing.assert_close(dropped[2], second(plain[1] * mask)[0], rtol=0, atol=1e-6)


@every_cell
def test_weights_start_orthogonal_gate_by_gate_and_forget_gates_open(cell: str) -> None:
    config = RnnConfig(cell=cell, bidirectional=True, hidden_size=24, embedding_size=40)
    recurrence = RnnModel(config).encoder.recurrence
    for name, weight in recurrence.named_parameters():
        gates = weight.detach().split(24)
        assert len(gates) == {"rnn": 1, "lstm": 4, "gru": 3}[cell]
        for gate in gates if weight.ndim == 2 else []:
            if name.startswith("weight_hh"):
                torch.testing.assert_close(gate @ gate.T, torch.eye(24), rtol=0, atol=1e-5)
            else:
                bound = (6 / (gate.shape[1] + 24)) ** 0.5  # Glorot and Bengio 2010, eq. 16
                assert 0.9 * bound < gate.abs().max() <= bound
    for suffix in ("l0", "l1", "l0_reverse", "l1_reverse"):
        bias = getattr(recurrence, f"bias_ih_{suffix}") + getattr(recurrence, f"bias_hh_{suffix}")
        expected = torch.zeros(len(bias))
        if cell == "lstm":
            expected[24:48] = 1
        assert torch.equal(bias, expected)


def test_the_forget_gates_bias_is_the_configs() -> None:
    recurrence = RnnModel(RnnConfig(forget_gate_bias=2.5, hidden_size=4)).encoder.recurrence
    assert recurrence.bias_ih_l0.tolist() == [0] * 4 + [2.5] * 4 + [0] * 8


# Heads


def test_labels_are_those_of_the_next_token_shifted_inside_or_outside() -> None:
    model, ids = make(RnnForCausalLM), tokens(3, 6)
    labels = ids.clone()
    labels[0, 3] = labels[2, 1] = -100
    outputs = model(ids, labels=labels)
    log_p = outputs.logits.double().log_softmax(-1)
    found = [
        -log_p[row, step - 1, labels[row, step]] for row in range(3) for step in range(1, 6) if labels[row, step] >= 0
    ]
    assert outputs.loss.item() == pytest.approx(torch.stack(found).mean().item(), abs=1e-6)
    shifted = torch.cat([labels[:, 1:], torch.full((3, 1), -100)], dim=1)
    assert torch.equal(model(ids, shift_labels=shifted).loss, outputs.loss)
    every = torch.cat([ids[:, 1:], torch.tensor([[4], [5], [6]])], dim=1)
    expected = -log_p.gather(2, every[..., None]).mean()
    assert model(ids, shift_labels=every).loss.item() == pytest.approx(expected.item(), abs=1e-6)


def test_the_loss_is_float32_whatever_the_weights_are() -> None:
    model, ids = make(RnnForCausalLM).bfloat16(), tokens(3, 6)
    outputs = model(ids, labels=ids)
    assert (outputs.loss.dtype, outputs.logits.dtype) == (torch.float32, torch.bfloat16)


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_where_a_cpu_has_no_bfloat16_autocast_leaves_the_recurrence_in_float32(cell: str, monkeypatch) -> None:
    model = make(cell=cell).eval()
    expected = model(input_ids=tokens(2, 9)).last_hidden_state
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = model(input_ids=tokens(2, 9)).last_hidden_state
    torch.testing.assert_close(found, expected)


def test_a_token_without_label_counts_for_nothing() -> None:
    model, ids = make(RnnForTokenClassification, num_labels=4), tokens(5, 8)
    labels = (ids % 4).where(MASKS == 1, -100)
    outputs = model(ids, MASKS, labels)
    chosen = outputs.logits.double().log_softmax(-1).gather(2, labels.clamp_min(0)[..., None])[..., 0]
    assert outputs.loss.item() == pytest.approx(-chosen[MASKS == 1].mean().item(), abs=1e-6)


def test_tied_embeddings_are_the_output_layers_weights() -> None:
    wide = make(RnnForCausalLM, tie_word_embeddings=True)
    assert wide.lm_head.weight is wide.rnn.embeddings.weight
    assert tuple(wide.projection.weight.shape) == (5, 6)
    same = RnnForCausalLM(RnnConfig(tie_word_embeddings=True, embedding_size=32, hidden_size=32))
    assert isinstance(same.projection, nn.Identity)
    loose = make(RnnForCausalLM)
    assert loose.lm_head.weight is not loose.rnn.embeddings.weight
    wide.resize_token_embeddings(20)
    assert wide.lm_head.weight is wide.rnn.embeddings.weight
    assert wide(torch.tensor([[19]])).logits.shape == (1, 1, 20)


def test_embeddings_can_be_given_in_place_of_tokens() -> None:
    model, ids = make(RnnForCausalLM), tokens(3, 6)
    assert torch.equal(model(inputs_embeds=model.rnn.embeddings(ids)).logits, model(ids).logits)


# Generation


@every_cell
@pytest.mark.parametrize("use_cache", [True, False])
def test_greedy_generation_is_the_likeliest_token_again_and_again(cell: str, use_cache: bool) -> None:
    model, ids = make(RnnForCausalLM, cell=cell), tokens(4, 3)
    text = ids
    with torch.no_grad():
        for _ in range(12):
            text = torch.cat([text, model(text).logits[:, -1:].argmax(-1)], dim=1)
    given = model.generate(ids, max_new_tokens=12, do_sample=False, use_cache=use_cache)
    assert torch.equal(given, text)


def test_sampling_draws_from_the_processed_distribution() -> None:
    model, ids = make(RnnForCausalLM), tokens(4, 3)
    torch.manual_seed(3)
    text = ids
    with torch.no_grad():
        for _ in range(10):
            scores = model(text).logits[:, -1] / 0.7
            fifth = scores.topk(5).values[:, -1:]
            scores = scores.masked_fill(scores < fifth, -torch.inf)
            text = torch.cat([text, torch.multinomial(scores.softmax(-1), 1)], dim=1)
    torch.manual_seed(3)
    given = model.generate(ids, max_new_tokens=10, do_sample=True, temperature=0.7, top_k=5)
    assert torch.equal(given, text)


@pytest.mark.parametrize("use_cache", [True, False])
def test_beam_search_finds_the_best_of_all_texts(use_cache: bool) -> None:
    model, ids = make(RnnForCausalLM, vocab_size=4), tokens(2, 3, 4)
    # 16 beams hold every text of two tokens over four, so that nothing is lost before the third.
    given = model.generate(
        ids, max_new_tokens=3, num_beams=16, num_return_sequences=5, length_penalty=0.0, use_cache=use_cache,
        return_dict_in_generate=True, output_scores=True,
    )  # fmt: skip
    endings = torch.tensor(list(itertools.product(range(4), repeat=3)))
    for row in range(2):
        texts = torch.cat([ids[row].expand(64, 3), endings], dim=1)
        with torch.no_grad():
            log_p = model(texts).logits.log_softmax(-1)[:, 2:-1].gather(2, endings[..., None]).sum((1, 2))
        best = log_p.topk(5)
        assert torch.equal(given.sequences[row * 5 : row * 5 + 5], texts[best.indices])
        torch.testing.assert_close(given.sequences_scores[row * 5 : row * 5 + 5], best.values, rtol=0, atol=1e-5)


@pytest.mark.parametrize("options", [{"num_beams": 1}, {"num_beams": 3}, {"use_cache": False}], ids=str)
def test_a_prompt_padded_on_the_left_goes_on_as_it_does_alone(options: dict) -> None:
    model = make(RnnForCausalLM, pad_token_id=0)
    ids = tokens(3, 6)
    mask = torch.tensor([[0, 0, 0, 0, 1, 1], [1, 1, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1]])
    together = model.generate(ids, attention_mask=mask, max_new_tokens=9, do_sample=False, **options)
    for row in range(3):
        prompt = ids[row : row + 1, mask[row].bool()]
        alone = model.generate(prompt, max_new_tokens=9, do_sample=False, **options)
        assert torch.equal(together[row, 6:], alone[0, prompt.shape[1] :])


def test_every_new_token_costs_one_step() -> None:
    model, ids = make(RnnForCausalLM), tokens(2, 7)
    lengths = []
    model.rnn.encoder.register_forward_hook(lambda module, given, result: lengths.append(given[0].shape[1]))
    model.generate(ids, max_new_tokens=40, do_sample=False)
    assert lengths == [7] + [1] * 39


def test_generation_goes_on_from_an_earlier_texts_state() -> None:
    model, ids = make(RnnForCausalLM), tokens(2, 9)
    whole = model.generate(ids, max_new_tokens=8, do_sample=False)
    state = model(ids[:, :5]).state
    assert torch.equal(model.generate(ids[:, 5:], state=state, max_new_tokens=8, do_sample=False), whole[:, 5:])
    given = model.generate(ids, max_new_tokens=8, do_sample=False, return_dict_in_generate=True)
    later = model.generate(whole[:, -1:], state=given.past_key_values, max_new_tokens=4, do_sample=False)
    expected = model.generate(whole, max_new_tokens=4, do_sample=False)
    assert torch.equal(later[:, 1:], expected[:, 17:])


def test_a_text_ends_at_its_last_token() -> None:
    model = make(RnnForCausalLM, eos_token_id=3, pad_token_id=0)
    model.lm_head.bias.data[3] += 0.5
    given = model.generate(tokens(6, 2), max_new_tokens=30, do_sample=True, top_k=0)
    for text in given[:, 2:].tolist():
        assert 3 not in text or not any(text[text.index(3) + 1 :])
    assert (given[:, 2:] == 3).any()


def test_generation_gives_each_steps_hidden_states_when_asked() -> None:
    model, ids = make(RnnForCausalLM), tokens(2, 4)
    given = model.generate(
        ids, max_new_tokens=3, do_sample=False, return_dict_in_generate=True, output_hidden_states=True
    )
    assert [[tuple(hidden.shape) for hidden in step] for step in given.hidden_states] == [
        [(2, length, 5), (2, length, 6), (2, length, 6)] for length in (4, 1, 1)
    ]


# Bad input


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"cell": "mamba"}, "cell"),
        ({"hidden_size": 0}, "hidden_size must be at least 1, got 0"),
        ({"num_hidden_layers": 0}, "num_hidden_layers must be at least 1"),
        ({"vocab_size": 0}, "vocab_size must be at least 1"),
        ({"embedding_size": -1}, "embedding_size must be at least 1"),
        ({"weight_dropout_prob": 1.0}, "weight_dropout_prob must be at least 0 and below 1, got 1.0"),
        ({"input_dropout_prob": -0.1}, "input_dropout_prob must be at least 0"),
        ({"pooling": "first"}, "pooling"),
    ],
)
def test_a_config_that_cannot_work_is_refused(fields: dict, message: str) -> None:
    with pytest.raises(StrictDataclassError) as caught:
        RnnConfig(**fields)
    assert message in f"{caught.value} {caught.value.__cause__}"


def test_a_language_model_of_both_directions_is_refused() -> None:
    with pytest.raises(ValueError, match="bidirectional must be false"):
        RnnForCausalLM(RnnConfig(bidirectional=True))


IDS = torch.tensor([[1, 2, 3], [4, 5, 6]])


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"input_ids": torch.tensor([[1, 13]])}, "below vocab_size 13, got 1 to 13"),
        ({"input_ids": torch.tensor([[-1, 2]])}, "at least 0 and below vocab_size 13, got -1 to 2"),
        ({"input_ids": torch.zeros(2, 3)}, "must be integers of shape"),
        ({"input_ids": torch.tensor([1, 2])}, "must be integers of shape"),
        ({"input_ids": torch.zeros(2, 0, dtype=torch.int64)}, "at least one of each"),
        ({"input_ids": torch.zeros(0, 2, dtype=torch.int64)}, "at least one of each"),
        ({"input_ids": IDS, "attention_mask": torch.tensor([[1, 1, 1], [0, 0, 0]])}, "0 all along row 1"),
        ({"input_ids": IDS, "attention_mask": torch.ones(2, 4)}, r"attention_mask must have the shape \(2, 3\)"),
        ({"input_ids": IDS, "attention_mask": torch.ones(3, 3)}, r"attention_mask must have the shape \(2, 3\)"),
        ({"input_ids": IDS, "state": torch.zeros(2, 2, 2, 7)}, r"state must have the shape \(2, 2, 2, 6\)"),
        ({"input_ids": IDS, "state": torch.zeros(1, 2, 2, 6)}, r"state must have the shape \(2, 2, 2, 6\)"),
        ({"inputs_embeds": torch.zeros(2, 3, 4)}, r"shape \(rows, steps, 5\)"),
        ({}, "either input_ids or inputs_embeds"),
        ({"input_ids": IDS, "inputs_embeds": torch.zeros(2, 3, 5)}, "either input_ids or inputs_embeds"),
    ],
)
def test_what_the_network_cannot_read_is_refused_in_one_line(inputs: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        make()(**inputs)
    assert "\n" not in str(caught.value)


def test_labels_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"labels must have the tokens' shape \(2, 3\), got \(2, 2\)"):
        make(RnnForCausalLM)(IDS, shift_labels=IDS[:, :2])
