"""The text-to-audio task: what the data decide, sounds measured as a whole, the classical sampler, figures, sounds."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from datasets import Audio, ClassLabel, Dataset, Features, Value

from hubmodels import families
from hubmodels.errors import HubmodelsError
from hubmodels.evaluation import evaluate
from hubmodels.figures import save_figure
from hubmodels.processors.processing_audio_wav import write_wav
from hubmodels.report import Sound
from hubmodels.tasks.baselines.class_means import class_mean_samples
from hubmodels.tasks.inputs.sound_features import SoundClassifier, sample_sounds
from hubmodels.tasks.targets.diversity import diversity
from hubmodels.tasks.targets.sample_quality import frechet_distance
from hubmodels.tasks.text_to_audio import TextToAudio

RATE = 4_000
NAMES = ["low", "high"]
KNOWS = {"class_conditional": True}
OPTIONS = {"duration": 0.2, "n_fft": 128, "hop_length": 40, "num_mel_bins": 12}
COUNT = 40


def tones(labels: np.ndarray, seed: int) -> np.ndarray:
    """Low and high tones (N, T) of about one pitch each, with some noise."""
    generator = np.random.default_rng(seed)
    times = np.arange(round(0.2 * RATE)) / RATE
    pitches = generator.normal(300 + 900 * labels, 20)[:, None]
    levels = generator.uniform(0.3, 0.6, (len(labels), 1))
    return levels * np.sin(2 * np.pi * pitches * times) + generator.normal(0, 0.02, (len(labels), len(times)))


def rows(count: int = COUNT, seed: int = 0) -> Dataset:
    labels = np.arange(count) % 2
    stored = Features(audio={"bytes": Value("binary"), "path": Value("string")}, label=ClassLabel(names=NAMES))
    audio = [{"bytes": write_wav(row, RATE), "path": None} for row in tones(labels, seed)]
    return Dataset.from_dict({"audio": audio, "label": labels.tolist()}, features=stored).cast_column("audio", Audio())


class Sampler(torch.nn.Linear):
    """Sounds like the data's, as the processor sees them; or always the very same one of a class."""

    def __init__(self, processor, collapsed: bool = False) -> None:
        super().__init__(1, 1)
        self.processor, self.collapsed = processor, collapsed

    def sample(
        self, num_samples: int, labels: torch.Tensor | None = None, num_inference_steps: int = 2, generator=None
    ) -> torch.Tensor:
        labels = torch.arange(num_samples) % 2 if labels is None else labels
        seed = int(torch.randint(1_000, (1,), generator=generator))
        waves = tones(labels.numpy(), 7 if self.collapsed else seed)
        if self.collapsed:
            waves = np.stack([waves[labels.tolist().index(label)] for label in labels.tolist()])
        return self.processor.to_values(torch.from_numpy(self.processor.to_samples(list(waves))))

    def sample_trajectory(self, num_samples: int, num_states: int, labels=None, generator=None) -> torch.Tensor:
        values = self.sample(num_samples * num_states, generator=generator)
        return values.view(num_samples, num_states, *values.shape[1:])


@pytest.fixture(scope="module")
def prepared(encode_rows):
    """A problem of these options, its encoded splits, and what is drawn of the test sounds."""

    def prepare(known: dict | None = None, **options) -> SimpleNamespace:
        task = TextToAudio.from_options(**OPTIONS, **options)
        problem = task.fit(task.select(rows()))
        problem.know_model(KNOWS if known is None else known)
        columns = {"train": encode_rows(problem, task.select(rows(2 * COUNT, 1))),
                   "test": encode_rows(problem, task.select(rows()))}  # fmt: skip
        return SimpleNamespace(task=task, problem=problem, processor=problem.processor, columns=columns)

    return prepare


@pytest.fixture(scope="module")
def classifier(tmp_path_factory, prepared):
    """A convolutional network that tells low from high, trained for a moment."""
    case = prepared()
    labels = case.problem.config_fields()
    values = {
        "num_channels": 1, "image_size": list(case.processor.input_shape), "hidden_sizes": [8], "depths": [1],
        "embedding_size": 8, "pooling": "flatten", "id2label": labels["id2label"], "label2id": labels["label2id"],
    }  # fmt: skip
    torch.manual_seed(0)
    model = families.build_model("cnn", "ForAudioClassification", values)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    batch = case.problem.transform(training=False)(case.columns["train"].batch(torch.arange(80)), None)
    for _ in range(20):
        optimizer.zero_grad()
        model(**batch).loss.backward()
        optimizer.step()
    folder = tmp_path_factory.mktemp("classifier")
    model.save_pretrained(folder)
    case.processor.save_pretrained(folder)
    return str(folder)


def examined(case: SimpleNamespace, model, columns: dict | None = None):
    return case.problem.examine(model, columns or case.columns)


# ---------------------------------------------------------------- what the data decide


def test_the_config_has_the_shape_and_the_statistics_of_the_training_inputs(prepared) -> None:
    case = prepared(known={})
    values = case.problem.config_fields()
    inputs = case.problem.transform(training=False)(case.columns["test"].batch(torch.arange(COUNT)), None)[
        "input_values"
    ]
    assert (values["data"], values["num_mel_bins"], values["num_frames"]) == ("audio", *inputs.shape[1:])
    assert values["data_mean"] == pytest.approx(inputs.mean().item(), abs=1e-3)
    assert values["data_std"] == pytest.approx(inputs.std().item(), abs=1e-3)
    assert values["id2label"] == dict(enumerate(NAMES))
    waveform = prepared(audio_features="waveform").problem.config_fields()
    assert (waveform["num_mel_bins"], waveform["num_frames"]) == (0, 800)


def test_a_problem_comes_back_from_its_processor_and_config(prepared, tmp_path) -> None:
    problem = prepared().problem
    problem.save(tmp_path)
    bound = problem.task.bind(problem.task.input.load(str(tmp_path)), problem.config_fields(), {}, seed=problem.seed)
    assert bound.config_fields() == problem.config_fields()
    assert bound.cache_key() == problem.cache_key()


def test_labels_go_to_models_that_know_classes_alone(prepared) -> None:
    unconditional = prepared(known={}, time_shift=0.1, speed=0.1)
    batch = unconditional.columns["train"].batch(torch.arange(6))
    transform = unconditional.problem.transform(training=True)
    first, again = (transform(batch, torch.Generator().manual_seed(0)) for _ in range(2))
    assert set(first) == {"input_values"}
    assert torch.equal(first["input_values"], again["input_values"])
    told = prepared(time_shift=0.1, speed=0.1).problem.transform(training=True)(batch, None)
    assert set(told) == {"input_values", "labels"}


@pytest.mark.parametrize(("options", "message"), [({"time_shift": 1.5}, "time_shift"), ({"speed": -1.0}, "speed")])
def test_impossible_options_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TextToAudio.from_options(**options)


def test_data_without_classes_are_for_models_that_are_told_none() -> None:
    selected = TextToAudio().select(rows(4).select_columns(["audio"]))
    problem = TextToAudio().fit(selected)
    assert problem.target.names == []
    assert problem.encode(selected[:], list(range(4)), selected.features)["labels"].tolist() == [-1] * 4
    problem.model_values = {"class_conditional": False}
    assert not problem.class_conditional
    problem.model_values = {"class_conditional": True}
    with pytest.raises(HubmodelsError, match="--class_conditional false"):
        problem.transform(training=True)


def test_of_sounds_with_classes_each_has_one() -> None:
    selected = TextToAudio().select(rows(4))
    batch = {**selected[:], "label": [0, None, 1, 0]}
    with pytest.raises(HubmodelsError, match="row 1"):
        TextToAudio().fit(selected).encode(batch, list(range(4)), selected.features)


def test_a_loss_of_each_row_is_a_metric_where_the_model_gives_one(prepared) -> None:
    problem, batch = prepared().problem, {"input_values": torch.zeros(3, 2, 2)}
    results = problem.predict(SimpleNamespace(row_loss=torch.tensor([1.0, 2.0, 6.0])), batch)
    assert problem.metrics({"losses": results["losses"].numpy()}) == {"loss": 3.0}
    assert problem.predict(SimpleNamespace(), batch)["rows"].tolist() == [1, 1, 1]


# ---------------------------------------------------------------- measures


def test_samples_like_the_data_are_near_the_floor_and_recognised(classifier: str, prepared) -> None:
    case = prepared(audio_classifier=classifier)
    examination = examined(case, Sampler(case.processor))
    metrics = {name: item.value for name, item in examination.metrics.items()}
    assert metrics["class_accuracy"] > 0.95
    assert metrics["real_accuracy"] > 0.95
    assert metrics["inverted_accuracy"] > 0.9
    assert 0.5 < metrics["diversity"] < 1.6
    assert metrics["fid"] < 30 * metrics["fid_floor"] + metrics["fid_inverted"]
    assert set(examination.metrics) <= set(case.task.metric_names)
    for item in (
        examination.metrics["class_accuracy"],
        examination.metrics["diversity"],
        examination.metrics["novelty"],
    ):
        assert item.low <= item.value <= item.high
    assert examination.baseline_name == "Griffin-Lim of class means with noise"
    assert examination.baseline_metrics["class_accuracy"].value > 0.8
    results = evaluate({"rows": np.ones(COUNT)}, case.problem, None, examination)
    assert results.difference.low < results.difference.value < results.difference.high
    assert results.verdict


def test_one_sound_a_class_is_recognised_and_neither_diverse_nor_near(classifier: str, prepared) -> None:
    case = prepared(audio_classifier=classifier)
    examination = examined(case, Sampler(case.processor, collapsed=True), {"test": case.columns["test"]})
    fair = examined(case, Sampler(case.processor), {"test": case.columns["test"]})
    assert examination.metrics["class_accuracy"].value == 1
    assert examination.metrics["diversity"].value < 0.3 < fair.metrics["diversity"].value  # their phases differ
    assert examination.metrics["fid"].value > 1.3 * fair.metrics["fid"].value
    assert examination.baseline_name is None  # no training sounds at hand
    assert "novelty" not in examination.metrics


def test_a_model_without_classes_is_measured_without_them(classifier: str, prepared) -> None:
    case = prepared(known={}, audio_classifier=classifier)
    examination = examined(case, Sampler(case.processor))
    assert "class_accuracy" not in examination.metrics
    assert examination.metrics["real_accuracy"].value > 0.95
    assert [plot.name for plot in examination.figures if isinstance(plot, Sound)] == ["samples"]


def test_without_a_classifier_spectrograms_are_compared(prepared) -> None:
    case = prepared()
    examination = examined(case, Sampler(case.processor))
    assert "class_accuracy" not in examination.metrics
    assert examination.metrics["fid"].value < examination.baseline_metrics["fid"].value * 3
    model = Sampler(case.processor)
    first, again = (case.problem.validate(model, case.columns["test"]) for _ in range(2))
    assert first["fid"] > 0
    assert again == first


def test_a_classifier_that_is_none_is_named(tmp_path) -> None:
    with pytest.raises(HubmodelsError, match=r"audio_classifier: cannot load .*nowhere"):
        SoundClassifier(tmp_path / "nowhere", RATE)


def test_a_classifier_of_another_rate_hears_the_same(classifier: str, prepared) -> None:
    case = prepared()
    samples, labels = case.problem.take_real(case.columns["test"], 20, 0)
    doubled = samples.repeat_interleave(2, dim=1)  # twice the rate, roughly
    features, classes = SoundClassifier(classifier, RATE).recognise(samples)
    _, again = SoundClassifier(classifier, 2 * RATE).recognise(doubled)
    assert (classes == labels.numpy()).mean() > 0.9
    assert (again == classes).mean() > 0.9
    assert features.shape == (20, 8)


def test_silent_samples_are_measured_too(classifier: str) -> None:
    features, classes = SoundClassifier(classifier, RATE).recognise(torch.zeros(3, 800, dtype=torch.int16))
    assert np.isfinite(features).all()
    assert classes.shape == (3,)


def test_samples_are_repeatable_sounds_of_the_classes_asked_for(prepared) -> None:
    case = prepared()
    model, labels = Sampler(case.processor), torch.tensor([1, 0, 1])
    first = sample_sounds(model, case.problem.input, 3, 0, labels)
    assert first.shape == (3, 800)
    assert first.dtype == torch.int16
    assert torch.equal(first, sample_sounds(model, case.problem.input, 3, 0, labels))
    pitches = np.abs(np.fft.rfft(first.numpy())).argmax(axis=1) * 5  # Hz a place
    assert (pitches > 700).tolist() == [True, False, True]


def test_the_classical_samples_have_the_mean_and_spread_of_their_class() -> None:
    generator = torch.Generator().manual_seed(0)
    classes = torch.arange(400) % 2
    values = (
        0.1 * torch.randn(400, 3, 2, generator=generator) * (1 + classes.view(-1, 1, 1)) + classes.view(-1, 1, 1) - 0.5
    )
    drawn = class_mean_samples(values, classes, torch.ones(5_000, dtype=torch.int64), seed=0)
    torch.testing.assert_close(drawn.mean(0), values[classes == 1].mean(0), atol=0.02, rtol=0)
    torch.testing.assert_close(drawn.std(0), values[classes == 1].std(0), atol=0.02, rtol=0)


def test_diversity_is_a_ratio_of_mean_distances_within_classes() -> None:
    real = np.array([[0.0], [2.0], [100.0], [104.0], [7.0]])
    fake = np.array([[0.0], [1.0], [5.0], [7.0], [9.0]])
    classes = np.array([0, 0, 1, 1, 2])  # the last is alone
    assert diversity(fake, classes, real, classes).value == pytest.approx((1 + 1 + 2 + 2) / (2 + 2 + 4 + 4))
    assert np.isnan(diversity(fake[:1], classes[:1], real, classes).value)


def test_what_goes_through_a_waveform_model_stays(prepared) -> None:
    case = prepared(audio_features="waveform")
    samples, _ = case.problem.take_real(case.columns["test"], 5, 0)
    back = case.problem.invert(samples)
    assert (back.int() - samples.int()).abs().max() <= 1
    assert frechet_distance(back.double().numpy()[:, :8], samples.double().numpy()[:, :8]) < 1


# ---------------------------------------------------------------- figures, sounds, a release


def test_its_figures_and_sounds_can_be_written(classifier: str, prepared, tmp_path) -> None:
    case = prepared(audio_classifier=classifier)
    plots = examined(case, Sampler(case.processor)).figures
    sounds = [plot for plot in plots if isinstance(plot, Sound)]
    assert [plot.name for plot in plots if not isinstance(plot, Sound)] == [
        "steps", "samples", "nearest_training_sounds", "trajectories",
    ]  # fmt: skip
    for plot in plots:
        if not isinstance(plot, Sound):
            save_figure(plot.figure, tmp_path / f"{plot.name}.png")
            assert (tmp_path / f"{plot.name}.png").stat().st_size > 4_000
    assert [sound.name for sound in sounds] == ["samples_0", "samples_1", "real"]
    assert sounds[0].caption.startswith("low: 3 samples")
    for sound in sounds:
        assert sound.sampling_rate == RATE
        assert 0.3 < np.abs(sound.waveform).max() <= 1
    assert len(sounds[0].waveform) == 3 * (800 + 800)  # each with its pause


def test_the_golden_inputs_have_classes_where_the_model_does(prepared) -> None:
    assert set(prepared(known={}).problem.golden_inputs()) == {"input_values"}
    assert prepared().problem.golden_inputs()["labels"].tolist() == [0, 1]


@pytest.mark.parametrize(("known", "rows_of_panels"), [(KNOWS, 2), ({}, 2)])
def test_a_preview_shows_samples_and_is_alike_each_time(known: dict, rows_of_panels: int, prepared) -> None:
    case = prepared(known=known)
    (first,), (second,) = (list(case.problem.preview(Sampler(case.processor))) for _ in range(2))
    assert len(first.figure.axes) == 6 * rows_of_panels
    for one, other in zip(first.figure.axes, second.figure.axes, strict=True):
        assert np.array_equal(one.images[0].get_array(), other.images[0].get_array())
