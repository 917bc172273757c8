"""Folders of sounds from the file to the release: damaged ones, streams, notes at the first and the second start."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from datasets import Dataset

from hubmodels.data import load_data
from hubmodels.errors import HubmodelsError
from hubmodels.processors.processing_audio_wav import write_wav
from hubmodels.recipe import DataArguments
from hubmodels.report import Note, collect_notes
from hubmodels.steps import drop_unreadable, fit_problem, select_rows
from hubmodels.tasks.audio_classification import AudioClassification

RATE = 4_000


def tone(pitch: float, seconds: float = 0.25) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * pitch * np.arange(round(seconds * RATE)) / RATE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, pitch in (("low", 200), ("high", 900)):
        (tmp_path / name).mkdir()
        for number in range(12):
            (tmp_path / name / f"{number:02}.wav").write_bytes(write_wav(tone(pitch + 5 * number), RATE))
    return tmp_path


def start(folder: Path, **options) -> list[Note]:
    """Load, leave out, fit, as a training does; return what is noted."""
    arguments = DataArguments(dataset=str(folder), **options)
    task = AudioClassification()
    with collect_notes() as notes:
        loaded = load_data(arguments)
        rows = drop_unreadable(task, select_rows(task, loaded.splits), loaded.origins, arguments.max_unreadable)
        fit_problem(task, rows["train"], None, 0)
    return notes


def test_a_damaged_sound_is_named_and_left_out(folder: Path) -> None:
    (folder / "low" / "03.wav").write_bytes(b"")
    (folder / "high" / "07.wav").write_bytes(write_wav(tone(900), RATE)[:40])
    said = " | ".join(note.text for note in start(folder, max_unreadable=0.2))
    assert "low/03.wav: the audio is empty: it has no bytes" in said
    assert "high/07.wav: the wav file is cut short: it has no samples" in said
    for number in range(12):
        (folder / "low" / f"{number:02}.wav").write_bytes(b"RIFF")
    with pytest.raises(HubmodelsError, match=r"rows cannot be read: .*low/\d\d\.wav.* --max_unreadable 0\.\d"):
        start(folder)


def test_a_second_start_says_the_same(folder: Path) -> None:
    (folder / "low" / "03.wav").write_bytes(write_wav(np.zeros(800), RATE))
    first = start(folder)
    assert any("silent" in note.text for note in first)
    assert {note.text for note in start(folder)} == {note.text for note in first}


def test_other_kinds_of_files_stand_beside_wav(folder: Path) -> None:
    for number, kind in enumerate(("flac", "ogg", "mp3")):
        soundfile.write(folder / "low" / f"{number:02}.{kind}", tone(300), 8_000)
        (folder / "low" / f"{number:02}.wav").unlink()
    assert any("at 8,000 Hz" in note.text for note in start(folder))


def test_a_folder_is_streamed_without_torchcodec(folder: Path) -> None:
    loaded = load_data(DataArguments(dataset=str(folder), streaming=True, max_eval_samples=4))
    rows = select_rows(AudioClassification(), loaded.splits)
    problem = fit_problem(AudioClassification(), rows["train"], None, 0)
    stream = rows["train"]
    assert not isinstance(stream, Dataset)
    batch = next(iter(stream.iter(batch_size=5)))
    encoded = problem.encode(batch, list(range(5)), stream.features)
    assert encoded["samples"].shape == (5, problem.processor.num_samples)
