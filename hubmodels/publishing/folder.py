"""The release folder: a trained model as the files of a Hub repository. No network.

README.md                  the card
config.json                architecture, class names and `auto_map`
model.safetensors          weights
preprocessor_config.json   or whatever files the processor writes
recipe.yaml                the recipe that gave the weights
metrics.json               results, provenance, checksums of the other files
golden.safetensors         a fixed input and the output for it
figures/*.png              plots
.eval_results/*.yaml       the main metric as the Hub's leaderboards read it
*.py                       code, for transformers without hubmodels
"""

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from transformers.dynamic_module_utils import get_relative_import_files

from ..files import atomic_file, atomic_folder, hash_file, write_json
from ..recipe import HubmodelsError, Recipe
from .card import dataset_name, eval_results_yaml, render_card
from .code import foreign_code, installed_code, write_code
from .golden import GOLDEN_FILE, reference_model, write_golden
from .layout import METRICS_FILE, WEIGHTS_FILE, has_checksum, metrics_checksum, read_json, release_files
from .verification import verify_folder
from .weights import quiet_transformers


def release(
    folder: str | os.PathLike,
    *,
    model: Any,
    processor: Any,
    task: Any,
    recipe: Recipe,
    results: Mapping[str, Any],
    golden_inputs: Mapping[str, torch.Tensor],
    plots: Sequence[Any] = (),
    data: Mapping[str, Any] | None = None,
    provenance: Mapping[str, Any] | None = None,
    model_id: str | None = None,
    license: str = "apache-2.0",
    limits: Sequence[str] = (),
    with_code: bool = True,
) -> Path:
    """Write a release folder. It appears whole or not at all; one that was there before is replaced at the end.

    Args:
        folder: where; its name is the checkpoint's name, or its parent's where it is called `release`.
        model: a PreTrainedModel. Its weights are saved in float32; the model itself stays as it is.
        processor: what has `save_pretrained`, or None.
        task: tag, head, main_metric, metric_names and example() of a task.
        recipe: what was trained, on what, how.
        results: `metrics` (name -> value, low, high), `baseline`, `difference`, `verdict`, `num_rows`, ready for JSON.
        golden_inputs: arguments of the model's forward, for the golden file.
        plots: each with name, caption and figure (matplotlib).
        data: dataset (as it was asked for), revision, fingerprint, license, carved (splits), num_rows (split -> rows).
        provenance: command, seed, hardware, training_minutes, steps, epochs, versions, date.
        model_id: what the card's examples load; by default the checkpoint's name.
        license: of the weights, as the Hub names licences.
        limits: sentences for the card, added to the general ones.
        with_code: copy the model's and the processor's Python files, so that plain transformers can load the release.

    Returns:
        The folder's path.

    Raises:
        HubmodelsError: the golden output is not finite, or the written folder does not give the same output.
    """
    folder = Path(folder).absolute()
    data, provenance = dict(data or {}), dict(provenance or {})
    provenance.setdefault("date", datetime.now(UTC).date().isoformat())
    name = model_id.split("/")[-1] if model_id else folder.parent.name if folder.name == "release" else folder.name
    saved = reference_model(model)
    with atomic_folder(folder) as temporary:
        with quiet_transformers():
            saved.save_pretrained(temporary)
        if not (temporary / WEIGHTS_FILE).is_file():
            raise HubmodelsError("the weights exceed one file; a release holds them in a single model.safetensors")
        if processor is not None:
            processor.save_pretrained(temporary)
        if with_code:
            write_code(temporary, model, processor, task.head)
        recipe.save(temporary / "recipe.yaml")
        write_golden(temporary / GOLDEN_FILE, saved, golden_inputs)
        figures = _write_figures(temporary, plots)
        if entry := eval_results_yaml(task, results, data, provenance["date"]):
            file_name, text = entry
            (temporary / file_name).parent.mkdir()
            (temporary / file_name).write_text(text, encoding="utf-8")
        num_parameters = sum(parameter.numel() for parameter in model.parameters())
        card = render_card(
            name=name,
            model_id=model_id or name,
            license=license,
            recipe=recipe,
            task=task,
            model_class=type(model).__name__,
            num_parameters=num_parameters,
            results=results,
            data=data,
            provenance=provenance,
            figures=figures,
            files=sorted([*release_files(temporary), METRICS_FILE]),
            limits=limits,
        )
        (temporary / "README.md").write_text(card, encoding="utf-8")
        if data.get("dataset"):
            data["dataset"] = dataset_name(str(data["dataset"]))
        metrics = {
            "name": name,
            "model_id": model_id or name,
            "family": recipe.family,
            "task": recipe.task,
            "main_metric": task.main_metric,
            "num_parameters": num_parameters,
            "results": dict(results),
            "data": data,
            "provenance": provenance,
        }
        metrics["checksums"] = {
            "algorithm": "sha256",
            "metrics": metrics_checksum(metrics),
            "files": {name: hash_file(temporary / name) for name in release_files(temporary) if has_checksum(name)},
        }
        write_json(temporary / METRICS_FILE, metrics)
        verify_folder(temporary, f"the release {name}")
    return folder


def refresh_code(folder: str | os.PathLike) -> list[str]:
    """Put the installed code in the place of a release's own, which another version made, and its checksums in
    metrics.json. Gives the names of the files that changed."""
    folder = Path(folder)
    metrics = read_json(folder / METRICS_FILE)
    changed = []
    names = foreign_code(folder)
    for name in names:  # grows by what the installed code imports and the release's own did not
        if (installed := installed_code(name)) is None:
            raise HubmodelsError(f"{name} is of no family or processor that is installed here; remove it")
        siblings = [Path(path).name for path in get_relative_import_files(str(installed))]
        names += [path for path in siblings if path not in names and not (folder / path).exists()]
        with atomic_file(folder / name) as temporary:
            temporary.write_bytes(installed.read_bytes())
        changed.append(name)
    if changed:
        metrics["checksums"]["files"].update({name: hash_file(folder / name) for name in changed})
        write_json(folder / METRICS_FILE, metrics)
    return changed


def _write_figures(folder: Path, plots: Sequence[Any]) -> list[tuple[str, str]]:
    """Save each plot as figures/<name>.png; gives (path within the folder, caption)."""
    if not plots:
        return []
    from ..figures import save_figure

    (folder / "figures").mkdir()
    written = []
    for plot in plots:
        path = f"figures/{plot.name}.png"
        save_figure(plot.figure, folder / path)
        written.append((path, plot.caption))
    return written
