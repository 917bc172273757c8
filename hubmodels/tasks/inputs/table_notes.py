"""Which columns of a table tell nothing that holds for new rows, and what is said of each column."""

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ...report import note
from ..contract.columns import class_text, kind_of

if TYPE_CHECKING:
    import datasets

INDEX_NAME = re.compile(r"(Unnamed: \d+|__index_level_\d+__|)")  # under which pandas writes the index of a frame
ID_NAME = re.compile(r"((^|[_\W])(id|ids|idx|index|uuid|guid|rowid|row|key)$)|([_\W](no|nr)$)", re.I)
CAMEL_ID = re.compile(r"(^|[a-z])(Id|ID)$")
HEAD_ROWS = 100
FEWEST_ROWS = 20  # from which all different whole numbers under such a name are an identifier
LEFT_OUT_KINDS = ("text", "identifier")  # of `column_kinds`


def columns_to_leave_out(
    train: "datasets.Dataset", columns: list[str], column_kinds: Mapping[str, str]
) -> dict[str, str]:
    """Name the columns to predict from that no new row tells anything by, with the reason of each.

    Args:
        train: the selected training rows, the targets among them.
        columns: those to predict from.
        column_kinds: what a person says that columns are, which wins.
    """
    chosen = set(columns)
    targets = [name for name in train.column_names if name not in chosen]
    features, head = train.features, train.select(range(min(HEAD_ROWS, len(train))))[:]
    reasons: dict[str, str] = {}
    for name in columns:
        said = column_kinds.get(name)
        if said in LEFT_OUT_KINDS:
            reasons[name] = f"{said}, as column_kinds says"
        elif said is not None:
            continue
        elif twin := next((target for target in targets if is_copy(train, head, name, target)), None):
            reasons[name] = f"a copy of the target {twin!r}"
        elif INDEX_NAME.fullmatch(name) and counts_rows(train, name, features[name]):
            reasons[name] = "the file's row index"
        elif (ID_NAME.search(name) or CAMEL_ID.search(name)) and counts_rows(train, name, features[name]):
            reasons[name] = f"an identifier: {len(train):,} different whole numbers in {len(train):,} rows"
    return reasons


def counts_rows(train: "datasets.Dataset", name: str, feature: Any) -> bool:
    """Tell whether a column holds another whole number in each row."""
    if not kind_of(feature).startswith(("int", "uint")) or len(train) < FEWEST_ROWS:
        return False
    values = train.select_columns([name]).with_format("arrow")[:].column(name)
    return values.null_count == 0 and len(values.unique()) == len(values)


def is_copy(train: "datasets.Dataset", head: Mapping[str, list], name: str, target: str) -> bool:
    """Tell whether two columns hold the same in every row; the first rows, `head`, tell most apart."""
    return same_values(head[name], head[target]) and same_values(*train.select_columns([name, target])[:].values())


def same_values(values: list, others: list) -> bool:
    """Tell whether two columns hold the same single values."""
    return all(
        isinstance(value, str | int | float | bool | None) and texts(value) == texts(other)
        for value, other in zip(values, others, strict=True)
    )


def texts(value: Any) -> str | None:
    """Return a value as text, lists too."""
    return str(value) if isinstance(value, list | dict) else class_text(value)


def say_columns(processor: Any) -> None:
    """Say of each column what a table's processor takes it for and why, as `report.note`."""
    for name, kind, words, surprising in described_columns(processor):
        remedy = None
        if surprising:
            remedy = f"column_kinds: {{{name or repr(name)}: category}}"
        note("columns", f"column {name!r}: {words}", column=name, kind=kind, surprising=surprising, remedy=remedy)


def say_blanks(rows: "datasets.Dataset", names: list[str]) -> None:
    """Say of categories which have blanks around values, which do not count, and empty texts, which are gaps."""
    import pyarrow.compute as compute

    for name in names:
        if kind_of(rows.features[name]) not in ("string", "large_string"):
            continue
        values = rows.select_columns([name]).with_format("arrow")[:].column(name)
        trimmed = compute.utf8_trim_whitespace(values)
        around = compute.and_(compute.not_equal(values, trimmed), compute.not_equal(trimmed, ""))
        if count := compute.sum(around).as_py() or 0:
            note(
                "columns",
                f"column {name!r}: blanks around {count:,} of {len(values):,} values do not count",
                surprising=len(trimmed.unique()) < len(values.unique()),
            )


def described_columns(processor: Any) -> Iterator[tuple[str, str, str, bool]]:
    """Give each column's name, kind, the words for it, and whether these surprise."""
    for column in processor.columns:
        gaps = ", with gaps" if column.get("has_missing") else ""
        if column["kind"] == "category":
            words = f"a category of {len([value for value in column['values'] if value is not None]):,} values"
            words += ", and rare ones" if column["has_rare"] else ""
            words += ", with gaps" if None in column["values"] else ""
        elif column["kind"] == "date":
            words = f"a date, as time passed{''.join(f', {part}' for part in column['parts'])}{gaps}"
        elif quantiles := column.get("quantiles"):
            words = f"a number, {quantiles[0]:g} to {quantiles[-1]:g}{gaps}"
        else:
            words = "a number of one value, with gaps: whether it is there"
        yield column["name"], column["kind"], words, False
    for name, reason in processor.dropped.items():
        expected = reason.startswith(("constant", "always missing")) or reason.endswith("column_kinds says")
        yield name, "left out", f"left out: {reason}", not expected
