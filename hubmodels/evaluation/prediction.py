"""A model's predictions for every row of encoded columns, the rows split over the processes."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import extract_model_from_parallel, gather
from tqdm.auto import tqdm

from ..cpu import inference_kernels

WEIGHT = "sample_weight"  # of a row, which no model takes
Batch = dict[str, torch.Tensor]
Transform = Callable[[Batch, torch.Generator | None], Batch]


class EncodedColumns(Protocol):
    """Tell the number of a split's rows, and give any of them as a batch."""

    def __len__(self) -> int: ...
    def batch(self, rows: torch.Tensor) -> Batch: ...


def predict(
    model: torch.nn.Module,
    columns: EncodedColumns,
    task_predict: Callable[[Any, Batch], Batch],
    transform: Transform | None,
    batch_size: int,
    *,
    autocast_dtype: torch.dtype | None = None,
    description: str | None = None,
    distributed: bool = True,
    carry_state: bool = False,
) -> dict[str, np.ndarray]:
    """Run the model over all rows, in eval mode and without gradients; every process gets all predictions.

    Each process takes one stretch of the rows. The model is used where it is, and is left in the modes that it was in.

    Args:
        model: called with a transformed batch; wrapped in DistributedDataParallel or not.
        columns: the encoded rows.
        task_predict: a task's `predict`: (outputs, transformed batch) -> tensors whose first dimension is the rows.
        transform: a task's `transform(..., training=False)`; None leaves the batches as they are.
        batch_size: rows in one forward pass, >= 1.
        autocast_dtype: run the forward passes under autocast of this type; None in the weights' own type.
        description: words of a progress bar on the main process; None for no bar.
        distributed: split the rows over the processes; False when this process alone predicts.
        carry_state: the rows are consecutive: a process's stretch is cut into `batch_size` lanes, and the model's
            `state` goes along each lane.

    Returns:
        One array an entry that `task_predict` gives, and `sample_weight` where the rows have weights, in the order of
        the rows.

    Raises:
        ValueError: there are no rows, or the batch size is below 1.
    """
    state = PartialState()
    model = extract_model_from_parallel(model)
    device = next((weight.device for weight in model.parameters()), state.device)
    num_processes, process_index = (state.num_processes, state.process_index) if distributed else (1, 0)
    share = take_share(len(columns), num_processes, process_index, batch_size, carry_state)
    channels_last = _is_channels_last(model)
    predictions: dict[str, list[torch.Tensor]] = {}
    state_of_lanes: dict[str, torch.Tensor] = {}
    hidden = description is None or not state.is_main_process
    autocast = torch.autocast(device.type, dtype=autocast_dtype, enabled=autocast_dtype is not None)
    bar = tqdm(total=share.num_rows, desc=description, disable=hidden)
    with evaluation_mode(model), torch.no_grad(), autocast, bar:
        for numbers in share.rows.split(share.batch_size):
            batch = _prepare_batch(columns.batch(numbers), device, transform, channels_last)
            weights = batch.pop(WEIGHT, None)
            outputs = model(**batch, **state_of_lanes)
            if carry_state:
                state_of_lanes = {"state": outputs.state}
            told = task_predict(outputs, batch)
            if weights is not None:
                told = {**told, WEIGHT: weights}
            for name, value in told.items():
                predictions.setdefault(name, []).append(value.detach() if num_processes > 1 else value.detach().cpu())
            bar.update(len(numbers))
    wholes = {name: share.in_row_order(torch.cat(values)) for name, values in predictions.items()}
    if num_processes > 1:
        wholes = {name: gather(whole.contiguous())[: len(columns)].cpu() for name, whole in wholes.items()}
    halves = (torch.bfloat16, torch.float16)  # bfloat16 is none of NumPy's types
    return {name: (whole.float() if whole.dtype in halves else whole).numpy() for name, whole in wholes.items()}


@dataclass
class Share:
    """Holds the rows of one process, in the order in which it predicts them."""

    rows: torch.Tensor  # row numbers, int64
    num_rows: int  # of the share; in lanes that are not full some are predicted twice
    batch_size: int
    positions: torch.Tensor | None = None  # in lanes: where in the share each predicted row is

    def in_row_order(self, values: torch.Tensor) -> torch.Tensor:
        """Sort what was predicted from the order of lanes into that of the rows."""
        if self.positions is None:
            return values
        return values[self.positions.argsort().to(values.device)][: self.num_rows]


def take_share(num_rows: int, num_processes: int, process_index: int, batch_size: int, in_lanes: bool) -> Share:
    """Give one process its stretch of the rows.

    All stretches have one length, so that gathering needs no sizes: the last process repeats the last row. In lanes a
    stretch is cut into `batch_size` lanes, and a batch has the next row of each.

    Raises ValueError where there are no rows, or the batch size is below 1."""
    if num_rows == 0:
        raise ValueError("there are no rows to predict; give a split with at least one")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    length = -(-num_rows // num_processes)
    rows = torch.arange(process_index * length, (process_index + 1) * length).clamp_(max=num_rows - 1)
    if not in_lanes:
        return Share(rows, length, batch_size)
    num_lanes = min(batch_size, length)
    num_steps = -(-length // num_lanes)
    positions = torch.arange(num_lanes * num_steps).view(num_lanes, num_steps).T.flatten()
    return Share(rows[positions.clamp(max=length - 1)], length, num_lanes, positions)


def _prepare_batch(batch: Batch, device: torch.device, transform: Transform | None, channels_last: bool) -> Batch:
    """Copy a batch to the device and transform it; images in the layout of the model's convolutions."""
    batch = {name: value.to(device, non_blocking=True) for name, value in batch.items()}
    batch = transform(batch, None) if transform is not None else batch
    if channels_last:
        batch = {
            name: value.contiguous(memory_format=torch.channels_last) if value.ndim == 4 else value
            for name, value in batch.items()
        }
    return batch


def answer(
    model: torch.nn.Module,
    encoded: dict[str, np.ndarray],
    task_answers: Callable[[Any], dict[str, np.ndarray]],
    transform: Transform | None,
    batch_size: int,
    autocast_dtype: torch.dtype | None = None,
) -> dict[str, np.ndarray]:
    """Give what a task answers about encoded rows without targets, on this process alone.

    Args:
        model: in evaluation mode, used where it is.
        encoded: one array an input, first dimension the rows, at least one.
        task_answers: a task's `answers`: outputs -> columns.
        transform: a task's `transform(..., training=False)`.
        batch_size: rows in one forward pass, >= 1.
        autocast_dtype: run the forward passes under autocast of this type; None in the weights' own type.

    Returns:
        One array a column, in the order of the rows.
    """
    device = next(model.parameters()).device
    tensors = {name: torch.as_tensor(array) for name, array in encoded.items()}
    answers: dict[str, list[np.ndarray]] = {}
    autocast = torch.autocast(device.type, dtype=autocast_dtype, enabled=autocast_dtype is not None)
    with evaluation_mode(model), torch.inference_mode(), autocast, inference_kernels(device):
        for start in range(0, len(next(iter(tensors.values()))), batch_size):
            batch = {name: value[start : start + batch_size].to(device) for name, value in tensors.items()}
            batch = transform(batch, None) if transform is not None else batch
            for name, answer_column in task_answers(model(**batch)).items():
                answers.setdefault(name, []).append(answer_column)
    return {name: np.concatenate(batches) for name, batches in answers.items()}


def transformed_batches(
    model: torch.nn.Module,
    columns: EncodedColumns,
    transform: Transform | None,
    batch_size: int,
) -> Iterator[Batch]:
    """Give all rows in order as the model's forward takes them, on its device, whole on every process."""
    device = next(model.parameters()).device
    for numbers in torch.arange(len(columns)).split(batch_size):
        batch = _prepare_batch(columns.batch(numbers), device, transform, channels_last=False)
        batch.pop(WEIGHT, None)
        yield batch


@contextlib.contextmanager
def evaluation_mode(model: torch.nn.Module) -> Iterator[None]:
    """Set eval mode inside the block; afterwards every submodule is in the mode that it was in, frozen ones too."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def _is_channels_last(model: torch.nn.Module) -> bool:
    """Tell whether convolution weights lie in memory with the channels innermost (1x1 kernels say nothing)."""
    return any(
        weight.ndim == 4 and weight.is_contiguous(memory_format=torch.channels_last) and not weight.is_contiguous()
        for weight in model.parameters()
    )
