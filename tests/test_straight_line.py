"""From a data set to a model repository and back, as a user goes: the command line, then transformers."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file
from sklearn.datasets import load_digits
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoModelForImageClassification, pipeline

import hubmodels
from hubmodels.data.loading import load_data
from hubmodels.recipe import DataArguments
from hubmodels.tasks import get_task

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def release(trained):
    return trained[0] / "release"


def test_a_release_holds_every_file_of_a_model_repository_and_no_pickle(release):
    names = {str(path.relative_to(release)) for path in release.rglob("*") if path.is_file()}
    assert {
        "README.md", "config.json", "model.safetensors", "preprocessor_config.json", "recipe.yaml", "metrics.json",
        "golden.safetensors", "figures/loss.png", "figures/confusion_matrix.png", "figures/worst_mistakes.png",
        "configuration_cnn.py", "modeling_cnn.py", "processing_image.py",
    } <= names  # fmt: skip
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pkl", ".pickle", ".ckpt"))]


def test_what_training_prints_is_the_result_and_where_it_is(trained, release):
    metrics = json.loads((release / "metrics.json").read_text())["results"]["metrics"]
    assert f"{metrics['accuracy']['value']:.4f}" in trained[1]
    assert "logistic regression" in trained[1]
    assert str(release) in trained[1]


def test_the_network_learnt_the_digits(release):
    results = json.loads((release / "metrics.json").read_text())["results"]
    assert results["metrics"]["accuracy"]["low"] > 0.8  # chance is 0.1
    assert results["baseline"]["metrics"]["accuracy"]["value"] > 0.9
    assert results["num_rows"] == 359


def test_accuracy_is_what_transformers_itself_finds_on_the_test_images(release):
    units = get_task("image-classification").from_options().units  # the classes that splits are balanced by
    rows = load_data(DataArguments(dataset="sklearn:digits"), units).splits["test"]
    model = AutoModelForImageClassification.from_pretrained(release)
    processor = AutoImageProcessor.from_pretrained(release)
    with torch.no_grad():
        logits = model(**processor(rows["image"][:], return_tensors="pt")).logits
    accuracy = (logits.argmax(1) == torch.tensor(rows["label"][:])).float().mean().item()
    stated = json.loads((release / "metrics.json").read_text())["results"]["metrics"]["accuracy"]["value"]
    assert accuracy == pytest.approx(stated, abs=1e-6)


def test_pipeline_classifies_an_image_of_any_mode_and_size(release):
    digits = load_digits()
    pixels = np.round(digits.images[0] * 255 / 16).astype(np.uint8)
    classify = pipeline("image-classification", model=str(release))
    grey = Image.fromarray(pixels)
    answers = classify([grey, grey.convert("RGB"), grey.convert("RGBA"), grey.resize((64, 64))], top_k=1)
    assert [answer[0]["label"] for answer in answers] == ["0"] * 4


def test_auto_classes_load_config_body_and_head(release):
    assert AutoConfig.from_pretrained(release).model_type == "hubmodels_cnn"
    assert type(AutoModel.from_pretrained(release)) is hubmodels.CnnModel
    assert type(AutoModelForImageClassification.from_pretrained(release)) is hubmodels.CnnForImageClassification


def test_evaluate_finds_the_stated_metrics_again(release, run_cli):
    code, out, err = run_cli("evaluate", release, "--json")
    assert code == 0, err
    stated = json.loads((release / "metrics.json").read_text())["results"]["metrics"]
    assert json.loads(out)["metrics"]["accuracy"] == pytest.approx(stated["accuracy"], abs=1e-9)


def test_training_twice_gives_the_same_weights(trained, release, run_cli, tmp_path):
    recipe = yaml.safe_load((release / "recipe.yaml").read_text())
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    code, _, err = run_cli("train", "--config", path, "--no_baseline", "--output_dir", tmp_path / "again")
    assert code == 0, err
    first, second = (load_file(folder / "model.safetensors") for folder in (release, tmp_path / "again/release"))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_fine_tuning_to_other_classes_starts_the_head_anew_and_says_so(release, run_cli, tmp_path):
    digits = load_digits()
    for digit, name in ((3, "three"), (7, "seven")):
        for index, image in enumerate(digits.images[digits.target == digit][:60]):
            (tmp_path / "images" / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray((image * 15).astype(np.uint8)).save(tmp_path / "images" / name / f"{index}.png")
    words = ["--dataset", tmp_path / "images", "--output_dir", tmp_path / "run", "--num_train_epochs", "2"]
    code, _, err = run_cli("train", "--model_name_or_path", release, *words)
    assert code == 0, err
    assert "start anew" in err
    assert AutoConfig.from_pretrained(tmp_path / "run/release").id2label == {0: "seven", 1: "three"}
    card = (tmp_path / "run/release/README.md").read_text()
    assert "seven" in card


def damaged(release, tmp_path, damage):
    copy = tmp_path / "copy"
    shutil.copytree(release, copy)
    damage(copy)
    return copy


def truncate(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def flip_a_bit(folder):
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def drop_a_weight(folder):
    path = folder / "model.safetensors"
    weights = load_file(path)
    weights.pop(next(iter(weights)))
    save_file(weights, path, metadata={"format": "pt"})


@pytest.mark.parametrize("damage", [truncate, flip_a_bit, drop_a_weight])
def test_damaged_weights_are_refused_in_one_line(release, run_cli, tmp_path, damage):
    code, out, err = run_cli("evaluate", damaged(release, tmp_path, damage))
    assert (code, out) == (2, "")
    assert len(err.strip().splitlines()) == 1, err
    assert "model.safetensors" in err


def test_undecodable_images_and_unknown_classes_are_refused_in_one_line(release, run_cli, tmp_path):
    for index in range(24):
        path = tmp_path / f"broken/train/{'ab'[index % 2]}/{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), index).save(path)
    for name in ("a/24.png", "b/25.png"):  # one alone is left out
        (tmp_path / "broken/train" / name).write_bytes(b"no image")
    words = ["train", "--family", "mlp", "--task", "image-classification", "--output_dir", tmp_path / "run"]
    code, _, err = run_cli(*words, "--dataset", tmp_path / "broken")
    assert code == 2
    assert "cannot read the image" in err.splitlines()[-1]
    for name in ("a/24.png", "b/25.png"):
        (tmp_path / "broken/train" / name).unlink()
    code, _, err = run_cli("evaluate", release, "--dataset", tmp_path / "broken", "--split", "train")
    assert code == 2
    assert "'a'" in err.splitlines()[-1]
    assert not (tmp_path / "run" / "release").exists()


def test_streamed_rows_train_a_network(run_cli, tmp_path):
    words = [
        "--dataset",
        "sklearn:digits",
        "--streaming",
        "--max_eval_samples",
        "200",
        "--output_dir",
        tmp_path / "run",
    ]
    start = ["train", "--family", "mlp", "--task", "image-classification", "--mixup_alpha", "0.2"]
    code, _, err = run_cli(*start, *words, "--max_steps", "120", "--per_device_train_batch_size", "64")
    assert code == 0, err
    assert "the training rows are a stream" in err
    results = json.loads((tmp_path / "run/release/metrics.json").read_text())["results"]
    assert results["metrics"]["accuracy"]["low"] > 0.8


def test_two_processes_write_one_release(tmp_path):
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    words = "--family mlp --task image-classification --dataset sklearn:digits --num_train_epochs 2 --no_baseline"
    command = [*launch, ROOT / "scripts/train.py", *words.split(), "--output_dir", tmp_path / "run"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Release folder") == 1
    assert (tmp_path / "run/release/model.safetensors").is_file()
