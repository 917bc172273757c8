"""`hubmodels download`: download a release from the Hub and verify it."""

import argparse

from ._parser import add_flag, add_json_flag, print_answer

SUMMARY = "download a release from the Hub and verify it"
DESCRIPTION = "Download a release from the Hub and verify it."
FIELDS = None


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the model, --revision, --local_dir and --json."""
    parser.add_argument("model", help="Hub id")
    add_flag(parser, "revision", help="branch, tag or commit")
    add_flag(parser, "local_dir", metavar="FOLDER", help="where to; default: huggingface_hub's cache")
    add_json_flag(parser)


def run(arguments: argparse.Namespace, rest: list[str]) -> None:
    """Download and verify, and print where the release is."""
    from ..publishing import download

    folder, verification = download(arguments.model, revision=arguments.revision, local_dir=arguments.local_dir)
    print_answer(arguments, verification, folder=str(folder))
    if not arguments.json:
        print(folder)
