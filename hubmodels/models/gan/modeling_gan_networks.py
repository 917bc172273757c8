"""Generators and discriminators of images, and what the discriminator sees of them.

`dcgan`: strided convolutions (Radford et al. 2015, arXiv:1511.06434), with ReLU and batch norm in the generator and
leaky ReLU without batch norm in the discriminator. `residual`: after R3GAN (Huang et al. 2024, arXiv:2501.05441): 1x1,
grouped 3x3 and 1x1 convolutions with leaky ReLU and no normalisation, bilinear resampling, blocks that start as nearly
identity. Departs from them: the lowest stage is reached by one linear layer in place of a learned basis, and both start
by He's initialisation. Classes are concatenated to the latents, and projected onto the discriminator's features (Miyato
and Koyama 2018, arXiv:1802.05637).
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import initialization as init

from .configuration_gan import GanConfig

# B batch, L latent numbers, C channels, H height, W width

SLOPE = 0.2  # of leaky ReLU below 0


class SpectralNorm(nn.Module):
    """A layer whose weight is divided by its largest singular value, where `spectral` says so (Miyato et al. 2018,
    arXiv:1802.05957): one power iteration a training forward, kept in `direction` (outputs,)."""

    spectral = False
    initial_gain = 1.0  # of the weights' standard deviation at the start

    def normalize(self) -> None:
        """Divide the weight from now on."""
        self.spectral = True
        self.register_buffer("direction", torch.ones(len(self.weight)))

    def normalized(self) -> Tensor:
        """Return the weight to compute with, divided where the layer is normalised."""
        if not self.spectral:
            return self.weight
        matrix = self.weight.flatten(1)
        with torch.no_grad():  # sums, whose digits, unlike a matrix product's, do not depend on where the weights lie
            right = functional.normalize((matrix * self.direction.to(matrix.dtype)[:, None]).sum(0), dim=0)
            left = functional.normalize((matrix * right).sum(1), dim=0)
            if self.training:
                self.direction.copy_(left)
        return self.weight / (matrix * right * left[:, None]).sum().clamp_min(1e-12)


class Conv2d(SpectralNorm, nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(x, self.normalized(), self.bias)


class Linear(SpectralNorm, nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.normalized(), self.bias)


class ResidualBlock(nn.Module):
    """x + 1x1(act(grouped 3x3(act(1x1(x))))), nearly x at the start."""

    def __init__(self, config: GanConfig, size: int) -> None:
        super().__init__()
        inner = config.expansion * size
        groups = inner // math.gcd(inner, config.group_size)
        self.expand = Conv2d(size, inner, 1)
        self.mix = Conv2d(inner, inner, 3, padding=1, groups=groups)
        self.reduce = Conv2d(inner, size, 1, bias=False)
        self.reduce.initial_gain = 0.1

    def forward(self, x: Tensor) -> Tensor:
        hidden = functional.leaky_relu(self.expand(x), SLOPE)
        hidden = functional.leaky_relu(self.mix(hidden), SLOPE)
        return x + self.reduce(hidden)


class UpStage(nn.Module):
    """A stage of the generator: twice the resolution unless it is the first, then its layers."""

    def __init__(self, config: GanConfig, in_size: int, size: int, first: bool) -> None:
        super().__init__()
        self.first = first
        self.residual = config.block == "residual"
        if self.residual:
            self.change = Conv2d(in_size, size, 1, bias=False) if in_size != size else nn.Identity()
            self.blocks = nn.ModuleList(ResidualBlock(config, size) for _ in range(config.depth))
            return
        norm = config.normalization == "batch_norm"
        if not first:
            self.convolution = nn.ConvTranspose2d(in_size, size, 4, stride=2, padding=1, bias=not norm)
        self.norm = nn.BatchNorm2d(size) if norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        if self.residual:
            x = self.change(x)  # before it grows: four times less work
            if not self.first:
                x = functional.interpolate(x, scale_factor=2, mode="bilinear")
            for block in self.blocks:
                x = block(x)
            return x
        return functional.relu(self.norm(x if self.first else self.convolution(x)))


class Generator(nn.Module):
    """Latents (B, L) and classes (B,) to images (B, C, H, W) in 0..1."""

    def __init__(self, config: GanConfig) -> None:
        super().__init__()
        sizes = config.generator_sizes
        self.lowest = (sizes[0], *config.lowest_shape(len(sizes)))
        in_size = config.latent_size
        if config.class_conditional:
            self.class_embedding = nn.Embedding(config.num_labels, config.class_embedding_size)
            in_size += config.class_embedding_size
        self.conditional = config.class_conditional
        self.project = Linear(in_size, math.prod(self.lowest))
        pairs = zip([sizes[0], *sizes[:-1]], sizes, strict=True)
        self.stages = nn.ModuleList(UpStage(config, *pair, first=index == 0) for index, pair in enumerate(pairs))
        self.to_image = Conv2d(sizes[-1], config.num_channels, 3, padding=1)

    def forward(self, latents: Tensor, labels: Tensor | None) -> Tensor:
        if self.conditional:
            latents = torch.cat([latents, self.class_embedding(labels).to(latents.dtype)], dim=1)
        x = self.project(latents).view(-1, *self.lowest)
        for stage in self.stages:
            x = stage(x)
        return torch.sigmoid(self.to_image(x))


class DownStage(nn.Module):
    """A stage of the discriminator: its layers, then half of the resolution unless it is the last."""

    def __init__(self, config: GanConfig, size: int, out_size: int, last: bool) -> None:
        super().__init__()
        self.last = last
        self.residual = config.block == "residual"
        if self.residual:
            self.blocks = nn.ModuleList(ResidualBlock(config, size) for _ in range(config.depth))
            self.change = Conv2d(size, out_size, 1, bias=False) if out_size != size else nn.Identity()
        elif not last:
            self.convolution = Conv2d(size, out_size, 4, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        if self.residual:
            for block in self.blocks:
                x = block(x)
            return x if self.last else self.change(functional.avg_pool2d(x, 2))  # bilinear, at half the size
        return x if self.last else functional.leaky_relu(self.convolution(x), SLOPE)


class Discriminator(nn.Module):
    """Images (B, C, H, W) in 0..1 and classes (B,) to scores (B,), larger for images that look real."""

    def __init__(self, config: GanConfig) -> None:
        super().__init__()
        sizes = config.discriminator_sizes
        self.from_image = Conv2d(config.num_channels, sizes[0], 3, padding=1)
        pairs = zip(sizes, [*sizes[1:], sizes[-1]], strict=True)
        self.stages = nn.ModuleList(
            DownStage(config, *pair, last=index == len(sizes) - 1) for index, pair in enumerate(pairs)
        )
        self.gather = Conv2d(sizes[-1], sizes[-1], config.lowest_shape(len(sizes)), groups=sizes[-1])
        self.score = Linear(sizes[-1], 1)
        self.class_embedding = nn.Embedding(config.num_labels, sizes[-1]) if config.class_conditional else None
        if config.spectral_norm:
            for layer in [layer for layer in self.modules() if isinstance(layer, SpectralNorm)]:
                layer.normalize()

    def forward(self, images: Tensor, labels: Tensor | None) -> tuple[Tensor, list[Tensor]]:
        """Return scores (B,) and what each stage gives. Without labels a conditional one judges the image alone."""
        x = functional.leaky_relu(self.from_image(2 * images - 1), SLOPE)
        hidden_states = []
        for stage in self.stages:
            x = stage(x)
            hidden_states.append(x)
        features = functional.leaky_relu(self.gather(x).flatten(1), SLOPE)  # (B, C)
        scores = self.score(features).squeeze(1)
        if self.class_embedding is not None and labels is not None:
            directions = self.class_embedding(labels).to(features.dtype)
            scores = scores + (directions * features).sum(1) / math.sqrt(features.shape[1])
        return scores, hidden_states


def augment(images: Tensor, names: list[str] | tuple[str, ...], prob: Tensor, draws: Tensor | None = None) -> Tensor:
    """Return each kind of augmentation on a random share of the images; differentiable in these.

    Args:
        images: (B, C, H, W) in 0..1.
        names: of brightness (shift by up to 0.25), translation (by up to an eighth of the side, black behind it),
            cutout (a grey square of half the side).
        prob: scalar, share of the images that each is applied to.
        draws: (B, len(names), 3) in [0, 1): whether, and how; drawn when None.
    """
    B, _, H, W = images.shape
    if draws is None:
        draws = torch.rand(B, len(names), 3, device=images.device)
    rows = torch.arange(H, device=images.device).view(1, 1, H, 1)
    columns = torch.arange(W, device=images.device).view(1, 1, 1, W)
    for index, name in enumerate(names):
        chosen = (draws[:, index, 0] < prob).view(B, 1, 1, 1)
        first, second = draws[:, index, 1].view(B, 1, 1, 1), draws[:, index, 2].view(B, 1, 1, 1)
        if name == "brightness":
            changed = images + (first - 0.5) / 2
        elif name == "translation":
            down = ((first * 2 - 1) * (H / 8)).round().long()
            right = ((second * 2 - 1) * (W / 8)).round().long()
            y, x = rows - down, columns - right  # (B, 1, H, 1) and (B, 1, 1, W): where each pixel comes from
            inside = ((y >= 0) & (y < H)) & ((x >= 0) & (x < W))
            batch = torch.arange(B, device=images.device).view(B, 1, 1)
            moved = images.permute(0, 2, 3, 1)[batch, y.clamp(0, H - 1)[:, 0], x.clamp(0, W - 1)[:, 0]]
            changed = moved.permute(0, 3, 1, 2) * inside
        else:
            top, left = (first * H).long(), (second * W).long()  # the square's middle
            hidden = ((rows - top).abs() < H / 4) & ((columns - left).abs() < W / 4)
            changed = torch.where(hidden, 0.5, images)
        images = torch.where(chosen, changed, images)
    return images


def init_network(module: nn.Module) -> None:
    """Write every weight of a layer."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        # He's, not N(0, 0.02) as in the paper: from there the discriminator of small networks tells nothing apart for
        # hundreds of steps.
        fan_in = math.prod(module.weight.shape[1:])
        gain = getattr(module, "initial_gain", 1.0) * math.sqrt(2 / (1 + SLOPE**2))
        init.normal_(module.weight, std=gain / math.sqrt(fan_in))
        if module.bias is not None:
            init.zeros_(module.bias)
        if getattr(module, "spectral", False):
            init.ones_(module.direction)
    elif isinstance(module, nn.Embedding):
        init.normal_(module.weight)
    elif isinstance(module, nn.BatchNorm2d):
        init.ones_(module.weight)
        init.zeros_(module.bias)
        init.zeros_(module.running_mean)
        init.ones_(module.running_var)
        init.zeros_(module.num_batches_tracked)


__all__ = ["Discriminator", "Generator", "ResidualBlock", "augment", "init_network"]
