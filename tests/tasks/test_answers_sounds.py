"""Pipelines on sounds and `hubmodels predict` give the same answers, to the digit."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from transformers import pipeline

from hubmodels.processors.processing_audio_wav import write_wav
from hubmodels.recipe import Recipe
from hubmodels.use import predict_file
from hubmodels.workflow import train_and_release

RATE = 4_000


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wav files in folders by class: tones of two pitches."""
    folder = tmp_path_factory.mktemp("recordings")
    for number in range(24):
        name = ("low", "high")[number % 2]
        (folder / "train" / name).mkdir(parents=True, exist_ok=True)
        times = np.arange(round(0.2 * RATE)) / RATE
        wave = (0.3 + 0.01 * number) * np.sin(2 * np.pi * (300 + 500 * (number % 2)) * times)
        (folder / "train" / name / f"{number}.wav").write_bytes(write_wav(wave, RATE))
    return folder


@pytest.fixture(scope="module")
def release(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier trained for a moment."""
    recipe = Recipe.from_dict(
        {
            "family": "cnn",
            "task": "audio-classification",
            "data": {"dataset": str(recordings), "n_fft": 128, "hop_length": 40, "num_mel_bins": 12},
            "model": {"hidden_sizes": [4], "depths": [1], "embedding_size": 4},
            "training": {"max_steps": 2, "per_device_train_batch_size": 8, "eval_strategy": "no", "save_strategy": "no",
                         "seed": 0, "output_dir": str(tmp_path_factory.mktemp("run") / "run")},
        }
    )  # fmt: skip
    return train_and_release(recipe, baseline=False).folder


def test_sounds_are_told_the_same_class_and_probabilities(release: Path, recordings: Path, tmp_path: Path) -> None:
    files = sorted((recordings / "train").rglob("*.wav"))
    source, output = tmp_path / "files.csv", tmp_path / "answers.parquet"
    pd.DataFrame({"audio": [str(file) for file in files]}).to_csv(source, index=False)
    assert predict_file(str(release), str(source), str(output), batch_size=1) == len(files)
    predicted = pd.read_parquet(output)
    classify = pipeline("audio-classification", model=str(release))
    for row, items in zip(predicted.to_dict("records"), classify([str(file) for file in files]), strict=True):
        assert items[0]["label"] == row["prediction"]
        assert {f"probability_{item['label']}": item["score"] for item in items} == {
            name: value for name, value in row.items() if name.startswith("probability_")
        }
        assert items == sorted(items, key=lambda item: -item["score"])


def test_a_model_in_memory_answers_as_its_checkpoint_does(release: Path, recordings: Path) -> None:
    sound = str(next((recordings / "train").rglob("*.wav")))
    saved = pipeline("audio-classification", model=str(release))
    model = type(saved.model)(saved.model.config).eval()
    model.load_state_dict(saved.model.state_dict())
    model.name_or_path = ""
    in_memory = pipeline("audio-classification", model=model, feature_extractor=saved.feature_extractor)
    assert in_memory(sound, top_k=1) == saved(sound, top_k=1)
    assert in_memory(sound, function_to_apply="none") != saved(sound)
