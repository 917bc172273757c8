"""`save_pretrained` where hubmodels is imported gives folders that load where it is not."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoModelForImageClassification, PreTrainedModel, ViTConfig, ViTModel

from hubmodels import HubmodelsImageProcessor
from hubmodels.checkpoint import saving_plainly
from hubmodels.families import build_model, family_head
from hubmodels.processors.processing_audio import HubmodelsAudioFeatureExtractor
from hubmodels.processors.processing_table import TabularProcessor

CNN = {"image_size": 8, "hidden_sizes": [4, 8], "depths": [1, 1], "embedding_size": 4, "num_labels": 3}
PROCESSOR = {"size": {"height": 8, "width": 8}}


def images() -> tuple[PreTrainedModel, HubmodelsImageProcessor]:
    torch.manual_seed(0)
    return build_model("cnn", "ForImageClassification", CNN), HubmodelsImageProcessor(**PROCESSOR)


def loaded_elsewhere(run_python, folder: Path, *classes: str) -> list[str]:
    """The classes that plain transformers gives for a folder, each with its module's package."""
    lines = ["import sys, transformers"]
    for name in classes:
        lines.append(f"cls = type(transformers.{name}.from_pretrained({str(folder)!r}, trust_remote_code=True))")
        lines.append("print(cls.__name__, cls.__module__.split('.')[0])")
    code = "\n".join([*lines, "assert 'hubmodels' not in sys.modules"])
    return run_python(code, HF_HOME=str(folder.parent / "home")).splitlines()


@pytest.mark.parametrize("first", ["model", "processor"])
def test_a_saved_folder_loads_in_plain_transformers_whichever_was_saved_first(run_python, tmp_path, first) -> None:
    folder = tmp_path / "saved"
    parts = images() if first == "model" else images()[::-1]
    for one in parts:
        one.save_pretrained(folder)
    names = ("AutoConfig", "AutoModel", "AutoModelForImageClassification", "AutoImageProcessor")
    classes = ("CnnConfig", "CnnModel", "CnnForImageClassification", "HubmodelsImageProcessor")
    assert loaded_elsewhere(run_python, folder, *names) == [f"{name} transformers_modules" for name in classes]


def test_pipelines_of_a_saved_folder_ask_for_no_trust_where_hubmodels_is_imported(run_python, tmp_path) -> None:
    for one in images():
        one.save_pretrained(tmp_path)
    printed = run_python(
        "import hubmodels; from PIL import Image; from transformers import pipeline\n"
        f"classify = pipeline('image-classification', model={str(tmp_path)!r})\n"
        "print(type(classify.model).__module__, len(classify(Image.new('RGB', (9, 9)))))"
    )
    assert printed.split() == ["hubmodels.models.cnn.modeling_cnn", "3"]


def test_a_model_that_was_loaded_and_saved_again_keeps_what_its_processor_needs(run_python, tmp_path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for one in images():
        one.save_pretrained(first)
    config = json.loads((first / "config.json").read_text())
    config["auto_map"]["AutoImageProcessor"] = "someone/model--processing_image.HubmodelsImageProcessor"  # of the Hub
    (first / "config.json").write_text(json.dumps(config))
    AutoModelForImageClassification.from_pretrained(first).save_pretrained(second)
    images()[1].save_pretrained(second)
    assert "--" not in (second / "config.json").read_text()
    assert loaded_elsewhere(run_python, second, "AutoImageProcessor") == [
        "HubmodelsImageProcessor transformers_modules"
    ]


def test_a_processor_alone_names_its_own_code(run_python, tmp_path) -> None:
    images()[1].save_pretrained(tmp_path / "saved")
    printed = loaded_elsewhere(run_python, tmp_path / "saved", "AutoImageProcessor")
    assert printed == ["HubmodelsImageProcessor transformers_modules"]


def test_tables_and_sounds_load_too(run_python, tmp_path) -> None:
    import pandas

    table, sounds = tmp_path / "table", tmp_path / "sounds"
    values = {"num_numeric_features": 2, "hidden_sizes": [4], "num_labels": 2}
    build_model("mlp", "ForTabularClassification", values).save_pretrained(table)
    TabularProcessor.fit(pandas.DataFrame({"a": [1.0, 2, 3], "b": [3.0, 1, 2]})).save_pretrained(table)
    HubmodelsAudioFeatureExtractor(sampling_rate=8_000).save_pretrained(sounds)
    build_model("cnn", "ForAudioClassification", {**CNN, "num_channels": 1}).save_pretrained(sounds)
    printed = loaded_elsewhere(run_python, table, "AutoModel", "AutoProcessor")
    assert printed == ["MlpForTabularClassification transformers_modules", "TabularProcessor transformers_modules"]
    printed = loaded_elsewhere(run_python, sounds, "AutoModelForAudioClassification", "AutoFeatureExtractor")
    assert [line.split()[1] for line in printed] == ["transformers_modules"] * 2


def test_other_librarys_models_and_a_users_subclass_are_saved_as_ever(tmp_path) -> None:
    class OfAUser(family_head("cnn", "ForImageClassification")):
        pass

    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    ViTModel(ViTConfig(image_size=8, patch_size=4, **sizes)).save_pretrained(tmp_path / "vit")
    OfAUser(images()[0].config).save_pretrained(tmp_path / "user")
    for folder in ("vit", "user"):
        assert not list((tmp_path / folder).glob("*.py"))
        assert "auto_map" not in json.loads((tmp_path / folder / "config.json").read_text())


def test_a_plain_save_and_a_process_that_is_not_the_main_one_write_no_code(tmp_path) -> None:
    with saving_plainly():
        for one in images():
            one.save_pretrained(tmp_path / "plain")
    images()[0].save_pretrained(tmp_path / "other", is_main_process=False)
    assert not [*tmp_path.rglob("*.py")]
    assert "auto_map" not in (tmp_path / "plain" / "config.json").read_text()


def test_the_code_is_there_before_an_upload(tmp_path, monkeypatch) -> None:
    uploaded: dict[str, list[str]] = {}

    class Hub:
        def create_repo(self, repo_id, **kwargs):
            return SimpleNamespace(repo_id=repo_id)

        def create_commit(self, repo_id, operations, **kwargs) -> None:
            uploaded[repo_id] = [operation.path_in_repo for operation in operations]

    for module in ("modeling_utils", "utils.hub", "image_processing_base"):
        monkeypatch.setattr(f"transformers.{module}.hf_api", Hub)
    for module in ("modeling_utils", "utils.hub"):
        card = SimpleNamespace(save=lambda path: None)
        monkeypatch.setattr(f"transformers.{module}.create_and_tag_model_card", lambda *_, _card=card, **__: _card)
    model, processor = images()
    model.save_pretrained(tmp_path / "m", push_to_hub=True, repo_id="someone/model")
    model.push_to_hub("someone/other")
    processor.save_pretrained(str(tmp_path / "p"), push_to_hub=True, repo_id="someone/processor")
    for repo_id in ("someone/model", "someone/other"):
        assert {"config.json", "model.safetensors", "configuration_cnn.py", "modeling_cnn.py"} <= set(uploaded[repo_id])
    assert set(uploaded["someone/processor"]) == {"preprocessor_config.json", "processing_image.py"}
