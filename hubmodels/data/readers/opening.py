"""From a path to the reader of what lies there. What is read is the path that was given and nothing else."""

import os
from pathlib import Path

from ...errors import HubmodelsError
from ...recipe import ReadingOptions
from .archives import OPENERS, table_suffix
from .media_archives import is_media_archive, media_shards, unpack, unpack_shards
from .media_columns import with_media
from .media_files import holds_media, list_folder
from .media_folder import MediaFolder
from .pieces import Source
from .series_files import open_series
from .standard_input import open_standard_input
from .table_files import SAVED_OTHERWISE, TABLE_KINDS, TableFiles
from .table_folders import check_regular, open_table_folder
from .text_folder import open_text
from .text_kinds import text_suffix

STANDARD_INPUT = "-"


def open_source(
    path: str | os.PathLike, options: ReadingOptions | None = None, remembered: bool = False
) -> Source | None:
    """Open what lies at a path.

    Args:
        path: a file or a folder that exists, or `-` for the standard input.
        options: how to read it, where what it holds shall not decide.
        remembered: the options are those of the training's files: of this one they hold as far as it agrees.

    Returns:
        What reads it; None for what only `datasets` reads.

    Raises:
        HubmodelsError: it cannot be read, or not with these options.
    """
    options = options or ReadingOptions()
    if os.fspath(path) == STANDARD_INPUT:
        return open_standard_input(options, remembered)
    path = Path(path)
    check_regular(path)
    if (series := open_series(path, options, remembered)) is not None:
        return series
    if path.is_dir() and holds_media(list_folder(path)):
        return MediaFolder(path, options)
    if is_media_archive(path):
        return MediaFolder(unpack(path), options, name=path.name)
    if path.is_dir() and (shards := media_shards(path)):
        return MediaFolder(unpack_shards(shards), options, name=path.name)
    if path.is_dir():
        tables = open_table_folder(path, options, remembered)
        return open_text(path, options, remembered) if tables is None else with_media(tables, path)
    suffix, compression = table_suffix(path)
    if suffix in TABLE_KINDS:
        tables = TableFiles.open({"train": [path]}, {path: path.name}, options, remembered)
        return with_media(tables, path.parent)
    if suffix in SAVED_OTHERWISE:
        raise HubmodelsError(f"{path.name} is of a kind that is not read: save it as {SAVED_OTHERWISE[suffix]}")
    if compression is not None and path.is_file() and suffix != ".tar" and text_suffix(path.name) is None:
        endings = ", ".join(f"csv{ending}" for ending in OPENERS)
        raise HubmodelsError(f"{path.name} does not say what is compressed: give it an ending such as {endings}")
    return open_text(path, options, remembered)
