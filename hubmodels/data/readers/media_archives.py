"""Archives of images or sounds: a zip of a folder, or a tar (WebDataset's shards), unpacked once into the cache."""

import os
import shutil
import tarfile
import zipfile
from pathlib import Path

import datasets

from ...errors import HubmodelsError, one_line
from ...files import atomic_folder, hash_file
from .media_files import KIND_OF

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


def unpack(path: Path) -> Path:
    """Unpack an archive into the cache, where its content is not there yet, and return the folder.

    Raises HubmodelsError where it is damaged, leads out of the folder, or is larger than the disk takes."""
    folder = Path(datasets.config.HF_DATASETS_CACHE, "hubmodels", "archives", hash_file(path))
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    limit = int(LARGEST_SHARE * shutil.disk_usage(folder.parent).free)
    try:
        with atomic_folder(folder) as temporary:
            if path.suffix.lower() == ".zip":
                with zipfile.ZipFile(path) as archive:
                    _check_size(sum(member.file_size for member in archive.infolist()), limit)
                    archive.extractall(temporary)  # drops leading slashes and "..", and makes no links
            else:
                with tarfile.open(path) as archive:
                    size = 0
                    for member in archive:
                        _check_size(size := size + member.size, limit)
                        archive.extract(member, temporary, filter="data")
    except (OSError, ValueError, RuntimeError, zipfile.BadZipFile, tarfile.TarError) as error:
        raise HubmodelsError(f"cannot unpack {path}: {one_line(error)}") from error
    return folder


def _check_size(size: int, limit: int) -> None:
    """Raise ValueError where unpacked files are more than the disk takes."""
    if size > limit:
        raise ValueError(f"its files are more than {limit:,} bytes")
