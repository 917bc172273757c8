"""Finding a data set's columns, and its classes, by type and name."""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ...errors import BadRow, HubmodelsError, nearest
from ...report import note

if TYPE_CHECKING:
    import datasets
    import numpy as np

# Words that often stand for a gap. As classes they stay classes: NA is Namibia.
GAP_WORDS = (
    "?", "??", "na", "n/a", "n.a.", "#n/a", "<na>", "-", "--", ".", "nan", "nat", "null", "none", "nil", "missing",
    "unknown", "not available",
)  # fmt: skip
LABEL_NAMES = ("label", "labels", "class", "classes", "category", "target", "fine_label", "species")


def existing_column(name: str, features: "datasets.Features", flag: str) -> str:
    """Return `name` if there is such a column. Raises HubmodelsError with the nearest one and the flag that chooses."""
    if name not in features:
        raise HubmodelsError(
            f"the data set has no column {name!r}{nearest(name, features)}; "
            f"its columns are {describe_columns(features)} (--{flag})"
        )
    return name


def forget_absent_columns(options: Any, features: "datasets.Features", given: Iterable[str] = ()) -> list[str]:
    """Clear the options that name columns which other data do not have: these are found anew, and it is said.

    Args:
        options: a dataclass of options, such as a task, its input or its target.
        features: of the other data.
        given: options that a person named for these data; they stay.

    Returns:
        The names of the columns that are not there.
    """
    all_absent: list[str] = []
    for item in dataclasses.fields(options):
        value = getattr(options, item.name)
        if "_column" not in item.name or item.name in given or not isinstance(value, str | list):
            continue
        absent = [name for name in ([value] if isinstance(value, str) else value) if name not in features]
        if not absent:
            continue
        all_absent += absent
        rest = [name for name in value if name not in absent] if isinstance(value, list) else []
        setattr(options, item.name, rest or None)
        words = f"these data have no {', '.join(map(repr, absent))}, which {item.name} of the training names"
        text = f"{words}: it is found anew" if not rest else f"{words}: it is left out"
        note("columns", text, surprising=True, remedy=f"{item.name}: the name of the column")
    return all_absent


def choose_column(candidates: list[str], preferred: tuple[str, ...], what: str, flag: str) -> str:
    """Return the only candidate, or of several the first with a preferred name.

    Raises HubmodelsError if neither decides."""
    if len(candidates) == 1:
        return candidates[0]
    for name in preferred:
        for column in candidates:
            if column.lower() == name:
                return column
    raise HubmodelsError(f"the data set has several {what} columns: {', '.join(candidates)}; choose one with --{flag}")


def describe_columns(features: "datasets.Features") -> str:
    """List the columns with their types, for an error message."""
    return ", ".join(f"{name} ({kind_of(kind)})" for name, kind in features.items())


def kind_of(feature: Any) -> str:
    """Return a column's type in a word: classes, string, int64, Image, ..."""
    import datasets

    if isinstance(feature, datasets.ClassLabel):
        return "classes"
    return feature.dtype if isinstance(feature, datasets.Value) else type(feature).__name__


def is_number(feature: Any) -> bool:
    """Tell whether a column of this type holds numbers."""
    return kind_of(feature).startswith(("int", "uint", "float", "decimal", "bool"))


def can_be_classes(feature: Any) -> bool:
    """Tell whether a column of this type can hold classes: class labels, text, integers, true and false."""
    return kind_of(feature) in ("classes", "string", "large_string", "bool") or kind_of(feature).startswith(
        ("int", "uint")
    )


def holds_floats(feature: Any) -> bool:
    """Tell whether a column holds floats, which are classes where they are whole: 0.0 and 1.0 of 0 and 1 with a gap."""
    return kind_of(feature).startswith("float")


def class_text(value: Any) -> str | None:
    """Return the name of a class, None where there is none or a blank one; 1 and 1.0 are the class "1".

    Blanks around a name do not count."""
    if value is None or value != value:
        return None
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip() or None


def holds_lists(feature: Any) -> bool:
    """Tell whether a column of this type holds lists."""
    return kind_of(feature) in ("List", "LargeList", "Sequence")


def label_column(features: "datasets.Features", chosen: str | None, others: tuple[str, ...] = ()) -> str:
    """Name the column with the classes: the `chosen` one, else the only one of class labels.

    Where there is none of class labels, it is one of text or integers with a usual name.

    Raises:
        HubmodelsError: there is none, there are several, or the chosen one holds no classes.
    """
    import datasets

    if chosen is not None:
        name = existing_column(chosen, features, "label_column_name")
        if not (can_be_classes(features[name]) or holds_floats(features[name])):
            raise HubmodelsError(
                f"column {name!r} holds {kind_of(features[name])}, not classes (text, integers or class labels); "
                f"choose another --label_column_name"
            )
        return name
    candidates = [name for name, kind in features.items() if isinstance(kind, datasets.ClassLabel)]
    if not candidates:
        by_name = [name for name in features if name.lower() in LABEL_NAMES and name not in others]
        candidates = [name for name in by_name if can_be_classes(features[name]) or holds_floats(features[name])]
        if by_name and not candidates:
            raise HubmodelsError(
                f"column {by_name[0]!r} holds {kind_of(features[by_name[0]])}, not classes (text, integers or class "
                f"labels); name another column with --label_column_name"
            )
    if not candidates:
        raise HubmodelsError(
            f"the data set has no class column; its columns are {describe_columns(features)} "
            f"(name the one with the classes with --label_column_name)"
        )
    return choose_column(candidates, LABEL_NAMES, "class", "label_column_name")


def class_names(train: "datasets.Dataset", column: str) -> list[str]:
    """Name the classes of a column in the order of their numbers.

    A class column has them; else they are the distinct texts or integers of the training rows, sorted.
    Raises HubmodelsError when these are no classes."""
    import datasets

    feature = train.features[column]
    if isinstance(feature, datasets.ClassLabel):
        names = list(feature.names)
    else:
        # Dataset.unique would first copy all columns of a split that was carved.
        batches = train.select_columns([column]).iter(batch_size=1000)
        counts = Counter(value for rows in batches for value in rows[column])
        values, num_rows = {value for value in counts if class_text(value) is not None}, counts.total()
        fraction = next((value for value in values if isinstance(value, float) and not value.is_integer()), None)
        if fraction is not None:
            raise HubmodelsError(
                f"column {column!r} holds fractions such as {fraction:g}: these are not classes; choose another "
                f"--label_column_name, or predict the number by a task of regression (--target_column_names {column})"
            )
        if len(values) > 20 and 2 * len(values) > num_rows:
            numbers = all(isinstance(value, int | float) for value in values)
            remedy = f", or predict the number by a task of regression (--target_column_names {column})"
            raise HubmodelsError(
                f"column {column!r} has {len(values):,} different values in {num_rows:,} rows: these are not classes; "
                f"choose another --label_column_name{remedy if numbers else ''}"
            )
        texts = all(isinstance(value, str) for value in values)
        names = list(
            dict.fromkeys(str(class_text(value)) for value in sorted(values, key=str.strip if texts else None))
        )
        say_classes(column, counts, names)
    if len(names) < 2:
        raise HubmodelsError(f"column {column!r} has {len(names)} class(es); classification needs at least 2")
    return names


def say_classes(column: str, counts: Mapping[Any, int], names: list[str]) -> None:
    """Say which classes a column holds, and which of them may be gaps, or one class written in two ways.

    Args:
        column: of the classes.
        counts: training rows of each value.
        names: of the classes, in their order.
    """
    rows_of: Counter[str] = Counter()
    for value, count in counts.items():
        if (text := class_text(value)) is not None:
            rows_of[text] += count

    def listed(some: list[str], most: int = 10) -> str:
        more = f" and {len(some) - most:,} more" if len(some) > most else ""
        return ", ".join(f"{name!r} ({rows_of[name]:,})" for name in some[:most]) + more

    note("columns", f"column {column!r}: {len(names):,} classes, with rows of each: {listed(names)}",
         column=column, kind="target")  # fmt: skip
    blanks = sum(count for value, count in counts.items() if isinstance(value, str) and value != value.strip())
    if blanks:
        note("columns", f"column {column!r}: blanks around the class of {blanks:,} rows are left out", surprising=True)
    gaps = [name for name in names if name.lower() in GAP_WORDS]
    if gaps:
        are = "is a class" if len(gaps) == 1 else "are classes"
        note(
            "columns",
            f"column {column!r}: {listed(gaps)} {are}, though such words often stand for a gap: where they do, empty "
            "these cells, and leave their rows out with missing_targets: drop",
            surprising=True,
        )
    spellings: dict[str, list[str]] = {}
    for name in names:
        spellings.setdefault(" ".join(name.casefold().split()), []).append(name)
    same = [some for some in spellings.values() if len(some) > 1]
    if same:
        words = "; ".join(listed(some) for some in same[:5]) + ("; ..." if len(same) > 5 else "")
        note(
            "columns",
            f"column {column!r}: classes that differ by capital letters or blanks alone are different ones: {words}; "
            "write them in one way where they are the same",
            surprising=True,
        )


def label_maps(names: list[str]) -> dict[str, dict]:
    """Return the config's `id2label` and `label2id` for names in their order."""
    return {"id2label": dict(enumerate(names)), "label2id": {name: index for index, name in enumerate(names)}}


def ordered_labels(config: Mapping[str, Any]) -> list[str]:
    """Return the labels of a config in the order of their numbers, which JSON keeps as text."""
    labels = {int(number): str(label) for number, label in (config.get("id2label") or {}).items()}
    return [labels[number] for number in sorted(labels)]


def class_numbers(
    values: list, row_numbers: list[int], column: str, feature: Any, id2label: dict[int, str]
) -> "np.ndarray":
    """Return the model's numbers of the classes of a batch of rows, (B,) int64, matched by name.

    Raises:
        HubmodelsError: a row has no class, or one that the model does not know.
    """
    import datasets
    import numpy as np

    label2id = {name: int(index) for index, name in id2label.items()}
    if isinstance(feature, datasets.ClassLabel):
        known: dict[Any, int | None] = {index: label2id.get(name) for index, name in enumerate(feature.names)}
    else:
        # Releases before 0.2 have names with the blanks around them.
        known = {
            value: label2id.get(value, label2id.get(class_text(value) or ""))
            for value in set(values)
            if value is not None
        }
    numbers = [known.get(value) for value in values]
    if None in numbers:
        position = numbers.index(None)
        value = values[position]
        in_range = not isinstance(feature, datasets.ClassLabel) or (
            value is not None and 0 <= value < feature.num_classes
        )
        if class_text(value) is None or not in_range:
            count = sum(class_text(value) is None for value in values)
            more = f", nor have {count - 1:,} more of the rows read with it" if count > 1 else ""
            raise BadRow(
                row_numbers[position],
                column,
                f"it has no class (it holds {value!r}{more}); drop such rows or choose another --label_column_name",
            )
        name = feature.names[value] if isinstance(feature, datasets.ClassLabel) else str(class_text(value))
        shown = ", ".join(list(label2id)[:12]) + (", ..." if len(label2id) > 12 else "")
        raise BadRow(
            row_numbers[position],
            column,
            f"unknown class {name!r}{nearest(name, label2id)}; the model's {len(label2id)} classes are {shown}",
        )
    return np.array(numbers, dtype=np.int64)
