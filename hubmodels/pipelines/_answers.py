"""The answers of a pipeline: those of the problem, as `hubmodels predict` writes them, a mapping a row."""

import contextlib
import functools
import inspect
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar

import pyarrow
import torch
from transformers.pipelines.base import Pipeline

from ..binding import bind_checkpoint, task_of_checkpoint
from ..cpu import inference_kernels
from ..data import Reading
from ..data.reading import ROWS_PER_PIECE
from ..errors import BadRow, HubmodelsError, nearest
from ..families import family_of
from ..tasks import AnyProblem, get_task

EVERY_CALL = ("batch_size", "num_workers")  # options of transformers' Pipeline itself
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

    def _sanitize_parameters(self, **options: Any) -> tuple[dict, dict, dict]:
        """Refuse an option that nobody knows; transformers' own pipeline sorts the others."""
        self.check_options(options)
        return super()._sanitize_parameters(**options)

    def known_options(self) -> list[str]:
        """Name the options of a call: by default those that `_sanitize_parameters` and `__call__` name."""
        return [
            name
            for cls in type(self).__mro__
            for method in ("_sanitize_parameters", "__call__")
            if method in vars(cls)
            for name in named_options(vars(cls)[method])
        ]

    def check_options(self, options: Iterable[str]) -> None:
        """Refuse an option that a pipeline of our model does not know, which transformers would swallow.

        Raises HubmodelsError with the nearest name, and all names."""
        if self.ours:
            refuse_unknown_options(options, self.known_options(), self.task or self.tag)

    def read_file(self, path: str | os.PathLike) -> pyarrow.Table:
        """Read a file or a folder as those of the training were read.

        Raises HubmodelsError where there is none, or a row cannot be read."""
        table = self.reading.table(path)
        if not table.column_names:
            raise HubmodelsError(f"{os.fspath(path)} has no rows")
        return table

    @contextlib.contextmanager
    def naming_rows_of(self, path: str | os.PathLike | None) -> Iterator[None]:
        """Say errors about a row inside the block in the words of the file that was read; of None as they are."""
        try:
            yield
        except BadRow as error:
            if path is None:
                raise
            first = 0
            for piece in self.reading.pieces(path, ROWS_PER_PIECE):
                if error.row < first + len(piece.table):
                    raise error.named(piece.words(error.row - first)) from None
                first += len(piece.table)
            raise

    @property
    def reading(self) -> Reading:
        """Return how the files of the training were read."""
        return Reading.from_dict(self.problem.reading)

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


def named_options(function: Callable[..., Any]) -> list[str]:
    """Name the parameters of a function that have a default, `**options` not among them."""
    parameters = inspect.signature(function).parameters.values()
    return [one.name for one in parameters if one.default is not inspect.Parameter.empty]


def refuse_unknown_options(given: Iterable[str], known: Iterable[str], tag: str) -> None:
    """Refuse what is none of the options of a task's pipeline.

    Raises HubmodelsError with the nearest name, and all names."""
    allowed = sorted({*known, *EVERY_CALL})
    for name in given:
        if name not in allowed:
            raise HubmodelsError(
                f"the pipeline {tag} has no option {name!r}{nearest(name, allowed)}; its options are "
                f"{', '.join(allowed)}"
            )


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
    return rows_of({name: values.tolist() for name, values in answers.items()})


def rows_of(columns: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
    """Give columns as rows."""
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
