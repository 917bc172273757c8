"""Audio classification: a sound and its class, or its labels."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..fields import part
from ..report import Baseline, Figure
from .contract.problem import Problem, Task
from .inputs.sounds import FittedSpectrograms, Spectrograms
from .targets.several_labels import FittedLabels, FittedSeveralLabels, SeveralLabels

if TYPE_CHECKING:
    import numpy as np

    from .contract.types import EncodedColumns, Rows

STATISTICS_AT_ONCE = 500  # sounds that spectrograms are made of


class AudioClassificationProblem(Problem["AudioClassification", FittedSpectrograms, FittedLabels]):
    """Sounds with their classes, or with their labels."""

    def baseline(self, train: "EncodedColumns", test: "EncodedColumns") -> Baseline:
        """Fit logistic regression on the mean and standard deviation of each band over the frames."""
        from .baselines.linear import LinearFeatures, logistic_regression

        features = LinearFeatures(name="mean and spread of the log-mel bands", compute=self.band_statistics)
        target = self.target
        return logistic_regression(features, train, test, len(target.names), target.probability_rows, self.seed)

    def band_statistics(self, columns: "EncodedColumns", rows: "np.ndarray") -> "np.ndarray":
        """Compute the mean and standard deviation over the frames of each band, (N, 2 M) float64."""
        import torch

        statistics = []
        for numbers in torch.from_numpy(rows).split(STATISTICS_AT_ONCE):
            values = self.processor.to_values(columns.batch(numbers)["samples"])
            statistics.append(torch.cat([values.mean(dim=2), values.std(dim=2)], dim=1))
        return torch.cat(statistics).double().numpy()

    def figures(self, rows: "Rows", columns: "EncodedColumns") -> Iterator[Figure]:
        """Draw confusion matrix, most confident mistakes and reliability diagram; of labels their scores."""
        import torch

        from .figures.sounds import mistakes_figure, worst_mistakes

        if isinstance(self.target, FittedSeveralLabels):
            yield from self.target.figures(rows)
            return
        confusion, reliability = self.target.figures(rows)
        yield confusion
        mistakes = worst_mistakes(rows)
        if len(mistakes):
            levels = self.input.levels(columns.batch(torch.from_numpy(mistakes))["samples"])
            yield Figure(
                name="worst_mistakes",
                caption="The mistakes on the test rows that the model is most confident of, as spectrograms (low bands "
                f"below, {self.processor.dynamic_range:g} dB from black to white): true class → predicted class and "
                "its probability.",
                figure=mistakes_figure(rows, mistakes, levels, self.target.names, self.processor.duration),
            )
        yield reliability


@dataclass(kw_only=True)
class AudioClassification(Task):
    """One sound, one class; or several labels, as the columns say (see `SeveralLabels`)."""

    tag: ClassVar[str] = "audio-classification"
    head: ClassVar[str] = "ForAudioClassification"
    problem_class: ClassVar[type[Problem]] = AudioClassificationProblem
    requires: ClassVar[tuple[str, ...]] = ("num_channels", "image_size")

    input: Spectrograms = part(Spectrograms)
    target: SeveralLabels = part(SeveralLabels)

    def example(self) -> str:
        """Return lines that use transformers' own pipeline."""
        return (
            "import hubmodels  # makes transformers know the family, and read wav files without ffmpeg\n"
            "from transformers import pipeline\n"
            "\n"
            'classifier = pipeline("audio-classification", model="{model_id}")\n'
            'print(classifier("sound.wav"))  # a path, bytes, {"array": ..., "sampling_rate": ...}, or samples\n'
        )
