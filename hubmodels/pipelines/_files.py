"""Reading the files that pipelines take."""

import os
from pathlib import Path
from typing import Any

READERS = {".csv": "read_csv", ".tsv": "read_table", ".parquet": "read_parquet", ".jsonl": "read_json"}


def read_file(path: str | os.PathLike) -> Any:
    """A table's file as a DataFrame. Raises ValueError when there is none or its kind is unknown."""
    import pandas

    suffix = Path(path).suffix.lower()
    if suffix not in READERS:
        raise ValueError(f"cannot read {os.fspath(path)}: the kinds of files are {', '.join(READERS)}")
    if not Path(path).is_file():
        raise ValueError(f"there is no file {os.fspath(path)}")
    return getattr(pandas, READERS[suffix])(path, **({"lines": True} if suffix == ".jsonl" else {}))
