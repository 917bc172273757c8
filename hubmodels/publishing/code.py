"""Write the code that travels with the weights: the family's and the processor's files, flat beside them.

`auto_map` of a release names the classes. With their files it loads in plain transformers,
`from_pretrained(..., trust_remote_code=True)`, where hubmodels is not installed. Where it is, its own classes are
registered and win, and no trust flag is needed. So a checkout keeps no code beside its checkpoints: `publish` adds what
is installed, and writes its checksums into the metrics.json of what it sends.
"""

import os
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import transformers
from transformers.dynamic_module_utils import get_relative_import_files

from ..checkpoint import CONFIG_FILE, METRICS_FILE, PLAIN, listed_checksums, read_metrics
from ..errors import HubmodelsError
from ..families import class_prefix, family_classes, family_of, find_code
from ..files import atomic_file, hash_file, read_json, write_json
from .layout import release_files

AUTO_MAP_FILES = (CONFIG_FILE, "preprocessor_config.json", "processor_config.json", "tokenizer_config.json")


def write_auto_map(folder: Path, model: transformers.PreTrainedModel, processor: Any, head: str) -> None:
    """Name the classes of `model` and `processor` in the `auto_map` of the files that they were saved to.

    Args:
        folder: holds config.json and the processor's files.
        model: a PreTrainedModel; its class and its config's class lie in files that import only siblings.
        processor: an image processor, feature extractor or processor; one of transformers' own needs no code.
        head: the suffix of the model's class after the family's name: "ForImageClassification".
    """
    mapping = model_auto_map(model, head) if _is_ours(type(model)) else {}
    if processor is not None and _is_ours(type(processor)):
        auto_class, file_name, type_field = _processor_kind(processor)
        reference = {auto_class: _reference(type(processor))}
        if auto_class == "AutoProcessor":
            # By the class name in this file AutoProcessor finds the registered class, and then in no other the code.
            members = _members_with_code(processor, folder / file_name)
            _change_json(folder / file_name, {"auto_map": reference, **members})
        else:
            mapping |= reference
            # transformers looks for a processor's class in the config only where the processor's own file names none.
            # It must not stand there: pipelines try that file as the one of a video processor too, and then ask for
            # consent to run code, also where hubmodels is installed (transformers 5.23, video_processing_auto.py).
            _change_json(folder / file_name, {}, remove=(type_field, "auto_map"))
    if mapping:
        _change_json(folder / CONFIG_FILE, {"auto_map": mapping})


def complete_folder(folder: Path, saved: Any) -> None:
    """Add `auto_map` and code to a folder that `saved.save_pretrained` wrote, alone or beside what was there.

    Model and processor may be saved in either order. A class that is no family's (a user's subclass) stays as it is."""
    if PLAIN.get() or find_code(f"{type(saved).__module__.rpartition('.')[2]}.py") is None:
        return
    if isinstance(saved, transformers.PreTrainedModel):
        family = family_of(saved.config.model_type)
        head = type(saved).__name__.removeprefix(class_prefix(family)) if family is not None else ""
        if family is None or family_classes(family).get(head) is not type(saved):
            return
        mapping = _installed_references(read_json(folder / CONFIG_FILE)) | model_auto_map(saved, head)
        _change_json(folder / CONFIG_FILE, {"auto_map": mapping})
    else:
        auto_class, file_name, _ = _processor_kind(saved)
        members = _members_with_code(saved, folder / file_name) if auto_class == "AutoProcessor" else {}
        _change_json(folder / file_name, {"auto_map": {auto_class: _reference(type(saved))}, **members})
    _move_processor_map(folder)
    write_code(folder)


def _move_processor_map(folder: Path) -> None:
    """Move the `auto_map` of preprocessor_config.json to the config of our model beside it: `write_auto_map` says why.

    Without a model it stays where the processor was saved."""
    config, own_file = folder / CONFIG_FILE, folder / "preprocessor_config.json"
    if not (config.is_file() and own_file.is_file()) or family_of(read_json(config).get("model_type")) is None:
        return
    if references := _installed_references(read_json(own_file)):
        _change_json(config, {"auto_map": (read_json(config).get("auto_map") or {}) | references})
        _change_json(own_file, {}, remove=("auto_map", "image_processor_type", "feature_extractor_type"))


def _installed_references(values: Mapping[str, Any]) -> dict[str, str]:
    """Return the entries of an `auto_map` that name installed code, as `file.Class`.

    A config that was loaded from the Hub names them with the repository: `someone/model--file.Class`."""
    mapping = {auto_class: str(name).rpartition("--")[2] for auto_class, name in (values.get("auto_map") or {}).items()}
    return {
        auto_class: name
        for auto_class, name in mapping.items()
        if name.count(".") == 1 and find_code(f"{name.partition('.')[0]}.py") is not None
    }


def auto_map_references(folder: Path) -> list[str]:
    """List the classes that the files of a release name in `auto_map`, each as `file.Class`.

    Raises HubmodelsError for anything else than a class of a file in the release itself."""
    references = []
    for name in AUTO_MAP_FILES:
        mapping = (read_json(folder / name).get("auto_map") or {}) if (folder / name).is_file() else {}
        if not isinstance(mapping, dict):
            raise HubmodelsError(f"auto_map of {name} is no mapping")
        for value in mapping.values():
            for reference in value if isinstance(value, list) else [value]:
                if reference is not None and not re.fullmatch(r"[A-Za-z_]\w*\.[A-Za-z_]\w*", str(reference)):
                    raise HubmodelsError(
                        f"auto_map of {name} names {str(reference)[:100]!r}; it must be file.Class of this release"
                    )
                references += [] if reference is None else [reference]
    return references


def code_files(folder: Path) -> dict[str, Path]:
    """Find the installed code of a release: the files that its `auto_map` names, and the siblings that these import.

    Returns:
        For each name of a file in the release the installed file.

    Raises:
        HubmodelsError: a file is of no family or processor that is installed here.
    """
    files = {}
    for reference in auto_map_references(folder):
        name = f"{reference.split('.')[0]}.py"
        if (path := find_code(name)) is None:
            raise HubmodelsError(f"auto_map names {name}, which is of no family or processor that is installed here")
        files[name] = path
        files |= {Path(sibling).name: Path(sibling) for sibling in get_relative_import_files(path)}
    return dict(sorted(files.items()))


def write_code(folder: Path) -> list[str]:
    """Put the installed code of a release into its folder. Gives the names of the files that changed."""
    changed = []
    for name, path in code_files(folder).items():
        if not (folder / name).is_file() or (folder / name).read_bytes() != path.read_bytes():
            with atomic_file(folder / name) as temporary:
                temporary.write_bytes(path.read_bytes())
            changed.append(name)
    return changed


def refresh_code(folder: str | os.PathLike) -> list[str]:
    """Put the installed code in the place of a release's own, and its checksums into metrics.json.

    Code that the release lists and no longer uses is removed. Nothing else changes: where the installed code is what
    was released, every file is as it was, to the byte.

    Returns:
        The names of the files that changed.

    Raises:
        HubmodelsError: code that is installed nowhere here.
    """
    folder = Path(folder)
    metrics = read_metrics(folder)
    listed = dict(listed_checksums(metrics))
    changed, used = write_code(folder), code_files(folder)
    for name in [name for name in listed if name.endswith(".py") and name not in used]:
        (folder / name).unlink(missing_ok=True)
        del listed[name]
        changed.append(name)
    listed |= {name: hash_file(folder / name) for name in used}
    if listed and listed != metrics["checksums"]["files"]:
        metrics["checksums"]["files"] = listed
        write_json(folder / METRICS_FILE, metrics)
    return sorted(changed)


def lacks_code(folder: Path) -> bool:
    """Tell whether a folder has no code, but names classes that need it, as the folders of a checkout do."""
    return not any(folder.glob("*.py")) and bool(auto_map_references(folder))


def compose_release(folder: str | os.PathLike, target: Path) -> Path:
    """Copy a release to a new folder, whole: with the installed code, and its checksums in metrics.json.

    Args:
        folder: a release, with or without code.
        target: where the copy goes; a link in the release stays a link, for the checks to find.

    Returns:
        The new folder.
    """
    folder = Path(folder)
    for name in release_files(folder):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        if (folder / name).is_symlink():
            (target / name).symlink_to((folder / name).resolve())
        else:
            shutil.copyfile(folder / name, target / name)
    refresh_code(target)
    return target


def foreign_code(folder: Path) -> list[str]:
    """List the Python files in a folder that are not, byte for byte, the installed ones of the same name."""
    names = sorted(path.name for path in folder.glob("*.py"))
    installed = {name: find_code(name) for name in names}
    return [
        name for name, path in installed.items() if path is None or path.read_bytes() != (folder / name).read_bytes()
    ]


def model_auto_map(model: transformers.PreTrainedModel, head: str) -> dict[str, str]:
    """Map Auto class to `file.Class` for a model: its config, its body (where the family has one) and its head.

    A head for which transformers has no Auto class is what AutoModel gives, since nothing else could give it."""
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
    """Tell whether a class is defined outside of transformers."""
    return cls.__module__.split(".")[0] != "transformers"


def _reference(cls: type) -> str:
    """Name a class as `auto_map` does, by file and class."""
    return f"{cls.__module__.rsplit('.', 1)[-1]}.{cls.__name__}"


def _processor_kind(processor: Any) -> tuple[str, str, str]:
    """Name the Auto class that loads a processor, the file that holds it, and the field there that names its class."""
    if isinstance(processor, transformers.ProcessorMixin):
        return "AutoProcessor", "processor_config.json", "processor_class"
    if isinstance(processor, transformers.FeatureExtractionMixin):
        return "AutoFeatureExtractor", "preprocessor_config.json", "feature_extractor_type"
    if isinstance(processor, transformers.PreTrainedTokenizerBase):
        return "AutoTokenizer", "tokenizer_config.json", "tokenizer_class"
    return "AutoImageProcessor", "preprocessor_config.json", "image_processor_type"


def _members_with_code(processor: Any, path: Path) -> dict[str, Any]:
    """Give the entries of a processor's file for those of its members that are ours, each with its own `auto_map`.

    An image processor beside a tokenizer can so be loaded alone."""
    stored = read_json(path)
    members = {name: getattr(processor, name) for name in processor.get_attributes() if name in stored}
    return {
        name: {**stored[name], "auto_map": {_processor_kind(member)[0]: _reference(type(member))}}
        for name, member in members.items()
        if _is_ours(type(member))
    }


def _change_json(path: Path, changes: dict[str, Any], remove: tuple[str, ...] = ()) -> None:
    """Change entries of a JSON file, and remove some."""
    values = {name: value for name, value in read_json(path).items() if name not in remove}
    write_json(path, values | changes)
