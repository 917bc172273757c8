"""Weights of other libraries' ResNets and VGGs -> ours: transformers' ResNet, and the names of torchvision, which timm
shares for its ResNets.

Only names change, the tensors stay as they are: the outputs are equal up to the order of float additions (1e-5).

    ours = convert_resnet(ResNetForImageClassification.from_pretrained("microsoft/resnet-18"))
    ours = convert_torchvision(torchvision.models.vgg11(weights="DEFAULT").state_dict())
    ours.save_pretrained("resnet-18")
"""

import re
from collections import Counter
from collections.abc import Callable
from typing import Any

from torch import Tensor
from transformers.modeling_utils import PreTrainedModel

from .configuration_cnn import CnnConfig
from .modeling_cnn import CnnForImageClassification

# Pattern of a foreign module's name -> ours, from the numbers in it.
LAYER = r"resnet\.encoder\.stages\.(\d+)\.layers\.(\d+)"
TRANSFORMERS_NAMES: dict[str, Callable[..., str]] = {
    r"resnet\.embedder\.embedder\.convolution": lambda: "cnn.stem.conv",
    r"resnet\.embedder\.embedder\.normalization": lambda: "cnn.stem.norm",
    rf"{LAYER}\.layer\.(\d+)\.convolution": lambda s, b, c: f"cnn.stages.{s}.blocks.{b}.convs.{c}",
    rf"{LAYER}\.layer\.(\d+)\.normalization": lambda s, b, c: f"cnn.stages.{s}.blocks.{b}.norms.{c}",
    rf"{LAYER}\.shortcut\.convolution": lambda s, b: f"cnn.stages.{s}.blocks.{b}.shortcut.conv",
    rf"{LAYER}\.shortcut\.normalization": lambda s, b: f"cnn.stages.{s}.blocks.{b}.shortcut.norm",
    r"classifier\.1": lambda: "classifier.1",
}
TORCHVISION_NAMES: dict[str, Callable[..., str]] = {  # they count stages and convolutions from 1
    r"conv1": lambda: "cnn.stem.conv",
    r"bn1": lambda: "cnn.stem.norm",
    r"layer(\d+)\.(\d+)\.conv(\d+)": lambda s, b, c: f"cnn.stages.{s - 1}.blocks.{b}.convs.{c - 1}",
    r"layer(\d+)\.(\d+)\.bn(\d+)": lambda s, b, c: f"cnn.stages.{s - 1}.blocks.{b}.norms.{c - 1}",
    r"layer(\d+)\.(\d+)\.downsample\.0": lambda s, b: f"cnn.stages.{s - 1}.blocks.{b}.shortcut.conv",
    r"layer(\d+)\.(\d+)\.downsample\.1": lambda s, b: f"cnn.stages.{s - 1}.blocks.{b}.shortcut.norm",
    r"fc": lambda: "classifier.1",
}


def convert_resnet(model: PreTrainedModel) -> CnnForImageClassification:
    """Return a transformers `ResNetForImageClassification`, of basic or bottleneck blocks, as a
    `CnnForImageClassification` in evaluation mode. Raises ValueError for another model, and for an activation other
    than ReLU, which transformers' ResNet uses after the sums but not inside its blocks."""
    theirs: Any = getattr(model, "config", None)
    if getattr(theirs, "model_type", None) != "resnet" or "classifier.1.weight" not in model.state_dict():
        raise ValueError(f"expected a ResNetForImageClassification of transformers, got {type(model).__name__}")
    if theirs.hidden_act != "relu":
        raise ValueError(f"only a ResNet with hidden_act relu can be converted, got {theirs.hidden_act}")
    names = (
        "num_channels", "embedding_size", "hidden_sizes", "depths", "downsample_in_first_stage",
        "id2label", "label2id", "problem_type",
    )  # fmt: skip
    fields = {name: getattr(theirs, name) for name in names}
    bottleneck = theirs.layer_type == "bottleneck"
    config = CnnConfig(
        **fields, block=theirs.layer_type, image_size=224, stem_kernel_size=7, stem_stride=2, stem_pool=True,
        downsample_in_bottleneck=bottleneck and theirs.downsample_in_bottleneck,
    )  # fmt: skip
    return fill(config, rename(model.state_dict(), TRANSFORMERS_NAMES))


def convert_torchvision(state_dict: dict[str, Tensor], **fields: Any) -> CnnForImageClassification:
    """Return a ResNet or VGG from its weights, as a `CnnForImageClassification` in evaluation mode. The config is read
    off the names and shapes: widths, depths, block kind, batch normalisation, classes.

    Args:
        state_dict: of a torchvision resnet18...152 or vgg11...19, with or without _bn, or of timm's by that name.
        **fields: config fields that weights do not tell: `id2label`, `image_size` (224 by default), dropout, ...

    Raises:
        ValueError: weights of another network, such as a ResNeXt or a wide ResNet.
    """
    state_dict = dict(state_dict)
    if "features.0.weight" in state_dict:
        read, state_dict = read_vgg(state_dict)
    elif "layer1.0.conv1.weight" in state_dict:
        read = read_resnet(state_dict)
        state_dict = rename(state_dict, TORCHVISION_NAMES)
    else:
        names = ", ".join(sorted(state_dict)[:3])
        raise ValueError(f"expected the weights of a torchvision or timm ResNet or VGG, got {names}, ...")
    if "id2label" not in fields:
        last = [name for name in state_dict if name.startswith("classifier.") and name.endswith(".weight")][-1]
        read["num_labels"] = len(state_dict[last])
    return fill(CnnConfig(**{**read, **fields}), state_dict)


def read_resnet(state_dict: dict[str, Tensor]) -> dict[str, Any]:
    """Return the config fields of a ResNet with torchvision's names. Raises ValueError for a ResNeXt or a wide
    ResNet."""
    firsts = [name.split(".")[0] for name in state_dict if re.fullmatch(r"layer\d+\.\d+\.conv1\.weight", name)]
    depths = list(Counter(firsts).values())
    last = 3 if "layer1.0.conv3.weight" in state_dict else 2
    widths = [len(state_dict[f"layer{stage + 1}.0.conv{last}.weight"]) for stage in range(len(depths))]
    narrow = widths[0] // 4
    if last == 3 and state_dict["layer1.0.conv2.weight"].shape[:2] != (narrow, narrow):
        raise ValueError("expected bottlenecks of a quarter of the width in one group; this is another ResNet")
    width, num_channels, kernel_size, _ = state_dict["conv1.weight"].shape
    large = kernel_size > 3
    return {
        "num_channels": num_channels,
        "image_size": 224 if large else 32,
        "embedding_size": width,
        "stem_kernel_size": kernel_size,
        "stem_stride": 2 if large else 1,
        "stem_pool": large,
        "block": "bottleneck" if last == 3 else "basic",
        "hidden_sizes": widths,
        "depths": depths,
    }


def read_vgg(state_dict: dict[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the config fields of a VGG with torchvision's or timm's names, and its weights under ours."""
    matches = (re.fullmatch(r"features\.(\d+)\.weight", name) for name, value in state_dict.items() if value.dim() == 4)
    convs = sorted(int(match[1]) for match in matches if match)
    has_norm = "features.1.running_mean" in state_dict
    span = 3 if has_norm else 2  # convolution, normalisation, activation; a pooling layer makes the gap one longer
    names: dict[str, str] = {}
    hidden_sizes: list[int] = []
    depths: list[int] = []
    for i, at in enumerate(convs):
        if i == 0 or at - convs[i - 1] > span:
            hidden_sizes.append(len(state_dict[f"features.{at}.weight"]))
            depths.append(0)
        ours = f"cnn.stages.{len(depths) - 1}.blocks.{depths[-1]}"
        names |= {f"features.{at}": f"{ours}.conv", f"features.{at + 1}": f"{ours}.norm"}
        depths[-1] += 1
    # timm holds the hidden layers of the classifier as convolutions over the whole feature map.
    names |= {"pre_logits.fc1": "classifier.0", "pre_logits.fc2": "classifier.3", "head.fc": "classifier.6"}
    renamed = {}
    for name, value in state_dict.items():
        module, _, kind = name.rpartition(".")
        module = names.get(module, module)
        flat = module.startswith("classifier") and value.dim() == 4
        renamed[f"{module}.{kind}"] = value.flatten(1) if flat else value
    fields = {
        "num_channels": state_dict["features.0.weight"].shape[1],
        "image_size": 224,
        "embedding_size": 0,
        "block": "plain",
        "hidden_sizes": hidden_sizes,
        "depths": depths,
        "downsampling": "max_pool",
        "normalization": "batch_norm" if has_norm else "none",
        "conv_bias": True,
        "pooling": "flatten",
        "classifier_hidden_sizes": [len(renamed[f"classifier.{at}.weight"]) for at in (0, 3)],
        "classifier_dropout_prob": 0.5,
    }
    return fields, renamed


def rename(state_dict: dict[str, Tensor], names: dict[str, Callable[..., str]]) -> dict[str, Tensor]:
    """Return the state dict with each module's name replaced as `names` says. Raises ValueError for a name that it
    lacks."""
    renamed = {}
    for name, value in state_dict.items():
        module, _, kind = name.rpartition(".")
        for pattern, ours in names.items():
            if match := re.fullmatch(pattern, module):
                renamed[f"{ours(*map(int, match.groups()))}.{kind}"] = value
                break
        else:
            raise ValueError(f"unexpected weight {name}: this is not a ResNet of basic or bottleneck blocks")
    return renamed


def fill(config: CnnConfig, state_dict: dict[str, Tensor]) -> CnnForImageClassification:
    """Return a model with exactly these weights. Raises ValueError when they are not those that the config needs."""
    model = CnnForImageClassification(config)
    try:
        model.load_state_dict(state_dict, strict=True)
    except RuntimeError as error:
        raise ValueError(f"the weights are not those of a ResNet or VGG: {' '.join(str(error).split())}") from None
    return model.eval()


__all__ = ["convert_resnet", "convert_torchvision"]
