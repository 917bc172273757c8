"""Audio in files and memory: reading and writing wav, mixing to one channel, changing the rate. No other decoder.

A wav file is read chunk by chunk (Microsoft's RIFF, "Multiple Channel Audio Data and WAVE Files", 2007): integers of
8, 16, 24 and 32 bits and floating-point numbers of 32 and 64. This file goes to the Hub as code.
"""

import functools
import io
import math
import struct
import wave

import numpy as np
import torch

INTEGERS, FLOATS, EXTENSIBLE = 1, 3, 0xFFFE  # the format tags of a wav file
SINC_ZEROS = 32  # of the resampling filter, to either side
SINC_ROLLOFF = 0.95  # where its pass band ends, as a share of the lower rate's half


def read_wav(data: bytes) -> tuple[np.ndarray, int]:
    """Return the samples (channels, T) float32 in -1..1 of a wav file, and its rate in Hz.

    Raises:
        ValueError: it is no wav file, is cut short before any sample, or of an encoding that is not read here.
    """
    if len(data) == 0:
        raise ValueError("the audio is empty: it has no bytes")
    if data[:4] not in (b"RIFF", b"RIFX") or data[8:12] != b"WAVE":
        raise ValueError("the bytes are no wav file; convert it first (ffmpeg -i sound.mp3 sound.wav)")
    order = "<" if data[:4] == b"RIFF" else ">"
    offset, layout, samples = 12, None, None
    while offset + 8 <= len(data) and samples is None:
        name, size = data[offset : offset + 4], struct.unpack(order + "I", data[offset + 4 : offset + 8])[0]
        chunk = data[offset + 8 : offset + 8 + size]  # the last one of a stream may claim more than there is
        if name == b"fmt " and len(chunk) >= 16:
            tag, channels, rate, _, _, bits = struct.unpack(order + "HHIIHH", chunk[:16])
            if tag == EXTENSIBLE and len(chunk) >= 26:
                tag = struct.unpack(order + "H", chunk[24:26])[0]
            layout = tag, channels, rate, bits
        elif name == b"data":
            samples = chunk
        offset += 8 + size + size % 2
    if layout is None or samples is None:
        raise ValueError("the wav file is cut short: it has no samples")
    tag, channels, rate, bits = layout
    if (tag, bits) not in ((INTEGERS, 8), (INTEGERS, 16), (INTEGERS, 24), (INTEGERS, 32), (FLOATS, 32), (FLOATS, 64)):
        raise ValueError(
            f"the wav file is encoded as format {tag} with {bits} bits; save it as 16-bit integers (pcm_s16le)"
        )
    if channels < 1 or rate < 1:
        raise ValueError(f"the wav file says {channels} channels at {rate} Hz, which no sound has")
    frame = channels * bits // 8
    samples = samples[: len(samples) // frame * frame]
    return _to_floats(samples, tag, bits, order).reshape(-1, channels).T, rate


def _to_floats(samples: bytes, tag: int, bits: int, order: str) -> np.ndarray:
    if tag == FLOATS:
        return np.frombuffer(samples, f"{order}f{bits // 8}").astype(np.float32)
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
    kernels, width = _sinc_kernels(down, up)
    padded = torch.nn.functional.pad(waveform.reshape(-1, 1, length), (width, width + down))
    phases = torch.nn.functional.conv1d(padded, kernels.to(waveform), stride=down)  # (B, up, T / down)
    count = -(-length * up // down)
    return phases.transpose(1, 2).reshape(*waveform.shape[:-1], -1)[..., :count]


@functools.lru_cache(maxsize=16)
def _sinc_kernels(down: int, up: int) -> tuple[torch.Tensor, int]:
    """Return one kernel for each of the `up` places between two blocks of `down` samples, (up, 1, 2 * width + down)."""
    cutoff = min(down, up) * SINC_ROLLOFF
    width = math.ceil(SINC_ZEROS * down / cutoff)
    taps = torch.arange(-width, width + down, dtype=torch.float64) / down
    times = (taps[None] - torch.arange(up, dtype=torch.float64)[:, None] / up) * cutoff
    window = torch.where(times.abs() < SINC_ZEROS, torch.cos(times * math.pi / SINC_ZEROS / 2) ** 2, 0.0)
    return (torch.sinc(times) * window * cutoff / down).unsqueeze(1), width


__all__ = ["read_wav", "resample", "to_mono", "write_wav"]
