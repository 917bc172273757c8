"""Is this folder a whole, safe and right release? Nothing in it is run to find out.

A release may come from anybody. The order of the checks is what makes them safe: names and kinds of files, checksums,
headers and configs are looked at as bytes first; only then is the model built, from the classes that are installed here
(never from the folder's own code), and its golden output computed.
"""

import ast
import os
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from ..errors import HubmodelsError
from ..files import hash_file
from ..recipe import Recipe
from .code import foreign_code
from .golden import GOLDEN_FILE, check_golden
from .layout import (
    CONFIG_FILE,
    HARMLESS_SUFFIXES,
    METRICS_FILE,
    MODEL_TYPE_PREFIX,
    RECIPE_FILE,
    REQUIRED_FILES,
    UNHASHED_FILES,
    WEIGHTS_FILE,
    check_content,
    check_names,
    metrics_checksum,
    read_json,
    release_files,
)
from .weights import check_weights, count_elements, load_release, read_safetensors_header

# What code that travels with the weights may import beside the standard library and its siblings.
CODE_LIBRARIES = ("diffusers", "huggingface_hub", "numpy", "PIL", "safetensors", "torch", "transformers")


@dataclass
class Verification:
    """What was found right."""

    name: str  # folder or Hub id
    num_files: int  # whose checksums agree
    num_parameters: int
    deviation: float  # of the golden output, as a share of its scale
    foreign_code: list[str] = field(default_factory=list)  # files that are not as installed here; they were not run
    revision: str | None = None  # commit, for a release from the Hub

    def __str__(self) -> str:
        revision = f" at {self.revision[:12]}" if self.revision else ""
        names = ", ".join(self.foreign_code)
        code = f"; its code ({names}) is not the one installed here: read it before you trust it" if names else ""
        return (
            f"{self.name}{revision}: verified. {self.num_files} checksums agree, {self.num_parameters:,} weights load, "
            f"the golden output is reproduced (deviation {self.deviation:.1e} of its scale){code}"
        )


def verify_folder(folder: str | os.PathLike, name: str | None = None) -> Verification:
    """Check every file of a release and reproduce its golden output.

    Args:
        folder: a release on this machine, which may come from anybody.
        name: what messages call it; the path by default.

    Raises:
        HubmodelsError: the first thing that is wrong, in one line.
    """
    folder, name = Path(folder), name or os.fspath(folder)
    try:
        hashes = check_files(folder)
        check_config(folder)
        for path in folder.glob("*.safetensors"):
            read_safetensors_header(path)
        model = load_release(folder)
        check_weights(model, folder / WEIGHTS_FILE)
        deviation = check_golden(model, folder / GOLDEN_FILE)
    except HubmodelsError as error:
        raise HubmodelsError(f"{name} is not verified: {error}") from error
    except OSError as error:
        raise HubmodelsError(f"{name} is not verified: {error}") from None
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    return Verification(name, len(hashes), num_parameters, deviation, foreign_code(folder))


# --- files ---


def check_files(folder: Path) -> dict[str, str]:
    """The folder holds what a release must hold, nothing that it may not, and every checksum agrees.

    Returns:
        The SHA-256 of each file that has one."""
    if not folder.is_dir():
        raise HubmodelsError(f"there is no folder {folder}")
    for required in REQUIRED_FILES:  # before all else: a folder that is no release may hold millions of files
        if not (folder / required).is_file():
            raise HubmodelsError(f"{required} is missing: the folder is no release, or not a whole one")
    names = release_files(folder)
    check_names(names)
    for name in names:
        check_content(folder / name, name)
    hashes = read_checksums(folder)
    for name, expected in hashes.items():
        if name not in names:
            raise HubmodelsError(f"{name} is missing, which {METRICS_FILE} lists")
        if hash_file(folder / name) != expected:
            raise HubmodelsError(f"{name} is not the file that was released: its SHA-256 differs from {METRICS_FILE}'s")
    for name in names:
        if name not in hashes and name not in UNHASHED_FILES and PurePosixPath(name).suffix not in HARMLESS_SUFFIXES:
            raise HubmodelsError(f"{name} is no part of the release: {METRICS_FILE} does not list it")
    check_code(folder, [name for name in names if name.endswith(".py")])
    return hashes


def check_code(folder: Path, names: list[str]) -> None:
    """Code must be what `auto_map` names and what that imports, and import only what it may. It is read, not run."""
    if not names:
        return
    reachable, imports = set(), {}
    for name in names:
        imports[name] = read_imports(folder / name)
    todo = [f"{reference.split('--')[-1].split('.')[0]}.py" for reference in _auto_map_references(folder)]
    while todo:
        name = todo.pop()
        if name in reachable:
            continue
        if name not in imports:
            raise HubmodelsError(f"{name} is missing: auto_map names a class in it, or another file imports it")
        reachable.add(name)
        todo += [f"{sibling}.py" for sibling in imports[name][0]]
    for name in names:
        if name not in reachable:
            raise HubmodelsError(f"{name} is code that neither auto_map nor any file that it names uses")
        for library in imports[name][1]:
            if library not in CODE_LIBRARIES and library not in sys.stdlib_module_names:
                raise HubmodelsError(
                    f"{name} imports {library}; code in a release may import {', '.join(CODE_LIBRARIES)}"
                )


def read_imports(path: Path) -> tuple[set[str], set[str]]:
    """The siblings and the libraries that a Python file imports. Raises HubmodelsError when it is not Python."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise HubmodelsError(f"{path.name} is not Python: {error}") from None
    siblings, libraries = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            libraries.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            libraries.add((node.module or "").split(".")[0])
        elif isinstance(node, ast.ImportFrom):
            if node.level > 1 or not node.module or "." in node.module:
                raise HubmodelsError(f"{path.name} imports from another folder (line {node.lineno})")
            siblings.add(node.module)
    return siblings, libraries


def _auto_map_references(folder: Path) -> list[str]:
    found = []
    for name in ("config.json", "preprocessor_config.json", "processor_config.json", "tokenizer_config.json"):
        if (folder / name).is_file():
            mapping = read_json(folder / name).get("auto_map") or {}
            if not isinstance(mapping, dict):
                raise HubmodelsError(f"auto_map of {name} is no mapping")
            for value in mapping.values():
                for reference in value if isinstance(value, list) else [value]:
                    if reference is not None and not re.fullmatch(r"[A-Za-z_]\w*\.[A-Za-z_]\w*", str(reference)):
                        raise HubmodelsError(
                            f"auto_map of {name} names {str(reference)[:100]!r}; it must be file.Class of this release"
                        )
                    found += [] if reference is None else [reference]
    return found


def read_checksums(folder: Path) -> dict[str, str]:
    """What metrics.json says of the other files."""
    metrics = read_json(folder / METRICS_FILE)
    values = metrics.get("checksums")
    hashes = values.get("files") if isinstance(values, dict) else None
    if not isinstance(hashes, dict) or not hashes:
        raise HubmodelsError(f"{METRICS_FILE} lists no checksums, so nothing can be verified")
    if values.get("metrics") != metrics_checksum(metrics):
        raise HubmodelsError(f"{METRICS_FILE} is not what was released: the SHA-256 of its values differs")
    for name, value in hashes.items():
        if not isinstance(value, str) or not re.fullmatch(r"[0-9a-f]{64}", value):
            raise HubmodelsError(f"the checksum of {name} in {METRICS_FILE} is no SHA-256")
    check_names(hashes)
    for required in REQUIRED_FILES:
        if required not in hashes and required not in UNHASHED_FILES:
            raise HubmodelsError(f"{METRICS_FILE} lists no checksum of {required}")
    return hashes


# --- config and weights ---


def read_recipe(path: Path) -> Recipe:
    """A recipe from anybody. An alias can stand for a mapping that unfolds to gigabytes, so none may be in it."""
    try:
        depth = 0
        for event in yaml.parse(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if isinstance(event, yaml.AliasEvent) or depth > 20:
                raise HubmodelsError(f"{path.name} has aliases or is nested too deep; a recipe is a plain mapping")
    except (yaml.YAMLError, ValueError) as error:
        raise HubmodelsError(f"{path.name} is not YAML: {' '.join(str(error).split())[:200]}") from None
    return Recipe.load(path)


def check_config(folder: Path) -> Recipe:
    """config.json and recipe.yaml speak of the same family, and the config's counts are possible for these weights."""
    recipe = read_recipe(folder / RECIPE_FILE)
    config = read_json(folder / CONFIG_FILE)
    model_type = config.get("model_type")
    if not isinstance(model_type, str) or not model_type.startswith(MODEL_TYPE_PREFIX):
        raise HubmodelsError(
            f"{CONFIG_FILE} is of the type {str(model_type)[:80]!r}; a release's begins with {MODEL_TYPE_PREFIX}"
        )
    if model_type != MODEL_TYPE_PREFIX + recipe.family:
        raise HubmodelsError(
            f"{CONFIG_FILE} is of the type {model_type!r}, but {RECIPE_FILE} names the family {recipe.family!r}"
        )
    header = read_safetensors_header(folder / WEIGHTS_FILE)
    largest = max(sum(count_elements(shape) for _, shape in header.values()), 2**20)
    _check_numbers(config, largest, len(header), CONFIG_FILE)
    return recipe


def _check_numbers(value: Any, largest: int, num_tensors: int, where: str) -> None:
    """Refuse sizes that no network with these weights can have, before anything is built from them: a network of 10**9
    layers would be built for hours, a width of 10**12 would take all memory."""
    if isinstance(value, dict):
        for name, item in value.items():
            if re.search(r"layers|depth|blocks", str(name)) and _total(item) > num_tensors:
                raise HubmodelsError(
                    f"{where}: {str(name)[:40]} is {_total(item)}, but the weights are only {num_tensors} tensors"
                )
            _check_numbers(item, largest, num_tensors, f"{where}: {str(name)[:40]}")
    elif isinstance(value, list):
        if len(value) > 10_000:
            raise HubmodelsError(f"{where} has {len(value):,} elements")
        for item in value:
            _check_numbers(item, largest, num_tensors, where)
    elif isinstance(value, int) and not isinstance(value, bool) and abs(value) > largest:
        raise HubmodelsError(f"{where} is {value}, more than all weights together have numbers")


def _total(value: Any) -> int:
    if isinstance(value, list):
        return sum(_total(item) for item in value)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
