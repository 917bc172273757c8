"""Bind a task to a checkpoint: what predicts, evaluates and answers in a pipeline is one and the same problem."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import checkpoint
from .errors import HubmodelsError, one_line
from .fields import build, convert, option_fields
from .recipe import Recipe
from .report import Note
from .tasks import AnyProblem, Task, get_task
from .tasks.contract.problem import PROBLEM_FILE


def bind_checkpoint(
    path_or_id: str | os.PathLike, task: Task, config: Mapping[str, Any], *, processor: Any = None, seed: int = 0
) -> AnyProblem:
    """Bind a task to a checkpoint's processor, config and problem.json.

    Args:
        path_or_id: the checkpoint's folder or Hub id.
        task: with the options of its recipe (see `task_of_checkpoint`).
        config: what its config.json holds.
        processor: in the place of the checkpoint's own.
        seed: of everything that is drawn when the model is measured.

    Raises:
        HubmodelsError: problem.json is damaged, or there is no processor that fits the options.
    """
    path = os.fspath(path_or_id)
    fitted_input = task.input.bind(processor) if processor is not None else task.input.load(path)
    content = read_problem_file(path, task)
    problem = task.bind(fitted_input, config, content.get("target", {}), seed)
    problem.reading, problem.notes = content.get("reading", {}), content.get("notes", [])
    return problem


def task_of_checkpoint(path_or_id: str | os.PathLike, tag: str) -> Task:
    """Make a task with the options of a checkpoint's recipe; with the defaults where it has no recipe of this task."""
    task_class = get_task(tag)
    recipe_file = checkpoint.find_optional_file(path_or_id, "recipe.yaml")
    recipe = Recipe.load(recipe_file) if recipe_file else None
    if recipe is None or recipe.task != tag:
        return task_class.from_options()
    options = option_fields(task_class)
    return task_class.from_options(**{name: value for name, value in recipe.data.items() if name in options})


def read_problem_file(path_or_id: str | os.PathLike, task: Task) -> dict[str, Any]:
    """Return what a checkpoint's problem.json holds, its target's values checked.

    That is nothing for one of 0.1.0, or of another task.

    Raises HubmodelsError where the file is damaged, or holds what the target does not."""
    problem_file = checkpoint.find_optional_file(path_or_id, PROBLEM_FILE)
    if problem_file is None:
        return {}
    try:
        content = json.loads(Path(problem_file).read_text(encoding="utf-8"))
        if content["task"] != task.tag:
            return {}
        kinds = task.target.state_fields
        target = {name: convert(value, kinds[name], name) for name, value in dict(content["target"]).items()}
        notes = [build(Note, said) for said in content.get("notes", [])]
        return {"target": target, "reading": dict(content.get("reading", {})), "notes": notes}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise HubmodelsError(
            f"{PROBLEM_FILE} of {path_or_id} is damaged ({one_line(error, 100)}): download or train the model again"
        ) from None
