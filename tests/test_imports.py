"""Who may import whom, read from the import statements: the rules of CONTRIBUTING.md."""

import ast
import sys
from pathlib import Path

import pytest

import hubmodels
from hubmodels.families import config_class, list_families
from hubmodels.tasks import list_tasks

PACKAGE = Path(hubmodels.__file__).parent
FILES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))
STAGES = ("data", "training", "evaluation", "publishing")
FOUNDATION = {
    "abilities", "cpu", "errors", "fields", "recipe", "report", "files", "figures", "formatting", "safetensors_header",
}  # fmt: skip
# What a stage may import beside the foundation and itself: publishing opens what it verifies.
BESIDE = {"publishing": {"checkpoint", "families"}}
UPLOADED = {"torch", "numpy", "transformers", "huggingface_hub", "safetensors", "PIL"}
UPLOADED_EXTRA = {"diffusion": {"diffusers"}}
# What of huggingface_hub and others reaches the network.
NETWORK = {"requests", "httpx", "aiohttp", "urllib3", "socket", "http.client", "urllib.request"}
NETWORK_NAMES = {
    "HfApi", "HfFileSystem", "InferenceClient", "create_repo", "file_exists", "hf_hub_download", "list_models",
    "list_repo_files", "load_dataset", "login", "repo_exists", "snapshot_download", "upload_file", "upload_folder",
}  # fmt: skip


def read(file: str) -> ast.Module:
    return ast.parse((PACKAGE / file).read_text(encoding="utf-8"))


def imports(file: str) -> set[str]:
    """The modules that a file imports, anywhere in it, with their full names (`hubmodels.recipe`, `torch.nn`): for
    `from a import b` both `a` and `a.b`, as b can be a module."""
    found = set()
    parents = ["hubmodels", *Path(file).parent.parts]
    for node in ast.walk(read(file)):
        if isinstance(node, ast.Import):
            found |= {item.name for item in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = parents[: len(parents) - node.level + 1] if node.level else []
            base = ".".join([*base, *([node.module] if node.module else [])])
            found |= {base} | {f"{base}.{item.name}" for item in node.names}
    return found


def own(file: str) -> set[str]:
    """The modules of this package that a file imports, without `hubmodels.`, as dotted names of files that exist."""
    modules = {file.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for file in FILES}
    return {name.removeprefix("hubmodels.") for name in imports(file)} & modules


def third_parties(file: str) -> set[str]:
    return {name.partition(".")[0] for name in imports(file)} - set(sys.stdlib_module_names) - {"hubmodels"}


def is_uploaded(file: str) -> bool:
    name = Path(file).name
    return (file.startswith("models/") and name.startswith(("configuration_", "modeling_"))) or (
        file.startswith("processors/") and name != "__init__.py"
    )  # fmt: skip


def test_the_reading_sees_every_form_of_import() -> None:
    assert {"hubmodels.recipe", "importlib"} <= imports("families.py")  # inside functions too
    assert "auto" in own("__init__.py")  # from . import auto
    assert "models.mlp.configuration_mlp" in own("models/mlp/modeling_mlp.py")
    assert any(is_uploaded(file) for file in FILES)


@pytest.mark.parametrize("file", [file for file in FILES if is_uploaded(file)])
def test_uploaded_files_import_only_what_the_hub_lets_them(file: str) -> None:
    folder = Path(file).parent
    allowed = UPLOADED | UPLOADED_EXTRA.get(folder.name, set())
    assert third_parties(file) <= allowed
    for node in ast.walk(read(file)):
        if isinstance(node, ast.Import):
            assert not any(item.name.split(".")[0] == "hubmodels" for item in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level:
            # Only `from .sibling import name`: transformers finds what to ship by this very form.
            assert node.level == 1
            assert node.module is not None
            assert (PACKAGE / folder / f"{node.module}.py").is_file()
            assert is_uploaded(f"{folder.as_posix()}/{node.module}.py")
        elif isinstance(node, ast.ImportFrom):
            assert node.module.split(".")[0] != "hubmodels"


@pytest.mark.parametrize("file", [file for file in FILES if file.startswith("models/") and file.count("/") == 2])
def test_families_import_only_themselves(file: str) -> None:
    prefix = f"models.{Path(file).parent.name}."
    assert all(name.startswith(prefix) for name in own(file))


@pytest.mark.parametrize("file", [file for file in FILES if file.startswith("tasks/")])
def test_tasks_import_no_other_task_no_family_and_no_stage(file: str) -> None:
    others = {f"tasks.{tag.replace('-', '_')}" for tag in list_tasks()}
    for name in own(file):
        assert name not in others
        assert name.split(".")[0] in FOUNDATION | {"tasks", "processors"}


@pytest.mark.parametrize("file", [file for file in FILES if file.startswith(STAGES)])
def test_stages_import_the_foundation_and_themselves(file: str) -> None:
    stage = file.split("/")[0]
    assert {name.split(".")[0] for name in own(file)} <= FOUNDATION | {stage} | BESIDE.get(stage, set())
    assert stage != "publishing" or "importlib" not in imports(file)  # nor by a name that is put together


@pytest.mark.parametrize("file", [file for file in FILES if file.startswith(STAGES)])
def test_stages_name_no_family_and_no_task(file: str) -> None:
    families = list_families()
    classes = tuple(config_class(family).__name__.removesuffix("Config") for family in families)
    for node in ast.walk(read(file)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            assert node.value not in {*families, *list_tasks()}
            assert not node.value.startswith(tuple(f"{name}For" for name in classes))


@pytest.mark.parametrize("name", sorted(FOUNDATION))
def test_the_foundation_imports_nothing_above_it(name: str) -> None:
    assert own(f"{name}.py") <= FOUNDATION


def test_families_and_checkpoint_import_the_foundation_and_no_family_by_name() -> None:
    assert own("families.py") <= FOUNDATION
    assert own("checkpoint.py") <= FOUNDATION | {"families"}
    assert own("auto.py") <= FOUNDATION | {"families"}


def test_only_the_workflow_and_use_import_several_stages() -> None:
    for file in FILES:
        if file not in ("workflow.py", "use.py"):
            stages = {name.split(".")[0] for name in own(file)} & set(STAGES)
            # commands publish, verify and download by themselves: these are no part of the straight line.
            assert stages <= {"publishing"} if file.startswith("commands/") else {file.split("/")[0]}


def test_nothing_imports_scripts_or_tests_and_only_the_command_line_imports_what_joins_the_stages() -> None:
    for file in FILES:
        assert not {name.split(".")[0] for name in imports(file)} & {"scripts", "tests", "conftest", "pytest"}
        if file not in ("cli.py", "__main__.py") and not file.startswith("commands/"):
            assert not own(file) & ({"use", "cli"} | ({"workflow"} if file != "use.py" else set()))


def test_scripts_import_only_the_command_line_the_workflow_and_the_ground() -> None:
    for path in sorted((PACKAGE.parent / "scripts").glob("*.py")):
        if "benchmark" in path.name:  # takes the stages apart, to time them
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("hubmodels."):
                assert node.module.removeprefix("hubmodels.") in {"cli", "publishing", "use", "workflow"} | FOUNDATION


@pytest.mark.parametrize("file", [file for file in FILES if not file.startswith(("data/", "publishing/"))])
def test_only_data_and_publishing_touch_the_network(file: str) -> None:
    found = imports(file)
    assert not found & NETWORK
    assert not {name.rpartition(".")[2] for name in found} & NETWORK_NAMES
    for node in ast.walk(read(file)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            assert node.func.attr not in {*NETWORK_NAMES, "push_to_hub"}, f"line {node.lineno}"
