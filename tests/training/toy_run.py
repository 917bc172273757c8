"""Small trainings for the tests, also as processes of their own: `torchrun ... toy_run.py JOB.json`, `Worker(job)`."""

import contextlib
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import torch
import torch._dynamo  # the first optimizer imports it, 2 s in every worker if not here
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional
from transformers.utils import ModelOutput

from hubmodels.data import Batches
from hubmodels.recipe import TrainingArguments
from hubmodels.training import Run, train

WIDTH = 5  # values in a window

torch.set_num_threads(1)
os.environ["ACCELERATE_USE_CPU"] = "true"  # what is proved here is proved on the CPU


class ToyColumns:
    """Grey 6 x 6 images of three classes, with a latent vector a row for the GAN."""

    def __init__(self, num_rows: int = 150) -> None:
        generator = torch.Generator().manual_seed(0)
        self.columns = {
            "labels": torch.randint(3, (num_rows,), generator=generator),
            "latents": torch.randn(num_rows, 4, generator=generator),
            "rows": torch.arange(num_rows),
        }
        noise = torch.randint(120, (num_rows, 1, 6, 6), generator=generator)
        self.columns["pixel_values"] = (noise + 60 * self.columns["labels"].view(-1, 1, 1, 1)).to(torch.uint8)

    def __len__(self) -> int:
        return len(self.columns["labels"])

    def batch(self, rows: torch.Tensor) -> dict[str, torch.Tensor]:
        return {name: column[rows] for name, column in self.columns.items()}

    def tensor(self, name: str) -> torch.Tensor:
        return self.columns[name]


@dataclass
class ToyOutput(ModelOutput):
    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None


class ToyClassifier(nn.Module):
    def __init__(self, norm: bool = True, dropout: float = 0.2) -> None:
        super().__init__()
        self.config = SimpleNamespace(num_labels=3, problem_type=None)
        self.convolution = nn.Conv2d(1, 4, 3)
        self.norm = nn.BatchNorm2d(4) if norm else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(64, 3)

    def forward(self, pixel_values: torch.Tensor, labels: torch.Tensor | None = None) -> ToyOutput:
        hidden = self.norm(self.convolution(pixel_values)).relu()
        logits = self.classifier(self.dropout(hidden.flatten(1)))
        loss = None if labels is None else functional.cross_entropy(logits, labels)
        return ToyOutput(loss=loss, logits=logits)


class ToyGan(nn.Module):
    """Non-saturating losses with an R1 penalty on the real images, so that the loop meets second derivatives."""

    players = {"generator": "generator", "discriminator": "discriminator"}  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__()
        self.generator = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 36), nn.Unflatten(1, (1, 6, 6)))
        self.discriminator = nn.Sequential(nn.Flatten(), nn.Linear(36, 16), nn.Tanh(), nn.Linear(16, 1))

    def forward(self, pixel_values: torch.Tensor, latents: torch.Tensor, player: str) -> ToyOutput:
        if player == "generator":
            return ToyOutput(loss=functional.softplus(-self.discriminator(self.generator(latents))).mean())
        real = pixel_values.clone().requires_grad_()
        score = self.discriminator(real)
        (slope,) = torch.autograd.grad(score.sum(), real, create_graph=True)
        fake = self.discriminator(self.generator(latents).detach())
        loss = functional.softplus(-score).mean() + functional.softplus(fake).mean()
        return ToyOutput(loss=loss + 0.5 * slope.flatten(1).square().sum(1).mean())


class ToyRecurrence(nn.Module):
    """A GRU that says the next value of a series; its state has one row a lane."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.cell, self.out = nn.GRU(1, 8, batch_first=True), nn.Linear(8, 1)
        self.given: list[torch.Tensor | None] = []

    def forward(self, values: torch.Tensor, state: torch.Tensor | None = None) -> SimpleNamespace:
        self.given.append(state)
        hidden, last = self.cell(values[:, :-1, None], None if state is None else state.transpose(0, 1).contiguous())
        said = self.out(hidden)[..., 0]
        return SimpleNamespace(loss=functional.mse_loss(said, values[:, 1:]), said=said, state=last.transpose(0, 1))


class ToyWindows:
    """Consecutive windows of one series, each with the first value of the next."""

    def __init__(self, num_rows: int = 27) -> None:
        self.series = torch.sin(torch.arange(num_rows * WIDTH + 1) * 0.7)
        self.num_rows = num_rows

    def __len__(self) -> int:
        return self.num_rows

    def batch(self, rows: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"values": self.series[rows[:, None] * WIDTH + torch.arange(WIDTH + 1)]}


class WeightedToys(ToyColumns):
    """Toys whose rows weigh 0 to 3."""

    def __init__(self, num_rows: int = 150) -> None:
        super().__init__(num_rows)
        self.columns["sample_weight"] = torch.arange(num_rows) % 4.0


def plain(batch: dict[str, torch.Tensor], generator: torch.Generator | None) -> dict[str, torch.Tensor]:
    """Pixels as numbers around 0, and the labels."""
    weights = {name: batch[name] for name in ("sample_weight",) if name in batch}
    return {"pixel_values": batch["pixel_values"].float() / 128 - 1, "labels": batch["labels"], **weights}


def augmented(batch: dict[str, torch.Tensor], generator: torch.Generator | None) -> dict[str, torch.Tensor]:
    """`plain` with noise and random flips."""
    result = plain(batch, generator)
    pixels = result["pixel_values"]
    flip = torch.rand(len(pixels), 1, 1, 1, generator=generator) < 0.5
    noise = 0.1 * torch.randn(pixels.shape, generator=generator)
    return {**result, "pixel_values": torch.where(flip, pixels.flip(-1), pixels) + noise}


def unchanged(batch: dict[str, torch.Tensor], generator: torch.Generator | None) -> dict[str, torch.Tensor]:
    return batch


def for_gan(batch: dict[str, torch.Tensor], generator: torch.Generator | None) -> dict[str, torch.Tensor]:
    return {"pixel_values": plain(batch, generator)["pixel_values"], "latents": batch["latents"]}


def make_model(kind: str, **options: object) -> nn.Module:
    torch.manual_seed(7)
    kinds = {"gan": ToyGan, "classifier": ToyClassifier, "recurrence": ToyRecurrence}
    return kinds[kind](**options)


def run_toy(output_dir: str | Path, kind: str = "classifier", **options: object) -> tuple[nn.Module, Run]:
    """Train a toy; `options` are training arguments or what is popped below: `pause` is seconds a micro-batch, `wrap`
    makes a transform of the transform."""
    model = options.pop("network", None) or make_model(kind, **options.pop("model", {}))
    transform = {"gan": for_gan, "recurrence": unchanged}.get(kind, plain)
    transform = augmented if options.pop("augment", False) else transform
    pause, wrap = options.pop("pause", 0), options.pop("wrap", None)
    batches = options.pop("batches", None)
    num_rows, workers = options.pop("num_rows", 150), options.pop("num_workers", 0)
    names = ("evaluate", "recipe", "greater_is_better", "weighted")
    extra = {name: options.pop(name) for name in names if name in options}

    def slow(batch: dict, generator: torch.Generator | None) -> dict:
        time.sleep(pause)
        return transform(batch, generator)

    defaults = {"per_device_train_batch_size": 32, "num_train_epochs": 2, "logging_steps": 1, "learning_rate": 0.01}
    arguments = TrainingArguments(**{**defaults, **options})
    toys = WeightedToys if extra.get("weighted") else ToyColumns
    columns = ToyWindows() if kind == "recurrence" else toys(num_rows)
    lanes = arguments.carry_state
    batches = batches or Batches(columns, seed=arguments.seed, num_workers=workers, in_lanes=lanes)
    wrapped = wrap(transform) if wrap else slow if pause else transform
    run = train(model, batches, arguments, transform=wrapped, output_dir=output_dir, **extra)
    return model, run


class Stop(Exception):
    """Ends a run as a crash would, without its leave to write anything."""


def crash_after(batches: int) -> Callable:
    """For `wrap`: a transform that raises Stop after this many micro-batches."""
    count = 0

    def wrap(transform: Callable) -> Callable:
        def counted(batch: dict, generator: torch.Generator | None) -> dict:
            nonlocal count
            count += 1
            if count > batches:
                raise Stop
            return transform(batch, generator)

        return counted

    return wrap


def do_job(job: dict) -> None:
    """Train as `job` says and leave `final.safetensors` and `losses.json` in its folder."""
    job = dict(job)
    folder = Path(job.pop("output_dir"))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"process-{os.environ.get('RANK', 0)}").write_text(str(os.getpid()))
    if crash := job.pop("crash_after", 0):
        with contextlib.suppress(Stop):
            run_toy(folder, job.pop("kind", "classifier"), wrap=crash_after(crash), **job)
        return
    if seconds := job.pop("slow_evaluation", 0):
        job["evaluate"] = lambda model: time.sleep(seconds) or ({"accuracy": 0.5}, [])
    model, run = run_toy(folder, job.pop("kind", "classifier"), **job)
    if int(os.environ.get("RANK", 0)) == 0:
        save_file(
            {name: tensor.contiguous() for name, tensor in model.state_dict().items()}, folder / "final.safetensors"
        )
        (folder / "losses.json").write_text(json.dumps([line["loss"] for line in run.history if "loss" in line]))


def work(job: dict, environment: dict[str, str], log: str) -> None:
    """The body of a `Worker`: prints go to its log, as on a command line HubmodelsError ends with code 2."""
    from hubmodels.errors import HubmodelsError

    os.environ.update(environment)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    try:
        if limit := job.pop("largest_file", 0):
            import resource

            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        do_job(job)
    except HubmodelsError as error:
        print("HubmodelsError:", error, flush=True)
        raise SystemExit(2) from None


class Worker:
    """A process of its own that does a job. Forked from a server that has imported everything: 0.1 s instead of 6 s."""

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["toy_run"])

    def __init__(self, job: dict, log: Path, environment: dict[str, str] | None = None) -> None:
        self.log = log
        self.folder = Path(job["output_dir"])
        # The server looks for what it imports in PYTHONPATH only.
        paths = [str(Path(__file__).parent), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
        os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(filter(None, paths)))
        self.process = self.context.Process(target=work, args=(job, environment or {}, str(log)))
        self.process.start()

    def signal(self, number: int) -> None:
        os.kill(self.process.pid, number)

    def wait(self, seconds: float = 60) -> int:
        """The exit code, negative for a signal."""
        self.process.join(seconds)
        assert self.process.exitcode is not None, f"still running after {seconds} s: {self.log.read_text()}"
        return self.process.exitcode

    def wait_for_step(self, step: int, seconds: float = 60) -> None:
        """Until metrics.jsonl holds a line of this step or a later one."""
        path = self.folder / "metrics.jsonl"
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            lines = path.read_text().splitlines() if path.exists() else []
            if lines and lines[-1].endswith("}") and json.loads(lines[-1])["step"] >= step:
                return
            assert self.process.is_alive(), f"ended early: {self.log.read_text()}"
            time.sleep(0.002)
        raise AssertionError(f"step {step} not reached in {seconds} s: {self.log.read_text()}")


if __name__ == "__main__":
    for each in json.loads(Path(sys.argv[1]).read_text()):
        do_job(each)
    sys.stdout.flush()
    os._exit(0)  # gloo's threads abort about one exit in thirty where they are taken down (torch 2.13)
