"""Pipelines on images and `hubmodels predict` give the same answers, to the digit."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from transformers import pipeline

from hubmodels.recipe import Recipe
from hubmodels.use import predict_file
from hubmodels.workflow import train_and_release

LATENTS = {"kind": "plain", "hidden_sizes": [6], "depths": [0], "latent_size": 3}
DENOISING = {"kind": "denoising", "latent_map": True, "hidden_sizes": [6], "depths": [0],
             "noise_types": ["gaussian"], "noise_strength": [0.2, 0.5]}  # fmt: skip
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "image-classification": ("cnn", {"hidden_sizes": [4], "depths": [1], "embedding_size": 4}),
    "image-feature-extraction": ("autoencoder", LATENTS),
    "image-to-image": ("autoencoder", DENOISING),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Pictures of several sizes and modes."""
    folder = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(0)
    shapes = [(8, 8), (8, 8), (20, 12), (9, 9, 3), (8, 8)]
    for number, shape in enumerate(shapes):
        Image.fromarray(generator.integers(0, 256, shape, dtype=np.uint8)).save(folder / f"{number}.png")
    return [str(path) for path in sorted(folder.iterdir())]


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """A release of each task, trained for a moment."""
    folders: dict[str, str] = {}

    def make(tag: str) -> str:
        if tag not in folders:
            family, model = CASES[tag]
            output_dir = str(tmp_path_factory.mktemp("run") / "run")
            recipe = Recipe(
                family=family,
                task=tag,
                data={"dataset": "sklearn:digits", "max_train_samples": 60, "max_eval_samples": 20},
                model=model,
                training={"max_steps": 2, "per_device_train_batch_size": 8, "seed": 0, "output_dir": output_dir},
            )
            folders[tag] = str(train_and_release(recipe, baseline=False).folder)
        return folders[tag]

    return make


@pytest.fixture
def predicted(release: Callable[[str], str], files: list[str], tmp_path: Path) -> Callable[[str], pd.DataFrame]:
    """What `hubmodels predict` writes of the pictures, one at once as in a pipeline."""

    def predict(tag: str) -> pd.DataFrame:
        source, output = tmp_path / "files.csv", tmp_path / "answers.parquet"
        pd.DataFrame({"image": files}).to_csv(source, index=False)
        assert predict_file(release(tag), str(source), str(output), batch_size=1) == len(files)
        return pd.read_parquet(output)

    return predict


def test_images_are_told_the_same_class_and_probabilities(release, predicted, files) -> None:
    tag = "image-classification"
    answers = pipeline(tag, model=release(tag))(files, top_k=10)
    for row, items in zip(predicted(tag).to_dict("records"), answers, strict=True):
        assert items[0]["label"] == row["prediction"]
        assert {f"probability_{item['label']}": item["score"] for item in items} == {
            name: value for name, value in row.items() if name.startswith("probability_")
        }
        assert items == sorted(items, key=lambda item: -item["score"])


def test_the_pipeline_gives_five_classes_or_as_many_as_asked_and_another_function_when_named(release, files) -> None:
    classify = pipeline("image-classification", model=release("image-classification"))
    everything = classify(files[0], top_k=10)
    assert classify(files[0]) == everything[:5]
    assert classify(files[0], top_k=2) == everything[:2]
    scores = classify(files[0], function_to_apply="none", top_k=10)
    weights = np.exp([item["score"] for item in scores])
    np.testing.assert_allclose([item["score"] for item in everything], weights / weights.sum(), rtol=1e-5)


def test_images_have_the_same_latents(release, predicted, files) -> None:
    tag = "image-feature-extraction"
    answers = pipeline(tag, model=release(tag), pool=True)(files)
    rows = predicted(tag)[["latent_0", "latent_1", "latent_2"]].to_numpy()
    np.testing.assert_array_equal(np.array([row for (row,) in answers], dtype=np.float32), rows)


def test_images_become_the_same_images(release, predicted, files) -> None:
    tag = "image-to-image"
    answers = pipeline(tag, model=release(tag))(files)
    for file, image in zip(predicted(tag)["prediction"], answers, strict=True):
        stored = Image.open(io.BytesIO(file))
        assert (image.mode, image.size) == (stored.mode, stored.size) == ("L", (8, 8))
        np.testing.assert_array_equal(np.array(image), np.array(stored))
