"""Optimizers, schedules and the average of the weights.

Every player of a model has its own optimizer and schedule; a model without `players` is one player.
"""

import copy
import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn
from transformers import get_scheduler
from transformers.trainer_utils import SchedulerType

from .. import abilities
from ..errors import HubmodelsError, nearest
from ..recipe import TrainingArguments
from .freezing import frozen_tensors

NORMS = (nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, nn.modules.batchnorm._NormBase)  # the last: batch and instance norm


@dataclass
class Player:
    """Takes its turn in each step: a name for `forward(player=...)`, parameters, an optimizer and a schedule."""

    name: str | None  # None for the single player of the whole model
    parameters: dict[str, nn.Parameter]  # by their names in the whole model
    optimizer: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.LRScheduler


def make_players(model: nn.Module, arguments: TrainingArguments, total_steps: int) -> list[Player]:
    """Make the model's players in the order of their turns.

    Raises:
        HubmodelsError: no weights to train, weights that belong to no player, or an unknown schedule.
    """
    trainable = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    if not trainable:
        raise HubmodelsError(f"{type(model).__name__} has no weights to train: every parameter has requires_grad=False")
    declared: dict[str | None, str] = dict(abilities.players(model).items()) or {None: ""}
    players = []
    for name, path in declared.items():
        ids = {id(parameter) for parameter in model.get_submodule(path).parameters()}
        parameters = {key: parameter for key, parameter in trainable.items() if id(parameter) in ids}
        optimizer = make_optimizer(model, parameters, arguments)
        players.append(Player(name, parameters, optimizer, make_scheduler(optimizer, arguments, total_steps)))
    for name in trainable:
        if not any(name in player.parameters for player in players):
            raise HubmodelsError(
                f"weight {name} of {type(model).__name__} belongs to none of its players {list(declared)}"
            )
    return players


def without_decay(model: nn.Module) -> set[int]:
    """Give the ids of parameters that weight decay must not touch: biases and other vectors, norms and embeddings."""
    ids = {id(parameter) for parameter in model.parameters() if parameter.ndim < 2}
    for module in model.modules():
        if isinstance(module, (*NORMS, nn.Embedding, nn.EmbeddingBag)):
            ids.update(id(parameter) for parameter in module.parameters(recurse=False))
    return ids


def make_optimizer(
    model: nn.Module, parameters: dict[str, nn.Parameter], arguments: TrainingArguments
) -> torch.optim.Optimizer:
    """Make AdamW or SGD with Nesterov momentum, in torch's fused form, which steps all tensors in one kernel."""
    undecayed = without_decay(model)
    decayed = [parameter for parameter in parameters.values() if id(parameter) not in undecayed]
    others = [parameter for parameter in parameters.values() if id(parameter) in undecayed]
    groups = [{"params": decayed, "weight_decay": arguments.weight_decay}, {"params": others, "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]]
    if arguments.weight_decay == 0:  # one group is one call
        groups = [{"params": list(parameters.values()), "weight_decay": 0.0}]
    rate = arguments.learning_rate
    fused = all(weight.device.type in ("cpu", "cuda", "mps", "xpu") for weight in parameters.values())
    if arguments.optim == "sgd":
        momentum = arguments.momentum
        return torch.optim.SGD(groups, lr=rate, momentum=momentum, nesterov=momentum > 0, fused=fused)
    betas = (arguments.adam_beta1, arguments.adam_beta2)
    return torch.optim.AdamW(groups, lr=rate, betas=betas, eps=arguments.adam_epsilon, fused=fused)


def make_scheduler(
    optimizer: torch.optim.Optimizer, arguments: TrainingArguments, total_steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """Make a schedule of transformers or `coslog4`, which steps once an optimizer step.

    `warmup_steps` below 1 is a share of all steps."""
    name = arguments.lr_scheduler_type
    names = [item.value for item in SchedulerType if item.value not in ("reduce_lr_on_plateau", "greedy")]
    names.append("coslog4")
    if name not in names:
        raise HubmodelsError(f"lr_scheduler_type must be one of {', '.join(names)}, got {name!r}{nearest(name, names)}")
    warmup = arguments.warmup_steps
    if name == "coslog4":
        if warmup or arguments.lr_scheduler_kwargs:
            raise HubmodelsError("the schedule coslog4 rises from 0: leave out warmup_steps and lr_scheduler_kwargs")
        return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: coslog4(step / total_steps))
    warmup = math.ceil(warmup * total_steps) if warmup < 1 else int(warmup)
    try:
        return get_scheduler(name, optimizer, warmup, total_steps, arguments.lr_scheduler_kwargs or {})
    except (TypeError, ValueError) as error:
        raise HubmodelsError(f"lr_scheduler_kwargs do not fit the schedule {name}: {error}") from error


def coslog4(progress: float) -> float:
    """Compute the learning rate's factor at a share `progress` of training, in [0, 1].

    It has four cycles from 0 to 1 and back, each twice as long as the one before (RealMLP, Holzmuller et al. 2024,
    arXiv:2407.04491, section 3)."""
    return 0.5 * (1 - math.cos(2 * math.pi * math.log2(1 + 15 * progress)))


class WeightAverage:
    """Keeps the exponential moving average of a model's weights (`torch.optim.swa_utils`), as a second model.

    The first update copies the weights, each later one moves the average by 1 - decay of the difference. After n
    updates the decay is at most (1 + n) / (10 + n): a short run would else end near what it began with. Floating
    buffers (BatchNorm's statistics) are averaged with the weights that they belong to; counters are copied. Where the
    model names submodules as `averaged`, what lies outside of them is copied too. A frozen body is left as it is.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.num_updates = 0
        self.decay = decay
        # Lists once, not a walk over the modules in every step. The weights themselves, not views of their memory:
        # preparing a model for several processes gives them other memory.
        prefixes = tuple(f"{name}." for name in abilities.averaged(model)) or ("",)
        averages, weights = all_tensors(self.model), all_tensors(model)
        frozen = frozen_tensors(model)
        chosen = [
            name
            for name in weights
            if weights[name].is_floating_point() and name.startswith(prefixes) and name not in frozen
        ]
        self._floats = [(averages[name], weights[name]) for name in chosen]
        self._others = [(averages[name], weights[name]) for name in weights if name not in {*chosen, *frozen}]
        self._averages = [average for average, _ in self._floats]
        self._weights = [weight for _, weight in self._floats]

    @torch.no_grad()
    def update(self) -> None:
        """Take the model's present weights into the average."""
        if self.num_updates == 0:
            torch._foreach_copy_(self._averages, self._weights)
        else:
            decay = min(self.decay, (1 + self.num_updates) / (10 + self.num_updates))
            get_ema_multi_avg_fn(decay)(self._averages, self._weights, self.num_updates)
        for average, weight in self._others:
            average.copy_(weight)
        self.num_updates += 1


def all_tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    """Collect every parameter and buffer once, by name; of tied ones by the first name."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


@torch.no_grad()
def copy_tensors(source: nn.Module, target: nn.Module) -> None:
    """Give `target` the weights and buffers of `source`, a model of the same structure."""
    for to, value in zip(all_tensors(target).values(), all_tensors(source).values(), strict=True):
        to.copy_(value)
