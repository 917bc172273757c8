"""A run that is killed and goes on ends with the weights of one that was never stopped."""

import random
import signal
import time
from pathlib import Path

import torch
from safetensors.torch import load_file
from toy_run import Worker

# Everything that holds state: batch statistics, dropout, augmentation, averaged weights, accumulation over a partial
# last step, a schedule with warm-up, and evaluations in between. 150 rows in steps of 2 x 16: 5 steps an epoch.
JOB = {
    "augment": True, "ema_decay": 0.9, "per_device_train_batch_size": 16, "gradient_accumulation_steps": 2,
    "num_train_epochs": 8, "save_strategy": "steps", "save_steps": 3, "warmup_steps": 4, "weight_decay": 0.01,
    "pause": 0.004, "slow_evaluation": 0.01,
}  # fmt: skip


def finish(job: dict, folder: Path) -> dict[str, torch.Tensor]:
    worker = Worker({**job, "output_dir": str(folder)}, folder.with_suffix(".log"))
    assert worker.wait() == 0, worker.log.read_text()
    return load_file(folder / "final.safetensors")


def test_a_run_killed_at_five_random_moments_ends_with_the_same_bits(tmp_path: Path) -> None:
    expected = finish(JOB, tmp_path / "whole")
    folder = tmp_path / "killed"
    draw = random.Random(5)
    resumed = {**JOB, "resume_from_checkpoint": "latest", "output_dir": str(folder)}
    for target in sorted(draw.sample(range(1, 38), 5)):
        worker = Worker(resumed, tmp_path / "killed.log")
        worker.wait_for_step(target)
        time.sleep(draw.random() * 0.02)  # two steps long: also inside of an accumulation or of a checkpoint
        worker.signal(signal.SIGKILL)
        assert worker.wait() == -signal.SIGKILL
    found = finish(resumed, folder)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name
    assert torch.equal(found["norm.num_batches_tracked"], torch.tensor(8 * 5 * 2))
