"""What can end a run from outside: signals, a second run in the same folder, another process of the run."""

import contextlib
import errno
import fcntl
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from ..errors import HubmodelsError


@contextlib.contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Hold a run's folder; the system frees it when the process ends, however it ends.

    Raises:
        HubmodelsError: another process holds it, or it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder / ".lock", "a+", encoding="utf-8")  # noqa: SIM115 - closed by the with below
    except OSError as error:
        raise HubmodelsError(f"cannot write to {folder}: {error.strerror}; give another --output_dir") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            owner = file.read().strip() or "unknown"
            raise HubmodelsError(
                f"another run writes to {folder} (process {owner}): wait for it to end or give another --output_dir"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


Result = TypeVar("Result")


class Interrupted(Exception):
    """Says that a signal came while nothing was at hand that the run would miss."""


class Interruption:
    """Notes SIGTERM and SIGINT, so that the loop ends after the step at hand; a second Ctrl-C ends at once."""

    def __init__(self, accelerator: Accelerator) -> None:
        self.received = 0  # the signal's number
        self._breakable = False
        self._group = None
        self._distributed = accelerator.num_processes > 1
        if self._distributed and torch.distributed.get_backend() != "gloo":
            self._group = torch.distributed.new_group(backend="gloo")

    def __enter__(self) -> "Interruption":
        self._old = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._old[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: object) -> None:
        self.received = number
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if self._breakable:
            self._breakable = False
            raise Interrupted

    @contextlib.contextmanager
    def breakable(self) -> Iterator[None]:
        """Let a signal raise Interrupted at once within this block; not with several processes, which would part."""
        self._breakable = not self._distributed
        try:
            yield
        finally:
            self._breakable = False

    def agreed(self) -> int:
        """Give the signal that any process has received, or 0: the same to all processes in the same step.

        A host-side reduction (gloo), so a GPU's queue is not waited for; with one process it costs nothing.
        """
        if not self._distributed:
            return self.received
        number = torch.tensor(self.received)
        torch.distributed.all_reduce(number, torch.distributed.ReduceOp.MAX, group=self._group)
        return int(number)


def on_main(accelerator: Accelerator, work: Callable[[], Result]) -> Result:
    """Do `work` on the main process and give every process its result, or its HubmodelsError."""
    if accelerator.num_processes == 1:
        return work()
    outcome: list[Any] = [None, None]  # what the work gave, or the words of its error
    if accelerator.is_main_process:
        try:
            outcome[0] = work()
        except HubmodelsError as error:
            outcome[1] = str(error)
    broadcast_object_list(outcome)
    if outcome[1] is not None:
        raise HubmodelsError(outcome[1])
    return outcome[0]


@contextlib.contextmanager
def plain_errors(accelerator: Accelerator, checkpoints: Path) -> Iterator[None]:
    """Say in one line that the disk is full or that another process of the run is gone, which torch says in a page."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS):
            raise
        raise HubmodelsError(
            f"cannot write to {checkpoints.parent}: {error.strerror}; make room and go on with "
            "--resume_from_checkpoint latest: the checkpoints are whole"
        ) from error
    except RuntimeError as error:
        lost = isinstance(error, torch.distributed.DistError) or any(
            word in str(error) for word in ("Connection closed by peer", "Connection reset by peer", "gloo", "NCCL")
        )
        if accelerator.num_processes == 1 or not lost:
            raise
        reason = " ".join(str(error).split())[:200]
        raise HubmodelsError(
            f"another process of this run has ended or cannot be reached ({reason}); start all of them again with "
            f"--resume_from_checkpoint latest: the checkpoints are in {checkpoints}"
        ) from error


def lock_folder(folder: Path, stack: contextlib.ExitStack) -> None:
    """Hold the folder until the stack closes."""
    stack.enter_context(folder_lock(folder))
