"""Who may import whom, read from the import statements: the rules of CONTRIBUTING.md."""

import ast
import importlib
import sys
from pathlib import Path

import pytest

import hubmodels
from hubmodels.families import config_class, list_families
from hubmodels.fields import part_fields
from hubmodels.tasks import get_task, list_tasks

PACKAGE = Path(hubmodels.__file__).parent
FILES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))
STAGES = ("data", "training", "evaluation", "publishing")
FOUNDATION = {
    "abilities", "cpu", "errors", "fields", "recipe", "report", "files", "figures", "formatting", "safetensors_header",
    "budget", "units", "progress",
}  # fmt: skip
# What a stage may import beside the foundation and itself: publishing opens what it verifies.
BESIDE = {"publishing": {"checkpoint", "families"}}
# What a room of tasks/ may import beside the foundation, the contract and itself. A baseline names the type of the
# table that it is fitted to; figures draw what inputs keep and what targets count.
ROOMS = {
    "contract": set(),
    "inputs": {"processors"},
    "targets": {"processors", "tasks.figures"},
    "baselines": {"tasks.inputs"},
    "figures": {"tasks.inputs", "tasks.targets"},
    "problems": {"tasks.baselines", "tasks.figures", "tasks.inputs", "tasks.targets"},
    "examinations": {"tasks.baselines", "tasks.figures", "tasks.inputs", "tasks.targets"},
}
# What joins the floors, and what each may import beside the foundation: of tasks their discovery, never one of them.
JOINTS = {
    "answering.py": {"data", "evaluation", "families"},
    "binding.py": {"checkpoint", "tasks.contract.problem"},
    "processes.py": set(),
    "recipes.py": {"checkpoint", "families"},
    "saving.py": {"families", "publishing"},
    "steps.py": {"checkpoint", "data", "evaluation", "families"},
    "workflow.py": {"data", "evaluation", "training", "publishing", "processes", "recipes", "steps"},
    "whole_files.py": {"answering", "data", "evaluation"},
    "use.py": {*STAGES, "answering", "whole_files", "binding", "checkpoint", "processes", "recipes", "steps"},
}
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


def imports(file: str, at_the_top: bool = False) -> set[str]:
    """The modules that a file imports, anywhere in it, with their full names (`hubmodels.recipe`, `torch.nn`).

    For `from a import b` both `a` and `a.b`, as b can be a module. With `at_the_top` those alone that are imported with
    the file itself."""
    found = set()
    parents = ["hubmodels", *Path(file).parent.parts]
    for node in read(file).body if at_the_top else ast.walk(read(file)):
        if isinstance(node, ast.Import):
            found |= {item.name for item in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = parents[: len(parents) - node.level + 1] if node.level else []
            base = ".".join([*base, *([node.module] if node.module else [])])
            found |= {base} | {f"{base}.{item.name}" for item in node.names}
    return found


def module_of(file: str) -> str:
    """The dotted name of a file, without `hubmodels.`."""
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def own(file: str, at_the_top: bool = False) -> set[str]:
    """The modules of this package that a file imports, without `hubmodels.`, as dotted names of files that exist."""
    return {name.removeprefix("hubmodels.") for name in imports(file, at_the_top)} & set(map(module_of, FILES))


def third_parties(file: str) -> set[str]:
    return {name.partition(".")[0] for name in imports(file)} - set(sys.stdlib_module_names) - {"hubmodels"}


def beyond(names: set[str], allowed: set[str]) -> set[str]:
    """The names that are none of the allowed modules, and in none of the allowed packages."""
    return {name for name in names if not any(name == one or name.startswith(f"{one}.") for one in allowed)}


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


def test_every_room_of_tasks_has_its_rule() -> None:
    rooms = {path.parent.name for path in PACKAGE.glob("tasks/*/__init__.py")}
    assert rooms == set(ROOMS)


@pytest.mark.parametrize("file", [file for file in FILES if file.startswith("tasks/") and file.count("/") == 2])
def test_a_room_of_tasks_imports_what_its_rule_names(file: str) -> None:
    """Inputs import no target, targets no input; neither they nor baselines, figures and examinations know a task."""
    room = Path(file).parent.name
    assert not beyond(own(file), {*FOUNDATION, "tasks.contract", f"tasks.{room}", *ROOMS[room]})


def input_kinds() -> dict[str, set[str]]:
    """The files whose classes are the input of a task, and the names of all that these classes derive from."""
    kinds: dict[str, set[str]] = {}
    for tag in list_tasks():
        module = importlib.import_module(part_fields(get_task(tag))["input"].__module__)
        classes = [value for value in vars(module).values() if getattr(value, "__module__", None) == module.__name__]
        bases = {base.__name__ for cls in classes if isinstance(cls, type) for base in cls.__mro__}
        kinds[module.__name__.removeprefix("hubmodels.").replace(".", "/") + ".py"] = bases
    return kinds


def test_an_input_imports_another_only_to_derive_from_it() -> None:
    """What several inputs need beside their options is in files that are no input: image_files.py, ..."""
    kinds = input_kinds()
    assert "tasks/inputs/images.py" in kinds
    for file, bases in kinds.items():
        for node in ast.walk(read(file)):
            if isinstance(node, ast.ImportFrom) and f"tasks/inputs/{node.module}.py" in kinds and node.level == 1:
                assert {item.name for item in node.names} <= bases, file


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


@pytest.mark.parametrize(("file", "allowed"), JOINTS.items(), ids=JOINTS)
def test_what_joins_the_floors_imports_what_its_rule_names(file: str, allowed: set[str]) -> None:
    assert not beyond(own(file) - {"tasks"}, FOUNDATION | allowed)


@pytest.mark.parametrize("file", [file for file in FILES if file.startswith("commands/")])
def test_commands_import_the_joints_publishing_and_what_discovery_gives(file: str) -> None:
    names = own(file) - {"tasks"}  # of tasks and families the discovery alone
    assert not beyond(names, {*FOUNDATION, "commands", "families", "publishing", "recipes", "use", "workflow"})
    assert own("cli.py") <= FOUNDATION | {"commands._border", "commands._parser"}


@pytest.mark.parametrize("file", [file for file in FILES if file.startswith("pipelines/")])
def test_pipelines_import_binding_processors_and_data_and_no_other_stage_no_family_and_no_single_task(
    file: str,
) -> None:
    assert not beyond(own(file) - {"tasks"}, {*FOUNDATION, "binding", "data", "families", "pipelines", "processors"})


def test_no_imports_at_the_top_of_files_run_in_a_circle() -> None:
    """What stands in a function, or under TYPE_CHECKING, does not count, nor does a file's own package."""
    waiting = {module_of(file): own(file, at_the_top=True) for file in FILES}
    waiting = {name: {one for one in needs if not f"{name}.".startswith(f"{one}.")} for name, needs in waiting.items()}
    while ready := [name for name, needs in waiting.items() if not needs & waiting.keys()]:
        for name in ready:
            del waiting[name]
    assert not waiting


def test_only_what_joins_the_stages_imports_several() -> None:
    for file in FILES:
        if file not in JOINTS:
            stages = {name.split(".")[0] for name in own(file)} & set(STAGES)
            # commands publish, verify and download by themselves: these are no part of the straight line.
            # Pipelines read files as all do.
            beside = {"commands": {"publishing"}, "pipelines": {"data"}}
            assert stages <= beside.get(file.split("/")[0], {file.split("/")[0]})


def test_nothing_imports_scripts_or_tests_and_only_the_command_line_imports_what_joins_the_stages() -> None:
    for file in FILES:
        assert not {name.split(".")[0] for name in imports(file)} & {"scripts", "tests", "conftest", "pytest"}
        if file not in ("cli.py", "__main__.py") and not file.startswith("commands/"):
            assert not own(file) & {"use", "cli", "workflow"}


def test_scripts_import_only_the_command_line_the_workflow_and_the_ground() -> None:
    for path in sorted((PACKAGE.parent / "scripts").glob("*.py")):
        if "benchmark" in path.name:  # takes the stages apart, to time them
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("hubmodels."):
                assert (
                    node.module.removeprefix("hubmodels.")
                    in {"cli", "publishing", "recipes", "use", "workflow"} | FOUNDATION
                )


@pytest.mark.parametrize("file", [file for file in FILES if not file.startswith(("data/", "publishing/"))])
def test_only_data_and_publishing_touch_the_network(file: str) -> None:
    found = imports(file)
    assert not found & NETWORK
    assert not {name.rpartition(".")[2] for name in found} & NETWORK_NAMES
    for node in ast.walk(read(file)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            assert node.func.attr not in {*NETWORK_NAMES, "push_to_hub"}, f"line {node.lineno}"
