"""The golden file of a release: a fixed input and the output that the released model gave for it.

Whoever holds the release computes the output again and compares. The output is computed in float32, on the CPU, on one
thread, in eval mode; other machines and library versions round differently, so it is compared with a tolerance.

Of a model that generates text there are also the tokens that `generate` continues the input with, greedily: they fail
where a library passes keys and values, or a state, otherwise than the model takes them. Rounding may exchange two
tokens that are as good as equal, and all that follows is then another text. So a row is compared up to its first other
token, and that must be as good as the released one, within the tolerance.
"""

import contextlib
import copy
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ..abilities import Generates, longest_input
from ..errors import HubmodelsError

GOLDEN_FILE = "golden.safetensors"
# Largest deviation of an output tensor, as a share of that tensor's largest absolute value. Float32 kernels of other
# machines and versions differ by about 1e-6 on networks of this size; wrong weights differ by 1e-2 and more.
TOLERANCE = 1e-4
NUM_GENERATED = 20  # tokens that a text model continues the golden input with, at most


@dataclass
class Golden:
    """Holds what the golden file does."""

    inputs: dict[str, torch.Tensor]  # forward's arguments by name
    outputs: dict[str, torch.Tensor]  # the ModelOutput's tensors by name
    tolerance: float  # see TOLERANCE
    generated: torch.Tensor | None = None  # (rows, up to NUM_GENERATED) tokens, of a model that generates text


@contextlib.contextmanager
def reference_conditions(model: torch.nn.Module) -> Iterator[None]:
    """Set eval mode, one thread, no gradients and no autocast; afterwards everything is as before."""
    modes = [(module, module.training) for module in model.modules()]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    model.eval()
    try:
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            yield
    finally:
        torch.set_num_threads(threads)
        for module, training in modes:
            module.training = training


def reference_model(model: torch.nn.Module) -> torch.nn.Module:
    """Return a float32 copy on the CPU with contiguous weights; the model itself stays where and what it is."""
    state = {name: value.detach().cpu() for name, value in model.state_dict().items()}
    copied = copy.deepcopy(model) if all(value.device.type == "cpu" for value in model.state_dict().values()) else None
    if copied is None:  # a model on an accelerator is not doubled there
        device = next(iter(model.state_dict().values())).device
        copied = copy.deepcopy(model.cpu())
        model.to(device)
        copied.load_state_dict(state)
    return copied.to(dtype=torch.float32, memory_format=torch.contiguous_format)


def compute_outputs(model: torch.nn.Module, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return every tensor of the model's output by name; a tuple's tensors are numbered `name.0`, `name.1`, ..."""
    with reference_conditions(model):
        outputs = model(**inputs, return_dict=True)
    tensors = {}
    for name, value in outputs.items():
        if isinstance(value, torch.Tensor):
            tensors[name] = value
        elif isinstance(value, tuple | list):
            tensors.update({f"{name}.{i}": item for i, item in enumerate(value) if isinstance(item, torch.Tensor)})
    return {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}


def can_generate_tokens(model: torch.nn.Module, inputs: Mapping[str, torch.Tensor]) -> bool:
    """Tell whether transformers' `generate` continues these inputs as a text."""
    return "input_ids" in inputs and isinstance(model, Generates)


def generate_tokens(
    model: torch.nn.Module, inputs: Mapping[str, torch.Tensor], num_tokens: int = NUM_GENERATED
) -> tuple[torch.Tensor, torch.Tensor]:
    """Continue the rows of `input_ids` greedily, with `generate` and its cache.

    Args:
        model: a text model of transformers.
        inputs: forward's arguments; prompts that leave no room for `num_tokens` are shortened.
        num_tokens: how many tokens to add to each row.

    Returns:
        The new tokens, (rows, num_tokens) int64, and the scores that they were the best of, (rows, num_tokens, V).
    """
    limit = longest_input(model.config) or num_tokens + inputs["input_ids"].shape[1]
    num_tokens = min(num_tokens, limit - 1)
    prompt = inputs["input_ids"][:, : limit - num_tokens]
    mask = inputs.get("attention_mask", torch.ones_like(inputs["input_ids"]))[:, : limit - num_tokens]
    with reference_conditions(model):
        outputs = model.generate(
            prompt, attention_mask=mask, do_sample=False, num_beams=1, max_new_tokens=num_tokens,
            min_new_tokens=num_tokens, return_dict_in_generate=True, output_scores=True,
        )  # fmt: skip
    return outputs.sequences[:, prompt.shape[1] :].contiguous(), torch.stack(outputs.scores, dim=1)


def write_golden(path: str | os.PathLike, model: torch.nn.Module, inputs: Mapping[str, torch.Tensor]) -> None:
    """Compute the model's output for `inputs` and write both to a safetensors file.

    Raises:
        HubmodelsError: the output is not finite, or there is none.
    """
    outputs = compute_outputs(model, inputs)
    if not outputs:
        raise HubmodelsError(f"{type(model).__name__} gave no output tensor for the golden input")
    for name, value in outputs.items():
        if not torch.isfinite(value).all():
            raise HubmodelsError(
                f"the model's {name} for the golden input are not finite: these weights cannot be released"
            )
    tensors = {f"inputs.{name}": value.cpu().contiguous().clone() for name, value in inputs.items()}
    tensors.update({f"outputs.{name}": value for name, value in outputs.items()})
    if can_generate_tokens(model, inputs):  # a group of its own: what reads outputs looks for them in forward's
        tensors["generated.tokens"] = generate_tokens(model, inputs)[0]
    metadata = {
        "format": "pt",
        "tolerance": str(TOLERANCE),
        "conditions": "float32, CPU, one thread, eval mode",
        "torch": torch.__version__,
    }
    save_file(tensors, os.fspath(path), metadata=metadata)


def read_golden(path: str | os.PathLike) -> Golden:
    """Read a golden file. Raises HubmodelsError when it is missing, damaged, or holds no input or no output."""
    path = Path(path)
    if not path.is_file():
        raise HubmodelsError(f"no {path.name} in {path.parent}: the folder is no release, or not a whole one")
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            tolerance = float((file.metadata() or {}).get("tolerance", TOLERANCE))
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise HubmodelsError(f"{path} is damaged: {_one_line(error)}") from None
    if not 0 < tolerance <= 0.01:  # a hostile tolerance would accept everything
        raise HubmodelsError(f"{path} states a tolerance of {tolerance}; it must be above 0 and at most 0.01")
    groups = {}
    for group in ("inputs", "outputs"):
        groups[group] = {
            name.removeprefix(f"{group}."): value for name, value in tensors.items() if name.startswith(f"{group}.")
        }
        if not groups[group]:
            raise HubmodelsError(f"{path} holds no {group}: it is no golden file")
    generated = tensors.get("generated.tokens")
    if generated is not None and (
        generated.dtype != torch.int64 or generated.ndim != 2 or not 0 < generated.shape[1] <= NUM_GENERATED
    ):
        raise HubmodelsError(
            f"{path} holds generated tokens of shape {tuple(generated.shape)} and {generated.dtype}; they must be "
            f"int64, at most {NUM_GENERATED} a row"
        )
    return Golden(groups["inputs"], groups["outputs"], tolerance, generated)


def check_golden(model: torch.nn.Module, path: str | os.PathLike) -> float:
    """Compute the golden output again with `model` and compare.

    Returns:
        The largest deviation found, as a share of the scale of its tensor (see TOLERANCE).

    Raises:
        HubmodelsError: the file is damaged, its input does not fit the model, an output deviates too far, or another
            text is generated. A file of an older release, without generated tokens, is compared without them.
    """
    golden = read_golden(path)
    model = reference_model(model)
    try:
        outputs = compute_outputs(model, golden.inputs)
        if golden.generated is not None:
            if not can_generate_tokens(model, golden.inputs):
                raise TypeError(f"{type(model).__name__} generates no text")
            tokens, scores = generate_tokens(model, golden.inputs, golden.generated.shape[1])
    except (ValueError, RuntimeError, TypeError, IndexError, KeyError) as error:
        raise HubmodelsError(f"the model does not take the input of {Path(path).name}: {_one_line(error)}") from error
    deviation = compare_outputs(outputs, golden.outputs, golden.tolerance)
    if golden.generated is not None:
        compare_tokens(tokens, scores, golden.generated, golden.tolerance)
    return deviation


def compare_outputs(
    outputs: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor], tolerance: float = TOLERANCE
) -> float:
    """Return the largest deviation, as a share of its tensor's scale; HubmodelsError where it exceeds `tolerance`."""
    worst, largest = "", 0.0
    if not any(want.numel() for want in expected.values()):
        raise HubmodelsError("the golden output is empty, which verifies nothing: release the model again")
    for name, want in expected.items():
        if want.is_floating_point() and not want.isfinite().all():
            raise HubmodelsError(f"the golden output {name} holds numbers that are not finite")
        if name not in outputs:
            raise HubmodelsError(f"the model gives no {name!r}, as the golden output does, but {', '.join(outputs)}")
        got = outputs[name]
        if got.shape != want.shape:
            raise HubmodelsError(f"{name} has the shape {tuple(got.shape)}, the golden output has {tuple(want.shape)}")
        if not want.numel():
            continue
        want, got = want.to(torch.float64), got.to(torch.float64)
        scale = float(want.abs().max()) or 1.0
        deviation = float((got - want).abs().max()) / scale
        deviation = deviation if math.isfinite(deviation) else math.inf
        if deviation > largest:
            worst, largest = name, deviation
    if largest > tolerance:
        raise HubmodelsError(
            f"the golden output is not reproduced: {worst} deviates by {largest:.2g} of its scale, allowed is "
            f"{tolerance:g}; the weights or the code are not those of the release"
        )
    return largest


def compare_tokens(
    tokens: torch.Tensor, scores: torch.Tensor, expected: torch.Tensor, tolerance: float = TOLERANCE
) -> None:
    """Compare generated tokens, each row up to the first step where rounding decides between two of them.

    Two scores may deviate by `tolerance` of the largest one each, so a released token may be worse than the best one
    by twice that; what follows it says nothing then.

    Args:
        tokens: (rows, steps) as generated here.
        scores: (rows, steps, V) of which they are the best.
        expected: (rows, steps) as generated at the release.
        tolerance: see TOLERANCE.

    Raises:
        HubmodelsError: the texts differ, or their shapes or vocabularies do.
    """
    if tokens.shape != expected.shape or int(expected.min()) < 0 or int(expected.max()) >= scores.shape[-1]:
        raise HubmodelsError(
            f"the golden tokens have the shape {tuple(expected.shape)} and go up to {int(expected.max())}; the model "
            f"generates {tuple(tokens.shape)} of a vocabulary of {scores.shape[-1]}"
        )
    for row in range(tokens.shape[0]):
        steps = (tokens[row] != expected[row]).nonzero()
        if not len(steps):
            continue
        step = int(steps[0])
        here = scores[row, step].double()
        margin = 2 * tolerance * float(here[here.isfinite()].abs().max())
        gap = float(here[tokens[row, step]] - here[expected[row, step]])
        if not gap <= margin:
            raise HubmodelsError(
                f"the golden text is not generated: token {step + 1} of row {row + 1} is {int(tokens[row, step])} "
                f"instead of {int(expected[row, step])}, whose score is lower by {gap:.2g}, allowed is {margin:.2g}; "
                "generation does not work here as at the release"
            )


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
