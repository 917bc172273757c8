"""Pipelines on images that transformers lacks: `pipeline("image-to-image", model=...)` (transformers had one until it
took it out in favour of diffusers; it could not give grey images).

It takes an image as a path, a URL or a PIL image, or a list of them, and gives PIL images of the model's size.
"""

from typing import Any

import torch
from PIL import Image
from transformers.image_utils import load_image
from transformers.pipelines.base import Pipeline


class ImageToImagePipeline(Pipeline):
    """Of each image the model's `reconstruction` as a PIL image, grey ("L") or RGB."""

    _load_image_processor = True
    _load_processor = _load_tokenizer = _load_feature_extractor = False

    def _sanitize_parameters(self, timeout: float | None = None, **kwargs: Any) -> tuple[dict, dict, dict]:
        return ({} if timeout is None else {"timeout": timeout}), {}, {}

    def preprocess(self, image: Any, timeout: float | None = None) -> dict[str, torch.Tensor]:
        inputs = self.image_processor(images=[load_image(image, timeout=timeout)], return_tensors="pt")
        return {"pixel_values": inputs["pixel_values"].to(self.dtype)}

    def _forward(self, inputs: dict[str, torch.Tensor]) -> Any:
        return self.model(**inputs)

    def postprocess(self, outputs: Any) -> Image.Image | list[Image.Image]:
        pixels = (outputs["reconstruction"].float().clamp(0, 1) * 255).round().to(torch.uint8)
        images = [
            Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array)
            for array in pixels.permute(0, 2, 3, 1).cpu().numpy()
        ]
        return images[0] if len(images) == 1 else images


PIPELINES = {"image-to-image": (ImageToImagePipeline, "ForImageToImage")}
