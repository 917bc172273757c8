"""Write the release folder: a trained model as the files of a Hub repository. No network.

README.md                  the card
config.json                architecture, class names and `auto_map`
model.safetensors          weights
preprocessor_config.json   or whatever files the processor writes
problem.json               what only measuring needs of the fitted problem; optional
recipe.yaml                the recipe that gave the weights
notes.md                   what else was found out about the model, a section of the card; optional, written by a person
metrics.json               results, provenance, checksums of the other files
golden.safetensors         a fixed input and the output for it
figures/*.png              plots
audio/*.wav                sounds, which the card plays
.eval_results/*.yaml       the main metric as the Hub's leaderboards read it
*.py                       code, for transformers without hubmodels
"""

import functools
import os
import shutil
import wave
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from ..budget import attempt
from ..checkpoint import CONFIG_FILE, METRICS_FILE, WEIGHTS_FILE, quiet_transformers, read_metrics, saving_plainly
from ..errors import HubmodelsError
from ..fields import build
from ..files import atomic_file, atomic_folder, hash_file, read_json, write_json
from ..recipe import Recipe
from ..report import Figure, Note, Sound
from .card import DescribedTask, dataset_name, eval_results_yaml, render_card
from .code import code_files, lacks_code, write_auto_map, write_code
from .golden import GOLDEN_FILE, reference_model, write_golden
from .layout import (
    CARD_FILE,
    NOTES_FILE,
    PROBLEM_FILE,
    RECIPE_FILE,
    has_checksum,
    metrics_checksum,
    release_files,
)
from .verification import verify_folder


def release(
    folder: str | os.PathLike,
    *,
    model: PreTrainedModel,
    processor: Any,
    task: DescribedTask,
    recipe: Recipe,
    results: Mapping[str, Any],
    golden_inputs: Mapping[str, torch.Tensor],
    plots: Sequence[Figure | Sound] = (),
    data: Mapping[str, Any] | None = None,
    provenance: Mapping[str, Any] | None = None,
    model_id: str | None = None,
    license: str = "apache-2.0",
    limits: Sequence[str] = (),
    with_code: bool = True,
    save_problem: Callable[[Path], None] | None = None,
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
        plots: each with name, caption and figure (matplotlib), or waveform (T,) in -1..1 and sampling_rate.
        data: dataset (as it was asked for), revision, fingerprint, license, carved (splits), num_rows (split -> rows).
        provenance: command, seed, hardware, training_minutes, steps, epochs, versions, date.
        model_id: what the card's examples load; by default the checkpoint's name.
        license: of the weights, as the Hub names licences.
        limits: sentences for the card, added to the general ones.
        with_code: copy the model's and the processor's Python files, so that plain transformers can load the release.
        save_problem: writes problem.json into the folder that it is given.

    Returns:
        The folder's path.

    Raises:
        HubmodelsError: the golden output is not finite, or the written folder does not give the same output.
    """
    folder = Path(folder).absolute()
    provenance = {"date": datetime.now(UTC).date().isoformat(), **(provenance or {})}
    name = model_id.split("/")[-1] if model_id else folder.parent.name if folder.name == "release" else folder.name
    saved = reference_model(model)
    with atomic_folder(folder) as temporary:
        _save_model(temporary, saved, processor)
        if with_code:
            write_auto_map(temporary, model, processor, task.head)
            write_code(temporary)
        recipe.save(temporary / RECIPE_FILE)
        write_golden(temporary / GOLDEN_FILE, saved, golden_inputs)
        figures = _write_figures(temporary, plots)
        if save_problem is not None:
            save_problem(temporary)
        _write_eval_results(temporary, task, results, data or {}, provenance["date"])
        metrics: dict[str, Any] = {"name": name, "model_id": model_id or name, "license": license}
        metrics |= _describe_model(model, task, recipe)
        metrics |= {"results": dict(results), "data": _describe_data(data or {}), "provenance": provenance}
        metrics |= {"figures": _describe_figures(figures), "limits": list(limits)}
        _write_metrics(temporary, metrics, recipe, task)
        verify_folder(temporary, f"the release {name}", with_code=True)
    return folder


def _save_model(folder: Path, model: PreTrainedModel, processor: Any) -> None:
    """Save a model and its processor, the weights in one file. Raises HubmodelsError when they do not fit one."""
    with quiet_transformers(), saving_plainly():
        model.save_pretrained(folder)
        if processor is not None:
            processor.save_pretrained(folder)
    if not (folder / WEIGHTS_FILE).is_file():
        raise HubmodelsError("the weights exceed one file; a release holds them in a single model.safetensors")


def _describe_model(model: PreTrainedModel, task: DescribedTask, recipe: Recipe) -> dict[str, Any]:
    """Give the entries of metrics.json that say what the model is."""
    return {
        "family": recipe.family,
        "task": recipe.task,
        "model_class": type(model).__name__,
        "main_metric": task.main_metric,
        "num_parameters": sum(parameter.numel() for parameter in model.parameters()),
    }


def _describe_data(data: Mapping[str, Any]) -> dict[str, Any]:
    """Give the data of metrics.json, by a data set's name and not by where it lay."""
    return {**data, "dataset": dataset_name(str(data["dataset"]))} if data.get("dataset") else dict(data)


def _describe_figures(captions: Mapping[str, str]) -> list[dict[str, str]]:
    """Give the figures of metrics.json, from path -> caption."""
    return [{"path": path, "caption": caption} for path, caption in captions.items()]


def _write_metrics(folder: Path, metrics: dict[str, Any], recipe: Recipe, task: DescribedTask) -> None:
    """Write the card and metrics.json, which has the checksums of all other files and comes last."""
    _write_card(folder, metrics, recipe, task)
    checksums = {"algorithm": "sha256", "metrics": metrics_checksum(metrics), "files": hash_files(folder)}
    write_json(folder / METRICS_FILE, {**metrics, "checksums": checksums})


def hash_files(folder: Path) -> dict[str, str]:
    """Compute the SHA-256 of each file that metrics.json lists."""
    return {name: hash_file(folder / name) for name in release_files(folder) if has_checksum(name)}


def _write_eval_results(
    folder: Path, task: DescribedTask, results: Mapping[str, Any], data: Mapping[str, Any], date: str
) -> None:
    """Write the main metric as the Hub's leaderboards read it, where it has an entry there."""
    if entry := eval_results_yaml(task, results, data, date):
        file_name, text = entry
        (folder / file_name).parent.mkdir(exist_ok=True)
        (folder / file_name).write_text(text, encoding="utf-8")


def _write_card(folder: Path, metrics: Mapping[str, Any], recipe: Recipe, task: DescribedTask) -> None:
    """Write README.md from what metrics.json holds, the recipe and the notes.

    Where a checkout's folder lacks its code, the card speaks of the code that it is published with."""
    notes, problem = folder / NOTES_FILE, folder / PROBLEM_FILE
    said = read_json(problem).get("notes", []) if problem.is_file() else []
    code = code_files(folder) if lacks_code(folder) else {}
    card = render_card(
        metrics,
        recipe=recipe,
        task=task,
        files=sorted({*release_files(folder), *code, CARD_FILE, METRICS_FILE}),
        notes=notes.read_text(encoding="utf-8") if notes.is_file() else None,
        decisions=[build(Note, one) for one in said],
    )
    with atomic_file(folder / CARD_FILE) as temporary:
        temporary.write_text(card, encoding="utf-8")


def refresh_card(folder: str | os.PathLike, task: DescribedTask, notes: str | None = None) -> None:
    """Write a release's card anew from its metrics.json, with the present template.

    Args:
        folder: the release.
        task: tag, metric_names and example() of its task, made by its recipe.
        notes: Markdown of a section of its own, which becomes the release's notes.md; an empty one removes the notes;
            None leaves them as they are.

    Raises:
        HubmodelsError: metrics.json is missing or lacks what a card says, as those of hubmodels before 0.1.0 did.
    """
    folder = Path(folder)
    metrics = read_metrics(folder)
    recipe = Recipe.load(folder / RECIPE_FILE)
    if notes is not None and notes.strip():
        with atomic_file(folder / NOTES_FILE) as temporary:
            temporary.write_text(notes.strip() + "\n", encoding="utf-8")
    elif notes is not None:
        (folder / NOTES_FILE).unlink(missing_ok=True)
    try:
        _write_card(folder, metrics, recipe, task)
    except KeyError as error:
        raise HubmodelsError(f"{METRICS_FILE} of {folder} has no {error}: release the model again") from None
    metrics["checksums"]["metrics"] = metrics_checksum(metrics)
    listed = metrics["checksums"]["files"]
    listed.pop(NOTES_FILE, None)
    if (folder / NOTES_FILE).is_file():
        listed[NOTES_FILE] = hash_file(folder / NOTES_FILE)
    write_json(folder / METRICS_FILE, metrics)


def replace_results(
    folder: str | os.PathLike,
    *,
    task: DescribedTask,
    results: Mapping[str, Any],
    plots: Sequence[Figure | Sound] = (),
    config_values: Mapping[str, Any] | None = None,
    save_problem: Callable[[Path], None] | None = None,
) -> None:
    """Put what was measured of a release anew in the place of its results. It is replaced whole or not at all.

    The weights stay, and with them the figures that are not among the new ones, as that of the training.

    Args:
        folder: the release.
        task: as `release` takes it.
        results: as `release` takes them.
        plots: as `release` takes them; each replaces the one of its name.
        config_values: fields of the config that were measured with: they go to config.json and to the recipe.
        save_problem: writes problem.json anew into the folder that it is given, as `release` takes it.

    Raises:
        HubmodelsError: the folder is no release, or its golden output is another one with these fields.
    """
    folder, values = Path(folder).absolute(), dict(config_values or {})
    with atomic_folder(folder) as temporary:
        shutil.copytree(folder, temporary, dirs_exist_ok=True)
        metrics = read_metrics(temporary)
        config = read_json(temporary / CONFIG_FILE) | values  # in transformers' order
        write_json(
            temporary / CONFIG_FILE, dict(sorted(config.items(), key=lambda item: (item[0] == "auto_map", item)))
        )
        recipe = Recipe.load(temporary / RECIPE_FILE)
        recipe.model |= values
        recipe.save(temporary / RECIPE_FILE)
        metrics["results"] = dict(results)
        captions = {figure["path"]: figure["caption"] for figure in metrics["figures"]}
        captions |= _write_figures(temporary, plots)
        if save_problem is not None:
            save_problem(temporary)
        metrics["figures"] = _describe_figures(captions)
        _write_eval_results(temporary, task, results, metrics["data"], datetime.now(UTC).date().isoformat())
        metrics["checksums"]["files"] |= hash_files(temporary)
        write_json(temporary / METRICS_FILE, metrics)
        refresh_card(temporary, task)
        verify_folder(temporary, f"the release {folder.name}")


def _write_figures(folder: Path, plots: Sequence[Figure | Sound]) -> dict[str, str]:
    """Save each plot as figures/<name>.png and each sound as audio/<name>.wav.

    Returns:
        The caption of each by its path within the folder, the figures first.
    """
    from ..figures import save_figure

    captions = {}
    for plot in sorted(plots, key=lambda plot: isinstance(plot, Sound)):  # a stable order
        path = f"audio/{plot.name}.wav" if isinstance(plot, Sound) else f"figures/{plot.name}.png"
        (folder / path).parent.mkdir(exist_ok=True)
        if isinstance(plot, Sound):
            write = functools.partial(_write_sound, folder / path, plot.waveform, plot.sampling_rate)
        else:
            write = functools.partial(save_figure, plot.figure, folder / path)
        attempt(f"{path} of the release", write)
        if (folder / path).is_file():
            captions[path] = plot.caption
    return captions


def _write_sound(path: Path, waveform: Any, sampling_rate: int) -> None:
    """Write a wav file of one channel and 16 bits."""
    samples = (torch.as_tensor(waveform).double().clamp(-1, 1) * 32767).round().to(torch.int16)
    with wave.open(os.fspath(path), "wb") as file:
        file.setparams((1, 2, sampling_rate, len(samples), "NONE", "not compressed"))
        file.writeframes(samples.numpy().astype("<i2").tobytes())
