"""Columns of text: finding them by type and name, and refusing rows without a text."""

from typing import TYPE_CHECKING, Any

from ...errors import BadRow, HubmodelsError
from ..contract.columns import choose_column, describe_columns, existing_column, kind_of

if TYPE_CHECKING:
    from collections.abc import Mapping

TEXT_NAMES = ("text", "sentence", "content", "document", "review", "tweet", "question", "premise", "sentence1", "line")
TEXT_TYPES = ("string", "large_string")


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


def check_texts(values: list[Any], row_numbers: list[int], column: str, empty: bool = False) -> None:
    """Refuse a row without text, by BadRow naming the first; and, unless `empty` may be, with white space."""
    for value, number in zip(values, row_numbers, strict=True):
        if not isinstance(value, str):
            raise BadRow(number, column, f"there is no text (it holds {value!r}); drop such rows")
        if not empty and not value.strip():
            raise BadRow(number, column, "the text is empty; drop such rows")
