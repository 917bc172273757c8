"""The image-feature-extraction task: columns, classes, the classical baselines, what is measured of a whole model."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, Features, Value
from datasets import Image as ImageFeature
from PIL import Image
from sklearn.metrics import roc_auc_score

from hubmodels.binding import read_problem_file
from hubmodels.errors import HubmodelsError
from hubmodels.figures import save_figure
from hubmodels.publishing import verify_folder
from hubmodels.recipe import Recipe
from hubmodels.tasks import get_task
from hubmodels.tasks.baselines.components import PrincipalComponents, equal_size, forest_scores
from hubmodels.tasks.figures import latents, pictures
from hubmodels.tasks.image_feature_extraction import ImageFeatureExtraction
from hubmodels.tasks.targets.latents import (
    anomaly_area,
    codebook_measures,
    linear_probe,
    neighbour_probe,
    probe_rows,
)
from hubmodels.use import evaluate_release
from hubmodels.workflow import train_and_release

RANDOM = np.random.default_rng(0)
NAMES = ["cat", "dog", "owl"]
NUMBERS = {"latent_shape": (3,), "num_codes": 512, "kind": "plain"}


def dataset(count: int = 12, labelled: bool = True) -> Dataset:
    """Grey images of 4 x 4 pixels, each class of its own brightness."""
    labels = np.arange(count) % 3
    pixels = (RANDOM.random((count, 4, 4)) * 60 + 80 * labels[:, None, None]).astype(np.uint8)
    columns = {"image": [Image.fromarray(image) for image in pixels]}
    features = Features(image=ImageFeature())
    if labelled:
        columns["label"], features["label"] = labels.tolist(), ClassLabel(names=NAMES)
    return Dataset.from_dict(columns, features=features)


def fitted(rows: Dataset, model_values: dict | None = None, **options) -> tuple:
    """Bind the task to the rows that it learns from: the problem, and these rows."""
    task = ImageFeatureExtraction.from_options(**options)
    selected = task.training_rows(task.select(rows))
    problem = task.fit(selected)
    problem.know_model(model_values or NUMBERS)
    return problem, selected


# ---------------------------------------------------------------- columns and classes


def test_labels_are_optional_and_minus_one_where_a_row_has_none_that_is_known(encode_rows) -> None:
    problem, rows = fitted(dataset())
    columns = encode_rows(problem, rows)
    assert problem.target.names == NAMES
    assert columns.tensor("labels").tolist() == [0, 1, 2] * 4
    assert columns.tensor("pixel_values").dtype == torch.uint8
    unlabelled, without = fitted(dataset(labelled=False))
    assert unlabelled.target.names == []
    assert encode_rows(unlabelled, without).tensor("labels").tolist() == [-1] * 12
    fewer = problem.task.bind(problem.input, NUMBERS, {"names": ["owl", "cat"]})
    assert encode_rows(fewer, problem.task.select(dataset(3))).tensor("labels").tolist() == [1, -1, 0]


def test_the_names_of_the_classes_are_state_and_older_releases_have_them_in_their_config() -> None:
    problem, _ = fitted(dataset())
    assert set(problem.config_fields()) == {"num_channels", "image_size"}  # no network reads the classes
    assert problem.task.bind(problem.input, NUMBERS, problem.target.state()).target.names == NAMES
    older = {**NUMBERS, "id2label": {"1": "dog", "0": "cat", "2": "owl"}}
    assert problem.task.bind(problem.input, older, {}).target.names == NAMES
    assert fitted(dataset(labelled=False))[0].target.state() == {"names": []}


def test_other_names_of_the_classes_encode_anew(encode_rows) -> None:
    problem, rows = fitted(dataset())
    others = problem.task.bind(problem.input, NUMBERS, {"names": NAMES[::-1]})
    assert problem.cache_key() != others.cache_key()


def test_values_are_in_0_to_1_and_flips_are_for_training_alone(encode_rows) -> None:
    problem, rows = fitted(dataset(), horizontal_flip=1.0)
    batch = encode_rows(problem, rows).batch(torch.arange(12))
    plain = problem.transform(training=False)(batch, None)
    flipped = problem.transform(training=True)(batch, torch.Generator().manual_seed(0))
    assert list(plain) == ["pixel_values"]
    torch.testing.assert_close(plain["pixel_values"], batch["pixel_values"] / 255)
    torch.testing.assert_close(flipped["pixel_values"], plain["pixel_values"].flip(-1))


def test_training_rows_are_those_of_the_normal_classes(encode_rows) -> None:
    problem, rows = fitted(dataset(), normal_classes=["owl", "cat"])
    assert encode_rows(problem, rows).tensor("labels").tolist() == [0, 2] * 4
    assert problem.target.names == NAMES  # the test has the others too
    texts = Dataset.from_dict(
        {"image": dataset(3)["image"][:], "kind": ["a", "b", "a"]},
        features=Features(image=ImageFeature(), kind=Value("string")),
    )
    task = ImageFeatureExtraction.from_options(normal_classes=["a"], label_column_name="kind")
    assert task.training_rows(task.select(texts))["kind"] == ["a", "a"]
    streamed = task.training_rows(task.select(texts.to_iterable_dataset()))
    assert [row["kind"] for row in streamed] == ["a", "a"]


def test_an_unknown_normal_class_is_refused_with_the_nearest() -> None:
    with pytest.raises(HubmodelsError, match="did you mean 'dog'"):
        fitted(dataset(), normal_classes=["dogs"])
    with pytest.raises(HubmodelsError, match="class column"):
        fitted(dataset(labelled=False), normal_classes=["dog"])
    with pytest.raises(ValueError, match="horizontal_flip"):
        ImageFeatureExtraction.from_options(horizontal_flip=2)
    with pytest.raises(ValueError, match="normal_classes must name at least one class"):
        ImageFeatureExtraction.from_options(normal_classes=[])


# ---------------------------------------------------------------- classical methods


def test_the_baseline_is_the_projection_on_as_many_singular_vectors(encode_rows) -> None:
    problem, rows = fitted(dataset(60))
    train, test = encode_rows(problem, rows), encode_rows(problem, problem.task.select(dataset(15)))
    baseline = problem.baseline(train, test)
    known, unseen = (columns.tensor("pixel_values").flatten(1).double().numpy() / 255 for columns in (train, test))
    mean = known.mean(axis=0)
    vectors = np.linalg.svd(known - mean, full_matrices=False)[2][:3]
    drawn = np.clip((unseen - mean) @ vectors.T @ vectors + mean, 0, 1)
    np.testing.assert_allclose(baseline.rows["squared_errors"], ((drawn - unseen) ** 2).mean(axis=1), atol=1e-6)
    assert baseline.name == "PCA of 3 components"
    assert problem.metrics(baseline.rows)["mse"] == pytest.approx(baseline.rows["squared_errors"].mean())


def test_codes_are_compared_with_components_of_as_many_bits() -> None:
    assert equal_size((16,), 0) == (16, None)
    assert equal_size((8, 7, 7), 256) == (49, 8)  # 49 places of 8 bits
    assert equal_size((8, 7, 7), 512) == (55, 8)  # 49 of 9 bits are 441
    rows = RANDOM.normal(size=(100, 6))
    exact, stored = (PrincipalComponents(rows, 4, bits) for bits in (None, 8))
    codes = stored.encode(rows)
    assert all(len(np.unique(column.round(9))) <= 256 for column in codes.T)
    steps = (stored.high - stored.low) / 255
    assert (np.abs(codes - exact.encode(rows)) <= steps / 2 + 1e-9).all()


def test_probes_are_fitted_on_rows_with_a_class_and_tell_separate_classes_apart() -> None:
    labels = np.array([0, 1, -1, 1, 0, -1])
    assert sorted(probe_rows(labels, seed=0)) == [0, 1, 3, 4]
    classes = np.arange(90) % 3
    latents = RANDOM.normal(size=(90, 2)) * 0.1 + np.eye(3)[classes][:, :2]
    for probe in (linear_probe, neighbour_probe):
        assert probe(latents[:60], classes[:60], latents[60:], classes[60:]).value == 1


def test_the_area_of_anomalies_is_scikit_learns_and_the_forest_finds_outliers() -> None:
    anomalous = np.arange(80) % 4 == 0
    scores = RANDOM.normal(size=80) + anomalous
    found = anomaly_area(scores, anomalous, seed=0)
    assert found.value == pytest.approx(roc_auc_score(anomalous, scores))
    assert found.low < found.value < found.high
    forest = forest_scores(RANDOM.normal(size=(200, 2)), np.array([[0.0, 0.0], [6.0, -6.0]]), seed=0)
    assert forest[1] > forest[0]


def test_usage_and_perplexity_of_a_codebook_are_shares_and_entropy() -> None:
    codes = np.array([[0, 0], [1, 1], [0, 0], [3, 3]])
    found = codebook_measures(codes, 8, seed=0)
    assert found["codebook_usage"].value == 3 / 8
    shares = np.array([0.5, 0.25, 0.25])
    assert found["codebook_perplexity"].value == pytest.approx(np.exp(-(shares * np.log(shares)).sum()))


# ---------------------------------------------------------------- whole models


class Halves(torch.nn.Module):
    """A model that can do nothing but what the task needs: it keeps the upper half of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def forward(self, pixel_values: torch.Tensor) -> SimpleNamespace:
        upper = pixel_values[:, :, :2] * self.weight
        return SimpleNamespace(latents=upper.flatten(1), reconstruction=torch.cat([upper, upper], dim=2))


def test_a_model_is_measured_by_what_it_can_do(encode_rows) -> None:
    problem, rows = fitted(dataset(60), {"latent_shape": (8,), "num_codes": None, "kind": None})
    train, test = encode_rows(problem, rows), encode_rows(problem, problem.task.select(dataset(30)))
    with torch.no_grad():
        found = problem.examine(Halves(), {"train": train, "test": test})
        alone = problem.examine(Halves(), {"test": test})
    assert set(found.metrics) == set(found.baseline_metrics) == {"linear_probe", "neighbour_accuracy"}
    assert found.metrics["neighbour_accuracy"].value > 0.9
    assert [plot.name for plot in found.figures] == ["reconstructions", "latents"]
    assert found.figures[0].caption.endswith("what is left of them after 8 numbers.")
    assert not alone.metrics


def test_a_file_of_predictions_has_a_column_for_each_latent_number() -> None:
    problem, _ = fitted(dataset())
    latents = torch.arange(12.0).view(2, 3, 2, 1)
    answers = problem.answers(SimpleNamespace(latents=latents))
    assert list(answers) == [f"latent_{number}" for number in range(6)]
    assert answers["latent_5"].tolist() == [5, 11]


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """A classifier whose features measure samples."""
    from hubmodels import families
    from hubmodels.processors.processing_image import HubmodelsImageProcessor

    folder = tmp_path_factory.mktemp("classifier")
    torch.manual_seed(0)
    values = {"num_channels": 1, "image_size": 8, "hidden_sizes": [4], "depths": [1]}
    families.build_model("cnn", "ForImageClassification", values).save_pretrained(folder)
    HubmodelsImageProcessor(num_channels=1, size={"height": 8, "width": 8}).save_pretrained(folder)
    return folder


SMALL = {"hidden_sizes": [6], "depths": [0], "latent_size": 3}
KINDS = {
    "variational": {"kind": "variational", "likelihood": "gaussian", "num_mixture_components": 2},
    "vector_quantized": {
        "kind": "vector_quantized",
        "latent_map": True,
        "codebook_size": 8,
        "num_mixture_components": 2,
    },
}


@pytest.mark.parametrize("kind", KINDS)
def test_images_become_a_verified_release(kind: str, classifier, tmp_path) -> None:
    recipe = Recipe(
        family="autoencoder",
        task="image-feature-extraction",
        data={"dataset": "sklearn:digits", "max_train_samples": 300, "max_eval_samples": 60,
              "normal_classes": ["1", "2", "7"], "fid_classifier": str(classifier)},
        model=SMALL | KINDS[kind],
        training={"max_steps": 5, "per_device_train_batch_size": 32, "output_dir": str(tmp_path / "run"), "seed": 0},
    )  # fmt: skip
    outcome = train_and_release(recipe)
    found = set(outcome.results.metrics)
    assert {"mse", "psnr", "ssim", "linear_probe", "anomaly_auroc", "fid", "sample_coverage"} <= found
    assert ("negative_log_likelihood" in found) == (kind == "variational")
    assert ("codebook_usage" in found) == (kind == "vector_quantized")
    assert found <= set(ImageFeatureExtraction().metric_names)
    assert {"linear_probe", "anomaly_auroc", "fid"} <= set(outcome.results.baseline_metrics)
    assert verify_folder(outcome.folder)
    names = read_problem_file(outcome.folder, get_task("image-feature-extraction")())["target"]["names"]
    assert names == [str(digit) for digit in range(10)]
    names = {path.stem for path in (outcome.folder / "figures").iterdir()}
    assert {"reconstructions", "interpolations", "latents", "samples", "errors", "anomalies"} <= names
    if kind == "variational":
        again = evaluate_release(str(outcome.folder), {})
        for name in ("mse", "negative_elbo", "fid"):
            assert again.metrics[name].value == pytest.approx(outcome.results.metrics[name].value, rel=1e-5)


def test_figures_of_colour_images_without_classes_are_drawn(tmp_path) -> None:
    save_figure(pictures.picture_rows(RANDOM.random((2, 3, 3, 130, 90)), ["a", "b"]), tmp_path / "rows.png")
    points = latents.latent_map(RANDOM.normal(size=(40, 60)), seed=0)
    assert points.shape == (40, 2)
    save_figure(latents.map_figure(points, np.full(40, -1), []), tmp_path / "map.png")
    save_figure(latents.map_figure(points, np.arange(40) % 20, [str(n) for n in range(20)]), tmp_path / "many.png")
    assert all(Image.open(path).size[0] > 300 for path in tmp_path.iterdir())
