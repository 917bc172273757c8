"""The image-classification task: columns, classes, statistics, encoding, baseline, figures."""

import io
from types import SimpleNamespace

import datasets
import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, Features, Value
from datasets import Image as ImageFeature
from PIL import Image
from sklearn.metrics import accuracy_score

from hubmodels.binding import read_problem_file
from hubmodels.errors import HubmodelsError
from hubmodels.figures import save_figure
from hubmodels.processors.processing_image import HubmodelsImageProcessor
from hubmodels.tasks.image_classification import ImageClassification

RANDOM = np.random.default_rng(0)


def grey(height: int = 6, width: int = 8) -> Image.Image:
    return Image.fromarray(RANDOM.integers(0, 256, (height, width), dtype=np.uint8))


def rgb(height: int = 6, width: int = 8) -> Image.Image:
    return Image.fromarray(RANDOM.integers(0, 256, (height, width, 3), dtype=np.uint8))


def rows(images: list, labels: list, label_feature: object = None, **columns: tuple) -> Dataset:
    features = {"image": ImageFeature(), "label": label_feature or ClassLabel(names=["cat", "dog", "owl"])}
    values = {"image": images, "label": labels}
    for name, (feature, column) in columns.items():
        features[name], values[name] = feature, column
    return Dataset.from_dict(values, features=Features(features))


def fitted(dataset: Dataset, **options) -> tuple:
    """Bind the task to rows: the problem, and the selected rows."""
    task = ImageClassification.from_options(**options)
    selected = task.select(dataset)
    return task.fit(selected), selected


def of_classes(problem, *names: str):
    """The same task and processor, for a model that knows these classes."""
    return problem.task.bind(problem.input, {"id2label": dict(enumerate(names))}, {})


# ---------------------------------------------------------------- columns


def test_columns_are_found_by_their_types_whatever_their_names() -> None:
    kind = ClassLabel(names=["a", "b"])
    features = Features(note=Value("string"), scan=ImageFeature(), kind=kind, number=Value("int64"))
    dataset = Dataset.from_dict({"note": ["x"], "scan": [grey()], "kind": [1], "number": [3]}, features=features)
    selected = ImageClassification().select(dataset)
    assert selected.column_names == ["scan", "kind"]
    assert set(selected[0]["scan"]) == {"bytes", "path"}  # left undecoded


@pytest.mark.parametrize("kind", [Value("string"), Value("int64"), Value("bool")])
def test_a_plain_column_with_a_usual_name_holds_the_classes(kind: Value) -> None:
    values = {"string": ["x", "y"], "int64": [1, 0], "bool": [True, False]}[kind.dtype]
    features = Features(image=ImageFeature(), other=kind, Category=kind)
    dataset = Dataset.from_dict({"image": [grey(), grey()], "other": values, "Category": values}, features=features)
    assert ImageClassification().select(dataset).column_names == ["image", "Category"]


def test_of_several_class_columns_the_usual_name_or_the_flag_decides() -> None:
    fine, coarse = (ClassLabel(names=["p", "q"]), [0]), (ClassLabel(names=["r", "s"]), [1])
    dataset = rows([grey()], [0], fine=fine, coarse=coarse)
    assert ImageClassification().select(dataset).column_names == ["image", "label"]
    assert ImageClassification.from_options(label_column_name="coarse").select(dataset).column_names == [
        "image",
        "coarse",
    ]
    with pytest.raises(HubmodelsError, match="several class columns: fine, coarse; choose one with --label"):
        ImageClassification().select(dataset.remove_columns("label"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"label_column_name": "lable"}, "no column 'lable', did you mean 'label'.*--label_column_name"),
        ({"image_column_name": "img"}, r"no column 'img'.*image \(Image\).*--image_column_name"),
        ({"image_column_name": "score"}, "column 'score' holds float32, not images"),
        ({"label_column_name": "image"}, "column 'image' holds Image, not classes"),
    ],
)
def test_a_wrong_column_is_refused_with_what_there_is(options: dict, words: str) -> None:
    dataset = rows([grey()], [0], score=(Value("float32"), [0.5]))
    with pytest.raises(HubmodelsError, match=words):
        ImageClassification.from_options(**options).select(dataset)


def test_a_data_set_without_images_or_without_classes_is_refused() -> None:
    with pytest.raises(HubmodelsError, match="no image column; its columns are label"):
        ImageClassification().select(rows([grey()], [0]).remove_columns("image"))
    with pytest.raises(HubmodelsError, match="no class column; its columns are image"):
        ImageClassification().select(rows([grey()], [0]).remove_columns("label"))
    with pytest.raises(HubmodelsError, match="'label' holds fractions such as 0.5: these are not classes"):
        fitted(rows([grey()] * 2, [0.5, 1.0], Value("float64")))


def test_a_column_of_paths_named_by_the_flag_is_read(tmp_path, encode_rows) -> None:
    image = rgb()
    image.save(tmp_path / "a.png")
    dataset = Dataset.from_dict({"file": [str(tmp_path / "a.png")] * 2, "label": ["x", "y"]})
    problem, selected = fitted(dataset, image_column_name="file")
    pixels = encode_rows(problem, selected).tensor("pixel_values")
    np.testing.assert_array_equal(pixels[0].numpy(), np.asarray(image).transpose(2, 0, 1))
    missing = ImageClassification.from_options(image_column_name="file").select(
        Dataset.from_dict({"file": [str(tmp_path / "b.png")], "label": ["x"]})
    )
    with pytest.raises(HubmodelsError, match=r"row 0, column 'file': cannot read the image .*/b\.png: there is no"):
        problem.task.fit(missing)


# ---------------------------------------------------------------- what the data decide


@pytest.mark.parametrize("channels", [1, 3])
def test_mean_and_standard_deviation_are_those_of_all_training_pixels(channels: int) -> None:
    images = [(grey if channels == 1 else rgb)() for _ in range(1201)]  # more than one batch
    problem, _ = fitted(rows(images, [0, 1, 2] * 400 + [0]))
    processor, values = problem.processor, problem.config_fields()
    pixels = np.stack([np.asarray(image).reshape(6, 8, channels) for image in images]) / 255
    np.testing.assert_allclose(processor.image_mean, pixels.mean(axis=(0, 1, 2)), atol=1e-7)
    np.testing.assert_allclose(processor.image_std, pixels.std(axis=(0, 1, 2)), atol=1e-7)
    assert processor.num_channels == values["num_channels"] == channels
    assert values["image_size"] == [6, 8]


def test_one_colour_image_among_grey_ones_makes_three_channels_and_the_option_decides() -> None:
    images = [grey(), rgb(), grey()]
    assert fitted(rows(images, [0, 1, 2]))[0].processor.num_channels == 3
    assert fitted(rows(images, [0, 1, 2]), num_channels=1)[0].processor.num_channels == 1


def test_the_usual_size_wins_and_the_median_where_there_is_none() -> None:
    usual = rows([grey(4, 4), grey(4, 4), grey(90, 80)], [0, 1, 2])
    assert fitted(usual)[0].processor.size == {"height": 4, "width": 4}
    mixed = rows([grey(10, 40), grey(20, 10), grey(90, 30)], [0, 1, 2])
    assert fitted(mixed)[0].processor.size == {"height": 20, "width": 30}
    assert fitted(mixed, image_size=16)[0].config_fields()["image_size"] == 16
    assert fitted(mixed, image_size=[16, 12])[0].config_fields()["image_size"] == [16, 12]


def test_images_of_one_flat_colour_give_a_standard_deviation_above_zero() -> None:
    processor = fitted(rows([Image.new("L", (4, 4), 9)] * 3, [0, 1, 2]))[0].processor
    assert processor.image_std == [pytest.approx(1 / 255, abs=1e-8)]


@pytest.mark.parametrize(
    ("feature", "labels", "names"),
    [
        (ClassLabel(names=["z", "a"]), [0, 1, 0], ["z", "a"]),
        (Value("string"), ["pear", "apple", "pear"], ["apple", "pear"]),
        (Value("int64"), [10, 2, 2], ["2", "10"]),
        (Value("bool"), [True, False, True], ["False", "True"]),
    ],
)
def test_classes_are_named_and_ordered(feature: object, labels: list, names: list, encode_rows) -> None:
    problem, selected = fitted(rows([grey(), grey(), grey()], labels, feature))
    values = problem.config_fields()
    assert values["id2label"] == dict(enumerate(names))
    assert values["label2id"] == {name: index for index, name in enumerate(names)}
    assert values["problem_type"] == "single_label_classification"
    assert problem.class_names() == names
    shown = [feature.names[label] if isinstance(feature, ClassLabel) else str(label) for label in labels]
    got = encode_rows(problem, selected).tensor("labels").tolist()
    assert [names[index] for index in got] == shown


def test_labels_that_are_no_classes_are_refused() -> None:
    with pytest.raises(HubmodelsError, match="30 different values in 30 rows: these are not classes"):
        fitted(rows([grey()] * 30, list(range(30)), Value("int64")))
    with pytest.raises(HubmodelsError, match=r"1 class.*at least 2"):
        fitted(rows([grey()] * 3, ["x"] * 3, Value("string")))


def test_a_checkpoint_keeps_its_size_and_channels(tmp_path) -> None:
    problem, _ = fitted(rows([grey()] * 3, [0, 1, 2]))
    problem.save(tmp_path)
    task, path = problem.task, str(tmp_path)
    assert task.input.load(path).cache_key() == problem.input.cache_key()
    values = task.fit(task.select(rows([rgb(50, 50)], [0])), checkpoint=path).config_fields()
    assert (values["num_channels"], values["image_size"]) == (1, [6, 8])
    with pytest.raises(HubmodelsError, match="6 x 8 pixels; leave out --image_size 32"):
        ImageClassification.from_options(image_size=32).input.load(path)
    with pytest.raises(HubmodelsError, match=r"1 channel\(s\); leave out --num_channels 3"):
        ImageClassification.from_options(num_channels=3).input.load(path)
    with pytest.raises(HubmodelsError, match="no usable image processor"):
        task.input.load(str(tmp_path / "nothing"))


def test_a_release_gives_the_problem_back(tmp_path) -> None:
    problem, _ = fitted(rows([grey()] * 3, [0, 1, 2]))
    problem.save(tmp_path)
    config = {"id2label": {"2": "owl", "0": "cat", "1": "dog"}}  # as JSON keeps it
    state = read_problem_file(tmp_path, problem.task)["target"]
    again = problem.task.bind(problem.task.input.load(str(tmp_path)), config, state)
    assert again.config_fields() == problem.config_fields()
    assert again.cache_key() == problem.cache_key()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"image_size": 0}, "image_size"),
        ({"image_size": [3, 4, 5]}, "image_size"),
        ({"num_channels": 4}, "num_channels"),
        ({"random_crop_padding": -1}, "random_crop_padding"),
        ({"horizontal_flip": 1.5}, "horizontal_flip"),
        ({"random_erasing": -0.1}, "random_erasing"),
        ({"mixup_alpha": -1.0}, "mixup_alpha"),
    ],
)
def test_an_option_out_of_its_range_is_refused_by_name(options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ImageClassification.from_options(**options)


# ---------------------------------------------------------------- rows -> tensors


def test_encoded_rows_are_what_the_processor_gives_before_normalisation(encode_rows) -> None:
    images = [grey(), grey(9, 9), rgb()]
    problem, selected = fitted(rows(images, [2, 0, 1]), image_size=[6, 8])
    processor = problem.processor
    batch = encode_rows(problem, selected).batch(torch.tensor([2, 0]))
    assert batch["pixel_values"].dtype == torch.uint8
    np.testing.assert_array_equal(batch["pixel_values"].numpy(), processor.to_pixels([images[2], images[0]]))
    assert batch["labels"].tolist() == [1, 2]
    transformed = problem.transform(training=False)(batch, None)
    expected = processor([images[2], images[0]], return_tensors="pt")["pixel_values"]
    assert torch.equal(transformed["pixel_values"], expected)
    assert torch.equal(transformed["labels"], batch["labels"])


def test_a_models_class_numbers_are_matched_by_name(encode_rows) -> None:
    problem, selected = fitted(rows([grey()] * 3, [0, 1, 2]))
    released = of_classes(problem, "owl", "ant", "cat", "dog")
    assert encode_rows(released, selected).tensor("labels").tolist() == [2, 3, 0]


def test_an_unknown_class_is_refused_with_its_row_and_the_nearest() -> None:
    problem, selected = fitted(rows([grey()] * 3, [0, 1, 2]))
    words = r"row 1, column 'label': unknown class 'dog', did you mean 'dogs'.*cat, dogs"
    with pytest.raises(HubmodelsError, match=words):
        of_classes(problem, "cat", "dogs").encode(selected[:], [0, 1, 2], selected.features)


@pytest.mark.parametrize(("feature", "missing"), [(ClassLabel(names=["a", "b"]), -1), (Value("string"), None)])
def test_a_row_without_class_is_refused_by_its_number(feature: object, missing: object) -> None:
    first, second = (0, 1) if missing == -1 else ("a", "b")
    problem, selected = fitted(rows([grey()] * 3, [first, second, missing], feature))
    with pytest.raises(HubmodelsError, match="row 12, column 'label': it has no class"):
        of_classes(problem, "a", "b").encode(selected[:], [10, 11, 12], selected.features)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"no image at all", "no image format that is read"),
        (None, "cannot read the image"),  # a PNG cut short: Pillow's own words follow
    ],
)
def test_an_undecodable_image_is_refused_by_row_and_column(content: bytes | None, words: str) -> None:
    if content is None:
        file = io.BytesIO()
        rgb(64, 64).save(file, format="PNG")
        content = file.getvalue()[:3000]
    good = io.BytesIO()
    rgb(64, 64).save(good, format="PNG")
    values = [{"bytes": good.getvalue(), "path": None}, {"bytes": content, "path": None}]
    dataset = rows([rgb(64, 64)] * 2, [0, 1])
    broken = Dataset.from_dict(
        {"image": values, "label": [0, 1]},
        features=Features(image=ImageFeature(decode=False), label=dataset.features["label"]),
    )
    problem, _ = fitted(dataset)
    for work in (lambda: fitted(broken), lambda: problem.encode(broken[:], [0, 1], broken.features)):
        with pytest.raises(HubmodelsError, match=f"row 1, column 'image'.*{words}") as caught:
            work()
        assert "\n" not in str(caught.value)


# ---------------------------------------------------------------- results


class Tensors:
    """Encoded columns held as tensors."""

    def __init__(self, **tensors: torch.Tensor) -> None:
        self.tensors = tensors
        self.names = list(tensors)

    def __len__(self) -> int:
        return len(self.tensors["labels"])

    def batch(self, numbers: torch.Tensor) -> dict[str, torch.Tensor]:
        return {name: value[numbers] for name, value in self.tensors.items()}

    def tensor(self, name: str) -> torch.Tensor:
        return self.tensors[name]


def blobs(count: int, classes: int, shape: tuple, seed: int) -> Tensors:
    """Images whose brightness tells their class, with noise."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    base = (labels * (200 // classes)).view(-1, 1, 1, 1).expand(count, *shape)
    noise = torch.randint(0, 50, base.shape, generator=generator)
    return Tensors(pixel_values=(base + noise).to(torch.uint8), labels=labels)


def bound(classes: int, shape: tuple = (1, 4, 4)):
    """The task bound to images of a shape and so many classes, without data."""
    task = ImageClassification()
    channels, height, width = shape
    processor = HubmodelsImageProcessor(num_channels=channels, size={"height": height, "width": width})
    config = {"id2label": {index: f"class {index}" for index in range(classes)}}
    return task.bind(task.input.bind(processor), config, {})


def test_predict_gives_each_row_its_softmax_probability_and_cross_entropy() -> None:
    logits = torch.randn(20, 5, generator=torch.Generator().manual_seed(0)) * 3
    labels = torch.arange(20) % 5
    got = bound(5).predict(SimpleNamespace(logits=logits), {"labels": labels})
    probabilities = logits.double().exp() / logits.double().exp().sum(dim=1, keepdim=True)
    assert torch.equal(got["labels"], labels)
    assert torch.equal(got["predictions"], probabilities.argmax(dim=1))
    torch.testing.assert_close(got["confidences"].double(), probabilities.max(dim=1).values, atol=1e-6, rtol=0)
    torch.testing.assert_close(got["losses"].double(), -probabilities[range(20), labels].log(), atol=1e-5, rtol=0)


def test_the_baseline_learns_what_is_linear_and_gives_the_rows_of_predict() -> None:
    train, test = blobs(300, 4, (1, 5, 4), 0), blobs(80, 4, (1, 5, 4), 1)
    result = bound(4, (1, 5, 4)).baseline(train, test)
    assert result.name == "logistic regression on standardised pixels"
    assert result.seconds > 0
    np.testing.assert_array_equal(result.rows["labels"], test.tensor("labels").numpy())
    assert accuracy_score(result.rows["labels"], result.rows["predictions"]) == 1.0
    assert {name: array.shape for name, array in result.rows.items()} == dict.fromkeys(
        ("labels", "predictions", "confidences", "losses"), (80,)
    )
    again = bound(4, (1, 5, 4)).baseline(train, test)
    np.testing.assert_array_equal(result.rows["losses"], again.rows["losses"])


def test_the_baseline_says_when_it_averages_or_subsamples(monkeypatch) -> None:
    monkeypatch.setattr("hubmodels.tasks.image_classification.BASELINE_NUMBERS", 24 * 24 * 3 * 50)
    train, test = blobs(120, 3, (3, 48, 48), 0), blobs(30, 3, (3, 48, 48), 1)
    result = bound(3, (3, 48, 48)).baseline(train, test)
    assert result.name.endswith("averaged to 24 x 24 (50 of 120 training rows)")
    assert accuracy_score(result.rows["labels"], result.rows["predictions"]) > 0.9


def test_a_class_absent_from_the_training_rows_gets_probability_zero_not_a_crash() -> None:
    train, test = blobs(60, 2, (1, 4, 4), 0), blobs(30, 3, (1, 4, 4), 1)
    result = bound(3).baseline(train, test)
    assert set(result.rows["predictions"]) <= {0, 1}
    assert np.isfinite(result.rows["losses"]).all()


@pytest.mark.parametrize("classes", [3, 60])
def test_the_figures_are_small_pngs_with_captions(tmp_path, classes: int) -> None:
    columns = blobs(400, classes, (3, 16, 16), 0)
    labels = columns.tensor("labels").numpy()
    generator = np.random.default_rng(0)
    predictions = np.where(generator.random(400) < 0.8, labels, generator.integers(0, classes, 400))
    got = {
        "labels": labels,
        "predictions": predictions,
        "confidences": generator.uniform(1 / classes, 1, 400).astype(np.float32),
        "losses": generator.random(400).astype(np.float32),
    }
    problem = bound(classes, (3, 16, 16))
    plots = list(problem.figures(got, columns))
    assert [plot.name for plot in plots] == ["confusion_matrix", "worst_mistakes", "reliability"]
    for plot in plots:
        save_figure(plot.figure, tmp_path / "plot.png")
        assert (tmp_path / "plot.png").stat().st_size < 100_000
        with Image.open(tmp_path / "plot.png") as image:
            assert min(image.size) > 150
        assert plot.caption.endswith(".")
    titles = [axes.get_title() for axes in plots[1].figure.axes if axes.get_title()]
    wrong = np.flatnonzero(labels != predictions)
    worst = wrong[got["confidences"][wrong].argmax()]
    assert titles[0].startswith(f"class {labels[worst]}\n→ class {predictions[worst]}")
    got["predictions"] = labels
    assert [plot.name for plot in problem.figures(got, columns)] == [
        "confusion_matrix",
        "reliability",
    ]


def test_the_golden_input_is_two_fixed_rows_that_differ() -> None:
    problem, _ = fitted(rows([grey()] * 3, [0, 1, 2]))
    first, second, processor = problem.golden_inputs(), problem.golden_inputs(), problem.processor
    assert first["pixel_values"].shape == (2, 1, 6, 8)
    assert torch.equal(first["pixel_values"], second["pixel_values"])
    assert not torch.equal(first["pixel_values"][0], first["pixel_values"][1])
    bytes_given = (first["pixel_values"] * processor.image_std[0] + processor.image_mean[0]) * 255
    numbers = np.arange(96)  # floor(n^2 / 7) mod 256
    np.testing.assert_allclose(bytes_given.flatten().numpy(), numbers**2 // 7 % 256, atol=1e-3)


def test_a_streamed_data_set_is_surveyed_like_a_loaded_one() -> None:
    dataset = rows([grey() for _ in range(40)], [0, 1, 2, 0] * 10)
    loaded, _ = fitted(dataset)
    streamed, selected = fitted(dataset.to_iterable_dataset())
    assert isinstance(selected, datasets.IterableDataset)
    assert streamed.processor.to_dict() == loaded.processor.to_dict()
    assert streamed.config_fields() == loaded.config_fields()
