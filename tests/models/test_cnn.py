"""The convolutional network against published weight counts and networks written by hand, and its config's limits."""

import math

import pytest
import torch
import torch.nn.functional as F
from huggingface_hub.errors import StrictDataclassError
from torch import nn

from hubmodels import CnnConfig, CnnForAudioClassification, CnnForImageClassification, CnnModel

# What test_all_families.py runs over this family.
SMALL = {
    "num_channels": 2,
    "image_size": 8,
    "num_labels": 3,
    "embedding_size": 4,
    "hidden_sizes": [4, 8],
    "depths": [1, 2],
}
LENET = {
    "block": "plain", "kernel_size": 5, "padding": "valid", "embedding_size": 0, "hidden_sizes": [6, 16],
    "depths": [1, 1], "downsampling": "avg_pool", "normalization": "none", "hidden_act": "tanh", "pooling": "flatten",
    "classifier_hidden_sizes": [120, 84], "num_channels": 1, "image_size": 32,
}  # fmt: skip
VGG11 = {
    "block": "plain", "embedding_size": 0, "hidden_sizes": [64, 128, 256, 512, 512], "depths": [1, 1, 2, 2, 2],
    "downsampling": "max_pool", "normalization": "none", "pooling": "flatten", "image_size": 224,
    "classifier_hidden_sizes": [4096, 4096], "classifier_dropout_prob": 0.5,
}  # fmt: skip
RESNET18 = {
    "embedding_size": 64, "stem_kernel_size": 7, "stem_stride": 2, "stem_pool": True, "image_size": 224,
    "hidden_sizes": [64, 128, 256, 512], "depths": [2, 2, 2, 2],
}  # fmt: skip
RESNET50 = {**RESNET18, "block": "bottleneck", "hidden_sizes": [256, 512, 1024, 2048], "depths": [3, 4, 6, 3]}
WRN = {"pre_activation": True, "hidden_sizes": [160, 320, 640], "depths": [4, 4, 4]}
TINY = {
    "lenet": {**LENET, "hidden_sizes": [3, 5], "classifier_hidden_sizes": [12, 8], "num_labels": 3, "image_size": 16},
    "vgg": {**VGG11, "hidden_sizes": [4, 8], "depths": [1, 2], "classifier_hidden_sizes": [8, 8], "image_size": 8,
            "classifier_dropout_prob": 0.1, "num_labels": 3, "normalization": "batch_norm"},
    "basic": SMALL,
    "bottleneck": {**SMALL, "block": "bottleneck", "hidden_sizes": [8, 16], "stem_kernel_size": 7, "stem_stride": 2,
                   "stem_pool": True, "image_size": 16, "drop_path_rate": 0.1, "normalization": "group_norm"},
    "pre_activation": {**SMALL, "pre_activation": True, "shortcut": "padding", "hidden_act": "silu",
                       "hidden_dropout_prob": 0.1},
    "no_norm": {**SMALL, "pre_activation": True, "normalization": "none"},
    "sound": {**SMALL, "num_channels": 1, "image_size": [6, 10], "hidden_dropout_prob": 0.1},
}  # fmt: skip
# A spectrogram has one channel.
HEADS = {name: ["Model", "ForImageClassification"] for name in TINY if name not in ("lenet", "sound")}


def tiny_inputs(config: CnnConfig, head: str, rows: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """Inputs of `forward`, with targets where the head has them."""
    values = torch.randn(rows, *config.image_shape, generator=generator)
    inputs = {"input_values": values[:, 0]} if head == "ForAudioClassification" else {"pixel_values": values}
    if head != "Model":
        inputs["labels"] = torch.arange(rows) % config.num_labels
    return inputs


def randomize(model: nn.Module) -> nn.Module:
    """Weights and running statistics that differ everywhere, so that no part of a network can be left out unnoticed."""
    generator = torch.Generator().manual_seed(0)
    for name, value in model.state_dict().items():
        if value.is_floating_point() and not name.endswith("running_var") and value.dim() < 2:
            value.copy_(torch.randn(value.shape, generator=generator) / 4 + 0.5)
        elif name.endswith("running_var"):
            value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
    return model.eval()


@pytest.mark.parametrize(
    ("fields", "num_labels", "count"),
    [
        pytest.param(LENET, 10, 61_706, id="lenet5: 156 + 2,416 + 48,120 + 10,164 + 850"),
        pytest.param(VGG11, 1000, 132_863_336, id="vgg11: torchvision"),
        pytest.param({**VGG11, "normalization": "batch_norm", "conv_bias": True}, 1000, 132_868_840, id="vgg11_bn"),
        pytest.param(RESNET18, 1000, 11_689_512, id="resnet18: torchvision"),
        pytest.param(RESNET50, 1000, 25_557_032, id="resnet50: torchvision"),
        pytest.param({"shortcut": "padding"}, 10, 269_722, id="resnet20: arXiv 1512.03385 table 6, 0.27 M"),
        pytest.param(WRN, 10, 36_479_194, id="wrn-28-10: arXiv 1605.07146 table 4, 36.5 M"),
    ],
)
def test_a_standard_network_has_the_published_number_of_weights(fields: dict, num_labels: int, count: int) -> None:
    with torch.device("meta"):
        model = CnnForImageClassification(CnnConfig(**fields, num_labels=num_labels))
    assert sum(weight.numel() for weight in model.parameters()) == count


def test_lenet_is_convolutions_and_linear_layers_by_hand() -> None:
    model = randomize(CnnForImageClassification(CnnConfig(**LENET, num_labels=10)))
    lenet = nn.Sequential(
        nn.Conv2d(1, 6, 5), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(),
        nn.Linear(400, 120), nn.Tanh(), nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10),
    )  # fmt: skip
    lenet.load_state_dict(dict(zip(lenet.state_dict(), model.state_dict().values(), strict=True)))
    pixel_values = torch.randn(3, 1, 32, 32)
    torch.testing.assert_close(model(pixel_values).logits, lenet(pixel_values))


def by_hand(state: dict[str, torch.Tensor]):
    """Convolution (same padding) and batch normalisation in evaluation mode, from a state dict."""

    def conv(hidden: torch.Tensor, name: str, stride: int = 1) -> torch.Tensor:
        weight = state[f"{name}.weight"]
        return F.conv2d(hidden, weight, stride=stride, padding=weight.shape[-1] // 2)

    def norm(hidden: torch.Tensor, name: str) -> torch.Tensor:
        mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        scale = state[f"{name}.weight"] / (var + 1e-5).sqrt()
        return (hidden - mean.view(-1, 1, 1)) * scale.view(-1, 1, 1) + state[f"{name}.bias"].view(-1, 1, 1)

    return conv, norm


def test_a_basic_block_is_two_normalised_convolutions_and_a_projection() -> None:
    model = randomize(CnnModel(CnnConfig(embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1])))
    conv, norm = by_hand(model.state_dict())
    pixel_values = torch.randn(2, 3, 8, 8)
    hidden = norm(conv(pixel_values, "stem.conv"), "stem.norm").relu()
    maps = [hidden]
    for stage in (0, 1):
        block, stride = f"stages.{stage}.blocks.0", stage + 1
        branch = norm(conv(hidden, f"{block}.convs.0", stride), f"{block}.norms.0").relu()
        branch = norm(conv(branch, f"{block}.convs.1"), f"{block}.norms.1")
        shortcut = norm(conv(hidden, f"{block}.shortcut.conv", 2), f"{block}.shortcut.norm") if stage else hidden
        hidden = (branch + shortcut).relu()
        maps.append(hidden)
    outputs = model(pixel_values, output_hidden_states=True)
    for ours, expected in zip(outputs.hidden_states, maps, strict=True):
        torch.testing.assert_close(ours, expected)
    torch.testing.assert_close(outputs.pooler_output, hidden.mean((2, 3)))


def test_a_pre_activation_block_activates_before_each_convolution_and_its_projection() -> None:
    config = CnnConfig(embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], pre_activation=True)
    model = randomize(CnnModel(config))
    conv, norm = by_hand(model.state_dict())
    pixel_values = torch.randn(2, 3, 8, 8)
    hidden = conv(pixel_values, "stem.conv")
    for stage in (0, 1):
        block = f"stages.{stage}.blocks.0"
        first = norm(hidden, f"{block}.norms.0").relu()
        branch = conv(first, f"{block}.convs.0", stage + 1)
        branch = conv(norm(branch, f"{block}.norms.1").relu(), f"{block}.convs.1")
        hidden = branch + (conv(first, f"{block}.shortcut.conv", 2) if stage else hidden)
    torch.testing.assert_close(model(pixel_values).last_hidden_state, norm(hidden, "norm").relu())


def test_a_padding_shortcut_subsamples_and_adds_channels_of_zeros() -> None:
    config = CnnConfig(embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], shortcut="padding")
    model = CnnModel(config).eval()
    block = model.stages[1].blocks[0]
    nn.init.zeros_(block.norms[-1].weight)  # the branch gives nothing
    hidden = torch.rand(2, 4, 8, 8)
    expected = torch.zeros(2, 8, 4, 4)
    expected[:, 2:6] = hidden[:, :, ::2, ::2]
    assert torch.equal(block(hidden), expected)


@pytest.mark.parametrize(
    ("fields", "sizes"),
    [
        (LENET, [(6, 14), (16, 5)]),
        (VGG11, [(64, 112), (128, 56), (256, 28), (512, 14), (512, 7)]),
        (RESNET50, [(64, 56), (256, 56), (512, 28), (1024, 14), (2048, 7)]),
        (WRN, [(16, 32), (160, 32), (320, 16), (640, 8)]),
        ({"downsample_in_first_stage": True, "image_size": 29}, [(16, 29), (16, 15), (32, 8), (64, 4)]),
    ],
    ids=["lenet5", "vgg11", "resnet50", "wrn-28-10", "odd"],
)
def test_hidden_states_are_the_feature_maps_of_stem_and_stages(fields: dict, sizes: list) -> None:
    config = CnnConfig(**fields)
    with torch.device("meta"):
        outputs = CnnModel(config)(torch.empty(1, *config.image_shape), output_hidden_states=True)
    assert [tuple(hidden.shape[1:]) for hidden in outputs.hidden_states] == [
        (width, side, side) for width, side in sizes
    ]
    assert config.feature_map_shape == tuple(outputs.last_hidden_state.shape[1:])


def test_convolutions_start_normal_with_variance_two_over_fan_out() -> None:
    weight = CnnModel(CnnConfig(hidden_sizes=[16, 64, 128])).stages[2].blocks[1].convs[0].weight
    # 128 * 128 * 9 draws give the standard deviation to 0.2 %, and of a normal variable 4.55 % lie beyond two of them.
    expected = math.sqrt(2 / (128 * 9))
    assert weight.std().item() == pytest.approx(expected, rel=0.01)
    assert (weight.abs() > 2 * expected).float().mean().item() == pytest.approx(0.0455, abs=0.003)


@pytest.mark.parametrize("fields", [{}, {"pre_activation": True}, {"normalization": "none"}, {"block": "bottleneck"}])
def test_zero_init_residual_makes_every_block_its_shortcut(fields: dict) -> None:
    config = CnnConfig(embedding_size=16, hidden_sizes=[16], depths=[2], zero_init_residual=True, **fields)
    block = CnnModel(config).stages[0].blocks[1].train()
    hidden = torch.rand(2, 16, 8, 8)
    assert torch.equal(block(hidden), hidden)


def test_stochastic_depth_drops_whole_rows_and_keeps_the_expectation() -> None:
    model = CnnModel(CnnConfig(depths=[1, 2, 1], drop_path_rate=0.5))
    blocks = [block for stage in model.stages for block in stage.blocks]
    assert [block.drop_path.rate for block in blocks] == [0.125, 0.25, 0.375, 0.5]
    torch.manual_seed(0)
    dropped = blocks[-1].drop_path.train()(torch.ones(4000, 2, 3, 3))
    kept = dropped[:, 0, 0, 0]
    assert torch.equal(dropped, kept.view(-1, 1, 1, 1).expand_as(dropped))
    assert kept.unique().tolist() == [0.0, 2.0]
    # The mean of 4000 rows of 0 or 2 has a standard error of 1 / sqrt(4000) = 0.016.
    assert kept.mean().item() == pytest.approx(1, abs=0.06)
    assert torch.equal(blocks[-1].drop_path.eval()(dropped), dropped)


def test_an_average_pooled_network_takes_images_of_any_size() -> None:
    model = CnnForImageClassification(CnnConfig(num_labels=3))
    assert model(torch.randn(2, 3, 17, 40)).logits.shape == (2, 3)


def test_a_flattening_network_refuses_another_size_with_the_right_one() -> None:
    with pytest.raises(ValueError, match=r"\(batch, 1, 32, 32\), got torch.float32 of shape \(2, 1, 28, 28\)"):
        CnnModel(CnnConfig(**LENET))(torch.zeros(2, 1, 28, 28))


@pytest.mark.parametrize("shape", [(2, 1, 32, 32), (3, 32, 32), (2, 32, 32, 3)])
def test_images_of_other_channels_are_refused_with_the_right_ones(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"\(batch, 3, height, width\)"):
        CnnModel(CnnConfig())(torch.zeros(shape))


def test_channels_last_memory_gives_the_same_output() -> None:
    model = CnnForImageClassification(CnnConfig(**TINY["vgg"])).eval()
    pixel_values = torch.randn(2, *model.config.image_shape)
    expected = model(pixel_values).logits
    model = model.to(memory_format=torch.channels_last)
    torch.testing.assert_close(model(pixel_values.to(memory_format=torch.channels_last)).logits, expected)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_channels": 0}, "num_channels must be at least 1"),
        ({"embedding_size": -1}, "embedding_size must be at least 0"),
        ({"stem_kernel_size": 4}, "odd"),
        ({"hidden_sizes": [16, 32]}, "one number a stage"),
        ({"depths": [1, 0, 1]}, "depths must all be at least 1"),
        ({"block": "bottleneck", "hidden_sizes": [16, 30, 64]}, "4 divides"),
        ({"image_size": [32, 32, 3]}, "height and width"),
        ({**VGG11, "image_size": 31}, "too small"),
        ({"hidden_act": "rellu"}, "hidden_act must be one of"),
        ({"drop_path_rate": 1.0}, "below 1"),
        ({"block": "plain", "drop_path_rate": 0.1}, "drop_path_rate needs residual blocks"),
        ({"block": "plain", "pre_activation": True}, "pre_activation needs residual blocks"),
        ({"padding": "valid"}, "plain"),
        ({"downsample_in_bottleneck": True}, "bottleneck"),
        ({"downsample_in_first_stage": True, "downsampling": "max_pool"}, "stride"),
        ({"block": "resnet"}, "block"),
    ],
)
def test_a_config_that_cannot_work_is_refused(fields: dict, message: str) -> None:
    with pytest.raises(StrictDataclassError, match=message):
        CnnConfig(**fields)


def test_sounds_are_classified_as_images_of_one_channel() -> None:
    torch.manual_seed(0)
    image = randomize(CnnForImageClassification(CnnConfig(**TINY["sound"])))
    sound = CnnForAudioClassification(image.config).eval()
    sound.load_state_dict(image.state_dict())
    values = torch.randn(3, 6, 10)
    assert torch.equal(sound(input_values=values).logits, image(pixel_values=values[:, None]).logits)
    with pytest.raises(ValueError, match=r"\(batch, bands, frames\), got \(3, 1, 6, 10\)"):
        sound(input_values=values[:, None])
    with pytest.raises(ValueError, match="num_channels must be 1, got 2"):
        CnnForAudioClassification(CnnConfig(**SMALL))
