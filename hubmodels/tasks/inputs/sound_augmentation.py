"""Augmentation of whole batches of sounds: shift, speed, noise, and masks on spectrograms. Each row its own draw.

Waveforms are (B, T) floats in -1..1. Random numbers come from the given generator alone.
"""

import torch

SILENCE = -1.0  # of a spectrogram


def random_shift(waveforms: torch.Tensor, limit: int, generator: torch.Generator | None) -> torch.Tensor:
    """Move each sound by up to `limit` samples earlier or later, silence behind it."""
    B, T = waveforms.shape
    shifts = torch.randint(-limit, limit + 1, (B, 1), generator=generator, device=waveforms.device)
    sources = torch.arange(T, device=waveforms.device) - shifts
    return waveforms.gather(1, sources.clamp(0, T - 1)) * ((sources >= 0) & (sources < T))


def random_speed(waveforms: torch.Tensor, limit: float, generator: torch.Generator | None) -> torch.Tensor:
    """Play each sound faster or slower around its middle, pitch with it; silence or a cut at the ends.

    The factor is between 1 / (1 + limit) and 1 + limit, its logarithm drawn evenly. Linear between samples."""
    B, T = waveforms.shape
    draws = 2 * torch.rand(B, 1, generator=generator, device=waveforms.device) - 1
    factors = (1 + limit) ** draws
    times = (torch.arange(T, device=waveforms.device) - (T - 1) / 2) * factors + (T - 1) / 2  # in samples
    inside = (times >= 0) & (times <= T - 1)
    times = times.clamp(0, T - 1)
    left = times.floor().long().clamp(max=max(T - 2, 0))
    share = times - left
    right = (left + 1).clamp(max=T - 1)
    return torch.lerp(waveforms.gather(1, left), waveforms.gather(1, right), share) * inside


def random_noise(waveforms: torch.Tensor, limit: float, generator: torch.Generator | None) -> torch.Tensor:
    """Add white noise whose standard deviation is up to `limit` times the sound's root mean square.

    The share is the square of an even draw, so that most sounds stay clean."""
    B, _ = waveforms.shape
    shares = torch.rand(B, 1, generator=generator, device=waveforms.device).square() * limit
    noise = torch.randn(waveforms.shape, generator=generator, device=waveforms.device)
    return waveforms + noise * shares * waveforms.square().mean(dim=1, keepdim=True).sqrt()


def random_mask(
    spectrograms: torch.Tensor, limit: float, generator: torch.Generator | None, *, frequency: bool
) -> torch.Tensor:
    """Silence a stretch of up to the share `limit` of the frames, or of the bands, of each (B, M, N).

    Park et al. 2019, SpecAugment, arXiv:1904.08779."""
    B, M, N = spectrograms.shape
    side = M if frequency else N
    device = spectrograms.device
    widths, starts = torch.rand(2, B, 1, generator=generator, device=device)
    widths = (widths * limit * side).round()
    starts = (starts * (side - widths + 1)).floor()
    positions = torch.arange(side, device=device)
    masked = (positions >= starts) & (positions < starts + widths)
    return spectrograms.masked_fill(masked[:, :, None] if frequency else masked[:, None, :], SILENCE)
