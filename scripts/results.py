"""The table of families and released checkpoints in README.md, from model_cards/*/metrics.json, and the picture above
it, model_cards/gallery.png, from the figures of the releases.

`python scripts/results.py` writes both; `--check` only says whether the table is up to date (exit code 1 when not)."""

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

from hubmodels import families, figures
from hubmodels.formatting import format_interval, format_number

ROOT = Path(__file__).parent.parent
START, END = "<!-- scripts/results.py writes from here -->", "<!-- to here -->"
COLUMNS = (
    "family", "best for", "released checkpoint", "weights", "its number [95 % interval]",
    "classical method, same split", "which to use",
)  # fmt: skip
# Of the picture: checkpoint, figure, and what a visitor sees.
PANELS = (
    ("mlp-california-housing", "partial_dependence", "MLP: what a house's price depends on"),
    ("cnn-fashion-mnist", "worst_mistakes", "CNN: its surest mistakes"),
    ("rnn-etth1", "forecasts", "RNN: 96 hours ahead"),
    ("transformer-tiny-shakespeare", "samples", "Transformer: text, character by character"),
    ("autoencoder-fashion-mnist", "reconstructions", "Autoencoder: images from 16 numbers"),
    ("autoencoder-fashion-mnist", "latents", "Autoencoder: its map of clothes"),
    ("gan-fashion-mnist", "samples", "GAN: new clothes in one pass"),
    ("diffusion-fashion-mnist", "trajectories", "Diffusion: clothes out of noise"),
    ("diffusion-spoken-digits", "samples", "Diffusion: spoken digits, real and drawn"),
)
COLUMNS_OF_PANELS = 3
RULE = ("---", "---", "---", "---:", "---", "---", "---")


def family_of(release: Path) -> str:
    return yaml.safe_load((release / "recipe.yaml").read_text(encoding="utf-8"))["family"]


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
    classical = f"{baseline['name']} {format_number(baseline['metrics'][name]['value'])}" if baseline else "-"
    cells = [
        f"`{family}`", families.family_purpose(family), f"`{release.name}`<br>{metrics['task']}",
        f"{metrics['num_parameters']:,}", f"{label} {format_interval(results['metrics'][name])}, {better} is better",
        classical, advice(results),
    ]  # fmt: skip
    return line(cells)


def line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def table() -> str:
    """The whole table: a family's checkpoints together, in the order of the names."""
    releases = {family: [] for family in families.list_families()}
    for path in sorted((ROOT / "model_cards").glob("*/metrics.json")):
        releases[family_of(path.parent)].append(path.parent)
    lines = [line(COLUMNS), line(RULE)]
    for family, folders in releases.items():
        rows = [row(folder) for folder in folders] or [
            line([f"`{family}`", families.family_purpose(family), *["-"] * 5])
        ]
        # A family and its purpose stand once.
        lines += [rows[0], *("|  |  |" + other.split("|", 3)[3] for other in rows[1:])]
    return "\n".join(lines)


@figures.house_style()
def gallery() -> Any:
    """The figures of `PANELS` that there are, side by side."""
    panels = [(ROOT / "model_cards" / name / "figures" / f"{figure}.png", title) for name, figure, title in PANELS]
    panels = [(path, title) for path, title in panels if path.is_file()]
    rows = -(-len(panels) // COLUMNS_OF_PANELS)
    figure, axes = figures.new_figure(9.6, 3.0 * rows, rows, COLUMNS_OF_PANELS, squeeze=False)
    for place in axes.flat:
        place.axis("off")
    for (path, title), place in zip(panels, axes.flat, strict=False):
        place.imshow(Image.open(path).convert("RGB"), interpolation="lanczos")
        place.set_anchor("NW")
        place.set_title(title, size=8.5, loc="left")
    return figure


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
    figures.save_figure(gallery(), ROOT / "model_cards" / "gallery.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
