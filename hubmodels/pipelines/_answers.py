"""The answers of a pipeline: those of the problem, as `hubmodels predict` writes them, a mapping a row."""

from collections.abc import Mapping
from typing import Any

from ..binding import bind_checkpoint, task_of_checkpoint
from ..tasks import AnyProblem, get_task


def bind_pipeline(tag: str, model: Any, processor: Any) -> AnyProblem:
    """Bind a task to a pipeline's model and processor, by what lies beside the model's weights.

    A model that was never saved has nothing beside it: its task has the default options."""
    path, config = model.name_or_path, model.config.to_dict()
    if path:
        problem = bind_checkpoint(path, task_of_checkpoint(path, tag), config, processor=processor)
    else:
        task = get_task(tag).from_options()
        problem = task.bind(task.input.bind(processor), config, {})
    problem.know_model(model.config)
    return problem


def answer_rows(answers: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the answers row by row, in plain Python values."""
    columns = {name: values.tolist() for name, values in answers.items()}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
