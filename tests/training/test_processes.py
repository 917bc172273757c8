"""Several processes: the same rows and losses as one, signals that all obey, and a worker that dies."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from toy_run import Worker, do_job

# Each is trained by two real processes, and by one with the same rows in a step. Without what draws random numbers for
# each process apart (dropout, augmentation) or looks at the rows of one process (batch norm).
STILL = {"model": {"norm": False, "dropout": 0.0}, "save_strategy": "no"}
BOTH = {
    "smoothed": {
        **STILL, "per_device_train_batch_size": 32, "label_smoothing_factor": 0.1, "class_weights": "balanced",
        "ema_decay": 0.9, "num_train_epochs": 6,
    },
    "weighted": {
        **STILL, "per_device_train_batch_size": 32, "weighted": True, "class_weights": "balanced",
        "num_train_epochs": 6,
    },
    "accumulated": {**STILL, "per_device_train_batch_size": 16, "gradient_accumulation_steps": 2},
    "one-row-left": {**STILL, "per_device_train_batch_size": 32, "num_rows": 65},
    "carried": {
        "kind": "recurrence", "per_device_train_batch_size": 4, "carry_state": True, "num_train_epochs": 3,
        "save_strategy": "no",
    },
    "gan": {"kind": "gan", "per_device_train_batch_size": 32, "num_train_epochs": 6, "save_strategy": "no"},
}  # fmt: skip
# With everything random, stopped in the second epoch: two processes, compared with two that were never stopped.
RANDOM = {
    "augment": True, "ema_decay": 0.9, "gradient_accumulation_steps": 2, "per_device_train_batch_size": 8,
    "save_strategy": "steps", "save_steps": 3,
}  # fmt: skip
ENDLESS = {"num_train_epochs": 1000, "pause": 0.05, "save_strategy": "steps", "save_steps": 5}


@dataclass
class Launch:
    """One `torchrun --nproc_per_node 2`, whose second worker was killed in its last job."""

    folder: Path
    output: str
    code: int
    seconds_to_end: float  # after the kill


@pytest.fixture(scope="module")
def launch(tmp_path_factory) -> Launch:
    folder = tmp_path_factory.mktemp("two")
    halves = {
        name: {**job, "per_device_train_batch_size": job["per_device_train_batch_size"] // 2}
        for name, job in BOTH.items()
    }
    jobs = {
        **halves,
        "whole": RANDOM,
        "stopped": {**RANDOM, "crash_after": 15},
        "resumed": {**RANDOM, "resume_from_checkpoint": "latest"},
        "endless": ENDLESS,
    }
    listed = [{**job, "output_dir": str(folder / name.replace("resumed", "stopped"))} for name, job in jobs.items()]
    (folder / "jobs.json").write_text(json.dumps(listed))
    script = Path(__file__).with_name("toy_run.py")
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc_per_node",
        "2",
        "--master_port",
        str(free_port()),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(script.parents[2])}
    with open(folder / "log", "w") as log:
        process = subprocess.Popen(
            [*command, str(script), str(folder / "jobs.json")], stdout=log, stderr=log, env=environment
        )
    try:
        while not list(folder.glob("endless/checkpoints/step-*")):
            assert process.poll() is None, (folder / "log").read_text()
            time.sleep(0.05)
        os.kill(int((folder / "endless" / "process-1").read_text()), signal.SIGKILL)
        killed = time.monotonic()
        code = process.wait(timeout=90)
    finally:
        process.kill()
    return Launch(folder, (folder / "log").read_text(), code, time.monotonic() - killed)


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


@pytest.mark.parametrize("name", BOTH)
def test_two_processes_have_the_losses_and_weights_of_one(tmp_path, launch: Launch, name: str) -> None:
    do_job({**BOTH[name], "output_dir": str(tmp_path)})
    found, expected = (json.loads((folder / "losses.json").read_text()) for folder in (launch.folder / name, tmp_path))
    assert found == pytest.approx(expected, abs=1e-4)
    assert len(found) > 2
    found, expected = (load_file(folder / "final.safetensors") for folder in (launch.folder / name, tmp_path))
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-3, atol=1e-4)


def test_two_processes_go_on_after_a_crash_with_the_same_bits(launch: Launch) -> None:
    found, expected = (load_file(launch.folder / name / "final.safetensors") for name in ("stopped", "whole"))
    assert "removed step" not in launch.output
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_only_the_main_process_writes(launch: Launch) -> None:
    lines = (launch.folder / "whole" / "metrics.jsonl").read_text().splitlines()
    steps = [json.loads(line)["step"] for line in lines]
    assert steps == sorted(set(steps))
    assert launch.output.count("| 0/10 [") == 3  # accumulated, whole and stopped begin so, each with one bar


def test_a_dead_worker_ends_the_whole_run_within_a_minute_with_the_checkpoints_named(launch: Launch) -> None:
    assert launch.code != 0
    assert launch.seconds_to_end < 60
    # The survivor says it, unless torchrun ended it first.
    assert "another process of this run has ended" in launch.output or "SIGTERM" in launch.output


@pytest.mark.parametrize("told", [0, 1])
def test_a_signal_to_one_of_two_processes_stops_both_in_the_same_step(tmp_path, told: int) -> None:
    port = free_port()
    workers = [
        Worker(
            {**ENDLESS, "output_dir": str(tmp_path)},
            tmp_path / f"log{rank}",
            {
                "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2",
                "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
            },
        )
        for rank in range(2)
    ]  # fmt: skip
    workers[0].wait_for_step(7)
    workers[told].signal(signal.SIGTERM)
    assert [worker.wait() for worker in workers] == [143, 143], [worker.log.read_text() for worker in workers]
    saved = max(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert f"SIGTERM: saved {tmp_path}/checkpoints/{saved}" in workers[0].log.read_text()
    last = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])["step"]
    assert saved == f"step-{last:08d}"
