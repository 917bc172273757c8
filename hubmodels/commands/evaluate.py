"""`hubmodels evaluate`: measure a checkpoint on a data set."""

import argparse
import json

from ._flags import parse_flags, recipe_fields
from ._parser import add_flag, add_json_flag

SUMMARY = "measure a checkpoint on a data set"
DESCRIPTION = (
    "Measure a checkpoint on a split of a data set, with 95 % intervals. Fields of a recipe's data section are flags."
)
FIELDS = "data"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the model, --split, --baseline and --json."""
    parser.add_argument("model", help="folder or Hub id")
    splits, text = ("test", "validation", "train"), "the rows that are measured (test)"
    add_flag(parser, "split", choices=splits, default="test", help=text)
    add_flag(parser, "baseline", action="store_true", help="also fit the classical baseline on the training split")
    add_json_flag(parser)


def run(arguments: argparse.Namespace, rest: list[str]) -> None:
    """Print the metrics with their intervals."""
    from .. import recipes, use

    recipe = recipes.read_recipe(arguments.model)
    overrides = parse_flags(rest, recipe_fields(recipe, "data"))
    results = use.evaluate_release(arguments.model, overrides, arguments.split, arguments.baseline)
    print(json.dumps(results.to_dict(), indent=2) if arguments.json else results.table())
