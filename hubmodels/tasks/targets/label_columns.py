"""Reading labels, several a row or none: their columns, their names, and 0 or 1 for each."""

from typing import TYPE_CHECKING

from ...errors import BadRow, HubmodelsError, nearest
from ...report import note
from ..contract.columns import (
    LABEL_NAMES,
    can_be_classes,
    describe_columns,
    existing_column,
    holds_lists,
    kind_of,
    label_column,
)

if TYPE_CHECKING:
    import datasets
    import numpy as np

    from ..contract.types import RawRows


def label_columns(
    features: "datasets.Features", chosen: str | list[str] | None, separator: str | None = None
) -> list[str]:
    """Name the columns of the labels: the several that are `chosen`, or one of lists, or of text with a separator.

    Where none is chosen, the only column of lists of classes with a usual name holds labels, if none holds classes.
    None where the rows have one class each. Raises HubmodelsError for columns that cannot hold labels."""
    names = [chosen] if isinstance(chosen, str) else list(dict.fromkeys(chosen or []))
    if not names:
        names = usual_lists(features)
    for name in names:
        existing_column(name, features, "label_column_name")
    if separator is not None:
        if not separator:
            raise HubmodelsError("label_separator is empty: give what stands between two labels, such as ;")
        names = names or [label_column(features, None)]
        if len(names) > 1 or kind_of(features[names[0]]) not in ("string", "large_string"):
            raise HubmodelsError(
                f"label_separator {separator!r} divides the text of one column; {', '.join(map(repr, names))} "
                "is none: leave it out, or choose another --label_column_name"
            )
        return names
    if len(names) > 1:
        for name in names:
            if not kind_of(features[name]).startswith(("bool", "int", "uint", "float", "classes")):
                raise HubmodelsError(
                    f"column {name!r} holds {kind_of(features[name])}, not 0 or 1; of several label columns each says "
                    "with 0 or 1 whether a row has its label (--label_column_name)"
                )
        return names
    if len(names) == 1 and holds_lists(features[names[0]]):
        feature = features[names[0]]
        fixed = getattr(feature, "length", -1) >= 0  # a LargeList has no length
        if fixed or not can_be_classes(feature.feature):
            raise HubmodelsError(
                f"column {names[0]!r} holds lists of {kind_of(feature.feature)}{' of fixed length' if fixed else ''}; "
                f"several labels a row are lists of their names, or several columns of 0 and 1; columns are "
                f"{describe_columns(features)}"
            )
        return names
    return []


def usual_lists(features: "datasets.Features") -> list[str]:
    """Name the only column of lists of classes with a usual name, where no column holds classes."""
    import datasets

    if any(isinstance(kind, datasets.ClassLabel) for kind in features.values()):
        return []
    usual = [name for name in features if name.lower() in LABEL_NAMES]
    lists = [name for name in usual if holds_lists(features[name]) and can_be_classes(features[name].feature)]
    return lists if len(usual) == len(lists) == 1 else []


def split_labels(text: str | None, separator: str) -> list[str]:
    """Divide a text into labels, without blanks around them; none of an empty one."""
    return [label for label in map(str.strip, (text or "").split(separator)) if label]


def label_names(train: "datasets.Dataset", columns: list[str], separator: str | None = None) -> list[str]:
    """Name the labels in the order of their numbers: the columns, or what the lists of the training rows hold."""
    import datasets

    if len(columns) > 1:
        return list(columns)
    (column,) = columns
    batches = train.select_columns([column]).iter(batch_size=1000)
    if separator is not None:
        texts = (text for rows in batches for text in rows[column])
        names = sorted({label for text in texts for label in split_labels(text, separator)})
    elif isinstance(element := train.features[column].feature, datasets.ClassLabel):
        names = list(element.names)
    else:
        values = {value for rows in batches for labels in rows[column] for value in labels or []}
        names = [str(value) for value in sorted(values - {None})]
    if len(names) < 2:
        raise HubmodelsError(f"the lists of column {column!r} hold {len(names)} label(s); at least 2 are needed")
    return names


def check_labels(train: "datasets.Dataset", columns: list[str], names: list[str], separator: str | None) -> None:
    """Refuse labels that tell nothing, each of all training rows or of none; note those that do among others."""
    import numpy as np

    counts, start = np.zeros(len(names)), 0
    none = 0
    for rows in train.select_columns(columns).iter(batch_size=1000):
        numbers = list(range(start, start + len(rows[columns[0]])))
        matrix = label_matrix(rows, numbers, columns, train.features, names, separator)
        counts, start = counts + matrix.sum(axis=0), start + len(matrix)
        none += int((matrix.sum(axis=1) == 0).sum())
    constant = {name: count for name, count in zip(names, counts.tolist(), strict=True) if count in (0, start)}
    if len(constant) == len(names):
        raise HubmodelsError(
            f"each of the labels {', '.join(map(repr, names[:12]))} has one value in all {start:,} training rows: "
            "there is nothing to learn; choose another --label_column_name"
        )
    for name, count in constant.items():
        note(
            "columns",
            f"label {name!r} is true of {'all' if count else 'none'} of the {start:,} training rows: the model cannot "
            "learn when it is not"
            if count
            else f"label {name!r} is true of none of the {start:,} training rows",
            surprising=True,
        )
    note("columns", f"a row has several labels of {len(names)}, {counts.sum() / start:.3g} on average; {none:,} of "
         f"{start:,} training rows have none", remedy="label_column_name: one column of classes")  # fmt: skip


def label_matrix(
    rows: "RawRows",
    row_numbers: list[int],
    columns: list[str],
    features: "datasets.Features",
    names: list[str],
    separator: str | None = None,
) -> "np.ndarray":
    """Return 0 or 1 for each of the model's labels, (B, K) float32.

    Raises:
        BadRow: a row holds no list, something else than 0 or 1, or a label that the model does not know.
        HubmodelsError: there is no column for a label of the model.
    """
    if len(columns) > 1:
        return matrix_of_columns(rows, row_numbers, columns, names)
    (column,) = columns
    if separator is not None:
        lists = [split_labels(text, separator) for text in rows[column]]
        return matrix_of_lists({column: lists}, row_numbers, column, None, names)
    return matrix_of_lists(rows, row_numbers, column, features[column].feature, names)


def matrix_of_columns(rows: "RawRows", row_numbers: list[int], columns: list[str], names: list[str]) -> "np.ndarray":
    """Return the matrix of labels that have a column of 0 and 1 each."""
    import numpy as np

    if missing := [name for name in names if name not in columns]:
        raise HubmodelsError(f"there is no column for the model's label {missing[0]!r} (--label_column_name)")
    matrix = np.empty((len(row_numbers), len(names)), dtype=np.float32)
    for label, name in enumerate(names):
        for row, value in enumerate(rows[name]):
            if value not in (0, 1):  # True and False are 1 and 0
                raise BadRow(
                    row_numbers[row],
                    name,
                    f"{value!r} is not 0 or 1; one of several label columns says with 0 or 1 whether a row has its "
                    "label",
                )
            matrix[row, label] = value
    return matrix


def matrix_of_lists(
    rows: "RawRows", row_numbers: list[int], column: str, element: object, names: list[str]
) -> "np.ndarray":
    """Return the matrix of labels that stand in lists of names, or of numbers of classes."""
    import datasets
    import numpy as np

    numbers = {name: index for index, name in enumerate(names)}
    words = element.names if isinstance(element, datasets.ClassLabel) else None
    matrix = np.zeros((len(row_numbers), len(names)), dtype=np.float32)
    for row, values in enumerate(rows[column]):
        if values is None:
            raise BadRow(row_numbers[row], column, "the row has no list of labels; drop such rows")
        for value in values:
            name = str(value) if words is None or value is None else words[value]
            if name not in numbers:
                raise BadRow(
                    row_numbers[row],
                    column,
                    f"unknown label {name!r}{nearest(name, names)}; the model's {len(names)} labels are "
                    f"{', '.join(names[:12])}{', ...' * (len(names) > 12)}",
                )
            matrix[row, numbers[name]] = 1
    return matrix
