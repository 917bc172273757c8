"""The check of the data before a training: copies across splits, contradictions, columns that give the target away.

It works on hashes of values as they were read, of images and sounds as they were decoded, in a time linear in the rows.
`check_splits` makes a note of each finding; with `strict_data` they end the run.
"""

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import datasets
import numpy as np
import torch
from pandas.util import hash_array

from ..errors import HubmodelsError
from ..report import note
from ..units import Units
from .check_columns import check_table, is_table
from .check_files import check_media
from .columns import Columns
from .findings import Finding
from .origins import Origin
from .row_hashes import arrow_batches, combine, hash_rows, mix

ROWS_AT_ONCE = 1_024
MOST_WORDS = 1_024  # words of 4 bytes of an encoded row that are hashed; equal hashes are then compared in full
COMMON = 10  # training rows a distinct one, on average, from which on equal rows are no copies
NUM_EXAMPLES = 3
ASCII_SIGNS = bytes(code for code in range(128) if not chr(code).isalnum())  # blanks and punctuation


@dataclass(frozen=True)
class CheckedData:
    """Holds what is checked: the splits that are in memory, selected and encoded."""

    rows: Mapping[str, datasets.Dataset]  # the columns that the task reads
    columns: Mapping[str, Any]  # the same rows, encoded
    inputs: Sequence[str]  # names of the encoded columns that the model sees
    units: Units
    origins: Mapping[str, Origin]
    read: Sequence[str] | None = None  # the raw columns that the processor reads; all but the targets when None
    group_column: str | None = None  # that kept rows together when splits were carved; the rows may lack it

    def words(self, role: str, row: int) -> str:
        """Say where a row of a split stands, by its file or by the number of its series."""
        split = self.rows[role]
        if not set(self.units.inputs) - {self.group_column} <= set(split.features):  # gathered from the rows of a file
            return f"number {row}"
        return self.origins.get(role, Origin()).words(split, row)

    def input_columns(self, role: str) -> list[str]:
        """Name the raw columns that are read, as far as the selected rows have them."""
        names = [name for name in self.rows[role].column_names if name not in self.units.targets]
        return [name for name in names if name in (self.read or ())] or names

    @functools.cached_property
    def of_media(self) -> bool:
        """Tell whether the rows are images or sounds, which are the same where they are the same decoded."""
        return any(isinstance(kind, datasets.Image | datasets.Audio) for kind in self.rows["train"].features.values())

    @functools.cached_property
    def of_texts(self) -> bool:
        """Tell whether the rows are texts."""
        features = self.rows["train"].features
        names = self.input_columns("train")
        return "input_ids" in self.inputs and all(getattr(features[name], "dtype", "") == "string" for name in names)


def check_splits(data: CheckedData, strict: bool = False) -> list[Finding]:
    """Check the splits before a training and say what was seen (`report.note`).

    Args:
        data: what is checked; nothing is, where the training rows are a stream.
        strict: whether a finding ends the run.

    Returns:
        What was seen, in the order of the checks.

    Raises:
        HubmodelsError: there is a finding and `strict`.
    """
    if "train" not in data.rows:
        return []
    hashes = hash_splits(data)
    findings = [
        *(check_copies(data, hashes) if hashes else ()),
        *check_classes(data),
        *check_table(data.rows, data.units),
        *check_media(data.rows),
    ]
    for finding in findings:
        note("check", finding.text(), surprising=True, remedy=finding.remedy)
    if strict and findings:
        more = f" (and {len(findings) - 1} more finding(s))" if len(findings) > 1 else ""
        raise HubmodelsError(f"the check of the data: {findings[0].text()}{more}; {findings[0].remedy}")
    if not findings:
        say_clean(data, copies=bool(hashes))
    return findings


def say_clean(data: CheckedData, copies: bool) -> None:
    """Say what was looked for and not there, as far as it was looked for."""
    rows = ", ".join(f"{len(split):,} {role}" for role, split in data.rows.items())
    absent = ["no row of another split in training"] if copies else []
    absent += ["no near copy (but for case, blanks and signs)"] if copies and data.of_texts else []
    absent += ["no equal inputs with different classes"] if copies and data.units.classes else []
    absent += ["no class that a split lacks"] if data.units.classes else []
    absent += ["no constant column, none that gives the target away alone"] if is_table(data.rows, data.units) else []
    absent += ["no sizes or sampling rates that tell the splits apart"] if data.of_media else []
    if absent:
        note("check", f"of {rows} rows: {', '.join(absent)}")


# Copies and contradictions


def hash_splits(data: CheckedData) -> dict[str, np.ndarray]:
    """Hash the rows of each split; nothing where equal rows are no copies: steps of a stream, few different rows."""
    if not all(isinstance(columns, Columns) for columns in data.columns.values()):
        return {}  # windows overlap by design
    hashes = {role: hash_inputs(data, role) for role in data.rows}
    if len(np.unique(hashes["train"])) * COMMON <= len(hashes["train"]):
        note("check", "the training rows repeat a few different ones: equal rows were not looked for across splits")
        return {}
    return hashes


def check_copies(data: CheckedData, hashes: Mapping[str, np.ndarray]) -> Iterator[Finding]:
    """Look for rows of the other splits that stand in training, exactly or nearly, and for contradicting classes."""
    yield from compare(data, hashes, "copies", "stand in the training rows too")
    yield from contradictions(data, hashes)
    if data.of_texts:
        near = {role: hash_texts(data.rows[role], data.input_columns(role)) for role in data.rows}
        yield from compare(data, near, "near copies", "stand in training too but for case, blanks and signs", hashes)


def compare(
    data: CheckedData,
    hashes: Mapping[str, np.ndarray],
    check: str,
    words: str,
    apart_from: Mapping[str, np.ndarray] | None = None,
) -> Iterator[Finding]:
    """Find rows of each other split whose hash a training row has too; not those that are equal `apart_from` it."""
    order = np.argsort(hashes["train"], kind="stable")
    ordered = hashes["train"][order]
    for role in (name for name in hashes if name != "train"):
        positions = np.minimum(np.searchsorted(ordered, hashes[role]), len(ordered) - 1)
        equal = (ordered[positions] == hashes[role]) & (hashes[role] != 0)
        if apart_from is not None:
            equal &= ~np.isin(apart_from[role], apart_from["train"])
        copies, originals = np.flatnonzero(equal), order[positions[equal]]
        if data.of_media:
            same = same_rows(data, role, copies, originals)
            copies, originals = copies[same], originals[same]
        if len(copies) == 0:
            continue
        examples = [
            f"{data.words(role, int(copy))} is {data.words('train', int(original))}"
            for copy, original in zip(copies[:NUM_EXAMPLES], originals[:NUM_EXAMPLES], strict=True)
        ]
        yield Finding(
            check,
            role,
            len(copies),
            f"of {len(hashes[role]):,} {role} rows {words}",
            examples,
            "leave them out of the training rows"
            + ("" if data.group_column else ", or keep what belongs together in one split with --group_column"),
        )


def contradictions(data: CheckedData, hashes: Mapping[str, np.ndarray]) -> Iterator[Finding]:
    """Find rows with equal inputs and different classes, in whatever split."""
    column = data.units.classes
    if column is None or any(column not in split.features for split in data.rows.values()):
        return
    inputs = np.concatenate([hashes[role] for role in data.rows])
    targets = np.concatenate([hash_rows(split, [column]) for split in data.rows.values()])
    distinct, first, numbers = np.unique(inputs, return_index=True, return_inverse=True)
    differs = np.zeros(len(distinct), dtype=bool)
    np.logical_or.at(differs, numbers, targets != targets[first][numbers])
    rows = np.flatnonzero(differs[numbers])
    if len(rows) == 0:
        return
    starts = np.cumsum([0, *(len(split) for split in data.rows.values())])
    roles = list(data.rows)

    def words(row: int) -> str:
        number = int(np.searchsorted(starts, row, side="right")) - 1
        return data.words(roles[number], int(row - starts[number]))

    examples = []
    for unit in np.unique(numbers[rows])[:NUM_EXAMPLES]:
        members = np.flatnonzero(numbers == unit)
        other = members[targets[members] != targets[members[0]]][0]
        examples.append(f"{words(int(members[0]))} and {words(int(other))}")
    yield Finding(
        "contradictions",
        "all",
        len(rows),
        f"rows have inputs that occur with different classes of {column!r}",
        examples,
        "decide which class is right, or add the column that tells such rows apart",
    )


def hash_inputs(data: CheckedData, role: str) -> np.ndarray:
    """Hash the rows of a split as they were read, (N,); images and sounds as they were decoded."""
    if not data.of_media:
        return hash_rows(data.rows[role], data.input_columns(role))
    columns = data.columns[role]
    hashes = [np.zeros(0, dtype=np.uint64)]
    for start in range(0, len(columns), ROWS_AT_ONCE):
        batch = columns.batch(torch.arange(start, min(start + ROWS_AT_ONCE, len(columns))))
        joined = np.zeros(len(next(iter(batch.values()))), dtype=np.uint64)
        for name in data.inputs:
            joined = combine(joined, hash_tensor(batch[name]))
        hashes.append(joined)
    return np.concatenate(hashes)


def hash_tensor(values: torch.Tensor) -> np.ndarray:
    """Hash rows of one shape, (B, ...), by at most `MOST_WORDS` words at even distances, (B,)."""
    flat = np.ascontiguousarray(values.reshape(len(values), -1).numpy()).view(np.uint8)
    if flat.shape[1] % 4:
        flat = np.pad(flat, ((0, 0), (0, -flat.shape[1] % 4)))
    words = flat.view(np.uint32)
    if words.shape[1] > MOST_WORDS:
        words = words[:, np.linspace(0, words.shape[1] - 1, MOST_WORDS).astype(np.int64)]
    factors = np.random.default_rng(0).integers(0, 2**63, words.shape[1], dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    return mix(words.astype(np.uint64) @ factors)  # multilinear hashing (Lemire and Kaser 2014)


def same_rows(data: CheckedData, role: str, copies: np.ndarray, originals: np.ndarray) -> np.ndarray:
    """Tell of each pair of a split's row and a training row whether the model sees no difference, (P,) bool."""
    same = [np.zeros(0, dtype=bool)]
    for start in range(0, len(copies), ROWS_AT_ONCE):
        stretch = slice(start, start + ROWS_AT_ONCE)
        first = data.columns[role].batch(torch.from_numpy(copies[stretch]))
        second = data.columns["train"].batch(torch.from_numpy(originals[stretch]))
        equal = [(first[name] == second[name]).reshape(len(first[name]), -1).all(dim=1) for name in data.inputs]
        same.append(torch.stack(equal).all(dim=0).numpy())
    return np.concatenate(same)


def hash_texts(rows: datasets.Dataset, names: Sequence[str]) -> np.ndarray:
    """Hash texts by their letters and digits alone, in lower case; 0 of a row that has none, (N,)."""
    hashes = [np.zeros(0, dtype=np.uint64)]
    for table in arrow_batches(rows, names):
        joined, empty = np.zeros(len(table), dtype=np.uint64), np.ones(len(table), dtype=bool)
        for column in table.columns:
            plain = [plain_text(text or "") for text in column.to_pylist()]
            joined = combine(joined, hash_array(np.array(plain, dtype=object), categorize=False))
            empty &= np.array([not text for text in plain])
        hashes.append(np.where(empty, np.uint64(0), joined))
    return np.concatenate(hashes)


def plain_text(text: str) -> bytes:
    """Return the letters and digits of a text, in lower case."""
    if text.isascii():  # ten times as fast
        return text.lower().encode().translate(None, ASCII_SIGNS)
    return "".join(filter(str.isalnum, text.casefold())).encode()


# Classes


def check_classes(data: CheckedData) -> Iterator[Finding]:
    """Look for classes that one of the splits lacks."""
    column = data.units.classes
    if column is None or any(column not in split.features for split in data.rows.values()):
        return
    counts = {role: count_classes(split, column) for role, split in data.rows.items()}
    names = list(dict.fromkeys(name for role in counts for name in counts[role]))
    if len(names) > len(data.rows["train"]) // 2:
        return  # no classes
    for role in counts:
        lacking = [name for name in names if name not in counts[role]]
        if not lacking or len(lacking) == len(names):
            continue
        examples = [
            f"{name!r} ({', '.join(f'{counts[other].get(name, 0):,} {other}' for other in counts)} rows)"
            for name in lacking[:NUM_EXAMPLES]
        ]
        what = (
            "to learn it from" if role == "train" else "to measure it by, so that means over the classes leave it out"
        )
        yield Finding(
            "classes",
            role,
            len(lacking),
            f"of {len(names):,} classes of {column!r} have no {role} row {what}",
            examples,
            "a class needs three rows to stand in all splits: add rows of it, or leave it out",
        )


def count_classes(rows: datasets.Dataset, column: str) -> dict[str, int]:
    """Count the rows of each class, by its name; rows without a class are not counted."""
    feature = rows.features[column]
    counts: dict[Any, int] = {}
    for table in arrow_batches(rows, [column]):
        for entry in table.column(0).value_counts().to_pylist():
            counts[entry["values"]] = counts.get(entry["values"], 0) + entry["counts"]
    if isinstance(feature, datasets.ClassLabel):
        return {feature.names[number]: count for number, count in counts.items() if number is not None and number >= 0}
    named: dict[str, int] = {}
    for value, count in counts.items():
        if value is not None and (name := str(value).strip()):
            named[name] = named.get(name, 0) + count
    return named
