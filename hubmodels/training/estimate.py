"""How long a training will take, by a few of its own steps."""

import copy
import dataclasses
import math
import tempfile
from dataclasses import dataclass

from torch import nn

from ..recipe import TrainingArguments
from .contracts import TrainingBatches, Transform
from .loop import train

WARM_STEPS, TIMED_STEPS = 2, 6  # the first steps allocate memory and choose kernels


@dataclass(frozen=True)
class TrainingEstimate:
    """Holds how long a training will take, as far as a few steps tell."""

    steps: int  # optimizer steps of the whole training
    seconds_per_step: float

    @property
    def seconds(self) -> float:
        """Return the time of all steps, without evaluations and checkpoints, in seconds."""
        return self.steps * self.seconds_per_step


def estimate(
    model: nn.Module,
    batches: TrainingBatches,
    arguments: TrainingArguments,
    transform: Transform | None,
    weighted: bool = False,
) -> TrainingEstimate:
    """Take a few training steps of a copy of the model, and time them.

    Args: as `train` takes them.

    Raises:
        HubmodelsError: what would end the training ends the estimate too.
    """
    rows_per_step = arguments.per_device_train_batch_size * arguments.gradient_accumulation_steps
    steps = arguments.max_steps
    if steps < 1:
        steps = math.ceil(arguments.num_train_epochs * batches.steps_per_epoch(rows_per_step))
    seconds = 0.0
    for count in (WARM_STEPS, TIMED_STEPS):
        few = dataclasses.replace(
            arguments, max_steps=count, eval_strategy="no", save_strategy="no", load_best_model_at_end=False,
            early_stopping_patience=None, resume_from_checkpoint=None, report_to=None, auto_find_batch_size=False,
        )  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            run = train(copy.deepcopy(model), batches, few, transform=transform, output_dir=folder, weighted=weighted)
        seconds = run.seconds / count
    return TrainingEstimate(steps, seconds)
