"""Samples of classes that a model gives in a form of its own, as the spectrograms of sounds.

What a classifier recognises in samples is measured beside their features. What it makes of real rows, and of these in
the model's form and back, says what a perfect model could reach.
"""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol

from ...report import Estimate, Examination
from ..contract.columns import class_numbers, ordered_labels
from ..contract.problem import FittedInputT, TaskT
from ..contract.rows import model_device
from .samples import CURVE_STEPS, SAMPLE_METRICS, Extractor, FittedSamples, Samples, SamplesProblem

if TYPE_CHECKING:
    import datasets
    import numpy as np
    import torch

    from ..contract.types import EncodedColumns, RawRows, Rows

logger = logging.getLogger("hubmodels")


def metrics_of(kind: str) -> dict[str, str]:
    """Name the metrics of samples of a kind of row, as "sounds", for a table."""
    return {
        **SAMPLE_METRICS,
        "loss": f"loss of test {kind}",
        "class_accuracy": "samples recognised as the class asked for",
        "real_accuracy": f"test {kind} recognised",
        "inverted_accuracy": f"test {kind} recognised after spectrogram and inversion",
        "fid_inverted": f"Fréchet distance of training {kind} after spectrogram and inversion",
        "diversity": f"distance within a class, over that of test {kind}",
        "novelty": f"distance to the nearest training {kind.removesuffix('s')}, over that of test {kind}",
        **{f"fid_{steps}_steps": f"Fréchet distance at {steps} steps" for steps in CURVE_STEPS},
    }


@dataclass(kw_only=True)
class ScaledSamples(Samples):
    """Holds the options of rows to be drawn like, whose model scales them by their mean and standard deviation."""

    decided_fields: ClassVar[tuple[str, ...]] = (*Samples.decided_fields, "data_mean", "data_std")

    def fit_scaled(
        self, train: "datasets.Dataset", columns: list[str], statistics: tuple[float, float]
    ) -> "FittedScaledSamples":
        """Take the names of the classes, if any, and mean and standard deviation of what the model sees."""
        mean, std = statistics
        names = self.fit(train, columns).names
        return FittedScaledSamples(options=self, names=names, mean=round(mean, 4), std=max(round(std, 4), 1e-4))

    def restore(self, config: Mapping[str, Any], state: Mapping[str, Any]) -> "FittedScaledSamples":
        """Take names and statistics from the config, whose network scales by them."""
        names, mean, std = ordered_labels(config), config["data_mean"], config["data_std"]
        return FittedScaledSamples(options=self, names=names, mean=mean, std=std)


@dataclass(kw_only=True)
class FittedScaledSamples(FittedSamples):
    """Classes in the order of their numbers, and the statistics of the model's inputs."""

    mean: float
    std: float

    def config_fields(self) -> dict[str, Any]:
        """Return the label maps, and the statistics as `data_mean` and `data_std`."""
        return {**super().config_fields(), "data_mean": self.mean, "data_std": self.std}

    def encode(
        self, rows: "RawRows", row_numbers: list[int], columns: list[str], features: "datasets.Features"
    ) -> "Rows":
        """Encode `labels` (B,) int64, -1 where the rows have no classes; where they have, each must have one."""
        if not self.names:
            return super().encode(rows, row_numbers, [], features)
        known = dict(enumerate(self.names))
        return {"labels": class_numbers(rows[columns[0]], row_numbers, columns[0], features[columns[0]], known)}


class Recogniser(Extractor, Protocol):
    """Gives features of rows, and where it knows classes these too."""

    @property
    def class_names(self) -> list[str]:
        """Return the classes that it tells apart, in the order of their numbers; none where it knows none."""
        ...

    def recognise(self, samples: "torch.Tensor", /) -> "tuple[np.ndarray, np.ndarray | None]":
        """Compute features (N, D) float64 of rows, and the classes (N,) that it sees, None where it knows none."""
        ...


@dataclass(kw_only=True)
class RealClasses:
    """Real rows that samples of classes are held against."""

    features: "np.ndarray"  # (N, D) of the test rows
    labels: "np.ndarray"  # (N,) their classes
    asked: bool  # whether the samples were asked for by these classes
    recognised: bool  # whether the classes that are seen in samples are numbered as the labels are
    seed: int
    train: "np.ndarray | None" = None  # (N, D) features of as many training rows
    near: "np.ndarray | None" = None  # (M, D) features of training rows among which the nearest are sought

    def measure(self, features: "np.ndarray", classes: "np.ndarray | None") -> dict[str, Estimate]:
        """Measure as many samples as there are test rows: quality, recognition, diversity and novelty.

        Args:
            features: of the samples (N, D).
            classes: what is seen in them (N,); None where nothing is told.
        """
        import numpy as np

        from .diversity import diversity
        from .estimates import mean_with_interval
        from .sample_quality import feature_novelty, sample_quality

        measures = sample_quality(features, self.train, self.features, self.seed)
        if self.recognised and self.asked and classes is not None:
            measures["class_accuracy"] = mean_with_interval(classes == self.labels)
        groups = self.labels if self.asked else np.zeros(len(features), dtype=np.int64)
        measures["diversity"] = diversity(features, groups, self.features, groups)
        if self.near is not None:
            measures["novelty"] = feature_novelty(features, self.features, self.near, self.seed)
        return measures


@dataclass(kw_only=True)
class MeasuredSamples:
    """Samples that were measured, with the real rows that they were held against, for figures."""

    samples: "torch.Tensor"  # (N, ...)
    real: "torch.Tensor"  # (N, ...) test rows
    asked: "torch.Tensor | None"  # (N,) classes of both; None for a model that is told none
    near: "torch.Tensor | None"  # (M, ...) training rows among which the nearest are sought
    extract: Recogniser
    truth: RealClasses

    def nearest(self, count: int) -> "tuple[torch.Tensor, torch.Tensor] | None":
        """Find the nearest training rows, by features, to at most `count` samples that are evenly spaced.

        Returns:
            These samples, and the nearest row to each; None where no training rows are at hand.
        """
        import torch

        from .sample_quality import nearest_rows

        if self.near is None or self.truth.near is None:
            return None
        chosen = self.samples[torch.linspace(0, len(self.samples) - 1, min(count, len(self.samples))).long()]
        numbers = nearest_rows(self.extract(chosen), self.truth.near)[1]
        return chosen, self.near[torch.from_numpy(numbers)]


@dataclass(kw_only=True)
class ClassSamplesProblem(SamplesProblem[TaskT, FittedInputT, Recogniser], Generic[TaskT, FittedInputT]):
    """Rows of any kind and their classes, to be drawn like."""

    max_samples: ClassVar[int]  # samples, test rows, and training rows among which the nearest are sought, at most

    def invert(self, rows: "torch.Tensor") -> "torch.Tensor":
        """Bring rows into the form that the model gives, and back."""
        raise NotImplementedError

    def classical_samples(self, rows: "torch.Tensor", classes: "torch.Tensor", asked: "torch.Tensor") -> "torch.Tensor":
        """Draw rows (N, ...) of these classes (N,) by a classical method that is fitted to training rows.

        Args:
            rows: training rows.
            classes: of these.
            asked: the classes of what is drawn.
        """
        raise NotImplementedError

    def measure_samples(
        self, model: Any, columns: Mapping[str, "EncodedColumns"], classical: str
    ) -> tuple[Examination, MeasuredSamples]:
        """Measure samples of the model, and those of the classical method of this name.

        Returns:
            The metrics, without figures; and what was measured.
        """
        from .estimates import mean_with_interval
        from .sample_quality import frechet_distance

        examination, train = Examination(), columns.get("train")
        real, labels = self.take_real(columns["test"], self.max_samples, self.seed)
        asked = self.asked_classes(labels)
        logger.info("Drawing and measuring %s samples ...", f"{len(real):,}")
        samples = self.draw_samples(model, len(real), self.seed, asked)
        extract = self.extractor(real, model_device(model))
        features, seen = extract.recognise(real)
        truth = RealClasses(
            features=features,
            labels=labels.numpy(),
            asked=asked is not None,
            recognised=extract.class_names == self.target.names,
            seed=self.seed,
        )
        if truth.recognised and seen is not None:
            examination.metrics["real_accuracy"] = mean_with_interval(seen == truth.labels)
            again = extract.recognise(self.invert(real))[1]
            examination.metrics["inverted_accuracy"] = mean_with_interval(again == truth.labels)
        near = None
        if train is not None:
            near, _ = self.take_real(train, self.max_samples, self.seed + 1)
            truth.near = extract(near)
            if len(train) >= len(real):
                floor, _ = self.take_real(train, len(real), self.seed)
                truth.train = extract(floor)
                distance = frechet_distance(extract(self.invert(floor)), features)
                examination.metrics["fid_inverted"] = Estimate(distance)
        examination.metrics |= truth.measure(*extract.recognise(samples))
        measured = MeasuredSamples(samples=samples, real=real, asked=asked, near=near, extract=extract, truth=truth)
        if train is not None:
            self._measure_classical(examination, measured, train, classical)
        return examination, measured

    def _measure_classical(
        self, examination: Examination, measured: MeasuredSamples, train: "EncodedColumns", name: str
    ) -> None:
        """Draw from the classical method, and measure it as the model."""
        import torch

        started = time.perf_counter()
        rows, classes = self.take_real(train, self.max_samples, self.seed + 2)
        asked = measured.asked
        if asked is None:
            classes, asked = torch.zeros_like(classes), torch.zeros(len(measured.real), dtype=torch.int64)
        samples = self.classical_samples(rows, classes, asked)
        examination.baseline_name = name
        examination.baseline_seconds = time.perf_counter() - started
        examination.baseline_metrics |= measured.truth.measure(*measured.extract.recognise(samples))
        examination.baseline_metrics.pop("fid_floor", None)
