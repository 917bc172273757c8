"""What every model of every family must do, over all that discovery finds.

A family's own test file, `test_<family>.py`, supplies `TINY`, small configs by name, and
`tiny_inputs(config, head, rows, generator)`, the inputs of `forward` with targets where the head has them. Where not
every head takes every config, `HEADS` names those of a config."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, PreTrainedModel

from hubmodels import auto, checkpoint, families


def load_cases(family: str) -> ModuleType:
    path = Path(__file__).with_name(f"test_{family}.py")
    spec = importlib.util.spec_from_file_location(f"cases_{family}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TARGETS = ("labels", "future_values")  # what a head gives the loss of
CASES = {family: load_cases(family) for family in families.list_families()}
MODELS = [
    pytest.param(family, head, tiny, id=f"{family}-{head}-{tiny}")
    for family, cases in CASES.items()
    for head in families.family_classes(family)
    for tiny in cases.TINY
    if head in getattr(cases, "HEADS", {}).get(tiny, [head])
]
CONFIGS = [pytest.param(family, tiny, id=f"{family}-{tiny}") for family, cases in CASES.items() for tiny in cases.TINY]
FIELDS = [
    (name, field) for name in CASES for field in families.config_fields(name) if field not in families.LABEL_FIELDS
]
every_model = pytest.mark.parametrize(("family", "head", "tiny"), MODELS)
every_head = pytest.mark.parametrize(("family", "head", "tiny"), [case for case in MODELS if case.values[1] != "Model"])


def make(family: str, head: str, tiny: str, rows: int = 6) -> tuple[PreTrainedModel, dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    model = families.build_model(family, head, CASES[family].TINY[tiny])
    inputs = CASES[family].tiny_inputs(model.config, head, rows, torch.Generator().manual_seed(1))
    return model, inputs


def compare(ours: dict, theirs: dict) -> None:
    """Bit for bit, names included."""
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name


@pytest.mark.parametrize(("family", "tiny"), CONFIGS)
def test_a_config_comes_back_from_its_file_as_it_was(family: str, tiny: str, tmp_path: Path) -> None:
    config = families.config_class(family)(**CASES[family].TINY[tiny])
    config.save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert type(loaded) is type(config)
    assert {**loaded.to_dict(), "_name_or_path": ""} == config.to_dict()
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == f"hubmodels_{family}"


@pytest.mark.parametrize(("family", "name"), FIELDS)
def test_a_config_field_of_another_type_is_refused(family: str, name: str) -> None:
    with pytest.raises(StrictDataclassError, match=name):
        families.config_class(family)(**{name: object()})


@pytest.mark.parametrize(("family", "name"), FIELDS)
def test_a_config_field_says_what_it_means(family: str, name: str) -> None:
    assert families.config_help(family)[name]


@every_model
def test_a_saved_model_comes_back_bit_for_bit(family: str, head: str, tiny: str, tmp_path: Path) -> None:
    model, inputs = make(family, head, tiny)
    with torch.no_grad():
        for weight in model.parameters():  # norms all start alike, which would hide one that is loaded as another
            weight.mul_(1 + 0.2 * torch.rand(weight.shape))
    model.save_pretrained(tmp_path)
    expected = {"config.json", "model.safetensors"} | ({"generation_config.json"} if model.can_generate() else set())
    expected |= getattr(CASES[family], "FILES", set())
    assert {path.name for path in tmp_path.iterdir() if path.suffix != ".py"} == expected
    code = {f"configuration_{family}.py", f"{type(model).__module__.rpartition('.')[2]}.py"}
    assert code <= {path.name for path in tmp_path.glob("*.py")}
    for loaded in (type(model).from_pretrained(tmp_path), auto.auto_class(head).from_pretrained(tmp_path)):
        assert type(loaded) is type(model)
        compare(loaded.state_dict(), model.state_dict())
        with torch.no_grad():
            compare(dict(loaded(**inputs)), dict(model.eval()(**inputs)))


@every_head
def test_the_network_without_its_head_can_be_loaded_alone(family: str, head: str, tiny: str, tmp_path: Path) -> None:
    model, _ = make(family, head, tiny)
    model.save_pretrained(tmp_path)
    body = auto.auto_class("Model").from_pretrained(tmp_path)
    compare(body.state_dict(), model.base_model.state_dict())


@every_model
def test_a_missing_weight_alone_starts_anew(family: str, head: str, tiny: str, tmp_path: Path) -> None:
    model, _ = make(family, head, tiny)
    fresh = {name: value.clone() for name, value in model.state_dict().items()}
    for value in model.state_dict().values():  # far from any initial value
        value.copy_(torch.arange(1, value.numel() + 1).view(value.shape) * 100)
    model.save_pretrained(tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    for missing in stored:
        left = {name: value for name, value in stored.items() if name != missing}
        save_file(left, tmp_path / "model.safetensors", metadata={"format": "pt"})
        torch.manual_seed(2)
        with checkpoint.quiet_transformers():
            loaded = type(model).from_pretrained(tmp_path).state_dict()
        loaded = {name: value for name, value in loaded.items() if name in stored}  # others are tied to these
        renewed = loaded.pop(missing)
        compare(loaded, left)
        if len(fresh[missing].unique()) == 1:  # a constant
            assert torch.equal(renewed, fresh[missing]), missing
        else:
            assert renewed.isfinite().all(), missing
            # From the same distribution: spreads of 3 and more draws differ by less than this in all seeded cases.
            assert 0.2 < renewed.std() / fresh[missing].std() < 5, missing


@every_head
def test_one_batch_can_be_learnt_by_heart(family: str, head: str, tiny: str) -> None:
    model, inputs = make(family, head, tiny)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    model.train()
    for _ in range(150):
        optimizer.zero_grad()
        model(**inputs).loss.backward()
        optimizer.step()
    with torch.no_grad():
        assert model.eval()(**inputs).loss < 0.05


@every_model
def test_a_row_alone_gives_what_it_gives_in_a_batch(family: str, head: str, tiny: str) -> None:
    model, inputs = make(family, head, tiny)
    inputs = {name: value for name, value in inputs.items() if name not in TARGETS}
    with torch.no_grad():
        together = model.eval()(**inputs)
        for row in range(6):
            alone = model(**{name: value[row : row + 1] for name, value in inputs.items()})
            # What holds each row against every other (the logits of a contrastive model) has another shape alone.
            names = [
                name for name, value in alone.items() if value.dim() > 0 and value[0].shape == together[name][0].shape
            ]
            assert names
            for name in names:
                # Float additions in another order.
                torch.testing.assert_close(alone[name][0], together[name][row], rtol=1e-5, atol=1e-5)


@every_model
def test_evaluation_draws_nothing_at_random(family: str, head: str, tiny: str) -> None:
    model, inputs = make(family, head, tiny)
    with torch.no_grad():
        state = torch.get_rng_state()
        first = model.eval()(**inputs, return_dict=False)[0]
        assert torch.equal(torch.get_rng_state(), state)
        assert torch.equal(model(**inputs, return_dict=False)[0], first)


@every_model
def test_a_tuple_holds_what_the_output_holds(family: str, head: str, tiny: str) -> None:
    model, inputs = make(family, head, tiny)
    model.eval()
    with torch.no_grad():
        for names in (list(inputs), [name for name in inputs if name not in TARGETS]):
            for output_hidden_states in (False, True):
                given = {name: inputs[name] for name in names} | {"output_hidden_states": output_hidden_states}
                outputs = model(**given).to_tuple()
                as_tuple = model(**given, return_dict=False)
                assert isinstance(as_tuple, tuple)
                assert len(as_tuple) == len(outputs)
                torch.testing.assert_close(as_tuple, outputs, rtol=0, atol=0)


@every_model
def test_hidden_states_are_given_when_asked_for_by_argument_or_config(family: str, head: str, tiny: str) -> None:
    model, inputs = make(family, head, tiny)
    model.eval()
    assert model(**inputs).hidden_states is None
    hidden_states = model(**inputs, output_hidden_states=True).hidden_states
    assert len(hidden_states) > 0
    assert all(hidden.isfinite().all() and len(hidden) == 6 for hidden in hidden_states)
    model.config.output_hidden_states = True
    torch.testing.assert_close(model(**inputs).hidden_states, hidden_states, rtol=0, atol=0)
    assert model(**inputs, output_hidden_states=False).hidden_states is None


@every_model
def test_every_weight_takes_part_in_the_output(family: str, head: str, tiny: str) -> None:
    model, inputs = make(family, head, tiny)
    idle = {name for name, _ in model.named_parameters()}
    for _ in range(3):  # dropout can hide a weight of a tiny network from one step
        model.zero_grad()
        outputs = model.train()(**inputs)
        (outputs.loss if "loss" in outputs else outputs.to_tuple()[-1].square().mean()).backward()
        for name, weight in model.named_parameters():
            assert weight.grad.isfinite().all(), name
            if weight.grad.abs().max() > 0:
                idle.discard(name)
    assert not idle


@every_model
def test_bfloat16_weights_and_autocast_run(family: str, head: str, tiny: str) -> None:
    model, inputs = make(family, head, tiny)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = model.train()(**inputs)
    assert outputs.to_tuple()[0].isfinite().all()
    halves = {name: value.bfloat16() if value.is_floating_point() else value for name, value in inputs.items()}
    outputs = model.bfloat16().eval()(**halves)
    assert outputs.to_tuple()[-1].dtype == torch.bfloat16
    assert outputs.to_tuple()[-1].isfinite().all()


def has_one_class_a_row(family: str, head: str, tiny: str) -> bool:
    """Whether a classifier's labels are (rows,), not one a token or none."""
    config = families.config_class(family)(**CASES[family].TINY[tiny])
    labels = CASES[family].tiny_inputs(config, head, 6, torch.Generator()).get("labels")
    return head.endswith("Classification") and labels is not None and labels.shape == (6,)


CLASSIFIERS = [case for case in MODELS if has_one_class_a_row(*case.values)]


@pytest.mark.parametrize(("family", "head", "tiny"), CLASSIFIERS)
def test_a_classifier_follows_its_problem_type(family: str, head: str, tiny: str) -> None:
    model, inputs = make(family, head, tiny)
    model.eval()
    classes = inputs.pop("labels")
    one_hot = torch.nn.functional.one_hot(classes, 3)
    probabilities = torch.full((6, 3), 0.1)
    probabilities[torch.arange(6), classes] = 0.8
    with torch.no_grad():
        for problem_type, labels, kind in (
            (None, classes, "single"),
            (None, one_hot.float(), "multi"),
            ("single_label_classification", classes, "single"),
            ("single_label_classification", probabilities, "soft"),
            ("multi_label_classification", one_hot, "multi"),
            ("regression", one_hot.float(), "regression"),
        ):
            model.config.problem_type = problem_type
            logits = model(**inputs).logits  # an ensemble averages what the problem type says
            log_p, sigmoid = logits.log_softmax(-1), logits.sigmoid()
            expected = {
                "single": -log_p[torch.arange(6), classes].mean(),
                "soft": -(probabilities * log_p).sum(-1).mean(),
                "multi": -(one_hot * sigmoid.log() + (1 - one_hot) * (1 - sigmoid).log()).mean(),
                "regression": (logits - one_hot).square().mean(),
            }[kind]
            torch.testing.assert_close(model(**inputs, labels=labels).loss, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("family", "head", "tiny"), CLASSIFIERS)
def test_one_label_is_regression(family: str, head: str, tiny: str) -> None:
    model = families.build_model(family, head, {**CASES[family].TINY[tiny], "num_labels": 1}).eval()
    inputs = CASES[family].tiny_inputs(model.config, head, 6, torch.Generator().manual_seed(1))
    inputs["labels"] = torch.linspace(-1, 1, 6)
    outputs = model(**inputs)
    torch.testing.assert_close(outputs.loss, (outputs.logits[:, 0] - inputs["labels"]).square().mean())
