"""Every released checkpoint by every way in, whatever discovery finds in model_cards/.

A new one is tried the day it comes: its Auto classes, the lines of its own card, fine-tuning by the command line on a
small data set of the same form, measuring that again, publishing with code to a loopback Hub, and loading from there
where hubmodels is not installed.
"""

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import numpy as np
import pandas as pd
import pytest
from hub_server import HubServer, User
from huggingface_hub import HfApi
from PIL import Image
from transformers import AutoModel

from hubmodels import auto, families, publishing
from hubmodels.cli import main
from hubmodels.processors.processing_audio_wav import write_wav
from hubmodels.recipe import Recipe, load_yaml
from hubmodels.tasks import Task, get_task
from hubmodels.tasks.inputs.captioned_images import CaptionedImages
from hubmodels.tasks.inputs.images import Images
from hubmodels.tasks.inputs.series import SeriesWindows
from hubmodels.tasks.inputs.sounds import Sounds
from hubmodels.tasks.inputs.streams import ContinuedTexts, EnclosedTexts
from hubmodels.tasks.inputs.tables import Tables
from hubmodels.tasks.inputs.texts import Texts
from hubmodels.tasks.inputs.whole_series import WholeSeries
from hubmodels.use import open_release

ROOT = Path(__file__).parent.parent
RELEASES = sorted(path.parent for path in (ROOT / "model_cards").glob("*/metrics.json"))
WORDS = ("a good film about the sea", "the worst story ever told", "he said that we shall see", "red apple on a tree")
TOKEN = "hf_writer"

# Loads each release by its Hub id, and prints how far its output is from the golden one.
WITHOUT_HUBMODELS = """
import json, sys
sys.modules["hubmodels"] = None  # from here on importing it raises ImportError
import torch, transformers
from pathlib import Path
from huggingface_hub import snapshot_download
from safetensors.torch import load_file

for name in sys.argv[1:]:
    folder = Path(snapshot_download(name))
    auto_map = json.loads((folder / "config.json").read_text())["auto_map"]
    head = next((key for key in auto_map if key.startswith("AutoModelFor") and hasattr(transformers, key)), "AutoModel")
    model = getattr(transformers, head).from_pretrained(name, trust_remote_code=True).eval()
    golden = load_file(folder / "golden.safetensors")
    with torch.no_grad():
        outputs = model(**{key[7:]: value for key, value in golden.items() if key.startswith("inputs.")})
    expected = {key[8:]: value for key, value in golden.items() if key.startswith("outputs.") and key.count(".") == 1}
    deviations = [float((outputs[key] - value).abs().max() / value.abs().max()) for key, value in expected.items()]
    print("LINE " + json.dumps([name, type(model).__module__, max(deviations)]))
"""


# ---------------------------------------------------------------- small data of each input


def pictures(folder: Path, opened: Any) -> str:
    """Two classes of pictures in folders; of a model that draws classes two of its own."""
    generator, names = np.random.default_rng(0), ["dark", "light"]
    if getattr(opened.model.config, "class_conditional", False):
        names = list(opened.model.config.id2label.values())[1:3]
    for number in range(90):
        name = names[number % 2]
        (folder / "train" / name).mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 128, (28, 28)) + 127 * (number % 2)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / "train" / name / f"{number}.png")
    return str(folder)


def captioned(folder: Path, opened: Any) -> str:
    """Colour pictures, each with a text."""
    generator = np.random.default_rng(0)
    lines = []
    (folder / "train").mkdir()
    for number in range(60):
        Image.fromarray(generator.integers(0, 256, (40, 40, 3)).astype(np.uint8)).save(
            folder / "train" / f"{number}.png"
        )
        lines.append(json.dumps({"file_name": f"{number}.png", "text": f"{WORDS[number % 4]} {number}"}))
    (folder / "train" / "metadata.jsonl").write_text("\n".join(lines))
    return str(folder)


def texts(folder: Path, opened: Any) -> str:
    """Sentences of two classes."""
    rows = [
        {"text": f"{WORDS[number % 2]}, number {number}", "label": ("pos", "neg")[number % 2]} for number in range(80)
    ]
    pd.DataFrame(rows).to_json(folder / "rows.jsonl", orient="records", lines=True)
    return str(folder / "rows.jsonl")


def book(folder: Path, opened: Any) -> str:
    """One long text, without characters that a tokenizer of another text may lack."""
    (folder / "book.txt").write_text("\n".join(f"{WORDS[number % 4]} and so on" for number in range(800)))
    return str(folder / "book.txt")


def table(folder: Path, opened: Any) -> str:
    """The columns that the processor knows, with numbers, categories and targets drawn at random."""
    generator, count = np.random.default_rng(0), 200
    columns: dict[str, Any] = {}
    for name in opened.problem.processor.column_names:
        values = (opened.problem.processor.to_dict().get("categories") or {}).get(name)
        columns[name] = generator.choice(values, count) if values else generator.normal(1, 1, count)
    for name in opened.problem.target.names:
        columns[name] = generator.normal(2e5, 1e4, count)
    pd.DataFrame(columns).to_csv(folder / "rows.csv", index=False)
    return str(folder / "rows.csv")


def whole_series(folder: Path, opened: Any) -> str:
    """Short series of all channels, of two classes."""
    generator, processor = np.random.default_rng(0), opened.problem.processor
    names = opened.problem.target.names[:2]
    rows = [
        {
            processor.series_column: generator.normal(
                number % 2, 1, (8 + number % 5, len(processor.channels))
            ).tolist(),
            "label": names[number % 2],
        }
        for number in range(40)
    ]
    pd.DataFrame(rows).to_json(folder / "rows.jsonl", orient="records", lines=True)
    return str(folder / "rows.jsonl")


def long_series(folder: Path, opened: Any) -> str:
    """One long table of all channels, long enough for windows in each split."""
    generator, options, processor = np.random.default_rng(0), opened.problem.task.input, opened.problem.processor
    length = options.context_length + options.prediction_length
    steps = 6 * length
    frame = pd.DataFrame({processor.time_column: pd.date_range("2026-01-01", periods=steps, freq="h")})
    for channel in processor.channels:
        frame[channel] = np.sin(np.arange(steps) / 4) + generator.normal(0, 0.1, steps)
    frame.to_csv(folder / "series.csv", index=False)
    return str(folder / "series.csv")


def sounds(folder: Path, opened: Any) -> str:
    """Wav files in folders by class: tones of two pitches."""
    names, rate = list(opened.model.config.id2label.values())[:2], opened.problem.processor.sampling_rate
    for number in range(60):
        (folder / "train" / names[number % 2]).mkdir(parents=True, exist_ok=True)
        times = np.arange(round(0.5 * rate)) / rate
        wave = (0.3 + 0.004 * number) * np.sin(2 * np.pi * (300 + 500 * (number % 2)) * times)
        (folder / "train" / names[number % 2] / f"{number}.wav").write_bytes(write_wav(wave, rate))
    return str(folder)


# By the input of the task, so that a new task of an input that is here needs no line.
DATA: dict[type, Callable[[Path, Any], str]] = {
    CaptionedImages: captioned,
    ContinuedTexts: book,
    EnclosedTexts: texts,
    Images: pictures,
    SeriesWindows: long_series,
    Sounds: sounds,
    Tables: table,
    Texts: texts,
    WholeSeries: whole_series,
}
# Flags without which the small data set would have no windows in one of its splits.
FLAGS = {SeriesWindows: ["--validation_fraction", "0.4", "--test_fraction", "0.3"]}


def input_kind(task: Task) -> type | None:
    """The entry of `DATA` for a task's input, or for what this input is a kind of; None where there is none."""
    return next((kind for kind in type(task.input).__mro__ if kind in DATA), None)


# ---------------------------------------------------------------- fixtures


@pytest.fixture(scope="module", params=RELEASES, ids=lambda path: path.name)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A release and a data set of the form of its own."""
    opened = open_release(str(request.param))
    folder = tmp_path_factory.mktemp(request.param.name)
    data = DATA[input_kind(opened.problem.task)](folder, opened)
    return SimpleNamespace(release=request.param, opened=opened, data=data, folder=tmp_path_factory.mktemp("run"))


def call(*words: str | Path) -> str:
    """What `hubmodels WORDS` prints to stdout, in this process and from the repository's root."""
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.chdir(ROOT), contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        code = main([str(word) for word in words])
    assert code == 0, errors.getvalue()
    return output.getvalue()


# ---------------------------------------------------------------- the ways in


def test_its_auto_class_gives_the_head_and_auto_model_the_body(case: SimpleNamespace) -> None:
    task, family = case.opened.problem.task, Recipe.load(case.release / "recipe.yaml").family
    classes = families.family_classes(family)
    assert type(auto.auto_class(task.head).from_pretrained(case.release)) is classes[task.head]
    assert type(AutoModel.from_pretrained(case.release)) is classes["Model"]


def test_the_lines_of_its_card_run(case: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 20, 3)).astype(np.uint8)
    for name in ("picture.png", "noisy.png"):
        Image.fromarray(pixels).save(tmp_path / name)
    (tmp_path / "sound.wav").write_bytes(write_wav(np.sin(np.arange(4_000) / 3) / 2, 8_000))
    if case.data.endswith(".csv"):
        for name in ("rows.csv", "series.csv"):
            (tmp_path / name).write_bytes(Path(case.data).read_bytes())
    monkeypatch.chdir(tmp_path)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(case.opened.problem.task.example().replace("{model_id}", str(case.release)), {})
    assert printed.getvalue().strip() or (tmp_path / "clean.png").exists()


def test_it_is_fine_tuned_for_twenty_steps_and_measured_again(case: SimpleNamespace) -> None:
    task = case.opened.problem.task
    words = ["train", "--model_name_or_path", case.release, "--task", task.tag, "--dataset", case.data]
    words += ["--max_steps", "20", "--per_device_train_batch_size", "8", "--seed", "0", "--no_baseline"]
    names = Recipe.load(case.release / "recipe.yaml").data
    for name in ("target_column_names", "time_column_name"):
        if name in names:
            values = names[name] if isinstance(names[name], list) else [names[name]]
            words += [f"--{name}", *map(str, values)]
    call(*words, *FLAGS.get(input_kind(task), []), "--output_dir", case.folder)
    release = case.folder / "release"
    stated = json.loads((release / "metrics.json").read_text())["results"]["metrics"]
    assert np.isfinite(stated[task.main_metric]["value"])
    assert load_yaml(release / "recipe.yaml")["model_name_or_path"] == str(case.release)
    found = json.loads(call("evaluate", release, "--json"))["metrics"]
    assert found[task.main_metric]["value"] == pytest.approx(stated[task.main_metric]["value"], rel=1e-4)
    assert "verified" in call("verify", release)


def test_its_samples_become_files_and_join_a_data_set(case: SimpleNamespace, tmp_path: Path) -> None:
    drawn, more = tmp_path / "drawn", tmp_path / "more"
    words = ["--num_samples", "3", "--output_dir", drawn, "--json"]
    if not hasattr(case.opened.model, "sample"):
        with pytest.raises(AssertionError, match="draws no samples"):
            call("sample", case.release, *words)
        return
    files = json.loads(call("sample", case.release, *words))["files"]
    assert sorted(path.name for path in drawn.iterdir()) == files
    assert len(files) == 3
    assert all((drawn / name).stat().st_size > 60 for name in files)
    if getattr(case.opened.model.config, "class_conditional", False):
        call("augment", case.release, "--dataset", case.data, "--per_class", "2", "--output_dir", more)
        rows = pd.read_parquet(more / "train-00000-of-00001.parquet")
        assert rows[rows["generated"]]["label"].value_counts().tolist() == [2] * rows["label"].nunique()


def test_published_with_their_code_all_load_where_hubmodels_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    with HubServer() as server:
        server.tokens[TOKEN] = User("me")
        for release in RELEASES:
            publishing.publish(release, f"me/{release.name}", api=HfApi(endpoint=server.url, token=TOKEN), waits=())
        environment = {
            **os.environ, "HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": TOKEN,
            "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        names = [f"me/{release.name}" for release in RELEASES]
        command = [sys.executable, "-c", WITHOUT_HUBMODELS, *names]
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line[5:]) for line in done.stdout.splitlines() if line.startswith("LINE ")]
    assert [name for name, _, _ in lines] == names
    for name, module, deviation in lines:
        assert module.startswith("transformers_modules."), name
        assert deviation < 1e-4, name


def test_every_task_that_has_a_release_has_small_data_here() -> None:
    tags = {Recipe.load(path / "recipe.yaml").task for path in RELEASES}
    assert not [tag for tag in tags if input_kind(get_task(tag)()) is None]
