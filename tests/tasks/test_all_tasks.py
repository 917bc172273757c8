"""What every task must do, over all that discovery finds."""

import dataclasses
import inspect
import subprocess
import sys

import pytest

from hubmodels.errors import HubmodelsError
from hubmodels.fields import own_fields, parse_section
from hubmodels.recipe import DataArguments, TrainingArguments
from hubmodels.tasks import Task, get_task, list_tasks

TASKS = list_tasks()


def test_discovery_finds_the_task_files() -> None:
    assert "image-classification" in TASKS
    assert not [tag for tag in TASKS if tag.startswith(("-", "_"))]


@pytest.mark.parametrize("tag", TASKS)
def test_a_task_says_who_it_is(tag: str) -> None:
    cls = get_task(tag)
    assert issubclass(cls, Task)
    assert cls.tag == tag
    assert cls.head == "Model" or cls.head.startswith("For")
    assert cls.main_metric in cls.metric_names
    assert isinstance(cls.greater_is_better, bool)
    assert cls.config_fields


@pytest.mark.parametrize("tag", TASKS)
def test_the_options_have_help_and_defaults_that_pass_their_own_checks(tag: str) -> None:
    cls = get_task(tag)
    assert all(item.metadata.get("help") for item in own_fields(cls).values())
    (task,) = parse_section(dataclasses.asdict(cls()), "data", cls)
    assert task == cls()


@pytest.mark.parametrize("tag", TASKS)
def test_no_option_has_the_name_of_a_general_field(tag: str) -> None:
    general = own_fields(DataArguments) | own_fields(TrainingArguments)
    assert not set(own_fields(get_task(tag))) & set(general)


@pytest.mark.parametrize("tag", TASKS)
def test_every_method_of_the_contract_is_there(tag: str) -> None:
    own = {name for base in get_task(tag).__mro__ if base not in (Task, object) for name in vars(base)}
    contract = {
        name
        for name, value in vars(Task).items()
        if inspect.isfunction(value)
        and not name.startswith("_")
        and "raise NotImplementedError" in inspect.getsource(value)
    }
    assert len(contract) > 10
    assert contract <= own


@pytest.mark.parametrize("tag", TASKS)
def test_the_example_is_python_that_names_the_model(tag: str) -> None:
    text = get_task(tag)().example()
    assert "{model_id}" in text
    compile(text.replace("{model_id}", "someone/model"), "example", "exec")


def test_an_unknown_task_is_refused_with_the_nearest() -> None:
    with pytest.raises(HubmodelsError, match="did you mean 'image-classification'"):
        get_task("image-clasification")


def test_describing_every_task_loads_neither_torch_nor_transformers() -> None:
    code = (
        "import sys; from hubmodels.tasks import get_task, list_tasks; [get_task(tag)() for tag in list_tasks()]; "
        "assert not {'torch', 'transformers', 'datasets', 'sklearn', 'matplotlib', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
