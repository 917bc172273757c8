"""Optimizers, schedules and averaged weights against torch by hand."""

import math

import pytest
import torch
from torch import nn
from toy_run import ToyColumns, make_model, plain, run_toy

from hubmodels.data import Batches
from hubmodels.errors import HubmodelsError
from hubmodels.recipe import TrainingArguments
from hubmodels.training.optimization import WeightAverage, make_optimizer, make_players, without_decay

STILL = {"norm": False, "dropout": 0.0}  # a model whose steps have no randomness


def test_norms_biases_and_embeddings_are_not_decayed() -> None:
    model = nn.ModuleDict(
        {
            "embedding": nn.Embedding(5, 4),
            "linear": nn.Linear(4, 4),
            "norm": nn.LayerNorm((2, 4)),  # a norm whose weight is a matrix
            "batch_norm": nn.BatchNorm1d(4),
            "convolution": nn.Conv2d(1, 4, 3),
        }
    )
    kept = without_decay(model)
    decayed = {name for name, parameter in model.named_parameters() if id(parameter) not in kept}
    assert decayed == {"linear.weight", "convolution.weight"}
    groups = make_optimizer(model, dict(model.named_parameters()), TrainingArguments(weight_decay=0.1)).param_groups
    assert [(group["weight_decay"], len(group["params"])) for group in groups] == [(0.1, 2), (0.0, 7)]


def train_by_hand(model: nn.Module, optimizer: torch.optim.Optimizer, rate, num_epochs: int) -> list[float]:
    """The loop that anybody would write: rows in the epoch's order, clipped to norm 1. `rate` gives step -> factor."""
    columns, losses, step = ToyColumns(), [], 0
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    for epoch in range(num_epochs):
        order = [row for number in range(5) for row in Batches(columns, seed=42).row_numbers(epoch, number, 32)]
        for rows in torch.tensor(order).split(32):
            optimizer.zero_grad()
            loss = model(**plain(columns.batch(rows), None)).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
            losses.append(loss.item())
            step += 1
    return losses


@pytest.mark.parametrize("optim", ["adamw", "sgd"])
def test_training_equals_a_hand_written_torch_loop(tmp_path, optim: str) -> None:
    by_hand = make_model("classifier", **STILL)
    weights = [p for p in by_hand.parameters() if p.ndim > 1]
    others = [p for p in by_hand.parameters() if p.ndim <= 1]
    groups = [{"params": weights, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    if optim == "sgd":
        optimizer = torch.optim.SGD(groups, lr=0.05, momentum=0.8, nesterov=True, foreach=False)
    else:
        optimizer = torch.optim.AdamW(groups, lr=0.05, betas=(0.8, 0.95), eps=1e-6, foreach=False)

    def cosine(step: int) -> float:  # two steps of warm-up, then half a cosine over the other eight
        return step / 2 if step < 2 else 0.5 * (1 + math.cos(math.pi * (step - 2) / 8))

    expected = train_by_hand(by_hand, optimizer, cosine, num_epochs=2)
    model, run = run_toy(
        tmp_path, model=STILL, optim=optim, learning_rate=0.05, weight_decay=0.1, momentum=0.8, adam_beta1=0.8,
        adam_beta2=0.95, adam_epsilon=1e-6, lr_scheduler_type="cosine", warmup_steps=0.2,
    )  # fmt: skip
    # 1e-5: the fused kernels add in another order
    assert [line["loss"] for line in run.history if "loss" in line] == pytest.approx(expected, rel=1e-5)
    for found, value in zip(model.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(found, value, rtol=1e-4, atol=1e-6)


def test_accumulating_4_x_32_equals_1_x_128_with_a_partial_last_step(tmp_path) -> None:
    common = {"model": STILL, "num_rows": 300, "class_weights": "balanced", "label_smoothing_factor": 0.1}
    small, _ = run_toy(tmp_path / "4", per_device_train_batch_size=32, gradient_accumulation_steps=4, **common)
    large, run = run_toy(tmp_path / "1", per_device_train_batch_size=128, gradient_accumulation_steps=1, **common)
    assert run.steps == 2 * 3  # 128 + 128 + 44
    for found, expected in zip(small.parameters(), large.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_averaged_weights_are_the_exponential_sum_by_hand_with_batch_statistics() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    average = WeightAverage(model, 0.8)
    expected = None
    for number in range(60):
        decay = min(0.8, (1 + number) / (10 + number))  # 0.8 from the 35th on
        model(torch.randn(8, 3))  # moves the batch statistics
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter))
        now = {name: value.clone().double() for name, value in model.state_dict().items()}
        expected = now if expected is None else {name: decay * expected[name] + (1 - decay) * now[name] for name in now}
        average.update()
    for name, value in average.model.state_dict().items():
        if name.endswith("num_batches_tracked"):
            assert value == 60
        else:
            torch.testing.assert_close(value.double(), expected[name], rtol=1e-5, atol=1e-6)


def test_the_average_of_a_short_run_is_near_its_last_weights() -> None:
    model = nn.Linear(1, 1, bias=False)
    average = WeightAverage(model, decay=0.9999)
    for value in range(100):
        with torch.no_grad():
            model.weight.fill_(float(value))
        average.update()
    assert average.model.weight.item() > 80


def test_only_what_a_model_names_is_averaged_and_the_rest_is_copied() -> None:
    model = nn.ModuleDict({"kept": nn.Linear(1, 1, bias=False), "last": nn.Linear(1, 1, bias=False)})
    model.averaged = ("kept",)
    average = WeightAverage(model, decay=0.5)
    for value in (1.0, 2.0, 4.0):
        with torch.no_grad():
            for weight in model.parameters():
                weight.fill_(value)
        average.update()
    assert average.model["kept"].weight.item() == pytest.approx(1 / 4 * (2 / 11 * 1 + 9 / 11 * 2) + 3 / 4 * 4)
    assert average.model["last"].weight.item() == 4


def test_the_averaged_weights_are_evaluated_and_kept(tmp_path) -> None:
    seen = []

    def evaluate(model: nn.Module) -> tuple[dict[str, float], list]:
        assert not model.training
        seen.append({name: value.clone() for name, value in model.state_dict().items()})
        return {"accuracy": 0.0}, []

    model, _ = run_toy(tmp_path, ema_decay=0.9, evaluate=evaluate)
    last, _ = run_toy(tmp_path / "last")
    for name, value in model.state_dict().items():
        assert torch.equal(value, seen[-1][name])
    assert not torch.equal(model.classifier.weight, last.classifier.weight)


def test_an_unknown_schedule_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(HubmodelsError, match="did you mean 'cosine'"):
        make_players(nn.Linear(2, 2), TrainingArguments(lr_scheduler_type="cosin"), 10)
    with pytest.raises(HubmodelsError, match="do not fit the schedule"):
        make_players(nn.Linear(2, 2), TrainingArguments(lr_scheduler_kwargs={"cycles": 2}), 10)


def test_coslog4_has_four_cycles_each_twice_as_long_as_the_last() -> None:
    arguments = TrainingArguments(lr_scheduler_type="coslog4", learning_rate=0.5, weight_decay=0.1)
    (player,) = make_players(nn.Linear(2, 2), arguments, total_steps=150)
    rates = []
    for _ in range(151):
        rates.append([group["lr"] for group in player.optimizer.param_groups])
        player.optimizer.step()
        player.scheduler.step()
    assert all(weights == biases for weights, biases in rates)
    first = [rate for rate, _ in rates]
    # The cycles end where 1 + 15 t is a power of two: at steps 0, 10, 30, 70 and 150; their peaks lie at 2^(k + 1/2).
    assert [first[step] for step in (0, 10, 30, 70, 150)] == pytest.approx([0] * 5, abs=1e-9)
    peaks = [step for step in range(1, 150) if first[step - 1] < first[step] > first[step + 1]]
    assert peaks == [round(10 * (2 ** (cycle + 0.5) - 1)) for cycle in range(4)]
    assert [first[step] for step in peaks] == pytest.approx([0.5] * 4, rel=0.02)
    assert first[5] == pytest.approx(0.25 * (1 - math.cos(2 * math.pi * math.log2(1.5))))
    with pytest.raises(HubmodelsError, match="leave out warmup_steps"):
        make_players(nn.Linear(2, 2), TrainingArguments(lr_scheduler_type="coslog4", warmup_steps=0.1), 10)


def test_a_model_without_weights_or_with_a_weight_of_no_player_is_refused() -> None:
    with pytest.raises(HubmodelsError, match="no weights to train"):
        make_players(nn.Linear(2, 2).requires_grad_(False), TrainingArguments(), 10)
    gan = make_model("gan")
    gan.extra = nn.Parameter(torch.zeros(2))
    with pytest.raises(HubmodelsError, match="extra of ToyGan belongs to none of its players"):
        make_players(gan, TrainingArguments(), 10)


def test_each_player_is_stepped_in_turn_by_its_own_optimizer_on_the_same_rows(tmp_path) -> None:
    by_hand, columns = make_model("gan"), ToyColumns()
    optimizers = {
        name: torch.optim.AdamW(getattr(by_hand, name).parameters(), lr=0.01, weight_decay=0, foreach=False)
        for name in by_hand.players
    }
    expected = {name: [] for name in by_hand.players}
    for number in range(4):
        rows = torch.tensor(Batches(columns, seed=42).row_numbers(0, number, 32))
        batch = {
            "pixel_values": columns.batch(rows)["pixel_values"].float() / 128 - 1,
            "latents": columns.batch(rows)["latents"],
        }
        for name, optimizer in optimizers.items():
            by_hand.zero_grad()
            loss = by_hand(**batch, player=name).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(getattr(by_hand, name).parameters(), 1.0)
            optimizer.step()
            expected[name].append(loss.item())
    model, run = run_toy(tmp_path, "gan", max_steps=4, lr_scheduler_type="constant", eval_strategy="no")
    for name, losses in expected.items():
        assert [line[f"loss_{name}"] for line in run.history] == pytest.approx(losses, rel=1e-5)
    for found, value in zip(model.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(found, value, rtol=1e-4, atol=1e-6)
