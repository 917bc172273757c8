"""Truncated back-propagation: rows in lanes, and the state that goes along them, also over a stop."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from toy_run import WIDTH, Stop, ToyClassifier, ToyRecurrence, ToyWindows, crash_after, run_toy

from hubmodels.data import Batches
from hubmodels.errors import HubmodelsError
from hubmodels.evaluation import predict

LANES = 4


def train_lanes(folder: Path, **options: object) -> ToyRecurrence:
    options = {"per_device_train_batch_size": LANES, "carry_state": True, "num_train_epochs": 3, "seed": 1, **options}
    return run_toy(folder, "recurrence", **options)[0]


def test_each_row_goes_on_where_the_same_row_of_the_step_before_ended() -> None:
    batches = Batches(ToyWindows(), seed=1, in_lanes=True)
    starts = set()
    for epoch in range(20):
        order = batches.order(epoch, LANES).view(-1, LANES)
        assert len(order) == batches.steps_per_epoch(LANES) == 6  # 27 rows in 4 lanes
        assert (order[1:] - order[:-1] == 1).all()
        assert len(order.unique()) == order.numel()
        starts.add(int(order[0, 0]))
    assert starts == {0, 1, 2, 3}  # the rows that are left out are others in each epoch


def test_a_step_takes_the_detached_state_of_the_step_before_and_an_epoch_begins_without_one(tmp_path: Path) -> None:
    model = train_lanes(tmp_path)
    assert len(model.given) == 18
    for step, state in enumerate(model.given):
        assert (state is None) == (step % 6 == 0)
        assert state is None or (state.shape == (LANES, 1, 8) and not state.requires_grad)


def test_the_weights_are_those_of_a_loop_by_hand(tmp_path: Path) -> None:
    ours = train_lanes(tmp_path, num_train_epochs=1, lr_scheduler_type="constant", max_grad_norm=0.0)
    theirs = ToyRecurrence()
    optimizer = torch.optim.AdamW(theirs.parameters(), lr=0.01, weight_decay=0.0)
    order = Batches(ToyWindows(), seed=1, in_lanes=True).order(0, LANES).view(-1, LANES)
    state = None
    for rows in order:
        outputs = theirs(**ToyWindows().batch(rows), state=state)
        state = outputs.state.detach()
        optimizer.zero_grad()
        outputs.loss.backward()
        optimizer.step()
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_run_that_was_stopped_within_an_epoch_goes_on_with_its_state(tmp_path: Path, accumulation: int) -> None:
    options = {
        "per_device_train_batch_size": LANES // accumulation, "gradient_accumulation_steps": accumulation,
        "save_strategy": "steps", "save_steps": 2,
    }  # fmt: skip
    whole = train_lanes(tmp_path / "whole", **options)
    with pytest.raises(Stop):
        train_lanes(tmp_path / "stopped", wrap=crash_after(11 * accumulation), **options)
    resumed = train_lanes(tmp_path / "stopped", resume_from_checkpoint="latest", **options)
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name
    saved = load_file(tmp_path / "whole/checkpoints/step-00000016/training.safetensors")
    assert sum(".carried." in name for name in saved) == accumulation


@pytest.mark.parametrize("batch_size", [1, 4, 50])
def test_an_evaluation_carries_the_state_along_each_lane_and_keeps_the_rows_in_order(batch_size: int) -> None:
    windows, model = ToyWindows(), ToyRecurrence()
    rows = predict(model, windows, lambda outputs, batch: {"said": outputs.said}, None, batch_size, carry_state=True)
    lanes = min(batch_size, 27)
    length = -(-27 // lanes)
    for start in range(0, 27, length):  # each lane in one pass
        count = min(length, 27 - start)
        series = windows.series[start * WIDTH : (start + count) * WIDTH + 1]
        with torch.no_grad():
            said = model(series[None]).said[0].view(count, WIDTH)
        np.testing.assert_allclose(rows["said"][start : start + count], said.numpy(), atol=1e-6)


def test_a_model_without_a_state_and_more_lanes_than_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(HubmodelsError, match="ToyClassifier does not"):
        run_toy(tmp_path / "a", network=ToyClassifier(), carry_state=True)
    with pytest.raises(HubmodelsError, match="27 rows cannot go on in 32 lanes"):
        train_lanes(tmp_path / "b", per_device_train_batch_size=32)
