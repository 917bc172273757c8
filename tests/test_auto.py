"""Registration with transformers: Auto classes, processors, pipelines."""

from pathlib import Path

import pytest
import torch

import hubmodels
from hubmodels import auto
from hubmodels.families import build_model, config_class, family_classes, family_head

HEAD = "ForImageClassification"
MLP = {"image_size": 4, "hidden_sizes": [8], "id2label": {0: "cat", 1: "dog", 2: "owl"}}
CNN = {"image_size": 8, "hidden_sizes": [4, 8], "depths": [1, 1], "embedding_size": 4, "num_labels": 3}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "checkpoint"
    torch.manual_seed(0)
    build_model("mlp", HEAD, MLP).save_pretrained(folder)
    return folder


def test_public_names_are_found_and_others_are_not() -> None:
    from hubmodels import AutoModelForImageClassification, CnnForImageClassification, CnnModel, MlpConfig

    assert MlpConfig is config_class("mlp")
    assert {"Model": CnnModel, HEAD: CnnForImageClassification}.items() <= family_classes("cnn").items()
    assert AutoModelForImageClassification is auto.auto_class(HEAD)
    for name in ("CnnForFlying", "AutoModelForFlying", "Nothing", "math"):
        with pytest.raises(AttributeError, match=name):
            getattr(hubmodels, name)


@pytest.mark.parametrize(
    "first",
    [
        "import hubmodels",
        "from transformers.models.auto import image_processing_auto, modeling_auto; import hubmodels",
    ],
    ids=["hubmodels first", "transformers first"],
)
def test_transformers_knows_the_families_whichever_is_imported_first(run_python, first: str, tmp_path: Path) -> None:
    from hubmodels import HubmodelsImageProcessor

    model = build_model("cnn", HEAD, {**CNN, "num_channels": 1})
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


def test_the_import_loads_neither_torch_nor_transformers(run_python) -> None:
    printed = run_python("""
import sys, time
started = time.process_time()
import hubmodels
seconds = time.process_time() - started
from hubmodels.families import config_help, family_tasks
hubmodels.list_families(), family_tasks("mlp"), config_help("cnn")
print([name for name in ("torch", "transformers", "numpy", "huggingface_hub") if name in sys.modules], seconds < 0.3)
""")
    # 0.08 s of processor time here, of which wrapt takes half; the bound leaves room for slow machines.
    assert printed.strip() == "[] True"


def test_a_head_that_transformers_lacks_gets_an_auto_class_of_ours(checkpoint: Path) -> None:
    cls = auto.auto_class("ForTestsOnly")
    assert cls.__name__ == "AutoModelForTestsOnly"
    assert auto.auto_class("ForTestsOnly") is cls
    cls.register(config_class("mlp"), family_head("mlp", HEAD))
    assert type(cls.from_pretrained(checkpoint)).__name__ == "MlpForImageClassification"
    with pytest.raises(ValueError, match="CnnConfig"):
        cls.from_config(hubmodels.CnnConfig())


def test_a_file_of_pipelines_can_be_imported_by_itself(run_python) -> None:
    printed = run_python("import hubmodels.pipelines.images as images; print(*images.PIPELINES)")
    assert "unconditional-image-generation" in printed.split()
