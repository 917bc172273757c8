"""Releases as other programs see them: plain transformers without hubmodels, `hf download`, datasets, in processes of
their own that know the loopback Hub through HF_ENDPOINT."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hub_server import HubServer
from huggingface_hub import HfApi
from PIL import Image
from tiny_release import WRITE, make_release
from transformers import AutoImageProcessor

from hubmodels import families
from hubmodels.publishing import publish, verify
from hubmodels.recipe import Recipe

# Loads each release that its arguments name, folder or id, and prints how far its output is from the golden one.
WITHOUT_HUBMODELS = """
import json, sys
sys.modules["hubmodels"] = None    # from here on importing it raises ImportError
import torch, transformers
from huggingface_hub import snapshot_download
from pathlib import Path
from PIL import Image
from safetensors.torch import load_file

for name in sys.argv[1:]:
    folder = Path(name) if Path(name).exists() else Path(snapshot_download(name))
    auto_map = json.loads((folder / "config.json").read_text())["auto_map"]
    heads = [key for key in auto_map if key.startswith("AutoModelFor")] or ["AutoModel"]
    model = getattr(transformers, heads[0]).from_pretrained(name, trust_remote_code=True).eval()
    golden = load_file(folder / "golden.safetensors")
    inputs = {key[7:]: value for key, value in golden.items() if key.startswith("inputs.")}
    with torch.no_grad():
        outputs = model(**inputs)
    expected = {key[8:]: value for key, value in golden.items() if key.startswith("outputs.") and key.count(".") == 1}
    deviation = max(float((outputs[key] - value).abs().max() / value.abs().max()) for key, value in expected.items())
    body = transformers.AutoModel.from_pretrained(name, trust_remote_code=True)
    line = {"name": name, "class": type(model).__name__, "module": type(model).__module__, "deviation": deviation}
    if (folder / "preprocessor_config.json").exists():
        processor = transformers.AutoImageProcessor.from_pretrained(name, trust_remote_code=True)
        values = processor(Image.open(sys.argv[1] + "/../picture.png"), return_tensors="pt")["pixel_values"]
        line["processor"] = type(processor).__module__
        line["pixels"] = values.flatten()[:50].tolist()
    try:
        getattr(transformers, heads[0]).from_pretrained(name, trust_remote_code=False)
    except ValueError as error:
        line["without consent"] = str(error)
    print("LINE " + json.dumps(line))
"""

# The same where hubmodels is installed: no trust flag, the local class.
WITH_HUBMODELS = """
import json, sys
import hubmodels
import datasets, transformers
from PIL import Image

model = transformers.AutoModelForImageClassification.from_pretrained("me/x")
same = transformers.AutoModelForImageClassification.from_pretrained("me/x", trust_remote_code=True)
processor = transformers.AutoImageProcessor.from_pretrained("me/x")
answer = transformers.pipeline("image-classification", model="me/x")(Image.open(sys.argv[1]))
rows = datasets.load_dataset("me/table")["train"]
print("LINE " + json.dumps({
    "modules": [type(item).__module__ for item in (model, same, processor)],
    "labels": sorted(item["label"] for item in answer),
    "rows": rows[:]["a"],
}))
"""


# Commands as a user types them, one after the other in one process; prints exit code and output of each.
COMMANDS = """
import contextlib, io, json, os, sys
from hubmodels.cli import main

for words in json.loads(sys.argv[1]):
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        code = main(words)
    print("LINE " + json.dumps({"code": code, "output": output.getvalue()}))
"""


class AnyTask:
    """What a release asks of a task, for any head."""

    tag, main_metric, metric_names = "feature-extraction", "accuracy", {}

    def __init__(self, head: str) -> None:
        self.head = head

    def example(self) -> str:
        return 'print("{model_id}")'


def load_cases(family: str) -> SimpleNamespace:
    """`TINY` and `tiny_inputs` of the family's own test file."""
    path = Path(__file__).parents[1] / "models" / f"test_{family}.py"
    spec = importlib.util.spec_from_file_location(f"publishing_cases_{family}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def environment(hub: HubServer, home: Path) -> dict[str, str]:
    return {
        **{key: value for key, value in os.environ.items() if not key.startswith(("HF_", "PYTHON"))},
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(home),
        "HF_TOKEN": WRITE,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_UPDATE_CHECK": "1",
        "DISABLE_SAFETENSORS_CONVERSION": "1",
        "OMP_NUM_THREADS": "1",
    }


def run(arguments: list[str], hub: HubServer, home: Path, **options: object) -> subprocess.CompletedProcess:
    done = subprocess.run(
        arguments, env=environment(hub, home), capture_output=True, text=True, timeout=600, cwd=home, **options
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def lines(done: subprocess.CompletedProcess) -> list[dict]:
    return [json.loads(line[5:]) for line in done.stdout.splitlines() if line.startswith("LINE ")]


@pytest.fixture(scope="module")
def every_head(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A release of every head of every family, and beside them a picture."""
    root = tmp_path_factory.mktemp("every-head")
    numbers = np.arange(12 * 10 * 3, dtype=np.uint32) ** 2 % 251
    Image.fromarray(numbers.astype(np.uint8).reshape(10, 12, 3)).save(root / "picture.png")
    folders = []
    for family in families.list_families():
        cases = load_cases(family)
        for head in families.family_classes(family):
            torch.manual_seed(0)
            heads = getattr(cases, "HEADS", {})
            tiny = next(name for name in cases.TINY if head in heads.get(name, [head]))
            model = families.build_model(family, head, cases.TINY[tiny])
            inputs = cases.tiny_inputs(model.config, head, 2, torch.Generator().manual_seed(1))
            recipe = Recipe(family=family, task=AnyTask.tag)
            folder = root / f"{family}-{head.lower()}"
            folders.append(make_release(folder, model=model, task=AnyTask(head), recipe=recipe, golden_inputs=inputs))
    return folders


def test_every_head_of_every_family_loads_in_plain_transformers_where_hubmodels_is_not(
    every_head: list[Path], made: Path, hub: HubServer, api: HfApi, tmp_path: Path
) -> None:
    publish(made, "me/x", api=api)
    command = [sys.executable, "-I", "-c", WITHOUT_HUBMODELS, *map(str, every_head), "me/x"]
    found = lines(run(command, hub, tmp_path))
    assert [line["name"] for line in found] == [*map(str, every_head), "me/x"]
    for line in found:
        assert line["deviation"] <= 1e-4
        assert line["module"].startswith("transformers_modules.")
        assert line["processor"].startswith("transformers_modules.")
        assert "contains custom code" in line["without consent"]
    local = AutoImageProcessor.from_pretrained(made)
    picture = Image.open(every_head[0].parent / "picture.png")
    expected = local(picture, return_tensors="pt")["pixel_values"].flatten()[:50]
    torch.testing.assert_close(torch.tensor(found[-1]["pixels"]), expected)


def test_where_hubmodels_is_installed_no_trust_is_asked_for_and_the_local_classes_are_used(
    every_head: list[Path], made: Path, hub: HubServer, api: HfApi, tmp_path: Path
) -> None:
    publish(made, "me/x", api=api)
    hub.add_repo("me/table", {"data.csv": b"a,b\n1,2\n3,4\n"}, kind="datasets")
    picture = every_head[0].parent / "picture.png"
    done = run([sys.executable, "-c", WITH_HUBMODELS, str(picture)], hub, tmp_path)
    (line,) = lines(done)
    assert [module.split(".")[0] for module in line["modules"]] == ["hubmodels"] * 3
    assert line["labels"] == ["bag", "coat", "shirt"]
    assert line["rows"] == [1, 3]
    assert "custom code" not in done.stdout + done.stderr  # nobody is asked for consent


def test_hf_download_gives_a_release_that_verifies(made: Path, hub: HubServer, api: HfApi, tmp_path: Path) -> None:
    publish(made, "me/x", api=api)
    hf = Path(sys.executable).with_name("hf")
    run([str(hf), "download", "me/x", "--local-dir", str(tmp_path / "here")], hub, tmp_path)
    assert verify(tmp_path / "here").deviation < 1e-4


def test_the_commands_publish_verify_download_and_list(made: Path, hub: HubServer, tmp_path: Path) -> None:
    script = Path(__file__).parents[2] / "scripts" / "publish.py"
    done = run([sys.executable, str(script), str(made), "--repo_id", "me/x", "--tag", "v1.0"], hub, tmp_path)
    assert f"me/x: published and verified at commit {hub.model('me/x').refs['main'][:12]}, tag v1.0" in done.stdout
    assert WRITE not in done.stdout + done.stderr
    here = str(tmp_path / "here")
    commands = [
        ["publish", str(made), "--repo-id", "me/x", "--dry_run"],
        ["verify", "me/x", "--revision", "v1.0"],
        ["download", "me/x", "--local_dir", here],
        ["verify", here],
        ["list", "--hub", "--author", "me"],
        ["verify", "me/missing"],
        ["publish", str(tmp_path), "--repo_id", "me/x"],
    ]
    found = lines(run([sys.executable, "-c", COMMANDS, json.dumps(commands)], hub, tmp_path))
    assert [line["code"] for line in found] == [0, 0, 0, 0, 0, 2, 2]
    outputs = [line["output"] for line in found]
    assert "Nothing new for me/x" in outputs[0]
    assert "verified. 13 checksums agree" in outputs[1]
    assert outputs[2].splitlines()[-1] == here
    assert "verified" in outputs[3]
    assert "me/x" in outputs[4]
    assert "there is no repository me/missing" in outputs[5].splitlines()[-1]
    assert "is missing: the folder is no release" in outputs[6].splitlines()[-1]
    assert WRITE not in "".join(outputs)
