"""Sizes of images and sampling rates of sounds, read off the heads of some files of each split."""

import io
import wave
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import datasets
import numpy as np

from ..report import note
from .findings import Finding

MOST_FILES = 200  # files of a split whose heads are read, and no more than one in twenty, but at least 20


def check_media(splits: Mapping[str, datasets.Dataset]) -> Iterator[Finding]:
    """Compare the splits' image sizes and sampling rates."""
    features = splits["train"].features
    for name, feature in features.items():
        reader = {datasets.Image: image_size, datasets.Audio: sampling_rate}.get(type(feature))
        if reader is None or any(name not in split.features for split in splits.values()):
            continue
        what = "image sizes" if isinstance(feature, datasets.Image) else "sampling rates"
        seen = {role: Counter(read_heads(split, name, feature, reader)) for role, split in splits.items()}
        if not all(seen.values()):
            continue
        all_kinds = list(dict.fromkeys(kind for counter in seen.values() for kind in counter))
        apart = [role for role in seen if role != "train" and not set(seen[role]) & set(seen["train"])]
        if apart or (what == "sampling rates" and len(all_kinds) > 1):
            yield Finding(
                what,
                apart[0] if apart else "all",
                len(all_kinds),
                f"different {what} in column {name!r}",
                [f"{role}: {', '.join(str(kind) for kind, _ in seen[role].most_common(3))}" for role in seen],
                "they are all brought to one; make sure that they do not tell the splits or the classes apart",
            )
        elif len(all_kinds) > 1:
            note(
                "check",
                f"column {name!r} has {len(all_kinds):,} {what}, {all_kinds[0]} the first; all are brought to one",
            )


def read_heads(rows: datasets.Dataset, name: str, feature: Any, reader: Any) -> Iterator[str]:
    """Read what the heads of some files of a column say; of those that cannot be read, nothing."""
    count = min(MOST_FILES, max(20, len(rows) // 20), len(rows))
    numbers = np.unique(np.linspace(0, len(rows) - 1, count).astype(np.int64))
    raw = rows.select_columns([name]).select(numbers).with_format("arrow")[:].column(0).to_pylist()
    for item in raw:
        try:
            if item is not None:
                yield reader(item)
        except (OSError, ValueError, EOFError, SyntaxError, wave.Error):
            continue


def image_size(item: Mapping[str, Any]) -> str:
    """Read width and height off the head of an image."""
    from PIL import Image

    with Image.open(item["path"] if item.get("bytes") is None else io.BytesIO(item["bytes"])) as image:
        return f"{image.width} x {image.height}"


def sampling_rate(item: Mapping[str, Any]) -> str:
    """Read the sampling rate off the head of a wav file."""
    with wave.open(item["path"] if item.get("bytes") is None else io.BytesIO(item["bytes"])) as file:
        return f"{file.getframerate():,} Hz"
