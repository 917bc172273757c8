"""Columns of tables that name images or sounds by path or URL: found by what they hold, and opened beside the table."""

import dataclasses
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
from .media_folder import STORAGE, stored
from .pieces import NamesFiles, Piece, Source

ROWS_LOOKED_AT = 1_000  # of the first piece, to find columns of paths
NEARLY_ALL = 0.9  # of a column's values that end as names of files do
ROWS_AT_ONCE = 65_536
FIRST_BYTES = {
    b"\x89PNG": "image", b"\xff\xd8\xff": "image", b"GIF8": "image", b"BM": "image", b"II*\0": "image",
    b"MM\0*": "image", b"fLaC": "audio", b"OggS": "audio", b"ID3": "audio", b"\xff\xfb": "audio",
}  # fmt: skip
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


def kind_of_bytes(value: bytes) -> str | None:
    """Tell by its first bytes whether a file is an image or a sound."""
    if value[:4] in (b"RIFF", b"RIFX"):
        return {b"WEBP": "image", b"WAVE": "audio"}.get(value[8:12])
    return next((kind for start, kind in FIRST_BYTES.items() if value.startswith(start)), None)


def is_stored(kind: pyarrow.DataType) -> bool:
    """Tell whether a column has the type in which `Image` and `Audio` store files."""
    return pyarrow.types.is_struct(kind) and {kind.field(index).name for index in range(kind.num_fields)} == {
        "bytes",
        "path",
    }


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
        names = self.tables.location if isinstance(self.tables, NamesFiles) else ""
        return f"{os.path.abspath(self.folder)}|{os.getcwd()}|{names}"

    @cached_property
    def kinds(self) -> Mapping[str, str]:
        """Find the columns of paths and say them: column -> "image" or "audio"."""
        first = "train" if "train" in self.splits else self.splits[0]
        piece = next(iter(self.tables.pieces(first, ROWS_LOOKED_AT)), None)
        if piece is None:
            return {}
        kinds = {}
        for name in piece.table.column_names:
            if name not in self.tables.features and (kind := self._kind_of(piece.table.column(name)[:ROWS_LOOKED_AT])):
                kinds[name] = kind
        return kinds

    def _kind_of(self, column: pyarrow.ChunkedArray) -> str | None:
        """Tell what the files are that a column names or holds; None for a column of something else."""
        values = [value for value in column.to_pylist() if value not in (None, "", b"")]
        if pyarrow.types.is_string(column.type) or pyarrow.types.is_large_string(column.type):
            named = [kind_of_name(value) for value in values]
        elif pyarrow.types.is_binary(column.type) or pyarrow.types.is_large_binary(column.type):
            named = [kind_of_bytes(value) for value in values]
        elif is_stored(column.type):
            named = [kind_of_bytes(one["bytes"]) if one["bytes"] else kind_of_name(one["path"] or "") for one in values]
        else:
            return None
        for kind in MEDIA_FEATURES:
            matching = [value for value, one in zip(values, named, strict=True) if one == kind]
            if matching and len(matching) >= NEARLY_ALL * len(values):
                paths = [value for value in matching if isinstance(value, str)]
                if not paths or any(is_url(value) or os.path.isfile(self.resolve(value)) for value in paths):
                    return kind
        return None

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

    def _files(self, column: pyarrow.ChunkedArray) -> pyarrow.StructArray:
        """Return a column as the files that it names or holds, as `Image` and `Audio` store them."""
        if pyarrow.types.is_string(column.type) or pyarrow.types.is_large_string(column.type):
            return stored(pyarrow.array(self.resolve_all(column.to_pylist()), pyarrow.string()))
        if not is_stored(column.type):
            content = pyarrow.array(column.to_pylist(), pyarrow.binary())
            empty = pyarrow.nulls(len(content), pyarrow.string())
            return pyarrow.StructArray.from_arrays([content, empty], ["bytes", "path"], mask=content.is_null())
        values = column.to_pylist()
        outside = self.resolve_all([one["path"] if one and not one["bytes"] else None for one in values])
        rows = [
            one and {"bytes": one["bytes"], "path": path or one["path"]}
            for one, path in zip(values, outside, strict=True)
        ]
        return pyarrow.array(rows, STORAGE)

    def _say(self) -> None:
        """Say which columns name files."""
        for name, kind in self.kinds.items():
            words = f"Column {name!r} names or holds files: each row has the {'image' if kind == 'image' else 'sound'}."
            note("columns", words, column=name, kind=f"{kind} files")

    def pieces(self, split: str, rows_per_piece: int) -> Iterator[Piece]:
        """Read the rows, with the files that they name beside the paths."""
        self._say()
        for piece in self.tables.pieces(split, rows_per_piece):
            columns = {}
            for name in self.kinds:
                if name in piece.table.column_names:
                    columns[name] = self._files(piece.table.column(name))
            yield dataclasses.replace(piece, media=pyarrow.table(columns), media_kinds=self.kinds)

    def content_key(self) -> str:
        """Hash what the tables hold, and the bytes of all files that they name."""
        self._say()
        paths = []
        for split in self.splits:
            for piece in self.tables.pieces(split, ROWS_AT_ONCE):
                for name in self.kinds:
                    if name in piece.table.column_names:
                        files = self._files(piece.table.column(name)).to_pylist()
                        paths += [file["path"] for file in files if file and file["path"] and not file["bytes"]]
        described = json.dumps([self.tables.content_key(), dict(self.kinds)])
        return hashlib.sha256(f"{described}{hash_files(paths)}".encode()).hexdigest()
