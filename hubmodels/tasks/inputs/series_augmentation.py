"""Augmentation of series: values (B, T, C), where they are observed (B, T, C) and lengths (B,), zeros behind the ends.

Random numbers come from the generator alone. Cropping and warping move `observed` along with the values; what lies
behind a series' new end is 0 and not observed."""

import torch
from torch import Generator, Tensor


def jitter(values: Tensor, std: float, generator: Generator | None) -> Tensor:
    """Add noise N(0, std^2) to every value."""
    return values + std * torch.randn(values.shape, generator=generator, device=values.device)


def scale_magnitude(values: Tensor, std: float, generator: Generator | None) -> Tensor:
    """Multiply each channel of each series by a factor from N(1, std^2)."""
    shape = (values.shape[0], 1, values.shape[2])
    return values * (1 + std * torch.randn(shape, generator=generator, device=values.device))


def random_crop(
    values: Tensor, observed: Tensor, lengths: Tensor, share: float, generator: Generator | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Cut a stretch out of each series, at least 1 - share of its steps long, from anywhere in it.

    Returns:
        The values, where they are observed, and the new lengths.
    """
    draws = torch.rand(2, len(lengths), generator=generator, device=values.device)
    cropped = (lengths * (1 - share * draws[0])).ceil().clamp(min=1).long()
    first = (draws[1] * (lengths - cropped + 1)).long()
    steps = torch.arange(values.shape[1], device=values.device)
    sources = (first[:, None] + steps).clamp(max=values.shape[1] - 1)
    return (*_gather(values, observed, sources, steps < cropped[:, None]), cropped)


def time_warp(
    values: Tensor, observed: Tensor, lengths: Tensor, share: float, generator: Generator | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Play each series at another speed, read off at the nearest step.

    It becomes from 1 - share to 1 + share times as long, but no longer than the batch.

    Returns:
        The values, where they are observed, and the new lengths.
    """
    draws = torch.rand(len(lengths), generator=generator, device=values.device)
    longest = values.shape[1]
    warped = (lengths * (1 - share + 2 * share * draws)).round().clamp(1, longest).long()
    steps = torch.arange(longest, device=values.device)
    # The first step stays the first and the last the last.
    speed = (lengths - 1).clamp(min=0) / (warped - 1).clamp(min=1)
    sources = (steps * speed[:, None]).round().long().clamp(max=longest - 1)
    return (*_gather(values, observed, sources, steps < warped[:, None]), warped)


def _gather(values: Tensor, observed: Tensor, sources: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
    """Take each step (B, T) from its source in the series, 0 and not observed where it is not inside the new ends."""
    index = sources[..., None].expand(values.shape)
    observed = observed.gather(1, index) & inside[..., None]
    return values.gather(1, index).where(observed, 0), observed
