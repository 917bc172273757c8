"""A model's predictions for every row of encoded columns, the rows split over the processes."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import PartialState
from accelerate.utils import extract_model_from_parallel, gather
from torch.overrides import TorchFunctionMode
from tqdm.auto import tqdm

Batch = dict[str, torch.Tensor]

MANY_ROWS = 64  # of fewer, oneDNN's reordering of the weights takes longer than the product


class EncodedColumns(Protocol):
    """What `predict` needs of a split: the number of its rows, and any of them as a batch."""

    def __len__(self) -> int: ...
    def batch(self, rows: torch.Tensor) -> Batch: ...


def predict(
    model: torch.nn.Module,
    columns: EncodedColumns,
    task_predict: Callable[[Any, Batch], Batch],
    transform: Callable[[Batch, torch.Generator | None], Batch] | None,
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
        One array an entry that `task_predict` gives, in the order of the rows.

    Raises:
        ValueError: there are no rows, or the batch size is below 1.
    """
    if len(columns) == 0:
        raise ValueError("there are no rows to predict; give a split with at least one")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    state = PartialState()
    model = extract_model_from_parallel(model)
    weight = next(model.parameters(), None)
    device = weight.device if weight is not None else state.device
    channels_last = _is_channels_last(model)
    # Stretches of one length, so that gathering needs no sizes: the last process repeats the last row, cut off below.
    num_processes, process_index = (state.num_processes, state.process_index) if distributed else (1, 0)
    share = -(-len(columns) // num_processes)
    rows = torch.arange(process_index * share, (process_index + 1) * share).clamp_(max=len(columns) - 1)
    parts: dict[str, list[torch.Tensor]] = {}
    state_of_lanes: dict[str, torch.Tensor] = {}
    places = None
    if carry_state:
        num_lanes = min(batch_size, share)
        num_steps = -(-share // num_lanes)
        places = torch.arange(num_lanes * num_steps).view(num_lanes, num_steps).T.flatten()
        rows, batch_size = rows[places.clamp(max=share - 1)], num_lanes
    hidden = description is None or not state.is_main_process
    autocast = torch.autocast(device.type, dtype=autocast_dtype, enabled=autocast_dtype is not None)
    with evaluation_mode(model), torch.no_grad(), autocast, tqdm(total=share, desc=description, disable=hidden) as bar:
        for numbers in rows.split(batch_size):
            batch = {name: value.to(device, non_blocking=True) for name, value in columns.batch(numbers).items()}
            batch = transform(batch, None) if transform is not None else batch
            if channels_last:
                batch = {
                    name: value.contiguous(memory_format=torch.channels_last) if value.ndim == 4 else value
                    for name, value in batch.items()
                }
            outputs = model(**batch, **state_of_lanes)
            if carry_state:
                state_of_lanes = {"state": outputs.state}
            for name, value in task_predict(outputs, batch).items():
                parts.setdefault(name, []).append(value.detach() if num_processes > 1 else value.detach().cpu())
            bar.update(len(numbers))
    result = {}
    for name, values in parts.items():
        whole = torch.cat(values)
        if places is not None:  # from the order of lanes into that of the rows
            whole = whole[places.argsort().to(whole.device)][:share]
        whole = gather(whole.contiguous())[: len(columns)].cpu() if num_processes > 1 else whole
        result[name] = (whole.float() if whole.dtype in (torch.bfloat16, torch.float16) else whole).numpy()
    return result


def answer(
    model: torch.nn.Module,
    encoded: dict[str, np.ndarray],
    task_answers: Callable[[Any], dict[str, np.ndarray]],
    transform: Callable[[Batch, torch.Generator | None], Batch] | None,
    batch_size: int,
    autocast_dtype: torch.dtype | None = None,
) -> dict[str, np.ndarray]:
    """What a task answers about encoded rows without targets, on this process alone.

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
    tensors = {name: torch.as_tensor(values) for name, values in encoded.items()}
    parts: dict[str, list[np.ndarray]] = {}
    autocast = torch.autocast(device.type, dtype=autocast_dtype, enabled=autocast_dtype is not None)
    with evaluation_mode(model), torch.inference_mode(), autocast, OneDnnLinear():
        for start in range(0, len(next(iter(tensors.values()))), batch_size):
            batch = {name: value[start : start + batch_size].to(device) for name, value in tensors.items()}
            batch = transform(batch, None) if transform is not None else batch
            for name, values in task_answers(model(**batch)).items():
                parts.setdefault(name, []).append(values)
    return {name: np.concatenate(values) for name, values in parts.items()}


class OneDnnLinear(TorchFunctionMode):
    """Inside the block, linear maps of many float32 rows on a CPU go through oneDNN, equal to rounding.

    torch takes MKL for them, which uses half of the width of an AMD core: 2,048 rows through 384 x 384 weights gave 101
    GFLOP/s by MKL and 229 by oneDNN (one core of an AMD EPYC 9005, 2026-11-26). Other maps are left alone, and so is
    everything where torch was built without oneDNN."""

    def __init__(self) -> None:
        super().__init__()
        # What torch's own compiler calls for a frozen nn.Linear; it has no public name.
        available = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        self.linear = torch.ops.mkldnn._linear_pointwise if available else None

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is F.linear and self.linear is not None and 2 <= len(args) <= 3 and not kwargs:
            rows, weight, bias = (*args, None)[:3]
            if self.fits(rows) and self.fits(weight) and len(weight) > 1 and rows.numel() >= MANY_ROWS * rows.shape[-1]:
                return self.linear(rows, weight, bias, "none", [], "")
        return func(*args, **(kwargs or {}))

    @staticmethod
    def fits(tensor: torch.Tensor) -> bool:
        """Whether oneDNN takes a tensor as it is."""
        return (
            tensor.device.type == "cpu"
            and tensor.dtype == torch.float32
            and tensor.ndim >= 2
            and tensor.is_contiguous()
            and not torch.is_autocast_enabled("cpu")
        )


def transformed_batches(
    model: torch.nn.Module,
    columns: EncodedColumns,
    transform: Callable[[Batch, torch.Generator | None], Batch] | None,
    batch_size: int,
) -> Iterator[Batch]:
    """All rows in order as the model's forward takes them, on its device, whole on every process."""
    device = next(model.parameters()).device
    for numbers in torch.arange(len(columns)).split(batch_size):
        batch = {name: value.to(device, non_blocking=True) for name, value in columns.batch(numbers).items()}
        yield transform(batch, None) if transform is not None else batch


@contextlib.contextmanager
def evaluation_mode(model: torch.nn.Module) -> Iterator[None]:
    """Eval mode inside the block; afterwards every submodule is in the mode that it was in, frozen ones too."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def _is_channels_last(model: torch.nn.Module) -> bool:
    """Whether convolution weights lie in memory with the channels innermost (1x1 kernels say nothing)."""
    return any(
        weight.ndim == 4 and weight.is_contiguous(memory_format=torch.channels_last) and not weight.is_contiguous()
        for weight in model.parameters()
    )
