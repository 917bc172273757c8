"""Batches of encoded rows, in an order that the seed and the epoch alone decide.

An optimizer step is a slice of the epoch's order, `batch_size * accumulation * num_processes` rows long; it is cut into
`accumulation * num_processes` even micro-batches, and each process takes its own. So the global batch of a step is the
same rows however many processes and micro-batches share it.
"""

import itertools
import math
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import datasets
import numpy as np
import torch

from ..errors import HubmodelsError

# One optimizer step of one process: (weight, batch) for each micro-batch. A loss that is a mean over the rows of its
# batch, times the weight, summed over micro-batches and averaged over processes, is the mean over the step's rows.
Step = list[tuple[float, dict[str, torch.Tensor]]]


def epoch_order(num_rows: int, seed: int, epoch: int) -> torch.Tensor:
    """The row numbers 0..num_rows-1 in the order of one epoch, int64 (num_rows,)."""
    generator = torch.Generator().manual_seed(mix_seed(seed, epoch))
    return torch.randperm(num_rows, generator=generator)


def lane_order(num_rows: int, num_lanes: int, seed: int, epoch: int) -> torch.Tensor:
    """The row numbers of one epoch in lanes, int64: each step has a row of every lane, and a lane's row is the one
    behind its row in the step before. Rows that do not fill a step are left out, others in each epoch."""
    num_steps, left = divmod(num_rows, num_lanes)
    generator = torch.Generator().manual_seed(mix_seed(seed, epoch))
    first = torch.randint(left + 1, (), generator=generator)
    return first + torch.arange(num_lanes * num_steps).view(num_lanes, num_steps).T.flatten()


def mix_seed(*parts: int) -> int:
    """One 63-bit seed from several numbers, so that neighbouring seeds and epochs give unrelated streams."""
    return int(np.random.SeedSequence([abs(part) for part in parts]).generate_state(1, np.uint64)[0] >> 1)


def split_step(
    num_rows: int, batch_size: int, accumulation: int, num_processes: int, process_index: int
) -> list[tuple[int, int, float]]:
    """The micro-batches (start, end, weight) of one process in a step of `num_rows` rows.

    A full step gives every micro-batch `batch_size` rows. The last, partial step of an epoch is cut evenly into as few
    micro-batches as hold it. Every process gets the same number of micro-batches, since they meet in each backward
    pass; with fewer rows than processes some compute a row that another has too, with weight 0.
    """
    rounds = min(accumulation, -(-num_rows // (batch_size * num_processes)))
    parts = rounds * num_processes
    result = []
    for index in range(rounds):
        part = index * num_processes + process_index
        start, end = part * num_rows // parts, (part + 1) * num_rows // parts
        weight = (end - start) * num_processes / num_rows
        if start == end:
            start, end = min(start, num_rows - 1), min(start, num_rows - 1) + 1
        result.append((start, end, weight))
    return result


class Batches:
    """The training rows of a `Columns`, step by step, from any step of any epoch.

    Args:
        columns: has `len()`, `batch(rows) -> dict of tensors` and `tensor(name)`.
        seed: with the epoch it decides the order of rows.
        num_workers: 0 gathers each step when it is asked for; more keeps that many steps ready, gathered by a thread.
        in_lanes: each row of a step goes on where the same row of the step before ended, see `lane_order`.
        max_shift: of windows, how many steps later they begin at most, drawn anew for each epoch; not in lanes.
    """

    def __init__(
        self, columns: Any, *, seed: int, num_workers: int = 0, in_lanes: bool = False, max_shift: int = 0
    ) -> None:
        if len(columns) == 0:
            raise HubmodelsError("there are no rows to train on")
        self.columns = columns
        self.seed = seed
        self.num_workers = num_workers
        self.in_lanes = in_lanes
        self.max_shift = 0 if in_lanes else max_shift
        self.num_rows: int | None = len(columns)

    def steps_per_epoch(self, rows_per_step: int) -> int:
        """Raises HubmodelsError when lanes are asked for and there are fewer rows than lanes."""
        if not self.in_lanes:
            return math.ceil(self.num_rows / rows_per_step)
        if self.num_rows < rows_per_step:
            raise HubmodelsError(
                f"{self.num_rows} rows cannot go on in {rows_per_step} lanes: lower per_device_train_batch_size, or "
                "leave out carry_state"
            )
        return self.num_rows // rows_per_step

    def order(self, epoch: int, rows_per_step: int) -> torch.Tensor:
        """The row numbers of an epoch in the order of its steps."""
        if self.in_lanes:
            return lane_order(self.num_rows, rows_per_step, self.seed, epoch)
        return epoch_order(self.num_rows, self.seed, epoch)

    def shift(self, epoch: int) -> int:
        """How many steps later than their columns say the windows of an epoch begin."""
        generator = torch.Generator().manual_seed(mix_seed(self.seed, epoch, 1))
        return int(torch.randint(self.max_shift + 1, (), generator=generator))

    def steps(
        self,
        epoch: int,
        first_step: int = 0,
        *,
        batch_size: int,
        accumulation: int = 1,
        num_processes: int = 1,
        process_index: int = 0,
        device: torch.device | str = "cpu",
    ) -> Iterator[Step]:
        """The steps of one epoch for one process, from `first_step` on, on `device`."""
        rows_per_step = batch_size * accumulation * num_processes
        order = self.order(epoch, rows_per_step)
        options = {"shift": self.shift(epoch)} if self.max_shift else {}
        device = torch.device(device)

        def gather() -> Iterator[Step]:
            for begin in range(first_step * rows_per_step, len(order), rows_per_step):
                rows = order[begin : begin + rows_per_step]
                parts = split_step(len(rows), batch_size, accumulation, num_processes, process_index)
                yield [(weight, to_device(self.columns.batch(rows[i:j], **options), device)) for i, j, weight in parts]

        return prefetch(gather(), self.num_workers)

    def row_numbers(self, epoch: int, step: int, rows_per_step: int) -> list[int]:
        """The numbers of the rows of one step, over all processes."""
        order = self.order(epoch, rows_per_step)
        return order[step * rows_per_step : (step + 1) * rows_per_step].tolist()

    def tensor(self, name: str) -> torch.Tensor:
        """A whole column, (N, ...)."""
        return self.columns.tensor(name)


class StreamedBatches:
    """The rows of a `datasets.IterableDataset` (or of a `Dataset`), shuffled in a buffer and encoded as they come.

    Every process reads the same stream and encodes only its own rows of each step, so that the global batch does not
    depend on the number of processes; resuming reads past what was seen, without encoding it.

    Args:
        rows: the selected rows.
        encode: a batch of rows and their numbers in the epoch's order -> one array a column.
        seed: with the epoch it decides the order of rows.
        buffer_size: rows among which the next one is drawn.
        num_workers: steps kept ready by a thread.
        num_rows: rows of an epoch where that is known; else the number of steps must be given to the training.
    """

    def __init__(
        self,
        rows: Any,
        encode: Callable[[dict[str, list], list[int]], dict[str, np.ndarray]],
        *,
        seed: int,
        buffer_size: int = 10_000,
        num_workers: int = 0,
        num_rows: int | None = None,
    ) -> None:
        if isinstance(rows, datasets.Dataset):
            num_rows, rows = len(rows), rows.to_iterable_dataset()
        self.rows = rows
        self.encode = encode
        self.seed = seed
        self.buffer_size = buffer_size
        self.num_workers = num_workers
        self.num_rows = num_rows

    def steps_per_epoch(self, rows_per_step: int) -> int:
        """Raises HubmodelsError for a stream of unknown length."""
        if self.num_rows is None:
            raise HubmodelsError("the stream does not tell how many rows it has: give --max_steps")
        return math.ceil(self.num_rows / rows_per_step)

    def steps(
        self,
        epoch: int,
        first_step: int = 0,
        *,
        batch_size: int,
        accumulation: int = 1,
        num_processes: int = 1,
        process_index: int = 0,
        device: torch.device | str = "cpu",
    ) -> Iterator[Step]:
        """The steps of one epoch for one process, from `first_step` on, on `device`."""
        rows_per_step = batch_size * accumulation * num_processes
        device = torch.device(device)
        # `skip` before `shuffle` would skip other rows: the buffer's order is part of the epoch's order.
        shuffled = self.rows.shuffle(seed=mix_seed(self.seed, epoch) % 2**32, buffer_size=self.buffer_size)

        def gather() -> Iterator[Step]:
            iterator = iter(shuffled)
            for _ in range(first_step * rows_per_step):
                if next(iterator, None) is None:
                    return
            number = first_step * rows_per_step
            while True:
                rows = list(itertools.islice(iterator, rows_per_step))
                if not rows:
                    return
                parts = split_step(len(rows), batch_size, accumulation, num_processes, process_index)
                yield [
                    (weight, to_device(self._encode(rows[i:j], range(number + i, number + j)), device))
                    for i, j, weight in parts
                ]
                number += len(rows)

        return prefetch(gather(), self.num_workers)

    def _encode(self, rows: list[dict[str, Any]], numbers: Iterable[int]) -> dict[str, torch.Tensor]:
        encoded = self.encode({name: [row[name] for row in rows] for name in rows[0]}, list(numbers))
        return {name: torch.as_tensor(np.asarray(values)) for name, values in encoded.items()}

    def row_numbers(self, epoch: int, step: int, rows_per_step: int) -> list[int]:
        """The places of the rows of one step in the epoch's shuffled stream, over all processes."""
        return list(range(step * rows_per_step, (step + 1) * rows_per_step))

    def tensor(self, name: str) -> torch.Tensor:
        """Raises HubmodelsError: a stream has no whole column."""
        raise HubmodelsError(f"a streamed data set has no whole column {name!r}; leave out --streaming")


def to_device(batch: dict[str, torch.Tensor], device: torch.device) -> dict[str, torch.Tensor]:
    """The batch on the device; to a GPU through pinned memory, so that the copy runs beside the computation."""
    if device.type == "cpu":
        return batch
    if device.type == "cuda":
        return {name: tensor.pin_memory().to(device, non_blocking=True) for name, tensor in batch.items()}
    return {name: tensor.to(device) for name, tensor in batch.items()}


def prefetch(items: Iterator, depth: int) -> Iterator:
    """The items in their order, up to `depth` of them made ahead by a thread. An error in the thread is raised here."""
    if depth == 0:
        yield from items
        return
    ready: queue.Queue = queue.Queue(maxsize=depth)
    stopped = threading.Event()
    done = object()

    def put(item: tuple) -> None:
        while not stopped.is_set():
            try:
                return ready.put(item, timeout=0.1)
            except queue.Full:
                continue

    def work() -> None:
        try:
            for item in items:
                put((item, None))
                if stopped.is_set():
                    return
            put((done, None))
        except BaseException as error:
            put((done, error))

    thread = threading.Thread(target=work, name="hubmodels-prefetch", daemon=True)
    thread.start()
    try:
        while True:
            item, error = ready.get()
            if error is not None:
                raise error
            if item is done:
                return
            yield item
    finally:
        stopped.set()
        thread.join()
