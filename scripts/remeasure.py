"""Measure a release on its test split anew, and write its results, figures and card; the weights stay.

For what is decided when the training is over: how a model draws its samples, or a measure that came later.

    python scripts/remeasure.py model_cards/gan-fashion-mnist --dataset_path FOLDER --set truncation=1.9

A field that is set stands in config.json and in the recipe afterwards, so that the recipe gives this release.
"""

import argparse
import logging
import sys

import yaml

from hubmodels.errors import HubmodelsError
from hubmodels.use import remeasure_release


def field(text: str) -> tuple[str, object]:
    """`truncation=1.9` -> ("truncation", 1.9); values are YAML."""
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, yaml.safe_load(value)


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="the release")
    parser.add_argument("--dataset_path", help="a local copy of its data set")
    parser.add_argument("--set", nargs="+", type=field, default=[], metavar="NAME=VALUE", help="fields of the config")
    arguments = parser.parse_args(words)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    overrides = {} if arguments.dataset_path is None else {"dataset_path": arguments.dataset_path}
    try:
        print(remeasure_release(arguments.folder, overrides, dict(arguments.set)).table())
    except HubmodelsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
