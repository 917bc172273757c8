"""From a name to splits: whatever datasets.load_dataset takes, or a data set that scikit-learn ships."""

import dataclasses
import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import datasets
import numpy as np
from datasets.utils.info_utils import is_small_dataset
from huggingface_hub.errors import HfHubHTTPError

from ..errors import HubmodelsError, nearest
from ..recipe import DataArguments

STREAM_BUFFER = 10_000  # rows among which a stream is shuffled before its head is carved
STREAM_HEAD = 1_000  # rows of a carved split of a stream, without --max_eval_samples
STREAM_SAMPLE = 10_000  # rows of a stream that statistics and class names are taken from

FILE_BUILDERS = {".csv": "csv", ".tsv": "csv", ".json": "json", ".jsonl": "json", ".parquet": "parquet", ".txt": "text"}


SplitRows: TypeAlias = datasets.Dataset | datasets.IterableDataset


@dataclass
class LoadedData:
    """Holds the splits train, validation and test, and what a release says of where they came from."""

    splits: dict[str, SplitRows]  # train is a stream where that was asked for
    dataset: str  # as it was asked for
    fingerprint: str  # changes when the training or test rows change
    revision: str | None  # commit of a Hub data set
    license: str | None  # as the data set states it
    carved: tuple[str, ...]  # the splits that were carved here


def load_data(arguments: DataArguments) -> LoadedData:
    """Load a data set as train, validation and test splits.

    A split is a name or rows of one in the syntax of datasets (`train[:80%]`, `train[100:200]`). Splits that the data
    set lacks are carved from its training rows, the test rows first, then the validation rows: in an order that
    `split_seed` alone decides, or with `carve` "last" from the end.

    Raises:
        HubmodelsError: no such data set, no training split, a slice that cannot be cut, or an empty split.
    """
    if not arguments.dataset:
        raise HubmodelsError("no data set: give --dataset a Hub id, a folder, a file or sklearn:NAME")
    raw = _load_raw(arguments, streaming=arguments.streaming)
    names = {"train": arguments.train_split, "validation": arguments.validation_split, "test": arguments.test_split}
    raw |= {name: _cut(raw, name, arguments) for name in set(names.values()) if "[" in name}
    if names["train"] not in raw:
        hint = nearest(names["train"], raw) or f"; its splits are {', '.join(raw)}"
        raise HubmodelsError(f"data set {arguments.dataset} has no split {names['train']!r}{hint} (--train_split)")
    for role in ("validation", "test"):  # a name that was chosen must exist; the default may be absent
        if names[role] not in raw and names[role] != role:
            raise HubmodelsError(
                f"data set {arguments.dataset} has no split {names[role]!r}; its splits are {', '.join(raw)}"
            )
    splits = {role: raw[name] for role, name in names.items() if name in raw}
    if arguments.streaming:
        return _stream_splits(splits, arguments)
    for role, split in splits.items():
        if len(split) == 0:
            raise HubmodelsError(f"split {names[role]!r} of data set {arguments.dataset} has no rows")
    carved = []
    for role, fraction in (("test", arguments.test_fraction), ("validation", arguments.validation_fraction)):
        if role not in splits:
            seed = None if arguments.carve == "last" else arguments.split_seed
            splits["train"], splits[role] = _carve(splits["train"], fraction, seed, role)
            carved.append(role)
    limits = {
        "train": arguments.max_train_samples,
        "validation": arguments.max_eval_samples,
        "test": arguments.max_eval_samples,
    }
    for role, limit in limits.items():
        if limit is not None and limit < len(splits[role]):
            splits[role] = splits[role].select(range(limit))
    info = splits["train"].info
    return LoadedData(
        splits={role: splits[role] for role in ("train", "validation", "test")},
        dataset=arguments.dataset or "",
        fingerprint=datasets.fingerprint.Hasher.hash([splits["train"]._fingerprint, splits["test"]._fingerprint]),
        revision=_commit(info),
        license=info.license or None,
        carved=tuple(carved),
    )


def _stream_splits(splits: dict[str, datasets.IterableDataset], arguments: DataArguments) -> LoadedData:
    """Give the training rows as a stream, the others in memory.

    A missing split is the head of the shuffled stream."""
    limit = arguments.max_eval_samples
    carved = []
    for role in ("test", "validation"):
        if role in splits:
            splits[role] = stream_head(splits[role], limit)
        elif arguments.carve == "last":
            raise HubmodelsError(f"the last rows of a stream cannot be carved as {role} split: leave out --streaming")
        else:
            count = limit or STREAM_HEAD
            shuffled = splits["train"].shuffle(seed=arguments.split_seed, buffer_size=STREAM_BUFFER)
            splits["train"], splits[role] = shuffled.skip(count), stream_head(shuffled, count)
            carved.append(role)
        if len(splits[role]) == 0:
            raise HubmodelsError(f"the {role} split of data set {arguments.dataset} has no rows")
    if arguments.max_train_samples is not None:
        splits["train"] = splits["train"].take(arguments.max_train_samples)
    info = splits["train"].info
    described = [arguments.dataset, arguments.dataset_revision, info.download_checksums, splits["test"][:]]
    return LoadedData(
        splits={role: splits[role] for role in ("train", "validation", "test")},
        dataset=arguments.dataset or "",
        fingerprint=datasets.fingerprint.Hasher.hash(described),
        revision=_commit(info),
        license=info.license or None,
        carved=tuple(carved),
    )


def stream_head(stream: datasets.IterableDataset, count: int | None = STREAM_SAMPLE) -> datasets.Dataset:
    """Read the first `count` rows of a stream (all when None) into memory."""
    rows = list(stream.take(count) if count is not None else stream)
    if not rows:
        raise HubmodelsError(
            f"a stream has no row left for one of its splits ({STREAM_HEAD:,} rows each are carved for those that are "
            "missing); leave out --streaming, or give less with --max_eval_samples"
        )
    return datasets.Dataset.from_list(rows, features=stream.features)


def _cut(raw: dict[str, datasets.Dataset], spec: str, arguments: DataArguments) -> datasets.Dataset:
    """Select the rows of a split that a slice names."""
    if arguments.streaming:
        raise HubmodelsError(f"the rows {spec!r} of a stream cannot be counted off: leave out --streaming")
    try:
        slices = datasets.ReadInstruction.from_spec(spec).to_absolute({name: len(split) for name, split in raw.items()})
    except (ValueError, AssertionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise HubmodelsError(
            f"cannot cut {spec!r} from data set {arguments.dataset}: {reason}; give a split such as train[:80%]"
        ) from None
    # `select` refuses an empty range behind the last row, which is one more split without rows.
    ranges = [range(item.from_ or 0, item.to) or range(0) for item in slices]
    rows = [raw[item.splitname].select(numbers) for item, numbers in zip(slices, ranges, strict=True)]
    return rows[0] if len(rows) == 1 else datasets.concatenate_datasets(rows)


def _carve(
    rows: datasets.Dataset, fraction: float, seed: int | None, role: str
) -> tuple[datasets.Dataset, datasets.Dataset]:
    """Carve rows for another split: drawn by the seed, or without one the last.

    Returns:
        The rows that remain and the rows carved, both in their old order.
    """
    count = round(len(rows) * fraction)
    if not 0 < count < len(rows):
        raise HubmodelsError(
            f"cannot carve a {role} split of {fraction:g} from {len(rows)} rows: it would take {count}; "
            f"change --{role}_fraction or give the data set a {role} split"
        )
    if seed is None:
        return rows.select(range(len(rows) - count)), rows.select(range(len(rows) - count, len(rows)))
    order = np.random.default_rng(seed).permutation(len(rows))
    return rows.select(np.sort(order[count:])), rows.select(np.sort(order[:count]))


def _load_raw(arguments: DataArguments, streaming: bool) -> dict[str, SplitRows]:
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
        or path.suffix in FILE_BUILDERS
    )
    if looks_local and not path.exists():
        raise HubmodelsError(f"no data set at {name}: the path does not exist")
    if path.is_file() and path.suffix not in FILE_BUILDERS:
        raise HubmodelsError(f"cannot read {name}: the file types are {', '.join(FILE_BUILDERS)}, or give a folder")
    try:
        options: dict[str, Any] = {"path": os.fspath(path) if path.exists() else name}
        if path.is_file():
            options = {"path": FILE_BUILDERS[path.suffix], "data_files": os.fspath(path)}
            options |= {"sep": "\t"} if path.suffix == ".tsv" else {}
        else:
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
    if options["path"] == "text":
        return True
    folder = Path(options["path"])
    if "data_files" in options or not (any(folder.rglob("*.txt")) if folder.is_dir() else arguments.sample_by):
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
        table = table.cast_column("target", datasets.ClassLabel(names=[str(item) for item in loaded.target_names]))
    return table


def _commit(info: datasets.DatasetInfo) -> str | None:
    """Find the Hub commit that the downloaded files name, if they came from there:
    hf://datasets/<id>@<commit>/<file>."""
    for url in info.download_checksums or {}:
        if "@" in url:
            return url.split("@", 1)[1].split("/", 1)[0]
    return None
