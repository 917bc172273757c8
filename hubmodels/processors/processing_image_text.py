"""Pairs of images and texts: the image processor and the tokenizer of a model that reads both."""

from typing import Any

from transformers.feature_extraction_utils import BatchFeature
from transformers.processing_utils import ProcessorMixin

from .processing_image import HubmodelsImageProcessor


class HubmodelsImageTextProcessor(ProcessorMixin):
    """An image processor and a tokenizer, saved together; each can also be loaded alone (`AutoImageProcessor`,
    `AutoTokenizer`), as pipelines do.

    Args:
        image_processor: images of any kind -> `pixel_values`.
        tokenizer: texts -> `input_ids` and `attention_mask`.
    """

    def __init__(self, image_processor: HubmodelsImageProcessor, tokenizer: Any, **kwargs: Any) -> None:
        super().__init__(image_processor, tokenizer)

    def __call__(self, images: Any = None, text: Any = None, **kwargs: Any) -> BatchFeature:
        """Return `pixel_values` (B, C, H, W) of images, `input_ids` and `attention_mask` (B', T) of texts, or both.

        Args:
            images: one image or several, as the image processor takes them.
            text: one text or several; several are padded to the longest.
            **kwargs: for the tokenizer; `return_tensors` ("pt" by default) for both.

        Raises:
            ValueError: neither was given, or what was given is no image.
        """
        if images is None and text is None:
            raise ValueError("nothing was given: a call takes images, text, or both")
        kind = kwargs.pop("return_tensors", "pt")
        data: dict[str, Any] = {}
        if images is not None:
            data |= self.image_processor(images, return_tensors=kind)
        if text is not None:
            data |= self.tokenizer(text, return_tensors=kind, **{"padding": True, **kwargs})
        return BatchFeature(data)


__all__ = ["HubmodelsImageTextProcessor"]
