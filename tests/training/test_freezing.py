"""Fine-tuning of the head alone: the body's weights and statistics stay bit for bit."""

from pathlib import Path

import pytest
import torch
from torch import nn
from toy_run import ToyClassifier, ToyColumns, plain

from hubmodels import CnnConfig, CnnForImageClassification, MlpConfig, MlpForTabularRegression
from hubmodels.data import Batches
from hubmodels.errors import HubmodelsError
from hubmodels.models.gan.configuration_gan import GanConfig
from hubmodels.models.gan.modeling_gan import GanModel
from hubmodels.recipe import Recipe, TrainingArguments
from hubmodels.recipes import parse_recipe
from hubmodels.report import collect_notes
from hubmodels.training import train
from hubmodels.training.freezing import freeze_body, training_mode


def small_cnn() -> CnnForImageClassification:
    torch.manual_seed(0)
    return CnnForImageClassification(
        CnnConfig(num_channels=1, image_size=6, hidden_sizes=[4], depths=[1], embedding_size=4, num_labels=3)
    )


def fine_tune(model: nn.Module, folder: Path, **options: object) -> None:
    arguments = TrainingArguments(
        freeze_backbone=True, max_steps=5, per_device_train_batch_size=32, learning_rate=0.1, eval_strategy="no",
        save_strategy="no", **options,
    )  # fmt: skip
    train(model, Batches(ToyColumns(), seed=0), arguments, transform=plain, output_dir=folder)


@pytest.mark.parametrize(
    "options",
    [{"weight_decay": 0.5}, {"ema_decay": 0.9}, {"optim": "sgd", "weight_decay": 0.5}, {"torch_compile": False}],
    ids=["decay", "average", "sgd", "plain"],
)
def test_the_body_stays_bit_for_bit_and_the_head_learns(tmp_path: Path, options: dict) -> None:
    model = small_cnn()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert any("running_mean" in name for name in before)
    fine_tune(model, tmp_path, **options)
    after = model.state_dict()
    for name, value in before.items():
        assert after[name].equal(value) == name.startswith("cnn."), name


def test_a_frozen_body_stays_in_eval_mode_and_the_head_does_not() -> None:
    model = small_cnn()
    freeze_body(model)
    training_mode(model)
    assert not any(module.training for module in model.cnn.modules())
    assert model.training
    assert model.classifier.training


def test_without_freezing_the_whole_model_trains() -> None:
    model = small_cnn()
    training_mode(model)
    assert all(module.training for module in model.modules())


def test_the_number_of_trained_weights_is_a_note() -> None:
    model = small_cnn()
    with collect_notes() as notes:
        freeze_body(model)
    head = sum(parameter.numel() for name, parameter in model.named_parameters() if not name.startswith("cnn."))
    assert [note.topic for note in notes] == ["training"]
    assert f"{head:,} of {sum(p.numel() for p in model.parameters()):,} weights" in notes[0].text


def test_the_numbers_of_a_table_have_a_body_too() -> None:
    model = MlpForTabularRegression(MlpConfig(num_numeric_features=3, hidden_sizes=[4], num_labels=1))
    freeze_body(model)
    assert {name.split(".")[0] for name, weight in model.named_parameters() if weight.requires_grad} == {"output_layer"}


def test_a_model_without_body_and_head_is_refused() -> None:
    gan = GanModel(GanConfig(image_size=8, num_channels=1))
    for model in (gan, ToyClassifier()):
        with pytest.raises(HubmodelsError, match=r"freeze_backbone needs a body and a head; (GanModel|ToyClassifier)"):
            freeze_body(model)


def test_freezing_without_a_checkpoint_is_refused() -> None:
    recipe = Recipe(family="cnn", task="image-classification", training={"freeze_backbone": True})
    with pytest.raises(HubmodelsError, match="name it with --model_name_or_path"):
        parse_recipe(recipe)
    recipe.model_name_or_path = "somewhere"
    assert parse_recipe(recipe)[2].freeze_backbone
