"""`hubmodels predict`: predict every row of a file, or a picture, a sound, a text."""

import argparse
import ctypes
import json
import sys
import time
from typing import Any

from ..fields import option_fields, type_hints
from ..formatting import format_number
from ..recipe import ReadingOptions
from ..report import collect_notes
from ._flags import read_words
from ._parser import add_flag, add_json_flag, is_main_process, print_columns

SUMMARY = "predict the rows of a file, pictures, sounds or texts with a checkpoint"
DESCRIPTION = (
    "Predict rows: of a file (all kinds that training reads, `-` for the standard input), of a folder, or single "
    "pictures, sounds and texts, one or several. They are read as the files of the training were, unless a flag says "
    "otherwise. The output has the same rows in the same order: the columns that the model does not read, as the file "
    "has them, then the prediction with its probabilities or interval. A row that cannot be read has no answer, and "
    "the column `error` says why; the exit code is then 1. Without --output the answers are printed. Files of any size "
    "are read and written in pieces; under torchrun or accelerate launch the processes share them."
)
FIELDS = None
COLUMN_NAMES = {
    "image_column_name": "the images or their paths",
    "audio_column_name": "the sounds or their paths",
    "text_column_name": "the texts",
}
DECIDED = ("column_kinds", "drop_columns")  # by the training: the network was built for its columns


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the model, the inputs, --output, how to predict and how to read."""
    parser.add_argument("model", help="folder or Hub id")
    parser.add_argument("input", nargs="+", help="files, folders or texts to predict, `-` for the standard input")
    text = "where to: .csv, .jsonl or .parquet, or of models that answer with pictures a new folder"
    add_flag(parser, "output", metavar="FILE", help=f"{text}; on the screen when absent")
    add_flag(parser, "keep", nargs="*", metavar="COLUMN", help="repeat only these columns of the input, such as ids")
    add_flag(parser, "batch_size", type=int, default=2048, metavar="N", help="rows in one forward pass (2048)")
    add_flag(parser, "member", type=int, metavar="N", help="one member of an ensemble alone, which is faster")
    add_flag(parser, "bf16", action="store_true", help="bfloat16: faster, good for two to three digits")
    text = "how little each row resembles the training rows (autoencoders: the reconstruction error)"
    add_flag(parser, "anomaly_scores", action="store_true", help=text)
    text = "forecasts: steps ahead; more than the model's own come from its forecasts, with quantiles too narrow"
    add_flag(parser, "prediction_length", type=int, metavar="N", help=text)
    add_flag(parser, "future", metavar="FILE", help="forecasts: what is known of the steps ahead, such as holidays")
    for name, text in COLUMN_NAMES.items():
        add_flag(parser, name, metavar="COLUMN", help=f"of tables: the column of {text}, where its name is another")
    add_json_flag(parser)
    add_reading_flags(parser)


def add_reading_flags(parser: argparse.ArgumentParser) -> None:
    """Add the fields that say how files are read, where they are not as those of the training."""
    group = parser.add_argument_group("how files are read, when not as those of the training")
    for name, item in option_fields(ReadingOptions).items():
        if name not in DECIDED:
            add_flag(group, name, nargs="?", const="", metavar="VALUE", help=item.metadata["help"])


def reading_fields(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the fields of reading that were given. Raises HubmodelsError for a value that one does not take."""
    hints = type_hints(ReadingOptions)
    given = {name: getattr(arguments, name, None) for name in hints}
    return {
        name: read_words(f"--{name}", [word] if word else [], hints[name])
        for name, word in given.items()
        if word is not None
    }


def run(arguments: argparse.Namespace, rest: list[str]) -> int:
    """Predict, and print the answers, or how many rows it were; 1 where some could not be read."""
    from .. import use

    keep_freed_memory()
    started = time.perf_counter()
    with collect_notes() as notes:
        predicted = use.predict(
            arguments.model,
            arguments.input,
            arguments.output,
            keep=arguments.keep,
            batch_size=arguments.batch_size,
            member=arguments.member,
            bf16=arguments.bf16,
            anomaly_scores=arguments.anomaly_scores,
            reading=reading_fields(arguments),
            prediction_length=arguments.prediction_length,
            future=arguments.future,
            column_name={name: getattr(arguments, name) for name in COLUMN_NAMES if getattr(arguments, name)},
        )
    code = 1 if predicted.num_unreadable else 0
    if not is_main_process():
        return code
    seconds = round(time.perf_counter() - started, 2)
    told = {"num_rows": predicted.num_rows, "num_unreadable": predicted.num_unreadable, "seconds": seconds}
    if arguments.json:
        answers = {} if predicted.table is None else {"answers": predicted.table.to_pylist()}
        said = {"notes": [note.to_dict() for note in notes]}
        values = {"output": arguments.output, **told, **said, **answers}
        print(json.dumps(values, indent=2, default=str, ensure_ascii=False))
        return code
    for note in notes:
        if note.surprising:
            print(f"{note.text}{f' ({note.remedy})' if note.remedy else ''}", file=sys.stderr)
    if predicted.table is not None:
        print_table(predicted.table)
    else:
        print(f"{predicted.num_rows:,} rows predicted in {seconds:,.1f} s: {arguments.output}")
    return code


def print_table(table: Any) -> None:
    """Print a table of few rows: a row a line, or of one row an answer a line."""
    rows = [[show(value) for value in row.values()] for row in table.to_pylist()]
    if len(rows) == 1:
        print_columns(list(zip(table.column_names, rows[0], strict=True)))
    else:
        print_columns([tuple(table.column_names), *map(tuple, rows)])


def show(value: Any) -> str:
    """Show a value of an answer on one line."""
    if isinstance(value, float):
        return format_number(value)
    return "" if value is None else " ".join(str(value).split())[:100]


def keep_freed_memory() -> None:
    """Let this process keep the memory that its tensors free (glibc only). By default glibc gives large blocks back to
    the system after each batch and asks for them again, page by page: `predict` gave 145,501 rows a CPU second so and
    186,917 when they were kept (mlp-california-housing, --member 0 --bf16, one core of an AMD EPYC, 2026-11-22)."""
    mmap_threshold, trim_threshold, size = -3, -1, 1 << 30  # M_MMAP_THRESHOLD and M_TRIM_THRESHOLD of malloc.h
    try:
        libc = ctypes.CDLL(None)
        libc.mallopt(mmap_threshold, size)
        libc.mallopt(trim_threshold, size)
    except (OSError, AttributeError, TypeError):  # another C library: slower, nothing else
        return
