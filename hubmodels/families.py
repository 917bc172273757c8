"""Discover the families, read what they declare, and build fresh models of them.

A family is a folder `models/<family>/` with `configuration_<family>.py` and `modeling_<family>.py`, whose `__all__`
name its classes, and `recipe.yaml`. Importing this module costs nothing. Asking for one family imports that family and
no other.
"""

import importlib
import inspect
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

from .errors import HubmodelsError, nearest, one_line

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

FOLDER = Path(__file__).parent
MODEL_TYPE_PREFIX = "hubmodels_"  # of every family's model_type; the family's name follows
MAPS = {"id2label": dict | None, "label2id": dict | None}
PROBLEM_TYPES = Literal["regression", "single_label_classification", "multi_label_classification"]
LABEL_FIELDS = {**MAPS, "num_labels": int, "problem_type": PROBLEM_TYPES | None}  # of every config, with their types


# Discovery


def list_families() -> list[str]:
    """List the names of all families, from the folder names alone: nothing is imported."""
    paths = FOLDER.glob("models/*/configuration_*.py")
    return sorted(path.parent.name for path in paths if path.stem == f"configuration_{path.parent.name}")


def check_family(family: str) -> None:
    """Raise HubmodelsError, with the nearest right name, when there is no such family."""
    families = list_families()
    if family not in families:
        raise HubmodelsError(
            f"unknown family {family!r}{nearest(family, families)}; the families are {', '.join(families)}"
        )


def family_of(model_type: object) -> str | None:
    """Name the family whose config has this `model_type`; None for another library's. Nothing is imported."""
    name = model_type.removeprefix(MODEL_TYPE_PREFIX) if isinstance(model_type, str) else ""
    return name if model_type == MODEL_TYPE_PREFIX + name and name in list_families() else None


def import_family(family: str, kind: Literal["configuration", "modeling"]) -> ModuleType:
    """Import the module `<kind>_<family>` of a family. Raises HubmodelsError for an unknown one."""
    check_family(family)
    return importlib.import_module(f".models.{family}.{kind}_{family}", __package__)


def config_class(family: str) -> type["PreTrainedConfig"]:
    """Import the config class of a family. Raises HubmodelsError for an unknown one."""
    module = import_family(family, "configuration")
    return getattr(module, next(name for name in module.__all__ if name.endswith("Config")))


def class_prefix(family: str) -> str:
    """Give what the names of a family's classes begin with: `Mlp` of `MlpForImageClassification`."""
    return config_class(family).__name__.removesuffix("Config")


def family_classes(family: str) -> dict[str, type["PreTrainedModel"]]:
    """Map suffix to model class: `Model` is the network without a head, `ForImageClassification` one with it."""
    module, prefix = import_family(family, "modeling"), class_prefix(family)
    names = [name for name in module.__all__ if name.startswith((f"{prefix}Model", f"{prefix}For"))]
    return {name.removeprefix(prefix): getattr(module, name) for name in names}


def family_head(family: str, head: str) -> type["PreTrainedModel"]:
    """Give the model class of a family with this suffix. Raises HubmodelsError when the family has none."""
    classes = family_classes(family)
    if head not in classes:
        others = [name for name in list_families() if head in family_classes(name)]
        hint = f"families that have it: {', '.join(others)}" if others else "no family has it"
        raise HubmodelsError(f"family {family} has no {head}, only {', '.join(classes)}; {hint}")
    return classes[head]


def find_code(name: str) -> Path | None:
    """Find the installed file of this name that travels with weights: a family's or a processor's. None if there is
    none."""
    folders = ("models/*", "processors")
    return next((path for folder in folders for path in FOLDER.glob(f"{folder}/*.py") if path.name == name), None)


# What a family declares


def config_fields(family: str) -> dict[str, Any]:
    """Map the fields that a recipe's model section can set to their types: the family's own and those of the labels."""
    return {**inspect.get_annotations(config_class(family)), **LABEL_FIELDS}


def config_help(family: str) -> dict[str, str]:
    """Read what each of the family's config fields means, from the comments beside them.

    Imports neither torch nor transformers."""
    check_family(family)
    lines = (FOLDER / "models" / family / f"configuration_{family}.py").read_text(encoding="utf-8").splitlines()
    texts: dict[str, str] = {}
    name = None
    for line in lines:
        code, _, comment = line.partition("#")
        if match := re.fullmatch(r"    (\w+): .*=.*", code):
            name = match[1]
            texts[name] = comment.strip()
        elif name and comment and not code.strip():
            texts[name] += f" {comment.strip()}"  # a comment that goes on in the next line
        else:
            name = None
    return texts


def declared(family: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Select those of the values whose fields the family's config declares; it is given no others."""
    fields = config_fields(family)
    return {name: value for name, value in values.items() if name in fields}


def check_requires(family: str, task_tag: str, names: Iterable[str]) -> None:
    """Refuse a family whose config lacks a field that a task cannot do without.

    Args:
        family: its name.
        task_tag: the task's, for the message.
        names: the config fields that the task requires.

    Raises:
        HubmodelsError: the family does not declare one of them. Families that do are named.
    """
    required = list(names)
    missing = [name for name in required if name not in config_fields(family)]
    if missing:
        others = [other for other in list_families() if set(required) <= set(config_fields(other))]
        hint = f"families that have what it needs: {', '.join(others)}" if others else "no family has all it needs"
        raise HubmodelsError(
            f"family {family} cannot do {task_tag}: its config has no field {', '.join(missing)}; {hint}"
        )


def read_family(family: str) -> dict[str, Any]:
    """Read a family's recipe.yaml: `best_for`, half a sentence, and `tasks`, the default recipes by task tag."""
    from .recipe import load_yaml

    check_family(family)
    return load_yaml(FOLDER / "models" / family / "recipe.yaml", with_aliases=True)


def list_recipes(family: str) -> dict[str, dict[str, Any]]:
    """Read the family's default recipes by task tag."""
    return read_family(family)["tasks"]


def family_purpose(family: str) -> str:
    """Say what a family is best for, in half a sentence."""
    return read_family(family)["best_for"]


def family_tasks(family: str) -> list[str]:
    """List the tags of the tasks that a family does."""
    return sorted(list_recipes(family))


def family_recipe(family: str, task: str) -> dict[str, Any]:
    """Read the sections (data, model, training) that a family starts from for a task.

    They are for data without a recipe of their own.

    Raises:
        HubmodelsError: the family does not do the task; those that do are named.
    """
    recipes = list_recipes(family)
    if task not in recipes:
        others = [name for name in list_families() if task in list_recipes(name)]
        hint = f"families that do: {', '.join(others)}" if others else "no family does"
        raise HubmodelsError(f"family {family} does not do {task!r}, only {', '.join(recipes)}; {hint}")
    return recipes[task]


# Fresh models


def build_config(family: str, values: Mapping[str, Any], base: "PreTrainedConfig | None" = None) -> "PreTrainedConfig":
    """Build the config of a family from field values.

    Args:
        family: its name.
        values: fields by name, as a recipe has them.
        base: gives the other fields; their defaults are taken when None.

    Raises:
        HubmodelsError: an unknown field (the nearest right one is named), or a value that its field does not take.
    """
    from huggingface_hub.errors import StrictDataclassError

    from .fields import check_names, convert

    cls, fields = config_class(family), config_fields(family)
    check_names(dict(values), fields, "model")
    inherited = base.to_dict() if base is not None else {}
    try:
        given = join_labels({name: convert(value, fields[name], name) for name, value in values.items()})
        if "num_labels" in given and given.get("id2label") is None:
            inherited = {name: value for name, value in inherited.items() if name not in MAPS}
        return cls.from_dict({**inherited, **given})
    except (ValueError, StrictDataclassError) as error:
        raise HubmodelsError(f"model: {one_line(error.__cause__ or error)}") from None


def join_labels(values: dict[str, Any]) -> dict[str, Any]:
    """Complete `id2label`, `label2id` and `num_labels` from each other. Raises ValueError where they disagree."""
    labels = values.get("id2label")
    if labels is None:
        if values.get("num_labels", 1) < 1:
            raise ValueError(f"num_labels must be at least 1, got {values['num_labels']}")
        return values
    if sorted(map(str, labels)) != sorted(map(str, range(len(labels)))):
        raise ValueError(f"id2label must map 0, 1, 2, ... to labels, got {labels}")
    labels = {int(number): label for number, label in labels.items()}
    maps = {"label2id": {label: number for number, label in labels.items()}, "num_labels": len(labels)}
    joined = {**maps, **values, "id2label": labels}
    if joined["num_labels"] != len(labels):
        raise ValueError(f"num_labels is {joined['num_labels']} but id2label has {len(labels)} labels")
    return joined


def build_model(family: str, head: str, values: Mapping[str, Any]) -> "PreTrainedModel":
    """Build a fresh model, its weights drawn from torch's global generator.

    Args:
        family: its name, as `list_families` gives it.
        head: suffix of the class, as `family_classes` gives it: `ForImageClassification`.
        values: config fields; the others have their defaults.

    Raises:
        HubmodelsError: an unknown family, head or field, or a value that its field does not take.
    """
    return family_head(family, head)(build_config(family, values))
