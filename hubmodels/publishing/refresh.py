"""Renew what a release says of itself where its weights stay: its golden file, or the form of its files."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from ..checkpoint import METRICS_FILE, load_exactly, read_metrics
from ..files import atomic_file, atomic_folder, hash_file, write_json
from .card import DescribedTask
from .folder import hash_files, refresh_card
from .golden import GOLDEN_FILE, compare_outputs, compute_outputs, read_golden, reference_model, write_golden
from .verification import verify_folder

CLOSE = 1e-5  # by which an output may deviate where nothing but the form of the files changed, as a share of its scale


def refresh_golden(folder: str | os.PathLike) -> float:
    """Write a release's golden file anew, with the same inputs, and its checksum in metrics.json.

    Returns:
        By how much the old outputs deviate, as a share of their scale.

    Raises:
        HubmodelsError: they deviate by more than 1e-5, and the release is left as it is.
    """
    folder = Path(folder)
    model, golden = reference_model(load_exactly(folder)), read_golden(folder / GOLDEN_FILE)
    deviation = compare_outputs(compute_outputs(model, golden.inputs), golden.outputs, tolerance=CLOSE)
    with atomic_file(folder / GOLDEN_FILE) as temporary:
        write_golden(temporary, model, golden.inputs)
    metrics = read_metrics(folder)
    metrics["checksums"]["files"][GOLDEN_FILE] = hash_file(folder / GOLDEN_FILE)
    write_json(folder / METRICS_FILE, metrics)
    return deviation


def replace_files(folder: str | os.PathLike, task: DescribedTask, change: Callable[[Path], None]) -> float:
    """Change a release's files, renew its checksums and its card, and verify it. It is replaced whole or not at all.

    Args:
        folder: the release.
        task: of the release, for its card.
        change: writes into a copy of the folder, which it is given.

    Returns:
        By how much the golden outputs deviate afterwards, as a share of their scale.

    Raises:
        HubmodelsError: they deviate by more than 1e-5, or the folder is no release any more.
    """
    folder = Path(folder).absolute()
    with atomic_folder(folder) as temporary:
        shutil.copytree(folder, temporary, dirs_exist_ok=True)
        change(temporary)
        metrics = read_metrics(temporary)
        metrics["checksums"]["files"] |= hash_files(temporary)
        write_json(temporary / METRICS_FILE, metrics)
        refresh_card(temporary, task)
        verify_folder(temporary, f"the release {folder.name}")
        golden = read_golden(temporary / GOLDEN_FILE)
        outputs = compute_outputs(reference_model(load_exactly(temporary)), golden.inputs)
        return compare_outputs(outputs, golden.outputs, tolerance=CLOSE)
