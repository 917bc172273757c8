"""Say what a release folder may look like: names, kinds and sizes of its files, looked at as bytes. Nothing is run."""

import hashlib
import json
import re
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from ..checkpoint import CONFIG_FILE, METRICS_FILE, WEIGHTS_FILE
from ..errors import HubmodelsError
from ..files import FORBIDDEN_STARTS
from .golden import GOLDEN_FILE

RECIPE_FILE, CARD_FILE = "recipe.yaml", "README.md"
NOTES_FILE, PROBLEM_FILE = "notes.md", "problem.json"  # these two are optional
# Without a checksum: the card, which people edit on the Hub, and the file that holds the checksums.
UNHASHED_FILES = (CARD_FILE, METRICS_FILE, ".gitattributes", ".gitignore", "LICENSE")
REQUIRED_FILES = (CARD_FILE, CONFIG_FILE, GOLDEN_FILE, METRICS_FILE, WEIGHTS_FILE, RECIPE_FILE)
# Kinds of files that a release may hold. Everything else is refused: what can run code when it is loaded (pickle in all
# its endings, HDF5, archives, shared libraries, scripts) and what nothing here would read.
ALLOWED_SUFFIXES = (".json", ".jinja", ".jpg", ".md", ".png", ".py", ".safetensors", ".txt", ".wav", ".yaml")
ALLOWED_NAMES = (".gitattributes", ".gitignore", "LICENSE")
PICKLE_SUFFIXES = (".bin", ".ckpt", ".joblib", ".npy", ".npz", ".pickle", ".pkl", ".pt", ".pth", ".t7")
# What people add to a repository on the Hub without making it another model; it needs no checksum.
HARMLESS_SUFFIXES = (".jpg", ".md", ".png", ".wav")
MAX_TEXT_BYTES = 10 * 1024**2  # of a JSON, YAML, Markdown or Python file; tokenizer.json may be larger
MAX_TOKENIZER_BYTES = 100 * 1024**2
MAX_FILES = 2_000


def release_files(folder: Path) -> list[str]:
    """List the files of a release by their path within it, with forward slashes, sorted.

    What the tools of others leave in a working folder (.git, huggingface_hub's .cache) is no part of it."""
    names = []
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if (path.is_file() or path.is_symlink()) and not name.startswith((".git/", ".cache/huggingface/")):
            names.append(name)
    return sorted(names)


def has_checksum(name: str) -> bool:
    """Tell whether metrics.json lists a file of this name."""
    return name not in UNHASHED_FILES


def metrics_checksum(metrics: Mapping[str, Any]) -> str:
    """Compute the SHA-256 of what metrics.json says beside the checksums, whatever its layout."""
    values = {name: value for name, value in metrics.items() if name != "checksums"}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def check_names(names: Iterable[str]) -> None:
    """Refuse names that no release has: paths that leave the folder, and kinds of files that can run code.

    Names that some file system reads otherwise are refused too. They are as a repository lists them; no file needs to
    be there."""
    names = list(names)
    if len(names) > MAX_FILES:
        raise HubmodelsError(f"it holds {len(names):,} files; a release has at most {MAX_FILES:,}")
    seen: dict[str, str] = {}
    for name in names:
        path_parts = name.split("/")
        shown = repr(name)[:120]
        unsafe = re.search(r'[\x00-\x1f\x7f\\:*?"<>|]', name) or any(part in ("", ".", "..") for part in path_parts)
        if unsafe or len(name) > 255 or any(part.endswith((" ", ".")) for part in path_parts):
            raise HubmodelsError(f"the file name {shown} is not safe: it could be written outside of its folder")
        if (other := seen.setdefault(name.casefold(), name)) != name:
            raise HubmodelsError(f"the file names {other!r} and {shown} differ only in case")
        suffix = PurePosixPath(name).suffix.lower()
        if suffix in PICKLE_SUFFIXES:
            raise HubmodelsError(
                f"{shown} is a kind of file that can run code when it is loaded; releases hold safetensors"
            )
        if suffix not in ALLOWED_SUFFIXES and path_parts[-1] not in ALLOWED_NAMES:
            raise HubmodelsError(f"{shown} is no kind of file that a release holds ({', '.join(ALLOWED_SUFFIXES)})")
        if suffix == ".py" and len(path_parts) > 1:
            raise HubmodelsError(f"{shown} is code in a subfolder; a release's code lies beside its weights")


def check_content(path: Path, name: str) -> None:
    """Refuse a file that is empty, too large for its kind, or begins like what must not be here."""
    if not path.is_file():
        raise HubmodelsError(f"{name} is not a plain file")
    size = path.stat().st_size
    if size == 0:
        raise HubmodelsError(f"{name} is empty")
    limit = MAX_TOKENIZER_BYTES if name.startswith(("tokenizer", "vocab", "merges")) else MAX_TEXT_BYTES
    if size > limit and path.suffix in (".json", ".yaml", ".md", ".py", ".txt", ".jinja"):
        raise HubmodelsError(f"{name} has {size:,} bytes; a file of this kind has at most {limit:,}")
    with open(path, "rb") as file:
        start = file.read(8)
    if path.suffix == ".wav" and not start.startswith(b"RIFF"):
        raise HubmodelsError(f"{name} is no wav file; it is not what its name says")
    for magic, kind in FORBIDDEN_STARTS.items():
        # The first bytes of a safetensors file are a length, which can be any number; its header is checked instead.
        if start.startswith(magic) and not (
            path.suffix == ".safetensors" and struct.unpack("<Q", start.ljust(8, b"\0"))[0] < size
        ):
            raise HubmodelsError(f"{name} is a {kind}, which can run code; it is not what its name says")
