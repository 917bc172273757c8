"""The GAN: networks, losses and penalties against sums by hand, the players' turns, what a trained one can be asked."""

import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from torch.nn import functional

from hubmodels import families
from hubmodels.data import Batches
from hubmodels.models.gan.configuration_gan import GanConfig
from hubmodels.models.gan.modeling_gan import GanModel
from hubmodels.models.gan.modeling_gan_networks import augment
from hubmodels.recipe import TrainingArguments
from hubmodels.training import train

SMALL = {
    "image_size": 8, "latent_size": 5, "generator_sizes": [8, 6], "discriminator_sizes": [6, 8], "group_size": 4,
    "class_embedding_size": 3,
}  # fmt: skip
TINY: dict[str, dict] = {
    "residual": SMALL,
    "dcgan": {**SMALL, "block": "dcgan", "loss": "hinge", "num_channels": 3, "r1_gamma": 0.0},
    "conditional": {**SMALL, "class_conditional": True, "num_labels": 3, "r2_gamma": 0.1, "depth": 2},
    "spectral": {
        **SMALL, "block": "dcgan", "normalization": "none", "spectral_norm": True, "loss": "wasserstein_gp",
        "r1_gamma": 0.0, "image_size": [8, 12],
    },
}  # fmt: skip


def tiny_inputs(config: Any, head: str, rows: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
    inputs = {"pixel_values": torch.rand(rows, *config.image_shape, generator=generator)}
    if config.class_conditional:
        inputs["labels"] = torch.arange(rows) % config.num_labels
    return inputs


def build(**fields: Any) -> GanModel:
    torch.manual_seed(0)
    return families.build_model("gan", "Model", {**SMALL, **fields}).train()


def batch(model: GanModel, rows: int = 6) -> dict[str, torch.Tensor]:
    inputs = tiny_inputs(model.config, "Model", rows, torch.Generator().manual_seed(1))
    return {**inputs, "latents": torch.randn(rows, 5, generator=torch.Generator().manual_seed(2))}


def score(model: GanModel, images: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
    return model.discriminator(images, labels)[0]


# ---------------------------------------------------------------- losses

SOFTPLUS = functional.softplus
LOSSES = {
    "non_saturating": (
        lambda real, fake: SOFTPLUS(-real).mean() + SOFTPLUS(fake).mean(),
        lambda real, fake: SOFTPLUS(-fake).mean(),
    ),
    "hinge": (
        lambda real, fake: (1 - real).clamp(min=0).mean() + (1 + fake).clamp(min=0).mean(),
        lambda real, fake: -fake.mean(),
    ),
    "wasserstein_gp": (lambda real, fake: fake.mean() - real.mean(), lambda real, fake: -fake.mean()),
    "relativistic": (
        lambda real, fake: SOFTPLUS(fake - real).mean(),
        lambda real, fake: SOFTPLUS(real - fake).mean(),
    ),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_each_players_loss_is_that_of_the_paper(loss: str) -> None:
    model = build(loss=loss, r1_gamma=0.0, gradient_penalty_weight=0.0)
    inputs = batch(model)
    with torch.no_grad():
        real = score(model, inputs["pixel_values"])
        fake = score(model, model.generator(inputs["latents"], None))
        for player, formula in zip(("discriminator", "generator"), LOSSES[loss], strict=True):
            torch.testing.assert_close(model(**inputs, player=player).loss, formula(real, fake))


def input_gradient(model: GanModel, images: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
    """The gradient of each score by its own image, one image at a time."""
    rows = []
    for index in range(len(images)):
        image = images[index : index + 1].detach().requires_grad_()
        label = None if labels is None else labels[index : index + 1]
        rows.append(torch.autograd.grad(score(model, image, label).sum(), image, create_graph=True)[0])
    return torch.cat(rows)


def compare_gradients(model: GanModel, loss: torch.Tensor, expected: torch.Tensor) -> None:
    """The gradients of two losses by the discriminator's weights are equal."""
    weights = [weight for weight in model.discriminator.parameters()]
    ours = torch.autograd.grad(loss, weights, allow_unused=True)
    theirs = torch.autograd.grad(expected, weights, allow_unused=True)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_r1_and_r2_and_their_gradients_are_those_of_each_image_alone() -> None:
    model = build(r1_gamma=0.7, r2_gamma=0.3, penalty_interval=4, class_conditional=True, num_labels=3)
    inputs = batch(model)
    generated = model.generator(inputs["latents"], inputs["labels"]).detach()
    outputs = model(**inputs, player="discriminator")
    real, fake = score(model, inputs["pixel_values"], inputs["labels"]), score(model, generated, inputs["labels"])
    slopes = [input_gradient(model, images, inputs["labels"]) for images in (inputs["pixel_values"], generated)]
    r1, r2 = (slope.square().sum((1, 2, 3)).mean() for slope in slopes)
    torch.testing.assert_close(outputs.measures["r1"], r1.detach())
    torch.testing.assert_close(outputs.measures["r2"], r2.detach())
    expected = SOFTPLUS(fake - real).mean() + 4 * (0.35 * r1 + 0.15 * r2)
    torch.testing.assert_close(outputs.loss, expected)
    compare_gradients(model, outputs.loss, expected)


def test_the_gradient_penalty_is_taken_between_real_and_generated_images() -> None:
    model = build(loss="wasserstein_gp", r1_gamma=0.0, gradient_penalty_weight=10.0, penalty_interval=1)
    inputs = batch(model)
    torch.manual_seed(5)
    outputs = model(**inputs, player="discriminator")
    torch.manual_seed(5)
    share = torch.rand(6, 1, 1, 1)
    generated = model.generator(inputs["latents"], None).detach()
    between = share * inputs["pixel_values"] + (1 - share) * generated
    penalty = (input_gradient(model, between).flatten(1).norm(dim=1) - 1).square().mean()
    expected = score(model, generated).mean() - score(model, inputs["pixel_values"]).mean() + 10 * penalty
    torch.testing.assert_close(outputs.loss, expected)
    compare_gradients(model, outputs.loss, expected)


def test_a_penalty_is_due_every_so_many_forwards_of_the_discriminator_and_the_count_is_stored(tmp_path) -> None:
    model = build(penalty_interval=3)
    inputs = batch(model)
    due = []
    for _ in range(7):
        due.append("r1" in model(**inputs, player="discriminator").measures)
        model(**inputs, player="generator")
    assert due == [True, False, False, True, False, False, True]
    model.save_pretrained(tmp_path)
    assert GanModel.from_pretrained(tmp_path).num_forwards == 7


def test_a_penalty_that_is_not_finite_is_refused() -> None:
    model = build()
    with torch.no_grad():
        model.discriminator.score.weight.fill_(float("inf"))
    with pytest.raises(ValueError, match="the penalty r1 of the discriminator is"):
        model(**batch(model), player="discriminator")


@pytest.mark.parametrize("player", ["discriminator", "generator"])
def test_a_players_loss_has_no_gradient_for_the_other_one(player: str) -> None:
    model = build()
    model(**batch(model), player=player).loss.backward()
    other = {"discriminator": "generator", "generator": "discriminator"}[player]
    assert all(weight.grad is None for weight in getattr(model, other).parameters())
    assert any(weight.grad.abs().max() > 0 for weight in getattr(model, player).parameters())
    assert all(weight.requires_grad for weight in model.parameters())


def test_without_a_player_the_loss_is_the_sum_of_both() -> None:
    model = build(r1_gamma=0.0)
    inputs = batch(model)
    parts = [model(**inputs, player=player).loss for player in model.players]
    torch.testing.assert_close(model(**inputs).loss, sum(parts))


# ---------------------------------------------------------------- networks


def test_scores_of_a_conditional_discriminator_are_projections_on_the_classes() -> None:
    model = build(class_conditional=True, num_labels=3).eval()
    images = batch(model)["pixel_values"]
    plain, first, second = (
        score(model, images, labels) for labels in (None, torch.zeros(6).long(), torch.ones(6).long())
    )
    weight = model.discriminator.class_embedding.weight
    with torch.no_grad():
        weight[1] = weight[0] * 3
    torch.testing.assert_close(
        score(model, images, torch.ones(6).long()) - plain, 3 * (first - plain), rtol=1e-4, atol=1e-5
    )
    assert not torch.allclose(first, second)


def test_the_spectral_norm_of_every_weight_of_the_discriminator_becomes_one() -> None:
    model = build(spectral_norm=True)
    inputs = batch(model)
    for _ in range(60):  # power iterations
        model(**inputs, player="discriminator")
    layers = [layer for layer in model.discriminator.modules() if getattr(layer, "spectral", False)]
    assert len(layers) > 4
    for layer in layers:
        assert torch.linalg.matrix_norm(layer.normalized().flatten(1), 2).item() == pytest.approx(1, abs=0.03)
    assert not any(getattr(layer, "spectral", False) for layer in model.generator.modules())


@pytest.mark.parametrize(
    ("size", "channels", "stages"), [(28, 1, 3), (32, 3, 4), (64, 3, 5), (128, 3, 6), ([28, 36], 1, 3)]
)
@pytest.mark.parametrize("block", ["dcgan", "residual"])
def test_images_of_every_size_are_drawn_and_judged(size: Any, channels: int, stages: int, block: str) -> None:
    sizes = [4] * stages
    model = build(image_size=size, num_channels=channels, generator_sizes=sizes, discriminator_sizes=sizes, block=block)
    images = model.sample(2)
    assert images.shape == (2, *model.config.image_shape)
    assert 0 <= images.min() <= images.max() <= 1
    assert model.discriminate(images).shape == (2,)


# ---------------------------------------------------------------- augmentation


def test_each_augmentation_does_what_its_name_says_to_its_share_of_the_images() -> None:
    images = torch.rand(2000, 1, 8, 8) * 0.5 + 0.25
    share = torch.tensor(0.3)
    draws = torch.rand(2000, 1, 3)
    for name in ("brightness", "translation", "cutout"):
        found = augment(images, [name], share, draws)
        changed = (found != images).flatten(1).any(1)
        assert changed[draws[:, 0, 0] >= 0.3].sum() == 0
        # A translation by less than half a pixel changes nothing.
        assert changed[draws[:, 0, 0] < 0.3].float().mean() > (0.7 if name == "translation" else 0.99)
    shifted = augment(images[:1], ["brightness"], torch.tensor(1.0), torch.tensor([[[0.0, 0.9, 0.0]]]))
    torch.testing.assert_close(shifted, images[:1] + 0.2)
    moved = augment(images[:1], ["translation"], torch.tensor(1.0), torch.tensor([[[0.0, 0.99, 0.0]]]))
    expected = torch.zeros_like(images[:1])
    expected[..., 1:, :-1] = images[:1, :, :-1, 1:]  # one down, one to the left
    torch.testing.assert_close(moved, expected)
    cut = augment(images[:1], ["cutout"], torch.tensor(1.0), torch.tensor([[[0.0, 0.5, 0.5]]]))
    assert (cut == 0.5).sum() == 9  # less than 2 pixels from the middle


def test_augmentation_is_differentiable_in_the_images() -> None:
    images = torch.rand(3, 1, 8, 8, dtype=torch.float64, requires_grad=True)
    draws = torch.rand(3, 3, 3, dtype=torch.float64)
    names = ["brightness", "translation", "cutout"]
    assert torch.autograd.gradcheck(lambda x: augment(x, names, torch.tensor(0.7), draws), (images,))


def test_the_share_rises_while_the_discriminator_is_too_sure_and_falls_when_it_is_not() -> None:
    model = build(augmentation_target=0.6, augmentation_prob=0.5, augmentation_speed=100)
    model.adapt(torch.tensor(0.9), 10)
    assert model.augmentation_prob.item() == pytest.approx(0.6)
    for _ in range(3):
        model.adapt(torch.tensor(0.1), 10)
    assert model.augmentation_prob.item() == pytest.approx(0.3)
    inputs = batch(model)
    before = model.augmentation_prob.item()
    measures = model(**inputs, player="discriminator").measures
    assert abs(model.augmentation_prob.item() - before) == pytest.approx(0.06)
    assert measures["augmentation_prob"] == model.augmentation_prob


def test_a_game_that_is_lost_is_named() -> None:
    model = build()
    lost = {"loss_discriminator": 1e-4, "loss_generator": 9.0, "real_score": 5.0, "fake_score": -5.0}
    assert "the generator learns nothing" in model.diagnose(lost)
    assert model.diagnose({**lost, "loss_discriminator": 0.6}) is None
    assert model.diagnose({"loss": 1.0}) is None
    assert "all alike" in model.diagnose({**lost, "loss_discriminator": 0.6, "fake_spread": 0.02})


def test_the_spread_of_generated_images_is_that_over_the_batch_beside_the_real_ones() -> None:
    model = build()
    inputs = batch(model)
    with torch.no_grad():
        generated = model.generator(inputs["latents"], None)
    spreads = [part.var(0, unbiased=False).mean().sqrt() for part in (generated, inputs["pixel_values"])]
    measures = model(**inputs, player="discriminator").measures
    torch.testing.assert_close(measures["fake_spread"], spreads[0] / spreads[1])
    same = model(**{**inputs, "latents": inputs["latents"][:1].expand(6, -1)}, player="discriminator").measures
    assert same["fake_spread"] < 1e-3


class Pictures:
    """40 random pictures with classes, and with latents where asked, as the training loop reads them."""

    def __init__(self, latents: bool = False) -> None:
        generator = torch.Generator().manual_seed(0)
        self.pixels = torch.rand(40, 1, 8, 8, generator=generator)
        self.latents = torch.randn(40, 5, generator=generator) if latents else None

    def __len__(self) -> int:
        return 40

    def batch(self, rows: torch.Tensor) -> dict[str, torch.Tensor]:
        inputs = {"pixel_values": self.pixels[rows], "labels": rows % 3}
        return inputs if self.latents is None else {**inputs, "latents": self.latents[rows]}


def train_on_given_latents(folder: Path, batch_size: int) -> dict[str, torch.Tensor]:
    """The weights after seven steps that draw nothing at random: penalties, the adaptive share's measure, averages."""
    fields = {"class_conditional": True, "num_labels": 3, "penalty_interval": 3, "r2_gamma": 0.1}
    model = build(**fields, augmentation_target=0.5, augmentation_speed=100_000)
    arguments = TrainingArguments(
        per_device_train_batch_size=batch_size, ema_decay=0.9, save_strategy="no", eval_strategy="no", max_steps=7,
        optim="sgd", learning_rate=0.05, logging_steps=1, seed=1,  # Adam would blow up the rounding of gradients near 0
    )  # fmt: skip
    run = train(model, Batches(Pictures(latents=True), seed=1), arguments, output_dir=folder)
    logged = [entry for entry in run.history if "loss" in entry]
    return {**model.state_dict(), **{f"r1 {entry['step']}": torch.tensor(entry.get("r1", 0.0)) for entry in logged}}


TWO = """
import os, sys
from pathlib import Path
import torch, torch.distributed as dist
sys.path.insert(0, sys.argv[1])
import test_gan as cases
from hubmodels.processes import find_processes
find_processes()
weights = cases.train_on_given_latents(Path(sys.argv[2]), batch_size=4)
if dist.get_rank() == 0:
    torch.save(weights, sys.argv[2] + "/weights.pt")
dist.barrier()
os._exit(0)  # gloo's threads abort about one exit in thirty where they are taken down (torch 2.13)
"""


def test_two_processes_agree_with_one(tmp_path: Path) -> None:
    (tmp_path / "two").mkdir()
    (tmp_path / "two.py").write_text(TWO)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += [str(tmp_path / "two.py"), str(Path(__file__).parent), str(tmp_path / "two")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    together, alone = (
        torch.load(tmp_path / "two" / "weights.pt"),
        train_on_given_latents(tmp_path / "one", batch_size=8),
    )
    assert together.keys() == alone.keys()
    assert together["r1 1"] > 0
    for name, value in alone.items():
        torch.testing.assert_close(together[name], value, rtol=1e-3, atol=1e-5, msg=name)


def test_a_training_that_was_stopped_goes_on_to_the_same_weights_bit_for_bit(tmp_path) -> None:
    """With everything that has a memory: lazy penalties, the adaptive share, batch norm, averages, random latents."""
    fields = {
        "class_conditional": True, "num_labels": 3, "block": "dcgan", "penalty_interval": 3, "augmentation_target": 0.5,
        "augmentation_prob": 0.3, "augmentation_speed": 2000, "r2_gamma": 0.1,
    }  # fmt: skip
    common = {
        "per_device_train_batch_size": 8, "ema_decay": 0.9, "save_strategy": "steps", "save_steps": 4, "seed": 1,
        "eval_strategy": "no", "learning_rate": 0.003, "max_steps": 11,
    }  # fmt: skip

    class Stop(Exception):
        pass

    def run(folder: str, stop_after: int = 10**9, **options: Any) -> dict[str, torch.Tensor]:
        model, count = build(**fields), 0

        def transform(inputs: dict, generator: Any) -> dict:
            nonlocal count
            count += 1
            if count > stop_after:
                raise Stop
            return inputs

        arguments = TrainingArguments(**common, **options)
        batches = Batches(Pictures(), seed=arguments.seed)
        train(model, batches, arguments, transform=transform, output_dir=tmp_path / folder)
        return model.state_dict()

    whole = run("whole")
    with pytest.raises(Stop):
        run("stopped", stop_after=9)
    resumed = run("stopped", resume_from_checkpoint="latest")
    assert whole["num_forwards"] == 11
    assert 0 < whole["augmentation_prob"] != 0.3
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), name


# ---------------------------------------------------------------- what a trained model can be asked


def test_samples_come_from_the_generator_whatever_the_batch_size() -> None:
    model = build(class_conditional=True, num_labels=3)
    first, second = (model.sample(7, generator=torch.Generator().manual_seed(3), batch_size=size) for size in (256, 2))
    torch.testing.assert_close(first, second, rtol=0, atol=1e-6)
    assert not torch.equal(first, model.sample(7, generator=torch.Generator().manual_seed(4)))
    assert model.training  # as it was


def test_truncated_latents_are_within_their_bound_and_distributed_like_scipys() -> None:
    from scipy.stats import kstest, truncnorm

    latents = build().draw_latents(2000, torch.Generator().manual_seed(0), truncation=0.8)
    assert latents.abs().max() <= 0.8
    assert kstest(latents.flatten().numpy(), truncnorm(-0.8, 0.8).cdf).pvalue > 0.01


def test_a_sample_takes_the_truncation_of_the_config_unless_it_is_given_one() -> None:
    model, plain = build(truncation=0.8).eval(), build().eval()
    plain.load_state_dict(model.state_dict())

    def sample(model: GanModel, **options: Any) -> torch.Tensor:
        return model.sample(4, generator=torch.Generator().manual_seed(0), **options)

    torch.testing.assert_close(sample(model), sample(plain, truncation=0.8), rtol=0, atol=0)
    torch.testing.assert_close(sample(model, truncation=math.inf), sample(plain), rtol=0, atol=0)
    assert not torch.equal(sample(model), sample(plain))


def test_an_interpolation_keeps_its_ends_and_the_length_of_latents() -> None:
    model = build().eval()
    first, last = torch.randn(2, 3, 5)
    ways = model.interpolate(first, last, num_steps=5)
    assert ways.shape == (3, 5, 1, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(ways[:, 0], model.generator(first, None), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(ways[:, -1], model.generator(last, None), rtol=1e-4, atol=1e-5)


def test_inversion_finds_the_image_of_a_latent_again() -> None:
    model = build(class_conditional=True, num_labels=2).eval()
    labels = torch.tensor([0, 1])
    with torch.no_grad():
        for weight in model.generator.parameters():  # far enough from one grey for all latents
            weight.mul_(1.5)
        wanted = model.generator(torch.randn(2, 5), labels)
    latents, found = model.invert(wanted, labels, generator=torch.Generator().manual_seed(0))
    assert latents.shape == (2, 5)
    spread = (wanted - model.sample(64, labels=0)[:, None]).square().mean()
    assert (found - wanted).square().mean() < 0.05 * spread
    assert all(weight.grad is None for weight in model.parameters())


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda model: model(torch.rand(2, 1, 7, 8)), r"shape \(batch, 1, 8, 8\), got"),
        (lambda model: model(torch.rand(2, 1, 8, 8) * 255), "within 0..1"),
        (lambda model: model(torch.full((2, 1, 8, 8), float("nan"))), "within 0..1"),
        (lambda model: model(torch.rand(2, 1, 8, 8), labels=torch.tensor([0, 3])), "labels must be 0 to 2, got 0 to 3"),
        (lambda model: model(torch.rand(2, 1, 8, 8), labels=torch.tensor([0])), r"shape \(2,\)"),
        (lambda model: model.train()(torch.rand(2, 1, 8, 8)), "labels are needed: this model knows 3 classes"),
        (lambda model: model(torch.rand(2, 1, 8, 8), torch.tensor([0, 1]), player="judge"), "discriminator, generator"),
        (lambda model: model.sample(0), "at least 1, got 0"),
        (lambda model: model.sample(2, truncation=0.0), "truncation must be greater than 0"),
        (lambda model: model.sample(2, labels=5), "labels must be 0 to 2"),
        (lambda model: model.interpolate(torch.zeros(1, 4), torch.zeros(1, 4)), r"latents \(N, 5\)"),
        (lambda model: model.invert(torch.rand(1, 1, 8, 8), 0, num_steps=0), "num_steps and num_starts"),
    ],
)
def test_calls_that_do_not_fit_the_model_are_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(build(class_conditional=True, num_labels=3).eval())


def test_labels_for_a_model_without_classes_are_refused() -> None:
    with pytest.raises(ValueError, match="a model without classes"):
        build()(torch.rand(2, 1, 8, 8), labels=torch.tensor([0, 1]))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"image_size": 10, "generator_sizes": [8, 8, 8]}, "4 must divide image_size 10"),
        ({"discriminator_sizes": []}, "discriminator_sizes must be numbers of channels"),
        ({"image_size": 2}, "image_size must be at least 4"),
        ({"loss": "wasserstein_gp"}, "penalty of its own"),
        ({"augmentations": ["flip"]}, "must be of brightness, translation, cutout, got flip"),
        ({"augmentations": [], "augmentation_prob": 0.5}, "need augmentations"),
        ({"class_conditional": True, "num_labels": 1}, "num_labels of at least 2"),
        ({"r1_gamma": -1.0}, "r1_gamma must be at least 0"),
        ({"augmentation_target": 1.0}, "below 1"),
        ({"truncation": 0.0}, "finite and greater than 0, or None"),
        ({"truncation": math.inf}, "finite and greater than 0, or None"),
        ({"penalty_interval": 0}, "penalty_interval must be at least 1"),
    ],
)
def test_a_config_that_cannot_work_is_refused(fields: dict, message: str) -> None:
    with pytest.raises(StrictDataclassError, match=message):
        GanConfig(**{**SMALL, **fields})
