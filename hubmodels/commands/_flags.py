"""Flags that no parser lists: any field of a recipe, any option of a model's `sample`. Names and types come from where
they are declared."""

import inspect
import typing
from typing import Any

from ..abilities import Samples
from ..errors import HubmodelsError, nearest
from ..fields import convert, describe, option_fields, type_hints
from ..recipe import DataArguments, Recipe, TrainingArguments
from ._used_fields import used_config_fields

# Of `sample` what is no matter of taste: the caller gives it by other means.
NOT_OPTIONS = ("self", "num_samples", "labels", "generator", "batch_size", "progress_bar", "distributed")


Field = tuple[str, Any, str]  # section, type, help


def recipe_fields(recipe: Recipe, section: str | None = None) -> dict[str, Field]:
    """Return every field that a flag can set, or those of one section: name -> (section, type, help)."""
    from .. import families
    from ..tasks import get_task

    families.check_family(recipe.family)
    texts, kinds = families.config_help(recipe.family), families.config_fields(recipe.family)
    fields: dict[str, Field] = {name: ("model", kind, texts.get(name, "")) for name, kind in kinds.items()}
    for kind, cls in (("data", DataArguments), ("data", get_task(recipe.task)), ("training", TrainingArguments)):
        hints = type_hints(cls)
        for name, item in option_fields(cls).items():
            fields[name] = (kind, hints[name], item.metadata.get("help", ""))
    return {name: item for name, item in fields.items() if section in (None, item[0])}


def pair_fields(family: str, tag: str) -> dict[str, str]:
    """Return the config fields that a person can choose for a family and a task: name -> help. Imports no torch.

    They are those that the task's head reads, without those that the data decide (its own or another input's)."""
    from .. import families
    from ..tasks import get_task, list_tasks

    families.check_family(family)
    families.family_recipe(family, tag)  # refuses a task that the family does not do
    task = get_task(tag)()
    used = used_config_fields(family, task.head)
    others = [get_task(other)().input.decided_fields for other in list_tasks()]
    decided = {*task.decided_fields, *(name for names in others for name in names)}
    return {name: text for name, text in families.config_help(family).items() if name in used and name not in decided}


def sample_fields(recipe: Recipe) -> dict[str, tuple[str, Any, str]]:
    """Return the options of the model's `sample`, as `recipe_fields` gives fields; none where it has no `sample`."""
    from .. import families
    from ..tasks import get_task

    head = families.family_head(recipe.family, get_task(recipe.task).head)
    if not issubclass(head, Samples):
        return {}
    hints = typing.get_type_hints(head.sample)
    names = [name for name in inspect.signature(head.sample).parameters if name not in NOT_OPTIONS]
    return {name: ("sample", hints.get(name, Any), "") for name in names}


def parse_flags(tokens: list[str], fields: dict[str, tuple[str, Any, str]]) -> dict[str, Any]:
    """Read flags `--name value ...` as checked values by field name; `-` and `_` in a name are the same.

    Raises HubmodelsError for an unknown flag, with the nearest right one, and for a value its field does not take."""
    values = {}
    position = 0
    while position < len(tokens):
        token = tokens[position]
        if not token.startswith("--"):
            raise HubmodelsError(f"unexpected argument {token!r}: flags are --name value")
        flag, equals, inline = token.partition("=")
        name = flag[2:].replace("-", "_")
        if name not in fields:
            raise HubmodelsError(f"unknown flag {flag}{nearest(name, fields) or ' (see --help for the fields)'}")
        position += 1
        words = [inline] if equals else []
        while not equals and position < len(tokens) and not tokens[position].startswith("--"):
            words.append(tokens[position])
            position += 1
        values[name] = read_words(flag, words, fields[name][1])
    return values


def read_words(flag: str, words: list[str], expected: Any) -> Any:
    """Read the value of one flag: a flag of type bool may stand alone, one of a list type takes several words."""
    text = describe(expected)
    if not words:
        if "true or false" in text:
            return True
        raise HubmodelsError(f"{flag} needs a value: {text}")
    value: Any = words
    if len(words) == 1:
        try:
            value = convert(words[0], expected, flag)
        except ValueError:
            if "a list" not in text:
                raise HubmodelsError(f"{flag} must be {text}, got {words[0]!r}") from None
    elif "a list" not in text:
        raise HubmodelsError(f"{flag} takes one value ({text}), got {' '.join(words)}")
    try:
        return convert(value, expected, flag)
    except ValueError as error:
        raise HubmodelsError(str(error)) from None


def apply_fields(tokens: list[str], recipe: Recipe) -> None:
    """Set the recipe's fields from flags."""
    if not tokens:
        return
    fields = recipe_fields(recipe)
    for name, value in parse_flags(tokens, fields).items():
        getattr(recipe, fields[name][0])[name] = value
