"""Where the run computes: processes and device (accelerate), number formats, memory, and the words for the hardware."""

import contextlib
import importlib.util
import os
from collections.abc import Callable, Iterator

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType, find_executable_batch_size
from torch import nn

from .. import abilities
from ..cpu import computes_bf16, cpu_name
from ..errors import HubmodelsError, nearest
from ..recipe import TrainingArguments

TRACKERS = ("tensorboard", "trackio", "wandb")


def make_accelerator(model: nn.Module, arguments: TrainingArguments, output_dir: os.PathLike) -> Accelerator:
    """Make accelerate's view of this process among the others.

    It gives processes, devices, DDP and trackers. Autocast, optimizers and schedules stay torch's own: through
    accelerate's wrappers a step of a small network takes longer (scripts/benchmark.py).

    Raises:
        HubmodelsError: a launcher that the loop does not run under, or a tracker that is not installed.
    """
    for name in arguments.report_to or ():
        if name not in TRACKERS:
            raise HubmodelsError(f"report_to takes {', '.join(TRACKERS)}, got {name!r}{nearest(name, TRACKERS)}")
        if importlib.util.find_spec(name) is None:
            raise HubmodelsError(f"report_to {name} needs a package that is not installed: pip install {name}")
    two_players = bool(abilities.players(model))
    ddp = DistributedDataParallelKwargs(
        # A player's turn leaves the other's weights without gradients, and its second forward pass must not overwrite
        # buffers that the first one's graph still needs.
        find_unused_parameters=two_players,
        broadcast_buffers=not two_players,
        gradient_as_bucket_view=True,
    )
    if AcceleratorState._shared_state and AcceleratorState().mixed_precision != "no":
        AcceleratorState._reset_state()  # left by another user in this process, such as a Trainer with bf16
    accelerator = Accelerator(
        # Without it accelerate does not see the processes of a torchrun on a machine without a GPU.
        cpu=not torch.accelerator.is_available(),
        mixed_precision="no",
        log_with=arguments.report_to,
        project_dir=os.fspath(output_dir),
        kwargs_handlers=[ddp],
    )
    if accelerator.distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM):
        raise HubmodelsError(
            f"training runs on one process or under data parallelism (DDP), not {accelerator.distributed_type.value}: "
            "answer no to it in `accelerate config`"
        )
    return accelerator


def make_autocast(
    device: torch.device, arguments: TrainingArguments
) -> Callable[[], contextlib.AbstractContextManager]:
    """Make the function that gives the context of a forward pass; see `computes_bf16` for bf16.

    Raises HubmodelsError for fp16 without a GPU."""
    if arguments.fp16 and device.type == "cpu":
        raise HubmodelsError("fp16 needs a GPU; on a CPU use bf16 or neither")
    if not (arguments.fp16 or (arguments.bf16 and computes_bf16(device))):
        return contextlib.nullcontext
    dtype = torch.bfloat16 if arguments.bf16 else torch.float16
    return lambda: torch.autocast(device.type, dtype)


@contextlib.contextmanager
def float32_precision(device: torch.device, tf32: bool) -> Iterator[None]:
    """Set TF32 or full products of float32 matrices on a GPU, for the time of the run; leave a CPU as it is."""
    if device.type != "cuda":
        yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def place(model: nn.Module, device: torch.device) -> bool:
    """Move the model to the device, with convolution weights in channels_last. True when there are any."""
    model.to(device)
    convolutions = any(parameter.ndim == 4 for parameter in model.parameters())
    if convolutions:
        model.to(memory_format=torch.channels_last)
    return convolutions


def largest_batch_size(
    start: int, rows: int, attempt: Callable[[int], None], clean: Callable[[], None], accelerator: Accelerator
) -> int:
    """Find the largest micro-batch with which `attempt` does not run out of memory on any process.

    Args:
        start: the size to try first. Each next one is at most half, and divides `rows`, so that the global batch stays.
        rows: rows of one process in an optimizer step.
        attempt: raises torch's out-of-memory error or returns.
        clean: called after every attempt.

    Raises HubmodelsError when not even one row fits."""
    size = start

    def smaller() -> int:
        nonlocal size
        size = next((candidate for candidate in range(size // 2, 0, -1) if rows % candidate == 0), 0)
        return size

    @find_executable_batch_size(starting_batch_size=start, reduce_batch_size_fn=smaller)
    def search(batch_size: int) -> int:
        try:
            attempt(batch_size)
        finally:
            clean()
        return batch_size

    try:
        largest = search()
    except RuntimeError as error:
        if "No executable batch size" not in str(error):
            raise
        largest = 0
    if accelerator.num_processes > 1:
        smallest = torch.tensor(largest, device=accelerator.device)
        torch.distributed.all_reduce(smallest, torch.distributed.ReduceOp.MIN)
        largest = int(smallest)
    if largest == 0:
        raise HubmodelsError("not even one row fits into memory: use a smaller model or smaller inputs")
    return largest


def describe_hardware(accelerator: Accelerator) -> str:
    """Describe it in one phrase: "2 x NVIDIA H200" or "Intel Xeon ... (2 threads)"."""
    if accelerator.device.type == "cuda":
        name = torch.cuda.get_device_name(accelerator.device)
    else:
        threads = torch.get_num_threads()
        name = f"{cpu_name()} ({threads} thread{'s' * (threads != 1)})"
    return name if accelerator.num_processes == 1 else f"{accelerator.num_processes} x {name}"
