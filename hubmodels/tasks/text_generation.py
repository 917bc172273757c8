"""Text generation: predicting the next token of a text. Losses, the n-gram baseline and samples.

The texts of all rows become one stream of tokens, cut into windows of `context_length` + 1 tokens: the first
`context_length` are the input, the last `context_length` what is to be predicted, so that windows that follow each
other share one token and each token of the stream but the first is predicted once. Less than one window at the end of a
split is left out.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import HubmodelsError
from ..report import Baseline, Examination, Figure
from ._packing import PackedTextTask
from ._text import GENERATION_TOKENS, printable, token_characters, tokenize

if TYPE_CHECKING:
    import numpy as np
    import torch

    from ._unbound import Batch, Rows

NUM_PARTS = 16  # of a window, over which losses are summed
LOGITS_AT_ONCE = 2**24  # numbers of float32 logits that are in memory beside the model's own
# The baseline: longest n-grams that are tried, and tokens of training text that it counts.
MAX_ORDER = 8
BASELINE_TOKENS = 5_000_000
PROMPT_TOKENS = 32  # of the test text that a sample goes on from
SAMPLE_TOKENS = 240  # of a sample, prompt not counted
NUM_SAMPLES = 3
SAMPLE_COLUMNS = 96  # characters in a line of the figure
SAMPLE_LINES = 14  # of one sample in the figure
SAMPLE_TEMPERATURE = 0.8


@dataclass(kw_only=True)
class TextGeneration(PackedTextTask):
    """A text, and the one that goes on from it."""

    tag: ClassVar[str] = "text-generation"
    head: ClassVar[str] = "ForCausalLM"
    main_metric: ClassVar[str] = "loss"
    greater_is_better: ClassVar[bool] = False
    metric_names: ClassVar[dict[str, str]] = {
        "loss": "loss (nats per token)",
        "perplexity": "perplexity",
        "bits_per_character": "bits per character",
    }
    special_tokens: ClassVar[dict[str, str]] = GENERATION_TOKENS
    overlap: ClassVar[int] = 1
    # How many characters each token stands for: `transform` notes it for `predict`, which has no tokenizer.
    characters: ClassVar[tuple[int, ...]] = ()

    def pack(self, texts: list[str], processor: Any) -> "list[np.ndarray]":
        """The tokens of each text. The end-of-text token stands after every text, except after one that ends in a line
        break: it is a line of a text that goes on in the next row."""
        import numpy as np

        if processor.eos_token_id is None:
            raise HubmodelsError(
                "the tokenizer has no end-of-text token to stand between texts; choose another --tokenizer"
            )
        found = tokenize(processor, texts, add_special_tokens=False)
        ends = [[processor.eos_token_id] if text and not text.endswith("\n") else [] for text in texts]
        return [np.array(tokens + end, dtype=np.int32) for tokens, end in zip(found, ends, strict=True)]

    # ---------------------------------------------------------------- rows -> tensors

    def transform(
        self, processor: Any, config_values: dict[str, Any], *, training: bool
    ) -> "Callable[[Batch, torch.Generator | None], Batch]":
        """Of each window all tokens but the last as `input_ids`, and all but the first as `shift_labels`, (B, L)."""
        self.characters = tuple(token_characters(processor))

        def shift(batch: "Batch", generator: "torch.Generator | None" = None) -> "Batch":
            tokens = batch["input_ids"].long()
            return {"input_ids": tokens[:, :-1], "shift_labels": tokens[:, 1:]}

        return shift

    # ---------------------------------------------------------------- results

    def predict(self, outputs: Any, batch: "Batch") -> "Batch":
        """Of each window, summed over each of its at most 16 parts, the losses in nats `losses` (B, P) and the number
        of predicted tokens `tokens` (B, P); and the `characters` (B,) that these stand for."""
        import torch
        from torch.nn.functional import cross_entropy

        labels = batch["shift_labels"]
        B, L = labels.shape
        step = max(1, LOGITS_AT_ONCE // (L * outputs.logits.shape[-1]))
        losses = torch.cat(
            [
                cross_entropy(logits.float().transpose(1, 2), some, reduction="none", ignore_index=-100)
                for logits, some in zip(outputs.logits.split(step), labels.split(step), strict=True)
            ]
        )  # (B, L)
        counted = labels != -100
        characters = torch.tensor(self.characters, device=labels.device)[labels.clamp(min=0)] * counted
        parts = part_numbers(L, labels.device).expand(B, L)
        zeros = torch.zeros(B, int(parts.max()) + 1, device=labels.device)
        return {
            "losses": zeros.scatter_add(1, parts, losses),
            "tokens": zeros.scatter_add(1, parts, counted.float()),
            "characters": characters.sum(dim=1),
        }

    def metrics(self, rows: "Rows", config_values: dict[str, Any]) -> dict[str, float]:
        """Over the predicted tokens: mean loss, its exponential, and the loss in bits over the characters."""
        import numpy as np

        total = rows["losses"].sum(dtype=np.float64)
        loss = total / rows["tokens"].sum(dtype=np.float64)
        characters = rows["characters"].sum()
        return {
            "loss": float(loss),
            "perplexity": float(np.exp(min(loss, 700))),
            "bits_per_character": float(total / characters / math.log(2)) if characters else math.nan,
        }

    def baseline(self, train: Any, test: Any, processor: Any, config_values: dict[str, Any], seed: int) -> Baseline:
        """An n-gram model on the training tokens (see `NgramModel`), which sees all tokens before the one that it
        predicts, also those before the window. Its order is chosen on the last tenth of the training tokens."""
        import numpy as np

        from ._ngrams import NgramModel

        started = time.perf_counter()
        size = config_values["vocab_size"]
        tokens = train.tensor("input_ids").numpy()
        name = ""
        if len(tokens) > BASELINE_TOKENS:
            name = f" ({BASELINE_TOKENS:,} of {len(tokens):,} training tokens)"
            tokens = tokens[:BASELINE_TOKENS]
        count = len(tokens) - max(1, len(tokens) // 10)
        scores = []
        # One model of the longest order would not do: the counts of its shorter n-grams are of another kind.
        for order in range(1, MAX_ORDER + 1):
            scores.append(NgramModel(tokens[:count], size, order).losses(tokens)[count:].mean())
            if len(scores) > 1 and scores[-1] > scores[-2]:
                break
        order = int(np.argmin(scores)) + 1
        stream = test.tensor("input_ids").numpy()
        losses = NgramModel(tokens, size, order).losses(stream)
        rows = window_rows(losses, stream, test.starts.numpy(), test.length, token_characters(processor))
        return Baseline(name=f"Kneser-Ney {order}-gram model{name}", rows=rows, seconds=time.perf_counter() - started)

    def plots(self, rows: "Rows", columns: Any, processor: Any, config_values: dict[str, Any]) -> Iterator[Figure]:
        """The loss by the place in the window."""
        if rows["losses"].shape[1] > 1:
            yield Figure(
                name="loss_by_position",
                caption="Loss by the place of the predicted token in its window on the test text: how much the model "
                "gains from the tokens before.",
                figure=_position_figure(rows, self.context_length),
            )

    def examine(
        self,
        model: Any,
        columns: dict[str, Any],
        transform: "Callable[[Batch, torch.Generator | None], Batch]",
        processor: Any,
        config_values: dict[str, Any],
        seed: int,
    ) -> Examination:
        """Three samples, each going on from the beginning of a window of the test text."""
        import torch

        test = columns["test"]
        places = torch.linspace(0, len(test) - 1, NUM_SAMPLES).round().long().unique()
        device = next(model.parameters()).device
        prompts = test.batch(places)["input_ids"].long()[:, : min(PROMPT_TOKENS, self.context_length)].to(device)
        limit = getattr(model.config, "max_position_embeddings", None) or math.inf
        count = min(SAMPLE_TOKENS, limit - prompts.shape[1])
        if count < 1:
            return Examination()
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            tokens = model.generate(
                prompts,
                attention_mask=torch.ones_like(prompts),
                max_new_tokens=count,
                do_sample=True,
                temperature=SAMPLE_TEMPERATURE,
                top_k=0,
            )
        texts = [
            (processor.decode(prompt), processor.decode(row[len(prompt) :], skip_special_tokens=True))
            for prompt, row in zip(prompts, tokens, strict=True)
        ]
        figure = _samples_figure(texts)
        return Examination(
            figures=[
                Figure(
                    name="samples",
                    caption=f"Texts that the model generated (black) from beginnings out of the test text (blue), at "
                    f"the temperature {SAMPLE_TEMPERATURE}, seed {seed}; not chosen.",
                    figure=figure,
                )
            ]
        )

    def golden_inputs(self, processor: Any, config_values: dict[str, Any]) -> "Batch":
        """Two fixed rows of token numbers."""
        import torch

        length = min(self.context_length, 32)
        numbers = torch.arange(2 * length)
        return {"input_ids": (numbers * numbers // 7 % config_values["vocab_size"]).view(2, length)}

    def example(self) -> str:
        return (
            "import hubmodels  # makes transformers know the family\n"
            "from transformers import pipeline\n"
            "\n"
            'generate = pipeline("text-generation", model="{model_id}")\n'
            'print(generate("The ", max_new_tokens=200, do_sample=True)[0]["generated_text"])\n'
        )


def part_numbers(length: int, device: Any = None) -> "torch.Tensor":
    """The part of a window that each of its places belongs to, (length,) int64: at most 16 parts of even size."""
    import torch

    return torch.arange(length, device=device) * min(length, NUM_PARTS) // length


def window_rows(
    losses: "np.ndarray", stream: "np.ndarray", starts: "np.ndarray", length: int, characters: list[int]
) -> "Rows":
    """What `predict` gives, from the loss of each token of a stream (N,): for classical methods."""
    import numpy as np

    places = starts[:, None] + np.arange(1, length)  # of the predicted tokens
    parts = part_numbers(length - 1).numpy()
    borders = np.flatnonzero(np.diff(parts, prepend=-1))
    counts = np.diff(borders, append=length - 1)
    return {
        "losses": np.add.reduceat(losses[places], borders, axis=1).astype(np.float32),
        "tokens": np.tile(counts, (len(starts), 1)).astype(np.float32),
        "characters": np.array(characters)[stream[places]].sum(axis=1),
    }


def _position_figure(rows: "Rows", context_length: int) -> Any:
    from ..figures import BLUE, house_style, new_figure

    means = rows["losses"].sum(axis=0) / rows["tokens"].sum(axis=0).clip(min=1)
    with house_style():
        figure, axes = new_figure(6.0, 3.2)
        width = context_length / len(means)
        axes.step([place * width for place in range(len(means) + 1)], [*means, means[-1]], where="post", color=BLUE)
        axes.set(xlabel="tokens before, in the window", ylabel="loss (nats per token)", xlim=(0, context_length))
        axes.grid(axis="y")
    return figure


def _samples_figure(texts: list[tuple[str, str]]) -> Any:
    """Each pair of a prompt and what was generated as typewritten text."""
    import warnings

    from ..figures import BLUE, GREY, house_style, new_figure

    samples = []  # of each one its lines: (text of the prompt, generated text)
    for prompt, text in texts:
        lines = _wrap(prompt + text)
        left, found = len(prompt), []
        for line, length in lines[:SAMPLE_LINES]:
            here = min(max(left, 0), len(line))
            found.append((line[:here], line[here:]))
            left -= length
        samples.append(found)
    count = sum(map(len, samples)) + len(samples)
    with house_style(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a box stands in its place
        figure, axes = new_figure(7.2, 0.3 + 0.16 * count)
        axes.axis("off")
        axes.set(xlim=(0, SAMPLE_COLUMNS), ylim=(count, 0))
        style = {"family": "DejaVu Sans Mono", "size": 8, "va": "center", "parse_math": False, "in_layout": False}
        place = 0.5
        for number, lines in enumerate(samples):
            if number:
                axes.axhline(place, color=GREY, linewidth=0.5)
                place += 1
            for given, generated in lines:
                axes.text(0, place, given, color=BLUE, **style)
                axes.text(0, place, " " * len(given) + generated, color="#262626", **style)
                place += 1
        figure.canvas.draw()  # here, where its warnings are caught
    return figure


def _wrap(text: str) -> list[tuple[str, int]]:
    """The lines of a text as they can be printed, and the characters of the text that each stands for."""
    lines = []
    for line in text.split("\n"):
        shown = printable(line)
        parts = [shown[start : start + SAMPLE_COLUMNS] for start in range(0, len(shown), SAMPLE_COLUMNS)] or [""]
        lines += [(part, len(part)) for part in parts[:-1]] + [(parts[-1], len(parts[-1]) + 1)]
    return lines
