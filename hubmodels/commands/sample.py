"""`hubmodels sample`: draw samples of a generative model into files."""

import argparse
import json

from ._flags import parse_flags, sample_fields
from ._parser import add_flag, add_json_flag

SUMMARY = "draw samples of a generative model into files"
DESCRIPTION = (
    "Draw images (.png) or sounds (.wav) of a checkpoint into a new folder. The options of the model's own `sample` "
    "are flags: --num_inference_steps, --guidance_scale, --truncation, ..."
)
FIELDS = "sample"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the model, how many samples of which classes, and where to."""
    parser.add_argument("model", help="folder or Hub id")
    add_flag(parser, "num_samples", type=int, default=16, metavar="N", help="samples in all, at least 1 (16)")
    add_flag(parser, "labels", nargs="+", metavar="CLASS", help="classes, taken in turn; all when absent")
    add_flag(parser, "output_dir", required=True, metavar="FOLDER", help="a new folder for the files")
    add_flag(parser, "seed", type=int, default=0, metavar="N", help="of the samples (0)")
    add_json_flag(parser)


def run(arguments: argparse.Namespace, rest: list[str]) -> None:
    """Draw, and print which files there are."""
    from ..recipes import read_recipe
    from ..use import sample

    files = sample(
        arguments.model,
        arguments.output_dir,
        arguments.num_samples,
        labels=arguments.labels,
        options=parse_flags(rest, sample_fields(read_recipe(arguments.model))),
        seed=arguments.seed,
    )
    if arguments.json:
        print(json.dumps({"output_dir": arguments.output_dir, "files": files}, indent=2))
    else:
        print(f"{arguments.output_dir}: {len(files):,} samples, {files[0]}" + (f" to {files[-1]}" * (len(files) > 1)))
