"""The diffusion model against the papers' formulas by hand, diffusers' own noising, and data whose score is known."""

import math
import subprocess
import sys
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from torch.nn import functional as F

from hubmodels import DiffusionConfig, DiffusionModel
from hubmodels.models.diffusion.modeling_diffusion_networks import attend, sinusoids, to_patches, to_pixels
from hubmodels.models.diffusion.modeling_diffusion_process import build_process
from hubmodels.models.diffusion.modeling_diffusion_sampling import Sampler
from hubmodels.models.diffusion.modeling_diffusion_schedulers import SCHEDULERS, make_scheduler

# What test_all_families.py runs over this family.
UNET = {"image_size": 8, "num_channels": 2, "hidden_sizes": [4, 8], "depth": 1, "num_norm_groups": 2,
        "attention_head_size": 4, "class_conditional": True, "num_labels": 3, "class_dropout_prob": 0.4}  # fmt: skip
DIT = {"backbone": "dit", "hidden_size": 8, "num_hidden_layers": 2, "attention_head_size": 4}
TINY = {
    "flow_unet": {**UNET, "attention_stages": [1]},
    "epsilon_unet_of_waveforms": {
        "data": "audio", "num_frames": 16, "data_mean": 0.0, "data_std": 0.3, "objective": "epsilon",
        "hidden_sizes": [4, 8], "depth": 1, "num_norm_groups": 2, "time_scale_shift": False,
    },
    "edm_dit": {**DIT, "image_size": 8, "num_channels": 2, "patch_size": 4, "objective": "edm", "time_mean": -1.2,
                "time_std": 1.2},
    "v_dit_of_spectrograms": {
        **DIT, "data": "audio", "num_frames": 8, "num_mel_bins": 4, "data_mean": [0.1, 0.2, 0.3, 0.4],
        "data_std": 0.5, "objective": "v_prediction", "class_conditional": True, "num_labels": 3,
        "class_dropout_prob": 0.4,
    },
}  # fmt: skip
FILES = {"scheduler_config.json"}
OBJECTIVES = ["flow_matching", "epsilon", "v_prediction", "edm"]


def tiny_inputs(config: DiffusionConfig, head: str, rows: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """Inputs of `forward`, with targets where the head has them."""
    name = "pixel_values" if config.data == "image" else "input_values"
    inputs = {name: torch.rand(rows, *config.row_shape, generator=generator)}
    if config.class_conditional:
        inputs["labels"] = torch.arange(rows) % 3
    return inputs


def build(seed: int = 0, **fields) -> DiffusionModel:
    torch.manual_seed(seed)
    return DiffusionModel(DiffusionConfig(**fields)).eval()


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def close(actual: torch.Tensor, expected: torch.Tensor, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(actual.double(), expected.double(), rtol=tolerance, atol=tolerance)


# What is noised how, and what is learnt of it: the formulas of the papers, in NumPy


def chain_products(schedule: str, count: int = 1000) -> np.ndarray:
    """The products of 1 - beta of diffusers' own scheduler."""
    return diffusers.DDPMScheduler(count, beta_schedule=schedule).alphas_cumprod.double().numpy()


def reference(objective: str, x: np.ndarray, noise: np.ndarray, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Noisy values and target, by the papers' equations; x and noise (B, N), times (B,)."""
    t = times[:, None]
    if objective == "flow_matching":  # arXiv:2210.02747, eq. 22 and 23 with sigma_min 0, time running to the noise
        return (1 - t) * x + t * noise, noise - x
    if objective == "edm":  # arXiv:2206.00364, eq. 8 and table 1 with sigma_data 1
        skip, out = 1 / (t**2 + 1), t / np.sqrt(t**2 + 1)
        noisy = x + t * noise
        return noisy, (x - skip * noisy) / out
    product = chain_products("squaredcos_cap_v2")[times.astype(int)][:, None]
    alpha, sigma = np.sqrt(product), np.sqrt(1 - product)
    noisy = alpha * x + sigma * noise  # arXiv:2006.11239, eq. 4
    return noisy, noise if objective == "epsilon" else alpha * noise - sigma * x  # arXiv:2202.00512, app. D


TIMES = {
    "flow_matching": [0.0, 0.3, 0.5, 0.99, 1.0], "edm": [0.01, 0.5, 1.0, 3.0, 80.0],
    "epsilon": [0, 1, 500, 998, 999], "v_prediction": [0, 1, 500, 998, 999],
}  # fmt: skip


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_loss_is_the_papers_squared_error(objective: str) -> None:
    model = build(**UNET, objective=objective)
    pixels, noise = torch.rand(5, 2, 8, 8, generator=seeded()), torch.randn(5, 2, 8, 8, generator=seeded(1))
    times, seen = torch.tensor(TIMES[objective], dtype=torch.float32), {}

    def network(inputs, network_times, labels):
        seen.update(inputs=inputs, times=network_times)
        return inputs * 0.5, []

    model.network.forward = network
    outputs = model(pixel_values=pixels, noise=noise, timesteps=times)
    x = 2 * pixels.double().flatten(1).numpy() - 1
    noisy, target = reference(objective, x, noise.double().flatten(1).numpy(), times.double().numpy())
    t = times.double().numpy()[:, None]
    inputs = noisy / np.sqrt(t**2 + 1) if objective == "edm" else noisy  # c_in of the paper's table 1
    close(seen["inputs"].flatten(1), torch.from_numpy(inputs), 2e-4)
    close(outputs.row_loss, torch.from_numpy(np.square(0.5 * inputs - target).mean(1)), 2e-4)
    close(outputs.loss, outputs.row_loss.mean())
    expected = {"flow_matching": 1000 * times, "edm": times.log() / 4}.get(objective, times)
    close(seen["times"], expected)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_target_gives_the_values_back(objective: str) -> None:
    process = build_process(DiffusionConfig(objective=objective))
    times = torch.tensor(TIMES[objective], dtype=torch.float32)[1:-1]
    x, noise = torch.randn(2, 3, 6, generator=seeded()).double()
    alpha, sigma = level = tuple(part[:, None].double() for part in process.levels(times))
    noisy = alpha * x + sigma * noise
    close(process.denoised(process.target(x, noise, noisy, level), noisy, level), x, 1e-4)


@pytest.mark.parametrize("schedule", ["linear", "scaled_linear", "squaredcos_cap_v2"])
def test_the_chain_is_that_of_diffusers(schedule: str) -> None:
    process = build_process(DiffusionConfig(objective="epsilon", beta_schedule=schedule))
    alpha, sigma = process.levels(torch.arange(1000.0))
    products = torch.from_numpy(chain_products(schedule))
    close(alpha, products.sqrt(), 1e-6)
    close(sigma, (1 - products).sqrt(), 1e-5)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_ratio_of_signal_to_noise_has_its_time(objective: str) -> None:
    process = build_process(DiffusionConfig(objective=objective, beta_schedule="linear"))
    times = torch.linspace(0.02, 0.98, 40) if objective in ("flow_matching", "edm") else torch.linspace(0, 998.5, 40)
    alpha, sigma = process.levels(times)
    torch.testing.assert_close(process.times_at((alpha / sigma).log()), times, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ("objective", "mean", "std"),
    [("flow_matching", None, None), ("edm", -1.2, 1.2), ("epsilon", None, None), ("v_prediction", None, None)],
)
def test_training_times_have_the_papers_distribution(objective: str, mean: float | None, std: float | None) -> None:
    fields = {"time_mean": mean, "time_std": std} if mean is not None else {}
    process = build_process(DiffusionConfig(objective=objective, **fields))
    times = process.times_from_normal(torch.randn(100_000, generator=seeded())).double()
    if objective in ("epsilon", "v_prediction"):  # uniform over the steps
        assert times.min() == 0
        assert times.max() == 999
        assert (times == times.round()).all()
        counts = torch.histc(times.float(), bins=10, min=0, max=1000)
        assert (counts / 10_000 - 1).abs().max() < 0.05  # three standard deviations are 0.03
    else:
        normal = torch.logit(times) if objective == "flow_matching" else times.log()
        assert abs(float(normal.mean()) - (mean or 0)) < 0.02
        assert abs(float(normal.std()) - (std or 1)) < 0.02


# A data set whose score is known: values normal with a full covariance

MEAN = torch.tensor([0.4, -0.3], dtype=torch.float64)
COVARIANCE = torch.tensor([[0.5, 0.3], [0.3, 0.8]], dtype=torch.float64)


def exact_model(objective: str, **fields) -> DiffusionModel:
    """A model of 2-pixel images whose network is the exact posterior mean, E[values | x], as its objective says it."""
    fields = {"image_size": [1, 2], "patch_size": 1, "hidden_sizes": [2], "data_mean": 0.0, "data_std": 1.0, **fields}
    model = build(objective=objective, **fields)
    model.to_values = lambda clean: clean.flatten(1)  # without the clamp to 0..1

    def predict(noisy, times, level, labels):
        alpha, sigma = (part.reshape(-1)[0].double() for part in level)
        x = noisy.flatten(1).double()
        gain = alpha * COVARIANCE @ torch.linalg.inv(alpha**2 * COVARIANCE + sigma**2 * torch.eye(2).double())
        clean = MEAN + (x - alpha * MEAN) @ gain.T
        noise = (x - alpha * clean) / sigma.clamp(min=1e-12)
        return model.process.target(clean, noise, x, (alpha, sigma)).float().view_as(noisy), []

    model.predict = predict
    return model


STEPS = {  # enough for 2 %: solvers of first order and noisy ones need more
    "FlowMatchEulerDiscreteScheduler": 160, "EDMEulerScheduler": 320, "EulerDiscreteScheduler": 300,
    "EulerAncestralDiscreteScheduler": 800, "DDPMScheduler": 250, "DDIMScheduler": 250, "DEISMultistepScheduler": 100,
}  # fmt: skip


@pytest.fixture
def exact_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise whose mean is exactly 0 and whose covariance exactly 1, and one generator for all rows: only noise that a
    scheduler adds leaves an error of sampling."""

    def noise(self: Sampler, seeds: torch.Tensor) -> tuple[torch.Tensor, list[torch.Generator]]:
        generator = torch.Generator().manual_seed(0)
        drawn = torch.randn(len(seeds), 2, generator=generator).double()
        drawn = drawn - drawn.mean(0)
        white = drawn @ torch.linalg.inv(torch.linalg.cholesky(drawn.T.cov())).T
        return white.float().view(-1, 1, 1, 2), [generator]

    monkeypatch.setattr(Sampler, "noise", noise)


NOISY = ("DDPMScheduler", "EulerAncestralDiscreteScheduler")  # they draw noise in every step


@pytest.mark.parametrize(
    ("objective", "name"),
    [(objective, name) for name in SCHEDULERS for objective in (["epsilon"] if name in NOISY else OBJECTIVES)],
)
def test_with_an_exact_score_every_scheduler_recovers_mean_and_covariance(
    objective: str, name: str, exact_noise: None
) -> None:
    rows = 40_000 if name in NOISY else 500
    samples = exact_model(objective).sample(
        rows, scheduler=name, num_inference_steps=STEPS.get(name, 40), generator=seeded(), batch_size=rows
    )
    samples, scale = samples.double(), float(COVARIANCE.diagonal().max())
    assert (samples.mean(0) - MEAN).abs().max() < 0.02 * math.sqrt(scale)
    assert (samples.T.cov() - COVARIANCE).abs().max() < 0.02 * scale


# Sampling

SAMPLED = {**UNET, "num_inference_steps": 4}


@pytest.mark.parametrize("name", ["UniPCMultistepScheduler", "DDPMScheduler", "EulerAncestralDiscreteScheduler"])
def test_samples_do_not_depend_on_the_batch_size(name: str) -> None:
    model = build(**SAMPLED)
    together = model.sample(5, scheduler=name, generator=seeded(3))
    for batch_size in (1, 2):
        # Float additions in another order.
        close(model.sample(5, scheduler=name, generator=seeded(3), batch_size=batch_size), together)
    close(model.sample(2, labels=[1, 2], scheduler=name, generator=seeded(3)),
          model.sample(5, labels=[1, 2, 0, 0, 0], scheduler=name, generator=seeded(3))[:2])  # fmt: skip
    assert not torch.allclose(model.sample(5, scheduler=name, generator=seeded(4)), together)
    assert not torch.allclose(together[0], together[1])
    assert 0 <= together.min() <= together.max() <= 1


def test_sampling_draws_from_the_generator_alone_and_leaves_the_mode() -> None:
    model = build(**UNET, hidden_dropout_prob=0.5).train()
    state = torch.get_rng_state()
    first = model.sample(2, num_inference_steps=2, generator=seeded())
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert torch.equal(model.sample(2, num_inference_steps=2, generator=seeded()), first)


def test_guidance_goes_from_the_unconditional_prediction_past_the_conditional_one() -> None:
    model = build(**UNET)
    x, labels = torch.randn(3, 2, 8, 8, generator=seeded()), torch.tensor([0, 1, 2])
    with_class = model.denoise(x, 0.6, 0.4, labels)
    without = model.denoise(x, 0.6, 0.4, torch.full((3,), -1))
    assert not torch.allclose(with_class, without)
    close(model.denoise(x, 0.6, 0.4, labels, guidance_scale=2.5), without + 2.5 * (with_class - without))
    close(model.denoise(x, 0.6, 0.4, labels, guidance_scale=0.0), without)
    assert torch.equal(model.denoise(x, 0.6, 0.4, labels, guidance_scale=1.0), with_class)
    given = {"labels": [0, 1, 2], "num_inference_steps": 3}
    assert torch.equal(
        model.sample(3, **given, guidance_scale=1.0, generator=seeded()), model.sample(3, **given, generator=seeded())
    )
    unconditional = model.sample(3, labels=-1, num_inference_steps=3, generator=seeded())
    close(model.sample(3, **given, guidance_scale=0.0, generator=seeded()), unconditional)


def test_guidance_works_within_its_interval_of_noise_alone() -> None:
    model = build(**UNET, guidance_scale=2.5, guidance_interval=[0.1, 0.7])
    x, labels = torch.randn(3, 2, 8, 8, generator=seeded()), torch.tensor([0, 1, 2])
    for share, inside in ((0.1, False), (0.2, True), (0.6, True), (0.61, False)):
        levels = 2 * (1 - share), 2 * share  # their common scale does not matter
        guided, plain = (model.denoise(x, *levels, labels, scale, (0.2, 0.6)) for scale in (2.5, 1.0))
        assert torch.equal(guided, plain) != inside
    asked = []
    denoise = model.denoise
    model.denoise = lambda x, alpha, sigma, *given: asked.append((sigma, given[1:])) or denoise(x, alpha, sigma, *given)
    own = model.sample(3, labels, num_inference_steps=5, generator=seeded())
    assert asked == [(pytest.approx(sigma, abs=1e-3), (2.5, [0.1, 0.7])) for sigma in (1.0, 0.8, 0.6, 0.4, 0.2)]
    everywhere, narrow = (
        model.sample(3, labels, 5, guidance_interval=interval, generator=seeded())
        for interval in ((0.0, 1.0), (0.1, 0.7))
    )
    assert torch.equal(own, narrow)
    assert not torch.allclose(own, everywhere)
    full = build(**UNET)
    full.load_state_dict(model.state_dict())
    assert torch.equal(everywhere, full.sample(3, labels, 5, guidance_scale=2.5, generator=seeded()))


def test_classes_are_drawn_evenly_where_none_are_given() -> None:
    labels = build(**UNET).draw_labels(None, 3_000, seeded())
    assert labels.bincount().tolist() == pytest.approx([1_000] * 3, abs=100)  # four standard deviations


@pytest.mark.parametrize("name", ["UniPCMultistepScheduler", "FlowMatchHeunDiscreteScheduler", "DDIMScheduler"])
def test_inpainting_keeps_what_is_not_masked_and_paints_the_rest(name: str) -> None:
    model = build(**SAMPLED)
    image, mask = torch.rand(3, 2, 8, 8, generator=seeded()), torch.zeros(1, 1, 8, 8)
    mask[..., 4:] = 1
    painted = model.inpaint(image, mask, labels=[0, 1, 2], scheduler=name, generator=seeded())
    close(painted[..., :4], image[..., :4])
    assert not torch.allclose(painted[..., 4:], image[..., 4:], atol=0.1)
    close(model.inpaint(image, mask, labels=[0, 1, 2], scheduler=name, generator=seeded(), batch_size=1), painted)
    everything = model.inpaint(image, torch.ones(1), labels=[0, 1, 2], scheduler=name, generator=seeded(),
                               num_resamples=1)  # fmt: skip
    close(everything, model.sample(3, labels=[0, 1, 2], scheduler=name, generator=seeded()))


@pytest.mark.parametrize("name", ["DDIMScheduler", "UniPCMultistepScheduler", "FlowMatchHeunDiscreteScheduler"])
def test_inpainting_with_an_exact_score_paints_what_fits(name: str, exact_noise: None) -> None:
    """Of two normal pixels one is known: the other comes near its conditional distribution with more resampling."""
    model = exact_model("flow_matching")
    model.bounds = lambda: None  # the values are not those of an image
    known, mask = torch.full((2_000, 1, 1, 2), 1.5), torch.tensor([0.0, 1.0]).view(1, 1, 1, 2)
    expected = float(MEAN[1] + COVARIANCE[0, 1] / COVARIANCE[0, 0] * (1.5 - MEAN[0]))
    variance = float(COVARIANCE[1, 1] - COVARIANCE[0, 1] ** 2 / COVARIANCE[0, 0])
    errors = []
    for num_resamples in (1, 10):
        painted = model.inpaint(known, mask, num_inference_steps=30, scheduler=name, generator=seeded(),
                                batch_size=2_000, num_resamples=num_resamples).double()  # fmt: skip
        assert (painted[:, 0] == 1.5).all()
        errors.append(abs(float(painted[:, 1].mean()) - expected))
    assert errors[1] < 0.15 < errors[0]
    assert abs(float(painted[:, 1].var()) - variance) < 0.2


@pytest.mark.parametrize("name", ["UniPCMultistepScheduler", "FlowMatchHeunDiscreteScheduler", "EulerDiscreteScheduler",
                                  "DDIMScheduler"])  # fmt: skip
def test_variations_go_from_the_image_itself_to_a_new_sample(name: str, exact_noise: None) -> None:
    model = exact_model("v_prediction")
    model.bounds = lambda: None
    given = {"scheduler": name, "num_inference_steps": 40, "batch_size": 2_000, "generator": seeded()}
    image = torch.tensor([1.5, 1.0]).view(1, 1, 1, 2).expand(2_000, 1, 1, 2)
    assert torch.equal(model.vary(image, 0.0, **given), image.flatten(1))
    distances = [float((model.vary(image, strength, **given) - image.flatten(1)).norm(dim=1).mean())
                 for strength in (0.1, 0.4, 0.7)]  # fmt: skip
    assert 0 < distances[0] < distances[1] < distances[2]
    fresh = model.vary(image, 1.0, **given).double()  # next to nothing of the image is left
    assert (fresh.mean(0) - MEAN).abs().max() < 0.1
    assert (fresh.T.cov() - COVARIANCE).abs().max() < 0.1


def test_a_trajectory_begins_with_noise_and_ends_with_the_sample() -> None:
    model = build(**SAMPLED)
    states = model.sample_trajectory(3, num_states=4, num_inference_steps=6, generator=seeded())
    assert states.shape == (3, 4, 2, 8, 8)
    close(states[:, -1], model.sample(3, num_inference_steps=6, generator=seeded()))
    assert states[:, 0].std() > 0.3  # noise of standard deviation 1 around 0.5, clamped to 0..1


# The scheduler beside the model


def test_the_scheduler_is_saved_as_diffusers_saves_it_and_can_be_exchanged(tmp_path: Path) -> None:
    model = build(**SAMPLED)
    default = model.sample(2, generator=seeded())
    model.save_pretrained(tmp_path)
    theirs = diffusers.UniPCMultistepScheduler.from_pretrained(tmp_path)  # reads scheduler_config.json
    assert theirs.config.use_flow_sigmas
    close(DiffusionModel.from_pretrained(tmp_path).sample(2, generator=seeded()), default)
    model.scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    exchanged = model.sample(2, generator=seeded())
    assert not torch.allclose(exchanged, default)
    close(model.sample(2, generator=seeded(), scheduler=theirs), default)
    model.save_pretrained(tmp_path)
    loaded = DiffusionModel.from_pretrained(tmp_path)
    assert type(loaded.scheduler) is diffusers.FlowMatchEulerDiscreteScheduler
    assert loaded.scheduler.config.shift == 3.0
    close(loaded.sample(2, generator=seeded()), exchanged)


def test_sampling_leaves_the_given_scheduler_as_it_is() -> None:
    model, scheduler = build(**SAMPLED), diffusers.DDIMScheduler(clip_sample=False)
    before = scheduler.timesteps.clone()
    first = model.sample(2, scheduler=scheduler, generator=seeded())
    assert torch.equal(scheduler.timesteps, before)
    assert torch.equal(model.sample(2, scheduler=scheduler, generator=seeded()), first)


# Networks


def test_patches_are_those_of_pixel_unshuffle() -> None:
    pixels = torch.randn(2, 3, 8, 12)
    assert torch.equal(to_patches(pixels, (4, 4)), F.pixel_unshuffle(pixels, 4))
    assert torch.equal(to_pixels(to_patches(pixels, (2, 4)), (2, 4)), pixels)
    wave = torch.arange(8.0).view(1, 1, 1, 8)
    assert to_patches(wave, (1, 4)).tolist() == [[[[0, 4]], [[1, 5]], [[2, 6]], [[3, 7]]]]


def test_times_are_embedded_as_diffusers_embeds_them() -> None:
    times = torch.tensor([0.0, 0.5, 17.0, 999.0])
    expected = diffusers.models.embeddings.get_timestep_embedding(
        times, 16, flip_sin_to_cos=True, downscale_freq_shift=0
    )
    close(sinusoids(times, 16), expected, 1e-4)  # float32 angles up to 999


def test_attention_in_training_is_that_in_evaluation() -> None:
    qkv = torch.randn(2, 9, 24, requires_grad=True)
    query, key, value = qkv.view(2, 9, 3, 2, 4).double().permute(2, 0, 3, 1, 4)
    expected = (query @ key.transpose(2, 3) / 2).softmax(-1) @ value
    expected = expected.transpose(1, 2).reshape(2, 9, 8)
    close(attend(qkv, 2), expected)
    with torch.no_grad():
        close(attend(qkv, 2), expected)


@pytest.mark.parametrize("tiny", ["flow_unet", "v_dit_of_spectrograms"])
def test_the_network_learns_what_its_classes_look_like(tiny: str) -> None:
    """Each class is one picture: then the sample of a class is that picture."""
    config = {**TINY[tiny], "class_dropout_prob": 0.0, "hidden_size": 32, "hidden_sizes": [8, 16], "patch_size": 2}
    model = build(**config).train()
    name = "pixel_values" if model.config.data == "image" else "input_values"
    pictures = 0.2 + 0.6 * torch.rand(3, *model.config.row_shape, generator=seeded())
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(100):
        labels = torch.arange(24) % 3
        model(**{name: pictures[labels]}, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    samples = model.sample(6, labels=[0, 1, 2, 0, 1, 2], num_inference_steps=10, generator=seeded())
    errors = torch.cdist(samples.flatten(1), pictures.flatten(1))
    assert errors.argmin(1).tolist() == [0, 1, 2, 0, 1, 2]


# Bad input


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"image_size": 27}, "must divide it"),
        ({"image_size": 14, "hidden_sizes": [4, 4, 4, 4]}, "then by 8"),
        ({"data": "audio"}, "num_frames of at least 1"),
        ({"num_mel_bins": 4}, "need data audio"),
        ({"data": "audio", "num_frames": 8, "num_mel_bins": 4, "data_mean": [0.0, 1.0]}, "one number or 4"),
        ({"data_std": 0.0}, "greater than 0"),
        ({"hidden_act": "unknown"}, "hidden_act must be one of"),
        ({"attention_stages": [2]}, "among 0 to 1"),
        ({"class_dropout_prob": 1.0}, "below 1"),
        ({"time_std": 0}, "time_std must be greater than 0"),
        ({"sigma_max": 0.001}, "sigma_max must be greater"),
        ({"beta_end": 0.00001}, "must rise within"),
        ({"num_inference_steps": 0}, "at least 1"),
        ({"hidden_sizes": []}, "one number a stage"),
    ],
)
def test_a_config_that_cannot_work_is_refused(fields: dict, message: str) -> None:
    with pytest.raises(StrictDataclassError, match=message):
        DiffusionConfig(**fields)


def test_bad_inputs_are_refused_with_what_is_allowed() -> None:
    model, pixels = build(**UNET), torch.rand(2, 2, 8, 8)
    for inputs, message in [
        ({}, "takes pixel_values and no input_values, got none"),
        ({"pixel_values": pixels, "input_values": pixels}, "got both"),
        ({"pixel_values": pixels[:, :1]}, r"of shape \(batch, 2, 8, 8\)"),
        ({"pixel_values": (255 * pixels).byte()}, "floating-point"),
        ({"pixel_values": pixels * 255}, r"lie in 0\.\.1"),
        ({"pixel_values": pixels * float("nan")}, "finite"),
        ({"pixel_values": pixels, "labels": torch.tensor([0, 3])}, "classes 0 to 2 or -1 for none, got 0 to 3"),
        ({"pixel_values": pixels, "labels": torch.tensor([0])}, "must be 2 classes"),
        ({"pixel_values": pixels, "noise": pixels[:1]}, "noise must be"),
        ({"pixel_values": pixels, "timesteps": torch.rand(3)}, "timesteps"),
    ]:
        with pytest.raises(ValueError, match=message):
            model(**inputs)
    wave = build(**TINY["epsilon_unet_of_waveforms"])
    with pytest.raises(ValueError, match=r"must lie in -1\.\.1"):
        wave(input_values=torch.full((1, 16), 1.5))
    always = build(**{**UNET, "class_dropout_prob": 0.0})
    with pytest.raises(ValueError, match="always needs one"):
        always(pixel_values=pixels)


def test_bad_sampling_is_refused_with_what_is_allowed() -> None:
    model = build(**UNET)
    for options, message in [
        ({"num_samples": 0}, "num_samples and batch_size must be at least 1"),
        ({"num_inference_steps": 0}, "num_inference_steps must be at least 1, got 0"),
        ({"guidance_scale": -1.0}, "guidance_scale must be at least 0"),
        ({"guidance_interval": (0.6, 0.2)}, r"rising within 0\.\.1, got \[0\.6, 0\.2\]"),
        ({"guidance_interval": (0.5,)}, "two shares of noise"),
        ({"scheduler": "PNDMScheduler"}, "scheduler must be one of FlowMatchEuler"),
        ({"scheduler": diffusers.VQDiffusionScheduler(5)}, "got VQDiffusionScheduler"),
        ({"scheduler": 5}, "got int"),
        ({"labels": 7}, "classes 0 to 2"),
        ({"labels": [0, 1]}, "must be 1 classes"),
    ]:
        with pytest.raises(ValueError, match=message):
            model.sample(**{"num_samples": 1, **options})
    plain = build(**TINY["edm_dit"])
    with pytest.raises(ValueError, match="has no classes"):
        plain.sample(1, labels=[0])
    with pytest.raises(ValueError, match=r"guidance_scale 2\.0 needs a model"):
        plain.sample(1, guidance_scale=2.0)
    pixels = torch.rand(2, 2, 8, 8)
    with pytest.raises(ValueError, match="mask must fit the image's shape"):
        model.inpaint(pixels, torch.ones(3, 1, 8, 8))
    with pytest.raises(ValueError, match=r"mask must lie in 0\.\.1"):
        model.inpaint(pixels, 255 * torch.ones(1, 1, 8, 8))
    with pytest.raises(ValueError, match=r"strength must lie in 0\.\.1, got 1\.5"):
        model.vary(pixels, 1.5)
    with pytest.raises(ValueError, match="takes no 'shiftt'"):
        make_scheduler(model.config, "FlowMatchEulerDiscreteScheduler", shiftt=2)


# Several processes

WORKER = """
import os, sys
import torch
sys.path.insert(0, sys.argv[1])
from hubmodels import DiffusionModel
torch.distributed.init_process_group("gloo")
rank = torch.distributed.get_rank()
model = DiffusionModel.from_pretrained(sys.argv[2])
generator = torch.Generator().manual_seed(7 + rank)  # the first process decides
samples = model.sample(5, num_inference_steps=3, generator=generator, batch_size=2, distributed=True)
one = model.sample(1, labels=[1], num_inference_steps=3, generator=generator, distributed=True)
torch.save((samples, one), f"{sys.argv[2]}/samples-{rank}.pt")
torch.distributed.barrier()
os._exit(0)  # gloo's threads abort about one exit in thirty where they are taken down (torch 2.13)
"""


def test_two_processes_draw_together_what_one_draws(tmp_path: Path) -> None:
    model = build(**UNET)
    model.save_pretrained(tmp_path)
    (tmp_path / "worker.py").write_text(WORKER)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2",
               str(tmp_path / "worker.py"), str(Path(__file__).parents[2]), str(tmp_path)]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-2000:]
    generator = seeded(7)
    expected = model.sample(5, num_inference_steps=3, generator=generator)
    one = model.sample(1, labels=[1], num_inference_steps=3, generator=generator)
    for rank in (0, 1):
        found, single = torch.load(tmp_path / f"samples-{rank}.pt")
        close(found, expected)
        close(single, one)
