"""Captioned images: one image a row and one text that describes it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ...errors import HubmodelsError, one_line
from ...fields import option
from ..contract.columns import choose_column, kind_of
from ..contract.parts import FittedInput
from .image_files import image_column, read_pixels
from .image_options import ImageOptions, config_size, pattern_pixels
from .text_columns import TEXT_TYPES, check_texts, text_column
from .tokenized import ROWS_AT_ONCE, TokenizedInput, attention_mask
from .tokenizers import special_ids, tokenize, tokenizer_key, vocabulary_size

if TYPE_CHECKING:
    import datasets
    import numpy as np
    import torch
    from transformers import PreTrainedTokenizerBase as Tokenizer

    from ..contract.types import Batch, EncodedColumns, RawRows, Rows, Transform

CAPTION_NAMES = ("text", "caption", "captions", "description", "title", "name", "sentence")
MAX_LENGTH = 77  # tokens of a text that are read at most when nothing is said, as CLIP's
SHORTEST = 3  # one token between two special ones


@dataclass(kw_only=True)
class CaptionedImages(ImageOptions, TokenizedInput):
    """Holds the options of reading images and their texts."""

    decided_fields: ClassVar[tuple[str, ...]] = (*ImageOptions.decided_fields, "vocab_size", "pad_token_id")

    max_length: int | None = option(
        None, "tokens of a text, longer ones are cut; the longest's, at most 77, when absent"
    )
    random_shift: int = option(0, "augmentation: move images by up to this many pixels, edges repeated, >= 0")
    horizontal_flip: float = option(0.0, "augmentation: probability of mirroring left to right, in [0, 1]")
    color_jitter: float = option(0.0, "augmentation: images brighter and darker by up to this share, in [0, 1]")
    token_dropout: float = option(0.0, "augmentation: share of a text's tokens that are hidden, in [0, 1)")

    def __post_init__(self) -> None:
        TokenizedInput.__post_init__(self)
        ImageOptions.__post_init__(self)
        if self.max_length is not None and self.max_length < SHORTEST:
            raise ValueError(f"max_length must be at least {SHORTEST}, got {self.max_length}")
        if not self.random_shift >= 0:
            raise ValueError(f"random_shift must be at least 0, got {self.random_shift}")
        for name, value in (("horizontal_flip", self.horizontal_flip), ("color_jitter", self.color_jitter)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must be between 0 and 1, got {value}")
        if not 0 <= self.token_dropout < 1:
            raise ValueError(f"token_dropout must be at least 0 and below 1, got {self.token_dropout}")

    def claims(self, features: "datasets.Features") -> list[str]:
        """Name the image column and the text column: the chosen ones, or the usual ones by type and name."""
        image = image_column(features, self.image_column_name)
        if self.text_column_name is not None:
            return [image, text_column(features, self.text_column_name)]
        texts = [name for name, kind in features.items() if name != image and kind_of(kind) in TEXT_TYPES]
        texts = [name for name in texts if name != "file_name"] or texts  # a folder's names of files describe nothing
        if not texts:
            raise HubmodelsError(f"the data set has no text column beside {image!r}; its columns are {list(features)}")
        return [image, choose_column(texts, CAPTION_NAMES, "text", "text_column_name")]

    def undecoded(self, dataset: "datasets.Dataset", columns: list[str]) -> "datasets.Dataset":
        """Leave the images as bytes or paths."""
        import datasets

        return dataset.cast_column(columns[0], datasets.Image(decode=False))

    def longest(self, train: "datasets.Dataset", columns: list[str], tokenizer: "Tokenizer") -> int:
        """Return the tokens of the longest training text, at most 77, where the options do not say them."""
        if self.max_length is not None:
            return self.max_length
        longest = SHORTEST
        for rows in train.select_columns(columns).iter(batch_size=ROWS_AT_ONCE):
            texts = [text or "" for texts in rows.values() for text in texts]
            longest = max(longest, *map(len, tokenize(tokenizer, texts)))
        return min(longest, MAX_LENGTH)

    def fit(self, train: "datasets.Dataset", columns: list[str]) -> "FittedCaptionedImages":
        """Fit an image processor to the training images, and train a tokenizer on the texts or load the named one."""
        from ...processors.processing_image_text import HubmodelsImageTextProcessor

        image, text = columns
        image_processor = self.fit_image_processor(train, image)
        return self.bind(HubmodelsImageTextProcessor(image_processor, self.fit_tokenizer(train, [text])))

    def bind(self, processor: Any) -> "FittedCaptionedImages":
        """Take an image processor and a tokenizer as they are."""
        return FittedCaptionedImages(options=self, processor=processor)

    def load(self, path: str, **kwargs: Any) -> "FittedCaptionedImages":
        """Take the image processor and the tokenizer of a checkpoint; the network was built for their sizes."""
        from ...processors.processing_image_text import HubmodelsImageTextProcessor

        try:
            return self.bind(HubmodelsImageTextProcessor.from_pretrained(path, **kwargs))
        except (OSError, ValueError, TypeError) as error:
            reason = one_line(error, 200)
            raise HubmodelsError(f"no usable image processor and tokenizer at {path}: {reason}") from error


@dataclass(kw_only=True)
class FittedCaptionedImages(FittedInput[CaptionedImages]):
    """Images and texts with their processor.

    Encoded they are `pixel_values` (B, C, H, W) uint8, `input_ids` (B, model_max_length) and `lengths` (B,) in tokens.
    """

    @property
    def tokenizer(self) -> "Tokenizer":
        """Return what splits texts into tokens."""
        return self.processor.tokenizer

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return channels, height and width of a prepared image."""
        images = self.processor.image_processor
        return images.num_channels, images.size["height"], images.size["width"]

    def config_fields(self) -> dict[str, Any]:
        """Return channels and size as the image processor gives them, the vocabulary as the tokenizer has it."""
        return {
            **config_size(self.shape),
            "vocab_size": vocabulary_size(self.tokenizer),
            "pad_token_id": self.tokenizer.pad_token_id,
        }

    def cache_key(self) -> list[Any]:
        """Return the image processor's fields, and a hash of the tokenizer."""
        values = self.processor.image_processor.to_dict()
        return [{name: value for name, value in values.items() if name != "auto_map"}, tokenizer_key(self.tokenizer)]

    def encoded_features(self) -> dict[str, Any]:
        """Return the Arrow types of `pixel_values`, `input_ids` and `lengths`."""
        import datasets

        return {
            "pixel_values": datasets.Array3D(self.shape, "uint8"),
            "input_ids": datasets.List(datasets.Value("int32"), length=self.tokenizer.model_max_length),
            "lengths": datasets.Value("int32"),
        }

    def encode(self, rows: "RawRows", row_numbers: list[int], columns: list[str]) -> "Rows":
        """Encode images before normalisation, and texts padded on the right."""
        import numpy as np

        image, text = columns
        check_texts(rows[text], row_numbers, text)
        longest = self.tokenizer.model_max_length
        encoded = tokenize(self.tokenizer, rows[text], truncation=True, max_length=longest)
        input_ids = np.full((len(encoded), longest), self.tokenizer.pad_token_id, dtype=np.int32)
        for index, tokens in enumerate(encoded):
            input_ids[index, : len(tokens)] = tokens
        return {
            "pixel_values": read_pixels(rows[image], row_numbers, image, self.processor.image_processor.to_pixels),
            "input_ids": input_ids,
            "lengths": np.array([len(tokens) for tokens in encoded], dtype=np.int32),
        }

    def transform(self, *, training: bool) -> "Transform":
        """Return what makes `pixel_values`, `input_ids` and `attention_mask` (B, longest of the batch).

        In training images are moved, mirrored and coloured as bytes, and tokens are hidden, but no special ones."""
        import torch

        special, dropout = special_ids(self.tokenizer), self.options.token_dropout if training else 0.0

        def prepare(batch: "Batch", generator: "torch.Generator | None" = None) -> "Batch":
            pixels, lengths = batch["pixel_values"], batch["lengths"]
            tokens = batch["input_ids"][:, : int(lengths.max())].long()
            mask = attention_mask(lengths, tokens.shape[1])
            if training:
                pixels = self.augment(pixels, generator)
            if dropout:
                drawn = torch.rand(tokens.shape, generator=generator, device=tokens.device) < dropout
                mask = mask.masked_fill(drawn & ~torch.isin(tokens, special.to(tokens.device)), 0)
            values = self.processor.image_processor.normalize_pixels(pixels)
            return {"pixel_values": values, "input_ids": tokens, "attention_mask": mask}

        return prepare

    def augment(self, pixels: "torch.Tensor", generator: "torch.Generator | None") -> "torch.Tensor":
        """Move, mirror and colour images (B, C, H, W) uint8."""
        from . import image_augmentation as augmentation

        options = self.options
        if options.random_shift:
            pixels = augmentation.random_shift(pixels, options.random_shift, generator)
        if options.horizontal_flip:
            pixels = augmentation.random_horizontal_flip(pixels, options.horizontal_flip, generator)
        if options.color_jitter:
            pixels = augmentation.color_jitter(pixels, options.color_jitter, generator)
        return pixels

    def decode(self, columns: "EncodedColumns", rows: "np.ndarray") -> list[str]:
        """Read the texts of encoded rows (B,) again, without special tokens."""
        import torch

        tokens = columns.batch(torch.from_numpy(rows))["input_ids"].tolist()
        return [self.tokenizer.decode(row, skip_special_tokens=True) for row in tokens]

    def golden_inputs(self) -> "Batch":
        """Return two fixed patterns of bytes, normalised, and two fixed rows of tokens, the second one shorter."""
        import torch

        length = self.tokenizer.model_max_length
        pixels = self.processor.image_processor.normalize_pixels(pattern_pixels(2, *self.shape))
        tokens = (torch.arange(2 * length) * 7 % vocabulary_size(self.tokenizer)).view(2, length)
        mask = attention_mask(torch.tensor([length, max(1, length // 2)]), length)
        return {"pixel_values": pixels, "input_ids": tokens, "attention_mask": mask}
