"""Everything that training changes, as one object that a checkpoint can hold and put back, bit for bit."""

import dataclasses
import math
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn

from ..errors import HubmodelsError
from ..recipe import TrainingArguments
from . import checkpoints
from .optimization import Player, WeightAverage, all_tensors

# Arguments that may differ when a run goes on: they do not change what a step computes. For batch and accumulation, the
# rows of a step are compared.
FREE_ARGUMENTS = frozenset(
    {
        "output_dir", "resume_from_checkpoint", "report_to", "dataloader_num_workers", "per_device_eval_batch_size",
        "per_device_train_batch_size", "gradient_accumulation_steps", "auto_find_batch_size", "torch_compile",
        "logging_steps", "eval_strategy", "eval_steps", "save_strategy", "save_steps", "save_total_limit",
        "load_best_model_at_end", "metric_for_best_model", "greater_is_better", "early_stopping_patience",
        "early_stopping_threshold",
    }
)  # fmt: skip
LENGTH_ARGUMENTS = frozenset({"num_train_epochs", "max_steps"})


@dataclass
class Position:
    """Tells where a run is and how it went so far: a checkpoint's state.json."""

    step: int = 0
    epoch: int = 0
    step_in_epoch: int = 0
    best_metric: float | None = None
    best_step: int | None = None
    reference: float | None = None  # the metric that early stopping measures improvement against
    without_better: int = 0  # evaluations since
    stopped: bool = False  # by early stopping
    evaluation_due: bool = False  # an evaluation of this step was cut short
    train_loss: float | None = None
    rows: int = 0  # rows trained on, counted for the speed
    training_seconds: float = 0.0  # without evaluations and checkpoints
    seconds: float = 0.0  # wall-clock time of all parts of the run

    def judge(self, value: float, greater_is_better: bool, arguments: TrainingArguments) -> None:
        """Take an evaluation's metric into account: is it the best so far, and has patience run out?"""
        sign = 1 if greater_is_better else -1
        if math.isfinite(value) and (self.best_metric is None or sign * (value - self.best_metric) > 0):
            self.best_metric, self.best_step = value, self.step
        threshold = arguments.early_stopping_threshold
        better = self.reference is None or sign * (value - self.reference) > threshold
        if math.isfinite(value) and better:
            self.reference, self.without_better = value, 0
        else:
            self.without_better += 1
        if arguments.early_stopping_patience and self.without_better >= arguments.early_stopping_patience:
            self.stopped = True


@dataclass
class TrainingState:
    """Holds the model and all that trains it."""

    model: nn.Module
    players: list[Player]
    average: WeightAverage | None
    scaler: torch.amp.GradScaler | None
    generator: torch.Generator  # of the augmentation, on the device
    position: Position
    accelerator: Accelerator
    carried: dict[int, torch.Tensor] = field(default_factory=dict)  # by micro-batch, with carry_state

    def process_tensors(self) -> list[checkpoints.Tensors]:
        """Collect each process's random states, and its buffers where every process has its own.

        Every process calls this."""
        tensors = {"random.cpu": torch.get_rng_state(), "random.transform": self.generator.get_state()}
        if self.accelerator.device.type == "cuda":
            tensors["random.cuda"] = torch.cuda.get_rng_state(self.accelerator.device)
        tensors |= {f"carried.{index}": value.cpu() for index, value in self.carried.items()}
        if self.accelerator.num_processes == 1:
            return [tensors]
        tensors |= {f"buffer.{name}": value.cpu() for name, value in self.model.named_buffers()}
        of_processes: list[Any] = [None] * self.accelerator.num_processes
        torch.distributed.all_gather_object(of_processes, tensors)
        return of_processes

    def write(
        self, path: Path, process_tensors: list[checkpoints.Tensors], agreement: dict[str, Any], *, finished: bool
    ) -> None:
        """Write a checkpoint, on the main process. Raises HubmodelsError when the disk refuses."""
        training = checkpoints.optimizer_tensors(self.players)
        if self.average:
            training |= {f"average.{name}": value for name, value in all_tensors(self.average.model).items()}
        for index, tensors in enumerate(process_tensors):
            training |= {f"process.{index}.{name}": value for name, value in tensors.items()}
        values = {
            "finished": finished,
            "position": dataclasses.asdict(self.position),
            "schedules": [player.scheduler.state_dict() for player in self.players],
            "scaler": self.scaler.state_dict() if self.scaler else None,
            "average_updates": self.average.num_updates if self.average else 0,
            "num_processes": self.accelerator.num_processes,
            "agreement": agreement,
        }
        checkpoints.write_checkpoint(path, all_tensors(self.model), training, values)

    def restore(self, path: Path, agreement: dict[str, Any]) -> list[str]:
        """Put everything back to where it was when the checkpoint was written.

        Returns:
            What the user should know: with another number of processes the random numbers are others.

        Raises:
            HubmodelsError: the checkpoint belongs to a run with other arguments, another model or other data.
        """
        model, training, saved = checkpoints.read_checkpoint(path)
        compare_agreements(path, saved["agreement"], agreement)
        checkpoints.load_tensors(self.model, model, path)
        checkpoints.load_optimizers(self.players, training)
        for player, schedule in zip(self.players, saved["schedules"], strict=True):
            player.scheduler.load_state_dict(schedule)
            for group, rate in zip(player.optimizer.param_groups, schedule["_last_lr"], strict=True):
                group["lr"] = rate
        if self.scaler:
            self.scaler.load_state_dict(saved["scaler"])
        if self.average:
            checkpoints.load_tensors(self.average.model, without_prefix(training, "average."), path)
            self.average.num_updates = saved["average_updates"]
        self.position = Position(**saved["position"])
        if saved["num_processes"] != self.accelerator.num_processes:
            return [
                f"going on with {self.accelerator.num_processes} process(es) instead of {saved['num_processes']}: each "
                "step has the same rows, dropout and augmentation draw other numbers, and a carried state begins anew"
            ]
        self._restore_process(without_prefix(training, f"process.{self.accelerator.process_index}."))
        return []

    @torch.no_grad()
    def _restore_process(self, tensors: checkpoints.Tensors) -> None:
        torch.set_rng_state(tensors["random.cpu"])
        if self.accelerator.device.type == "cuda" and "random.cuda" in tensors:
            torch.cuda.set_rng_state(tensors["random.cuda"], self.accelerator.device)
        if tensors["random.transform"].shape == self.generator.get_state().shape:  # else it was another kind of device
            self.generator.set_state(tensors["random.transform"])
        carried = without_prefix(tensors, "carried.")
        self.carried = {int(index): value.to(self.accelerator.device) for index, value in carried.items()}
        for name, buffer in self.model.named_buffers():
            if f"buffer.{name}" in tensors:
                buffer.copy_(tensors[f"buffer.{name}"])


def without_prefix(tensors: checkpoints.Tensors, prefix: str) -> checkpoints.Tensors:
    """Select the tensors whose names begin with the prefix, and name them without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def best_tensors(path: Path) -> checkpoints.Tensors:
    """Read the weights that were evaluated at a checkpoint: the averaged ones where there are any.

    Raises HubmodelsError when it is damaged."""
    checkpoints.check_checkpoint(path)
    model, training, _ = checkpoints.read_checkpoint(path)
    return without_prefix(training, "average.") or model


def make_agreement(
    arguments: TrainingArguments,
    model: nn.Module,
    num_rows: int | None,
    rows_per_step: int,
    recipe: dict[str, Any] | None,
) -> dict[str, Any]:
    """Collect what a run that goes on must have in common with the one that stopped, by the name to show."""
    free = FREE_ARGUMENTS
    if arguments.lr_scheduler_type in ("constant", "constant_with_warmup") and not 0 < arguments.warmup_steps < 1:
        free |= LENGTH_ARGUMENTS  # the schedule does not know the end, so the run may be made longer
    values = {name: value for name, value in dataclasses.asdict(arguments).items() if name not in free}
    values["rows in an optimizer step (batch size x accumulation x processes)"] = rows_per_step
    values["number of training rows"] = num_rows
    values["model class"] = type(model).__name__
    return {**values, **(recipe or {})}


def compare_agreements(path: Path, saved: dict[str, Any], current: dict[str, Any]) -> None:
    """Refuse to go on where a value differs. Raises HubmodelsError that names the first one."""
    saved, current = flatten(saved), flatten(current)
    for name in dict.fromkeys([*saved, *current]):
        if saved.get(name) != current.get(name):
            raise HubmodelsError(
                f"cannot go on from {path}: {name} was {saved.get(name)!r} and is now {current.get(name)!r}; give the "
                "old value, or start a new run in another --output_dir"
            )


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested mappings into one, with names like `model.hidden_sizes`."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat


def derive_seed(use: str, seed: int, process_index: int) -> int:
    """Make a seed of its own for each use and process."""
    return random.Random(f"{use} {seed} {process_index}").getrandbits(63)
