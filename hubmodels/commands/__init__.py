"""The commands, one file each: `SUMMARY` for the list, `add_flags` for the parser, `run` for the work.

What a command takes beside its own flags says `FIELDS`: "all" fields of a recipe, those of its "data" section, the
options of a model's "sample", or None. Nothing heavy is imported before `run`.
"""

import importlib
import pkgutil
from types import ModuleType

# In the order in which a person meets them.
ORDER = (
    "list", "train", "evaluate", "predict", "sample", "augment", "card", "publish", "verify", "download", "completion",
)  # fmt: skip


def list_commands() -> list[str]:
    """List the commands, from the file names alone: the known ones in their order, then what is new."""
    names = {module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")}
    return sorted(names, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))


def import_command(name: str) -> ModuleType:
    """Import the module of a command."""
    return importlib.import_module(f".{name}", __name__)
