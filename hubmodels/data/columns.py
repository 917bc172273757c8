"""Encoded columns: each row is encoded once into Arrow, and whole batches are read from there as tensors.

Going through `dataset[i:j]` costs 2.8 ms for 128 rows of 784 bytes; the same rows gathered from the Arrow buffer seen
as one tensor cost 0.02 ms.
"""

import math
import warnings
from collections.abc import Callable

import datasets
import numpy as np
import pyarrow
import torch

from ..errors import HubmodelsError
from ..progress import without_bars
from ..report import Note, collect_notes, repeat_notes
from .cache import cache_key, cached_folder

# A column up to this size is copied into one block of memory; a larger one stays memory-mapped, chunk by chunk.
RESIDENT_BYTES = 2 * 1024**3


class Columns:
    """Shows the encoded rows of one split as tensors.

    Every column holds tensors of one fixed shape per row (`Value`, `List(..., length=n)` or `Array2D...5D`)."""

    def __init__(self, dataset: datasets.Dataset, resident_bytes: int = RESIDENT_BYTES) -> None:
        self.num_rows = len(dataset)
        if dataset._indices is not None:
            with without_bars():
                dataset = dataset.flatten_indices()
        self._columns = {
            name: _Column(dataset.data.column(name), feature, name, resident_bytes)
            for name, feature in dataset.features.items()
        }

    def __len__(self) -> int:
        return self.num_rows

    @property
    def names(self) -> list[str]:
        """Return the names of the columns."""
        return list(self._columns)

    def batch(self, rows: torch.Tensor) -> dict[str, torch.Tensor]:
        """Give the rows with these numbers, int64 (B,), as one new tensor a column, in the column's own dtype."""
        return {name: column.take(rows) for name, column in self._columns.items()}

    def tensor(self, name: str) -> torch.Tensor:
        """Give a whole column, (N, ...); one that is too large to be resident is copied into memory for the caller."""
        return self._columns[name].whole()


class WindowedColumns:
    """Cuts windows from a stream of steps (tokens, hours): each is a row, its steps the second dimension.

    A batch gathers its windows from the stream, which is stored once, however far the windows overlap.

    Args:
        columns: the stream, one step a row.
        starts: the first step of each window, int64 (W,).
        length: steps in a window, >= 1.

    Raises:
        HubmodelsError: there is no window.
    """

    def __init__(self, columns: Columns, starts: torch.Tensor, length: int) -> None:
        if len(starts) == 0:
            raise HubmodelsError(
                f"a split of {len(columns):,} steps holds no window of {length:,}: give more data or shorter windows"
            )
        assert int(starts.min()) >= 0, "a window begins before its split"
        assert int(starts.max()) + length <= len(columns), "a window ends behind its split"
        self.columns, self.starts, self.length = columns, starts, length
        self._steps = torch.arange(length)

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def names(self) -> list[str]:
        """Return the names of the columns."""
        return self.columns.names

    def batch(self, rows: torch.Tensor, shift: int = 0) -> dict[str, torch.Tensor]:
        """Give the windows with these numbers, int64 (B,), as one new tensor (B, length, ...) a column.

        Each begins `shift` steps later, as far as the stream goes."""
        starts = (self.starts[rows] + shift).clamp(max=len(self.columns) - self.length)
        steps = (starts[:, None] + self._steps).flatten()  # (B * length,)
        return {
            name: value.view(len(rows), self.length, *value.shape[1:])
            for name, value in self.columns.batch(steps).items()
        }

    def tensor(self, name: str) -> torch.Tensor:
        """Give a whole column of the stream, (steps, ...)."""
        return self.columns.tensor(name)


class _Column:
    """Shows one Arrow column as tensors that share its memory: one block, or one a chunk of the mapped file."""

    def __init__(self, column: pyarrow.ChunkedArray, feature: object, name: str, resident_bytes: int) -> None:
        self.shape = _row_shape(feature, name)
        if column.nbytes <= resident_bytes:
            column = pyarrow.chunked_array([column.combine_chunks()]) if column.num_chunks != 1 else column
        self.chunks = [self._view(chunk, name) for chunk in column.chunks]
        self.starts = torch.tensor(np.cumsum([0] + [len(chunk) for chunk in self.chunks]), dtype=torch.int64)

    def _view(self, chunk: pyarrow.Array, name: str) -> torch.Tensor:
        num_rows = len(chunk)
        if isinstance(chunk, pyarrow.ExtensionArray):
            chunk = chunk.storage
        while (
            hasattr(chunk, "flatten")
            and not isinstance(chunk, pyarrow.StructArray)
            and pyarrow.types.is_nested(chunk.type)
        ):
            chunk = chunk.flatten()
        if chunk.null_count:
            raise HubmodelsError(f"column {name!r} has {chunk.null_count} missing values")
        values = chunk.to_numpy(zero_copy_only=False)
        if values.size != num_rows * math.prod(self.shape):
            raise HubmodelsError(f"column {name!r} does not hold tensors of one shape {self.shape} in every row")
        with warnings.catch_warnings():
            # The Arrow buffer is read-only, of which torch warns; nothing here writes to it.
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            return torch.from_numpy(values).view(num_rows, *self.shape)

    def take(self, rows: torch.Tensor) -> torch.Tensor:
        """Gather the rows with these numbers into a new tensor."""
        if len(self.chunks) == 1:
            return self.chunks[0].index_select(0, rows)
        result = torch.empty((len(rows), *self.shape), dtype=self.chunks[0].dtype)
        owner = torch.bucketize(rows, self.starts, right=True) - 1
        for index in owner.unique().tolist():
            positions = (owner == index).nonzero().flatten()
            result[positions] = self.chunks[index].index_select(0, rows[positions] - self.starts[index])
        return result

    def whole(self) -> torch.Tensor:
        """Return the whole column as one tensor."""
        return self.chunks[0] if len(self.chunks) == 1 else torch.cat(self.chunks)


def _row_shape(feature: object, name: str) -> tuple[int, ...]:
    if isinstance(feature, datasets.Value | datasets.ClassLabel):
        return ()
    if isinstance(feature, datasets.Array2D | datasets.Array3D | datasets.Array4D | datasets.Array5D):
        return tuple(feature.shape)
    if isinstance(feature, datasets.List) and feature.length > 0:
        return (feature.length, *_row_shape(feature.feature, name))
    raise HubmodelsError(f"column {name!r} of type {feature} has rows of no fixed shape")


def encode_dataset(
    dataset: datasets.Dataset,
    encode: Callable[[dict[str, list], list[int]], dict[str, np.ndarray]],
    features: datasets.Features,
    key: object,
    description: str,
) -> Columns:
    """Encode every row once, in batches, and keep the result in the data set's Arrow cache.

    Args:
        dataset: the selected rows.
        encode: a batch of rows and their row numbers -> one array a column, all of one length, which may be another
            than the number of rows.
        features: the Arrow types of the result.
        key: whatever decides what `encode` gives (plain values); with the rows' fingerprint it names the cache.
        description: the progress bar's words.
    """
    fingerprint = cache_key(dataset._fingerprint, key, str(features))
    with collect_notes() as notes:
        encoded = dataset.map(
            encode,
            batched=True,
            with_indices=True,
            remove_columns=dataset.column_names,
            features=features,
            new_fingerprint=fingerprint,
            desc=description,
        )
    # What was said of rows that come from the cache is said again.
    said = [one.to_dict() for one in notes]
    _, described = cached_folder(cache_key(fingerprint, "notes"), lambda _: {"notes": said})
    repeat_notes(Note(**one) for one in described["notes"])
    return Columns(encoded)
