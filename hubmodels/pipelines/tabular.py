"""Pipelines on tables: `pipeline("tabular-classification", model=...)` and `pipeline("tabular-regression", model=...)`.

They take a row as a mapping or a pandas Series, a list of rows, a pandas DataFrame, a data set of `datasets`, a pyarrow
Table, or the path of a CSV, JSON-lines or Parquet file. All rows go through the processor at once and through the model
in batches.
"""

import os
from collections.abc import Mapping
from typing import Any

import torch
from transformers.pipelines.base import Pipeline

from .. import abilities
from ._files import read_file

DEFAULT_BATCH_SIZE = 2_048  # larger ones leave the processor's caches: 8,192 rows are half as fast


class TabularPipeline(Pipeline):
    """Share what both pipelines do. A single row gives one answer, everything else a list of them, in order."""

    _load_processor = True
    _load_tokenizer = _load_feature_extractor = _load_image_processor = False

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
        """Encode all rows of a table by the processor."""
        return dict(self.processor(table, return_tensors="pt"))

    def _forward(self, batch: dict[str, torch.Tensor]) -> Any:
        return self.model(**batch)


class TabularClassificationPipeline(TabularPipeline):
    """Give each row's `label`, its `score` (probability) and all `probabilities`.

    Of an ensemble there is the `uncertainty` too: the standard deviation of the score over the members. A multi-label
    model's rows also have `labels`, all of a probability of at least 1/2; `label` is the likeliest one."""

    def postprocess(self, outputs: Any) -> list[dict[str, Any]]:
        names = list(self.model.config.id2label.values())
        multi = self.model.config.problem_type == "multi_label_classification"
        logits = outputs["logits"].float()
        probabilities = logits.sigmoid() if multi else logits.softmax(dim=-1)
        scores, classes = probabilities.max(dim=-1)
        answers = [
            {"label": names[number], "score": score, "probabilities": dict(zip(names, row, strict=True))}
            for number, score, row in zip(classes.tolist(), scores.tolist(), probabilities.tolist(), strict=True)
        ]
        if multi:
            for answer in answers:
                answer["labels"] = [name for name, value in answer["probabilities"].items() if value >= 0.5]
        if (spread := abilities.spread(outputs)) is not None:
            uncertainties = spread.float().gather(1, classes[:, None])[:, 0]
            for answer, value in zip(answers, uncertainties.tolist(), strict=True):
                answer["uncertainty"] = value
        return answers


class TabularRegressionPipeline(TabularPipeline):
    """Give each row's `prediction`, a mapping where there are several targets.

    A model with quantiles gives `low` and `high` too, an ensemble the `uncertainty`: the standard deviation over the
    members."""

    def postprocess(self, outputs: Any) -> list[dict[str, Any]]:
        columns = {"prediction": outputs["logits"]}
        if (quantiles := abilities.quantile_values(outputs)) is not None:
            columns |= {"low": quantiles.amin(dim=-1), "high": quantiles.amax(dim=-1)}
        if (spread := abilities.spread(outputs)) is not None:
            columns["uncertainty"] = spread
        names = list(self.model.config.id2label.values())
        lists = {column: values.float().tolist() for column, values in columns.items()}
        return [
            {
                column: row[0] if len(names) == 1 else dict(zip(names, row, strict=True))
                for column, row in zip(lists, rows, strict=True)
            }
            for rows in zip(*lists.values(), strict=True)
        ]


def is_column(values: Any) -> bool:
    """Tell whether a mapping's value is a column of many values, not the value of one row."""
    return hasattr(values, "__len__") and not isinstance(values, str | bytes) and getattr(values, "ndim", 1) > 0


PIPELINES = {
    "tabular-classification": (TabularClassificationPipeline, "ForTabularClassification"),
    "tabular-regression": (TabularRegressionPipeline, "ForTabularRegression"),
}
