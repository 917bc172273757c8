"""`hubmodels predict`: predict every row of a file."""

import argparse
import ctypes
import json
import time

from ._parser import add_flag, add_json_flag, is_main_process

SUMMARY = "predict every row of a file with a checkpoint"
DESCRIPTION = (
    "Predict the rows of a CSV, TSV, JSON-lines or Parquet file, or a folder's images or sounds. The output has the "
    "same rows in the same order: the columns that the model does not read, then the prediction with its "
    "probabilities or interval. Files of any size are read and written in pieces; under torchrun or accelerate launch "
    "the processes share them."
)
FIELDS = None


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the model, the input, --output and how to predict."""
    parser.add_argument("model", help="folder or Hub id")
    parser.add_argument("input", help="file or folder to predict")
    add_flag(parser, "output", required=True, metavar="FILE", help="where to: .csv, .jsonl or .parquet")
    add_flag(parser, "keep", nargs="*", metavar="COLUMN", help="repeat only these columns of the input, such as ids")
    add_flag(parser, "batch_size", type=int, default=2048, metavar="N", help="rows in one forward pass (2048)")
    add_flag(parser, "member", type=int, metavar="N", help="one member of an ensemble alone, which is faster")
    add_flag(parser, "bf16", action="store_true", help="bfloat16: faster, good for two to three digits")
    add_json_flag(parser)


def run(arguments: argparse.Namespace, rest: list[str]) -> None:
    """Predict, and print how many rows it were."""
    from .. import use

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
    if not is_main_process():
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
    mmap_threshold, trim_threshold, size = -3, -1, 1 << 30  # M_MMAP_THRESHOLD and M_TRIM_THRESHOLD of malloc.h
    try:
        libc = ctypes.CDLL(None)
        libc.mallopt(mmap_threshold, size)
        libc.mallopt(trim_threshold, size)
    except (OSError, AttributeError, TypeError):  # another C library: slower, nothing else
        return
