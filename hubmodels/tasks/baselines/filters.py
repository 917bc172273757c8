"""Classical filters against noise on images, and the choice of the best on training images."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

PATCH, SEARCH = 5, 11  # sides of non-local means' patches and of the window where it looks for similar ones
MEDIAN_SIDES = (3, 5)
MEANS_STRENGTHS = (0.3, 0.5, 0.7, 1.0)  # of non-local means, in units of the estimated noise of an image


@dataclass
class Filter:
    """A way from given images to better ones, with its mean score on the images on which it was chosen."""

    name: str
    apply: Callable[[Tensor], Tensor]
    score: float


def choose_filters(images: Tensor, score: Callable[[Tensor], float]) -> list[Filter]:
    """Choose the best strength of non-local means and of the median filter; last comes no filter at all.

    Args:
        images: (B, C, H, W) in 0..1, of the training rows.
        score: measures what a filter made of these images; greater is better.
    """

    def best(choices: dict[str, Callable[[Tensor], Tensor]]) -> Filter:
        filters = [Filter(name, apply, score(apply(images))) for name, apply in choices.items()]
        return max(filters, key=lambda item: item.score)

    means = {
        f"non-local means (h = {strength} of the estimated noise)": _means_of(strength) for strength in MEANS_STRENGTHS
    }
    medians = {f"median of {side} x {side}": _median_of(side) for side in MEDIAN_SIDES}
    return [best(means), best(medians), best({"no filter": lambda images: images})]


def _means_of(strength: float) -> Callable[[Tensor], Tensor]:
    return lambda images: non_local_means(images, strength)


def _median_of(side: int) -> Callable[[Tensor], Tensor]:
    return lambda images: median_filter(images, side)


def median_filter(images: Tensor, side: int) -> Tensor:
    """Take the median of each side x side neighbourhood, the image mirrored at its edges, (B, C, H, W)."""
    from scipy.ndimage import median_filter as scipy_filter

    return torch.from_numpy(scipy_filter(images.numpy(), size=(1, 1, side, side), mode="reflect"))


def estimate_noise(images: Tensor) -> Tensor:
    """Estimate the standard deviation of an image's noise, (B,).

    It comes from the mean absolute value of the difference of two Laplacian masks, which sees no edge or gradient
    (Immerkær 1996, "Fast noise variance estimation", eq. 4)."""
    mask = torch.tensor([[1.0, -2.0, 1.0], [-2.0, 4.0, -2.0], [1.0, -2.0, 1.0]])
    C = images.shape[1]
    filtered = functional.conv2d(images, mask.view(1, 1, 3, 3).repeat(C, 1, 1, 1).to(images), groups=C)
    return (np.pi / 2) ** 0.5 / 6 * filtered.abs().flatten(1).mean(dim=1)


def non_local_means(images: Tensor, strength: float) -> Tensor:
    """Replace each pixel by the mean of the pixels around it whose neighbourhoods look alike.

    Non-local means of Buades, Coll and Morel 2005 ("A non-local algorithm for image denoising"), within 11 x 11 pixels.
    The weights are exp(-max(d^2 - 2 s^2, 0) / h^2): d^2 is the mean squared difference of two patches of 5 x 5, s the
    image's estimated noise, and h = strength * s.

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
