"""Noise on images in 0..1.

Kinds of noise, each of a strength s: gaussian adds N(0, s^2) to every value; salt_and_pepper makes a share s of the
pixels black or white, with even chances; masking makes a share s of them black (Vincent et al. 2010, "Stacked denoising
autoencoders", section 3.3). A pixel is hit in all its channels. Noisy values are clipped to 0..1, as an image's are.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

NUM_LEVELS = 7  # strengths of the fixed noise of evaluation, evenly over the range, both ends included


def draw_noise(
    values: Tensor, kinds: Sequence[str], strengths: Sequence[float], generator: torch.Generator | None
) -> Tensor:
    """Make noisy images for training: of each row a kind and a strength between both `strengths` are drawn.

    Args:
        values: (B, C, H, W) in 0..1.
        kinds: of noise, see above.
        strengths: the least and the greatest.
        generator: of all that is drawn.
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
    """Make noisy images for evaluation: the kinds in turn, each at `row_strengths`.

    A row's noise is the same whatever its batch, device and epoch.

    Args:
        values: (B, C, H, W) in 0..1.
        rows: (B,) int64, the rows' numbers.
        kinds: of noise, see above.
        strengths: the least and the greatest.
    """
    normal, uniform = torch.empty(values.shape), torch.empty((len(values), 1, *values.shape[2:]))
    for index, row in enumerate(rows.tolist()):
        # Philox counts from its key: each row has numbers of its own, however many rows there are.
        generator = np.random.Generator(np.random.Philox(key=row))
        normal[index] = torch.from_numpy(generator.standard_normal(normal.shape[1:], dtype=np.float32))
        uniform[index] = torch.from_numpy(generator.random(uniform.shape[1:], dtype=np.float32))
    kind = rows // NUM_LEVELS % len(kinds)
    strength = torch.from_numpy(row_strengths(rows.cpu().numpy(), strengths)).float()
    device = values.device
    return _noisy(values, kinds, *(item.to(device) for item in (kind, strength, normal, uniform)))


def row_strengths(rows: np.ndarray, strengths: Sequence[float]) -> np.ndarray:
    """Return the strength of each row's fixed noise: `NUM_LEVELS` even steps over the range, in turn."""
    low, high = strengths
    return np.linspace(low, high, NUM_LEVELS)[rows % NUM_LEVELS]


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
