"""The zero-shot task: columns, pairs as tensors, augmentation, ranks by hand, baseline, figures, a whole training."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from datasets import Dataset, Features, Value
from datasets import Image as ImageFeature
from PIL import Image
from sklearn.metrics import top_k_accuracy_score
from transformers import pipeline

from hubmodels.errors import HubmodelsError
from hubmodels.figures import save_figure
from hubmodels.recipe import Recipe
from hubmodels.tasks.inputs.captioned_images import CaptionedImages
from hubmodels.tasks.targets.match_rows import rank_pairs
from hubmodels.tasks.zero_shot_image_classification import ZeroShotImageClassification
from hubmodels.workflow import train_and_release

COLOURS = {"red": (255, 0, 0), "green": (0, 160, 0), "blue": (0, 0, 255), "white": (255, 255, 255), "black": (0, 0, 0)}
PAIRS = [(f"{upper} over {lower}", COLOURS[upper], COLOURS[lower]) for upper in COLOURS for lower in COLOURS]


def flag(upper: tuple, lower: tuple) -> Image.Image:
    pixels = np.empty((16, 16, 3), dtype=np.uint8)
    pixels[:8], pixels[8:] = upper, lower
    return Image.fromarray(pixels)


def rows(**columns: tuple) -> Dataset:
    features = {"image": ImageFeature(), "text": Value("string")}
    values = {"image": [flag(upper, lower) for _, upper, lower in PAIRS], "text": [text for text, *_ in PAIRS]}
    for name, (feature, column) in columns.items():
        features[name], values[name] = feature, column
    return Dataset.from_dict(values, features=Features(features))


@pytest.fixture(scope="module")
def prepared(encode_rows) -> SimpleNamespace:
    task = ZeroShotImageClassification.from_options(
        tokenizer="characters", random_shift=2, horizontal_flip=0.5, color_jitter=0.4, token_dropout=0.5
    )
    selected = task.select(rows())
    problem = task.fit(selected)
    columns = encode_rows(problem, selected)
    return SimpleNamespace(problem=problem, selected=selected, processor=problem.processor, columns=columns)


def test_columns_are_found_by_their_types_and_usual_names() -> None:
    count = len(PAIRS)
    dataset = rows(group=(Value("string"), ["x"] * count), number=(Value("int64"), [1] * count))
    assert ZeroShotImageClassification().select(dataset).column_names == ["image", "text"]
    assert ZeroShotImageClassification.from_options(text_column_name="group").select(dataset).column_names == [
        "image",
        "group",
    ]
    with pytest.raises(
        HubmodelsError, match="column 'number' holds int64, not text; choose another --text_column_name"
    ):
        ZeroShotImageClassification.from_options(text_column_name="number").select(dataset)
    with pytest.raises(HubmodelsError, match="no text column beside 'image'"):
        ZeroShotImageClassification().select(dataset.select_columns(["image", "number"]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": [1, 2, 3]}, "image_size must be a side or"),
        ({"num_channels": 4}, "num_channels must be 1"),
        ({"max_length": 2}, "max_length must be at least 3"),
        ({"random_shift": -1}, "random_shift must be at least 0"),
        ({"color_jitter": 1.5}, "color_jitter must be between 0 and 1"),
        ({"token_dropout": 1.0}, "token_dropout must be at least 0 and below 1"),
    ],
)
def test_options_out_of_range_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ZeroShotImageClassification.from_options(**options)


def test_what_the_data_decide(prepared: SimpleNamespace) -> None:
    characters = {character for text, *_ in PAIRS for character in text}
    expected = {"num_channels": 3, "image_size": 16, "pad_token_id": 0, "vocab_size": len(characters) + 5}
    assert prepared.problem.config_fields() == expected
    assert prepared.processor.tokenizer.model_max_length == len("white over white") + 2  # with the special tokens
    pixels = np.stack([np.asarray(flag(upper, lower)) for _, upper, lower in PAIRS]) / 255
    assert prepared.processor.image_processor.image_mean == pytest.approx(pixels.mean((0, 1, 2)), abs=1e-7)


def test_a_pair_becomes_bytes_and_tokens(prepared: SimpleNamespace) -> None:
    batch = prepared.columns.batch(torch.tensor([1, 20]))
    for row, number in enumerate((1, 20)):
        text, upper, lower = PAIRS[number]
        np.testing.assert_array_equal(batch["pixel_values"][row].permute(1, 2, 0), np.asarray(flag(upper, lower)))
        length = int(batch["lengths"][row])
        assert length == len(text) + 2
        assert prepared.processor.tokenizer.decode(batch["input_ids"][row, 1 : length - 1]) == text
        assert (batch["input_ids"][row, length:] == 0).all()


def test_a_row_without_a_text_is_named(prepared: SimpleNamespace) -> None:
    batch = {"image": prepared.selected[:1]["image"], "text": [None]}
    with pytest.raises(HubmodelsError, match="row 7, column 'text': there is no text"):
        prepared.problem.encode(batch, [7], prepared.selected.features)


def test_evaluation_gives_what_the_processor_gives(prepared: SimpleNamespace) -> None:
    transform = prepared.problem.transform(training=False)
    batch = transform(prepared.columns.batch(torch.tensor([0, 7])), None)
    images = [flag(*PAIRS[number][1:]) for number in (0, 7)]
    expected = prepared.processor(images=images, text=[PAIRS[0][0], PAIRS[7][0]])
    assert set(batch) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(batch[name], value)


def test_training_changes_images_and_hides_tokens_by_the_generator_alone(prepared: SimpleNamespace) -> None:
    transform = prepared.problem.transform(training=True)
    numbers = torch.arange(25)
    torch.manual_seed(0)
    first = transform(prepared.columns.batch(numbers), torch.Generator().manual_seed(1))
    again = transform(prepared.columns.batch(numbers), torch.Generator().manual_seed(1))
    other = transform(prepared.columns.batch(numbers), torch.Generator().manual_seed(2))
    for name in first:
        assert torch.equal(first[name], again[name])
        assert name == "input_ids" or not torch.equal(first[name], other[name])
    lengths = prepared.columns.batch(numbers)["lengths"]
    positions = torch.arange(first["input_ids"].shape[1])
    inside = (positions > 0) & (positions < lengths[:, None] - 1)
    hidden = (first["attention_mask"] == 0) & (positions < lengths[:, None])
    assert not hidden[~inside].any()  # special tokens stay
    # Of about 310 tokens a half, with a standard error of 0.03.
    assert hidden[inside].float().mean().item() == pytest.approx(0.5, abs=0.12)


def test_ranks_are_those_of_a_sort_by_hand_and_share_their_places_where_texts_are_equally_near() -> None:
    images = np.array([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
    texts = np.array([[2.0, 0.1], [3.0, 0.0], [0.0, 0.0]])
    ranks = rank_pairs(images, texts)
    # Image 0: text 1 is nearer than its own. Image 1: text 0 is nearer, and texts 1 and 2 are both at right angles.
    # Image 2: both others are nearer than a text of zeros.
    assert ranks["image_to_text_ranks"].tolist() == [2, 2.5, 3]
    # Text 0: image 0 is nearest. Text 1: image 1 is farthest. Text 2: all are equally near.
    assert ranks["text_to_image_ranks"].tolist() == [1, 3, 2]
    assert ranks["nearest"][0].tolist() == [1, 0, 2]


def test_recall_is_scikit_learns_top_k_accuracy(prepared: SimpleNamespace) -> None:
    generator = np.random.default_rng(0)
    images = generator.normal(size=(60, 4))
    texts = images + generator.normal(size=(60, 4))
    images, texts = (values / np.linalg.norm(values, axis=1, keepdims=True) for values in (images, texts))
    outputs = {"image_embeds": images, "text_embeds": texts}
    metrics = prepared.problem.metrics(prepared.problem.relate(outputs))
    assert set(metrics) == set(prepared.problem.task.metric_names)
    for way, scores in (("image_to_text", images @ texts.T), ("text_to_image", texts @ images.T)):
        for k in (1, 5, 10):
            expected = top_k_accuracy_score(np.arange(60), scores, k=k, labels=np.arange(60))
            assert metrics[f"{way}_recall_at_{k}"] == pytest.approx(expected)
        order = (-scores).argsort(axis=1)
        ranks = [list(order[row]).index(row) + 1 for row in range(60)]
        assert metrics[f"{way}_median_rank"] == np.median(ranks)


def test_the_baseline_finds_the_texts_of_coloured_flags_and_the_figures_are_drawn(prepared, tmp_path) -> None:
    problem, columns = prepared.problem, prepared.columns
    baseline = problem.baseline(columns, columns)
    assert baseline.name == "ridge regression from pixels and colours to TF-IDF of character n-grams"
    metrics = problem.metrics(baseline.rows)
    assert metrics["image_to_text_recall_at_5"] > 0.9  # chance is 0.2
    plots = list(problem.figures(baseline.rows, columns))
    assert [plot.name for plot in plots] == ["recall", "nearest_texts"]
    for plot in plots:
        save_figure(plot.figure, tmp_path / f"{plot.name}.png")
        assert (tmp_path / f"{plot.name}.png").stat().st_size > 5000


def test_a_processor_comes_back_from_its_folder(prepared: SimpleNamespace, tmp_path) -> None:
    prepared.problem.save(tmp_path)
    task = prepared.problem.task
    loaded = task.input.load(str(tmp_path))
    assert loaded.cache_key() == prepared.problem.input.cache_key()
    assert task.bind(loaded, prepared.problem.config_fields(), {}).cache_key() == prepared.problem.cache_key()
    expected = prepared.processor(images=flag(*PAIRS[3][1:]), text=PAIRS[3][0])
    inputs = loaded.processor(images=flag(*PAIRS[3][1:]), text=PAIRS[3][0])
    assert all(torch.equal(inputs[name], value) for name, value in expected.items())
    with pytest.raises(ValueError, match="a call takes images, text, or both"):
        loaded.processor()
    with pytest.raises(HubmodelsError, match="no usable image processor and tokenizer at"):
        CaptionedImages().load(str(tmp_path / "nowhere"))


def test_a_model_is_trained_released_and_used_by_the_stock_pipeline(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    rows().to_parquet(tmp_path / "train.parquet")
    recipe = Recipe.from_dict(
        {
            "family": "transformer",
            "task": "zero-shot-image-classification",
            "data": {"dataset": str(tmp_path), "tokenizer": "characters", "test_split": "train",
                     "validation_split": "train"},
            "model": {"patch_size": 8, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4,
                      "position_embedding_type": "learned", "projection_dim": 16},
            "training": {"num_train_epochs": 40, "per_device_train_batch_size": 25, "learning_rate": 5e-3,
                         "eval_strategy": "no", "save_strategy": "no", "seed": 0,
                         "output_dir": str(tmp_path / "run")},
        }
    )  # fmt: skip
    outcome = train_and_release(recipe)
    assert outcome.results.metrics["image_to_text_recall_at_5"].value > 0.8
    assert outcome.results.baseline_metrics["image_to_text_recall_at_5"].value > 0.8
    classify = pipeline("zero-shot-image-classification", model=str(outcome.folder))
    labels = ["red over blue", "green over white", "black over black"]
    answers = classify(
        [flag(COLOURS["green"], COLOURS["white"]), flag(COLOURS["black"], COLOURS["black"])],
        candidate_labels=labels,
        hypothesis_template="{}",
    )
    assert [answer[0]["label"] for answer in answers] == labels[1:]
    names = {path.name for path in outcome.folder.iterdir()}
    assert {"tokenizer.json", "processor_config.json", "processing_image_text.py", "processing_image.py"} <= names
