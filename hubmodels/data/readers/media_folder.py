"""Folders of images or of sounds: a row is a file, by its path."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow

from ...errors import HubmodelsError
from ...recipe import ReadingOptions
from .pieces import Piece

FOLDER_KINDS = {  # what a folder may hold, by the name of the column of paths
    "image": (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp"),
    "audio": (".wav",),
}


@dataclass(frozen=True)
class MediaFolder:
    """Reads the paths of a folder's images or sounds, and their names, in the order of these; implements `Source`."""

    folder: Path
    options: ReadingOptions

    @property
    def splits(self) -> tuple[str, ...]:
        """Name the only split."""
        return ("train",)

    @property
    def features(self) -> Mapping[str, Any]:
        """Return nothing: paths are text."""
        return {}

    def content_key(self) -> str:
        """Refuse: nothing of such a folder is kept."""
        raise NotImplementedError

    def pieces(self, split: str, rows_per_piece: int) -> Iterator[Piece]:
        """List the files. Raises HubmodelsError where there are none, or images and sounds."""
        folder = self.folder
        paths = sorted(folder.rglob("*"), key=lambda file: file.relative_to(folder).as_posix())
        columns = {
            name: [file for file in paths if file.suffix.lower() in kinds] for name, kinds in FOLDER_KINDS.items()
        }
        columns = {name: files for name, files in columns.items() if files}
        if len(columns) != 1:
            kinds = ", ".join(kind for kinds in FOLDER_KINDS.values() for kind in kinds)
            what = "images and sounds; take one kind" if columns else f"no image and no sound ({kinds})"
            raise HubmodelsError(f"the folder {folder} holds {what}")
        ((column, files),) = columns.items()
        for start in range(0, len(files), rows_per_piece):
            some = files[start : start + rows_per_piece]
            names = [file.relative_to(folder).as_posix() for file in some]
            yield Piece(pyarrow.table({column: [os.fspath(file) for file in some], "file_name": names}), ".", start)
