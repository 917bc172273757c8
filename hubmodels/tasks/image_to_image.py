"""Image to image: a noisy image and the clean one (denoising).

Either the data set has clean images, and the noise that the model's config names (`noise_types`, `noise_strength`) is
made here: drawn anew for each batch in training, the same for a row in every evaluation; or it has pairs of columns,
the image as it is and as it should be (`target_column_name`).
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import HubmodelsError
from ..fields import option
from ..report import Baseline, Examination, Figure
from ._image_task import ImageTask
from .contract.columns import existing_column
from .inputs.image_files import image_column, read_pixels

if TYPE_CHECKING:
    import datasets
    import numpy as np
    import torch

    from ._unbound import Batch, Rows

CHOOSING_ROWS = 280  # training images on which the filters' strengths are chosen
CURVE_ROWS = 700  # test images of the figure over strengths of noise
SHOWN_COLUMNS = 12
FILTER_ROWS = 500  # at once through a filter


@dataclass(kw_only=True)
class ImageToImage(ImageTask):
    """An image and what it should be."""

    tag: ClassVar[str] = "image-to-image"
    head: ClassVar[str] = "ForImageToImage"
    config_fields: ClassVar[tuple[str, ...]] = ("num_channels", "image_size")
    model_fields: ClassVar[tuple[str, ...]] = ("noise_types", "noise_strength")
    main_metric: ClassVar[str] = "psnr"
    greater_is_better: ClassVar[bool] = True
    metric_names: ClassVar[dict[str, str]] = {"psnr": "PSNR (dB)", "ssim": "SSIM", "mse": "mean squared error"}

    target_column_name: str | None = option(
        None, "column of the images as they should be; when absent, the images are clean and get the model's noise"
    )
    horizontal_flip: float = option(0.0, "augmentation: probability of mirroring left to right, in [0, 1]")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.horizontal_flip <= 1:
            raise ValueError(f"horizontal_flip must be a probability between 0 and 1, got {self.horizontal_flip}")
        if self.target_column_name is not None and self.target_column_name == self.image_column_name:
            raise ValueError(f"image_column_name and target_column_name are both {self.target_column_name!r}")

    # ---------------------------------------------------------------- columns

    def select(self, dataset: "datasets.Dataset") -> "datasets.Dataset":
        """The image column and, of pairs, the target column, undecoded."""
        import datasets

        features = dataset.features
        if self.target_column_name is None:
            columns = [image_column(features, self.image_column_name)]
        else:
            target = image_column(features, existing_column(self.target_column_name, features, "target_column_name"))
            others = datasets.Features({name: kind for name, kind in features.items() if name != target})
            columns = [image_column(others, self.image_column_name), target]
        dataset = dataset.select_columns(columns)
        for name in columns:
            dataset = dataset.cast_column(name, datasets.Image(decode=False))
        return dataset

    def fit_config(self, train: "datasets.Dataset", processor: Any) -> dict[str, Any]:
        """Channels and size as the processor gives them."""
        return self.image_config(processor)

    # ---------------------------------------------------------------- rows -> tensors

    def encoded_features(self, processor: Any, config_values: dict[str, Any]) -> "datasets.Features":
        import datasets

        second = {"rows": datasets.Value("int64")}
        if self.target_column_name is not None:
            second = {"targets": self.image_feature(processor)}
        return datasets.Features(pixel_values=self.image_feature(processor), **second)

    def encode(
        self,
        rows: dict[str, list],
        row_numbers: list[int],
        features: "datasets.Features",
        processor: Any,
        config_values: dict[str, Any],
    ) -> "Rows":
        """`pixel_values` (B, C, H, W) uint8, and of pairs `targets` likewise, else the row numbers `rows` (B,) int64,
        which decide about the noise of evaluation."""
        import numpy as np

        image, *target = features
        result = {"pixel_values": read_pixels(rows[image], row_numbers, image, processor)}
        if target:
            return result | {"targets": read_pixels(rows[target[0]], row_numbers, target[0], processor)}
        return result | {"rows": np.array(row_numbers, dtype=np.int64)}

    def transform(
        self, processor: Any, config_values: dict[str, Any], *, training: bool
    ) -> "Callable[[Batch, torch.Generator | None], Batch]":
        """`pixel_values` as they are and `labels` as they should be, (B, C, H, W) in 0..1."""
        from . import _image_noise as noise

        kinds, strengths = config_values["noise_types"], config_values["noise_strength"]
        if self.target_column_name is None and not (kinds and strengths):
            raise HubmodelsError(
                "the model's config names no noise: name the column of the images as they should be with "
                "--target_column_name"
            )

        def prepare(batch: "Batch", generator: "torch.Generator | None" = None) -> "Batch":
            images = batch["pixel_values"]
            targets = batch.get("targets")
            if training and self.horizontal_flip:
                images, targets = self._flipped(images, targets, generator)
            values = processor.normalize_pixels(images)
            if targets is not None:
                return {"pixel_values": values, "labels": processor.normalize_pixels(targets)}
            if training:
                return {"pixel_values": noise.draw_noise(values, kinds, strengths, generator), "labels": values}
            if "rows" not in batch:  # images of a person who wants them without their noise
                return {"pixel_values": values}
            return {"pixel_values": noise.fixed_noise(values, batch["rows"], kinds, strengths), "labels": values}

        return prepare

    def _flipped(self, images: Any, targets: Any, generator: Any) -> tuple[Any, Any]:
        """Both images of a pair alike."""
        import torch

        from .inputs.image_augmentation import random_horizontal_flip

        if targets is None:
            return random_horizontal_flip(images, self.horizontal_flip, generator), None
        both = random_horizontal_flip(torch.cat([images, targets], dim=1), self.horizontal_flip, generator)
        images, targets = both.chunk(2, dim=1)
        return images, targets

    # ---------------------------------------------------------------- results

    def predict(self, outputs: Any, batch: "Batch") -> "Batch":
        """Of each row its squared error, PSNR and SSIM (see `quality_rows`)."""
        from ._image_quality import quality_rows

        return quality_rows(outputs.reconstruction, batch["labels"])

    def metrics(self, rows: "Rows", config_values: dict[str, Any]) -> dict[str, float]:
        """Means over the rows."""
        import numpy as np

        names = {"psnr": "psnr", "ssim": "ssim", "mse": "squared_errors"}
        return {metric: rows[name].mean(dtype=np.float64) for metric, name in names.items()}

    def baseline(self, train: Any, test: Any, processor: Any, config_values: dict[str, Any], seed: int) -> Baseline:
        """Non-local means and a median filter, each at its best strength on training images, and no filter at all; the
        best on these training images comes first."""
        import numpy as np
        import torch

        from ._image_quality import quality_rows

        transform = self.transform(processor, config_values, training=False)
        found = []
        for score, name, apply in self._filters(train, transform, seed):
            started = time.perf_counter()
            parts = []
            for numbers in torch.arange(len(test)).split(FILTER_ROWS):
                batch = transform(test.batch(numbers), None)
                parts.append(quality_rows(apply(batch["pixel_values"]), batch["labels"]))
            rows = {name: torch.cat([part[name] for part in parts]).numpy() for name in parts[0]}
            found.append((score, Baseline(name=name, rows=rows, seconds=time.perf_counter() - started)))
        order = np.argsort([-score for score, _ in found], kind="stable")
        first, *others = (found[place][1] for place in order)
        first.others = others
        return first

    def _filters(
        self, train: Any, transform: Callable, seed: int
    ) -> "list[tuple[float, str, Callable[[torch.Tensor], torch.Tensor]]]":
        """(mean PSNR on training images, name, filter) of each classical way, at its best strength."""
        import numpy as np
        import torch

        from . import _image_noise as noise
        from ._image_quality import quality_rows

        drawn = np.sort(np.random.default_rng(seed).permutation(len(train))[:CHOOSING_ROWS])
        batch = transform(train.batch(torch.from_numpy(drawn)), None)

        def best(choices: "list[tuple[str, Callable[[torch.Tensor], torch.Tensor]]]") -> tuple[float, str, Callable]:
            scores = [
                quality_rows(apply(batch["pixel_values"]), batch["labels"])["psnr"].mean() for _, apply in choices
            ]
            place = int(np.argmax(scores))
            return float(scores[place]), *choices[place]

        means = [
            (f"non-local means (h = {strength} of the estimated noise)",
             lambda images, strength=strength: noise.non_local_means(images, strength))
            for strength in noise.MEANS_STRENGTHS
        ]  # fmt: skip
        medians = [
            (f"median of {side} x {side}", lambda images, side=side: noise.median_filter(images, side))
            for side in noise.MEDIAN_SIDES
        ]
        return [best(means), best(medians), best([("no filter", lambda images: images)])]

    def plots(self, rows: "Rows", columns: Any, processor: Any, config_values: dict[str, Any]) -> Iterator[Figure]:
        """None: all figures need the model, see `examine`."""
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
        """Figures: pictures before and after, and the PSNR over the strength of the noise."""
        import numpy as np
        import torch

        from . import _image_noise as noise
        from ._image_figures import curves_figure, picture_rows
        from ._image_quality import quality_rows

        train, test = columns.get("train"), columns["test"]
        device = next(model.parameters()).device

        def denoised(images: "torch.Tensor") -> "torch.Tensor":
            return model(pixel_values=images.to(device)).reconstruction.float().cpu()

        filters = self._filters(train, transform, seed)[:2] if train is not None else []
        best = max(filters, key=lambda item: item[0])[1:] if filters else None
        shown = np.arange(min(len(test), SHOWN_COLUMNS))
        words, made = [], self.target_column_name is None
        if made:
            strengths = noise.row_strengths(shown, config_values["noise_strength"])
            shown = shown[np.argsort(strengths, kind="stable")]
            words = [f"{strength:.2f}" for strength in np.sort(strengths)]
        batch = transform(test.batch(torch.from_numpy(shown)), None)
        images, targets = batch["pixel_values"], batch["labels"]
        kinds = [("noisy" if made else "given", images)] + ([("filter", best[1](images))] if best else [])
        kinds += [("network", denoised(images)), ("clean" if made else "target", targets)]
        names, values = zip(*kinds, strict=True)
        what = f"Test images {'with noise of the strength above' if made else 'as given'}, "
        what += (
            f"after {best[0]}, " if best else ""
        ) + f"after the network, and {'clean' if made else 'their targets'}."
        found = Examination(figures=[Figure("denoised", what, picture_rows(torch.stack(values).numpy(), names, words))])
        if not made:
            return found
        ways = [("network", denoised), *((name.partition(" (")[0], apply) for _, name, apply in filters)]
        ways.append(("as given", lambda images: images))
        rows = test.batch(torch.arange(min(len(test), CURVE_ROWS)))
        strengths = noise.row_strengths(rows["rows"].numpy(), config_values["noise_strength"])
        batch = transform(rows, None)
        levels = np.unique(strengths)
        curves = []
        for name, apply in ways:
            parts = [
                quality_rows(apply(images), targets)["psnr"]
                for images, targets in zip(*(batch[key].split(100) for key in ("pixel_values", "labels")), strict=True)
            ]
            scores = torch.cat(parts).numpy()
            curves.append((name, np.array([scores[strengths == level].mean() for level in levels])))
        found.figures.append(
            Figure(
                name="strengths",
                caption=f"PSNR over the strength of the noise, {len(strengths):,} test images.",
                figure=curves_figure(levels, curves, "strength of the noise", "PSNR, dB"),
            )
        )
        return found

    # ---------------------------------------------------------------- use

    def answers(self, outputs: Any, config_values: dict[str, Any]) -> "dict[str, np.ndarray]":
        """`prediction`: the image without its noise, the bytes of a PNG file."""
        import io

        import numpy as np
        from PIL import Image

        images = (outputs.reconstruction.float().clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        files = np.empty(len(images), dtype=object)
        for place, image in enumerate(images):
            file = io.BytesIO()
            Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(file, format="PNG")
            files[place] = file.getvalue()
        return {"prediction": files}

    def example(self) -> str:
        return (
            "import hubmodels  # makes transformers know the family and the task\n"
            "from transformers import pipeline\n"
            "\n"
            'denoise = pipeline("image-to-image", model="{model_id}")\n'
            'denoise("noisy.png").save("clean.png")  # a path, a URL or a PIL image: a PIL image\n'
        )
