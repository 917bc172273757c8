"""Read the header of a safetensors file, every number checked. The standard library only."""

import json
import math
import struct
from pathlib import Path
from typing import Any

from .errors import HubmodelsError, one_line
from .files import FORBIDDEN_STARTS

MAX_HEADER_BYTES = 100_000_000  # of a safetensors file, as the format's own reader has it
DTYPE_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "U16": 16, "I16": 16, "F16": 16, "BF16": 16,
    "U32": 32, "I32": 32, "F32": 32, "U64": 64, "I64": 64, "F64": 64,
}  # fmt: skip


def read_safetensors_header(path: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Read the tensors of a safetensors file from its header alone, every number checked.

    The format: 8 bytes length of the header (little endian), the header as JSON, the data
    (https://huggingface.co/docs/safetensors/index#format). The data must be covered exactly, without gap or overlap.

    Returns:
        For each tensor's name its dtype and its shape.

    Raises:
        HubmodelsError: it is no safetensors file, it is cut short, or its header lies.
    """
    size = path.stat().st_size
    damaged = f"{path.name} is no whole safetensors file: "
    header, length = read_header_json(path, size, damaged)
    tensors: dict[str, tuple[str, tuple[int, ...]]] = {}
    spans = []
    for name, entry in header.items():
        shown = name[:80]
        if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
            raise HubmodelsError(damaged + f"the entry of {shown!r} is not dtype, shape and data_offsets")
        dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        numbers = [*shape, *offsets] if isinstance(shape, list) and isinstance(offsets, list) else [None]
        if (
            not all(type(number) is int and 0 <= number < 2**63 for number in numbers)
            or len(offsets) != 2
            or not isinstance(dtype, str)
            or dtype not in DTYPE_BITS
        ):
            raise HubmodelsError(damaged + f"dtype, shape or offsets of {shown!r} are impossible")
        if offsets[1] - offsets[0] != math.prod(shape) * DTYPE_BITS[dtype] // 8:
            raise HubmodelsError(damaged + f"the shape of {shown!r} does not fit its {offsets[1] - offsets[0]:,} bytes")
        tensors[name] = (dtype, tuple(shape))
        spans.append((offsets[0], offsets[1]))
    position = 0
    for begin, end in sorted(spans):
        if begin != position:
            raise HubmodelsError(damaged + f"its tensors leave a gap or overlap at byte {position:,}")
        position = end
    if position != size - 8 - length:
        raise HubmodelsError(damaged + f"its tensors take {position:,} bytes, {size - 8 - length:,} are there")
    return tensors


def read_header_json(path: Path, size: int, damaged: str) -> tuple[dict[str, Any], int]:
    """Read the header of a safetensors file as it stands there, without its metadata.

    Args:
        path: the file.
        size: of the file, in bytes.
        damaged: the words that a message begins with.

    Returns:
        The header, tensor name -> entry, and its length in bytes.
    """
    with open(path, "rb") as file:
        start = file.read(8)
        if len(start) < 8:
            raise HubmodelsError(damaged + f"it has {size} bytes")
        (length,) = struct.unpack("<Q", start)
        if length > min(MAX_HEADER_BYTES, size - 8):
            kind = next((kind for magic, kind in FORBIDDEN_STARTS.items() if start.startswith(magic)), None)
            hint = f" (it looks like a {kind})" if kind else ""
            raise HubmodelsError(damaged + f"its header would be {length:,} bytes of {size:,}{hint}")
        try:
            header = json.loads(file.read(length).decode("utf-8"), object_pairs_hook=unique_names)
        except (ValueError, RecursionError) as error:
            raise HubmodelsError(damaged + f"its header is not JSON ({one_line(error, 100)})") from None
    if not isinstance(header, dict):
        raise HubmodelsError(damaged + "its header is no mapping")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict):
        raise HubmodelsError(damaged + "its metadata are no mapping")
    return header, length


def unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a mapping of a JSON object's pairs. Raises ValueError when a name stands twice."""
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        raise ValueError("a name stands twice")
    return dict(pairs)
