"""Text to audio: the name of a class becomes a sound of it, as near to the real ones as can be measured.

The Hub has no tag for unconditional sounds. Its nearest is text-to-audio, and the name of a class is a text. A model
that is told no classes needs none in the data; it is drawn from without them and measured all the same. Samples are
measured by the features of a named audio classifier (Kilgour et al. 2019, "Fréchet audio distance", arXiv:1812.08466,
with another network). Without one these are principal components of spectrograms, which are blind to much: name one.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from ..fields import option, part
from ..report import Examination, Figure
from .contract.parts import FittedInput
from .contract.problem import Problem, Task
from .inputs.sounds import FULL_SCALE, FittedSounds, Sounds
from .targets.class_samples import ClassSamplesProblem, FittedScaledSamples, ScaledSamples, metrics_of

if TYPE_CHECKING:
    import torch
    from datasets import Dataset

    from .contract.types import Batch, EncodedColumns, Transform
    from .inputs.sound_features import LevelComponents, SoundClassifier


@dataclass(kw_only=True)
class TextToAudioProblem(ClassSamplesProblem["TextToAudio", FittedSounds]):
    """Sounds to be drawn like, and their classes. What is drawn is (N, T) int16."""

    max_samples: ClassVar[int] = 2_000
    validation_samples: ClassVar[int] = 200

    def transform(self, *, training: bool) -> "Transform":
        """Return what the input does. Labels stay behind where the model takes none."""
        prepare = self.input.transform(training=training)
        names = ("samples", "labels") if self.class_conditional else ("samples",)

        def select(batch: "Batch", generator: "torch.Generator | None" = None) -> "Batch":
            return prepare({name: batch[name] for name in names}, generator)

        return select

    def take_real(self, columns: "EncodedColumns", count: int, seed: int) -> "tuple[torch.Tensor, torch.Tensor]":
        """Draw at most `count` sounds of a split, and their classes (N,)."""
        from .contract.rows import draw_rows

        batch = columns.batch(draw_rows(columns, count, seed))
        return batch["samples"], batch["labels"]

    def draw_samples(
        self, model: Any, count: int, seed: int, labels: "torch.Tensor | None" = None, **options: Any
    ) -> "torch.Tensor":
        """Draw `count` sounds of the model, of these classes (count,) where they are given."""
        from .inputs.sound_features import sample_sounds

        return sample_sounds(model, self.input, count, seed, labels, **options)

    def extractor(self, real: "torch.Tensor", device: "torch.device") -> "SoundClassifier | LevelComponents":
        """Load the named classifier, or fit principal components to the spectrograms of real sounds."""
        from .inputs.sound_features import make_extractor

        return make_extractor(self.task.audio_classifier, self.input, real, device, self.seed)

    def invert(self, rows: "torch.Tensor") -> "torch.Tensor":
        """Turn sounds into spectrograms, if the model sees these, and back."""
        return self.input.to_sounds(self.processor.to_values(rows))

    def classical_samples(self, rows: "torch.Tensor", classes: "torch.Tensor", asked: "torch.Tensor") -> "torch.Tensor":
        """Draw means of classes with noise, of what the model sees, and turn them into sounds."""
        from .baselines.class_means import class_mean_samples

        return self.input.to_sounds(class_mean_samples(self.processor.to_values(rows), classes, asked, self.seed))

    def preview(self, model: Any) -> Iterator[Figure]:
        """Draw spectrograms of samples, a row a class where the model knows them."""
        from .figures.sample_sounds import SoundFigures

        figures = SoundFigures(sounds=self.input, names=self.target.names)
        yield figures.preview(partial(self.draw_samples, model, seed=self.seed), self.class_conditional)

    def examine(self, model: Any, columns: Mapping[str, "EncodedColumns"]) -> Examination:
        """Measure Fréchet distance, recognition, diversity and novelty of samples, and of the classical method.

        Spectrograms of samples are drawn too, and sounds to listen to."""
        from .figures.sample_sounds import NEAREST_COLUMNS, STATES, TRAJECTORIES, SoundFigures

        examination, measured = self.measure_samples(model, columns, "Griffin-Lim of class means with noise")
        samples, real, asked = measured.samples, measured.real, measured.asked
        self.examine_steps(examination, model, measured.extract, measured.truth.features, asked)
        figures = SoundFigures(sounds=self.input, names=self.target.names)
        examination.figures += figures.samples(samples, real, asked)
        if (neighbours := measured.nearest(NEAREST_COLUMNS)) is not None:
            examination.figures.append(figures.nearest(*neighbours))
        labels = None if asked is None else asked.unique()[:TRAJECTORIES].repeat(TRAJECTORIES)[:TRAJECTORIES]
        drawable = self.processor.features == "log_mel"
        if drawable and (states := self.trajectory(model, TRAJECTORIES, STATES, labels)) is not None:
            examination.figures.append(figures.trajectories(states, labels))
        examination.figures += figures.files(samples, real, asked)
        return examination

    def draw_files(
        self, model: Any, count: int, seed: int, labels: "torch.Tensor | None", **options: Any
    ) -> Iterator[tuple[str, bytes]]:
        """Draw each sample as a wav file."""
        from ..processors.processing_audio_wav import write_wav

        for sound in self.draw_samples(model, count, seed, labels, **options):
            yield ".wav", write_wav(sound.numpy() / FULL_SCALE, self.processor.sampling_rate)


@dataclass(kw_only=True)
class TextToAudio(Task):
    """Sounds to be drawn like, and their classes where the model is to know them."""

    tag: ClassVar[str] = "text-to-audio"
    head: ClassVar[str] = "Model"
    problem_class: ClassVar[type[Problem]] = TextToAudioProblem
    requires: ClassVar[tuple[str, ...]] = ("data", "num_mel_bins", "num_frames", "data_mean", "data_std")
    model_fields: ClassVar[tuple[str, ...]] = ("class_conditional",)

    input: Sounds = part(Sounds)
    target: ScaledSamples = part(ScaledSamples)
    audio_classifier: str | None = option(None, "audio classifier (folder or Hub id) whose features measure samples")

    @property
    def metric_names(self) -> dict[str, str]:
        """Return the name of each metric in a table."""
        return metrics_of("sounds")

    def fit_target(self, train: "Dataset", columns: list[str], fitted_input: FittedInput[Any]) -> FittedScaledSamples:
        """Take the classes of the rows, and the statistics of what the model sees of them."""
        assert isinstance(fitted_input, FittedSounds)
        return self.target.fit_scaled(train, columns, fitted_input.statistics(train, self.columns(train.features)[0]))

    def example(self) -> str:
        """Return lines that use the pipeline."""
        return (
            "import hubmodels  # makes transformers know the family, and draw from it\n"
            "from hubmodels.processors.processing_audio_wav import write_wav\n"
            "from transformers import pipeline\n"
            "\n"
            'draw = pipeline("text-to-audio", model="{model_id}")\n'
            "name = list(draw.model.config.label2id)[0]  # of a class\n"
            'sound = draw(name, seed=0)  # {"audio": (samples,), "sampling_rate": ...}\n'
            'open("sound.wav", "wb").write(write_wav(sound["audio"], sound["sampling_rate"]))\n'
            "print(name, sound)\n"
        )
