"""What this family repeats of others, as an uploaded file can import its siblings only."""

import difflib
import functools
import inspect
from collections.abc import Callable
from typing import ParamSpec, TypeVar

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
