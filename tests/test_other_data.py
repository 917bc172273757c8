"""`evaluate RELEASE --dataset OTHER`: what the recipe says of columns and of reading holds for other data too."""

import json
import random
import wave
from pathlib import Path

import numpy as np
from PIL import Image

from hubmodels.cli import main
from hubmodels.recipe import Recipe
from hubmodels.use import evaluate_release, open_release

RANDOM = np.random.default_rng(0)


def train(folder: Path, *words: object) -> str:
    run = folder / "run"
    common = ["--output_dir", run, "--max_steps", 2, "--evaluation_budget", 0]
    assert main(["train", *map(str, [*words, *common])]) == 0
    return str(run / "release")


def write_csv(path: Path, header: str, rows: list[str]) -> Path:
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def test_a_tables_options_stay_where_the_other_table_has_their_columns_and_slices_do_not(tmp_path, capsys) -> None:
    def rows(count: int) -> list[str]:
        return [f"{row};{row % 7},5;{'AB'[row % 2]};{'xy'[row % 2]}" for row in range(count)]

    first = write_csv(tmp_path / "first.csv", "nr;much;grade;other", rows(60))
    second = write_csv(tmp_path / "second.csv", "nr;much;grade;other", rows(25))
    release = train(
        tmp_path, "--family", "mlp", "--task", "tabular-classification", "--dataset", first, "--label_column_name",
        "grade", "--ignored_column_names", "nr", "--train_split", "train[:40]", "--test_split", "train[40:]",
        "--column_kinds", '{"other": "category"}', "--hidden_sizes", 4,
    )  # fmt: skip
    results = evaluate_release(release, {"dataset": str(second)})
    assert results.num_rows == 25
    opened = open_release(release, {"dataset": str(second)})
    assert opened.data_arguments.test_split == "test"
    assert opened.problem.task.target.label_column_name == "grade"
    capsys.readouterr()
    assert main(["evaluate", release, "--dataset", str(second), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["dataset"] == str(second)


def test_a_column_that_other_data_call_otherwise_is_found_anew_or_named_and_said(tmp_path, capsys) -> None:
    def rows(count: int) -> list[str]:
        return [f"{row % 5},{'AB'[row % 2]}" for row in range(count)]

    first = write_csv(tmp_path / "first.csv", "x,grade", rows(40))
    usual = write_csv(tmp_path / "usual.csv", "x,label", rows(12))
    other = write_csv(tmp_path / "other.csv", "x,mark", rows(13))
    words = ["--family", "mlp", "--task", "tabular-classification", "--label_column_name", "grade"]
    release = train(tmp_path, *words, "--dataset", first, "--hidden_sizes", 4)
    capsys.readouterr()
    assert main(["evaluate", release, "--dataset", str(usual)]) == 0
    printed = capsys.readouterr()
    assert "12 rows" in printed.out
    assert "these data have no 'grade', which label_column_name of the training names" in printed.err
    assert evaluate_release(release, {"dataset": str(other), "label_column_name": "mark"}).num_rows == 13
    assert main(["evaluate", release, "--dataset", str(other), "--label_column_name", "marc"]) == 2
    assert "did you mean 'mark'" in capsys.readouterr().err


def test_texts_keep_the_columns_that_were_named(tmp_path) -> None:
    def rows(count: int) -> list[str]:
        return [f"short {row},{'good' if row % 2 else 'bad'} words {row},{'pn'[row % 2]},z" for row in range(count)]

    first = write_csv(tmp_path / "first.csv", "title,body,mood,more", rows(40))
    second = write_csv(tmp_path / "second.csv", "title,body,mood,more", rows(17))
    release = train(
        tmp_path, "--family", "rnn", "--task", "text-classification", "--dataset", first, "--label_column_name", "mood",
        "--text_column_names", "title", "body", "--hidden_size", 4, "--embedding_size", 4, "--tokenizer", "characters",
    )  # fmt: skip
    assert evaluate_release(release, {"dataset": str(second)}).num_rows == 17
    task = open_release(release, {"dataset": str(second)}).problem.task
    assert task.input.text_column_names == ["title", "body"]


def test_images_that_a_table_names_keep_the_columns_that_were_named(tmp_path) -> None:
    def images(folder: Path, count: int) -> Path:
        folder.mkdir()
        for row in range(count):
            for kind in ("front", "back"):
                Image.fromarray(RANDOM.integers(0, 255, (8, 8), np.uint8)).save(folder / f"{kind}{row}.png")
        rows = [f"front{row}.png,back{row}.png,{'uv'[row % 2]}" for row in range(count)]
        return write_csv(folder / "rows.csv", "front,back,shape", rows)

    release = train(
        tmp_path, "--family", "cnn", "--task", "image-classification", "--dataset", images(tmp_path / "a", 30),
        "--image_column_name", "back", "--label_column_name", "shape", "--hidden_sizes", 4, "--depths", 1,
        "--embedding_size", 4,
    )  # fmt: skip
    other = images(tmp_path / "b", 11)
    assert evaluate_release(release, {"dataset": str(other)}).num_rows == 11


def test_sounds_that_a_table_names_keep_the_columns_that_were_named(tmp_path) -> None:
    def sounds(folder: Path, count: int) -> Path:
        folder.mkdir()
        for row in range(count):
            with wave.open(str(folder / f"s{row}.wav"), "wb") as file:
                file.setparams((1, 2, 8_000, 0, "NONE", ""))
                file.writeframes(RANDOM.integers(-9_000, 9_000, 2_000, np.int16).tobytes())
        return write_csv(folder / "rows.csv", "clip,bird", [f"s{row}.wav,{'uv'[row % 2]}" for row in range(count)])

    release = train(
        tmp_path, "--family", "cnn", "--task", "audio-classification", "--dataset", sounds(tmp_path / "a", 24),
        "--label_column_name", "bird", "--hidden_sizes", 4, "--depths", 1, "--embedding_size", 4,
    )  # fmt: skip
    other = sounds(tmp_path / "b", 9)
    assert evaluate_release(release, {"dataset": str(other)}).num_rows == 9


def test_the_same_data_set_named_again_is_measured_as_its_recipe_says(tmp_path) -> None:
    rows = [f"{random.Random(row).random()},{'AB'[row % 2]}" for row in range(50)]
    data = write_csv(tmp_path / "rows.csv", "x,grade", rows)
    release = train(
        tmp_path, "--family", "mlp", "--task", "tabular-classification", "--dataset", data, "--label_column_name",
        "grade", "--test_split", "train[45:]", "--train_split", "train[:45]", "--hidden_sizes", 4,
    )  # fmt: skip
    assert (
        evaluate_release(release, {"dataset": Recipe.load(Path(release) / "recipe.yaml").data["dataset"]}).num_rows == 5
    )


def test_a_decimal_mark_given_to_evaluate_and_predict_overrules_that_of_the_training(tmp_path, capsys) -> None:
    def rows(mark: str) -> list[str]:
        return [f"{row % 9}{mark}5;{'AB'[row % 2]}" for row in range(40)]

    points = write_csv(tmp_path / "points.csv", "x;grade", rows("."))
    commas = write_csv(tmp_path / "commas.csv", "x;grade", rows(","))
    words = ["--family", "mlp", "--task", "tabular-classification", "--label_column_name", "grade"]
    release = train(tmp_path, *words, "--dataset", points, "--hidden_sizes", 4)
    points = write_csv(tmp_path / "more.csv", "x;grade", rows("."))
    told = [evaluate_release(release, {"dataset": str(points)})]
    told.append(evaluate_release(release, {"dataset": str(commas), "decimal": ","}))
    assert told[0].metrics == told[1].metrics
    capsys.readouterr()
    assert main(["predict", release, str(commas), "--output", str(tmp_path / "none.csv")]) == 2
    assert "row 0 (line 2) of commas.csv, column 'x': '0,5' is no number as those of the training are written; with " \
        "--decimal , it is one" in capsys.readouterr().err  # fmt: skip
    for path, flags in ((points, []), (commas, ["--decimal", ","])):
        assert main(["predict", release, str(path), "--keep", "grade", *flags, "--output", f"{path}.out.csv"]) == 0
    assert Path(f"{points}.out.csv").read_text() == Path(f"{commas}.out.csv").read_text()


def test_data_without_the_column_of_classes_are_told_which_the_release_expects(tmp_path, capsys) -> None:
    first = write_csv(
        tmp_path / "first.csv", "x,z,grade", [f"{row % 5},{row % 3},{'AB'[row % 2]}" for row in range(40)]
    )
    other = write_csv(tmp_path / "other.csv", "x,z,size", [f"{row % 5},{row % 3},{row / 7}" for row in range(30)])
    words = ["--family", "mlp", "--task", "tabular-classification", "--label_column_name", "grade"]
    release = train(tmp_path, *words, "--dataset", first, "--hidden_sizes", 4)
    capsys.readouterr()
    assert main(["evaluate", release, "--dataset", str(other)]) == 2
    said = capsys.readouterr().err
    assert "the release expects column 'grade', which these data do not have" in said
    assert "--label_column_name" in said
