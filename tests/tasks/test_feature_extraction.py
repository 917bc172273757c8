"""The feature-extraction task: tables of numbers to fewer numbers."""

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, Value
from sklearn.decomposition import PCA
from transformers import AutoModel, AutoProcessor

from hubmodels.errors import HubmodelsError
from hubmodels.publishing import verify_folder
from hubmodels.recipe import Recipe
from hubmodels.tasks.feature_extraction import FeatureExtraction
from hubmodels.use import predict_file
from hubmodels.workflow import train_and_release

RANDOM = np.random.default_rng(0)


class Encoded:
    """Columns in memory."""

    def __init__(self, values: np.ndarray) -> None:
        import torch

        self.values = torch.from_numpy(values.astype(np.float32))

    def tensor(self, name: str):
        return self.values


def test_only_columns_of_numbers_are_read() -> None:
    features = Features(a=Value("float64"), kind=ClassLabel(names=["x", "y"]), note=Value("string"), b=Value("int32"))
    rows = Dataset.from_dict({"a": [0.5], "kind": [1], "note": ["n"], "b": [2]}, features=features)
    assert FeatureExtraction().select(rows).column_names == ["a", "b"]
    assert FeatureExtraction(ignored_column_names=["a"]).select(rows).column_names == ["b"]
    with pytest.raises(HubmodelsError, match="no column of numbers"):
        FeatureExtraction(feature_column_names=["note"]).select(rows)


def test_the_baseline_is_scikit_learns_pca_and_explains_its_share_of_the_variance() -> None:
    train, test = (RANDOM.normal(size=(count, 3)) @ RANDOM.normal(size=(3, 5)) for count in (80, 30))
    task, values = FeatureExtraction(), {"latent_shape": (2,), "id2label": dict(enumerate("abcde"))}
    baseline = task.baseline(Encoded(train), Encoded(test), None, values, seed=0)
    reference = PCA(2).fit(train)
    errors = (reference.inverse_transform(reference.transform(test)) - test) ** 2
    found = task.metrics(baseline.rows, values)
    assert found["mse"] == pytest.approx(errors.mean(), rel=1e-4)
    assert found["explained_variance"] == pytest.approx(1 - errors.mean() / test.var(axis=0).mean(), rel=1e-4)
    np.testing.assert_allclose(task.class_metrics(baseline.rows, values)["mse"], errors.mean(axis=0), rtol=1e-3)


def test_a_table_becomes_a_verified_release_whose_latents_are_predicted(tmp_path) -> None:
    recipe = Recipe(
        family="autoencoder",
        task="feature-extraction",
        data={"dataset": "sklearn:iris"},
        model={"kind": "plain", "backbone": "dense", "hidden_sizes": [16], "normalization": "none", "latent_size": 2},
        training={"max_steps": 150, "per_device_train_batch_size": 32, "output_dir": str(tmp_path / "run"), "seed": 0,
                  "learning_rate": 0.01, "optim": "adamw"},
    )  # fmt: skip
    outcome = train_and_release(recipe)
    assert outcome.results.metrics["explained_variance"].value > 0.8
    assert outcome.results.baseline_name == "PCA of 2 components"
    assert len(outcome.results.per_class) == 4
    assert verify_folder(outcome.folder)
    names = list(outcome.results.per_class)
    (tmp_path / "rows.csv").write_text("id," + ",".join(names) + "\n7,5.1,3.5,1.4,0.2\n")
    assert predict_file(str(outcome.folder), str(tmp_path / "rows.csv"), str(tmp_path / "out.csv")) == 1
    header, line = (tmp_path / "out.csv").read_text().split()
    assert header.replace('"', "") == "id,latent_0,latent_1"
    model, processor = AutoModel.from_pretrained(outcome.folder), AutoProcessor.from_pretrained(outcome.folder)
    row = processor(dict(zip(names, [5.1, 3.5, 1.4, 0.2], strict=True)), return_tensors="pt")
    latents = model.eval()(numeric_features=row["numeric_features"]).latents
    np.testing.assert_allclose([float(value) for value in line.split(",")[1:]], latents[0].tolist(), atol=1e-5)
