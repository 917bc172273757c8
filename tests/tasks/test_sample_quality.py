"""Image quality and sample quality against formulas written out here, scipy and scikit-learn."""

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.linalg import sqrtm
from sklearn.neighbors import NearestNeighbors
from transformers import AutoImageProcessor, AutoModelForImageClassification

from hubmodels import families
from hubmodels.errors import HubmodelsError
from hubmodels.processors.processing_image import HubmodelsImageProcessor
from hubmodels.tasks.inputs.image_features import FeatureExtractor, sample_images, to_bytes
from hubmodels.tasks.targets.estimates import mean_with_interval
from hubmodels.tasks.targets.picture_quality import quality_rows
from hubmodels.tasks.targets.sample_quality import FeatureMoments, frechet_distance, neighbour_rows, sample_quality

RANDOM = np.random.default_rng(0)


def ssim_by_hand(x: np.ndarray, y: np.ndarray, size: int = 11) -> float:
    """One grey pair, one window after the other, moments as weighted sums of deviations."""
    places = np.arange(size) - size // 2
    weights = np.exp(-(places[:, None] ** 2 + places[None, :] ** 2) / (2 * 1.5**2))
    weights /= weights.sum()
    values = []
    for top in range(x.shape[0] - size + 1):
        for left in range(x.shape[1] - size + 1):
            a, b = (image[top : top + size, left : left + size] for image in (x, y))
            mean_a, mean_b = (weights * a).sum(), (weights * b).sum()
            var_a, var_b = (weights * (a - mean_a) ** 2).sum(), (weights * (b - mean_b) ** 2).sum()
            both = (weights * (a - mean_a) * (b - mean_b)).sum()
            c1, c2 = 0.01**2, 0.03**2
            values.append(
                (2 * mean_a * mean_b + c1) * (2 * both + c2) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
            )
    return float(np.mean(values))


def test_ssim_is_wangs_formula_window_by_window_and_the_mean_over_channels() -> None:
    x = RANDOM.random((3, 2, 15, 13))
    y = np.clip(x + RANDOM.normal(0, 0.2, x.shape), 0, 1)
    rows = quality_rows(torch.from_numpy(x), torch.from_numpy(y))
    by_hand = [np.mean([ssim_by_hand(a, b) for a, b in zip(*pair, strict=True)]) for pair in zip(x, y, strict=True)]
    np.testing.assert_allclose(rows["ssim"], by_hand, atol=1e-5)  # float32


def test_an_image_smaller_than_the_window_gets_the_longest_odd_one_that_fits() -> None:
    x, y = RANDOM.random((2, 1, 1, 8, 8))
    found = quality_rows(torch.from_numpy(x), torch.from_numpy(y))["ssim"]
    assert found.item() == pytest.approx(ssim_by_hand(x[0, 0], y[0, 0], size=7), abs=1e-5)


def test_error_and_psnr_are_of_values_clipped_to_the_range_of_images() -> None:
    x = torch.tensor([0.0, 0.5, 1.0, 1.7]).view(1, 1, 2, 2)
    y = torch.tensor([0.0, 0.0, 1.0, 1.0]).view(1, 1, 2, 2)
    rows = quality_rows(x, y)
    assert rows["squared_errors"].item() == pytest.approx(0.25 / 4)
    assert rows["psnr"].item() == pytest.approx(10 * np.log10(1 / 0.0625))
    assert quality_rows(y, y)["psnr"].item() == pytest.approx(100)
    assert quality_rows(y, y)["ssim"].item() == pytest.approx(1)


# ---------------------------------------------------------------- Fréchet distance


def test_the_distance_of_two_normal_distributions_is_the_closed_form() -> None:
    """Of commuting covariances: |m - m'|^2 plus the squared differences of the standard deviations."""
    deviations = np.array([1.0, 2.0, 0.5]), np.array([3.0, 2.0, 0.0])
    first, second = (
        FeatureMoments(np.full(3, mean), np.diag(d**2)) for mean, d in zip((0, 2), deviations, strict=True)
    )
    expected = 3 * 2**2 + ((deviations[0] - deviations[1]) ** 2).sum()
    assert first.distance(second) == pytest.approx(expected, abs=1e-12)
    assert second.distance(first) == pytest.approx(expected, abs=1e-12)


def test_the_distance_of_two_sets_of_features_is_the_one_of_scipys_matrix_root() -> None:
    first = RANDOM.normal(size=(300, 8)) @ RANDOM.normal(size=(8, 8))
    second = RANDOM.normal(size=(200, 8)) @ RANDOM.normal(size=(8, 8)) + 0.5
    cov_1, cov_2 = np.cov(first.T), np.cov(second.T)
    root = sqrtm(cov_1 @ cov_2).real
    expected = ((first.mean(0) - second.mean(0)) ** 2).sum() + np.trace(cov_1 + cov_2 - 2 * root)
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-9)


# ---------------------------------------------------------------- neighbours


def test_precision_recall_density_and_coverage_are_the_counts_of_balls() -> None:
    real, fake, k = RANDOM.normal(size=(60, 3)), RANDOM.normal(0.8, 1, size=(50, 3)), 5

    def radii(features: np.ndarray) -> np.ndarray:
        return NearestNeighbors(n_neighbors=k + 1).fit(features).kneighbors(features)[0][:, -1]

    apart = np.linalg.norm(real[:, None] - fake[None], axis=2)
    inside_real, inside_fake = apart <= radii(real)[:, None], apart <= radii(fake)[None]
    rows = neighbour_rows(real, fake, k)
    np.testing.assert_array_equal(rows["precision"], inside_real.any(axis=0))
    np.testing.assert_array_equal(rows["recall"], inside_fake.any(axis=1))
    np.testing.assert_allclose(rows["density"], inside_real.sum(axis=0) / k)
    np.testing.assert_array_equal(rows["coverage"], inside_real.any(axis=1))


def test_a_share_has_wilsons_interval_and_a_mean_the_normal_one() -> None:
    """Wilson's ends are the shares p for which (mean - p)^2 = 1.96^2 p (1 - p) / n."""
    hits = np.arange(50) < 47
    found = mean_with_interval(hits)
    for end in (found.low, found.high):
        assert (0.94 - end) ** 2 == pytest.approx(1.96**2 * end * (1 - end) / 50)
    none = mean_with_interval(np.zeros(9, dtype=bool))
    assert none.low == 0 < none.high < 0.4
    values = RANDOM.normal(size=100)
    found = mean_with_interval(values)
    assert found.high - found.value == pytest.approx(1.96 * values.std() / 10)


# ---------------------------------------------------------------- the protocol


def flat(images: torch.Tensor) -> np.ndarray:
    return images.flatten(1)[:, :6].double().numpy() / 255


def images(count: int, low: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(low, 256, (count, 1, 4, 4), generator=generator, dtype=torch.uint8)


def test_the_distance_stands_beside_its_floor_with_intervals_around_the_values() -> None:
    samples, train, test = images(200, 80, 0), images(200, 0, 1), images(200, 0, 2)
    found = sample_quality(flat(samples), flat(train), flat(test))
    assert found["fid"].value == pytest.approx(frechet_distance(flat(samples), flat(test)))
    assert found["fid_floor"].value == pytest.approx(frechet_distance(flat(train), flat(test)))
    assert found["fid_ratio"].value == pytest.approx(found["fid"].value / found["fid_floor"].value)
    assert found["fid"].low > found["fid_floor"].high  # samples without dark pixels are further away
    for item in found.values():
        assert item.low <= item.value <= item.high
    again = sample_quality(flat(samples), None, flat(test))
    assert "fid_floor" not in again
    assert again["sample_recall"] == found["sample_recall"]


def test_features_are_the_pooled_ones_of_the_classifiers_own_processor(tmp_path) -> None:
    torch.manual_seed(0)
    values = {"num_channels": 3, "image_size": 10, "hidden_sizes": [4], "depths": [1], "num_labels": 2}
    families.build_model("cnn", "ForImageClassification", values).save_pretrained(tmp_path)
    processor = HubmodelsImageProcessor(size={"height": 10, "width": 10}, image_mean=[0.1, 0.2, 0.3], image_std=0.5)
    processor.save_pretrained(tmp_path)
    bytes_ = images(7, 0, 3)
    found = FeatureExtractor(tmp_path)(bytes_)
    model = AutoModelForImageClassification.from_pretrained(tmp_path).eval()
    pictures = [Image.fromarray(image[0].numpy()).convert("RGB") for image in bytes_]
    inputs = AutoImageProcessor.from_pretrained(tmp_path)(pictures, return_tensors="pt")
    with torch.no_grad():
        expected = model.base_model(**inputs).pooler_output
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert found.dtype == np.float64


def test_a_classifier_that_does_not_exist_is_refused_in_one_line(tmp_path) -> None:
    with pytest.raises(HubmodelsError, match="fid_classifier") as caught:
        FeatureExtractor(tmp_path / "nothing")
    assert "\n" not in str(caught.value)


def test_samples_are_bytes_and_the_same_for_a_seed() -> None:
    class Noise(torch.nn.Linear):
        def sample(self, num_samples: int, generator: torch.Generator) -> torch.Tensor:
            return torch.rand(num_samples, 1, 2, 2, generator=generator)

    first, second = (sample_images(Noise(1, 1), 5, seed=3) for _ in range(2))
    assert torch.equal(first, second)
    assert first.dtype == torch.uint8
    assert torch.equal(to_bytes(torch.tensor([-0.1, 0.499 / 255, 0.6 / 255, 1.2])), torch.tensor([0, 0, 1, 255]).byte())
