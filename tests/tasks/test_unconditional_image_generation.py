"""The unconditional-image-generation task: samples measured as a whole, their classes, the classical sampler."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, Features
from datasets import Image as ImageFeature
from PIL import Image
from transformers.pipelines import PIPELINE_REGISTRY

from hubmodels import families
from hubmodels.errors import HubmodelsError
from hubmodels.evaluation import evaluate
from hubmodels.figures import save_figure
from hubmodels.processors.processing_image import HubmodelsImageProcessor
from hubmodels.tasks.baselines.mixture import component_mixture, mixture_samples
from hubmodels.tasks.inputs.image_features import take_pixels
from hubmodels.tasks.targets.sample_quality import frechet_distance, nearest_rows, novelty
from hubmodels.tasks.unconditional_image_generation import UnconditionalImageGeneration

NAMES = ["dark", "light"]
KNOWS = {"class_conditional": True}


class Sampler(torch.nn.Linear):
    """Samples like the data: pixels of a class are uniform over its own range; or of nothing but the first class."""

    def __init__(self, collapsed: bool = False) -> None:
        super().__init__(1, 1)
        self.collapsed = collapsed

    def sample(
        self, num_samples: int, labels: torch.Tensor | None = None, num_inference_steps: int = 2, generator=None
    ) -> torch.Tensor:
        labels = torch.arange(num_samples) % 2 if labels is None else labels
        labels = torch.zeros_like(labels) if self.collapsed else labels
        values = torch.rand(num_samples, 1, 8, 8, generator=generator)
        return (values * 100 + 120 * labels.view(-1, 1, 1, 1)).round() / 255

    def sample_trajectory(self, num_samples: int, num_states: int, labels=None, generator=None) -> torch.Tensor:
        return self.sample(num_samples * num_states, generator=generator).view(num_samples, num_states, 1, 8, 8)


def dataset(count: int, seed: int, labelled: bool = True) -> Dataset:
    """Grey images of 8 x 8 pixels: a dark and a light class."""
    labels = np.arange(count) % 2
    pixels = np.random.default_rng(seed).integers(0, 101, (count, 8, 8)) + 120 * labels[:, None, None]
    columns = {"image": [Image.fromarray(image.astype(np.uint8)) for image in pixels]}
    features = Features(image=ImageFeature())
    if labelled:
        columns["label"], features["label"] = labels.tolist(), ClassLabel(names=NAMES)
    return Dataset.from_dict(columns, features=features)


def fitted(rows: Dataset, model_values: dict, **options) -> tuple:
    """Bind the task to rows, for a model with these values: the problem, and the selected rows."""
    task = UnconditionalImageGeneration.from_options(**options)
    selected = task.select(rows)
    problem = task.fit(selected)
    problem.know_model(model_values)
    return problem, selected


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """A convolutional network that tells the two classes apart by their brightness, set by hand."""
    folder = tmp_path_factory.mktemp("classifier")
    torch.manual_seed(0)
    values = {
        "num_channels": 1, "image_size": 8, "hidden_sizes": [8], "depths": [1], "num_labels": 2,
        "id2label": dict(enumerate(NAMES)), "label2id": {name: number for number, name in enumerate(NAMES)},
    }  # fmt: skip
    model = families.build_model("cnn", "ForImageClassification", values).eval()
    flat = torch.tensor([30.0, 50, 70, 150, 170, 190]).view(-1, 1, 1, 1).expand(-1, 1, 8, 8) / 255
    with torch.no_grad():
        pooled = model.base_model(pixel_values=flat).pooler_output.flatten(1)
        way = pooled[3:].mean(0) - pooled[:3].mean(0)
        model.classifier[-1].weight.copy_(torch.stack([-way, way]))
        middle = ((pooled[3:].mean(0) + pooled[:3].mean(0)) / 2) @ way
        model.classifier[-1].bias.copy_(torch.stack([middle, -middle]))
    model.save_pretrained(folder)
    HubmodelsImageProcessor(size={"height": 8, "width": 8}, num_channels=1, do_normalize=False).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def examined(encode_rows):
    """What the examination of a model gives, with the problem and the columns."""

    def examine(model: Sampler, model_values: dict, **options) -> tuple:
        problem, train = fitted(dataset(600, 0), model_values, **options)
        test = problem.task.select(dataset(200, 1))
        columns = {"train": encode_rows(problem, train), "test": encode_rows(problem, test)}
        return problem, columns, problem.examine(model, columns)

    return examine


# ---------------------------------------------------------------- rows


def test_a_model_is_given_the_classes_only_where_it_is_told_them(encode_rows) -> None:
    problem, rows = fitted(dataset(6, 0), KNOWS)
    batch = encode_rows(problem, rows).batch(torch.arange(6))
    assert set(problem.transform(training=True)(batch, None)) == {"pixel_values", "labels"}
    problem.know_model({})
    assert set(problem.transform(training=True)(batch, None)) == {"pixel_values"}


def test_classes_that_the_data_do_not_have_are_refused() -> None:
    problem, _ = fitted(dataset(6, 0, labelled=False), KNOWS)
    with pytest.raises(HubmodelsError, match="class_conditional needs a column of at least two classes"):
        problem.transform(training=True)


def test_test_rows_without_a_known_class_are_refused_where_the_model_is_asked_for_theirs(encode_rows) -> None:
    problem, _ = fitted(dataset(6, 0), KNOWS)
    columns = encode_rows(problem, problem.task.select(dataset(6, 0, labelled=False)))
    with pytest.raises(HubmodelsError, match="6 test rows have no class of the training rows: drop them"):
        problem.examine(Sampler(), {"test": columns})


def test_a_loss_is_measured_where_the_model_gives_one_of_each_row() -> None:
    problem, _ = fitted(dataset(6, 0), {})
    batch = {"pixel_values": torch.zeros(3, 1, 2, 2)}
    found = problem.predict(SimpleNamespace(row_loss=torch.tensor([1.0, 2, 6])), batch)
    assert problem.metrics({name: value.numpy() for name, value in found.items()}) == {"loss": 3.0}
    nothing = problem.predict(SimpleNamespace(), batch)
    assert [len(value) for value in nothing.values()] == [3]
    assert problem.metrics({name: value.numpy() for name, value in nothing.items()}) == {}


def test_a_release_gives_the_classes_back_from_its_config() -> None:
    problem, _ = fitted(dataset(6, 0), KNOWS)
    config = {"id2label": {"0": "dark", "1": "light"}, "class_conditional": True}
    again = problem.task.bind(problem.input, config, problem.target.state())
    assert again.target.names == problem.target.names == NAMES
    assert again.config_fields() == problem.config_fields()
    assert again.golden_inputs()["labels"].tolist() == [0, 1]


# ---------------------------------------------------------------- the whole model


def test_samples_like_the_data_are_nearer_than_collapsed_ones_and_cover_all_classes(
    examined, classifier, tmp_path
) -> None:
    problem, _, good = examined(Sampler(), KNOWS, fid_classifier=classifier)
    _, _, bad = examined(Sampler(collapsed=True), KNOWS, fid_classifier=classifier)
    assert good.metrics["fid"].value < 0.1 * bad.metrics["fid"].value
    assert good.metrics["fid_floor"].value > 0
    assert good.metrics["class_accuracy"].value == 1
    assert bad.metrics["class_accuracy"].value == 0.5
    assert good.metrics["classes_covered"].value == 1
    assert bad.metrics["classes_covered"].value == 0.5
    assert bad.metrics["class_distance"].value == 0.5
    assert 0.9 < good.metrics["novelty"].value < 1.1  # drawn from the same distribution, none a copy
    assert set(good.metrics) <= set(problem.task.metric_names)
    names = {plot.name for plot in good.figures}
    assert names == {"samples", "neighbours", "classes", "trajectories", "steps"}
    for plot in good.figures:
        save_figure(plot.figure, tmp_path / f"{plot.name}.png")


def test_without_a_classifier_distances_are_between_components_of_the_pixels(examined) -> None:
    _, columns, found = examined(Sampler(), {})
    pixels = take_pixels(columns["test"], 200, 0).flatten(1).double().numpy() / 255
    _, _, directions = np.linalg.svd(pixels - pixels.mean(0), full_matrices=False)
    samples = Sampler().sample(200, generator=torch.Generator().manual_seed(0)).flatten(1).double().numpy()
    expected = frechet_distance(samples @ directions[:64].T, pixels @ directions[:64].T)
    assert found.metrics["fid"].value == pytest.approx(expected, rel=1e-2)  # samples are rounded to bytes
    assert "class_accuracy" not in found.metrics


def test_the_classical_sampler_is_compared_on_the_same_draws_of_test_images(examined, classifier) -> None:
    problem, _, found = examined(Sampler(), KNOWS, fid_classifier=classifier)
    rows = {"rows": np.ones(200)}
    results = evaluate(rows, problem, None, found)
    assert results.baseline_name == "Gaussian mixture on principal components"
    first, second = found.metrics["fid"], found.baseline_metrics["fid"]
    assert results.difference.value == pytest.approx(first.value - second.value)
    error = 1.96 * (first.draws - second.draws).std()
    assert results.difference.high - results.difference.value == pytest.approx(error, rel=1e-4)
    assert results.to_dict()["baseline"]["metrics"]["fid"]["value"] == second.value
    assert "Fréchet distance" in results.verdict
    found.baseline_name = None
    assert evaluate(rows, problem, None, found).difference is None


def test_validation_has_the_distance_of_few_samples(encode_rows, classifier) -> None:
    problem, rows = fitted(dataset(60, 0), KNOWS, fid_classifier=classifier)
    columns = encode_rows(problem, rows)
    found = [problem.validate(Sampler(bad), columns)["fid"] for bad in (False, True)]
    assert found[0] < 0.2 * found[1]


def test_the_validation_rows_are_measured_once_and_anew_for_others(encode_rows, monkeypatch) -> None:
    problem, rows = fitted(dataset(60, 0), {})
    columns, others = encode_rows(problem, rows), encode_rows(problem, problem.task.select(dataset(60, 5)))
    taken = []
    take_real = type(problem).take_real
    monkeypatch.setattr(
        type(problem), "take_real", lambda self, given, *rest: taken.append(given) or take_real(self, given, *rest)
    )
    first = [problem.validate(Sampler(), columns)["fid"] for _ in range(2)]
    assert first[0] == first[1] != problem.validate(Sampler(), others)["fid"]
    assert [given is columns for given in taken] == [True, False]


# ---------------------------------------------------------------- what is measured of samples


def test_the_nearest_rows_are_scikit_learns() -> None:
    from sklearn.neighbors import NearestNeighbors

    generator = np.random.default_rng(0)
    rows, others = generator.normal(size=(1500, 5)), generator.normal(size=(700, 5))
    distances, places = nearest_rows(rows, others)
    expected, found = NearestNeighbors(n_neighbors=1).fit(others).kneighbors(rows)
    np.testing.assert_allclose(distances, expected[:, 0], atol=1e-3)
    assert (places == found[:, 0]).mean() > 0.999


def test_copies_have_no_novelty_and_unseen_rows_have_one() -> None:
    generator = np.random.default_rng(0)
    train, unseen, real = (generator.normal(size=(2000, 6)) for _ in range(3))
    real_distances = nearest_rows(real, train)[0]
    assert novelty(nearest_rows(train[:500], train)[0], real_distances).value < 0.01
    found = novelty(nearest_rows(unseen, train)[0], real_distances)
    assert found.low < 1 < found.high


def test_a_mixture_samples_what_it_was_fitted_on_in_random_order() -> None:
    generator = np.random.default_rng(0)
    rows = np.concatenate([generator.normal(-5, 1, (4000, 2)), generator.normal(5, 0.5, (4000, 2))])
    drawn = mixture_samples(rows, 4000, seed=0)
    low = drawn[:, 0] < 0
    assert 0.45 < low.mean() < 0.55
    assert 0.4 < low[:2000].mean() < 0.6
    np.testing.assert_allclose(drawn[~low].std(axis=0), 0.5, atol=0.05)


def test_a_mixture_of_each_class_draws_what_is_asked_for() -> None:
    generator = np.random.default_rng(0)
    classes, asked = np.arange(3000) % 2, np.arange(500) % 3 // 2  # two of class 0 to one of class 1
    rows = generator.normal(0, 0.1, (3000, 3)) + 4 * classes[:, None]
    drawn = component_mixture(rows, 500, 0, classes, asked)
    np.testing.assert_allclose(drawn.mean(axis=1).round(), 4 * asked, atol=1e-9)
    single = np.where(np.arange(3000) == 7, 2, 0)
    lonely = component_mixture(rows, 2, 0, single, np.array([2, 2]))
    np.testing.assert_allclose(lonely, rows.mean(axis=0)[None].repeat(2, axis=0))  # one row has no covariance


# ---------------------------------------------------------------- the pipeline


@pytest.fixture
def draw():
    """The registered pipeline without a saved model: what it makes of its inputs."""
    cls = PIPELINE_REGISTRY.check_task("unconditional-image-generation")[1]["impl"]
    pipe = cls.__new__(cls)
    pipe.model = SimpleNamespace(config=SimpleNamespace(class_conditional=True, id2label=dict(enumerate(NAMES))))
    return pipe


def test_the_pipeline_takes_a_number_or_classes_by_name_or_number(draw) -> None:
    assert draw.preprocess({"request": 3}) == {"num_samples": 3}
    assert draw.preprocess({"request": "light"})["labels"].tolist() == [1]
    found = draw.preprocess({"request": ["light", 0, "dark"]})
    assert (found["num_samples"], found["labels"].tolist()) == (3, [1, 0, 0])


@pytest.mark.parametrize(
    ("asked", "conditional", "message"),
    [
        (0, True, "at least 1, got 0"),
        ("blue", True, "unknown class 'blue'; the classes are dark, light"),
        (["dark", 7], True, "unknown class 7"),
        ([], True, "at least one class"),
        ("dark", False, "knows no classes"),
    ],
)
def test_the_pipeline_refuses_what_cannot_be_drawn(draw, asked, conditional, message) -> None:
    draw.model.config.class_conditional = conditional
    with pytest.raises(ValueError, match=message):
        draw.preprocess({"request": asked})
