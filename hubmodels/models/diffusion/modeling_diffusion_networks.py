"""The networks of the diffusion model: a U-Net (Ho et al. 2020, arXiv:2006.11239, in the layout of diffusers'
UNet2DModel) and a diffusion transformer (Peebles and Xie 2023, arXiv:2212.09748).

Both see the data as an image, a waveform as one of height 1, and work on patches: `patch_size` pixels a side become the
channels of one place (space to depth) before the first layer and pixels again after the last. Time and class are one
vector, the sum of their embeddings. Departs from the papers: the transformer's blocks share one projection of that
vector and add a learned table each (PixArt, Chen et al. 2023, arXiv:2310.00426, section 2.3), which saves a third of
the weights; what ends a branch starts small instead of at zero, so that every weight learns from the first step.
"""

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import initialization as init
from transformers.activations import ACT2FN

from .configuration_diffusion import DiffusionConfig

# B batch, C channels, H height, W width, P numbers of a patch, E embedding size, D hidden_size, T tokens, A heads,
# K head size

# In training on a CPU attention is plain up to so many tokens: torch's fused kernel takes 93 ms forwards and backwards
# in bfloat16 for 128 rows of 49 tokens and 6 heads of 32, the plain one 14 ms (one thread of an AMD EPYC, 2026-11-26).
PLAIN_TOKENS = 128
SMALL_GAIN = 0.01  # of the weights that end a branch, beside the others'


def to_patches(pixels: Tensor, patch_shape: tuple[int, int]) -> Tensor:
    """Map space to depth: (B, C, H, W) -> (B, C * ph * pw, H / ph, W / pw)."""
    if patch_shape == (1, 1):
        return pixels
    B, C, H, W = pixels.shape
    ph, pw = patch_shape
    blocks = pixels.reshape(B, C, H // ph, ph, W // pw, pw).permute(0, 1, 3, 5, 2, 4)  # (B, C, ph, pw, H/ph, W/pw)
    return blocks.reshape(B, C * ph * pw, H // ph, W // pw)


def to_pixels(patches: Tensor, patch_shape: tuple[int, int]) -> Tensor:
    """Return depth to space, the inverse of `to_patches`."""
    if patch_shape == (1, 1):
        return patches
    B, P, H, W = patches.shape
    ph, pw = patch_shape
    blocks = patches.reshape(B, P // (ph * pw), ph, pw, H, W).permute(0, 1, 4, 2, 5, 3)  # (B, C, H, ph, W, pw)
    return blocks.reshape(B, P // (ph * pw), H * ph, W * pw)


def sinusoids(positions: Tensor, width: int) -> Tensor:
    """Return cosines, then sines, of numbers (N,) at width / 2 wavelengths from 2 pi to 2 pi * 10,000
    (arXiv:1706.03762, sec. 3.5; diffusers' `flip_sin_to_cos`): (N, width), float32."""
    half = width // 2
    frequencies = torch.exp(-math.log(10_000) / half * torch.arange(half, device=positions.device))
    angles = positions.float()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


class Conditioning(nn.Module):
    """Time and class -> one vector (B, E). Class -1 is none."""

    def __init__(self, config: DiffusionConfig, width: int, embedding_size: int) -> None:
        super().__init__()
        self.width = width
        self.hidden = nn.Linear(width, embedding_size)
        self.output = nn.Linear(embedding_size, embedding_size)
        self.classes = None
        if config.class_conditional:  # the last class is none
            self.classes = nn.Embedding(config.num_labels + (config.class_dropout_prob > 0), embedding_size)

    def forward(self, times: Tensor, labels: Tensor | None) -> Tensor:
        embedding = sinusoids(times, self.width).to(self.hidden.weight.dtype)  # (B, width)
        embedding = self.output(F.silu(self.hidden(embedding)))  # (B, E)
        if self.classes is not None:
            embedding = embedding + self.classes(labels % self.classes.num_embeddings)
        return embedding


# U-Net


def build_group_norm(width: int, config: DiffusionConfig) -> nn.GroupNorm:
    """Return a group normalisation of as many groups as the config says, or fewer that divide the width."""
    return nn.GroupNorm(math.gcd(config.num_norm_groups, width), width, eps=1e-5)


class Convolution(nn.Conv2d):
    """A convolution that on a CPU keeps channels before rows and columns, whatever layout its weights have.

    In the other layout group normalisation in bfloat16 takes ten times as long, and a training step of the U-Net half
    as long again. (5.2 ms instead of 0.4 ms forwards and backwards for (64, 32, 14, 14), one thread of an AMD EPYC,
    2026-11-26.)"""

    def forward(self, hidden: Tensor) -> Tensor:
        if hidden.device.type != "cpu":
            return super().forward(hidden)
        # Not `contiguous()`: weights of 1x1 are that in both layouts, and torch takes them for the other one.
        weight = self.weight.flatten().view(self.weight.shape)
        return self._conv_forward(hidden.contiguous(), weight, self.bias)


def build_conv(inputs: int, outputs: int, config: DiffusionConfig, stride: int = 1) -> Convolution:
    """Return a convolution over 3x3 places, over 1x3 of a waveform."""
    height = 1 if config.network_shape[1] == 1 else 3
    return Convolution(
        inputs, outputs, (height, 3), stride=(stride if height > 1 else 1, stride), padding=(height // 2, 1)
    )


def build_small(layer: nn.Module) -> nn.Module:
    """Let a layer start small, see `init_weights`."""
    layer.initial_gain = SMALL_GAIN
    return layer


class ResidualBlock(nn.Module):
    """Normalise, activate, convolve, twice, beside a shortcut; the embedding comes in between."""

    def __init__(self, inputs: int, outputs: int, embedding_size: int, config: DiffusionConfig) -> None:
        super().__init__()
        self.time_scale_shift = config.time_scale_shift
        self.norm1 = build_group_norm(inputs, config)
        self.conv1 = build_conv(inputs, outputs, config)
        self.embedding = nn.Linear(embedding_size, outputs * (2 if config.time_scale_shift else 1))
        self.norm2 = build_group_norm(outputs, config)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.conv2 = build_small(build_conv(outputs, outputs, config))
        self.shortcut = Convolution(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        self.act = ACT2FN[config.hidden_act]

    def forward(self, hidden: Tensor, embedding: Tensor) -> Tensor:
        branch = self.conv1(self.act(self.norm1(hidden)))  # (B, outputs, H, W)
        shift = self.embedding(embedding)[:, :, None, None]
        if self.time_scale_shift:
            scale, shift = shift.chunk(2, dim=1)
            branch = torch.addcmul(shift, self.norm2(branch), 1 + scale)
        else:
            branch = self.norm2(branch + shift)
        branch = self.conv2(self.dropout(self.act(branch)))
        return self.shortcut(hidden) + branch


class PlaceAttention(nn.Module):
    """Self-attention among the places of a feature map, beside a shortcut."""

    def __init__(self, width: int, config: DiffusionConfig) -> None:
        super().__init__()
        self.num_heads = width // math.gcd(config.attention_head_size, width)
        self.norm = build_group_norm(width, config)
        self.qkv = nn.Linear(width, 3 * width)
        self.output = build_small(nn.Linear(width, width))

    def forward(self, hidden: Tensor) -> Tensor:
        B, C, H, W = hidden.shape
        tokens = self.norm(hidden).flatten(2).transpose(1, 2)  # (B, HW, C)
        attended = self.output(attend(self.qkv(tokens), self.num_heads))
        return hidden + attended.transpose(1, 2).view(B, C, H, W)


def attend(qkv: Tensor, num_heads: int) -> Tensor:
    """Compute attention of all tokens to all: (B, T, 3D) -> (B, T, D)."""
    B, T, _ = qkv.shape
    query, key, value = qkv.view(B, T, 3, num_heads, -1).permute(2, 0, 3, 1, 4)  # (B, A, T, K) each
    if qkv.device.type == "cpu" and T <= PLAIN_TOKENS and torch.is_grad_enabled():
        weights = torch.softmax(query @ key.transpose(2, 3) * query.shape[-1] ** -0.5, dim=-1)
        attended = weights @ value
    else:
        attended = F.scaled_dot_product_attention(query, key, value)
    return attended.transpose(1, 2).reshape(B, T, -1)


class UnetStage(nn.Module):
    """The blocks at one resolution, with attention after each where asked for, and the change to the next one."""

    def __init__(self, widths: list[int], output: int, attention: bool, resample: nn.Module | None, E: int,
                 config: DiffusionConfig) -> None:  # fmt: skip
        super().__init__()
        self.blocks = nn.ModuleList(ResidualBlock(width, output, E, config) for width in widths)
        self.attentions = nn.ModuleList(PlaceAttention(output, config) for _ in widths) if attention else None
        self.resample = resample

    def block(self, number: int, hidden: Tensor, embedding: Tensor) -> Tensor:
        """Run one block of the stage, with its attention where the stage has it."""
        hidden = self.blocks[number](hidden, embedding)
        return hidden if self.attentions is None else self.attentions[number](hidden)


class DiffusionUnet(nn.Module):
    """Down and up again over the stages, each block's result handed over to the way up."""

    def __init__(self, config: DiffusionConfig) -> None:
        super().__init__()
        sizes, E = list(config.hidden_sizes), 4 * config.hidden_sizes[0]
        channels = config.network_shape[0] * math.prod(config.patch_shape)
        last = len(sizes) - 1
        self.patch_shape = config.patch_shape
        self.up_scale = (1 if config.network_shape[1] == 1 else 2, 2)
        self.conditioning = Conditioning(config, sizes[0], E)
        self.stem = build_conv(channels, sizes[0], config)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        skips, width = [sizes[0]], sizes[0]  # widths of what is handed over
        for number, size in enumerate(sizes):
            resample = build_conv(size, size, config, stride=2) if number < last else None
            widths = [width, *[size] * (config.depth - 1)]
            self.down.append(UnetStage(widths, size, number in config.attention_stages, resample, E, config))
            skips += [size] * (config.depth + (number < last))
            width = size
        self.middle = nn.ModuleList(ResidualBlock(width, width, E, config) for _ in range(2))
        self.middle_attention = PlaceAttention(width, config) if config.middle_attention else None
        for number, size in reversed(list(enumerate(sizes))):
            resample = build_conv(size, size, config) if number else None
            widths = [width + skips.pop(), *(size + skips.pop() for _ in range(config.depth))]
            self.up.append(UnetStage(widths, size, number in config.attention_stages, resample, E, config))
            width = size
        self.norm = build_group_norm(width, config)
        self.act = ACT2FN[config.hidden_act]
        self.head = build_small(build_conv(width, channels, config))

    def forward(self, pixels: Tensor, times: Tensor, labels: Tensor | None) -> tuple[Tensor, list[Tensor]]:
        """Map (B, C, H, W), numbers of the time (B,), classes (B,) -> the prediction, and what each stage gives."""
        embedding = F.silu(self.conditioning(times, labels))  # (B, E)
        hidden = self.stem(to_patches(pixels, self.patch_shape))
        skips, hidden_states = [hidden], []
        for stage in self.down:
            for number in range(len(stage.blocks)):
                hidden = stage.block(number, hidden, embedding)
                skips.append(hidden)
            hidden_states.append(hidden)
            if stage.resample is not None:
                hidden = stage.resample(hidden)
                skips.append(hidden)
        hidden = self.middle[0](hidden, embedding)
        if self.middle_attention is not None:
            hidden = self.middle_attention(hidden)
        hidden = self.middle[1](hidden, embedding)
        hidden_states.append(hidden)
        for stage in self.up:
            for number in range(len(stage.blocks)):
                hidden = stage.block(number, torch.cat([hidden, skips.pop()], dim=1), embedding)
            hidden_states.append(hidden)
            if stage.resample is not None:
                hidden = stage.resample(F.interpolate(hidden, scale_factor=self.up_scale, mode="nearest"))
        return to_pixels(self.head(self.act(self.norm(hidden))), self.patch_shape), hidden_states


# Transformer


class DitBlock(nn.Module):
    """Attention and feed-forward layers, both scaled, shifted and gated by the embedding (arXiv:2212.09748, fig. 3)."""

    def __init__(self, config: DiffusionConfig) -> None:
        super().__init__()
        D = config.hidden_size
        self.num_heads = D // math.gcd(config.attention_head_size, D)
        self.table = nn.Parameter(torch.empty(6, D))
        self.norm = nn.LayerNorm(D, eps=1e-6, elementwise_affine=False)
        self.qkv = nn.Linear(D, 3 * D)
        self.attention_output = nn.Linear(D, D)
        self.expand = nn.Linear(D, int(config.intermediate_ratio * D))
        self.contract = nn.Linear(int(config.intermediate_ratio * D), D)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.act = ACT2FN[config.hidden_act]

    def init_weights(self) -> None:
        """Draw the block's own modulation, which the embedding's is added to."""
        init.normal_(self.table, std=0.02)

    def forward(self, tokens: Tensor, modulation: Tensor) -> Tensor:
        """Return tokens (B, T, D), modulation (B, 6, D)."""
        shift1, scale1, gate1, shift2, scale2, gate2 = (modulation + self.table).unsqueeze(2).unbind(1)  # (B, 1, D)
        branch = torch.addcmul(shift1, self.norm(tokens), 1 + scale1)
        branch = self.attention_output(attend(self.qkv(branch), self.num_heads))
        tokens = torch.addcmul(tokens, gate1, self.dropout(branch))
        branch = torch.addcmul(shift2, self.norm(tokens), 1 + scale2)
        branch = self.contract(self.dropout(self.act(self.expand(branch))))
        return torch.addcmul(tokens, gate2, branch)


class DiffusionTransformer(nn.Module):
    """Patches as tokens through `num_hidden_layers` blocks."""

    def __init__(self, config: DiffusionConfig) -> None:
        super().__init__()
        D = config.hidden_size
        C, H, W = config.network_shape
        self.patch_shape = config.patch_shape
        self.grid = H // self.patch_shape[0], W // self.patch_shape[1]
        values = C * math.prod(self.patch_shape)
        self.conditioning = Conditioning(config, D, D)
        self.stem = nn.Linear(values, D)
        self.positions = nn.Parameter(torch.empty(math.prod(self.grid), D))
        self.modulation = nn.Linear(D, 6 * D)
        self.blocks = nn.ModuleList(DitBlock(config) for _ in range(config.num_hidden_layers))
        self.norm = nn.LayerNorm(D, eps=1e-6, elementwise_affine=False)
        self.final_modulation = nn.Linear(D, 2 * D)
        self.head = build_small(nn.Linear(D, values))

    def init_weights(self) -> None:
        """Write the positions as sines and cosines of row and column; they are learned from there."""
        init.copy_(self.positions, grid_positions(self.grid, self.positions.shape[1]))

    def forward(self, pixels: Tensor, times: Tensor, labels: Tensor | None) -> tuple[Tensor, list[Tensor]]:
        """Map (B, C, H, W), numbers of the time (B,), classes (B,) -> the prediction, and what each block gives."""
        embedding = F.silu(self.conditioning(times, labels))  # (B, D)
        patches = to_patches(pixels, self.patch_shape)  # (B, P, rows, columns)
        tokens = self.stem(patches.flatten(2).transpose(1, 2)) + self.positions  # (B, T, D)
        modulation = self.modulation(embedding).unflatten(1, (6, -1))  # (B, 6, D)
        hidden_states = []
        for block in self.blocks:
            tokens = block(tokens, modulation)
            hidden_states.append(tokens)
        shift, scale = self.final_modulation(embedding)[:, None].chunk(2, dim=2)
        values = self.head(torch.addcmul(shift, self.norm(tokens), 1 + scale))  # (B, T, P)
        patches = values.transpose(1, 2).unflatten(2, self.grid)
        return to_pixels(patches, self.patch_shape), hidden_states


@functools.cache
def grid_positions(grid: tuple[int, int], width: int) -> Tensor:
    """Return sines and cosines of each place's row and column, (rows * columns, width), of standard deviation about
    0.1."""
    rows, columns = torch.meshgrid(*(torch.arange(side, device="cpu") for side in grid), indexing="ij")
    half = width // 2 // 2 * 2
    table = torch.cat([sinusoids(rows.flatten(), half), sinusoids(columns.flatten(), half)], dim=1)
    return 0.1 * F.pad(table, (0, width - table.shape[1]))


def build_network(config: DiffusionConfig) -> nn.Module:
    """Return the network of the config's backbone."""
    return DiffusionUnet(config) if config.backbone == "unet" else DiffusionTransformer(config)


def init_weights(module: nn.Module) -> None:
    """Write every weight of `module` by its kind: uniform by Glorot and Bengio 2010, times the layer's own gain."""
    if isinstance(module, nn.Linear | nn.Conv2d):
        init.xavier_uniform_(module.weight, gain=getattr(module, "initial_gain", 1.0))
        if module.bias is not None:
            init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):
        init.normal_(module.weight, std=0.02)
    elif isinstance(module, nn.GroupNorm):
        init.ones_(module.weight)
        init.zeros_(module.bias)
    elif isinstance(module, DitBlock | DiffusionTransformer):
        module.init_weights()
