"""Options as fields of strict dataclasses: their help texts, their types in words, values checked and converted.

Whatever a recipe, a flag or Python gives for an option passes through here. Imports the standard library and PyYAML.
"""

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import field
from typing import Any, Literal, TypeVar

import yaml

from .errors import HubmodelsError, nearest

PartT = TypeVar("PartT")


def run_only(default: Any, help: str) -> Any:
    """Make a field that belongs to one run (a folder, a tracker) and not to the recipe that is saved with a release."""
    return field(default=default, metadata={"help": help, "run_only": True})


def option(default: Any, help: str) -> Any:
    """Make a field with its help text; a list or dict default is copied for each instance."""
    if isinstance(default, list | dict):
        return field(default_factory=lambda: type(default)(default), metadata={"help": help})
    return field(default=default, metadata={"help": help})


def part(cls: type[PartT]) -> PartT:
    """Declare a field that holds options of its own: they are flat among the options of the dataclass that has it."""
    return field(default_factory=cls, metadata={"part": cls})


def part_fields(cls: type) -> dict[str, type]:
    """Return the parts of a dataclass (see `part`) by the name of their field."""
    kinds = {item.name: item.metadata.get("part") for item in dataclasses.fields(cls)}
    return {name: kind for name, kind in kinds.items() if kind is not None}


def option_fields(cls: type) -> dict[str, dataclasses.Field]:
    """Return the options of a dataclass by name: those of its parts first, then its own."""
    part_kinds = part_fields(cls)
    options: dict[str, dataclasses.Field] = {}
    for kind in part_kinds.values():
        options |= option_fields(kind)
    return options | {item.name: item for item in dataclasses.fields(cls) if item.init and item.name not in part_kinds}


def option_values(instance: Any) -> dict[str, Any]:
    """Return the values of the options of a dataclass by name: those of its parts first, then its own."""
    part_kinds = part_fields(type(instance))
    values: dict[str, Any] = {}
    for name in part_kinds:
        values |= option_values(getattr(instance, name))
    own_names = [name for name in option_fields(type(instance)) if name not in values]
    return values | {name: getattr(instance, name) for name in own_names}


def type_hints(cls: type) -> dict[str, Any]:
    """Return the annotations of the options of a dataclass, with strings resolved."""
    hints: dict[str, Any] = {}
    for kind in part_fields(cls).values():
        hints |= type_hints(kind)
    hints |= typing.get_type_hints(cls)
    return {name: hints[name] for name in option_fields(cls)}


def build(cls: type[PartT], values: Mapping[str, Any]) -> PartT:
    """Make a dataclass and its parts from flat options, each converted to its type.

    Raises ValueError for an option that it does not have, or a value that the option does not take."""
    hints = type_hints(cls)
    for name in values:
        if name not in hints:
            raise ValueError(f"unknown option {name!r}{nearest(name, hints)}")
    arguments: dict[str, Any] = {}
    part_kinds = part_fields(cls)
    for name, kind in part_kinds.items():
        arguments[name] = build(kind, {option: values[option] for option in option_fields(kind) if option in values})
    inherited = {option for kind in part_kinds.values() for option in option_fields(kind)}
    arguments |= {name: convert(value, hints[name], name) for name, value in values.items() if name not in inherited}
    return cls(**arguments)


def convert(value: Any, expected: Any, name: str) -> Any:
    """Convert `value` to the annotated type `expected`. Raises ValueError with what is allowed.

    An int where a float is expected is fine; a string where a number is expected is read as YAML reads it ("1e-3" too).
    """
    if expected in (Any, dataclasses.MISSING) or isinstance(expected, str):
        return value
    origin, arguments = typing.get_origin(expected), typing.get_args(expected)
    if origin in (typing.Union, types.UnionType):
        for choice in sorted(arguments, key=lambda choice: choice is str):
            try:
                return convert(value, choice, name)
            except ValueError:
                continue
        raise ValueError(f"{name} must be {describe(expected)}, got {value!r}")
    if origin is Literal:
        if value in arguments:
            return value
        hint = nearest(str(value), map(str, arguments))
        raise ValueError(f"{name} must be one of {', '.join(map(str, arguments))}, got {value!r}{hint}")
    if expected is type(None):
        if value is None or (isinstance(value, str) and value.lower() in ("none", "null")):
            return None
    elif expected is bool:
        if isinstance(value, bool):
            return value
        if isinstance(value, str) and value.lower() in ("true", "false"):
            return value.lower() == "true"
    elif expected in (int, float):
        if isinstance(value, str):
            try:
                value = float(value) if expected is float else int(value)
            except ValueError:
                raise ValueError(f"{name} must be {describe(expected)}, got {value!r}") from None
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        if expected is float and isinstance(value, float):
            return value
    elif origin in (list, tuple) or expected in (list, tuple):
        if isinstance(value, list | tuple):
            element = arguments[0] if arguments else Any
            return [convert(item, element, name) for item in value]
    elif origin is dict or expected is dict:
        if isinstance(value, dict):
            return value
        if isinstance(value, str) and isinstance(parsed := yaml.safe_load(value), dict):
            return parsed
    elif isinstance(expected, type) and isinstance(value, expected):
        return value
    raise ValueError(f"{name} must be {describe(expected)}, got {value!r}")


def describe(expected: Any) -> str:
    """Say an annotation in the words of an error message or a help text."""
    origin, arguments = typing.get_origin(expected), typing.get_args(expected)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(describe(choice) for choice in arguments))
    if origin is Literal:
        return "one of " + ", ".join(map(str, arguments))
    if origin in (list, tuple):
        several = {"an integer": "integers", "a number": "numbers", "text": "texts"}
        words = describe(arguments[0]).split(" or ") if arguments else []
        inner = " or ".join(several.get(word, word.replace("a list of", "lists of")) for word in words)
        return f"a list of {inner}" if inner else "a list"
    names = {
        int: "an integer",
        float: "a number",
        str: "text",
        bool: "true or false",
        type(None): "none",
        dict: "a mapping",
    }
    return names.get(expected, getattr(expected, "__name__", str(expected)))


def check_names(values: dict, allowed: typing.Iterable[str], section: str) -> None:
    """Refuse a name in `values` that is not allowed, with the nearest one that is."""
    allowed = list(allowed)
    for name in values:
        if name not in allowed:
            hint = nearest(name, allowed) or f"; its fields are {', '.join(sorted(allowed))}"
            raise HubmodelsError(f"unknown field {name!r} in the recipe's {section} section{hint}")


def parse_section(values: dict, section: str, *classes: type) -> tuple:
    """Make one checked instance of each dataclass, which together take every name in `values`.

    Raises HubmodelsError for an unknown name (with the nearest right one) or a value that its field does not take."""
    fields = [option_fields(cls) for cls in classes]
    check_names(values, [name for names in fields for name in names], section)
    instances: list[Any] = []
    for cls, names in zip(classes, fields, strict=True):
        try:
            instances.append(build(cls, {name: values[name] for name in names if name in values}))
        except ValueError as error:
            raise HubmodelsError(f"{section}: {error}") from None
    return tuple(instances)
