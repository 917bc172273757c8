"""Matches: pairs of an image and a text, whatever model gives a vector of each, measured by retrieval.

Of all texts of a split, where does an image's own stand by similarity, and of all images a text's? Rank 1 is the
nearest; texts that are equally near share the mean of their ranks.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ...report import Figure
from ..contract.parts import FittedTarget, Target

if TYPE_CHECKING:
    import datasets

    from ..contract.types import Batch, ModelOutput, Rows

RECALLS = (1, 5, 10)
WAYS = {"image_to_text": "image to text", "text_to_image": "text to image"}


@dataclass(kw_only=True)
class Matches(Target):
    """Holds the options of matching images and texts: there are none, the inputs are their own target."""

    main_metric: ClassVar[str] = "image_to_text_recall_at_5"
    greater_is_better: ClassVar[bool] = True
    shares: ClassVar[tuple[str, ...]] = tuple(f"{way}_recall_at_{k}" for way in WAYS for k in RECALLS)
    metric_names: ClassVar[dict[str, str]] = {
        **{f"{way}_recall_at_{k}": f"{name}, recall@{k}" for way, name in WAYS.items() for k in RECALLS},
        **{f"{way}_median_rank": f"{name}, median rank" for way, name in WAYS.items()},
    }

    def fit(self, train: "datasets.Dataset", columns: list[str]) -> "FittedMatches":
        """Take nothing from the rows."""
        return FittedMatches(options=self)

    def restore(self, config: Mapping[str, Any], state: Mapping[str, Any]) -> "FittedMatches":
        """Take nothing from the checkpoint."""
        return FittedMatches(options=self)


@dataclass(kw_only=True)
class FittedMatches(FittedTarget[Matches]):
    """Pairs that a model has not seen."""

    def predict(self, outputs: "ModelOutput", batch: "Batch") -> "Batch":
        """Return the two vectors of each pair, of unit length, `image_embeds` and `text_embeds` (B, E)."""
        return {"image_embeds": outputs.image_embeds, "text_embeds": outputs.text_embeds}

    def relate(self, rows: "Rows") -> "Rows":
        """Rank each pair among all pairs (see `rank_pairs`)."""
        from .match_rows import rank_pairs

        return rank_pairs(rows["image_embeds"], rows["text_embeds"])

    def metrics(self, rows: "Rows") -> dict[str, float]:
        """Compute the share of the pairs among the 1, 5 and 10 nearest, and the median rank, in both ways."""
        import numpy as np

        ranks = {way: rows[f"{way}_ranks"] for way in WAYS}
        recalls = {f"{way}_recall_at_{k}": float((ranks[way] <= k).mean()) for way in WAYS for k in RECALLS}
        return recalls | {f"{way}_median_rank": float(np.median(ranks[way])) for way in WAYS}

    def figures(self, rows: "Rows") -> Iterator[Figure]:
        """Draw the recall by the number of texts or images that are looked at."""
        from ..figures.matches import recall_plot

        yield recall_plot({name: rows[f"{way}_ranks"] for way, name in WAYS.items()})
