"""Fine-tuning of the head alone: the body, what `base_model_prefix` names, keeps its weights bit for bit.

The body stays in eval mode as well: running statistics of its norms do not move, and its dropout is off.
"""

import torch
from torch import nn
from transformers import PreTrainedModel

from ..errors import HubmodelsError
from ..report import note


def freeze_body(model: nn.Module) -> str:
    """Take the body out of the training, and say how many weights are left.

    Returns:
        A sentence with the numbers of trained and of all weights, which is a note too.

    Raises:
        HubmodelsError: the model has no body beside a head, or its head has no weights of its own.
    """
    body = find_body(model)
    if body is None:
        raise HubmodelsError(
            f"freeze_backbone needs a body and a head; {type(model).__name__} is one whole: leave it out"
        )
    in_body = {id(parameter) for parameter in body.parameters()}
    head = [parameter for parameter in model.parameters() if id(parameter) not in in_body and parameter.requires_grad]
    if not head:
        raise HubmodelsError(
            f"freeze_backbone leaves nothing to train: all weights of {type(model).__name__} belong to its body; "
            "leave it out"
        )
    body.requires_grad_(False)
    num_trained = sum(parameter.numel() for parameter in head)
    num_all = sum(parameter.numel() for parameter in model.parameters())
    text = (
        f"{num_trained:,} of {num_all:,} weights are trained, those outside of {body_name(model)!r}: "
        "freeze_backbone leaves the others as they are"
    )
    note("training", text, remedy="freeze_backbone: false")
    return text


def body_name(model: nn.Module) -> str:
    """Return the name of the submodule that is a model's body; an empty one where it has none beside a head."""
    name = model.base_model_prefix if isinstance(model, PreTrainedModel) else ""
    return name if name and isinstance(getattr(model, name, None), nn.Module) else ""


def find_body(model: nn.Module) -> nn.Module | None:
    """Return the submodule that is a model's body, None where it has none beside a head."""
    name = body_name(model)
    return model.get_submodule(name) if name else None


def is_frozen(module: nn.Module) -> bool:
    """Tell whether a module has weights and none of them is trained."""
    weights = list(module.parameters())
    return bool(weights) and not any(weight.requires_grad for weight in weights)


def training_mode(model: nn.Module) -> None:
    """Set a model to training, but a frozen body to eval mode."""
    model.train()
    body = find_body(model)
    if body is not None and is_frozen(body):
        body.eval()


def frozen_tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    """Collect by name the weights and buffers of a frozen body, which no step changes."""
    body = find_body(model)
    if body is None or not is_frozen(body):
        return {}
    ids = {id(tensor) for tensor in (*body.parameters(), *body.buffers())}
    return {name: tensor for name, tensor in (*model.named_parameters(), *model.named_buffers()) if id(tensor) in ids}
