"""What this CPU computes with: bfloat16 where it has instructions for it, oneDNN's linear maps."""

import pytest
import torch
import torch.nn.functional as F

from hubmodels.cpu import OneDnnLinear, computes_bf16, inference_kernels


@pytest.mark.parametrize("name", ["avx512_bf16", "amx_bf16"])
def test_bf16_stays_where_the_cpu_has_instructions_for_it(monkeypatch, name) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"architecture": "x86_64", name: True})
    assert computes_bf16(torch.device("cpu"))


@pytest.mark.parametrize("native", [True, False])
def test_of_other_cpus_onednn_says_whether_bf16_is_native(monkeypatch, native) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"architecture": "aarch64"})
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: native)
    assert computes_bf16(torch.device("cpu")) is native


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(500, 48), (3, 200, 48), (4, 48), (500, 1, 48)])
def test_linear_maps_through_one_dnn_give_the_same_numbers(shape, bias) -> None:
    torch.manual_seed(0)
    layer, rows = torch.nn.Linear(48, 32, bias=bias), torch.randn(shape)
    with torch.inference_mode(), OneDnnLinear():
        found = layer(rows)
        turned = F.linear(rows, layer.weight.T.contiguous().T, layer.bias)  # columns before rows in memory
        cut = layer(rows[::2])
    exact = layer.double()(rows.double()).detach()
    for values, reference in ((found, exact), (turned, exact), (cut, exact[::2])):
        torch.testing.assert_close(values.double(), reference, rtol=0, atol=2e-6)  # values are of the order of 1


def test_many_float32_rows_go_to_one_dnn_and_nothing_else_does(monkeypatch) -> None:
    layer, calls = torch.nn.Linear(8, 8), []
    mode = OneDnnLinear()
    kernel = mode.linear
    assert kernel is not None, "torch's usual builds have oneDNN"
    monkeypatch.setattr(mode, "linear", lambda *args: calls.append(args[0].shape[0]) or kernel(*args))
    with torch.inference_mode(), mode:
        layer(torch.randn(100, 8))
        layer(torch.randn(2, 8))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert layer(torch.randn(300, 8)).dtype == torch.bfloat16
        torch.nn.Linear(8, 8).double()(torch.randn(400, 8, dtype=torch.float64))
    assert calls == [100]


def test_a_compiled_model_computes_as_it_does_outside() -> None:
    layers = torch.nn.Sequential(torch.nn.Linear(48, 32), torch.nn.ReLU(), torch.nn.Linear(32, 8)).eval()
    compiled, rows = torch.compile(layers, backend="aot_eager"), torch.randn(200, 48)
    with torch.no_grad():
        expected = compiled(rows)
        with OneDnnLinear():
            assert torch.equal(compiled(rows), expected)


def test_weights_of_another_class_of_tensors_are_left_to_it(monkeypatch) -> None:
    class Quantised(torch.Tensor):
        pass

    mode = OneDnnLinear()
    monkeypatch.setattr(mode, "linear", lambda *args: pytest.fail("oneDNN was given them"))
    weight = torch.randn(8, 48).as_subclass(Quantised)
    with torch.no_grad(), mode:
        assert F.linear(torch.randn(200, 48), weight).shape == (200, 8)


def test_only_a_cpu_has_kernels_of_its_own() -> None:
    assert isinstance(inference_kernels(torch.device("cpu")), OneDnnLinear)
    with inference_kernels(torch.device("meta")) as entered:
        assert entered is None
