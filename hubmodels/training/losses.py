"""From a model and a batch to the loss: the model's own, or one with label smoothing, weights of classes or of rows."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from .. import abilities
from ..errors import HubmodelsError
from ..recipe import TrainingArguments
from .contracts import Batch, TrainingBatches

WEIGHT = "sample_weight"  # of a row, which no model takes
Loss = Callable[[nn.Module, Batch, str | None], tuple[torch.Tensor, Any]]


def make_loss(
    arguments: TrainingArguments,
    model: nn.Module,
    batches: TrainingBatches,
    device: torch.device,
    weighted: bool = False,
) -> Loss:
    """Give the function of a training step: (model, batch, player) -> (scalar loss, a mean over the rows; outputs).

    Without label smoothing, class weights and weights of rows the loss is the model's own.

    Args:
        arguments: how to train.
        model: what is trained.
        batches: the training rows.
        device: where the losses are computed.
        weighted: whether each batch has `sample_weight`, the weights of its rows (see `weigh_rows`).

    Raises:
        HubmodelsError: label smoothing or class weights are asked of a model that is no single-label classifier, or
            weights of rows of one whose loss has no rows.
    """
    smoothing, balanced = arguments.label_smoothing_factor, arguments.class_weights == "balanced"
    if weighted and abilities.players(model):
        raise HubmodelsError(f"weight_column needs a loss of each row, which {type(model).__name__} has not")
    classes, pair_targets = None, model.pair_targets if isinstance(model, abilities.PairsTargets) else pair_rows
    if smoothing or balanced:
        num_classes = abilities.count_classes(model)
        if not num_classes:
            raise HubmodelsError(
                f"label_smoothing_factor and class_weights need a classifier with one class a row; "
                f"{type(model).__name__} is none: leave both at their defaults"
            )
        labels, rows = batches.tensor("labels"), batches.tensor(WEIGHT) if weighted else None
        classes = balanced_weights(labels, num_classes, rows).to(device) if balanced else None
    if weighted:
        scale = 1 / mean_weight(batches)
        return weigh_rows(lambda outputs, labels: row_losses(model, outputs, labels, classes, smoothing), scale)
    if not smoothing and not balanced:
        return model_loss

    def loss(model: nn.Module, batch: Batch, player: str | None) -> tuple[torch.Tensor, Any]:
        outputs = call(model, batch, player)
        labels = batch.get("labels")
        logits, targets = (None, None) if labels is None else pair_targets(outputs, labels)
        return class_loss(logits, targets, classes, smoothing), outputs

    return loss


RowLosses = Callable[[Any, torch.Tensor | None], tuple[torch.Tensor, torch.Tensor | None]]


def weigh_rows(losses: RowLosses, scale: float) -> Loss:
    """Give the loss of weighted rows: the mean of weight times loss, the weights scaled to a mean of 1 in training.

    All training rows share one scale. So a step's gradient does not depend on how it is cut into micro-batches, and a
    row of weight k counts as k rows.

    Args:
        losses: (outputs, labels) -> the loss of each row, (N,) with N a multiple of B, and how many targets it is a
            sum over, (N,), None for one.
        scale: what all weights are multiplied by.
    """

    def loss(model: nn.Module, batch: Batch, player: str | None) -> tuple[torch.Tensor, Any]:
        inputs = {name: value for name, value in batch.items() if name != WEIGHT}
        outputs = call(model, inputs, player)
        of_rows, counts = losses(outputs, batch.get("labels"))
        weights = (batch[WEIGHT].double() * scale).to(of_rows.dtype)  # (B,)
        weights = weights.repeat_interleave(len(of_rows) // len(weights))  # members of an ensemble are rows
        total = len(of_rows) if counts is None else counts.sum().clamp(min=1)
        return (weights * of_rows).sum() / total, outputs

    return loss


def mean_weight(batches: TrainingBatches) -> float:
    """Compute the mean weight of the training rows; where a row has several targets, of all of these."""
    weights = batches.tensor(WEIGHT).double()
    labels = batches.tensor("labels")
    if labels.ndim == 2 and not labels.is_floating_point():  # a tag a token
        counts = (labels != -100).sum(dim=1).double()
        return float((weights * counts).sum() / counts.sum().clamp(min=1)) or 1.0
    return float(weights.mean())


def row_losses(
    model: nn.Module,
    outputs: Any,
    labels: torch.Tensor | None,
    class_weights: torch.Tensor | None,
    smoothing: float,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Compute the loss of each row (N,), and how many targets each is a sum over, None for one.

    It is the model's own `row_loss` where it gives one, else follows the config's `problem_type`. N is a multiple of B:
    members of an ensemble learn by themselves.

    Raises HubmodelsError where the outputs tell no loss of a row."""
    if (told := abilities.row_loss(outputs)) is not None and not smoothing and class_weights is None:
        return told, None
    logits = abilities.logits(outputs)
    if logits is None or labels is None:
        raise HubmodelsError(
            f"weight_column needs a loss of each row, which {type(model).__name__} does not tell: leave it out"
        )
    if isinstance(model, abilities.PairsTargets):
        logits, labels = model.pair_targets(outputs, labels)
    config = model.config if isinstance(model, abilities.HasConfig) else None
    kind = config.problem_type if isinstance(config, abilities.KnowsLabels) else None
    if logits.ndim == 3:
        losses = functional.cross_entropy(
            logits.flatten(0, 1).float(), labels.flatten(), class_weights, label_smoothing=smoothing, reduction="none"
        )
        return losses.view(labels.shape).sum(dim=1), (labels != -100).sum(dim=1)
    if kind is None:
        several = "multi_label_classification" if labels.is_floating_point() else "single_label_classification"
        kind = "regression" if logits.shape[-1] == 1 else several
    if kind == "single_label_classification":
        losses = functional.cross_entropy(
            logits.float(), labels, class_weights, label_smoothing=smoothing, reduction="none"
        )
        return losses, None
    targets = labels.to(logits.dtype).view_as(logits)
    function = functional.mse_loss if kind == "regression" else functional.binary_cross_entropy_with_logits
    return function(logits, targets, reduction="none").flatten(1).mean(dim=1), None


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


def balanced_weights(labels: torch.Tensor, num_classes: int, row_weights: torch.Tensor | None = None) -> torch.Tensor:
    """Compute scikit-learn's "balanced" weights, float32 (num_classes,).

    A class has rows / (classes that occur * rows of the class), and 0 where it has no row. Rows count by their weights
    where these are given, (N,).

    Raises HubmodelsError when labels are not classes 0..num_classes-1."""
    each = torch.ones(len(labels)) if row_weights is None else row_weights
    each = each.double().view(-1, *[1] * (labels.ndim - 1)).expand(labels.shape).flatten()
    labels = labels.flatten()
    each, labels = each[labels != -100], labels[labels != -100]
    classes = not labels.is_floating_point() and labels.numel() > 0
    if not classes or not 0 <= int(labels.min()) <= int(labels.max()) < num_classes:
        raise HubmodelsError(f"class_weights balanced needs labels that are classes 0 to {num_classes - 1}")
    counts = labels.long().bincount(weights=each, minlength=num_classes)
    present = counts > 0
    counted = torch.where(present, counts, 1.0)
    return torch.where(present, counts.sum() / (present.sum() * counted), 0.0).float()
