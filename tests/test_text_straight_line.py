"""Text from a local file to a verified release that transformers' own pipelines load."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline

from hubmodels.publishing import verify_folder
from hubmodels.recipe import Recipe
from hubmodels.recipes import default_recipe, finetuning_recipe
from hubmodels.use import evaluate_release, predict_file
from hubmodels.workflow import train_and_release

VERSE = "the cat sat on the mat,\nthe dog ran to the log;\nand so they sat and ran, héé!\n"
MODEL = {"hidden_size": 24, "embedding_size": 12, "num_hidden_layers": 1}
TRAINING = {"learning_rate": 0.02, "per_device_train_batch_size": 8, "per_device_eval_batch_size": 8, "seed": 1}


def run(family: str, task: str, data: dict, training: dict, folder: Path) -> Path:
    recipe = Recipe(family=family, task=task, data=data, model=MODEL, training={**TRAINING, **training})
    recipe.training["output_dir"] = str(folder)
    return train_and_release(recipe).folder


@pytest.fixture(scope="module")
def language_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("text")
    (folder / "verse.txt").write_text(VERSE * 40, encoding="utf-8")
    data = {"dataset": str(folder / "verse.txt"), "tokenizer": "characters", "context_length": 16}
    return run("rnn", "text-generation", data, {"num_train_epochs": 5, "carry_state": True}, folder / "run")


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("texts")
    lines = [f'{{"text": "a {word} film number {number}", "label": "{label}"}}'
             for number in range(60) for word, label in (("good", "pos"), ("bad", "neg"))]  # fmt: skip
    (folder / "films.jsonl").write_text("\n".join(lines))
    data = {"dataset": str(folder / "films.jsonl"), "vocab_size": 300}
    return run("rnn", "text-classification", data, {"num_train_epochs": 4}, folder / "run")


def results(release: Path) -> dict:
    return json.loads((release / "metrics.json").read_text())["results"]


def test_a_language_model_learns_and_its_release_is_verified(language_model: Path) -> None:
    assert verify_folder(language_model).num_files > 5
    names = {path.name for path in language_model.rglob("*")}
    assert {
        "tokenizer.json",
        "tokenizer_config.json",
        "samples.png",
        "loss_by_position.png",
        "modeling_rnn.py",
    } <= names
    found = results(language_model)
    assert found["metrics"]["loss"]["value"] < 1.5  # 3.2 nats for any of 25 characters
    assert found["baseline"]["name"].startswith("Kneser-Ney")
    assert found["metrics"]["bits_per_character"]["value"] == pytest.approx(
        found["metrics"]["loss"]["value"] / 0.693147, rel=1e-4
    )


def test_the_stated_loss_is_that_of_a_loop_by_hand(language_model: Path) -> None:
    """The last tenth and fifth of the lines, read in order by 8 lanes that carry their state."""
    tokenizer = AutoTokenizer.from_pretrained(language_model)
    model = AutoModelForCausalLM.from_pretrained(language_model)
    text = "".join((VERSE * 40).splitlines(keepends=True)[-24:])
    tokens = torch.tensor(tokenizer(text)["input_ids"])
    windows = torch.stack([tokens[start : start + 17] for start in range(0, len(tokens) - 16, 16)])
    lanes = 8
    steps = -(-len(windows) // lanes)
    total, count = 0.0, 0
    with torch.no_grad():
        for lane in range(lanes):
            state = None
            for window in windows[lane * steps : (lane + 1) * steps]:
                outputs = model(window[None, :-1], **({} if state is None else {"state": state}))
                state = outputs.state
                losses = torch.nn.functional.cross_entropy(outputs.logits[0], window[1:], reduction="sum")
                total, count = total + float(losses), count + 16
    assert results(language_model)["metrics"]["loss"]["value"] == pytest.approx(total / count, rel=1e-4)
    assert results(language_model)["num_rows"] == len(windows)


def test_the_pipeline_goes_on_from_a_text(language_model: Path) -> None:
    generate = pipeline("text-generation", model=str(language_model))
    (answer,) = generate("the cat", max_new_tokens=8, do_sample=False)
    assert answer["generated_text"].startswith("the cat")
    assert len(answer["generated_text"]) == len("the cat") + 8


def test_evaluate_finds_the_stated_loss_again(language_model: Path) -> None:
    stated = results(language_model)["metrics"]["loss"]
    assert evaluate_release(str(language_model), {}).to_dict()["metrics"]["loss"] == pytest.approx(stated, abs=1e-9)


def test_a_classifier_learns_and_the_pipeline_names_the_class(classifier: Path) -> None:
    verify_folder(classifier)
    assert results(classifier)["metrics"]["accuracy"]["value"] == 1
    assert {"confusion_matrix.png", "indicative_words.png"} <= {path.name for path in classifier.rglob("*.png")}
    classify = pipeline("text-classification", model=str(classifier))
    assert [item["label"] for item in classify(["a good film number 3", "a bad film number 3"])] == ["pos", "neg"]


def test_predict_reads_texts_from_a_file(classifier: Path, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("id,text\n1,a bad film\n2,a good film\n")
    assert predict_file(str(classifier), str(tmp_path / "in.csv"), str(tmp_path / "out.csv")) == 2
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert [line.split(",")[:2] for line in lines[1:]] == [["1", "neg"], ["2", "pos"]]


def test_a_language_model_becomes_a_classifier_with_its_tokenizer(
    language_model: Path, classifier: Path, tmp_path: Path
) -> None:
    recipe = finetuning_recipe(str(language_model), "text-classification")
    assert recipe.family == "rnn"
    assert default_recipe("rnn", "text-classification").model
    assert recipe.model == {}  # the network is the checkpoint's
    films = classifier.parents[1] / "films.jsonl"
    recipe.data["dataset"] = str(films)
    recipe.training = {**TRAINING, "num_train_epochs": 1, "output_dir": str(tmp_path / "run")}
    release = train_and_release(recipe, baseline=False).folder
    verify_folder(release)
    first, second = (AutoTokenizer.from_pretrained(folder) for folder in (language_model, release))
    assert first.get_vocab() == second.get_vocab()
    assert pipeline("text-classification", model=str(release))("a film")[0]["label"] in ("neg", "pos")
