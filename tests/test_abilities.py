"""Every model, config, output, processor and feature extractor has the whole signature of each ability that it has."""

import functools
import importlib
import importlib.util
import inspect
import pkgutil
import textwrap
from pathlib import Path
from types import ModuleType
from typing import Protocol

import pytest
import torch
from transformers.utils import ModelOutput

from hubmodels import abilities, auto, families
from hubmodels.abilities import ABILITIES

ROOT = Path(__file__).parent
HEADINGS = {
    "model in training": "A model, in training:",
    "model in use": "A model, in use:",
    "config": "A config:",
    "output": "The output of `forward`:",
    "processor": "A processor:",
    "feature extractor": "What extracts the features of samples:",
}


def load_families() -> ModuleType:
    """The shared tests of the families, for their small models."""
    path = ROOT / "models" / "test_all_families.py"
    spec = importlib.util.spec_from_file_location("families_of_abilities", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


FAMILIES = load_families()


def defined_classes(package: str) -> list[type]:
    """Every class that a module of a subpackage defines, such as helpers that no list names."""
    folder = importlib.import_module(f"hubmodels.{package}")
    names = [item.name for item in pkgutil.walk_packages(folder.__path__, f"hubmodels.{package}.")]
    modules = [importlib.import_module(name) for name in names]
    return [
        value for module in modules for value in vars(module).values()
        if inspect.isclass(value) and value.__module__ == module.__name__
    ]  # fmt: skip


MODELS = [cls for family in families.list_families() for cls in families.family_classes(family).values()]
CLASSES = {
    "model in training": MODELS,
    "model in use": MODELS,
    "config": [families.config_class(family) for family in families.list_families()],
    "output": [cls for cls in defined_classes("models") if issubclass(cls, ModelOutput)],
    "processor": auto.list_processors(),
    "feature extractor": [cls for cls in defined_classes("tasks") if hasattr(cls, "classify")],
}
CASES = [
    pytest.param(cls, ability, id=f"{cls.__name__}-{ability.__name__}")
    for kind, classes in CLASSES.items() for ability in ABILITIES[kind] for cls in classes
]  # fmt: skip


def members(ability: type) -> dict[str, object]:
    """What an ability asks for: methods as functions, values as their annotations."""
    protocols = [base for base in ability.__mro__ if getattr(base, "_is_protocol", False) and base is not Protocol]
    found: dict[str, object] = {}
    for base in reversed(protocols):
        found |= inspect.get_annotations(base)
        found |= {name: value for name, value in vars(base).items() if not name.startswith("_") and name != "register"}
    return found


def argument_that_tells(ability: type) -> tuple[str, str] | None:
    """The method and the argument by which an ability is told from others with the same members."""
    arguments = {
        abilities.CarriesState: ("forward", "state"),
        abilities.SamplesClasses: ("sample", "labels"),
        abilities.SamplesInSteps: ("sample", "num_inference_steps"),
    }
    return arguments.get(ability)


def has(cls: type, ability: type) -> bool:
    """Whether a class has any member of an ability that others have not, be it with another signature."""
    if (told := argument_that_tells(ability)) is not None:
        method, argument = told
        return hasattr(cls, method) and argument in inspect.signature(getattr(cls, method)).parameters
    shared = {"forward", "sampling_rate", "class_names"}
    annotated = {name for base in cls.__mro__ for name in inspect.get_annotations(base)}
    return any(hasattr(cls, name) or name in annotated for name in set(members(ability)) - shared)


def differences(cls: type, ability: type) -> list[str]:
    """What of an ability a class lacks or has otherwise, in words; nothing where it keeps to all of it."""
    annotated = {name for base in cls.__mro__ for name in inspect.get_annotations(base)}
    words = []
    for name, member in members(ability).items():
        if not hasattr(cls, name) and name not in annotated:
            words += [f"{name} is missing"] if name != "sampling_rate" else []  # set when a processor is made
        elif inspect.isfunction(member):
            words += compare(name, inspect.signature(member), inspect.signature(getattr(cls, name)))
        elif isinstance(member, property):
            words += [] if isinstance(inspect.getattr_static(cls, name), property) else [f"{name} is no property"]
    return words


def compare(name: str, asked: inspect.Signature, given: inspect.Signature) -> list[str]:
    """How a method differs from what an ability asks: its arguments' names, order, kinds and defaults."""
    words = []
    arguments = list(given.parameters.values())
    kinds = inspect.Parameter
    for index, item in enumerate(asked.parameters.values()):
        if item.kind is kinds.VAR_KEYWORD:
            continue
        same = arguments[index] if index < len(arguments) else None
        if item.kind is kinds.KEYWORD_ONLY or (same is not None and item.kind is kinds.POSITIONAL_OR_KEYWORD):
            same = given.parameters.get(item.name)
        if same is None or same.kind in (kinds.VAR_KEYWORD, kinds.VAR_POSITIONAL):
            words.append(f"{name} has no argument {item.name}")
            continue
        allowed = {
            kinds.POSITIONAL_ONLY: (kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD),
            kinds.POSITIONAL_OR_KEYWORD: (kinds.POSITIONAL_OR_KEYWORD,),
            kinds.KEYWORD_ONLY: (kinds.POSITIONAL_OR_KEYWORD, kinds.KEYWORD_ONLY),
        }[item.kind]
        if same.kind not in allowed:
            words.append(f"{name} takes {item.name} as {same.kind.description}")
        if item.kind is not kinds.KEYWORD_ONLY and arguments.index(same) != index:
            words.append(f"{name} takes {item.name} at another position")
        if (item.default is kinds.empty) != (same.default is kinds.empty):
            words.append(f"{name} has {'no ' if same.default is kinds.empty else ''}default for {item.name}")
        elif item.default is None and same.default is not None:
            words.append(f"{name} has another default for {item.name} than None")
    by_name = any(item.kind is kinds.VAR_KEYWORD for item in asked.parameters.values())
    positional = sum(item.kind is kinds.POSITIONAL_ONLY for item in asked.parameters.values())
    for index, item in enumerate(arguments):
        is_open = item.kind in (kinds.VAR_KEYWORD, kinds.VAR_POSITIONAL) or item.default is not kinds.empty
        if not (by_name or is_open or item.name in asked.parameters or index < positional):
            words.append(f"{name} needs {item.name} too")
    return words


@functools.cache
def given_outputs() -> set[type]:
    """The classes of what the small models give, those of transformers among them."""
    made = [FAMILIES.make(*case.values) for case in FAMILIES.MODELS]
    return {type(model(**inputs)) for model, inputs in made}


@pytest.mark.parametrize(("cls", "ability"), CASES)
def test_a_class_with_an_ability_has_its_whole_signature(cls: type, ability: type) -> None:
    assert differences(cls, ability) == [] or not has(cls, ability)


@pytest.mark.parametrize(
    ("kind", "ability"), [(kind, ability) for kind, protocols in ABILITIES.items() for ability in protocols]
)
def test_every_ability_is_had_by_something(kind: str, ability: type) -> None:
    classes = [*CLASSES[kind], *given_outputs()] if kind == "output" else CLASSES[kind]
    assert any(has(cls, ability) for cls in classes)


def test_every_ability_is_listed_once() -> None:
    declared = [
        value for value in vars(abilities).values()
        if inspect.isclass(value) and value.__module__ == abilities.__name__
    ]  # fmt: skip
    listed = [ability for protocols in ABILITIES.values() for ability in protocols]
    assert set(declared) == set(listed)
    assert len(listed) == len(set(listed))


class Sampler:
    def sample(self, num_samples, labels=None, generator=None, batch_size=8): ...


class Refuses:
    """Each method differs from its ability in one thing."""

    def sample(self, count, generator=None, batch_size=8): ...
    def extract_member(self, index=0): ...
    def check_training_rows(self, num_rows): ...
    def interpolate(self, first, last, mask, num_steps=8): ...
    def anomaly_score(self, *, values): ...
    def elbo(self, values, generator=None, num_samples=1): ...
    def log_likelihood(self, values, num_importance_samples=1, generator=0): ...


@pytest.mark.parametrize(
    ("ability", "words"),
    [
        (abilities.Samples, ["sample has no argument num_samples", "sample needs count too"]),
        (abilities.HasMembers, ["extract_member has default for index"]),
        (abilities.FitsAfterTraining, ["fit_after_training is missing"]),
        (abilities.Interpolates, ["interpolate needs mask too"]),
        (abilities.ScoresAnomalies, ["anomaly_score takes values as keyword-only"]),
        (
            abilities.BoundsLikelihood,
            [
                "elbo takes num_samples at another position",
                "elbo takes generator at another position",
                "log_likelihood has another default for generator than None",
            ],
        ),
    ],
)
def test_another_signature_is_seen(ability: type, words: list[str]) -> None:
    assert has(Refuses, ability)
    assert differences(Refuses, ability) == words
    assert differences(Sampler, abilities.Samples) == differences(Sampler, abilities.SamplesClasses) == []


# ---------------------------------------------------------------- values


@FAMILIES.every_model
def test_what_an_output_gives_has_the_shape_that_its_ability_says(family: str, head: str, tiny: str) -> None:
    model, inputs = FAMILIES.make(family, head, tiny)
    for training in (False, True):
        outputs = model.train(training)(**inputs)
        if (logits := abilities.logits(outputs)) is not None:
            assert logits.ndim in (2, 3)
            assert len(logits) == 6
        if (row_loss := abilities.row_loss(outputs)) is not None:
            assert row_loss.shape == (6,)
        if (spread := abilities.spread(outputs)) is not None:
            assert spread.shape == logits.shape
        if (quantiles := abilities.quantile_values(outputs)) is not None:
            predictions = outputs.prediction_outputs if logits is None else logits
            assert quantiles.shape == (*predictions.shape, quantiles.shape[-1])
            assert (quantiles.diff(dim=-1) >= 0).all() or training
        if (pooled := abilities.pooler_output(outputs)) is not None:
            assert len(pooled) == 6
            assert pooled.ndim == 2 or pooled.shape[2:] == (1, 1)
        if isinstance(outputs, abilities.GivesState) and outputs.state is not None:
            assert len(outputs.state) == 6
        for name, value in abilities.measures(outputs).items():
            assert isinstance(name, str)
            assert value.ndim == 0
        assert training or not abilities.measures(outputs)


@FAMILIES.every_model
def test_what_isinstance_does_not_see_is_told_by_the_functions(family: str, head: str, tiny: str) -> None:
    model, inputs = FAMILIES.make(family, head, tiny)
    config = model.config
    assert abilities.is_class_conditional(config) == bool(config.to_dict().get("class_conditional"))
    assert abilities.samples_classes(model) <= isinstance(model, abilities.Samples)
    assert abilities.samples_in_steps(model) <= isinstance(model, abilities.Samples)
    assert abilities.longest_input(config) == config.to_dict().get("max_position_embeddings")
    if abilities.carries_state(model):
        with torch.no_grad():
            first = model.eval()(**inputs).state
            assert not torch.equal(model(**inputs, state=first).state, first)
    for path in abilities.players(model).values():
        assert any(True for _ in model.get_submodule(path).parameters())
    for path in abilities.averaged(model):
        assert any(True for _ in model.get_submodule(path).parameters())
    if isinstance(model, abilities.PairsTargets):
        outputs = model.train()(**inputs)
        logits, targets = model.pair_targets(outputs, inputs["labels"])
        assert len(logits) == len(targets)
        assert len(logits) % 6 == 0


# ---------------------------------------------------------------- CONTRIBUTING.md


def listing() -> str:
    """The abilities as CONTRIBUTING.md lists them."""
    lines = []
    for kind, protocols in ABILITIES.items():
        lines += [HEADINGS[kind], ""]
        for ability in protocols:
            sentence, used = (" ".join(part.split()) for part in inspect.getdoc(ability).split("\n\n"))
            names = ", ".join(f"`{name}`" for name in members(ability))
            text = f"- `{ability.__name__}` ({names}): {sentence} {used}"
            lines.append(textwrap.fill(text, 120, subsequent_indent="  ", break_on_hyphens=False))
        lines.append("")
    return "\n".join(lines)


def test_contributing_lists_the_abilities_as_their_docstrings_have_them() -> None:
    assert listing() in (ROOT.parent / "CONTRIBUTING.md").read_text(encoding="utf-8"), listing()
