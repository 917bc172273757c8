"""The border of a command: whatever ends it, a person sees one line and a program an exit code."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hubmodels.cli import main
from hubmodels.commands import import_command


def end_with(error: BaseException, monkeypatch, *words: str) -> int:
    """Run a command whose work raises an error."""

    def run(arguments, rest):
        raise error

    monkeypatch.setattr(import_command("list"), "run", run)
    return main(["list", *words])


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (OSError(errno.ENOSPC, "No space left", "/data/out.csv"), 2, "/data/out.csv: No space left"),
        (PermissionError(errno.EACCES, "Permission denied", b"rows.csv"), 2, "rows.csv: Permission denied"),
        (MemoryError(), 2, "out of memory: try less at once"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), 2, "out of memory"),
        (ValueError("learning_rate must be\n greater than 0"), 2, "error: learning_rate must be greater than 0"),
    ],
)  # fmt: skip
def test_what_a_person_can_mend_is_one_line(error, code, words, monkeypatch, capsys) -> None:
    assert end_with(error, monkeypatch) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("hubmodels list: error: ")
    assert words in line


def test_what_nobody_expected_is_one_line_and_its_traceback_is_kept(monkeypatch, capsys) -> None:
    assert end_with(KeyError("weights"), monkeypatch) == 1
    (line,) = capsys.readouterr().err.splitlines()
    path = Path(line.partition("the traceback is in ")[2].split(" (")[0])
    text = path.read_text()
    path.unlink()
    assert "KeyError: 'weights'" in line
    assert "Traceback (most recent call last)" in text
    assert "raise error" in text


def test_traceback_shows_it(monkeypatch, capsys) -> None:
    assert end_with(KeyError("weights"), monkeypatch, "--traceback") == 1
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_a_command_leaves_the_process_s_signal_handlers_as_they_were(monkeypatch, capsys) -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    assert main(["list"]) == 0
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


WAITING = """
import sys, time
from hubmodels import cli
from hubmodels.commands import import_command
from hubmodels.files import atomic_file

def run(arguments, rest):
    with atomic_file(sys.argv[1]):
        print("ready", flush=True)
        try:
            time.sleep(60)
        except Exception as error:  # as libraries do, which turn what they do not know into errors of theirs
            raise RuntimeError("failed to import") from error

import_command("list").run = run
sys.exit(cli.main(["list"]))
"""


@pytest.mark.parametrize(
    ("number", "words"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "SIGTERM"), (signal.SIGHUP, "SIGHUP")]
)  # fmt: skip
def test_a_signal_ends_a_command_with_its_code_and_leaves_no_temporary_file(number, words, tmp_path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", WAITING, str(tmp_path / "out.csv")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1],
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert words in errors
    assert len(errors.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_closed_pipe_and_a_full_disk_end_quietly() -> None:
    command = [sys.executable, "-m", "hubmodels", "list"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    assert process.wait(timeout=30) == 0
    if os.path.exists("/dev/full"):
        with open("/dev/full", "w") as full:
            done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=30)
        assert done.returncode == 2
        assert done.stderr == "hubmodels list: error: No space left on device\n"


def test_ctrl_c_while_libraries_load_shows_no_traceback(tmp_path) -> None:
    words = ["train", "--family", "mlp", "--task", "image-classification", "--dataset", "sklearn:digits"]
    command = [sys.executable, "-m", "hubmodels", *words, "--output_dir", str(tmp_path / "run")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    time.sleep(1.2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode in (130, -signal.SIGINT)
    assert "Traceback" not in errors
