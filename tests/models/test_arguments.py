"""The arguments of `forward`: every head uses those that it declares, bears those that libraries pass to any model, and
refuses all others."""

import ast
import inspect
import textwrap

import pytest
import torch
from test_all_families import CASES, MODELS, compare, every_model, make
from transformers import GenerationMixin, PreTrainedModel
from transformers.generation.continuous_batching.input_outputs import PagedAttentionArgs
from transformers.utils import TransformersKwargs
from transformers.utils.generic import find_labels

from hubmodels import families
from hubmodels.models.mlp.modeling_mlp_shared import PASSED_TO_ANY_MODEL, WITHOUT_EFFECT
from hubmodels.models.transformer.modeling_transformer_block import BATCHING_ARGUMENTS, PACKING_ARGUMENTS

CLASSES = sorted({(family, head) for family, head, _ in (case.values for case in MODELS)})
IDLE = {("autoencoder", "Model"): {"labels"}}  # classes that travel with the rows of a batch, as its docstring says
every_class = pytest.mark.parametrize(("family", "head"), CLASSES)


def forward_of(family: str, head: str) -> ast.FunctionDef:
    source = inspect.getsource(inspect.unwrap(families.family_classes(family)[head].forward))
    return ast.parse(textwrap.dedent(source)).body[0]


def outputs(model: PreTrainedModel, inputs: dict, **given: object) -> dict[str, torch.Tensor]:
    with torch.no_grad():
        found = model.eval()(**inputs, **given)
    return {name: value for name, value in found.items() if isinstance(value, torch.Tensor)}


@every_class
def test_every_declared_argument_is_used(family: str, head: str) -> None:
    forward = forward_of(family, head)
    declared = [item.arg for item in [*forward.args.args, forward.args.kwarg] if item is not None]
    used = {node.id for node in ast.walk(forward) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    assert set(declared) - IDLE.get((family, head), set()) <= used


@every_class
def test_an_unknown_argument_is_refused_with_the_nearest_one(family: str, head: str) -> None:
    tiny = next(case.values[2] for case in MODELS if case.values[:2] == (family, head))
    model, inputs = make(family, head, tiny)
    for name in inputs:
        with pytest.raises(TypeError, match=rf"knows no argument '{name}_x'; did you mean '{name}'\?"):
            model(**inputs, **{f"{name}_x": None})
    with pytest.raises(TypeError, match="knows no argument 'return_dcit'; did you mean 'return_dict'?"):
        model(**inputs, return_dcit=True)
    with pytest.raises(TypeError, match=r"knows no argument 'zzz'; it takes .*return_dict"):
        model(**inputs, zzz=1)


@every_model
def test_what_libraries_pass_to_any_model_changes_nothing(family: str, head: str, tiny: str) -> None:
    model, inputs = make(family, head, tiny)
    expected = outputs(model, inputs)
    harmless = {name: None for name in PASSED_TO_ANY_MODEL if name not in inputs}
    compare(outputs(model, inputs, **harmless | {"return_dict": True}), expected)
    declared = inspect.signature(model.forward).parameters
    for name in WITHOUT_EFFECT:
        if name not in declared:
            compare(outputs(model, inputs, **{name: torch.tensor(5)}), expected)


@every_model
def test_what_a_model_cannot_do_is_refused(family: str, head: str, tiny: str) -> None:
    model, inputs = make(family, head, tiny)
    declared = inspect.signature(model.forward).parameters
    known = {*declared, *WITHOUT_EFFECT, *inputs, *PACKING_ARGUMENTS, *BATCHING_ARGUMENTS}
    for name in set(PASSED_TO_ANY_MODEL) - known:
        with pytest.raises(TypeError, match=f"knows no argument '{name}'"):
            model(**inputs, **{name: torch.ones(1)})


def test_the_lists_hold_what_this_transformers_passes() -> None:
    assert set(TransformersKwargs.__optional_keys__) <= set(PASSED_TO_ANY_MODEL)
    prepared = inspect.signature(inspect.unwrap(GenerationMixin.prepare_inputs_for_generation)).parameters
    steps = {"self", "kwargs", "next_sequence_length", "is_first_iteration"}  # generate's own
    assert set(prepared) - steps <= set(PASSED_TO_ANY_MODEL)
    declared = inspect.signature(families.family_classes("transformer")["ForCausalLM"].forward).parameters
    assert set(PagedAttentionArgs.__annotations__) <= {*declared, *PACKING_ARGUMENTS, *BATCHING_ARGUMENTS}


@every_class
def test_trainer_finds_at_most_one_kind_of_labels(family: str, head: str) -> None:
    assert len(find_labels(families.family_classes(family)[head])) <= 1  # it evaluates a loss only where all are given


@pytest.mark.parametrize("family", CASES)
def test_one_file_of_a_family_has_the_lists(family: str) -> None:
    folder = inspect.getfile(families.family_classes(family)["Model"]).rpartition("/")[0]
    module = inspect.getmodule(families.family_classes(family)["Model"])
    assert module.known_arguments.__module__.endswith(f"modeling_{family}_shared"), folder
