"""Archives of images or sounds: a zip of a folder, or a tar (WebDataset's shards), unpacked once into the cache."""

import hashlib
import json
import os
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import datasets

from ...errors import HubmodelsError, one_line
from ...files import atomic_folder, hash_file
from ...report import note
from .media_files import KIND_OF, first_names, is_junk
from .media_splits import split_of

ARCHIVE_KINDS = (".zip", ".tar", ".tar.gz", ".tgz")
LARGEST_SHARE = 0.9  # of the free disk that an archive may fill when it is unpacked
NAMES_LOOKED_AT = 1_000


def is_media_archive(path: Path) -> bool:
    """Tell whether a file is an archive of which the most files are images or sounds, or stand beside these."""
    if not path.is_file() or not path.name.lower().endswith(ARCHIVE_KINDS):
        return False
    try:
        names = _first_names(path)
    except (OSError, ValueError, zipfile.BadZipFile, tarfile.TarError) as error:
        raise HubmodelsError(f"cannot read {path}: {one_line(error)}") from error
    media = sum(os.path.splitext(name)[1].lower() in KIND_OF for name in names)
    tables = sum(name.lower().endswith((".csv", ".tsv", ".parquet", ".jsonl")) for name in names)
    return media > tables


def _first_names(path: Path) -> list[str]:
    """Name the first files of an archive."""
    if path.suffix.lower() == ".zip":
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()[:NAMES_LOOKED_AT]
    with tarfile.open(path) as archive:
        names = []
        for member in archive:
            names.append(member.name)
            if len(names) == NAMES_LOOKED_AT:
                break
        return names


def media_shards(folder: Path) -> dict[str, list[Path]]:
    """Find the archives of images or sounds that a folder consists of, as WebDataset's shards; say what is not read.

    Returns:
        split, or "" where no name says one -> its archives by name; nothing for a folder of something else.
    """
    files = sorted(file for file in folder.iterdir() if file.is_file() and not is_junk(file.name, False))
    archives = [file for file in files if file.name.lower().endswith(ARCHIVE_KINDS)]
    if not archives or 2 * len(archives) < len(files) or not is_media_archive(archives[0]):
        return {}
    shards: dict[str, list[Path]] = {}
    for archive in archives:
        shards.setdefault(split_of(archive.name.partition(".")[0]) or "", []).append(archive)
    if set(shards) - {""} and (rest := shards.pop("", [])):
        if "train" in shards:
            words = f"Not read: {first_names(file.name for file in rest)}, as these names say no split."
            note("files", words, surprising=True, remedy="dataset: the file itself")
        else:
            shards["train"] = rest
    if others := [file.name for file in files if file not in archives]:
        note("files", f"Not read beside the archives: {first_names(others)}.", surprising=True)
    return shards


def unpack(path: Path) -> Path:
    """Unpack an archive into the cache, where its content is not there yet, and return the folder.

    Raises HubmodelsError where it is damaged, leads out of the folder, or is larger than the disk takes."""
    return unpack_shards({"": [path]})


def unpack_shards(shards: Mapping[str, list[Path]]) -> Path:
    """Unpack archives into the cache, where their content is not there yet, each split into a folder of its name.

    A file that another archive of the split has too is called after its own archive besides.
    Raises HubmodelsError where one is damaged, leads out of the folder, or is larger than the disk takes."""
    hashes = [[split, path.name, hash_file(path)] for split, paths in sorted(shards.items()) for path in paths]
    several = hashlib.sha256(json.dumps(hashes).encode()).hexdigest()
    key = hashes[0][2] if len(hashes) == 1 and not hashes[0][0] else several
    folder = Path(datasets.config.HF_DATASETS_CACHE, "hubmodels", "archives", key)
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    limit = int(LARGEST_SHARE * shutil.disk_usage(folder.parent).free)
    with atomic_folder(folder) as temporary:
        for split, paths in shards.items():
            (temporary / split).mkdir(exist_ok=True)
            for path in paths:
                try:
                    limit -= _extract(path, temporary / split, limit)
                except (OSError, ValueError, RuntimeError, zipfile.BadZipFile, tarfile.TarError) as error:
                    raise HubmodelsError(f"cannot unpack {path}: {one_line(error)}") from error
    return folder


def _extract(path: Path, folder: Path, limit: int) -> int:
    """Unpack one archive beside what is there, and return the bytes of its files."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as unpacked:
        if path.suffix.lower() == ".zip":
            with zipfile.ZipFile(path) as archive:
                size = sum(member.file_size for member in archive.infolist())
                _check_size(size, limit)
                archive.extractall(unpacked)  # drops leading slashes and "..", and makes no links
        else:
            with tarfile.open(path) as archive:
                size = 0
                for member in archive:
                    _check_size(size := size + member.size, limit)
                    archive.extract(member, unpacked, filter="data")
        files = [file.relative_to(unpacked) for file in Path(unpacked).rglob("*") if not file.is_dir()]
        twice = any((folder / file).exists() for file in files)
        for file in files:
            target = folder / file.with_name(f"{path.name.partition('.')[0]}-{file.name}" if twice else file.name)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(Path(unpacked, file), target)
    return size


def _check_size(size: int, limit: int) -> None:
    """Raise ValueError where unpacked files are more than the disk takes."""
    if size > limit:
        raise ValueError(f"its files are more than {limit:,} bytes")
