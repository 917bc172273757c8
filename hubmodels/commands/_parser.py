"""The parser of all commands, and what commands share: flags in two spellings, aligned columns, the log."""

import argparse
import contextlib
import dataclasses
import json
import logging
import os
import re
from collections.abc import Iterator
from typing import Any, NoReturn

from .. import __version__
from ..errors import nearest
from . import import_command, list_commands


class Formatter(argparse.HelpFormatter):
    """Shows a flag of two spellings in the one that recipes have, `--a_b`."""

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if len(action.option_strings) == 2 and action.dest != "help":
            arguments = "" if action.nargs == 0 else f" {self._format_args(action, action.dest.upper())}"
            return action.option_strings[0] + arguments
        return super()._format_action_invocation(action)


class Parser(argparse.ArgumentParser):
    """Takes flags written whole, and ends an error of one line with the remedy, without the usage block."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("formatter_class", Formatter)
        super().__init__(**{**options, "allow_abbrev": False})

    def error(self, message: str) -> NoReturn:
        """Refuse the command line in one line, with the nearest choice where one was meant."""
        if choice := re.search(r"invalid choice: '(.*?)' \(choose from (.*)\)", message):
            message += nearest(choice[1], re.findall(r"[\w-]+", choice[2]))
        message = re.sub(r"(--\w+)/--[\w-]+", r"\1", message)  # of two spellings the recipes' one
        message = re.sub(r"argument (\S+): invalid int value: (.*)", r"\1 must be an integer, got \2", message)
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def build_parser() -> Parser:
    """Build the parser of all commands."""
    parser = Parser(
        prog="hubmodels",
        description="The seven classic deep-learning families as Hugging Face models: train, measure, publish.",
    )
    parser.add_argument("--version", action="version", version=f"hubmodels {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in list_commands():
        module = import_command(name)
        # A command whose help lists more than its own flags prints it itself.
        add_help = module.FIELDS != "all"
        command = commands.add_parser(name, help=module.SUMMARY, description=module.DESCRIPTION, add_help=add_help)
        module.add_flags(command)
        text = "of an error show the whole traceback, to report it"
        command.add_argument("--traceback", action="store_true", help=text)
        command.set_defaults(run=module.run, takes_fields=module.FIELDS, parser=command)
        if module.FIELDS == "data":
            command.epilog = "`hubmodels train --task TASK --help` lists the fields of the section data."
    return parser


def add_flag(parser: Any, name: str, **options: Any) -> None:
    """Add a flag in both spellings, `--a_b` and `--a-b`."""
    spellings = dict.fromkeys((f"--{name}", f"--{name.replace('_', '-')}"))
    parser.add_argument(*spellings, dest=name, **options)


def add_json_flag(parser: argparse.ArgumentParser) -> None:
    """Add --json."""
    parser.add_argument("--json", action="store_true", help="print JSON, for a program to read")


def print_columns(rows: list[tuple[str, ...]]) -> None:
    """Print rows of text as aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def print_answer(arguments: argparse.Namespace, answer: Any, **more: Any) -> None:
    """Print an answer of the Hub's commands: its sentence, or with --json its fields."""
    print(json.dumps(dataclasses.asdict(answer) | more, indent=2) if arguments.json else answer)


def is_main_process() -> bool:
    """Tell whether this is the process of a launch that speaks."""
    return os.environ.get("RANK", "0") == "0"


@contextlib.contextmanager
def logging_to_stderr() -> Iterator[None]:
    """Show our own lines on stderr while a command runs, from the main process; of the libraries only errors.

    What it sets is restored: a program, or a test, that calls `main` goes on with the logging that it had.
    """
    logger = logging.getLogger("hubmodels")
    level, propagate, verbosity = logger.level, logger.propagate, os.environ.get("TRANSFORMERS_VERBOSITY")
    handler = None if logger.handlers else logging.StreamHandler()
    if handler is not None:
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)
        logger.propagate = False
    logger.setLevel(logging.INFO if is_main_process() else logging.ERROR)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    try:
        yield
    finally:
        if handler is not None:
            logger.removeHandler(handler)
        logger.propagate = propagate
        logger.setLevel(level)
        if verbosity is None:
            os.environ.pop("TRANSFORMERS_VERBOSITY", None)
