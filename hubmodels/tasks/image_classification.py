"""Image classification: an image and its class. Augmentation, metrics, the logistic-regression baseline and figures."""

import math
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ..fields import option
from ..report import Baseline, Figure
from ._columns import class_names, class_numbers, label_column, label_maps
from ._image_task import ImageTask
from ._images import fit_image_processor, image_column, read_pixels
from ._one_class import OneClassARow

if TYPE_CHECKING:
    import datasets
    import numpy as np
    import torch

    from . import Batch, Rows

# Logistic regression sees at most this many numbers (rows x pixels x channels), which takes about two minutes.
BASELINE_NUMBERS = 48_000_000
BASELINE_SIDE = 32  # larger images are averaged down to this many pixels a side for it
BASELINE_ITERATIONS = 100
# Inverse strengths of its L2 penalty. On Fashion-MNIST the first gives 0.846 and the last 0.836 to 0.841.
BASELINE_PENALTIES = (0.01, 0.1, 1.0)
MISTAKE_SIDE = 64  # larger images are averaged down to this many pixels a side in the figure of mistakes


@dataclass(kw_only=True)
class ImageClassification(OneClassARow, ImageTask):
    """One image, one class."""

    tag: ClassVar[str] = "image-classification"
    head: ClassVar[str] = "ForImageClassification"
    config_fields: ClassVar[tuple[str, ...]] = ("num_channels", "image_size", "id2label", "label2id", "problem_type")

    label_column_name: str | None = option(None, "column of the classes; the only class column when absent")
    random_crop_padding: int = option(0, "augmentation: pad by this many pixels and crop at random, >= 0")
    horizontal_flip: float = option(0.0, "augmentation: probability of mirroring left to right, in [0, 1]")
    random_erasing: float = option(0.0, "augmentation: probability of a random rectangle of noise, in [0, 1]")
    mixup_alpha: float = option(0.0, "augmentation: blend pairs by a Beta(alpha, alpha) share, >= 0; 0 for none")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("horizontal_flip", "random_erasing"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be a probability between 0 and 1, got {getattr(self, name)}")
        for name in ("random_crop_padding", "mixup_alpha"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")

    # ---------------------------------------------------------------- columns

    def select(self, dataset: "datasets.Dataset") -> "datasets.Dataset":
        """The image column, undecoded, and the class column, under their own names."""
        import datasets

        image = image_column(dataset.features, self.image_column_name)
        label = label_column(dataset.features, self.label_column_name, others=(image,))
        return dataset.select_columns([image, label]).cast_column(image, datasets.Image(decode=False))

    # ---------------------------------------------------------------- what the data decide

    def fit_processor(self, train: "datasets.Dataset") -> Any:
        """An image processor with the usual size, the channels, and each channel's mean and standard deviation over all
        pixels of all training rows, of bytes divided by 255, from exact counts of each byte."""
        column, _ = train.features  # in the order of `select`
        return fit_image_processor(train, column, self.wanted_size(), self.num_channels)

    def fit_config(self, train: "datasets.Dataset", processor: Any) -> dict[str, Any]:
        """Channels and size as the processor gives them. The classes are a class column's own names in their order, or
        the distinct texts or integers of the training rows, sorted."""
        _, column = train.features
        names = class_names(train, column)
        return self.image_config(processor) | {
            **label_maps(names),
            "problem_type": "single_label_classification",  # also when mixup makes the labels probabilities
        }

    # ---------------------------------------------------------------- rows -> tensors

    def encoded_features(self, processor: Any, config_values: dict[str, Any]) -> "datasets.Features":
        import datasets

        return datasets.Features(pixel_values=self.image_feature(processor), labels=datasets.Value("int64"))

    def encode(
        self,
        rows: dict[str, list],
        row_numbers: list[int],
        features: "datasets.Features",
        processor: Any,
        config_values: dict[str, Any],
    ) -> "Rows":
        """`pixel_values` (B, C, H, W) uint8 before normalisation, and `labels` (B,) int64 as the model numbers them."""
        image, label = features
        return {
            "pixel_values": read_pixels(rows[image], row_numbers, image, processor),
            "labels": class_numbers(rows[label], row_numbers, label, features[label], config_values["id2label"]),
        }

    def transform(
        self, processor: Any, config_values: dict[str, Any], *, training: bool
    ) -> "Callable[[Batch, torch.Generator | None], Batch]":
        """Crop, flip and erasing on the bytes, then normalisation, then mixup."""
        if not training:
            return lambda batch, generator=None: {
                **batch,
                "pixel_values": processor.normalize_pixels(batch["pixel_values"]),
            }
        from . import _image_augmentation as augmentation

        num_classes = len(config_values["id2label"])

        def augment(batch: "Batch", generator: "torch.Generator | None" = None) -> "Batch":
            pixels, labels = batch["pixel_values"], batch["labels"]
            if self.random_crop_padding:
                pixels = augmentation.random_crop(pixels, self.random_crop_padding, generator)
            if self.horizontal_flip:
                pixels = augmentation.random_horizontal_flip(pixels, self.horizontal_flip, generator)
            if self.random_erasing:
                pixels = augmentation.random_erasing(pixels, self.random_erasing, generator)
            values = processor.normalize_pixels(pixels)
            if self.mixup_alpha:
                values, labels = augmentation.mixup(values, labels, num_classes, self.mixup_alpha, generator)
            return {**batch, "pixel_values": values, "labels": labels}

        return augment

    # ---------------------------------------------------------------- results

    def baseline(self, train: Any, test: Any, processor: Any, config_values: dict[str, Any], seed: int) -> Baseline:
        """Logistic regression on pixels that are standardised one by one, its L2 penalty chosen on a tenth of the
        training rows. Large images are averaged down and many rows subsampled so that it ends in minutes; its name
        says so."""
        import numpy as np
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression
        from sklearn.preprocessing import StandardScaler

        from ._classification import probability_rows

        started = time.perf_counter()
        name = "logistic regression on standardised pixels"
        _, C, H, W = train.tensor("pixel_values").shape
        block = math.ceil(max(H, W) / BASELINE_SIDE)
        height, width = math.ceil(H / block), math.ceil(W / block)
        if block > 1:
            name += f" averaged to {height} x {width}"
        labels = train.tensor("labels").numpy()
        rows = np.random.default_rng(seed).permutation(len(labels))
        limit = max(1, BASELINE_NUMBERS // (C * height * width))
        if len(rows) > limit:
            name += f" ({limit:,} of {len(rows):,} training rows)"
            rows = rows[:limit]
        labels = labels[rows]
        num_classes = len(config_values["id2label"])
        probabilities = np.zeros((len(test), num_classes))
        if len(np.unique(labels)) == 1:  # nothing to separate
            probabilities[:, labels[0]] = 1
        else:
            scaler = StandardScaler()
            pixels = scaler.fit_transform(_flat_pixels(train, rows, block))

            def fitted(penalty: float, count: int) -> Any:
                model = LogisticRegression(C=penalty, max_iter=BASELINE_ITERATIONS, random_state=seed)
                return model.fit(pixels[:count], labels[:count])

            with warnings.catch_warnings():
                # The held-out accuracy stands still, or falls, long before the weights stand still.
                warnings.simplefilter("ignore", ConvergenceWarning)
                count = len(rows) - math.ceil(len(rows) / 10)
                penalty = BASELINE_PENALTIES[0]
                if len(np.unique(labels[:count])) > 1:
                    scores = [fitted(item, count).score(pixels[count:], labels[count:]) for item in BASELINE_PENALTIES]
                    penalty = BASELINE_PENALTIES[int(np.argmax(scores))]
                model = fitted(penalty, len(rows))
            for part in np.array_split(np.arange(len(test)), math.ceil(len(test) / 10_000)):
                inputs = scaler.transform(_flat_pixels(test, part, block))
                probabilities[np.ix_(part, model.classes_)] = model.predict_proba(inputs)
        result = probability_rows(probabilities, test.tensor("labels").numpy())
        return Baseline(name=name, rows=result, seconds=time.perf_counter() - started)

    def row_plots(self, rows: "Rows", columns: Any, processor: Any, config_values: dict[str, Any]) -> Iterator[Figure]:
        """The most confident mistakes."""
        if (rows["predictions"] != rows["labels"]).any():
            yield Figure(
                name="worst_mistakes",
                caption="The mistakes on the test rows that the model is most confident of: true class → predicted "
                "class and its probability.",
                figure=_mistakes_figure(rows, columns, self.class_names(config_values)),
            )

    def example(self) -> str:
        return (
            "import hubmodels  # makes transformers know the family\n"
            "from transformers import pipeline\n"
            "\n"
            'classifier = pipeline("image-classification", model="{model_id}")\n'
            'print(classifier("picture.png"))  # a path, a URL or a PIL image: [{"label": ..., "score": ...}, ...]\n'
        )


def _flat_pixels(columns: Any, rows: "np.ndarray", block: int) -> "np.ndarray":
    """(N, features) float32 in 0..255, averaged over blocks of block x block pixels."""
    import torch
    from torch.nn.functional import avg_pool2d

    parts = []
    for numbers in torch.from_numpy(rows).split(1000):
        pixels = columns.batch(numbers)["pixel_values"].float()
        pixels = avg_pool2d(pixels, block, ceil_mode=True) if block > 1 else pixels
        parts.append(pixels.flatten(1))
    return torch.cat(parts).numpy()


def _mistakes_figure(rows: "Rows", columns: Any, names: list[str]) -> Any:
    """The 18 most confident mistakes, the worst first."""
    import numpy as np
    import torch
    from torch.nn.functional import avg_pool2d

    from ..figures import house_style, new_figure
    from ._classification import shorten

    wrong = np.flatnonzero(rows["predictions"] != rows["labels"])
    worst = wrong[np.argsort(-rows["confidences"][wrong], kind="stable")][:18]
    pixels = columns.batch(torch.from_numpy(worst))["pixel_values"].float()
    block = math.ceil(max(pixels.shape[2:]) / MISTAKE_SIDE)
    pixels = avg_pool2d(pixels, block, ceil_mode=True).byte().permute(0, 2, 3, 1).numpy()
    ncols = min(6, len(worst))
    nrows = math.ceil(len(worst) / ncols)
    with house_style():
        figure, grid = new_figure(1.35 * max(ncols, 2), 1.72 * nrows, nrows, ncols, squeeze=False)
        for axes in grid.flat:
            axes.axis("off")
        for axes, number, image in zip(grid.flat, worst, pixels, strict=False):
            axes.imshow(image[..., 0] if image.shape[-1] == 1 else image, cmap="gray", vmin=0, vmax=255)
            true, predicted = (shorten(names[rows[name][number]], 16) for name in ("labels", "predictions"))
            axes.set_title(f"{true}\n→ {predicted} ({rows['confidences'][number]:.0%})", size=7, pad=3)
    return figure
