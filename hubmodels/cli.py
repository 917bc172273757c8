"""The command line. Nothing heavy is imported before a command needs it: help and list answer at once."""

import argparse
import dataclasses
import json
import logging
import os
import re
import sys
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from . import __version__
from .errors import HubmodelsError, nearest
from .fields import describe, own_fields, type_hints
from .flags import apply_fields, parse_flags, recipe_fields, sample_fields
from .recipe import DataArguments, Recipe, TrainingArguments

MODEL_CARDS = Path(__file__).parent.parent / "model_cards"  # only in a checkout


class _Formatter(argparse.HelpFormatter):
    """A flag of two spellings is shown in the one that recipes have, `--a_b`."""

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if len(action.option_strings) == 2 and action.dest != "help":
            arguments = "" if action.nargs == 0 else f" {self._format_args(action, action.dest.upper())}"
            return action.option_strings[0] + arguments
        return super()._format_action_invocation(action)


class _Parser(argparse.ArgumentParser):
    """Flags are written whole, and an error is one line that ends with the remedy, without the usage block."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("formatter_class", _Formatter)
        super().__init__(**{**options, "allow_abbrev": False})

    def error(self, message: str) -> NoReturn:
        if found := re.search(r"invalid choice: '(.*?)' \(choose from (.*)\)", message):
            message += nearest(found[1], re.findall(r"[\w-]+", found[2]))
        message = re.sub(r"(--\w+)/--[\w-]+", r"\1", message)  # of two spellings the recipes' one
        message = re.sub(r"argument (\S+): invalid int value: (.*)", r"\1 must be an integer, got \2", message)
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def build_parser() -> _Parser:
    parser = _Parser(
        prog="hubmodels",
        description="The seven classic deep-learning families as Hugging Face models: train, measure, publish.",
    )
    parser.add_argument("--version", action="version", version=f"hubmodels {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    listing = commands.add_parser("list", help="the families, the tasks and the released checkpoints")
    listing.add_argument("--hub", action="store_true", help="list the models on the Hub that carry our tag instead")
    listing.add_argument("--author", help="with --hub: only this user's or organisation's")
    add_json_flag(listing)
    listing.set_defaults(run=run_list)

    training = commands.add_parser(
        "train",
        add_help=False,
        help="train or fine-tune on your data, measure beside a classical baseline, write the release folder",
        description="Train by a recipe, measure on the test split, write <output_dir>/release. "
        "Any field of a recipe is a flag.",
    )
    start = training.add_argument_group("where to start (one of)")
    add_flag(start, "config", metavar="RECIPE", help="a recipe, YAML")
    add_flag(start, "model_name_or_path", metavar="ID", help="a checkpoint to fine-tune: folder or Hub id")
    add_flag(start, "family", help="a family, with its defaults (needs --task)")
    add_flag(training, "task", help="a task by its Hub tag: image-classification, ...")
    add_flag(training, "no_baseline", action="store_true", help="do not fit the classical baseline")
    add_flag(training, "push_to_hub", action="store_true", help="publish the release folder at the end")
    add_flag(training, "hub_model_id", metavar="ID", help="the model's Hub id, namespace/name, for its card")
    add_flag(training, "hub_private_repo", action="store_true", help="with --push_to_hub: a new repository is private")
    add_json_flag(training)
    training.add_argument("-h", "--help", action="store_true", help="this help; with --family also the family's fields")
    training.set_defaults(run=run_train, takes_fields="all", parser=training)

    evaluation = commands.add_parser(
        "evaluate",
        help="measure a checkpoint on a data set",
        description="Measure a checkpoint on a split of a data set, with 95 % intervals. "
        "Fields of a recipe's data section are flags.",
    )
    evaluation.add_argument("model", help="folder or Hub id")
    add_flag(
        evaluation,
        "split",
        choices=("test", "validation", "train"),
        default="test",
        help="the rows that are measured (test)",
    )
    add_flag(evaluation, "baseline", action="store_true", help="also fit the classical baseline on the training split")
    add_json_flag(evaluation)
    evaluation.set_defaults(run=run_evaluate, takes_fields="data")

    prediction = commands.add_parser(
        "predict",
        help="predict every row of a file with a checkpoint",
        description="Predict the rows of a CSV, TSV, JSON-lines or Parquet file, or a folder's images or sounds. The "
        "output has the same rows in the same order: the columns that the model does not read, then the prediction "
        "with its probabilities or interval. Files of any size are read and written in pieces; under torchrun or "
        "accelerate launch the processes share them.",
    )
    prediction.add_argument("model", help="folder or Hub id")
    prediction.add_argument("input", help="file or folder to predict")
    add_flag(prediction, "output", required=True, metavar="FILE", help="where to: .csv, .jsonl or .parquet")
    add_flag(
        prediction, "keep", nargs="*", metavar="COLUMN", help="repeat only these columns of the input, such as ids"
    )
    add_flag(prediction, "batch_size", type=int, default=2048, metavar="N", help="rows in one forward pass (2048)")
    add_flag(prediction, "member", type=int, metavar="N", help="one member of an ensemble alone, which is faster")
    add_flag(prediction, "bf16", action="store_true", help="bfloat16: faster, good for two to three digits")
    add_json_flag(prediction)
    prediction.set_defaults(run=run_predict)

    sampling = commands.add_parser(
        "sample",
        help="draw samples of a generative model into files",
        description="Draw images (.png) or sounds (.wav) of a checkpoint into a new folder. The options of the model's "
        "own `sample` are flags: --num_inference_steps, --guidance_scale, --truncation, ...",
    )
    sampling.add_argument("model", help="folder or Hub id")
    add_flag(sampling, "num_samples", type=int, default=16, metavar="N", help="samples in all, at least 1 (16)")
    add_flag(sampling, "labels", nargs="+", metavar="CLASS", help="classes, taken in turn; all when absent")
    add_flag(sampling, "output_dir", required=True, metavar="FOLDER", help="a new folder for the files")
    add_flag(sampling, "seed", type=int, default=0, metavar="N", help="of the samples (0)")
    add_json_flag(sampling)
    sampling.set_defaults(run=run_sample, takes_fields="sample")

    augmentation = commands.add_parser(
        "augment",
        help="write a data set with samples of a generative model",
        description="Write the rows of a data set, and among the training rows samples of each class, drawn by a "
        "checkpoint: a folder that `--dataset` and datasets.load_dataset take. Its column `generated` tells them "
        "apart. Fields of a recipe's data section are flags; without --dataset the data are the checkpoint's own.",
    )
    augmentation.add_argument("model", help="folder or Hub id")
    add_flag(augmentation, "per_class", type=int, required=True, metavar="N", help="samples of each class, at least 1")
    add_flag(augmentation, "output_dir", required=True, metavar="FOLDER", help="a new folder for the data set")
    add_flag(augmentation, "generated_only", action="store_true", help="the training rows are the samples alone")
    add_flag(augmentation, "seed", type=int, default=0, metavar="N", help="of the samples (0)")
    add_json_flag(augmentation)
    augmentation.set_defaults(run=run_augment, takes_fields="data")

    card = commands.add_parser(
        "card",
        help="write the card of a release folder anew",
        description="Write README.md of a release folder anew from metrics.json and the present template. A section "
        "of your own comes from a Markdown file, which becomes the release's notes.md.",
    )
    card.add_argument("folder", help="a release folder")
    add_flag(card, "notes", metavar="FILE", help="Markdown for a section Notes; an empty file removes it")
    card.set_defaults(run=run_card)

    publication = commands.add_parser("publish", help="upload a release folder in one commit, read it back, verify it")
    publication.add_argument("folder", help="a release folder")
    add_flag(publication, "repo_id", required=True, metavar="ID", help="the repository on the Hub, namespace/name")
    add_flag(publication, "private", action="store_true", help="a new repository is private")
    add_flag(publication, "tag", help="tag the commit, for example v1.0")
    add_flag(publication, "create_pr", action="store_true", help="open a pull request instead of changing the branch")
    add_flag(publication, "commit_message", metavar="TEXT", help="default: names the model and its metrics")
    add_flag(publication, "parent_commit", metavar="SHA", help="refuse unless this is the head of the branch")
    add_flag(publication, "dry_run", action="store_true", help="list what would be sent, change nothing")
    add_flag(publication, "refresh_code", action="store_true", help="first renew the folder's code from the installed")
    add_json_flag(publication)
    publication.set_defaults(run=run_publish)

    verification = commands.add_parser("verify", help="check files, weights and golden output of a release")
    verification.add_argument("model", help="folder or Hub id")
    add_flag(verification, "revision", help="branch, tag or commit on the Hub")
    add_json_flag(verification)
    verification.set_defaults(run=run_verify)

    downloading = commands.add_parser("download", help="download a release from the Hub and verify it")
    downloading.add_argument("model", help="Hub id")
    add_flag(downloading, "revision", help="branch, tag or commit")
    add_flag(downloading, "local_dir", metavar="FOLDER", help="where to; default: huggingface_hub's cache")
    add_json_flag(downloading)
    downloading.set_defaults(run=run_download)

    completion = commands.add_parser(
        "completion",
        help="print a script for the shell that completes commands, flags and choices",
        description="Print a script that completes commands, flags and choices: `hubmodels completion bash >> "
        "~/.bashrc`, `hubmodels completion zsh >> ~/.zshrc`, or `hubmodels completion fish > "
        "~/.config/fish/completions/hubmodels.fish`.",
    )
    completion.add_argument("shell", choices=("bash", "zsh", "fish"))
    completion.set_defaults(run=run_completion)
    for action in commands._choices_actions:  # one line of help describes what needs no more words
        command = commands.choices[action.dest]
        command.description = command.description or f"{action.help[0].upper()}{action.help[1:]}."
        if command.get_default("takes_fields") == "data":
            command.epilog = "`hubmodels train --task TASK --help` lists the fields of the section data."
    return parser


def add_flag(parser: Any, name: str, **options: Any) -> None:
    """A flag in both spellings, `--a_b` and `--a-b`."""
    spellings = dict.fromkeys((f"--{name}", f"--{name.replace('_', '-')}"))
    parser.add_argument(*spellings, dest=name, **options)


def add_json_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON, for a program to read")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; gives its exit code: 0, or 2 for what a person can mend (one line on stderr)."""
    parser = build_parser()
    arguments, rest = parser.parse_known_args(argv)
    if rest and not getattr(arguments, "takes_fields", None):
        command = next(action for action in parser._actions if action.dest == "command").choices[arguments.command]
        hint = nearest(rest[0], [option for action in command._actions for option in action.option_strings])
        command.error(f"unknown argument {rest[0]}{hint}")
    try:
        code = arguments.run(arguments, rest) or 0
        sys.stdout.flush()
        if workflow := sys.modules.get(f"{__package__}.workflow"):
            workflow.leave_processes(code)
        return code
    except BrokenPipeError:  # the reader, `head` for example, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (HubmodelsError, ValueError) as error:
        if os.environ.get("HUBMODELS_TRACEBACK"):
            raise
        if os.environ.get("RANK", "0") == "0":
            print(f"hubmodels {arguments.command}: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2


# --- list ---


def run_list(arguments: argparse.Namespace, rest: list[str]) -> None:
    if arguments.hub:
        list_hub(arguments)
        return
    from .auto import list_families, read_family
    from .tasks import list_tasks

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
    from .publishing import list_on_hub

    models = list_on_hub(arguments.author)
    if arguments.json:
        print(json.dumps(models, indent=2))
    elif not models:
        print(f"no models with our tag on the Hub{f' by {arguments.author}' if arguments.author else ''}")
    else:
        names = ("id", "task", "last_modified", "downloads")
        print_columns([names, *(tuple(str(model[name]) for name in names) for model in models)])


def print_columns(rows: list[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def read_checkpoint(folder: Path) -> dict[str, str]:
    """One line of the list, from the files of a release alone."""
    from .recipe import load_yaml

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


# --- train ---


def run_train(arguments: argparse.Namespace, rest: list[str]) -> None:
    if arguments.help:
        print_train_help(arguments)
        return
    given = [name for name in ("config", "model_name_or_path", "family") if getattr(arguments, name)]
    if not given:
        raise HubmodelsError("nothing to train: give --config RECIPE, --model_name_or_path ID, or --family F --task T")
    start_logging()
    from . import workflow

    if arguments.config:
        recipe = Recipe.load(arguments.config)
        for name in ("family", "task", "model_name_or_path"):
            if getattr(arguments, name):
                setattr(recipe, name, getattr(arguments, name))
    elif arguments.model_name_or_path:
        recipe = workflow.finetuning_recipe(arguments.model_name_or_path, arguments.task)
    else:
        if not arguments.task:
            raise HubmodelsError("--family needs --task, the Hub tag of what to train for (hubmodels list names them)")
        recipe = workflow.default_recipe(arguments.family, arguments.task)
    apply_fields(rest, recipe)
    workflow.require_output_dir(recipe)
    if arguments.push_to_hub and not arguments.hub_model_id:  # found out before the training, not after it
        raise HubmodelsError("--push_to_hub needs --hub_model_id NAMESPACE/NAME")
    outcome = workflow.train_and_release(recipe, not arguments.no_baseline, arguments.hub_model_id)
    if os.environ.get("RANK", "0") != "0":
        return
    if arguments.json:
        print(json.dumps({"folder": str(outcome.folder), **outcome.results.to_dict()}, indent=2))
    else:
        print(outcome.results.table())
        print(f"\nRelease folder: {outcome.folder}")
    if arguments.push_to_hub:
        from .publishing import publish

        publication = publish(outcome.folder, arguments.hub_model_id, private=arguments.hub_private_repo or None)
        print(publication, file=sys.stderr if arguments.json else sys.stdout)


def print_train_help(arguments: argparse.Namespace) -> None:
    print(arguments.parser.format_help())
    classes = [("data", DataArguments), ("training", TrainingArguments)]
    if arguments.task:
        from .tasks import get_task

        classes.insert(1, (f"data, for {arguments.task}", get_task(arguments.task)))
    if arguments.family:
        from . import auto

        auto.check_family(arguments.family)
        texts = auto.config_help(arguments.family)
        print(f"fields of the section model, for {arguments.family}:")
        for name, expected in auto.config_fields(arguments.family).items():
            print(f"  --{name:<32}{texts.get(name) or describe(expected)}")
        print()
    for section, cls in classes:
        print(f"fields of the section {section}:")
        hints = type_hints(cls)
        for name, item in own_fields(cls).items():
            default = "" if item.default in (None, False, item.default_factory) else f" (default {item.default})"
            print(f"  --{name:<32}{item.metadata.get('help') or describe(hints[name])}{default}")
        print()
    if not (arguments.family and arguments.task):
        print("With --family F --task T --help the fields of that task and family are listed too.")


# --- evaluate ---


def run_evaluate(arguments: argparse.Namespace, rest: list[str]) -> None:
    start_logging()
    from . import use, workflow

    recipe = workflow.read_recipe(arguments.model)
    fields = {name: item for name, item in recipe_fields(recipe).items() if item[0] == "data"}
    results = use.evaluate_release(arguments.model, parse_flags(rest, fields), arguments.split, arguments.baseline)
    print(json.dumps(results.to_dict(), indent=2) if arguments.json else results.table())


# --- augment ---


def run_sample(arguments: argparse.Namespace, rest: list[str]) -> None:
    start_logging()
    from .use import sample
    from .workflow import read_recipe

    files = sample(
        arguments.model,
        arguments.output_dir,
        arguments.num_samples,
        labels=arguments.labels,
        options=parse_flags(rest, sample_fields(read_recipe(arguments.model))),
        seed=arguments.seed,
    )
    if arguments.json:
        print(json.dumps({"output_dir": arguments.output_dir, "files": files}, indent=2))
    else:
        print(f"{arguments.output_dir}: {len(files):,} samples, {files[0]}" + (f" to {files[-1]}" * (len(files) > 1)))


def run_augment(arguments: argparse.Namespace, rest: list[str]) -> None:
    start_logging()
    from .use import augment
    from .workflow import read_recipe

    fields = {name: item for name, item in recipe_fields(read_recipe(arguments.model)).items() if item[0] == "data"}
    counts = augment(
        arguments.model,
        arguments.output_dir,
        arguments.per_class,
        parse_flags(rest, fields),
        generated_only=arguments.generated_only,
        seed=arguments.seed,
    )
    if arguments.json:
        print(json.dumps({"output_dir": arguments.output_dir, "num_rows": counts}, indent=2))
        return
    generated = counts.pop("generated")
    rows = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    print(f"{arguments.output_dir}: {rows} rows, {generated:,} of the training rows generated")


# --- predict ---


def run_predict(arguments: argparse.Namespace, rest: list[str]) -> None:
    start_logging()
    from . import use

    keep_freed_memory()
    started = time.perf_counter()
    count = use.predict_file(
        arguments.model,
        arguments.input,
        arguments.output,
        keep=arguments.keep,
        batch_size=arguments.batch_size,
        member=arguments.member,
        bf16=arguments.bf16,
    )
    if os.environ.get("RANK", "0") != "0":
        return
    seconds = time.perf_counter() - started
    if arguments.json:
        print(json.dumps({"output": arguments.output, "num_rows": count, "seconds": round(seconds, 2)}, indent=2))
    else:
        print(f"{count:,} rows predicted in {seconds:,.1f} s: {arguments.output}")


def keep_freed_memory() -> None:
    """Let this process keep the memory that its tensors free (glibc only). By default glibc gives large blocks back to
    the system after each batch and asks for them again, page by page: `predict` gave 145,501 rows a CPU second so and
    186,917 when they were kept (mlp-california-housing, --member 0 --bf16, one core of an AMD EPYC, 2026-11-22)."""
    import ctypes

    mmap_threshold, trim_threshold, size = -3, -1, 1 << 30  # M_MMAP_THRESHOLD and M_TRIM_THRESHOLD of malloc.h
    try:
        libc = ctypes.CDLL(None)
        libc.mallopt(mmap_threshold, size)
        libc.mallopt(trim_threshold, size)
    except (OSError, AttributeError, TypeError):  # another C library: slower, nothing else
        return


# --- the Hub ---


def run_card(arguments: argparse.Namespace, rest: list[str]) -> None:
    start_logging()
    from .errors import HubmodelsError
    from .use import refresh_card

    if not Path(arguments.folder).is_dir():
        raise HubmodelsError(f"there is no folder {arguments.folder}: give a release folder")
    notes = None
    if arguments.notes is not None:
        try:
            notes = Path(arguments.notes).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise HubmodelsError(f"cannot read the notes {arguments.notes}: {error}") from None
    refresh_card(arguments.folder, notes)
    print(f"{arguments.folder}/README.md")


def run_publish(arguments: argparse.Namespace, rest: list[str]) -> None:
    start_logging()
    from .publishing import publish

    names = ("repo_id", "tag", "create_pr", "commit_message", "parent_commit", "dry_run", "refresh_code")
    options = {name: getattr(arguments, name) for name in names}
    print_answer(arguments, publish(arguments.folder, private=arguments.private or None, **options))


def run_verify(arguments: argparse.Namespace, rest: list[str]) -> None:
    start_logging()
    from .publishing import verify

    print_answer(arguments, verify(arguments.model, revision=arguments.revision))


def run_download(arguments: argparse.Namespace, rest: list[str]) -> None:
    start_logging()
    from .publishing import download

    folder, verification = download(arguments.model, revision=arguments.revision, local_dir=arguments.local_dir)
    print_answer(arguments, verification, folder=str(folder))
    if not arguments.json:
        print(folder)


def print_answer(arguments: argparse.Namespace, answer: Any, **more: Any) -> None:
    """An answer of the Hub's commands: its sentence, or with --json its fields."""
    print(json.dumps(dataclasses.asdict(answer) | more, indent=2) if arguments.json else answer)


# --- completion ---


def run_completion(arguments: argparse.Namespace, rest: list[str]) -> None:
    from .completion import write_script

    print(write_script(arguments.shell, build_parser()), end="")


def start_logging() -> None:
    """Our own lines on stderr from the main process; the libraries' only when they are warnings of ours to act on."""
    logger = logging.getLogger("hubmodels")
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)
        logger.propagate = False
    logger.setLevel(logging.INFO if os.environ.get("RANK", "0") == "0" else logging.ERROR)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")


if __name__ == "__main__":
    sys.exit(main())
