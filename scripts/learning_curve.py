"""When is deep learning worth it? The networks of released recipes and classical methods on ever more training rows.

    python scripts/learning_curve.py measure --fashion_mnist FOLDER --california_housing FOLDER     # hours on 2 cores
    python scripts/learning_curve.py draw                       # learning_curve.png and .md, from what was measured

Each seed draws its own rows of the training split, and every method gets these rows alone: what it stops or chooses by
is set aside from them. All are measured on the whole test split. A network takes as many steps as its recipe's entry in
`CURVES` says for up to 1,000 rows and, beyond, that times the square root of rows / 1,000.

`measure` adds a line to `scripts/benchmarks/learning_curve.jsonl` for each number and leaves out what stands there:
it may be stopped, and run several times at once with other `--methods`.
"""

import argparse
import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hubmodels.figures import CYCLE, house_style, new_figure, save_figure
from hubmodels.formatting import format_spread

FOLDER = Path(__file__).parent / "benchmarks"
MODEL_CARDS = Path(__file__).parent.parent / "model_cards"
STEPS_FOR = 1_000  # rows up to which a network takes its least number of steps


@dataclass(frozen=True)
class Curve:
    """What is measured on one data set."""

    dataset: str  # its Hub id, for the data that --<name> does not replace
    rows: tuple[int, ...]
    steps: dict[str, int]  # released recipe -> optimizer steps on few rows; classical methods are fitted by the last
    metric: str
    label: str  # of the metric's axis
    greater_is_better: bool
    classical: dict[str, str]  # how a baseline's name begins -> what it is called here


CURVES = {
    "fashion_mnist": Curve(
        dataset="zalando-datasets/fashion_mnist",
        rows=(100, 300, 1_000, 3_000, 10_000, 60_000),
        steps={"cnn-fashion-mnist": 200, "mlp-fashion-mnist": 250},
        metric="accuracy",
        label="test accuracy",
        greater_is_better=True,
        classical={"logistic regression": "logistic regression"},
    ),
    "california_housing": Curve(
        dataset="california_housing",
        rows=(300, 1_000, 3_000, 13_000),
        steps={"mlp-california-housing": 2_000},
        metric="rmse",
        label="test RMSE (US dollars)",
        greater_is_better=False,
        classical={"histogram gradient boosting": "gradient boosting", "ridge regression": "ridge regression"},
    ),
}
BOOSTING = "gradient boosting"


def draw_rows(data: Any, count: int, seed: int, folder: Path) -> Path:
    """A data set of `count` training rows, drawn by the seed, and all test rows; no validation rows."""
    rows = np.sort(np.random.default_rng(seed).permutation(len(data["train"]))[:count])
    data["train"].select(rows).to_parquet(folder / "train-00000-of-00001.parquet")
    data["test"].to_parquet(folder / "test-00000-of-00001.parquet")
    return folder


def measure_network(curve: Curve, release: str, data: Path, count: int, seed: int, folder: Path) -> dict[str, float]:
    """The released recipe on these rows, and the classical methods that its task fits beside it."""
    from hubmodels.recipe import Recipe
    from hubmodels.workflow import train_and_release

    recipe = Recipe.load(MODEL_CARDS / release / "recipe.yaml")
    recipe.data["dataset_path"] = str(data)
    steps = math.ceil(curve.steps[release] * max(1.0, math.sqrt(count / STEPS_FOR)))
    chooses = recipe.training.get("load_best_model_at_end", False)
    recipe.training |= {
        "seed": seed,
        "max_steps": steps,
        "eval_strategy": "steps" if chooses else "no",
        "eval_steps": math.ceil(steps / 20),
        "save_strategy": "no",
        "logging_steps": 100,
        "output_dir": str(folder),
    }
    beside = release == list(curve.steps)[-1]  # the classical methods are measured once
    results = train_and_release(recipe, baseline=beside).results.to_dict()
    found = {release: results["metrics"][curve.metric]["value"]}
    for other in [results.get("baseline"), *results.get("other_baselines", [])]:
        for beginning, name in curve.classical.items():
            if other and other["name"].startswith(beginning):
                found[name] = other["metrics"][curve.metric]["value"]
    return found


def measure_boosting(data: Any, seed: int) -> dict[str, float]:
    """scikit-learn's histogram gradient boosting on raw pixels, stopped early by a tenth of the rows."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    def pixels(split: Any) -> np.ndarray:
        return np.stack([np.asarray(image) for image in split["image"]]).reshape(len(split), -1)

    model = HistGradientBoostingClassifier(early_stopping=True, random_state=seed)
    model.fit(pixels(data["train"]), data["train"]["label"])
    return {BOOSTING: model.score(pixels(data["test"]), data["test"]["label"])}


def measure(arguments: argparse.Namespace) -> None:
    import datasets

    for name, curve in CURVES.items():
        if name not in arguments.sets:
            continue
        whole = datasets.load_dataset(getattr(arguments, name) or curve.dataset)
        methods = [*curve.steps, *([] if BOOSTING in curve.classical.values() else [BOOSTING])]
        for seed, count in ((seed, count) for seed in range(arguments.seeds) for count in curve.rows):
            for method in methods:
                if method not in (arguments.methods or methods):
                    continue
                if any(line["method"] == method for line in read(arguments.output, name, count, seed)):
                    continue
                started = time.perf_counter()
                with tempfile.TemporaryDirectory() as temporary:
                    subset = draw_rows(whole, count, seed, Path(temporary))
                    if method == BOOSTING:
                        loaded = datasets.load_dataset(str(subset), cache_dir=f"{temporary}/cache")
                        found = measure_boosting(loaded, seed)
                    else:
                        found = measure_network(curve, method, subset, count, seed, Path(temporary, "run"))
                seconds = round(time.perf_counter() - started, 1)
                with open(arguments.output, "a", encoding="utf-8") as file:
                    for what, value in found.items():
                        line = {"data": name, "rows": count, "seed": seed, "method": what, "value": value}
                        file.write(json.dumps(line | {"seconds_with_others": seconds}) + "\n")
                print(name, count, seed, found, f"{seconds:.0f} s", flush=True)


def read(path: Path, name: str, count: int | None = None, seed: int | None = None) -> list[dict[str, Any]]:
    """The lines measured on a data set."""
    if not path.exists():
        return []
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [
        line for line in lines
        if line["data"] == name and count in (None, line["rows"]) and seed in (None, line["seed"])
    ]  # fmt: skip


def summarise(lines: list[dict[str, Any]]) -> dict[str, dict[int, list[float]]]:
    """Method -> rows -> the values of the seeds."""
    found: dict[str, dict[int, list[float]]] = {}
    for line in sorted(lines, key=lambda line: line["rows"]):
        found.setdefault(line["method"], {}).setdefault(line["rows"], []).append(line["value"])
    return found


@house_style()
def curve_figure(measured: dict[str, dict[str, dict[int, list[float]]]]) -> Any:
    """One panel a data set: the mean over the seeds of each method against the rows, and the seeds' range as a band."""
    figure, panels = new_figure(9.6, 3.8, 1, len(measured), squeeze=False)
    names = list(dict.fromkeys(method for methods in measured.values() for method in sorted(methods, key=is_classical)))
    for axes, (data, methods) in zip(panels[0], measured.items(), strict=True):
        curve = CURVES[data]
        ends = []
        for method in sorted(methods, key=is_classical):
            counts = sorted(methods[method])
            values = [methods[method][count] for count in counts]
            color = CYCLE[names.index(method) % len(CYCLE)]
            means = [statistics.mean(some) for some in values]
            axes.fill_between(counts, list(map(min, values)), list(map(max, values)), color=color, alpha=0.2, lw=0)
            style = "--" if is_classical(method) else "-"
            axes.plot(counts, means, style, color=color, marker="o", markersize=3.5, label=method)
            ends.append((means[-1], method, color))
        axes.set_xscale("log")
        axes.set_xticks(curve.rows, [f"{count:,}" for count in curve.rows], rotation=30)
        axes.minorticks_off()
        axes.set(xlabel="training rows", ylabel=curve.label, title=data)
        axes.grid(axis="y")
        axes.legend(loc="lower right" if curve.greater_is_better else "lower left")
    return figure


def is_classical(method: str) -> bool:
    """Whether a method is none of the released networks."""
    return not (MODEL_CARDS / method).is_dir()


def table(measured: dict[str, dict[str, dict[int, list[float]]]]) -> Iterator[str]:
    """Markdown: mean ± standard deviation over the seeds, the best mean of each row bold."""
    for data, methods in measured.items():
        curve = CURVES[data]
        best: Callable[..., float] = max if curve.greater_is_better else min
        order = sorted(methods, key=is_classical)
        yield f"\n| {data}, {curve.label}, rows | {' | '.join(order)} |"
        yield "|---:" * (1 + len(order)) + "|"
        for count in sorted({count for values in methods.values() for count in values}):
            means = {name: statistics.mean(values[count]) for name, values in methods.items() if count in values}
            top = best(means, key=means.__getitem__)
            cells = {name: format_spread(methods[name][count]) for name in means}
            cells[top] = f"**{cells[top]}**"
            yield f"| {count:,} | {' | '.join(cells.get(name, '-') for name in order)} |"


def read_all(path: Path) -> dict[str, dict[str, dict[int, list[float]]]]:
    """Data set -> method -> rows -> the values of the seeds."""
    found = {name: summarise(read(path, name)) for name in CURVES}
    return {name: methods for name, methods in found.items() if methods}


def page(path: Path) -> str:
    """The tables as a page of their own."""
    lines = [
        "# Learning curves",
        "",
        "`python scripts/learning_curve.py draw`, from `learning_curve.jsonl`: mean ± standard deviation over the",
        "seeds, the best of each line bold. How the numbers came about stands at the head of the script.",
        *table(read_all(path)),
    ]
    return "\n".join(lines) + "\n"


def draw(arguments: argparse.Namespace) -> None:
    measured = read_all(arguments.output)
    if not measured:
        sys.exit(f"{arguments.output} holds nothing: run `measure` first")
    save_figure(curve_figure(measured), arguments.output.with_suffix(".png"))
    arguments.output.with_suffix(".md").write_text(page(arguments.output), encoding="utf-8")
    print(page(arguments.output))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    first = commands.add_parser("measure", help="train and fit, adding to what was measured")
    first.add_argument("--sets", nargs="+", choices=CURVES, default=list(CURVES))
    first.add_argument("--methods", nargs="+", help=f"released recipes, or {BOOSTING!r}; all when absent")
    first.add_argument("--seeds", type=int, default=3)
    for name, curve in CURVES.items():
        first.add_argument(f"--{name}", metavar="DATA", help=f"a local copy of {curve.dataset}")
    first.set_defaults(command=measure)
    second = commands.add_parser("draw", help="the figure and the table, beside what was measured")
    second.set_defaults(command=draw)
    for command in (first, second):
        command.add_argument("--output", type=Path, default=FOLDER / "learning_curve.jsonl")
    arguments = parser.parse_args()
    arguments.command(arguments)


if __name__ == "__main__":
    main()
