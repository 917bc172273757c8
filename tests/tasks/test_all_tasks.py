"""What every task must do, over all that discovery finds."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import hubmodels.tasks
from hubmodels.errors import HubmodelsError
from hubmodels.fields import option_fields, parse_section, part_fields
from hubmodels.recipe import DataArguments, TrainingArguments
from hubmodels.tasks import Problem, Task, get_task, list_tasks
from hubmodels.tasks.contract.parts import FittedInput, FittedTarget, Input, Target

TASKS = list_tasks()
FOLDER = Path(hubmodels.tasks.__file__).parent


def test_discovery_finds_the_task_files() -> None:
    assert "image-classification" in TASKS
    assert not [tag for tag in TASKS if tag.startswith(("-", "_"))]


@pytest.mark.parametrize("tag", TASKS)
def test_a_task_names_an_input_and_a_target(tag: str) -> None:
    cls = get_task(tag)
    task = cls()
    assert issubclass(cls, Task)
    assert cls.tag == tag
    assert cls.head == "Model" or cls.head.startswith("For")
    assert part_fields(cls) == {"input": type(task.input), "target": type(task.target)}
    assert isinstance(task.input, Input)
    assert isinstance(task.target, Target)
    assert task.main_metric in task.metric_names
    assert isinstance(task.greater_is_better, bool)
    assert set(task.shares) <= set(task.metric_names)


@pytest.mark.parametrize("tag", TASKS)
def test_the_options_have_help_and_defaults_that_pass_their_own_checks(tag: str) -> None:
    cls = get_task(tag)
    assert all(item.metadata.get("help") for item in option_fields(cls).values())
    assert cls.from_options() == cls()
    assert parse_section({}, "data", cls) == (cls(),)


@pytest.mark.parametrize("tag", TASKS)
def test_no_option_stands_twice_and_none_has_the_name_of_a_general_field(tag: str) -> None:
    cls = get_task(tag)
    general = option_fields(DataArguments) | option_fields(TrainingArguments)
    parts = [set(option_fields(kind)) for kind in part_fields(cls).values()]
    assert set(option_fields(cls)) & set(general) <= {"column_kinds"}  # which reading and tables both heed
    assert not parts[0] & parts[1]
    assert len(option_fields(cls)) >= len(parts[0]) + len(parts[1])


@pytest.mark.parametrize("tag", TASKS)
def test_every_method_of_the_contract_is_there(tag: str) -> None:
    cls = get_task(tag)
    problem_class = cls.problem_class
    assert issubclass(problem_class, Problem)
    for kind, base in ((cls, Task), (problem_class, Problem), (type(cls().input), Input), (type(cls().target), Target)):
        for name, value in vars(base).items():
            if inspect.isfunction(value) and name[0] != "_" and "raise NotImplementedError" in inspect.getsource(value):
                assert getattr(kind, name) is not value, f"{kind.__name__} has no {name}"


@pytest.mark.parametrize("tag", TASKS)
def test_no_method_of_a_bound_problem_is_handed_its_state(tag: str) -> None:
    kinds = [get_task(tag).problem_class, *FittedInput.__subclasses__(), *FittedTarget.__subclasses__()]
    for kind in kinds:
        for name, value in inspect.getmembers(kind, inspect.isfunction):
            if name != "__init__":
                assert not set(inspect.signature(value).parameters) & {"processor", "config_values"}, name


@pytest.mark.parametrize("tag", TASKS)
def test_a_task_file_is_short(tag: str) -> None:
    assert len((FOLDER / f"{tag.replace('-', '_')}.py").read_text(encoding="utf-8").splitlines()) <= 150


@pytest.mark.parametrize("tag", TASKS)
def test_the_example_is_python_that_names_the_model(tag: str) -> None:
    text = get_task(tag)().example()
    assert "{model_id}" in text
    compile(text.replace("{model_id}", "someone/model"), "example", "exec")


def test_an_unknown_task_is_refused_with_the_nearest() -> None:
    with pytest.raises(HubmodelsError, match="did you mean 'image-classification'"):
        get_task("image-clasification")


def test_an_unknown_option_is_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'image_size'"):
        get_task("image-classification").from_options(image_sise=28)


def test_describing_every_task_loads_neither_torch_nor_transformers() -> None:
    code = (
        "import sys; from hubmodels.tasks import get_task, list_tasks; [get_task(tag)() for tag in list_tasks()]; "
        "assert not {'torch', 'transformers', 'datasets', 'sklearn', 'matplotlib', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
