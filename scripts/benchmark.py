"""How fast the training loop is, beside a loop written by hand and transformers' Trainer.

    python scripts/benchmark.py training [--dataset zalando-datasets/fashion_mnist] [--rounds 5]

Writes scripts/benchmarks/<date>-training.md. All methods train the same model with the same optimizer, schedule and
clipping. They take turns, round after round in one process, so that a busy machine slows all of them; a process each
for one thread and for all. Speed is rows a second from the first step to the last, without what comes before and after.
"""

import argparse
import copy
import functools
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import accelerate
import datasets
import numpy as np
import torch
import transformers
import yaml
from torch.utils.flop_counter import FlopCounterMode

from hubmodels import auto, families, steps
from hubmodels.cpu import cpu_name
from hubmodels.data import Batches, load_data
from hubmodels.data import columns as columns_module
from hubmodels.recipe import DataArguments, TrainingArguments
from hubmodels.tasks import get_task
from hubmodels.training import train

ROOT = Path(__file__).parents[1]
# bf16 tensor-core peaks without sparsity, in TFLOP/s, from NVIDIA's data sheets.
PEAKS = {"H200": 989, "H100": 989, "A100": 312, "L40S": 362, "L4": 121, "B200": 2250}


@dataclass
class Work:
    """What is trained. `rows` bounds the rows of one round, so that a slow model takes seconds too."""

    name: str
    family: str
    batch_size: int
    rows: int
    methods: tuple[str, ...]
    model: dict
    bf16: bool = False
    torch_compile: bool = False
    goal: float | None = None  # speed of our loop, as a share of the hand-written one


FLOATS, BYTES, OURS = "hand-written, floats", "hand-written, bytes", "hubmodels"
TENSORS, TRANSFORM = "Trainer, tensors", "Trainer, with_transform"


def list_works(num_rows: int) -> list[Work]:
    cnn = yaml.safe_load((ROOT / "model_cards" / "cnn-fashion-mnist" / "recipe.yaml").read_text())["model"]
    every, few = (FLOATS, BYTES, OURS, TENSORS, TRANSFORM), (FLOATS, BYTES, OURS)
    works = [
        Work("SimpleNet, batch 128", "mlp", 128, num_rows, every, {}, goal=0.85),
        Work("SimpleNet, batch 1024", "mlp", 1024, num_rows, (*few, TENSORS), {}, goal=0.95),
        Work(
            "released CNN, bf16, batch 128", "cnn", 128, min(num_rows, 5120), (*few, TENSORS), cnn, bf16=True, goal=0.97
        ),
    ]
    if torch.cuda.is_available():
        works[-1].rows = num_rows
        works.append(
            replace(
                works[-1],
                name="released CNN, bf16, compiled, batch 1024",
                batch_size=1024,
                torch_compile=True,
                methods=few,
            )
        )
    return works


class Data:
    """The training rows of an image data set in every form that a method wants."""

    def __init__(self, dataset: str, path: str | None) -> None:
        self.task = get_task("image-classification")()
        loaded = load_data(DataArguments(dataset=dataset, dataset_path=path, validation_fraction=0.001))
        self.rows = self.task.select(loaded.splits["train"])
        problem = steps.fit_problem(self.task, self.rows, checkpoint=None, seed=0)
        self.processor, self.values = problem.processor, problem.config_fields()
        started = time.perf_counter()
        self.columns = steps.encode_splits(problem, {"train": self.rows})["train"]
        self.encoding_seconds = time.perf_counter() - started
        self.transform = problem.transform(training=True)

    def __len__(self) -> int:
        return len(self.columns)


class First:
    """The first rows of columns."""

    def __init__(self, columns: object, num_rows: int) -> None:
        self.columns, self.num_rows = columns, num_rows

    def __len__(self) -> int:
        return self.num_rows

    def batch(self, rows: object) -> dict:
        return self.columns.batch(rows)

    def tensor(self, name: str) -> object:
        return self.columns.tensor(name)[: self.num_rows]


def make_model(work: Work, data: Data) -> object:
    torch.manual_seed(0)
    return families.build_model(work.family, data.task.head, {**data.values, **work.model})


def by_hand(work: Work, data: Data, model: torch.nn.Module, floats: bool) -> float:
    """The loop that somebody who cares for speed writes: everything in memory, whole batches by index, fused AdamW.

    Either pixels normalised once and kept as floats, or as bytes that are normalised in each step."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model.to(device).train()
    if work.family == "cnn":
        model.to(memory_format=torch.channels_last)
    forward = torch.compile(model) if work.torch_compile else model
    labels = data.columns.tensor("labels")[: work.rows].to(device)
    pixels = data.columns.tensor("pixel_values")[: work.rows]
    mean = torch.tensor(data.processor.image_mean, device=device).view(1, -1, 1, 1) * 255
    factor = 1 / (torch.tensor(data.processor.image_std, device=device).view(1, -1, 1, 1) * 255)
    pixels = (pixels.to(device).float() - mean) * factor if floats else pixels.to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0, fused=True)
    scheduler = transformers.get_scheduler("cosine", optimizer, 0, -(-work.rows // work.batch_size))
    if work.torch_compile:
        forward(pixel_values=pixels[: work.batch_size].float(), labels=labels[: work.batch_size]).loss.backward()
        optimizer.zero_grad()
    synchronize(device)
    started = time.perf_counter()
    for rows in torch.randperm(work.rows, device=device).split(work.batch_size):
        batch = pixels[rows]
        if not floats:
            batch = (batch.float() - mean) * factor
        if work.family == "cnn":
            batch = batch.contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16, enabled=work.bf16):
            loss = forward(pixel_values=batch, labels=labels[rows]).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
    synchronize(device)
    return work.rows / (time.perf_counter() - started)


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def ours(work: Work, data: Data, model: torch.nn.Module) -> float:
    """`hubmodels train` with its defaults, but for evaluations and checkpoints."""
    num_epochs = 3 if work.torch_compile else 1  # the first compiles
    arguments = TrainingArguments(
        num_train_epochs=num_epochs, per_device_train_batch_size=work.batch_size, bf16=work.bf16, learning_rate=1e-3,
        torch_compile=work.torch_compile, eval_strategy="no", save_strategy="no",
    )  # fmt: skip
    columns = data.columns if work.rows == len(data) else First(data.columns, work.rows)
    with tempfile.TemporaryDirectory() as folder:
        batches = Batches(columns, seed=0)
        run = train(model, batches, arguments, transform=data.transform, output_dir=folder)
    if num_epochs == 1:
        return run.samples_per_second
    return statistics.harmonic_mean(line["samples_per_second"] for line in run.history if line["epoch"] > 1)


def trainer(work: Work, data: Data, model: torch.nn.Module, with_transform: bool) -> float:
    """transformers' Trainer with its defaults, on tensors in memory or on images that are decoded as they come."""
    mean, std = (np.array(value, np.float32) for value in (data.processor.image_mean, data.processor.image_std))
    rows: object
    if with_transform:
        image, label = list(data.rows.features)[:2]

        def convert(batch: dict) -> dict:
            arrays = [np.asarray(item, np.float32) / 255 for item in batch[image]]
            arrays = [array[None] if array.ndim == 2 else array.transpose(2, 0, 1) for array in arrays]
            pixels = [torch.from_numpy((array - mean[:, None, None]) / std[:, None, None]) for array in arrays]
            return {"pixel_values": pixels, "labels": batch[label]}

        rows = data.rows.cast_column(image, datasets.Image()).select(range(work.rows)).with_transform(convert)
    else:
        pixels = data.columns.tensor("pixel_values")[: work.rows].float() / 255
        pixels = (pixels - torch.from_numpy(mean).view(1, -1, 1, 1)) / torch.from_numpy(std).view(1, -1, 1, 1)
        labels = data.columns.tensor("labels")[: work.rows]
        rows = [{"pixel_values": pixels[index], "labels": labels[index]} for index in range(work.rows)]
    moments = []

    class Stamp(transformers.TrainerCallback):
        def on_train_begin(self, *_: object, **__: object) -> None:
            moments.append(time.perf_counter())

        def on_train_end(self, *_: object, **__: object) -> None:
            moments.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        arguments = transformers.TrainingArguments(
            folder, num_train_epochs=1, per_device_train_batch_size=work.batch_size, bf16=work.bf16, learning_rate=1e-3,
            lr_scheduler_type="cosine", torch_compile=work.torch_compile, save_strategy="no", logging_steps=50,
            report_to="none", remove_unused_columns=False, use_cpu=not torch.cuda.is_available(), disable_tqdm=True,
        )  # fmt: skip
        transformers.Trainer(model=model, args=arguments, train_dataset=rows, callbacks=[Stamp()]).train()
    return work.rows / (moments[-1] - moments[0])


METHODS: dict[str, Callable[[Work, Data, torch.nn.Module], float]] = {
    FLOATS: lambda work, data, model: by_hand(work, data, model, floats=True),
    BYTES: lambda work, data, model: by_hand(work, data, model, floats=False),
    OURS: ours,
    TENSORS: lambda work, data, model: trainer(work, data, model, with_transform=False),
    TRANSFORM: lambda work, data, model: trainer(work, data, model, with_transform=True),
}


def measure(works: list[Work], data: Data, rounds: int) -> dict[str, dict[str, list[float]]]:
    """Rows a second of every method in every round but the first, which warms up."""
    transformers.logging.set_verbosity_error()
    speeds: dict[str, dict[str, list[float]]] = {work.name: {name: [] for name in work.methods} for work in works}
    for number in range(rounds + 1):
        for work in works:
            model = make_model(work, data)
            for name in work.methods:
                speed = METHODS[name](work, data, copy.deepcopy(model))
                print(f"round {number}  {work.name:36} {name:24} {speed:12,.0f} rows/s", file=sys.stderr, flush=True)
                if number:
                    speeds[work.name][name].append(speed)
    return speeds


def peak_memory(data: Callable[[], Data]) -> float:
    """MB of resident memory that an epoch of SimpleNet takes at its peak, above what the imports took."""
    accelerate.Accelerator()
    torch.optim.AdamW([torch.zeros(1, requires_grad=True)])  # imports what every optimizer imports

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    loaded = data()
    work = Work("SimpleNet, batch 128", "mlp", 128, len(loaded), (OURS,), {})
    ours(work, loaded, make_model(work, loaded))
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def utilisation(work: Work, data: Data, speed: float) -> float | None:
    """Model FLOPs utilisation: FLOPs of a row forward and backward, times rows a second, over the GPU's bf16 peak."""
    name = torch.cuda.get_device_name()
    peak = next((value for key, value in PEAKS.items() if key in name), None)
    if peak is None:
        return None
    model, counter = make_model(work, data).cuda(), FlopCounterMode(display=False)
    batch = data.transform({key: value[:8].cuda() for key, value in data.columns.batch(torch.arange(8)).items()}, None)
    with counter:
        model(**batch).loss.backward()
    return counter.get_total_flops() / 8 * speed / (peak * 1e12)


def run_worker(arguments: argparse.Namespace) -> None:
    """One process of the benchmark: prints its figures as JSON on the last line."""
    torch.set_num_threads(arguments.threads)
    if arguments.worker == "speed":
        data = Data(arguments.dataset, arguments.dataset_path)
        works = list_works(len(data))
        speeds = measure(works, data, arguments.rounds)
        result: dict = {"speeds": speeds, "goals": {work.name: work.goal for work in works}}
        if torch.cuda.is_available():
            result["mfu"] = {
                work.name: utilisation(work, data, statistics.median(speeds[work.name][OURS]))
                for work in works
                if work.bf16
            }
    elif arguments.worker == "start":
        auto.list_processors()  # imports what a processor needs: the time of imports is not that of the data
        started = time.perf_counter()
        data = Data(arguments.dataset, arguments.dataset_path)
        result = {"seconds": time.perf_counter() - started, "encoding": data.encoding_seconds}
    else:
        if arguments.worker == "mapped":
            columns_module.Columns = functools.partial(columns_module.Columns, resident_bytes=0)
        result = {"megabytes": peak_memory(lambda: Data(arguments.dataset, arguments.dataset_path))}
    print(json.dumps(result))


def spawn(worker: str, arguments: argparse.Namespace, threads: int, cache: str | None = None) -> dict:
    """The figures of a worker process."""
    command = [sys.executable, __file__, "training", "--worker", worker, "--threads", str(threads)]
    command += ["--dataset", arguments.dataset, "--rounds", str(arguments.rounds)]
    command += ["--dataset_path", arguments.dataset_path] if arguments.dataset_path else []
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    environment |= {"HF_DATASETS_CACHE": cache} if cache else {}
    done = subprocess.run(command, stdout=subprocess.PIPE, env=environment, check=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def speed_table(speeds: dict[str, dict[str, list[float]]], goals: dict[str, float | None]) -> list[str]:
    """Markdown rows: medians, ratios to the faster hand-written loop, and our factor over each method."""
    lines = [
        "| work | method | rows/s, median | lowest - highest | of hand-written | hubmodels is |",
        "|---|---|---|---|---|---|",
    ]
    for work, methods in speeds.items():
        medians = {name: statistics.median(values) for name, values in methods.items()}
        hand = max(medians[FLOATS], medians[BYTES])
        for name, values in methods.items():
            spread = f"{min(values):,.0f} - {max(values):,.0f}"
            share = f"{medians[name] / hand:.2f}" + (f" (goal {goals[work]})" if name == OURS and goals[work] else "")
            factor = "" if name == OURS else f"{medians[OURS] / medians[name]:.2f} x as fast"
            lines.append(f"| {work} | {name} | {medians[name]:,.0f} | {spread} | {share} | {factor} |")
    return lines


def report(arguments: argparse.Namespace) -> Path:
    """Measure everything and write the Markdown file."""
    everything = torch.get_num_threads()
    lines = [
        f"# Training speed, {datetime.now(UTC).date().isoformat()}",
        "",
        f"`{' '.join(['python', *sys.argv])}`",
        "",
    ]
    lines += [describe_machine(everything), ""]
    lines += [
        "1.00 is the faster of the hand-written loops: pixels normalised once as floats, or in each step as bytes.",
        "",
    ]
    for threads in dict.fromkeys((1, everything)):
        result = spawn("speed", arguments, threads)
        lines += [
            f"## {threads} thread{'s' if threads > 1 else ''}",
            "",
            *speed_table(result["speeds"], result["goals"]),
            "",
        ]
        for work, share in result.get("mfu", {}).items():
            lines += [f"Model FLOPs utilisation, {work}: {'unknown peak' if share is None else f'{share:.1%}'}", ""]
    with tempfile.TemporaryDirectory() as cache:
        first, second = (spawn("start", arguments, 1, cache) for _ in range(2))
    resident, mapped = (spawn(name, arguments, 1)["megabytes"] for name in ("resident", "mapped"))
    lines += [
        "## Start and memory", "", "| what | measured |", "|---|---|",
        f"| loading and encoding the data set the first time, after the imports | {first['seconds']:.2f} s |",
        f"| the same from the cache, a second start | {second['seconds']:.2f} s |",
        f"| peak memory above the imports, an epoch of SimpleNet, rows resident | {resident:.0f} MB |",
        f"| the same, rows memory-mapped | {mapped:.0f} MB |", "",
    ]  # fmt: skip
    text = "\n".join(lines)
    path = ROOT / "scripts" / "benchmarks" / f"{datetime.now(UTC).date().isoformat()}-training.md"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    print(text)
    return path


def describe_machine(threads: int) -> str:
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    versions = ", ".join(f"{item.__name__} {item.__version__}" for item in (torch, transformers, accelerate, datasets))
    return f"{cpu_name()}, {threads} threads, {device}; Python {platform.python_version()}, {versions}."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["training"])
    parser.add_argument("--dataset", default="zalando-datasets/fashion_mnist", help="an image classification data set")
    parser.add_argument("--dataset_path", help="a local copy of it")
    parser.add_argument("--rounds", type=int, default=5, help="rounds that count, after one to warm up")
    parser.add_argument("--worker", choices=["speed", "start", "resident", "mapped"], help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, default=1, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    run_worker(arguments) if arguments.worker else report(arguments)


if __name__ == "__main__":
    main()
