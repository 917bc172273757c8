"""The image-to-image task: noise, pairs, filters, pipeline."""

import io

import numpy as np
import pytest
import torch
from datasets import Dataset, Features
from datasets import Image as ImageFeature
from PIL import Image
from transformers import pipeline

from hubmodels.errors import HubmodelsError
from hubmodels.publishing import verify_folder
from hubmodels.recipe import Recipe
from hubmodels.tasks.baselines import filters
from hubmodels.tasks.image_to_image import ImageToImage
from hubmodels.tasks.inputs import image_noise as noise
from hubmodels.use import predict_file
from hubmodels.workflow import train_and_release

RANDOM = np.random.default_rng(0)
GAUSSIAN = {"noise_types": ["gaussian"], "noise_strength": [0.2, 0.5]}


def pictures(count: int, side: int = 8) -> list[Image.Image]:
    return [Image.fromarray(RANDOM.integers(0, 256, (side, side), dtype=np.uint8)) for _ in range(count)]


@pytest.fixture
def prepared(encode_rows):
    """The task bound to columns of images and to a model with these values, and the encoded columns."""

    def prepare(columns: dict[str, list], model_values: dict | None = None, **options) -> tuple:
        task = ImageToImage.from_options(**options)
        rows = task.select(Dataset.from_dict(columns, features=Features({name: ImageFeature() for name in columns})))
        problem = task.fit(rows)
        problem.know_model(GAUSSIAN if model_values is None else model_values)
        return problem, encode_rows(problem, rows)

    return prepare


# ---------------------------------------------------------------- noise


def test_the_noise_of_a_row_in_evaluation_is_the_same_in_any_batch(prepared) -> None:
    problem, columns = prepared({"image": pictures(20)})
    evaluate = problem.transform(training=False)
    whole = evaluate(columns.batch(torch.arange(20)), None)
    alone = evaluate(columns.batch(torch.tensor([13, 4])), torch.Generator().manual_seed(5))
    assert torch.equal(whole["pixel_values"][[13, 4]], alone["pixel_values"])
    torch.testing.assert_close(whole["labels"], columns.tensor("pixel_values") / 255)
    assert not torch.equal(whole["pixel_values"], whole["labels"])


def test_training_draws_noise_anew_from_the_generator_alone(prepared) -> None:
    problem, columns = prepared({"image": pictures(20)}, horizontal_flip=0.5)
    train = problem.transform(training=True)
    batch = columns.batch(torch.arange(20))
    generator = torch.Generator().manual_seed(0)
    first, second = train(batch, generator), train(batch, generator)
    again = train(batch, torch.Generator().manual_seed(0))
    assert torch.equal(first["pixel_values"], again["pixel_values"])
    assert not torch.equal(first["pixel_values"], second["pixel_values"])
    flipped = ((first["labels"] * 255).round() != batch["pixel_values"]).flatten(1).any(dim=1)
    assert 0 < flipped.sum() < 20  # the clean image turns with the noisy one


def test_gaussian_noise_has_the_stated_deviation_at_even_steps_over_the_range() -> None:
    rows = torch.arange(14)
    values = torch.full((14, 1, 60, 60), 0.5)
    noisy = noise.fixed_noise(values, rows, ["gaussian"], [0.02, 0.08])
    stated = noise.row_strengths(rows.numpy(), [0.02, 0.08])
    np.testing.assert_allclose(stated, [0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08] * 2)
    np.testing.assert_allclose(noisy.flatten(1).std(dim=1), stated, rtol=0.05)  # 3,600 values: 1.2 % a deviation
    drawn = noise.draw_noise(values.repeat(20, 1, 1, 1), ["gaussian"], [0.02, 0.08], torch.Generator().manual_seed(0))
    deviations = drawn.flatten(1).std(dim=1)
    assert 0.018 < deviations.min() < 0.03
    assert 0.07 < deviations.max() < 0.085


@pytest.mark.parametrize(("kind", "changed_to"), [("salt_and_pepper", {0.0, 1.0}), ("masking", {0.0})])
def test_other_noise_replaces_the_stated_share_of_pixels_in_all_channels(kind: str, changed_to: set[float]) -> None:
    values = torch.full((7, 3, 50, 50), 0.5)
    noisy = noise.fixed_noise(values, torch.arange(7), [kind], [0.1, 0.4])
    changed = noisy != values
    assert set(noisy[changed].tolist()) == changed_to
    assert torch.equal(changed.all(dim=1), changed.any(dim=1))
    shares = changed[:, 0].float().flatten(1).mean(dim=1)
    np.testing.assert_allclose(shares, np.linspace(0.1, 0.4, 7), atol=0.03)
    white = (noisy[:, 0] == 1).sum() / changed[:, 0].sum()
    assert white == pytest.approx(0.5 * (kind == "salt_and_pepper"), abs=0.05)


def test_several_kinds_take_turns() -> None:
    values = torch.full((21, 1, 30, 30), 0.5)
    noisy = noise.fixed_noise(values, torch.arange(21), ["masking", "salt_and_pepper", "gaussian"], [0.2, 0.2])
    different = [len(image.unique()) for image in noisy]
    assert different[:7] == [2] * 7
    assert different[7:14] == [3] * 7
    assert min(different[14:]) > 100


def test_a_model_without_noise_needs_pairs(prepared) -> None:
    problem, _ = prepared({"image": pictures(2)}, {"noise_types": None, "noise_strength": None})
    with pytest.raises(HubmodelsError, match="target_column_name"):
        problem.transform(training=False)


# ---------------------------------------------------------------- pairs


def test_pairs_are_taken_as_they_are_and_flipped_together(prepared) -> None:
    columns = {"clean": pictures(6), "image": pictures(6)}
    problem, encoded = prepared(columns, target_column_name="clean", horizontal_flip=1.0)
    batch = encoded.batch(torch.arange(6))
    found = problem.transform(training=False)(batch, None)
    flipped = problem.transform(training=True)(batch, torch.Generator())
    for name, column in (("pixel_values", "image"), ("labels", "clean")):
        expected = torch.stack([torch.from_numpy(np.array(image)) for image in columns[column]])[:, None] / 255
        torch.testing.assert_close(found[name], expected)
        torch.testing.assert_close(flipped[name], expected.flip(-1))
    assert encoded.tensor("targets").dtype == torch.uint8
    with pytest.raises(HubmodelsError, match="did you mean 'clean'.*--target_column_name"):
        prepared(columns, target_column_name="claen")
    with pytest.raises(HubmodelsError, match="several image columns: clean, scan, photograph"):
        prepared({"clean": columns["clean"], "scan": columns["image"], "photograph": columns["image"]})
    with pytest.raises(ValueError, match="both"):
        ImageToImage.from_options(image_column_name="image", target_column_name="image")


# ---------------------------------------------------------------- filters


def means_by_hand(image: np.ndarray, sigma: float, strength: float) -> np.ndarray:
    """Non-local means of one grey image, pixel by pixel."""
    padded = np.pad(image, 7, mode="reflect")
    result = np.empty_like(image)
    for y, x in np.ndindex(image.shape):
        here = padded[y + 5 : y + 10, x + 5 : x + 10]
        weights, values = [], []
        for dy, dx in np.ndindex(11, 11):
            there = padded[y + dy : y + dy + 5, x + dx : x + dx + 5]
            apart = ((here - there) ** 2).mean()
            weights.append(np.exp(-max(apart - 2 * sigma**2, 0) / (strength * sigma) ** 2))
            values.append(there[2, 2])
        result[y, x] = np.average(values, weights=weights)
    return result


def test_non_local_means_are_the_weighted_means_of_the_paper() -> None:
    images = RANDOM.random((2, 1, 12, 10))
    found = filters.non_local_means(torch.from_numpy(images), 0.7)
    sigmas = filters.estimate_noise(torch.from_numpy(images)).numpy()
    for image, sigma, result in zip(images[:, 0], sigmas, found[:, 0].numpy(), strict=True):
        np.testing.assert_allclose(result, means_by_hand(image, sigma, 0.7), atol=1e-6)  # float32 weights


def test_the_noise_of_a_smooth_image_is_estimated() -> None:
    slope = torch.linspace(0, 1, 100).expand(1, 3, 100, 100)
    noisy = slope + 0.1 * torch.randn(1, 3, 100, 100, generator=torch.Generator().manual_seed(0))
    assert filters.estimate_noise(noisy).item() == pytest.approx(0.1, rel=0.03)


def test_the_median_is_that_of_the_pixels_around() -> None:
    images = torch.from_numpy(RANDOM.random((2, 3, 5, 6)))
    found = filters.median_filter(images, 3)
    assert found[1, 2, 3, 4] == images[1, 2, 2:5, 3:6].flatten().median()


def test_the_best_filter_on_training_images_stands_before_the_others(prepared) -> None:
    smooth = [Image.fromarray(np.full((24, 24), value, dtype=np.uint8)) for value in range(60, 200, 4)]
    problem, columns = prepared({"image": smooth})
    baseline = problem.baseline(columns, columns)
    names = [baseline.name, *(other.name for other in baseline.others)]
    scores = [problem.metrics(item.rows)["psnr"] for item in (baseline, *baseline.others)]
    assert scores == sorted(scores, reverse=True)
    assert [name.split(" ")[0] for name in names] == ["non-local", "median", "no"]


# ---------------------------------------------------------------- the straight line


def test_clean_images_become_a_verified_release_that_denoises(tmp_path) -> None:
    recipe = Recipe(
        family="autoencoder",
        task="image-to-image",
        data={"dataset": "sklearn:digits", "max_train_samples": 300, "max_eval_samples": 40},
        model={"kind": "denoising", "latent_map": True, "hidden_sizes": [6], "depths": [0], **GAUSSIAN},
        training={"max_steps": 5, "per_device_train_batch_size": 32, "output_dir": str(tmp_path / "run"), "seed": 0},
    )
    outcome = train_and_release(recipe)
    assert set(outcome.results.metrics) == {"psnr", "ssim", "mse"}
    assert len(outcome.results.other_baselines) == 2
    assert verify_folder(outcome.folder)
    assert {path.stem for path in (outcome.folder / "figures").iterdir()} == {"loss", "denoised", "strengths"}
    denoise = pipeline("image-to-image", model=str(outcome.folder))
    picture = pictures(1)[0]
    found = denoise([picture, picture.convert("RGBA").resize((20, 20))])
    assert [(image.mode, image.size) for image in found] == [("L", (8, 8))] * 2
    (tmp_path / "images").mkdir()
    picture.save(tmp_path / "images/a.png")
    assert predict_file(str(outcome.folder), str(tmp_path / "images"), str(tmp_path / "out.parquet")) == 1
    from pyarrow.parquet import read_table

    stored = Image.open(io.BytesIO(read_table(tmp_path / "out.parquet")["prediction"][0].as_py()))
    np.testing.assert_array_equal(np.array(stored), np.array(denoise(picture)))
