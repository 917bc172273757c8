"""Pipelines on texts: transformers' own, with the answers of `hubmodels predict` for our models.

`pipeline("text-classification", model=...)` takes a text, a mapping of `text` and `text_pair`, or of the
columns that the model was trained on, or a list of either.
"""

from collections.abc import Mapping
from typing import Any

from transformers.pipelines.text_classification import TextClassificationPipeline

from ..formatting import without_surrogates
from ._answers import ProblemPipeline, named_options


class SentenceClassificationPipeline(ProblemPipeline, TextClassificationPipeline):
    """Give the likeliest class of each text, `{"label": ..., "score": ...}`, or with `top_k` a list of as many.

    Of a model of several labels it is a list of all labels.

    A text that is longer than the training texts is cut, as `hubmodels predict` cuts it, unless `truncation` is given.
    """

    tag = "text-classification"

    def known_options(self) -> list[str]:
        # transformers hands to the tokenizer what is none of its own: `max_length`, `padding`, ...
        return [*super().known_options(), *named_options(self.tokenizer.__call__), *named_options(self.tokenizer.pad)]

    def preprocess(self, inputs: Any, **tokenizer_kwargs: Any) -> Any:
        if self.ours:
            tokenizer_kwargs = {"truncation": True} | tokenizer_kwargs
            if isinstance(inputs, Mapping) and "text" not in inputs:  # a row by the names of its columns
                names = [name for name in self.problem.input_columns() or [] if name in inputs]
                inputs = dict(zip(("text", "text_pair"), (inputs[name] for name in names), strict=False)) or inputs
            if isinstance(inputs, str):
                inputs = without_surrogates(inputs)
            elif isinstance(inputs, Mapping):
                inputs = {name: without_surrogates(text) for name, text in inputs.items()}
        return super().preprocess(inputs, **tokenizer_kwargs)

    def postprocess(
        self, model_outputs: Any, function_to_apply: Any = None, top_k: int | None = 1, _legacy: bool = True
    ) -> Any:
        if function_to_apply is not None or not self.tells_classes:
            return super().postprocess(model_outputs, function_to_apply, top_k, _legacy)
        if self.tells_labels and _legacy:
            return self.likeliest_classes(model_outputs)
        likeliest = self.likeliest_classes(model_outputs, top_k)
        return likeliest[0] if _legacy else likeliest  # transformers' word for: the caller named no `top_k`


PIPELINES = {"text-classification": (SentenceClassificationPipeline, "ForSequenceClassification")}
