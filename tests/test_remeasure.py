"""scripts/remeasure.py: new results for the same weights."""

import importlib.util
import json
import shutil
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

from hubmodels.files import hash_file
from hubmodels.publishing import verify_folder
from hubmodels.recipe import Recipe

SCRIPT = Path(__file__).parents[1] / "scripts" / "remeasure.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("remeasure", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def trained_once(run_cli, tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    pixels = np.random.default_rng(0).integers(0, 255, (60, 8, 8)).astype(np.uint8)
    features = datasets.Features(image=datasets.Image())
    images = datasets.Dataset.from_dict({"image": [Image.fromarray(one) for one in pixels]}, features=features)
    images.to_parquet(folder / "train.parquet")
    words = (
        f"train --family gan --task unconditional-image-generation --dataset {folder} --block dcgan --max_steps 3 "
        "--generator_sizes 8 4 --discriminator_sizes 4 8 --latent_size 4 --per_device_train_batch_size 8 --seed 0"
    )
    code, _, err = run_cli(*words.split(), "--output_dir", folder / "run")
    assert code == 0, err
    return folder / "run" / "release"


@pytest.fixture
def release(trained_once, tmp_path):
    return shutil.copytree(trained_once, tmp_path / "drawn")


def test_another_way_of_sampling_is_measured_and_stated_everywhere(script, release, run_cli, capsys) -> None:
    before = json.loads((release / "metrics.json").read_text())
    files = {path.name: hash_file(path) for path in release.rglob("*") if path.is_file()}
    assert script.main([str(release), "--set", "truncation=0.1"]) == 0
    verify_folder(release, "the release")
    after = json.loads((release / "metrics.json").read_text())
    fid = after["results"]["metrics"]["fid"]["value"]
    assert fid != before["results"]["metrics"]["fid"]["value"]
    assert after["provenance"] == before["provenance"]
    assert [figure["path"] for figure in after["figures"]] == [figure["path"] for figure in before["figures"]]
    changed = {name for name, value in files.items() if hash_file(next(release.rglob(name))) != value}
    assert {"samples.png", "config.json", "recipe.yaml", "README.md"} <= changed
    assert not {"model.safetensors", "loss.png", "golden.safetensors"} & changed
    assert json.loads((release / "config.json").read_text())["truncation"] == 0.1
    assert Recipe.load(release / "recipe.yaml").model["truncation"] == 0.1
    code, out, err = run_cli("evaluate", release, "--json")
    assert code == 0, err
    assert json.loads(out)["metrics"]["fid"]["value"] == pytest.approx(fid, rel=1e-4)


@pytest.mark.parametrize(
    ("setting", "answer"),
    [("latent_size=5", "does not fit"), ("truncatoin=1", "truncation"), ("truncation=-1", "greater than 0")],
)
def test_what_the_weights_do_not_fit_is_refused_and_the_release_stays(
    script, release, capsys, setting: str, answer: str
) -> None:
    before = {path: hash_file(path) for path in release.rglob("*") if path.is_file()}
    assert script.main([str(release), "--set", setting]) == 2
    assert answer in capsys.readouterr().err
    assert {path: hash_file(path) for path in release.rglob("*") if path.is_file()} == before
