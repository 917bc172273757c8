"""`hubmodels evaluate`: measure a checkpoint on a data set."""

import argparse
import json
import sys

from ..report import collect_notes
from ._flags import parse_flags, recipe_fields
from ._parser import add_flag, add_json_flag, is_main_process

SUMMARY = "measure a checkpoint on a data set"
DESCRIPTION = (
    "Measure a checkpoint on a split of a data set, with 95 % intervals. Of other data (--dataset) all rows are, where "
    "they have no such split; they are read as the files of the training were. Fields of a recipe's data section are "
    "flags."
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
    with collect_notes() as notes:
        results = use.evaluate_release(arguments.model, overrides, arguments.split, arguments.baseline)
    data = overrides.get("dataset_path") or overrides.get("dataset") or recipe.data.get("dataset")
    if not is_main_process():
        return
    if arguments.json:
        said = {"dataset": data, "split": arguments.split, "notes": [note.to_dict() for note in notes]}
        print(json.dumps({**results.to_dict(), **said}, indent=2))
        return
    for note in notes:
        if note.surprising or note.topic in ("splits", "rows"):
            print(f"{note.text}{f' ({note.remedy})' if note.remedy else ''}", file=sys.stderr)
    print(f"{results.num_rows:,} rows of {data} measured ({arguments.split})")
    print(results.table())
