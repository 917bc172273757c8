"""Opening checkpoints: config, family and head, checksums, shapes, weights."""

import json
import logging
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from hubmodels import HubmodelsError
from hubmodels.checkpoint import (
    check_checksums,
    find_file,
    listed_checksums,
    load_exactly,
    load_model,
    load_model_and_news,
    open_checkpoint,
)
from hubmodels.families import build_model, list_families
from hubmodels.files import hash_file

HEAD = "ForImageClassification"
MLP = {"image_size": 4, "hidden_sizes": [8], "id2label": {0: "cat", 1: "dog", 2: "owl"}}
CNN = {"image_size": 8, "hidden_sizes": [4, 8], "depths": [1, 1], "embedding_size": 4, "num_labels": 3}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "checkpoint"
    torch.manual_seed(0)
    build_model("mlp", HEAD, MLP).save_pretrained(folder)
    return folder


def test_a_checkpoint_comes_back_without_a_word(checkpoint: Path, caplog: pytest.LogCaptureFixture, capfd) -> None:
    for values in (None, {"id2label": MLP["id2label"], "image_size": 4, "hidden_dropout_prob": 0.5}):
        model = load_model(checkpoint, "mlp", HEAD, values)
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
        model, renewed = load_model_and_news(checkpoint, "mlp", HEAD, {"id2label": labels}, None)
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
    body = build_model("cnn", "Model", CNN)
    body.save_pretrained(tmp_path)
    model, renewed = load_model_and_news(tmp_path, "cnn", HEAD, {"num_labels": 4}, None)
    assert renewed == ["classifier.1.bias", "classifier.1.weight"]
    assert model.classifier[1].out_features == 4
    assert torch.equal(model.cnn.stem.conv.weight, body.stem.conv.weight)
    assert "start anew" in caplog.text


LM = {"vocab_size": 11, "hidden_size": 6, "num_hidden_layers": 1, "embedding_size": 4}


@pytest.fixture
def language_model(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    build_model("rnn", "ForCausalLM", LM).save_pretrained(tmp_path / "language_model")
    return tmp_path / "language_model"


def test_a_checkpoint_of_another_head_gives_its_body_and_says_what_starts_anew(
    language_model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    labels = {0: "neg", 1: "neutral", 2: "pos"}
    model, renewed = load_model_and_news(language_model, "rnn", "ForSequenceClassification", {"id2label": labels}, None)
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
    model, renewed = load_model_and_news(language_model, "rnn", "Model", None, None)
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
        load_model(language_model, "rnn", "ForSequenceClassification")


def test_a_checkpoint_of_another_vocabulary_is_refused(language_model: Path) -> None:
    with pytest.raises(HubmodelsError, match=r"embeddings.weight has shape \(11, 4\), .* need \(12, 4\)"):
        load_model(language_model, "rnn", "ForSequenceClassification", {"vocab_size": 12})


def test_a_checkpoint_of_another_family_or_head_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(HubmodelsError, match="is a model of type mlp, not family cnn; give another checkpoint"):
        load_model(checkpoint, "cnn", HEAD)
    config = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps({**config, "architectures": ["MlpForFlying"]}))
    with pytest.raises(HubmodelsError, match="is a MlpForFlying, not one of MlpForImageClassification, .*MlpModel"):
        load_model(checkpoint, "mlp", HEAD)
    (checkpoint / "config.json").write_text(json.dumps({**config, "model_type": "resnet"}))
    with pytest.raises(HubmodelsError, match="is a model of type resnet, not one of the families"):
        load_model(checkpoint)


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
        load_model(checkpoint, "mlp", HEAD, values)


def test_a_checkpoint_with_superfluous_weights_is_refused(tmp_path: Path) -> None:
    build_model("mlp", HEAD, {**MLP, "hidden_sizes": [8, 8]}).save_pretrained(tmp_path)
    with pytest.raises(HubmodelsError, match=r"has unknown weights mlp\.body\.layers\.1"):
        load_model(tmp_path, "mlp", HEAD, {"hidden_sizes": [8]})


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
        load_model(checkpoint, "mlp", HEAD, values)
    assert "\n" not in str(caught.value)


def test_a_flipped_bit_is_seen_by_the_checksum_of_a_release(checkpoint: Path) -> None:
    weights = checkpoint / "model.safetensors"
    metrics = {"checksums": {"files": {"model.safetensors": hash_file(weights)}}}
    (checkpoint / "metrics.json").write_text(json.dumps(metrics))
    load_model(checkpoint)
    content = bytearray(weights.read_bytes())
    content[-3] ^= 1
    weights.write_bytes(content)
    with pytest.raises(HubmodelsError, match=r"checkpoint is damaged: model\.safetensors is not the file .*SHA-256"):
        load_model(checkpoint)


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
            load_model(given, "mlp", HEAD)
        assert "\n" not in str(caught.value)


def test_a_hub_id_that_cannot_be_reached_gives_one_line(run_python, tmp_path: Path) -> None:
    code = """
from hubmodels import HubmodelsError, checkpoint
for call, names in ((checkpoint.load_model, ()), (checkpoint.find_file, ("recipe.yaml",))):
    try:
        call("nobody/nothing", *names)
    except HubmodelsError as error:
        print(error)
"""
    lines = run_python(code, HF_HOME=str(tmp_path)).splitlines()
    assert len(lines) == 2
    assert all("nobody/nothing" in line and "give the folder of a trained model" in line for line in lines)


def test_find_file_gives_a_file_of_a_folder_or_says_that_it_is_not_there(checkpoint: Path) -> None:
    assert find_file(checkpoint, "config.json") == str(checkpoint / "config.json")
    with pytest.raises(HubmodelsError, match=r"has no recipe.yaml"):
        find_file(checkpoint, "recipe.yaml")


def test_a_config_field_of_a_stored_config_that_cannot_work_is_refused(checkpoint: Path) -> None:
    config = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps({**config, "hidden_dropout_prob": 2}))
    with pytest.raises(HubmodelsError, match="hidden_dropout_prob must be at least 0 and below 1, got 2"):
        load_model(checkpoint)


# One family, one way


def test_opening_one_family_leaves_the_others_modules_unimported(run_python, tmp_path: Path) -> None:
    folders = {}
    for family, head, values in (("mlp", HEAD, MLP), ("cnn", HEAD, CNN), ("rnn", "ForCausalLM", LM)):
        folders[family] = str(tmp_path / family)
        build_model(family, head, values).save_pretrained(folders[family])
    for family, folder in folders.items():
        printed = run_python(f"""
import sys
import hubmodels
from hubmodels.checkpoint import load_exactly
model = hubmodels.load_model({folder!r}, {family!r})
load_exactly({folder!r})
names = [name.split(".")[-1] for name in sys.modules if name.startswith("hubmodels.models.")]
print(type(model).__name__, *{{name.split("_")[1] for name in names if name.startswith("modeling_")}})
""")
        assert printed.split() == [f"{family.title()}{'ForCausalLM' if family == 'rnn' else HEAD}", family]
    assert len(list_families()) >= 7


def test_a_checkpoint_says_its_family_head_and_config(checkpoint: Path, tmp_path: Path) -> None:
    opened = open_checkpoint(checkpoint)
    assert (opened.family, opened.head, opened.config.hidden_sizes) == ("mlp", HEAD, [8])
    config = json.loads((checkpoint / "config.json").read_text())
    for architectures in (None, []):
        (checkpoint / "config.json").write_text(json.dumps({**config, "architectures": architectures}))
        assert open_checkpoint(checkpoint).head == ""
        with pytest.raises(HubmodelsError, match="names no class in architectures"):
            load_exactly(checkpoint)
    for architectures in ("MlpModel.py", ["MlpModel", "MlpModel"], ["os.system"], 7, {"a": 1}, [["MlpModel"]]):
        (checkpoint / "config.json").write_text(json.dumps({**config, "architectures": architectures}))
        with pytest.raises(HubmodelsError, match="not one of MlpForImageClassification") as caught:
            open_checkpoint(checkpoint)
        assert "\n" not in str(caught.value)


def test_a_model_is_loaded_exactly_or_not_at_all(checkpoint: Path) -> None:
    stored = load_file(checkpoint / "model.safetensors")
    halves = {name: value.to(torch.bfloat16) for name, value in stored.items()}
    save_file(halves, checkpoint / "model.safetensors", metadata={"format": "pt"})
    model = load_exactly(checkpoint)
    assert all(torch.equal(value, halves[name].float()) for name, value in model.state_dict().items())
    name = next(iter(stored))
    for tensors, message in (
        ({key: value for key, value in stored.items() if key != name}, f"lacks weights {name}"),
        (stored | {"backdoor": torch.ones(1)}, "has unknown weights backdoor"),
        (stored | {"back\ndoor": torch.ones(1)}, "has unknown weights back door"),
        (stored | {name: torch.ones(2, 2, 2)}, rf"its {name} has shape \(2, 2, 2\), the fields of the config need"),
    ):
        save_file(tensors, checkpoint / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(HubmodelsError, match=message) as caught:
            load_exactly(checkpoint)
        assert "\n" not in str(caught.value)


def test_a_config_that_asks_for_terabytes_is_refused_before_they_are_allocated(checkpoint: Path) -> None:
    config = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps({**config, "hidden_sizes": [2**22, 2**22]}))
    with pytest.raises(HubmodelsError, match=r"has shape \(3, 8\), .* need \(3, 4194304\)"):
        load_model(checkpoint)
    with pytest.raises(HubmodelsError, match=r"has shape \(3, 8\), .* need \(3, 4194304\)"):
        load_exactly(checkpoint)


def test_checksums_are_read_and_compared_in_one_way(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    right = {"a.txt": hash_file(tmp_path / "a.txt")}
    assert listed_checksums({"checksums": {"files": right}}) == right
    for none in ({}, {"checksums": None}, {"checksums": []}, {"checksums": {"files": [1]}}):
        assert listed_checksums(none) == {}
    for wrong in (None, 3, "", "0" * 63, "G" * 64):
        with pytest.raises(HubmodelsError, match=r"the checksum of a\.txt in metrics\.json is no SHA-256"):
            listed_checksums({"checksums": {"files": {"a.txt": wrong}}})
    check_checksums(right, {"a.txt": tmp_path / "a.txt", "unlisted.txt": tmp_path / "nothing"})
    with pytest.raises(HubmodelsError, match=r"a\.txt is not the file that was released"):
        check_checksums({"a.txt": "0" * 64}, {"a.txt": tmp_path / "a.txt"})


def test_a_metrics_file_of_somebody_else_is_no_reason_to_refuse_a_checkpoint(checkpoint: Path) -> None:
    for text in ("[1]", "{", '{"checksums": 3}', '{"checksums": {"files": {"model.safetensors": "old"}}}'):
        (checkpoint / "metrics.json").write_text(text)
        load_model(checkpoint)


def test_a_folder_that_is_not_there_is_said_in_one_line_without_the_hub(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    for source in ("runs/none/release", "runs/none", "elsewhere/release", "./none", str(tmp_path / "none")):
        with pytest.raises(HubmodelsError) as caught:
            find_file(source, "recipe.yaml")
        assert str(caught.value).startswith(f"there is no folder {source}; give the folder of a trained model")
        assert "huggingface.co" not in str(caught.value)
