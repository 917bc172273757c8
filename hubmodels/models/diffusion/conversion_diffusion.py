"""Diffusion models from and to diffusers: `UNet2DModel` both ways, and a pipeline folder that diffusers loads.

Only names change, but for the queries, keys and values, which are one tensor here: the outputs are equal up to the
order of float additions (1e-5).

    ours = convert_unet2d(UNet2DModel.from_pretrained("google/ddpm-cifar10-32"), image_size=32)
    theirs = to_unet2d(DiffusionModel.from_pretrained("model_cards/diffusion-fashion-mnist"))
    to_diffusers(ours, "folder")    # then DiffusionPipeline.from_pretrained(folder, custom_pipeline=folder,
                                    # trust_remote_code=True)
"""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .configuration_diffusion import DiffusionConfig
from .modeling_diffusion import DiffusionModel
from .modeling_diffusion_schedulers import CHAIN, EDM, FLOW, SOLVER, check_scheduler, make_scheduler

BLOCK = {"embedding": "time_emb_proj", "shortcut": "conv_shortcut"}  # of a residual block; the others' names are equal
ATTENTION = {"norm": "group_norm", "output": "to_out.0"}
# Pattern of our module's name -> theirs.
NAMES: dict[str, Callable[..., str]] = {
    r"conditioning\.hidden": lambda: "time_embedding.linear_1",
    r"conditioning\.output": lambda: "time_embedding.linear_2",
    r"conditioning\.classes": lambda: "class_embedding",
    r"stem": lambda: "conv_in",
    r"norm": lambda: "conv_norm_out",
    r"head": lambda: "conv_out",
    r"(down|up)\.(\d+)\.blocks\.(\d+)\.(\w+)": lambda way, s, b, part: (
        f"{way}_blocks.{s}.resnets.{b}.{BLOCK.get(part, part)}"
    ),
    r"(down|up)\.(\d+)\.attentions\.(\d+)\.(\w+)": lambda way, s, b, part: (
        f"{way}_blocks.{s}.attentions.{b}.{ATTENTION.get(part, part)}"
    ),
    r"(down|up)\.(\d+)\.resample": lambda way, s: f"{way}_blocks.{s}.{way}samplers.0.conv",
    r"middle\.(\d+)\.(\w+)": lambda b, part: f"mid_block.resnets.{b}.{BLOCK.get(part, part)}",
    r"middle_attention\.(\w+)": lambda part: f"mid_block.attentions.0.{ATTENTION.get(part, part)}",
}
# What our U-Net has no choice in, as UNet2DModel's config says it.
FIXED = {
    "center_input_sample": False, "time_embedding_type": "positional", "freq_shift": 0, "flip_sin_to_cos": True,
    "mid_block_scale_factor": 1, "downsample_padding": 1, "downsample_type": "conv", "upsample_type": "conv",
    "act_fn": "silu", "norm_eps": 1e-5, "class_embed_type": None,
}  # fmt: skip


def their_name(name: str) -> str:
    """Return diffusers' name of our weight `network.<module>.<weight>`."""
    module, _, weight = name.removeprefix("network.").rpartition(".")
    for pattern, rename in NAMES.items():
        if match := re.fullmatch(pattern, module):
            return f"{rename(*match.groups())}.{weight}"
    raise AssertionError(f"no name for {name}")


def to_their_weights(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return our network's weights under diffusers' names."""
    weights = {}
    for name, value in state.items():
        theirs = their_name(name)
        if ".qkv." in theirs:
            for letter, part in zip("qkv", value.chunk(3), strict=True):
                weights[theirs.replace(".qkv.", f".to_{letter}.")] = part.clone()
        else:
            weights[theirs] = value.clone()
    return weights


def to_our_weights(names: list[str], weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return diffusers' weights under our `names`. Raises ValueError when one is missing or left over."""
    state, used = {}, set()
    for name in names:
        theirs = their_name(name)
        keys = [theirs.replace(".qkv.", f".to_{letter}.") for letter in "qkv"] if ".qkv." in theirs else [theirs]
        missing = [key for key in keys if key not in weights]
        if missing:
            raise ValueError(f"the UNet2DModel has no {missing[0]}; its layout is not ours")
        state[name] = torch.cat([weights[key] for key in keys]).clone()
        used.update(keys)
    if left := sorted(set(weights) - used):
        raise ValueError(f"the UNet2DModel has {left[0]}, for which there is no place here; its layout is not ours")
    return state


def convert_unet2d(unet: Any, image_size: int | list[int] | None = None, scheduler: Any = None) -> DiffusionModel:
    """Return a diffusers `UNet2DModel` as a `DiffusionModel` in evaluation mode, of images scaled to -1..1 as
    diffusers' are.

    Args:
        unet: the U-Net.
        image_size: side, or height and width; the U-Net's own `sample_size` when None.
        scheduler: the scheduler that it was trained with (DDPM, DDIM, ...), whose chain and prediction type are taken
            over; DDPM's linear chain and epsilon when None. It becomes the model's scheduler where it is one of ours.

    Raises:
        ValueError: another model, or a layout that our U-Net does not have.
    """
    if type(unet).__name__ != "UNet2DModel":
        raise ValueError(f"expected a UNet2DModel of diffusers, got {type(unet).__name__}")
    theirs: Any = unet.config
    attention = [number for number, kind in enumerate(theirs.down_block_types) if kind == "AttnDownBlock2D"]
    check_layout(theirs, attention)
    image_size = theirs.sample_size if image_size is None else image_size
    if image_size is None:
        raise ValueError("the UNet2DModel names no sample_size: give image_size")
    sizes = list(theirs.block_out_channels)
    chain = getattr(scheduler, "config", {})
    head = theirs.attention_head_dim
    config = DiffusionConfig(
        num_channels=theirs.in_channels,
        image_size=image_size if isinstance(image_size, int) else list(image_size),
        class_conditional=theirs.num_class_embeds is not None,
        num_labels=theirs.num_class_embeds or 2,
        class_dropout_prob=0.0 if theirs.num_class_embeds else 0.1,
        backbone="unet",
        patch_size=1,
        hidden_dropout_prob=theirs.dropout,
        attention_head_size=head if head is not None else max(sizes),
        hidden_sizes=sizes,
        depth=theirs.layers_per_block,
        attention_stages=attention,
        middle_attention=theirs.add_attention,
        time_scale_shift=theirs.resnet_time_scale_shift == "scale_shift",
        num_norm_groups=theirs.norm_num_groups,
        objective=chain.get("prediction_type", "epsilon"),
        num_train_timesteps=chain.get("num_train_timesteps", 1000),
        beta_schedule=chain.get("beta_schedule", "linear"),
        beta_start=chain.get("beta_start", 0.0001),
        beta_end=chain.get("beta_end", 0.02),
    )
    model = DiffusionModel(config)
    names = [f"network.{name}" for name in model.network.state_dict()]
    model.load_state_dict(to_our_weights(names, unet.state_dict()))
    if scheduler is not None:
        model.scheduler = scheduler
    return model.eval()


def check_layout(theirs: Any, attention: list[int]) -> None:
    """Refuse a layout that our U-Net does not have.

    Args:
        theirs: the config of a `UNet2DModel`.
        attention: numbers of the stages with attention on the way down.

    Raises:
        ValueError: one field, or the order of the blocks, is another than ours.
    """
    for name, value in FIXED.items():
        if theirs[name] != value:
            raise ValueError(f"only a UNet2DModel with {name} {value!r} can be converted, got {theirs[name]!r}")
    sizes = list(theirs.block_out_channels)
    if (list(theirs.down_block_types), list(theirs.up_block_types)) != block_types(len(sizes), attention):
        raise ValueError(
            "only down blocks DownBlock2D and AttnDownBlock2D with the up blocks in mirrored order can be converted, "
            f"got {list(theirs.down_block_types)} and {list(theirs.up_block_types)}"
        )
    if theirs.time_embedding_dim not in (None, 4 * sizes[0]) or theirs.in_channels != theirs.out_channels:
        raise ValueError("only a UNet2DModel with 4 * block_out_channels[0] numbers of time and as many channels out "
                         "as in can be converted")  # fmt: skip
    if any(size % theirs.norm_num_groups for size in sizes):
        raise ValueError(f"norm_num_groups {theirs.norm_num_groups} must divide all of {sizes}")


def block_types(stages: int, attention: list[int]) -> tuple[list[str], list[str]]:
    """Return diffusers' names of the stages on the way down and up."""
    kinds = ["Attn" * (number in attention) for number in range(stages)]
    return [f"{kind}DownBlock2D" for kind in kinds], [f"{kind}UpBlock2D" for kind in reversed(kinds)]


def to_unet2d(model: DiffusionModel) -> Any:
    """Return a diffusers `UNet2DModel` with the weights of our U-Net, in evaluation mode. Its channels are the pixels
    of a patch (`torch.pixel_unshuffle`), its last class is none. Raises ValueError for another backbone, for waveforms,
    and for what UNet2DModel cannot say."""
    from diffusers import UNet2DModel

    config = model.config
    sizes = list(config.hidden_sizes)
    if config.backbone != "unet":
        raise ValueError(f"a UNet2DModel needs backbone unet, this model has {config.backbone}")
    if config.network_shape[1] == 1:
        raise ValueError("a UNet2DModel is of two dimensions, this model is of waveforms")
    if config.hidden_act != "silu" or any(size % config.num_norm_groups for size in sizes):
        raise ValueError(
            f"a UNet2DModel needs hidden_act silu and num_norm_groups that divide all hidden_sizes, got "
            f"{config.hidden_act}, {config.num_norm_groups} and {sizes}"
        )
    if any(size % config.attention_head_size for size in sizes):
        raise ValueError(f"attention_head_size {config.attention_head_size} must divide all hidden_sizes {sizes}")
    channels, height, width = config.network_shape
    patch = config.patch_size
    down, up = block_types(len(sizes), list(config.attention_stages))
    classes = model.network.conditioning.classes
    unet = UNet2DModel(
        sample_size=(height // patch, width // patch),
        in_channels=channels * patch**2,
        out_channels=channels * patch**2,
        down_block_types=tuple(down),
        up_block_types=tuple(up),
        block_out_channels=tuple(sizes),
        layers_per_block=config.depth,
        dropout=float(config.hidden_dropout_prob),
        attention_head_dim=config.attention_head_size,
        norm_num_groups=config.num_norm_groups,
        attn_norm_num_groups=config.num_norm_groups,
        resnet_time_scale_shift="scale_shift" if config.time_scale_shift else "default",
        add_attention=config.middle_attention,
        num_class_embeds=classes.num_embeddings if classes is not None else None,
        **FIXED,
    )
    unet.load_state_dict(to_their_weights({name: value.cpu() for name, value in model.network.state_dict().items()}))
    return unet.eval()


def own_scheduler(model: DiffusionModel) -> Any:
    """Return the model's scheduler where it is of the process that the network learnt, or else that process's own."""
    scheduler, objective = model.scheduler, model.config.objective
    kind = check_scheduler(scheduler)
    trained_prediction = {"flow_matching": "flow_prediction"}.get(objective, objective)
    asks = "flow_prediction" if kind == FLOW else "edm" if kind == EDM else scheduler.config.prediction_type
    same_chain = kind in (SOLVER, CHAIN) and all(
        scheduler.config.get(name) == getattr(model.config, name)
        for name in ("beta_schedule", "num_train_timesteps")
    )  # fmt: skip
    if asks == trained_prediction and (kind in (FLOW, EDM) or trained_prediction == "flow_prediction" or same_chain):
        return scheduler
    return make_scheduler(model.config)


def to_diffusers(model: DiffusionModel, folder: str | os.PathLike) -> Path:
    """Write a pipeline folder: `unet`, `scheduler`, `model_index.json` and the pipeline's code. It appears whole.

        pipeline = DiffusionPipeline.from_pretrained(folder, custom_pipeline=folder, trust_remote_code=True)

    Raises:
        ValueError: the model is no U-Net of images with one mean and standard deviation, or the folder is there.
    """
    config, folder = model.config, Path(folder)
    if config.data != "image":
        raise ValueError(f"to_diffusers writes pipelines of images, this model is of {config.data}")
    mean, std = config.data_mean, config.data_std
    if not isinstance(mean, int | float) or not isinstance(std, int | float):
        raise ValueError("to_diffusers needs one data_mean and one data_std for all channels")
    if folder.exists():
        raise ValueError(f"{folder} is there already: name a new folder")
    unet = to_unet2d(model)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as parent:
        temporary = Path(parent) / "pipeline"
        unet.save_pretrained(temporary / "unet")
        scheduler = own_scheduler(model)
        scheduler.save_pretrained(temporary / "scheduler")
        shutil.copy(Path(__file__).with_name("diffusers_pipeline.py"), temporary / "pipeline.py")
        index = {
            "_class_name": ["pipeline", "HubmodelsDiffusionPipeline"],
            "unet": ["diffusers", "UNet2DModel"],
            "scheduler": ["diffusers", type(scheduler).__name__],
            "patch_size": config.patch_size,
            "data_mean": float(mean),
            "data_std": float(std),
        }
        (temporary / "model_index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
        temporary.rename(folder)
    return folder
