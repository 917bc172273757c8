"""What is noised how, and what the network learns of it, as one class an objective.

Every process is x = alpha * values + sigma * noise, values of about mean 0 and standard deviation 1, noise normal:

                    time             alpha, sigma                target of the network        source
    flow_matching   t in 0..1        1 - t, t                    noise - values               arXiv:2210.02747, eq. 23
    epsilon         step of a chain  sqrt(a_t), sqrt(1 - a_t)    noise                        arXiv:2006.11239, eq. 14
    v_prediction    step of a chain  the same                    alpha noise - sigma values   arXiv:2202.00512, app. D
    edm             noise level      1, sigma                    (values - c_skip x) / c_out  arXiv:2206.00364, eq. 8

where a_t is the product of 1 - beta up to step t. The loss is the mean squared error of the target in all of them: for
edm that is the paper's weight, 1 / c_out^2. Between two steps of a chain its log signal-to-noise ratio is interpolated,
so that every time of every process has one ratio, log(alpha / sigma), and a network can be asked about any x.
"""

import functools
import itertools
import math

import torch
from torch import Tensor

from .configuration_diffusion import DiffusionConfig

Level = tuple[Tensor, Tensor]  # alpha and sigma, of one shape


class FlowMatching:
    """Straight lines between values and noise; times have a logit-normal distribution (arXiv:2403.03206, sec. 3.1)."""

    first, last = 0.0, 1.0  # the range of the times

    def __init__(self, config: DiffusionConfig) -> None:
        self.config = config

    def times_from_normal(self, normal: Tensor) -> Tensor:
        """Return training times from draws of N(0, 1)."""
        return torch.sigmoid(self.config.time_mean + self.config.time_std * normal)

    def levels(self, times: Tensor) -> Level:
        """Return alpha and sigma at these times."""
        return 1 - times, times

    def times_at(self, ratio: Tensor) -> Tensor:
        """Return the times at which log(alpha / sigma) is `ratio`, the nearest where there is none."""
        return torch.sigmoid(-ratio)

    def network_times(self, times: Tensor) -> Tensor:
        """Return what the network's embedding sees of the times."""
        return times * self.config.num_train_timesteps

    def network_input(self, noisy: Tensor, level: Level) -> Tensor:
        """Return the noisy values as the network sees them."""
        return noisy

    def target(self, values: Tensor, noise: Tensor, noisy: Tensor, level: Level) -> Tensor:
        """Return what the network learns to give for the noisy values."""
        return noise - values

    def denoised(self, output: Tensor, noisy: Tensor, level: Level) -> Tensor:
        """Return the values that the network's output stands for."""
        alpha, sigma = level
        return (noisy - sigma * output) / (alpha + sigma)


class Chain(FlowMatching):
    """Walks a chain of num_train_timesteps small steps, which keeps the variance, for epsilon and v_prediction."""

    first = 0.0

    def __init__(self, config: DiffusionConfig) -> None:
        super().__init__(config)
        self.last = float(config.num_train_timesteps - 1)
        self.ratios = chain_ratios(
            config.beta_schedule, config.num_train_timesteps, float(config.beta_start), float(config.beta_end)
        )

    def times_from_normal(self, normal: Tensor) -> Tensor:
        N = self.config.num_train_timesteps
        uniform = torch.special.ndtr(normal.double())
        return (uniform * N).floor().clamp(0, N - 1).float()

    def levels(self, times: Tensor) -> Level:
        ratios = self.ratios.to(times.device)
        low = times.double().floor().clamp(0, len(ratios) - 2).long()
        ratio = torch.lerp(ratios[low], ratios[low + 1], times.double() - low)
        return torch.sigmoid(2 * ratio).sqrt().float(), torch.sigmoid(-2 * ratio).sqrt().float()

    def times_at(self, ratio: Tensor) -> Tensor:
        rising = -self.ratios.to(ratio.device)
        target_ratio = -ratio.double().clamp(-rising[-1], -rising[0])
        low = torch.searchsorted(rising, target_ratio.contiguous(), right=True).sub(1).clamp(0, len(rising) - 2)
        return (low + (target_ratio - rising[low]) / (rising[low + 1] - rising[low])).float()

    def network_times(self, times: Tensor) -> Tensor:
        return times


class Epsilon(Chain):
    def target(self, values: Tensor, noise: Tensor, noisy: Tensor, level: Level) -> Tensor:
        return noise

    def denoised(self, output: Tensor, noisy: Tensor, level: Level) -> Tensor:
        alpha, sigma = level
        return (noisy - sigma * output) / alpha


class VPrediction(Chain):
    def target(self, values: Tensor, noise: Tensor, noisy: Tensor, level: Level) -> Tensor:
        alpha, sigma = level
        return alpha * noise - sigma * values

    def denoised(self, output: Tensor, noisy: Tensor, level: Level) -> Tensor:
        alpha, sigma = level
        return alpha * noisy - sigma * output


class Edm(FlowMatching):
    """Noise of standard deviation sigma on top of the values; the network is preconditioned (arXiv:2206.00364, table
    1); the log of the training noise levels is normal. The paper's sigma_data, 0.5, is that of its data; ours is 1."""

    def __init__(self, config: DiffusionConfig) -> None:
        super().__init__(config)
        self.first, self.last = float(config.sigma_min), float(config.sigma_max)

    def times_from_normal(self, normal: Tensor) -> Tensor:
        return (self.config.time_mean + self.config.time_std * normal).exp()

    def levels(self, times: Tensor) -> Level:
        return torch.ones_like(times), times

    def times_at(self, ratio: Tensor) -> Tensor:
        return (-ratio).exp().clamp(self.first, self.last)

    def network_times(self, times: Tensor) -> Tensor:
        return times.log() / 4

    def network_input(self, noisy: Tensor, level: Level) -> Tensor:
        return noisy / (level[1].square() + self.config.sigma_data**2).sqrt()

    def factors(self, level: Level) -> tuple[Tensor, Tensor]:
        """Return c_skip and c_out."""
        sigma, data = level[1], self.config.sigma_data
        total = sigma.square() + data**2
        return data**2 / total, sigma * data / total.sqrt()

    def target(self, values: Tensor, noise: Tensor, noisy: Tensor, level: Level) -> Tensor:
        skip, out = self.factors(level)
        return (values - skip * noisy) / out

    def denoised(self, output: Tensor, noisy: Tensor, level: Level) -> Tensor:
        skip, out = self.factors(level)
        return skip * noisy + out * output


PROCESSES = {"flow_matching": FlowMatching, "epsilon": Epsilon, "v_prediction": VPrediction, "edm": Edm}


def build_process(config: DiffusionConfig) -> FlowMatching:
    """Return the process of the config's objective."""
    return PROCESSES[config.objective](config)


@functools.cache
def chain_ratios(schedule: str, count: int, beta_start: float, beta_end: float) -> Tensor:
    """Return log(alpha / sigma) after each step of a chain, (count,) float64, falling. The variances are those of
    diffusers' schedulers, in float32 as theirs."""
    if schedule == "linear":
        betas = torch.linspace(beta_start, beta_end, count, device="cpu")
    elif schedule == "scaled_linear":
        betas = torch.linspace(beta_start**0.5, beta_end**0.5, count, device="cpu").square()
    else:  # squaredcos_cap_v2 (Nichol and Dhariwal 2021, arXiv:2102.09672, eq. 17)
        bars = [math.cos((step / count + 0.008) / 1.008 * math.pi / 2) ** 2 for step in range(count + 1)]
        betas = [min(1 - after / before, 0.999) for before, after in itertools.pairwise(bars)]
        betas = torch.tensor(betas, device="cpu")
    product = (1 - betas.float()).cumprod(0).double()
    return (product.log() - (-product).log1p()) / 2


def log_ratio(alpha: Tensor, sigma: Tensor) -> Tensor:
    """Return log(alpha / sigma), finite where one of them is 0."""
    tiny = torch.finfo(torch.float32).tiny
    return alpha.clamp(min=tiny).log() - sigma.clamp(min=tiny).log()
