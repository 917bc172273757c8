"""A small real release, made once, and a loopback Hub for each test."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from huggingface_hub import HfApi

sys.path.insert(0, str(Path(__file__).parents[1]))

from hub_repository import User
from hub_server import HubServer

from hubmodels import families
from hubmodels.figures import new_figure
from hubmodels.processors.processing_image import HubmodelsImageProcessor
from hubmodels.publishing import release
from hubmodels.recipe import Recipe
from hubmodels.report import Figure
from hubmodels.tasks import get_task

WRITE, READ, STRANGER = "hf_writewritewritewrite", "hf_readreadreadreadread", "hf_strangerstrangerstra"


def interval(value: float, width: float = 0.02) -> dict[str, float]:
    return {"value": value, "low": value - width / 2, "high": value + width / 2}


def make_release(folder: Path, seed: int = 0, **changes: Any) -> Path:
    """A release of a small, untrained image classifier; its results are invented."""
    torch.manual_seed(seed)
    labels = {0: "bag", 1: "coat", 2: "shirt"}
    values = {"num_channels": 1, "image_size": 8, "id2label": labels, "label2id": {v: k for k, v in labels.items()}}
    model = families.build_model("mlp", "ForImageClassification", values | {"hidden_sizes": [16]})
    processor = HubmodelsImageProcessor(
        size={"height": 8, "width": 8}, num_channels=1, image_mean=[0.3], image_std=[0.4]
    )
    task = get_task("image-classification")()
    figure, axes = new_figure(2, 2)
    axes.plot([0, 1])
    results = {
        "num_rows": 1000,
        "main_metric": "accuracy",
        "metrics": {"accuracy": interval(0.9), "macro_f1": interval(0.89)},
        "per_class": {label: {"precision": interval(0.9), "recall": interval(0.8)} for label in labels.values()},
        "baseline": {
            "name": "logistic regression",
            "seconds": 1.0,
            "metrics": {"accuracy": interval(0.8), "macro_f1": interval(0.79)},
        },
        "difference": {"metric": "accuracy", **interval(0.1)},
        "verdict": "The network was worth it.",
    }
    arguments = {
        "model": model,
        "processor": processor,
        "task": task,
        "recipe": Recipe(
            family="mlp", task="image-classification", data={"dataset": "someone/pictures"}, training={"seed": seed}
        ),
        "results": results,
        "golden_inputs": task.input.bind(processor).golden_inputs(),
        "plots": [Figure("confusion_matrix", "Confusion matrix. Rows are the true classes.", figure)],
        "data": {
            "dataset": "someone/pictures",
            "revision": "0" * 40,
            "fingerprint": "abc123",
            "license": "mit",
            "carved": ["validation"],
            "num_rows": {"train": 900, "validation": 100, "test": 1000},
        },
        "provenance": {
            "command": "hubmodels train --config recipe.yaml",
            "seed": seed,
            "hardware": "a machine",
            "training_minutes": 1.25,
            "epochs": 3.0,
            "steps": 21,
            "versions": {"torch": torch.__version__},
        },
    }
    return release(folder, **(arguments | changes))


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The release, which no test may change."""
    return make_release(tmp_path_factory.mktemp("made") / "tiny-classifier")


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy of the release to change."""
    return Path(shutil.copytree(made, tmp_path / made.name))


@pytest.fixture
def hub(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    """A loopback Hub where `me` can write, with a cache of its own; without xet storage, as a self-hosted one."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", getattr(request, "param", True))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with HubServer() as server:
        server.tokens |= {WRITE: User("me"), READ: User("me", "read"), STRANGER: User("stranger")}
        yield server


@pytest.fixture
def api(hub: HubServer) -> HfApi:
    """The Hub as the owner of `me/...` sees it."""
    return HfApi(endpoint=hub.url, token=WRITE)
