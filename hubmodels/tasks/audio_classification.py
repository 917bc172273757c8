"""Audio classification: a sound and its class. Augmentation, metrics, the logistic-regression baseline and figures."""

import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ..fields import option
from ..report import Baseline, Figure
from ._audio import LabelledAudioTask
from ._one_class import OneClassARow
from .contract.columns import class_names, label_maps

if TYPE_CHECKING:
    import datasets
    import numpy as np
    import torch

    from ._unbound import Batch, Rows

BASELINE_PENALTIES = (0.01, 0.1, 1.0, 10.0)  # inverse strengths of logistic regression's L2 penalty


@dataclass(kw_only=True)
class AudioClassification(OneClassARow, LabelledAudioTask):
    """One sound, one class."""

    tag: ClassVar[str] = "audio-classification"
    head: ClassVar[str] = "ForAudioClassification"
    config_fields: ClassVar[tuple[str, ...]] = ("num_channels", "image_size", "id2label", "label2id", "problem_type")

    noise: float = option(0.0, "augmentation: largest level of white noise, relative to the sound's, >= 0")
    time_masking: float = option(0.0, "augmentation: largest share of the frames that is silenced, in [0, 1)")
    frequency_masking: float = option(0.0, "augmentation: largest share of the bands that is silenced, in [0, 1)")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.audio_features != "log_mel":
            raise ValueError("the classifiers see spectrograms: audio_features must be log_mel")
        for name in ("time_masking", "frequency_masking"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 0 and below 1, got {getattr(self, name)}")
        if not self.noise >= 0:
            raise ValueError(f"noise must be at least 0, got {self.noise}")

    # ---------------------------------------------------------------- what the data decide

    def fit_config(self, train: "datasets.Dataset", processor: Any) -> dict[str, Any]:
        """A spectrogram as an image of one channel. The classes are a class column's own names in their order, or the
        distinct texts or integers of the training rows, sorted."""
        _, column = train.features  # in the order of `select`
        names = class_names(train, column)
        return {
            "num_channels": 1,
            "image_size": list(processor.input_shape),
            **label_maps(names),
            "problem_type": "single_label_classification",
        }

    # ---------------------------------------------------------------- rows -> tensors

    def transform(
        self, processor: Any, config_values: dict[str, Any], *, training: bool
    ) -> "Callable[[Batch, torch.Generator | None], Batch]":
        """In training shift, speed and noise on the waveform; then the spectrogram; in training then the masks."""
        from . import _audio_augmentation as augmentation

        def prepare(batch: "Batch", generator: "torch.Generator | None" = None) -> "Batch":
            waveforms = self.waveforms(batch["samples"], processor, generator, training=training)
            if training and self.noise:
                waveforms = augmentation.random_noise(waveforms, self.noise, generator)
            values = processor.to_values(waveforms)
            if training and self.time_masking:
                values = augmentation.random_mask(values, self.time_masking, generator, frequency=False)
            if training and self.frequency_masking:
                values = augmentation.random_mask(values, self.frequency_masking, generator, frequency=True)
            return {"input_values": values} | ({"labels": batch["labels"]} if "labels" in batch else {})

        return prepare

    # ---------------------------------------------------------------- results

    def baseline(self, train: Any, test: Any, processor: Any, config_values: dict[str, Any], seed: int) -> Baseline:
        """Logistic regression on the mean and standard deviation of each band over the frames, its L2 penalty chosen on
        a tenth of the training rows."""
        import numpy as np
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        from .targets.class_rows import probability_rows

        started = time.perf_counter()
        inputs, labels = band_statistics(train, processor), train.tensor("labels").numpy()
        order = np.random.default_rng(seed).permutation(len(labels))
        inputs, labels = inputs[order], labels[order]
        probabilities = np.zeros((len(test), len(config_values["id2label"])))
        found = np.unique(labels)
        if len(found) == 1:  # nothing to separate
            probabilities[:, found[0]] = 1
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)

                def fitted(penalty: float, count: int) -> Any:
                    model = LogisticRegression(C=penalty, max_iter=1_000, random_state=seed)
                    return make_pipeline(StandardScaler(), model).fit(inputs[:count], labels[:count])

                count, best = len(labels) - -(-len(labels) // 10), 1
                if len(np.unique(labels[:count])) > 1:
                    scores = [fitted(item, count).score(inputs[count:], labels[count:]) for item in BASELINE_PENALTIES]
                    best = int(np.argmax(scores))
                model = fitted(BASELINE_PENALTIES[best], len(labels))
            probabilities[:, model[-1].classes_] = model.predict_proba(band_statistics(test, processor))
        result = probability_rows(probabilities, test.tensor("labels").numpy())
        name = "logistic regression on mean and spread of the log-mel bands"
        return Baseline(name=name, rows=result, seconds=time.perf_counter() - started)

    def row_plots(self, rows: "Rows", columns: Any, processor: Any, config_values: dict[str, Any]) -> Iterator[Figure]:
        """Spectrograms of the most confident mistakes."""
        import numpy as np
        import torch

        from ..formatting import shorten
        from ._audio_figures import spectrogram_grid, spectrogram_levels

        names = self.class_names(config_values)
        wrong = np.flatnonzero(rows["predictions"] != rows["labels"])
        if len(wrong):
            worst = wrong[np.argsort(-rows["confidences"][wrong], kind="stable")][:12]
            samples = columns.batch(torch.from_numpy(worst))["samples"]
            titles = [
                f"{shorten(names[rows['labels'][row]], 12)} → {shorten(names[rows['predictions'][row]], 12)} "
                f"({rows['confidences'][row]:.0%})"
                for row in worst
            ]
            yield Figure(
                name="worst_mistakes",
                caption="The mistakes on the test rows that the model is most confident of, as spectrograms (low bands "
                "below, 60 dB from black to white): true class → predicted class and its probability.".replace(
                    "60 dB", f"{processor.dynamic_range:g} dB"
                ),
                figure=spectrogram_grid(
                    spectrogram_levels(processor, samples), titles, min(6, max(3, len(worst))), processor
                ),
            )

    def example(self) -> str:
        return (
            "import hubmodels  # makes transformers know the family, and read wav files without ffmpeg\n"
            "from transformers import pipeline\n"
            "\n"
            'classifier = pipeline("audio-classification", model="{model_id}")\n'
            'print(classifier("sound.wav"))  # a path, bytes, {"array": ..., "sampling_rate": ...}, or samples\n'
        )


def band_statistics(columns: Any, processor: Any) -> "np.ndarray":
    """Mean and standard deviation over the frames of each band, (N, 2 M)."""
    import numpy as np
    import torch

    parts = []
    for rows in torch.arange(len(columns)).split(500):
        values = processor.to_values(columns.batch(rows)["samples"])
        parts.append(torch.cat([values.mean(dim=2), values.std(dim=2)], dim=1).numpy())
    return np.concatenate(parts).astype(np.float64)
