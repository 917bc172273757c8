"""Unconditional image generation, and by class: images that nobody took, as near to the real ones as can be measured.

Any model that has `sample` is measured by its samples alone, by the protocol of `_sample_quality`; where the model's
forward gives a `row_loss`, validation has it too. A model whose config says `class_conditional` is given the classes in
training and asked for those of the test images. Without a named classifier the features are principal components of
the pixels, which are blind to much: name one.
"""

import inspect
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import HubmodelsError
from ..report import Estimate, Examination, Figure
from ._generation import SampledAsAWhole
from ._image_task import LabelledImageTask
from ._unbound import SAMPLE_METRICS

if TYPE_CHECKING:
    import numpy as np
    import torch

    from ._unbound import Batch

logger = logging.getLogger("hubmodels")

VALIDATION_SAMPLES = 1_000  # of an evaluation during training
CURVE_SAMPLES = 1_000  # of each point of the curve over the steps, which are compared with each other alone
CURVE_STEPS = (5, 10, 20, 50)
NEIGHBOUR_ROWS = 20_000  # training images among which the nearest ones are sought
GRID_COLUMNS, GRID_ROWS = 12, 6
TRAJECTORIES, STATES = 5, 9
COVERED_SHARE = 0.2  # a class with less than this share of its samples' due number counts as lost


@dataclass(kw_only=True)
class UnconditionalImageGeneration(SampledAsAWhole, LabelledImageTask):
    """Images to be drawn like, and their classes where the model is to know them."""

    tag: ClassVar[str] = "unconditional-image-generation"
    metric_names: ClassVar[dict[str, str]] = {
        **SAMPLE_METRICS,
        "loss": "loss of test images",
        "class_accuracy": "samples that are of the class asked for",
        "class_distance": "distance of the classes' shares from the real ones",
        "classes_covered": "share of the classes that occur",
        "novelty": "distance to the nearest training image, over that of test images",
        **{
            f"fid_{steps}_steps": f"Fréchet distance at {steps} steps ({CURVE_SAMPLES:,} samples)"
            for steps in CURVE_STEPS
        },
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        self._features: dict[int, tuple[Any, Any]] = {}  # of validation columns: what gives features, and theirs

    def takes_labels(self, config_values: dict[str, Any]) -> bool:
        """Raises HubmodelsError where the model wants classes and the data have none."""
        if not config_values.get("class_conditional"):
            return False
        if not config_values.get("id2label"):
            raise HubmodelsError(
                "class_conditional needs a column of at least two classes: name it with --label_column_name, or leave "
                "class_conditional out"
            )
        return True

    # ---------------------------------------------------------------- results of the whole model

    def validate(
        self,
        model: Any,
        columns: Any,
        transform: "Callable[[Batch, torch.Generator | None], Batch]",
        processor: Any,
        config_values: dict[str, Any],
        seed: int,
    ) -> dict[str, float]:
        """The Fréchet distance of as many samples as there are validation images, at most `VALIDATION_SAMPLES`."""
        from ._sample_quality import frechet_distance, sample_images, take_pixels

        count = min(len(columns), VALIDATION_SAMPLES)
        if id(columns) not in self._features:  # once for all evaluations
            pixels = take_pixels(columns, count, seed)
            extract = self._extractor(pixels, next(model.parameters()).device, seed)
            self._features = {id(columns): (extract, extract(pixels))}
        extract, real = self._features[id(columns)]
        labels = self._wanted(columns, count, config_values, seed)
        return {"fid": frechet_distance(extract(sample_images(model, count, seed, labels)), real)}

    def preview(self, model: Any, processor: Any, config_values: dict[str, Any], seed: int) -> Iterator[Figure]:
        """The samples of the final figure, as far as they are."""
        yield self._samples_plot(model, config_values, seed)

    def examine(
        self,
        model: Any,
        columns: dict[str, Any],
        transform: "Callable[[Batch, torch.Generator | None], Batch]",
        processor: Any,
        config_values: dict[str, Any],
        seed: int,
    ) -> Examination:
        """Fréchet distance, precision and recall, classes, novelty; and of the classical method the same."""
        from ._sample_quality import MAX_IMAGES, sample_images, sample_quality, take_pixels

        found = Examination()
        train, test = columns.get("train"), columns["test"]
        count = min(len(test), MAX_IMAGES)
        logger.info("Drawing and measuring %s samples ...", f"{count:,}")
        pixels = take_pixels(test, count, seed)
        labels = self._wanted(test, count, config_values, seed)
        extract = self._extractor(pixels, next(model.parameters()).device, seed)
        samples, real = sample_images(model, count, seed, labels), extract(pixels)
        others = extract(take_pixels(train, count, seed)) if train is not None and len(train) >= count else None
        fake = extract(samples)
        found.metrics |= sample_quality(fake, others, real, seed)
        self._examine_classes(found, extract, samples, pixels, labels, config_values)
        found.figures.append(self._samples_plot(model, config_values, seed))
        if train is not None:
            near = take_pixels(train, min(len(train), NEIGHBOUR_ROWS), seed + 1)
            near_features = extract(near)
            found.metrics["novelty"] = self._novelty(fake, real, near_features, seed)
            found.figures.append(self._neighbours_plot(samples, fake, near, near_features))
            started = time.perf_counter()
            drawn = self._mixture_samples(train, labels, count, seed)
            found.baseline_seconds = time.perf_counter() - started
            found.baseline_name = "Gaussian mixture on principal components"
            features = extract(drawn)
            found.baseline_metrics |= sample_quality(features, others, real, seed)
            found.baseline_metrics["novelty"] = self._novelty(features, real, near_features, seed)
            found.baseline_metrics.pop("fid_floor", None)
        self._examine_steps(found, model, extract, real, labels, config_values, seed)
        return found

    def _extractor(self, pixels: "torch.Tensor", device: Any, seed: int) -> Any:
        from ._sample_quality import FeatureExtractor, PixelComponents

        if self.fid_classifier is not None:
            return FeatureExtractor(self.fid_classifier, device)
        logger.info("Distances are between principal components of the pixels: name a classifier with --fid_classifier")
        return PixelComponents(pixels, seed)

    def _wanted(self, columns: Any, count: int, config_values: dict[str, Any], seed: int) -> "torch.Tensor | None":
        """The classes (count,) of the images that `take_pixels` takes, for a model that is told them."""
        from ._sample_quality import take_rows

        if not self.takes_labels(config_values):
            return None
        labels = columns.batch(take_rows(columns, count, seed))["labels"]
        if bool((labels < 0).any()):
            raise HubmodelsError(f"{int((labels < 0).sum())} test rows have no class of the training rows: drop them")
        return labels

    def _examine_classes(
        self, found: Examination, extract: Any, samples: "torch.Tensor", pixels: "torch.Tensor", labels: Any,
        config_values: dict[str, Any],
    ) -> None:  # fmt: skip
        """Which classes the named classifier sees in samples and test images."""
        import numpy as np

        from ._image_figures import shares_figure
        from ._sample_quality import mean_with_interval

        if not hasattr(extract, "classify"):
            return
        names, seen, real = extract.class_names, extract.classify(samples), extract.classify(pixels)
        shares, due = (np.bincount(classes, minlength=len(names)) / len(classes) for classes in (seen, real))
        found.metrics["class_distance"] = Estimate(float(np.abs(shares - due).sum() / 2))
        expected = due > 0
        found.metrics["classes_covered"] = Estimate(float((shares >= COVERED_SHARE * due)[expected].mean()))
        own = [str(name) for name in (config_values.get("id2label") or {}).values()]
        if labels is not None and own == names:
            found.metrics["class_accuracy"] = mean_with_interval(seen == labels.numpy())
        caption = "What the classifier takes the samples for, beside what it takes the test images for."
        found.figures.append(
            Figure("classes", caption, shares_figure(names, [("samples", shares), ("test images", due)]))
        )

    def _novelty(self, features: "np.ndarray", real: "np.ndarray", near: "np.ndarray", seed: int) -> Estimate:
        from ._sample_quality import nearest_rows, novelty

        return novelty(nearest_rows(features, near)[0], nearest_rows(real, near)[0], seed)

    def _mixture_samples(self, train: Any, labels: Any, count: int, seed: int) -> "torch.Tensor":
        """The classical method: as many samples in bytes of a mixture of Gaussians on principal components, of each
        class by itself where the model is told the classes."""
        import numpy as np
        import torch

        from ._latents import PrincipalComponents, fitting_rows, flat_rows
        from ._sample_quality import mixture_samples, to_bytes

        rows = fitting_rows(train, seed)
        pixels = flat_rows(train, rows)
        components = PrincipalComponents(pixels, 64, seed=seed)
        codes = components.encode(pixels)
        drawn = np.empty((count, codes.shape[1]))
        groups = [(np.arange(len(codes)), np.arange(count))]
        if labels is not None:
            classes = train.tensor("labels").numpy()[rows]
            groups = [
                (np.flatnonzero(classes == label), np.flatnonzero(labels.numpy() == label)) for label in labels.unique()
            ]
        for fitted, wanted in groups:
            if len(fitted) > 1:
                drawn[wanted] = mixture_samples(codes[fitted], len(wanted), seed)
        shape = train.batch(torch.zeros(1, dtype=torch.int64))["pixel_values"].shape[1:]
        return to_bytes(torch.from_numpy(components.decode(drawn)).float().view(count, *shape))

    def _examine_steps(
        self, found: Examination, model: Any, extract: Any, real: "np.ndarray", labels: Any,
        config_values: dict[str, Any], seed: int,
    ) -> None:  # fmt: skip
        """For a model that samples in steps: the way from noise, and the distance over their number."""
        import numpy as np

        from ._image_figures import curves_figure, picture_rows
        from ._sample_quality import frechet_distance, sample_images

        if hasattr(model, "sample_trajectory"):
            options = {}
            if labels is not None:
                options["labels"] = labels.unique()[:TRAJECTORIES].repeat(TRAJECTORIES)[:TRAJECTORIES]
            states = model.sample_trajectory(TRAJECTORIES, STATES, generator=_generator(model, seed), **options)
            caption = "How noise becomes samples, from left to right."
            grid = states.clamp(0, 1).float().cpu().numpy()
            found.figures.append(Figure("trajectories", caption, picture_rows(grid)))
        if "num_inference_steps" not in inspect.signature(model.sample).parameters:
            return
        logger.info("Measuring samples of %s steps ...", ", ".join(map(str, CURVE_STEPS)))
        count = min(len(real), CURVE_SAMPLES)
        wanted = None if labels is None else labels[:count]
        distances = [
            frechet_distance(
                extract(sample_images(model, count, seed, wanted, num_inference_steps=steps)), real[:count]
            )
            for steps in CURVE_STEPS
        ]
        found.metrics |= {
            f"fid_{steps}_steps": Estimate(value) for steps, value in zip(CURVE_STEPS, distances, strict=True)
        }
        caption = f"Fréchet distance of {count:,} samples over the number of steps."
        figure = curves_figure(np.array(CURVE_STEPS), [("samples", np.array(distances))], "steps", "Fréchet distance")
        found.figures.append(Figure("steps", caption, figure))

    # ---------------------------------------------------------------- figures

    def _samples_plot(self, model: Any, config_values: dict[str, Any], seed: int) -> Figure:
        """Rows of samples, a class each where the model is told it."""
        import torch

        from ..formatting import shorten
        from ._image_figures import picture_rows
        from ._sample_quality import sample_images

        words: list[str] = []
        labels, rows = None, GRID_ROWS
        if self.takes_labels(config_values):
            names = [str(name) for name in config_values["id2label"].values()][:GRID_COLUMNS]
            words, rows = [shorten(name, 12) for name in names], len(names)
            labels = torch.arange(rows).repeat_interleave(GRID_COLUMNS)
        samples = sample_images(model, rows * GRID_COLUMNS, seed + 2, labels)
        grid = samples.view(rows, GRID_COLUMNS, *samples.shape[1:]).numpy() / 255
        caption = "Samples of each class, not chosen." if words else "Samples, not chosen."
        return Figure("samples", caption, picture_rows(grid, words))

    def _neighbours_plot(
        self, samples: "torch.Tensor", features: "np.ndarray", near: "torch.Tensor", near_features: "np.ndarray"
    ) -> Figure:
        import torch

        from ._image_figures import picture_rows
        from ._sample_quality import nearest_rows

        places = torch.linspace(0, len(samples) - 1, min(len(samples), 2 * GRID_COLUMNS)).long()
        _, nearest = nearest_rows(features[places.numpy()], near_features)
        columns = max(1, len(places) // 2)
        blocks = [part[: 2 * columns].view(2, columns, *samples.shape[1:]) for part in (samples[places], near[nearest])]
        grid = torch.stack([blocks[0][0], blocks[1][0], blocks[0][1], blocks[1][1]]).numpy() / 255
        return Figure(
            name="neighbours",
            caption=f"Samples, and below each the nearest of {len(near):,} training images in the features.",
            figure=picture_rows(grid, ["sample", "nearest"] * 2),
        )

    # ---------------------------------------------------------------- use

    def golden_inputs(self, processor: Any, config_values: dict[str, Any]) -> "Batch":
        """Two fixed patterns, and the first classes for a model that is told them."""
        import torch

        inputs = super().golden_inputs(processor, config_values)
        return inputs | {"labels": torch.arange(2)} if self.takes_labels(config_values) else inputs

    def example(self) -> str:
        return (
            "import hubmodels  # makes transformers know the family and the task\n"
            "from transformers import AutoModel, pipeline\n"
            "\n"
            'draw = pipeline("unconditional-image-generation", model="{model_id}")\n'
            'images = draw(4)  # PIL images; where it knows classes also draw("name") or a list of names\n'
            "for number, image in enumerate(images):\n"
            '    image.save(f"sample-{number}.png")\n'
            "\n"
            'model = AutoModel.from_pretrained("{model_id}").eval()\n'
            "print(model.sample(16).shape)  # images in 0..1, (16, channels, height, width)\n"
        )


def _generator(model: Any, seed: int) -> "torch.Generator":
    import torch

    return torch.Generator(device=next(model.parameters()).device).manual_seed(seed)
