"""Noise on images in 0..1, and the classical filters against it.

Kinds of noise, each of a strength s: gaussian adds N(0, s^2) to every value; salt_and_pepper makes a share s of the
pixels black or white, with even chances; masking makes a share s of them black (Vincent et al. 2010, "Stacked denoising
autoencoders", section 3.3). A pixel is hit in all its channels. Noisy values are clipped to 0..1, as an image's are.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

NUM_LEVELS = 7  # strengths of the fixed noise of evaluation, evenly over the range, both ends included
PATCH, SEARCH = 5, 11  # sides of non-local means' patches and of the window where it looks for similar ones
MEDIAN_SIDES = (3, 5)
MEANS_STRENGTHS = (0.3, 0.5, 0.7, 1.0)  # of non-local means, in units of the estimated noise of an image


def draw_noise(
    values: Tensor, kinds: Sequence[str], strengths: Sequence[float], generator: torch.Generator | None
) -> Tensor:
    """Noisy images for training: of each row a kind of `kinds` and a strength between both `strengths` are drawn.

    Args:
        values: (B, C, H, W) in 0..1.
    """
    B, device = len(values), values.device
    low, high = strengths
    strength = low + (high - low) * torch.rand(B, generator=generator, device=device)
    kind = torch.randint(len(kinds), (B,), generator=generator, device=device)
    normal = torch.randn(values.shape, generator=generator, device=device) if "gaussian" in kinds else None
    uniform = None
    if set(kinds) != {"gaussian"}:
        uniform = torch.rand((B, 1, *values.shape[2:]), generator=generator, device=device)
    return _noisy(values, kinds, kind, strength, normal, uniform)


def fixed_noise(values: Tensor, rows: Tensor, kinds: Sequence[str], strengths: Sequence[float]) -> Tensor:
    """Noisy images for evaluation, the same for a row number whatever its batch, device and epoch: the kinds in turn,
    each at `row_strengths`.

    Args:
        values: (B, C, H, W) in 0..1.
        rows: (B,) int64, the rows' numbers.
    """
    normal, uniform = torch.empty(values.shape), torch.empty((len(values), 1, *values.shape[2:]))
    for place, row in enumerate(rows.tolist()):
        # Philox counts from its key: each row has numbers of its own, however many rows there are.
        generator = np.random.Generator(np.random.Philox(key=row))
        normal[place] = torch.from_numpy(generator.standard_normal(normal.shape[1:], dtype=np.float32))
        uniform[place] = torch.from_numpy(generator.random(uniform.shape[1:], dtype=np.float32))
    kind = rows // NUM_LEVELS % len(kinds)
    strength = torch.from_numpy(row_strengths(rows.cpu().numpy(), strengths)).float()
    device = values.device
    return _noisy(values, kinds, *(item.to(device) for item in (kind, strength, normal, uniform)))


def row_strengths(rows: np.ndarray, strengths: Sequence[float]) -> np.ndarray:
    """The strength of each row's fixed noise: `NUM_LEVELS` even steps over the range, in turn."""
    return np.linspace(*strengths, NUM_LEVELS)[rows % NUM_LEVELS]


def _noisy(
    values: Tensor, kinds: Sequence[str], kind: Tensor, strength: Tensor, normal: Tensor | None, uniform: Tensor | None
) -> Tensor:
    kind, strength = kind.view(-1, 1, 1, 1), strength.to(values.dtype).view(-1, 1, 1, 1)
    noisy = values
    for number, name in enumerate(kinds):
        if name == "gaussian":
            changed = values + strength * normal
        else:
            changed = values.where(uniform >= strength, 0.0)
            if name == "salt_and_pepper":
                changed = changed.where(uniform >= strength / 2, 1.0)
        noisy = torch.where(kind == number, changed, noisy)
    return noisy.clamp(0, 1)


# Filters


def median_filter(images: Tensor, side: int) -> Tensor:
    """The median of each side x side neighbourhood, the image mirrored at its edges, (B, C, H, W)."""
    from scipy.ndimage import median_filter as scipy_filter

    return torch.from_numpy(scipy_filter(images.numpy(), size=(1, 1, side, side), mode="reflect"))


def estimate_noise(images: Tensor) -> Tensor:
    """The standard deviation of an image's noise, (B,), from the mean absolute value of the difference of two Laplacian
    masks, which sees no edge or gradient (Immerkær 1996, "Fast noise variance estimation", eq. 4)."""
    mask = torch.tensor([[1.0, -2.0, 1.0], [-2.0, 4.0, -2.0], [1.0, -2.0, 1.0]])
    C = images.shape[1]
    found = functional.conv2d(images, mask.view(1, 1, 3, 3).repeat(C, 1, 1, 1).to(images), groups=C)
    return (np.pi / 2) ** 0.5 / 6 * found.abs().flatten(1).mean(dim=1)


def non_local_means(images: Tensor, strength: float) -> Tensor:
    """Each pixel as the mean of the pixels around it whose neighbourhoods look alike (Buades, Coll and Morel 2005, "A
    non-local algorithm for image denoising"): weights exp(-max(d^2 - 2 s^2, 0) / h^2) with d^2 the mean squared
    difference of two patches of 5 x 5, s the image's estimated noise and h = strength * s, within 11 x 11 pixels.

    Args:
        images: (B, C, H, W) in 0..1.
        strength: > 0; more is smoother.
    """
    B, C, H, W = images.shape
    reach, half = SEARCH // 2, PATCH // 2
    margin = reach + half
    noise = estimate_noise(images).clamp(min=1e-4).view(B, 1, 1, 1)
    padded = functional.pad(images, [margin] * 4, mode="reflect" if margin < min(H, W) else "replicate")
    inner = padded[:, :, reach : reach + H + 2 * half, reach : reach + W + 2 * half]
    total, weights = torch.zeros_like(images), torch.zeros((B, 1, H, W))
    for top in range(SEARCH):
        for left in range(SEARCH):
            other = padded[:, :, top : top + H + 2 * half, left : left + W + 2 * half]
            apart = functional.avg_pool2d((inner - other).square().mean(dim=1, keepdim=True), PATCH, stride=1)
            weight = (-(apart - 2 * noise.square()).clamp(min=0) / (strength * noise).square()).exp()
            total += weight * other[:, :, half : half + H, half : half + W]
            weights += weight
    return total / weights
