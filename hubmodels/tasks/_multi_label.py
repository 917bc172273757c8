"""Rows that may have several labels or none: finding them, rows of predictions, metrics, and a figure.

Labels are 0 or 1 for each of K names, (B, K) float32. A label is predicted where its probability is at least 1/2.
"""

from typing import Any

import numpy as np

from ..errors import HubmodelsError, nearest
from ..figures import BLUE, GREY, ORANGE, house_style, new_figure
from ..formatting import shorten
from .contract.columns import can_be_classes, describe_columns, existing_column, kind_of
from .targets.class_rows import calibration_error

Rows = dict[str, np.ndarray]
MAX_LABELS = 30  # in the figure


def label_columns(features: Any, chosen: str | list[str] | None) -> list[str] | None:
    """The columns of the labels: the several that are `chosen`, or a chosen one of lists; None where the rows have one
    class each. Raises HubmodelsError for columns that cannot hold labels."""
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
        if not can_be_classes(feature.feature) or getattr(feature, "length", -1) >= 0:
            raise HubmodelsError(
                f"column {names[0]!r} holds lists of {kind_of(feature.feature)}"
                f"{' of fixed length' if getattr(feature, 'length', -1) >= 0 else ''}; several labels a row are lists "
                f"of their names, or several columns of 0 and 1; columns are {describe_columns(features)}"
            )
        return names
    return None


def holds_lists(feature: Any) -> bool:
    """Whether a column of this type holds lists."""
    return kind_of(feature) in ("List", "LargeList", "Sequence")


def label_names(train: Any, columns: list[str]) -> list[str]:
    """The labels in the order of their numbers: the columns' names, or what the lists of the training rows hold."""
    import datasets

    if len(columns) > 1:
        return list(columns)
    (column,) = columns
    element = train.features[column].feature
    if isinstance(element, datasets.ClassLabel):
        names = list(element.names)
    else:
        batches = train.select_columns([column]).iter(batch_size=1000)
        found = {value for rows in batches for values in rows[column] for value in values or []}
        names = [str(value) for value in sorted(found - {None})]
    if len(names) < 2:
        raise HubmodelsError(f"the lists of column {column!r} hold {len(names)} label(s); at least 2 are needed")
    return names


def label_matrix(
    rows: dict[str, list], row_numbers: list[int], columns: list[str], features: Any, id2label: dict[int, str]
) -> np.ndarray:
    """0 or 1 for each of the model's labels, (B, K) float32.

    Raises:
        HubmodelsError: a row holds no list, something else than 0 or 1, or a label that the model does not know.
    """
    import datasets

    names = list(id2label.values())
    place = {name: index for index, name in enumerate(names)}
    if len(columns) > 1:
        if missing := [name for name in names if name not in columns]:
            raise HubmodelsError(f"there is no column for the model's label {missing[0]!r} (--label_column_name)")
        matrix = np.empty((len(row_numbers), len(names)), dtype=np.float32)
        for name in names:
            for row, value in enumerate(rows[name]):
                if value not in (0, 1):  # True and False are 1 and 0
                    raise HubmodelsError(
                        f"row {row_numbers[row]}, column {name!r} holds {value!r}, not 0 or 1; one of several label "
                        "columns says with 0 or 1 whether a row has its label"
                    )
                matrix[row, place[name]] = value
        return matrix
    (column,) = columns
    element = features[column].feature
    words = element.names if isinstance(element, datasets.ClassLabel) else None
    matrix = np.zeros((len(row_numbers), len(names)), dtype=np.float32)
    for row, values in enumerate(rows[column]):
        if values is None:
            raise HubmodelsError(f"row {row_numbers[row]} has no list of labels in column {column!r}; drop such rows")
        for value in values:
            name = str(value) if words is None or value is None else words[value]
            if name not in place:
                raise HubmodelsError(
                    f"row {row_numbers[row]}, column {column!r}: unknown label {name!r}{nearest(name, names)}; the "
                    f"model's {len(names)} labels are {', '.join(names[:12])}{', ...' * (len(names) > 12)}"
                )
            matrix[row, place[name]] = 1
    return matrix


def probability_rows(probabilities: np.ndarray, labels: np.ndarray) -> Rows:
    """What metrics and figures need of each row, from probabilities and labels, (B, K) both.

    Returns:
        `labels` and `predictions` (int64), `probabilities` and `confidences` (of the decision for each label), each
        (B, K), and `losses` (B,): minus the mean log probability of the labels' true values, in nats.
    """
    smallest = np.finfo(np.float32).tiny  # a probability of 0 has no logarithm
    probabilities = probabilities.astype(np.float32)
    of_truth = np.where(labels > 0, probabilities, 1 - probabilities)
    return {
        "labels": labels.astype(np.int64),
        "predictions": (probabilities >= 0.5).astype(np.int64),
        "probabilities": probabilities,
        "confidences": np.maximum(probabilities, 1 - probabilities),
        "losses": -np.log(np.maximum(of_truth, smallest)).mean(axis=1),
    }


def multi_label_answers(logits: Any, names: list[str], spread: Any = None) -> Rows:
    """What a file of predictions says of each row: the labels joined by "; ", the probability of each label and, for an
    ensemble, its standard deviation over the members. `logits` and `spread` are (B, K)."""
    probabilities = logits.float().sigmoid().cpu().numpy()
    texts = ["; ".join(name for name, p in zip(names, row, strict=True) if p >= 0.5) for row in probabilities.tolist()]
    columns = {"prediction": np.array(texts, dtype=object)}
    columns |= {f"probability_{name}": probabilities[:, index] for index, name in enumerate(names)}
    if spread is not None:
        spread = spread.float().cpu().numpy()
        columns |= {f"uncertainty_{name}": spread[:, index] for index, name in enumerate(names)}
    return columns


def multi_label_metrics(rows: Rows) -> dict[str, float]:
    """As scikit-learn has them: `accuracy` counts a row whose labels are all right (subset accuracy), `macro_f1` is the
    mean over the labels that occur or are predicted, `roc_auc` the mean over the labels (NaN where one has no area);
    `log_loss`, `calibration_error` and `label_accuracy` are over all decisions, row by row and label by label."""
    right = rows["labels"] == rows["predictions"]
    scores = label_scores(rows)["f1"]
    return {
        "accuracy": right.all(axis=1).mean(),
        "macro_f1": float(np.nanmean(scores)) if np.isfinite(scores).any() else float("nan"),
        "roc_auc": mean_roc_auc(rows["probabilities"], rows["labels"]),
        "log_loss": rows["losses"].mean(dtype=np.float64),
        "calibration_error": calibration_error(flat_rows(rows)),
        "label_accuracy": right.mean(),
    }


def label_scores(rows: Rows) -> dict[str, np.ndarray]:
    """Precision, recall and F1 of each label, (K,); NaN where it is never predicted, never true, or neither."""
    labels, predictions = rows["labels"], rows["predictions"]
    hits = (labels * predictions).sum(axis=0, dtype=np.float64)
    true, found = labels.sum(axis=0), predictions.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return {"precision": hits / found, "recall": hits / true, "f1": 2 * hits / (true + found)}


def mean_roc_auc(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The mean over the labels of the area under the ROC curve, from mean ranks (Mann and Whitney 1947); NaN where a
    label is true of all rows or of none."""
    from scipy.stats import rankdata

    positives = labels.sum(axis=0)
    negatives = len(labels) - positives
    if (positives == 0).any() or (negatives == 0).any():
        return float("nan")
    sums = (rankdata(probabilities, axis=0) * labels).sum(axis=0)
    return float(((sums - positives * (positives + 1) / 2) / (positives * negatives)).mean())


def flat_rows(rows: Rows) -> Rows:
    """Each decision as a row of its own, (B * K,), for calibration."""
    return {name: rows[name].reshape(-1) for name in ("labels", "predictions", "confidences")}


@house_style()
def label_figure(rows: Rows, names: list[str]) -> Any:
    """Precision and recall of each label, the best F1 on top, beside the share of rows that have it."""
    scores = label_scores(rows)
    order = np.argsort(-np.nan_to_num(scores["f1"], nan=-1.0), kind="stable")[:MAX_LABELS][::-1]
    places = np.arange(len(order))
    figure, (left, right) = new_figure(
        6.4, max(1.8, 0.26 * len(order) + 1.0), 1, 2, sharey=True, gridspec_kw={"width_ratios": [3, 1]}
    )
    left.hlines(places, scores["precision"][order], scores["recall"][order], color=GREY, linewidth=1)
    left.plot(scores["precision"][order], places, "o", color=BLUE, markersize=4, label="precision")
    left.plot(scores["recall"][order], places, "o", color=ORANGE, markersize=4, label="recall")
    left.set_yticks(places, [shorten(names[index], 26) for index in order])
    left.set(xlim=(-0.02, 1.02), xlabel="precision and recall")
    left.grid(axis="x")
    right.barh(places, rows["labels"].mean(axis=0)[order], color=GREY, height=0.7)
    right.set_xlabel("share of rows")
    figure.legend(*left.get_legend_handles_labels(), loc="outside upper left", ncols=2)
    return figure
