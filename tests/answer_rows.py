"""Rows of every input as they lie on the disk, for tests/test_answers.py, and a pipeline's answers as columns."""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from hubmodels.processors.processing_audio_wav import write_wav

FEW, MANY = 3, 130  # rows of a batch: below and above what takes another kernel on a CPU (cpu.MANY_ROWS)
NUM_TRAINING = 42
RATE = 4_000  # Hz
KINDS = ("a", "b", "c")
FILE_KINDS = tuple("abcdefg")  # more than a pipeline tells by default

Answers = dict[str, list[Any]]  # one list a column of `hubmodels predict`


# ---------------------------------------------------------------- rows of each input, as they lie on the disk


def picture_folders(folder: Path) -> None:
    """Grey and colour pictures of several sizes, in folders by class, dark or bright."""
    generator = np.random.default_rng(0)
    shapes = [(8, 8), (8, 8), (20, 12), (9, 9, 3)]
    for split, number in split_rows():
        path = folder / split / FILE_KINDS[number % 7] / f"{number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        shape = shapes[number % 4] if split == "test" else (8, 8)
        pixels = generator.integers(0, 100, shape) + 25 * (number % 7)
        Image.fromarray(pixels.astype(np.uint8)).save(path)


def sound_folders(folder: Path) -> None:
    """Wav files of seven pitches and more or less noise, in folders by class."""
    generator = np.random.default_rng(0)
    times = np.arange(round(0.2 * RATE)) / RATE
    for split, number in split_rows():
        path = folder / split / FILE_KINDS[number % 7] / f"{number:03d}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        wave = (0.3 + 0.003 * number) * np.sin(2 * np.pi * (300 + 200 * (number % 7) + number) * times)
        noise = generator.normal(size=len(times)) * 0.05 * (number % 7)
        path.write_bytes(write_wav(wave + noise, RATE))


def text_files(folder: Path) -> None:
    """Texts of several lengths, some longer than any training text, and a second text."""
    words = ("good", "bad", "dull", "film", "about", "the", "sea")
    generator = np.random.default_rng(0)
    for split, rows in itertools.groupby(split_rows(), key=lambda row: row[0]):
        lines = [
            {
                "text": " ".join(generator.choice(words, 2 + number % (9 if split == "train" else 30))),
                "question": f"is it {words[number % 7]}",
                "label": KINDS[number % 3],
            }
            for _, number in rows
        ]
        pd.DataFrame(lines).to_json(folder / f"{split}.jsonl", orient="records", lines=True)


def table_files(folder: Path) -> None:
    """Numbers and categories, some of them missing, with targets of every kind."""
    generator = np.random.default_rng(0)
    for split, count in (("train", NUM_TRAINING), ("test", MANY)):
        frame = pd.DataFrame({name: generator.normal(size=count) for name in ("x", "z", "price", "rent")})
        frame["town"] = generator.choice(["n", "s"], count)
        frame["kind"] = generator.choice(KINDS, count)
        for name in ("warm", "wet"):
            frame[name] = generator.integers(0, 2, count)
        frame.loc[1::7, "z"] = None
        frame.to_csv(folder / f"{split}.csv", index=False)


def series_files(folder: Path) -> None:
    """Series of 4 to 9 steps and 2 channels, with missing values."""
    generator = np.random.default_rng(0)
    for split, rows in itertools.groupby(split_rows(), key=lambda row: row[0]):
        lines = []
        for _, number in rows:
            values = generator.normal(size=(4 + number % 6, 2)).tolist()
            if number % 5 == 3:
                values[1][0] = None
            lines.append({"series": values, "label": KINDS[number % 3]})
        pd.DataFrame(lines).to_json(folder / f"{split}.jsonl", orient="records", lines=True)


def split_rows() -> list[tuple[str, int]]:
    """Name the split of each row, and its number in it."""
    return [("train", number) for number in range(NUM_TRAINING)] + [("test", number) for number in range(MANY)]


def captioned_pictures(folder: Path) -> None:
    """Pictures with a text each."""
    generator = np.random.default_rng(0)
    for split in ("train", "test"):
        (folder / split).mkdir(parents=True)
        lines = []
        for number in range(12):
            name = f"{number}.png"
            Image.fromarray(generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(folder / split / name)
            lines.append(json.dumps({"file_name": name, "text": f"a picture of {number} things"}))
        (folder / split / "metadata.jsonl").write_text("\n".join(lines))


def tagged_files(folder: Path) -> None:
    """Sentences whose words have tags."""
    rows = [{"tokens": ["Ada", "saw", "Paris"], "ner_tags": ["B-PER", "O", "B-LOC"]}] * 12
    for split in ("train", "test"):
        pd.DataFrame(rows).to_json(folder / f"{split}.jsonl", orient="records", lines=True)


def long_series_files(folder: Path) -> None:
    """A series long enough for windows."""
    dates, steps = pd.date_range("2026-01-01", periods=90, freq="h"), np.arange(90)
    noise = np.random.default_rng(0).normal(size=90)
    frame = pd.DataFrame({"date": dates, "a": 5 + np.sin(steps), "b": noise})
    for split in ("train", "test"):
        frame.to_csv(folder / f"{split}.csv", index=False)


def rows_file(data: Path, count: int, folder: Path) -> Path:
    """Give the first test rows as a file: of a folder of files their paths, all of them the folder itself."""
    files = sorted(path for path in (data / "test").rglob("*") if path.is_file())
    if files:
        column = {".png": "image", ".wav": "audio"}[files[0].suffix]
        source = folder / f"{count}.csv"
        pd.DataFrame({column: list(map(str, files[:count]))}).to_csv(source, index=False)
        return data / "test" if count == len(files) else source
    (whole,) = data.glob("test.*")
    lines = whole.read_text().splitlines(keepends=True)
    source = folder / f"{count}{whole.suffix}"
    source.write_text("".join(lines[: count + (whole.suffix == ".csv")]))  # a header
    return source


def read_rows(source: Path) -> pd.DataFrame:
    """Read a file of rows; of a folder the paths of its files."""
    if source.is_dir():
        paths = sorted(path for path in source.rglob("*") if path.is_file())
        return pd.DataFrame({"audio" if paths[0].suffix == ".wav" else "image": list(map(str, paths))})
    return pd.read_csv(source) if source.suffix == ".csv" else pd.read_json(source, lines=True)


# ---------------------------------------------------------------- a pipeline's answers as columns


def class_columns(answers: list[list[dict[str, Any]]]) -> Answers:
    """Of lists of label and score, the likeliest first."""
    columns: Answers = {"prediction": [items[0]["label"] for items in answers]}
    for items in answers:
        assert items == sorted(items, key=lambda item: -item["score"])
    scores = [{item["label"]: item["score"] for item in items} for items in answers]
    return columns | {f"probability_{name}": [row[name] for row in scores] for name in sorted(scores[0])}


def mapping_columns(answers: list[dict[str, Any]]) -> Answers:
    """Of a mapping a row, as tables and series have it."""
    columns: Answers = {}
    for answer in answers:
        row: dict[str, Any] = {}
        if "label" in answer:
            several = "labels" in answer
            row["prediction"] = "; ".join(answer["labels"]) if several else answer["label"]
            row |= {f"probability_{name}": value for name, value in answer["probabilities"].items()}
            assert answer["score"] == max(answer["probabilities"].values()) == row[f"probability_{answer['label']}"]
            if "uncertainty" in answer:
                row["uncertainty of the likeliest" if several else "uncertainty"] = answer["uncertainty"]
        else:
            for what, told in answer.items():
                row |= {f"{what}_{name}": told[name] for name in told} if isinstance(told, dict) else {what: told}
        for name, value in row.items():
            columns.setdefault(name, []).append(value)
    return columns


def latent_columns(answers: list[Any]) -> Answers:
    """Of a vector a row; of images in a list of its own."""
    rows = np.array(answers, dtype=np.float64).reshape(len(answers), -1)
    return {f"latent_{number}": rows[:, number].tolist() for number in range(rows.shape[1])}


def picture_columns(answers: list[Image.Image]) -> Answers:
    """Of an image a row: its mode, its size and its bytes."""
    return {"prediction": [picture(image) for image in answers]}


def picture(image: Image.Image) -> tuple[Any, ...]:
    return image.mode, image.size, image.tobytes()
