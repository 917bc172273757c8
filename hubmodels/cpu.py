"""What this CPU computes with: its name, number formats and kernels, for which torch has no public names."""

import contextlib
import logging
import platform
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

logger = logging.getLogger("hubmodels")

MANY_ROWS = 64  # of fewer, oneDNN's reordering of the weights takes longer than the product


def cpu_name() -> str:
    """Give the processor's name, as the system tells it."""
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def computes_bf16(device: torch.device) -> bool:
    """Tell whether bfloat16 is any faster than float32 there, and say so in the log where it is not.

    An x86 CPU needs AVX-512's or AMX's instructions for it. Without them a matrix product in bfloat16 is slow: 31
    GFLOPS against 103 in float32 with plain AVX-512 (one core of an Intel Xeon, torch 2.13, 2026-11-27). Without
    AVX-512 it has 0.94 against 80 (one core of an AMD EPYC of 2021)."""
    if device.type != "cpu":
        return True
    # Neither has a name that torch promises.
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    if capabilities.get("architecture") == "x86_64":
        native = capabilities.get("avx512_bf16", False) or capabilities.get("amx_bf16", False)
    else:
        native = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)()
    if not native:
        logger.warning("bf16: this CPU computes bfloat16 in software, slower than float32: using float32 instead")
    return native


class OneDnnLinear(TorchFunctionMode):
    """Take linear maps of many float32 rows on a CPU through oneDNN inside the block, equal to rounding.

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
        if func is not F.linear:
            return func(*args, **kwargs) if kwargs else func(*args)
        # torch's compiler chooses kernels itself, and cannot lower this one.
        if self.linear is not None and 2 <= len(args) <= 3 and not kwargs and not torch.compiler.is_compiling():
            rows, weight, bias = (*args, None)[:3]
            many = rows.numel() >= MANY_ROWS * rows.shape[-1]
            if many and fits_one_dnn(rows) and fits_one_dnn(weight) and len(weight) > 1:
                return self.linear(rows, weight, bias, "none", [], "")
        return func(*args, **(kwargs or {}))


def fits_one_dnn(tensor: torch.Tensor) -> bool:
    """Tell whether oneDNN takes a tensor as it is."""
    return (
        type(tensor) in (torch.Tensor, torch.nn.Parameter)  # not one that is quantised or split over processes
        and tensor.device.type == "cpu"
        and tensor.dtype == torch.float32
        and tensor.ndim >= 2
        and tensor.is_contiguous()
        and not torch.is_autocast_enabled("cpu")
    )


def inference_kernels(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Give the block in which a model in use runs on a device.

    Pipelines and `hubmodels predict` both enter it, so that a batch gives the same numbers, to the digit, in both."""
    return OneDnnLinear() if device.type == "cpu" else contextlib.nullcontext()
