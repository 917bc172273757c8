"""What the folders of a person's files mean: splits, classes, or nothing."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable

from ...report import note
from .media_files import first_names

SPLIT_WORDS = {
    "train": "train", "training": "train",
    "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation",
    "test": "test", "testing": "test", "eval": "test", "evaluation": "test", "holdout": "test",
}  # fmt: skip


def split_of(name: str) -> str | None:
    """Tell the split that a folder's or file's name says: Train, train_set, data-val; None where it says none."""
    words = {SPLIT_WORDS[word] for word in re.split(r"[\W_\d]+", name.lower()) if word in SPLIT_WORDS}
    return words.pop() if len(words) == 1 else None


def top(path: str, below: str) -> str | None:
    """Return the first folder of a path below another; None for a file that lies in that itself."""
    first, slash, _ = path[len(below) :].partition("/")
    return first if slash else None


def split_files(files: list[str]) -> dict[str, tuple[tuple[str, ...], list[str]]]:
    """Sort files into the splits that their folders name, and say it.

    Args:
        files: paths below the folder that was given.

    Returns:
        split -> the folders that it is made of, each ending in `/` ("" for the folder itself), and its files.
    """
    below = ""
    while True:
        tops = Counter(top(name, below) for name in files)
        named = {name: split for name in tops if name is not None and (split := split_of(name))}
        if named or len(tops) != 1 or None in tops:
            break
        inner = f"{below}{next(iter(tops))}/"
        if not any(split_of(name) for name in {top(name, inner) for name in files} - {None} if name):
            break
        below = inner
    if not _are_splits(named, tops, files, below):
        return {"train": (("",), files)}
    splits: dict[str, tuple[tuple[str, ...], list[str]]] = {}
    for folder, split in sorted(named.items()):
        prefix = f"{below}{folder}/"
        folders, some = splits.get(split, ((), []))
        splits[split] = ((*folders, prefix), sorted([*some, *(name for name in files if name.startswith(prefix))]))
    rest = [name for name in files if top(name, below) not in named]
    if rest and "train" not in splits:
        splits["train"] = ((below,), rest)
        rest = []
    for split, (folders, some) in splits.items():
        note("splits", f"{', '.join(folder or './' for folder in folders)} is the {split} split: {len(some):,} files.")
    if rest:
        words = f"{len(rest):,} files beside the folders of the splits are not read: {first_names(rest)}."
        note("files", words, surprising=True)
    return {split: splits[split] for split in ("train", "validation", "test") if split in splits}


def _are_splits(named: dict[str, str], tops: Counter, files: list[str], below: str) -> bool:
    """Tell whether folders with names of splits are splits; a single one among others may be a class."""
    if not named:
        return False
    if "train" in named.values() or len(named) == len(tops):
        return True
    others = {name for name in tops if name is not None and name not in named}
    inside = {inner for folder in named for name in files if (inner := top(name, f"{below}{folder}/"))}
    if inside and (others & inside or not others):
        return True
    if len(set(named.values())) > 1 and not others:
        return True
    words = f"The folder {first_names(sorted(named))} is taken for a class, as there is no folder of training files."
    note("splits", words, surprising=True, remedy="put the other folders into a folder named train")
    return False


def normal_name(name: str) -> str:
    """Return the composed form of a name: a Mac writes the same letter as two characters, other systems as one."""
    return unicodedata.normalize("NFC", name)


def folder_classes(splits: dict[str, tuple[tuple[str, ...], list[str]]]) -> dict[str, str] | None:
    """Tell the class of each file by its folder, and say how.

    Returns:
        file -> class; a file that is missing has none. None where folders name no classes.
    """
    inner = {name: relative(name, folders) for folders, files in splits.values() for name in files}
    loose = [name for name, path in inner.items() if "/" not in path]
    if len(loose) == len(inner):
        return None
    if 2 * len(loose) > len(inner):
        words = f"No classes are taken from folders: {len(loose):,} of {len(inner):,} files lie in none."
        note("columns", words, surprising=True)
        return None
    classes = {name: normal_name(path.split("/")[-2]) for name, path in inner.items() if "/" in path}
    depths = {inner[name].count("/") for name in classes}
    tops = {name: normal_name(inner[name].split("/")[0]) for name in classes}
    scattered = max(depths) > 1 and len(set(classes.values())) > max(20, len(classes) // 2)
    if (len(depths) > 1 or scattered) and len(set(tops.values())) > 1:
        why = "lie at different depths" if len(depths) > 1 else "are nearly as many as files"
        note("columns", f"The folders {why}: the outermost one names the class of a file.", surprising=True)
        classes = tops
    elif max(depths) > 1:
        note("columns", "The innermost folder names the class of a file.", surprising=True)
    if len(names := sorted(set(classes.values()))) == 1:
        words = f"All files lie in one folder, {names[0]}: folders name no classes."
        note(
            "columns",
            words,
            surprising=True,
            remedy="give each class a folder, or the files a table with their classes",
        )
        return None
    if loose:
        words = f"{len(loose):,} files lie in no folder of a class and are left out: {first_names(loose)}."
        note("rows", words, surprising=True)
    return classes


def relative(name: str, folders: Iterable[str]) -> str:
    """Return a file's path below the one of a split's folders that it lies in."""
    return next((name[len(folder) :] for folder in folders if name.startswith(folder)), name)


def say_classes(
    classes: dict[str, str], splits: dict[str, tuple[tuple[str, ...], list[str]]], folders: list[str]
) -> None:
    """Say the classes, those that a split lacks, and folders that are empty."""
    names = sorted(set(classes.values()))
    note("columns", f"{len(names)} classes by their folders: {first_names(names, 8)}.", column="label", kind="classes")
    by_split: dict[str, set[str]] = defaultdict(set)
    for split, (_, files) in splits.items():
        by_split[split] = {classes[name] for name in files if name in classes}
        if missing := sorted(set(names) - by_split[split]):
            words = f"The {split} split has no file of {len(missing)} of the {len(names)} classes: "
            note("splits", words + first_names(missing) + ".", surprising=True)
    filled: set[str] = set()
    for _, files in splits.values():
        for name in files:
            while (name := name.rpartition("/")[0]) and name not in filled:
                filled.add(name)
    if empty := [name for name in folders if name not in filled]:
        note("files", f"Folders without files are no classes: {first_names(empty)}.", surprising=True)
