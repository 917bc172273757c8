"""Measuring images before and after: the classical filters, pictures, and the quality over the strength of noise."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ...report import Baseline, Figure
from ..baselines.filters import Filter, choose_filters
from ..contract.rows import draw_rows, model_device
from ..figures.charts import curves_figure
from ..figures.pictures import picture_rows
from ..inputs.image_noise import row_strengths
from ..targets.picture_quality import quality_rows

if TYPE_CHECKING:
    from ..contract.types import EncodedColumns, Transform

CHOOSING_ROWS = 280  # training images on which the filters' strengths are chosen
CURVE_ROWS, CURVE_BLOCK = 700, 100  # test images of the figure over strengths of noise, and of one forward pass
SHOWN_COLUMNS = 12
FILTER_ROWS = 500  # at once through a filter


@dataclass
class ImagePairs:
    """Images as they are and as they should be, from encoded rows, with the noise of evaluation where it is made."""

    transform: "Transform"
    strengths: Sequence[float] | None  # the least and the greatest of the noise that is made; None of given pairs
    seed: int

    def pairs(self, columns: "EncodedColumns", rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the images of some rows as they are and as they should be, each (B, C, H, W) in 0..1."""
        batch = self.transform(columns.batch(rows), None)
        return batch["pixel_values"], batch["labels"]

    def filters(self, train: "EncodedColumns") -> list[Filter]:
        """Choose the classical filters on training images; the last is none at all."""
        images, targets = self.pairs(train, draw_rows(train, CHOOSING_ROWS, self.seed))
        return choose_filters(images, lambda drawn: float(quality_rows(drawn, targets)["psnr"].mean()))

    def baseline(self, train: "EncodedColumns", test: "EncodedColumns") -> Baseline:
        """Apply each filter to the test rows; the best on training images comes first."""
        baselines = []
        for item in sorted(self.filters(train), key=lambda item: -item.score):
            started = time.perf_counter()
            blocks = []
            for numbers in torch.arange(len(test)).split(FILTER_ROWS):
                images, targets = self.pairs(test, numbers)
                blocks.append(quality_rows(item.apply(images), targets))
            rows = {name: torch.cat([block[name] for block in blocks]).numpy() for name in blocks[0]}
            baselines.append(Baseline(name=item.name, rows=rows, seconds=time.perf_counter() - started))
        first, *first.others = baselines
        return first

    def figures(self, model: Any, train: "EncodedColumns | None", test: "EncodedColumns") -> list[Figure]:
        """Draw test images before and after and, where noise is made, the PSNR over its strength.

        Args:
            model: in eval mode.
            train: for the filters; they are left out when None.
            test: the images.
        """
        device = model_device(model)

        def network(images: Tensor) -> Tensor:
            return model(pixel_values=images.to(device)).reconstruction.float().cpu()

        filters = self.filters(train)[:2] if train is not None else []
        figures = [self._pictures(network, filters, test)]
        if self.strengths is not None:
            figures.append(self._curves(network, filters, test, self.strengths))
        return figures

    def _pictures(self, network: Callable[[Tensor], Tensor], filters: list[Filter], test: "EncodedColumns") -> Figure:
        """Draw the first test images as they are, after the best filter, after the network, and as they should be."""
        best = max(filters, key=lambda item: item.score) if filters else None
        shown, words = np.arange(min(len(test), SHOWN_COLUMNS)), []
        if self.strengths is not None:
            strengths = row_strengths(shown, self.strengths)
            shown = shown[np.argsort(strengths, kind="stable")]
            words = [f"{strength:.2f}" for strength in np.sort(strengths)]
        images, targets = self.pairs(test, torch.from_numpy(shown))
        made = self.strengths is not None
        kinds = [("noisy" if made else "given", images)] + ([("filter", best.apply(images))] if best else [])
        kinds += [("network", network(images)), ("clean" if made else "target", targets)]
        names, values = zip(*kinds, strict=True)
        caption = f"Test images {'with noise of the strength above' if made else 'as given'}, "
        caption += f"after {best.name}, " if best else ""
        caption += f"after the network, and {'clean' if made else 'their targets'}."
        return Figure("denoised", caption, picture_rows(torch.stack(values).numpy(), names, words))

    def _curves(
        self,
        network: Callable[[Tensor], Tensor],
        filters: list[Filter],
        test: "EncodedColumns",
        strengths: Sequence[float],
    ) -> Figure:
        """Draw the PSNR of network, filters and the images as they are over the strength of the noise."""
        rows = torch.arange(min(len(test), CURVE_ROWS))
        row_levels = row_strengths(test.batch(rows)["rows"].numpy(), strengths)
        images, targets = self.pairs(test, rows)
        levels = np.unique(row_levels)
        ways = [("network", network), *((item.name.partition(" (")[0], item.apply) for item in filters)]
        ways.append(("as given", lambda images: images))
        curves = []
        for name, apply in ways:
            blocks = zip(images.split(CURVE_BLOCK), targets.split(CURVE_BLOCK), strict=True)
            scores = torch.cat([quality_rows(apply(block), clean)["psnr"] for block, clean in blocks]).numpy()
            curves.append((name, np.array([scores[row_levels == level].mean() for level in levels])))
        return Figure(
            name="strengths",
            caption=f"PSNR over the strength of the noise, {len(row_levels):,} test images.",
            figure=curves_figure(levels, curves, "strength of the noise", "PSNR, dB"),
        )
