"""Generated images: from a data set to a verified release that draws, by the command line, and back into a data set."""

import json

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoModel, pipeline

import hubmodels  # noqa: F401  makes transformers know the pipelines
from hubmodels.recipe import Recipe
from hubmodels.workflow import train_and_release

NAMES = ["dark", "light"]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Two classes of grey 8 x 8 pictures, told apart by their brightness."""
    folder = tmp_path_factory.mktemp("images")
    generator, labels = np.random.default_rng(0), np.arange(160) % 2
    pixels = generator.integers(0, 60, (160, 8, 8)) + 150 * labels[:, None, None]
    columns = {"image": [Image.fromarray(one.astype(np.uint8)) for one in pixels], "label": labels.tolist()}
    features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=NAMES))
    datasets.Dataset.from_dict(columns, features=features).to_parquet(folder / "train.parquet")
    return folder


@pytest.fixture(scope="module")
def release(images, run_cli, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    words = (
        f"train --family gan --task unconditional-image-generation --dataset {images} --class_conditional true "
        "--block dcgan --generator_sizes 16 8 --discriminator_sizes 8 16 --latent_size 8 --max_steps 60 "
        "--per_device_train_batch_size 32 --learning_rate 0.002 --logging_steps 10 --seed 0 --eval_strategy steps "
        "--eval_steps 30"
    )
    code, out, err = run_cli(*words.split(), "--output_dir", folder)
    assert code == 0, err
    assert "Gaussian mixture on principal components" in out
    return folder / "release"


def test_the_log_says_how_the_game_stands_and_shows_it(release) -> None:
    lines = [json.loads(line) for line in (release.parent / "metrics.jsonl").read_text().splitlines()]
    logged = [line for line in lines if "loss_generator" in line]
    assert all({"loss_discriminator", "real_score", "fake_score", "augmentation_prob"} <= set(line) for line in logged)
    assert any("r1" in line for line in logged)
    assert [line["eval_fid"] for line in lines if "eval_fid" in line][-1] > 0
    names = sorted(path.name for path in (release.parent / "figures").glob("samples-*.png"))
    assert names == ["samples-00000030.png", "samples-00000060.png"]


def test_the_release_states_what_was_measured_of_its_samples(release, run_cli) -> None:
    results = json.loads((release / "metrics.json").read_text())["results"]
    assert results["main_metric"] == "fid"
    assert {"fid", "fid_ratio", "novelty", "sample_coverage"} <= set(results["metrics"])
    assert results["difference"]["metric"] == "fid"
    card = (release / "README.md").read_text()
    assert "figures/samples.png" in card
    assert "Gaussian mixture on principal components" in card
    code, out, err = run_cli("evaluate", release, "--json")
    assert code == 0, err
    assert json.loads(out)["metrics"]["fid"]["value"] == pytest.approx(results["metrics"]["fid"]["value"], rel=1e-4)


def test_the_released_weights_are_the_generators_average_and_the_last_discriminator(images, tmp_path) -> None:
    model = {"class_conditional": True, "block": "dcgan", "generator_sizes": [8, 4], "discriminator_sizes": [4, 8]}
    training = {
        "max_steps": 6,
        "per_device_train_batch_size": 32,
        "seed": 0,
        "eval_strategy": "no",
        "learning_rate": 0.01,
    }
    stored = {}
    for name, decay in (("last", 0.0), ("averaged", 0.9)):
        recipe = Recipe(
            family="gan", task="unconditional-image-generation", data={"dataset": str(images)}, model=model,
            training={**training, "ema_decay": decay, "output_dir": str(tmp_path / name)},
        )  # fmt: skip
        folder = train_and_release(recipe, baseline=False).folder
        stored[name] = load_file(folder / "model.safetensors")
    for name, value in stored["last"].items():
        same = torch.equal(value, stored["averaged"][name])
        floating = value.is_floating_point()
        assert same == (not (floating and name.startswith("generator.")) or name.endswith("num_batches_tracked")), name


def test_the_pipeline_draws_classes_as_sample_does_and_repeats_itself_by_a_seed(release) -> None:
    draw = pipeline("unconditional-image-generation", model=str(release))
    first, again = draw(["light", "dark"], seed=3), draw([1, 0], seed=3)
    assert [image.mode for image in first] == ["L", "L"]
    assert [image.size for image in first] == [(8, 8), (8, 8)]
    assert [image.tobytes() for image in first] == [image.tobytes() for image in again]
    model = AutoModel.from_pretrained(release).eval()
    values = model.sample(2, labels=torch.tensor([1, 0]), generator=torch.Generator().manual_seed(3))
    np.testing.assert_allclose(np.array(first[0]) / 255, values[0, 0], atol=0.5 / 255 + 1e-6)
    assert len(draw(3)) == 3


def test_samples_become_files_that_are_what_the_model_draws(release, run_cli, tmp_path) -> None:
    words = ["sample", release, "--num_samples", 11, "--seed", 3, "--output_dir", tmp_path / "drawn"]
    code, out, err = run_cli(*words, "--truncation", 0.5)
    assert code == 0, err
    assert "11 samples, 00-dark.png to 10-dark.png" in out
    files = sorted(path.name for path in (tmp_path / "drawn").iterdir())
    assert files[:3] == ["00-dark.png", "01-light.png", "02-dark.png"]
    model, generator = AutoModel.from_pretrained(release).eval(), torch.Generator().manual_seed(3)
    wanted = model.sample(11, labels=torch.arange(11) % 2, truncation=0.5, generator=generator)
    drawn = np.stack([np.array(Image.open(tmp_path / "drawn" / name)) for name in files])
    np.testing.assert_allclose(drawn / 255, wanted[:, 0], atol=0.5 / 255 + 1e-6)
    code, out, err = run_cli("sample", release, "--labels", "light", "--output_dir", tmp_path / "light", "--json")
    assert code == 0, err
    assert json.loads(out)["files"] == [f"{number:02}-light.png" for number in range(16)]


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["--num_samples", "0"], "num_samples must be at least 1, got 0"),
        (["--labels", "dim"], "draws no 'dim': its classes are dark, light"),
        (["--truncatoin", "1"], "unknown flag --truncatoin, did you mean 'truncation'?"),
        (["--truncation", "-1"], "truncation must be greater than 0, got -1.0"),
        (["--truncation", "much"], "--truncation must be a number or none, got 'much'"),
    ],
)
def test_samples_that_cannot_be_drawn_leave_no_folder(release, run_cli, tmp_path, words, answer) -> None:
    code, _, err = run_cli("sample", release, "--output_dir", tmp_path / "new", *words)
    assert code == 2
    assert answer in err
    assert not (tmp_path / "new").exists()


def test_models_that_draw_nothing_or_no_classes_say_so(run_cli, tmp_path) -> None:
    for model, words, answer in [
        ("mlp-fashion-mnist", [], "MlpForImageClassification at model_cards/mlp-fashion-mnist draws no samples"),
        ("autoencoder-fashion-mnist", ["--labels", "Bag"], "is told no classes: leave out --labels"),
    ]:
        code, _, err = run_cli("sample", f"model_cards/{model}", "--output_dir", tmp_path / "new", *words)
        assert code == 2
        assert answer in err


def test_augment_joins_samples_of_each_class_to_the_training_rows(release, images, run_cli, tmp_path) -> None:
    words = ["augment", release, "--dataset", images, "--per_class", 5, "--output_dir", tmp_path / "more", "--json"]
    code, out, err = run_cli(*words)
    assert code == 0, err
    counts = json.loads(out)["num_rows"]
    assert counts["generated"] == 10
    found = datasets.load_dataset(str(tmp_path / "more"))
    assert {name: len(split) for name, split in found.items()} == {k: v for k, v in counts.items() if k != "generated"}
    train = found["train"]
    drawn = train.filter(lambda row: row["generated"])
    assert sorted(drawn["label"]) == [0] * 5 + [1] * 5
    assert drawn[0]["image"].size == (8, 8)
    assert not any(found["test"]["generated"])
    assert len(train) == 10 + 160 - len(found["test"]) - len(found["validation"])
    words = f"train --family cnn --task image-classification --dataset {tmp_path / 'more'} --hidden_sizes 4 --depths 1"
    code, _, err = run_cli(*words.split(), "--max_steps", 2, "--no_baseline", "--output_dir", tmp_path / "run")
    assert code == 0, err


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["--per_class", "0"], "per_class must be at least 1, got 0"),
        (["--per_class", "2", "--dataset", "sklearn:digits"], "the model does not draw 0, 1"),
        (["--per_class", "2", "--datasett", "x"], "did you mean"),
    ],
)
def test_augment_refuses_what_cannot_be(release, run_cli, tmp_path, words, answer) -> None:
    code, _, err = run_cli("augment", release, "--output_dir", tmp_path / "new", *words)
    assert code == 2
    assert answer in err
    assert not (tmp_path / "new").exists()


def test_a_model_that_draws_no_classes_is_refused_before_its_data_are_sought(run_cli, tmp_path) -> None:
    words = ["augment", "model_cards/autoencoder-fashion-mnist", "--per_class", "1", "--output_dir", tmp_path / "new"]
    code, _, err = run_cli(*words)
    assert code == 2
    assert "AutoencoderModel at model_cards/autoencoder-fashion-mnist does not draw rows of a given class" in err


def test_augment_writes_over_nothing(release, run_cli, tmp_path) -> None:
    code, _, err = run_cli("augment", release, "--output_dir", tmp_path, "--per_class", "1")
    assert code == 2
    assert "exists: name a new folder" in err
