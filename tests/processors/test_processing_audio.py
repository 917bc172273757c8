"""The audio feature extractor: reading wav, mixing, resampling, loudness, length, spectrograms, and back."""

import io
import math
import resource
import struct
import sys
import tracemalloc
import wave
from pathlib import Path

import numpy as np
import pytest
import scipy.io.wavfile
import scipy.signal
import soundfile
import torch
from transformers import AutoFeatureExtractor

from hubmodels.processors import processing_audio_wav
from hubmodels.processors.processing_audio import HubmodelsAudioFeatureExtractor
from hubmodels.processors.processing_audio_wav import open_audio, read_wav, resample, to_mono, write_wav

RATE = 8_000
SMALL = {"sampling_rate": RATE, "duration": 0.5, "n_fft": 256, "hop_length": 64, "num_mel_bins": 24}


def tone(hertz: float, seconds: float = 0.5, rate: int = RATE, level: float = 0.5) -> np.ndarray:
    return (level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def scipy_wav(samples: np.ndarray, rate: int = RATE) -> bytes:
    buffer = io.BytesIO()
    scipy.io.wavfile.write(buffer, rate, samples)
    return buffer.getvalue()


# ---------------------------------------------------------------- wav files


@pytest.mark.parametrize(
    ("dtype", "scale", "offset", "tolerance"),
    [("uint8", 127, 128, 1 / 127), ("int16", 32767, 0, 1e-4), ("int32", 2**31 - 1, 0, 1e-6), ("float32", 1, 0, 0)],
)
def test_every_number_type_that_scipy_writes_is_read(dtype: str, scale: float, offset: float, tolerance: float) -> None:
    values = np.stack([tone(300), tone(500)], axis=1)  # (samples, channels)
    stored = values.astype(np.float64) * scale + offset
    stored = (stored if dtype == "float32" else np.rint(stored)).astype(dtype)
    samples, rate = read_wav(scipy_wav(stored))
    assert rate == RATE
    assert samples.dtype == np.float32
    np.testing.assert_allclose(samples, values.T, atol=tolerance)


def test_24_bits_are_read() -> None:
    values = np.array([0, 1, -1, 2**23 - 1, -(2**23)], dtype=np.int64)
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((1, 3, RATE, 0, "NONE", ""))
        file.writeframes(b"".join(struct.pack("<i", value)[:3] for value in values.tolist()))
    samples, _ = read_wav(buffer.getvalue())
    np.testing.assert_allclose(samples[0], values / 2**23, atol=1e-7)


def test_a_written_file_is_what_scipy_and_the_reader_read() -> None:
    data = write_wav(tone(440), RATE)
    rate, stored = scipy.io.wavfile.read(io.BytesIO(data))
    assert (rate, stored.dtype) == (RATE, np.int16)
    np.testing.assert_allclose(stored / 32767, tone(440), atol=2e-5)
    np.testing.assert_allclose(read_wav(data)[0][0], tone(440), atol=5e-5)


def test_chunks_before_the_samples_and_an_odd_one_are_passed_over() -> None:
    plain = write_wav(tone(440), RATE)
    extra = b"LIST" + struct.pack("<I", 3) + b"abc" + b"\0"  # padded to an even place
    assert np.array_equal(read_wav(plain[:12] + extra + plain[12:])[0], read_wav(plain)[0])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty: it has no bytes"),
        (b"ID3\x04 this is an mp3 file", "no wav file.*ffmpeg"),
        (write_wav(tone(440), RATE)[:30], "cut short"),
        (scipy_wav(tone(440))[:20] + b"\x11\0" + scipy_wav(tone(440))[22:], "format 17 with 32 bits"),
    ],
)
def test_what_is_no_readable_wav_is_refused_in_one_line(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        read_wav(data)
    assert "\n" not in str(error.value)


def test_a_file_cut_within_its_samples_gives_those_that_are_there() -> None:
    data = write_wav(tone(440), RATE)
    np.testing.assert_array_equal(read_wav(data[:-1001])[0][0], read_wav(data)[0][0][:-501])


# ---------------------------------------------------------------- channels and rate


def test_channels_become_their_mean_whichever_way_the_array_lies() -> None:
    left, right = tone(300), tone(500)
    mean = (left + right) / 2
    for array in (np.stack([left, right]), np.stack([left, right], axis=1)):
        np.testing.assert_allclose(to_mono(array), mean, atol=1e-7)
    assert np.abs(to_mono(np.array([0, -(2**15), 2**14], dtype=np.int16)) - [0, -1, 0.5]).max() == 0
    assert np.abs(to_mono(np.array([128, 0, 192], dtype=np.uint8)) - [0, -1, 0.5]).max() == 0


@pytest.mark.parametrize(("rate", "new_rate"), [(44_100, 8_000), (16_000, 8_000), (8_000, 16_000), (11_025, 8_000)])
def test_a_tone_keeps_its_pitch_at_another_rate(rate: int, new_rate: int) -> None:
    found = resample(torch.from_numpy(tone(440, 0.5, rate)), rate, new_rate).numpy()
    assert len(found) == -(-round(0.5 * rate) * new_rate // rate)
    inner = slice(200, 3_500)
    np.testing.assert_allclose(found[inner], tone(440, 0.6, new_rate)[inner], atol=2e-3)
    reference = scipy.signal.resample_poly(tone(440, 0.5, rate).astype(np.float64), new_rate, rate)
    np.testing.assert_allclose(found[inner], reference[inner], atol=5e-3)


def test_a_tone_above_the_new_rates_half_disappears() -> None:
    found = resample(torch.from_numpy(tone(6_000, 0.5, 16_000)), 16_000, 8_000)[200:-200]
    assert found.abs().max() < 1e-3


# ---------------------------------------------------------------- loudness and length


def test_peak_and_rms_are_brought_to_their_level() -> None:
    for level in (0.05, 0.9):
        samples = HubmodelsAudioFeatureExtractor(**SMALL, loudness="peak", loudness_level=-6.0).to_samples(
            [tone(440, level=level)]
        )
        assert np.abs(samples).max() / 32767 == pytest.approx(10 ** (-6 / 20), rel=1e-3)
        samples = HubmodelsAudioFeatureExtractor(**SMALL, loudness="rms", loudness_level=-20.0).to_samples(
            [tone(440, level=level)]
        )
        assert np.sqrt(np.square(samples[0] / 32767).mean()) == pytest.approx(0.1, rel=1e-2)


def test_a_sound_of_peaks_is_not_clipped_to_reach_its_rms() -> None:
    clicks = np.zeros(4_000, dtype=np.float32)
    clicks[::400] = 0.5
    samples = HubmodelsAudioFeatureExtractor(**SMALL, loudness="rms", loudness_level=-3.0).to_samples([clicks])
    assert np.count_nonzero(samples) == 10
    assert np.abs(samples).max() == 32767


@pytest.mark.parametrize(("alignment", "start"), [("start", 0), ("center", 1_000)])
def test_a_short_sound_is_padded_and_a_long_one_cut(alignment: str, start: int) -> None:
    processor = HubmodelsAudioFeatureExtractor(**SMALL, alignment=alignment, loudness="none")
    short = np.full(2_000, 0.5, dtype=np.float32)
    short[::2] = -0.25
    (samples,) = processor.to_samples([short])
    assert len(samples) == 4_000
    assert np.flatnonzero(samples)[[0, -1]].tolist() == [start, start + 1_999]
    ramp = np.linspace(-0.5, 0.5, 6_000).astype(np.float32)
    (samples,) = processor.to_samples([ramp])
    np.testing.assert_allclose(samples / 32767, ramp[start : start + 4_000], atol=2e-5)


# ---------------------------------------------------------------- what people have


@pytest.mark.parametrize("loudness", ["peak", "rms", "none"])
def test_silence_is_a_sound_and_stays_silent(loudness: str) -> None:
    processor = HubmodelsAudioFeatureExtractor(**SMALL, loudness=loudness)
    hiss = np.full(4_000, 3e-5, dtype=np.float32)  # one step of 16 bits
    for sound in (np.zeros(4_000, np.float32), scipy_wav(np.zeros(900, np.int16)), hiss):
        assert np.abs(processor.to_samples([sound]).astype(int)).max() <= 1
        assert (processor([sound], return_tensors="pt")["input_values"] == -1).all()


def test_a_clipped_sound_is_read() -> None:
    processor = HubmodelsAudioFeatureExtractor(**SMALL, loudness="none")
    assert abs(int(processor.to_samples([np.sign(tone(50))]).max()) - 32767) <= 1


def test_mu_law_and_a_law_are_read_as_soundfile_reads_them() -> None:
    values = tone(300, level=0.9)
    for subtype in ("ULAW", "ALAW"):
        buffer = io.BytesIO()
        soundfile.write(buffer, values, RATE, format="WAV", subtype=subtype)
        expected, _ = soundfile.read(io.BytesIO(buffer.getvalue()), dtype="float32")
        samples, _ = read_wav(buffer.getvalue())
        np.testing.assert_allclose(samples[0], expected, atol=1e-6)


def test_the_extensible_form_is_read() -> None:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.stack([tone(300), tone(500)], axis=1), RATE, format="WAVEX", subtype="PCM_24")
    samples, _ = read_wav(buffer.getvalue())
    np.testing.assert_allclose(samples, np.stack([tone(300), tone(500)]), atol=1e-6)


@pytest.mark.parametrize(("kind", "tolerance"), [("FLAC", 1e-3), ("OGG", 0.1), ("MP3", 0.2)])
def test_other_files_are_read_by_soundfile(kind: str, tolerance: float, tmp_path: Path) -> None:
    processor = HubmodelsAudioFeatureExtractor(**SMALL, loudness="none")
    path = tmp_path / "sound"
    soundfile.write(path, tone(440), RATE, format=kind)
    expected = processor.to_samples([tone(440)]) / 32767
    middle = slice(500, 3_500)  # the ends of lossy files are padded
    for sound in (path, path.read_bytes(), {"bytes": None, "path": str(path)}):
        samples = processor.to_samples([sound]) / 32767
        assert np.abs(np.abs(np.fft.rfft(samples[0, middle])).argmax() - 165) <= 1  # 440 Hz of 3,000 samples
        if kind != "MP3":  # whose encoder delays
            np.testing.assert_allclose(samples[:, middle], expected[:, middle], atol=tolerance)


def test_without_soundfile_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = io.BytesIO()
    soundfile.write(buffer, tone(440), RATE, format="FLAC")
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(ValueError, match=r"pip install 'hubmodels\[audio\]'"):
        HubmodelsAudioFeatureExtractor(**SMALL)([buffer.getvalue()])
    HubmodelsAudioFeatureExtractor(**SMALL)([write_wav(tone(440), RATE)])


def test_of_a_file_cut_short_what_is_there_is_read() -> None:
    data = write_wav(tone(440), RATE)
    reader = open_audio(data[: len(data) // 2 + 1])
    assert reader.is_cut
    assert reader.frames == (len(data) // 2 + 1 - 44) // 2
    assert not open_audio(data).is_cut


@pytest.mark.parametrize(("rate", "new_rate"), [(99_991, 16_000), (15_991, 44_100)])
def test_rates_without_a_common_divisor_are_changed_in_little_memory(rate: int, new_rate: int) -> None:
    waveform = torch.from_numpy(tone(440, seconds=0.5, rate=rate))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # in kB
    changed = resample(waveform, rate, new_rate)
    assert len(changed) == math.ceil(len(waveform) * new_rate / rate)
    expected = torch.from_numpy(tone(440, seconds=0.5, rate=new_rate))[: len(changed)]
    torch.testing.assert_close(changed[2_000:-2_000], expected[2_000 : len(changed) - 2_000], atol=2e-3, rtol=0)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400_000  # of a table 1 to 6 GB


def test_both_ways_of_changing_the_rate_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = torch.rand(2, 3_000, generator=torch.Generator().manual_seed(0)) - 0.5
    by_table = [resample(noise, 44_100, 16_000), resample(noise, 8_000, 11_025)]
    monkeypatch.setattr(processing_audio_wav, "MOST_WEIGHTS", 1_000)
    directly = [resample(noise, 44_100, 16_000), resample(noise, 8_000, 11_025)]
    for table, direct in zip(by_table, directly, strict=True):
        torch.testing.assert_close(table, direct, atol=1e-5, rtol=0)


@pytest.mark.parametrize("alignment", ["start", "center"])
def test_of_a_long_sound_only_what_the_model_sees_is_read(alignment: str, tmp_path: Path) -> None:
    """Of three hours; what is read is the same as of the part alone."""
    rate, seconds = 8_000, 3 * 3600
    with wave.open(str(tmp_path / "long.wav"), "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        for minute in range(seconds // 60):
            file.writeframes(np.full(60 * rate, 100 * minute, dtype="<i2").tobytes())
    processor = HubmodelsAudioFeatureExtractor(**SMALL, alignment=alignment, loudness="none")
    tracemalloc.start()
    (samples,) = processor.to_samples([tmp_path / "long.wav"])
    assert tracemalloc.get_traced_memory()[1] < 2e6
    tracemalloc.stop()
    expected = [0] if alignment == "start" else [8_900, 9_000]  # the minute before the middle, and the one behind it
    assert np.abs(np.unique(samples)[:, None] - np.array(expected)).min(axis=1).max() <= 1


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("sound", "message"),
    [
        (np.zeros(0, dtype=np.float32), "empty: it has no samples"),
        (tone(440) * 30_000, "must lie in -1..1"),
        (np.array([0.1, np.nan]), "not finite"),
        (np.zeros((2, 3, 4)), "shape"),
        ("no/such/file.wav", "no file at no/such/file.wav"),
        (None, "missing"),
        ({"array": tone(440), "sampling_rate": 0}, "whole number of Hz"),
        ({"array": tone(440), "sampling_rate": 8000.5}, "whole number of Hz"),
    ],
)
def test_bad_sounds_are_refused_in_one_line(sound: object, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        HubmodelsAudioFeatureExtractor(**SMALL)([sound])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("loudness", "loud", "peak, rms, none"),
        ("features", "mfcc", "log_mel, waveform"),
        ("sampling_rate", 0, "at least 1"),
        ("duration", -1.0, "greater than 0"),
        ("loudness_level", 3.0, "at most 0"),
        ("hop_length", 200, "at most half of n_fft"),
        ("n_fft", 5_000, "n_fft"),
        ("max_frequency", 5_000.0, r"0\.\.4000 Hz"),
        ("num_mel_bins", 200, "hold no frequency"),
    ],
)
def test_impossible_fields_are_refused(field: str, value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HubmodelsAudioFeatureExtractor(**{**SMALL, field: value})


# ---------------------------------------------------------------- spectrograms


def test_the_levels_are_those_of_scipys_transform_and_the_triangles() -> None:
    processor = HubmodelsAudioFeatureExtractor(**SMALL)
    waveform = np.random.default_rng(0).normal(0, 0.1, processor.num_samples).astype(np.float32)
    found = processor.mel_levels(torch.from_numpy(waveform)[None])[0].numpy()
    window = scipy.signal.windows.hann(256, sym=False)
    padded = np.pad(waveform, 128)
    frames = np.stack([padded[64 * n : 64 * n + 256] * window for n in range(processor.num_frames)], axis=1)
    power = np.abs(np.fft.rfft(frames, axis=0)) ** 2
    np.testing.assert_allclose(found, 10 * np.log10(processor._filters().T @ power), atol=1e-2)


def test_a_tone_lies_in_the_band_of_its_pitch() -> None:
    processor = HubmodelsAudioFeatureExtractor(**SMALL)
    strongest = [
        processor([tone(hertz)], return_tensors="pt")["input_values"][0, :, 10:-10].mean(dim=1).argmax().item()
        for hertz in (200, 800, 1_600, 3_200)
    ]
    assert strongest == sorted(set(strongest))


def test_the_call_is_the_two_steps_and_silence_is_minus_one() -> None:
    processor = HubmodelsAudioFeatureExtractor(**SMALL)
    sounds = [tone(440, 0.2), tone(700)]
    samples = torch.from_numpy(processor.to_samples(sounds))
    processor.fit_reference(processor.mel_levels(samples.float() / 32767))
    values = processor(sounds, return_tensors="pt")["input_values"]
    assert torch.equal(values, processor.to_values(samples))
    assert values.shape == (2, *processor.input_shape)
    assert values[0, :, :10].eq(-1).all()  # before the short sound
    assert values.min() == -1
    assert 0.9 < values.max() < 1.3


@pytest.mark.parametrize("form", ["path", "bytes", "mapping", "numpy", "torch", "list", "int16", "batch"])
def test_every_form_of_a_sound_gives_the_same(form: str, tmp_path) -> None:
    processor = HubmodelsAudioFeatureExtractor(**SMALL)
    whole = (tone(440) * 32767).round().astype(np.int16)
    data = scipy_wav(whole)
    (tmp_path / "a.wav").write_bytes(data)
    values = (whole / 32768).astype(np.float32)
    sound = {
        "path": str(tmp_path / "a.wav"), "bytes": data, "mapping": {"array": values, "sampling_rate": RATE},
        "numpy": values, "torch": torch.from_numpy(values), "list": values.tolist(), "int16": whole,
        "batch": values[None],
    }[form]  # fmt: skip
    expected = processor([{"bytes": data, "path": None}], return_tensors="pt")["input_values"]
    torch.testing.assert_close(processor(sound, return_tensors="pt")["input_values"], expected, atol=1e-3, rtol=0)


# ---------------------------------------------------------------- and back


def test_a_spectrogram_of_tones_comes_back_as_the_same_tones() -> None:
    processor = HubmodelsAudioFeatureExtractor(**SMALL)
    waveform = (tone(400) + tone(1_300)) / 2
    values = processor([waveform], return_tensors="pt")["input_values"]
    (found,) = processor.to_audio(values)
    assert found.abs().max().item() == pytest.approx(10 ** (-1 / 20), rel=1e-3)
    spectrum = np.abs(np.fft.rfft(found.numpy()))
    for hertz in (400, 1_300):  # 2 Hz a place; a band is far wider than that
        near = spectrum[hertz // 2 - 60 : hertz // 2 + 60]
        assert near.max() > 5 * np.median(spectrum)
    again = processor(found.numpy(), return_tensors="pt")["input_values"]
    assert (again - values).abs().mean() < 0.15  # of a range of 2


def test_a_waveform_comes_back_as_it_was() -> None:
    processor = HubmodelsAudioFeatureExtractor(**SMALL, features="waveform")
    values = processor([tone(440)], return_tensors="pt")["input_values"]
    assert values.shape == (1, 4_000)
    torch.testing.assert_close(processor.to_audio(values), values, atol=1e-4, rtol=0)
    with pytest.raises(ValueError, match=r"shape \(batch, 4000\), got \(1, 3999\)"):
        processor.to_audio(values[:, 1:])


def test_more_iterations_come_nearer_and_a_generator_repeats() -> None:
    processor = HubmodelsAudioFeatureExtractor(**SMALL)
    values = processor([tone(400) * np.linspace(0.1, 1, 4_000).astype(np.float32)], return_tensors="pt")["input_values"]

    def error(count: int) -> float:
        again = processor.to_audio(values, num_iterations=count)
        return (processor.to_values(again) - values).abs().mean().item()

    assert error(32) < 0.7 * error(0)
    first = processor.to_audio(values, 2, torch.Generator().manual_seed(1))
    assert torch.equal(first, processor.to_audio(values, 2, torch.Generator().manual_seed(1)))
    assert not torch.equal(first, processor.to_audio(values, 2, torch.Generator().manual_seed(2)))


def test_a_saved_one_comes_back_the_same(tmp_path) -> None:
    processor = HubmodelsAudioFeatureExtractor(**SMALL, reference_level=-3.5)
    processor.save_pretrained(tmp_path)
    loaded = AutoFeatureExtractor.from_pretrained(tmp_path)
    assert type(loaded) is HubmodelsAudioFeatureExtractor
    code = {"AutoFeatureExtractor": "processing_audio.HubmodelsAudioFeatureExtractor"}
    assert loaded.to_dict() == processor.to_dict() | {"auto_map": code}
    assert np.array_equal(loaded(tone(440))["input_values"][0], processor(tone(440))["input_values"][0])
