"""Pipelines on tables: `pipeline("tabular-classification", model=...)`, `pipeline("tabular-regression", model=...)`
and `pipeline("feature-extraction", model=...)`, which is transformers' own for models of texts.

They take one row (a mapping, a pandas Series) or many: a list of rows, a pandas DataFrame, a data set of `datasets`, a
pyarrow Table. The path of a CSV, JSON-lines or Parquet file will do too. All rows go through the processor at once and
through the model in batches. What they tell of each row is what `hubmodels predict` tells.
"""

import os
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from transformers import AutoProcessor, AutoTokenizer
from transformers.pipelines.feature_extraction import FeatureExtractionPipeline

from ..errors import HubmodelsError
from ..processors.processing_table import TabularProcessor, read_table
from ._answers import ProblemPipeline, answer_rows, named_options

DEFAULT_BATCH_SIZE = 2_048  # larger ones leave the processor's caches: 8,192 rows are half as fast


class TabularPipeline(ProblemPipeline):
    """Share what pipelines of tables do. A single row gives one answer, everything else a list of them, in order."""

    _load_processor: ClassVar[bool | None] = True
    _load_tokenizer: ClassVar[bool | None] = False
    _load_feature_extractor = _load_image_processor = False

    def _sanitize_parameters(self, **kwargs: Any) -> tuple[dict, dict, dict]:
        """Take no options but those of every call."""
        self.check_options(kwargs)
        return {}, {}, {}

    def __call__(self, inputs: Any, batch_size: int | None = None, **kwargs: Any) -> Any:
        """Predict rows.

        Args:
            inputs: see this module's head.
            batch_size: rows in one forward pass.

        Raises:
            ValueError: a column is missing or holds the wrong kind of values, the file's kind is unknown, or there is
                an option that this pipeline does not have.
        """
        self.check_options(kwargs)
        path = inputs if isinstance(inputs, str | os.PathLike) else None
        table = inputs if path is None else self.read_file(path)
        if hasattr(table, "to_dict") and hasattr(table, "index") and not hasattr(table, "columns"):
            table = table.to_dict()  # a row of pandas
        one = isinstance(table, Mapping) and not any(map(is_column, table.values()))
        answers = []
        with self.naming_rows_of(path):
            encoded = self.preprocess(table)
        size = batch_size or self._batch_size or DEFAULT_BATCH_SIZE
        for start in range(0, len(next(iter(encoded.values()))), size):
            batch = {name: values[start : start + size] for name, values in encoded.items()}
            answers += self.postprocess(self.forward(batch))
        return answers[0] if one else answers

    def preprocess(self, inputs: Any, **options: Any) -> dict[str, torch.Tensor]:
        return dict(self.processor(self.read_texts(inputs), return_tensors="pt"))

    def read_texts(self, inputs: Any) -> Any:
        """Read texts among the values as cells of the training's files were read; values with a type stay.

        Raises BadRow for a text that cannot be what its column is."""
        kinds = self.reading.kinds
        if not kinds.columns:
            return inputs
        names = self.processor.column_names
        columns, _ = read_table(inputs, names)
        if any(name not in columns for name in names):
            return inputs  # the processor says which is missing
        texts = {name: columns[name] for name in names if columns[name].dtype.kind in "OUT"}
        if not any(isinstance(value, str) for values in texts.values() for value in values):
            return inputs
        read = kinds.apply_to_values({name: values.tolist() for name, values in texts.items()})
        return {name: read.get(name, columns[name]) for name in columns if name in names}

    def _forward(self, batch: dict[str, torch.Tensor]) -> Any:
        return self.model(**batch)

    def postprocess(self, outputs: Any) -> list[Any]:
        return [self.describe_row(answer) for answer in answer_rows(self.problem.answers(outputs))]

    def describe_row(self, answer: dict[str, Any]) -> Any:
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


class TableFeaturesPipeline(TabularPipeline, FeatureExtractionPipeline):
    """Give the latents of each row, a list of numbers. A model with a tokenizer answers as transformers' own pipeline.

    Raises:
        HubmodelsError: a model of ours that reads neither texts nor tables.
    """

    tag = "feature-extraction"

    _load_processor = False  # of models of texts: they have a tokenizer; a table's is loaded below
    _load_tokenizer = None  # where there is one

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if self.tokenizer is None and not self.ours:
            self.tokenizer = AutoTokenizer.from_pretrained(self.model.name_or_path)  # says why it cannot be loaded
        if self.tokenizer is None and self.processor is None:
            self.processor = AutoProcessor.from_pretrained(self.model.name_or_path)
        if self.tokenizer is None and not isinstance(self.processor, TabularProcessor):
            raise HubmodelsError(
                f"{type(self.model).__name__} at {self.model.name_or_path!r} reads neither texts nor tables: "
                "feature-extraction needs a tokenizer or a TabularProcessor (of images: image-feature-extraction)"
            )

    def _sanitize_parameters(self, **kwargs: Any) -> tuple[dict, dict, dict]:
        self.check_options(kwargs)
        if self.tokenizer is None:
            return {}, {}, {}
        return FeatureExtractionPipeline._sanitize_parameters(self, **kwargs)

    def known_options(self) -> list[str]:
        # Of tables none; of texts those of transformers' own pipeline.
        return [] if self.tokenizer is None else named_options(FeatureExtractionPipeline._sanitize_parameters)

    def __call__(self, inputs: Any, batch_size: int | None = None, **kwargs: Any) -> Any:
        """Give the latents of rows of a table (see `TabularPipeline`), or the features of texts."""
        if self.tokenizer is None:
            return super().__call__(inputs, batch_size, **kwargs)
        return FeatureExtractionPipeline.__call__(self, inputs, batch_size=batch_size, **kwargs)

    def preprocess(self, inputs: Any, **options: Any) -> Any:
        if self.tokenizer is None:
            return {"numeric_features": super().preprocess(inputs)["numeric_features"]}  # alone, as in the task
        return FeatureExtractionPipeline.preprocess(self, inputs, **options)

    def postprocess(self, outputs: Any, return_tensors: bool = False) -> Any:
        if self.tokenizer is None:
            return super().postprocess(outputs)
        return FeatureExtractionPipeline.postprocess(self, outputs, return_tensors)

    def describe_row(self, answer: dict[str, Any]) -> list[float]:
        return list(answer.values())


def is_column(values: Any) -> bool:
    """Tell whether a value of a mapping is a column of values, not the value of a row."""
    return hasattr(values, "__len__") and not isinstance(values, str | bytes) and getattr(values, "ndim", 1) > 0


PIPELINES = {
    "feature-extraction": (TableFeaturesPipeline, "Model"),
    "tabular-classification": (TabularClassificationPipeline, "ForTabularClassification"),
    "tabular-regression": (TabularRegressionPipeline, "ForTabularRegression"),
}
