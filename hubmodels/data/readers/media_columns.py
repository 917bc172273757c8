"""Columns of tables that name images or sounds by path or URL: found by what they hold, and opened beside the table."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import datasets
import pyarrow

from ...errors import HubmodelsError
from ...recipe import ReadingOptions
from ...report import note
from .downloads import download_all
from .media_files import KIND_OF, hash_files
from .media_folder import stored
from .pieces import Piece, Source

ROWS_LOOKED_AT = 1_000  # of the first piece, to find columns of paths
NEARLY_ALL = 0.9  # of a column's values that end as names of files do
ROWS_AT_ONCE = 65_536
MEDIA_FEATURES = {"image": datasets.Image, "audio": datasets.Audio}


def with_media(source: Source, folder: Path) -> Source:
    """Return a source of tables that opens the files which its columns name; the same source where none does.

    Args:
        source: the tables.
        folder: where they lie. Paths are looked for below it, then below the working directory.
    """
    opened = MediaColumns(source, folder)
    return opened if opened.kinds else source


def is_url(value: str) -> bool:
    """Tell whether a text is the address of a file on the network."""
    return value.startswith(("http://", "https://"))


def kind_of_name(value: str) -> str | None:
    """Tell by its suffix whether a path or URL names an image or a sound."""
    path = value.split("?")[0].split("#")[0] if is_url(value) else value
    return KIND_OF.get(os.path.splitext(path)[1].lower())


@dataclass(frozen=True)
class MediaColumns:
    """Reads tables whose columns name files; implements `Source`."""

    tables: Source
    folder: Path

    @property
    def splits(self) -> tuple[str, ...]:
        """Name the splits of the tables."""
        return self.tables.splits

    @property
    def options(self) -> ReadingOptions:
        """Return the options of the tables."""
        return self.tables.options

    @property
    def location(self) -> str:
        """Return what decides which file a path means."""
        return f"{os.path.abspath(self.folder)}|{os.getcwd()}"

    @cached_property
    def kinds(self) -> Mapping[str, str]:
        """Find the columns of paths and say them: column -> "image" or "audio"."""
        first = "train" if "train" in self.splits else self.splits[0]
        piece = next(iter(self.tables.pieces(first, ROWS_LOOKED_AT)), None)
        if piece is None:
            return {}
        kinds = {}
        for name in piece.table.column_names:
            arrow_type = piece.table.schema.field(name).type
            if not (pyarrow.types.is_string(arrow_type) or pyarrow.types.is_large_string(arrow_type)):
                continue
            values = [value for value in piece.table.column(name)[:ROWS_LOOKED_AT].to_pylist() if value]
            named = [kind_of_name(value) for value in values]
            for kind in MEDIA_FEATURES:
                matching = [value for value, one in zip(values, named, strict=True) if one == kind]
                if not matching or len(matching) < NEARLY_ALL * len(values):
                    continue
                if any(is_url(value) or os.path.isfile(self.resolve(value)) for value in matching):
                    kinds[name] = kind
        return kinds

    @property
    def features(self) -> Mapping[str, Any]:
        """Return the types of the tables' columns, and of those that name files."""
        return {**self.tables.features, **{name: MEDIA_FEATURES[kind]() for name, kind in self.kinds.items()}}

    def resolve(self, value: str) -> str:
        """Return the file that a path means: below the table's folder, else below the working directory."""
        for base in (self.folder, Path.cwd()):
            path = os.path.abspath(os.path.join(base, os.path.expanduser(value)))
            if os.path.exists(path):
                return path
        return os.path.abspath(os.path.join(self.folder, value))

    def resolve_all(self, values: list[str | None]) -> list[str | None]:
        """Return the files that paths and URLs mean. Raises HubmodelsError for URLs where they are not asked for."""
        urls = [value for value in values if value and is_url(value)]
        if urls and not self.options.allow_urls:
            raise HubmodelsError(
                f"the rows name files of the network ({urls[0][:100]}): download them first, or allow it with "
                "--allow_urls"
            )
        local = download_all(urls)
        return [None if not value else local[value] if is_url(value) else self.resolve(value) for value in values]

    def _say(self) -> None:
        """Say which columns name files."""
        for name, kind in self.kinds.items():
            words = f"Column {name!r} names files: each row has the {'image' if kind == 'image' else 'sound'} there."
            note("columns", words, column=name, kind=f"{kind} files")

    def pieces(self, split: str, rows_per_piece: int) -> Iterator[Piece]:
        """Read the rows, with the files that they name beside the paths."""
        self._say()
        for piece in self.tables.pieces(split, rows_per_piece):
            columns = {}
            for name in self.kinds:
                if name in piece.table.column_names:
                    values = self.resolve_all(piece.table.column(name).to_pylist())
                    columns[name] = stored(pyarrow.array(values, pyarrow.string()))
            yield Piece(piece.table, piece.file, piece.first_row, piece.first_line, pyarrow.table(columns))

    def content_key(self) -> str:
        """Hash what the tables hold, and the bytes of all files that they name."""
        self._say()
        paths = []
        for split in self.splits:
            for piece in self.tables.pieces(split, ROWS_AT_ONCE):
                for name in self.kinds:
                    if name in piece.table.column_names:
                        values = self.resolve_all(piece.table.column(name).to_pylist())
                        paths += [value for value in values if value]
        described = json.dumps([self.tables.content_key(), dict(self.kinds)])
        return hashlib.sha256(f"{described}{hash_files(paths)}".encode()).hexdigest()
