"""The feature-extraction task: tables of numbers to fewer numbers."""

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, Value
from sklearn.decomposition import PCA
from transformers import AutoModel, AutoProcessor

from hubmodels.errors import HubmodelsError
from hubmodels.fields import option_fields
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


def test_only_columns_of_numbers_are_read(caplog) -> None:
    features = Features(a=Value("float64"), kind=ClassLabel(names=["x", "y"]), note=Value("string"), b=Value("int32"))
    rows = Dataset.from_dict({"a": [0.5], "kind": [1], "note": ["n"], "b": [2]}, features=features)
    with caplog.at_level("INFO", logger="hubmodels"):
        assert FeatureExtraction().select(rows).column_names == ["a", "b"]
    assert [record.message for record in caplog.records] == ["Columns without numbers are left out: kind, note"]
    assert FeatureExtraction.from_options(ignored_column_names=["a"]).select(rows).column_names == ["b"]
    with pytest.raises(HubmodelsError, match=r"no column of numbers, only note \(string\)"):
        FeatureExtraction.from_options(feature_column_names=["note"]).select(rows)


def test_columns_that_do_not_vary_are_refused() -> None:
    task = FeatureExtraction.from_options(categorical_column_names=["code"])
    with pytest.raises(HubmodelsError, match="each holds one value only"):
        task.fit(task.select(Dataset.from_dict({"a": [0.5] * 6, "code": [1, 2] * 3})))
    with pytest.raises(HubmodelsError, match="no column tells anything"):
        task.fit(task.select(Dataset.from_dict({"a": [0.5, 0.5], "code": [2, 2]})))


def test_the_pair_has_the_options_that_it_uses_and_no_others() -> None:
    assert set(option_fields(FeatureExtraction)) == {
        "feature_column_names", "ignored_column_names", "categorical_column_names", "numeric_scaling",
        "column_kinds", "missing_values", "weight_column",
    }  # fmt: skip
    rows = Dataset.from_dict({"a": [1.0, 2.0], "w": [1.0, 2.0]})
    with pytest.raises(HubmodelsError, match="feature-extraction does not weigh its rows"):
        FeatureExtraction.from_options(weight_column="w").select(rows)  # of every task, so that it is said who weighs


def test_a_missing_number_is_the_median_and_categories_are_not_encoded() -> None:
    rows = Dataset.from_dict({"a": [1.0, None, 3.0, 9.0], "code": [1, 2, 1, 2], "b": [1.0, 2.0, 3.0, 4.0]})
    task = FeatureExtraction.from_options(categorical_column_names=["code"])
    selected = task.select(rows)
    problem = task.fit(selected)
    encoded = problem.encode(selected[:], [0, 1, 2, 3], selected.features)
    assert set(encoded) == set(problem.encoded_features()) == set(problem.golden_inputs()) == {"numeric_features"}
    assert encoded["numeric_features"][1, 0] == encoded["numeric_features"][2, 0]  # 3 is the median
    assert problem.class_names() == ["a", "b"]
    assert problem.config_fields() == {"num_numeric_features": 2}  # no network reads the names of columns


def test_the_baseline_is_scikit_learns_pca_and_explains_its_share_of_the_variance() -> None:
    train, test = (RANDOM.normal(size=(count, 3)) @ RANDOM.normal(size=(3, 5)) for count in (80, 30))
    task = FeatureExtraction()
    problem = task.bind(task.input.bind(None), {"latent_shape": (2,)}, {})
    baseline = problem.baseline(Encoded(train), Encoded(test))
    reference = PCA(2).fit(train)
    errors = (reference.inverse_transform(reference.transform(test)) - test) ** 2
    found = problem.metrics(baseline.rows)
    assert found["mse"] == pytest.approx(errors.mean(), rel=1e-4)
    assert found["explained_variance"] == pytest.approx(1 - errors.mean() / test.var(axis=0).mean(), rel=1e-4)
    np.testing.assert_allclose(problem.class_metrics(baseline.rows)["mse"], errors.mean(axis=0), rtol=1e-3)


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
