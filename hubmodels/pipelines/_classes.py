"""The classes that generative models are told, by name."""

from typing import Any


def class_number(config: Any, name: int | str) -> int:
    """Find the number of a class by its name or number. Raises ValueError where there is none, with those that are."""
    known = {int(number): str(label) for number, label in config.id2label.items()}
    for number, label in known.items():
        if name == label or (isinstance(name, int) and name == number):
            return number
    raise ValueError(f"unknown class {name!r}; the classes are {', '.join(known.values())}")
