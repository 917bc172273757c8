"""Folders of a checkout, which hold no code: what is published of them is whole, and the same to the byte."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from hub_server import HubServer
from huggingface_hub import HfApi
from test_other_processes import WITHOUT_HUBMODELS, lines, run
from tiny_release import make_release

from hubmodels import families
from hubmodels.cli import main
from hubmodels.errors import HubmodelsError
from hubmodels.families import build_model, find_code
from hubmodels.files import hash_file
from hubmodels.publishing import check_release, compose_release, publish, replace_results, verify, verify_folder
from hubmodels.publishing.code import code_files, lacks_code, refresh_code
from hubmodels.recipe import Recipe
from hubmodels.tasks import get_task

CODE = [
    "configuration_mlp.py", "modeling_mlp.py", "modeling_mlp_layers.py", "modeling_mlp_shared.py",
    "modeling_mlp_tables.py", "processing_image.py",
]  # fmt: skip


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def change_checksum(folder: Path, name: str, value: str | None) -> None:
    """What metrics.json lists of a file, as after a release with other code; None lists nothing."""
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics["checksums"]["files"].pop(name, None)
    if value is not None:
        metrics["checksums"]["files"][name] = value
    (folder / "metrics.json").write_text(json.dumps(metrics))


@pytest.fixture
def bare(folder: Path) -> Path:
    """The release as a checkout holds it: its code is left out, all else stays."""
    for path in folder.glob("*.py"):
        path.unlink()
    return folder


def test_a_folder_without_code_composes_to_the_release_to_the_byte(made: Path, bare: Path, tmp_path: Path) -> None:
    before = contents(bare)
    composed = compose_release(bare, tmp_path / "composed")
    assert contents(composed) == contents(made)
    assert sorted(code_files(bare)) == sorted(contents(made).keys() - before.keys()) == CODE
    assert check_release(composed).absent_code == []
    assert contents(bare) == before


def test_a_folder_without_code_is_published_whole_and_a_second_time_makes_no_commit(
    made: Path, bare: Path, hub: HubServer, api: HfApi
) -> None:
    before = contents(bare)
    dry = publish(bare, "me/x", dry_run=True, api=api)
    assert sorted(dry.sent) == sorted(contents(made))
    assert hub.repos == {}
    commit = publish(bare, "me/x", api=api).commit
    sent = {name: blob.content for name, blob in hub.model("me/x").head().files.items()}
    assert {name: sent[name] for name in contents(made) if name != "README.md"} == {
        name: content for name, content in contents(made).items() if name != "README.md"
    }
    for release in (bare, made, bare):
        again = publish(release, "me/x", api=api)
        assert (again.commit, again.sent, again.deleted) == (commit, {}, [])
    assert contents(bare) == before
    assert verify("me/x", api=api).absent_code == []


def test_what_is_composed_loads_where_hubmodels_is_not(bare: Path, hub: HubServer, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(bare / "figures" / "confusion_matrix.png", tmp_path / "elsewhere" / "picture.png")
    composed = compose_release(bare, tmp_path / "elsewhere" / bare.name)
    (line,) = lines(run([sys.executable, "-I", "-c", WITHOUT_HUBMODELS, str(composed)], hub, tmp_path))
    assert line["deviation"] <= 1e-4
    assert line["module"].startswith("transformers_modules.")
    assert line["processor"].startswith("transformers_modules.")


def test_code_that_changed_since_the_release_changes_its_checksums_alone(
    made: Path, bare: Path, tmp_path: Path
) -> None:
    change_checksum(bare, "modeling_mlp.py", "0" * 64)  # it was other code then
    change_checksum(bare, "modeling_mlp_tables.py", None)  # it did not import this one
    change_checksum(bare, "modeling_mlp_old.py", "1" * 64)  # and that is gone
    before = contents(bare)
    composed = compose_release(bare, tmp_path / "composed")
    assert {name for name, content in contents(made).items() if contents(composed)[name] != content} <= {"metrics.json"}
    stated, first = (json.loads((release / "metrics.json").read_text()) for release in (composed, made))
    assert stated == first
    assert check_release(composed).foreign_code == []
    assert contents(bare) == before
    assert "it holds no code" in str(verify_folder(bare))


def test_a_refresh_removes_code_that_is_no_longer_used_and_adds_what_is_new(made: Path, folder: Path) -> None:
    (folder / "modeling_mlp_old.py").write_text("import torch\n")
    (folder / "modeling_mlp_tables.py").unlink()
    change_checksum(folder, "modeling_mlp_old.py", hash_file(folder / "modeling_mlp_old.py"))
    change_checksum(folder, "modeling_mlp_tables.py", None)
    assert refresh_code(folder) == ["modeling_mlp_old.py", "modeling_mlp_tables.py"]
    assert contents(folder).keys() == contents(made).keys()
    assert check_release(folder).foreign_code == []
    assert refresh_code(folder) == []


def test_a_folder_without_code_verifies_and_says_so_and_one_with_half_of_it_does_not(made: Path, bare: Path) -> None:
    verification = verify(bare)
    assert sorted(verification.absent_code) == CODE
    assert verification.num_files == verify(made).num_files - len(CODE)
    assert str(verification).endswith("it holds no code: that of the installed hubmodels is used")
    assert "no code" not in str(verify(made))
    with pytest.raises(HubmodelsError, match=r"configuration_mlp\.py is missing, which metrics\.json lists"):
        verify_folder(bare, with_code=True)
    shutil.copy(made / "configuration_mlp.py", bare)
    with pytest.raises(HubmodelsError, match=r"modeling_mlp\.py is missing, which metrics\.json lists"):
        verify_folder(bare)


def test_a_repository_whose_code_is_lost_is_refused(bare: Path, hub: HubServer, api: HfApi) -> None:
    hub.add_repo("me/x", contents(bare))
    with pytest.raises(HubmodelsError, match=r"me/x is not verified: configuration_mlp\.py is missing"):
        verify("me/x", api=api)


def test_a_folder_without_code_loads_with_the_installed_classes(bare: Path) -> None:
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    for trust in (False, True):
        model = AutoModelForImageClassification.from_pretrained(bare, trust_remote_code=trust)
        assert type(model).__module__ == "hubmodels.models.mlp.modeling_mlp"
    assert type(AutoImageProcessor.from_pretrained(bare)).__module__ == "hubmodels.processors.processing_image"


def test_the_card_of_a_folder_without_code_is_that_of_the_release(made: Path, bare: Path) -> None:
    (bare / "README.md").write_text("spoilt")
    assert main(["card", str(bare)]) == 0
    assert contents(bare) == {name: content for name, content in contents(made).items() if name not in CODE}


def test_results_of_a_folder_without_code_are_replaced(made: Path, bare: Path, tmp_path: Path) -> None:
    metrics = json.loads((made / "metrics.json").read_text())
    results = metrics["results"] | {"verdict": "The network was not worth it."}
    replace_results(bare, task=get_task("image-classification")(), results=results)
    assert not list(bare.glob("*.py"))
    assert "not worth it" in (bare / "README.md").read_text()
    assert check_release(compose_release(bare, tmp_path / "composed")).deviation < 1e-4


def test_what_would_run_other_code_or_hides_a_link_is_not_composed(bare: Path, api: HfApi, tmp_path: Path) -> None:
    config = json.loads((bare / "config.json").read_text())
    (tmp_path / "private.md").write_text("private")
    (bare / "notes.md").symlink_to(tmp_path / "private.md")
    with pytest.raises(HubmodelsError, match=r"notes\.md is a link"):
        publish(bare, "me/x", dry_run=True, api=api)
    (bare / "notes.md").unlink()
    for reference, message in (
        ("../../evil.Model", "it must be file.Class of this release"),
        ("modeling_evil.Model", "auto_map names modeling_evil.py, which is of no family or processor"),
    ):
        (bare / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModel": reference}}))
        change_checksum(bare, "config.json", hash_file(bare / "config.json"))
        with pytest.raises(HubmodelsError, match=message):
            publish(bare, "me/x", dry_run=True, api=api)


def test_a_damaged_folder_without_code_is_refused_before_it_is_copied(bare: Path, api: HfApi) -> None:
    (bare / "recipe.yaml").write_text("family: mlp\n")
    with pytest.raises(HubmodelsError, match=r"recipe\.yaml is not the file that was released"):
        publish(bare, "me/x", api=api)


def test_a_release_that_was_made_without_code_lacks_none(tmp_path: Path) -> None:
    folder = make_release(tmp_path / "bare", with_code=False)
    assert not lacks_code(folder)
    assert verify(folder).absent_code == []


@pytest.mark.parametrize("family", families.list_families())
def test_the_code_of_every_family_is_found_from_the_auto_map(family: str, tmp_path: Path) -> None:
    from test_other_processes import AnyTask, load_cases

    cases = load_cases(family)
    for head in families.family_classes(family):
        torch.manual_seed(0)
        tiny = next(name for name in cases.TINY if head in getattr(cases, "HEADS", {}).get(name, [head]))
        model = build_model(family, head, cases.TINY[tiny])
        inputs = cases.tiny_inputs(model.config, head, 2, torch.Generator().manual_seed(1))
        recipe = Recipe(family=family, task=AnyTask.tag)
        folder = make_release(tmp_path / head, model=model, task=AnyTask(head), recipe=recipe, golden_inputs=inputs)
        names = {path.name for path in folder.glob("*.py")}
        assert f"configuration_{family}.py" in names
        assert f"{type(model).__module__.rsplit('.', 1)[-1]}.py" in names
        assert all((folder / name).read_bytes() == find_code(name).read_bytes() for name in names)


# --- problem.json ---


def test_a_release_holds_problem_json_where_its_problem_is_saved(made: Path, tmp_path: Path) -> None:
    def save(folder: Path) -> None:
        (folder / "problem.json").write_text('{"season_errors": [1.5]}\n')

    assert not (made / "problem.json").exists()
    folder = make_release(tmp_path / "whole", save_problem=save)
    listed = json.loads((folder / "metrics.json").read_text())["checksums"]["files"]
    assert listed["problem.json"] == hash_file(folder / "problem.json")
    assert "| `problem.json` |" in (folder / "README.md").read_text()
    assert check_release(folder).num_files == len(listed)
    (folder / "problem.json").write_text('{"season_errors": [0.5]}\n')
    with pytest.raises(HubmodelsError, match=r"problem\.json is not the file that was released"):
        verify_folder(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1]", "must be a JSON mapping, it is a list"),
        ("{", "is not JSON"),
        ('{"a": ' * 50_000, "is not JSON"),
        ("", "is not JSON"),
        ('{"a": "' + "x" * (10 * 1024**2) + '"}', "a file of this kind has at most 10,485,760"),
    ],
    ids=["list", "cut", "deep", "empty", "large"],
)
def test_a_problem_json_that_is_none_is_refused(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(HubmodelsError, match=rf"problem\.json {message}|problem\.json has .*{message}") as caught:
        make_release(tmp_path / "forged", save_problem=lambda folder: (folder / "problem.json").write_text(content))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "forged").exists()
