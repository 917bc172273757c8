"""Hidden tokens of a text: which are hidden, labels, losses, metrics (Devlin et al. 2019, arXiv:1810.04805).

Of the chosen tokens 80 % are masked, 10 % replaced by any token and 10 % left: in training each epoch anew, in an
evaluation by a function of the window's tokens alone, so that numbers repeat, whatever the batch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ...fields import option
from ..contract.parts import FittedTarget, Target

if TYPE_CHECKING:
    import datasets
    import torch

    from ..contract.types import Batch, ModelOutput, Rows

MASKED, REPLACED = 0.8, 0.1  # shares of the chosen tokens that become the mask, and any token
IGNORED = -100  # the label of what is not hidden


@dataclass(kw_only=True)
class HiddenTokens(Target):
    """Holds the options of hiding tokens."""

    main_metric: ClassVar[str] = "loss"
    greater_is_better: ClassVar[bool] = False
    metric_names: ClassVar[dict[str, str]] = {
        "loss": "loss (nats per hidden token)",
        "perplexity": "perplexity",
        "accuracy": "accuracy",
    }

    mlm_probability: float = option(0.15, "share of tokens that are hidden, in (0, 1)")

    def __post_init__(self) -> None:
        if not 0 < self.mlm_probability < 1:
            raise ValueError(f"mlm_probability must be between 0 and 1 (both excluded), got {self.mlm_probability}")

    def fit(self, train: "datasets.Dataset", columns: list[str]) -> "FittedHiddenTokens":
        """Take nothing of the rows: the input is its own target."""
        return FittedHiddenTokens(options=self)

    def restore(self, config: Mapping[str, Any], state: Mapping[str, Any]) -> "FittedHiddenTokens":
        """Make what `fit` gave."""
        return FittedHiddenTokens(options=self)


@dataclass(kw_only=True)
class FittedHiddenTokens(FittedTarget[HiddenTokens]):
    """Hidden tokens."""

    def predict(self, outputs: "ModelOutput", batch: "Batch") -> "Batch":
        """Return of each window its hidden `tokens`, how many were told, `hits`, and their summed `losses` in nats.

        Each is (B,)."""
        import torch
        from torch.nn.functional import cross_entropy

        labels = batch["labels"]
        rows, _ = hidden = (labels != IGNORED).nonzero(as_tuple=True)
        logits, hidden_tokens = outputs.logits[hidden].float(), labels[hidden]  # (M, V), (M,)
        zeros = torch.zeros(len(labels), device=labels.device)
        return {
            "losses": zeros.index_add(0, rows, cross_entropy(logits, hidden_tokens, reduction="none")),
            "hits": zeros.index_add(0, rows, (logits.argmax(dim=-1) == hidden_tokens).float()),
            "tokens": zeros.index_add(0, rows, torch.ones_like(hidden_tokens, dtype=torch.float32)),
        }

    def metrics(self, rows: "Rows") -> dict[str, float]:
        """Compute mean loss and its exponential over the hidden tokens, and the share that is the most probable."""
        import numpy as np

        total = rows["tokens"].sum(dtype=np.float64)
        loss = rows["losses"].sum(dtype=np.float64) / total
        return {
            "loss": float(loss),
            "perplexity": float(np.exp(min(loss, 700))),
            "accuracy": float(rows["hits"].sum(dtype=np.float64) / total),
        }


def hide_tokens(
    tokens: "torch.Tensor", drawn: "torch.Tensor", spared: "torch.Tensor", mask: int, vocab_size: int, share: float
) -> "Batch":
    """Hide tokens: `input_ids`, and `labels` that have the hidden tokens, -100 elsewhere, both (B, L).

    Args:
        tokens: (B, L) int64.
        drawn: (3, B, L) numbers in [0, 1): which are chosen, what becomes of them, and by what they are replaced.
        spared: (B, L) bool, tokens that are never hidden.
        mask: number of the mask token.
        vocab_size: tokens that a replacement is drawn from.
        share: of tokens that are chosen; of a row that can have a hidden token at least one is.
    """
    import torch

    order = drawn[0].masked_fill(spared, 2.0)
    chosen = (order < share) | (order == order.min(dim=1, keepdim=True).values)
    chosen &= ~spared
    replacements = (drawn[2] * vocab_size).long().clamp(max=vocab_size - 1)
    inputs = torch.where(drawn[1] < MASKED, mask, torch.where(drawn[1] < MASKED + REPLACED, replacements, tokens))
    return {"input_ids": torch.where(chosen, inputs, tokens), "labels": torch.where(chosen, tokens, IGNORED)}


def content_numbers(tokens: "torch.Tensor", count: int) -> "torch.Tensor":
    """Return numbers in [0, 1), (count, B, L), that depend on the tokens of their own row (B, L) alone.

    They are a hash of the row, mixed with the position (SplitMix64's finaliser; Steele et al. 2014)."""
    import torch

    positions = torch.arange(1, tokens.shape[1] + 1, device=tokens.device)
    row = _mix(tokens * 0x9E3779B1 + positions).sum(dim=1, keepdim=True)  # wraps around in 64 bits
    numbers = torch.arange(1, count + 1, device=tokens.device)[:, None, None]
    mixed = _mix(row[None] + positions * 0x632BE5AB + numbers * 0x2545F491_4F6CDD1D)
    return ((mixed >> 11) & (2**53 - 1)).double().mul(2.0**-53).float().clamp(max=1 - 2**-24)


def _mix(values: "torch.Tensor") -> "torch.Tensor":
    """Mix the bits of int64 numbers."""
    values = (values ^ ((values >> 30) & (2**34 - 1))) * (0xBF58476D1CE4E5B9 - 2**64)
    values = (values ^ ((values >> 27) & (2**37 - 1))) * (0x94D049BB133111EB - 2**64)
    return values ^ ((values >> 31) & (2**33 - 1))
