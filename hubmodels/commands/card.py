"""`hubmodels card`: write the card of a release folder anew."""

import argparse
from pathlib import Path

from ..errors import HubmodelsError
from ._parser import add_flag

SUMMARY = "write the card of a release folder anew"
DESCRIPTION = (
    "Write README.md of a release folder anew from metrics.json and the present template. A section of your own comes "
    "from a Markdown file, which becomes the release's notes.md."
)
FIELDS = None


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the folder and --notes."""
    parser.add_argument("folder", help="a release folder")
    add_flag(parser, "notes", metavar="FILE", help="Markdown for a section Notes; an empty file removes it")


def run(arguments: argparse.Namespace, rest: list[str]) -> None:
    """Write the card, and print where it is."""
    from ..use import refresh_card

    if not Path(arguments.folder).is_dir():
        raise HubmodelsError(f"there is no folder {arguments.folder}: give a release folder")
    notes = None
    if arguments.notes is not None:
        try:
            notes = Path(arguments.notes).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise HubmodelsError(f"cannot read the notes {arguments.notes}: {error}") from None
    refresh_card(arguments.folder, notes)
    print(f"{arguments.folder}/README.md")
