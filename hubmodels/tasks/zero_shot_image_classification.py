"""Zero-shot image classification: images and their texts, matched by a model that has seen neither before.

Estimate on the pairs of a split: of all its texts, where does an image's own stand by similarity, and of all its images
a text's? Rank 1 is the nearest; texts that are equally near share the mean of their ranks.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import HubmodelsError
from ..fields import option
from ..report import Baseline, Figure
from ._text import (
    TEXT_TYPES,
    TextTask,
    check_texts,
    load_tokenizer,
    text_column,
    tokenize,
    tokenizer_key,
    vocabulary_size,
)
from .contract.columns import choose_column, kind_of
from .inputs.image_files import image_column, read_pixels
from .inputs.images import Images

if TYPE_CHECKING:
    import datasets
    import numpy as np
    import torch

    from ._unbound import Batch, Rows

RECALLS = (1, 5, 10)
TEXT_NAMES = ("text", "caption", "captions", "description", "title", "name", "sentence")
MAX_LENGTH = 77  # tokens of a text that are read at most when nothing is said, as CLIP's
AT_ONCE = 2**24  # similarities in memory at once
# The baseline: pairs that it is fitted on at most, image side, principal components, n-grams, and penalties tried.
BASELINE_ROWS = 20_000
BASELINE_SIDE = 16
BASELINE_COMPONENTS = 200
BASELINE_FEATURES = 20_000
BASELINE_PENALTIES = (1.0, 10.0, 100.0)
EXAMPLES = 8  # images in the figure


@dataclass(kw_only=True)
class ZeroShotImageClassification(TextTask):
    """One image, one text that describes it."""

    tag: ClassVar[str] = "zero-shot-image-classification"
    head: ClassVar[str] = "ForZeroShotImageClassification"
    config_fields: ClassVar[tuple[str, ...]] = ("num_channels", "image_size", "vocab_size", "pad_token_id")
    main_metric: ClassVar[str] = "image_to_text_recall_at_5"
    greater_is_better: ClassVar[bool] = True
    shares: ClassVar[tuple[str, ...]] = tuple(
        f"{way}_recall_at_{k}" for way in ("image_to_text", "text_to_image") for k in (1, 5, 10)
    )
    metric_names: ClassVar[dict[str, str]] = {
        **{f"image_to_text_recall_at_{k}": f"image to text, recall@{k}" for k in RECALLS},
        **{f"text_to_image_recall_at_{k}": f"text to image, recall@{k}" for k in RECALLS},
        "image_to_text_median_rank": "image to text, median rank",
        "text_to_image_median_rank": "text to image, median rank",
    }

    image_column_name: str | None = option(None, "column of the images; the only image column when absent")
    image_size: int | list[int] | None = option(None, "side in pixels, or height and width; the usual one when absent")
    num_channels: int | None = option(None, "1 for grey, 3 for RGB; 1 when absent if every training image is grey")
    max_length: int | None = option(
        None, "tokens of a text, longer ones are cut; the longest's, at most 77, when absent"
    )
    random_shift: int = option(0, "augmentation: move images by up to this many pixels, edges repeated, >= 0")
    horizontal_flip: float = option(0.0, "augmentation: probability of mirroring left to right, in [0, 1]")
    color_jitter: float = option(0.0, "augmentation: images brighter and darker by up to this share, in [0, 1]")
    token_dropout: float = option(0.0, "augmentation: share of a text's tokens that are hidden, in [0, 1)")

    def __post_init__(self) -> None:
        super().__post_init__()
        Images(image_size=self.image_size, num_channels=self.num_channels)  # checks them
        if self.max_length is not None and self.max_length < 3:  # one token between two special ones
            raise ValueError(f"max_length must be at least 3, got {self.max_length}")
        if not self.random_shift >= 0:
            raise ValueError(f"random_shift must be at least 0, got {self.random_shift}")
        for name in ("horizontal_flip", "color_jitter"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be between 0 and 1, got {getattr(self, name)}")
        if not 0 <= self.token_dropout < 1:
            raise ValueError(f"token_dropout must be at least 0 and below 1, got {self.token_dropout}")

    # ---------------------------------------------------------------- columns

    def select(self, dataset: "datasets.Dataset") -> "datasets.Dataset":
        """The image column, undecoded, and the text column, in this order."""
        import datasets

        features = dataset.features
        image = image_column(features, self.image_column_name)
        others = {name: kind for name, kind in features.items() if name != image}
        if self.text_column_name is not None:
            text = text_column(features, self.text_column_name)
        else:
            found = [name for name, kind in others.items() if kind_of(kind) in TEXT_TYPES]
            if not found:
                raise HubmodelsError(
                    f"the data set has no text column beside {image!r}; its columns are {list(features)}"
                )
            text = choose_column(found, TEXT_NAMES, "text", "text_column_name")
        return dataset.select_columns([image, text]).cast_column(image, datasets.Image(decode=False))

    def texts(self, train: "datasets.Dataset") -> Iterator[str]:
        return super().texts(train.select_columns([list(train.features)[1]]))

    # ---------------------------------------------------------------- what the data decide

    def longest(self, train: "datasets.Dataset", tokenizer: Any) -> int:
        if self.max_length is not None:
            return self.max_length
        longest = 3
        for rows in train.select_columns([list(train.features)[1]]).iter(batch_size=1000):
            texts = [text or "" for column in rows.values() for text in column]
            longest = max(longest, *map(len, tokenize(tokenizer, texts)))
        return min(longest, MAX_LENGTH)

    def fit_processor(self, train: "datasets.Dataset") -> Any:
        """An image processor with the training images' size, channels, mean and standard deviation, and a tokenizer
        trained on the training texts, or the named one of the Hub."""
        from ..processors.processing_image_text import HubmodelsImageTextProcessor

        images = (
            Images(image_size=self.image_size, num_channels=self.num_channels)
            .fit(train, [next(iter(train.features))])
            .processor
        )
        return HubmodelsImageTextProcessor(images, super().fit_processor(train))

    def load_processor(self, path: str, **kwargs: Any) -> Any:
        """The processor of a checkpoint, or the tokenizer of `--tokenizer`, whose sizes stay as they are."""
        from ..processors.processing_image_text import HubmodelsImageTextProcessor

        if path == self.tokenizer:
            return load_tokenizer(path, **kwargs)
        try:
            return HubmodelsImageTextProcessor.from_pretrained(path, **kwargs)
        except (OSError, ValueError, TypeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise HubmodelsError(f"no usable image processor and tokenizer at {path}: {reason}") from error

    def processor_key(self, processor: Any) -> Any:
        return [processor.image_processor.to_dict(), tokenizer_key(processor.tokenizer)]

    def fit_config(self, train: "datasets.Dataset", processor: Any) -> dict[str, Any]:
        """Channels and size as the image processor gives them, the vocabulary as the tokenizer has it."""
        height, width = (processor.image_processor.size[side] for side in ("height", "width"))
        return {
            "num_channels": processor.image_processor.num_channels,
            "image_size": height if height == width else [height, width],
            "vocab_size": vocabulary_size(processor.tokenizer),
            "pad_token_id": processor.tokenizer.pad_token_id,
        }

    # ---------------------------------------------------------------- rows -> tensors

    def encoded_features(self, processor: Any, config_values: dict[str, Any]) -> "datasets.Features":
        import datasets

        images = processor.image_processor
        shape = (images.num_channels, images.size["height"], images.size["width"])
        return datasets.Features(
            pixel_values=datasets.Array3D(shape, "uint8"),
            input_ids=datasets.List(datasets.Value("int32"), length=processor.tokenizer.model_max_length),
            lengths=datasets.Value("int32"),
        )

    def encode(
        self,
        rows: dict[str, list],
        row_numbers: list[int],
        features: "datasets.Features",
        processor: Any,
        config_values: dict[str, Any],
    ) -> "Rows":
        """`pixel_values` (B, C, H, W) uint8 before normalisation, `input_ids` (B, model_max_length) int32 padded on the
        right, and the texts' `lengths` (B,) in tokens."""
        import numpy as np

        image, text = features
        check_texts(rows[text], row_numbers, text)
        tokenizer = processor.tokenizer
        longest = tokenizer.model_max_length
        found = tokenize(tokenizer, rows[text], truncation=True, max_length=longest)
        input_ids = np.full((len(found), longest), tokenizer.pad_token_id, dtype=np.int32)
        for place, tokens in enumerate(found):
            input_ids[place, : len(tokens)] = tokens
        return {
            "pixel_values": read_pixels(rows[image], row_numbers, image, processor.image_processor),
            "input_ids": input_ids,
            "lengths": np.array([len(tokens) for tokens in found], dtype=np.int32),
        }

    def transform(
        self, processor: Any, config_values: dict[str, Any], *, training: bool
    ) -> "Callable[[Batch, torch.Generator | None], Batch]":
        """`pixel_values`, in training moved, mirrored and coloured as bytes and then normalised; `input_ids` and
        `attention_mask` (B, longest of the batch), in training with hidden tokens, special ones never among them."""
        import torch

        from .inputs import image_augmentation as augmentation

        special = torch.tensor(sorted(set(processor.tokenizer.all_special_ids)))

        def prepare(batch: "Batch", generator: "torch.Generator | None" = None) -> "Batch":
            pixels, lengths = batch["pixel_values"], batch["lengths"]
            tokens = batch["input_ids"][:, : int(lengths.max())].long()
            mask = torch.arange(tokens.shape[1], device=tokens.device) < lengths[:, None]
            if training:
                if self.random_shift:
                    pixels = augmentation.random_shift(pixels, self.random_shift, generator)
                if self.horizontal_flip:
                    pixels = augmentation.random_horizontal_flip(pixels, self.horizontal_flip, generator)
                if self.color_jitter:
                    pixels = augmentation.color_jitter(pixels, self.color_jitter, generator)
                if self.token_dropout:
                    drawn = torch.rand(tokens.shape, generator=generator, device=tokens.device) < self.token_dropout
                    mask = mask & ~(drawn & ~torch.isin(tokens, special.to(tokens.device)))
            values = processor.image_processor.normalize_pixels(pixels)
            return {"pixel_values": values, "input_ids": tokens, "attention_mask": mask.long()}

        return prepare

    # ---------------------------------------------------------------- results

    def predict(self, outputs: Any, batch: "Batch") -> "Batch":
        """Of each pair the two vectors of unit length, `image_embeds` and `text_embeds` (B, E)."""
        return {"image_embeds": outputs.image_embeds, "text_embeds": outputs.text_embeds}

    def relate(self, rows: "Rows") -> "Rows":
        """Of each pair the rank of its text among all texts for its image, `image_to_text_ranks` (N,), of its image
        among all images for its text, `text_to_image_ranks` (N,), and the numbers of the five texts that are nearest to
        its image, `nearest` (N, 5)."""
        return rank_pairs(rows["image_embeds"], rows["text_embeds"])

    def metrics(self, rows: "Rows", config_values: dict[str, Any]) -> dict[str, float]:
        import numpy as np

        ranks = {"image_to_text": rows["image_to_text_ranks"], "text_to_image": rows["text_to_image_ranks"]}
        found = {f"{way}_recall_at_{k}": float((ranks[way] <= k).mean()) for way in ranks for k in RECALLS}
        return found | {f"{way}_median_rank": float(np.median(ranks[way])) for way in ranks}

    def baseline(self, train: Any, test: Any, processor: Any, config_values: dict[str, Any], seed: int) -> Baseline:
        """Ridge regression from an image (principal components of its averaged pixels, and its histogram of colours) to
        its text's TF-IDF of character n-grams; the nearest by cosine. The penalty is chosen on a tenth of the training
        pairs."""
        import numpy as np
        from sklearn.decomposition import PCA
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import Ridge

        started = time.perf_counter()
        numbers = np.random.default_rng(seed).permutation(len(train))[:BASELINE_ROWS]
        texts = _decode(train, numbers, processor.tokenizer)
        vectorizer = TfidfVectorizer(
            analyzer="char_wb", ngram_range=(1, 4), lowercase=False, sublinear_tf=True, max_features=BASELINE_FEATURES
        )
        targets = vectorizer.fit_transform(texts).toarray().astype(np.float32)
        pixels, colours = _image_features(train, numbers)
        components = min(BASELINE_COMPONENTS, *pixels.shape)
        projection = PCA(components, random_state=seed).fit(pixels)
        inputs = np.hstack([projection.transform(pixels), colours])
        mean = targets.mean(axis=0)

        def fitted(penalty: float, count: int) -> Any:
            return Ridge(alpha=penalty).fit(inputs[:count], targets[:count] - mean)

        count = len(numbers) - math.ceil(len(numbers) / 10)
        scores = []
        for penalty in BASELINE_PENALTIES if count else ():
            held = rank_pairs(fitted(penalty, count).predict(inputs[count:]), targets[count:] - mean)
            scores.append(-np.log(held["image_to_text_ranks"]).mean())
        penalty = BASELINE_PENALTIES[int(np.argmax(scores))] if scores else BASELINE_PENALTIES[0]
        everything = np.arange(len(test))
        pixels, colours = _image_features(test, everything)
        predicted = fitted(penalty, len(numbers)).predict(np.hstack([projection.transform(pixels), colours]))
        wanted = vectorizer.transform(_decode(test, everything, processor.tokenizer)).toarray() - mean
        return Baseline(
            name="ridge regression from pixels and colours to TF-IDF of character n-grams",
            rows=rank_pairs(predicted, wanted),
            seconds=time.perf_counter() - started,
        )

    def plots(self, rows: "Rows", columns: Any, processor: Any, config_values: dict[str, Any]) -> Iterator[Figure]:
        """The recall by the number of texts or images that are looked at, and images with their nearest texts."""
        yield Figure(
            name="recall",
            caption=f"Share of the {len(rows['nearest']):,} test pairs whose text (or image) is among the k nearest to "
            "its image (or text), against k; grey: by chance.",
            figure=_recall_figure(rows),
        )
        yield Figure(
            name="nearest_texts",
            caption="Test images with the five texts that are nearest to them, of all texts of the test; bold: their "
            "own. They are evenly spaced in the rows of the data set.",
            figure=_nearest_figure(rows, columns, processor),
        )

    def golden_inputs(self, processor: Any, config_values: dict[str, Any]) -> "Batch":
        """Two fixed patterns of bytes, from integers alone, normalised, and two rows of tokens, the second shorter."""
        import torch

        images, size = processor.image_processor, vocabulary_size(processor.tokenizer)
        shape = (2, images.num_channels, images.size["height"], images.size["width"])
        numbers = torch.arange(math.prod(shape))
        pixels = (numbers * numbers // 7 % 256).to(torch.uint8).view(shape)
        length = processor.tokenizer.model_max_length
        tokens = (torch.arange(2 * length) * 7 % size).view(2, length)
        mask = torch.arange(length) < torch.tensor([[length], [max(1, length // 2)]])
        return {
            "pixel_values": images.normalize_pixels(pixels),
            "input_ids": tokens,
            "attention_mask": mask.long(),
        }

    def example(self) -> str:
        return (
            "import hubmodels  # makes transformers know the family\n"
            "from transformers import pipeline\n"
            "\n"
            'classifier = pipeline("zero-shot-image-classification", model="{model_id}")\n'
            'labels = ["red apple", "green tree", "face with tears"]\n'
            'print(classifier("picture.png", candidate_labels=labels, hypothesis_template="{}"))\n'
        )


def rank_pairs(images: "np.ndarray", texts: "np.ndarray") -> "Rows":
    """The ranks that `relate` tells of, by cosine, of vectors (N, E) of any length: 1 for the nearest, and where
    several are equally near the mean of their ranks. A vector of zeros is as near to each as to any other."""
    import numpy as np

    def unit(vectors: "np.ndarray") -> "np.ndarray":
        lengths = np.linalg.norm(vectors.astype(np.float32), axis=1, keepdims=True)
        return vectors.astype(np.float32) / np.maximum(lengths, 1e-12)

    images, texts = unit(images), unit(texts)
    found: dict[str, list] = {"image_to_text_ranks": [], "text_to_image_ranks": [], "nearest": []}
    own = (images * texts).sum(axis=1)
    step = max(1, AT_ONCE // len(images))
    for start in range(0, len(images), step):
        part = slice(start, start + step)
        for name, left, right in (("image_to_text_ranks", images, texts), ("text_to_image_ranks", texts, images)):
            similarity = left[part] @ right.T  # (step, N)
            rows = np.arange(len(similarity))
            similarity[rows, start + rows] = own[part]
            # The same vectors multiplied in another order differ in their last digits.
            near = np.abs(similarity - own[part, None]) <= 1e-6
            above = ((similarity > own[part, None]) & ~near).sum(axis=1)
            found[name].append(1 + above + (near.sum(axis=1) - 1) / 2)
            if name == "image_to_text_ranks":
                count = min(5, len(texts))
                found["nearest"].append(np.argsort(-similarity, axis=1, kind="stable")[:, :count])
    return {name: np.concatenate(parts) for name, parts in found.items()}


def _decode(columns: Any, numbers: "np.ndarray", tokenizer: Any) -> list[str]:
    """The texts of encoded rows."""
    import torch

    tokens = columns.batch(torch.from_numpy(numbers))["input_ids"].tolist()
    return [tokenizer.decode(row, skip_special_tokens=True) for row in tokens]


def _image_features(columns: Any, numbers: "np.ndarray") -> "tuple[np.ndarray, np.ndarray]":
    """Of encoded images the averaged pixels in 0..1, and the square roots of the shares of 4 levels a channel, combined
    (64 colours of RGB); (N, features) each."""
    import torch
    from torch.nn.functional import avg_pool2d

    averaged, histograms = [], []
    for rows in torch.from_numpy(numbers).split(500):
        pixels = columns.batch(rows)["pixel_values"]
        B, C, H, W = pixels.shape
        block = math.ceil(max(H, W) / BASELINE_SIDE)
        averaged.append(avg_pool2d(pixels.float() / 255, block, ceil_mode=True).flatten(1))
        weights = 4 ** torch.arange(C).view(1, C, 1, 1)
        colours = (pixels.long() // 64 * weights).sum(dim=1).flatten(1)  # (B, H W)
        counts = torch.zeros(B, 4**C).scatter_add_(1, colours, torch.ones_like(colours, dtype=torch.float32))
        histograms.append((counts / (H * W)).sqrt())
    # Five times: so a histogram weighs about as much as the components, which 16 x 16 pixels carry.
    return torch.cat(averaged).numpy(), 5 * torch.cat(histograms).numpy()


def _recall_figure(rows: "Rows") -> Any:
    import numpy as np

    from ..figures import BLUE, GREY, ORANGE, house_style, new_figure

    N = len(rows["nearest"])
    k = np.arange(1, min(N, 100) + 1)
    with house_style():
        figure, axes = new_figure(4.6, 3.2)
        for way, name, colour in (("image_to_text", "image to text", BLUE), ("text_to_image", "text to image", ORANGE)):
            ranks = rows[f"{way}_ranks"]
            axes.plot(k, [(ranks <= number).mean() for number in k], color=colour, label=name)
        axes.plot(k, k / N, color=GREY, linestyle="--", label="chance")
        axes.set_xlabel("k")
        axes.set_ylabel("recall@k")
        axes.set_ylim(0, 1)
        axes.set_xlim(1, max(2, len(k)))
        axes.legend(loc="lower right")
    return figure


def _nearest_figure(rows: "Rows", columns: Any, processor: Any) -> Any:
    import numpy as np
    import torch

    from ..figures import GREEN, house_style, new_figure
    from ..formatting import shorten

    nearest = rows["nearest"]
    shown = np.unique(np.linspace(0, len(nearest) - 1, EXAMPLES).round().astype(int))
    pixels = columns.batch(torch.from_numpy(shown))["pixel_values"].permute(0, 2, 3, 1).numpy()
    texts = _decode(columns, nearest[shown].ravel(), processor.tokenizer)
    texts = [texts[place : place + nearest.shape[1]] for place in range(0, len(texts), nearest.shape[1])]
    ncols = min(4, len(shown))
    nrows = math.ceil(len(shown) / ncols)
    with house_style():
        figure, grid = new_figure(1.9 * max(ncols, 2), 2.5 * nrows, nrows, ncols, squeeze=False)
        for axes in grid.flat:
            axes.axis("off")
        for axes, image, number, lines in zip(grid.flat, pixels, shown, texts, strict=False):
            axes.imshow(image[..., 0] if image.shape[-1] == 1 else image, cmap="gray", vmin=0, vmax=255)
            for place, line in enumerate(lines):
                own = nearest[number, place] == number
                axes.text(
                    0.5, -0.06 - 0.13 * place, shorten(line, 26), transform=axes.transAxes, ha="center", va="top",
                    size=7, weight="bold" if own else "normal", color=GREEN if own else "black",
                )  # fmt: skip
    return figure
