"""Renew the golden file of releases: the same inputs, what the installed code gives for them, and its checksum.

    python scripts/refresh_golden.py model_cards/*tiny-shakespeare

The weights stay. A release whose outputs are not the ones in its file, to 1e-5 of their scale, is left as it is."""

import sys
from pathlib import Path

from hubmodels.files import atomic_file, hash_file, write_json
from hubmodels.publishing.golden import GOLDEN_FILE, compare_outputs, compute_outputs, read_golden, reference_model
from hubmodels.publishing.golden import write_golden as write
from hubmodels.publishing.layout import METRICS_FILE, read_json
from hubmodels.publishing.weights import load_release


def refresh(folder: Path) -> None:
    """Renew one release's file. Raises HubmodelsError when its outputs are not reproduced."""
    model, golden = reference_model(load_release(folder)), read_golden(folder / GOLDEN_FILE)
    deviation = compare_outputs(compute_outputs(model, golden.inputs), golden.outputs, tolerance=1e-5)
    with atomic_file(folder / GOLDEN_FILE) as temporary:
        write(temporary, model, golden.inputs)
    metrics = read_json(folder / METRICS_FILE)
    metrics["checksums"]["files"][GOLDEN_FILE] = hash_file(folder / GOLDEN_FILE)
    write_json(folder / METRICS_FILE, metrics)
    print(f"{folder}: renewed; the old outputs deviate by {deviation:.1e}")


if __name__ == "__main__":
    for name in sys.argv[1:]:
        refresh(Path(name))
