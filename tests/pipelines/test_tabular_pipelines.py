"""The pipelines of tables: every form of input, and the answers against the model run by hand."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoProcessor, AutoTokenizer, BertConfig, BertModel, ViTConfig, ViTModel, pipeline
from transformers.pipelines.feature_extraction import FeatureExtractionPipeline

from hubmodels import (
    AutoencoderConfig,
    AutoencoderModel,
    AutoModelForTabularClassification,
    AutoModelForTabularRegression,
    MlpConfig,
)
from hubmodels.cli import main
from hubmodels.errors import HubmodelsError
from hubmodels.processors.processing_image import HubmodelsImageProcessor
from hubmodels.processors.processing_table import TabularProcessor
from hubmodels.tasks.inputs.tokenizers import UNDERSTANDING_TOKENS, train_tokenizer


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    generator = np.random.default_rng(0)
    return pd.DataFrame({"a": generator.normal(size=50), "b": generator.choice(["x", "y"], 50)})


@pytest.fixture(scope="module")
def folders(frame, tmp_path_factory) -> dict[str, str]:
    """A saved classifier and a saved regressor with two targets and quantiles, both ensembles."""
    processor = TabularProcessor.fit(frame)
    table = {"num_numeric_features": 1, "categorical_cardinalities": [2], "num_ensemble": 3}
    config = MlpConfig(**table, id2label={0: "no", 1: "yes"})
    regression = MlpConfig(**table, id2label={0: "price", 1: "rent"}, quantiles=[0.1, 0.9])
    torch.manual_seed(0)
    result = {}
    for name, auto, values in (
        ("classifier", AutoModelForTabularClassification, config),
        ("regressor", AutoModelForTabularRegression, regression),
    ):
        folder = tmp_path_factory.mktemp(name)
        auto.from_config(values).save_pretrained(folder)
        processor.save_pretrained(folder)
        result[name] = str(folder)
    return result


def test_a_classifier_answers_with_its_models_probabilities(folders, frame) -> None:
    model = AutoModelForTabularClassification.from_pretrained(folders["classifier"])
    with torch.no_grad():
        outputs = model(**AutoProcessor.from_pretrained(folders["classifier"])(frame, return_tensors="pt"))
    probabilities = outputs.logits.softmax(-1)
    answers = pipeline("tabular-classification", model=folders["classifier"])(frame, batch_size=7)
    assert len(answers) == 50
    for answer, row, spread in zip(answers, probabilities, outputs.spread, strict=True):
        best = int(row.argmax())
        assert answer["label"] == ("no", "yes")[best]
        assert answer["score"] == pytest.approx(row[best].item(), abs=1e-6)
        assert answer["probabilities"] == pytest.approx({"no": row[0].item(), "yes": row[1].item()}, abs=1e-6)
        assert answer["uncertainty"] == pytest.approx(spread[best].item(), abs=1e-6)


def test_a_regressor_answers_for_each_target_with_an_interval(folders, frame) -> None:
    model = AutoModelForTabularRegression.from_pretrained(folders["regressor"])
    with torch.no_grad():
        outputs = model(**AutoProcessor.from_pretrained(folders["regressor"])(frame, return_tensors="pt"))
    answers = pipeline("tabular-regression", model=folders["regressor"])(frame)
    for index, name in enumerate(("price", "rent")):
        assert [row["prediction"][name] for row in answers] == pytest.approx(
            outputs.logits[:, index].tolist(), abs=1e-6
        )
        ends = outputs.quantile_values[:, index].sort(-1).values
        assert [row["low"][name] for row in answers] == pytest.approx(ends[:, 0].tolist(), abs=1e-6)
        assert [row["high"][name] for row in answers] == pytest.approx(ends[:, 1].tolist(), abs=1e-6)


def test_a_file_a_frame_a_list_and_a_row_give_the_same_answers(folders, frame, tmp_path) -> None:
    predict = pipeline("tabular-classification", model=folders["classifier"])
    frame.to_csv(tmp_path / "rows.csv", index=False)
    frame.to_parquet(tmp_path / "rows.parquet")
    expected = [answer["score"] for answer in predict(frame)]
    for form in (
        str(tmp_path / "rows.csv"),
        tmp_path / "rows.parquet",
        frame.to_dict("records"),
        frame.to_dict("list"),
    ):
        assert [answer["score"] for answer in predict(form)] == pytest.approx(expected, abs=1e-6)
    for row in (frame.iloc[3], frame.iloc[3].to_dict()):
        alone = predict(row)
        assert isinstance(alone, dict)
        assert alone["score"] == pytest.approx(expected[3], abs=1e-6)


@pytest.mark.parametrize(
    ("rows", "message"),
    [({"a": 1.0}, "missing column 'b'"), ("none.xlsx", "no file"), ("none.csv", "no file")],
)
def test_what_is_no_such_table_is_refused(folders, rows, message) -> None:
    with pytest.raises(ValueError, match=message):
        pipeline("tabular-classification", model=folders["classifier"])(rows)


@pytest.fixture
def latents(frame, tmp_path) -> str:
    """A saved autoencoder of a table."""
    TabularProcessor.fit(frame[["a"]].assign(c=frame["a"] ** 2)).save_pretrained(tmp_path)
    fields = {"num_numeric_features": 2, "hidden_sizes": [8], "normalization": "none", "latent_size": 2}
    torch.manual_seed(0)
    AutoencoderModel(AutoencoderConfig(kind="plain", backbone="dense", **fields)).save_pretrained(tmp_path)
    return str(tmp_path)


def test_rows_of_a_table_have_latents(latents) -> None:
    extract = pipeline("feature-extraction", model=latents)
    rows = [{"a": 0.5, "c": 0.25}, {"a": -1.0, "c": 1.0}]
    numbers = extract.processor(rows, return_tensors="pt")["numeric_features"]
    with torch.no_grad():
        expected = extract.model(numeric_features=numbers).latents
    answers = extract(rows)
    assert answers == expected.tolist()
    assert extract(rows[0]) == pytest.approx(answers[0], abs=1e-6)


def test_a_model_of_neither_texts_nor_tables_has_no_features_to_extract(tmp_path) -> None:
    fields = {"image_size": 8, "hidden_sizes": [4], "depths": [0], "latent_size": 2}
    AutoencoderModel(AutoencoderConfig(**fields)).save_pretrained(tmp_path)
    HubmodelsImageProcessor(size={"height": 8, "width": 8}).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="AutoencoderModel at '.*' reads neither texts nor tables"):
        pipeline("feature-extraction", model=str(tmp_path))


def test_features_of_texts_are_those_of_transformers_and_so_is_the_error_without_a_tokenizer(tmp_path) -> None:
    tokenizer = train_tokenizer("bpe", ["the quick brown fox"], UNDERSTANDING_TOKENS, 300)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    model = BertModel(BertConfig(vocab_size=len(tokenizer), **sizes)).eval()
    ours = pipeline("feature-extraction", model=model, tokenizer=tokenizer)
    theirs = FeatureExtractionPipeline(model=model, tokenizer=tokenizer)
    for options in ({}, {"batch_size": 2}, {"tokenize_kwargs": {"truncation": True, "max_length": 4}}):
        assert ours(["the fox", "the quick fox"], **options) == theirs(["the fox", "the quick fox"], **options)
    assert torch.equal(ours("the fox", return_tensors=True), theirs("the fox", return_tensors=True))
    ViTModel(ViTConfig(**sizes)).save_pretrained(tmp_path)
    errors = []
    for load in (AutoTokenizer.from_pretrained, lambda folder: pipeline("feature-extraction", model=folder)):
        with pytest.raises((OSError, ValueError)) as caught:
            load(str(tmp_path))
        errors.append(str(caught.value))
    assert errors[0] == errors[1]


@pytest.fixture(scope="module")
def dated(tmp_path_factory) -> tuple[str, Path]:
    """A release of a table whose file writes dates and numbers as Germans do, and the file."""
    folder = tmp_path_factory.mktemp("dated")
    lines = [f"{1 + row % 28:02d}.{1 + row % 12:02d}.2024;1.{row + 100},29;{'ab'[row % 2]}" for row in range(60)]
    lines = [f"{line};{(row % 2 == 0 and 'ja') or 'nein'}" for row, line in enumerate(lines)]
    (folder / "rows.csv").write_text("\n".join(["day;amount;city;label", *lines]) + "\n")
    words = ["--family", "mlp", "--task", "tabular-classification", "--label_column_name", "label", "--hidden_sizes", 4]
    words += ["--dataset", folder / "rows.csv", "--output_dir", folder / "run", "--max_steps", 3, "--no_baseline"]
    assert main(["train", *map(str, words)]) == 0
    return str(folder / "run" / "release"), folder / "rows.csv"


def test_texts_of_python_are_read_as_the_cells_of_the_training_file(dated) -> None:
    release, path = dated
    classify = pipeline("tabular-classification", model=release)
    expected = [answer["score"] for answer in classify(str(path))]
    texts = pd.read_csv(path, sep=";", dtype=str)
    typed = pd.read_csv(path, sep=";").assign(amount=[row + 1100.29 for row in range(60)])
    typed["day"] = pd.to_datetime(typed["day"], format="%d.%m.%Y")
    half = typed.assign(day=texts["day"])
    given = [texts, typed, half, texts.to_dict("records"), typed.to_dict("records"), texts.to_dict("list")]
    for rows in given:
        assert [answer["score"] for answer in classify(rows)] == expected
    mixed = [texts.iloc[0].to_dict(), typed.iloc[1].to_dict()]
    assert [answer["score"] for answer in classify(mixed)] == expected[:2]
    assert classify(texts.iloc[5].to_dict())["score"] == pytest.approx(expected[5])


def test_a_text_that_the_training_file_could_not_have_held_is_refused_with_its_row(dated) -> None:
    classify = pipeline("tabular-classification", model=dated[0])
    rows = [{"day": "02.01.2024", "amount": "1.250,29", "city": "a"}, {"day": "soon", "amount": 3, "city": "b"}]
    with pytest.raises(HubmodelsError, match="row 1, column 'day': 'soon' is no date"):
        classify(rows)
