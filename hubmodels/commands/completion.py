"""`hubmodels completion`: print a script for the shell that completes commands, flags and choices."""

import argparse

from ._shells import SHELLS, write_script

SUMMARY = "print a script for the shell that completes commands, flags and choices"
DESCRIPTION = (
    "Print a script that completes commands, flags and choices: `hubmodels completion bash >> ~/.bashrc`, `hubmodels "
    "completion zsh >> ~/.zshrc`, or `hubmodels completion fish > ~/.config/fish/completions/hubmodels.fish`."
)
FIELDS = None


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the shell."""
    parser.add_argument("shell", choices=SHELLS)


def run(arguments: argparse.Namespace, rest: list[str]) -> None:
    """Print the script."""
    from ._parser import build_parser

    print(write_script(arguments.shell, build_parser()), end="")
