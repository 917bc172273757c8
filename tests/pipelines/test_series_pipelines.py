"""The pipelines of time series: every form of input, and the answers against the model run by hand."""

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoProcessor, pipeline

from hubmodels import AutoModelForTimeSeriesClassification, RnnConfig
from hubmodels.models.rnn.modeling_rnn import RnnForTimeSeriesPrediction
from hubmodels.processors.processing_series import TimeSeriesProcessor

SMALL = {"cell": "gru", "embedding_size": 6, "hidden_size": 8, "num_hidden_layers": 1}


def make_frame(rows: int = 30, seed: int = 0) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    times = pd.date_range("2026-01-01", periods=rows, freq="h")
    return pd.DataFrame({"date": times, "a": generator.normal(9, 3, rows), "b": generator.normal(-2, 1, rows)})


@pytest.fixture(scope="module")
def forecaster(tmp_path_factory) -> str:
    """A forecaster of two channels with quantiles, for frames with and without ids."""
    folder = tmp_path_factory.mktemp("forecaster")
    frame = pd.concat([make_frame(seed=seed).assign(id=f"s{seed}") for seed in range(2)])
    options = {"time_column": "date", "id_column": "id", "context_length": 12, "prediction_length": 4}
    TimeSeriesProcessor.fit(frame, calendar=["hour"], **options).save_pretrained(folder)
    config = RnnConfig(
        **SMALL, num_input_channels=2, context_length=12, prediction_length=4, segment_length=4, num_time_features=2,
        channel_mixing="independent", forecast_decoder="segments", distribution_output="quantile",
    )  # fmt: skip
    torch.manual_seed(0)
    RnnForTimeSeriesPrediction(config).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("classifier")
    TimeSeriesProcessor.fit([np.eye(3), np.ones((9, 3))], max_length=9).save_pretrained(folder)
    torch.manual_seed(0)
    config = RnnConfig(**SMALL, num_input_channels=3, id2label={0: "no", 1: "yes"})
    AutoModelForTimeSeriesClassification.from_config(config).save_pretrained(folder)
    return str(folder)


def test_forecasts_come_with_ids_times_and_quantiles_in_the_channels_own_units(forecaster) -> None:
    frame = pd.concat([make_frame(seed=seed).assign(id=f"s{seed}") for seed in range(2)])
    processor = AutoProcessor.from_pretrained(forecaster)
    model = RnnForTimeSeriesPrediction.from_pretrained(forecaster)
    with torch.no_grad():
        outputs = model(**processor(frame, return_tensors="pt"))
    rows = pd.DataFrame(pipeline("time-series-forecasting", model=forecaster)(frame, batch_size=1))
    assert list(rows) == ["id", "date", "a", "a_0.1", "a_0.5", "a_0.9", "b", "b_0.1", "b_0.5", "b_0.9"]
    assert rows["id"].tolist() == ["s0"] * 4 + ["s1"] * 4
    assert rows["date"].tolist()[:4] == list(pd.date_range("2026-01-02 06:00", periods=4, freq="h"))
    for channel, name in enumerate("ab"):
        expected = outputs.prediction_outputs[..., channel] * processor.std[channel] + processor.mean[channel]
        np.testing.assert_allclose(rows[name], expected.flatten(), rtol=1e-4)
        high = outputs.quantile_values[..., channel, 2] * processor.std[channel] + processor.mean[channel]
        np.testing.assert_allclose(rows[f"{name}_0.9"], high.flatten(), rtol=1e-4)
        np.testing.assert_allclose(rows[f"{name}_0.5"], rows[name])


def test_a_file_and_a_mapping_forecast_as_the_frame_does(forecaster, tmp_path) -> None:
    forecast = pipeline("time-series-forecasting", model=forecaster)
    frame = make_frame().assign(id="one")
    frame.to_csv(tmp_path / "series.csv", index=False)
    frame.to_parquet(tmp_path / "series.parquet")
    expected = forecast(frame)
    for form in (str(tmp_path / "series.csv"), tmp_path / "series.parquet", frame.to_dict("list")):
        found = forecast(form)
        assert [row["date"] for row in found] == [row["date"] for row in expected]
        assert [row["a"] for row in found] == pytest.approx([row["a"] for row in expected], rel=1e-6)


def test_a_classifier_answers_with_its_models_probabilities(classifier, tmp_path) -> None:
    classify = pipeline("time-series-classification", model=classifier)
    generator = np.random.default_rng(0)
    series = [generator.normal(size=(length, 3)) for length in (4, 9, 6)]
    model = AutoModelForTimeSeriesClassification.from_pretrained(classifier)
    with torch.no_grad():
        inputs = AutoProcessor.from_pretrained(classifier)(series, return_tensors="pt")
        probabilities = model(**inputs).logits.softmax(-1)
    answers = classify(series, batch_size=2)
    for answer, row in zip(answers, probabilities, strict=True):
        best = int(row.argmax())
        assert answer["label"] == ("no", "yes")[best]
        assert answer["score"] == pytest.approx(row[best].item(), abs=1e-6)
        assert answer["probabilities"] == pytest.approx({"no": row[0].item(), "yes": row[1].item()}, abs=1e-6)
    long = pd.concat([pd.DataFrame(one, columns=list("xyz")).assign(id=row) for row, one in enumerate(series)])
    long.to_csv(tmp_path / "series.csv", index=False)
    scores = [answer["score"] for answer in answers]
    for form in (long, str(tmp_path / "series.csv"), long.to_dict("list")):
        assert [answer["score"] for answer in classify(form, id_column="id")] == pytest.approx(scores, abs=1e-6)
    for one in (series[1], series[1].tolist(), long[long["id"] == 1][list("xyz")]):
        assert classify(one)["score"] == pytest.approx(scores[1], abs=1e-6)


def test_a_model_in_memory_answers_as_its_checkpoint_does(forecaster, classifier) -> None:
    inputs = {"time-series-forecasting": make_frame().assign(id=1), "time-series-classification": np.eye(3)}
    for tag, folder in (("time-series-forecasting", forecaster), ("time-series-classification", classifier)):
        saved = pipeline(tag, model=folder)
        model = type(saved.model)(saved.model.config).eval()
        model.load_state_dict(saved.model.state_dict())
        model.name_or_path = ""
        answers = pipeline(tag, model=model, processor=saved.processor)(inputs[tag])
        expected = saved(inputs[tag])
        if tag == "time-series-forecasting":
            assert [row["date"] for row in answers] == [row["date"] for row in expected]
            # Weights that lie elsewhere in memory can change the order of a sum.
            columns = ["a", "a_0.1", "a_0.5", "a_0.9", "b", "b_0.1", "b_0.5", "b_0.9"]
            assert list(answers[0]) == ["id", "date", *columns]
            np.testing.assert_allclose(pd.DataFrame(answers)[columns], pd.DataFrame(expected)[columns], rtol=1e-6)
        else:
            assert answers["label"] == expected["label"]
            assert answers["probabilities"] == pytest.approx(expected["probabilities"], rel=1e-6)


def test_a_model_of_several_labels_gives_the_probability_of_each(classifier) -> None:
    classify = pipeline("time-series-classification", model=classifier)
    classify.model.config.problem_type = "multi_label_classification"
    series = np.eye(3)
    with torch.no_grad():
        expected = classify.model(**classify.preprocess(series)).logits.sigmoid()[0]
    answer = classify(series)
    assert answer["probabilities"] == {"no": expected[0].item(), "yes": expected[1].item()}
    assert answer["label"] == ("no", "yes")[int(expected.argmax())]
    assert answer["score"] == expected.max().item()


def test_what_cannot_be_read_is_refused_in_one_line(forecaster, classifier) -> None:
    forecast = pipeline("time-series-forecasting", model=forecaster)
    classify = pipeline("time-series-classification", model=classifier)
    for run, given, message in (
        (forecast, make_frame().assign(id=1).drop(columns="b"), "missing columns 'b'"),
        (forecast, make_frame(5).assign(id=1), "5 steps, but a forecast sees 12"),
        (forecast, np.zeros((20, 2)), "give a DataFrame"),
        (forecast, "none.csv", "no file"),
        (classify, np.zeros((4, 2)), "2 channels"),
        (classify, make_frame(5), "reads 3 channels"),
        (classify, np.zeros((10, 3)), "10 steps, the longest in training had 9"),
    ):
        with pytest.raises(ValueError, match=message):
            run(given)
