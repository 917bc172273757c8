"""Plain text: a row is a line with its line break, or as `sample_by` says; of folders that name classes, a file.

Line breaks of every system become "\\n". The encoding is found file by file. Memory holds a piece of `PIECE_BYTES`, or
one row where that is longer."""

import dataclasses
import functools
import hashlib
import io
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import pyarrow

from ...errors import HubmodelsError, one_line
from ...recipe import ReadingOptions
from ...report import Note, note, repeat_notes
from .archives import DAMAGED, open_bytes
from .encodings import check_encoding, scan_text
from .media_files import first_names, hash_files
from .pieces import Piece

PIECE_BYTES = 64 * 2**20  # of the texts of a piece, at most, where it has more than one row
CHUNK = 2**20  # characters that are read at once
NOTHING_SAID = "\ufffd"  # what stands for bytes that are no text of the encoding


@dataclass(frozen=True)
class TextFiles:
    """Reads files of text; implements `Source`. A row has `text`, and where files are rows `file_name` and more.

    Args:
        files: split -> paths below the folder, with `/`, in order.
        folder: where they lie.
        options: `encoding` and `sample_by`, as given and as found.
        remembered: the encoding is that of the training's files: of these it holds where their bytes agree.
        columns: split -> column -> values in the order of its files: classes, and what tables say of them.
        classes: names of the classes whose numbers the column `label` has; None where it is no column of folders.
        notes: what was decided when the folder was opened.
    """

    files: Mapping[str, list[str]]
    folder: Path
    options: ReadingOptions
    remembered: bool = False
    columns: Mapping[str, Mapping[str, pyarrow.Array]] = dataclasses.field(default_factory=dict)
    classes: tuple[str, ...] | None = None
    notes: tuple[Note, ...] = ()

    def for_prediction(self) -> "TextFiles":
        """Return the same files in one order, each row without its line break: what `predict` reads."""
        options = dataclasses.replace(self.options, sample_by=self.options.sample_by or "line")
        every = sorted(name for files in self.files.values() for name in files)
        return TextFiles({"train": every}, self.folder, options, remembered=True)

    @property
    def splits(self) -> tuple[str, ...]:
        """Name the splits that hold files."""
        return tuple(split for split, files in self.files.items() if files)

    @property
    def features(self) -> Mapping[str, Any]:
        """Return the type of the texts, and the classes."""
        features: dict[str, Any] = {"text": datasets.Value("string")}
        if self.classes is not None:
            features["label"] = datasets.ClassLabel(names=list(self.classes))
        return features

    def content_key(self) -> str:
        """Hash names and bytes of all files, and what is known of each."""
        repeat_notes(self.notes)
        names = [name for files in self.files.values() for name in files]
        columns = {
            split: {name: values.to_pylist() for name, values in some.items()} for split, some in self.columns.items()
        }
        described = repr([dict(self.files), columns, self.classes])
        content = hash_files([os.path.join(self.folder, name) for name in names])
        return hashlib.sha256(f"{described}{content}".encode(errors="surrogatepass")).hexdigest()

    def pieces(self, split: str, rows_per_piece: int) -> Iterator[Piece]:
        """Read the rows of a split in order. Raises HubmodelsError naming the file that cannot be read."""
        repeat_notes(self.notes)
        encodings: Counter[str] = Counter()
        damaged: Counter[str] = Counter()
        if self.options.sample_by == "document" or self.columns:
            yield from self._documents(split, rows_per_piece, encodings, damaged)
        else:
            for name in self.files[split]:
                yield from self._rows(name, rows_per_piece, encodings, damaged)
        say_encodings(split, encodings, damaged)

    def _documents(
        self, split: str, rows_per_piece: int, encodings: Counter[str], damaged: Counter[str]
    ) -> Iterator[Piece]:
        """Give each file as a row, or the rows of each file, with what is known of it."""
        columns = self.columns.get(split, {})
        texts: list[str] = []
        indices: list[int] = []
        num_bytes, first_row = 0, 0
        shown = self.folder.name or os.fspath(self.folder)

        def piece() -> Piece:
            table = {"text": pyarrow.array(texts, pyarrow.string())}
            rows = pyarrow.array(indices, pyarrow.int64())
            table |= {name: values.take(rows) for name, values in columns.items()}
            table["file_name"] = pyarrow.array([self.files[split][index] for index in indices], pyarrow.string())
            return Piece(pyarrow.table(table), shown, first_row)

        for index, name in enumerate(self.files[split]):
            for text in self._texts(name, encodings, damaged):
                size = len(text.encode())
                if texts and (len(texts) >= rows_per_piece or num_bytes + size > PIECE_BYTES):
                    yield piece()
                    first_row, num_bytes = first_row + len(texts), 0
                    texts.clear()
                    indices.clear()
                texts.append(text)
                indices.append(index)
                num_bytes += size
        if texts:
            yield piece()

    def _rows(self, name: str, rows_per_piece: int, encodings: Counter[str], damaged: Counter[str]) -> Iterator[Piece]:
        """Give the rows of one file."""
        first_line = 1 if self.options.sample_by in (None, "line") else None
        texts: list[str] = []
        num_bytes, first_row = 0, 0
        for text in self._texts(name, encodings, damaged):
            size = len(text) if text.isascii() else len(text.encode())
            if texts and (len(texts) >= rows_per_piece or num_bytes + size > PIECE_BYTES):
                yield Piece(text_table(texts), name, first_row, first_line)
                first_row, num_bytes, texts = first_row + len(texts), 0, []
            texts.append(text)
            num_bytes += size
        if texts:
            yield Piece(text_table(texts), name, first_row, first_line)

    def _texts(self, name: str, encodings: Counter[str], damaged: Counter[str]) -> Iterator[str]:
        """Read the texts of one file, and count its encoding and the rows with bytes that are no text."""
        path = self.folder / name
        given = check_encoding(self.options.encoding) if self.options.encoding else None
        try:
            encoding = scan_text(path, given, self.remembered).encoding
            encodings[encoding] += 1
            with io.TextIOWrapper(open_bytes(path), encoding=encoding, errors="replace") as file:
                for text in split_text(file, self.options.sample_by):
                    if NOTHING_SAID in text:
                        damaged[name] += 1
                    yield text
        except (OSError, ValueError, *DAMAGED) as error:
            raise HubmodelsError(f"cannot read {name}: {one_line(error)}") from error


def text_table(texts: list[str]) -> pyarrow.Table:
    """Make a table of texts."""
    return pyarrow.table({"text": pyarrow.array(texts, pyarrow.string())})


def split_text(file: io.TextIOBase, sample_by: str | None) -> Iterator[str]:
    """Split a file into rows: lines with their break (None) or without, paragraphs between empty lines, or the whole.

    A byte order mark at its beginning is left out."""
    lines = iter(file.readline, "")
    if sample_by in (None, "line"):
        for number, line in enumerate(lines):
            line = line.removeprefix("\ufeff") if number == 0 else line
            yield line if sample_by is None else line.rstrip("\n")
        return
    chunks = iter(functools.partial(file.read, CHUNK), "")
    if sample_by == "document":
        yield "".join(chunks).removeprefix("\ufeff")
        return
    rest, is_first = "", True
    for chunk in chunks:
        *whole, rest = (rest + (chunk.removeprefix("\ufeff") if is_first else chunk)).split("\n\n")
        is_first = False
        yield from (paragraph for paragraph in whole if paragraph)
    if rest:
        yield rest


def say_encodings(split: str, encodings: Counter[str], damaged: Counter[str]) -> None:
    """Say in which encodings files were read, and where their bytes are none of these letters."""
    if set(encodings) - {"utf-8"}:
        counts = ", ".join(f"{count:,} in {encoding}" for encoding, count in encodings.most_common())
        note("files", f"Text files of {split}: {counts}.", surprising=True, remedy="encoding: utf-8")
    if damaged:
        words = f"{sum(damaged.values()):,} rows have signs for bytes that are no text of the file's encoding: "
        note("files", words + first_names(sorted(damaged)) + ".", surprising=True, remedy="encoding: cp1252")
