"""Where a recipe comes from (a family's defaults, a release, a checkpoint to fine-tune), and what it says when checked.

`recipe.py` is what a recipe may say; here it meets the families, the tasks and the checkpoints.
"""

import dataclasses
import os
from pathlib import Path
from typing import Any

from . import checkpoint, families
from .errors import HubmodelsError
from .fields import check_names, option_fields, option_values, parse_section
from .recipe import DataArguments, Recipe, TrainingArguments
from .tasks import Task, get_task


def parse_recipe(recipe: Recipe) -> tuple[DataArguments, Task, TrainingArguments]:
    """Check a recipe before any data are read. The values of model fields are checked where the model is built.

    Returns:
        The arguments of its data section, its task with its options, and the arguments of its training section.
    """
    task_class = get_task(recipe.task)
    families.check_family(recipe.family)
    families.check_requires(recipe.family, recipe.task, task_class.requires)
    check_names(recipe.model, families.config_fields(recipe.family), "model")  # before the data are read
    data_arguments, task = parse_section(recipe.data, "data", DataArguments, task_class)
    data_arguments.carve = data_arguments.carve or task.carve
    (arguments,) = parse_section(recipe.training, "training", TrainingArguments)
    if arguments.freeze_backbone and not recipe.model_name_or_path:
        raise HubmodelsError(
            "freeze_backbone keeps the body of a trained checkpoint: name it with --model_name_or_path, or leave "
            "freeze_backbone out"
        )
    arguments.metric_for_best_model = arguments.metric_for_best_model or task.main_metric
    if arguments.greater_is_better is None:  # the task says it of its main metric only
        if arguments.metric_for_best_model != task.main_metric:
            raise HubmodelsError(
                f"metric_for_best_model is {arguments.metric_for_best_model}: say with greater_is_better (true or "
                f"false) whether a larger one is better, or leave both out for {task.main_metric}"
            )
        arguments.greater_is_better = task.greater_is_better
    return data_arguments, task, arguments


def fill_recipe(recipe: Recipe, config: Any) -> Recipe:
    """Return a recipe with every default filled in that is a value.

    Args:
        recipe: what was given.
        config: of the model that was built by it, which holds the defaults of the network.
    """
    data_arguments, task, arguments = parse_recipe(recipe)
    values = config.to_dict()
    model = {name: values[name] for name in families.config_fields(recipe.family) if name in values}
    decided = set(task.decided_fields) - recipe.model.keys()
    sections = {
        "data": option_values(data_arguments) | option_values(task),
        "model": {name: value for name, value in model.items() if name not in decided},
        "training": option_values(arguments),
    }
    # None is no value: something is left out, or found in the data.
    given = {section: {n: v for n, v in values.items() if v is not None} for section, values in sections.items()}
    data, network, training = given["data"], given["model"], given["training"]
    return dataclasses.replace(recipe, data=data, model=network, training=training)


def read_recipe(model_name_or_path: str) -> Recipe:
    """Return the recipe of a release, from its folder or the Hub. Raises HubmodelsError where there is none."""
    return Recipe.load(checkpoint.find_file(model_name_or_path, "recipe.yaml"))


def default_recipe(family: str, task: str) -> Recipe:
    """Return the family's defaults for a task, for data that has no recipe yet."""
    families.check_family(family)
    get_task(task)
    return Recipe.from_dict(
        {"family": family, "task": task, **families.family_recipe(family, task)}, f"{family}/recipe.yaml"
    )


def finetuning_recipe(model_name_or_path: str, task: str | None = None) -> Recipe:
    """Return the recipe for fine-tuning a checkpoint: its family and task (or another one), with the family's defaults.

    Its network stays, and for the same task its options: how inputs are encoded belongs to the network. Which columns
    are read, and how labels stand in them, does not."""
    parent = read_recipe(model_name_or_path)
    recipe = default_recipe(parent.family, task or parent.task)
    recipe.model = {}
    if recipe.task == parent.task:
        options = [
            name for name in option_fields(get_task(recipe.task)) if "_column" not in name and name != "label_separator"
        ]
        recipe.data |= {name: parent.data[name] for name in options if name in parent.data}
    recipe.model_name_or_path = model_name_or_path
    return recipe


def require_output_dir(recipe: Recipe) -> None:
    """Give a run that names no folder one of its own: runs/<family>-<data set>."""
    if not recipe.training.get("output_dir"):
        dataset = str(recipe.data.get("dataset") or "").rstrip("/").replace("sklearn:", "").split("/")[-1]
        dataset = Path(dataset).stem if os.path.isfile(recipe.data.get("dataset") or "") else dataset
        if not dataset:
            raise HubmodelsError("no data set: give --dataset a Hub id, a folder, a file or sklearn:NAME")
        recipe.training["output_dir"] = os.fspath(Path("runs", f"{recipe.family}-{dataset}"))
