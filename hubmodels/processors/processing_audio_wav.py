"""Audio in files and memory: reading and writing wav, mixing to one channel, changing the rate.

A wav file is read chunk by chunk (Microsoft's RIFF, "Multiple Channel Audio Data and WAVE Files", 2007), and of its
samples only those that are asked for: integers of 8, 16, 24 and 32 bits, floating-point numbers of 32 and 64, and the
8 bits of mu-law and A-law (ITU-T G.711). Other files (flac, ogg, mp3) are read by soundfile where it is installed.
This file goes to the Hub as code.
"""

import functools
import importlib
import io
import math
import os
import struct
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

INTEGERS, FLOATS, A_LAW, MU_LAW, EXTENSIBLE = 1, 3, 6, 7, 0xFFFE  # the format tags of a wav file
ENCODINGS = {(INTEGERS, 8), (INTEGERS, 16), (INTEGERS, 24), (INTEGERS, 32), (FLOATS, 32), (FLOATS, 64)}
ENCODINGS |= {(MU_LAW, 8), (A_LAW, 8)}
SINC_ZEROS = 32  # of the resampling filter, to either side
SINC_ROLLOFF = 0.95  # where its pass band ends, as a share of the lower rate's half
MOST_WEIGHTS = 2**21  # of the resampling filter that are kept or computed at once: 16 MB


@dataclass
class WavReader:
    """Reads samples of a wav file whose header was read (see `open_wav`)."""

    file: BinaryIO
    rate: int  # in Hz
    channels: int
    frames: int  # samples of each channel that are there
    is_cut: bool  # whether the header promises more
    tag: int
    bits: int
    order: str  # of the bytes: "<" or ">"
    offset: int  # of the first sample, in bytes

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return the samples from `start` to before `stop`, (channels, stop - start) float32 in -1..1."""
        frame = self.channels * self.bits // 8
        self.file.seek(self.offset + start * frame)
        data = self.file.read((stop - start) * frame)
        data = data[: len(data) // frame * frame]
        return _to_floats(data, self.tag, self.bits, self.order).reshape(-1, self.channels).T


def open_wav(file: BinaryIO) -> WavReader:
    """Read the header of a wav file.

    Raises:
        ValueError: it is no wav file, has no samples, or is of an encoding that is not read here.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    start = file.read(12)
    if start[:4] not in (b"RIFF", b"RIFX") or start[8:12] != b"WAVE":
        raise ValueError("the bytes are no wav file; convert it first (ffmpeg -i sound.mp3 sound.wav)")
    order = "<" if start[:4] == b"RIFF" else ">"
    offset, layout, samples = 12, None, None
    while offset + 8 <= size and samples is None:
        file.seek(offset)
        name, length = struct.unpack(order + "4sI", file.read(8))
        if name == b"fmt " and len(chunk := file.read(min(length, 40))) >= 16:
            tag, channels, rate, _, _, bits = struct.unpack(order + "HHIIHH", chunk[:16])
            if tag == EXTENSIBLE and len(chunk) >= 26:
                tag = struct.unpack(order + "H", chunk[24:26])[0]
            layout = tag, channels, rate, bits
        elif name == b"data":
            samples = offset + 8, length
        offset += 8 + length + length % 2
    if layout is None or samples is None:
        raise ValueError("the wav file is cut short: it has no samples")
    tag, channels, rate, bits = layout
    if (tag, bits) not in ENCODINGS:
        raise ValueError(
            f"the wav file is encoded as format {tag} with {bits} bits; save it as 16-bit integers (pcm_s16le)"
        )
    if channels < 1 or rate < 1:
        raise ValueError(f"the wav file says {channels} channels at {rate} Hz, which no sound has")
    frame, present = channels * bits // 8, size - samples[0]
    # What was written to a pipe claims the largest length that there is.
    is_cut = samples[1] > present and samples[1] < 0x7FFFF000
    return WavReader(file, rate, channels, min(samples[1], present) // frame, is_cut, tag, bits, order, samples[0])


def read_wav(data: bytes) -> tuple[np.ndarray, int]:
    """Return the samples (channels, T) float32 in -1..1 of a wav file, and its rate in Hz.

    Raises:
        ValueError: it is no wav file, is cut short before any sample, or of an encoding that is not read here.
    """
    if len(data) == 0:
        raise ValueError("the audio is empty: it has no bytes")
    reader = open_wav(io.BytesIO(data))
    return reader.read(0, reader.frames), reader.rate


@functools.lru_cache(maxsize=2)
def _companded(tag: int) -> np.ndarray:
    """Return the values (256,) float32 of the bytes of mu-law and A-law, ITU-T G.711."""
    codes = np.arange(256)
    if tag == MU_LAW:
        codes = codes ^ 0xFF
        exponents, mantissas = codes >> 4 & 7, codes & 15
        values = ((2 * mantissas + 33) << exponents) - 33  # of 14 bits
        signs = np.where(codes & 0x80, -1, 1)
        return (signs * values / 8192).astype(np.float32)
    codes = codes ^ 0x55
    exponents, mantissas = codes >> 4 & 7, codes & 15
    values = np.where(exponents == 0, 2 * mantissas + 1, (2 * mantissas + 33) << np.maximum(exponents - 1, 0))
    return (np.where(codes & 0x80, 1, -1) * values / 4096).astype(np.float32)  # of 13 bits


def _to_floats(samples: bytes, tag: int, bits: int, order: str) -> np.ndarray:
    if tag == FLOATS:
        return np.frombuffer(samples, f"{order}f{bits // 8}").astype(np.float32)
    if tag in (MU_LAW, A_LAW):
        return _companded(tag)[np.frombuffer(samples, np.uint8)]
    if bits == 8:  # the only unsigned one
        return (np.frombuffer(samples, np.uint8).astype(np.float32) - 128) / 128
    if bits == 24:  # the upper three bytes of a 32-bit integer
        wide = np.zeros((len(samples) // 3, 4), np.uint8)
        wide[:, slice(1, 4) if order == "<" else slice(0, 3)] = np.frombuffer(samples, np.uint8).reshape(-1, 3)
        return (wide.view(f"{order}i4")[:, 0] / 2.0**31).astype(np.float32)
    return (np.frombuffer(samples, f"{order}i{bits // 8}") / 2.0 ** (bits - 1)).astype(np.float32)


def write_wav(waveform: np.ndarray, sampling_rate: int) -> bytes:
    """Return a wav file of 16-bit integers from samples (T,) in -1..1; what lies outside is cut off."""
    values = np.clip(np.asarray(waveform, dtype=np.float64), -1, 1)
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sampling_rate)
        file.writeframes(np.rint(values * 32767).astype("<i2").tobytes())
    return buffer.getvalue()


def to_mono(array: np.ndarray) -> np.ndarray:
    """Return samples of any number type, (T,), (channels, T) or (T, channels), as the mean of their channels, (T,)
    float32.

    Raises:
        ValueError: another shape, no samples, values that are not finite, or floating-point ones outside of -1..1.
    """
    array = np.asarray(array)
    if array.ndim == 2 and array.shape[0] > array.shape[1]:
        array = array.T
    if array.ndim not in (1, 2) or array.dtype.kind not in "iuf":
        raise ValueError(
            f"audio must be numbers of shape (samples,) or (channels, samples), got {array.dtype} of shape "
            f"{array.shape}"
        )
    if array.size == 0:
        raise ValueError("the audio is empty: it has no samples")
    if array.dtype.kind == "u":
        array = array.astype(np.float64) - 2 ** (8 * array.dtype.itemsize - 1)
    elif array.dtype.kind == "f":
        largest = np.abs(array).max()
        if not np.isfinite(largest):
            raise ValueError("the audio holds values that are not finite")
        if largest > 1 + 1e-3:
            raise ValueError(
                f"floating-point audio must lie in -1..1, got values up to {largest:g}; divide by the largest value of "
                f"its integers (32768 for 16 bits)"
            )
        return (array.mean(axis=0) if array.ndim == 2 else array).astype(np.float32)
    scale = 2.0 ** (8 * np.asarray(array).dtype.itemsize - 1) if array.dtype.kind == "i" else 128.0
    array = array / scale
    return (array.mean(axis=0) if array.ndim == 2 else array).astype(np.float32)


def resample(waveform: torch.Tensor, rate: int, new_rate: int) -> torch.Tensor:
    """Return samples (..., T) at another rate, (..., ceil(T * new_rate / rate)), by a sinc filter under a Hann window.

    It lets nothing above the lower rate's half through (Smith, "Digital Audio Resampling", 1984)."""
    divisor = math.gcd(rate, new_rate)
    down, up = rate // divisor, new_rate // divisor
    if down == up:
        return waveform
    length = waveform.shape[-1]
    if up * (2 * _half_width(down, up) + down) > MOST_WEIGHTS:  # rates with hardly a common divisor
        return _resample_directly(waveform.reshape(-1, length), down, up).reshape(*waveform.shape[:-1], -1)
    kernels, width = _sinc_kernels(down, up)
    padded = torch.nn.functional.pad(waveform.reshape(-1, 1, length), (width, width + down))
    phases = torch.nn.functional.conv1d(padded, kernels.to(waveform), stride=down)  # (B, up, T / down)
    count = -(-length * up // down)
    return phases.transpose(1, 2).reshape(*waveform.shape[:-1], -1)[..., :count]


def _resample_directly(waveforms: torch.Tensor, down: int, up: int) -> torch.Tensor:
    """Do the same of waveforms (B, T) where a table of the filter would be huge: its weights are computed as needed."""
    length = waveforms.shape[1]
    cutoff = min(down, up) * SINC_ROLLOFF / down  # as a share of the old rate
    half = math.ceil(SINC_ZEROS / cutoff)
    taps = torch.arange(-half, half + 2)
    padded = torch.nn.functional.pad(waveforms, (half, half + 2))
    pieces = []
    for numbers in torch.arange(-(-length * up // down)).split(max(1, MOST_WEIGHTS // (len(taps) * len(waveforms)))):
        whole, rest = numbers * down // up, numbers * down % up  # where a new sample stands among the old ones
        times = (taps[None] - (rest.double() / up)[:, None]) * cutoff
        window = torch.where(times.abs() < SINC_ZEROS, torch.cos(times * math.pi / SINC_ZEROS / 2) ** 2, 0.0)
        weights = (torch.sinc(times) * window * cutoff).to(waveforms)  # (N, taps)
        near = padded[:, (whole[:, None] + taps[None] + half)]  # (B, N, taps)
        pieces.append(torch.einsum("bnt,nt->bn", near, weights))
    return torch.cat(pieces, dim=1)


def _half_width(down: int, up: int) -> int:
    """Return how far the filter reaches to either side, in old samples."""
    return math.ceil(SINC_ZEROS * down / (min(down, up) * SINC_ROLLOFF))


@functools.lru_cache(maxsize=16)
def _sinc_kernels(down: int, up: int) -> tuple[torch.Tensor, int]:
    """Return one kernel for each of the `up` places between two blocks of `down` samples, (up, 1, 2 * width + down)."""
    cutoff = min(down, up) * SINC_ROLLOFF
    width = _half_width(down, up)
    taps = torch.arange(-width, width + down, dtype=torch.float64) / down
    times = (taps[None] - torch.arange(up, dtype=torch.float64)[:, None] / up) * cutoff
    window = torch.where(times.abs() < SINC_ZEROS, torch.cos(times * math.pi / SINC_ZEROS / 2) ** 2, 0.0)
    return (torch.sinc(times) * window * cutoff / down).unsqueeze(1), width


@dataclass
class LibraryReader:
    """Reads samples of a file that soundfile knows: flac, ogg, mp3, aiff and more."""

    file: Any  # a soundfile.SoundFile
    is_cut: bool = False

    @property
    def rate(self) -> int:
        """Return the rate in Hz."""
        return self.file.samplerate

    @property
    def channels(self) -> int:
        """Return the number of channels."""
        return self.file.channels

    @property
    def frames(self) -> int:
        """Return the samples of each channel."""
        return self.file.frames

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return the samples from `start` to before `stop`, (channels, at most stop - start) float32 in -1..1."""
        self.file.seek(start)
        return self.file.read(stop - start, dtype="float32", always_2d=True).T


def open_audio(source: bytes | str | os.PathLike) -> WavReader | LibraryReader:
    """Open a file of sound, by its path or its bytes, and read its header.

    Raises:
        ValueError: it is not there, is empty, damaged, or of a kind that is not read here.
    """
    if isinstance(source, bytes):
        file: BinaryIO = io.BytesIO(source)
    else:
        if not Path(source).is_file():
            raise ValueError(f"no file at {os.fspath(source)}")
        file = open(source, "rb")  # noqa: SIM115 - closed with the reader that is given
    try:
        return _open_file(file)
    except ValueError:
        file.close()
        raise


def _open_file(file: BinaryIO) -> WavReader | LibraryReader:
    beginning = file.read(12)
    if not beginning:
        raise ValueError("the audio is empty: it has no bytes")
    if beginning[:4] in (b"RIFF", b"RIFX"):
        return open_wav(file)
    file.seek(0)
    try:
        # A package that not everybody has: imported so, a checkpoint with this file loads without it.
        soundfile = importlib.import_module("soundfile")
    except (ImportError, OSError):
        raise ValueError(
            "the bytes are no wav file: pip install 'hubmodels[audio]' (soundfile) reads flac, ogg and mp3; or convert "
            "it first (ffmpeg -i sound.mp3 sound.wav)"
        ) from None
    try:
        return LibraryReader(soundfile.SoundFile(file))
    except soundfile.SoundFileError as error:
        reason = " ".join(str(error).split())[:100]
        raise ValueError(f"it is no wav file, and soundfile cannot read it: {reason}") from None


__all__ = ["open_audio", "read_wav", "resample", "to_mono", "write_wav"]
