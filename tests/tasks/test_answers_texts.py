"""Pipelines on texts and `hubmodels predict` give the same answers."""

import json
from pathlib import Path

import pandas as pd
import pytest
from transformers import pipeline

from hubmodels.recipe import Recipe
from hubmodels.use import predict_file
from hubmodels.workflow import train_and_release

TEXTS = [f"a {word} film number {number}" for number in range(30) for word in ("good", "bad", "dull")]
# transformers' own pipeline takes the softmax with NumPy, ours with torch: both of float32 logits.
ROUNDING = 2e-7


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier of three classes, trained for a moment."""
    folder = tmp_path_factory.mktemp("films")
    lines = [json.dumps({"text": text, "label": text.split()[1]}) for text in TEXTS]
    (folder / "films.jsonl").write_text("\n".join(lines))
    recipe = Recipe.from_dict(
        {
            "family": "rnn",
            "task": "text-classification",
            "data": {"dataset": str(folder / "films.jsonl"), "vocab_size": 300},
            "model": {"hidden_size": 12, "embedding_size": 8, "num_hidden_layers": 1},
            "training": {"max_steps": 2, "per_device_train_batch_size": 8, "eval_strategy": "no", "save_strategy": "no",
                         "seed": 0, "output_dir": str(folder / "run")},
        }
    )  # fmt: skip
    return train_and_release(recipe, baseline=False).folder


def test_texts_are_told_the_same_class_and_probabilities(release: Path, tmp_path: Path) -> None:
    source, output = tmp_path / "texts.csv", tmp_path / "answers.parquet"
    pd.DataFrame({"text": TEXTS}).to_csv(source, index=False)
    assert predict_file(str(release), str(source), str(output), batch_size=1) == len(TEXTS)
    classify = pipeline("text-classification", model=str(release), top_k=None)
    for row, items in zip(pd.read_parquet(output).to_dict("records"), classify(TEXTS), strict=True):
        assert items[0]["label"] == row["prediction"]
        scores = {f"probability_{item['label']}": item["score"] for item in items}
        assert len(scores) == 3
        for name, score in scores.items():
            assert score == pytest.approx(row[name], abs=ROUNDING)
