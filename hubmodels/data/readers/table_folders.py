"""Folders of tables: which file belongs to which split, and which is not read."""

import os
import re
from pathlib import Path

from ...errors import HubmodelsError
from ...recipe import ReadingOptions
from ...report import note
from .archives import is_hidden, table_suffix
from .table_files import TABLE_KINDS, TableFiles, is_table

SPLIT_WORDS = {
    "train": "train", "training": "train",
    "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip
# What makes a folder one of something else, whatever tables lie beside it.
OTHER_KINDS = {
    ".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".heic", ".heif", ".avif", ".ppm", ".pgm",
    ".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".aac", ".aiff", ".aif", ".mp4", ".ts", ".arff", ".tar",
}  # fmt: skip
MOST_FILES = 200_000


def open_table_folder(folder: Path, options: ReadingOptions, remembered: bool) -> TableFiles | None:
    """Open a folder of tables; give None for a folder of something else.

    Raises HubmodelsError where its files cannot be read, or do not belong together."""
    files = list_files(folder)
    tables = [file for file in files if is_table(file)]
    texts = sum(table_suffix(file)[0] == ".txt" for file in files)
    if not tables or texts > len(tables) or any(file.suffix.lower() in OTHER_KINDS for file in files):
        return None
    if any((folder / name).exists() for name in ("state.json", "dataset_dict.json")) or describes_itself(folder):
        return None
    once = without_copies(folder, tables)
    splits: dict[str, list[Path]] = {}
    others = []
    for file in once:
        split = split_of(file.relative_to(folder))
        if split is None:
            others.append(file)
        else:
            splits.setdefault(split, []).append(file)
    if not splits or ("train" not in splits and others):
        splits["train"], others = others, []
    if others:
        words = ", ".join(file.relative_to(folder).as_posix() for file in others[:5])
        more = f" and {len(others) - 5} more" if len(others) > 5 else ""
        note(
            "files",
            f"not read: {words}{more}, since their names say no split (train, validation, test)",
            surprising=True,
            remedy="dataset: the file itself",
        )
    names = {file: file.relative_to(folder).as_posix() for file in once}
    ordered = {split: splits[split] for split in dict.fromkeys(SPLIT_WORDS.values()) if split in splits}
    said = "; ".join(f"{split}: {', '.join(names[file] for file in some[:3])}{' ...' if len(some) > 3 else ''}"
                     for split, some in ordered.items())  # fmt: skip
    note("files", f"read by their names: {said}")
    return TableFiles.open(ordered, names, options, remembered)


def list_files(folder: Path) -> list[Path]:
    """List the files below a folder in the order of their names, without hidden ones.

    Raises HubmodelsError for a folder of more files than any data set of tables has."""
    files = []
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not is_hidden(Path(name)))
        files += [Path(parent, name) for name in names if not is_hidden(Path(name))]
        if len(files) > MOST_FILES:
            break
    return sorted((file for file in files if file.is_file()), key=lambda file: natural(file.relative_to(folder)))


def natural(path: Path) -> list[tuple[int, str]]:
    """Give a key that sorts part-2 before part-10."""
    return [(int(word), "") if word.isdigit() else (-1, word) for word in re.split(r"(\d+)", path.as_posix()) if word]


def split_of(path: Path) -> str | None:
    """Name the split that a file's name says, or the folder that it is in; None where neither does."""
    for name in (path.name, *reversed(path.parent.parts)):
        words = re.split(r"[^a-z]+", name.lower())
        splits = {SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS}
        if len(splits) == 1 and "submission" not in words:
            return splits.pop()
    return None


def without_copies(folder: Path, tables: list[Path]) -> list[Path]:
    """Leave out files that hold the same table in another form: train.parquet beside train.csv."""
    by_stem: dict[str, Path] = {}
    copies = []
    for file in sorted(tables, key=lambda file: TABLE_KINDS.index(table_suffix(file)[0])):
        stem = file.relative_to(folder).as_posix()[: -len("".join(suffixes_of(file)))]
        if stem in by_stem:
            copies.append((file, by_stem[stem]))
        else:
            by_stem[stem] = file
    if copies:
        words = ", ".join(f"{copy.name} beside {file.name}" for copy, file in copies[:5])
        note("files", f"not read: {words}, as a file of the same name holds the table already", surprising=True)
    chosen = set(by_stem.values())
    return [file for file in tables if file in chosen]


def suffixes_of(file: Path) -> list[str]:
    """Return the endings of a file: of its kind and of its compression."""
    kind, compression = table_suffix(file)
    return file.suffixes[-2:] if compression and len(file.suffixes) > 1 and kind else file.suffixes[-1:]


def describes_itself(folder: Path) -> bool:
    """Tell whether a card says which files are which, as those of the Hub may: `datasets` reads it."""
    card = folder / "README.md"
    if not card.is_file():
        return False
    head = card.read_text(encoding="utf-8", errors="replace")[:20_000]
    return head.startswith("---") and re.search(r"^(configs|dataset_info):", head, re.MULTILINE) is not None


def check_regular(path: Path) -> None:
    """Refuse what is neither a file nor a folder, such as a pipe: opening it may never end."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise HubmodelsError(f"{path} is neither a file nor a folder; `-` reads the standard input")
