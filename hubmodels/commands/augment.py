"""`hubmodels augment`: write a data set with samples of a generative model."""

import argparse
import json

from ._flags import parse_flags, recipe_fields
from ._parser import add_flag, add_json_flag

SUMMARY = "write a data set with samples of a generative model"
DESCRIPTION = (
    "Write the rows of a data set, and among the training rows samples of each class, drawn by a checkpoint: a folder "
    "that `--dataset` and datasets.load_dataset take. Its column `generated` tells them apart. Fields of a recipe's "
    "data section are flags; without --dataset the data are the checkpoint's own."
)
FIELDS = "data"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the model, how many samples a class, and where to."""
    parser.add_argument("model", help="folder or Hub id")
    add_flag(parser, "per_class", type=int, required=True, metavar="N", help="samples of each class, at least 1")
    add_flag(parser, "output_dir", required=True, metavar="FOLDER", help="a new folder for the data set")
    add_flag(parser, "generated_only", action="store_true", help="the training rows are the samples alone")
    add_flag(parser, "seed", type=int, default=0, metavar="N", help="of the samples (0)")
    add_json_flag(parser)


def run(arguments: argparse.Namespace, rest: list[str]) -> None:
    """Write the data set, and print how many rows each split has."""
    from ..recipes import read_recipe
    from ..use import augment

    fields = recipe_fields(read_recipe(arguments.model), "data")
    counts = augment(
        arguments.model,
        arguments.output_dir,
        arguments.per_class,
        parse_flags(rest, fields),
        generated_only=arguments.generated_only,
        seed=arguments.seed,
    )
    if arguments.json:
        print(json.dumps({"output_dir": arguments.output_dir, "num_rows": counts}, indent=2))
        return
    generated = counts.pop("generated")
    rows = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    print(f"{arguments.output_dir}: {rows} rows, {generated:,} of the training rows generated")
