"""What a run writes down on its way: metrics.jsonl, trackers, the progress bar, the loss figure."""

import json
import math
import sys
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from tqdm.auto import tqdm

from .. import abilities
from ..figures import loss_figure, save_figure
from ..files import atomic_file

Entry = dict[str, Any]  # one line of metrics.jsonl


class StepValues:
    """Keeps losses and gradient norms of the steps since they were last read, on the device.

    Reading a loss in every step would make the host wait for the device every time."""

    def __init__(self, num_processes: int) -> None:
        self.num_processes = num_processes
        self.positions: list[tuple[int, int, int]] = []  # (step, epoch, step in the epoch)
        self.losses: list[torch.Tensor] = []  # one a player and step
        self.norms: list[torch.Tensor] = []
        self.has_measures: bool | None = None  # whether the model's outputs can hold any; None before the first
        self.measures: dict[str, list[torch.Tensor]] = {}  # what the model says of a step beside its loss, by name

    def measure(self, outputs: Any) -> None:
        """Keep a model output's `measures`, scalars by name, where it has any; of some only in some steps."""
        if self.has_measures is None:  # asked once: the outputs of a run are of one class, and asking takes 6 us
            self.has_measures = isinstance(outputs, abilities.GivesMeasures)
        if self.has_measures:
            for name, value in abilities.measures(outputs).items():
                self.measures.setdefault(name, []).append(value)

    def read_measures(self) -> dict[str, float]:
        """Give the mean of each measure over the steps that had it, and over the processes; forget them."""
        if not self.measures:
            return {}
        means = torch.stack([torch.stack(values).double().mean() for values in self.measures.values()])
        if self.num_processes > 1:
            torch.distributed.all_reduce(means)
            means /= self.num_processes
        names, self.measures = list(self.measures), {}
        return dict(zip(names, means.tolist(), strict=True))

    def read(self) -> tuple[list[tuple[int, int, int]], torch.Tensor, torch.Tensor]:
        """Give what S steps left since the last time, and forget it.

        Returns:
            Positions; losses (S, players), their mean over processes; norms (S, players), without clipping (S, 0).
        """
        positions, steps = self.positions, len(self.positions)
        if not steps:
            return [], torch.zeros(0, 1), torch.zeros(0, 0)
        losses = torch.stack(self.losses).double()
        if self.num_processes > 1:
            torch.distributed.all_reduce(losses)
            losses /= self.num_processes
        norms = torch.stack(self.norms).double() if self.norms else losses.new_zeros(0)
        values = torch.cat([losses, norms]).cpu()
        self.positions, self.losses, self.norms = [], [], []
        return positions, values[: len(losses)].view(steps, -1), values[len(losses) :].view(steps, -1)


class Records:
    """Writes metrics.jsonl, one JSON object a line, and shows the same on the way. Only the main process writes.

    Args:
        folder: the run's folder.
        step: the step that the run goes on from; later lines of an earlier try are dropped.
        notes: what the user should know before the first step.
    """

    def __init__(
        self, accelerator: Accelerator, folder: Path, step: int, total_steps: int, config: Entry, notes: list[str]
    ) -> None:
        self.folder = folder
        self.main = accelerator.is_main_process
        self.accelerator = accelerator
        self.history: list[Entry] = []
        self.path = path = folder / "metrics.jsonl"
        if self.main:
            self.history = [entry for entry in read_lines(path) if entry["step"] <= step] if step else []
            with atomic_file(path) as temporary:
                temporary.write_text("".join(json.dumps(entry) + "\n" for entry in self.history), encoding="utf-8")
            self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115 - close() closes it
        self.tracking = bool(accelerator.log_with)
        if self.tracking:
            plain = {name: value for name, value in config.items() if isinstance(value, int | float | str | bool)}
            accelerator.init_trackers("hubmodels", config=plain)
        self.bar = tqdm(total=total_steps, initial=step, desc="training", unit="step", disable=not self.main)
        for note in notes:
            self.say(note)

    def write(self, entry: Entry) -> None:
        """Write one line, with the numbers that JSON has not (a metric that is NaN) as null."""
        if self.main:
            entry = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in entry.items()}
            self.history.append(entry)
            self._file.write(json.dumps(entry) + "\n")
            self._file.flush()
        if self.tracking:
            values = {k: v for k, v in entry.items() if k != "step" and v is not None}
            self.accelerator.log(values, step=entry["step"])

    def show(self, step: int, **values: Any) -> None:
        """Bring the bar to this step."""
        if self.main:
            self.bar.set_postfix(values, refresh=False)
            self.bar.update(step - self.bar.n)

    def say(self, message: str) -> None:
        """Show a line above the bar."""
        if self.main:
            self.bar.write(message, file=sys.stderr)

    def close(self) -> None:
        """Close the bar and the file."""
        self.bar.close()
        if self.main:
            self._file.close()

    def finish(self, metric: str | None) -> None:
        """Draw the losses and `metric` to figures/loss.png and end the trackers."""
        if self.main:
            save_figure(loss_figure(self.history, metric), self.folder / "figures" / "loss.png")
        if self.tracking:
            for tracker in self.accelerator.trackers:  # end_training() would end the process group too
                tracker.finish()


def read_lines(path: Path) -> list[Entry]:
    """Read the entries of metrics.jsonl; a line cut short by a crash, and those after it, are left out."""
    entries: list[Entry] = []
    if not path.is_file():
        return entries
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            break
        if not isinstance(entry, dict) or "step" not in entry:
            break
        entries.append(entry)
    return entries
