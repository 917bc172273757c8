"""Tasks: what the data mean. A task knows columns, metrics, baselines and figures, and no network.

Each task is one file here, named by its Hub tag with underscores (`image_classification.py`). It names an input
(`inputs/`), a target (`targets/`) and what is its own, in two classes: a `Task`, the options of the recipe's data
section, and a `Problem`, the task bound to data.

    task = ImageClassification.from_options(horizontal_flip=0.5)
    problem = task.fit(task.select(rows))              # or binding.bind_checkpoint(folder, config)
    problem.metrics(problem.predict(outputs, batch))   # nothing is handed on any more
"""

import importlib
import pkgutil

from ..errors import HubmodelsError, nearest
from .contract.columns import forget_absent_columns
from .contract.problem import AnyProblem, Problem, Task

__all__ = ["AnyProblem", "Problem", "Task", "forget_absent_columns", "get_task", "list_tasks"]


def list_tasks() -> list[str]:
    """List the tags of all tasks, from the file names alone: nothing is imported."""
    names = [module.name for module in pkgutil.iter_modules(__path__) if not module.ispkg]
    return sorted(name.replace("_", "-") for name in names if not name.startswith("_"))


def get_task(tag: str) -> type[Task]:
    """Return the class of the task with this tag. Raises HubmodelsError for an unknown one."""
    if tag not in list_tasks():
        names = ", ".join(list_tasks())
        raise HubmodelsError(f"unknown task {tag!r}{nearest(tag, list_tasks())}; the tasks are {names}")
    module = importlib.import_module(f".{tag.replace('-', '_')}", __name__)
    return next(
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Task) and vars(value).get("tag") == tag
    )
