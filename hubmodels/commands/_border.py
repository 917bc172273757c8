"""The border of a command: signals end it cleanly, and whatever goes wrong is one line with an exit code."""

import contextlib
import os
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator
from types import FrameType
from typing import Any

from ..errors import one_line
from ._parser import is_main_process

MENDABLE, UNEXPECTED = 2, 1  # exit codes: what a person can mend, and what is our fault
ENDING = ("SIGINT", "SIGTERM", "SIGHUP")
OUT_OF_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "not enough memory",
    "std::bad_alloc",
)
REMEDIES = {
    "train": "a smaller --per_device_train_batch_size (with --gradient_accumulation_steps for the same steps) and "
    "--per_device_eval_batch_size, or --auto_find_batch_size",
    "predict": "a smaller --batch_size",
    "sample": "fewer --num_samples at once",
    "evaluate": "fewer rows (--max_eval_samples)",
}


class Ended(BaseException):
    """Says that a signal asked the command to end; what is open is closed and removed on the way out.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Signals:
    """Turns the signals that end a command into `Ended` inside a block; a second one ends the process at once."""

    def __init__(self) -> None:
        self.received = 0
        self.previous: dict[int, Any] = {}

    def __enter__(self) -> "Signals":
        if threading.current_thread() is threading.main_thread():
            for name in ENDING:
                if number := getattr(signal, name, None):
                    before = signal.getsignal(number)
                    if before in (signal.SIG_DFL, signal.default_int_handler):  # nohup's SIG_IGN stays
                        self.previous[number] = before
                        signal.signal(number, self.end)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)

    def end(self, number: int, frame: FrameType | None) -> None:
        """End the command."""
        if self.received:
            os._exit(128 + number)
        self.received = number
        raise Ended(number)


@contextlib.contextmanager
def quiet_exit() -> Iterator[None]:
    """Send what is still to be written nowhere where a stream is closed or its disk full, so that the exit is quiet."""
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError):
                with contextlib.suppress(OSError, ValueError):
                    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def report(error: BaseException, command: str, received: int, full: bool) -> int:
    """Say what ended a command in one line on standard error.

    Args:
        error: what was raised.
        command: its name.
        received: the number of a signal that came, 0 for none: libraries turn what it raised into errors of theirs.
        full: show the whole traceback.

    Returns:
        The exit code.
    """
    if isinstance(error, BrokenPipeError) and not received:  # the reader, `head` for example, has had enough
        return 0
    if full and not isinstance(error, Ended | KeyboardInterrupt):
        traceback.print_exception(error)
    if received or isinstance(error, KeyboardInterrupt):
        number = received or signal.SIGINT
        say(command, "interrupted" if number == signal.SIGINT else f"ended by {signal.Signals(number).name}")
        return 128 + number
    if is_out_of_memory(error):
        remedy = REMEDIES.get(command, "less at once, or a machine with more memory")
        say(command, f"out of memory: try {remedy} ({one_line(error, 150) or type(error).__name__})")
        return MENDABLE
    if isinstance(error, OSError) and not isinstance(error, ValueError):
        say(command, describe_os_error(error))
        return MENDABLE
    if isinstance(error, ValueError):  # a HubmodelsError, or what a library says of a value that a person gave
        say(command, " ".join(str(error).split()) or type(error).__name__)
        return MENDABLE
    told = f"{type(error).__name__}: {one_line(error, 200)}"
    say(command, f"unexpected {told}; {'see above' if full else keep_traceback(error)}")
    return UNEXPECTED


def say(command: str, text: str) -> None:
    """Print one line, from the main process."""
    if is_main_process():
        with contextlib.suppress(OSError, ValueError):
            print(f"hubmodels {command}: error: {text}", file=sys.stderr)


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether memory ran out, in Python, in an allocator of torch's or in Arrow's."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    words = str(error).lower()
    return isinstance(error, RuntimeError) and any(sign in words for sign in OUT_OF_MEMORY)


def describe_os_error(error: OSError) -> str:
    """Say what the system refused, and of which file."""
    file = error.filename2 or error.filename
    reason = error.strerror or one_line(error) or type(error).__name__
    return f"{os.fsdecode(file)}: {reason}" if isinstance(file, str | bytes | os.PathLike) else reason


def keep_traceback(error: BaseException) -> str:
    """Write the traceback into a file, and say where it is."""
    try:
        descriptor, path = tempfile.mkstemp(prefix="hubmodels-traceback-", suffix=".txt")
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.writelines(traceback.format_exception(error))
    except OSError:
        return "--traceback shows where"
    return f"the traceback is in {path} (--traceback shows it here)"
