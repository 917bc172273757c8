"""What the training loop takes from others: batches of rows, what transforms them, what evaluates the model."""

from collections.abc import Callable, Generator
from typing import Protocol

import torch
from torch import nn

from ..report import Figure

Batch = dict[str, torch.Tensor]
# One optimizer step of one process: a (weight, batch) for each forward pass. Losses, each a mean over the rows of its
# batch, times the weights, averaged over the processes, sum to the mean over the step's rows.
Step = list[tuple[float, Batch]]
Transform = Callable[[Batch, torch.Generator | None], Batch]
Evaluate = Callable[[nn.Module], tuple[dict[str, float], list[Figure]]]


class TrainingBatches(Protocol):
    """Give the training rows, step by step, from any step of any epoch.

    Attributes:
        num_rows: rows of an epoch; None of a stream of unknown length.
    """

    num_rows: int | None

    def steps(
        self,
        epoch: int,
        first_step: int = 0,
        *,
        batch_size: int,
        accumulation: int = 1,
        num_processes: int = 1,
        process_index: int = 0,
        device: torch.device | str = "cpu",
    ) -> Generator[Step, None, None]:
        """Give the optimizer steps of an epoch for one process, from `first_step` on, on `device`."""
        ...

    def steps_per_epoch(self, rows_per_step: int) -> int:
        """Count the steps of an epoch. Raises HubmodelsError where they cannot be counted."""
        ...

    def row_numbers(self, epoch: int, step: int, rows_per_step: int) -> list[int]:
        """Give the numbers of the rows of a step, over all processes, for a message."""
        ...

    def tensor(self, name: str) -> torch.Tensor:
        """Give a whole column, (N, ...), for class weights."""
        ...
