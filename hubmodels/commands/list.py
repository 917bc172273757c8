"""`hubmodels list`: the families, the tasks and the released checkpoints."""

import argparse
import json
import textwrap
from pathlib import Path

from ._parser import add_json_flag, print_columns

SUMMARY = "the families, the tasks and the released checkpoints"
DESCRIPTION = "The families, the tasks and the released checkpoints."
FIELDS = None
MODEL_CARDS = Path(__file__).parent.parent.parent / "model_cards"  # only in a checkout


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add --hub, --author and --json."""
    parser.add_argument("--hub", action="store_true", help="list the models on the Hub that carry our tag instead")
    parser.add_argument("--author", help="with --hub: only this user's or organisation's")
    add_json_flag(parser)


def run(arguments: argparse.Namespace, rest: list[str]) -> None:
    """Print the list, or that of the Hub."""
    if arguments.hub:
        list_hub(arguments)
        return
    from ..families import list_families, read_family
    from ..tasks import list_tasks

    families = {}
    for name in list_families():
        family = read_family(name)
        families[name] = {"best_for": family["best_for"], "tasks": sorted(family["tasks"])}
    checkpoints = [read_checkpoint(path.parent) for path in sorted(MODEL_CARDS.glob("*/metrics.json"))]
    if arguments.json:
        print(json.dumps({"families": families, "tasks": list_tasks(), "checkpoints": checkpoints}, indent=2))
        return
    print("Families")
    for name, family in families.items():
        print(f"  {name:<13} {family['best_for']}")
        print(
            textwrap.fill(
                ", ".join(family["tasks"]),
                120,
                initial_indent=" " * 16,
                subsequent_indent=" " * 16,
                break_on_hyphens=False,
            )
        )
    if checkpoints:
        print("\nReleased checkpoints")
        names = ("checkpoint", "family", "task", "weights", "metric")
        print_columns([names, *(tuple(checkpoint[name] for name in names) for checkpoint in checkpoints)])
    print("\nhubmodels train --help says how to train one on your data.")


def list_hub(arguments: argparse.Namespace) -> None:
    """Print the models on the Hub that carry our tag."""
    from ..publishing import list_on_hub

    models = list_on_hub(arguments.author)
    if arguments.json:
        print(json.dumps(models, indent=2))
    elif not models:
        print(f"no models with our tag on the Hub{f' by {arguments.author}' if arguments.author else ''}")
    else:
        names = ("id", "task", "last_modified", "downloads")
        print_columns([names, *(tuple(str(model[name]) for name in names) for model in models)])


def read_checkpoint(folder: Path) -> dict[str, str]:
    """Return one line of the list, from the files of a release alone."""
    from ..recipe import load_yaml

    recipe = load_yaml(folder / "recipe.yaml")
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    main_metric = metrics["main_metric"]
    value = metrics["results"]["metrics"][main_metric]
    digits = max(0, 5 - len(f"{abs(value['value']):.0f}"))  # 0.9471, 21.228 and 44,174
    shown = [f"{value[name]:,.{digits}f}" for name in ("value", "low", "high")]
    return {
        "checkpoint": f"{MODEL_CARDS.name}/{folder.name}",
        "family": recipe["family"],
        "task": recipe["task"],
        "weights": f"{metrics['num_parameters']:,}",
        "metric": f"{main_metric} {shown[0]} [{shown[1]}, {shown[2]}]",
    }
