"""Verify that a folder is a whole, safe and right release. Nothing in it is run to find out.

A release may come from anybody. The order of the checks is what makes them safe: names and kinds of files, checksums,
headers and configs are looked at as bytes first; only then is the model built, from the classes that are installed here
(never from the folder's own code), and its golden output computed.
"""

import ast
import math
import os
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import torch
import yaml
from safetensors import safe_open

from ..checkpoint import (
    CONFIG_FILE,
    METRICS_FILE,
    WEIGHTS_FILE,
    check_checksums,
    listed_checksums,
    load_exactly,
    read_metrics,
)
from ..errors import HubmodelsError, one_line
from ..families import MODEL_TYPE_PREFIX
from ..files import read_json
from ..recipe import Recipe
from ..safetensors_header import read_safetensors_header
from .code import auto_map_references, foreign_code
from .golden import GOLDEN_FILE, check_golden
from .layout import (
    HARMLESS_SUFFIXES,
    PROBLEM_FILE,
    RECIPE_FILE,
    REQUIRED_FILES,
    UNHASHED_FILES,
    check_content,
    check_names,
    metrics_checksum,
    release_files,
)

# What code that travels with the weights may import beside the standard library and its siblings.
CODE_LIBRARIES = ("diffusers", "huggingface_hub", "numpy", "PIL", "safetensors", "torch", "transformers")


@dataclass
class Verification:
    """Say what is right with a release."""

    name: str  # folder or Hub id
    num_files: int  # whose checksums agree
    num_parameters: int
    deviation: float  # of the golden output, as a share of its scale
    foreign_code: list[str] = field(default_factory=list)  # files that are not as installed here; they were not run
    absent_code: list[str] = field(default_factory=list)  # files that `publish` adds to a folder of a checkout
    revision: str | None = None  # commit, for a release from the Hub

    def __str__(self) -> str:
        revision = f" at {self.revision[:12]}" if self.revision else ""
        names = ", ".join(self.foreign_code)
        code = f"; its code ({names}) is not the one installed here: read it before you trust it" if names else ""
        code += "; it holds no code: that of the installed hubmodels is used" if self.absent_code else ""
        return (
            f"{self.name}{revision}: verified. {self.num_files} checksums agree, {self.num_parameters:,} weights load, "
            f"the golden output is reproduced (deviation {self.deviation:.1e} of its scale){code}"
        )


def verify_folder(folder: str | os.PathLike, name: str | None = None, *, with_code: bool = False) -> Verification:
    """Check every file of a release and reproduce its golden output.

    Args:
        folder: a release on this machine, which may come from anybody.
        name: what messages call it; the path by default.
        with_code: whether the code that it lists must be there, as in what is published. A folder of a checkout has
            none at all: there hubmodels is installed.

    Raises:
        HubmodelsError: the first thing that is wrong, in one line.
    """
    folder, name = Path(folder), name or os.fspath(folder)
    try:
        hashes, absent_code = check_files(folder, with_code)
        check_config(folder)
        for path in folder.glob("*.safetensors"):
            read_safetensors_header(path)
        model = load_exactly(folder)
        check_weights(model, folder / WEIGHTS_FILE)
        deviation = check_golden(model, folder / GOLDEN_FILE)
    except HubmodelsError as error:
        raise HubmodelsError(f"{name} is not verified: {error}") from error
    except OSError as error:
        raise HubmodelsError(f"{name} is not verified: {error}") from None
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    return Verification(name, len(hashes), num_parameters, deviation, foreign_code(folder), absent_code)


# --- files ---


def check_files(folder: Path, with_code: bool) -> tuple[dict[str, str], list[str]]:
    """Check that a folder holds what a release must, nothing that it may not, and that every checksum agrees.

    Args:
        folder: the release.
        with_code: as `verify_folder` takes it.

    Returns:
        The SHA-256 of each file that has one, and the names of the code that is listed and not there.
    """
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
    code = [name for name in names if name.endswith(".py")]
    absent_code = [] if with_code or code else [name for name in hashes if name.endswith(".py")]
    hashes = {name: value for name, value in hashes.items() if name not in absent_code}
    for name in hashes:
        if name not in names:
            raise HubmodelsError(f"{name} is missing, which {METRICS_FILE} lists")
    check_checksums(hashes, {name: folder / name for name in hashes})
    for name in names:
        if name not in hashes and name not in UNHASHED_FILES and PurePosixPath(name).suffix not in HARMLESS_SUFFIXES:
            raise HubmodelsError(f"{name} is no part of the release: {METRICS_FILE} does not list it")
    check_code(folder, code)
    return hashes, absent_code


def check_code(folder: Path, names: list[str]) -> None:
    """Check that code is what `auto_map` names and what that imports, and imports only what it may.

    It is read, not run."""
    references = auto_map_references(folder)
    if not names:
        return
    reachable: set[str] = set()
    imports = {name: read_imports(folder / name) for name in names}
    todo = [f"{reference.split('.')[0]}.py" for reference in references]
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
    """Read what a Python file imports. Raises HubmodelsError when it is not Python.

    Returns:
        The names of its siblings, and those of the libraries.
    """
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise HubmodelsError(f"{path.name} is not Python: {error}") from None
    siblings: set[str] = set()
    libraries: set[str] = set()
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


def read_checksums(folder: Path) -> dict[str, str]:
    """Read the checksums of a release's files from its metrics.json, whose own values must be those released."""
    metrics = read_metrics(folder)
    hashes = listed_checksums(metrics)
    if not hashes:
        raise HubmodelsError(f"{METRICS_FILE} lists no checksums, so nothing can be verified")
    if metrics["checksums"].get("metrics") != metrics_checksum(metrics):
        raise HubmodelsError(f"{METRICS_FILE} is not what was released: the SHA-256 of its values differs")
    check_names(hashes)
    for required in REQUIRED_FILES:
        if required not in hashes and required not in UNHASHED_FILES:
            raise HubmodelsError(f"{METRICS_FILE} lists no checksum of {required}")
    return hashes


# --- config and weights ---


def read_recipe(path: Path) -> Recipe:
    """Read a recipe from anybody. An alias can stand for a mapping that unfolds to gigabytes, so none may be in it."""
    try:
        depth = 0
        for event in yaml.parse(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if isinstance(event, yaml.AliasEvent) or depth > 20:
                raise HubmodelsError(f"{path.name} has aliases or is nested too deep; a recipe is a plain mapping")
    except (yaml.YAMLError, ValueError) as error:
        raise HubmodelsError(f"{path.name} is not YAML: {one_line(error, 200)}") from None
    return Recipe.load(path)


def check_config(folder: Path) -> Recipe:
    """Check that config.json and recipe.yaml speak of the same family, and that the weights fit the counts.

    problem.json, where there is one, must be a mapping."""
    recipe = read_recipe(folder / RECIPE_FILE)
    config = read_json(folder / CONFIG_FILE)
    if (folder / PROBLEM_FILE).is_file():
        read_json(folder / PROBLEM_FILE)
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
    largest = max(sum(math.prod(shape) for _, shape in header.values()), 2**20)
    _check_numbers(config, largest, len(header), CONFIG_FILE)
    return recipe


def _check_numbers(value: object, largest: int, num_tensors: int, where: str) -> None:
    """Refuse sizes that no network with these weights can have, before anything is built from them.

    A network of 10**9 layers would be built for hours, a width of 10**12 would take all memory."""
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


def _total(value: object) -> int:
    """Sum the integers of a value and of the lists in it."""
    if isinstance(value, list):
        return sum(_total(item) for item in value)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def check_weights(model: torch.nn.Module, path: Path) -> None:
    """Check that a model holds exactly the numbers of the file: none at its initial value, none left over."""
    state = model.state_dict()
    with safe_open(path, framework="pt") as file:
        stored = set(file.keys())
        loaded_from = set()
        for name in stored:
            if name not in state:
                raise HubmodelsError(f"{path.name} holds {name!r}, which {type(model).__name__} does not have")
            value = file.get_tensor(name)
            if value.shape != state[name].shape or not torch.equal(value.to(state[name].dtype), state[name].cpu()):
                raise HubmodelsError(f"{name} of the loaded {type(model).__name__} is not what {path.name} holds")
            loaded_from.add(state[name].data_ptr())
    for name, value in state.items():  # tied weights are stored once
        if name not in stored and value.data_ptr() not in loaded_from:
            raise HubmodelsError(f"{path.name} does not hold {name!r} of {type(model).__name__}")
