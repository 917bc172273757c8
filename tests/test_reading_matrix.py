"""What is read is the same in every kind of file and every way of use: (kind of file) x (predict, evaluate, pipeline).

One tiny release of each kind of input. The reference is the frame that all files are written from.
"""

import gzip
import json
import shutil
import wave as wavefile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from transformers import pipeline

from hubmodels.cli import main
from hubmodels.errors import HubmodelsError
from hubmodels.recipe import Recipe
from hubmodels.use import evaluate_release, predict
from hubmodels.workflow import train_and_release

QUICK = {"max_steps": 3, "eval_strategy": "no", "save_strategy": "no", "seed": 1}
TABLES: dict[str, Callable[[pd.DataFrame, Path], Any]] = {
    "rows.csv": lambda frame, path: frame.to_csv(path, index=False),
    "ROWS.CSV": lambda frame, path: frame.to_csv(path, index=False),
    "semicolons.csv": lambda frame, path: frame.to_csv(path, index=False, sep=";"),
    "rows.tsv": lambda frame, path: frame.to_csv(path, index=False, sep="\t"),
    "rows.csv.gz": lambda frame, path: path.write_bytes(gzip.compress(frame.to_csv(index=False).encode())),
    "utf16.csv": lambda frame, path: path.write_bytes(frame.to_csv(index=False).encode("utf-16")),
    "rows.jsonl": lambda frame, path: frame.to_json(path, orient="records", lines=True),
    "rows.json": lambda frame, path: frame.to_json(path, orient="records"),
    "rows.parquet": lambda frame, path: frame.to_parquet(path, index=False),
}


def release(folder: Path, task: str, family: str, data: dict[str, Any], model: dict[str, Any]) -> str:
    training = {**QUICK, "output_dir": str(folder / "run")}
    recipe = Recipe(family=family, task=task, data=data, model=model, training=training)
    return str(train_and_release(recipe, baseline=False).folder)


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    generator = np.random.default_rng(0)
    size = generator.normal(size=120).round(3)
    towns = np.array(["Graz", "Linz", "Wels"])[generator.integers(0, 3, 120)]
    return pd.DataFrame({"size": size, "town": towns, "kind": np.where(size > 0, "big", "small")})


@pytest.fixture(scope="module")
def table(frame, tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("table")
    frame.to_csv(folder / "train.csv", index=False)
    data = {"dataset": str(folder / "train.csv"), "label_column_name": "kind"}
    return release(folder, "tabular-classification", "mlp", data, {"hidden_sizes": [8]})


@pytest.mark.parametrize("name", TABLES)
def test_a_table_has_the_same_answers_in_every_kind_of_file_and_every_way(name, table, frame, tmp_path) -> None:
    few = frame.head(40)
    TABLES[name](few, tmp_path / name)
    TABLES["rows.parquet"](few, tmp_path / "reference.parquet")
    reference = predict(table, str(tmp_path / "reference.parquet"), str(tmp_path / "reference.jsonl"))
    expected = pd.read_json(tmp_path / "reference.jsonl", lines=True)
    predicted = predict(table, str(tmp_path / name), str(tmp_path / "out.jsonl"))
    answers = pd.read_json(tmp_path / "out.jsonl", lines=True)
    assert (reference.num_rows, predicted.num_rows, predicted.num_unreadable) == (40, 40, 0)
    pd.testing.assert_frame_equal(answers[expected.columns], expected, check_exact=True)
    told = pipeline("tabular-classification", model=table)(str(tmp_path / name))
    assert [row["label"] for row in told] == expected["prediction"].tolist()
    np.testing.assert_allclose([row["probabilities"]["big"] for row in told], expected["probability_big"], rtol=1e-6)
    results = evaluate_release(table, {"dataset": str(tmp_path / name), "label_column_name": "kind"})
    assert results.num_rows == 40
    assert results.metrics["accuracy"].value == pytest.approx((expected["prediction"] == few["kind"]).mean())


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(0)
    for number in range(24):
        kind = ("dark", "light")[number % 2]
        (folder / "data" / kind).mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 90, (8, 8), dtype=np.uint8) + np.uint8(150 * (number % 2))
        Image.fromarray(pixels).save(folder / "data" / kind / f"{number:02d}.png")
    model = {"hidden_sizes": [8]}
    return release(folder, "image-classification", "mlp", {"dataset": str(folder / "data")}, model), folder / "data"


def test_pictures_have_the_same_answers_alone_in_a_folder_in_a_table_and_in_the_pipeline(pictures, tmp_path) -> None:
    model, data = pictures
    files = sorted((data / "light").glob("*.png"))
    expected = [row[0] for row in pipeline("image-classification", model=model)([str(file) for file in files])]
    pd.DataFrame({"image": [str(file) for file in files]}).to_csv(tmp_path / "paths.csv", index=False)
    pd.DataFrame({"image": [file.read_bytes() for file in files]}).to_parquet(tmp_path / "bytes.parquet")
    for given in ([str(data / "light")], [str(file) for file in files], [str(tmp_path / "paths.csv")],
                  [str(tmp_path / "bytes.parquet")]):  # fmt: skip
        answers = predict(model, given).table.to_pylist()
        assert [row["prediction"] for row in answers] == [told["label"] for told in expected], given
        scores = [row[f"probability_{row['prediction']}"] for row in answers]
        np.testing.assert_allclose(scores, [told["score"] for told in expected], rtol=1e-6)
    results = evaluate_release(model, {"dataset": str(data)}, "test")
    assert results.num_rows > 0


def test_what_cannot_be_read_stands_in_its_place_with_the_reason(pictures, tmp_path, capsys) -> None:
    model, data = pictures
    files = sorted((data / "dark").glob("*.png"))[:4]
    (tmp_path / "d").mkdir()
    for number, file in enumerate(files):
        (tmp_path / "d" / f"{number}.png").write_bytes(file.read_bytes())
    (tmp_path / "d" / "2.png").write_text("<html>404</html>")
    (tmp_path / "d" / "._0.png").write_bytes(b"\0\5\x16\7Mac")
    code = main(["predict", model, str(tmp_path / "d"), "--output", str(tmp_path / "out.csv")])
    answers = pd.read_csv(tmp_path / "out.csv")
    assert code == 1
    assert answers["file_name"].tolist() == ["0.png", "1.png", "2.png", "3.png"]
    assert answers["prediction"].isna().tolist() == [False, False, True, False]
    assert "cannot read the image" in answers["error"][2]
    assert answers["error"].isna().tolist() == [True, True, False, True]
    assert "1 of 4 rows could not be read: 2.png" in capsys.readouterr().err


def test_where_nothing_can_be_read_nothing_is_written(pictures, tmp_path, capsys) -> None:
    (tmp_path / "bad.png").write_text("<html>404</html>")
    assert main(["predict", pictures[0], str(tmp_path / "bad.png"), "--output", str(tmp_path / "out.csv")]) == 2
    assert "bad.png" in capsys.readouterr().err
    assert not (tmp_path / "out.csv").exists()


@pytest.fixture(scope="module")
def texts(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("texts")
    rows = [{"text": f"a {word} film {number}", "label": word} for number in range(20) for word in ("good", "bad")]
    pd.DataFrame(rows).to_csv(folder / "train.csv", index=False)
    data = {"dataset": str(folder / "train.csv"), "vocab_size": 300}
    return release(folder, "text-classification", "rnn", data, {"hidden_size": 8, "embedding_size": 8})


def test_texts_have_the_same_answers_typed_in_files_in_folders_and_in_tables(texts, tmp_path) -> None:
    typed = ["a good film", "so bad"]
    expected = pipeline("text-classification", model=texts)(typed)
    (tmp_path / "folder").mkdir()
    for number, text in enumerate(typed):
        (tmp_path / "folder" / f"{number}.txt").write_text(text)
    pd.DataFrame({"text": typed}).to_json(tmp_path / "rows.jsonl", orient="records", lines=True)
    files = [str(tmp_path / "folder" / f"{number}.txt") for number in range(2)]
    for given in (typed, files, [str(tmp_path / "folder")], [str(tmp_path / "rows.jsonl")]):
        answers = predict(texts, given).table.to_pylist()
        assert [row["prediction"] for row in answers] == [told["label"] for told in expected], given
        scores = [row[f"probability_{row['prediction']}"] for row in answers]
        np.testing.assert_allclose(scores, [told["score"] for told in expected], rtol=1e-5)


# ---------------------------------------------------------------- series


def nested(series: np.ndarray, labels: list[str]) -> pd.DataFrame:
    return pd.DataFrame({"series": [one[:, None].tolist() for one in series], "label": labels})


def long(series: np.ndarray, labels: list[str]) -> pd.DataFrame:
    count, steps = series.shape
    names, times = np.repeat([f"s{number:02d}" for number in range(count)], steps), np.tile(np.arange(steps), count)
    return pd.DataFrame({"id": names, "step": times, "x": series.ravel(), "label": np.repeat(labels, steps)})


def wide(series: np.ndarray, labels: list[str]) -> pd.DataFrame:
    return pd.DataFrame(series, columns=[f"t{step}" for step in range(series.shape[1])]).assign(label=labels)


def ucr(series: np.ndarray, labels: list[str]) -> str:
    return "".join("\t".join([label, *map(str, one)]) + "\n" for label, one in zip(labels, series, strict=True))


def ts(series: np.ndarray, labels: list[str]) -> str:
    head = "@problemName waves\n@univariate true\n@classLabel true 1 2\n@data\n"
    rows = zip(labels, series, strict=True)
    return head + "".join(",".join(map(str, one)) + f":{label}\n" for label, one in rows)


Write = Callable[[np.ndarray, list[str], Path], Any]
SERIES: dict[str, dict[str, Write]] = {  # layout -> its kinds of files, of which the first is that of the training
    "long": {
        "long.csv": lambda series, labels, path: long(series, labels).to_csv(path, index=False),
        "semicolons.csv": lambda series, labels, path: long(series, labels).to_csv(path, index=False, sep=";"),
        "long.parquet": lambda series, labels, path: long(series, labels).to_parquet(path),
        "long.jsonl": lambda series, labels, path: long(series, labels).to_json(path, orient="records", lines=True),
    },
    "wide": {
        "wide.csv": lambda series, labels, path: wide(series, labels).to_csv(path, index=False),
        "wide.tsv": lambda series, labels, path: wide(series, labels).to_csv(path, index=False, sep="\t"),
        "wide.parquet": lambda series, labels, path: wide(series, labels).to_parquet(path),
    },
    "whole": {
        "lists.jsonl": lambda series, labels, path: nested(series, labels).to_json(path, orient="records", lines=True),
        "lists.parquet": lambda series, labels, path: nested(series, labels).to_parquet(path),
        "waves.ts": lambda series, labels, path: path.write_text(ts(series, labels)),
        "Waves_TRAIN.tsv": lambda series, labels, path: path.write_text(ucr(series, labels)),
        "waves.npz": lambda series, labels, path: np.savez(path, X=series[..., None], y=labels),
    },
    "archive": {
        "Waves_TRAIN.tsv": lambda series, labels, path: path.write_text(ucr(series, labels)),
        "waves.txt": lambda series, labels, path: path.write_text(ucr(series, labels).replace("\t", "  ")),
        "waves.csv": lambda series, labels, path: path.write_text(ucr(series, labels).replace("\t", ",")),
        "waves.ts": lambda series, labels, path: path.write_text(ts(series, labels)),
    },
    "arrays": {
        "waves.npz": lambda series, labels, path: np.savez(path, X=series[:, None], y=labels),
        "waves.ts": lambda series, labels, path: path.write_text(ts(series, labels)),
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def waves() -> tuple[np.ndarray, list[str]]:
    labels = [("1", "2")[number % 2] for number in range(24)]
    phases = np.random.default_rng(0).uniform(0, 6, (24, 1))
    periods = np.array([[2.0 if label == "1" else 5.0] for label in labels])
    return np.sin(np.arange(12) / periods + phases).round(4), labels


@pytest.fixture(scope="module", params=SERIES)
def classifier(request, waves, tmp_path_factory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp(request.param)
    name = next(iter(SERIES[request.param]))
    SERIES[request.param][name](*waves, folder / name)
    data = {"dataset": str(folder / name)}
    return request.param, release(folder, "time-series-classification", "rnn", data, {"hidden_size": 8})


def test_series_have_the_same_answers_in_every_kind_of_file_and_every_way(classifier, waves, tmp_path) -> None:
    (layout, model), (series, labels) = classifier, waves
    expected = pipeline("time-series-classification", model=model)([one[:, None] for one in series[:10]])
    for name, write in SERIES[layout].items():
        path = tmp_path / name
        write(series[:10], labels[:10], path)
        predicted = predict(model, str(path), str(tmp_path / "out.parquet"))
        answers = pd.read_parquet(tmp_path / "out.parquet")
        assert (predicted.num_rows, predicted.num_unreadable) == (10, 0), name
        assert answers["prediction"].astype(str).tolist() == [told["label"] for told in expected], name
        np.testing.assert_allclose(
            answers["probability_1"], [told["probabilities"]["1"] for told in expected], rtol=1e-5
        )
        told = pipeline("time-series-classification", model=model)(str(path))
        assert [row["label"] for row in told] == [row["label"] for row in expected], name
        results = evaluate_release(model, {"dataset": str(path)})
        right = np.mean([row["label"] == label for row, label in zip(expected, labels, strict=False)])
        assert (results.num_rows, results.metrics["accuracy"].value) == (10, pytest.approx(right)), name


def test_lines_of_the_archive_are_predicted_without_their_classes(classifier, waves, tmp_path) -> None:
    layout, model = classifier
    if layout == "archive":
        text = "".join("\t".join(map(str, one)) + "\n" for one in waves[0][:5])
        (tmp_path / "new.tsv").write_text(text)
        expected = pipeline("time-series-classification", model=model)([one[:, None] for one in waves[0][:5]])
        answers = predict(model, str(tmp_path / "new.tsv")).table.to_pylist()
        assert [row["prediction"] for row in answers] == [told["label"] for told in expected]


FORECASTS: dict[str, Callable[[pd.DataFrame, Path], Any]] = {
    "shops.csv": lambda frame, path: frame.to_csv(path, index=False),
    "shops.csv.gz": lambda frame, path: path.write_bytes(gzip.compress(frame.to_csv(index=False).encode())),
    "semicolons.csv": lambda frame, path: frame.to_csv(path, index=False, sep=";"),
    "shops.parquet": lambda frame, path: frame.to_parquet(path, index=False),
    "shops.jsonl": lambda frame, path: frame.astype({"day": str}).to_json(path, orient="records", lines=True),
}


@pytest.fixture(scope="module", params=["long", "wide"])
def forecaster(request, tmp_path_factory) -> tuple[pd.DataFrame, str]:
    folder = tmp_path_factory.mktemp("shops")
    days = pd.date_range("2024-01-01", periods=60, freq="D")
    frames = [pd.DataFrame({"day": days, "shop": shop, "sales": 10 + number + np.sin(np.arange(60) / 3)})
              for number, shop in enumerate(("north", "south"))]  # fmt: skip
    frame = pd.concat(frames)
    if request.param == "wide":
        frame = frame.pivot(index="day", columns="shop", values="sales").reset_index()
    frame.to_csv(folder / "train.csv", index=False)
    data = {"dataset": str(folder / "train.csv"), "context_length": 8, "prediction_length": 3}
    return frame, release(folder, "time-series-forecasting", "rnn", data, {"hidden_size": 4})


@pytest.mark.parametrize("name", FORECASTS)
def test_forecasts_are_the_same_of_every_kind_of_file_and_every_way(name, forecaster, tmp_path) -> None:
    frame, model = forecaster
    FORECASTS[name](frame, tmp_path / name)
    expected = pd.DataFrame(pipeline("time-series-forecasting", model=model)(frame))
    told = pd.DataFrame(pipeline("time-series-forecasting", model=model)(str(tmp_path / name)))
    pd.testing.assert_frame_equal(told, expected, check_dtype=False, rtol=1e-6)
    predict(model, str(tmp_path / name), str(tmp_path / "out.parquet"))
    written = pd.read_parquet(tmp_path / "out.parquet").astype({"day": "datetime64[ns]"})
    pd.testing.assert_frame_equal(written, expected.astype({"day": "datetime64[ns]"}), check_dtype=False, rtol=1e-6)
    FORECASTS["shops.parquet"](frame, tmp_path / "reference.parquet")
    measured, reference = (
        evaluate_release(model, {"dataset": str(path)}) for path in (tmp_path / name, tmp_path / "reference.parquet")
    )
    assert measured.num_rows == reference.num_rows > 0
    for metric, value in reference.metrics.items():
        assert measured.metrics[metric].value == pytest.approx(value.value, rel=1e-6)


# ---------------------------------------------------------------- sounds


@pytest.fixture(scope="module")
def sounds(tmp_path_factory) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp("sounds")
    for number in range(16):
        kind = ("high", "low")[number % 2]
        (folder / "data" / kind).mkdir(parents=True, exist_ok=True)
        wave = np.sin(np.arange(800) * (0.8 if kind == "high" else 0.1) + number)
        with wavefile.open(str(folder / "data" / kind / f"{number:02d}.wav"), "wb") as file:
            file.setparams((1, 2, 8_000, 0, "NONE", ""))
            file.writeframes((wave * 20_000).astype("<i2").tobytes())
    data = {"dataset": str(folder / "data"), "n_fft": 128, "hop_length": 40, "num_mel_bins": 12}
    return release(
        folder, "audio-classification", "cnn", data, {"hidden_sizes": [4], "depths": [1], "embedding_size": 4}
    ), folder / "data"


def test_sounds_have_the_same_answers_alone_in_a_folder_in_a_table_and_in_the_pipeline(sounds, tmp_path) -> None:
    model, data = sounds
    files = sorted((data / "low").glob("*.wav"))
    expected = [row[0] for row in pipeline("audio-classification", model=model)([str(file) for file in files])]
    pd.DataFrame({"audio": [str(file) for file in files]}).to_csv(tmp_path / "paths.csv", index=False)
    pd.DataFrame({"audio": [file.read_bytes() for file in files]}).to_parquet(tmp_path / "bytes.parquet")
    for given in ([str(data / "low")], [str(file) for file in files], [str(tmp_path / "paths.csv")],
                  [str(tmp_path / "bytes.parquet")]):  # fmt: skip
        answers = predict(model, given).table.to_pylist()
        assert [row["prediction"] for row in answers] == [told["label"] for told in expected], given
        scores = [row[f"probability_{row['prediction']}"] for row in answers]
        np.testing.assert_allclose(scores, [told["score"] for told in expected], rtol=1e-5)
    whole = pipeline("audio-classification", model=model)([str(file) for file in sorted(data.rglob("*.wav"))])
    right = np.mean([row[0]["label"] == kind for row, kind in zip(whole, ["high"] * 8 + ["low"] * 8, strict=True)])
    labelled = [(str(file), file.read_bytes(), file.parent.name) for file in sorted(data.rglob("*.wav"))]
    frame = pd.DataFrame(labelled, columns=["path", "bytes", "label"])
    frame[["path", "label"]].rename(columns={"path": "audio"}).to_csv(tmp_path / "labelled.csv", index=False)
    frame[["bytes", "label"]].rename(columns={"bytes": "audio"}).to_parquet(tmp_path / "labelled.parquet")
    shutil.copytree(data, tmp_path / "others")  # other data than those of the recipe: all rows are measured
    for path in (tmp_path / "others", tmp_path / "labelled.csv", tmp_path / "labelled.parquet"):
        results = evaluate_release(model, {"dataset": str(path)})
        assert (results.num_rows, results.metrics["accuracy"].value) == (16, pytest.approx(right)), path


def test_a_path_at_which_nothing_lies_is_no_text(texts) -> None:
    with pytest.raises(HubmodelsError, match="there is no file reviews.csv"):
        predict(texts, "reviews.csv")


def test_answers_on_the_screen_are_a_table_or_json(texts, capsys) -> None:
    assert main(["predict", texts, "a good film", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["num_rows"] == 1
    assert told["answers"][0]["text"] == "a good film"
    assert main(["predict", texts, "a good film"]) == 0
    assert "probability_good" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("task", "option", "near"),
    [("tabular-classification", "batchsize", "batch_size"), ("image-classification", "topk", "top_k"),
     ("text-classification", "truncate", "truncation")],
)  # fmt: skip
def test_a_pipeline_refuses_an_option_that_it_does_not_know(request, task, option, near) -> None:
    fixtures = {"tabular-classification": "table", "image-classification": "pictures", "text-classification": "texts"}
    model = request.getfixturevalue(fixtures[task])
    ask = pipeline(task, model=model[0] if isinstance(model, tuple) else model)
    with pytest.raises(HubmodelsError, match=f"no option '{option}', did you mean '{near}'"):
        ask("a", **{option: 3})
    with pytest.raises(HubmodelsError, match=f"no option '{option}'"):
        pipeline(task, model=ask.model.name_or_path, **{option: 3})


def test_a_sound_of_no_form_is_refused_in_one_line() -> None:
    ask = pipeline("audio-classification", model=str(Path(__file__).parents[1] / "model_cards" / "cnn-spoken-digits"))
    with pytest.raises(ValueError, match="a sound must be a path, .* got int"):
        ask(5)


def test_an_address_is_fetched_only_where_that_is_allowed(pictures) -> None:
    with pytest.raises(HubmodelsError, match="--allow_urls"):
        predict(pictures[0], "https://example.org/cat.png")


def test_a_model_without_anomaly_scores_says_who_has_them(table, tmp_path, frame) -> None:
    frame.to_csv(tmp_path / "rows.csv", index=False)
    with pytest.raises(HubmodelsError, match="no anomaly scores: .*AutoencoderModel"):
        predict(table, str(tmp_path / "rows.csv"), anomaly_scores=True)
