"""The weights of a release: the file's header, checked number by number, and the model that it is loaded into.

The model's class is the one that is installed here and registered for the config's type; the folder's own code is never
imported.
"""

import contextlib
import importlib
import json
import struct
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import safe_open

from ..errors import HubmodelsError
from .layout import CONFIG_FILE, FORBIDDEN_STARTS, WEIGHTS_FILE

MAX_HEADER_BYTES = 100_000_000  # of a safetensors file, as the format's own reader has it
DTYPE_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "U16": 16, "I16": 16, "F16": 16, "BF16": 16,
    "U32": 32, "I32": 32, "F32": 32, "U64": 64, "I64": 64, "F64": 64,
}  # fmt: skip


def read_safetensors_header(path: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """The tensors of a safetensors file, name -> (dtype, shape), from its header alone, every number checked.

    The format: 8 bytes length of the header (little endian), the header as JSON, the data
    (https://huggingface.co/docs/safetensors/index#format). The data must be covered exactly, without gap or overlap.

    Raises:
        HubmodelsError: it is no safetensors file, it is cut short, or its header lies.
    """
    size = path.stat().st_size
    damaged = f"{path.name} is no whole safetensors file: "
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
            header = json.loads(file.read(length).decode("utf-8"), object_pairs_hook=_unique_names)
        except (ValueError, RecursionError) as error:
            raise HubmodelsError(damaged + f"its header is not JSON ({str(error)[:100]})") from None
    if not isinstance(header, dict):
        raise HubmodelsError(damaged + "its header is no mapping")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict):
        raise HubmodelsError(damaged + "its metadata are no mapping")
    tensors, spans = {}, []
    for name, entry in header.items():
        shown = name[:80]
        if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
            raise HubmodelsError(damaged + f"the entry of {shown!r} is not dtype, shape and data_offsets")
        dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        numbers = [*shape, *offsets] if isinstance(shape, list) and isinstance(offsets, list) else [None]
        if (
            not all(type(number) is int and 0 <= number < 2**63 for number in numbers)
            or len(offsets) != 2
            or dtype not in DTYPE_BITS
        ):
            raise HubmodelsError(damaged + f"dtype, shape or offsets of {shown!r} are impossible")
        if offsets[1] - offsets[0] != count_elements(shape) * DTYPE_BITS[dtype] // 8:
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


def _unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        raise ValueError("a name stands twice")
    return dict(pairs)


def count_elements(shape: Iterable[int]) -> int:
    """Elements of a shape, without the overflow that a lying header hopes for: Python's integers have none."""
    total = 1
    for size in shape:
        total *= size
    return total


def load_release(folder: Path) -> torch.nn.Module:
    """The model of a checked folder, on the CPU, its class the installed one. Whatever is wrong with a folder from
    anybody is one line.

    Raises:
        HubmodelsError: its type is not known here, or the weights are not those of its config.
    """
    try:
        with quiet_transformers():
            config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
            model_class = installed_class(config)
            check_shapes(model_class, config, folder / WEIGHTS_FILE)
            return model_class.from_pretrained(folder, config=config, use_safetensors=True, dtype=torch.float32)
    except HubmodelsError:
        raise
    except Exception as error:  # the folder may come from anybody: any exception means that it does not load
        reason = " ".join(str(error).split())[:300]
        raise HubmodelsError(f"it does not load: {type(error).__name__}: {reason}") from error


def installed_class(config: Any) -> type:
    """The model class that a config names, from the modeling file beside the config's own."""
    names = config.architectures or []
    module_name = type(config).__module__.replace(".configuration_", ".modeling_")
    module = importlib.import_module(module_name)
    models = {name: getattr(module, name) for name in module.__all__}
    models = {name: cls for name, cls in models.items() if issubclass(cls, transformers.PreTrainedModel)}
    if not isinstance(names, list) or len(names) != 1 or str(names[0]) not in models:
        raise HubmodelsError(
            f"architectures of {CONFIG_FILE} is {str(names)[:80]}; it must be one of {', '.join(models)}"
        )
    return models[names[0]]


def check_shapes(model_class: type, config: Any, path: Path) -> None:
    """The file holds the tensors that the config's network has, in its shapes. The network is built without memory,
    so a config that asks for terabytes is found out before anything is allocated."""
    with torch.device("meta"):
        network = model_class(config)
    wanted = network.state_dict(keep_vars=True)
    stored = read_safetensors_header(path)
    for name, (_, shape) in stored.items():
        if name not in wanted:
            raise HubmodelsError(
                f"{path.name} holds {name[:80]!r}, which a {model_class.__name__} of this config does not have"
            )
        if shape != tuple(wanted[name].shape):
            raise HubmodelsError(
                f"{name} has the shape {shape} in {path.name}, {tuple(wanted[name].shape)} by the config"
            )
    tied = {id(wanted[name]) for name in stored}  # tied weights are one tensor, stored once
    for name, value in wanted.items():
        if name not in stored and id(value) not in tied:
            raise HubmodelsError(f"{path.name} does not hold {name!r} of {model_class.__name__}")


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Without transformers' own reports and progress bars: what matters of them is an error here."""
    logging = transformers.utils.logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def check_weights(model: torch.nn.Module, path: Path) -> None:
    """The model holds exactly the numbers of the file: none was left at its initial value, none was left over."""
    state: Mapping[str, torch.Tensor] = model.state_dict()
    with safe_open(path, framework="pt") as file:
        stored = set(file.keys())
        loaded_from = set()
        for name in stored:
            if name not in state:
                raise HubmodelsError(f"{path.name} holds {name!r}, which {type(model).__name__} does not have")
            value = file.get_tensor(name)
            if value.shape != state[name].shape or not torch.equal(value.to(state[name].dtype), state[name].cpu()):
                raise HubmodelsError(f"{name} of the loaded {type(model).__name__} is not what {path.name} holds")
            loaded_from.add(state[name].data_ptr())
    for name, value in state.items():  # tied weights are stored once
        if name not in stored and value.data_ptr() not in loaded_from:
            raise HubmodelsError(f"{path.name} does not hold {name!r} of {type(model).__name__}")
