"""Pipelines on tables: `pipeline("tabular-classification", model=...)` and `pipeline("tabular-regression", model=...)`.

They take one row (a mapping, a pandas Series) or many: a list of rows, a pandas DataFrame, a data set of `datasets`, a
pyarrow Table. The path of a CSV, JSON-lines or Parquet file will do too. All rows go through the processor at once and
through the model in batches. What they tell is what `hubmodels predict` tells, a mapping a row.
"""

import os
from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar

import torch
from transformers.pipelines.base import Pipeline

from ..tasks import AnyProblem
from ._answers import answer_rows, bind_pipeline
from ._files import read_file

DEFAULT_BATCH_SIZE = 2_048  # larger ones leave the processor's caches: 8,192 rows are half as fast


class TabularPipeline(Pipeline):
    """What both pipelines share. A single row gives one answer, everything else a list of them, in order."""

    tag: ClassVar[str]

    _load_processor = True
    _load_tokenizer = _load_feature_extractor = _load_image_processor = False

    @cached_property
    def problem(self) -> AnyProblem:
        """Return the task, bound to the pipeline's model and processor."""
        return bind_pipeline(self.tag, self.model, self.processor)

    def _sanitize_parameters(self, **kwargs: Any) -> tuple[dict, dict, dict]:
        return {}, {}, {}

    def __call__(self, inputs: Any, batch_size: int | None = None, **kwargs: Any) -> Any:
        """Predict rows.

        Args:
            inputs: see this module's head.
            batch_size: rows in one forward pass.

        Raises:
            ValueError: a column is missing or holds the wrong kind of values, or the file's kind is unknown.
        """
        table = read_file(inputs) if isinstance(inputs, str | os.PathLike) else inputs
        if hasattr(table, "to_dict") and hasattr(table, "index") and not hasattr(table, "columns"):
            table = table.to_dict()  # a row of pandas
        one = isinstance(table, Mapping) and not any(map(is_column, table.values()))
        answers = []
        encoded = self.preprocess(table)
        size = batch_size or self._batch_size or DEFAULT_BATCH_SIZE
        for start in range(0, len(next(iter(encoded.values()))), size):
            batch = {name: values[start : start + size] for name, values in encoded.items()}
            answers += self.postprocess(self.forward(batch))
        return answers[0] if one else answers

    def preprocess(self, table: Any) -> dict[str, torch.Tensor]:
        return dict(self.processor(table, return_tensors="pt"))

    def _forward(self, batch: dict[str, torch.Tensor]) -> Any:
        return self.model(**batch)

    def postprocess(self, outputs: Any) -> list[dict[str, Any]]:
        return [self.describe_row(answer) for answer in answer_rows(self.problem.answers(outputs))]

    def describe_row(self, answer: dict[str, Any]) -> dict[str, Any]:
        """Put the answer of a row, which has a name for each column of a file, into the pipeline's own words."""
        raise NotImplementedError


class TabularClassificationPipeline(TabularPipeline):
    """Tell of each row its `label`, the `score` (probability) of that, and all `probabilities`.

    Of an ensemble also the `uncertainty`: the standard deviation of the score over the members. A multi-label model's
    rows also have `labels`, all of a probability of at least 1/2; `label` is the likeliest one."""

    tag = "tabular-classification"

    def describe_row(self, answer: dict[str, Any]) -> dict[str, Any]:
        probabilities = {name: answer[f"probability_{name}"] for name in self.problem.class_names()}
        label = max(probabilities, key=probabilities.__getitem__)
        told = {"label": label, "score": probabilities[label], "probabilities": probabilities}
        if self.problem.target.config_fields()["problem_type"] == "multi_label_classification":
            told["labels"] = [name for name, value in probabilities.items() if value >= 0.5]
        for name in ("uncertainty", f"uncertainty_{label}"):  # of the class, or of each label
            if name in answer:
                told["uncertainty"] = answer[name]
        return told


class TabularRegressionPipeline(TabularPipeline):
    """Tell of each row the `prediction`, a mapping where there are several targets.

    Of a model with at least two quantiles also `low` and `high`, the outer ones. Of an ensemble also the `uncertainty`,
    the standard deviation over the members."""

    tag = "tabular-regression"

    def describe_row(self, answer: dict[str, Any]) -> dict[str, Any]:
        target = self.problem.target
        if len(target.names) == 1:
            return answer
        told: dict[str, Any] = {}
        for what in ("prediction", "low", "high", "uncertainty"):
            names = {name: target.answer_name(what, index) for index, name in enumerate(target.names)}
            if all(column in answer for column in names.values()):
                told[what] = {name: answer[column] for name, column in names.items()}
        return told


def is_column(values: Any) -> bool:
    """Tell whether a value of a mapping is a column of values, not the value of a row."""
    return hasattr(values, "__len__") and not isinstance(values, str | bytes) and getattr(values, "ndim", 1) > 0


PIPELINES = {
    "tabular-classification": (TabularClassificationPipeline, "ForTabularClassification"),
    "tabular-regression": (TabularRegressionPipeline, "ForTabularRegression"),
}
