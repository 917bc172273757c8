"""Register the families with transformers: its Auto classes, those that it lacks, processors and pipelines.

Importing this module costs nothing: the families are imported when transformers' Auto classes are (post-import hooks of
wrapt), whichever package comes first, or when they are asked for here.
"""

import functools
import importlib
from collections import OrderedDict
from typing import Any

import wrapt

from .families import (
    FOLDER,
    config_class,
    config_fields,
    family_classes,
    import_family,
    list_families,
)


def auto_class(suffix: str) -> Any:
    """Give the Auto class of a suffix: transformers' own, or ours (`AutoModelForTabularClassification`, ...) where it
    has none. `hubmodels.auto.AutoModelFor...` gives them by name."""
    # Its import registers every model, and makes our own Auto classes for that: before the cache below is asked.
    import transformers.models.auto.modeling_auto  # noqa: F401

    return _make_auto_class(suffix)


@functools.cache
def _make_auto_class(suffix: str) -> Any:
    """Find transformers' Auto class of a suffix, or make ours, once."""
    from transformers.models.auto import modeling_auto
    from transformers.models.auto.auto_factory import _BaseAutoModelClass, _LazyAutoMapping
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    name = "AutoModel" if suffix == "Model" else f"AutoModel{suffix}"
    if hasattr(modeling_auto, name):
        return getattr(modeling_auto, name)
    mapping = _LazyAutoMapping(CONFIG_MAPPING_NAMES, OrderedDict())
    return type(name, (_BaseAutoModelClass,), {"_model_mapping": mapping, "__module__": __name__})


def register_configs(module: Any) -> None:
    """Make AutoConfig know every family.

    `module` is transformers' configuration_auto."""
    for family in list_families():
        cls = config_class(family)
        module.AutoConfig.register(cls.model_type, cls, exist_ok=True)


def register_models(module: Any) -> None:
    """Make the Auto classes know every model of every family.

    `module` is transformers' modeling_auto."""
    for family in list_families():
        for suffix, cls in family_classes(family).items():
            auto_class(suffix).register(config_class(family), cls, exist_ok=True)


def register_image_processors(module: Any) -> None:
    """Make AutoImageProcessor know our image processors by class name and by config.

    A preprocessor_config.json holds the class name. By the config of a family that takes images a pipeline decides
    whether to load one at all. `module` is transformers' image_processing_auto."""
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
    """Make AutoFeatureExtractor know our feature extractors, by class name and by the config of each family.

    `module` is transformers' feature_extraction_auto."""
    from transformers.feature_extraction_utils import FeatureExtractionMixin

    for extractor in list_processors():
        if issubclass(extractor, FeatureExtractionMixin):
            for family in list_families():
                module.AutoFeatureExtractor.register(config_class(family), extractor, exist_ok=True)


def register_processors(module: Any) -> None:
    """Make AutoProcessor know our processors and feature extractors by the class name in their file.

    `module` is transformers' processing_auto."""
    from transformers.feature_extraction_utils import FeatureExtractionMixin
    from transformers.processing_utils import ProcessorMixin

    for processor in list_processors():
        if issubclass(processor, ProcessorMixin | FeatureExtractionMixin):
            # The key would be a config class, but a family can have images and tables: only the name decides.
            module.PROCESSOR_MAPPING.register(processor, processor, exist_ok=True)


def register_pipelines(module: Any) -> None:
    """Make `pipeline` know the tasks that transformers lacks.

    `module` is transformers.pipelines."""
    for path in sorted(FOLDER.glob("pipelines/[!_]*.py")):
        ours = importlib.import_module(f".pipelines.{path.stem}", __package__)
        for task, (cls, suffix) in ours.PIPELINES.items():
            known = module.PIPELINE_REGISTRY.supported_tasks.get(task)
            # transformers keeps the class, or since 5.23 its full name.
            full_names = [f"{base.__module__}.{base.__name__}" for base in cls.__mro__]
            if known and known["impl"] in (*cls.__mro__, *full_names):
                # It extends transformers' own, which still does the models of others.
                models = tuple(dict.fromkeys((*known["pt"], auto_class(suffix))))
                module.PIPELINE_REGISTRY.supported_tasks[task] = {**known, "impl": cls, "pt": models}
                continue
            # A task that transformers took out, or has in a form that cannot do our models, is ours now.
            getattr(module, "REMOVED_TASKS", {}).pop(task, None)
            module.PIPELINE_REGISTRY.supported_tasks.pop(task, None)
            module.PIPELINE_REGISTRY.register_pipeline(task, pipeline_class=cls, pt_model=auto_class(suffix))


def list_processors() -> list[type]:
    """List every processor class that a file `processors/processing_<kind>.py` defines."""
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
    """Find a family's or processor's class by its name, `MlpConfig` or `CnnForImageClassification`; None if there is
    none."""
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
