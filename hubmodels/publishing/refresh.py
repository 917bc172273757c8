"""Renew what a release says of itself where its weights stay: the golden file."""

import os
from pathlib import Path

from ..checkpoint import METRICS_FILE, load_exactly, read_metrics
from ..files import atomic_file, hash_file, write_json
from .golden import GOLDEN_FILE, compare_outputs, compute_outputs, read_golden, reference_model, write_golden


def refresh_golden(folder: str | os.PathLike) -> float:
    """Write a release's golden file anew, with the same inputs, and its checksum in metrics.json.

    Returns:
        By how much the old outputs deviate, as a share of their scale.

    Raises:
        HubmodelsError: they deviate by more than 1e-5, and the release is left as it is.
    """
    folder = Path(folder)
    model, golden = reference_model(load_exactly(folder)), read_golden(folder / GOLDEN_FILE)
    deviation = compare_outputs(compute_outputs(model, golden.inputs), golden.outputs, tolerance=1e-5)
    with atomic_file(folder / GOLDEN_FILE) as temporary:
        write_golden(temporary, model, golden.inputs)
    metrics = read_metrics(folder)
    metrics["checksums"]["files"][GOLDEN_FILE] = hash_file(folder / GOLDEN_FILE)
    write_json(folder / METRICS_FILE, metrics)
    return deviation
