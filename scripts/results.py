"""The table of released checkpoints in README.md, from model_cards/*/metrics.json.

`python scripts/results.py` writes it; `--check` only says whether it is up to date (exit code 1 when not)."""

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parent.parent
START, END = "<!-- scripts/results.py writes from here -->", "<!-- to here -->"
COLUMNS = (
    "checkpoint", "task", "weights", "metric", "value [95 % interval]", "classical method, same split",
    "network minus classical",
)  # fmt: skip
RULE = ("---", "---", "---:", "---", "---", "---", "---")


def number(value: float, sign: str = "") -> str:
    """Four decimals below 10, whole numbers with thousands separated above 1,000."""
    return f"{value:{sign}.4f}" if abs(value) < 10 else f"{value:{sign},.{2 if abs(value) < 1000 else 0}f}"


def interval(entry: dict, sign: str = "") -> str:
    """A value and the ends of its interval."""
    return f"{number(entry['value'], sign)} [{number(entry['low'], sign)}, {number(entry['high'], sign)}]"


def row(release: Path) -> str:
    """The line of one release."""
    metrics = json.loads((release / "metrics.json").read_text(encoding="utf-8"))
    results = metrics["results"]
    name = results["main_metric"]
    better = "higher" if results["greater_is_better"] else "lower"
    label = results.get("metric_names", {}).get(name, name)
    baseline, difference = results.get("baseline"), results.get("difference")
    classical = f"{baseline['name']} {number(baseline['metrics'][name]['value'])}" if baseline else "-"
    cells = [
        f"`{release.name}`", metrics["task"], f"{metrics['num_parameters']:,}", f"{label}, {better} is better",
        interval(results["metrics"][name]), classical, interval(difference, "+") if difference else "-",
    ]  # fmt: skip
    return line(cells)


def line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def table() -> str:
    """The whole table, in the order of the names."""
    releases = sorted(path.parent for path in (ROOT / "model_cards").glob("*/metrics.json"))
    return "\n".join([line(COLUMNS), line(RULE), *map(row, releases)])


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
