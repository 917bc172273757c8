"""Discovery, registration with transformers' Auto classes, building and loading."""

import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import hubmodels
from hubmodels import HubmodelsError, auto
from hubmodels.files import hash_file

HEAD = "ForImageClassification"
MLP = {"image_size": 4, "hidden_sizes": [8], "id2label": {0: "cat", 1: "dog", 2: "owl"}}
CNN = {"image_size": 8, "hidden_sizes": [4, 8], "depths": [1, 1], "embedding_size": 4, "num_labels": 3}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "checkpoint"
    torch.manual_seed(0)
    auto.build_model("mlp", HEAD, MLP).save_pretrained(folder)
    return folder


def run_python(code: str) -> str:
    """What a fresh interpreter prints."""
    environment = {**os.environ, "PYTHONPATH": str(Path(hubmodels.__file__).parents[1]), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


# Discovery


def test_families_are_found_by_their_folders() -> None:
    assert {"cnn", "mlp"} <= set(auto.list_families())


def test_every_family_folder_is_complete() -> None:
    for family in auto.list_families():
        assert auto.config_class(family).model_type == f"hubmodels_{family}"
        assert "Model" in auto.family_classes(family)
        assert auto.family_tasks(family)
        assert auto.family_purpose(family)


def test_an_unknown_family_is_refused_with_the_nearest() -> None:
    with pytest.raises(HubmodelsError, match=r"unknown family 'cnnn', did you mean 'cnn'\?; the families are .*cnn"):
        auto.build_model("cnnn", HEAD, {})


def test_an_unknown_head_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(
        HubmodelsError, match=r"family mlp has no ForFlying, only .*ForImageClassification.*no family has it"
    ):
        auto.build_model("mlp", "ForFlying", {})


def test_public_names_are_found_and_others_are_not() -> None:
    from hubmodels import AutoModelForImageClassification, CnnForImageClassification, CnnModel, MlpConfig

    assert MlpConfig is auto.config_class("mlp")
    assert {"Model": CnnModel, HEAD: CnnForImageClassification}.items() <= auto.family_classes("cnn").items()
    assert AutoModelForImageClassification is auto.auto_class(HEAD)
    for name in ("CnnForFlying", "AutoModelForFlying", "Nothing", "math"):
        with pytest.raises(AttributeError, match=name):
            getattr(hubmodels, name)


def test_default_recipes_fit_their_family() -> None:
    for family in auto.list_families():
        for task in auto.family_tasks(family):
            recipe = auto.family_recipe(family, task)
            assert set(recipe) <= {"data", "model", "training"}
            auto.build_config(family, recipe.get("model", {}))


def test_a_task_that_a_family_does_not_do_is_refused_with_those_that_it_does() -> None:
    with pytest.raises(HubmodelsError, match=r"family mlp does not do 'flying', only .*image-classification"):
        auto.family_recipe("mlp", "flying")


# Registration


@pytest.mark.parametrize(
    "first",
    [
        "import hubmodels",
        "from transformers.models.auto import image_processing_auto, modeling_auto; import hubmodels",
    ],
    ids=["hubmodels first", "transformers first"],
)
def test_transformers_knows_the_families_whichever_is_imported_first(first: str, tmp_path: Path) -> None:
    from hubmodels import HubmodelsImageProcessor

    model = auto.build_model("cnn", HEAD, {**CNN, "num_channels": 1})
    model.save_pretrained(tmp_path)
    HubmodelsImageProcessor(size={"height": 8, "width": 8}, num_channels=1).save_pretrained(tmp_path)
    printed = run_python(f"""
import sys
{first}
from PIL import Image
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoModelForImageClassification, pipeline
folder = {str(tmp_path)!r}
for cls in (AutoConfig, AutoModel, AutoModelForImageClassification, AutoImageProcessor):
    print(type(cls.from_pretrained(folder)).__name__)
print(len(pipeline("image-classification", model=folder)(Image.new("RGB", (20, 30)))))
""")
    names = ["CnnConfig", "CnnModel", "CnnForImageClassification", "HubmodelsImageProcessor", "3"]
    assert printed.split() == names


def test_the_import_loads_neither_torch_nor_transformers() -> None:
    printed = run_python("""
import sys, time
started = time.process_time()
import hubmodels
seconds = time.process_time() - started
hubmodels.list_families(), hubmodels.auto.family_tasks("mlp"), hubmodels.auto.config_help("cnn")
print([name for name in ("torch", "transformers", "numpy", "huggingface_hub") if name in sys.modules], seconds < 0.3)
""")
    # 0.08 s of processor time here, of which wrapt takes half; the bound leaves room for slow machines.
    assert printed.strip() == "[] True"


def test_a_head_that_transformers_lacks_gets_an_auto_class_of_ours(checkpoint: Path) -> None:
    cls = auto.auto_class("ForTestsOnly")
    assert cls.__name__ == "AutoModelForTestsOnly"
    assert auto.auto_class("ForTestsOnly") is cls
    cls.register(auto.config_class("mlp"), auto.family_head("mlp", HEAD))
    assert type(cls.from_pretrained(checkpoint)).__name__ == "MlpForImageClassification"
    with pytest.raises(ValueError, match="CnnConfig"):
        cls.from_config(hubmodels.CnnConfig())


# Building


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"hiden_sizes": [8]},
            "unknown field 'hiden_sizes' in the recipe's model section, did you mean 'hidden_sizes'?",
        ),
        ({"hidden_sizes": "wide"}, "model: hidden_sizes must be a list of integers.*, got 'wide'"),
        ({"hidden_sizes": []}, r"model: hidden_sizes must name at least one width, each at least 1, got \[\]"),
        (
            {"normalization": "batchnorm"},
            "normalization must be one of none, batch_norm, layer_norm.*did you mean 'batch_n",
        ),
        ({"problem_type": "clasification"}, "problem_type"),
        ({"id2label": {"cat": 0}}, "id2label must map 0, 1, 2, ... to labels, got {'cat': 0}"),
        ({"id2label": ["cat"]}, "id2label must be a mapping or none"),
        ({"num_labels": 0}, "num_labels must be at least 1, got 0"),
        ({"num_labels": 2, "id2label": {0: "a"}}, "num_labels is 2 but id2label has 1 labels"),
    ],
)
def test_model_fields_that_cannot_be_used_give_one_line(values: dict, message: str) -> None:
    with pytest.raises(HubmodelsError, match=message) as caught:
        auto.build_model("mlp", HEAD, values)
    assert "\n" not in str(caught.value)


def test_labels_make_the_number_of_outputs() -> None:
    model = auto.build_model("mlp", HEAD, MLP)
    assert model.config.num_labels == model.classifier.out_features == 3
    assert model.config.label2id == {"cat": 0, "dog": 1, "owl": 2}
    # As a recipe in JSON or YAML may have them.
    assert auto.build_config("mlp", {"id2label": {"0": "cat", "1": "dog"}}).id2label == {0: "cat", 1: "dog"}
    assert auto.build_model("mlp", HEAD, {"num_labels": 5}).classifier.out_features == 5


# Loading


def test_a_checkpoint_comes_back_without_a_word(checkpoint: Path, caplog: pytest.LogCaptureFixture, capfd) -> None:
    for values in (None, {"id2label": MLP["id2label"], "image_size": 4, "hidden_dropout_prob": 0.5}):
        model = auto.load_model(checkpoint, "mlp", HEAD, values)
        stored = load_file(checkpoint / "model.safetensors")
        assert all(torch.equal(value, stored[name]) for name, value in model.state_dict().items())
        assert not model.training
    assert model.config.hidden_dropout_prob == 0.5
    assert not caplog.records
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "labels", [{0: "a", 1: "b"}, {0: "cat", 1: "owl", 2: "dog"}, {n: str(n) for n in range(9)}], ids=["2", "3", "9"]
)
def test_other_labels_renew_the_classifier_alone_and_say_so(
    checkpoint: Path, labels: dict, caplog: pytest.LogCaptureFixture
) -> None:
    torch.manual_seed(1)
    with caplog.at_level(logging.WARNING, logger="hubmodels"):
        model, renewed = auto.load_model_and_news(checkpoint, "mlp", HEAD, {"id2label": labels}, None)
    assert renewed == ["classifier.bias", "classifier.weight"]
    message = caplog.messages[0]
    assert "3 labels (cat, dog, owl)" in message
    assert f"the data have {len(labels)} labels" in message
    assert "classifier.bias, classifier.weight start anew" in message
    stored = load_file(checkpoint / "model.safetensors")
    for name, value in model.state_dict().items():
        assert (name in renewed) or torch.equal(value, stored[name])
    bound = 8**-0.5  # of a linear layer with 8 inputs
    for name in renewed:
        value = model.state_dict()[name]
        assert value.abs().max() <= bound
        assert value.shape != stored[name].shape or not torch.equal(value, stored[name])
    assert model.config.id2label == labels


def test_a_checkpoint_without_a_head_gets_a_new_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    body = auto.build_model("cnn", "Model", CNN)
    body.save_pretrained(tmp_path)
    model, renewed = auto.load_model_and_news(tmp_path, "cnn", HEAD, {"num_labels": 4}, None)
    assert renewed == ["classifier.1.bias", "classifier.1.weight"]
    assert model.classifier[1].out_features == 4
    assert torch.equal(model.cnn.stem.conv.weight, body.stem.conv.weight)
    assert "start anew" in caplog.text


LM = {"vocab_size": 11, "hidden_size": 6, "num_hidden_layers": 1, "embedding_size": 4}


@pytest.fixture
def language_model(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    auto.build_model("rnn", "ForCausalLM", LM).save_pretrained(tmp_path / "language_model")
    return tmp_path / "language_model"


def test_a_checkpoint_of_another_head_gives_its_body_and_says_what_starts_anew(
    language_model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    labels = {0: "neg", 1: "neutral", 2: "pos"}
    model, renewed = auto.load_model_and_news(
        language_model, "rnn", "ForSequenceClassification", {"id2label": labels}, None
    )
    stored = load_file(language_model / "model.safetensors")
    state = model.state_dict()
    body = [name for name in state if name.startswith("rnn.")]
    assert renewed == sorted(set(state) - set(body)) == ["classifier.bias", "classifier.weight"]
    assert len(body) > 3
    assert all(torch.equal(state[name], stored[name]) for name in body)
    assert all(torch.isfinite(state[name]).all() and state[name].abs().max() < 2 for name in renewed)
    left_out = sorted(set(stored) - set(body))
    assert caplog.messages == [
        f"{language_model} is a RnnForCausalLM, wanted is a RnnForSequenceClassification: "
        f"classifier.bias, classifier.weight start anew; {', '.join(left_out)} are left out"
    ]


def test_a_body_comes_out_of_a_checkpoint_with_a_head(language_model: Path) -> None:
    model, renewed = auto.load_model_and_news(language_model, "rnn", "Model", None, None)
    stored = load_file(language_model / "model.safetensors")
    assert renewed == []
    assert all(torch.equal(value, stored[f"rnn.{name}"]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("lost", ["rnn.embeddings.weight", "rnn.encoder"])
def test_a_damaged_body_of_another_head_is_refused(language_model: Path, lost: str) -> None:
    tensors = load_file(language_model / "model.safetensors")
    lost = next(name for name in tensors if name.startswith(lost))
    tensors.pop(lost)
    save_file(tensors, language_model / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(HubmodelsError, match=f"lacks weights {lost}"):
        auto.load_model(language_model, "rnn", "ForSequenceClassification")


def test_a_checkpoint_of_another_vocabulary_is_refused(language_model: Path) -> None:
    with pytest.raises(HubmodelsError, match=r"embeddings.weight has shape \(11, 4\), .* need \(12, 4\)"):
        auto.load_model(language_model, "rnn", "ForSequenceClassification", {"vocab_size": 12})


def test_a_checkpoint_of_another_family_or_head_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(HubmodelsError, match="is a model of type mlp, not family cnn; give another checkpoint"):
        auto.load_model(checkpoint, "cnn", HEAD)
    config = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps({**config, "architectures": ["MlpForFlying"]}))
    with pytest.raises(HubmodelsError, match="is a MlpForFlying, not a MlpForImageClassification"):
        auto.load_model(checkpoint, "mlp", HEAD)
    (checkpoint / "config.json").write_text(json.dumps({**config, "model_type": "resnet"}))
    with pytest.raises(HubmodelsError, match="is a model of type resnet, not one of the families"):
        auto.load_model(checkpoint)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_channels": 3}, r"mlp.body.layers.0.linear.weight has shape \(8, 16\), .* need \(8, 48\)"),
        ({"hidden_sizes": [8, 8]}, "lacks weights mlp.body.layers.1.linear.bias, mlp.body.layers.1.linear.weight"),
        ({"normalization": "batch_norm"}, "lacks weights mlp.body.layers.0.norm.bias.* and 2 more"),
        ({"hiden_sizes": [8]}, "did you mean 'hidden_sizes'"),
    ],
)
def test_values_that_do_not_fit_a_checkpoint_are_refused(checkpoint: Path, values: dict, message: str) -> None:
    with pytest.raises(HubmodelsError, match=message):
        auto.load_model(checkpoint, "mlp", HEAD, values)


def test_a_checkpoint_with_superfluous_weights_is_refused(tmp_path: Path) -> None:
    auto.build_model("mlp", HEAD, {**MLP, "hidden_sizes": [8, 8]}).save_pretrained(tmp_path)
    with pytest.raises(HubmodelsError, match=r"has unknown weights mlp\.body\.layers\.1"):
        auto.load_model(tmp_path, "mlp", HEAD, {"hidden_sizes": [8]})


def damage(weights: Path, how: str) -> None:
    content = weights.read_bytes()
    if how == "truncated":
        weights.write_bytes(content[:-100])
    elif how == "header only":
        weights.write_bytes(content[:40])
    elif how == "empty":
        weights.write_bytes(b"")
    elif how == "garbage":
        weights.write_bytes(bytes(range(256)) * 20)
    elif how == "absent":
        weights.unlink()
    elif how == "flipped in the header":
        weights.write_bytes(content.replace(b"classifier.bias", b"classifier.bias"[:-1] + b"t"))
    else:
        tensors = load_file(weights)
        tensors.pop("classifier.bias")
        save_file(tensors, weights, metadata={"format": "pt"})


@pytest.mark.parametrize(
    "how", ["truncated", "header only", "empty", "garbage", "absent", "flipped in the header", "one weight less"]
)
@pytest.mark.parametrize("labels", [3, 5])
def test_damaged_weights_give_one_line(checkpoint: Path, how: str, labels: int) -> None:
    damage(checkpoint / "model.safetensors", how)
    values = {"num_labels": labels} if labels == 5 and how in ("truncated", "garbage") else None
    with pytest.raises(HubmodelsError, match="checkpoint") as caught:
        auto.load_model(checkpoint, "mlp", HEAD, values)
    assert "\n" not in str(caught.value)


def test_a_flipped_bit_is_seen_by_the_checksum_of_a_release(checkpoint: Path) -> None:
    weights = checkpoint / "model.safetensors"
    metrics = {"checksums": {"files": {"model.safetensors": hash_file(weights)}}}
    (checkpoint / "metrics.json").write_text(json.dumps(metrics))
    auto.load_model(checkpoint)
    content = bytearray(weights.read_bytes())
    content[-3] ^= 1
    weights.write_bytes(content)
    with pytest.raises(HubmodelsError, match=r"model.safetensors of .* is damaged: its SHA-256 is not the one"):
        auto.load_model(checkpoint)


def test_what_is_no_model_gives_one_line(checkpoint: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    broken, listed = tmp_path / "broken", tmp_path / "listed"
    for folder, text in ((broken, '{"model_type": '), (listed, "[1]")):
        shutil.copytree(checkpoint, folder)
        (folder / "config.json").write_text(text)
    for given, message in (
        (empty, "is no model: it has no config.json"),
        (tmp_path / "nowhere", "there is no folder"),
        (checkpoint / "config.json", "is a file, not a model's folder"),
        (broken, "config"),
        (listed, "config"),
    ):
        with pytest.raises(HubmodelsError, match=message) as caught:
            auto.load_model(given, "mlp", HEAD)
        assert "\n" not in str(caught.value)


def test_a_hub_id_that_cannot_be_reached_gives_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    code = """
from hubmodels import HubmodelsError, auto
for call in (lambda: auto.load_model("nobody/nothing"), lambda: auto.find_file("nobody/nothing", "recipe.yaml")):
    try:
        call()
    except HubmodelsError as error:
        print(error)
"""
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    lines = run_python(code).splitlines()
    assert len(lines) == 2
    assert all("nobody/nothing" in line and "give the folder of a trained model" in line for line in lines)


def test_find_file_gives_a_file_of_a_folder_or_says_that_it_is_not_there(checkpoint: Path) -> None:
    assert auto.find_file(checkpoint, "config.json") == str(checkpoint / "config.json")
    with pytest.raises(HubmodelsError, match=r"has no recipe.yaml"):
        auto.find_file(checkpoint, "recipe.yaml")


def test_a_config_field_of_a_stored_config_that_cannot_work_is_refused(checkpoint: Path) -> None:
    config = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps({**config, "hidden_dropout_prob": 2}))
    with pytest.raises(HubmodelsError, match="hidden_dropout_prob must be at least 0 and below 1, got 2"):
        auto.load_model(checkpoint)


def test_a_file_of_pipelines_can_be_imported_by_itself() -> None:
    code = "import hubmodels.pipelines.images as images; print(*images.PIPELINES)"
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert "unconditional-image-generation" in out.split()
