"""Pipelines on images: transformers' own where it has one, with the answers of `hubmodels predict`, and what it lacks.

`pipeline("image-classification", model=...)` and `pipeline("image-feature-extraction", model=..., pool=True)` are
transformers' own; for our models their numbers are predict's.
`pipeline("image-to-image", model=...)` takes an image as a path, a URL or a PIL image, or a list of them. It gives PIL
images of the model's size. Transformers had one until it took it out in favour of diffusers; it gave no grey images.
`pipeline("unconditional-image-generation", model=...)` takes a number of images, or classes, and gives PIL ones.
"""

import io
import os
from typing import Any

import torch
from PIL import Image
from transformers.pipelines.base import Pipeline
from transformers.pipelines.image_classification import ImageClassificationPipeline
from transformers.pipelines.image_feature_extraction import ImageFeatureExtractionPipeline

from ..abilities import is_class_conditional
from ..processors.processing_image import open_image
from ._answers import ProblemPipeline
from ._classes import check_sample_options, class_number

DEFAULT_TOP_K = -1  # where the caller names none: 5 classes, or all labels


class PicturePipeline(ProblemPipeline):
    """Reads images as training and `hubmodels predict` do: transformers makes RGB of them before a processor asks."""

    def preprocess(self, image: Any, timeout: float | None = None, **kwargs: Any) -> Any:
        """Open an image (path, URL, base64 text, PIL image, array) and give it to the processor."""
        if not self.ours:
            return super().preprocess(image, timeout=timeout, **kwargs)
        if isinstance(image, str | os.PathLike | bytes):
            image = open_image(image, timeout)
        inputs = self.image_processor(images=image, return_tensors="pt", **kwargs)
        return inputs.to(self.dtype)


class PictureClassificationPipeline(PicturePipeline, ImageClassificationPipeline):
    """Give the likeliest classes of each image: `[{"label": ..., "score": ...}, ...]`; of several labels all."""

    tag = "image-classification"

    def postprocess(self, model_outputs: Any, function_to_apply: Any = None, top_k: int | None = DEFAULT_TOP_K) -> Any:
        if top_k == DEFAULT_TOP_K:
            top_k = None if self.tells_labels else 5
        if function_to_apply is not None or not self.tells_classes:
            return super().postprocess(model_outputs, function_to_apply, top_k)
        return self.likeliest_classes(model_outputs, top_k)


class PictureFeaturesPipeline(PicturePipeline, ImageFeatureExtractionPipeline):
    """Give the features of each image: the model's latents with `pool=True`."""

    tag = "image-feature-extraction"

    def known_options(self) -> list[str]:
        return [*super().known_options(), "timeout"]  # transformers reads it without naming it

    def _forward(self, model_inputs: Any) -> Any:
        outputs = super()._forward(model_inputs)
        if not self.ours:
            return outputs
        # transformers takes a batch apart row by row, which numbers of the whole batch, such as a loss, do not bear.
        of_rows = {name: value for name, value in outputs.items() if not isinstance(value, torch.Tensor) or value.ndim}
        return type(outputs)(**of_rows)


class ImageToImagePipeline(PicturePipeline):
    """Reconstruct each image by the model, as a PIL image, grey ("L") or RGB."""

    tag = "image-to-image"

    _load_image_processor = True
    _load_processor = _load_tokenizer = _load_feature_extractor = False

    def _sanitize_parameters(self, timeout: float | None = None, **kwargs: Any) -> tuple[dict, dict, dict]:
        self.check_options(kwargs)
        return ({} if timeout is None else {"timeout": timeout}), {}, {}

    def _forward(self, inputs: dict[str, torch.Tensor]) -> Any:
        return self.model(**inputs)

    def postprocess(self, outputs: Any) -> Image.Image | list[Image.Image]:
        files = self.problem.answers(outputs)["prediction"]
        images = [Image.open(io.BytesIO(file)).copy() for file in files]
        return images[0] if len(images) == 1 else images


class ImageGenerationPipeline(Pipeline):
    """Draw new images of a model that has `sample`, as PIL images, grey ("L") or RGB.

    Call it with a number of images: `draw(4)`. Where the model knows classes, call it with a class by name or number:
    `draw("Sneaker")`. A list of them, `draw(["Coat", "Bag"])`, gives one image each. `seed` makes the images
    repeatable; every other keyword goes to the model's `sample` (`num_inference_steps`, `guidance_scale`, ...).
    """

    _load_processor = _load_image_processor = _load_tokenizer = _load_feature_extractor = False

    def __call__(self, inputs: int | str | list[int | str] = 1, **kwargs: Any) -> list[Image.Image]:
        """Draw images.

        Raises:
            ValueError: a number below 1, a class that there is not, or classes for a model that knows none.
        """
        return super().__call__({"request": inputs}, **kwargs)

    def _sanitize_parameters(self, seed: int | None = None, **options: Any) -> tuple[dict, dict, dict]:
        check_sample_options(self.model, options, "unconditional-image-generation")
        return {}, {"seed": seed, "options": options}, {}

    def preprocess(self, inputs: dict[str, Any]) -> dict[str, Any]:
        request = inputs["request"]
        if isinstance(request, int) and not isinstance(request, bool):
            if request < 1:
                raise ValueError(f"give a number of images of at least 1, got {request}")
            return {"num_samples": request}
        names = [request] if isinstance(request, str) else list(request)
        if not is_class_conditional(self.model.config):
            raise ValueError(f"this model knows no classes: give a number of images in place of {names}")
        labels = [class_number(self.model.config, name) for name in names]
        if not labels:
            raise ValueError("give at least one class")
        return {"num_samples": len(labels), "labels": torch.tensor(labels)}

    def _forward(self, inputs: dict[str, Any], seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        generator = None if seed is None else torch.Generator(device=self.device).manual_seed(seed)
        return {"images": self.model.sample(**inputs, generator=generator, **(options or {}))}

    def postprocess(self, outputs: Any) -> list[Image.Image]:
        return to_images(outputs["images"])


def to_images(values: torch.Tensor) -> list[Image.Image]:
    """Make PIL images of values (B, C, H, W) in 0..1."""
    pixels = (values.float().clamp(0, 1) * 255).round().to(torch.uint8)
    return [
        Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array)
        for array in pixels.permute(0, 2, 3, 1).cpu().numpy()
    ]


PIPELINES = {
    "image-classification": (PictureClassificationPipeline, "ForImageClassification"),
    "image-feature-extraction": (PictureFeaturesPipeline, "Model"),
    "image-to-image": (ImageToImagePipeline, "ForImageToImage"),
    "unconditional-image-generation": (ImageGenerationPipeline, "Model"),
}
