"""What a release folder may look like: the names, kinds and sizes of its files, looked at as bytes. Nothing is run."""

import hashlib
import json
import re
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import HubmodelsError
from .golden import GOLDEN_FILE

METRICS_FILE = "metrics.json"
NOTES_FILE = "notes.md"
CONFIG_FILE, WEIGHTS_FILE, RECIPE_FILE, CARD_FILE = "config.json", "model.safetensors", "recipe.yaml", "README.md"
# Without a checksum: the card, which people edit on the Hub, and the file that holds the checksums.
UNHASHED_FILES = (CARD_FILE, METRICS_FILE, ".gitattributes", ".gitignore", "LICENSE")
REQUIRED_FILES = (CARD_FILE, CONFIG_FILE, GOLDEN_FILE, METRICS_FILE, WEIGHTS_FILE, RECIPE_FILE)
MODEL_TYPE_PREFIX = "hubmodels_"
# Kinds of files that a release may hold. Everything else is refused: what can run code when it is loaded (pickle in all
# its endings, HDF5, archives, shared libraries, scripts) and what nothing here would read.
ALLOWED_SUFFIXES = (".json", ".jinja", ".jpg", ".md", ".png", ".py", ".safetensors", ".txt", ".wav", ".yaml")
ALLOWED_NAMES = (".gitattributes", ".gitignore", "LICENSE")
PICKLE_SUFFIXES = (".bin", ".ckpt", ".joblib", ".npy", ".npz", ".pickle", ".pkl", ".pt", ".pth", ".t7")
# What people add to a repository on the Hub without making it another model; it needs no checksum.
HARMLESS_SUFFIXES = (".jpg", ".md", ".png", ".wav")
# First bytes of what must not hide under an allowed ending.
FORBIDDEN_STARTS = {
    b"\x80\x02": "pickle", b"\x80\x03": "pickle", b"\x80\x04": "pickle", b"\x80\x05": "pickle",
    b"PK\x03\x04": "ZIP archive (or a torch.save file)", b"\x1f\x8b": "gzip archive",
    b"\x7fELF": "program", b"MZ": "program", b"\xcf\xfa\xed\xfe": "program", b"#!": "script",
}  # fmt: skip
MAX_TEXT_BYTES = 10 * 1024**2  # of a JSON, YAML, Markdown or Python file; tokenizer.json may be larger
MAX_TOKENIZER_BYTES = 100 * 1024**2
MAX_FILES = 2_000


def release_files(folder: Path) -> list[str]:
    """The files of a release by their path within it, with forward slashes, sorted. What the tools of others leave in a
    working folder (.git, huggingface_hub's .cache) is no part of it."""
    found = []
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if (path.is_file() or path.is_symlink()) and not name.startswith((".git/", ".cache/huggingface/")):
            found.append(name)
    return sorted(found)


def has_checksum(name: str) -> bool:
    """Whether metrics.json lists a file of this name."""
    return name not in UNHASHED_FILES


def metrics_checksum(metrics: Mapping[str, Any]) -> str:
    """The SHA-256 of what metrics.json says beside the checksums, whatever its layout."""
    values = {name: value for name, value in metrics.items() if name != "checksums"}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def check_names(names: Iterable[str]) -> None:
    """Refuse paths that leave the folder or that some file system reads otherwise, and kinds of files that a release
    does not hold. `names` are as a repository lists them; no file needs to be there."""
    names = list(names)
    if len(names) > MAX_FILES:
        raise HubmodelsError(f"it holds {len(names):,} files; a release has at most {MAX_FILES:,}")
    seen: dict[str, str] = {}
    for name in names:
        parts = name.split("/")
        shown = repr(name)[:120]
        unsafe = re.search(r'[\x00-\x1f\x7f\\:*?"<>|]', name) or any(part in ("", ".", "..") for part in parts)
        if unsafe or len(name) > 255 or any(part.endswith((" ", ".")) for part in parts):
            raise HubmodelsError(f"the file name {shown} is not safe: it could be written outside of its folder")
        if (other := seen.setdefault(name.casefold(), name)) != name:
            raise HubmodelsError(f"the file names {other!r} and {shown} differ only in case")
        suffix = PurePosixPath(name).suffix.lower()
        if suffix in PICKLE_SUFFIXES:
            raise HubmodelsError(
                f"{shown} is a kind of file that can run code when it is loaded; releases hold safetensors"
            )
        if suffix not in ALLOWED_SUFFIXES and parts[-1] not in ALLOWED_NAMES:
            raise HubmodelsError(f"{shown} is no kind of file that a release holds ({', '.join(ALLOWED_SUFFIXES)})")
        if suffix == ".py" and len(parts) > 1:
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


def read_json(path: Path) -> dict[str, Any]:
    """The mapping in a JSON file. Raises HubmodelsError when it is none."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise HubmodelsError(f"{path.name} is missing") from None
    except (ValueError, RecursionError) as error:
        raise HubmodelsError(f"{path.name} is not JSON: {error}") from None
    if not isinstance(values, dict):
        raise HubmodelsError(f"{path.name} must be a JSON mapping, it is a {type(values).__name__}")
    return values
