"""Checkpoints: everything that a run needs to go on as if it had never stopped, in safetensors and JSON.

    <output_dir>/checkpoints/step-00000123/
        model.safetensors       weights and buffers
        training.safetensors    optimizers, averaged weights, random states of every process
        state.json              step, epoch, schedule, best metric, and what the run must agree with
        manifest.json           SHA-256 of the others

A checkpoint is written beside, synced and renamed, so a folder named step-* is whole or was damaged later, which its
hashes tell.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from ..errors import HubmodelsError
from ..files import atomic_folder, hash_file
from .optimization import Player, all_tensors

FORMAT = 1
MANIFEST = "manifest.json"

Tensors = dict[str, torch.Tensor]


def checkpoint_path(folder: Path, step: int) -> Path:
    """Return the folder of the checkpoint of a step."""
    return folder / f"step-{step:08d}"


def list_checkpoints(folder: Path) -> list[Path]:
    """List the checkpoints in `folder`, the newest first."""
    paths = [path for path in folder.glob("step-*") if path.is_dir() and path.name.removeprefix("step-").isdigit()]
    return sorted(paths, key=step_of, reverse=True)


def step_of(path: Path) -> int:
    """Return the step of a checkpoint's folder."""
    return int(path.name.removeprefix("step-"))


def write_checkpoint(path: Path, model: Tensors, training: Tensors, state: dict[str, Any]) -> None:
    """Write one checkpoint, whole or not at all.

    Raises:
        HubmodelsError: the disk is full or cannot be written; what was written is removed.
    """
    try:
        with atomic_folder(path) as temporary:
            save_file(contiguous(model), temporary / "model.safetensors")
            save_file(contiguous(training), temporary / "training.safetensors")
            (temporary / "state.json").write_text(json.dumps({"format": FORMAT, **state}, indent=1), encoding="utf-8")
            hashes = {file.name: hash_file(file) for file in sorted(temporary.iterdir())}
            (temporary / MANIFEST).write_text(json.dumps(hashes, indent=1), encoding="utf-8")
    except (OSError, SafetensorError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or " ".join(str(error).split())
        newest = next(iter(list_checkpoints(path.parent)), None)
        remaining = f"the last whole checkpoint is {newest}" if newest else "there is no earlier checkpoint"
        raise HubmodelsError(
            f"cannot write checkpoint {path}: {reason}; {remaining}; make room and go on from there"
        ) from error


def contiguous(tensors: Tensors) -> Tensors:
    """Copy tensors as safetensors takes them: on the CPU, in row-major order, no two of them sharing memory."""
    return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}


def check_checkpoint(path: Path) -> None:
    """Refuse a checkpoint that is not as it was written. Raises HubmodelsError that names the file."""
    try:
        hashes = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise HubmodelsError(
            f"checkpoint {path} has no {MANIFEST}: it is no whole checkpoint of a training run"
        ) from None
    except (OSError, ValueError) as error:
        raise HubmodelsError(f"checkpoint {path} is damaged: {MANIFEST} cannot be read ({error})") from None
    for name in ("model.safetensors", "training.safetensors", "state.json"):
        if not (path / name).is_file():
            raise HubmodelsError(f"checkpoint {path} is damaged: {name} is missing")
        if not isinstance(hashes, dict) or hash_file(path / name) != hashes.get(name):
            raise HubmodelsError(f"checkpoint {path} is damaged: {name} is not as it was written")


def read_checkpoint(path: Path) -> tuple[Tensors, Tensors, dict[str, Any]]:
    """Read a checkpoint that `check_checkpoint` has passed.

    Returns:
        The model's tensors, the training's tensors and the state.
    """
    state = json.loads((path / "state.json").read_text(encoding="utf-8"))
    if state.get("format") != FORMAT:
        raise HubmodelsError(f"checkpoint {path} has format {state.get('format')}, this version reads {FORMAT}")
    return load_file(path / "model.safetensors"), load_file(path / "training.safetensors"), state


def find_checkpoint(asked: str | None, folder: Path) -> tuple[str | None, list[str]]:
    """Choose the checkpoint to go on from.

    Removes what a crash left half-written.

    Args:
        asked: None for a new run; `latest` (a damaged newest one is named and the one before is used); or a folder.
        folder: the run's checkpoints.

    Returns:
        Its path, None for a run from the beginning, and what the user should know about the choice.

    Raises:
        HubmodelsError: a new run where an unfinished one has its checkpoints, a folder that is no whole checkpoint, or
            `latest` where all are damaged.
    """
    for path in folder.glob(".step-*"):
        shutil.rmtree(path, ignore_errors=True)
    if asked is None:
        return None, clear_finished(folder)
    if asked != "latest":
        if not Path(asked).is_dir():
            raise HubmodelsError(f"no checkpoint at {asked}: give `latest` or a folder step-* of {folder}")
        check_checkpoint(Path(asked))
        return asked, remove_newer(folder, Path(asked))
    notes = []
    for path in list_checkpoints(folder):
        try:
            check_checkpoint(path)
        except HubmodelsError as error:
            notes.append(f"{error}; the one before is used")
        else:
            return str(path), [*notes, *remove_newer(folder, path)]
    if notes:
        raise HubmodelsError(f"no checkpoint in {folder} is whole: {'; '.join(notes)}")
    return None, [f"no checkpoint in {folder}: starting from the beginning"]


def clear_finished(folder: Path) -> list[str]:
    """Make room for a new run. Raises HubmodelsError where that would lose an unfinished one."""
    paths = list_checkpoints(folder)
    if not paths:
        return []
    try:
        check_checkpoint(paths[0])
        finished = json.loads((paths[0] / "state.json").read_text(encoding="utf-8"))["finished"]
    except (HubmodelsError, KeyError):
        finished = False
    if not finished:
        raise HubmodelsError(
            f"{folder.parent} holds an unfinished run ({paths[0].name}): go on with --resume_from_checkpoint latest, "
            f"give another --output_dir, or remove {folder}"
        )
    for path in paths:
        shutil.rmtree(path)
    return [f"replacing the finished run in {folder.parent}"]


def remove_newer(folder: Path, chosen: Path) -> list[str]:
    """Remove the checkpoints after the chosen one, whose steps will be taken again: the newest is then this run's."""
    newer = [
        path for path in list_checkpoints(folder) if chosen.parent.samefile(folder) and step_of(path) > step_of(chosen)
    ]
    for path in newer:
        shutil.rmtree(path)
    return [f"going on from {chosen.name}; removed {', '.join(path.name for path in newer)}"] if newer else []


def remove_old(folder: Path, keep: int, also: int | None) -> None:
    """Remove all but the `keep` newest checkpoints and that of step `also`."""
    for path in list_checkpoints(folder)[keep:]:
        if step_of(path) != also:
            shutil.rmtree(path, ignore_errors=True)


def optimizer_tensors(players: list[Player]) -> Tensors:
    """Collect the optimizers' state, by player, parameter and kind: `optimizer.model.layers.0.weight.exp_avg`."""
    return {
        f"optimizer.{player.name or 'model'}.{name}.{kind}": torch.as_tensor(value)
        for player in players
        for name, parameter in player.parameters.items()
        for kind, value in player.optimizer.state.get(parameter, {}).items()
        if value is not None
    }


def load_optimizers(players: list[Player], tensors: Tensors) -> None:
    """Put back what `optimizer_tensors` gave, in the memory layout of each parameter."""
    for player in players:
        player.optimizer.state.clear()
        for name, parameter in player.parameters.items():
            prefix = f"optimizer.{player.name or 'model'}.{name}."
            state = {
                key.removeprefix(prefix): value
                for key, value in tensors.items()
                if key.startswith(prefix) and "." not in key.removeprefix(prefix)
            }
            for kind, value in state.items():
                if value.shape == parameter.shape:
                    state[kind] = torch.empty_like(parameter, dtype=value.dtype).copy_(value).detach()
                else:  # the step count: fused kernels want it where the parameter is
                    state[kind] = value.to(parameter.device)
            if state:
                player.optimizer.state[parameter] = state


@torch.no_grad()
def load_tensors(model: nn.Module, tensors: Tensors, path: Path) -> None:
    """Copy tensors by name into a model's parameters and buffers.

    Raises HubmodelsError when the names or shapes are another model's."""
    targets = all_tensors(model)
    if targets.keys() != tensors.keys() or any(targets[name].shape != tensors[name].shape for name in targets):
        differing = sorted(targets.keys() ^ tensors.keys()) or [
            name for name in targets if targets[name].shape != tensors[name].shape
        ]
        raise HubmodelsError(
            f"checkpoint {path} belongs to another model: {differing[0]} differs; give the recipe of that run"
        )
    for name, tensor in targets.items():
        tensor.copy_(tensors[name])
