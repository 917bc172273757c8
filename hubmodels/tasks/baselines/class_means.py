"""Means of classes with noise: the classical method that drawn sounds are held against."""

import torch


def class_mean_samples(values: torch.Tensor, classes: torch.Tensor, asked: torch.Tensor, seed: int) -> torch.Tensor:
    """Draw of each class that is asked for the mean of its training rows plus noise, (N, ...).

    The noise has the standard deviation that the rows have at each position. Waveforms, whose mean is silence, become
    noise of their envelope.

    Args:
        values: training inputs (R, ...), -1 and more.
        classes: of these (R,); all of one class for a model without classes.
        asked: the classes (N,) of what is drawn.
        seed: of the noise.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.empty(len(asked), *values.shape[1:])
    for label in asked.unique():
        chosen, members = asked == label, values[classes == label]
        if not len(members):
            members = values
        noise = torch.randn(int(chosen.sum()), *values.shape[1:], generator=generator)
        drawn[chosen] = members.mean(dim=0) + members.std(dim=0, correction=0) * noise
    return drawn.clamp_min(-1)
