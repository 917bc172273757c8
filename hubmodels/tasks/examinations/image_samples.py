"""Measuring a model of images by its samples: distance, classes, novelty, and the classical sampler by the same."""

import logging
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ... import abilities
from ...formatting import shorten
from ...report import Examination, Figure
from ..baselines.mixture import component_mixture
from ..contract.rows import model_device
from ..figures.charts import shares_figure
from ..figures.pictures import neighbours_plot, picture_rows, samples_plot
from ..inputs.image_features import fitting_rows, pixel_rows, take_pixels, to_bytes
from ..targets.estimates import mean_with_interval
from ..targets.sample_quality import class_shares, feature_novelty, nearest_rows, sample_quality

if TYPE_CHECKING:
    from ..contract.types import EncodedColumns
    from ..targets.samples import SamplesProblem

logger = logging.getLogger("hubmodels")

MAX_IMAGES = 10_000  # samples and test images that are measured
CURVE_SAMPLES = 1_000  # of each point of the curve over the steps, which are compared with each other alone
NEIGHBOUR_ROWS = 20_000  # training images among which the nearest ones are sought
GRID_COLUMNS, GRID_ROWS = 12, 6
TRAJECTORIES, STATES = 5, 9


def examine_image_samples(
    problem: "SamplesProblem[Any, Any, Any]", model: Any, columns: "Mapping[str, EncodedColumns]"
) -> Examination:
    """Measure samples of a model in eval mode, as many as there are test images, and draw them.

    Args:
        problem: whose `draw_samples` gives bytes (N, C, H, W).
        model: in eval mode.
        columns: the test images as "test" and, where they are at hand, the training images as "train".
    """
    examination = Examination()
    seed, train, test = problem.seed, columns.get("train"), columns["test"]
    count = min(len(test), MAX_IMAGES)
    logger.info("Drawing and measuring %s samples ...", f"{count:,}")
    pixels, classes = problem.take_real(test, count, seed)
    labels = problem.asked_classes(classes)
    extract = problem.extractor(pixels, model_device(model))
    samples, real = problem.draw_samples(model, count, seed, labels), extract(pixels)
    floor = extract(take_pixels(train, count, seed)) if train is not None and len(train) >= count else None
    fake = extract(samples)
    examination.metrics |= sample_quality(fake, floor, real, seed)
    if isinstance(extract, abilities.Classifies):
        names = problem.target.names
        _examine_classes(examination, extract, samples, pixels, labels if extract.class_names == names else None)
    examination.figures.append(samples_figure(problem, model))
    if train is not None:
        near = take_pixels(train, min(len(train), NEIGHBOUR_ROWS), seed + 1)
        near_features = extract(near)
        examination.metrics["novelty"] = feature_novelty(fake, real, near_features, seed)
        examination.figures.append(_neighbours_figure(samples, fake, near, near_features))
        started = time.perf_counter()
        drawn = mixture_images(train, count, seed, labels)
        examination.baseline_seconds = time.perf_counter() - started
        examination.baseline_name = "Gaussian mixture on principal components"
        features = extract(drawn)
        examination.baseline_metrics |= sample_quality(features, floor, real, seed)
        examination.baseline_metrics["novelty"] = feature_novelty(features, real, near_features, seed)
        examination.baseline_metrics.pop("fid_floor", None)
    states = problem.trajectory(model, TRAJECTORIES, STATES, labels)
    if states is not None:
        caption = "How noise becomes samples, from left to right."
        grid = states.clamp(0, 1).float().cpu().numpy()
        examination.figures.append(Figure("trajectories", caption, picture_rows(grid)))
    few_labels = None if labels is None else labels[:CURVE_SAMPLES]
    problem.examine_steps(examination, model, extract, real[:CURVE_SAMPLES], few_labels)
    return examination


def samples_figure(problem: "SamplesProblem[Any, Any, Any]", model: Any) -> Figure:
    """Draw rows of samples, a class each where the model is told it."""
    words: list[str] = []
    labels, num_rows = None, GRID_ROWS
    if problem.class_conditional:
        words = [shorten(name, 12) for name in problem.target.names[:GRID_COLUMNS]]
        num_rows = len(words)
        labels = torch.arange(num_rows).repeat_interleave(GRID_COLUMNS)
    samples = problem.draw_samples(model, num_rows * GRID_COLUMNS, problem.seed + 2, labels)
    caption = "Samples of each class, not chosen." if words else "Samples, not chosen."
    return samples_plot(samples.numpy(), num_rows, words, caption)


def mixture_images(train: "EncodedColumns", count: int, seed: int, labels: torch.Tensor | None) -> torch.Tensor:
    """Draw images in bytes (count, C, H, W) from the classical sampler, of these classes (count,) where there are."""
    rows = fitting_rows(train, seed)
    classes, asked = None, None
    if labels is not None:
        classes, asked = train.tensor("labels").numpy()[rows], labels.numpy()
    drawn = component_mixture(pixel_rows(train, rows), count, seed, classes, asked)
    shape = train.batch(torch.zeros(1, dtype=torch.int64))["pixel_values"].shape[1:]
    return to_bytes(torch.from_numpy(drawn).float().view(count, *shape))


def _examine_classes(
    examination: Examination,
    extract: abilities.Classifies,
    samples: torch.Tensor,
    pixels: torch.Tensor,
    labels: torch.Tensor | None,
) -> None:
    """Measure which classes the named classifier sees in samples and test images; `labels` are those asked for."""
    names, seen, real = extract.class_names, extract.classify(samples), extract.classify(pixels)
    measures, (shares, due) = class_shares(seen, real, len(names))
    examination.metrics |= measures
    if labels is not None:
        examination.metrics["class_accuracy"] = mean_with_interval(seen == labels.numpy())
    caption = "What the classifier takes the samples for, beside what it takes the test images for."
    figure = shares_figure(names, [("samples", shares), ("test images", due)])
    examination.figures.append(Figure("classes", caption, figure))


def _neighbours_figure(
    samples: torch.Tensor, features: np.ndarray, near: torch.Tensor, near_features: np.ndarray
) -> Figure:
    """Draw some samples and the nearest of the training images to each."""
    shown = torch.linspace(0, len(samples) - 1, min(len(samples), 2 * GRID_COLUMNS)).long()
    _, nearest = nearest_rows(features[shown.numpy()], near_features)
    return neighbours_plot(samples[shown].numpy(), near[torch.from_numpy(nearest)].numpy(), len(near))
