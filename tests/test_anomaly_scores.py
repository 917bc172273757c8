"""`hubmodels predict --anomaly_scores`: how little a row resembles the training rows, from files to a file."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModel, AutoProcessor

from hubmodels.cli import main
from hubmodels.errors import HubmodelsError
from hubmodels.use import predict

RANDOM = np.random.default_rng(0)


def train(folder: Path, *words: object) -> str:
    common = ["--family", "autoencoder", "--output_dir", folder / "run", "--evaluation_budget", 0, "--seed", 1]
    assert main(["train", *map(str, [*words, *common])]) == 0
    return str(folder / "run" / "release")


@pytest.mark.parametrize("kind", ["plain", "variational"])
def test_a_strange_row_of_a_table_has_the_highest_score_and_ids_stand_beside(tmp_path, kind) -> None:
    first = RANDOM.normal(size=300)
    frame = pd.DataFrame({"a": first, "b": 2 * first + 0.1 * RANDOM.normal(size=300), "c": -first})
    frame.to_csv(tmp_path / "rows.csv", index=False)
    release = train(
        tmp_path, "--task", "feature-extraction", "--dataset", tmp_path / "rows.csv", "--kind", kind, "--backbone",
        "dense", "--hidden_sizes", 16, "--latent_size", 1, "--max_steps", 150, "--learning_rate", 0.01,
    )  # fmt: skip
    new = frame.head(20).assign(name=[f"r{number}" for number in range(20)])
    new.loc[7, ["a", "b", "c"]] = [1.5, -3.0, 1.5]  # each number is usual, and all together are not
    new.to_csv(tmp_path / "new.csv", index=False)
    output = tmp_path / "scores.csv"
    assert main(["predict", release, str(tmp_path / "new.csv"), "--anomaly_scores", "--output", str(output)]) == 0
    scores = pd.read_csv(output)
    assert list(scores.columns) == ["name", "anomaly_score"]
    assert scores["anomaly_score"].idxmax() == 7
    if kind == "plain":  # the mean squared error of what the processor gives
        model = AutoModel.from_pretrained(release).eval()
        values = torch.as_tensor(np.asarray(AutoProcessor.from_pretrained(release)(new)["numeric_features"]))
        with torch.no_grad():
            errors = (model(numeric_features=values).reconstruction - values).square().mean(1)
        np.testing.assert_allclose(scores["anomaly_score"], errors.numpy(), rtol=1e-4)


def test_a_strange_picture_has_the_highest_score_and_a_damaged_one_has_its_reason(tmp_path) -> None:
    ramp = np.linspace(0, 200, 8).astype(np.uint8)
    for number in range(60):
        folder = tmp_path / ("train" if number < 52 else "new")
        folder.mkdir(exist_ok=True)
        pixels = np.tile(ramp, (8, 1)) + RANDOM.integers(0, 40, (8, 8), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02}.png")
    Image.fromarray(RANDOM.integers(0, 255, (8, 8), np.uint8)).save(tmp_path / "new" / "54.png")
    release = train(
        tmp_path, "--task", "image-feature-extraction", "--dataset", tmp_path / "train", "--kind", "plain",
        "--backbone", "dense", "--hidden_sizes", 16, "--latent_size", 2, "--max_steps", 150, "--learning_rate", 0.01,
    )  # fmt: skip
    output = tmp_path / "scores.jsonl"
    assert main(["predict", release, str(tmp_path / "new"), "--anomaly_scores", "--output", str(output)]) == 0
    scores = pd.read_json(output, lines=True).set_index("file_name")["anomaly_score"]
    assert scores.idxmax() == "54.png"
    model, processor = AutoModel.from_pretrained(release).eval(), AutoImageProcessor.from_pretrained(release)
    values = processor([Image.open(tmp_path / "new" / name) for name in scores.index], return_tensors="pt")
    with torch.no_grad():
        errors = (model(**values).reconstruction - values["pixel_values"]).square().flatten(1).mean(1)
    np.testing.assert_allclose(scores, errors.numpy(), rtol=1e-3)
    (tmp_path / "new" / "55.png").write_bytes(b"damaged")
    table = predict(release, str(tmp_path / "new"), anomaly_scores=True).table.to_pandas().set_index("file_name")
    assert np.isnan(table.loc["55.png", "anomaly_score"])
    assert table.loc["55.png", "error"]


@pytest.mark.parametrize("card", ["rnn-etth1", "cnn-spoken-digits", "mlp-california-housing"])
def test_models_of_other_kinds_say_which_have_scores_and_how_these_are_trained(tmp_path, card) -> None:
    release = Path(__file__).parents[1] / "model_cards" / card
    (tmp_path / "rows.csv").write_text("x\n1\n")
    words = r"no anomaly scores: .*AutoencoderModel \(--family autoencoder, --task feature-extraction or --task image-"
    with pytest.raises(HubmodelsError, match=words):
        predict(str(release), str(tmp_path / "rows.csv"), anomaly_scores=True)
