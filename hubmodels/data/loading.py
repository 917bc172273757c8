"""From a name to splits: what lies at a path, whatever datasets.load_dataset takes, or scikit-learn's own data sets."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import datasets
import numpy as np

from ..errors import HubmodelsError, nearest
from ..recipe import DataArguments
from ..report import note
from ..units import Units
from .carving import are_absent
from .hub import SplitRows, find_commit, load_dataset_splits, stream_sound_files
from .origins import Origin
from .readers import STANDARD_INPUT, open_source
from .reading import Reading
from .source_rows import read_source
from .source_streams import stream_source
from .splits import carve_splits, cut_split, limit_rows
from .targets import has_no_targets, with_targets

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
    units: Units = field(default_factory=Units)  # what the task says of its columns
    split_sentences: list[str] = field(default_factory=list)  # how splits were carved, for a reader
    group_column: str | None = None  # that kept rows together


def no_units(features: datasets.Features) -> Units:
    """Say that every row stands for itself."""
    return Units()


def unchanged(rows: datasets.Dataset) -> datasets.Dataset:
    """Take the rows as they are."""
    return rows


def load_data(
    arguments: DataArguments,
    find_units: Callable[[datasets.Features], Units] = no_units,
    measured: str | None = None,
    prepare: Callable[[datasets.Dataset], datasets.Dataset] = unchanged,
    learnt: Reading | None = None,
) -> LoadedData:
    """Load a data set as train, validation and test splits.

    A split is a name or rows of one in the syntax of datasets (`train[:80%]`, `train[100:200]`). Splits that the data
    set lacks are carved from its training rows (see `carve_splits`), the test rows first, then the validation rows. A
    validation or test split without targets is kept apart, as one that is not there.

    Args:
        arguments: which data, how to read and to split them.
        find_units: says of the training rows' features what may not be torn apart when splits are carved.
        measured: the role that alone is asked for, of data to measure a model on: its split, or all rows of a data set
            that has none of this name. Nothing is carved.
        prepare: makes the rows that are carved of the rows of a split, the training rows first.
        learnt: how the files of a release's training were read: so are these, whatever they look like.

    Raises:
        HubmodelsError: no such data set, no training split, a slice that cannot be cut, an empty split, or a row
            without a target where these are not to be dropped.
    """
    if not arguments.dataset:
        raise HubmodelsError("no data set: give --dataset a Hub id, a folder, a file or sklearn:NAME")
    splits, names, origins, reading = find_splits(arguments, measured, learnt)
    if arguments.streaming and measured is None:
        return dataclasses.replace(stream_splits(splits, arguments), reading=reading)
    for role, split in splits.items():
        splits[role] = prepare(split)
        if splits[role].data is not split.data:  # other rows than those of the files
            origins[role] = Origin()
    units = find_units(next(iter(splits.values())).features)
    if measured is None:
        set_apart(splits, names, units, arguments)
    splits = {
        role: with_targets(split, units.targets, role, origins[role], arguments) for role, split in splits.items()
    }
    fractions = {"test": arguments.test_fraction, "validation": arguments.validation_fraction}
    fractions = {role: share for role, share in fractions.items() if measured is None and role not in splits}
    carved, sentences = carve_lacking(splits, fractions, units, arguments, origins)
    origins |= {role: origins["train"] for role in fractions}
    splits = limit_splits(splits | carved, units, arguments)
    splits = {role: without_groups(split, units, arguments.group_column) for role, split in splits.items()}
    some = next(iter(splits.values()))
    return LoadedData(
        splits={role: splits[role] for role in ("train", "validation", "test") if role in splits},
        dataset=arguments.dataset,
        fingerprint=fingerprint_of(splits),
        revision=find_commit(some.info),
        license=some.info.license or None,
        carved=tuple(fractions),
        reading=reading,
        origins=origins,
        units=units,
        split_sentences=sentences,
        group_column=arguments.group_column,
    )


def fingerprint_of(splits: Mapping[str, SplitRows]) -> str:
    """Hash the training and the test rows, or what stands in the place of either."""
    some = next(iter(splits.values()))
    return datasets.fingerprint.Hasher.hash([splits.get(role, some)._fingerprint for role in ("train", "test")])


def find_splits(
    arguments: DataArguments, measured: str | None, learnt: Reading | None = None
) -> tuple[dict[str, SplitRows], dict[str, str], dict[str, Origin], Reading]:
    """Read the splits that a data set has itself; of data to measure the one that is asked for.

    Returns:
        The splits by their roles, the name of each, the files of each, and how they were read.

    Raises:
        HubmodelsError: no such data set or split, a slice that cannot be cut, or an empty split.
    """
    raw, origins, reading = read_splits(arguments, learnt)
    names = {"train": arguments.train_split, "validation": arguments.validation_split, "test": arguments.test_split}
    raw |= {name: cut_split(raw, name, arguments) for name in set(names.values()) if "[" in name}
    if measured is not None:
        names = {measured: split_to_measure(raw, names, measured, arguments)}
    check_split_names(raw, names, arguments)
    splits = {role: raw[name] for role, name in names.items() if name in raw}
    for role, split in splits.items():
        if isinstance(split, datasets.Dataset) and len(split) == 0:
            raise HubmodelsError(f"split {names[role]!r} of data set {arguments.dataset} has no rows")
    origin_of = {role: origins.get(names[role].partition("[")[0], Origin()) for role in splits}
    return splits, names, origin_of, reading


def split_to_measure(raw: dict[str, SplitRows], names: dict[str, str], role: str, arguments: DataArguments) -> str:
    """Name the split that is measured: the one of this role, else the only one that there is. It is said.

    Raises HubmodelsError where there are several others."""
    if names[role] in raw or names[role] != role:
        return names[role]
    if len(raw) == 1:
        (name,) = raw
        note("splits", f"the data set has no {role} split: all its rows are measured")
        return name
    raise HubmodelsError(
        f"data set {arguments.dataset} has no split {role!r} to measure; its splits are {', '.join(raw)}: "
        f"name one with --{role}_split"
    )


def set_apart(splits: dict[str, SplitRows], names: dict[str, str], units: Units, arguments: DataArguments) -> None:
    """Take out the validation and test splits in which no row has a target, as those of a competition.

    Raises HubmodelsError for one that was named."""
    for role in ("validation", "test"):
        if role not in splits or not has_no_targets(splits[role], units.targets):
            continue
        count, columns = len(splits[role]), ", ".join(map(repr, units.targets))
        if names[role] != role:
            raise HubmodelsError(
                f"no row of split {names[role]!r} has the target {columns}: it cannot be measured; name another "
                f"--{role}_split, or leave it out and have one carved from the training rows"
            )
        del splits[role]
        note(
            "splits",
            f"the {role} split ({count:,} rows) has no target {columns}: it cannot be measured and is set apart; "
            f"{role} rows are carved from the training rows instead",
            surprising=True,
            remedy=f"{role}_split: the name of one with targets",
        )


def carve_lacking(
    splits: Mapping[str, SplitRows],
    fractions: Mapping[str, float],
    units: Units,
    arguments: DataArguments,
    origins: Mapping[str, Origin],
) -> tuple[dict[str, datasets.Dataset], list[str]]:
    """Carve the splits that a data set lacks from its training rows, see `carve_splits`; none where none lacks."""
    if not fractions:
        return {}, []
    if arguments.carve != "last":
        say_ungrouped(splits["train"], arguments.group_column, origins["train"])
    return carve_splits(splits["train"], fractions, units, arguments)


def say_ungrouped(rows: SplitRows, group_column: str | None, origin: Origin) -> None:
    """Say which rows have no group, each of which is one of its own."""
    if group_column is None or group_column not in rows.features:
        return
    numbers = np.flatnonzero(are_absent(rows, group_column))
    if len(numbers) == 0:
        return
    shown = "; ".join(origin.words(rows, int(number)) for number in numbers[:3])
    note(
        "splits",
        f"{len(numbers):,} rows have no {group_column!r}: each is a group of its own, but for equal ones ({shown}"
        f"{'; ...' if len(numbers) > 3 else ''})",
        surprising=True,
    )


def without_groups(rows: SplitRows, units: Units, group_column: str | None) -> SplitRows:
    """Leave out the column of groups, where it would be one of several inputs: the groups to come have other values."""
    others = {*units.group, *units.series, *units.targets, units.time}
    if group_column not in units.inputs or len(units.inputs) == 1 or group_column in others:
        return rows
    note("columns", "its groups stand in one split each", column=group_column, kind="left out")
    return rows.remove_columns([group_column]) if group_column in rows.features else rows


def limit_splits(splits: dict[str, SplitRows], units: Units, arguments: DataArguments) -> dict[str, SplitRows]:
    """Keep as many rows of each split as `max_train_samples` and `max_eval_samples` say."""
    limits = {"train": arguments.max_train_samples}
    return {
        role: split
        if (limit := limits.get(role, arguments.max_eval_samples)) is None
        else limit_rows(split, limit, role, units, arguments)
        for role, split in splits.items()
    }


def read_splits(
    arguments: DataArguments, learnt: Reading | None = None
) -> tuple[dict[str, SplitRows], dict[str, Origin], Reading]:
    """Read the splits that a data set has itself.

    Returns:
        Its splits by name, the files of each, and how they were read.
    """
    name = arguments.dataset_path or arguments.dataset or ""
    path = Path(name).expanduser()
    options, known = arguments.reading_options(), None
    if learnt is not None:
        learnt = learnt.overruled({name: value for name, value in vars(options).items() if value is not None})
        options = learnt.options
        known = learnt.kinds if learnt.kinds.columns and arguments.column_kinds is None else None
    is_here = name == STANDARD_INPUT or path.exists()
    remembered = learnt is not None
    source = open_source(name if name == STANDARD_INPUT else path, options, remembered) if is_here else None
    if source is None:
        return load_dataset_splits(arguments, streaming=arguments.streaming), {}, Reading(options)
    return stream_source(source) if arguments.streaming else read_source(source, known)


def check_split_names(raw: dict[str, SplitRows], names: dict[str, str], arguments: DataArguments) -> None:
    """Refuse names of splits that the data set does not have; the default of validation and test may be absent."""
    if "train" in names and names["train"] not in raw:
        hint = nearest(names["train"], raw) or f"; its splits are {', '.join(raw)}"
        raise HubmodelsError(f"data set {arguments.dataset} has no split {names['train']!r}{hint} (--train_split)")
    for role in ("validation", "test"):
        if role in names and names[role] not in raw and names[role] != role:
            raise HubmodelsError(
                f"data set {arguments.dataset} has no split {names[role]!r}; its splits are {', '.join(raw)}"
            )


def stream_splits(splits: dict[str, datasets.IterableDataset], arguments: DataArguments) -> LoadedData:
    """Give the training rows as a stream, the others in memory.

    A missing split is the head of the shuffled stream."""
    limit = arguments.max_eval_samples
    splits = {role: stream_sound_files(split) for role, split in splits.items()}
    carved, sentences = [], []
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
            sentences.append(
                f"The data set has no {role} split of its own: the first {count:,} rows of its stream, shuffled among "
                f"{STREAM_BUFFER:,} by seed {arguments.split_seed}, are it; groups, classes and copies are not seen."
            )
            note("splits", sentences[-1], remedy="streaming: false")
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
        split_sentences=sentences,
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
