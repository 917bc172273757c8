"""Reading the files that pipelines take."""

import os
from pathlib import Path
from typing import Any

KINDS = (".csv", ".tsv", ".parquet", ".jsonl")


def read_file(path: str | os.PathLike) -> Any:
    """Read a table's file as a DataFrame. Raises ValueError when there is none or its kind is unknown."""
    import pandas

    suffix = Path(path).suffix.lower()
    if suffix not in KINDS:
        raise ValueError(f"cannot read {os.fspath(path)}: the kinds of files are {', '.join(KINDS)}")
    if not Path(path).is_file():
        raise ValueError(f"there is no file {os.fspath(path)}")
    if suffix == ".jsonl":
        return pandas.read_json(path, lines=True)
    if suffix == ".parquet":
        return pandas.read_parquet(path)
    return pandas.read_csv(path, sep="\t" if suffix == ".tsv" else ",")
