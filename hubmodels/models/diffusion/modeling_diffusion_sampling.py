"""From noise to samples: the steps of a scheduler with a diffusion model.

Every sample has a generator of its own, from which all of its noise comes, so that it does not depend on the batch that
it is drawn in, nor on the device.
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from transformers.utils import logging as transformers_logging

from .configuration_diffusion import check_interval
from .modeling_diffusion_schedulers import Steps, make_scheduler
from .modeling_diffusion_shared import evaluation

# B batch, N samples


class Sampler:
    """Steps of a scheduler with a model: from noise, or from an image with some."""

    def __init__(
        self,
        model: Any,
        num_inference_steps: int | None,
        guidance_scale: float | None,
        guidance_interval: tuple[float, float] | None,
        scheduler: Any,
        progress_bar: bool = False,
        keep: bool = False,
    ) -> None:
        config = model.config
        self.model, self.progress_bar, self.keep = model, progress_bar, keep
        self.num_steps = config.num_inference_steps if num_inference_steps is None else num_inference_steps
        self.guidance_scale = config.guidance_scale if guidance_scale is None else guidance_scale
        self.guidance_interval = config.guidance_interval if guidance_interval is None else guidance_interval
        check_interval(self.guidance_interval)
        if not self.guidance_scale >= 0:
            raise ValueError(f"guidance_scale must be at least 0, got {self.guidance_scale}")
        if self.guidance_scale != 1 and not (config.class_conditional and config.class_dropout_prob):
            raise ValueError(
                f"guidance_scale {self.guidance_scale} needs a model that was trained with and without classes "
                "(class_conditional, class_dropout_prob above 0): leave it at 1"
            )
        self.scheduler = make_scheduler(config, scheduler) if isinstance(scheduler, str) else scheduler
        self.scheduler = model.scheduler if self.scheduler is None else self.scheduler
        self.states: list[Tensor] = []  # with `keep`: x after each step at the scale of the data
        self.steps()  # refuses what cannot be before anything is computed

    def steps(self) -> Steps:
        """Return the scheduler's steps from the first one on."""
        return Steps(self.scheduler, self.num_steps, self.model.device)

    def noise(self, seeds: Tensor) -> tuple[Tensor, list[torch.Generator]]:
        """Return each row's own generator, and noise (B, C, H, W) from it."""
        generators = [torch.Generator().manual_seed(seed) for seed in seeds.tolist()]
        shape = self.model.config.network_shape
        noise = torch.stack([torch.randn(shape, generator=generator) for generator in generators])
        return noise.to(self.model.device), generators

    def from_noise(
        self,
        labels: Tensor | None,
        seeds: Tensor,
        known: Tensor | None = None,
        mask: Tensor | None = None,
        num_resamples: int = 1,
    ) -> Tensor:
        """Draw values (B, C, H, W) from noise, the known ones kept where `mask` is 0."""
        steps = self.steps()
        noise, generators = self.noise(seeds)
        return self.run(steps, 0, steps.start(noise), labels, generators, known, mask, num_resamples)

    def from_image(self, labels: Tensor | None, seeds: Tensor, clean: Tensor, strength: float) -> Tensor:
        """Noise clean values (B, C, H, W) for the share `strength` of the steps, and denoise them again."""
        steps = self.steps()
        noise, generators = self.noise(seeds)
        count = min(math.ceil(strength * steps.num_steps), steps.num_steps)
        if count == 0:
            return clean
        first = (steps.num_steps - count) * steps.order
        steps.begin_at(first)
        x = float(steps.alphas[first]) * clean + float(steps.sigmas[first]) * noise
        return self.run(steps, first, x, labels, generators)

    @torch.no_grad()
    def run(
        self,
        steps: Steps,
        first: int,
        x: Tensor,
        labels: Tensor | None,
        generators: list[torch.Generator],
        known: Tensor | None = None,
        mask: Tensor | None = None,
        num_resamples: int = 1,
    ) -> Tensor:
        """Return all steps from entry `first` on: values (B, C, H, W) from x. Where `mask` is 0, x is the known values
        with the noise of the step."""
        starts = range(first, len(steps.timesteps), steps.order)
        bar = transformers_logging.tqdm(starts, desc="Sampling", disable=not self.progress_bar)
        with evaluation(self.model):
            for start in bar:
                if self.keep:
                    self.states.append(x / math.hypot(*steps.level(start)))
                end = min(start + steps.order, len(steps.timesteps))
                for repeat in range(num_resamples if end < len(steps.timesteps) else 1):
                    if repeat:
                        (alpha, sigma), (later_alpha, later_sigma) = steps.level(start), steps.level(end)
                        scale = alpha / later_alpha  # RePaint, algorithm 1, line 10
                        added = math.sqrt(max(sigma**2 - (scale * later_sigma) ** 2, 0.0))
                        x = scale * x + added * draw_noise(x, generators)
                        steps = self.steps()
                        steps.begin_at(start)
                    for index in range(start, end):
                        alpha, sigma = steps.level(index)
                        if known is not None and index == start:
                            x = torch.lerp(alpha * known + sigma * draw_noise(x, generators), x, mask)
                        guidance = self.guidance_scale, self.guidance_interval
                        denoised = self.model.denoise(x, alpha, sigma, labels, *guidance)
                        x = steps.step(index, denoised, x, generators)
        if self.keep:
            self.states.append(x)
        return x if known is None else torch.lerp(known, x, mask)


def draw_noise(like: Tensor, generators: list[torch.Generator]) -> Tensor:
    """Return N(0, 1) of the shape and device of `like`, (B, C, H, W), each row from its own generator; from one for
    all."""
    if len(generators) == 1:
        return torch.randn(like.shape, generator=generators[0]).to(like.device)
    rows = [torch.randn(like.shape[1:], generator=generator) for generator in generators]
    return torch.stack(rows).to(like.device)


def draw_seeds(count: int, generator: torch.Generator | None) -> Tensor:
    """Return a seed for each sample, (count,), from a generator on any device."""
    device = generator.device if generator is not None else "cpu"
    return torch.randint(2**62, (count,), generator=generator, device=device).cpu()


def split(batch_size: int, *tensors: Tensor | None) -> Iterator[tuple[Any, ...]]:
    """Return the same rows of every tensor, `batch_size` at a time; None stays None."""
    count = next(len(tensor) for tensor in reversed(tensors) if tensor is not None)
    for start in range(0, count, batch_size):
        yield tuple(None if tensor is None else tensor[start : start + batch_size] for tensor in tensors)


def own_share(labels: Tensor | None, seeds: Tensor) -> tuple[Tensor | None, Tensor]:
    """Return the part of all samples that this process of a launch draws; the first process says what they are. All of
    them where there is no launch."""
    if not torch.distributed.is_initialized():
        return labels, seeds
    told = [(labels if labels is None else labels.cpu(), seeds)]
    torch.distributed.broadcast_object_list(told)
    device = seeds.device if labels is None else labels.device
    rank, count = torch.distributed.get_rank(), torch.distributed.get_world_size()
    first, last = (len(seeds) * index // count for index in (rank, rank + 1))
    labels, seeds = told[0]
    return labels if labels is None else labels[first:last].to(device), seeds[first:last].to(device)


def gather(rows: Tensor) -> Tensor:
    """Return the rows of all processes of a launch, in their order, on every one."""
    if not torch.distributed.is_initialized():
        return rows
    rows_of_processes: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(rows_of_processes, rows.cpu())
    return torch.cat(rows_of_processes).to(rows.device)
