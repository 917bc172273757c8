"""What generative models are told: classes by name, and options of their `sample`."""

import inspect
from collections.abc import Iterable
from typing import Any

from ._answers import refuse_unknown_options


def class_number(config: Any, name: int | str) -> int:
    """Find the number of a class by its name or number. Raises ValueError where there is none, with those that are."""
    known = {int(number): str(label) for number, label in config.id2label.items()}
    for number, label in known.items():
        if name == label or (isinstance(name, int) and name == number):
            return number
    raise ValueError(f"unknown class {name!r}; the classes are {', '.join(known.values())}")


def check_sample_options(model: Any, options: Iterable[str], tag: str) -> None:
    """Refuse what is no option of a model's `sample`. Raises HubmodelsError with the nearest name, and all names.

    What a pipeline gives by itself (`num_samples`, `labels`, `generator`) is none; `seed` is the pipeline's own."""
    parameters = inspect.signature(model.sample).parameters.values()
    if any(one.kind is one.VAR_KEYWORD for one in parameters):
        return
    known = [one.name for one in parameters if one.name not in ("num_samples", "labels", "generator")]
    refuse_unknown_options(options, [*known, "seed"], tag)
