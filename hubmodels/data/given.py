"""What a person gives to be predicted: files of rows, folders, single pictures and sounds, texts, addresses."""

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow

from ..errors import HubmodelsError, nearest, one_line
from .readers import Piece, open_source
from .readers.downloads import download
from .readers.media_columns import is_url
from .readers.media_files import KIND_OF, list_folder
from .reading import Reading, ReadPiece

TEXT_KINDS = (".txt", ".text", ".md")
WORDS = {"image": "images", "audio": "sounds", "text": "texts", None: "rows of tables"}


@dataclass(frozen=True)
class Given:
    """Reads what a person gives, in its order, for a model that reads `single` things in one of its `columns`.

    Args:
        reading: how the files of the training were read.
        single: "image", "audio" or "text" where a row is one of these; None where a row is one of a table.
        columns: the names of the column that the model reads, the preferred one first.
        named: the column of a table that a person named for it; None to find it by its name, or by what it holds.
    """

    reading: Reading
    single: str | None
    columns: Sequence[str]
    named: str | None = None

    def pieces(self, inputs: Sequence[str], rows_per_piece: int) -> Iterator[ReadPiece]:
        """Read all that is given, in pieces.

        Raises HubmodelsError for what is not there, or of a kind that the model does not read."""
        singles: list[tuple[str, str]] = []  # value and name of things that follow each other
        for given in inputs:
            things = self._singles(given)
            singles += things or []
            while singles and (things is None or len(singles) >= rows_per_piece):
                yield self._rows(singles[:rows_per_piece])
                del singles[:rows_per_piece]
            if things is None:
                for piece in self.reading.pieces(given, rows_per_piece):
                    renamed = self._renamed(piece.piece)
                    yield ReadPiece(renamed, piece.kinds, self._read_as(renamed))
        if singles:
            yield self._rows(singles)

    def _singles(self, given: str) -> list[tuple[str, str]] | None:
        """Return the single things that a word means, value and name; None where it is a file or folder of rows."""
        if is_url(given) and not os.path.exists(given):
            return [(self._fetch(given), given)]
        path = Path(given)
        kind = KIND_OF.get(path.suffix.lower())
        if path.is_dir():
            texts = self.single == "text" and open_source(path, self.reading.options) is None
            return self._texts_of(path) if texts else None
        if given == "-" or not path.exists():
            literal = self.single == "text" and given != "-" and not looks_like_path(given)
            return [(given, "")] if literal else None
        if kind is not None and kind != self.single:
            raise HubmodelsError(f"{given} is of {WORDS[kind]}, but the model reads {WORDS[self.single]}")
        if self.single == "text" and path.suffix.lower() in TEXT_KINDS and self.reading.options.sample_by is None:
            return [(self._text(path), given)]
        is_media = self.single in ("image", "audio")
        if is_media and (kind is not None or open_source(path, self.reading.options) is None):
            return [(given, given)]
        return None

    def _fetch(self, url: str) -> str:
        """Download a picture or a sound, where that is allowed, and return its path."""
        if self.single not in ("image", "audio"):
            raise HubmodelsError(f"{url} is an address, but the model reads {WORDS[self.single]}: download it first")
        if not self.reading.options.allow_urls:
            raise HubmodelsError(f"{url} lies in the network: download it first, or allow it with --allow_urls")
        try:
            return download(url)
        except (OSError, ValueError) as error:
            return f"{url.replace('://', ':')} ({one_line(error, 150)})"  # nothing lies there: the row says so

    def _text(self, path: Path) -> str:
        """Read a file as one text. Raises HubmodelsError for other bytes than text."""
        encoding = self.reading.options.encoding or "utf-8-sig"
        try:
            return path.read_text(encoding=encoding)
        except (OSError, ValueError, LookupError) as error:
            raise HubmodelsError(f"cannot read {path} as text: {one_line(error, 150)} (--encoding)") from None

    def _texts_of(self, folder: Path) -> list[tuple[str, str]]:
        """Read the texts of a folder, a file a text. Raises HubmodelsError where there are none."""
        list_folder(folder)  # refuses parts of the running system
        names = sorted(
            file.relative_to(folder).as_posix()
            for file in folder.rglob("*")
            if file.suffix.lower() in TEXT_KINDS and file.is_file() and not file.name.startswith(".")
        )
        if not names:
            raise HubmodelsError(f"the folder {folder} holds no text ({', '.join(TEXT_KINDS)}) and no table")
        return [(self._text(folder / name), name) for name in names]

    def _rows(self, singles: list[tuple[str, str]]) -> ReadPiece:
        """Make rows of single things; what they are called stands beside them, unless it is a text that was typed."""
        columns = {self.columns[0]: [value for value, _ in singles]}
        if any(name for _, name in singles):
            columns["file_name"] = [name for _, name in singles]
        return ReadPiece(Piece(pyarrow.table(columns), "what was given"))

    def _renamed(self, piece: Piece) -> Piece:
        """Call the files of a folder as the model's column of them is called."""
        table, name = piece.table, self.single or ""
        if name not in table.column_names or set(self.columns) & set(table.column_names):
            return piece
        names = [self.columns[0] if column == name else column for column in table.column_names]
        return dataclasses.replace(piece, table=table.rename_columns(names))

    def _read_as(self, piece: Piece) -> Mapping[str, str]:
        """Say which column of a table is read as the model's: the named one, or the only one that names such files.

        Raises HubmodelsError where there is no column of the name that was given, or several that could be meant."""
        names = piece.table.column_names
        if self.named is not None:
            if self.named not in names:
                hint = nearest(self.named, names)
                raise HubmodelsError(f"{piece.file} has no column {self.named!r}{hint}; it has {', '.join(names)}")
            return {self.named: self.columns[0]}
        if self.single is None or piece.media is None or set(self.columns) & set(names):
            return {}
        chosen = [name for name in piece.media.column_names if piece.media_kinds.get(name) == self.single]
        if len(chosen) > 1:
            raise HubmodelsError(
                f"{piece.file} has several columns of {WORDS[self.single]}: {', '.join(chosen)}; choose one with "
                f"--{self.single}_column_name"
            )
        return {name: self.columns[0] for name in chosen}


def check_given(inputs: Sequence[str]) -> None:
    """Refuse a path at which nothing lies, by HubmodelsError, before anything is opened."""
    for given in inputs:
        if given != "-" and not is_url(given) and looks_like_path(given) and not os.path.exists(given):
            raise HubmodelsError(f"there is no file {given}")


def looks_like_path(given: str) -> bool:
    """Tell whether a word that names no file was meant to: it has a path's form, and no blank."""
    return not any(map(str.isspace, given)) and ("/" in given or "\\" in given or Path(given).suffix != "")
