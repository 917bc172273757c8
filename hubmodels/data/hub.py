"""Data sets that `datasets` itself reads: of the Hub, folders that only its builders know, and scikit-learn's own."""

import copy
import dataclasses
import glob
import importlib.util
import os
from pathlib import Path
from typing import Any, TypeAlias

import datasets
import numpy as np
from datasets.packaged_modules import _PACKAGED_DATASETS_MODULES
from datasets.utils.info_utils import is_small_dataset
from huggingface_hub.errors import HfHubHTTPError

from ..errors import HubmodelsError, nearest
from ..progress import without_bars
from ..recipe import DataArguments
from .readers import TABLE_KINDS

KNOWN_KINDS = (*TABLE_KINDS, ".txt")  # of files, all of which our readers open

SplitRows: TypeAlias = datasets.Dataset | datasets.IterableDataset


def load_dataset_splits(arguments: DataArguments, streaming: bool) -> dict[str, SplitRows]:
    """Load the data set's own splits, by name."""
    name = arguments.dataset_path or arguments.dataset or ""
    if name.startswith("sklearn:"):
        rows = _load_sklearn(name.removeprefix("sklearn:"))
        return {arguments.train_split: rows.to_iterable_dataset() if streaming else rows}
    path = Path(name).expanduser()
    looks_local = (
        arguments.dataset_path is not None
        or path.is_absolute()
        or name.startswith((".", "~"))
        or path.suffix.lower() in KNOWN_KINDS
        or name in _PACKAGED_DATASETS_MODULES  # `datasets` would read all such files of the working directory
    )
    if looks_local and not path.exists():
        raise HubmodelsError(f"no data set at {name}: the path does not exist")
    if path.is_file():
        raise HubmodelsError(f"cannot read {name}: the file types are {', '.join(KNOWN_KINDS)}, or give a folder")
    if path.is_dir() and glob.has_magic(os.path.abspath(path)):
        raise HubmodelsError(f"the path {os.path.abspath(path)} has a sign of patterns ([, * or ?): rename that folder")
    try:
        # A relative path may be the name of a builder of `datasets`.
        options: dict[str, Any] = {"path": os.path.abspath(path) if path.exists() else name}
        options |= {"name": arguments.dataset_config_name, "revision": arguments.dataset_revision}
        if _is_plain_text(options, arguments):
            options |= {"sample_by": arguments.sample_by or "line", "keep_linebreaks": arguments.sample_by is None}
        loaded = _load_dataset(streaming=streaming, **options)
        # A stream of CSV or JSON does not know its columns before its first rows are read.
        return {name: split._resolve_features() if streaming else split for name, split in loaded.items()}
    except (OSError, ValueError, RuntimeError, HfHubHTTPError, datasets.exceptions.DatasetsError) as error:
        # `datasets` says that an error occurred, and in its cause which one.
        caused = error.__cause__ if isinstance(error, datasets.exceptions.DatasetGenerationError) else None
        reason = " ".join(str(caused or error).split())[:300]
        raise HubmodelsError(
            f"cannot load data set {name!r}: {reason} (give a Hub id, an existing folder or file, or sklearn:NAME)"
        ) from error


def _load_dataset(path: str, streaming: bool, **options: Any) -> dict[str, SplitRows]:
    """Load as `datasets.load_dataset` does, and folders of sounds without torchcodec too."""
    if Path(path, datasets.config.DATASET_STATE_JSON_FILENAME).exists():
        raise ValueError(
            "You are trying to load a dataset that was saved using `save_to_disk`. Please use `load_from_disk` instead."
        )
    builder = datasets.load_dataset_builder(path, **options)
    if streaming:
        return builder.as_streaming_dataset()
    if importlib.util.find_spec("torchcodec") is None:
        _prepare_without_encoder(builder)
    else:
        builder.download_and_prepare()
    return builder.as_dataset(in_memory=is_small_dataset(builder.info.dataset_size))


class _SoundFile(datasets.Audio):
    """Stores sounds that are files already as they are: `Audio` asks for an encoder before it looks at them."""

    def encode_example(self, value: Any) -> dict[str, Any]:
        """Give a path, or the bytes of a file, as Arrow stores them."""
        if isinstance(value, str | os.PathLike):
            return {"bytes": None, "path": os.fspath(value)}
        if isinstance(value, dict) and set(value) == {"bytes", "path"}:
            return value
        return super().encode_example(value)


def _prepare_without_encoder(builder: datasets.DatasetBuilder) -> None:
    """Write a data set into the cache where torchcodec is not installed; sounds are stored as the files that they are.

    The builder knows its columns when it has seen its files: only there can they be told from others. Afterwards, and
    in the cache, they are columns of `Audio` as with torchcodec."""
    find_splits = builder._split_generators

    def find_splits_and_sounds(*arguments: Any) -> Any:
        splits = find_splits(*arguments)
        builder.info.features = _replace_audio(builder.info.features, _SoundFile)
        return splits

    builder._split_generators = find_splits_and_sounds
    builder.download_and_prepare()
    builder.info.features = _replace_audio(builder.info.features, datasets.Audio)


def stream_sound_files(stream: datasets.IterableDataset) -> datasets.IterableDataset:
    """Give a stream's sounds as the files that they are, without torchcodec too."""
    stream = stream._resolve_features()
    features = _replace_audio(stream.features, _SoundFile)
    sounds = [kind for kind in features.values() if isinstance(kind, _SoundFile)]
    for kind in sounds:
        kind.decode = False
    if sounds:
        stream = copy.copy(stream)
        stream._info = copy.copy(stream._info)
        stream._info.features = features
    return stream


def _replace_audio(feature: Any, audio: type[datasets.Audio]) -> Any:
    """Give features, or one of them, with their sounds as another class of `Audio`."""
    if isinstance(feature, datasets.Audio):
        return audio(**{item.name: getattr(feature, item.name) for item in dataclasses.fields(feature) if item.init})
    if isinstance(feature, dict):  # `Features` too, or a column of records
        return type(feature)({name: _replace_audio(inner, audio) for name, inner in feature.items()})
    if isinstance(feature, datasets.List | datasets.LargeList):
        return dataclasses.replace(feature, feature=_replace_audio(feature.feature, audio))
    return feature


def _is_plain_text(options: dict[str, Any], arguments: DataArguments) -> bool:
    """Tell whether a data set consists of text files, which alone have rows of one's own choice.

    A Hub data set is asked only where a choice was made: it costs requests."""
    folder = Path(options["path"])
    if not (any(folder.rglob("*.txt")) if folder.is_dir() else arguments.sample_by):
        return False
    return hasattr(datasets.load_dataset_builder(**options).config, "keep_linebreaks")


def _load_sklearn(name: str) -> datasets.Dataset:
    """Load a bundled scikit-learn set: images with a class, or a table whose last column is the target."""
    from sklearn import datasets as bundled

    names = ("breast_cancer", "diabetes", "digits", "iris", "linnerud", "wine")
    if name not in names:
        raise HubmodelsError(
            f"unknown data set sklearn:{name}{nearest(name, names)}; scikit-learn ships {', '.join(names)}"
        )
    loaded = getattr(bundled, f"load_{name}")(as_frame=True)
    if "images" in loaded:
        from PIL import Image

        peak = loaded.images.max()  # digits are 0..16
        pixels = np.round(loaded.images * (255 / peak)).astype(np.uint8)
        features = datasets.Features(
            image=datasets.Image(), label=datasets.ClassLabel(names=[str(item) for item in loaded.target_names])
        )
        rows = {"image": [Image.fromarray(image) for image in pixels], "label": loaded.target.tolist()}
        return datasets.Dataset.from_dict(rows, features=features)
    table = datasets.Dataset.from_pandas(loaded.frame, preserve_index=False)
    if "target_names" in loaded and "target" in table.column_names:
        with without_bars():
            table = table.cast_column("target", datasets.ClassLabel(names=[str(item) for item in loaded.target_names]))
    return table


def find_commit(info: datasets.DatasetInfo) -> str | None:
    """Find the Hub commit that the downloaded files name, if they came from there:
    hf://datasets/<id>@<commit>/<file>."""
    for url in info.download_checksums or {}:
        if "@" in url:
            return url.split("@", 1)[1].split("/", 1)[0]
    return None
