"""Columns of text: finding them by type and name, rows without a text, texts of any length."""

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ...errors import BadRow, HubmodelsError
from ...report import note
from ..contract.columns import choose_column, describe_columns, existing_column, kind_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    import datasets

TEXT_NAMES = ("text", "sentence", "content", "document", "review", "tweet", "question", "premise", "sentence1", "line")
TEXT_TYPES = ("string", "large_string")
GIVE_TEXT = "give it one, or drop the row"
ROWS_AT_ONCE = 1_000
CHARACTERS_AT_ONCE = 4_000_000  # that are tokenized in one call: a token takes some 100 bytes there
LONG_TEXT = 1_000_000  # characters: a longer text is tokenized in pieces
BETWEEN_WORDS = re.compile(r"\w(?= \w)")


def text_column(features: "Mapping[str, Any]", chosen: str | None, flag: str = "text_column_name") -> str:
    """Name the column with the text: the `chosen` one, else the only one of text, else one with a usual name.

    Raises:
        HubmodelsError: there is none, there are several, or the chosen one holds no text.
    """
    if chosen is not None:
        name = existing_column(chosen, features, flag)
        if kind_of(features[name]) not in TEXT_TYPES:
            raise HubmodelsError(f"column {name!r} holds {kind_of(features[name])}, not text; choose another --{flag}")
        return name
    candidates = [name for name, feature in features.items() if kind_of(feature) in TEXT_TYPES]
    if not candidates:
        raise HubmodelsError(f"the data set has no text column; its columns are {describe_columns(features)}")
    return choose_column(candidates, TEXT_NAMES, "text", flag)


def check_texts(values: list[Any], row_numbers: list[int], column: str) -> None:
    """Refuse a row without text, by BadRow naming the first. An empty text is one."""
    for value, number in zip(values, row_numbers, strict=True):
        if not isinstance(value, str):
            raise BadRow(number, column, f"there is no text (it holds {value!r}); {GIVE_TEXT}")


def missing_texts(dataset: "datasets.Dataset", columns: list[str]) -> dict[int, str]:
    """Find the rows without a text in one of the columns, with the reason; say how many texts are empty."""
    reasons: dict[int, str] = {}
    empty, first_row = 0, 0
    for rows in dataset.select_columns(columns).iter(batch_size=ROWS_AT_ONCE):
        for column in columns:
            for row, value in enumerate(rows[column], first_row):
                if value is None:
                    reasons.setdefault(row, f"there is no text in column {column!r}")
                elif not value.strip():
                    empty += 1
        first_row += len(rows[columns[0]])
    if empty:
        words = f"{empty:,} of {first_row:,} texts are empty: the rows stay, as texts without words"
        note("rows", words, surprising=True)
    return reasons


def text_groups(texts: Sequence[str]) -> Iterator[list[str]]:
    """Group texts that follow each other, so that a group has at most `CHARACTERS_AT_ONCE` or is one text."""
    group: list[str] = []
    size = 0
    for text in texts:
        if group and size + len(text) > CHARACTERS_AT_ONCE:
            yield group
            group, size = [], 0
        group.append(text)
        size += len(text)
    if group:
        yield group


def text_pieces(text: str, size: int = LONG_TEXT) -> Iterator[str]:
    """Cut a very long text between two words, so that its pieces have the tokens of the whole, one after the other.

    Where there is no blank between words for a long way, it is cut anywhere."""
    start = 0
    while len(text) - start > size:
        blank = None
        for match in BETWEEN_WORDS.finditer(text, start + size // 2, start + size):
            blank = match
        end = start + size if blank is None else blank.start() + 1
        yield text[start:end]
        start = end
    yield text[start:] if start else text
