"""Text to audio: the name of a class becomes a sound of it, as near to the real ones as can be measured.

The Hub has a tag for unconditional images and none for unconditional sounds; its nearest is text-to-audio, whose
pipeline transformers has, and the name of a class is a text. So the data need a class column. A model that knows no
classes (`class_conditional` is false or absent) is drawn from without them and measured all the same.

Any model that has `sample` is measured by its sounds alone, after its spectrograms have been turned into waveforms, by
the protocol of `sample_quality` with the features of a named audio classifier (Kilgour et al. 2019, "Fréchet audio
distance", arXiv:1812.08466, with another network than theirs). Without one the features are principal components of
spectrograms, which are blind to much: name one. What the classifier makes of the test sounds, and of the test sounds
through a spectrogram and back, says what a perfect model could reach.
"""

import inspect
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ..fields import option
from ..report import Estimate, Examination, Figure, Sound
from ._audio import LabelledAudioTask, batches, read_sounds
from ._generation import SampledAsAWhole
from .contract.columns import class_names, label_maps
from .targets.samples import SAMPLE_METRICS

if TYPE_CHECKING:
    import datasets
    import numpy as np
    import torch

    from ._unbound import Batch

logger = logging.getLogger("hubmodels")

MAX_SOUNDS = 2_000  # samples, test sounds, and training sounds among which the nearest are sought, at most
VALIDATION_SAMPLES = 200  # of an evaluation during training
CURVE_STEPS = (5, 10, 20, 50)
SOUNDS_A_FILE, PAUSE = 3, 0.2  # samples in one audio file, and seconds between them
REAL_COLUMNS, SAMPLE_COLUMNS, MAX_CLASSES = 3, 6, 10  # of the figure of samples
TRAJECTORIES, STATES = 4, 8


@dataclass(kw_only=True)
class TextToAudio(SampledAsAWhole, LabelledAudioTask):
    """Sounds to be drawn like, and their classes."""

    tag: ClassVar[str] = "text-to-audio"
    config_fields: ClassVar[tuple[str, ...]] = (
        "data", "num_mel_bins", "num_frames", "data_mean", "data_std", "id2label", "label2id",
    )  # fmt: skip
    metric_names: ClassVar[dict[str, str]] = {
        **SAMPLE_METRICS,
        "loss": "loss of test sounds",
        "class_accuracy": "samples recognised as the class asked for",
        "real_accuracy": "test sounds recognised",
        "inverted_accuracy": "test sounds recognised after spectrogram and inversion",
        "fid_inverted": "Fréchet distance of training sounds after spectrogram and inversion",
        "diversity": "distance within a class, over that of test sounds",
        "novelty": "distance to the nearest training sound, over that of test sounds",
        **{f"fid_{steps}_steps": f"Fréchet distance at {steps} steps" for steps in CURVE_STEPS},
    }

    audio_classifier: str | None = option(None, "audio classifier (folder or Hub id) whose features measure samples")

    def __post_init__(self) -> None:
        super().__post_init__()
        self._measured: dict[int, tuple[Any, Any]] = {}  # of validation columns: what gives features, and theirs

    # ---------------------------------------------------------------- columns, and what the data decide

    def fit_config(self, train: "datasets.Dataset", processor: Any) -> dict[str, Any]:
        """The shape of the inputs, their mean and standard deviation over (at most 2,000) training sounds, and the
        classes."""
        import torch

        column, label = train.features  # in the order of `select`
        parts: list[torch.Tensor] = []
        for rows, numbers in batches(train, "Sound statistics"):
            parts.append(processor.to_values(torch.from_numpy(read_sounds(rows[column], numbers, column, processor))))
            if sum(map(len, parts)) >= MAX_SOUNDS:
                break
        values = torch.cat(parts)
        names = class_names(train, label)
        spectrogram = processor.features == "log_mel"
        return {
            "data": "audio",
            "num_mel_bins": processor.num_mel_bins if spectrogram else 0,
            "num_frames": processor.input_shape[-1],
            "data_mean": round(float(values.mean()), 4),
            "data_std": max(round(float(values.std()), 4), 1e-4),
            **label_maps(names),
        }

    # ---------------------------------------------------------------- rows -> tensors

    def transform(
        self, processor: Any, config_values: dict[str, Any], *, training: bool
    ) -> "Callable[[Batch, torch.Generator | None], Batch]":
        """In training shift and speed on the waveform; then what the model sees. Labels stay behind where the model
        takes none."""
        with_labels = bool(config_values.get("class_conditional"))

        def prepare(batch: "Batch", generator: "torch.Generator | None" = None) -> "Batch":
            waveforms = self.waveforms(batch["samples"], processor, generator, training=training)
            prepared = {"input_values": processor.to_values(waveforms)}
            return prepared | {"labels": batch["labels"]} if with_labels else prepared

        return prepare

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
        """The Fréchet distance of as many samples as there are validation sounds, at most `VALIDATION_SAMPLES`."""
        from ._audio_quality import sample_sounds
        from .targets.sample_quality import frechet_distance

        if id(columns) not in self._measured:  # once for all evaluations
            samples, _ = take_sounds(columns, VALIDATION_SAMPLES, seed)
            extract = self._extractor(samples, processor, next(model.parameters()).device, seed)
            self._measured = {id(columns): (extract, extract(samples)[0])}
        extract, real = self._measured[id(columns)]
        labels = self._wanted(take_sounds(columns, VALIDATION_SAMPLES, seed)[1], config_values)
        samples = sample_sounds(model, processor, len(real), seed, labels)
        return {"fid": frechet_distance(extract(samples)[0], real)}

    def preview(self, model: Any, processor: Any, config_values: dict[str, Any], seed: int) -> Iterator[Figure]:
        """Spectrograms of samples, a row a class where the model knows them."""
        import torch

        from ..formatting import shorten
        from ._audio_figures import spectrogram_grid, spectrogram_levels
        from ._audio_quality import sample_sounds

        words: list[str] = []
        labels, count = None, 2 * SAMPLE_COLUMNS
        if config_values.get("class_conditional"):
            words = [shorten(str(name), 12) for name in config_values["id2label"].values()][:MAX_CLASSES]
            count = len(words) * SAMPLE_COLUMNS
            labels = torch.arange(len(words)).repeat_interleave(SAMPLE_COLUMNS)
        levels = spectrogram_levels(processor, sample_sounds(model, processor, count, seed, labels))
        figure = spectrogram_grid(levels, [""] * count, SAMPLE_COLUMNS, processor, words)
        yield Figure("samples", "Spectrograms of samples, not chosen.", figure)

    def _extractor(self, samples: "torch.Tensor", processor: Any, device: Any, seed: int) -> Any:
        from ._audio_quality import LevelComponents, SoundClassifier

        if self.audio_classifier is not None:
            return SoundClassifier(self.audio_classifier, processor.sampling_rate, device)
        logger.info("Distances are between components of spectrograms: name a classifier with --audio_classifier")
        return LevelComponents(samples, processor, seed=seed)

    def _wanted(self, labels: "torch.Tensor", config_values: dict[str, Any]) -> "torch.Tensor | None":
        return labels if config_values.get("class_conditional") else None

    def examine(
        self,
        model: Any,
        columns: dict[str, Any],
        transform: "Callable[[Batch, torch.Generator | None], Batch]",
        processor: Any,
        config_values: dict[str, Any],
        seed: int,
    ) -> Examination:
        """Fréchet distance, recognition, diversity and novelty of samples, and of the classical method the same;
        spectrograms and sounds."""
        import torch

        from ._audio_quality import mean_sounds, sample_sounds, to_samples
        from .targets.estimates import mean_with_interval
        from .targets.sample_quality import frechet_distance

        found = Examination()
        sounds, labels = take_sounds(columns["test"], MAX_SOUNDS, seed)
        wanted = self._wanted(labels, config_values)
        logger.info("Drawing and measuring %s samples ...", f"{len(sounds):,}")
        samples = sample_sounds(model, processor, len(sounds), seed, wanted)
        extract = self._extractor(sounds, processor, next(model.parameters()).device, seed)
        names = [str(name) for name in config_values["id2label"].values()]
        knows = extract.class_names == names
        real, seen = extract(sounds)
        if knows:
            found.metrics["real_accuracy"] = mean_with_interval(seen == labels.numpy())
            again = to_samples(processor.to_values(sounds), processor)
            found.metrics["inverted_accuracy"] = mean_with_interval(extract(again)[1] == labels.numpy())
        train = near = near_samples = None
        if (others := columns.get("train")) is not None:
            near_samples, _ = take_sounds(others, MAX_SOUNDS, seed + 1)
            near, _ = extract(near_samples)
            if len(others) >= len(sounds):
                floor, _ = take_sounds(others, len(sounds), seed)
                train, _ = extract(floor)
                inverted, _ = extract(to_samples(processor.to_values(floor), processor))
                found.metrics["fid_inverted"] = Estimate(frechet_distance(inverted, real))

        def measured(drawn: "torch.Tensor") -> dict[str, Estimate]:
            features, classes = extract(drawn)
            return self._measure(features, classes, labels, wanted, knows, real, train, near, seed)

        found.metrics |= measured(samples)
        started = time.perf_counter()
        if others is not None:
            rows, classes = take_sounds(others, MAX_SOUNDS, seed + 2)
            if wanted is None:
                classes = torch.zeros_like(classes)
            target = torch.zeros_like(labels) if wanted is None else wanted
            drawn = to_samples(mean_sounds(processor.to_values(rows), classes, target, seed), processor)
            found.baseline_name = "Griffin-Lim of class means with noise"
            found.baseline_seconds = time.perf_counter() - started
            found.baseline_metrics |= measured(drawn)
            found.baseline_metrics.pop("fid_floor", None)
        self._examine_steps(found, model, extract, real, wanted, processor, seed)
        found.figures += self._figures(samples, sounds, labels, wanted, names, processor, extract, near, near_samples)
        found.figures += self._trajectories(model, wanted, names, processor, seed)
        found.figures += sound_files(samples, sounds, labels, wanted, names, processor.sampling_rate)
        return found

    def _measure(
        self, features: "np.ndarray", classes: "np.ndarray | None", labels: "torch.Tensor",
        wanted: "torch.Tensor | None", knows: bool, real: "np.ndarray", train: "np.ndarray | None",
        near: "np.ndarray | None", seed: int,
    ) -> dict[str, Estimate]:  # fmt: skip
        import numpy as np

        from ._audio_quality import diversity
        from .targets.estimates import mean_with_interval
        from .targets.sample_quality import nearest_rows, novelty, sample_quality

        found = sample_quality(features, train, real, seed)
        asked = labels.numpy() if wanted is not None else None
        if knows and asked is not None:
            found["class_accuracy"] = mean_with_interval(classes == asked)
        groups = np.zeros(len(features), dtype=np.int64) if asked is None else asked
        found["diversity"] = diversity(features, groups, real, groups)
        if near is not None:
            found["novelty"] = novelty(nearest_rows(features, near)[0], nearest_rows(real, near)[0], seed)
        return found

    def _examine_steps(
        self, found: Examination, model: Any, extract: Any, real: "np.ndarray", wanted: Any, processor: Any, seed: int
    ) -> None:
        """For a model that samples in steps: the distance over their number."""
        import numpy as np

        from ._audio_quality import sample_sounds
        from .figures.charts import curves_figure
        from .targets.sample_quality import frechet_distance

        if "num_inference_steps" not in inspect.signature(model.sample).parameters:
            return
        logger.info("Measuring samples of %s steps ...", ", ".join(map(str, CURVE_STEPS)))
        distances = []
        for steps in CURVE_STEPS:
            drawn = sample_sounds(model, processor, len(real), seed, wanted, num_inference_steps=steps)
            distances.append(frechet_distance(extract(drawn)[0], real))
            found.metrics[f"fid_{steps}_steps"] = Estimate(distances[-1])
        caption = f"Fréchet distance of {len(real):,} samples over the number of steps."
        figure = curves_figure(np.array(CURVE_STEPS), [("samples", np.array(distances))], "steps", "Fréchet distance")
        found.figures.append(Figure("steps", caption, figure))

    # ---------------------------------------------------------------- figures and sounds

    def _figures(
        self, samples: "torch.Tensor", sounds: "torch.Tensor", labels: "torch.Tensor", wanted: Any, names: list[str],
        processor: Any, extract: Any, near: Any, near_samples: Any,
    ) -> Iterator[Figure]:  # fmt: skip
        import torch

        from ..formatting import shorten
        from ._audio_figures import spectrogram_grid, spectrogram_levels
        from .targets.sample_quality import nearest_rows

        scale = f"low bands below, {processor.dynamic_range:g} dB from black to white"
        rows, words = [], []
        groups = sorted(set(labels.tolist()))[:MAX_CLASSES] if wanted is not None else [None]
        for label in groups:
            places = torch.arange(len(labels)) if label is None else (labels == label).nonzero()[:, 0]
            if len(places) >= max(REAL_COLUMNS, SAMPLE_COLUMNS):
                rows.append(torch.cat([sounds[places[:REAL_COLUMNS]], samples[places[:SAMPLE_COLUMNS]]]))
                words.append(shorten(names[label], 12) if label is not None else "")
        if rows:
            columns = REAL_COLUMNS + SAMPLE_COLUMNS
            titles = (["real"] * REAL_COLUMNS + ["sample"] * SAMPLE_COLUMNS) + [""] * (columns * (len(rows) - 1))
            levels = spectrogram_levels(processor, torch.cat(rows))
            yield Figure(
                name="samples",
                caption=f"Spectrograms of {REAL_COLUMNS} test sounds and {SAMPLE_COLUMNS} samples"
                + (" of each class" if wanted is not None else "")
                + f", not chosen ({scale}).",
                figure=spectrogram_grid(levels, titles, columns, processor, words),
            )
        if near is not None:
            chosen = torch.linspace(0, len(samples) - 1, min(8, len(samples))).long()
            _, nearest = nearest_rows(extract(samples[chosen])[0], near)
            levels = spectrogram_levels(
                processor, torch.cat([samples[chosen], near_samples[torch.from_numpy(nearest)]])
            )
            yield Figure(
                name="nearest_training_sounds",
                caption=f"Samples (above) and the training sound nearest to each by the features (below; {scale}).",
                figure=spectrogram_grid(levels, [""] * len(levels), len(chosen), processor, ["samples", "nearest"]),
            )

    def _trajectories(self, model: Any, wanted: Any, names: list[str], processor: Any, seed: int) -> Iterator[Figure]:
        """The way from noise, for a model that shows it and draws spectrograms."""
        import torch

        from ..formatting import shorten
        from ._audio_figures import spectrogram_grid

        if not hasattr(model, "sample_trajectory") or processor.features != "log_mel":
            return
        options = {}
        if wanted is not None:
            options["labels"] = wanted.unique()[:TRAJECTORIES].repeat(TRAJECTORIES)[:TRAJECTORIES]
        generator = torch.Generator(device=next(model.parameters()).device).manual_seed(seed)
        states = model.sample_trajectory(TRAJECTORIES, STATES, generator=generator, **options)
        levels = states.clamp(-1, 1).float().flatten(0, 1).cpu().numpy()
        words = [shorten(names[label], 12) for label in options["labels"].tolist()] if options else []
        caption = "How noise becomes the spectrogram of a sample, from left to right."
        figure = spectrogram_grid(levels, [""] * len(levels), STATES, processor, words)
        yield Figure("trajectories", caption, figure)

    # ---------------------------------------------------------------- a release, and its use

    def draw_files(
        self, model: Any, processor: Any, count: int, seed: int, labels: "torch.Tensor | None", **options: Any
    ) -> Iterator[tuple[str, bytes]]:
        """Each sample as a wav file."""
        from ..processors.processing_audio_wav import write_wav
        from ._audio_quality import sample_sounds

        for sound in sample_sounds(model, processor, count, seed, labels, **options):
            yield ".wav", write_wav(sound.numpy() / 32767, processor.sampling_rate)

    def golden_inputs(self, processor: Any, config_values: dict[str, Any]) -> "Batch":
        """Two fixed chirps, of the first two classes where the model takes any."""
        import torch

        inputs = super().golden_inputs(processor, config_values)
        return inputs | ({"labels": torch.tensor([0, 1])} if config_values.get("class_conditional") else {})

    def example(self) -> str:
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


def take_sounds(columns: Any, count: int, seed: int) -> "tuple[torch.Tensor, torch.Tensor]":
    """At most `count` sounds (N, T) int16, drawn without replacement, and their classes (N,)."""
    from .contract.rows import draw_rows

    batch = columns.batch(draw_rows(columns, min(count, len(columns)), seed))
    return batch["samples"], batch["labels"]


def sound_files(
    samples: "torch.Tensor", sounds: "torch.Tensor", labels: "torch.Tensor", wanted: Any, names: list[str], rate: int
) -> Iterator[Sound]:
    """Of each class (at most 10) a few samples one after the other, and a test sound of each."""
    import torch

    pause = torch.zeros(round(PAUSE * rate), dtype=samples.dtype)

    def joined(rows: "torch.Tensor") -> "np.ndarray":
        return torch.cat([part for row in rows for part in (row, pause)]).numpy() / 32767

    if wanted is None:
        yield Sound("samples", f"{SOUNDS_A_FILE} samples", joined(samples[:SOUNDS_A_FILE]), rate)
        return
    groups = sorted(set(labels.tolist()))[:MAX_CLASSES]
    for label in groups:
        rows = samples[labels == label][:SOUNDS_A_FILE]
        caption = f"{names[label]}: {len(rows)} samples, not chosen"
        yield Sound(f"samples_{label}", caption, joined(rows), rate)
    first = torch.stack([sounds[(labels == label).nonzero()[0, 0]] for label in groups])
    yield Sound(
        "real",
        f"For comparison, a test sound of each class: {', '.join(names[i] for i in groups)}",
        joined(first),
        rate,
    )
