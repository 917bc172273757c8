"""Rows of predictions of one class each: from logits or probabilities to metrics. NumPy, and SciPy for ranks."""

from typing import Any

import numpy as np

from ..contract.weights import mean_over_rows, row_weights

Rows = dict[str, np.ndarray]
NUM_BINS = 15  # of the calibration error, as in Guo et al. 2017


def classification_rows(logits: Any, labels: Any) -> dict[str, Any]:
    """Compute what metrics and figures need of each row, from logits (B, K) and integer labels (B,), as tensors.

    Returns:
        `labels` and `predictions` (int64), `confidences` (probability of the prediction) and `losses` (minus the log
        probability of the label, in nats), each (B,).
    """
    log_probabilities = logits.float().log_softmax(dim=-1)
    confidences, predictions = log_probabilities.max(dim=-1)
    losses = -log_probabilities.gather(1, labels[:, None])[:, 0]
    return {"labels": labels, "predictions": predictions, "confidences": confidences.exp(), "losses": losses}


def probability_rows(probabilities: np.ndarray, labels: np.ndarray) -> Rows:
    """Compute the same rows from probabilities (N, K), for classical methods."""
    predictions = probabilities.argmax(axis=1)
    index = np.arange(len(labels))
    smallest = np.finfo(np.float32).tiny  # a probability of 0 has no logarithm
    return {
        "labels": labels.astype(np.int64),
        "predictions": predictions.astype(np.int64),
        "confidences": probabilities[index, predictions].astype(np.float32),
        "losses": -np.log(np.maximum(probabilities[index, labels], smallest)).astype(np.float32),
    }


def classification_answers(logits: Any, names: list[str], spread: Any = None) -> dict[str, np.ndarray]:
    """Return what is told of each row: the class and the probability of each class.

    Of an ensemble it is also the standard deviation of the predicted class's probability over its members.
    `logits` and `spread` are (B, K)."""
    probabilities = logits.float().softmax(dim=-1)
    classes = probabilities.argmax(dim=-1)
    columns = {"prediction": np.array(names, dtype=object)[classes.cpu().numpy()]}
    columns |= {f"probability_{name}": probabilities[:, index].cpu().numpy() for index, name in enumerate(names)}
    if spread is not None:
        columns["uncertainty"] = spread.gather(1, classes[:, None])[:, 0].float().cpu().numpy()
    return columns


def roc_auc(probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Compute the area under the ROC curve of the second of two classes; of more, the mean of each against the others.

    It is NaN where not all classes occur. It comes from mean ranks (Mann and Whitney 1947), so that ties count half."""
    from scipy.stats import rankdata

    num_rows, num_classes = probabilities.shape
    positives = np.bincount(labels, minlength=num_classes)
    if (positives == 0).any() or num_classes < 2:
        return float("nan")
    classes = np.array([1]) if num_classes == 2 else np.arange(num_classes)
    if weights is not None:
        return float(np.mean([weighted_roc_auc(probabilities[:, k], labels == k, weights) for k in classes]))
    ranks = rankdata(probabilities[:, classes], axis=0)
    sums = np.array([ranks[labels == label, column].sum() for column, label in enumerate(classes)])
    positives = positives[classes]
    areas = (sums - positives * (positives + 1) / 2) / (positives * (num_rows - positives))
    return float(areas.mean())


def weighted_roc_auc(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> float:
    """Compute the area under the ROC curve of weighted rows; NaN where one side has no weight.

    It is the share of pairs of a positive and a negative row, by the product of their weights, whose order is right."""
    distinct, index = np.unique(scores, return_inverse=True)
    ups = np.bincount(index, weights=weights * positive, minlength=len(distinct))
    downs = np.bincount(index, weights=weights * ~positive, minlength=len(distinct))
    pairs = ups.sum() * downs.sum()
    below = downs.cumsum() - downs
    return float((ups * (below + downs / 2)).sum() / pairs) if pairs > 0 else float("nan")


def confusion_matrix(rows: Rows, num_classes: int, weights: np.ndarray | None = None) -> np.ndarray:
    """Count the rows of each (true class, predicted class), int64; with weights their sums, float64."""
    pairs = rows["labels"] * num_classes + rows["predictions"]
    return np.bincount(pairs, weights=weights, minlength=num_classes**2).reshape(num_classes, num_classes)


def classification_metrics(rows: Rows, num_classes: int) -> dict[str, float]:
    """Compute accuracy, macro F1, expected calibration error and log loss.

    Macro F1 is over the classes that occur as label or prediction."""
    weights = row_weights(rows)
    counts = confusion_matrix(rows, num_classes, weights)
    if not counts.any():  # all weights are 0
        return dict.fromkeys(("accuracy", "macro_f1", "calibration_error", "log_loss"), float("nan"))
    hits = counts.diagonal()
    occurrences = counts.sum(axis=0) + counts.sum(axis=1)  # 2 TP + FP + FN
    present = occurrences > 0
    return {
        "accuracy": hits.sum() / counts.sum(),
        "macro_f1": (2 * hits[present] / occurrences[present]).mean(),
        "calibration_error": calibration_error(rows, weights),
        "log_loss": mean_over_rows(rows["losses"], weights),
    }


def class_precision_recall(rows: Rows, num_classes: int) -> dict[str, np.ndarray]:
    """Compute each class's precision (NaN where never predicted) and recall (NaN without rows), each (K,)."""
    counts = confusion_matrix(rows, num_classes, row_weights(rows))
    hits = counts.diagonal().astype(np.float64)
    with np.errstate(invalid="ignore"):
        return {"precision": hits / counts.sum(axis=0), "recall": hits / counts.sum(axis=1)}


def calibration_bins(rows: Rows, weights: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Count rows and hits, and sum confidences, in each of 15 equal bins ((m-1)/15, m/15] of confidence.

    Each row counts by its weight where there are any.

    Returns:
        The three of them, each (15,).
    """
    confidences = rows["confidences"]
    bins = np.clip(np.ceil(confidences * NUM_BINS).astype(np.int64) - 1, 0, NUM_BINS - 1)
    right = rows["labels"] == rows["predictions"]
    if weights is None:
        counts, hits = np.bincount(bins, minlength=NUM_BINS), np.bincount(bins[right], minlength=NUM_BINS)
    else:
        counts = np.bincount(bins, weights=weights, minlength=NUM_BINS)
        hits = np.bincount(bins, weights=weights * right, minlength=NUM_BINS)
        confidences = confidences * weights
    return counts, hits, np.bincount(bins, weights=confidences, minlength=NUM_BINS)


def calibration_error(rows: Rows, weights: np.ndarray | None = None) -> float:
    """Compute the expected calibration error: the mean over the rows of |accuracy - confidence| of their bin.

    Guo et al. 2017, arXiv:1706.04599, eq. 3."""
    counts, hits, confidences = calibration_bins(rows, weights)
    return float(np.abs(hits - confidences).sum() / counts.sum())
