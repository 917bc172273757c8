"""diffusers' schedulers for every diffusion model: which there are, how each is made for an objective, what noise its
steps expect and what it wants to be told.

A scheduler and a model need not know the same noise: what a scheduler calls x is brought to the model's own scale by
its ratio of signal to noise, and what the model says of it is given as what the scheduler asks for. So every scheduler
here works with every objective; those of the objective's own process come closest to its training.
"""

import inspect
import logging
from typing import Any

import torch
from torch import Tensor

from .configuration_diffusion import DiffusionConfig
from .modeling_diffusion_process import Level

logger = logging.getLogger(__name__)

# How a scheduler's x is noised: alpha = 1 - sigma; 1 and sigma, with EDM's preconditioning; 1 and sigma; by its own
# `_sigma_to_alpha_sigma_t`; by the products of its chain.
FLOW, EDM, ADDED, SOLVER, CHAIN = "flow", "edm", "added", "solver", "chain"
SCHEDULERS = {
    "FlowMatchEulerDiscreteScheduler": FLOW,
    "FlowMatchHeunDiscreteScheduler": FLOW,
    "EDMEulerScheduler": EDM,
    "EDMDPMSolverMultistepScheduler": EDM,
    "EulerDiscreteScheduler": ADDED,
    "EulerAncestralDiscreteScheduler": ADDED,
    "HeunDiscreteScheduler": ADDED,
    "DPMSolverMultistepScheduler": SOLVER,
    "DPMSolverSinglestepScheduler": SOLVER,
    "UniPCMultistepScheduler": SOLVER,
    "DEISMultistepScheduler": SOLVER,
    "DDPMScheduler": CHAIN,
    "DDIMScheduler": CHAIN,
}
# Each objective's own: those of its process, the best in few steps.
DEFAULTS = {
    "flow_matching": "UniPCMultistepScheduler",
    "epsilon": "DPMSolverMultistepScheduler",
    "v_prediction": "DPMSolverMultistepScheduler",
    "edm": "EDMDPMSolverMultistepScheduler",
}


def make_scheduler(config: DiffusionConfig, name: str | None = None, **options: Any) -> Any:
    """Return a scheduler of diffusers, made for a model's objective.

    Args:
        config: the model's.
        name: a class of `SCHEDULERS`; the config's or the objective's own when None.
        options: further arguments of that class, which win over the objective's.

    Raises:
        ValueError: there is no such scheduler, or it takes no such option.
    """
    import diffusers

    name = name or config.sample_scheduler or DEFAULTS[config.objective]
    if name not in SCHEDULERS or not hasattr(diffusers, name):
        raise ValueError(f"scheduler must be one of {', '.join(SCHEDULERS)}, got {name!r}")
    cls, kind = getattr(diffusers, name), SCHEDULERS[name]
    known = set(inspect.signature(cls.__init__).parameters) - {"self"}
    for option in options:
        if option not in known:
            raise ValueError(f"{name} takes no {option!r}; it takes {', '.join(sorted(known))}")
    chain: dict[str, Any] = {
        "num_train_timesteps": config.num_train_timesteps,
        "beta_schedule": config.beta_schedule,
        "beta_start": float(config.beta_start),
        "beta_end": float(config.beta_end),
        "prediction_type": "epsilon" if config.objective == "epsilon" else "v_prediction",
        "clip_sample": False,
        "timestep_spacing": "linspace" if kind == SOLVER else "trailing",
    }
    if kind == FLOW:
        values: dict[str, Any] = {"num_train_timesteps": config.num_train_timesteps}
    elif kind == EDM:
        values = {
            "sigma_data": float(config.sigma_data), "sigma_min": float(config.sigma_min),
            "sigma_max": float(config.sigma_max),
        }  # fmt: skip
    elif kind == SOLVER and config.objective == "flow_matching":
        values = {
            "num_train_timesteps": config.num_train_timesteps, "prediction_type": "flow_prediction",
            "use_flow_sigmas": True,
        }  # fmt: skip
    elif kind == SOLVER:
        values = chain | {"final_sigmas_type": "zero"}
    elif kind == ADDED:
        # squaredcos ends at a noise level of 20,000, which solvers in terms of the noise level reach in poor steps: the
        # linear schedule, up to 157, in the steps of arXiv:2206.00364, eq. 5.
        values = chain | {
            "beta_schedule": "linear", "beta_start": 0.0001, "beta_end": 0.02, "num_train_timesteps": 1000,
            "use_karras_sigmas": True,
        }  # fmt: skip
    else:
        values = chain
    return cls(**{option: value for option, value in (values | options).items() if option in known})


def check_scheduler(scheduler: Any) -> str:
    """Return what noise a scheduler's x has, a value of `SCHEDULERS`. Raises ValueError for one that is not known
    here."""
    kind = SCHEDULERS.get(type(scheduler).__name__)
    if kind is None or not hasattr(scheduler, "set_timesteps"):
        raise ValueError(
            f"scheduler must be a diffusers scheduler of the kinds {', '.join(SCHEDULERS)}, or the name of one, got "
            f"{type(scheduler).__name__}"
        )
    return kind


class Steps:
    """One scheduler set to a number of steps, in the terms of this family.

    Attributes:
        timesteps: what the scheduler calls its steps, (S,); a scheduler of second order has two entries a step.
        alphas, sigmas: the noise of x at each of them, (S,) float32: x = alpha * values + sigma * noise.
        order: entries of a step.
    """

    def __init__(self, scheduler: Any, num_inference_steps: int, device: torch.device) -> None:
        self.kind = check_scheduler(scheduler)
        if num_inference_steps < 1:
            raise ValueError(f"num_inference_steps must be at least 1, got {num_inference_steps}")
        self.scheduler = type(scheduler).from_config(scheduler.config)  # its state is this run's alone
        allowed = inspect.signature(self.scheduler.set_timesteps).parameters
        count = num_inference_steps
        if self.kind == FLOW and "sigmas" in allowed:
            # Even steps down to 0, as diffusers' own pipelines of flow models; the scheduler's last would be of no
            # length.
            self.scheduler.set_timesteps(sigmas=[1 - step / count for step in range(count)], device=device)
        else:
            self.scheduler.set_timesteps(count, device=device)
        self.timesteps = self.scheduler.timesteps
        self.num_steps, self.order = num_inference_steps, int(self.scheduler.order)
        self.step_takes_generator = "generator" in inspect.signature(self.scheduler.step).parameters
        self.alphas, self.sigmas = (value.float().cpu() for value in self._levels())

    def _levels(self) -> Level:
        scheduler, count = self.scheduler, len(self.timesteps)
        if self.kind == FLOW:
            sigmas = self.timesteps.float() / scheduler.config.num_train_timesteps
            return 1 - sigmas, sigmas
        if self.kind == CHAIN:
            product = scheduler.alphas_cumprod[self.timesteps.long().cpu()]
            return product.sqrt(), (1 - product).sqrt()
        sigmas = scheduler.sigmas[:count]
        if self.kind == SOLVER:
            return scheduler._sigma_to_alpha_sigma_t(sigmas)
        return torch.ones_like(sigmas), sigmas

    def level(self, index: int) -> tuple[float, float]:
        """Return alpha and sigma of x at an entry of `timesteps`."""
        return float(self.alphas[index]), float(self.sigmas[index])

    def start(self, noise: Tensor) -> Tensor:
        """Return noise (B, ...) at the scale where the scheduler begins."""
        return noise * float(getattr(self.scheduler, "init_noise_sigma", 1.0))

    def begin_at(self, index: int) -> None:
        """Begin at this entry of `timesteps`."""
        if index and hasattr(self.scheduler, "set_begin_index"):
            self.scheduler.set_begin_index(index)

    def step(self, index: int, denoised: Tensor, x: Tensor, generators: list[torch.Generator]) -> Tensor:
        """Return x at the next entry of `timesteps`, from x at this one and the values that it is taken for."""
        timestep = self.timesteps[index]
        if hasattr(self.scheduler, "scale_model_input"):
            self.scheduler.scale_model_input(x, timestep)  # some look whether it was called
        output = self._output(denoised, x, *self.level(index))
        options = {"generator": generators} if self.step_takes_generator else {}
        return self.scheduler.step(output, timestep, x, return_dict=False, **options)[0]

    def _output(self, denoised: Tensor, x: Tensor, alpha: float, sigma: float) -> Tensor:
        """Return what the scheduler's own model would say where `denoised` is the truth."""
        config = self.scheduler.config
        if self.kind == EDM:
            data = config.sigma_data
            total = sigma**2 + data**2
            skip, out = data**2 / total, sigma * data / total**0.5
            return (denoised - skip * x) / (-out if config.prediction_type == "v_prediction" else out)
        prediction = "flow_prediction" if self.kind == FLOW else config.prediction_type
        if prediction == "sample":
            return denoised
        noise = (x - alpha * denoised) / max(sigma, 1e-8)
        if prediction == "epsilon":
            return noise
        if prediction == "flow_prediction":
            return noise - denoised
        if prediction == "v_prediction":
            scale = (alpha**2 + sigma**2) ** 0.5
            return (alpha * noise - sigma * denoised) / scale
        raise ValueError(f"{type(self.scheduler).__name__} asks for {prediction!r}, which no model here can say")
