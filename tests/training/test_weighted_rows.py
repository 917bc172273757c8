"""Weights of rows in the loss: a row of weight k is k rows, however the batch is cut, whatever the head."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch import nn
from toy_run import ToyColumns, make_model, plain, run_toy

from hubmodels import families
from hubmodels.data import Batches
from hubmodels.errors import HubmodelsError
from hubmodels.recipe import TrainingArguments
from hubmodels.tasks.inputs.image_augmentation import mixup_weighted
from hubmodels.training import train
from hubmodels.training.losses import balanced_weights, make_loss

WEIGHTS = torch.tensor([1.0, 3, 0, 2, 1, 2])
TIMES = WEIGHTS.long()
CLASSES = torch.tensor([0, 1, 2, 0, 1, 1])
MLP = {"num_numeric_features": 3, "hidden_sizes": [8], "num_labels": 3}
RNN = {"hidden_size": 8, "embedding_size": 4, "num_hidden_layers": 1, "vocab_size": 20, "num_labels": 3}
TRANSFORMER = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "num_labels": 3}
ONE, MANY, NUMBER = "single_label_classification", "multi_label_classification", "regression"

HEADS: dict[str, tuple[str, str, dict[str, Any], str]] = {  # family, head, fields, inputs
    "mlp one class": ("mlp", "ForTabularClassification", {**MLP, "problem_type": ONE}, "table"),
    "mlp ensemble": ("mlp", "ForTabularClassification", {**MLP, "problem_type": ONE, "num_ensemble": 2}, "table"),
    "mlp labels": ("mlp", "ForTabularClassification", {**MLP, "problem_type": MANY}, "table"),
    "mlp numbers": ("mlp", "ForTabularRegression", {**MLP, "problem_type": NUMBER}, "table"),
    "mlp quantiles of an ensemble": (
        "mlp", "ForTabularRegression", {**MLP, "problem_type": NUMBER, "quantiles": [0.1, 0.9], "num_ensemble": 2},
        "table",
    ),
    "cnn": (
        "cnn", "ForImageClassification",
        {"hidden_sizes": [4], "depths": [1], "embedding_size": 4, "num_channels": 1, "image_size": 6, "num_labels": 3,
         "problem_type": ONE}, "image",
    ),
    "rnn texts": ("rnn", "ForSequenceClassification", {**RNN, "problem_type": ONE}, "text"),
    "rnn labels": ("rnn", "ForSequenceClassification", {**RNN, "problem_type": MANY}, "text"),
    "rnn tags": ("rnn", "ForTokenClassification", RNN, "tags"),
    "transformer texts": (
        "transformer", "ForSequenceClassification",
        {**TRANSFORMER, "vocab_size": 20, "is_causal": False, "problem_type": ONE}, "text",
    ),
}  # fmt: skip


def make_batch(kind: str, problem_type: str | None) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    if kind == "table":
        batch = {"numeric_features": torch.randn(6, 3, generator=draw)}
    elif kind == "image":
        batch = {"pixel_values": torch.randn(6, 1, 6, 6, generator=draw)}
    else:
        batch = {"input_ids": torch.randint(1, 20, (6, 4), generator=draw)}
    if kind == "tags":
        labels = CLASSES[:, None].repeat(1, 4)
        labels[::2, 2:] = -100  # rows have two words, or four
        return {**batch, "labels": labels}
    labels = {MANY: torch.randint(2, (6, 3), generator=draw).float(), NUMBER: torch.randn(6, 3, generator=draw)}
    return {**batch, "labels": labels.get(problem_type or ONE, CLASSES)}


class Columns:
    """Encoded rows held as tensors."""

    def __init__(self, **tensors: torch.Tensor) -> None:
        self.tensors = tensors

    def __len__(self) -> int:
        return len(self.tensors["labels"])

    def batch(self, rows: torch.Tensor) -> dict[str, torch.Tensor]:
        return {name: value[rows] for name, value in self.tensors.items()}

    def tensor(self, name: str) -> torch.Tensor:
        return self.tensors[name]


def arguments(**options: Any) -> TrainingArguments:
    return TrainingArguments(**options)


def gradients(model: nn.Module, loss: torch.Tensor) -> list[torch.Tensor]:
    return [torch.zeros(()) if one is None else one
            for one in torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)]  # fmt: skip


@pytest.mark.parametrize("options", [{}, {"class_weights": "balanced"}, {"label_smoothing_factor": 0.1}])
@pytest.mark.parametrize("name", HEADS)
def test_a_row_of_weight_k_is_k_rows(name: str, options: dict) -> None:
    family, head, fields, kind = HEADS[name]
    torch.manual_seed(0)
    model = families.build_model(family, head, {"hidden_dropout_prob": 0.0} | fields).train()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):  # statistics of a batch are of its rows, not weights
            module.eval()
    if options and fields.get("problem_type", ONE) != ONE:
        with pytest.raises(HubmodelsError, match="need a classifier with one class a row"):
            make_loss(arguments(**options), model, Columns(labels=CLASSES), torch.device("cpu"))
        return
    batch = make_batch(kind, fields.get("problem_type"))
    weighted = {**batch, "sample_weight": WEIGHTS}
    copies = {key: value.repeat_interleave(TIMES, dim=0) for key, value in batch.items()}
    cpu = torch.device("cpu")
    of_weights = make_loss(arguments(**options), model, Columns(**weighted), cpu, weighted=True)
    of_copies = make_loss(arguments(**options), model, Columns(**copies), cpu)
    first, _ = of_weights(model, weighted, None)
    second, _ = of_copies(model, copies, None)
    assert first.item() == pytest.approx(second.item(), rel=1e-5)  # float32 sums in another order
    for one, other in zip(gradients(model, first), gradients(model, second), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_weights_of_mean_1_are_no_weights_and_only_ratios_matter() -> None:
    model = families.build_model("mlp", "ForTabularClassification", {**MLP, "problem_type": ONE}).eval()
    batch = make_batch("table", ONE)
    for value in (1.0, 1e-30, 1e30):
        weighted = {**batch, "sample_weight": torch.full((6,), value)}
        loss = make_loss(arguments(), model, Columns(**weighted), torch.device("cpu"), weighted=True)
        assert loss(model, weighted, None)[0].item() == pytest.approx(model(**batch).loss.item(), rel=1e-6)


class WeightedToys(ToyColumns):
    """Toys whose rows weigh 0 to 3."""

    def __init__(self) -> None:
        super().__init__()
        self.columns["sample_weight"] = torch.arange(len(self)) % 4.0


def with_weights(batch: dict, generator: torch.Generator | None) -> dict:
    return {**plain(batch, generator), "sample_weight": batch["sample_weight"]}


@pytest.mark.parametrize("cut", [{"per_device_train_batch_size": 32},
                                 {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 4}])  # fmt: skip
def test_training_does_not_depend_on_how_a_step_is_cut(tmp_path: Path, cut: dict) -> None:
    weights = []
    for number, options in enumerate(({"per_device_train_batch_size": 32}, cut)):
        model = make_model("classifier", norm=False, dropout=0.0)
        given = TrainingArguments(max_steps=4, eval_strategy="no", save_strategy="no", learning_rate=0.01, **options)
        train(model, Batches(WeightedToys(), seed=0), given, transform=with_weights,
              output_dir=tmp_path / str(number), weighted=True)  # fmt: skip
        weights.append(torch.cat([parameter.detach().flatten() for parameter in model.parameters()]))
    torch.testing.assert_close(weights[0], weights[1], rtol=1e-4, atol=1e-5)


def test_players_have_no_loss_of_a_row(tmp_path: Path) -> None:
    model = make_model("gan")
    with pytest.raises(HubmodelsError, match="weight_column needs a loss of each row, which ToyGan has not"):
        make_loss(arguments(), model, Batches(WeightedToys(), seed=0), torch.device("cpu"), weighted=True)


def test_without_weights_the_loss_is_the_models_own(tmp_path: Path) -> None:
    from hubmodels.training.losses import model_loss

    model, _ = run_toy(tmp_path, max_steps=1)
    assert make_loss(arguments(), model, Batches(ToyColumns(), seed=0), torch.device("cpu")) is model_loss


def test_balanced_weights_count_rows_by_their_weights() -> None:
    repeated = CLASSES.repeat_interleave(TIMES)
    expected = torch.tensor(compute_class_weight("balanced", classes=np.array([0, 1]), y=repeated.numpy())).float()
    weights = balanced_weights(CLASSES, 3, WEIGHTS)
    assert torch.allclose(weights, torch.cat([expected, torch.zeros(1)]))  # class 2 has weight 0 alone


def test_mixup_brings_each_rows_label_by_its_weight() -> None:
    pixels, labels = torch.randn(4, 1, 2, 2), torch.tensor([0, 1, 2, 1])
    weights = torch.tensor([0.0, 1, 2, 3])
    mixed = [
        mixup_weighted({"pixel_values": pixels, "labels": labels, "sample_weight": some}, 3, 0.4,
                       torch.Generator().manual_seed(5)) for some in (torch.ones(4), weights)
    ]  # fmt: skip
    plain_mix = mixup_weighted({"pixel_values": pixels, "labels": labels}, 3, 0.4, torch.Generator().manual_seed(5))
    assert torch.allclose(mixed[0]["labels"], plain_mix["labels"])
    assert torch.equal(mixed[1]["pixel_values"], plain_mix["pixel_values"])
    logits = torch.randn(4, 3)
    # By hand: each blended row's loss is the blend of weight times loss of its two rows.
    losses = torch.nn.functional.cross_entropy(logits, mixed[1]["labels"], reduction="none") * mixed[1]["sample_weight"]
    one_hot = torch.eye(3)[labels] * weights[:, None]
    generator = torch.Generator().manual_seed(5)
    gammas = torch._standard_gamma(torch.full((2,), 0.4), generator=generator).clamp_(min=1e-30)
    part = gammas[0] / gammas.sum()
    partner = torch.randperm(4, generator=generator)
    blend = part * one_hot + (1 - part) * one_hot[partner]
    by_hand = -(blend * logits.log_softmax(1)).sum(1)
    torch.testing.assert_close(losses, by_hand, rtol=1e-5, atol=1e-6)
