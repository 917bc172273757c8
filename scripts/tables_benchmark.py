"""The perceptron against classical methods on tables, over seeds, as Markdown.

    python scripts/tables_benchmark.py bundled                      # the sets that scikit-learn ships
    python scripts/tables_benchmark.py seeds RECIPE [--dataset_path FOLDER]    # one recipe, seed after seed
    python scripts/tables_benchmark.py prediction MODEL ROWS.csv    # how fast `hubmodels predict` is, part by part

Each seed of a bundled set has its own split (72 / 8 / 20 %) and its own weights; a recipe's splits are its own. Every
number is of the test rows; what was chosen was chosen on the validation rows, of baselines on the training rows.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hubmodels.formatting import format_spread
from hubmodels.recipe import Recipe
from hubmodels.recipes import default_recipe
from hubmodels.workflow import train_and_release

OUTPUT = Path(__file__).parent / "benchmarks" / "tables.md"
SETS = {
    "breast_cancer": "tabular-classification",
    "wine": "tabular-classification",
    "iris": "tabular-classification",
    "diabetes": "tabular-regression",
    "digits": "tabular-classification",
}
# Few rows need small batches to take enough steps.
FEW_ROWS = {"per_device_train_batch_size": 32, "num_train_epochs": 40}


def bundled_recipe(name: str, seed: int, folder: Path) -> Recipe:
    """The family's default recipe on a bundled set; digits as a table of its 64 pixels."""
    recipe = default_recipe("mlp", SETS[name])
    recipe.data |= {"dataset": f"sklearn:{name}", "split_seed": seed}
    if name == "digits":
        from sklearn.datasets import load_digits

        path = folder / "digits.csv"
        load_digits(as_frame=True).frame.to_csv(path, index=False)
        recipe.data |= {"dataset": str(path), "label_column_name": "target"}
    recipe.training |= {**FEW_ROWS, "seed": seed}
    return recipe


def run(recipe: Recipe, folder: Path, baseline: bool = True) -> dict:
    """The test results of one training, with its minutes."""
    recipe.training["output_dir"] = str(folder)
    outcome = train_and_release(recipe, baseline=baseline)
    return {**outcome.results.to_dict(), "seconds": outcome.run.seconds}


def methods(results: dict) -> dict[str, float]:
    """The main metric of each method, classical ones under their names without the number of settings."""
    metric = results["main_metric"]
    found = {"network": results["metrics"][metric]["value"]}
    for other in [results.get("baseline"), *results.get("other_baselines", [])]:
        if other:
            found[other["name"].split(",")[0]] = other["metrics"][metric]["value"]
    return found


def bundled(arguments: argparse.Namespace) -> None:
    lines = [
        "| data (test rows) | metric | network | boosting | linear | constant | network, seconds |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    kinds = {"histogram gradient boosting with early stopping": 1, "logistic regression": 2, "ridge regression": 2}
    for name in arguments.sets or SETS:
        columns, seconds = [[], [], [], []], []
        for seed in range(arguments.seeds):
            with tempfile.TemporaryDirectory() as folder:
                results = run(bundled_recipe(name, seed, Path(folder)), Path(folder, "run"))
            for method, value in methods(results).items():
                columns[0 if method == "network" else kinds.get(method, 3)].append(value)
            seconds.append(results["seconds"])
        metric = results["metric_names"][results["main_metric"]]
        cells = [format_spread(values) for values in columns]
        lines.append(f"| {name} ({results['num_rows']}) | {metric} | {' | '.join(cells)} | {format_spread(seconds)} |")
        print(lines[-1], flush=True)
    text = "\n".join(lines)
    arguments.output.parent.mkdir(exist_ok=True)
    arguments.output.write_text(
        "# Tables: the perceptron beside classical methods\n\n"
        f"`python scripts/tables_benchmark.py bundled --seeds {arguments.seeds}`: mean ± standard deviation over "
        f"{arguments.seeds} seeds, each with its own split (72 / 8 / 20 %) and weights. The network has the family's\n"
        f"default recipe with {FEW_ROWS}; boosting is scikit-learn's HistGradientBoosting with early stopping,\nthe "
        "best of six settings, linear is ridge or logistic regression, the best of its penalties, both by five-fold\n"
        f"cross-validation on the training rows.\n\n{text}\n"
    )


def seeds(arguments: argparse.Namespace) -> None:
    found = []
    for seed in range(arguments.first, arguments.first + arguments.seeds):
        recipe = Recipe.load(arguments.recipe)
        recipe.training["seed"] = seed
        if arguments.dataset_path:
            recipe.data["dataset_path"] = arguments.dataset_path
        with tempfile.TemporaryDirectory() as folder:
            results = run(recipe, Path(folder, "run"), baseline=False)
        found.append(results["metrics"])
        metric = results["main_metric"]
        print(f"seed {seed}: {metric} {found[-1][metric]['value']:.5g}, {results['seconds']:.0f} s", flush=True)
    for metric in found[0]:
        print(f"{metric}: {format_spread([item[metric]['value'] for item in found])}")


def prediction(arguments: argparse.Namespace) -> None:
    """Rows a second of each part of `hubmodels predict` alone and of the whole command, on one core."""
    import pandas
    import torch

    from hubmodels import use
    from hubmodels.commands.predict import keep_freed_memory
    from hubmodels.data import TableWriter, read_tables
    from hubmodels.evaluation import answer

    torch.set_num_threads(1)
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        frame = pandas.read_csv(arguments.data).sample(arguments.rows, replace=True, random_state=0)
        frame.insert(0, "id", range(len(frame)))
        frame.to_csv(folder / "rows.csv", index=False)
        frame.to_parquet(folder / "rows.parquet", index=False)
        opened = use.open_release(arguments.model)
        model = opened.model if arguments.member is None else opened.model.extract_member(arguments.member)
        problem = opened.problem
        table = next(iter(read_tables(folder / "rows.parquet", use.ROWS_PER_TABLE)))
        count, transform = len(table), problem.transform(training=False)
        encoded = problem.encode_inputs(table, list(range(count)))

        def predict(dtype: Any = None) -> dict[str, Any]:
            return answer(model, encoded, problem.answers, transform, 2_048, dtype)

        joined = use.join_answers(table, predict(), ["id"], None)
        writer = TableWriter(folder / "out.csv")
        writer.clear()
        print(f"| part, {count:,} rows | ns a row | rows a second |\n|---|---:|---:|")
        for part, function in (
            ("reading CSV", lambda: next(iter(read_tables(folder / "rows.csv", count)))),
            ("reading Parquet", lambda: next(iter(read_tables(folder / "rows.parquet", count)))),
            ("processor", lambda: problem.encode_inputs(table, list(range(count)))),
            ("network, float32", predict),
            ("network, bfloat16", lambda: predict(torch.bfloat16)),
            ("writing CSV", lambda: writer.write(0, joined)),
        ):
            seconds = quickest(function)
            print(f"| {part} | {seconds / count * 1e9:,.0f} | {count / seconds:,.0f} |", flush=True)
        writer.discard()
        member = [] if arguments.member is None else ["--member", str(arguments.member)]
        frame.head(1).to_csv(folder / "one.csv", index=False)
        opening = measure_command([arguments.model, folder / "one.csv", "--output", folder / "out.csv", *member])
        print(f"\nOne row, imports and all: {opening['cpu']:.1f} CPU seconds, peak {opening['megabytes']:,.0f} MB.\n")
        print("| whole command | wall seconds | CPU seconds | rows a CPU second, but for one row's | peak memory, MB |")
        print("|---|---:|---:|---:|---:|")
        for kind in ("csv", "parquet"):
            for precision in ("float32", "bfloat16"):
                options = [*member, "--keep", "id", *(["--bf16"] if precision == "bfloat16" else [])]
                files = [folder / f"rows.{kind}", "--output", folder / f"out.{kind}"]
                found = measure_command([arguments.model, *files, *options])
                rate = arguments.rows / (found["cpu"] - opening["cpu"])
                cells = f"{found['wall']:.1f} | {found['cpu']:.1f} | {rate:,.0f} | {found['megabytes']:,.0f}"
                print(f"| {kind.upper()}, {precision} | {cells} |", flush=True)
    print(f"\ntorch {torch.__version__}, one thread, {time.strftime('%Y-%m-%d')}")


def quickest(function: Callable[[], Any], repeats: int = 5) -> float:
    """The least CPU seconds of some calls: others on the machine only add to it."""
    found = []
    for _ in range(repeats):
        started = time.process_time()
        function()
        found.append(time.process_time() - started)
    return min(found)


# A child's `ru_maxrss` begins at its parent's size, so the command reads its own peak (Linux).
MEASURED = """
import re, sys, time
from hubmodels.cli import main
main(sys.argv[1:])
print(time.process_time(), re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1], file=sys.stderr)
"""


def measure_command(words: list[Any]) -> dict[str, float]:
    """`hubmodels predict` with these words as a process of its own on one thread: its wall and CPU seconds with all
    imports, and its peak memory."""
    command = [sys.executable, "-c", MEASURED, "predict", *map(str, words), "--json"]
    started = time.perf_counter()
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    cpu, kilobytes = done.stderr.split()[-2:]
    return {
        "wall": time.perf_counter() - started,
        "cpu": float(cpu),
        "megabytes": int(kilobytes) / 1e3,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    first = commands.add_parser("bundled", help="scikit-learn's bundled sets")
    first.add_argument("sets", nargs="*", help=", ".join(SETS))
    first.add_argument("--output", type=Path, default=OUTPUT)
    first.set_defaults(command=bundled)
    second = commands.add_parser("seeds", help="one recipe, seed after seed")
    second.add_argument("recipe")
    second.add_argument("--dataset_path")
    second.add_argument("--first", type=int, default=0, help="the first seed (0)")
    second.set_defaults(command=seeds)
    third = commands.add_parser("prediction", help="how fast hubmodels predict is, on one core")
    third.add_argument("model")
    third.add_argument("data", help="a CSV file, whose rows are drawn with replacement")
    third.add_argument("--rows", type=int, default=1_000_000)
    third.add_argument("--member", type=int, help="one member of an ensemble alone")
    third.set_defaults(command=prediction)
    for command in (first, second):
        command.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    arguments.command(arguments)


if __name__ == "__main__":
    main()
