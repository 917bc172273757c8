"""Do a GAN's samples help a classifier that has few images? Training on some real images a class, with and without
samples of a GAN that saw only these.

    python scripts/benchmark_augmentation.py --dataset_path FOLDER --real_per_class 100 300 1000 --seeds 3

prints a Markdown table: the test accuracy of `--classifier`'s recipe, cut to `--classifier_steps` steps, over seeds.
The GAN is trained by `--gan`'s recipe for `--gan_steps` steps on the same real images, once a size.
"""

import argparse
import contextlib
import io
import json
import sys
from pathlib import Path

import datasets
import numpy as np

from hubmodels.cli import main as hubmodels
from hubmodels.formatting import format_spread


def call(*words: object) -> str:
    """What `hubmodels WORDS` prints; its errors end the benchmark."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        code = hubmodels([str(word) for word in words])
    if code:
        sys.exit(f"hubmodels {' '.join(map(str, words))} failed")
    return output.getvalue()


def write_subset(dataset: str, count: int, folder: Path) -> Path:
    """`count` training images of each class, the first ones, and all test images, as a data set of its own."""
    whole = datasets.load_dataset(dataset)
    labels = np.array(whole["train"]["label"])
    rows = np.sort(np.concatenate([np.flatnonzero(labels == label)[:count] for label in np.unique(labels)]))
    folder.mkdir(parents=True, exist_ok=True)
    whole["train"].select(rows).to_parquet(folder / "train-00000-of-00001.parquet")
    whole["test"].to_parquet(folder / "test-00000-of-00001.parquet")
    return folder


def accuracy(arguments: argparse.Namespace, data: Path, seed: int, folder: Path) -> float:
    """The test accuracy of the classifier's recipe on these images."""
    call(
        "train", "--config", f"{arguments.classifier}/recipe.yaml", "--dataset", data, "--output_dir", folder,
        "--max_steps", arguments.classifier_steps, "--seed", seed, "--no_baseline", "--eval_strategy", "no",
        "--save_strategy", "no",
    )  # fmt: skip
    metrics = json.loads((folder / "release" / "metrics.json").read_text())["results"]["metrics"]
    return metrics["accuracy"]["value"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset_path", required=True, help="what datasets.load_dataset takes, with image and label")
    parser.add_argument("--real_per_class", type=int, nargs="+", default=[100, 300, 1000])
    parser.add_argument("--samples_per_class", type=int, help="as many as there are real images when absent")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--gan", default="model_cards/gan-fashion-mnist", help="release whose recipe trains the GAN")
    parser.add_argument("--gan_steps", type=int, default=2000)
    parser.add_argument(
        "--classifier", default="model_cards/cnn-fashion-mnist", help="release whose recipe is followed"
    )
    parser.add_argument("--classifier_steps", type=int, default=500)
    parser.add_argument("--output_dir", type=Path, default=Path("runs/augmentation"))
    arguments = parser.parse_args()
    print("| real images a class | without samples | with samples | difference |\n|---:|---:|---:|---:|")
    for count in arguments.real_per_class:
        folder = arguments.output_dir / str(count)
        real, more = write_subset(arguments.dataset_path, count, folder / "real"), folder / "more"
        call(
            "train", "--config", f"{arguments.gan}/recipe.yaml", "--dataset", real, "--output_dir", folder / "gan",
            "--max_steps", arguments.gan_steps, "--no_baseline", "--eval_strategy", "no", "--save_strategy", "no",
            "--max_eval_samples", 1000,
        )  # fmt: skip
        call(
            "augment", folder / "gan" / "release", "--dataset", real, "--per_class",
            arguments.samples_per_class or count, "--output_dir", more, "--validation_fraction", 0.02,
        )  # fmt: skip
        plain, joined = [], []
        for seed in range(arguments.seeds):
            plain.append(accuracy(arguments, real, seed, folder / f"plain-{seed}"))
            joined.append(accuracy(arguments, more, seed, folder / f"joined-{seed}"))
        gaps = [after - before for before, after in zip(plain, joined, strict=True)]
        cells = [format_spread(plain), format_spread(joined), format_spread(gaps, "+")]
        print(f"| {count} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
