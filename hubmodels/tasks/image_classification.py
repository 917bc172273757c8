"""Image classification: an image and its class. Augmentation, metrics, the logistic-regression baseline and figures."""

import io
import math
import os
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ..recipe import HubmodelsError, nearest, option
from . import Baseline, Plot, Task

if TYPE_CHECKING:
    import datasets
    import numpy as np
    import torch

    from . import Batch, Rows

IMAGE_NAMES = ("image", "images", "img", "picture", "photo", "pixel_values")
LABEL_NAMES = ("label", "labels", "class", "classes", "category", "target", "fine_label", "species")
PATH_TYPES = ("string", "large_string", "binary", "large_binary")  # types that Arrow casts to undecoded images
# Logistic regression sees at most this many numbers (rows x pixels x channels), which takes about two minutes.
BASELINE_NUMBERS = 48_000_000
BASELINE_SIDE = 32  # larger images are averaged down to this many pixels a side for it
BASELINE_ITERATIONS = 100
# Inverse strengths of its L2 penalty. On Fashion-MNIST the first gives 0.846 and the last 0.836 to 0.841.
BASELINE_PENALTIES = (0.01, 0.1, 1.0)

MISTAKE_SIDE = 64  # larger images are averaged down to this many pixels a side in the figure of mistakes


@dataclass(kw_only=True)
class ImageClassification(Task):
    """One image, one class."""

    tag: ClassVar[str] = "image-classification"
    head: ClassVar[str] = "ForImageClassification"
    config_fields: ClassVar[tuple[str, ...]] = ("num_channels", "image_size", "id2label", "label2id")
    main_metric: ClassVar[str] = "accuracy"
    greater_is_better: ClassVar[bool] = True
    metric_names: ClassVar[dict[str, str]] = {
        "accuracy": "accuracy",
        "macro_f1": "macro F1",
        "calibration_error": "expected calibration error",
        "log_loss": "log loss",
    }

    image_column_name: str | None = option(None, "column of the images; the only image column when absent")
    label_column_name: str | None = option(None, "column of the classes; the only class column when absent")
    image_size: int | list[int] | None = option(None, "side in pixels, or height and width; the usual one when absent")
    num_channels: int | None = option(None, "1 for grey, 3 for RGB; 1 when absent if every training image is grey")
    random_crop_padding: int = option(0, "augmentation: pad by this many pixels and crop at random, >= 0")
    horizontal_flip: float = option(0.0, "augmentation: probability of mirroring left to right, in [0, 1]")
    random_erasing: float = option(0.0, "augmentation: probability of a random rectangle of noise, in [0, 1]")
    mixup_alpha: float = option(0.0, "augmentation: blend pairs by a Beta(alpha, alpha) share, >= 0; 0 for none")

    def __post_init__(self) -> None:
        if self.image_size is not None:
            sides = [self.image_size] if isinstance(self.image_size, int) else self.image_size
            if len(sides) not in (1, 2) or min(sides) < 1:
                raise ValueError(
                    f"image_size must be a side or [height, width], each at least 1, got {self.image_size}"
                )
        if self.num_channels not in (None, 1, 3):
            raise ValueError(f"num_channels must be 1 (grey) or 3 (RGB), got {self.num_channels}")
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

        features = dataset.features
        image = self._image_column(features)
        label = self._label_column(features, image)
        return dataset.select_columns([image, label]).cast_column(image, datasets.Image(decode=False))

    def _image_column(self, features: "datasets.Features") -> str:
        import datasets

        if self.image_column_name is not None:
            name = _existing(self.image_column_name, features, "image_column_name")
            if not isinstance(features[name], datasets.Image) and _kind(features[name]) not in PATH_TYPES:
                raise HubmodelsError(
                    f"column {name!r} holds {_kind(features[name])}, not images or their paths; "
                    f"choose another --image_column_name"
                )
            return name
        found = [name for name, kind in features.items() if isinstance(kind, datasets.Image)]
        if not found:
            raise HubmodelsError(
                f"the data set has no image column; its columns are {_columns(features)} "
                f"(a column of image paths can be named with --image_column_name)"
            )
        return _choose(found, IMAGE_NAMES, "image", "image_column_name")

    def _label_column(self, features: "datasets.Features", image: str) -> str:
        import datasets

        if self.label_column_name is not None:
            name = _existing(self.label_column_name, features, "label_column_name")
            if not _can_be_classes(features[name]):
                raise HubmodelsError(
                    f"column {name!r} holds {_kind(features[name])}, not classes (text, integers or class labels); "
                    f"choose another --label_column_name"
                )
            return name
        found = [name for name, kind in features.items() if isinstance(kind, datasets.ClassLabel)]
        if not found:
            by_name = [name for name in features if name.lower() in LABEL_NAMES and name != image]
            found = [name for name in by_name if _can_be_classes(features[name])]
            if by_name and not found:
                raise HubmodelsError(
                    f"column {by_name[0]!r} holds {_kind(features[by_name[0]])}, not classes (text, integers or class "
                    f"labels); name another column with --label_column_name"
                )
        if not found:
            raise HubmodelsError(
                f"the data set has no class column; its columns are {_columns(features)} "
                f"(name the one with the classes with --label_column_name)"
            )
        return _choose(found, LABEL_NAMES, "class", "label_column_name")

    # ---------------------------------------------------------------- what the data decide

    def fit_processor(self, train: "datasets.Dataset") -> Any:
        """An image processor with the usual size, the channels, and each channel's mean and standard deviation over all
        pixels of all training rows, of bytes divided by 255, from exact counts of each byte."""
        import numpy as np

        from ..processors.processing_image import HubmodelsImageProcessor

        size, channels = self._wanted_size(), self.num_channels
        if size is None or channels is None:
            usual_size, all_grey = self._survey(train)
            size = size or usual_size
            channels = channels or (1 if all_grey else 3)
        processor = HubmodelsImageProcessor(
            size={"height": size[0], "width": size[1]}, num_channels=channels, image_mean=[0.0], image_std=[1.0]
        )
        counts = np.zeros((channels, 256), dtype=np.int64)
        for rows, numbers in _batches(train, "Image statistics"):
            pixels = _pixels(rows, numbers, _image_name(train.features), processor)
            for channel in range(channels):
                counts[channel] += np.bincount(pixels[:, channel].ravel(), minlength=256)
        values = np.arange(256) / 255
        total = counts.sum(axis=1, keepdims=True)
        mean = (counts * values).sum(axis=1, keepdims=True) / total
        std = np.sqrt((counts * (values - mean) ** 2).sum(axis=1) / total[:, 0])
        std = np.maximum(std, 1 / 255)  # images of one flat colour
        return HubmodelsImageProcessor(
            **{**processor.to_dict(), "image_mean": [round(value, 8) for value in mean[:, 0].tolist()],
               "image_std": [round(value, 8) for value in std.tolist()]}
        )  # fmt: skip

    def load_processor(self, path: str, **kwargs: Any) -> Any:
        """The image processor of a checkpoint; its size and channels stay, since the network was built for them."""
        from ..processors.processing_image import HubmodelsImageProcessor

        try:
            processor = HubmodelsImageProcessor.from_pretrained(path, **kwargs)
        except (OSError, ValueError, TypeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise HubmodelsError(f"no usable image processor (preprocessor_config.json) at {path}: {reason}") from error
        size = (processor.size["height"], processor.size["width"])
        if self._wanted_size() not in (None, size):
            raise HubmodelsError(
                f"{path} takes images of {size[0]} x {size[1]} pixels; leave out --image_size {self.image_size}"
            )
        if self.num_channels not in (None, processor.num_channels):
            raise HubmodelsError(
                f"{path} takes images of {processor.num_channels} channel(s); "
                f"leave out --num_channels {self.num_channels}"
            )
        return processor

    def fit_config(self, train: "datasets.Dataset", processor: Any) -> dict[str, Any]:
        """Channels and size as the processor gives them. The classes are a class column's own names in their order, or
        the distinct texts or integers of the training rows, sorted."""
        names = _class_names(train)
        height, width = processor.size["height"], processor.size["width"]
        return {
            "num_channels": processor.num_channels,
            "image_size": height if height == width else [height, width],
            "id2label": dict(enumerate(names)),
            "label2id": {name: index for index, name in enumerate(names)},
        }

    def _wanted_size(self) -> tuple[int, int] | None:
        if self.image_size is None:
            return None
        sides = [self.image_size] if isinstance(self.image_size, int) else self.image_size
        return sides[0], sides[-1]

    def _survey(self, train: "datasets.Dataset") -> tuple[tuple[int, int], bool]:
        """The usual (height, width), and whether all images are grey, from the files' headers."""
        import numpy as np

        from ..processors.processing_image import upright_size

        sizes: Counter = Counter()
        all_grey = True
        column = _image_name(train.features)
        for rows, numbers in _batches(train, "Image sizes"):
            for value, number in zip(rows[column], numbers, strict=True):
                with _Naming(number, column):
                    image = _open(value)
                    sizes[upright_size(image)] += 1
                    all_grey &= image.mode in ("1", "L", "LA", "La", "I", "F") or image.mode.startswith("I;16")
        if not sizes:
            raise HubmodelsError("the training split has no rows")
        (common, count), *_ = sizes.most_common(1)
        if 2 * count <= sizes.total():  # no usual size: the median of each side
            sides = np.repeat(np.array(list(sizes)), list(sizes.values()), axis=0)
            common = tuple(int(side) for side in np.median(sides, axis=0))
        return common, all_grey

    # ---------------------------------------------------------------- rows -> tensors

    def encoded_features(self, processor: Any, config_values: dict[str, Any]) -> "datasets.Features":
        import datasets

        shape = (processor.num_channels, processor.size["height"], processor.size["width"])
        return datasets.Features(pixel_values=datasets.Array3D(shape, "uint8"), labels=datasets.Value("int64"))

    def encode(
        self,
        rows: dict[str, list],
        row_numbers: list[int],
        features: "datasets.Features",
        processor: Any,
        config_values: dict[str, Any],
    ) -> "Rows":
        """`pixel_values` (B, C, H, W) uint8 before normalisation, and `labels` (B,) int64 as the model numbers them."""
        image = _image_name(features)
        label = next(name for name in features if name != image)
        pixels = _pixels(rows, row_numbers, image, processor)
        return {
            "pixel_values": pixels,
            "labels": _labels(rows[label], row_numbers, label, features[label], config_values["id2label"]),
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

    def predict(self, outputs: Any, batch: "Batch") -> "Batch":
        """Of each row the label, the prediction, its probability, and the loss (see `classification_rows`)."""
        from ._classification import classification_rows

        return classification_rows(outputs.logits, batch["labels"])

    def metrics(self, rows: "Rows", config_values: dict[str, Any]) -> dict[str, float]:
        from ._classification import classification_metrics

        return classification_metrics(rows, len(config_values["id2label"]))

    def class_names(self, config_values: dict[str, Any]) -> list[str]:
        return list(config_values["id2label"].values())

    def class_metrics(self, rows: "Rows", config_values: dict[str, Any]) -> "dict[str, np.ndarray]":
        from ._classification import class_precision_recall

        return class_precision_recall(rows, len(config_values["id2label"]))

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

    def plots(self, rows: "Rows", columns: Any, processor: Any, config_values: dict[str, Any]) -> Iterator[Plot]:
        """Confusion matrix, the most confident mistakes, and the reliability diagram."""
        from ._classification import calibration_error, confusion_figure, reliability_figure

        names = self.class_names(config_values)
        yield Plot(
            name="confusion_matrix",
            caption="Confusion matrix on the test rows: true classes down, predicted classes across, coloured by the "
            "share of the true class.",
            figure=confusion_figure(rows, names),
        )
        if (rows["predictions"] != rows["labels"]).any():
            yield Plot(
                name="worst_mistakes",
                caption="The mistakes on the test rows that the model is most confident of: true class → predicted "
                "class and its probability.",
                figure=_mistakes_figure(rows, columns, names),
            )
        yield Plot(
            name="reliability",
            caption="Accuracy against confidence in 15 bins on the test rows (above), and the share of the rows in "
            f"each (below). The expected calibration error is {calibration_error(rows):.3f}.",
            figure=reliability_figure(rows),
        )

    def golden_inputs(self, processor: Any, config_values: dict[str, Any]) -> "Batch":
        """Two fixed patterns of bytes, from integers alone, normalised."""
        import torch

        shape = (2, processor.num_channels, processor.size["height"], processor.size["width"])
        numbers = torch.arange(math.prod(shape))
        return {"pixel_values": processor.normalize_pixels((numbers * numbers // 7 % 256).to(torch.uint8).view(shape))}

    def example(self) -> str:
        return (
            "import hubmodels  # makes transformers know the family\n"
            "from transformers import pipeline\n"
            "\n"
            'classifier = pipeline("image-classification", model="{model_id}")\n'
            'print(classifier("picture.png"))  # a path, a URL or a PIL image: [{"label": ..., "score": ...}, ...]\n'
        )


# -------------------------------------------------------------------- columns


def _existing(name: str, features: "datasets.Features", flag: str) -> str:
    if name not in features:
        raise HubmodelsError(
            f"the data set has no column {name!r}{nearest(name, features)}; "
            f"its columns are {_columns(features)} (--{flag})"
        )
    return name


def _choose(found: list[str], preferred: tuple[str, ...], what: str, flag: str) -> str:
    if len(found) == 1:
        return found[0]
    for name in preferred:
        for column in found:
            if column.lower() == name:
                return column
    raise HubmodelsError(f"the data set has several {what} columns: {', '.join(found)}; choose one with --{flag}")


def _columns(features: "datasets.Features") -> str:
    return ", ".join(f"{name} ({_kind(kind)})" for name, kind in features.items())


def _kind(feature: Any) -> str:
    import datasets

    if isinstance(feature, datasets.ClassLabel):
        return "classes"
    return feature.dtype if isinstance(feature, datasets.Value) else type(feature).__name__


def _can_be_classes(feature: Any) -> bool:
    return _kind(feature) in ("classes", "string", "large_string", "bool") or _kind(feature).startswith(("int", "uint"))


def _image_name(features: "datasets.Features") -> str:
    import datasets

    return next(name for name, kind in features.items() if isinstance(kind, datasets.Image))


def _class_names(train: "datasets.Dataset") -> list[str]:
    """The classes in the order of their numbers."""
    import datasets

    column = next(name for name, kind in train.features.items() if not isinstance(kind, datasets.Image))
    feature = train.features[column]
    if isinstance(feature, datasets.ClassLabel):
        names = list(feature.names)
    else:
        # Dataset.unique would first copy all columns of a split that was carved.
        batches = train.select_columns([column]).iter(batch_size=1000)
        counts = Counter(value for rows in batches for value in rows[column])
        values, num_rows = set(counts), counts.total()
        if len(values) > 20 and 2 * len(values) > num_rows:
            raise HubmodelsError(
                f"column {column!r} has {len(values):,} different values in {num_rows:,} rows: these are not classes; "
                f"choose another --label_column_name"
            )
        names = [str(value) for value in sorted(values - {None})]
    if len(names) < 2:
        raise HubmodelsError(f"column {column!r} has {len(names)} class(es); classification needs at least 2")
    return names


def _labels(values: list, row_numbers: list[int], column: str, feature: Any, id2label: dict[int, str]) -> "np.ndarray":
    """The model's class numbers, matched by name. Raises HubmodelsError for a missing label or an unknown class."""
    import datasets
    import numpy as np

    label2id = {name: int(index) for index, name in id2label.items()}
    if isinstance(feature, datasets.ClassLabel):
        known: dict[Any, int | None] = {index: label2id.get(name) for index, name in enumerate(feature.names)}
    else:
        known = {value: label2id.get(str(value)) for value in set(values) if value is not None}
    numbers = [known.get(value) for value in values]
    if None in numbers:
        position = numbers.index(None)
        value = values[position]
        if value is None or (isinstance(feature, datasets.ClassLabel) and not 0 <= value < len(feature.names)):
            raise HubmodelsError(
                f"row {row_numbers[position]} has no class in column {column!r} (it holds {value!r}); "
                f"drop such rows or choose another --label_column_name"
            )
        name = feature.names[value] if isinstance(feature, datasets.ClassLabel) else str(value)
        shown = ", ".join(list(label2id)[:12]) + (", ..." if len(label2id) > 12 else "")
        raise HubmodelsError(
            f"row {row_numbers[position]}, column {column!r}: unknown class {name!r}{nearest(name, label2id)}; "
            f"the model's {len(label2id)} classes are {shown}"
        )
    return np.array(numbers, dtype=np.int64)


# -------------------------------------------------------------------- images


class _Naming:
    """Turns whatever goes wrong with an image into one line that names its row; decoders raise a dozen types."""

    def __init__(self, number: int, column: str) -> None:
        self.number, self.column = number, column

    def __enter__(self) -> "_Naming":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, Exception):
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise HubmodelsError(
                f"row {self.number}, column {self.column!r}: cannot read the image: {reason}"
            ) from error


def _open(value: Any) -> Any:
    """A PIL image, its pixels not yet decoded, from what an undecoded image column holds."""
    import datasets
    from PIL import Image, UnidentifiedImageError

    if value is None:
        raise ValueError("it is missing")
    try:
        if value["bytes"] is not None:
            return Image.open(io.BytesIO(value["bytes"]))
        if os.path.exists(value["path"]):
            with open(value["path"], "rb") as file:
                return Image.open(io.BytesIO(file.read()))
    except UnidentifiedImageError:
        raise ValueError("the bytes are of no image format that Pillow knows") from None
    if "://" not in value["path"]:
        raise ValueError(f"no file at {value['path']}")
    return datasets.Image().decode_example(value)  # inside an archive, or remote


def _pixels(rows: dict[str, list], row_numbers: list[int], column: str, processor: Any) -> "np.ndarray":
    """One batch of images as (B, C, H, W) uint8, decoded one by one, so that only one large photo is in memory."""
    naming = _Naming(next(iter(row_numbers), 0), column)

    def images() -> Iterator[Any]:
        for number, value in zip(row_numbers, rows[column], strict=True):
            naming.number = number
            yield _open(value)

    with naming:
        return processor.to_pixels(images())


def _batches(dataset: "datasets.Dataset", description: str, batch_size: int = 500) -> Iterator[tuple[dict, range]]:
    """Batches of rows with their row numbers, with a progress bar on the main process."""
    from accelerate.utils import tqdm

    total = len(dataset) if hasattr(dataset, "__len__") else None
    start = 0
    with tqdm(total=total, desc=description, unit=" images", leave=False) as bar:
        for rows in dataset.iter(batch_size=batch_size):
            count = len(next(iter(rows.values())))
            yield rows, range(start, start + count)
            start += count
            bar.update(count)


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
        figure, grid = new_figure(1.25 * max(ncols, 2), 1.62 * nrows, nrows, ncols, squeeze=False)
        for axes in grid.flat:
            axes.axis("off")
        for axes, number, image in zip(grid.flat, worst, pixels, strict=False):
            axes.imshow(image[..., 0] if image.shape[-1] == 1 else image, cmap="gray", vmin=0, vmax=255)
            true, predicted = (shorten(names[rows[name][number]], 17) for name in ("labels", "predictions"))
            axes.set_title(f"{true}\n→ {predicted} ({rows['confidences'][number]:.0%})", size=7, pad=3)
    return figure
