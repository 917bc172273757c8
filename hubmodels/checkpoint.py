"""Open a checkpoint, local or on the Hub: config.json, family and head, checksums, the header of its weights, the
weights.

Nothing is read into memory before the checksums agree and the header's shapes are those of the network that the config
describes. The classes are the installed ones; a checkpoint's own code is never imported.
"""

import contextlib
import contextvars
import copy
import logging
import os
import re
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.utils import cached_file
from transformers.utils import logging as transformers_logging

from .errors import HubmodelsError, one_line
from .families import build_config, class_prefix, declared, family_classes, family_head, family_of, list_families
from .files import hash_file, read_json
from .safetensors_header import read_safetensors_header

CONFIG_FILE, WEIGHTS_FILE, METRICS_FILE = "config.json", "model.safetensors", "metrics.json"
REMEDY = "give the folder of a trained model or the id of a Hub repository"

logger = logging.getLogger("hubmodels")
PLAIN: contextvars.ContextVar[bool] = contextvars.ContextVar("plain", default=False)  # see `saving_plainly`


@dataclass(frozen=True)
class Checkpoint:
    """Name a checkpoint by where it is and what its config.json says of it."""

    source: str  # a folder or a Hub id
    revision: str | None  # commit, tag or branch of a Hub repository
    family: str
    head: str  # suffix of the class that was saved; "" where config.json names none
    config: PreTrainedConfig  # of the fields that the family declares

    def find(self, name: str) -> Path:
        """Find one of its files, see `find_file`."""
        return Path(find_file(self.source, name, self.revision))


@dataclass
class Fit:
    """Tell how the tensors of a file fit a network, by their names in the network."""

    missing: set[str] = field(default_factory=set)
    unknown: set[str] = field(default_factory=set)
    reshaped: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)  # stored, the network's

    def complaint(self, excused: set[str]) -> str | None:
        """Say what does not fit beside the excused names; None when all else does."""
        for name, (stored, shape) in sorted(self.reshaped.items()):
            if name not in excused:
                return f"its {one_line(name, 80)} has shape {stored}, the fields of the config need {shape}"
        for names, word in ((self.missing, "lacks"), (self.unknown, "has unknown")):
            if rest := sorted(names - excused):
                shown = ", ".join(one_line(name, 80) for name in rest[:3])
                return f"it {word} weights {shown}" + (f" and {len(rest) - 3} more" if len(rest) > 3 else "")
        return None


# Files


def check_source(source: str) -> Path:
    """Give the folder of a checkpoint, which need not exist where `source` can be a Hub id.

    Raises HubmodelsError when it can be neither."""
    if os.path.isfile(source):
        raise HubmodelsError(f"{source} is a file, not a model's folder; {REMEDY}")
    if not os.path.isdir(source) and not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", source):
        raise HubmodelsError(f"there is no folder {source}; {REMEDY}")
    return Path(source)


def find_file(path_or_id: str | os.PathLike, name: str, revision: str | None = None) -> str:
    """Find a checkpoint's file, in its folder or downloaded from the Hub.

    Raises HubmodelsError when there is no such checkpoint or it has no such file."""
    source = os.fspath(path_or_id)
    path = check_source(source) / name
    if path.is_file():
        return str(path)
    if path.parent.is_dir():
        raise HubmodelsError(f"{source} has no {name}; {REMEDY}")
    try:
        return cached_file(source, name, revision=revision)
    except (OSError, ValueError) as error:
        if looks_local(source):
            raise HubmodelsError(f"there is no folder {source}; {REMEDY}") from None
        raise HubmodelsError(f"cannot load {source}: {one_line(error)}; {REMEDY}") from None


def looks_local(source: str) -> bool:
    """Tell whether what could be a Hub id is more likely a path: below a folder that is here, or a training's."""
    first, _, name = source.partition("/")
    return name == "release" or (name != "" and os.path.isdir(first))


def find_optional_file(path_or_id: str | os.PathLike, name: str, revision: str | None = None) -> str | None:
    """Find a checkpoint's file as `find_file` does; None where the checkpoint does not have it.

    Raises HubmodelsError when there is no such checkpoint."""
    source = os.fspath(path_or_id)
    folder = check_source(source)
    if folder.is_dir():
        return str(folder / name) if (folder / name).is_file() else None
    try:
        return cached_file(source, name, revision=revision, _raise_exceptions_for_missing_entries=False)
    except (OSError, ValueError) as error:
        raise HubmodelsError(f"cannot load {source}: {one_line(error)}; {REMEDY}") from None


def read_metrics(folder: Path) -> dict[str, Any]:
    """Read a release's metrics.json. Raises HubmodelsError when it is missing or no mapping."""
    return read_json(folder / METRICS_FILE)


def listed_checksums(metrics: Mapping[str, Any]) -> dict[str, str]:
    """Give the SHA-256 of each file that metrics.json lists; empty where it lists none.

    Raises HubmodelsError when what it lists is no SHA-256."""
    checksums = metrics.get("checksums")
    listed = checksums.get("files") if isinstance(checksums, dict) else None
    if not isinstance(listed, dict):
        return {}
    for name, value in listed.items():
        if not isinstance(value, str) or not re.fullmatch(r"[0-9a-f]{64}", value):
            raise HubmodelsError(f"the checksum of {name} in {METRICS_FILE} is no SHA-256")
    return listed


def check_checksums(listed: Mapping[str, str], files: Mapping[str, Path]) -> None:
    """Compare files with the checksums that metrics.json lists; what it does not list passes.

    Raises HubmodelsError for the first that differs: safetensors itself does not see a flipped bit."""
    for name, path in files.items():
        if name in listed and hash_file(path) != listed[name]:
            raise HubmodelsError(f"{name} is not the file that was released: its SHA-256 differs from {METRICS_FILE}'s")


# Opening


def open_checkpoint(path_or_id: str | os.PathLike, revision: str | None = None) -> Checkpoint:
    """Read a checkpoint's config.json, and find its family and head. Only that family is imported.

    Raises HubmodelsError when there is no such checkpoint or its config is of no family here."""
    source = os.fspath(path_or_id)
    stored = read_config(source, revision)
    family = family_of(stored.get("model_type"))
    if family is None:
        kind = one_line(str(stored.get("model_type", "unknown")), 80)
        raise HubmodelsError(
            f"{source} is a model of type {kind}, not one of the families {', '.join(list_families())}; "
            "give another checkpoint"
        )
    head = read_head(source, family, stored.get("architectures"))
    return Checkpoint(source, revision, family, head, build_config(family, declared(family, stored)))


def read_config(source: str, revision: str | None) -> dict[str, Any]:
    """Read the config.json of a folder or Hub repository. Raises HubmodelsError when it is no model."""
    if (folder := check_source(source)).is_dir() and not (folder / CONFIG_FILE).is_file():
        raise HubmodelsError(f"{source} is no model: it has no {CONFIG_FILE}; {REMEDY}")
    try:
        stored, _ = PreTrainedConfig.get_config_dict(source, revision=revision)
    except (OSError, ValueError) as error:
        raise HubmodelsError(f"cannot load {source}: {one_line(error)}; {REMEDY}") from None
    if not isinstance(stored, dict) or not stored:
        raise HubmodelsError(f"{source} is no model: its {CONFIG_FILE} is not a mapping of config fields; {REMEDY}")
    return stored


def read_head(source: str, family: str, architectures: object) -> str:
    """Give the suffix of the class that `architectures` of config.json names, "" where it names none.

    Raises HubmodelsError unless it is a class of the family."""
    prefix, classes = class_prefix(family), family_classes(family)
    names = [f"{prefix}{head}" for head in classes]
    if not architectures:
        return ""
    name = architectures[0] if isinstance(architectures, list) and len(architectures) == 1 else architectures
    if name not in names:
        shown = one_line(str(name), 80)
        raise HubmodelsError(f"{source} is a {shown}, not one of {', '.join(names)}; give another checkpoint or task")
    return name.removeprefix(prefix)


def load_model(
    path_or_id: str | os.PathLike,
    family: str | None = None,
    head: str | None = None,
    values: Mapping[str, Any] | None = None,
    *,
    revision: str | None = None,
) -> PreTrainedModel:
    """Load a model from a folder or the Hub, to evaluate it or to train it further.

    The weights must fit completely, with two exceptions, both logged. Where `values` has other labels than the
    checkpoint, what depends on them starts anew. Where the checkpoint has no head, or another one of the family, the
    head's weights that it lacks start anew. Those that it has beyond that are left out. The body must be whole in any
    case.

    Args:
        path_or_id: a folder that `save_pretrained` wrote, or a Hub id.
        family: the family that it must be of; any when None.
        head: suffix of the class that it must be of; the checkpoint's own when None.
        values: config fields to change, such as `id2label` and dropout.
        revision: commit, tag or branch of a Hub repository.

    Returns:
        The model, in evaluation mode.

    Raises:
        HubmodelsError: there is no such model, it is of another family or of a head that the family does not have, its
            files are damaged or differ from the checksums in its metrics.json, or its weights do not fit `values`.
    """
    return load_model_and_news(path_or_id, family, head, values, revision)[0]


def load_model_and_news(
    path_or_id: str | os.PathLike,
    family: str | None,
    head: str | None,
    values: Mapping[str, Any] | None,
    revision: str | None,
) -> tuple[PreTrainedModel, list[str]]:
    """Load a model as `load_model` does.

    Returns:
        The model, and the names of the weights that start anew.
    """
    checkpoint = open_checkpoint(path_or_id, revision)
    source = checkpoint.source
    if family not in (None, checkpoint.family):
        raise HubmodelsError(
            f"{source} is a model of type {checkpoint.family}, not family {family}; give another checkpoint"
        )
    cls = family_head(checkpoint.family, head or checkpoint.head)
    config = build_config(checkpoint.family, values or {}, checkpoint.config)
    check_integrity(checkpoint)
    fit = compare_weights(cls, config, checkpoint)
    renewed, dropped = head_news(cls, checkpoint, fit)
    other_labels = config.id2label != checkpoint.config.id2label
    if other_labels:
        renewed |= label_weights(cls, config)
    if complaint := fit.complaint(renewed | dropped):
        raise HubmodelsError(
            f"{source} does not fit its config: {complaint}; change the data or the model section, give another "
            "checkpoint or train without one"
        )
    model, missing = read_weights(cls, config, checkpoint)
    assert missing <= renewed, f"{missing - renewed} were not read"  # what transformers does not find, we foresaw
    if other_labels or not is_other_head(cls, checkpoint):
        renew_weights(model, renewed)
    log_news(cls, checkpoint, config, renewed, dropped)
    return model, sorted(renewed)


def load_exactly(folder: Path) -> PreTrainedModel:
    """Load a folder's model as it was saved, in float32 on the CPU; every tensor must be there, and no other.

    The folder may come from anybody: whatever is wrong with it is one line.

    Raises:
        HubmodelsError: its type is not known here, or the weights are not those of its config.
    """
    try:
        checkpoint = open_checkpoint(folder)
        if not checkpoint.head:
            raise HubmodelsError(f"{CONFIG_FILE} names no class in architectures")
        cls = family_head(checkpoint.family, checkpoint.head)
        if complaint := compare_weights(cls, checkpoint.config, checkpoint).complaint(set()):
            raise HubmodelsError(f"{WEIGHTS_FILE} does not fit {CONFIG_FILE}: {complaint}")
        return read_weights(cls, checkpoint.config, checkpoint, dtype=torch.float32)[0]
    except HubmodelsError:
        raise
    except Exception as error:  # any exception means that it does not load
        raise HubmodelsError(f"it does not load: {type(error).__name__}: {one_line(error)}") from error


# Weights


def check_integrity(checkpoint: Checkpoint) -> None:
    """Compare config and weights with the checksums of a release; a checkpoint without metrics.json passes.

    Raises HubmodelsError when they differ."""
    metrics = cached_file(
        checkpoint.source, METRICS_FILE, revision=checkpoint.revision, _raise_exceptions_for_missing_entries=False
    )
    if metrics is None:
        return
    try:
        listed = listed_checksums(read_json(metrics))
    except HubmodelsError:  # a file of this name that is not ours
        return
    try:
        check_checksums(listed, {name: checkpoint.find(name) for name in (CONFIG_FILE, WEIGHTS_FILE)})
    except HubmodelsError as error:
        raise HubmodelsError(f"{checkpoint.source} is damaged: {error}; download or train it again") from None


def compare_weights(cls: type[PreTrainedModel], config: PreTrainedConfig, checkpoint: Checkpoint) -> Fit:
    """Compare the header of a checkpoint's weights with the network of a config.

    The network is built without memory, so a config that asks for terabytes is found out before anything is allocated.

    Raises HubmodelsError when the file is no whole safetensors file."""
    path = checkpoint.find(WEIGHTS_FILE)
    try:
        header = read_safetensors_header(path)
    except HubmodelsError as error:
        raise HubmodelsError(f"cannot read {WEIGHTS_FILE} of {checkpoint.source}: {error}") from None
    with torch.device("meta"):
        expected = cls(config).state_dict(keep_vars=True)
    shapes = {name: shape for name, (_, shape) in header.items()}
    if is_other_head(cls, checkpoint):
        shapes = {name_in_network(name, cls.base_model_prefix, expected): shape for name, shape in shapes.items()}
    tied = {id(expected[name]) for name in shapes if name in expected}  # tied weights are one tensor, stored once
    return Fit(
        missing={name for name, value in expected.items() if name not in shapes and id(value) not in tied},
        unknown=shapes.keys() - expected.keys(),
        reshaped={
            name: (shape, tuple(expected[name].shape))
            for name, shape in shapes.items()
            if name in expected and shape != tuple(expected[name].shape)
        },
    )


def is_other_head(cls: type[PreTrainedModel], checkpoint: Checkpoint) -> bool:
    """Tell whether a checkpoint was saved by another class of the family, or by one that it does not name."""
    return cls is not family_classes(checkpoint.family).get(checkpoint.head)


def name_in_network(name: str, prefix: str, expected: Container[str]) -> str:
    """Rename a stored tensor as transformers does: it drops or adds the body's prefix where the network has it so."""
    without = name.removeprefix(f"{prefix}.")
    if without != name and without in expected:
        return without
    return f"{prefix}.{name}" if f"{prefix}.{name}" in expected else name


def head_news(cls: type[PreTrainedModel], checkpoint: Checkpoint, fit: Fit) -> tuple[set[str], set[str]]:
    """Name the weights that another head than the stored one changes.

    Returns:
        Those that start anew, and those of the file that are left out; the body's are in neither.
    """
    if not is_other_head(cls, checkpoint):
        return set(), set()
    body, prefix = family_classes(checkpoint.family)["Model"], f"{cls.base_model_prefix}."
    renewed = {name for name in fit.missing | fit.reshaped.keys() if not name.startswith(prefix)}
    dropped = {name for name in fit.unknown if not name.startswith(prefix)}
    # A body has nothing but itself; a file without a head has nothing but the body.
    return renewed if cls is not body else set(), dropped if checkpoint.head not in ("Model", "") else set()


def read_weights(
    cls: type[PreTrainedModel], config: PreTrainedConfig, checkpoint: Checkpoint, **options: Any
) -> tuple[PreTrainedModel, set[str]]:
    """Read the weights into a new network.

    Returns:
        The model, and the names of its weights that the file does not have.

    Raises:
        HubmodelsError: the file cannot be read.
    """
    options |= {"revision": checkpoint.revision, "ignore_mismatched_sizes": True, "output_loading_info": True}
    try:
        with quiet_transformers():
            model, report = cls.from_pretrained(checkpoint.source, config=config, use_safetensors=True, **options)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise HubmodelsError(
            f"cannot read {WEIGHTS_FILE} of {checkpoint.source}: {one_line(error)}; download or train it again"
        ) from None
    return model, set(report["missing_keys"])


def label_weights(cls: type[PreTrainedModel], config: PreTrainedConfig) -> set[str]:
    """Name the weights whose shape depends on the number of labels."""
    other = copy.deepcopy(config)
    other.num_labels = config.num_labels + 1
    with torch.device("meta"):
        shapes, others = ({name: value.shape for name, value in cls(c).state_dict().items()} for c in (config, other))
    return {name for name, shape in shapes.items() if shape != others[name]}


def renew_weights(model: PreTrainedModel, names: set[str]) -> None:
    """Draw these weights again as the family initialises them; the others of the same modules stay as they are."""
    for module_name in sorted({name.rpartition(".")[0] for name in names}):
        module = model.get_submodule(module_name)
        for name, value in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
            value._is_hf_initialized = f"{module_name}.{name}".lstrip(".") not in names
        model._init_weights(module)


# Words


def log_news(
    cls: type[PreTrainedModel],
    checkpoint: Checkpoint,
    config: PreTrainedConfig,
    renewed: set[str],
    dropped: set[str],
) -> None:
    """Log in one line which weights start anew or are left out, and why."""
    if is_other_head(cls, checkpoint) and (renewed or dropped):
        news = [f"{', '.join(sorted(renewed))} start anew"] if renewed else []
        news += [f"{', '.join(sorted(dropped))} are left out"] if dropped else []
        stored_class = f"{class_prefix(checkpoint.family)}{checkpoint.head or 'Model'}"
        logger.warning("%s is a %s, wanted is a %s: %s", checkpoint.source, stored_class, cls.__name__, "; ".join(news))
    elif renewed:
        logger.warning(
            "%s has %s, the data have %s: %s start anew",
            checkpoint.source, describe_labels(checkpoint.config), describe_labels(config), ", ".join(sorted(renewed)),
        )  # fmt: skip


def describe_labels(config: PreTrainedConfig) -> str:
    """Describe the labels of a config in a few words: `10 labels (0, 1, 2, ...)`."""
    labels = [str(label) for label in config.id2label.values()]
    return f"{len(labels)} labels ({', '.join(labels[:3])}{', ...' if len(labels) > 3 else ''})"


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence transformers' loading report and progress bar: our own line says what matters of it."""

    def is_error(record: logging.LogRecord) -> bool:
        return record.levelno >= logging.ERROR

    # A filter and not a level: at other levels than the inherited one, transformers 5.23 reports on sharding instead.
    log, bar = logging.getLogger("transformers.modeling_utils"), transformers_logging.is_progress_bar_enabled()
    log.addFilter(is_error)
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        log.removeFilter(is_error)
        if bar:
            transformers_logging.enable_progress_bar()


@contextlib.contextmanager
def saving_plainly() -> Iterator[None]:
    """Save models and processors inside the block without the code that `hubmodels.saving` adds."""
    token = PLAIN.set(True)
    try:
        yield
    finally:
        PLAIN.reset(token)
