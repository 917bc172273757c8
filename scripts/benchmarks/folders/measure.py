"""Measure how long a folder of small images takes until the training begins, beside `datasets` alone.

    python scripts/benchmarks/folders/measure.py 5000 50000 > scripts/benchmarks/folders/result.md

`datasets`: `load_dataset("imagefolder")`, then every image decoded once to an array. Ours: all that lies before the
first training step (list, hash, decode, statistics, encode), first with an empty cache, then again.
"""

import os
import platform
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import datasets
import numpy as np
from PIL import Image

from hubmodels.data import load_data
from hubmodels.recipe import Recipe
from hubmodels.recipes import parse_recipe
from hubmodels.steps import drop_unreadable, encode_splits, fit_problem, select_rows, suit_task

SIDE, NUM_CLASSES = 28, 10


def write_folder(folder: Path, count: int) -> None:
    """Write grey PNGs of 28 x 28 pixels in ten folders of classes."""
    pixels = np.random.default_rng(0).integers(0, 256, (count, SIDE, SIDE), dtype=np.uint8)
    for number in range(NUM_CLASSES):
        (folder / f"class{number}").mkdir(parents=True)
    for index in range(count):
        Image.fromarray(pixels[index]).save(folder / f"class{index % NUM_CLASSES}" / f"{index:06}.png")


def read_by_datasets(folder: Path, cache: Path) -> None:
    """List and decode as `datasets` does."""
    rows = datasets.load_dataset("imagefolder", data_dir=os.fspath(folder), split="train", cache_dir=os.fspath(cache))
    for row in rows:
        np.asarray(row["image"])


def prepare(folder: Path) -> None:
    """Do all that `hubmodels train` does before the first step."""
    values = {"family": "mlp", "task": "image-classification", "data": {"dataset": os.fspath(folder)}}
    recipe = Recipe.from_dict(values, "this script")
    arguments, task, training = parse_recipe(recipe)
    loaded = load_data(arguments, task.units)
    rows = drop_unreadable(task, select_rows(task, loaded.splits), loaded.origins, arguments.max_unreadable)
    problem = fit_problem(suit_task(task, rows["train"], recipe), rows["train"], None, training.seed)
    encode_splits(problem, rows, loaded.origins)


def timed(work, *arguments: object) -> float:
    """Return the seconds that a call takes."""
    started = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - started


def main() -> None:
    """Print a table."""
    datasets.disable_progress_bars()
    print(
        f"# Folders of PNGs, {date.today()}, {os.cpu_count()} CPUs ({platform.machine()}), load {os.getloadavg()[0]:.1f}\n"
    )
    print("| images | datasets: list and decode | until the training begins | ratio | again, from the cache |")
    print("|---|---|---|---|---|")
    for count in map(int, sys.argv[1:]):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name, "images")
            write_folder(folder, count)
            datasets.config.HF_DATASETS_CACHE = Path(name, "cache")
            ours = timed(prepare, folder)
            again = timed(prepare, folder)
            alone = timed(read_by_datasets, folder, Path(name, "theirs"))
            print(f"| {count:,} | {alone:.1f} s | {ours:.1f} s | {ours / alone:.2f} | {again:.1f} s |", flush=True)


if __name__ == "__main__":
    main()
