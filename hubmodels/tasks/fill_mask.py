"""Filling masks: predicting tokens that were hidden in a text, from both sides (Devlin et al. 2019, arXiv:1810.04805).

The texts of all rows become one stream of tokens, cut into windows of `context_length` tokens, in which a share of the
tokens is hidden.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ..fields import part
from ..report import Baseline, Examination, Figure
from .contract.problem import Problem, Task
from .inputs.streams import EnclosedTexts, FittedEnclosedTexts
from .targets.hidden_tokens import IGNORED, FittedHiddenTokens, HiddenTokens

if TYPE_CHECKING:
    import torch

    from .contract.types import Batch, EncodedColumns, Transform

NUM_EXAMPLES = 12  # lines of the figure
NUM_GUESSES = 3


class FillMaskProblem(Problem["FillMask", FittedEnclosedTexts, FittedHiddenTokens]):
    """Texts with hidden tokens."""

    def transform(self, *, training: bool) -> "Transform":
        """Return the hiding of tokens: `input_ids`, and `labels` that have the hidden ones, -100 elsewhere, (B, L).

        In training they are drawn, in an evaluation a function of the window's tokens."""
        import torch

        from .inputs.tokenizers import special_ids
        from .targets.hidden_tokens import content_numbers, hide_tokens

        widen, special = self.input.transform(training=training), special_ids(self.input.tokenizer)
        mask, vocab_size = self.input.tokenizer.mask_token_id, self.input.config_fields()["vocab_size"]
        share = self.task.target.mlm_probability

        def hide(batch: "Batch", generator: "torch.Generator | None" = None) -> "Batch":
            tokens = widen(batch, generator)["input_ids"]
            if training:
                drawn = torch.rand(3, *tokens.shape, generator=generator, device=tokens.device)
            else:
                drawn = content_numbers(tokens, 3)
            return hide_tokens(tokens, drawn, torch.isin(tokens, special.to(tokens.device)), mask, vocab_size, share)

        return hide

    def baseline(self, train: "EncodedColumns", test: "EncodedColumns") -> Baseline:
        """Fit a mixture of the token's frequency and its frequencies beside its neighbours (see `neighbours`)."""
        from .baselines.neighbours import neighbours_baseline

        vocab_size = self.input.config_fields()["vocab_size"]
        train_starts, _ = self.input.windows(train)
        return neighbours_baseline(train, test, train_starts.numpy(), self.transform(training=False), vocab_size)

    def examine(self, model: Any, columns: Mapping[str, "EncodedColumns"]) -> Examination:
        """Draw hidden tokens of the test text with what the model would put in their stead."""
        import torch

        from .figures.streams import CONTEXT_CHARACTERS, Guess, guesses_figure, printable

        test, decode, hide = columns["test"], self.input.tokenizer.decode, self.transform(training=False)
        device = next(model.parameters()).device
        guesses = []
        for row in torch.linspace(0, len(test) - 1, NUM_EXAMPLES).round().long().unique():
            encoded = test.batch(row[None])
            batch = {name: value.to(device) for name, value in hide(encoded, None).items()}
            hidden = (batch.pop("labels")[0] != IGNORED).nonzero()[:, 0]
            middle = int(hidden[len(hidden) // 2])
            scores = model(**batch).logits[0, middle]
            shares, best = scores.float().softmax(dim=-1).topk(min(NUM_GUESSES, len(scores)))
            tokens = encoded["input_ids"][0].tolist()
            guesses.append(
                Guess(
                    before=printable(decode(tokens[:middle]))[-CONTEXT_CHARACTERS:],
                    hidden=decode(tokens[middle : middle + 1]),
                    after=printable(decode(tokens[middle + 1 :]))[:CONTEXT_CHARACTERS],
                    tokens=[
                        (decode([token]), share) for token, share in zip(best.tolist(), shares.tolist(), strict=True)
                    ],
                )
            )
        caption = (
            "Hidden tokens of the test text (blue) and the three most probable ones in the model's eyes. The places "
            "were not chosen; more tokens are hidden around each."
        )
        return Examination(figures=[Figure(name="hidden_tokens", caption=caption, figure=guesses_figure(guesses))])


@dataclass(kw_only=True)
class FillMask(Task):
    """A text in which tokens are hidden, and these tokens."""

    tag: ClassVar[str] = "fill-mask"
    head: ClassVar[str] = "ForMaskedLM"
    problem_class: ClassVar[type[Problem]] = FillMaskProblem
    requires: ClassVar[tuple[str, ...]] = ("vocab_size",)
    windowed: ClassVar[bool] = True
    carve: ClassVar[str] = "last"  # lines of a file follow each other

    input: EnclosedTexts = part(EnclosedTexts)
    target: HiddenTokens = part(HiddenTokens)

    def window_shift(self) -> int:
        """Return up to one token less than a window: its borders mean nothing."""
        return self.input.context_length - 1

    def example(self) -> str:
        """Return lines that use transformers' own pipeline."""
        return (
            "import hubmodels  # makes transformers know the family\n"
            "from transformers import pipeline\n"
            "\n"
            'fill = pipeline("fill-mask", model="{model_id}")\n'
            'print(fill("The " + fill.tokenizer.mask_token + " of it"))  # [{"token_str": ..., "score": ...}, ...]\n'
        )
