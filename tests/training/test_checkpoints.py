"""Checkpoints: whole or not there, checked by their hashes, tied to the run that wrote them."""

import hashlib
import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from toy_run import Stop, ToyClassifier, Worker, crash_after, run_toy

from hubmodels.errors import HubmodelsError

# 5 steps an epoch, a checkpoint every second one, stopped in the middle of the second epoch.
FIRST = {"save_strategy": "steps", "save_steps": 2, "augment": True, "ema_decay": 0.9, "num_train_epochs": 2}
LATEST = {**FIRST, "resume_from_checkpoint": "latest"}


def crashed_run(folder: Path, batches: int = 7, **options: object) -> None:
    with pytest.raises(Stop):
        run_toy(folder, wrap=crash_after(batches), **{**FIRST, **options})


def weights_of(model: torch.nn.Module) -> list[torch.Tensor]:
    return list(model.state_dict().values())


def steps_in(folder: Path) -> list[int]:
    return sorted(int(path.name[5:]) for path in (folder / "checkpoints").iterdir())


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> list[torch.Tensor]:
    """The weights of a run that was never stopped."""
    return weights_of(run_toy(tmp_path_factory.mktemp("whole"), **FIRST)[0])


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_checkpoint_is_safetensors_and_json_and_names_the_hash_of_each_file(tmp_path) -> None:
    crashed_run(tmp_path)
    folder = tmp_path / "checkpoints" / "step-00000006"
    assert sorted(path.name for path in folder.iterdir()) == [
        "manifest.json", "model.safetensors", "state.json", "training.safetensors",
    ]  # fmt: skip
    for name, digest in json.loads((folder / "manifest.json").read_text()).items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    assert load_file(folder / "model.safetensors").keys() == ToyClassifier().state_dict().keys()


def test_the_last_n_checkpoints_are_kept(tmp_path) -> None:
    crashed_run(tmp_path, batches=14, num_train_epochs=3, save_total_limit=3)
    assert steps_in(tmp_path) == [10, 12, 14]


@pytest.mark.parametrize("optim", ["adamw", "sgd"])
def test_going_on_in_the_middle_of_an_epoch_gives_the_same_bits(tmp_path, optim: str) -> None:
    expected, _ = run_toy(tmp_path / "whole", **FIRST, optim=optim)
    crashed_run(tmp_path / "b", optim=optim)
    found, run = run_toy(tmp_path / "b", **LATEST, optim=optim)
    assert all(map(torch.equal, weights_of(found), weights_of(expected)))
    assert [line["step"] for line in run.history if "loss" in line] == list(range(1, 11))


def test_two_players_go_on_with_the_same_bits(tmp_path) -> None:
    options = {"save_strategy": "steps", "save_steps": 2}
    expected, _ = run_toy(tmp_path / "a", "gan", **options)
    with pytest.raises(Stop):
        run_toy(tmp_path / "b", "gan", wrap=crash_after(7), **options)
    found, _ = run_toy(tmp_path / "b", "gan", resume_from_checkpoint="latest", **options)
    assert all(map(torch.equal, weights_of(found), weights_of(expected)))


def test_early_stopping_remembers_across_a_stop(tmp_path) -> None:
    def evaluation():
        values = {5: 0.5, 10: 0.4, 15: 0.3, 20: 0.2}
        return lambda model: ({"accuracy": values[int(model.norm.num_batches_tracked)]}, [])

    options = {**FIRST, "num_train_epochs": 9, "early_stopping_patience": 2, "metric_for_best_model": "accuracy"}
    options |= {"load_best_model_at_end": True, "save_total_limit": 1, "ema_decay": 0.0}
    with pytest.raises(Stop):
        run_toy(tmp_path, wrap=crash_after(13), evaluate=evaluation(), **options)
    assert steps_in(tmp_path) == [5, 12]  # the best stays
    model, run = run_toy(tmp_path, evaluate=evaluation(), **{**options, "resume_from_checkpoint": "latest"})
    assert (run.stopped_early, run.steps, run.best_step) == (True, 15, 5)
    assert model.norm.num_batches_tracked == 5


def test_latest_without_a_checkpoint_starts_from_the_beginning_and_says_so(tmp_path, whole, capsys) -> None:
    found, _ = run_toy(tmp_path, **LATEST)
    assert "starting from the beginning" in capsys.readouterr().err
    assert all(map(torch.equal, weights_of(found), whole))


@pytest.mark.parametrize("name", ["model.safetensors", "training.safetensors", "state.json", "manifest.json"])
@pytest.mark.parametrize("how", [damage, Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-20])])
def test_a_damaged_newest_checkpoint_is_named_and_the_one_before_is_used(tmp_path, whole, capsys, name, how) -> None:
    crashed_run(tmp_path)
    how(tmp_path / "checkpoints" / "step-00000006" / name)
    found, _ = run_toy(tmp_path, **LATEST)
    said = capsys.readouterr().err
    assert "step-00000006" in said
    assert name in said or name == "manifest.json"  # a hash that was changed accuses the file that it belongs to
    assert "going on from step-00000004" in said
    assert all(map(torch.equal, weights_of(found), whole))


def test_only_damaged_checkpoints_are_refused(tmp_path) -> None:
    crashed_run(tmp_path)
    for path in (tmp_path / "checkpoints").iterdir():
        damage(path / "state.json")
    with pytest.raises(HubmodelsError, match=r"no checkpoint in .* is whole: .*step-00000006.*step-00000004"):
        run_toy(tmp_path, **LATEST)


def test_a_named_checkpoint_is_used_and_later_ones_go(tmp_path, whole, capsys) -> None:
    crashed_run(tmp_path)
    path = tmp_path / "checkpoints" / "step-00000004"
    found, _ = run_toy(tmp_path, **{**FIRST, "resume_from_checkpoint": str(path)})
    assert "removed step-00000006" in capsys.readouterr().err
    assert all(map(torch.equal, weights_of(found), whole))


def test_a_named_checkpoint_of_another_folder_is_left_as_it_is(tmp_path, whole) -> None:
    crashed_run(tmp_path / "a")
    path = tmp_path / "a" / "checkpoints" / "step-00000004"
    found, _ = run_toy(tmp_path / "b", **{**FIRST, "resume_from_checkpoint": str(path)})
    assert steps_in(tmp_path / "a") == [4, 6]
    assert all(map(torch.equal, weights_of(found), whole))


def test_a_named_checkpoint_that_is_none_or_damaged_is_refused(tmp_path) -> None:
    crashed_run(tmp_path)
    for given, words in ((tmp_path / "nowhere", "no checkpoint at"), (tmp_path, "has no manifest.json")):
        with pytest.raises(HubmodelsError, match=words):
            run_toy(tmp_path, **{**FIRST, "resume_from_checkpoint": str(given)})
    newest = tmp_path / "checkpoints" / "step-00000006"
    damage(newest / "training.safetensors")
    with pytest.raises(HubmodelsError, match=r"training.safetensors is not as it was written"):
        run_toy(tmp_path, **{**FIRST, "resume_from_checkpoint": str(newest)})


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"learning_rate": 0.02}, "learning_rate was 0.01 and is now 0.02"),
        ({"seed": 1}, "seed was 42 and is now 1"),
        ({"num_train_epochs": 3}, "num_train_epochs was 2 and is now 3"),
        ({"ema_decay": 0.5}, "ema_decay was 0.9 and is now 0.5"),
        ({"bf16": True}, "bf16 was False and is now True"),
        ({"per_device_train_batch_size": 16}, r"rows in an optimizer step .* was 32 and is now 16"),
        ({"num_rows": 100}, "number of training rows was 150 and is now 100"),
        ({"recipe": {"model": {"depths": [3, 4]}}}, r"model.depths was None and is now \[3, 4\]"),
        ({"model": {"norm": False}}, "belongs to another model: norm.bias differs"),
    ],
)
def test_going_on_with_what_changes_the_mathematics_is_refused_with_its_name(tmp_path, changed, named) -> None:
    crashed_run(tmp_path)
    with pytest.raises(HubmodelsError, match=named):
        run_toy(tmp_path, **{**LATEST, **changed})


def test_what_does_not_change_the_mathematics_may_differ(tmp_path, whole) -> None:
    crashed_run(tmp_path)
    found, _ = run_toy(
        tmp_path, **{**LATEST, "save_strategy": "epoch", "logging_steps": 3, "num_workers": 2, "eval_strategy": "no"}
    )
    assert all(map(torch.equal, weights_of(found), whole))


def test_the_split_of_a_step_may_differ_and_the_rows_stay(tmp_path) -> None:
    options = {**FIRST, "augment": False, "model": {"norm": False, "dropout": 0.0}}
    expected, _ = run_toy(tmp_path / "a", **options)
    with pytest.raises(Stop):
        run_toy(tmp_path / "b", wrap=crash_after(7), **options)
    changed = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 4, "resume_from_checkpoint": "latest"}
    found, _ = run_toy(tmp_path / "b", **{**options, **changed})
    for one, other in zip(weights_of(found), weights_of(expected), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_a_run_with_a_constant_schedule_can_be_made_longer(tmp_path) -> None:
    options = {**FIRST, "lr_scheduler_type": "constant"}
    expected, _ = run_toy(tmp_path / "a", **{**options, "num_train_epochs": 3})
    run_toy(tmp_path / "b", **options)
    found, run = run_toy(tmp_path / "b", **{**options, "num_train_epochs": 3, "resume_from_checkpoint": "latest"})
    assert run.steps == 15
    assert all(map(torch.equal, weights_of(found), weights_of(expected)))


def test_a_finished_run_goes_on_to_the_same_result_and_may_be_replaced(tmp_path, whole) -> None:
    run_toy(tmp_path, **FIRST)
    found, run = run_toy(tmp_path, **LATEST)
    assert run.steps == 10
    assert all(map(torch.equal, weights_of(found), whole))
    again, _ = run_toy(tmp_path, **FIRST)
    assert all(map(torch.equal, weights_of(again), whole))


def test_a_new_run_does_not_overwrite_an_unfinished_one(tmp_path) -> None:
    crashed_run(tmp_path)
    with pytest.raises(HubmodelsError, match=r"unfinished run \(step-00000006\): go on with --resume_from_checkpoint"):
        run_toy(tmp_path, **FIRST)
    assert steps_in(tmp_path) == [4, 6]


def test_what_a_crash_left_half_written_is_removed(tmp_path) -> None:
    crashed_run(tmp_path)
    left = tmp_path / "checkpoints" / ".step-00000008.abc"
    shutil.copytree(tmp_path / "checkpoints" / "step-00000006", left)
    (left / "manifest.json").unlink()
    (tmp_path / "metrics.jsonl").open("a").write('{"step": 7, "lo')
    _, run = run_toy(tmp_path, **LATEST)
    assert not left.exists()
    assert [line["step"] for line in run.history] == list(range(1, 11))


def test_a_disk_that_takes_no_more_stops_the_run_with_the_last_checkpoint_whole(tmp_path) -> None:
    # The system refuses files beyond a size, as it refuses every write when the disk is full.
    folder, options = tmp_path / "run", {**FIRST, "optim": "sgd", "num_rows": 600}
    job = {**options, "output_dir": str(folder)}
    worker = Worker({**job, "largest_file": 10_000}, tmp_path / "log")
    assert worker.wait() == 2, worker.log.read_text()
    assert re.search("cannot write checkpoint.*File too large.*no earlier checkpoint", worker.log.read_text())
    assert list((folder / "checkpoints").iterdir()) == []
    crashed_run(folder, batches=3, **options)
    worker = Worker({**job, "resume_from_checkpoint": "latest", "largest_file": 10_000}, tmp_path / "log")
    assert worker.wait() == 2, worker.log.read_text()
    assert f"the last whole checkpoint is {folder}/checkpoints/step-00000002" in worker.log.read_text()
    assert steps_in(folder) == [2]
    found, _ = run_toy(folder, **{**options, "resume_from_checkpoint": "latest"})
    expected, _ = run_toy(tmp_path / "whole", **options)
    assert all(map(torch.equal, weights_of(found), weights_of(expected)))
