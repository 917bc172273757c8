"""From a name to splits: what lies at a path, whatever datasets.load_dataset takes, or scikit-learn's own data sets."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import datasets

from ..errors import HubmodelsError, nearest
from ..recipe import DataArguments
from ..units import Units
from .hub import SplitRows, find_commit, load_dataset_splits
from .origins import Origin
from .readers import open_source
from .reading import Reading
from .source_rows import read_source
from .splits import carve_split, cut_split

STREAM_BUFFER = 10_000  # rows among which a stream is shuffled before its head is carved
STREAM_HEAD = 1_000  # rows of a carved split of a stream, without --max_eval_samples
STREAM_SAMPLE = 10_000  # rows of a stream that statistics and class names are taken from


@dataclass
class LoadedData:
    """Holds the splits train, validation and test, and what a release says of where they came from."""

    splits: dict[str, SplitRows]  # train is a stream where that was asked for
    dataset: str  # as it was asked for
    fingerprint: str  # changes when the training or test rows change
    revision: str | None  # commit of a Hub data set
    license: str | None  # as the data set states it
    carved: tuple[str, ...]  # the splits that were carved here
    reading: Reading = field(default_factory=Reading)  # how its files were read
    origins: dict[str, Origin] = field(default_factory=dict)  # role -> the files of its rows


def no_units(features: datasets.Features) -> Units:
    """Say that every row stands for itself."""
    return Units()


def unchanged(rows: datasets.Dataset) -> datasets.Dataset:
    """Take the rows as they are."""
    return rows


def load_data(
    arguments: DataArguments,
    find_units: Callable[[datasets.Features], Units] = no_units,
    prepare: Callable[[datasets.Dataset], datasets.Dataset] = unchanged,
) -> LoadedData:
    """Load a data set as train, validation and test splits.

    A split is a name or rows of one in the syntax of datasets (`train[:80%]`, `train[100:200]`). Splits that the data
    set lacks are carved from its training rows, the test rows first, then the validation rows: in an order that
    `split_seed` alone decides, or with `carve` "last" from the end.

    Args:
        arguments: which data, how to read and to split them.
        find_units: says of the training rows' features what may not be torn apart when splits are carved.
        prepare: makes the rows that are carved of the rows of a split, the training rows first.

    Raises:
        HubmodelsError: no such data set, no training split, a slice that cannot be cut, or an empty split.
    """
    if not arguments.dataset:
        raise HubmodelsError("no data set: give --dataset a Hub id, a folder, a file or sklearn:NAME")
    raw, origins, reading = read_splits(arguments)
    names = {"train": arguments.train_split, "validation": arguments.validation_split, "test": arguments.test_split}
    raw |= {name: cut_split(raw, name, arguments) for name in set(names.values()) if "[" in name}
    check_split_names(raw, names, arguments)
    splits = {role: raw[name] for role, name in names.items() if name in raw}
    if arguments.streaming:
        return stream_splits(splits, arguments)
    for role, split in splits.items():
        if len(split) == 0:
            raise HubmodelsError(f"split {names[role]!r} of data set {arguments.dataset} has no rows")
    # Carved rows are of the training rows' table, which `names` tells before they are carved.
    origin_of = {
        role: origins.get(names[role if role in splits else "train"].partition("[")[0], Origin()) for role in names
    }
    for role, split in splits.items():
        splits[role] = prepare(split)
        if splits[role].data is not split.data:  # other rows than those of the files
            origin_of[role] = Origin()
    units, carved = find_units(splits["train"].features), []
    for role, fraction in (("test", arguments.test_fraction), ("validation", arguments.validation_fraction)):
        if role not in splits:
            seed = None if arguments.carve == "last" else arguments.split_seed
            splits["train"], splits[role] = carve_split(splits["train"], fraction, seed, role, units)
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
        revision=find_commit(info),
        license=info.license or None,
        carved=tuple(carved),
        reading=reading,
        origins=origin_of,
    )


def read_splits(arguments: DataArguments) -> tuple[dict[str, SplitRows], dict[str, Origin], Reading]:
    """Read the splits that a data set has itself.

    Returns:
        Its splits by name, the files of each, and how they were read.
    """
    name = arguments.dataset_path or arguments.dataset or ""
    path = Path(name).expanduser()
    options = arguments.reading_options()
    source = open_source(path, options) if path.exists() and not arguments.streaming else None
    if source is None:
        return load_dataset_splits(arguments, streaming=arguments.streaming), {}, Reading(options)
    return read_source(source)


def check_split_names(raw: dict[str, SplitRows], names: dict[str, str], arguments: DataArguments) -> None:
    """Refuse names of splits that the data set does not have; the default of validation and test may be absent."""
    if names["train"] not in raw:
        hint = nearest(names["train"], raw) or f"; its splits are {', '.join(raw)}"
        raise HubmodelsError(f"data set {arguments.dataset} has no split {names['train']!r}{hint} (--train_split)")
    for role in ("validation", "test"):
        if names[role] not in raw and names[role] != role:
            raise HubmodelsError(
                f"data set {arguments.dataset} has no split {names[role]!r}; its splits are {', '.join(raw)}"
            )


def stream_splits(splits: dict[str, datasets.IterableDataset], arguments: DataArguments) -> LoadedData:
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
        revision=find_commit(info),
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
