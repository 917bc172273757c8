"""Classes that rows may have and need not: of models that learn without them, or are told them."""

import logging
from typing import TYPE_CHECKING, Any

from ...errors import HubmodelsError
from ..contract.columns import class_names, class_text, label_column

if TYPE_CHECKING:
    import datasets
    import numpy as np

logger = logging.getLogger("hubmodels")


def optional_label_column(
    features: "datasets.Features", chosen: str | None, claimed: list[str], *, needed: bool
) -> list[str]:
    """Name the column of classes: the chosen one, or the usual one; none where there is none and none is needed.

    Raises HubmodelsError where the chosen one is not there or holds no classes."""
    if chosen is not None:
        return [label_column(features, chosen)]
    try:
        return [label_column(features, None, others=tuple(claimed))]
    except HubmodelsError:
        if needed:
            raise
        return []


def optional_class_names(train: "datasets.Dataset", columns: list[str], *, needed: bool) -> list[str]:
    """Name the classes of a column of the training rows; none where it holds one class, or no classes.

    Raises HubmodelsError for such a column where classes are needed."""
    if not columns:
        return []
    try:
        return class_names(train, columns[0])
    except HubmodelsError as error:
        if needed:
            raise
        logger.info("Column %r is not used: %s", columns[0], error)
        return []


def optional_class_numbers(values: list[Any], feature: Any, names: list[str]) -> "np.ndarray":
    """Return the numbers of the classes of a batch of rows, (B,) int64, -1 where a row has none that is known."""
    import datasets
    import numpy as np

    numbers = {name: number for number, name in enumerate(names)}
    labels = np.full(len(values), -1, dtype=np.int64)
    for row, value in enumerate(values):
        if isinstance(feature, datasets.ClassLabel):
            value = feature.names[value] if value is not None and 0 <= value < len(feature.names) else None
        labels[row] = numbers.get(str(value), numbers.get(class_text(value) or "", -1))
    return labels
