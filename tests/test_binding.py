"""A task bound to a checkpoint: what problem.json may hold, and that nothing else passes."""

import json
import shutil
from pathlib import Path

import pytest

from hubmodels.binding import bind_checkpoint, task_of_checkpoint
from hubmodels.checkpoint import find_optional_file
from hubmodels.errors import HubmodelsError
from hubmodels.tasks import get_task, list_tasks

CARDS = Path(__file__).parent.parent / "model_cards"


def bind(folder: Path, tag: str):
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return bind_checkpoint(folder, task_of_checkpoint(folder, tag), config)


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A copy of the released regression, whose problem.json names one target."""
    return Path(shutil.copytree(CARDS / "mlp-california-housing", tmp_path / "house"))


@pytest.mark.parametrize(
    "content",
    [
        "{nope",
        "[]",
        '{"target": {}}',
        '{"task": "tabular-regression"}',
        '{"task": "tabular-regression", "target": [1]}',
        '{"task": "tabular-regression", "target": {"names": 5}}',
        '{"task": "tabular-regression", "target": {"names": [5]}}',
        '{"task": "tabular-regression", "target": {"name": ["price"]}}',
        '{"task": "tabular-regression", "target": ' + "[" * 100_000 + "}",
    ],
)
def test_a_damaged_problem_json_is_refused_in_one_line(house: Path, content: str) -> None:
    (house / "problem.json").write_text(content, encoding="utf-8")
    with pytest.raises(HubmodelsError, match=r"problem\.json of .* is damaged .*: download or train") as error:
        bind(house, "tabular-regression")
    assert len(str(error.value).splitlines()) == 1


def test_names_that_are_not_as_many_as_the_models_numbers_are_refused(house: Path) -> None:
    content = {"task": "tabular-regression", "target": {"names": ["price", "rooms"]}}
    (house / "problem.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(HubmodelsError, match="names 2 targets, the model has 1"):
        bind(house, "tabular-regression")


def test_a_problem_json_of_another_task_says_nothing(house: Path) -> None:
    (house / "problem.json").write_text(json.dumps({"task": "text-generation", "target": {"names": 5}}), "utf-8")
    assert bind(house, "tabular-regression").target.names == ["LABEL_0"]


def test_without_problem_json_the_config_of_0_1_0_says_the_names(house: Path) -> None:
    (house / "problem.json").unlink()
    config = json.loads((house / "config.json").read_text(encoding="utf-8"))
    (house / "config.json").write_text(json.dumps({**config, "id2label": {"0": "price"}, "label2id": {"price": 0}}))
    assert find_optional_file(house, "problem.json") is None
    assert bind(house, "tabular-regression").target.names == ["price"]


@pytest.mark.parametrize(
    "folder", sorted(path.parent for path in CARDS.glob("*/problem.json")), ids=lambda path: path.name
)
def test_a_released_problem_comes_back_as_it_was_saved(folder: Path, tmp_path: Path) -> None:
    saved = json.loads((folder / "problem.json").read_text(encoding="utf-8"))
    assert saved["task"] in list_tasks()
    bind(folder, saved["task"]).save_state(tmp_path)
    assert json.loads((tmp_path / "problem.json").read_text(encoding="utf-8")) == saved
    assert saved["target"].keys() <= get_task(saved["task"])().target.state_fields.keys()
