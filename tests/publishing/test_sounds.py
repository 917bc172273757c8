"""Sounds of a release: files beside the figures, played by the card, and checked as strictly as all else."""

import json
import wave
from pathlib import Path

import numpy as np
import pytest
from tiny_release import make_release

from hubmodels.errors import HubmodelsError
from hubmodels.files import hash_file
from hubmodels.publishing import verify_folder
from hubmodels.report import Sound

WAVEFORM = np.sin(np.arange(4_000) / 5) * 1.2  # what lies outside is cut off


@pytest.fixture(scope="module")
def sounding(tmp_path_factory: pytest.TempPathFactory) -> Path:
    plots = [Sound("low", "A low tone", WAVEFORM, 8_000), Sound("high", "A high tone", -WAVEFORM, 16_000)]
    return make_release(tmp_path_factory.mktemp("made") / "tiny-sounds", plots=plots)


def test_a_sound_is_a_wav_file_with_a_checksum(sounding: Path) -> None:
    for name, rate, sign in (("low", 8_000, 1), ("high", 16_000, -1)):
        with wave.open(str(sounding / "audio" / f"{name}.wav")) as file:
            assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, rate)
            samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        np.testing.assert_allclose(samples / 32767, np.clip(sign * WAVEFORM, -1, 1), atol=2e-5)
    metrics = json.loads((sounding / "metrics.json").read_text())
    assert metrics["checksums"]["files"]["audio/low.wav"] == hash_file(sounding / "audio" / "low.wav")
    assert {"path": "audio/low.wav", "caption": "A low tone"} in metrics["figures"]
    assert "verified" in str(verify_folder(sounding))


def test_the_card_plays_it_from_its_folder_or_from_the_hub(sounding: Path, tmp_path: Path) -> None:
    card = (sounding / "README.md").read_text()
    assert '| A low tone | <audio controls src="audio/low.wav"></audio> |' in card
    assert "![" not in card  # a sound is no image
    public = make_release(
        tmp_path / "public", plots=[Sound("low", "A low tone", WAVEFORM, 8_000)], model_id="me/public"
    )
    assert (
        '<audio controls src="https://huggingface.co/me/public/resolve/main/audio/low.wav">'
        in (public / "README.md").read_text()
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x80\x04 not a sound", "is no wav file"),
        (b"<html>", "is no wav file"),
        (b"", "is empty"),
        (b"RIFF\x04\0\0\0WAVE", "is not the file that was released"),
    ],
)
def test_a_sound_that_is_another_file_is_refused(sounding: Path, tmp_path: Path, data: bytes, message: str) -> None:
    import shutil

    folder = Path(shutil.copytree(sounding, tmp_path / "copy"))
    (folder / "audio" / "low.wav").write_bytes(data)
    with pytest.raises(HubmodelsError, match=message):
        verify_folder(folder)
