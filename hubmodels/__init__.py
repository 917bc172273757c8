"""The seven classic deep-learning families as first-class Hugging Face models.

Importing this package makes transformers' AutoConfig, AutoModel..., AutoImageProcessor and pipelines know the families;
neither torch nor transformers is imported by it. The public names are resolved when they are used:

    from hubmodels import CnnForImageClassification, MlpConfig, list_families
"""

import importlib
from typing import Any

from . import auto, saving

__version__ = "0.1.0"

# Public names by the module that defines them. The families' own classes and processors are found by discovery.
_NAMES = {
    "HubmodelsError": "errors",
    "Recipe": "recipe",
    "build_model": "families",
    "list_families": "families",
    "list_tasks": "tasks",
    "load_model": "checkpoint",
}

auto.register_on_import()
saving.wrap_on_import()


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(importlib.import_module(f".{_NAMES[name]}", __name__), name)
    if name.startswith("AutoModel"):
        return getattr(auto, name)
    if (public := None if name.startswith("_") else auto.find_public(name)) is not None:
        return public
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_NAMES])
