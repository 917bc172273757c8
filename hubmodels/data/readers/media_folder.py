"""Folders of images or of sounds: a row is a file, its class the folder that it lies in, more of it in tables."""

import dataclasses
import functools
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import pyarrow

from ...recipe import ReadingOptions
from ...report import Note, collect_notes, note
from .media_files import Listing, hash_files, list_folder, media_kind, say_unread
from .media_labels import label_columns, label_files
from .media_splits import folder_classes, say_classes, split_files
from .pieces import Piece

STORAGE = pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()})  # of `Image` and `Audio`, undecoded
MOST_SHARDS = 64  # of a split's stream
SHARD_FILES = 32  # at least, but of the last


@dataclass(frozen=True)
class Contents:
    """Holds what a folder was found to be: its splits, the class of each file, the columns that tables give."""

    kind: str  # "image" or "audio", the name of the column of files
    splits: Mapping[str, list[str]]  # split -> files, sorted
    classes: Mapping[str, str] | None  # file -> class
    columns: Mapping[str, Mapping[str, pyarrow.Array]]  # split -> column -> values in the order of its files
    read: list[str]  # all files that are read, for the key of the content
    notes: list[Note]


@dataclass(frozen=True)
class MediaFolder:
    """Reads a folder of images or sounds; implements `Source`.

    A row has `image` or `audio`, and `file_name`, the path below the folder. Where folders name classes it has
    `label`. Tables and files beside the images or sounds give it their columns.

    Args:
        folder: the folder; nothing outside of it is read.
        options: how tables in it are read.
        listed: read all files in the order of their names, without splits and classes: what `predict` does.
        name: what a person calls the folder, where that is not its own name: of an archive that was unpacked.
    """

    folder: Path
    options: ReadingOptions
    listed: bool = False
    name: str = ""

    def for_prediction(self) -> "MediaFolder":
        """Return the same folder as a list of files, whatever its folders are called."""
        return dataclasses.replace(self, listed=True)

    @functools.cached_property
    def contents(self) -> Contents:
        """List the folder and find out what it is. Raises HubmodelsError where it holds no files of one kind."""
        with collect_notes() as notes:
            listing = list_folder(self.folder)
            kind = media_kind(listing, self.folder)
            say_unread(listing, kind)
            splits, classes = self._arrange(listing, listing.media[kind])
            used = (kind, "file_name")
            columns = {
                split: label_columns(self.folder, listing, files, self.options, used) for split, files in splits.items()
            }
            given = {name for of_split in columns.values() for name in of_split}
            if classes and "label" in given:
                note("columns", "The column 'label' is the tables', not the names of the folders.", surprising=True)
                classes = None
        read = [name for files in splits.values() for name in files]
        return Contents(kind, splits, classes, columns, [*read, *label_files(listing, read)], notes)

    def _arrange(self, listing: Listing, files: list[str]) -> tuple[dict[str, list[str]], dict[str, str] | None]:
        """Tell the splits and the class of each file."""
        if self.listed:
            return {"train": files}, None
        splits = split_files(files)
        classes = folder_classes(splits)
        if classes is None:
            return {split: some for split, (_, some) in splits.items()}, None
        say_classes(classes, splits, listing.folders)
        return {split: [name for name in some if name in classes] for split, (_, some) in splits.items()}, classes

    def _say(self) -> Contents:
        """Repeat the notes of the listing to whoever collects them now."""
        for said in self.contents.notes:
            values = dict(vars(said))
            note(values.pop("topic"), values.pop("text"), **values)
        return self.contents

    @property
    def splits(self) -> tuple[str, ...]:
        """Name the splits that hold files."""
        return tuple(split for split, files in self._say().splits.items() if files)

    @property
    def features(self) -> Mapping[str, Any]:
        """Return the type of the files' column, and the classes."""
        contents = self.contents
        media = datasets.Image() if contents.kind == "image" else datasets.Audio()
        if contents.classes is None:
            return {contents.kind: media}
        names = sorted(set(contents.classes.values()))
        return {contents.kind: media, "label": datasets.ClassLabel(names=names)}

    @property
    def location(self) -> str:
        """Return where the files lie that rows name: the same content elsewhere is other rows."""
        return os.path.abspath(self.folder)

    def content_key(self) -> str:
        """Hash names and bytes of all files that are read, and what was made of their names."""
        contents = self._say()
        paths = [os.path.join(self.folder, name) for name in contents.read]
        described = json.dumps([contents.read, contents.splits, contents.classes], ensure_ascii=True)
        return hashlib.sha256(f"{described}{hash_files(paths)}".encode()).hexdigest()

    def pieces(self, split: str, rows_per_piece: int) -> Iterator[Piece]:
        """Give the files of a split, sorted by name."""
        self._say()
        yield from self._pieces(split, slice(None), self.shown, rows_per_piece)

    @property
    def files(self) -> Mapping[str, list[str]]:
        """Name the shards of each split's stream: each has files from everywhere, and so of all classes."""
        splits = self.contents.splits
        counts = {split: min(MOST_SHARDS, -(-len(files) // SHARD_FILES)) for split, files in splits.items()}
        return {
            split: [f"{self.shown}, shard {number + 1} of {count}" for number in range(count)]
            for split, count in counts.items()
        }

    def file_pieces(self, split: str, number: int, rows_per_piece: int) -> Iterator[Piece]:
        """Give the files of one shard of a split's stream."""
        shards = self.files[split]
        yield from self._pieces(split, slice(number, None, len(shards)), shards[number], rows_per_piece)

    @property
    def shown(self) -> str:
        """Name the folder as a person does."""
        return self.name or self.folder.name or os.fspath(self.folder)

    def _pieces(self, split: str, chosen: slice, shown: str, rows_per_piece: int) -> Iterator[Piece]:
        """Give some files of a split."""
        contents = self.contents
        files = contents.splits[split][chosen]
        positions = pyarrow.array(range(len(contents.splits[split]))[chosen], pyarrow.int64())
        names = [] if contents.classes is None else sorted(set(contents.classes.values()))
        numbers = {name: number for number, name in enumerate(names)}
        for start in range(0, len(files), rows_per_piece):
            some = files[start : start + rows_per_piece]
            paths = pyarrow.array([os.path.join(self.location, name) for name in some], pyarrow.string())
            columns: dict[str, Any] = {contents.kind: paths if self.listed else stored(paths)}
            if contents.classes is not None:
                columns["label"] = pyarrow.array([numbers[contents.classes[name]] for name in some], pyarrow.int64())
            columns["file_name"] = pyarrow.array(some, pyarrow.string())
            for name, values in contents.columns[split].items():
                columns[name] = values.take(positions.slice(start, len(some)))
            yield Piece(pyarrow.table(columns), shown, start)


def stored(paths: pyarrow.Array) -> pyarrow.Array:
    """Return paths as columns of `Image` and `Audio` store files that are not decoded."""
    return pyarrow.StructArray.from_arrays(
        [pyarrow.nulls(len(paths), pyarrow.binary()), paths], names=["bytes", "path"], mask=paths.is_null()
    )
