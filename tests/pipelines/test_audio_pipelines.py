"""transformers' pipelines on sounds with our models, and still with those of others."""

import numpy as np
import pytest
import torch
from transformers import AutoFeatureExtractor, AutoProcessor, pipeline
from transformers.pipelines import PIPELINE_REGISTRY, AudioClassificationPipeline, TextToAudioPipeline
from transformers.utils import ModelOutput

from hubmodels import families
from hubmodels.pipelines.audio import ClassToAudioPipeline
from hubmodels.processors.processing_audio import HubmodelsAudioFeatureExtractor
from hubmodels.processors.processing_audio_wav import write_wav

RATE = 4_000


def tone(rate: int = RATE) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * 440 * np.arange(rate // 5) / rate)).astype(np.float32)


def extractor() -> HubmodelsAudioFeatureExtractor:
    return HubmodelsAudioFeatureExtractor(RATE, 0.2, n_fft=128, hop_length=40, num_mel_bins=12)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A classifier with random weights, its feature extractor beside it."""
    torch.manual_seed(0)
    values = {
        "num_channels": 1,
        "image_size": [12, 20],
        "hidden_sizes": [4],
        "depths": [1],
        "id2label": {0: "a", 1: "b"},
    }
    path = tmp_path_factory.mktemp("classifier")
    families.build_model("cnn", "ForAudioClassification", values).save_pretrained(path)
    extractor().save_pretrained(path)
    return path


def test_the_auto_classes_give_the_feature_extractor_of_an_audio_model(folder) -> None:
    for cls in (AutoFeatureExtractor, AutoProcessor):
        assert type(cls.from_pretrained(folder)) is HubmodelsAudioFeatureExtractor


def test_every_form_of_a_sound_is_classified_without_ffmpeg(folder, tmp_path) -> None:
    classify = pipeline("audio-classification", model=str(folder))
    (tmp_path / "a.wav").write_bytes(write_wav(tone(), RATE))
    expected = {item["label"]: item["score"] for item in classify(tone())}
    assert sum(expected.values()) == pytest.approx(1, abs=1e-5)
    forms = [
        str(tmp_path / "a.wav"), write_wav(tone(), RATE), torch.from_numpy(tone()),
        {"array": tone(), "sampling_rate": RATE}, {"raw": tone(), "sampling_rate": RATE},
    ]  # fmt: skip
    for form in forms:
        for item in classify(form):
            assert item["score"] == pytest.approx(expected[item["label"]], abs=1e-3)
    faster = {item["label"]: item["score"] for item in classify({"array": tone(8_000), "sampling_rate": 8_000})}
    assert faster == pytest.approx(expected, abs=0.02)
    assert [len(answer) for answer in classify([tone(), tone()], top_k=1)] == [1, 1]


def test_silence_and_several_channels_are_sounds(folder) -> None:
    classify = pipeline("audio-classification", model=str(folder))
    assert len(classify(np.zeros(800, np.float32))) > 1
    expected = {item["label"]: item["score"] for item in classify(tone())}
    for stereo in (np.stack([tone(), tone()]), np.stack([tone(), tone()], axis=1)):
        assert {item["label"]: item["score"] for item in classify(stereo)} == pytest.approx(expected, abs=1e-5)


def test_a_bad_sound_is_refused_in_one_line(folder) -> None:
    classify = pipeline("audio-classification", model=str(folder))
    for sound, message in ((np.zeros(0, np.float32), "empty"), (b"", "empty"), (np.ones((90, 99)), r"got \(90, 99\)")):
        with pytest.raises(ValueError, match=message):
            classify(sound)


def test_transformers_own_pipelines_are_extended_and_keep_their_models() -> None:
    for task, base, others in (
        ("audio-classification", AudioClassificationPipeline, {"AutoModelForAudioClassification"}),
        (
            "text-to-audio",
            TextToAudioPipeline,
            {"AutoModelForTextToWaveform", "AutoModelForTextToSpectrogram", "AutoModel"},
        ),
    ):
        entry = PIPELINE_REGISTRY.check_task(task)[1]
        assert issubclass(entry["impl"], base)
        assert entry["impl"] is not base
        assert {cls.__name__ for cls in entry["pt"]} == others
        assert entry["default"]


class Drawing(torch.nn.Module):
    """A model that samples the spectrogram of a tone, higher for the second class."""

    def __init__(self, class_conditional: bool = True) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.config = type(families.build_config("cnn", {}))(id2label={0: "low", 1: "high"})
        self.config.class_conditional = class_conditional
        self.device, self.dtype = torch.device("cpu"), torch.float32

    def can_generate(self) -> bool:
        return False

    def sample(self, num_samples, labels=None, generator=None, num_inference_steps=1) -> torch.Tensor:
        labels = torch.zeros(num_samples) if labels is None else labels
        shift = torch.rand(num_samples, generator=generator) * num_inference_steps
        pitches = 300 + 800 * labels + shift
        times = torch.arange(800) / RATE
        return extractor().to_values(0.5 * torch.sin(2 * torch.pi * pitches[:, None] * times))


def drawing(class_conditional: bool = True) -> ClassToAudioPipeline:
    return ClassToAudioPipeline(model=Drawing(class_conditional), feature_extractor=extractor())


def test_a_class_by_name_becomes_a_sound_of_it() -> None:
    draw = drawing()
    for name, hertz in (("low", 300), ("high", 1_100), (1, 1_100)):
        sound = draw(name, seed=0)
        assert sound["sampling_rate"] == RATE
        assert sound["audio"].shape == (800,)
        assert np.abs(np.fft.rfft(sound["audio"])).argmax() * 5 == pytest.approx(hertz, abs=60)
    assert [found["audio"].shape for found in draw(["low", "high", "low"])] == [(800,)] * 3
    assert np.array_equal(draw("low", seed=3)["audio"], draw("low", seed=3)["audio"])
    assert not np.array_equal(draw("low", seed=3, num_inference_steps=90)["audio"], draw("low", seed=3)["audio"])


def test_an_unknown_class_is_refused_and_a_model_without_classes_needs_none() -> None:
    with pytest.raises(ValueError, match="unknown class 'loud'; the classes are low, high"):
        drawing()("loud")
    with pytest.raises(ValueError, match="at least one class"):
        drawing()([])
    assert len(drawing(class_conditional=False)(["anything", ""])) == 2


def test_a_model_of_others_goes_the_way_of_transformers(monkeypatch) -> None:
    draw = drawing()
    monkeypatch.setattr(type(draw), "draws", False)
    seen = []
    monkeypatch.setattr(TextToAudioPipeline, "preprocess", lambda self, text, **kwargs: seen.append(text) or {})
    monkeypatch.setattr(
        TextToAudioPipeline, "_forward", lambda self, inputs, **kwargs: ModelOutput(sequences=torch.ones(1, 5))
    )
    assert draw("some words")["audio"].shape == (5,)
    assert seen == ["some words"]
