"""Text generation: predicting the next token of a text. Bits per character, the n-gram baseline and samples.

The texts of all rows become one stream of tokens, cut into windows of `context_length` + 1 tokens. Their first
`context_length` tokens are the input, their last `context_length` what is to be predicted. So windows that follow each
other share one token, and each token of the stream but the first is predicted once.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ..abilities import longest_input
from ..fields import part
from ..report import Baseline, Examination, Figure
from .contract.problem import Problem, Task
from .inputs.streams import ContinuedTexts, FittedContinuedTexts
from .targets.next_tokens import FittedNextTokens, NextTokens

if TYPE_CHECKING:
    import torch

    from .contract.types import Batch, EncodedColumns, ModelOutput, Rows, Transform

PROMPT_TOKENS = 32  # of the test text that a sample goes on from
SAMPLE_TOKENS = 240  # of a sample, prompt not counted
NUM_SAMPLES = 3
SAMPLE_TEMPERATURE = 0.8


class TextGenerationProblem(Problem["TextGeneration", FittedContinuedTexts, FittedNextTokens]):
    """Texts that are to be continued."""

    def transform(self, *, training: bool) -> "Transform":
        """Return the cut of windows into `input_ids` and the tokens that follow them, `shift_labels`, (B, L)."""
        widen = self.input.transform(training=training)

        def shift(batch: "Batch", generator: "torch.Generator | None" = None) -> "Batch":
            return self.target.shift(widen(batch, generator)["input_ids"])

        return shift

    def predict(self, outputs: "ModelOutput", batch: "Batch") -> "Batch":
        """Return losses and tokens of each window, and the `characters` (B,) that its predicted tokens stand for."""
        labels = batch["shift_labels"]
        characters = self.input.characters.to(labels.device)[labels.clamp(min=0)] * (labels >= 0)
        return {**self.target.predict(outputs, batch), "characters": characters.sum(dim=1)}

    def metrics(self, rows: "Rows") -> dict[str, float]:
        """Compute mean loss over the predicted tokens, its exponential, and the loss in bits over the characters."""
        import numpy as np

        total, characters = rows["losses"].sum(dtype=np.float64), rows["characters"].sum()
        bits = float(total / characters / math.log(2)) if characters else math.nan
        return {**self.target.metrics(rows), "bits_per_character": bits}

    def baseline(self, train: "EncodedColumns", test: "EncodedColumns") -> Baseline:
        """Fit an n-gram model on the training tokens, its order chosen on the last tenth of them.

        It sees all tokens before the one that it predicts, also those before the window."""
        import numpy as np

        from .baselines.ngrams import fit_ngrams
        from .targets.next_tokens import window_rows

        started = time.perf_counter()
        vocab_size = self.input.config_fields()["vocab_size"]
        model, note = fit_ngrams(train.tensor("input_ids").numpy(), vocab_size)
        stream = test.tensor("input_ids").numpy()
        starts, length = self.input.windows(test)
        positions = starts.numpy()[:, None] + np.arange(1, length)  # of the predicted tokens
        rows = window_rows(model.losses(stream), positions)
        rows["characters"] = self.input.characters.numpy()[stream[positions]].sum(axis=1)
        name = f"Kneser-Ney {model.order}-gram model{note}"
        return Baseline(name=name, rows=rows, seconds=time.perf_counter() - started)

    def examine(self, model: Any, columns: Mapping[str, "EncodedColumns"]) -> Examination:
        """Draw three samples, each going on from the beginning of a window of the test text."""
        import torch

        from .figures.streams import samples_figure

        test, tokenizer = columns["test"], self.input.tokenizer
        rows = torch.linspace(0, len(test) - 1, NUM_SAMPLES).round().long().unique()
        device = next(model.parameters()).device
        prompt_length = min(PROMPT_TOKENS, self.task.input.context_length)
        prompts = test.batch(rows)["input_ids"].long()[:, :prompt_length].to(device)
        count = SAMPLE_TOKENS
        if (limit := longest_input(model.config)) is not None:
            count = min(count, limit - prompt_length)
        if count < 1:
            return Examination()
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(self.seed)
            options = {"do_sample": True, "temperature": SAMPLE_TEMPERATURE, "top_k": 0, "max_new_tokens": count}
            tokens = model.generate(prompts, attention_mask=torch.ones_like(prompts), **options)
        samples = [
            (tokenizer.decode(prompt), tokenizer.decode(row[len(prompt) :], skip_special_tokens=True))
            for prompt, row in zip(prompts, tokens, strict=True)
        ]
        caption = (
            "Texts that the model generated (black) from beginnings out of the test text (blue), at the temperature "
            f"{SAMPLE_TEMPERATURE}, seed {self.seed}; not chosen."
        )
        return Examination(figures=[Figure(name="samples", caption=caption, figure=samples_figure(samples))])


@dataclass(kw_only=True)
class TextGeneration(Task):
    """A text, and the one that goes on from it."""

    tag: ClassVar[str] = "text-generation"
    head: ClassVar[str] = "ForCausalLM"
    problem_class: ClassVar[type[Problem]] = TextGenerationProblem
    requires: ClassVar[tuple[str, ...]] = ("vocab_size",)
    windowed: ClassVar[bool] = True
    carve: ClassVar[str] = "last"  # lines of a file follow each other

    input: ContinuedTexts = part(ContinuedTexts)
    target: NextTokens = part(NextTokens)

    @property
    def metric_names(self) -> dict[str, str]:
        """Return the name of each metric in a table: tokens of text are characters too."""
        return {**self.target.metric_names, "bits_per_character": "bits per character"}

    def window_shift(self) -> int:
        """Return up to one token less than a window: its borders mean nothing."""
        return self.input.context_length - 1

    def example(self) -> str:
        """Return lines that use transformers' own pipeline."""
        return (
            "import hubmodels  # makes transformers know the family\n"
            "from transformers import pipeline\n"
            "\n"
            'generate = pipeline("text-generation", model="{model_id}")\n'
            'print(generate("The ", max_new_tokens=200, do_sample=True)[0]["generated_text"])\n'
        )
