"""Signals and the folder's lock, on real processes."""

import json
import signal
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from toy_run import Worker, run_toy

from hubmodels.errors import HubmodelsError

JOB = {"augment": True, "ema_decay": 0.9, "num_train_epochs": 8, "pause": 0.02, "save_strategy": "no"}


def steps_saved(folder: Path) -> list[int]:
    return [int(path.name[5:]) for path in (folder / "checkpoints").glob("step-*")]


def last_step(folder: Path) -> int:
    return json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])["step"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_within_one_step_and_going_on_gives_the_same_bits(tmp_path, number, code) -> None:
    whole = Worker({**JOB, "output_dir": str(tmp_path / "whole")}, tmp_path / "log")
    stopped = Worker({**JOB, "output_dir": str(tmp_path / "stopped")}, tmp_path / "log")
    stopped.wait_for_step(6)
    before = last_step(tmp_path / "stopped")
    stopped.signal(number)
    assert stopped.wait() == code, stopped.log.read_text()
    (saved,) = steps_saved(tmp_path / "stopped")
    assert before <= saved <= before + 2  # the step at hand, and one that ended while we looked
    assert f"{number.name}: saved" in stopped.log.read_text()
    assert "--resume_from_checkpoint latest" in stopped.log.read_text()
    resumed = Worker(
        {**JOB, "output_dir": str(tmp_path / "stopped"), "resume_from_checkpoint": "latest"}, tmp_path / "log"
    )
    assert resumed.wait() == whole.wait() == 0, resumed.log.read_text()
    found, expected = (load_file(tmp_path / name / "final.safetensors") for name in ("stopped", "whole"))
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_signal_in_a_long_evaluation_is_not_kept_waiting_and_the_evaluation_is_done_later(tmp_path) -> None:
    job = {**JOB, "pause": 0, "num_train_epochs": 1, "output_dir": str(tmp_path), "slow_evaluation": 30}
    worker = Worker(job, tmp_path / "log")
    worker.wait_for_step(5)
    time.sleep(0.3)
    started = time.monotonic()
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 143, worker.log.read_text()
    assert time.monotonic() - started < 10
    job |= {"resume_from_checkpoint": "latest", "slow_evaluation": 0.01}
    worker = Worker(job, tmp_path / "log")
    assert worker.wait() == 0, worker.log.read_text()
    assert '"eval_accuracy": 0.5' in (tmp_path / "metrics.jsonl").read_text()


def test_a_second_run_in_the_same_folder_is_refused_and_the_first_goes_on(tmp_path) -> None:
    job = {**JOB, "output_dir": str(tmp_path)}
    first = Worker(job, tmp_path / "log")
    first.wait_for_step(2)
    second = Worker(job, tmp_path / "second.log")
    assert second.wait() == 2
    assert f"another run writes to {tmp_path} (process {first.process.pid})" in second.log.read_text()
    assert first.wait() == 0, first.log.read_text()
    third = Worker({**job, "max_steps": 2}, tmp_path / "third.log")  # the lock went with the process
    assert third.wait() == 0, third.log.read_text()


def test_a_second_ctrl_c_ends_at_once(tmp_path) -> None:
    worker = Worker({**JOB, "pause": 20, "output_dir": str(tmp_path)}, tmp_path / "log")
    while not (tmp_path / "metrics.jsonl").exists():
        time.sleep(0.01)
    time.sleep(0.3)
    worker.signal(signal.SIGINT)
    time.sleep(0.3)
    assert worker.process.is_alive()
    worker.signal(signal.SIGINT)
    assert worker.wait(10) != 0
    assert "KeyboardInterrupt" in worker.log.read_text()


def test_a_folder_that_cannot_be_written_is_refused(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HubmodelsError, match=r"cannot write to .*file/run: .*; give another --output_dir"):
        run_toy(tmp_path / "file" / "run")
