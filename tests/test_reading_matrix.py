"""What is read is the same in every kind of file and every way of use: (kind of file) x (predict, evaluate, pipeline).

One tiny release of each kind of input. The reference is the frame that all files are written from.
"""

import gzip
import json
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
