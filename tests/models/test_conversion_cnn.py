"""Converted weights give the outputs of the network that they came from."""

import pytest
import torch
from torch import nn
from transformers import ResNetConfig, ResNetForImageClassification

from hubmodels.models.cnn.conversion_cnn import convert_resnet, convert_torchvision


def randomize(model: nn.Module) -> nn.Module:
    """Running statistics and scales as after training, so that none can be mixed up unnoticed."""
    generator = torch.Generator().manual_seed(0)
    for name, value in model.state_dict().items():
        if value.is_floating_point() and value.dim() == 1:
            value.copy_(torch.rand(value.shape, generator=generator) + (0.5 if name.endswith("var") else 0))
    return model.eval()


def check_equal(ours: nn.Module, theirs: nn.Module, image_size: int) -> None:
    pixel_values = torch.randn(2, 3, image_size, image_size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = theirs(pixel_values)
        logits = ours(pixel_values).logits
    expected = expected if isinstance(expected, torch.Tensor) else expected.logits
    assert expected.std() > 1e-3
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item())


@pytest.mark.parametrize(
    "fields",
    [
        {"layer_type": "basic", "hidden_sizes": [8, 16], "depths": [2, 1]},
        {"layer_type": "bottleneck", "hidden_sizes": [16, 32], "depths": [1, 2]},
        {"layer_type": "bottleneck", "hidden_sizes": [16, 32], "depths": [1, 1], "downsample_in_bottleneck": True},
        {"layer_type": "basic", "hidden_sizes": [8, 16], "depths": [1, 1], "downsample_in_first_stage": True},
    ],
    ids=["basic", "bottleneck", "bottleneck v1", "first stage"],
)
def test_a_transformers_resnet_gives_the_same_logits(fields: dict) -> None:
    id2label = {0: "cat", 1: "dog", 2: "owl"}
    theirs = randomize(ResNetForImageClassification(ResNetConfig(embedding_size=8, id2label=id2label, **fields)))
    ours = convert_resnet(theirs)
    check_equal(ours, theirs, 48)
    assert ours.config.id2label == id2label


class ReferenceBlock(nn.Module):
    """The residual block of torchvision.models.resnet, by its names: two 3x3 convolutions, or 1x1-3x3-1x1."""

    def __init__(self, inputs: int, outputs: int, stride: int, bottleneck: bool) -> None:
        super().__init__()
        width = outputs // 4 if bottleneck else outputs
        first = (1, 1) if bottleneck else (3, stride)
        self.conv1 = nn.Conv2d(inputs, width, first[0], first[1], first[0] // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride if bottleneck else 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        if bottleneck:
            self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
            self.bn3 = nn.BatchNorm2d(outputs)
        self.bottleneck = bottleneck
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        branch = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        if self.bottleneck:
            branch = self.bn3(self.conv3(branch.relu()))
        return (branch + (x if self.downsample is None else self.downsample(x))).relu()


class ReferenceResNet(nn.Module):
    """torchvision.models.ResNet by its names, narrow."""

    def __init__(self, widths: list[int], depths: list[int], bottleneck: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        inputs = [8, *widths]
        for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            blocks = [
                ReferenceBlock(width if i else inputs[stage], width, 2 if stage and not i else 1, bottleneck)
                for i in range(depth)
            ]
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(widths[-1], 5)
        self.num_stages = len(widths)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.max_pool2d(self.bn1(self.conv1(x)).relu(), 3, 2, 1)
        for stage in range(self.num_stages):
            x = getattr(self, f"layer{stage + 1}")(x)
        return self.fc(x.mean((2, 3)))


@pytest.mark.parametrize("bottleneck", [False, True])
def test_a_torchvision_resnet_gives_the_same_logits(bottleneck: bool) -> None:
    theirs = randomize(ReferenceResNet([16, 32, 48], [1, 2, 1], bottleneck))
    ours = convert_torchvision(theirs.state_dict())
    check_equal(ours, theirs, 64)
    assert (ours.config.block, ours.config.depths) == ("bottleneck" if bottleneck else "basic", [1, 2, 1])


class ReferenceVgg(nn.Module):
    """torchvision.models.VGG by its names, narrow, on images of 28 pixels: 7 remain after two poolings."""

    def __init__(self, batch_norm: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = 3
        for step in (4, "M", 6, 6, "M"):
            if step == "M":
                layers.append(nn.MaxPool2d(2, 2))
            else:
                layers += [nn.Conv2d(width, step, 3, padding=1), *[nn.BatchNorm2d(step)] * batch_norm, nn.ReLU()]
                width = step
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Linear(6 * 49, 10), nn.ReLU(), nn.Dropout(), nn.Linear(10, 9), nn.ReLU(), nn.Dropout(), nn.Linear(9, 5)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(x).flatten(1))


@pytest.mark.parametrize("batch_norm", [False, True])
def test_a_torchvision_vgg_gives_the_same_logits(batch_norm: bool) -> None:
    theirs = randomize(ReferenceVgg(batch_norm))
    ours = convert_torchvision(theirs.state_dict(), image_size=28)
    check_equal(ours, theirs, 28)
    assert (ours.config.hidden_sizes, ours.config.depths) == ([4, 6], [1, 2])


def test_a_timm_vgg_holds_its_hidden_classifier_as_convolutions() -> None:
    theirs = randomize(ReferenceVgg(batch_norm=False))
    names = {"classifier.0": "pre_logits.fc1", "classifier.3": "pre_logits.fc2", "classifier.6": "head.fc"}
    state = {}
    for name, value in theirs.state_dict().items():
        module, _, kind = name.rpartition(".")
        if module in ("classifier.0", "classifier.3") and kind == "weight":
            side = 7 if module == "classifier.0" else 1
            value = value.view(len(value), -1, side, side)
        state[f"{names.get(module, module)}.{kind}"] = value
    check_equal(convert_torchvision(state, image_size=28), theirs, 28)


def test_labels_and_options_can_be_given_with_the_weights() -> None:
    state = ReferenceResNet([8], [1], bottleneck=False).state_dict()
    ours = convert_torchvision(state, id2label=dict(enumerate("abcde")), drop_path_rate=0.1)
    assert ours.config.id2label[4] == "e"
    assert ours.config.drop_path_rate == 0.1
    assert convert_torchvision(state).config.num_labels == 5


def test_other_networks_are_refused() -> None:
    with pytest.raises(ValueError, match="expected a ResNetForImageClassification of transformers, got Linear"):
        convert_resnet(nn.Linear(1, 1))
    with pytest.raises(
        ValueError, match="expected the weights of a torchvision or timm ResNet or VGG, got bias, weight"
    ):
        convert_torchvision(nn.Linear(1, 1).state_dict())
    state = ReferenceResNet([16], [1], bottleneck=True).state_dict()
    wide = {**state, "layer1.0.conv2.weight": torch.zeros(8, 8, 3, 3)}
    with pytest.raises(ValueError, match="quarter of the width"):
        convert_torchvision(wide)
    with pytest.raises(ValueError, match=r"unexpected weight layer1\.0\.se\.weight"):
        convert_torchvision({**state, "layer1.0.se.weight": torch.zeros(1)})
    state.pop("layer1.0.bn3.weight")
    with pytest.raises(ValueError, match=r"Missing key.*norms\.2\.weight") as caught:
        convert_torchvision(state)
    assert "\n" not in str(caught.value)
