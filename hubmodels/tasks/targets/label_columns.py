"""Reading labels, several a row or none: their columns, their names, and 0 or 1 for each."""

from typing import TYPE_CHECKING

from ...errors import BadRow, HubmodelsError, nearest
from ..contract.columns import can_be_classes, describe_columns, existing_column, holds_lists, kind_of

if TYPE_CHECKING:
    import datasets
    import numpy as np

    from ..contract.types import RawRows


def label_columns(features: "datasets.Features", chosen: str | list[str] | None) -> list[str]:
    """Name the columns of the labels: the several that are `chosen`, or a chosen one of lists.

    None where the rows have one class each. Raises HubmodelsError for columns that cannot hold labels."""
    names = [chosen] if isinstance(chosen, str) else list(dict.fromkeys(chosen or []))
    for name in names:
        existing_column(name, features, "label_column_name")
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


def label_names(train: "datasets.Dataset", columns: list[str]) -> list[str]:
    """Name the labels in the order of their numbers: the columns, or what the lists of the training rows hold."""
    import datasets

    if len(columns) > 1:
        return list(columns)
    (column,) = columns
    element = train.features[column].feature
    if isinstance(element, datasets.ClassLabel):
        names = list(element.names)
    else:
        batches = train.select_columns([column]).iter(batch_size=1000)
        values = {value for rows in batches for labels in rows[column] for value in labels or []}
        names = [str(value) for value in sorted(values - {None})]
    if len(names) < 2:
        raise HubmodelsError(f"the lists of column {column!r} hold {len(names)} label(s); at least 2 are needed")
    return names


def label_matrix(
    rows: "RawRows", row_numbers: list[int], columns: list[str], features: "datasets.Features", names: list[str]
) -> "np.ndarray":
    """Return 0 or 1 for each of the model's labels, (B, K) float32.

    Raises:
        HubmodelsError: a row holds no list, something else than 0 or 1, or a label that the model does not know.
    """
    if len(columns) > 1:
        return matrix_of_columns(rows, row_numbers, columns, names)
    return matrix_of_lists(rows, row_numbers, columns[0], features[columns[0]].feature, names)


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
                    f"it holds {value!r}, not 0 or 1; one of several label columns says with 0 or 1 whether a row has "
                    "its label",
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
            raise BadRow(row_numbers[row], column, "there is no list of labels; drop such rows")
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
