"""`predict` finds the column of pictures or sounds of a table by what it holds, and takes its name by a flag."""

import json
import wave
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from hubmodels.cli import main

RANDOM = np.random.default_rng(0)


def write_image(path: Path, level: int) -> None:
    Image.fromarray(RANDOM.integers(level, level + 60, (8, 8), dtype=np.uint8)).save(path)


def write_sound(path: Path, level: int) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(RANDOM.integers(-level - 100, level + 100, 4000, dtype=np.int16).tobytes())


KINDS = {
    "image": (write_image, ".png", "image-classification", "mlp", ["--hidden_sizes", "4"]),
    "audio": (write_sound, ".wav", "audio-classification", "cnn", []),
}


@pytest.fixture(scope="module", params=list(KINDS))
def trained(request, tmp_path_factory) -> tuple[str, Path, list[str], str]:
    """A release trained from a folder of classes: its kind, the folder, its files, the release."""
    write, suffix, task, family, words = KINDS[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    files = [f"data/{'ab'[row % 2]}/{row}{suffix}" for row in range(24)]
    for row, name in enumerate(files):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write(folder / name, 100 * (row % 2))
    words = ["--family", family, "--task", task, "--dataset", str(folder / "data"), *words, "--no_baseline"]
    assert main(["train", *words, "--output_dir", str(folder / "run"), "--max_steps", "2"]) == 0
    return request.param, folder, files, str(folder / "run" / "release")


def answers(release: str, given: object, output: Path, *flags: str) -> pd.DataFrame:
    assert main(["predict", release, *map(str, np.atleast_1d(given)), "--output", str(output), *flags]) == 0
    return pd.read_csv(output)


def test_a_table_of_paths_is_predicted_as_the_files_are_whatever_the_column_is_called(trained, tmp_path) -> None:
    _, folder, files, release = trained
    expected = answers(release, [folder / name for name in files], tmp_path / "files.csv")
    pd.DataFrame({"no": range(24), "path": files}).to_csv(folder / "rows.csv", index=False)
    told = answers(release, folder / "rows.csv", tmp_path / "rows.out.csv")
    assert list(told["path"]) == files
    assert list(told["no"]) == list(range(24))
    assert list(told.filter(like="probability_").iloc[:, 0]) == list(expected.filter(like="probability_").iloc[:, 0])


def test_a_row_whose_file_is_not_there_is_named_by_the_files_own_column(trained, tmp_path) -> None:
    _, folder, files, release = trained
    pd.DataFrame({"path": [*files[:-1], f"data/none{Path(files[0]).suffix}"]}).to_csv(folder / "bad.csv", index=False)
    output = tmp_path / "out.csv"
    assert main(["predict", release, str(folder / "bad.csv"), "--output", str(output)]) == 1
    assert pd.read_csv(output)["error"].iloc[-1].startswith("column 'path': ")


def test_of_two_columns_of_paths_the_named_one_is_read_and_none_is_guessed(trained, tmp_path, capsys) -> None:
    kind, folder, files, release = trained
    pd.DataFrame({"left": files, "right": files[::-1]}).to_csv(folder / "two.csv", index=False)
    command = ["predict", release, str(folder / "two.csv"), "--output", str(tmp_path / "out.csv")]
    capsys.readouterr()
    assert main(command) == 2
    assert f"left, right; choose one with --{kind}_column_name" in capsys.readouterr().err
    left, right = (
        answers(release, folder / "two.csv", tmp_path / f"{side}.csv", f"--{kind}_column_name", side)
        for side in ("left", "right")
    )
    assert list(left["prediction"])[::-1] == list(right["prediction"])
    assert main([*command, f"--{kind}_column_name", "lefd"]) == 2
    assert "has no column 'lefd', did you mean 'left'?" in capsys.readouterr().err
    assert main([*command, "--text_column_name", "left"]) == 2
    assert f"its column is named by --{kind}_column_name" in capsys.readouterr().err


def test_gaps_of_a_column_that_had_none_are_a_note_of_training_predict_and_evaluate(tmp_path, capsys, recwarn) -> None:
    rows = [{"age": row % 9, "size": row % 7, "label": "xy"[row % 2]} for row in range(60)]
    (tmp_path / "data").mkdir()
    pd.DataFrame(rows).to_csv(tmp_path / "data" / "train.csv", index=False)
    with_gaps = [{**row, "age": None} if number in (3, 8) else row for number, row in enumerate(rows[:20])]
    pd.DataFrame(with_gaps).to_csv(tmp_path / "data" / "test.csv", index=False)
    words = ["--family", "mlp", "--task", "tabular-classification", "--hidden_sizes", "4", "--max_steps", "2"]
    words += ["--dataset", str(tmp_path / "data"), "--no_baseline"]
    said = "column 'age' lacks values, none in training"
    for name in ("run", "again"):  # the second time the rows come from the cache
        capsys.readouterr()
        assert main(["train", *words, "--output_dir", str(tmp_path / "runs" / name)]) == 0
        assert said in capsys.readouterr().err
    release = str(tmp_path / "runs" / "run" / "release")
    for command in (["evaluate", release], ["predict", release, str(tmp_path / "data" / "test.csv")]):
        capsys.readouterr()
        assert main([*command, "--json"]) == 0
        assert any(said in note["text"] for note in json.loads(capsys.readouterr().out)["notes"])
    assert not [warning for warning in recwarn if "none in training" in str(warning.message)]
