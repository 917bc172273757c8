"""What several test files share: one small training by the command line, whose release folder they look at."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# No test reaches a network or the user's caches; a Hub, where one is needed, is started on loopback.
os.environ.update(HF_HUB_DISABLE_TELEMETRY="1", DISABLE_SAFETENSORS_CONVERSION="1", HF_HUB_DISABLE_XET="1")


@pytest.fixture(scope="session")
def run_cli():
    """`hubmodels WORDS` in a process of its own, from the repository's root: (exit code, stdout, stderr)."""

    def run(*words: str) -> tuple[int, str, str]:
        done = subprocess.run(
            [sys.executable, "-m", "hubmodels", *map(str, words)], cwd=ROOT, capture_output=True, text=True, timeout=300
        )
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.fixture(scope="session")
def run_python():
    """What a fresh interpreter prints, which imports this tree and reaches no Hub."""

    def run(code: str, **environment: str) -> str:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", **environment}
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=300
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="session")
def trained(run_cli, tmp_path_factory):
    """A small CNN trained on scikit-learn's digits by the command line: its run folder, and what was printed."""
    folder = tmp_path_factory.mktemp("runs") / "digits"
    words = "train --family cnn --task image-classification --dataset sklearn:digits --hidden_sizes 16 32 --depths 1 1"
    options = (
        "--embedding_size 16 --num_train_epochs 8 --per_device_train_batch_size 32 --random_crop_padding 1 --seed 3"
    )
    code, out, err = run_cli(*words.split(), *options.split(), "--output_dir", folder)
    assert code == 0, err
    return folder, out
