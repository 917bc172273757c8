"""Measuring how near an image is to another: squared error, PSNR and SSIM, image by image, of values in 0..1."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from ..contract.types import Rows

WINDOW, SIGMA = 11, 1.5  # of SSIM's Gaussian window, in pixels
K1, K2 = 0.01, 0.03  # SSIM's constants, for values of range 1
LEAST_ERROR = 1e-10  # equal images would have an infinite PSNR; this makes it 100 dB


def quality_rows(images: Tensor, references: Tensor) -> dict[str, Tensor]:
    """Compute `squared_errors` (mean over the pixels), `psnr` in dB and `ssim` of each pair of images, each (B,).

    Values are clipped to 0..1 first, as whoever shows or stores an image does.

    Args:
        images, references: (B, C, H, W), floating point.
    """
    images, references = images.float().clamp(0, 1), references.float().clamp(0, 1)
    errors = (images - references).square().flatten(1).mean(dim=1)
    return {"squared_errors": errors, "psnr": psnr(errors), "ssim": ssim(images, references)}


def mean_quality(rows: "Rows") -> dict[str, float]:
    """Compute the means over rows of what `quality_rows` gives: `mse`, `psnr` and `ssim`."""
    names = {"mse": "squared_errors", "psnr": "psnr", "ssim": "ssim"}
    return {metric: float(rows[name].mean(dtype="float64")) for metric, name in names.items()}


def psnr(errors: Tensor) -> Tensor:
    """Compute the peak signal-to-noise ratio in dB of mean squared errors, for values of range 1; at most 100 dB."""
    return -10 * errors.clamp(min=LEAST_ERROR).log10()


def ssim(images: Tensor, references: Tensor) -> Tensor:
    """Compute the structural similarity, (B,), at most 1, averaged over all windows that lie inside the image.

    Wang et al. 2004, "Image quality assessment: from error visibility to structural similarity", eq. 13.

    Args:
        images, references: (B, C, H, W), values in 0..1. Where a side is shorter than the window of 11, the window is
            the longest odd one that fits.
    """
    window = [_window(side, images) for side in images.shape[2:]]
    C = images.shape[1]
    # Five maps in one pass: channels are filtered one by one.
    maps = torch.cat([images, references, images * images, references * references, images * references], dim=1)
    for axis, weights in enumerate(window):
        shape = (1, 1, -1, 1) if axis == 0 else (1, 1, 1, -1)
        kernel = weights.view(shape).repeat(maps.shape[1], 1, 1, 1)
        maps = functional.conv2d(maps, kernel, groups=maps.shape[1])
    mean_x, mean_y, square_x, square_y, product = maps.split(C, dim=1)
    variance_x, variance_y = square_x - mean_x.square(), square_y - mean_y.square()
    covariance = product - mean_x * mean_y
    c1, c2 = K1**2, K2**2
    similarity = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    similarity = similarity / ((mean_x.square() + mean_y.square() + c1) * (variance_x + variance_y + c2))
    return similarity.flatten(1).mean(dim=1)


def _window(side: int, like: Tensor) -> Tensor:
    """Return Gaussian weights that sum to 1, (K,), K odd."""
    size = min(WINDOW, side if side % 2 else side - 1)
    offsets = torch.arange(size, dtype=like.dtype, device=like.device) - size // 2
    weights = (-offsets.square() / (2 * SIGMA**2)).exp()
    return weights / weights.sum()
