"""What makes the families known: discovery, transformers' Auto classes and those that it lacks, building, loading.

A family is a folder `models/<family>/` with `configuration_<family>.py` and `modeling_<family>.py`, whose `__all__`
name its classes. Importing this module costs nothing: the families are imported when transformers' Auto classes are
(post-import hooks of wrapt), whichever package comes first, or when they are asked for here.
"""

import contextlib
import copy
import functools
import importlib
import inspect
import json
import logging
import os
import re
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import wrapt

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

FOLDER = Path(__file__).parent
MAPS = {"id2label": dict | None, "label2id": dict | None}
PROBLEM_TYPES = Literal["regression", "single_label_classification", "multi_label_classification"]
LABEL_FIELDS = {**MAPS, "num_labels": int, "problem_type": PROBLEM_TYPES | None}  # of every config, with their types
CONFIG, WEIGHTS, METRICS = "config.json", "model.safetensors", "metrics.json"
REMEDY = "give the folder of a trained model or the id of a Hub repository"

logger = logging.getLogger("hubmodels")


# Discovery


def list_families() -> list[str]:
    """The names of all families, from the folder names alone: nothing is imported."""
    found = FOLDER.glob("models/*/configuration_*.py")
    return sorted(path.parent.name for path in found if path.stem == f"configuration_{path.parent.name}")


def check_family(family: str) -> None:
    """Raises HubmodelsError, with the nearest right name, when there is no such family."""
    if family not in list_families():
        from .errors import HubmodelsError, nearest

        families = list_families()
        raise HubmodelsError(
            f"unknown family {family!r}{nearest(family, families)}; the families are {', '.join(families)}"
        )


def import_family(family: str, part: str) -> Any:
    """The module `<part>_<family>` of a family: `configuration` or `modeling`."""
    check_family(family)
    return importlib.import_module(f".models.{family}.{part}_{family}", __package__)


def config_class(family: str) -> type["PreTrainedConfig"]:
    """The config class of a family. Raises HubmodelsError for an unknown one."""
    module = import_family(family, "configuration")
    return getattr(module, next(name for name in module.__all__ if name.endswith("Config")))


def family_classes(family: str) -> dict[str, type["PreTrainedModel"]]:
    """The model classes of a family by suffix: `Model` for the network without a head, `ForImageClassification`, ..."""
    module = import_family(family, "modeling")
    prefix = config_class(family).__name__.removesuffix("Config")
    names = [name for name in module.__all__ if name.startswith((f"{prefix}Model", f"{prefix}For"))]
    return {name.removeprefix(prefix): getattr(module, name) for name in names}


def family_head(family: str, head: str) -> type["PreTrainedModel"]:
    """The model class of a family with this suffix. Raises HubmodelsError when the family has none."""
    classes = family_classes(family)
    if head not in classes:
        from .errors import HubmodelsError

        others = [name for name in list_families() if head in family_classes(name)]
        hint = f"families that have it: {', '.join(others)}" if others else "no family has it"
        raise HubmodelsError(f"family {family} has no {head}, only {', '.join(classes)}; {hint}")
    return classes[head]


def config_fields(family: str) -> dict[str, Any]:
    """The fields that a recipe's model section can set, with their types: the family's own and those of the labels."""
    cls = config_class(family)
    return {**inspect.get_annotations(cls), **LABEL_FIELDS}


def config_help(family: str) -> dict[str, str]:
    """What each of the family's config fields means, from the comments beside them. Imports neither torch nor
    transformers."""
    check_family(family)
    lines = (FOLDER / "models" / family / f"configuration_{family}.py").read_text(encoding="utf-8").splitlines()
    texts: dict[str, str] = {}
    name = None
    for line in lines:
        code, _, comment = line.partition("#")
        if found := re.fullmatch(r"    (\w+): .*=.*", code):
            name = found[1]
            texts[name] = comment.strip()
        elif name and comment and not code.strip():
            texts[name] += f" {comment.strip()}"  # a comment that goes on in the next line
        else:
            name = None
    return texts


def read_family(family: str) -> dict[str, Any]:
    """What a family's recipe.yaml says: `best_for`, half a sentence, and `tasks`, the default recipes by task tag."""
    from .recipe import load_yaml

    check_family(family)
    return load_yaml(FOLDER / "models" / family / "recipe.yaml")


def list_recipes(family: str) -> dict[str, dict[str, Any]]:
    """The family's default recipes by task tag."""
    return read_family(family)["tasks"]


def family_purpose(family: str) -> str:
    """What a family is best for, half a sentence."""
    return read_family(family)["best_for"]


def family_tasks(family: str) -> list[str]:
    """The tags of the tasks that a family does."""
    return sorted(list_recipes(family))


def family_recipe(family: str, task: str) -> dict[str, Any]:
    """The sections (data, model, training) that a family starts from for a task, on data without a recipe of its own.

    Raises HubmodelsError when the family does not do the task, naming those that do."""
    recipes = list_recipes(family)
    if task not in recipes:
        from .errors import HubmodelsError

        others = [name for name in list_families() if task in list_recipes(name)]
        hint = f"families that do: {', '.join(others)}" if others else "no family does"
        raise HubmodelsError(f"family {family} does not do {task!r}, only {', '.join(recipes)}; {hint}")
    return recipes[task]


# Registration


def auto_class(suffix: str) -> type:
    """The Auto class of a suffix: transformers' own, or ours (`AutoModelForTabularClassification`, ...) where it has
    none. `hubmodels.auto.AutoModelFor...` gives them by name."""
    # Its import registers every model, and makes our own Auto classes for that: before the cache below is asked.
    import transformers.models.auto.modeling_auto  # noqa: F401

    return _make_auto_class(suffix)


@functools.cache
def _make_auto_class(suffix: str) -> type:
    from transformers.models.auto import modeling_auto
    from transformers.models.auto.auto_factory import _BaseAutoModelClass, _LazyAutoMapping
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    name = "AutoModel" if suffix == "Model" else f"AutoModel{suffix}"
    if hasattr(modeling_auto, name):
        return getattr(modeling_auto, name)
    mapping = _LazyAutoMapping(CONFIG_MAPPING_NAMES, OrderedDict())
    return type(name, (_BaseAutoModelClass,), {"_model_mapping": mapping, "__module__": __name__})


def register_configs(module: Any) -> None:
    """Make AutoConfig know every family. `module` is transformers' configuration_auto."""
    for family in list_families():
        cls = config_class(family)
        module.AutoConfig.register(cls.model_type, cls, exist_ok=True)


def register_models(module: Any) -> None:
    """Make the Auto classes know every model of every family. `module` is transformers' modeling_auto."""
    for family in list_families():
        for suffix, cls in family_classes(family).items():
            auto_class(suffix).register(config_class(family), cls, exist_ok=True)


def register_image_processors(module: Any) -> None:
    """Make AutoImageProcessor know our image processors: by their class name, which a preprocessor_config.json holds,
    and by the config of each family that takes images, by which a pipeline decides whether to load one at all. `module`
    is transformers' image_processing_auto."""
    from transformers.image_processing_utils import BaseImageProcessor

    for processor in list_processors():
        if not issubclass(processor, BaseImageProcessor):
            continue
        for family in list_families():
            if "num_channels" in config_fields(family):
                # One class for both backends: ours works on NumPy, whether torchvision is there or not.
                classes = {"pil": processor, "torchvision": processor}
                module.AutoImageProcessor.register(config_class(family), image_processor_classes=classes, exist_ok=True)


def register_feature_extractors(module: Any) -> None:
    """Make AutoFeatureExtractor know our feature extractors, by class name and by the config of each family. `module`
    is transformers' feature_extraction_auto."""
    from transformers.feature_extraction_utils import FeatureExtractionMixin

    for extractor in list_processors():
        if issubclass(extractor, FeatureExtractionMixin):
            for family in list_families():
                module.AutoFeatureExtractor.register(config_class(family), extractor, exist_ok=True)


def register_processors(module: Any) -> None:
    """Make AutoProcessor know our processors and feature extractors by the class name in their file. `module` is
    transformers' processing_auto."""
    from transformers.feature_extraction_utils import FeatureExtractionMixin
    from transformers.processing_utils import ProcessorMixin

    for processor in list_processors():
        if issubclass(processor, ProcessorMixin | FeatureExtractionMixin):
            # The key would be a config class, but a family can have images and tables: only the name decides.
            module.PROCESSOR_MAPPING.register(processor, processor, exist_ok=True)


def register_pipelines(module: Any) -> None:
    """Make `pipeline` know the tasks that transformers lacks. `module` is transformers.pipelines."""
    for path in sorted(FOLDER.glob("pipelines/[!_]*.py")):
        found = importlib.import_module(f".pipelines.{path.stem}", __package__)
        for task, (cls, suffix) in found.PIPELINES.items():
            known = module.PIPELINE_REGISTRY.supported_tasks.get(task)
            if known and known["impl"] in {f"{base.__module__}.{base.__name__}" for base in cls.__mro__}:
                # It extends transformers' own, which still does the models of others.
                models = tuple(dict.fromkeys((*known["pt"], auto_class(suffix))))
                module.PIPELINE_REGISTRY.supported_tasks[task] = {**known, "impl": cls, "pt": models}
                continue
            # A task that transformers took out, or has in a form that cannot do our models, is ours now.
            getattr(module, "REMOVED_TASKS", {}).pop(task, None)
            module.PIPELINE_REGISTRY.supported_tasks.pop(task, None)
            module.PIPELINE_REGISTRY.register_pipeline(task, pipeline_class=cls, pt_model=auto_class(suffix))


def list_processors() -> list[type]:
    """Every processor that a file `processors/processing_<kind>.py` defines."""
    names = sorted(path.stem for path in FOLDER.glob("processors/processing_*.py"))
    modules = [importlib.import_module(f".processors.{name}", __package__) for name in names]
    endings = ("Processor", "Extractor")  # of transformers' class names
    return [
        value
        for module in modules
        for name, value in vars(module).items()
        if name.endswith(endings) and getattr(value, "__module__", None) == module.__name__
    ]


def register_on_import() -> None:
    """Register with each of transformers' Auto modules once it is imported; now, where it already is."""
    package = "transformers.models.auto"
    wrapt.when_imported(f"{package}.configuration_auto")(register_configs)
    wrapt.when_imported(f"{package}.modeling_auto")(register_models)
    wrapt.when_imported(f"{package}.image_processing_auto")(register_image_processors)
    wrapt.when_imported(f"{package}.feature_extraction_auto")(register_feature_extractors)
    wrapt.when_imported(f"{package}.processing_auto")(register_processors)
    wrapt.when_imported("transformers.pipelines")(register_pipelines)


def find_public(name: str) -> Any:
    """A family's or processor's class by its name, or None: `MlpConfig`, `CnnForImageClassification`."""
    for family in list_families():
        prefix = family.title().replace("_", "")
        if name == f"{prefix}Config":
            return config_class(family)
        if name.startswith(prefix) and hasattr(import_family(family, "modeling"), name):
            return getattr(import_family(family, "modeling"), name)
    if name.endswith(("Processor", "Extractor")):
        return next((cls for cls in list_processors() if cls.__name__ == name), None)
    return None


def __getattr__(name: str) -> Any:
    if name.startswith("AutoModel"):
        suffix = name.removeprefix("AutoModel") or "Model"
        if any(suffix in family_classes(family) for family in list_families()):
            import transformers.models.auto.modeling_auto  # noqa: F401  its import registers every model

            return auto_class(suffix)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


# Building and loading


def build_config(family: str, values: dict[str, Any], base: "PreTrainedConfig | None" = None) -> "PreTrainedConfig":
    """The config of a family with these field values; the other fields are those of `base`, or else their defaults.

    Raises HubmodelsError for an unknown field (with the nearest right one) or a value that its field does not take."""
    from huggingface_hub.errors import StrictDataclassError

    from .errors import HubmodelsError
    from .fields import check_names, convert

    cls, fields = config_class(family), config_fields(family)
    check_names(values, fields, "model")
    kept = base.to_dict() if base is not None else {}
    try:
        given = {name: convert(value, fields[name], name) for name, value in values.items()}
        if given.get("id2label") is not None:
            if sorted(map(str, given["id2label"])) != sorted(map(str, range(len(given["id2label"])))):
                raise ValueError(f"id2label must map 0, 1, 2, ... to labels, got {given['id2label']}")
            given["id2label"] = {int(number): label for number, label in given["id2label"].items()}
            given.setdefault("label2id", {label: number for number, label in given["id2label"].items()})
            if given.setdefault("num_labels", len(given["id2label"])) != len(given["id2label"]):
                raise ValueError(
                    f"num_labels is {given['num_labels']} but id2label has {len(given['id2label'])} labels"
                )
        elif "num_labels" in given:
            kept = {name: value for name, value in kept.items() if name not in MAPS}
            if given["num_labels"] < 1:
                raise ValueError(f"num_labels must be at least 1, got {given['num_labels']}")
        return cls.from_dict({**kept, **given})
    except (ValueError, StrictDataclassError) as error:
        reason = error.__cause__ or error
        raise HubmodelsError(f"model: {one_line(reason)}") from None


def build_model(family: str, head: str, values: dict[str, Any]) -> "PreTrainedModel":
    """A fresh model, its weights drawn from torch's global generator.

    Args:
        family: its name, as `list_families` gives it.
        head: suffix of the class, as `family_classes` gives it: `ForImageClassification`.
        values: config fields; the others have their defaults.

    Raises:
        HubmodelsError: an unknown family, head or field, or a value that its field does not take.
    """
    return family_head(family, head)(build_config(family, values))


def load_model(
    path_or_id: str | os.PathLike,
    family: str | None = None,
    head: str | None = None,
    values: dict[str, Any] | None = None,
    *,
    revision: str | None = None,
) -> "PreTrainedModel":
    """A model from a folder or the Hub, to evaluate it or to train it further.

    The weights must fit completely, with two exceptions, both logged: where `values` has other labels than the
    checkpoint, what depends on them starts anew; where the checkpoint has no head or another one of the family, what
    the head needs and the checkpoint does not have starts anew, and what it has beyond that is left out. The body must
    be whole in any case.

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
    values: dict[str, Any] | None,
    revision: str | None,
) -> tuple["PreTrainedModel", list[str]]:
    """What `load_model` gives, with the names of the weights that start anew."""
    from .errors import HubmodelsError

    source = os.fspath(path_or_id)
    stored = read_config(source, revision)
    found = next((name for name in list_families() if config_class(name).model_type == stored.get("model_type")), None)
    if found is None or (family is not None and found != family):
        kind = found or stored.get("model_type", "unknown")
        wanted = f"family {family}" if family else f"one of the families {', '.join(list_families())}"
        raise HubmodelsError(f"{source} is a model of type {kind}, not {wanted}; give another checkpoint")
    prefix = config_class(found).__name__.removesuffix("Config")
    stored_head = next(iter(stored.get("architectures") or [""])).removeprefix(prefix)
    cls = family_head(found, head or stored_head)
    if stored_head not in ("", *family_classes(found)):
        raise HubmodelsError(
            f"{source} is a {prefix}{stored_head}, not a {cls.__name__}; give another checkpoint or task"
        )
    base = build_config(found, {name: value for name, value in stored.items() if name in config_fields(found)})
    config = build_config(found, values or {}, base)
    check_hashes(source, revision)
    model, report = read_weights(cls, source, config, revision)
    renewed, dropped, is_other = set(), set(), stored_head != cls.__name__.removeprefix(prefix)
    if is_other:
        missing = {*report["missing_keys"], *(name for name, _, _ in report["mismatched_keys"])}
        renewed = {name for name in missing if not name.startswith(f"{cls.base_model_prefix}.")}
        renewed = renewed if cls is not family_classes(found)["Model"] else set()  # a body has nothing but itself
        # The stored head's own weights; without a head all names are the body's.
        dropped = {name for name in report["unexpected_keys"] if not name.startswith(f"{cls.base_model_prefix}.")}
        dropped = dropped if stored_head not in ("Model", "") else set()
    if config.id2label != base.id2label:
        renewed |= label_weights(model)
    if not is_other or config.id2label != base.id2label:
        renew_weights(model, renewed)
    check_fit(source, report, renewed | dropped)
    if is_other and (renewed or dropped):
        parts = [f"{', '.join(sorted(renewed))} start anew"] if renewed else []
        parts += [f"{', '.join(sorted(dropped))} are left out"] if dropped else []
        stored_class = f"{prefix}{stored_head or 'Model'}"
        logger.warning("%s is a %s, wanted is a %s: %s", source, stored_class, cls.__name__, "; ".join(parts))
    elif renewed:
        logger.warning(
            "%s has %s, the data have %s: %s start anew",
            source, describe_labels(base), describe_labels(config), ", ".join(sorted(renewed)),
        )  # fmt: skip
    return model, sorted(renewed)


def read_config(source: str, revision: str | None) -> dict[str, Any]:
    """The config.json of a folder or Hub repository. Raises HubmodelsError when it is no model."""
    from transformers.configuration_utils import PreTrainedConfig

    from .errors import HubmodelsError

    if (folder := check_source(source)).is_dir() and not (folder / CONFIG).is_file():
        raise HubmodelsError(f"{source} is no model: it has no {CONFIG}; {REMEDY}")
    try:
        stored, _ = PreTrainedConfig.get_config_dict(source, revision=revision)
    except (OSError, ValueError) as error:
        raise HubmodelsError(f"cannot load {source}: {one_line(error)}; {REMEDY}") from None
    if not isinstance(stored, dict) or not stored:
        raise HubmodelsError(f"{source} is no model: its {CONFIG} is not a mapping of config fields; {REMEDY}")
    return stored


def find_file(path_or_id: str | os.PathLike, name: str, revision: str | None = None) -> str:
    """The path of a checkpoint's file, in its folder or downloaded from the Hub. Raises HubmodelsError when there is no
    such checkpoint or it has no such file."""
    from .errors import HubmodelsError

    source = os.fspath(path_or_id)
    path = check_source(source) / name
    if path.is_file():
        return str(path)
    if path.parent.is_dir():
        raise HubmodelsError(f"{source} has no {name}; {REMEDY}")
    from transformers.utils import cached_file

    try:
        return cached_file(source, name, revision=revision)
    except (OSError, ValueError) as error:
        raise HubmodelsError(f"cannot load {source}: {one_line(error)}; {REMEDY}") from None


def find_optional_file(path_or_id: str | os.PathLike, name: str, revision: str | None = None) -> str | None:
    """Return the path of a checkpoint's file, in its folder or downloaded from the Hub; None where it has no such file.

    Raises HubmodelsError where there is no such checkpoint."""
    from transformers.utils import cached_file

    source = os.fspath(path_or_id)
    folder = check_source(source)
    if folder.is_dir():
        return str(folder / name) if (folder / name).is_file() else None
    from .errors import HubmodelsError, one_line

    try:
        return cached_file(source, name, revision=revision, _raise_exceptions_for_missing_entries=False)
    except (OSError, ValueError) as error:
        raise HubmodelsError(f"cannot load {source}: {one_line(error)}; {REMEDY}") from None


def check_source(source: str) -> Path:
    """The folder of a checkpoint, which need not exist where `source` can be a Hub id. Raises HubmodelsError when it
    can be neither."""
    from .errors import HubmodelsError

    if os.path.isfile(source):
        raise HubmodelsError(f"{source} is a file, not a model's folder; {REMEDY}")
    if not os.path.isdir(source) and not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", source):
        raise HubmodelsError(f"there is no folder {source}; {REMEDY}")
    return Path(source)


def check_hashes(source: str, revision: str | None) -> None:
    """Compare config and weights with the checksums that a release's metrics.json holds: safetensors itself does not
    see a flipped bit. A checkpoint without metrics.json passes. Raises HubmodelsError when they differ."""
    from transformers.utils import cached_file

    from .errors import HubmodelsError
    from .files import hash_file

    options = {"revision": revision, "_raise_exceptions_for_missing_entries": False}
    metrics = cached_file(source, METRICS, **options)
    if metrics is None:
        return
    try:
        expected = json.loads(Path(metrics).read_text(encoding="utf-8"))["checksums"]["files"]
    except (ValueError, KeyError, TypeError):
        return
    for name in (CONFIG, WEIGHTS):
        path = cached_file(source, name, **options)
        if path is not None and name in expected and hash_file(path) != expected[name]:
            raise HubmodelsError(
                f"{name} of {source} is damaged: its SHA-256 is not the one in {METRICS}; download or train it again"
            )


def read_weights(
    cls: type["PreTrainedModel"], source: str, config: "PreTrainedConfig", revision: str | None
) -> tuple["PreTrainedModel", dict[str, Any]]:
    """The model and transformers' report of weights that did not fit. Raises HubmodelsError for unreadable files."""
    from safetensors import SafetensorError

    from .errors import HubmodelsError

    options = {"revision": revision, "ignore_mismatched_sizes": True, "output_loading_info": True}
    try:
        with quiet_transformers():
            return cls.from_pretrained(source, config=config, use_safetensors=True, **options)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise HubmodelsError(
            f"cannot read {WEIGHTS} of {source}: {one_line(error)}; download or train it again"
        ) from None


def check_fit(source: str, report: dict[str, Any], renewed: set[str]) -> None:
    """Raises HubmodelsError when other weights than `renewed` are missing, superfluous or of another shape."""
    from .errors import HubmodelsError

    for name, stored, wanted in sorted(report["mismatched_keys"]):
        if name not in renewed:
            raise HubmodelsError(
                f"{source} does not fit: its {name} has shape {tuple(stored)}, the data and the model section need "
                f"{tuple(wanted)}; change these or train without a checkpoint"
            )
    for kind, word in (("missing_keys", "lacks"), ("unexpected_keys", "has unknown")):
        names = sorted(set(report[kind]) - renewed)
        if names:
            shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            raise HubmodelsError(
                f"{source} does not fit its config: it {word} weights {shown}; change the model section or "
                "give another checkpoint"
            )


def label_weights(model: "PreTrainedModel") -> set[str]:
    """The names of the weights whose shape depends on the number of labels."""
    import torch

    config = copy.deepcopy(model.config)
    config.num_labels = model.config.num_labels + 1
    with torch.device("meta"):
        other = type(model)(config).state_dict()
    return {name for name, value in model.state_dict().items() if value.shape != other[name].shape}


def renew_weights(model: "PreTrainedModel", names: set[str]) -> None:
    """Draw these weights again as the family initialises them; the others of the same modules stay as they are."""
    for module_name in sorted({name.rpartition(".")[0] for name in names}):
        module = model.get_submodule(module_name)
        for name, value in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
            value._is_hf_initialized = f"{module_name}.{name}".lstrip(".") not in names
        model._init_weights(module)


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Without transformers' loading report and progress bar: our own line says what matters of it."""
    from transformers.utils import logging as transformers_logging

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


def describe_labels(config: "PreTrainedConfig") -> str:
    """The labels of a config in a few words: `10 labels (0, 1, 2, ...)`."""
    labels = [str(label) for label in config.id2label.values()]
    return f"{len(labels)} labels ({', '.join(labels[:3])}{', ...' if len(labels) > 3 else ''})"


def one_line(error: BaseException | str) -> str:
    """An error's message on one line, without the closing full stop."""
    return " ".join(str(error).split()).rstrip(".")
