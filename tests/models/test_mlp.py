"""The multilayer perceptron against networks written by hand, and its config's limits (tables: test_mlp_tables.py)."""

import math

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from torch import nn

from hubmodels import MlpConfig, MlpForImageClassification, MlpModel

# What test_all_families.py runs over this family.
TINY = {
    "plain": {"hidden_sizes": [16, 8], "num_channels": 2, "image_size": [3, 4], "num_labels": 3},
    "batch_norm": {"hidden_sizes": [16], "normalization": "batch_norm", "image_size": 4, "num_labels": 3},
    "residual": {
        "hidden_sizes": [16, 16], "residual": True, "normalization": "layer_norm", "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1, "image_size": 4, "num_labels": 3,
    },
    "table": {
        "num_numeric_features": 4, "categorical_cardinalities": [2, 12], "hidden_sizes": [32, 32], "num_labels": 3,
        "initialization": "realmlp",
    },
    "periodic": {
        "num_numeric_features": 3, "numeric_embedding": "periodic", "numeric_embedding_size": 4, "num_labels": 3,
        "categorical_cardinalities": [1], "hidden_sizes": [16, 16], "residual": True, "hidden_act": "mish",
        "normalization": "layer_norm",
    },
    "ensemble": {
        "num_numeric_features": 4, "numeric_embedding": "piecewise_linear", "numeric_embedding_size": 3,
        "bin_edges": [[-2, 0, 2], [-1, 0, 0.5, 1], [0, 1], [-3, 3]], "categorical_cardinalities": [3],
        "hidden_sizes": [16], "num_ensemble": 3, "num_labels": 3, "hidden_dropout_prob": 0.1,
    },
}  # fmt: skip
IMAGE_HEADS, TABLE_HEADS = (
    ["Model", "ForImageClassification"],
    ["Model", "ForTabularClassification", "ForTabularRegression"],
)
HEADS = {name: TABLE_HEADS if "num_numeric_features" in tiny else IMAGE_HEADS for name, tiny in TINY.items()}


def tiny_inputs(config: MlpConfig, head: str, rows: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """Inputs of `forward`, with targets where the head has them."""
    if config.is_tabular:
        limits = torch.tensor(config.categorical_cardinalities) + 1
        inputs = {
            "numeric_features": torch.randn(rows, config.num_numeric_features, generator=generator),
            "categorical_features": torch.randint(100, (rows, len(limits)), generator=generator) % limits,
        }
    else:
        inputs = {"pixel_values": torch.randn(rows, *config.image_shape, generator=generator)}
    if head.endswith("Classification"):
        inputs["labels"] = torch.arange(rows) % config.num_labels
    elif head.endswith("Regression"):
        inputs["labels"] = torch.randn(rows, config.num_labels, generator=generator)
    return inputs


def test_the_default_classifier_is_simplenet() -> None:
    model = MlpForImageClassification(MlpConfig(num_labels=10))
    simplenet = nn.Sequential(nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
    simplenet.load_state_dict(dict(zip(simplenet.state_dict(), model.state_dict().values(), strict=True)))
    pixel_values, labels = torch.randn(5, 1, 28, 28), torch.arange(5)
    outputs = model(pixel_values=pixel_values, labels=labels)
    assert sum(weight.numel() for weight in model.parameters()) == 101_770
    torch.testing.assert_close(outputs.logits, simplenet(pixel_values))
    torch.testing.assert_close(outputs.loss, nn.CrossEntropyLoss()(simplenet(pixel_values), labels))


def test_normalised_layers_are_linear_then_norm_then_activation_then_dropout() -> None:
    config = MlpConfig(image_size=4, hidden_sizes=[8, 6], normalization="batch_norm", hidden_act="gelu")
    model = MlpModel(config).train()
    layers = []
    for sizes in ((16, 8), (8, 6)):
        layers += [nn.Linear(*sizes), nn.BatchNorm1d(sizes[1]), nn.GELU()]
    reference = nn.Sequential(nn.Flatten(), *layers).train()
    reference.load_state_dict(dict(zip(reference.state_dict(), model.state_dict().values(), strict=True)))
    pixel_values = torch.randn(7, 1, 4, 4)
    torch.testing.assert_close(model(pixel_values).last_hidden_state, reference(pixel_values))


def test_residual_layers_add_their_input() -> None:
    config = MlpConfig(image_size=4, hidden_sizes=[8, 8], normalization="layer_norm", residual=True)
    model = MlpModel(config).eval()
    state = {name.removeprefix("body."): value for name, value in model.state_dict().items()}
    pixel_values = torch.randn(7, 1, 4, 4)

    def norm(hidden: torch.Tensor, name: str) -> torch.Tensor:
        centred = hidden - hidden.mean(-1, keepdim=True)
        scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]

    def linear(hidden: torch.Tensor, name: str) -> torch.Tensor:
        return hidden @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    first = linear(pixel_values.flatten(1), "layers.0")
    branch = linear(linear(norm(first, "layers.1.norm"), "layers.1.linear_in").clamp(min=0), "layers.1.linear_out")
    expected = norm(first + branch, "norm").clamp(min=0)
    torch.testing.assert_close(model(pixel_values).last_hidden_state, expected)


def test_hidden_states_are_the_output_of_each_layer() -> None:
    config = MlpConfig(image_size=4, hidden_sizes=[8, 6, 5])
    hidden_states = MlpModel(config)(torch.randn(2, 1, 4, 4), output_hidden_states=True).hidden_states
    assert [tuple(hidden.shape) for hidden in hidden_states] == [(2, 8), (2, 6), (2, 5)]


def test_weights_start_uniform_within_one_over_the_root_of_the_inputs() -> None:
    weight = MlpModel(MlpConfig(hidden_sizes=[512])).body.layers[0].linear.weight
    bound = 1 / math.sqrt(784)
    assert weight.abs().max() <= bound
    # A uniform variable in +-b has standard deviation b / sqrt(3); 400,000 draws give it to 0.2 %.
    assert weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.01)


@pytest.mark.parametrize(
    "shape", [(2, 3, 28, 28), (2, 1, 28, 27), (2, 784), (1, 28, 28)], ids=lambda shape: "x".join(map(str, shape))
)
def test_images_of_another_shape_are_refused_with_the_right_one(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"\(batch, 1, 28, 28\).*image processor"):
        MlpModel(MlpConfig())(torch.zeros(shape))


def test_bytes_are_refused() -> None:
    with pytest.raises(ValueError, match="floating-point"):
        MlpModel(MlpConfig())(torch.zeros(1, 1, 28, 28, dtype=torch.uint8))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_channels": 0}, "num_channels must be at least 1"),
        ({"image_size": 0}, "image_size must be at least 1"),
        ({"image_size": [28, 28, 28]}, "height and width"),
        ({"hidden_sizes": []}, "at least one width"),
        ({"hidden_sizes": [8, 0]}, "at least 1"),
        ({"hidden_sizes": [8, 9], "residual": True}, "all equal"),
        ({"hidden_act": "rellu"}, "hidden_act must be one of"),
        ({"hidden_dropout_prob": 1}, "below 1"),
        ({"normalization": "layernorm"}, "normalization"),
    ],
)
def test_a_config_that_cannot_work_is_refused(fields: dict, message: str) -> None:
    with pytest.raises(StrictDataclassError, match=message):
        MlpConfig(**fields)


def test_a_batch_of_one_row_trains_with_batch_normalisation():
    torch.manual_seed(0)
    config = MlpConfig(image_size=4, hidden_sizes=[8], normalization="batch_norm", num_labels=3)
    model = MlpForImageClassification(config)
    pixels, labels = torch.randn(6, 1, 4, 4), torch.tensor([0, 1, 2, 0, 1, 2])
    model.train()(pixels, labels=labels)  # moves the running statistics
    alone = model(pixels[:1], labels=labels[:1])
    alone.loss.backward()
    assert all(weight.grad is not None for weight in model.parameters())
    torch.testing.assert_close(alone.logits, model.eval()(pixels[:1]).logits)
