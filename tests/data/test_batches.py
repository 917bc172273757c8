"""Batches: which rows a step has, how they are shared, and that one can start anywhere."""

import inspect
import threading
import time
from collections.abc import Iterator

import datasets
import numpy as np
import pytest
import torch

from hubmodels.data import Batches, Columns, StreamedBatches, WindowedColumns
from hubmodels.data.batches import prefetch
from hubmodels.errors import HubmodelsError
from hubmodels.training.contracts import TrainingBatches

# (rows, batch size, accumulation, processes): whole steps, partial ones, fewer rows than processes
SHAPES = [(64, 8, 1, 1), (50, 8, 2, 1), (50, 4, 2, 2), (50, 4, 1, 4), (33, 8, 2, 2), (3, 2, 3, 4), (17, 16, 1, 1)]


class NumberColumns:
    """Row i holds the number i."""

    def __init__(self, num_rows: int) -> None:
        self.numbers = torch.arange(num_rows)

    def __len__(self) -> int:
        return len(self.numbers)

    def batch(self, rows: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"row": self.numbers[rows]}

    def tensor(self, name: str) -> torch.Tensor:
        return self.numbers


def steps_of(batches: Batches | StreamedBatches, epoch: int, first_step: int = 0, **shape: int) -> list[list]:
    """For each step the micro-batches (weight, rows) of all processes."""
    processes = shape.pop("num_processes", 1)
    each = [
        list(batches.steps(epoch, first_step, num_processes=processes, process_index=index, **shape))
        for index in range(processes)
    ]
    return [
        [(weight, batch["row"].tolist()) for step in of_step for weight, batch in step]
        for of_step in zip(*each, strict=True)
    ]


def rows_of(step: list) -> list[int]:
    """The rows that count, in order of their numbers."""
    return sorted(row for weight, rows in step if weight for row in rows)


@pytest.mark.parametrize(("num_rows", "batch_size", "accumulation", "processes"), SHAPES)
def test_an_epoch_has_every_row_once_however_it_is_shared(num_rows, batch_size, accumulation, processes) -> None:
    shape = {"batch_size": batch_size, "accumulation": accumulation, "num_processes": processes}
    steps = steps_of(Batches(NumberColumns(num_rows), seed=0), 0, **shape)
    assert sorted(row for step in steps for row in rows_of(step)) == list(range(num_rows))
    assert all(len(rows) <= batch_size for step in steps for _, rows in step)


@pytest.mark.parametrize(("num_rows", "batch_size", "accumulation", "processes"), SHAPES)
def test_weighted_micro_batch_means_average_to_the_mean_of_the_step(
    num_rows, batch_size, accumulation, processes
) -> None:
    shape = {"batch_size": batch_size, "accumulation": accumulation, "num_processes": processes}
    batches = Batches(NumberColumns(num_rows), seed=3)
    for number, step in enumerate(steps_of(batches, 0, **shape)):
        found = sum(weight * np.mean(rows) for weight, rows in step) / processes
        rows = batches.row_numbers(0, number, batch_size * accumulation * processes)
        assert sorted(rows) == rows_of(step)
        assert found == pytest.approx(np.mean(rows), rel=1e-12)


def test_a_step_has_the_same_rows_however_it_is_shared() -> None:
    batches = Batches(NumberColumns(100), seed=1)
    shares = [(24, 1, 1), (12, 2, 1), (12, 1, 2), (4, 3, 2), (8, 1, 3)]
    found = [
        [rows_of(step) for step in steps_of(batches, 2, batch_size=b, accumulation=a, num_processes=p)]
        for b, a, p in shares
    ]
    assert all(each == found[0] for each in found)


def test_processes_take_the_same_number_of_micro_batches_so_that_none_waits() -> None:
    for num_rows in range(1, 40):
        batches = Batches(NumberColumns(num_rows), seed=0)
        counts = [
            [len(step) for step in batches.steps(0, batch_size=2, accumulation=3, num_processes=3, process_index=index)]
            for index in range(3)
        ]
        assert counts[0] == counts[1] == counts[2]


def test_seed_and_epoch_alone_decide_the_order() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        torch.manual_seed(torch.seed())  # the global state has no say
        return [
            row for step in steps_of(Batches(NumberColumns(40), seed=seed), epoch, batch_size=8) for row in step[0][1]
        ]

    orders = [order(seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert orders == [order(seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert len({tuple(each) for each in orders}) == 4


@pytest.mark.parametrize("num_workers", [0, 2])
def test_starting_at_a_step_gives_the_rest_of_the_epoch(num_workers: int) -> None:
    batches = Batches(NumberColumns(50), seed=0, num_workers=num_workers)
    whole = steps_of(batches, 1, batch_size=8)
    for first in range(len(whole) + 1):
        assert steps_of(batches, 1, first, batch_size=8) == whole[first:]


def test_no_rows_are_refused() -> None:
    with pytest.raises(HubmodelsError, match="no rows"):
        Batches(NumberColumns(0), seed=0)


def test_prefetching_keeps_the_order_and_runs_no_further_than_its_depth() -> None:
    made = []

    def numbers() -> Iterator[int]:
        for number in range(20):
            made.append(number)
            yield number

    ahead = prefetch(numbers(), 3)
    assert next(ahead) == 0
    time.sleep(0.3)
    assert len(made) <= 1 + 3 + 1  # given, ready, in the thread's hand
    assert list(ahead) == list(range(1, 20))


def test_an_error_while_fetching_ahead_reaches_the_loop() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise HubmodelsError("row 7 cannot be read")

    ahead = prefetch(broken(), 2)
    assert next(ahead) == 1
    with pytest.raises(HubmodelsError, match="row 7"):
        next(ahead)


def test_a_prefetching_that_is_left_early_ends_its_thread() -> None:
    ahead = prefetch(iter(range(1000)), 2)
    next(ahead)
    ahead.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "hubmodels-prefetch"]


def make_stream(num_rows: int, encoded: list | None = None, **options: object) -> StreamedBatches:
    def encode(rows: dict[str, list], numbers: list[int]) -> dict[str, np.ndarray]:
        if encoded is not None:
            encoded.extend(numbers)
        return {"row": np.array(rows["row"]), "number": np.array(numbers)}

    rows = datasets.Dataset.from_dict({"row": list(range(num_rows))}).to_iterable_dataset(num_shards=4)
    return StreamedBatches(rows, encode, seed=0, buffer_size=16, **options)


def test_a_stream_gives_every_row_once_and_each_step_the_same_rows_however_it_is_shared() -> None:
    stream = make_stream(50)
    one = [rows_of(step) for step in steps_of(stream, 0, batch_size=12)]
    assert sorted(row for step in one for row in step) == list(range(50))
    assert one == [rows_of(step) for step in steps_of(stream, 0, batch_size=3, accumulation=2, num_processes=2)]
    assert one != [rows_of(step) for step in steps_of(stream, 1, batch_size=12)]


def test_a_stream_is_resumed_by_reading_past_rows_without_encoding_them() -> None:
    whole = steps_of(make_stream(50), 3, batch_size=8)
    encoded: list[int] = []
    assert steps_of(make_stream(50, encoded, num_workers=2), 3, 4, batch_size=8) == whole[4:]
    assert sorted(encoded) == list(range(32, 50))


def test_a_process_encodes_only_its_own_rows_of_a_stream() -> None:
    encoded: list[int] = []
    list(make_stream(48, encoded).steps(0, batch_size=6, num_processes=2, process_index=1))
    assert encoded == [number for number in range(48) if number % 12 >= 6]


def test_a_whole_column_of_a_stream_is_refused() -> None:
    with pytest.raises(HubmodelsError, match="--streaming"):
        make_stream(5).tensor("labels")


def test_a_data_set_in_memory_can_be_streamed_too_and_then_its_length_is_known() -> None:
    rows = datasets.Dataset.from_dict({"row": list(range(10))})
    stream = StreamedBatches(rows, lambda batch, numbers: {"row": np.array(batch["row"])}, seed=0)
    assert stream.num_rows == 10
    assert sorted(row for step in steps_of(stream, 0, batch_size=4) for row in rows_of(step)) == list(range(10))


def windows_of(num_steps: int, length: int, stride: int) -> WindowedColumns:
    stream = Columns(datasets.Dataset.from_dict({"step": list(range(num_steps))}))
    return WindowedColumns(stream, torch.arange((num_steps - length) // stride + 1) * stride, length)


def test_windows_begin_later_by_one_number_for_the_epoch_and_end_with_the_stream() -> None:
    windows = windows_of(43, 6, 5)  # the last one begins at 35
    batches = Batches(windows, seed=3, max_shift=4)
    shifts = set()
    for epoch in range(30):
        parts = [batch["step"] for step in batches.steps(epoch, batch_size=3) for _, batch in step]
        found = torch.cat(parts)
        assert (found.diff(dim=1) == 1).all()
        starts, shift = sorted(found[:, 0].tolist()), batches.shift(epoch)
        assert starts == [min(5 * number + shift, 43 - 6) for number in range(8)]
        again = [batch["step"] for step in batches.steps(epoch, 1, batch_size=3) for _, batch in step]
        assert all(torch.equal(one, other) for one, other in zip(parts[1:], again, strict=True))
        shifts.add(shift)
    assert shifts == {0, 1, 2, 3, 4}


def test_windows_in_lanes_stay_where_they_are() -> None:
    batches = Batches(windows_of(40, 5, 5), seed=3, in_lanes=True, max_shift=4)
    first = [batch["step"][:, 0] % 5 for step in batches.steps(0, batch_size=2) for _, batch in step]
    assert all((place == 0).all() for place in first)


def test_the_sources_of_steps_are_what_the_training_loop_takes() -> None:
    # Stages do not import each other: the loop says as a Protocol what it takes, and here both are held together.
    methods = {name for name, value in vars(TrainingBatches).items() if inspect.isfunction(value) and name[0] != "_"}
    assert {"steps", "steps_per_epoch", "row_numbers", "tensor"} <= methods
    for source in (Batches, StreamedBatches):
        for name in methods:
            assert inspect.signature(getattr(source, name)) == inspect.signature(getattr(TrainingBatches, name)), name
        assert "steps" not in vars(source)  # one signature, of their base class
    assert Batches(NumberColumns(3), seed=0).num_rows == 3
