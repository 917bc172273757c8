"""Predictions over all rows: order, modes, precision, memory layout, several processes."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch

from hubmodels.evaluation import predict


class Rows:
    """Encoded columns held as tensors."""

    def __init__(self, **tensors: torch.Tensor) -> None:
        self.tensors = tensors

    def __len__(self) -> int:
        return len(next(iter(self.tensors.values())))

    def batch(self, rows: torch.Tensor) -> dict[str, torch.Tensor]:
        return {name: value[rows] for name, value in self.tensors.items()}


class Network(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.BatchNorm1d(5), torch.nn.Dropout(0.5))
        self.seen: list[dict] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        output = self.layers(x)
        self.seen.append({"dtype": output.dtype, "grad": output.requires_grad, "rows": len(x)})
        return output


def task_predict(outputs: torch.Tensor, batch: dict) -> dict:
    return {"scores": outputs, "first": batch["x"][:, 0]}


@pytest.mark.parametrize("batch_size", [1, 4, 10, 64])
def test_every_row_is_predicted_once_in_order_whatever_the_batches(batch_size: int) -> None:
    x = torch.randn(10, 6, generator=torch.Generator().manual_seed(1))
    model = Network()
    got = predict(model, Rows(x=x), task_predict, None, batch_size)
    with torch.no_grad():
        weight, bias = model.layers[0].weight, model.layers[0].bias  # a fresh BatchNorm divides by sqrt(1 + eps)
        wanted = (x @ weight.T + bias) / np.sqrt(1 + 1e-5)
    np.testing.assert_allclose(got["scores"], wanted.numpy(), atol=1e-6)
    np.testing.assert_array_equal(got["first"], x[:, 0].numpy())
    assert sum(seen["rows"] for seen in model.seen) == 10


def test_the_modes_and_statistics_of_every_submodule_are_as_before() -> None:
    model = Network().train()
    model.layers[1].eval()  # frozen
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    predict(model, Rows(x=torch.randn(9, 6)), task_predict, None, 4)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())

    def fail(outputs: torch.Tensor, batch: dict) -> dict:
        raise RuntimeError("of the task")

    with pytest.raises(RuntimeError, match="of the task"):
        predict(model, Rows(x=torch.randn(9, 6)), fail, None, 4)
    assert [module.training for module in model.modules()] == modes


def test_it_computes_without_gradients_and_in_full_precision_unless_asked() -> None:
    model, rows = Network(), Rows(x=torch.randn(9, 6))
    with torch.autocast("cpu", dtype=torch.bfloat16):  # as inside of a mixed-precision training
        got = predict(model, rows, task_predict, None, 4)
    assert {(seen["dtype"], seen["grad"]) for seen in model.seen} == {(torch.float32, False)}
    model.seen.clear()

    def half(outputs: torch.Tensor, batch: dict) -> dict:
        return {"scores": outputs.bfloat16()}

    rounded = predict(model, rows, half, None, 4, autocast_dtype=torch.bfloat16)
    assert rounded["scores"].dtype == np.float32
    np.testing.assert_allclose(rounded["scores"], got["scores"], atol=0.05)


def test_the_transform_sees_each_batch_without_a_generator() -> None:
    def transform(batch: dict, generator: object) -> dict:
        assert generator is None
        return {"x": batch["x"] * 2}

    x = torch.randn(5, 6)
    got = predict(Network(), Rows(x=x), task_predict, transform, 2)
    np.testing.assert_array_equal(got["first"], 2 * x[:, 0].numpy())


@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
def test_images_take_the_memory_layout_of_the_weights(memory_format: torch.memory_format) -> None:
    layouts = []

    class Convolution(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Conv2d(3, 4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            layouts.append(x.is_contiguous(memory_format=memory_format))
            return self.layer(x)

    model = Convolution().to(memory_format=memory_format)
    rows = Rows(x=torch.randn(5, 3, 8, 8))
    got = predict(model, rows, lambda outputs, batch: {"y": outputs.mean((1, 2, 3))}, None, 2)
    assert layouts == [True] * 3
    assert got["y"].shape == (5,)


def test_no_rows_or_no_batch_size_is_refused() -> None:
    with pytest.raises(ValueError, match="no rows to predict"):
        predict(Network(), Rows(x=torch.randn(0, 6)), task_predict, None, 4)
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        predict(Network(), Rows(x=torch.randn(3, 6)), task_predict, None, 0)


def test_two_processes_split_the_rows_and_both_get_all(tmp_path) -> None:
    script = tmp_path / "work.py"
    script.write_text(
        textwrap.dedent(
            """
            import os, sys
            import numpy as np, torch
            from accelerate import PartialState
            from hubmodels.evaluation import predict
            sys.path.insert(0, sys.argv[2])
            from test_prediction import Network, Rows, task_predict

            state = PartialState(cpu=True)
            assert state.num_processes == 2
            for count in (7, 1):    # 7 is uneven; of 1 the second process has none of its own
                x = torch.randn(count, 6, generator=torch.Generator().manual_seed(1))
                model = Network()
                wrapped = torch.nn.parallel.DistributedDataParallel(model) if count == 7 else model
                got = predict(wrapped, Rows(x=x), task_predict, None, 2)
                assert sum(seen["rows"] for seen in model.seen) == -(-count // 2)
                np.savez(f"{sys.argv[1]}/{count}-{state.process_index}.npz", **got)
            state.wait_for_everyone()
            os._exit(0)  # gloo's threads abort about one exit in thirty where they are taken down (torch 2.13)
            """
        )
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    here = str(Path(__file__).parent)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    finished = subprocess.run(
        [*command, str(script), str(tmp_path), here], timeout=300, capture_output=True, text=True, env=environment
    )
    assert finished.returncode == 0, finished.stderr
    for count in (7, 1):
        x = torch.randn(count, 6, generator=torch.Generator().manual_seed(1))
        wanted = predict(Network(), Rows(x=x), task_predict, None, 64)
        for process in (0, 1):
            got = np.load(tmp_path / f"{count}-{process}.npz")
            np.testing.assert_allclose(got["scores"], wanted["scores"], atol=1e-6)
            np.testing.assert_array_equal(got["first"], wanted["first"])
