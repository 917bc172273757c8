"""Rows of predictions of several labels each: from probabilities to metrics. NumPy, and SciPy for ranks."""

from typing import Any

import numpy as np

from ..contract.weights import mean_over_rows, row_weights, sum_over_rows
from .class_rows import calibration_error, weighted_roc_auc

Rows = dict[str, np.ndarray]


def probability_rows(probabilities: np.ndarray, labels: np.ndarray) -> Rows:
    """Compute what metrics and figures need of each row, from probabilities and labels, (B, K) both.

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


def label_answers(logits: Any, names: list[str], spread: Any = None) -> Rows:
    """Compute what is told of each row: the labels joined by "; ", and the probability of each.

    For an ensemble also each probability's standard deviation over the members.

    Args:
        logits: (B, K) tensor.
        names: of the labels.
        spread: (B, K) tensor, None of a single network.
    """
    probabilities = logits.float().sigmoid().cpu().numpy()
    texts = ["; ".join(name for name, p in zip(names, row, strict=True) if p >= 0.5) for row in probabilities.tolist()]
    columns = {"prediction": np.array(texts, dtype=object)}
    columns |= {f"probability_{name}": probabilities[:, index] for index, name in enumerate(names)}
    if spread is not None:
        spread = spread.float().cpu().numpy()
        columns |= {f"uncertainty_{name}": spread[:, index] for index, name in enumerate(names)}
    return columns


def label_metrics(rows: Rows) -> dict[str, float]:
    """Compute metrics as scikit-learn has them.

    `accuracy` counts a row whose labels are all right (subset accuracy). `macro_f1` is the mean over the labels that
    occur or are predicted, `roc_auc` the mean over the labels, NaN where one has no area. `log_loss`,
    `calibration_error` and `label_accuracy` are over all decisions, row by row and label by label."""
    right = rows["labels"] == rows["predictions"]
    weights = row_weights(rows)
    scores = label_scores(rows)["f1"]
    of_decisions = None if weights is None else weights.repeat(right.shape[1])
    return {
        "accuracy": mean_over_rows(right.all(axis=1), weights),
        "macro_f1": float(np.nanmean(scores)) if np.isfinite(scores).any() else float("nan"),
        "roc_auc": mean_roc_auc(rows["probabilities"], rows["labels"], weights),
        "log_loss": mean_over_rows(rows["losses"], weights),
        "calibration_error": calibration_error(flat_rows(rows), of_decisions),
        "label_accuracy": mean_over_rows(right.mean(axis=1), weights),
    }


def label_scores(rows: Rows) -> dict[str, np.ndarray]:
    """Compute precision, recall and F1 of each label, (K,); NaN where it is never predicted, never true, or neither."""
    labels, predictions, weights = rows["labels"], rows["predictions"], row_weights(rows)
    hits = sum_over_rows(labels * predictions, weights).astype(np.float64)
    true, predicted = sum_over_rows(labels, weights), sum_over_rows(predictions, weights)
    with np.errstate(invalid="ignore", divide="ignore"):
        return {"precision": hits / predicted, "recall": hits / true, "f1": 2 * hits / (true + predicted)}


def mean_roc_auc(probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Compute the mean over the labels of the area under the ROC curve, from mean ranks (Mann and Whitney 1947).

    NaN where a label is true of all rows or of none."""
    from scipy.stats import rankdata

    positives = labels.sum(axis=0)
    negatives = len(labels) - positives
    if (positives == 0).any() or (negatives == 0).any():
        return float("nan")
    if weights is not None:
        areas = [weighted_roc_auc(probabilities[:, k], labels[:, k] == 1, weights) for k in range(labels.shape[1])]
        return float(np.mean(areas))
    sums = (rankdata(probabilities, axis=0) * labels).sum(axis=0)
    return float(((sums - positives * (positives + 1) / 2) / (positives * negatives)).mean())


def flat_rows(rows: Rows) -> Rows:
    """Make each decision a row of its own, (B * K,), for calibration."""
    return {name: rows[name].reshape(-1) for name in ("labels", "predictions", "confidences")}
