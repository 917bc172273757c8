"""Make `save_pretrained` of our models and processors write a folder that loads where hubmodels is not installed.

A user's `model.save_pretrained(folder)`, `push_to_hub` and transformers' Trainer so write what a release has: the
classes in `auto_map`, and their code beside the weights. transformers' `register_for_auto_class` cannot do that: it
names a model's own class alone, not its body, and asks for trust where an image processor's file names its class
(see `publishing.code.write_auto_map`). So the methods are wrapped, once the module of a class is imported.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import wrapt

from .families import FOLDER, list_families


def wrap_on_import() -> None:
    """Wrap the methods that save, of each family's and processor's classes, once their module is imported."""
    folders = [f"models/{family}" for family in list_families()] + ["processors"]
    for folder in folders:
        for path in sorted(FOLDER.glob(f"{folder}/*.py")):
            if path.stem.startswith(("modeling_", "processing_")):
                module = f"{__package__}.{folder.replace('/', '.')}.{path.stem}"
                wrapt.when_imported(module)(wrap_classes)


def wrap_classes(module: Any) -> None:
    """Wrap the methods of the classes of a module that extend transformers' own; their subclasses inherit them."""
    for cls in list(vars(module).values()):
        if not isinstance(cls, type) or cls.__module__ != module.__name__ or not hasattr(cls, "save_pretrained"):
            continue
        if any(base.__module__.startswith(f"{__package__}.") for base in cls.__mro__[1:]):
            continue  # by the class that it extends
        wrapt.wrap_function_wrapper(cls, "save_pretrained", _save)
        if hasattr(cls, "_upload_modified_files"):
            wrapt.wrap_function_wrapper(cls, "_upload_modified_files", _upload)


def _save(wrapped: Callable[..., Any], saved: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Save as transformers does, then add `auto_map` and code."""
    result = wrapped(*args, **kwargs)
    if kwargs.get("is_main_process", True):
        _complete(saved, args[0] if args else kwargs["save_directory"])
    return result


def _upload(wrapped: Callable[..., Any], saved: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Add `auto_map` and code before transformers uploads what it has saved."""
    _complete(saved, args[0] if args else kwargs["working_dir"])
    return wrapped(*args, **kwargs)


def _complete(saved: Any, folder: str | os.PathLike) -> None:
    """Add what a saved model or processor needs to be loaded elsewhere."""
    from .publishing.code import complete_folder

    complete_folder(Path(folder), saved)
