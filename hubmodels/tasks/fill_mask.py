"""Filling masks: predicting tokens that were hidden in a text, from both sides (Devlin et al. 2019, arXiv:1810.04805).

The texts of all rows become one stream of tokens, cut into windows of `context_length` tokens. 15 % of the tokens of a
window are chosen, of which 80 % are masked, 10 % replaced by any token and 10 % left: in training each epoch anew, in
an evaluation by a function of the window's tokens alone, so that numbers repeat, whatever the batch.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import HubmodelsError
from ..fields import option
from ..report import Baseline, Examination, Figure
from ._packing import PackedTextTask
from ._text import UNDERSTANDING_TOKENS, printable, tokenize

if TYPE_CHECKING:
    import numpy as np
    import torch

    from ._unbound import Batch, Rows

MASKED, REPLACED = 0.8, 0.1  # shares of the chosen tokens that become the mask, and any token
BASELINE_TOKENS = 5_000_000  # of training text that the baseline counts
BASELINE_PLACES = 20_000  # hidden tokens on which the baseline's weights are chosen
EM_STEPS = 30
NUMBERS_AT_ONCE = 2**25  # probabilities that the baseline has in memory
EXAMPLES = 12  # lines of the figure
CONTEXT_CHARACTERS = 34  # on each side of a hidden token in the figure


@dataclass(kw_only=True)
class FillMask(PackedTextTask):
    """A text in which tokens are hidden, and these tokens."""

    tag: ClassVar[str] = "fill-mask"
    head: ClassVar[str] = "ForMaskedLM"
    main_metric: ClassVar[str] = "loss"
    greater_is_better: ClassVar[bool] = False
    metric_names: ClassVar[dict[str, str]] = {
        "loss": "loss (nats per hidden token)",
        "perplexity": "perplexity",
        "accuracy": "accuracy",
    }
    special_tokens: ClassVar[dict[str, str]] = UNDERSTANDING_TOKENS

    mlm_probability: float = option(0.15, "share of tokens that are hidden, in (0, 1)")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.mlm_probability < 1:
            raise ValueError(f"mlm_probability must be between 0 and 1 (both excluded), got {self.mlm_probability}")

    def load_processor(self, path: str, **kwargs: Any) -> Any:
        tokenizer = super().load_processor(path, **kwargs)
        if tokenizer.mask_token_id is None:
            raise HubmodelsError(f"the tokenizer at {path} has no mask token, which fill-mask needs; choose another")
        return tokenizer

    def pack(self, texts: list[str], processor: Any) -> "list[np.ndarray]":
        """The tokens of each text between the tokenizer's own special tokens (`<s>` and `</s>`)."""
        import numpy as np

        found = tokenize(processor, texts)
        return [np.array(tokens if text else [], dtype=np.int32) for text, tokens in zip(texts, found, strict=True)]

    # ---------------------------------------------------------------- rows -> tensors

    def transform(
        self, processor: Any, config_values: dict[str, Any], *, training: bool
    ) -> "Callable[[Batch, torch.Generator | None], Batch]":
        """`input_ids` with hidden tokens, and `labels` that have these tokens where they are hidden, -100 elsewhere,
        both (B, L)."""
        import torch

        special = torch.tensor(sorted(set(processor.all_special_ids)))
        mask, size = processor.mask_token_id, config_values["vocab_size"]

        def hide(batch: "Batch", generator: "torch.Generator | None" = None) -> "Batch":
            tokens = batch["input_ids"].long()
            if training:
                drawn = torch.rand(3, *tokens.shape, generator=generator, device=tokens.device)
            else:
                drawn = content_numbers(tokens, 3)
            input_ids, labels = hide_tokens(
                tokens, drawn, torch.isin(tokens, special.to(tokens.device)), mask, size, self.mlm_probability
            )
            return {"input_ids": input_ids, "labels": labels}

        return hide

    # ---------------------------------------------------------------- results

    def predict(self, outputs: Any, batch: "Batch") -> "Batch":
        """Of each window the number of hidden tokens `tokens`, how many were found, `hits`, and the sum of their losses
        in nats, `losses`, each (B,)."""
        import torch
        from torch.nn.functional import cross_entropy

        labels = batch["labels"]
        rows, _ = places = (labels != -100).nonzero(as_tuple=True)
        logits, wanted = outputs.logits[places].float(), labels[places]  # (M, V), (M,)
        zeros = torch.zeros(len(labels), device=labels.device)
        return {
            "losses": zeros.index_add(0, rows, cross_entropy(logits, wanted, reduction="none")),
            "hits": zeros.index_add(0, rows, (logits.argmax(dim=-1) == wanted).float()),
            "tokens": zeros.index_add(0, rows, torch.ones_like(wanted, dtype=torch.float32)),
        }

    def metrics(self, rows: "Rows", config_values: dict[str, Any]) -> dict[str, float]:
        """Over the hidden tokens: mean loss, its exponential, and the share that is the most probable token."""
        import numpy as np

        total = rows["tokens"].sum(dtype=np.float64)
        loss = rows["losses"].sum(dtype=np.float64) / total
        return {
            "loss": float(loss),
            "perplexity": float(np.exp(min(loss, 700))),
            "accuracy": float(rows["hits"].sum(dtype=np.float64) / total),
        }

    def baseline(self, train: Any, test: Any, processor: Any, config_values: dict[str, Any], seed: int) -> Baseline:
        """A mixture of the token's frequency and its frequencies after its left and before its right neighbour, which
        it sees as the network does. The weights are those that fit hidden tokens of the last tenth of the training
        windows best (expectation maximisation); these windows are counted afterwards."""
        import numpy as np

        started = time.perf_counter()
        size = config_values["vocab_size"]
        hide = self.transform(processor, config_values, training=False)
        stream = train.tensor("input_ids").numpy().astype(np.int64)
        note = f" ({BASELINE_TOKENS:,} of {len(stream):,} training tokens)" if len(stream) > BASELINE_TOKENS else ""
        stream = stream[:BASELINE_TOKENS]
        count = len(stream) - max(2, len(stream) // 10)
        held = np.flatnonzero(train.starts.numpy() >= count)
        held = held if len(held) else np.array([len(train) - 1])
        neighbours, wanted, _ = hidden_neighbours(train, hide, held)
        model = Neighbours(stream[:count], size)
        model.fit_weights(neighbours[:BASELINE_PLACES], wanted[:BASELINE_PLACES])
        model = Neighbours(stream, size, model.weights)
        neighbours, wanted, rows = hidden_neighbours(test, hide, np.arange(len(test)))
        losses, hits = model.score(neighbours, wanted)
        result = {
            "losses": np.bincount(rows, losses, len(test)).astype(np.float32),
            "hits": np.bincount(rows, hits, len(test)).astype(np.float32),
            "tokens": np.bincount(rows, minlength=len(test)).astype(np.float32),
        }
        return Baseline(
            name=f"mixture of unigrams and left and right bigrams{note}",
            rows=result,
            seconds=time.perf_counter() - started,
        )

    def plots(self, rows: "Rows", columns: Any, processor: Any, config_values: dict[str, Any]) -> Iterator[Figure]:
        """None: what can be seen needs the model (see `examine`)."""
        return iter(())

    def examine(
        self,
        model: Any,
        columns: dict[str, Any],
        transform: "Callable[[Batch, torch.Generator | None], Batch]",
        processor: Any,
        config_values: dict[str, Any],
        seed: int,
    ) -> Examination:
        """Hidden tokens of the test text with what the model would put in their place."""
        import torch

        test = columns["test"]
        device = next(model.parameters()).device
        places = torch.linspace(0, len(test) - 1, EXAMPLES).round().long().unique()
        lines = []
        for place in places:
            raw = test.batch(place[None])
            batch = {name: value.to(device) for name, value in transform(raw, None).items()}
            labels = batch["labels"][0]
            hidden = (labels != -100).nonzero()[:, 0]
            middle = int(hidden[len(hidden) // 2])
            scores = model(**{name: value for name, value in batch.items() if name != "labels"}).logits[0, middle]
            shares, best = scores.float().softmax(dim=-1).topk(min(3, len(scores)))
            tokens = raw["input_ids"][0].tolist()
            lines.append(
                (
                    printable(processor.decode(tokens[:middle]))[-CONTEXT_CHARACTERS:],
                    processor.decode(tokens[middle : middle + 1]),
                    printable(processor.decode(tokens[middle + 1 :]))[:CONTEXT_CHARACTERS],
                    [(processor.decode([int(token)]), float(share)) for token, share in zip(best, shares, strict=True)],
                )
            )
        caption = (
            "Hidden tokens of the test text (blue) and the three most probable ones in the model's eyes. The places "
            "were not chosen; more tokens are hidden around each."
        )
        return Examination(figures=[Figure(name="hidden_tokens", caption=caption, figure=_examples_figure(lines))])

    def golden_inputs(self, processor: Any, config_values: dict[str, Any]) -> "Batch":
        """Two fixed rows of token numbers, every fifth one masked."""
        import torch

        length = min(self.context_length, 32)
        numbers = torch.arange(2 * length)
        tokens = (numbers * numbers // 7 % config_values["vocab_size"]).view(2, length)
        tokens[:, ::5] = processor.mask_token_id
        return {"input_ids": tokens}

    def example(self) -> str:
        return (
            "import hubmodels  # makes transformers know the family\n"
            "from transformers import pipeline\n"
            "\n"
            'fill = pipeline("fill-mask", model="{model_id}")\n'
            'print(fill("The " + fill.tokenizer.mask_token + " of it"))  # [{"token_str": ..., "score": ...}, ...]\n'
        )


def hide_tokens(
    tokens: "torch.Tensor", drawn: "torch.Tensor", kept: "torch.Tensor", mask: int, vocab_size: int, share: float
) -> "tuple[torch.Tensor, torch.Tensor]":
    """Input with hidden tokens and labels, -100 where nothing is hidden.

    Args:
        tokens: (B, L) int64.
        drawn: (3, B, L) numbers in [0, 1): which are chosen, what becomes of them, and by what they are replaced.
        kept: (B, L) bool, tokens that are never hidden.
        mask: number of the mask token.
        vocab_size: tokens that a replacement is drawn from.
        share: of tokens that are chosen; of a row that can have a hidden token at least one is.
    """
    import torch

    order = drawn[0].masked_fill(kept, 2.0)
    chosen = (order < share) | (order == order.min(dim=1, keepdim=True).values)
    chosen &= ~kept
    replaced = (drawn[2] * vocab_size).long().clamp(max=vocab_size - 1)
    inputs = torch.where(drawn[1] < MASKED, mask, torch.where(drawn[1] < MASKED + REPLACED, replaced, tokens))
    return torch.where(chosen, inputs, tokens), torch.where(chosen, tokens, -100)


def content_numbers(tokens: "torch.Tensor", count: int) -> "torch.Tensor":
    """(count, B, L) numbers in [0, 1) that depend on the tokens of their own row (B, L) alone: a hash of the row, mixed
    with the place (SplitMix64's finaliser; Steele et al. 2014)."""
    import torch

    places = torch.arange(1, tokens.shape[1] + 1, device=tokens.device)
    row = _mix(tokens * 0x9E3779B1 + places).sum(dim=1, keepdim=True)  # wraps around in 64 bits
    numbers = torch.arange(1, count + 1, device=tokens.device)[:, None, None]
    mixed = _mix(row[None] + places * 0x632BE5AB + numbers * 0x2545F491_4F6CDD1D)
    return ((mixed >> 11) & (2**53 - 1)).double().mul(2.0**-53).float().clamp(max=1 - 2**-24)


def _mix(values: "torch.Tensor") -> "torch.Tensor":
    values = (values ^ ((values >> 30) & (2**34 - 1))) * (0xBF58476D1CE4E5B9 - 2**64)
    values = (values ^ ((values >> 27) & (2**37 - 1))) * (0x94D049BB133111EB - 2**64)
    return values ^ ((values >> 31) & (2**33 - 1))


def hidden_neighbours(
    columns: Any, hide: "Callable[[Batch, None], Batch]", windows: "np.ndarray"
) -> "tuple[np.ndarray, np.ndarray, np.ndarray]":
    """The visible tokens to the left and right of each hidden one (M, 2), -1 at a window's end, the hidden tokens (M,)
    and their windows (M,)."""
    import numpy as np
    import torch

    parts = []
    for numbers in torch.from_numpy(windows).split(1000):
        batch = hide(columns.batch(numbers), None)
        rows, places = (batch["labels"] != -100).nonzero(as_tuple=True)
        padded = torch.nn.functional.pad(batch["input_ids"], (1, 1), value=-1)
        pairs = torch.stack([padded[rows, places], padded[rows, places + 2]], dim=1)
        parts.append((pairs.numpy(), batch["labels"][rows, places].numpy(), numbers[rows].numpy()))
    pairs, wanted, rows = (np.concatenate(values) for values in zip(*parts, strict=True))
    return pairs, wanted, rows


class Neighbours:
    """p(token) = w0 / V + w1 p(token) + w2 p(token | left) + w3 p(token | right), from counts of a text.

    Args:
        tokens: the text, (N,) int64.
        vocab_size: V.
        weights: (w0, w1, w2, w3), which sum to 1.
    """

    def __init__(self, tokens: "np.ndarray", vocab_size: int, weights: "np.ndarray | None" = None) -> None:
        import numpy as np
        from scipy.sparse import csr_matrix

        self.vocab_size = vocab_size
        self.weights = np.full(4, 0.25) if weights is None else weights
        self.unigrams = np.bincount(tokens, minlength=vocab_size) / len(tokens)
        ones = np.ones(max(len(tokens) - 1, 0))
        self.after, self.before = (
            self._shares(csr_matrix((ones, pair), shape=(vocab_size, vocab_size)))
            for pair in ((tokens[:-1], tokens[1:]), (tokens[1:], tokens[:-1]))
        )

    def _shares(self, counts: Any) -> Any:
        from scipy.sparse import diags

        totals = counts.sum(axis=1).A1 if hasattr(counts.sum(axis=1), "A1") else counts.sum(axis=1)
        return (diags(1 / totals.clip(min=1)) @ counts).tocsr()

    def _parts(self, neighbours: "np.ndarray") -> "np.ndarray":
        """(M, 4, V) probabilities; where a neighbour is unknown, the token's own frequency stands for its share."""
        import numpy as np

        M, V = len(neighbours), self.vocab_size
        parts = np.empty((M, 4, V))
        parts[:, 0], parts[:, 1] = 1 / V, self.unigrams
        for place, (side, table) in enumerate(((neighbours[:, 0], self.after), (neighbours[:, 1], self.before))):
            found = table[side.clip(min=0)].toarray()
            unknown = (side < 0) | (found.sum(axis=1) == 0)
            found[unknown] = self.unigrams
            parts[:, 2 + place] = found
        return parts

    def _batches(self, count: int) -> "Iterator[slice]":
        step = max(1, NUMBERS_AT_ONCE // (4 * self.vocab_size))
        return (slice(start, start + step) for start in range(0, count, step))

    def fit_weights(self, neighbours: "np.ndarray", wanted: "np.ndarray") -> None:
        """Choose the weights under which these hidden tokens are most probable."""
        import numpy as np

        parts = []
        for some in self._batches(len(wanted)):
            found = self._parts(neighbours[some])
            parts.append(found[np.arange(len(found)), :, wanted[some]])
        shares = np.concatenate(parts)  # (M, 4)
        for _ in range(EM_STEPS):
            mixed = shares * self.weights
            self.weights = (mixed / mixed.sum(axis=1, keepdims=True)).mean(axis=0)

    def score(self, neighbours: "np.ndarray", wanted: "np.ndarray") -> "tuple[np.ndarray, np.ndarray]":
        """Of each hidden token minus its log probability in nats, and whether it is the most probable, (M,) each."""
        import numpy as np

        losses, hits = [], []
        for some in self._batches(len(wanted)):
            mixed = np.einsum("mkv,k->mv", self._parts(neighbours[some]), self.weights)
            losses.append(-np.log(mixed[np.arange(len(mixed)), wanted[some]]))
            hits.append(mixed.argmax(axis=1) == wanted[some])
        return np.concatenate(losses), np.concatenate(hits).astype(np.float64)


def _examples_figure(lines: list[tuple[str, str, str, list[tuple[str, float]]]]) -> Any:
    """Each line: the text before, the hidden token, the text after, and the model's tokens with their probabilities."""
    import warnings

    from ..figures import BLUE, house_style, new_figure

    width = 16  # characters for a hidden token
    with house_style(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a box stands in its place
        figure, axes = new_figure(9.6, 0.4 + 0.24 * len(lines))
        axes.axis("off")
        axes.set(xlim=(0, 130), ylim=(len(lines), 0))
        style = {"family": "DejaVu Sans Mono", "size": 8, "va": "center", "parse_math": False, "in_layout": False}
        for place, (before, hidden, after, found) in enumerate(lines):
            shown = repr(hidden)[1:-1] if not hidden.strip() else printable(hidden).strip()
            text = shown[:width].center(width)
            guesses = "  ".join(f"{repr(token)[1:-1][:12].strip() or '␣'} {share:.2f}" for token, share in found)
            axes.text(0, place + 0.5, before.rjust(CONTEXT_CHARACTERS), color="#262626", **style)
            axes.text(0, place + 0.5, " " * CONTEXT_CHARACTERS + text, color=BLUE, **style)
            axes.text(0, place + 0.5, " " * (CONTEXT_CHARACTERS + width) + after, color="#262626", **style)
            axes.text(0, place + 0.5, " " * (2 * CONTEXT_CHARACTERS + width + 2) + guesses, color=BLUE, **style)
        figure.canvas.draw()  # here, where its warnings are caught
    return figure
