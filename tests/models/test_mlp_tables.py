"""The perceptron on tables: embeddings, ensembles and targets against formulas written by hand."""

import math

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassError

from hubmodels import (
    MlpConfig,
    MlpForImageClassification,
    MlpForTabularClassification,
    MlpForTabularRegression,
    MlpModel,
)

TABLE = {"num_numeric_features": 2, "categorical_cardinalities": [3, 1], "hidden_sizes": [16, 8], "num_labels": 2}
EDGES = [[-1.0, 0.0, 2.0], [0.0, 0.5, 1.0, 4.0]]


def table_inputs(rows: int = 5) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    numbers = torch.randn(rows, 2, generator=generator) * 2
    codes = torch.randint(4, (rows, 2), generator=generator) % torch.tensor([4, 2])
    return {"numeric_features": numbers, "categorical_features": codes}


def draw_all(model: torch.nn.Module) -> None:
    """Every weight at random, also those that start at a constant."""
    generator = torch.Generator().manual_seed(1)
    for weight in model.parameters():
        weight.data.copy_(torch.randn(weight.shape, generator=generator))


@pytest.mark.parametrize("value", [-3.0, -1.0, -0.5, 0.0, 0.25, 0.5, 2.0, 3.0, 9.0])
def test_a_piecewise_linear_number_is_linear_between_its_edges(value: float) -> None:
    config = MlpConfig(
        num_numeric_features=2, numeric_embedding="piecewise_linear", bin_edges=EDGES, numeric_embedding_size=3
    )
    embedding = MlpModel(config).features.numbers
    draw_all(embedding)
    given = embedding(torch.full((1, 2), value))[0].detach().numpy()
    for column, edges in enumerate(EDGES):
        weight, bias = embedding.linear_weight[column].tolist(), embedding.linear_bias[column].tolist()
        bins = embedding.bin_weight[column].tolist()
        # The bins' vectors as a line through points at the edges: numpy's interpolation knows nothing of ours.
        for dim in range(3):
            steps = [bins[index][dim] for index in range(len(edges) - 1)]
            line = np.interp(value, edges, np.concatenate([[0.0], np.cumsum(steps)]))
            assert given[column, dim] == pytest.approx(value * weight[dim] + bias[dim] + line, abs=1e-5)


def test_a_periodic_number_is_itself_and_a_map_of_its_cosines() -> None:
    config = MlpConfig(
        num_numeric_features=1, numeric_embedding="periodic", numeric_embedding_size=3, num_frequencies=2
    )
    embedding = MlpModel(config).features.numbers
    value = 0.7
    waves = [
        math.cos(2 * math.pi * value * f + p)
        for f, p in zip(embedding.frequency[0].tolist(), embedding.phase[0].tolist(), strict=True)
    ]
    weight, bias = embedding.weight[0].tolist(), embedding.bias[0].tolist()
    mapped = [sum(waves[wave] * weight[wave][out] for wave in range(2)) + bias[out] for out in range(2)]
    expected = torch.tensor([value, *mapped])
    torch.testing.assert_close(embedding(torch.tensor([[value]]))[0, 0], expected)


def test_few_categories_are_one_hot_many_are_embedded_and_unknown_ones_are_zero() -> None:
    config = MlpConfig(categorical_cardinalities=[2, 12], max_one_hot_categories=9, categorical_embedding_size=4)
    model = MlpModel(config)
    features = model.features(None, torch.tensor([[1, 0], [2, 5], [0, 12], [9, 99]]), torch.float32)
    table = model.features.embeddings[0].weight
    assert features.shape == (4, 6)
    assert features[:, :2].tolist() == [[1, 0], [0, 1], [0, 0], [0, 0]]
    expected = torch.stack([torch.zeros(4), table[5], table[12], torch.zeros(4)])
    assert torch.equal(features[:, 2:], expected)


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("initialization", ["default", "realmlp"])
@pytest.mark.parametrize("numeric_embedding", ["none", "periodic", "piecewise_linear"])
def test_an_ensemble_is_the_mean_of_its_members_run_one_by_one(
    residual: bool, initialization: str, numeric_embedding: str
) -> None:
    values = {
        "initialization": initialization,
        **TABLE, "hidden_sizes": [16, 16], "residual": residual, "normalization": "layer_norm", "num_ensemble": 4,
        "numeric_embedding": numeric_embedding, "bin_edges": EDGES, "numeric_embedding_size": 3,
    }  # fmt: skip
    inputs = table_inputs()
    classifier = MlpForTabularClassification(MlpConfig(**values)).eval()
    regressor = MlpForTabularRegression(MlpConfig(**values, target_mean=[3.0, -1.0], target_std=[2.0, 0.5])).eval()
    for model in (classifier, regressor):
        draw_all(model)
        members = [model.extract_member(index) for index in range(4)]
        assert all(member.config.num_ensemble == 1 for member in members)
        with torch.no_grad():
            logits = torch.stack([member(**inputs).logits for member in members])
            outputs = model(**inputs)
        predictions = logits.softmax(-1) if model is classifier else logits
        together = outputs.logits.softmax(-1) if model is classifier else outputs.logits
        torch.testing.assert_close(together, predictions.mean(0), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(outputs.spread, predictions.std(0), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(outputs.member_logits, logits.transpose(0, 1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("residual", [False, True])
def test_many_rows_take_a_table_of_the_first_layer_and_give_what_few_rows_give(residual: bool, monkeypatch) -> None:
    values = {
        **TABLE, "hidden_sizes": [16, 16], "residual": residual, "normalization": "layer_norm",
        "numeric_embedding": "piecewise_linear", "bin_edges": EDGES, "numeric_embedding_size": 3,
    }  # fmt: skip
    model = MlpForTabularRegression(MlpConfig(**values)).eval()
    draw_all(model)
    inputs = table_inputs(1000)
    # At, between and beyond the edges of both numbers, and the smallest steps beside one.
    special = [-1.0, 0.0, 2.0, 0.5, 1.0, 4.0, -9.0, 9.0, 1 - 1e-7, 1 + 1e-7]
    inputs["numeric_features"][:10] = torch.tensor(special)[:, None]
    calls = []
    embedding = type(model.mlp.features.numbers)
    mapped = embedding.map_linearly
    monkeypatch.setattr(embedding, "map_linearly", lambda *args: calls.append(1) or mapped(*args))
    with torch.no_grad():
        many = model(**inputs, output_hidden_states=True)
        few = [model(**{name: value[start : start + 100] for name, value in inputs.items()}) for start in (0, 900)]
    assert calls == [1]
    torch.testing.assert_close(many.logits[:100], few[0].logits, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(many.logits[900:], few[1].logits, rtol=1e-4, atol=1e-4)
    with_gradients = model(**inputs, output_hidden_states=True)
    assert len(calls) == 1
    for given, expected in zip(many.hidden_states, with_gradients.hidden_states, strict=True):
        torch.testing.assert_close(given, expected, rtol=1e-4, atol=1e-4)


def test_realmlp_weights_are_normal_and_divided_by_the_root_of_their_inputs() -> None:
    torch.manual_seed(0)
    values = {**TABLE, "hidden_sizes": [400, 300], "initialization": "realmlp"}
    model = MlpForTabularRegression(MlpConfig(**values)).eval()
    first, second = (layer.linear for layer in model.mlp.body.layers)
    for linear in (second, model.output_layer):
        assert linear.weight.std().item() == pytest.approx(1, rel=0.05)
    assert second.bias.std().item() == pytest.approx(10, rel=0.1)
    inputs = table_inputs(300)
    numbers, codes = inputs["numeric_features"], inputs["categorical_features"]
    one_hot = torch.stack([codes[:, 0] == 1, codes[:, 0] == 2, codes[:, 0] == 3, codes[:, 1] == 1], dim=1)
    hidden = torch.cat([numbers, one_hot.float()], dim=1) * (6 * model.mlp.front_scale.weight)
    for linear in (first, second, model.output_layer):
        hidden = hidden @ linear.weight.T / math.sqrt(linear.in_features) + linear.bias / 10
        hidden = hidden.relu() if linear is not model.output_layer else hidden
    torch.testing.assert_close(model(**inputs).logits, hidden, rtol=1e-4, atol=1e-5)
    assert torch.allclose(model.mlp.front_scale.weight, torch.tensor(1 / 6))


def test_in_training_each_member_has_a_loss_of_its_own() -> None:
    inputs = table_inputs()
    labels = torch.tensor([0, 1, 1, 0, 1])
    classifier = MlpForTabularClassification(MlpConfig(**TABLE, num_ensemble=3)).train()
    outputs = classifier(**inputs, labels=labels)
    losses = [torch.nn.functional.cross_entropy(outputs.member_logits[:, k], labels) for k in range(3)]
    torch.testing.assert_close(outputs.loss, sum(losses) / 3)
    targets = torch.randn(5, 2)
    regressor = MlpForTabularRegression(MlpConfig(**TABLE, num_ensemble=3)).train()
    outputs = regressor(**inputs, labels=targets)
    torch.testing.assert_close(outputs.loss, (outputs.member_logits - targets[:, None]).square().mean())


def test_the_mean_of_multi_label_members_is_of_their_probabilities() -> None:
    model = MlpForTabularClassification(
        MlpConfig(**TABLE, num_ensemble=3, problem_type="multi_label_classification")
    ).eval()
    outputs = model(**table_inputs())
    torch.testing.assert_close(outputs.logits.sigmoid(), outputs.member_logits.sigmoid().mean(1))


def test_targets_keep_their_unit_and_predictions_their_range() -> None:
    scale = {
        "target_mean": [100.0, 5.0],
        "target_std": [20.0, 2.0],
        "target_min": [90.0, 4.0],
        "target_max": [110.0, 6.0],
    }
    model = MlpForTabularRegression(MlpConfig(**TABLE, **scale)).eval()
    plain = MlpForTabularRegression(MlpConfig(**TABLE)).eval()
    draw_all(plain)
    model.load_state_dict(plain.state_dict())
    inputs, targets = table_inputs(), torch.tensor([[100.0, 5.0]] * 5)
    raw = plain(**inputs).logits
    expected = torch.stack([(raw[:, 0] * 20 + 100).clamp(90, 110), (raw[:, 1] * 2 + 5).clamp(4, 6)], dim=1)
    outputs = model(**inputs, labels=targets)
    torch.testing.assert_close(outputs.logits, expected)
    torch.testing.assert_close(outputs.loss, raw.square().mean())  # normalised targets are 0


def test_quantiles_are_fitted_by_the_pinball_loss() -> None:
    model = MlpForTabularRegression(MlpConfig(**{**TABLE, "num_labels": 1}, quantiles=[0.1, 0.9]))
    outputs = model(**table_inputs(), labels=torch.zeros(5))
    low, high = outputs.quantile_values[:, 0].unbind(1)
    torch.testing.assert_close(outputs.quantile_levels, torch.tensor([[0.1, 0.9]] * 5))
    pinball = torch.cat([torch.where(-q >= 0, level * -q, (level - 1) * -q) for q, level in ((low, 0.1), (high, 0.9))])
    torch.testing.assert_close(outputs.loss, outputs.logits.square().mean() + pinball.mean())


def test_trained_quantiles_are_those_of_the_noise() -> None:
    torch.manual_seed(0)
    config = MlpConfig(num_numeric_features=1, hidden_sizes=[8], num_labels=1, quantiles=[0.05, 0.5, 0.95])
    model = MlpForTabularRegression(config)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    numbers, noise = torch.zeros(4000, 1), torch.randn(4000)
    for _ in range(300):
        optimizer.zero_grad()
        model(numeric_features=numbers, labels=noise).loss.backward()
        optimizer.step()
    found = model(numeric_features=numbers[:1]).quantile_values[0, 0]
    expected = noise.quantile(torch.tensor(config.quantiles))
    torch.testing.assert_close(found, expected, rtol=0, atol=0.03)


def test_a_reloaded_model_has_the_edges_and_targets_of_its_config(tmp_path) -> None:
    values = {**TABLE, "numeric_embedding": "piecewise_linear", "bin_edges": EDGES, "target_mean": [1.0, 2.0]}
    model = MlpForTabularRegression(MlpConfig(**values))
    model.save_pretrained(tmp_path)
    loaded = MlpForTabularRegression.from_pretrained(tmp_path)
    ours, theirs = dict(model.named_buffers()), dict(loaded.named_buffers())
    assert len(ours) >= 8
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"numeric_features": None}, "numeric_features must be floating-point of shape .batch, 2., got none"),
        ({"numeric_features": torch.zeros(5, 3)}, "shape .batch, 2., got torch.float32 of shape .5, 3."),
        ({"numeric_features": torch.zeros(5, 2, dtype=torch.int64)}, "floating-point"),
        ({"categorical_features": torch.zeros(5, 2)}, "integers of shape"),
    ],
)
def test_features_of_another_shape_are_refused_with_the_right_one(change: dict, message: str) -> None:
    model = MlpForTabularClassification(MlpConfig(**TABLE))
    with pytest.raises(ValueError, match=message):
        model(**{**table_inputs(), **change})


def test_heads_of_tables_and_of_images_refuse_each_others_configs() -> None:
    with pytest.raises(ValueError, match="takes tables"):
        MlpForTabularRegression(MlpConfig())
    with pytest.raises(ValueError, match="takes images"):
        MlpForImageClassification(MlpConfig(**TABLE))
    with pytest.raises(ValueError, match="for tables only"):
        MlpForImageClassification(MlpConfig(num_ensemble=2))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_numeric_features": -1}, "num_numeric_features must be at least 0"),
        ({"num_ensemble": 0}, "num_ensemble must be at least 1"),
        ({"categorical_cardinalities": [3, 0]}, "each be at least 1"),
        ({"num_numeric_features": 1, "numeric_embedding": "piecewise_linear"}, "bin_edges must be given for 1"),
        (
            {"num_numeric_features": 1, "numeric_embedding": "piecewise_linear", "bin_edges": [[1, 1]]},
            "ascending",
        ),
        ({"numeric_embedding": "periodic", "numeric_embedding_size": 1}, "at least 2"),
        ({"frequency_scale": 0}, "greater than 0"),
        ({"num_numeric_features": 1, "target_mean": [1.0, 2.0, 3.0]}, "one value for each"),
        ({"target_std": [0.0]}, "greater than 0"),
        ({"quantiles": [0.5, 1.0]}, "between 0 and 1"),
    ],
)
def test_a_table_that_cannot_work_is_refused(fields: dict, message: str) -> None:
    with pytest.raises(StrictDataclassError, match=message):
        MlpConfig(**fields)
