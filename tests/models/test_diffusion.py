"""The diffusion model against the papers' formulas by hand, diffusers' own noising, and data whose score is known."""

import math
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from torch.nn import functional as F

from hubmodels import DiffusionConfig, DiffusionModel
from hubmodels.models.diffusion.modeling_diffusion import Sampler
from hubmodels.models.diffusion.modeling_diffusion_networks import attend, sinusoids, to_patches, to_pixels
from hubmodels.models.diffusion.modeling_diffusion_process import build_process
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
    "EulerAncestralDiscreteScheduler": 400, "DDPMScheduler": 250, "DDIMScheduler": 250, "DEISMultistepScheduler": 100,
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
