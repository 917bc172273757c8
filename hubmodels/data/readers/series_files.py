"""Files of series to classify, as UCR and UEA archives have them: .ts, .arff, lines of text and arrays.

A row is a series (steps x channels) and its class."""

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow

from ...errors import HubmodelsError
from ...files import hash_file
from ...recipe import ReadingOptions, SeriesLayout
from .archives import table_suffix
from .pieces import Piece
from .series_arrays import ARRAY_KINDS, find_arrays, read_arrays
from .series_lines import LINE_KINDS, find_layout, read_lines

SERIES_KINDS = (".ts", ".arff")
FEWEST_STEPS = 8  # numbers of an .arff file that are the steps of a series
MISSING = ("?", "NaN", "nan", "")


@dataclass(frozen=True)
class SeriesFiles:
    """Reads files of series, one a split; implements `Source`."""

    files: Mapping[str, Path]  # split -> its file
    options: ReadingOptions
    layouts: Mapping[str, SeriesLayout] = field(default_factory=dict)  # split -> the layout of its lines or arrays

    @property
    def splits(self) -> tuple[str, ...]:
        """Name the splits."""
        return tuple(self.files)

    @property
    def features(self) -> Mapping[str, Any]:
        """Return nothing: Arrow's types say it all."""
        return {}

    def content_key(self) -> str:
        """Hash names of splits and bytes of files."""
        described = [(split, hash_file(path), self.layouts.get(split)) for split, path in self.files.items()]
        return hashlib.sha256(repr(described).encode()).hexdigest()

    def pieces(self, split: str, rows_per_piece: int) -> Iterator[Piece]:
        """Read the series of a split in order. Raises HubmodelsError naming the file and the line that is none."""
        path = self.files[split]
        series: list[list[list[float]]] = []
        labels: list[str | None] = []
        first = 0
        for one, label in self.rows(split):
            series.append(one)
            labels.append(label)
            if len(series) == rows_per_piece:
                yield series_piece(series, labels, path.name, first)
                first += len(series)
                series, labels = [], []
        if series or first == 0:
            yield series_piece(series, labels, path.name, first)

    def rows(self, split: str) -> Iterator[tuple[list[list[float]], str | None]]:
        """Read the series of a split, steps x channels, each with its class; None where the file has no classes."""
        path, layout = self.files[split], self.layouts.get(split)
        kind = table_suffix(path)[0]
        if layout is None:
            return read_series_lines(path)
        return read_arrays(path, split, layout) if kind in ARRAY_KINDS else read_lines(path, layout)


def series_piece(series: list[list[list[float]]], labels: list[str | None], file: str, first: int) -> Piece:
    """Make a piece of series (steps x channels) and their classes, where the file has any."""
    types = pyarrow.list_(pyarrow.list_(pyarrow.float64()))
    columns = {"series": pyarrow.array(series, types)}
    if any(label is not None for label in labels):
        columns["label"] = pyarrow.array(labels, pyarrow.string())
    return Piece(pyarrow.table(columns), file, first)


def read_series_lines(path: Path) -> Iterator[tuple[list[list[float]], str | None]]:
    """Read the series of a file, steps x channels, each with its class; None where the file has no classes."""
    with_class, in_data = path.suffix.lower() == ".arff", False
    with path.open(encoding="utf-8-sig", errors="replace") as lines:
        for number, line in enumerate(lines, start=1):
            text = line.strip()
            if not text or text.startswith(("#", "%")):
                continue
            words = text.lower().split()
            if not in_data and text.startswith("@"):
                in_data = words[0] == "@data"
                if words[0] in ("@classlabel", "@targetlabel"):
                    with_class = words[-1] != "false" and len(words) > 1 and words[1] == "true"
                if words[:2] == ["@timestamps", "true"]:
                    raise HubmodelsError(
                        f"{path.name} gives each value a time (@timeStamps true): give a long table, a row a step"
                    )
                continue
            if not in_data:
                raise HubmodelsError(f"{path.name}, line {number}: no @data before the first series")
            split = split_arff if path.suffix.lower() == ".arff" else split_ts
            channels, label = split(text, with_class)
            try:
                values = [[float("nan") if word in MISSING else float(word) for word in words] for words in channels]
            except ValueError as error:
                raise HubmodelsError(f"{path.name}, line {number} holds no series: {error}") from None
            length = max(map(len, values))
            padded = [channel + [float("nan")] * (length - len(channel)) for channel in values]
            yield [list(step) for step in zip(*padded, strict=True)], label


def split_ts(line: str, with_class: bool) -> tuple[list[list[str]], str | None]:
    """Split a line of a .ts file: channels behind colons, the class last."""
    dimensions = line.split(":")
    label = dimensions.pop().strip() if with_class else None
    return [[word.strip() for word in dimension.split(",")] for dimension in dimensions], label


def split_arff(line: str, with_class: bool) -> tuple[list[list[str]], str | None]:
    r"""Split a line of an .arff file: values and the class behind commas; several channels in quotes, with \n."""
    line = line.strip()
    if line[0] in "'\"":
        inner, _, rest = line[1:].rpartition(line[0])
        return [[word.strip() for word in one.split(",")] for one in inner.split("\\n")], rest.strip(" ,'\"") or None
    words = [word.strip().strip("'\"") for word in line.split(",")]
    label = words.pop() if with_class else None
    return [words], label


def holds_series(path: Path) -> bool:
    """Tell whether an .arff file has attributes of steps: a relation of them, or many numbers and at most a class."""
    if path.suffix.lower() != ".arff":
        return True
    numbers = others = 0
    with path.open(encoding="utf-8-sig", errors="replace") as lines:
        for line in lines:
            words = line.lower().split()
            if words[:1] == ["@data"]:
                break
            if words[:1] == ["@attribute"]:
                if words[-1] == "relational":
                    return True
                number = words[-1] in ("numeric", "real", "integer")
                numbers, others = numbers + number, others + (not number)
    return numbers >= FEWEST_STEPS and others <= 1


def open_series(path: Path, options: ReadingOptions, remembered: bool = False) -> SeriesFiles | None:
    """Open a file of series, or a folder of a _TRAIN and a _TEST file; None for what is neither.

    An .arff file of attributes that are no series is none, nor are lines of text and arrays that are a table.

    Args:
        path: a file or a folder.
        options: how to read it.
        remembered: the options are those of the training's files, and these may differ.

    Raises:
        HubmodelsError: the file is not laid out as the options say.
    """
    if options.series_layout == "table":
        return None
    if path.is_file():
        kind = table_suffix(path)[0]
        if kind in SERIES_KINDS and path.suffix.lower() == kind:
            return SeriesFiles({"train": path}, options) if holds_series(path) else None
        if kind in ARRAY_KINDS:
            splits = find_arrays(path, options, remembered)
            return laid_out(dict.fromkeys(splits, path), splits, options)
        if kind in LINE_KINDS and (layout := find_layout(path, options, remembered)) is not None:
            return laid_out({"train": path}, {"train": layout}, options)
        return None
    if not path.is_dir():
        return None
    for kind in (*SERIES_KINDS, *LINE_KINDS):
        files = {
            split: sorted(one for one in path.iterdir() if one.is_file() and is_split(one.name, split, kind))
            for split in ("train", "test")
        }
        if len(files["train"]) == 1 and len(files["test"]) <= 1:
            of_splits = {split: paths[0] for split, paths in files.items() if paths}
            if kind in SERIES_KINDS:
                return SeriesFiles(of_splits, options)
            layouts = {split: find_layout(file, options, remembered) for split, file in of_splits.items()}
            known = {split: layout for split, layout in layouts.items() if layout is not None}
            if len(known) == len(layouts):
                return laid_out(of_splits, known, options)
    return None


def is_split(name: str, split: str, kind: str) -> bool:
    """Tell whether a file's name says a split as the archive's do: X_TRAIN.tsv; of .ts and .arff in any case."""
    ending = f"_{split.upper()}"
    if kind in SERIES_KINDS:
        return name.lower().endswith(f"{ending.lower()}{kind}")
    return name.endswith(ending + kind) or (kind != "" and name.endswith(ending + kind.upper()))


def laid_out(
    files: Mapping[str, Path], layouts: Mapping[str, SeriesLayout], options: ReadingOptions
) -> SeriesFiles | None:
    """Make what reads files of these layouts; None where there are none. The first layout is kept for new files."""
    if not layouts:
        return None
    return SeriesFiles(files, dataclasses.replace(options, series_layout=next(iter(layouts.values()))), layouts)
