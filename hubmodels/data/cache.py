"""Tables that were read, kept as Arrow files in the cache of `datasets`, under a name that their content decides."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

import datasets
import pyarrow
from datasets.arrow_writer import ArrowWriter
from datasets.fingerprint import Hasher

from ..files import atomic_file

READING_VERSION = 1  # of the code that reads: another one does not take what this one wrote


def cached_rows(
    key: object,
    batches: Callable[[], Iterable[pyarrow.RecordBatch]],
    features: datasets.Features,
    location: str = "",
) -> datasets.Dataset:
    """Give rows from the cache, or write them there first.

    Args:
        key: plain values that decide the rows; they become the fingerprint.
        batches: reads the rows, in pieces that can be cast to `features`.
        features: of the rows.
        location: where the files lie that rows name. Elsewhere the same content has other rows, and one fingerprint.
    """
    fingerprint = Hasher.hash([READING_VERSION, key, str(features)])
    path = Path(
        datasets.config.HF_DATASETS_CACHE,
        "hubmodels",
        fingerprint,
        f"rows{location and '-' + Hasher.hash(location)}.arrow",
    )
    if not path.is_file():
        with atomic_file(path) as temporary, ArrowWriter(features=features, path=os.fspath(temporary)) as writer:
            for batch in batches():
                writer.write_table(pyarrow.Table.from_batches([batch]))
            writer.finalize()
    rows = datasets.Dataset.from_file(os.fspath(path))
    rows._fingerprint = fingerprint
    return rows
