"""Code that travels with the weights: the family's and the processor's files, copied flat beside them, and `auto_map`.

With them a release loads in plain transformers, `from_pretrained(..., trust_remote_code=True)`, where hubmodels is not
installed. Where it is, its own classes are registered and win, and no trust flag is needed.
"""

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import transformers
from transformers.dynamic_module_utils import get_relative_import_files

from ..errors import HubmodelsError
from ..files import write_json


def write_code(folder: Path, model: Any, processor: Any, head: str) -> list[str]:
    """Copy the code of `model` and `processor` into a folder that they were saved to, and name its classes in the
    `auto_map` of config.json.

    Args:
        folder: holds config.json and the processor's files.
        model: a PreTrainedModel; its class and its config's class lie in files that import only siblings.
        processor: an image processor, feature extractor or processor; one of transformers' own needs no code.
        head: the suffix of the model's class after the family's name: "ForImageClassification".

    Returns:
        The names of the copied files.
    """
    names = []
    mapping = {}
    if _is_ours(type(model)):
        names += _copy_module(type(model), folder)
        mapping |= model_auto_map(model, head)
    if processor is not None and _is_ours(type(processor)):
        names += _copy_module(type(processor), folder)
        auto_class, file_name, type_field = _processor_kind(processor)
        reference = {auto_class: _reference(type(processor))}
        if auto_class == "AutoProcessor":
            # By the class name in this file AutoProcessor finds the registered class, and then in no other the code.
            _change_json(folder / file_name, {"auto_map": reference, **_parts_with_code(processor, folder / file_name)})
        else:
            mapping |= reference
            # transformers looks for a processor's class in the config only where the processor's own file names none.
            # It must not stand there: pipelines try that file as the one of a video processor too, and then ask for
            # consent to run code, also where hubmodels is installed (transformers 5.23, video_processing_auto.py).
            _change_json(folder / file_name, {}, remove=type_field)
    if mapping:
        _change_json(folder / "config.json", {"auto_map": mapping})
    return sorted(set(names))


def installed_code(name: str) -> Path | None:
    """The file of this name among the families and processors that are installed here."""
    package = Path(__file__).parents[1]
    return next((path for folder in ("models/*", "processors") for path in package.glob(f"{folder}/{name}")), None)


def foreign_code(folder: Path) -> list[str]:
    """The Python files in a folder that are not, byte for byte, the installed ones of the same name."""
    names = sorted(path.name for path in folder.glob("*.py"))
    return [
        name
        for name in names
        if (path := installed_code(name)) is None or path.read_bytes() != (folder / name).read_bytes()
    ]


def model_auto_map(model: Any, head: str) -> dict[str, str]:
    """Auto class -> `file.Class` for a model: its config, its body (where the family has one) and its head. A head for
    which transformers has no Auto class is what AutoModel gives, since nothing else could give it."""
    model_class, config_class = type(model), type(model.config)
    mapping = {"AutoConfig": _reference(config_class)}
    head_auto_class = f"AutoModel{head}"
    if head_auto_class != "AutoModelModel" and hasattr(transformers, head_auto_class):
        mapping[head_auto_class] = _reference(model_class)
        body = getattr(sys.modules[model_class.__module__], model_class.__name__.removesuffix(head) + "Model", None)
        mapping["AutoModel"] = _reference(body or model_class)
    else:
        mapping["AutoModel"] = _reference(model_class)
    return mapping


def _is_ours(cls: type) -> bool:
    return cls.__module__.split(".")[0] != "transformers"


def _reference(cls: type) -> str:
    return f"{cls.__module__.rsplit('.', 1)[-1]}.{cls.__name__}"


def _copy_module(cls: type, folder: Path) -> list[str]:
    """Copy the file that defines `cls` and, recursively, the siblings that it imports."""
    source = importlib.import_module(cls.__module__).__file__
    if source is None:
        raise HubmodelsError(f"{cls.__name__} is defined in no file, so its code cannot travel with the weights")
    names = []
    for path in [Path(source), *map(Path, get_relative_import_files(source))]:
        (folder / path.name).write_bytes(path.read_bytes())
        names.append(path.name)
    return names


def _processor_kind(processor: Any) -> tuple[str, str, str]:
    """The Auto class that loads a processor, the file that holds it, and the field there that names its class."""
    if isinstance(processor, transformers.ProcessorMixin):
        return "AutoProcessor", "processor_config.json", "processor_class"
    if isinstance(processor, transformers.FeatureExtractionMixin):
        return "AutoFeatureExtractor", "preprocessor_config.json", "feature_extractor_type"
    if isinstance(processor, transformers.PreTrainedTokenizerBase):
        return "AutoTokenizer", "tokenizer_config.json", "tokenizer_class"
    return "AutoImageProcessor", "preprocessor_config.json", "image_processor_type"


def _parts_with_code(processor: Any, path: Path) -> dict[str, Any]:
    """The entries of a processor's file for those of its parts that are ours (an image processor beside a tokenizer),
    each with the `auto_map` by which it can be loaded alone."""
    stored = json.loads(path.read_text(encoding="utf-8"))
    parts = {name: getattr(processor, name) for name in processor.get_attributes() if name in stored}
    return {
        name: {**stored[name], "auto_map": {_processor_kind(part)[0]: _reference(type(part))}}
        for name, part in parts.items()
        if _is_ours(type(part))
    }


def _change_json(path: Path, changes: dict[str, Any], remove: str | None = None) -> None:
    values = json.loads(path.read_text(encoding="utf-8"))
    values.pop(remove, None)
    write_json(path, values | changes)
