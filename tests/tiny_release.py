"""A small real release, made for tests of publishing, and who may write to the loopback Hub."""

from pathlib import Path
from typing import Any

import torch

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
