"""The commands, one file each, see `Command`. Nothing heavy is imported before `run`."""

import argparse
import importlib
import pkgutil
from typing import Protocol, runtime_checkable

# In the order in which a person meets them.
ORDER = (
    "list", "train", "evaluate", "predict", "sample", "augment", "card", "publish", "verify", "download", "completion",
)  # fmt: skip


@runtime_checkable
class Command(Protocol):
    """Holds what the module of a command must.

    Attributes:
        SUMMARY: what the command does, half a sentence for the list of commands.
        DESCRIPTION: the same in sentences, at the head of its help.
        FIELDS: what it takes beside its own flags: "all" fields of a recipe, those of its "data" section, the options
            of a model's "sample", or None. A command that takes all of them prints its help itself.
    """

    SUMMARY: str
    DESCRIPTION: str
    FIELDS: str | None

    def add_flags(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's own flags to its parser."""

    def run(self, arguments: argparse.Namespace, rest: list[str]) -> int | None:
        """Do the command's work; `rest` are the flags that are fields. Returns the exit code, 0 when None."""


def list_commands() -> list[str]:
    """List the commands, from the file names alone: the known ones in their order, then what is new."""
    names = {module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")}
    return sorted(names, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))


def import_command(name: str) -> Command:
    """Import the module of a command."""
    module = importlib.import_module(f".{name}", __name__)
    assert isinstance(module, Command), f"{module.__name__} lacks something of what a command holds"
    return module
