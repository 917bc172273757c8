"""The answers of a pipeline: those of the problem, as `hubmodels predict` writes them, a mapping a row."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import torch
from transformers.pipelines.base import Pipeline

from ..binding import bind_checkpoint, task_of_checkpoint
from ..cpu import inference_kernels
from ..families import family_of
from ..tasks import AnyProblem, get_task

MULTI_LABEL = "multi_label_classification"  # transformers' problem_type


class ProblemPipeline(Pipeline):
    """Answer as `hubmodels predict` does of a model of ours: by its problem, through the same kernels.

    A pipeline that extends one of transformers' leaves the models of others to that one."""

    tag: ClassVar[str]  # of the task whose answers these are
    tokenizer: Any  # what the pipeline loaded of these; None of the others
    processor: Any

    @functools.cached_property
    def problem(self) -> AnyProblem:
        """Return the task, bound to the pipeline's model and to the processor that the pipeline loaded."""
        processors = (self.processor, self.image_processor, self.feature_extractor, self.tokenizer)
        return bind_pipeline(self.tag, self.model, next(one for one in processors if one is not None))

    @property
    def ours(self) -> bool:
        """Tell whether the model is of one of our families."""
        return family_of(self.model.config.model_type) is not None

    @property
    def tells_classes(self) -> bool:
        """Tell whether the model is ours, and tells one of several classes or several labels of a row, as its task."""
        config = self.model.config
        return self.ours and config.num_labels > 1 and config.problem_type != "regression"

    @property
    def tells_labels(self) -> bool:
        """Tell whether the model is ours, and each row has several labels or none: then all are told by default."""
        return self.tells_classes and self.model.config.problem_type == MULTI_LABEL

    def get_inference_context(self) -> Callable[[], contextlib.AbstractContextManager[Any]]:
        """Give what makes the block in which a batch runs, as transformers asks for it."""
        return self.inference if self.ours else super().get_inference_context()

    @contextlib.contextmanager
    def inference(self) -> Iterator[None]:
        """Run models inside the block without gradients, by the kernels of `hubmodels predict`."""
        with torch.no_grad(), inference_kernels(self.device):
            yield

    def likeliest_classes(self, outputs: Any, top_k: int | None = None) -> list[dict[str, Any]]:
        """Return `label` and `score` of the likeliest classes or labels of a row, of all when `top_k` is None."""
        answers = self.problem.answers(outputs)
        scores = {name: answers[f"probability_{name}"][0].item() for name in self.problem.class_names()}
        likeliest = sorted(scores, key=lambda name: scores[name], reverse=True)[:top_k]
        return [{"label": name, "score": scores[name]} for name in likeliest]


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
