"""Measuring a model of images by its latents: probes, likelihood, codebook, anomalies, samples, and their pictures.

A model is asked by what it can do. Whatever gives `latents` and a `reconstruction` is measured by these; the rest is
measured where the model has it.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ... import abilities
from ...formatting import shorten
from ...report import Estimate, Examination, Figure
from ..baselines.components import PrincipalComponents, forest_scores
from ..contract.rows import model_device
from ..figures.latents import codes_figure, latent_map, map_figure, roc_figure
from ..figures.pictures import picture_rows, samples_plot
from ..inputs.image_features import FeatureExtractor, fitting_rows, pixel_rows, sample_images, take_pixels, to_bytes
from ..targets.estimates import mean_with_interval
from ..targets.latents import (
    anomaly_area,
    codebook_counts,
    codebook_measures,
    encode_rows,
    linear_probe,
    neighbour_probe,
    probe_rows,
)
from ..targets.reconstruction import IMPORTANCE_SAMPLES, LIKELIHOOD_ROWS
from ..targets.sample_quality import sample_quality

if TYPE_CHECKING:
    from ..contract.types import EncodedColumns, Transform
    from ..targets.reconstruction import FittedImageReconstruction

logger = logging.getLogger("hubmodels")

FORWARD_ROWS = 500  # in one forward pass
MAX_IMAGES = 10_000  # samples and test images that are measured
MAP_ROWS = 2_000  # in the map of latents
SHOWN_COLUMNS, SAMPLE_ROWS = 12, 6  # of a figure's pictures
INTERPOLATIONS, INTERPOLATION_STEPS = 6, 10


@dataclass
class ImageLatents:
    """A model in eval mode, the images that it is measured by, and what was measured so far."""

    model: Any
    transform: "Transform"
    target: "FittedImageReconstruction"
    train: "EncodedColumns | None"
    test: "EncodedColumns"
    components: PrincipalComponents | None  # the classical method, of the training images; None without them
    num_codes: int  # of the codebook; 0 where latents are numbers
    latent_shape: tuple[int, ...]  # of one image's; of codes (size, positions...)
    fid_classifier: str | None
    seed: int
    examination: Examination = field(default_factory=Examination)

    def __post_init__(self) -> None:
        self.labels = self.test.tensor("labels").numpy()
        self.encoded = encode_rows(self.model, self.test, np.arange(len(self.test)), self.transform)

    def examine(self) -> Examination:
        """Measure whatever the model and the rows allow."""
        logger.info("Examining latents, likelihood and samples ...")
        figures = self.examination.figures
        figures.append(self.reconstructions())
        figures.extend(self.interpolations())
        if self.train is not None and self.components is not None:
            self.examine_probes(self.train, self.components)
        figures.append(self.map())
        if isinstance(self.model, abilities.BoundsLikelihood):
            self.examine_likelihood(self.model)
        if "codes" in self.encoded:
            self.examine_codes(self.encoded["codes"])
        if self.target.options.normal_classes is not None and isinstance(self.model, abilities.ScoresAnomalies):
            self.examine_anomalies(self.model, self.target.options.normal_classes)
        if isinstance(self.model, abilities.Samples):
            self.examine_samples(self.model)
        return self.examination

    @property
    def latent_words(self) -> str:
        """Return the size of the latents in words: "16 numbers", or "7 x 7 codes, each one of 512"."""
        if self.num_codes:
            return f"{' x '.join(map(str, self.latent_shape[1:]))} codes, each one of {self.num_codes:,}"
        return f"{' x '.join(map(str, self.latent_shape))} numbers"

    def prepared(self, rows: "np.ndarray | torch.Tensor") -> torch.Tensor:
        """Return the `pixel_values` of test rows as the model takes them, on its device."""
        device = model_device(self.model)
        batch = self.test.batch(torch.as_tensor(rows))
        return self.transform({name: value.to(device) for name, value in batch.items()}, None)["pixel_values"]

    # ---------------------------------------------------------------- measures

    def examine_probes(self, train: "EncodedColumns", components: PrincipalComponents) -> None:
        """Measure by probes how well latents and principal components tell the classes apart."""
        labels = train.tensor("labels").numpy()
        rows = probe_rows(labels, self.seed)
        test_rows = np.flatnonzero(np.isin(self.labels, labels[rows]))  # not those of classes never learnt from
        if len(test_rows) == 0 or len(np.unique(labels[rows])) < 2:
            return
        latents = encode_rows(self.model, train, rows, self.transform)["latents"]
        coded = [components.encode(pixel_rows(*pair)) for pair in ((train, rows), (self.test, test_rows))]
        for metrics, fitted, tested in (
            (self.examination.metrics, latents, self.encoded["latents"][test_rows]),
            (self.examination.baseline_metrics, *coded),
        ):
            metrics["linear_probe"] = linear_probe(fitted, labels[rows], tested, self.labels[test_rows])
            metrics["neighbour_accuracy"] = neighbour_probe(fitted, labels[rows], tested, self.labels[test_rows])

    def examine_likelihood(self, model: abilities.BoundsLikelihood) -> None:
        """Measure the bound on the likelihood of all test rows, and the likelihood of some."""
        generator = torch.Generator(device=model_device(model)).manual_seed(self.seed)
        try:
            bound = self.mean_over(range(len(self.test)), lambda values: -model.elbo(values, generator=generator))
        except ValueError as error:  # a model without a likelihood says so
            logger.info("No likelihood: %s", error)
            return
        self.examination.metrics["negative_elbo"] = bound
        drawn = np.sort(np.random.default_rng(self.seed).permutation(len(self.test))[:LIKELIHOOD_ROWS])
        self.examination.metrics["negative_log_likelihood"] = self.mean_over(
            drawn, lambda values: -model.log_likelihood(values, IMPORTANCE_SAMPLES, generator=generator)
        )

    def mean_over(self, rows: Any, measure: Callable[[torch.Tensor], torch.Tensor]) -> Estimate:
        """Compute the mean of a measure (B,) over test rows."""
        return mean_with_interval(self.per_row(rows, measure))

    def per_row(self, rows: Any, measure: Callable[[torch.Tensor], torch.Tensor]) -> np.ndarray:
        """Compute a measure (B,) of test rows, (N,) float64."""
        numbers = torch.as_tensor(np.asarray(rows))
        values = [measure(self.prepared(block)).double().cpu() for block in numbers.split(FORWARD_ROWS)]
        return torch.cat(values).numpy()

    def examine_codes(self, codes: np.ndarray) -> None:
        """Measure how much of the codebook is in use."""
        self.examination.metrics |= codebook_measures(codes, self.num_codes, self.seed)
        figure = codes_figure(codebook_counts(codes, self.num_codes))
        caption = f"How often each of the {self.num_codes:,} codes occurs in the test images."
        self.examination.figures.append(Figure("codebook", caption, figure))

    def examine_anomalies(self, model: abilities.ScoresAnomalies, normal_classes: list[str]) -> None:
        """Measure how well the model's scores, and an isolation forest's, find the classes never learnt from."""
        anomalous = ~self.target.normal(self.labels)
        if anomalous.all() or not anomalous.any():
            logger.info("No AUROC: the measured rows are all normal or all anomalous")
            return
        scores = self.per_row(range(len(self.test)), model.anomaly_score)
        curves = [("the network", scores)]
        self.examination.metrics["anomaly_auroc"] = anomaly_area(scores, anomalous, self.seed)
        if self.train is not None:
            fitted = pixel_rows(self.train, fitting_rows(self.train, self.seed))
            scores = forest_scores(fitted, pixel_rows(self.test, np.arange(len(self.test))), self.seed)
            curves.append(("isolation forest", scores))
            self.examination.baseline_metrics["anomaly_auroc"] = anomaly_area(scores, anomalous, self.seed)
        caption = (
            f"How many of the {anomalous.sum():,} test images of other classes stand out against the "
            f"{(~anomalous).sum():,} of {', '.join(normal_classes)}, the only ones learnt from."
        )
        self.examination.figures.append(Figure("anomalies", caption, roc_figure(curves, anomalous)))

    def examine_samples(self, model: abilities.Samples) -> None:
        """Draw samples, and measure them where a classifier is named, beside samples of the components."""
        num_shown = SAMPLE_ROWS * SHOWN_COLUMNS
        normal = np.flatnonzero(self.target.normal(self.labels))
        count = min(len(normal), MAX_IMAGES)
        try:
            samples = sample_images(model, max(num_shown, count if self.fid_classifier else 0), self.seed)
        except ValueError as error:  # a model that cannot sample says so
            logger.info("No samples: %s", error)
            return
        caption = "Samples of the model, not chosen."
        self.examination.figures.append(samples_plot(samples[:num_shown].numpy(), SAMPLE_ROWS, (), caption))
        if self.fid_classifier is None:
            logger.info("No Fréchet distance of the samples: name a classifier with --fid_classifier")
            return
        extract = FeatureExtractor(self.fid_classifier, model_device(model))
        real = extract(take_pixels(self.test, count, self.seed, normal))
        train = self.train
        floor = extract(take_pixels(train, count, self.seed)) if train is not None and len(train) >= count else None
        self.examination.metrics |= sample_quality(extract(samples[:count]), floor, real, self.seed)
        if self.components is not None:
            values = torch.from_numpy(self.components.sample(count, self.seed)).view(count, *samples.shape[1:])
            self.examination.baseline_metrics |= sample_quality(extract(to_bytes(values)), floor, real, self.seed)
            self.examination.baseline_metrics.pop("fid_floor", None)

    # ---------------------------------------------------------------- figures

    def reconstructions(self) -> Figure:
        """Draw originals over reconstructions."""
        num_classes = len(np.unique(self.labels))
        num_columns = num_classes if 1 < num_classes <= SHOWN_COLUMNS else SHOWN_COLUMNS
        shown = one_of_each(self.labels, 2 * num_columns)
        if len(shown) < 2 * num_columns:
            num_columns = max(1, len(shown) // 2)
            shown = shown[: num_columns * 2]
        pixels = self.prepared(shown)
        drawn = self.model(pixel_values=pixels).reconstruction
        pairs = zip(pixels.split(num_columns), drawn.split(num_columns), strict=True)
        grid = torch.stack([block for pair in pairs for block in pair]).float().cpu().numpy()
        labels = self.labels[shown]
        words = [shorten(self.target.names[label], 11) if label >= 0 else "" for label in labels[:num_columns]]
        if (labels.reshape(-1, num_columns) != labels[:num_columns]).any():  # a class with a single image
            words = []
        return Figure(
            name="reconstructions",
            caption=f"Test images and what is left of them after {self.latent_words}.",
            figure=picture_rows(grid, ["image", "reconstruction"] * (len(grid) // 2), words),
        )

    def interpolations(self) -> Iterator[Figure]:
        """Draw ways from one image to another, by a model that knows any."""
        if not isinstance(self.model, abilities.Interpolates) or len(self.test) < 2 * INTERPOLATIONS:
            return
        ends = np.random.default_rng(self.seed).permutation(len(self.test))[: 2 * INTERPOLATIONS]
        first, last = self.prepared(ends).chunk(2)
        ways = self.model.interpolate(first, last, num_steps=INTERPOLATION_STEPS).float().cpu()
        ways = torch.cat([first[:, None].cpu(), ways, last[:, None].cpu()], dim=1).numpy()
        yield Figure(
            name="interpolations",
            caption="From one test image (left) to another (right) in even steps between their latents.",
            figure=picture_rows(ways, (), ["image", *[""] * INTERPOLATION_STEPS, "image"]),
        )

    def map(self) -> Figure:
        """Draw the latents of some test images in the plane."""
        latents = self.encoded["latents"]
        rows = np.sort(np.random.default_rng(self.seed).permutation(len(latents))[:MAP_ROWS])
        labels = self.labels[rows]
        return Figure(
            name="latents",
            caption=f"The latents of {len(rows):,} test images in the plane (t-SNE)"
            + (", coloured by class; no label was seen in training." if (labels >= 0).any() else "."),
            figure=map_figure(latent_map(latents[rows], self.seed), labels, self.target.names),
        )


def one_of_each(labels: np.ndarray, count: int) -> np.ndarray:
    """Return row numbers: the first row of each class in turn, then the second; without classes the first rows."""
    turns = np.zeros(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        turns[rows] = np.arange(len(rows))
    return np.lexsort((labels, turns))[:count]
