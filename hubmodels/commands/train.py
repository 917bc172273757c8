"""`hubmodels train`: train or fine-tune, measure beside a classical baseline, write the release folder."""

import argparse
import dataclasses
import json
import sys
from typing import Any

from ..errors import HubmodelsError
from ..fields import describe, option_fields, type_hints
from ..formatting import format_duration
from ..recipe import DataArguments, Recipe, TrainingArguments
from ._flags import apply_fields, pair_fields
from ._parser import add_flag, add_json_flag, is_main_process

SUMMARY = "train or fine-tune on your data, measure beside a classical baseline, write the release folder"
DESCRIPTION = (
    "Train by a recipe, measure on the test split, write <output_dir>/release. Any field of a recipe is a flag. On new "
    "data begin with --dry_run: it says what each column is taken for, how splits are cut, what looks wrong in them, "
    "and how long the training takes."
)
FIELDS = "all"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add where to start, what to train for, and what becomes of it."""
    start = parser.add_argument_group("where to start (one of)")
    add_flag(start, "config", metavar="RECIPE", help="a recipe, YAML")
    add_flag(start, "model_name_or_path", metavar="ID", help="a checkpoint to fine-tune: folder or Hub id")
    add_flag(start, "family", help="a family, with its defaults (needs --task)")
    add_flag(parser, "task", help="a task by its Hub tag: image-classification, ...")
    add_flag(
        parser, "dry_run", action="store_true", help="read the data, say what would be done and how long, and stop"
    )
    add_flag(parser, "no_baseline", action="store_true", help="do not fit the classical baseline")
    add_flag(parser, "push_to_hub", action="store_true", help="publish the release folder at the end")
    add_flag(parser, "hub_model_id", metavar="ID", help="the model's Hub id, namespace/name, for its card")
    add_flag(parser, "hub_private_repo", action="store_true", help="with --push_to_hub: a new repository is private")
    add_json_flag(parser)
    parser.add_argument("-h", "--help", action="store_true", help="this help; with --family and --task their fields")


def run(arguments: argparse.Namespace, rest: list[str]) -> None:
    """Train, and print the results and the release folder."""
    if arguments.help:
        print_help(arguments)
        return
    from .. import recipes, workflow

    recipe = make_recipe(arguments)
    apply_fields(rest, recipe)
    recipes.require_output_dir(recipe)
    if arguments.push_to_hub and not arguments.hub_model_id:  # found out before the training, not after it
        raise HubmodelsError("--push_to_hub needs --hub_model_id NAMESPACE/NAME")
    if arguments.dry_run:
        print_plan(workflow.plan(recipe), arguments.json)
        return
    outcome = workflow.train_and_release(recipe, not arguments.no_baseline, arguments.hub_model_id)
    if not is_main_process():
        return
    if arguments.json:
        print(json.dumps(outcome_values(outcome), indent=2))
    else:
        print(outcome.results.table())
        print(f"\nRelease folder: {outcome.folder}")
    if arguments.push_to_hub:
        from ..publishing import publish

        publication = publish(outcome.folder, arguments.hub_model_id, private=arguments.hub_private_repo or None)
        print(publication, file=sys.stderr if arguments.json else sys.stdout)


def outcome_values(outcome: Any) -> dict[str, Any]:
    """Give plain values of what a training gave, for --json."""
    notes = [note.to_dict() for note in outcome.notes]
    return {"folder": str(outcome.folder), **outcome.results.to_dict(), "notes": notes}


def print_plan(plan: Any, as_json: bool) -> None:
    """Print what a training would do: its recipe with all defaults, its weights, its time. Notes were said before."""
    if not is_main_process():
        return
    steps, seconds, recipe = plan.estimate.steps, plan.estimate.seconds, plan.recipe
    used = pair_fields(recipe.family, recipe.task)
    recipe.model = {name: value for name, value in recipe.model.items() if name in used}
    if as_json:
        values = {"recipe": recipe.to_dict(), "num_parameters": plan.num_parameters, "steps": steps}
        values |= {"seconds": round(seconds, 1), "notes": [note.to_dict() for note in plan.notes]}
        print(json.dumps(values, indent=2))
        return
    print(recipe.to_yaml())
    print(
        f"{plan.num_parameters:,} weights; {steps:,} steps of {plan.estimate.seconds_per_step:.3g} s here: about ",
        end="",
    )
    print(
        f"{format_duration(seconds)}, evaluations and figures not counted.\nNothing was trained: leave out --dry_run."
    )


def make_recipe(arguments: argparse.Namespace) -> Recipe:
    """Make the recipe that the flags start from: a file, a checkpoint's, or a family's defaults."""
    from .. import recipes

    if arguments.config:
        recipe = Recipe.load(arguments.config)
        recipe.family = arguments.family or recipe.family
        recipe.task = arguments.task or recipe.task
        recipe.model_name_or_path = arguments.model_name_or_path or recipe.model_name_or_path
        return recipe
    if arguments.model_name_or_path:
        return recipes.finetuning_recipe(arguments.model_name_or_path, arguments.task)
    if not arguments.family:
        raise HubmodelsError("nothing to train: give --config RECIPE, --model_name_or_path ID, or --family F --task T")
    if not arguments.task:
        raise HubmodelsError("--family needs --task, the Hub tag of what to train for (hubmodels list names them)")
    return recipes.default_recipe(arguments.family, arguments.task)


def print_help(arguments: argparse.Namespace) -> None:
    """Print the help; with --family and --task also the fields that this pair uses, and no others."""
    print(arguments.parser.format_help())
    if arguments.family and arguments.task:
        print(f"fields of the section model, for {arguments.family} and {arguments.task}:")
        print_fields(pair_fields(arguments.family, arguments.task))
    print_section("data", DataArguments)
    if arguments.task:
        from ..tasks import get_task

        print_section(f"data, for {arguments.task}", get_task(arguments.task))
    print_section("training", TrainingArguments)
    if not (arguments.family and arguments.task):
        print("With --family F --task T --help the fields of that task and family are listed too.")


def print_section(section: str, cls: type) -> None:
    """Print the options of a dataclass with their defaults."""
    hints, lines = type_hints(cls), {}
    for name, item in option_fields(cls).items():
        default = item.default if item.default_factory is dataclasses.MISSING else item.default_factory()
        words = " ".join(map(str, default)) if isinstance(default, list) else str(default)  # as the flag takes them
        said = "" if default in (None, False) else f" (default {words})"
        lines[name] = (item.metadata.get("help") or describe(hints[name])) + said
    print(f"fields of the section {section}:")
    print_fields(lines)


def print_fields(texts: dict[str, str]) -> None:
    """Print flags with their texts, and an empty line."""
    for name, text in texts.items():
        print(f"  --{name:<32}{text}")
    print()
