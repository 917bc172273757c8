"""What a training leaves for a person to read."""

from dataclasses import dataclass, field
from typing import Any

from ..figures import loss_figure
from ..report import Figure


@dataclass
class Run:
    """Holds what a training gave beside the model's weights."""

    steps: int  # optimizer steps
    epochs: float  # passes over the rows
    seconds: float  # wall-clock time, evaluations and earlier parts of a resumed run included
    train_loss: float | None  # mean over the last logged steps
    samples_per_second: float  # rows through training steps a second, without evaluations and checkpoints
    best_metric: float | None
    best_step: int | None
    metric: str | None  # name of the metric that decided
    stopped_early: bool
    hardware: str
    history: list[dict[str, Any]] = field(repr=False)  # the lines of metrics.jsonl; empty but on the main process

    def figures(self) -> list[Figure]:
        """Draw the loss over the steps, with the validation metric."""
        caption = f"Training and validation over {self.steps:,} optimizer steps ({self.epochs:g} epochs)."
        return [Figure("loss", caption, loss_figure(self.history, self.metric))]
