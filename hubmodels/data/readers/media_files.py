"""List the images or sounds below a folder: what is junk, a link that leads out or no plain file is not read."""

import contextlib
import hashlib
import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from ...errors import HubmodelsError
from ...report import note
from .text_kinds import text_suffix

FOLDER_KINDS = {  # what a folder may hold, by the name of the column of its files
    "image": (
        ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm",
        ".pbm", ".pnm", ".jp2", ".heic", ".heif", ".avif",
    ),
    "audio": (".wav", ".flac", ".ogg", ".oga", ".mp3", ".opus", ".aif", ".aiff", ".au"),
}  # fmt: skip
KIND_OF = {suffix: kind for kind, suffixes in FOLDER_KINDS.items() for suffix in suffixes}
LABEL_KINDS = (".csv", ".tsv", ".jsonl", ".parquet")  # tables beside the files
ROW_KINDS = (".cls", ".txt", ".json", ".caption")  # of one file each, by its name: WebDataset's, captions
JUNK_FILES = {"thumbs.db", "desktop.ini", "ehthumbs.db", "icon\r", "dataset_infos.json"}
JUNK_FOLDERS = {"__macosx", "$recycle.bin", "system volume information", "lost+found", "__pycache__"}
SYSTEM_FOLDERS = ("/proc", "/sys", "/dev")
MOST_OF_A_KIND = 0.9  # of images and sounds in one folder, from which the others are left out
FILES_A_TASK = 256  # that one thread hashes before it is given others


@dataclass
class Listing:
    """Holds what lies below a folder: relative paths with `/`, sorted, by what they are."""

    media: dict[str, list[str]] = field(default_factory=dict)  # "image" and "audio" -> files
    tables: list[str] = field(default_factory=list)
    rows: set[str] = field(default_factory=set)  # files that say something of the file of the same name
    texts: list[str] = field(default_factory=list)  # of plain or source text, among `rows` and `others` too
    folders: list[str] = field(default_factory=list)
    others: Counter = field(default_factory=Counter)  # suffix -> number of files that nobody reads
    outside: list[str] = field(default_factory=list)  # links that lead out of the folder
    irregular: list[str] = field(default_factory=list)  # pipes, devices, sockets


def is_junk(name: str, is_folder: bool) -> bool:
    """Tell whether a name is of what systems and programs leave beside a person's files."""
    lower = name.lower()
    return name.startswith(".") or lower in (JUNK_FOLDERS if is_folder else JUNK_FILES)


def list_folder(folder: Path) -> Listing:
    """List a folder's files and those below it. Raises HubmodelsError where it is a part of the running system."""
    root = os.path.realpath(folder)
    system = {os.stat(path).st_dev for path in SYSTEM_FOLDERS if os.path.isdir(path)} - {os.stat("/").st_dev}
    if os.stat(root).st_dev in system:
        raise HubmodelsError(f"{folder} is a part of the running system, not a folder of data")
    listing, seen = Listing(), {root}
    _list_into(listing, root, root, "", seen, system)
    for files in (
        *listing.media.values(),
        listing.tables,
        listing.texts,
        listing.folders,
        listing.outside,
        listing.irregular,
    ):
        files.sort()
    return listing


def _list_into(listing: Listing, root: str, folder: str, below: str, seen: set[str], system: set[int]) -> None:
    """Add what lies in one folder, whose path below the root is `below`, ending in `/`, and in its folders."""
    with contextlib.suppress(PermissionError), os.scandir(folder) as entries:
        for entry in entries:
            name = below + entry.name
            if not name.isprintable() and not _is_text(name):
                listing.irregular.append(name.encode("utf-8", "backslashreplace").decode())
                continue
            if entry.is_symlink():
                target = os.path.realpath(entry.path)
                if not os.path.exists(target) or not f"{target}/".startswith(f"{root.rstrip(os.sep)}/"):
                    if not is_junk(entry.name, False):
                        listing.outside.append(name)
                    continue
            if entry.is_dir():
                target = os.path.realpath(entry.path) if entry.is_symlink() else entry.path
                if is_junk(entry.name, True) or target in seen or entry.stat().st_dev in system:
                    continue
                seen.add(target)
                listing.folders.append(name)
                _list_into(listing, root, entry.path, name + "/", seen, system)
            elif not is_junk(entry.name, False):
                _add_file(listing, entry, name)


def _is_text(name: str) -> bool:
    """Tell whether a file's name is text, and not bytes of another encoding."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _add_file(listing: Listing, entry: os.DirEntry, name: str) -> None:
    """Add one file by what its suffix says."""
    suffix = os.path.splitext(entry.name)[1].lower()
    if entry.is_file() and text_suffix(entry.name) is not None:
        listing.texts.append(name)
    if not entry.is_file():
        listing.irregular.append(name)
    elif suffix in KIND_OF:
        listing.media.setdefault(KIND_OF[suffix], []).append(name)
    elif suffix in LABEL_KINDS:
        listing.tables.append(name)
    elif suffix in ROW_KINDS:
        listing.rows.add(name)
    else:
        listing.others[suffix or entry.name] += 1


def holds_media(listing: Listing) -> bool:
    """Tell whether a folder is one of images or sounds rather than of tables or texts, by the number of files."""
    count = sum(map(len, listing.media.values()))
    stems = {os.path.splitext(name)[0] for files in listing.media.values() for name in files}
    alone = sum(os.path.splitext(name)[0] not in stems for name in listing.rows)
    return count > 0 and count >= len(listing.tables) + alone


def media_kind(listing: Listing, folder: Path) -> str:
    """Choose what a folder holds, "image" or "audio", and say what it is not read for.

    Raises HubmodelsError where it holds neither, or both."""
    counts = {kind: len(files) for kind, files in listing.media.items()}
    if not counts:
        suffixes = ", ".join(suffix for kinds in FOLDER_KINDS.values() for suffix in kinds)
        raise HubmodelsError(f"the folder {folder} holds no image and no sound ({suffixes}){_unread(listing)}")
    kind = max(counts, key=lambda name: counts[name])
    if counts[kind] < MOST_OF_A_KIND * sum(counts.values()):
        raise HubmodelsError(f"the folder {folder} holds images and sounds; take one kind")
    return kind


def _unread(listing: Listing) -> str:
    """Say what of a folder could not be read at all, for a message."""
    words = [f"{len(names)} {what}" for what, names in not_read(listing).items() if names]
    return f"; it has {', '.join(words)}" if words else ""


def not_read(listing: Listing) -> dict[str, list[str]]:
    """Return the names that are not opened, whatever they hold, by the reason."""
    return {
        "links that lead out of it or to nothing": listing.outside,
        "pipes, devices, or names that are no text": listing.irregular,
    }


def say_unread(listing: Listing, kind: str) -> None:
    """Say which files are left out and why."""
    for what, names in not_read(listing).items():
        if names:
            note("files", f"Not read: {len(names):,} {what}: {first_names(names)}.", surprising=True)
    for other, names in listing.media.items():
        if other != kind:
            note("files", f"Not read: {len(names):,} files of {other} among those of {kind}: {first_names(names)}.")
    if listing.others:
        counts = ", ".join(f"{count:,} {suffix}" for suffix, count in sorted(listing.others.items())[:8])
        note("files", f"Not read, as they are no {kind} files: {counts}.")


def first_names(names: Iterable[str], count: int = 3) -> str:
    """Give the first of many names for a sentence, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - count:,} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more


def hash_files(paths: list[str]) -> str:
    """Hash the bytes of many files in their order, by threads; a file that cannot be read counts by its reason."""
    pieces = [paths[start : start + FILES_A_TASK] for start in range(0, len(paths), FILES_A_TASK)]
    total = hashlib.blake2b(digest_size=32)
    with ThreadPoolExecutor(max_workers=min(16, 2 * (os.cpu_count() or 1))) as threads:
        for digest in threads.map(_hash_some, pieces):
            total.update(digest)
    return total.hexdigest()


def _hash_some(paths: list[str]) -> bytes:
    """Hash some files."""
    digest = hashlib.blake2b(digest_size=32)
    for path in paths:
        one = hashlib.blake2b(digest_size=32)
        try:
            for piece in read_pieces(path):
                one.update(piece)
        except OSError as error:
            one.update(f"unreadable {type(error).__name__}".encode())
        digest.update(one.digest())
    return digest.digest()


def read_pieces(path: str, size: int = 1 << 22) -> Iterator[bytes]:
    """Read a plain file in pieces. Raises OSError where it is none: a pipe would never end."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"{path} is no plain file")
        while piece := os.read(descriptor, size):
            yield piece
    finally:
        os.close(descriptor)
