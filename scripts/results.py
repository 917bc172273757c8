"""The table of families and released checkpoints in README.md, from model_cards/*/metrics.json.

`python scripts/results.py` writes it; `--check` only says whether it is up to date (exit code 1 when not)."""

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path

import yaml

from hubmodels import auto

ROOT = Path(__file__).parent.parent
START, END = "<!-- scripts/results.py writes from here -->", "<!-- to here -->"
COLUMNS = (
    "family", "best for", "released checkpoint", "weights", "its number [95 % interval]",
    "classical method, same split", "which to use",
)  # fmt: skip
RULE = ("---", "---", "---", "---:", "---", "---", "---")


def family_of(release: Path) -> str:
    return yaml.safe_load((release / "recipe.yaml").read_text(encoding="utf-8"))["family"]


def number(value: float, sign: str = "") -> str:
    """Four decimals below 10, whole numbers with thousands separated above 1,000."""
    return f"{value:{sign}.4f}" if abs(value) < 10 else f"{value:{sign},.{2 if abs(value) < 1000 else 0}f}"


def interval(entry: dict) -> str:
    """A value and the ends of its interval."""
    if entry["low"] is None:
        return number(entry["value"])
    return f"{number(entry['value'])} [{number(entry['low'])}, {number(entry['high'])}]"


def advice(results: dict) -> str:
    """Which of the two the interval of their difference speaks for."""
    difference = results.get("difference")
    if not difference or difference.get("low") is None:
        return "-"
    low, high = sorted((1 if results["greater_is_better"] else -1) * difference[end] for end in ("low", "high"))
    return "the network" if low > 0 else "the classical method" if high < 0 else "either: no difference is shown"


def row(release: Path) -> str:
    """The line of one release."""
    metrics = json.loads((release / "metrics.json").read_text(encoding="utf-8"))
    results, family = metrics["results"], family_of(release)
    name = results["main_metric"]
    better = "higher" if results["greater_is_better"] else "lower"
    label = results.get("metric_names", {}).get(name, name)
    baseline = results.get("baseline")
    classical = f"{baseline['name']} {number(baseline['metrics'][name]['value'])}" if baseline else "-"
    cells = [
        f"`{family}`", auto.family_purpose(family), f"`{release.name}`<br>{metrics['task']}",
        f"{metrics['num_parameters']:,}", f"{label} {interval(results['metrics'][name])}, {better} is better",
        classical, advice(results),
    ]  # fmt: skip
    return line(cells)


def line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def table() -> str:
    """The whole table: a family's checkpoints together, in the order of the names."""
    releases = {family: [] for family in auto.list_families()}
    for path in sorted((ROOT / "model_cards").glob("*/metrics.json")):
        releases[family_of(path.parent)].append(path.parent)
    lines = [line(COLUMNS), line(RULE)]
    for family, folders in releases.items():
        rows = [row(folder) for folder in folders] or [line([f"`{family}`", auto.family_purpose(family), *["-"] * 5])]
        # A family and its purpose stand once.
        lines += [rows[0], *("|  |  |" + other.split("|", 3)[3] for other in rows[1:])]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    readme = ROOT / "README.md"
    before = readme.read_text(encoding="utf-8")
    start, _, rest = before.partition(START)
    after = f"{start}{START}\n\n{table()}\n\n{END}{rest.partition(END)[2]}"
    if parser.parse_args().check:
        return int(after != before)
    readme.write_text(after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
