"""The next token of a stream, after each of its tokens: labels, losses, metrics.

Of each window losses are summed over at most 16 segments of even size: enough to see what the tokens before are worth.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ...report import Figure
from ..contract.parts import FittedTarget, Target

if TYPE_CHECKING:
    import datasets
    import numpy as np
    import torch

    from ..contract.types import Batch, ModelOutput, Rows

NUM_SEGMENTS = 16  # of a window
LOGITS_AT_ONCE = 2**24  # numbers of float32 logits that are in memory beside the model's own
IGNORED = -100  # the label of what is not predicted


@dataclass(kw_only=True)
class NextTokens(Target):
    """Holds the options of predicting next tokens: there are none."""

    main_metric: ClassVar[str] = "loss"
    greater_is_better: ClassVar[bool] = False
    metric_names: ClassVar[dict[str, str]] = {"loss": "loss (nats per token)", "perplexity": "perplexity"}

    def fit(self, train: "datasets.Dataset", columns: list[str]) -> "FittedNextTokens":
        """Take nothing of the rows: the input is its own target."""
        return FittedNextTokens(options=self)

    def restore(self, config: Mapping[str, Any], state: Mapping[str, Any]) -> "FittedNextTokens":
        """Make what `fit` gave."""
        return FittedNextTokens(options=self)


@dataclass(kw_only=True)
class FittedNextTokens(FittedTarget[NextTokens]):
    """Next tokens."""

    def shift(self, tokens: "torch.Tensor") -> "Batch":
        """Return all tokens but the last as `input_ids`, all but the first as `shift_labels`, of windows (B, L + 1)."""
        return {"input_ids": tokens[:, :-1], "shift_labels": tokens[:, 1:]}

    def predict(self, outputs: "ModelOutput", batch: "Batch") -> "Batch":
        """Return summed `losses` in nats, and the number of predicted `tokens`, of each segment of a window, (B, S)."""
        import torch
        from torch.nn.functional import cross_entropy

        labels = batch["shift_labels"]
        B, L = labels.shape
        step = max(1, LOGITS_AT_ONCE // (L * outputs.logits.shape[-1]))
        losses = torch.cat(
            [
                cross_entropy(logits.float().transpose(1, 2), some, reduction="none", ignore_index=IGNORED)
                for logits, some in zip(outputs.logits.split(step), labels.split(step), strict=True)
            ]
        )  # (B, L)
        segments = segment_numbers(L, labels.device).expand(B, L)
        zeros = torch.zeros(B, int(segments.max()) + 1, device=labels.device)
        return {
            "losses": zeros.scatter_add(1, segments, losses),
            "tokens": zeros.scatter_add(1, segments, (labels != IGNORED).float()),
        }

    def metrics(self, rows: "Rows") -> dict[str, float]:
        """Compute the mean loss over the predicted tokens, and its exponential."""
        import numpy as np

        loss = rows["losses"].sum(dtype=np.float64) / rows["tokens"].sum(dtype=np.float64)
        return {"loss": float(loss), "perplexity": float(np.exp(min(loss, 700)))}

    def figures(self, rows: "Rows") -> Iterator[Figure]:
        """Draw the loss by the position in the window."""
        from ..figures.streams import position_figure

        if rows["losses"].shape[1] > 1:
            yield Figure(
                name="loss_by_position",
                caption="Loss by the place of the predicted token in its window on the test text: how much the model "
                "gains from the tokens before.",
                figure=position_figure(rows),
            )


def segment_numbers(length: int, device: Any = None) -> "torch.Tensor":
    """Return the segment of a window that each of its positions belongs to, (length,) int64: at most 16 even ones."""
    import torch

    return torch.arange(length, device=device) * min(length, NUM_SEGMENTS) // length


def window_rows(losses: "np.ndarray", positions: "np.ndarray") -> "Rows":
    """Return what `predict` gives, for classical methods.

    Args:
        losses: of each token of the stream, (N,) in nats.
        positions: of the predicted tokens of each window in the stream, (W, L).
    """
    import numpy as np

    num_windows, length = positions.shape
    borders = np.flatnonzero(np.diff(segment_numbers(length).numpy(), prepend=-1))
    counts = np.diff(borders, append=length)
    return {
        "losses": np.add.reduceat(losses[positions], borders, axis=1).astype(np.float32),
        "tokens": np.tile(counts, (num_windows, 1)).astype(np.float32),
    }
