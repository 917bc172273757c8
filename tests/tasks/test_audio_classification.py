"""The audio-classification task: columns, what the data decide, encoding, augmentation, baseline, figures."""

import io

import numpy as np
import pytest
import soundfile
import torch
from datasets import Audio, ClassLabel, Dataset, Features, Value, concatenate_datasets

from hubmodels.checkpoint import saving_plainly
from hubmodels.errors import HubmodelsError
from hubmodels.figures import save_figure
from hubmodels.processors.processing_audio_wav import write_wav
from hubmodels.report import collect_notes
from hubmodels.tasks.audio_classification import AudioClassification, AudioClassificationProblem
from hubmodels.tasks.inputs import sound_augmentation as augmentation
from hubmodels.tasks.inputs.sounds import Spectrograms

RATE = 4_000
NAMES = ["low", "high"]


def sound(hertz: float, seconds: float = 0.25, rate: int = RATE, seed: int = 0) -> bytes:
    times = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(seed).normal(0, 0.02, len(times))
    return write_wav(0.5 * np.sin(2 * np.pi * hertz * times) + noise, rate)


def rows(count: int = 40, seconds: float = 0.25) -> Dataset:
    """Low and high tones of about one pitch each."""
    labels = np.arange(count) % 2
    pitches = np.random.default_rng(0).normal(300 + 700 * labels, 30)
    audio = [{"bytes": sound(pitch, seconds, seed=seed), "path": None} for seed, pitch in enumerate(pitches.tolist())]
    return sound_rows(audio, labels.tolist(), ClassLabel(names=NAMES))


def sound_rows(audio: list, labels: list, label: object) -> Dataset:
    """A data set as `datasets` reads one; encoding an Audio column would ask for a decoder."""
    stored = {"bytes": Value("binary"), "path": Value("string")}
    dataset = Dataset.from_dict({"audio": audio, "label": labels}, features=Features(audio=stored, label=label))
    return dataset.cast_column("audio", Audio())


def fitted(dataset: Dataset, **options) -> tuple[AudioClassificationProblem, Dataset]:
    """The problem that the options and these rows make, and the selected rows."""
    task = AudioClassification.from_options(**options)
    selected = task.select(dataset)
    return task.fit(selected), selected


# ---------------------------------------------------------------- columns, and what the data decide


def test_sounds_are_found_by_their_type_and_left_undecoded() -> None:
    dataset = (
        rows(4).cast_column("audio", Audio(decode=False)).rename_column("audio", "clip").add_column("note", ["x"] * 4)
    )
    selected = AudioClassification().select(dataset)
    assert selected.column_names == ["clip", "label"]
    assert set(selected[0]["clip"]) == {"bytes", "path"}


def test_paths_can_be_named_as_the_sounds(tmp_path, encode_rows) -> None:
    paths = []
    for number in range(4):
        (tmp_path / f"{number}.wav").write_bytes(sound(300 + 300 * number))
        paths.append(str(tmp_path / f"{number}.wav"))
    dataset = Dataset.from_dict({"where": paths, "label": ["a", "b", "a", "b"]})
    with pytest.raises(HubmodelsError, match="no audio column.*--audio_column_name"):
        AudioClassification().select(dataset)
    problem, selected = fitted(dataset, audio_column_name="where")
    assert encode_rows(problem, selected).tensor("samples").shape == (4, problem.processor.num_samples)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (["label"], "no audio column"),
        (["audio"], "no class column"),
    ],
)
def test_a_missing_column_is_named(columns: list[str], message: str) -> None:
    with pytest.raises(HubmodelsError, match=message):
        AudioClassification().select(rows(4).select_columns(columns))


def test_two_columns_of_sounds_need_a_choice() -> None:
    first = rows(4).cast_column("audio", Audio(decode=False))
    first = first.rename_column("audio", "clip")
    dataset = concatenate_datasets([first, first.remove_columns("label").rename_column("clip", "other")], axis=1)
    with pytest.raises(HubmodelsError, match="several audio columns: clip, other; choose one with --audio_column"):
        AudioClassification().select(dataset)


def test_rate_length_and_level_are_those_of_the_training_sounds() -> None:
    problem, _ = fitted(rows(40, seconds=0.24))
    processor, values = problem.processor, problem.config_fields()
    assert (processor.sampling_rate, processor.duration) == (RATE, 0.25)  # up to the next 20th of a second
    assert (processor.n_fft, processor.hop_length) == (192, 50)  # 48 and 12.5 ms
    assert values["image_size"] == list(processor.input_shape) == [40, 20]
    assert values["id2label"] == {0: "low", 1: "high"}
    samples = torch.from_numpy(processor.to_samples([sound(300), sound(1_000)]))
    assert 0.7 < processor.to_values(samples).max() < 1.3


def test_what_the_options_say_stands() -> None:
    options = {"sampling_rate": 2_000, "duration": 0.2, "num_mel_bins": 16, "n_fft": 128, "hop_length": 32}
    problem, _ = fitted(rows(8), **options)
    assert {name: getattr(problem.processor, name) for name in options} == options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"audio_features": "waveform"}, "log_mel"),
        ({"time_shift": 1.0}, "time_shift"),
        ({"frequency_masking": -0.1}, "frequency_masking"),
        ({"noise": -1.0}, "noise"),
        ({"duration": 0.0}, "duration must be greater than 0"),
    ],
)
def test_impossible_options_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AudioClassification.from_options(**options)


def test_a_checkpoint_of_another_form_is_refused(tmp_path) -> None:
    problem, _ = fitted(rows(8))
    with saving_plainly():
        problem.save(tmp_path)
    assert Spectrograms().load(str(tmp_path)).processor.to_dict() == problem.processor.to_dict()
    with pytest.raises(HubmodelsError, match="has the sampling_rate 4000; leave out --sampling_rate 8000"):
        Spectrograms(sampling_rate=8_000).load(str(tmp_path))
    with pytest.raises(HubmodelsError, match="no usable feature extractor"):
        Spectrograms().load(str(tmp_path / "nowhere"))


# ---------------------------------------------------------------- rows


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (write_wav(np.zeros(0), RATE), "row 3, column 'audio': cannot read the sound: the audio is empty"),
        (b"ID3 and so on", "row 3, column 'audio': cannot read the sound: .*no wav file"),
        (b"", "row 3, column 'audio': cannot read the sound"),
    ],
)
def test_a_bad_sound_is_named_by_its_row(data: bytes, message: str) -> None:
    problem, selected = fitted(rows(8))
    batch = selected[:]
    batch["audio"][3] = {"bytes": data, "path": None}
    with pytest.raises(HubmodelsError, match=message):
        problem.encode(batch, list(range(8)), selected.features)


def test_what_the_sounds_are_like_is_noted() -> None:
    sounds = list(rows(20).cast_column("audio", Audio(decode=False))["audio"])
    sounds[2] = {"bytes": write_wav(np.zeros(900), RATE), "path": None}
    sounds[5] = {"bytes": write_wav(np.sign(np.sin(np.arange(4_000))), RATE), "path": None}
    sounds[7] = {"bytes": write_wav(0.5 * np.sin(np.arange(9_000)), 16_000), "path": None}
    sounds[9] = {"bytes": sounds[9]["bytes"][:-400], "path": None}
    stereo = io.BytesIO()
    soundfile.write(stereo, 0.5 * np.sin(np.arange(8_000)).reshape(-1, 2), RATE, format="WAV")
    sounds[11] = {"bytes": stereo.getvalue(), "path": None}
    table = sound_rows(sounds, [0] * 20, ClassLabel(names=NAMES)).cast_column("audio", Audio(decode=False))
    with collect_notes() as notes:
        processor = Spectrograms().fit_processor(table, "audio")
    assert processor.sampling_rate == RATE
    texts = " | ".join(note.text for note in notes)
    assert f"19 at {RATE:,} Hz, 1 at 16,000 Hz: all are brought to {RATE:,} Hz" in texts
    assert "1 of 20 training sounds have 2 channels: their mean is used" in texts
    assert "1 of 20 training sounds are silent: silence is a sound like others; row 2" in texts
    assert "1 of 20 training sounds are clipped (over 10 % of their samples at the end of the scale); row 5" in texts
    assert "1 of 20 training sounds end before their header says: what is there is used; row 9" in texts


def test_a_file_of_rows_needs_no_labels() -> None:
    import pyarrow

    problem, selected = fitted(rows(8))
    stored = selected[:2]["audio"]
    expected = problem.processor.to_samples([item["bytes"] for item in stored])
    for column in ([item["bytes"] for item in stored], stored):
        table = pyarrow.table({"audio": column})
        assert np.array_equal(problem.encode_inputs(table, [0, 1])["samples"], expected)
    with pytest.raises(HubmodelsError, match="no column of sounds"):
        problem.encode_inputs(pyarrow.table({"x": [1]}), [0])


def test_encoded_rows_become_what_the_processor_gives(encode_rows) -> None:
    problem, selected = fitted(rows(8))
    columns = encode_rows(problem, selected)
    batch = problem.transform(training=False)(columns.batch(torch.arange(8)), None)
    assert set(batch) == {"input_values", "labels"}
    sounds = [item["bytes"] for item in selected["audio"]]
    assert torch.equal(batch["input_values"], problem.processor(sounds, return_tensors="pt")["input_values"])
    assert batch["labels"].tolist() == [0, 1] * 4


# ---------------------------------------------------------------- augmentation


def test_training_augments_by_its_generator_alone(encode_rows) -> None:
    options = {"time_shift": 0.2, "speed": 0.1, "noise": 0.3, "time_masking": 0.3, "frequency_masking": 0.3}
    problem, selected = fitted(rows(8), **options)
    batch = encode_rows(problem, selected).batch(torch.arange(8))
    train, test = (problem.transform(training=training) for training in (True, False))

    def drawn(seed: int) -> torch.Tensor:
        return train(batch, torch.Generator().manual_seed(seed))["input_values"]

    assert torch.equal(drawn(0), drawn(0))
    assert not torch.equal(drawn(0), drawn(1))
    assert not torch.equal(drawn(0), test(batch, None)["input_values"])


def test_a_shift_moves_each_sound_and_brings_silence() -> None:
    waveforms = torch.arange(1.0, 21).repeat(50, 1)
    shifted = augmentation.random_shift(waveforms, 3, torch.Generator().manual_seed(0))
    shifts = set()
    for row in shifted:
        (shift,) = {int(index + 1 - value) for index, value in enumerate(row.tolist()) if value}
        assert (row == 0).sum() == abs(shift)
        shifts.add(shift)
    assert shifts == {-3, -2, -1, 0, 1, 2, 3}


def test_a_change_of_speed_changes_the_pitch_within_its_limit() -> None:
    times = torch.arange(4_000) / RATE
    waveforms = torch.sin(2 * torch.pi * 400 * times).repeat(30, 1)
    changed = augmentation.random_speed(waveforms, 0.25, torch.Generator().manual_seed(0))
    pitches = torch.fft.rfft(changed).abs()[:, 1:].argmax(dim=1) + 1.0  # 1 Hz a index
    assert pitches.min() >= 400 / 1.26
    assert pitches.max() <= 400 * 1.26
    assert pitches.std() > 20


def test_noise_is_relative_to_the_sound() -> None:
    waveforms = torch.stack([torch.full((20_000,), 0.5), torch.full((20_000,), 0.05)])
    noisy = augmentation.random_noise(waveforms, 0.4, torch.Generator().manual_seed(1))
    share = (noisy - waveforms).std(dim=1) / torch.tensor([0.5, 0.05])
    assert (share > 0).all()
    assert (share < 0.41).all()


@pytest.mark.parametrize("frequency", [False, True])
def test_a_mask_is_one_stretch_within_its_limit(frequency: bool) -> None:
    values = torch.zeros(200, 12, 30)
    masked = augmentation.random_mask(values, 0.25, torch.Generator().manual_seed(0), frequency=frequency) == -1
    lines = masked.all(dim=2 if frequency else 1)  # (B, side)
    assert torch.equal(lines.sum(dim=1) * (30 if frequency else 12), masked.sum(dim=(1, 2)))
    assert lines.sum(dim=1).max() == round(0.249 * (12 if frequency else 30))
    edges = lines.int().diff(
        dim=1, prepend=torch.zeros(200, 1, dtype=torch.int), append=torch.zeros(200, 1, dtype=torch.int)
    )
    assert (edges == 1).sum(dim=1).max() == 1
    assert lines[:, 0].any()
    assert lines[:, -1].any()


# ---------------------------------------------------------------- results


def test_the_baseline_tells_low_from_high(encode_rows) -> None:
    problem, selected = fitted(rows(60))
    columns = encode_rows(problem, selected)
    baseline = problem.baseline(columns, columns)
    assert baseline.name == "logistic regression on mean and spread of the log-mel bands"
    assert (baseline.rows["predictions"] == np.arange(60) % 2).all()


def test_the_baseline_of_one_class_predicts_it(encode_rows) -> None:
    problem, selected = fitted(rows(20))
    low = encode_rows(problem, selected.select(range(0, 20, 2)))
    baseline = problem.baseline(low, encode_rows(problem, selected))
    assert (baseline.rows["predictions"] == 0).all()


def test_its_figures_can_be_drawn(tmp_path, encode_rows) -> None:
    problem, selected = fitted(rows(20))
    columns = encode_rows(problem, selected)
    labels = columns.tensor("labels").numpy()
    results = {
        "labels": labels, "predictions": np.where(np.arange(20) < 3, 1 - labels, labels),
        "confidences": np.linspace(0.5, 1, 20).astype(np.float32), "losses": np.ones(20, dtype=np.float32),
    }  # fmt: skip
    figures = list(problem.figures(results, columns))
    assert [figure.name for figure in figures] == ["confusion_matrix", "worst_mistakes", "reliability"]
    for figure in figures:
        save_figure(figure.figure, tmp_path / f"{figure.name}.png")
        assert (tmp_path / f"{figure.name}.png").stat().st_size > 5_000
    results["predictions"] = labels
    assert "worst_mistakes" not in [figure.name for figure in problem.figures(results, columns)]


def test_the_golden_inputs_are_no_silence() -> None:
    problem, _ = fitted(rows(8))
    inputs = problem.golden_inputs()["input_values"]
    assert inputs.shape == (2, *problem.processor.input_shape)
    assert inputs.std() > 0.2


def test_text_classes_are_sorted_and_unknown_ones_refused() -> None:
    audio = rows(8).cast_column("audio", Audio(decode=False))["audio"][:]
    named = sound_rows(audio, ["b", "a"] * 4, Value("string"))
    problem, selected = fitted(named)
    assert problem.config_fields()["id2label"] == {0: "a", 1: "b"}
    batch = selected[:2] | {"label": ["a", "c"]}
    with pytest.raises(HubmodelsError, match="row 1, column 'label': unknown class 'c'"):
        problem.encode(batch, [0, 1], selected.features)
