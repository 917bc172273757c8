"""What this family repeats of others, as an uploaded file can import its siblings only."""

import contextlib
import difflib
import functools
import inspect
import math
from collections.abc import Callable, Iterator
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor, nn

P = ParamSpec("P")
R = TypeVar("R")

# Copied in every family that needs it; tests/models/test_copies.py keeps the copies equal.
# What transformers 5.17 to 5.24 (Trainer, `generate`, pipelines, collators) and peft's wrappers pass to any model.
PASSED_TO_ANY_MODEL = (
    "attention_mask", "cache", "cache_params", "cache_position", "cu_seq_lens_k", "cu_seq_lens_q", "input_ids",
    "inputs_embeds", "is_causal", "max_length_k", "max_length_q", "num_items_in_batch", "output_attentions",
    "output_hidden_states", "output_router_logits", "past_key_values", "position_ids", "return_dict", "seq_idx",
    "token_type_ids", "use_cache",
)  # fmt: skip
# Copied in every family that needs it; tests/models/test_copies.py keeps the copies equal.
# Of these, what no answer depends on: hints, and a count for losses that are sums (ours are means over the batch).
WITHOUT_EFFECT = ("cache_position", "num_items_in_batch", "use_cache")


# Copied in every family that needs it; tests/models/test_copies.py keeps the copies equal.
def known_arguments(*extra: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make a model's `forward` refuse a keyword argument that it does not know.

    A name of `PASSED_TO_ANY_MODEL` that `forward` does not declare is left out, where it asks for nothing: it is None,
    False, or in `WITHOUT_EFFECT`. The signature stays that of `forward`.

    Args:
        extra: what `forward` knows beside what it declares, and takes through its `**kwargs`.

    Raises:
        TypeError: by `forward`, for any other name; the message has the nearest one that is known.
    """

    def decorate(forward: Callable[P, R]) -> Callable[P, R]:
        declared = inspect.signature(forward).parameters.values()
        known = frozenset(extra) | {item.name for item in declared if item.kind is not item.VAR_KEYWORD}

        @functools.wraps(forward)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            for name in list(kwargs):
                if name not in known:
                    check_unused(name, kwargs.pop(name), known, type(args[0]).__name__)
            return forward(*args, **kwargs)

        return checked

    return decorate


# Copied in every family that needs it; tests/models/test_copies.py keeps the copies equal.
def check_unused(name: str, value: object, known: frozenset[str], model: str) -> None:
    """Raise TypeError for an argument that no library passes to every model, or that asks for something."""
    if name in WITHOUT_EFFECT or (name in PASSED_TO_ANY_MODEL and (value is None or value is False)):
        return
    names = sorted(known - {"self"})
    nearest = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {nearest[0]!r}? " if nearest else ""
    raise TypeError(f"{model}.forward knows no argument {name!r}; {hint}it takes {', '.join(names)}")


# Copied in every family that needs it; tests/models/test_copies.py keeps the copies equal.
RANGE_TOLERANCE = 1e-3  # how far beyond its range rounding may carry a value


# Copied in every family that needs it; tests/models/test_copies.py keeps the copies equal.
def check_rows(
    values: Tensor, name: str, shape: tuple[int, ...], bounds: tuple[int, int] | None, remedy: str, training: bool
) -> Tensor:
    """Raise ValueError for rows of another shape or type, and for values that are not finite or out of their range.

    Args:
        values: (B, *shape).
        name: the argument's, for the message.
        shape: of a row.
        bounds: the least and the largest value, or None.
        remedy: what makes such values, for the message.
        training: whether the model is in training.

    Returns:
        `values`.
    """
    if values.shape[1:] != shape or values.ndim != len(shape) + 1 or not values.is_floating_point():
        raise ValueError(
            f"{name} must be floating-point of shape (batch, {', '.join(map(str, shape))}), got {values.dtype} of "
            f"shape {tuple(values.shape)}; use the checkpoint's processor"
        )
    # In training on an accelerator the host would wait for the device at every step; the loop refuses NaN losses.
    waits = training and values.device.type != "cpu"
    if values.device.type == "meta" or waits or torch.compiler.is_compiling() or not values.numel():
        return values
    low, high = (bound.item() for bound in values.detach().aminmax())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f"{name} must be finite, got values from {low:g} to {high:g}; mend or leave out those rows")
    if bounds and (low < bounds[0] - RANGE_TOLERANCE or high > bounds[1] + RANGE_TOLERANCE):
        raise ValueError(
            f"{name} must lie in {bounds[0]}..{bounds[1]}, got values from {low:g} to {high:g}; use {remedy}"
        )
    return values


# Copied in every family that needs it; tests/models/test_copies.py keeps the copies equal.
@contextlib.contextmanager
def evaluation(model: nn.Module) -> Iterator[None]:
    """Put a model in evaluation mode inside the block; afterwards every module is in the mode that it was in."""
    modes = [(module, module.training) for module in model.modules() if module.training]
    if modes:
        model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
