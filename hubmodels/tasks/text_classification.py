"""Text classification: a text, or a pair of them, and its class, or its labels."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..fields import part
from ..report import Baseline, Figure
from .contract.problem import Problem, Task
from .inputs.texts import FittedTexts, Texts
from .targets.several_labels import FittedLabels, FittedSeveralLabels, SeveralLabels

if TYPE_CHECKING:
    import torch

    from .contract.types import Batch, EncodedColumns, Predict, Transform


class TextClassificationProblem(Problem["TextClassification", FittedTexts, FittedLabels]):
    """Texts with their classes, or with their labels."""

    def transform(self, *, training: bool) -> "Transform":
        """Return what the input does; which text a token is of goes to models that have a vector for it alone."""
        prepare = self.input.transform(training=training)
        with_types = bool(self.model_values.get("type_vocab_size"))

        def select(batch: "Batch", generator: "torch.Generator | None" = None) -> "Batch":
            prepared = prepare(batch, generator)
            return (
                prepared
                if with_types
                else {name: values for name, values in prepared.items() if name != "token_type_ids"}
            )

        return select

    def baseline(self, train: "EncodedColumns", test: "EncodedColumns") -> Baseline:
        """Fit logistic regression and naive Bayes on TF-IDF of words; the better one is the baseline."""
        from .baselines.texts import words_baseline

        target = self.target
        return words_baseline(self.input.decode, train, test, len(target.names), target.probability_rows, self.seed)

    def explain(self, predict: "Predict", columns: "EncodedColumns") -> Iterator[Figure]:
        """Draw the words that speak most for each class: what leaving one out of a test text costs; none of labels."""
        from .figures.texts import word_influence, words_plots

        if isinstance(self.target, FittedSeveralLabels):
            return iter(())
        return words_plots(word_influence(predict, columns, self.input.tokenizer), self.target.names)


@dataclass(kw_only=True)
class TextClassification(Task):
    """One text or pair of texts, one class; or several labels, as the columns say (see `SeveralLabels`)."""

    tag: ClassVar[str] = "text-classification"
    head: ClassVar[str] = "ForSequenceClassification"
    problem_class: ClassVar[type[Problem]] = TextClassificationProblem
    requires: ClassVar[tuple[str, ...]] = ("vocab_size",)
    model_fields: ClassVar[tuple[str, ...]] = ("type_vocab_size",)

    input: Texts = part(Texts)
    target: SeveralLabels = part(SeveralLabels)

    def example(self) -> str:
        """Return lines that use transformers' own pipeline."""
        return (
            "import hubmodels  # makes transformers know the family\n"
            "from transformers import pipeline\n"
            "\n"
            'classify = pipeline("text-classification", model="{model_id}")\n'
            'print(classify(["a text", "another text"], truncation=True))  # [{"label": ..., "score": ...}, ...]\n'
        )
