"""From a model and a batch to the loss: the model's own, or one with label smoothing or class weights."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from .. import abilities
from ..errors import HubmodelsError
from ..recipe import TrainingArguments
from .contracts import Batch, TrainingBatches

Loss = Callable[[nn.Module, Batch, str | None], tuple[torch.Tensor, Any]]


def make_loss(arguments: TrainingArguments, model: nn.Module, batches: TrainingBatches, device: torch.device) -> Loss:
    """Give the function of a training step: (model, batch, player) -> (scalar loss, a mean over the rows; outputs).

    Without label smoothing and class weights the loss is the model's own.

    Raises HubmodelsError when one of them is asked of a model that is no single-label classifier."""
    smoothing, balanced = arguments.label_smoothing_factor, arguments.class_weights == "balanced"
    if not smoothing and not balanced:
        return model_loss
    num_classes = abilities.count_classes(model)
    if not num_classes:
        raise HubmodelsError(
            f"label_smoothing_factor and class_weights need a classifier with one class a row; {type(model).__name__} "
            "is none: leave both at their defaults"
        )
    weights = balanced_weights(batches.tensor("labels"), num_classes).to(device) if balanced else None
    pair_targets = model.pair_targets if isinstance(model, abilities.PairsTargets) else pair_rows

    def loss(model: nn.Module, batch: Batch, player: str | None) -> tuple[torch.Tensor, Any]:
        outputs = call(model, batch, player)
        labels = batch.get("labels")
        logits, targets = (None, None) if labels is None else pair_targets(outputs, labels)
        return class_loss(logits, targets, weights, smoothing), outputs

    return loss


def pair_rows(outputs: Any, labels: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor]:
    """Give a row's logits and its label, as `abilities.PairsTargets` does for a model that pairs them otherwise."""
    return abilities.logits(outputs), labels


def call(model: nn.Module, batch: Batch, player: str | None) -> Any:
    """Run `forward`, for a player where there are several."""
    return model(**batch) if player is None else model(**batch, player=player)


def model_loss(model: nn.Module, batch: Batch, player: str | None) -> tuple[torch.Tensor, Any]:
    """Give the loss that the model computes, and its outputs. Raises HubmodelsError when it gives none."""
    outputs = call(model, batch, player)
    loss = outputs.loss
    if loss is None:
        raise HubmodelsError(f"{type(model).__name__} gave no loss for {', '.join(batch)}: are the targets there?")
    return loss, outputs


def class_loss(
    logits: torch.Tensor | None, labels: torch.Tensor | None, class_weights: torch.Tensor | None, smoothing: float
) -> torch.Tensor:
    """Compute the cross-entropy with label smoothing (Szegedy et al. 2016, arXiv:1512.00567, sec. 7) and class weights.

    The weighted loss is divided by the number of labels, not by the sum of their weights as torch's mean is: then a
    step's gradient does not depend on how it is cut into micro-batches. Balanced weights average 1 over the rows.

    Args:
        logits: (B, classes) or (B, T, classes); None of a model without any, which is refused.
        labels: classes, int64 (B,) or (B, T) with -100 for "none"; or probabilities of the logits' shape. None is
            refused, as are other shapes.
        class_weights: (classes,) or None.
        smoothing: share of the target that is spread over all classes.
    """
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
    """Compute scikit-learn's "balanced" weights, float32 (num_classes,).

    A class has rows / (classes that occur * rows of the class), and 0 where it has no row.

    Raises HubmodelsError when labels are not classes 0..num_classes-1."""
    labels = labels.flatten()
    labels = labels[labels != -100]
    classes = not labels.is_floating_point() and labels.numel() > 0
    if not classes or not 0 <= int(labels.min()) <= int(labels.max()) < num_classes:
        raise HubmodelsError(f"class_weights balanced needs labels that are classes 0 to {num_classes - 1}")
    counts = labels.bincount(minlength=num_classes)
    present = counts > 0
    return torch.where(present, labels.numel() / (present.sum() * counts.clamp(min=1)), 0.0).float()
