"""From a model and a batch to the loss: the model's own, or one with label smoothing or class weights."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from ..errors import HubmodelsError
from ..recipe import TrainingArguments

Batch = dict[str, torch.Tensor]


def make_loss(
    arguments: TrainingArguments, model: nn.Module, batches: Any, device: torch.device
) -> Callable[[nn.Module, Batch, str | None], tuple[torch.Tensor, Any]]:
    """A function (model, batch, player) -> (scalar loss, a mean over the rows of the batch; the model's outputs).

    Without label smoothing and class weights it is the model's own `loss`.

    Raises HubmodelsError when one of them is asked of a model that is no single-label classifier."""
    smoothing, balanced = arguments.label_smoothing_factor, arguments.class_weights == "balanced"
    if not smoothing and not balanced:
        return model_loss
    config = getattr(model, "config", None)
    num_classes, problem = getattr(config, "num_labels", 0), getattr(config, "problem_type", None)
    if getattr(model, "players", None) or problem not in (None, "single_label_classification") or num_classes < 2:
        raise HubmodelsError(
            f"label_smoothing_factor and class_weights need a classifier with one class a row; {type(model).__name__} "
            "is none: leave both at their defaults"
        )
    weights = balanced_weights(batches.tensor("labels"), num_classes).to(device) if balanced else None

    def loss(model: nn.Module, batch: Batch, player: str | None) -> tuple[torch.Tensor, Any]:
        outputs = call(model, batch, player)
        return class_loss(outputs, batch.get("labels"), weights, smoothing), outputs

    return loss


def call(model: nn.Module, batch: Batch, player: str | None) -> Any:
    return model(**batch) if player is None else model(**batch, player=player)


def model_loss(model: nn.Module, batch: Batch, player: str | None) -> tuple[torch.Tensor, Any]:
    """The loss that the model computes, and its outputs. Raises HubmodelsError when it gives none."""
    outputs = call(model, batch, player)
    loss = outputs.loss
    if loss is None:
        raise HubmodelsError(f"{type(model).__name__} gave no loss for {', '.join(batch)}: are the targets there?")
    return loss, outputs


def class_loss(
    outputs: Any, labels: torch.Tensor | None, class_weights: torch.Tensor | None, smoothing: float
) -> torch.Tensor:
    """Cross-entropy with label smoothing (Szegedy et al. 2016, arXiv:1512.00567, sec. 7) and class weights.

    The weighted loss is divided by the number of labels, not by the sum of their weights as torch's mean is: then a
    step's gradient does not depend on how it is cut into micro-batches. Balanced weights average 1 over the rows.

    Args:
        outputs: has `logits`, (B, classes) or (B, T, classes), or `member_logits` of an ensemble, (B, K, classes).
        labels: classes, int64 (B,) or (B, T) with -100 for "none"; or probabilities of the logits' shape.
        class_weights: (classes,) or None.
        smoothing: share of the target that is spread over all classes.
    """
    logits = getattr(outputs, "logits", None)
    members = getattr(outputs, "member_logits", None)
    if members is not None and labels is not None:  # of an ensemble (B, K, classes): each learns by itself
        logits, labels = members.flatten(0, 1), labels.repeat_interleave(members.shape[1], dim=0)
    if logits is None or labels is None or logits.ndim not in (2, 3):
        raise HubmodelsError(
            "label_smoothing_factor and class_weights need a classifier, whose logits are (rows, classes) or (rows, "
            "tokens, classes); set both to their defaults for this model"
        )
    if labels.shape == logits.shape and labels.is_floating_point():
        count = labels[..., 0].numel()
    elif labels.shape == logits.shape[:-1] and not labels.is_floating_point():
        count = (labels != -100).sum().clamp(min=1)
    else:
        raise HubmodelsError(
            f"label_smoothing_factor and class_weights need one class a row: labels of shape {tuple(labels.shape)} and "
            f"type {labels.dtype} do not fit logits of shape {tuple(logits.shape)}"
        )
    logits = logits.flatten(0, -2).float()
    labels = labels.flatten(0, -2) if labels.is_floating_point() else labels.flatten()
    return functional.cross_entropy(logits, labels, class_weights, label_smoothing=smoothing, reduction="sum") / count


def balanced_weights(labels: torch.Tensor, num_classes: int) -> torch.Tensor:
    """scikit-learn's "balanced" weights: rows / (classes that occur * rows of the class), 0 where a class has none.

    Returns float32 (num_classes,). Raises HubmodelsError when labels are not classes 0..num_classes-1."""
    labels = labels.flatten()
    labels = labels[labels != -100]
    classes = not labels.is_floating_point() and labels.numel() > 0
    if not classes or not 0 <= int(labels.min()) <= int(labels.max()) < num_classes:
        raise HubmodelsError(f"class_weights balanced needs labels that are classes 0 to {num_classes - 1}")
    counts = labels.bincount(minlength=num_classes)
    present = counts > 0
    return torch.where(present, labels.numel() / (present.sum() * counts.clamp(min=1)), 0.0).float()
