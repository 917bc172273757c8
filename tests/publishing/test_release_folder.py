"""The release folder and its card."""

import copy
import json
import shutil
from pathlib import Path

import huggingface_hub
import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny_release import interval, make_release
from transformers import AutoImageProcessor, AutoModelForImageClassification, pipeline

from hubmodels import families
from hubmodels.cli import main
from hubmodels.errors import HubmodelsError
from hubmodels.publishing import refresh_golden, verify_folder
from hubmodels.publishing.golden import check_golden, compare_tokens, read_golden, write_golden
from hubmodels.recipe import Recipe


def test_a_release_holds_every_file_of_the_layout(made: Path) -> None:
    names = sorted(path.relative_to(made).as_posix() for path in made.rglob("*") if path.is_file())
    assert names == [
        ".eval_results/pictures.yaml", "README.md", "config.json", "configuration_mlp.py",
        "figures/confusion_matrix.png", "golden.safetensors", "metrics.json", "model.safetensors", "modeling_mlp.py",
        "modeling_mlp_layers.py", "modeling_mlp_shared.py", "modeling_mlp_tables.py", "preprocessor_config.json",
        "processing_image.py", "recipe.yaml",
    ]  # fmt: skip
    assert Recipe.load(made / "recipe.yaml").family == "mlp"
    assert [path for path in made.parent.iterdir() if path != made] == []  # no temporary folder is left


def test_a_release_loads_with_plain_transformers_calls_and_the_local_classes(made: Path) -> None:
    model = AutoModelForImageClassification.from_pretrained(made)
    assert type(model) is families.family_classes("mlp")["ForImageClassification"]
    assert type(AutoImageProcessor.from_pretrained(made)).__module__ == "hubmodels.processors.processing_image"
    golden = load_file(made / "golden.safetensors")
    with torch.no_grad():
        logits = model(golden["inputs.pixel_values"]).logits
    torch.testing.assert_close(logits, golden["outputs.logits"])
    answer = pipeline("image-classification", model=str(made))(Image.new("RGB", (20, 10)))
    assert {item["label"] for item in answer} == {"bag", "coat", "shirt"}


def test_releasing_leaves_the_model_as_it_was(tmp_path: Path) -> None:
    model = families.build_model(
        "cnn", "ForImageClassification", {"num_channels": 1, "image_size": 8, "hidden_sizes": [4], "depths": [1]}
    )
    model = model.to(torch.bfloat16, memory_format=torch.channels_last).train()
    before = copy.deepcopy(model.state_dict())
    threads = torch.get_num_threads()
    make_release(
        tmp_path / "half",
        model=model,
        recipe=Recipe(family="cnn", task="image-classification"),
        golden_inputs={"pixel_values": torch.linspace(-1, 1, 128).view(2, 1, 8, 8)},
    )
    assert model.training
    assert torch.get_num_threads() == threads
    assert all(
        torch.equal(value, before[name]) and value.dtype == before[name].dtype
        for name, value in model.state_dict().items()
    )
    saved = load_file(tmp_path / "half" / "model.safetensors")
    assert {value.dtype for value in saved.values()} == {torch.float32, torch.int64}  # int64 counts batches


def test_a_release_that_fails_changes_nothing(folder: Path) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    model = families.build_model("mlp", "ForImageClassification", {"num_channels": 1, "image_size": 8})
    with torch.no_grad():
        model.classifier.weight[0, 0] = float("nan")
    with pytest.raises(HubmodelsError, match="not finite"):
        make_release(folder, model=model)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert list(folder.parent.iterdir()) == [folder]


def test_a_second_release_takes_the_place_of_the_first_whole(folder: Path) -> None:
    (folder / "old.md").write_text("of the first release")
    make_release(folder, seed=1, plots=[])
    assert not (folder / "old.md").exists()
    assert not (folder / "figures").exists()
    assert verify_folder(folder).deviation < 1e-4


def test_a_release_without_code_names_none(tmp_path: Path) -> None:
    folder = make_release(tmp_path / "bare", with_code=False)
    assert not list(folder.glob("*.py"))
    assert "auto_map" not in json.loads((folder / "config.json").read_text())
    assert "trust_remote_code" not in (folder / "README.md").read_text()


def test_a_release_in_a_run_has_the_name_of_the_run(tmp_path: Path) -> None:
    folder = make_release(tmp_path / "cnn-digits" / "release")
    assert json.loads((folder / "metrics.json").read_text())["name"] == "cnn-digits"
    assert "# cnn-digits\n" in (folder / "README.md").read_text()


# --- the card ---


def test_the_head_of_the_card_is_what_the_hub_reads(made: Path) -> None:
    data = ModelCard.load(made / "README.md").data
    assert (data.license, data.library_name, data.pipeline_tag) == (
        "apache-2.0",
        "transformers",
        "image-classification",
    )
    assert data.datasets == ["someone/pictures"]
    assert data.metrics == ["accuracy", "macro_f1"]
    assert data.tags == ["hubmodels", "mlp", "image-classification"]
    accuracy = data.eval_results[0]
    assert (accuracy.metric_type, accuracy.metric_value, accuracy.dataset_split) == ("accuracy", 0.9, "test")
    assert accuracy.dataset_revision == "0" * 40
    assert accuracy.metric_args == {"confidence_level": 0.95, "low": 0.89, "high": 0.91}


def test_the_body_of_the_card_says_everything_that_a_reader_needs(made: Path) -> None:
    text = ModelCard.load(made / "README.md").text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert "| **accuracy** | **0.9000 [0.8900, 0.9100]** | 0.8000 [0.7900, 0.8100] |" in rows
    assert "| train | 900 |" in rows
    assert "| coat | 0.9000 [0.8900, 0.9100] | 0.8000 [0.7900, 0.8100] |" in rows
    for words in (
        "> The network was worth it.",
        'pipeline("image-classification", model="tiny-classifier")',
        "![Confusion matrix](figures/confusion_matrix.png)",
        "1,091 weights",
        "1.25",
        "a machine",
        "hubmodels train --config recipe.yaml",
        "trust_remote_code=True",
        "## Limits",
    ):
        assert words in text
    assert "{" not in text.split("```")[0]  # no placeholder of the template is left
    assert "\n\n\n" not in text


def test_a_card_is_written_anew_as_it_was_and_its_notes_are_a_section_that_stays(folder: Path, tmp_path: Path) -> None:
    before = (folder / "README.md").read_text()
    (folder / "README.md").write_text("spoilt")
    assert main(["card", str(folder)]) == 0
    assert (folder / "README.md").read_text() == before
    (tmp_path / "notes").write_text("Five seeds gave 0.98 to 0.99.\n")
    assert main(["card", str(folder), "--notes", str(tmp_path / "notes")]) == 0
    assert "## Notes\n\nFive seeds gave 0.98 to 0.99.\n\n## Training" in (folder / "README.md").read_text()
    verify_folder(folder)
    assert main(["card", str(folder)]) == 0
    assert "Five seeds" in (folder / "README.md").read_text()
    (tmp_path / "notes").write_text("")
    assert main(["card", str(folder), "--notes", str(tmp_path / "notes")]) == 0
    assert (folder / "README.md").read_text() == before
    verify_folder(folder)


def test_a_card_without_its_numbers_is_not_written_anew(folder: Path, capsys: pytest.CaptureFixture) -> None:
    metrics = json.loads((folder / "metrics.json").read_text())
    del metrics["figures"]
    (folder / "metrics.json").write_text(json.dumps(metrics))
    before = (folder / "README.md").read_text()
    assert main(["card", str(folder)]) == 2
    assert "has no 'figures': release the model again" in capsys.readouterr().err
    assert (folder / "README.md").read_text() == before


def test_the_results_stand_in_an_eval_results_entry_too(made: Path) -> None:
    values = yaml.safe_load((made / ".eval_results" / "pictures.yaml").read_text())
    (entry,) = huggingface_hub.parse_eval_result_entries(values)
    assert (entry.dataset_id, entry.dataset_revision, entry.value) == ("someone/pictures", "0" * 40, 0.9)
    assert "accuracy on the split test: 0.9000 [0.8900, 0.9100]" in entry.notes


def test_the_folders_of_a_local_data_set_are_not_published(tmp_path: Path) -> None:
    folder = make_release(tmp_path / "local", data={"dataset": "/home/someone/secret-project/birds"})
    text = (folder / "README.md").read_text() + (folder / "metrics.json").read_text()
    assert "birds" in text
    assert "/home" not in text
    assert ModelCard.load(folder / "README.md").data.datasets is None
    assert not (folder / ".eval_results").exists()


def test_a_fine_tuned_release_names_its_base_model(tmp_path: Path) -> None:
    recipe = Recipe(family="mlp", task="image-classification", model_name_or_path="someone/base")
    folder = make_release(tmp_path / "tuned", recipe=recipe)
    card = ModelCard.load(folder / "README.md")
    assert card.data.base_model == "someone/base"
    assert "fine-tuned from `someone/base`" in card.text


def test_the_card_shows_the_command_without_what_belongs_to_one_machine(tmp_path: Path) -> None:
    command = (
        "hubmodels train --config /home/me/recipe.yaml --dataset-path '/home/me/my data' --learning_rate 0.1 "
        "--output_dir=/tmp/run --report_to tensorboard trackio --bf16 --hub_model_id me/x"
    )
    folder = make_release(tmp_path / "release", provenance={"command": command})
    card = (folder / "README.md").read_text()
    assert "hubmodels train --config recipe.yaml --learning_rate 0.1 --bf16\n" in card
    assert "/home/me" not in card
    assert "/tmp/run" not in card


def test_only_a_model_with_a_hub_id_is_downloaded_in_its_card(tmp_path: Path) -> None:
    local = (make_release(tmp_path / "local") / "README.md").read_text()
    assert "hf download" not in local
    assert "hubmodels train --config recipe.yaml" in local
    known = (make_release(tmp_path / "known", model_id="me/pictures") / "README.md").read_text()
    assert "hf download me/pictures\n" in known
    assert "hf download me/pictures recipe.yaml --local-dir .\n" in known


def test_a_card_without_a_baseline_says_so(tmp_path: Path) -> None:
    folder = make_release(tmp_path / "alone", results={"metrics": {"accuracy": interval(0.9)}, "num_rows": 10})
    text = (folder / "README.md").read_text()
    assert "No classical baseline" in text
    assert "| metric | this model |\n|---|---:|\n| **accuracy** |" in text


def test_a_metric_that_is_undefined_is_a_dash_and_no_result(tmp_path: Path) -> None:
    undefined = {"value": None, "low": None, "high": None}
    folder = make_release(tmp_path / "gap", results={"metrics": {"accuracy": interval(0.9), "macro_f1": undefined}})
    card = ModelCard.load(folder / "README.md")
    assert [result.metric_type for result in card.data.eval_results] == ["accuracy"]
    assert "| macro F1 | - |" in card.text


# --- the golden file ---


class Scaled(torch.nn.Module):
    """A network of one number whose outputs are of several kinds."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = torch.nn.Parameter(torch.tensor(factor))

    def forward(self, x: torch.Tensor, return_dict: bool = True) -> dict:
        return {"y": self.factor * x, "states": (x, x + self.factor), "note": None}


def test_the_golden_file_keeps_inputs_and_every_output_tensor(tmp_path: Path) -> None:
    x = torch.tensor([1.0, -4.0])
    write_golden(tmp_path / "golden.safetensors", Scaled(2.0), {"x": x})
    golden = read_golden(tmp_path / "golden.safetensors")
    assert torch.equal(golden.inputs["x"], x)
    assert golden.outputs.keys() == {"y", "states.0", "states.1"}
    assert torch.equal(golden.outputs["y"], torch.tensor([2.0, -8.0]))
    assert check_golden(Scaled(2.0), tmp_path / "golden.safetensors") == 0


def test_a_deviation_is_measured_by_the_scale_of_the_output(tmp_path: Path) -> None:
    write_golden(tmp_path / "golden.safetensors", Scaled(2.0), {"x": torch.tensor([1.0, -4.0])})
    # y deviates by 4 * 0.0001 of 8, states.1 by 0.0001 of 3 (its values are 3 and -2).
    assert check_golden(Scaled(2.0001), tmp_path / "golden.safetensors") == pytest.approx(0.0004 / 8, rel=0.01)
    with pytest.raises(HubmodelsError, match=r"y deviates by 0.0005 of its scale, allowed is 0.0001"):
        check_golden(Scaled(2.001), tmp_path / "golden.safetensors")


def test_a_golden_file_that_would_accept_everything_is_refused(tmp_path: Path) -> None:
    save_file({"inputs.x": torch.ones(1), "outputs.y": torch.ones(1)}, tmp_path / "g.safetensors", {"tolerance": "inf"})
    with pytest.raises(HubmodelsError, match="tolerance of inf"):
        read_golden(tmp_path / "g.safetensors")


TEXT_MODELS = {
    "transformer": {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 30},
    "rnn": {"hidden_size": 16},
}


def write_text_golden(folder: Path, family: str, **fields: object) -> tuple[torch.nn.Module, Path]:
    torch.manual_seed(0)
    model = families.build_model(family, "ForCausalLM", {**TEXT_MODELS[family], "vocab_size": 50, **fields})
    for weight in model.parameters():  # far from ties
        weight.data.mul_(3)
    write_golden(folder / "g.safetensors", model, {"input_ids": torch.arange(24).view(2, 12)})
    return model, folder / "g.safetensors"


@pytest.mark.parametrize("family", TEXT_MODELS)
def test_a_text_model_generates_its_golden_tokens_again(family: str, tmp_path: Path) -> None:
    model, path = write_text_golden(tmp_path, family)
    tokens = read_golden(path).generated
    assert tokens.shape == (2, 20)
    prompt = torch.arange(24).view(2, 12)[:, : 10 if family == "transformer" else 12]  # 30 positions, 20 to generate
    texts = prompt
    with torch.no_grad():
        for _ in range(20):  # without a cache, by hand
            texts = torch.cat((texts, model.eval()(texts).logits[:, -1:].argmax(-1)), dim=1)
    assert torch.equal(tokens, texts[:, prompt.shape[1] :])
    assert check_golden(model, path) == 0


@pytest.mark.parametrize("family", TEXT_MODELS)
def test_another_text_is_refused_and_an_older_file_without_one_is_not(family: str, tmp_path: Path) -> None:
    model, path = write_text_golden(tmp_path, family)
    tensors = load_file(path)
    save_file({**tensors, "generated.tokens": (tensors["generated.tokens"] + 1) % 50}, path)
    with pytest.raises(HubmodelsError, match=r"the golden text is not generated: token 1 of row 1 is \d+ instead of"):
        check_golden(model, path)
    save_file({**tensors, "generated.tokens": torch.full((2, 20), 10**9)}, path)
    with pytest.raises(HubmodelsError, match="go up to 1000000000"):
        check_golden(model, path)
    save_file({**tensors, "generated.tokens": torch.zeros(2, 10**6, dtype=torch.int64)}, path)
    with pytest.raises(HubmodelsError, match="at most 20 a row"):
        check_golden(model, path)
    del tensors["generated.tokens"]
    save_file(tensors, path)
    assert check_golden(model, path) == 0


def test_a_model_that_loses_its_cache_is_found_by_the_golden_tokens_alone(tmp_path: Path, monkeypatch) -> None:
    model, path = write_text_golden(tmp_path, "transformer")
    forward = type(model).forward

    def forgetful(self, *args, **kwargs):
        return forward(self, *args, **{**kwargs, "past_key_values": None, "cache": None})

    monkeypatch.setattr(type(model), "forward", forgetful)
    with pytest.raises(HubmodelsError, match="the golden text is not generated"):
        check_golden(model, path)


def test_rounding_may_decide_between_tokens_that_are_as_good_as_equal() -> None:
    scores = torch.tensor([[[0.0, 10.0, 9.9990, 5.0], [8.0, 0.0, 1.0, 2.0]]])
    tokens = torch.tensor([[1, 0]])
    compare_tokens(tokens, scores, torch.tensor([[1, 0]]))
    compare_tokens(tokens, scores, torch.tensor([[2, 3]]))  # 0.001 lower, allowed is 2 * 0.0001 * 10
    for expected in ([3, 0], [1, 3]):
        with pytest.raises(HubmodelsError, match="the golden text is not generated"):
            compare_tokens(tokens, scores, torch.tensor([expected]))


def test_a_refreshed_golden_file_gives_the_same_and_verifies(made: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(made, tmp_path / "copy"))
    assert refresh_golden(folder) <= 1e-5
    verify_folder(folder)
    tensors = load_file(folder / "golden.safetensors")
    save_file({**tensors, "outputs.logits": tensors["outputs.logits"] * 1.001}, folder / "golden.safetensors")
    before = (folder / "golden.safetensors").read_bytes()
    with pytest.raises(HubmodelsError, match="the golden output is not reproduced"):
        refresh_golden(folder)
    assert (folder / "golden.safetensors").read_bytes() == before
