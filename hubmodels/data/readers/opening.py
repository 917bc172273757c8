"""From a path to the reader of what lies there. What is read is the path that was given and nothing else."""

import os
from pathlib import Path

from ...recipe import ReadingOptions
from .media_archives import is_media_archive, unpack
from .media_columns import with_media
from .media_files import holds_media, list_folder
from .media_folder import MediaFolder
from .pieces import Source
from .series_files import open_series
from .table_files import TABLE_KINDS, TableFiles


def open_source(path: str | os.PathLike, options: ReadingOptions | None = None) -> Source | None:
    """Open what lies at a path.

    Args:
        path: a file or a folder that exists.
        options: how to read it, where what it holds shall not decide.

    Returns:
        What reads it; None for what only `datasets` reads.

    Raises:
        HubmodelsError: it cannot be read, or not with these options.
    """
    path = Path(path)
    options = options or ReadingOptions()
    if path.is_file() and path.suffix.lower() in TABLE_KINDS:
        return with_media(TableFiles({"train": [path]}, path.parent, options), path.parent)
    if (series := open_series(path, options)) is not None:
        return series
    if path.is_dir() and holds_media(list_folder(path)):
        return MediaFolder(path, options)
    if is_media_archive(path):
        return MediaFolder(unpack(path), options)
    return None
