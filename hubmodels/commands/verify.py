"""`hubmodels verify`: check files, weights and golden output of a release."""

import argparse

from ._parser import add_flag, add_json_flag, print_answer

SUMMARY = "check files, weights and golden output of a release"
DESCRIPTION = "Check files, weights and golden output of a release."
FIELDS = None


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the model, --revision and --json."""
    parser.add_argument("model", help="folder or Hub id")
    add_flag(parser, "revision", help="branch, tag or commit on the Hub")
    add_json_flag(parser)


def run(arguments: argparse.Namespace, rest: list[str]) -> None:
    """Verify, and print what was found right."""
    from ..publishing import verify

    print_answer(arguments, verify(arguments.model, revision=arguments.revision))
