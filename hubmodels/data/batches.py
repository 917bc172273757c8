"""Batches of encoded rows, in an order that the seed and the epoch alone decide.

An optimizer step is a slice of the epoch's order, `batch_size * accumulation * num_processes` rows long; it is cut into
`accumulation * num_processes` even micro-batches, and each process takes its own. So the global batch of a step is the
same rows however many processes and micro-batches share it.
"""

import itertools
import math
import queue
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any, TypeVar

import datasets
import numpy as np
import torch

from ..errors import HubmodelsError

# One optimizer step of one process: (weight, batch) for each micro-batch. A loss that is a mean over the rows of its
# batch, times the weight, summed over micro-batches and averaged over processes, is the mean over the step's rows.
Step = list[tuple[float, dict[str, torch.Tensor]]]
Cut = Callable[[int], list[tuple[int, int, float]]]  # rows of a step -> (start, end, weight) of its micro-batches
Item = TypeVar("Item")


def epoch_order(num_rows: int, seed: int, epoch: int) -> torch.Tensor:
    """Give the row numbers 0..num_rows-1 in the order of one epoch, int64 (num_rows,)."""
    generator = torch.Generator().manual_seed(mix_seed(seed, epoch))
    return torch.randperm(num_rows, generator=generator)


def lane_order(num_rows: int, num_lanes: int, seed: int, epoch: int) -> torch.Tensor:
    """Give the row numbers of one epoch in lanes, int64.

    Each step has a row of every lane, and a lane's row is the one behind its row in the step before. Rows that do not
    fill a step are left out, others in each epoch."""
    num_steps, left = divmod(num_rows, num_lanes)
    generator = torch.Generator().manual_seed(mix_seed(seed, epoch))
    first = torch.randint(left + 1, (), generator=generator)
    return first + torch.arange(num_lanes * num_steps).view(num_lanes, num_steps).T.flatten()


def mix_seed(*numbers: int) -> int:
    """Mix several numbers into one 63-bit seed, so that neighbouring seeds and epochs give unrelated streams."""
    return int(np.random.SeedSequence([abs(number) for number in numbers]).generate_state(1, np.uint64)[0] >> 1)


def split_step(
    num_rows: int, batch_size: int, accumulation: int, num_processes: int, process_index: int
) -> list[tuple[int, int, float]]:
    """Cut a step of `num_rows` rows into micro-batches, and give those of one process: (start, end, weight).

    A full step gives every micro-batch `batch_size` rows. The last, partial step of an epoch is cut evenly into as few
    micro-batches as hold it. Every process gets the same number of micro-batches, since they meet in each backward
    pass; with fewer rows than processes some compute a row that another has too, with weight 0.
    """
    rounds = min(accumulation, -(-num_rows // (batch_size * num_processes)))
    count = rounds * num_processes
    result = []
    for index in range(rounds):
        number = index * num_processes + process_index
        start, end = number * num_rows // count, (number + 1) * num_rows // count
        weight = (end - start) * num_processes / num_rows
        if start == end:
            start, end = min(start, num_rows - 1), min(start, num_rows - 1) + 1
        result.append((start, end, weight))
    return result


class StepSource(ABC):
    """Gives the training rows, step by step, from any step of any epoch.

    Attributes:
        num_rows: rows of an epoch; None where that is not known.
        seed: with the epoch it decides the order of rows.
        num_workers: 0 gathers each step when it is asked for; more keeps that many steps ready, gathered by a thread.
    """

    num_rows: int | None
    seed: int
    num_workers: int

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
    ) -> Generator[Step, None, None]:
        """Give the steps of one epoch for one process, from `first_step` on, on `device`."""

        def cut(num_rows: int) -> list[tuple[int, int, float]]:
            return split_step(num_rows, batch_size, accumulation, num_processes, process_index)

        rows_per_step = batch_size * accumulation * num_processes
        return prefetch(self.gather(epoch, first_step, rows_per_step, cut, torch.device(device)), self.num_workers)

    @abstractmethod
    def gather(self, epoch: int, first_step: int, rows_per_step: int, cut: Cut, device: torch.device) -> Iterator[Step]:
        """Give the steps of one epoch, each cut into the micro-batches of one process, from `first_step` on."""

    @abstractmethod
    def steps_per_epoch(self, rows_per_step: int) -> int:
        """Count the steps of an epoch. Raises HubmodelsError where they cannot be counted."""

    @abstractmethod
    def row_numbers(self, epoch: int, step: int, rows_per_step: int) -> list[int]:
        """Give the numbers of the rows of one step, over all processes."""

    @abstractmethod
    def tensor(self, name: str) -> torch.Tensor:
        """Give a whole column, (N, ...). Raises HubmodelsError where there is none."""


class Batches(StepSource):
    """Gives the training rows of a `Columns`.

    Args:
        columns: the encoded rows.
        seed: with the epoch it decides the order of rows.
        num_workers: see `StepSource`.
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
        self.num_rows = len(columns)

    def steps_per_epoch(self, rows_per_step: int) -> int:
        """Count the steps of an epoch. Raises HubmodelsError where there are fewer rows than lanes."""
        num_rows = len(self.columns)
        if not self.in_lanes:
            return math.ceil(num_rows / rows_per_step)
        if num_rows < rows_per_step:
            raise HubmodelsError(
                f"{num_rows} rows cannot go on in {rows_per_step} lanes: lower per_device_train_batch_size, or "
                "leave out carry_state"
            )
        return num_rows // rows_per_step

    def order(self, epoch: int, rows_per_step: int) -> torch.Tensor:
        """Give the row numbers of an epoch in the order of its steps."""
        if self.in_lanes:
            return lane_order(len(self.columns), rows_per_step, self.seed, epoch)
        return epoch_order(len(self.columns), self.seed, epoch)

    def shift(self, epoch: int) -> int:
        """Draw how many steps later than their columns say the windows of an epoch begin."""
        generator = torch.Generator().manual_seed(mix_seed(self.seed, epoch, 1))
        return int(torch.randint(self.max_shift + 1, (), generator=generator))

    def gather(self, epoch: int, first_step: int, rows_per_step: int, cut: Cut, device: torch.device) -> Iterator[Step]:
        order = self.order(epoch, rows_per_step)
        options = {"shift": self.shift(epoch)} if self.max_shift else {}
        for begin in range(first_step * rows_per_step, len(order), rows_per_step):
            rows = order[begin : begin + rows_per_step]
            yield [
                (weight, to_device(self.columns.batch(rows[start:end], **options), device))
                for start, end, weight in cut(len(rows))
            ]

    def row_numbers(self, epoch: int, step: int, rows_per_step: int) -> list[int]:
        order = self.order(epoch, rows_per_step)
        return order[step * rows_per_step : (step + 1) * rows_per_step].tolist()

    def tensor(self, name: str) -> torch.Tensor:
        return self.columns.tensor(name)


class StreamedBatches(StepSource):
    """Gives the training rows of a stream of `datasets`, shuffled in a buffer and encoded as they come.

    Every process reads the same stream and encodes only its own rows of each step. So the global batch does not depend
    on the number of processes; resuming reads past what was seen, without encoding it.

    Args:
        rows: the selected rows, an `IterableDataset` or a `Dataset`.
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
        """Count the steps of an epoch. Raises HubmodelsError for a stream of unknown length."""
        if self.num_rows is None:
            raise HubmodelsError("the stream does not tell how many rows it has: give --max_steps")
        return math.ceil(self.num_rows / rows_per_step)

    def gather(self, epoch: int, first_step: int, rows_per_step: int, cut: Cut, device: torch.device) -> Iterator[Step]:
        # `skip` before `shuffle` would skip other rows: the buffer's order is part of the epoch's order.
        iterator = iter(self.rows.shuffle(seed=mix_seed(self.seed, epoch) % 2**32, buffer_size=self.buffer_size))
        for _ in range(first_step * rows_per_step):
            if next(iterator, None) is None:
                return
        number = first_step * rows_per_step
        while rows := list(itertools.islice(iterator, rows_per_step)):
            yield [
                (weight, to_device(self._encode(rows[start:end], range(number + start, number + end)), device))
                for start, end, weight in cut(len(rows))
            ]
            number += len(rows)

    def _encode(self, rows: list[dict[str, Any]], numbers: Iterable[int]) -> dict[str, torch.Tensor]:
        encoded = self.encode({name: [row[name] for row in rows] for name in rows[0]}, list(numbers))
        return {name: torch.as_tensor(np.asarray(values)) for name, values in encoded.items()}

    def row_numbers(self, epoch: int, step: int, rows_per_step: int) -> list[int]:
        """Give the positions of the rows of one step in the epoch's shuffled stream, over all processes."""
        return list(range(step * rows_per_step, (step + 1) * rows_per_step))

    def tensor(self, name: str) -> torch.Tensor:
        """Refuse: a stream has no whole column. Raises HubmodelsError."""
        raise HubmodelsError(f"a streamed data set has no whole column {name!r}; leave out --streaming")


def to_device(batch: dict[str, torch.Tensor], device: torch.device) -> dict[str, torch.Tensor]:
    """Copy a batch to the device; to a GPU through pinned memory, so that the copy runs beside the computation."""
    if device.type == "cpu":
        return batch
    if device.type == "cuda":
        return {name: tensor.pin_memory().to(device, non_blocking=True) for name, tensor in batch.items()}
    return {name: tensor.to(device) for name, tensor in batch.items()}


def prefetch(items: Iterator[Item], depth: int) -> Generator[Item, None, None]:
    """Give the items in their order, up to `depth` of them made ahead by a thread, whose error is raised here."""
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
