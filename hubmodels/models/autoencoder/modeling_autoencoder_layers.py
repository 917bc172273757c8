"""What an autoencoder consists of: encoders and decoders, likelihoods, noise.

Sources stand at each class. Every module with weights or buffers of its own writes them in `init_weights`, which
`AutoencoderPreTrainedModel._init_weights` calls.
"""

import itertools
import math

import torch
import torch.nn.functional as F
from torch import Tensor, distributed, nn
from transformers import initialization as init
from transformers.activations import ACT2FN

from .configuration_autoencoder import AutoencoderConfig

# B batch, C channels, H height, W width, D latent_size, P places of a code (1 for a vector), N num_codes, K mixture
# components or importance samples, L numbers of a whole code

MIN_LOG_SCALE = -5.5  # log of 1/256 and a little: no likelihood of 8-bit values needs a smaller scale


def build_activation(config: AutoencoderConfig) -> nn.Module:
    """Return the activation; ReLU in place where a normalisation before it gives it a tensor of its own."""
    in_place = config.hidden_act == "relu" and config.normalization != "none"
    return nn.ReLU(inplace=True) if in_place else ACT2FN[config.hidden_act]


def build_norm(width: int, config: AutoencoderConfig) -> nn.Module:
    """Return the configured normalisation of (B, C, H, W), or of (B, C) in a dense network."""
    if config.normalization == "batch_norm":
        return nn.BatchNorm2d(width) if config.backbone == "conv" else nn.BatchNorm1d(width)
    if config.normalization == "group_norm":
        return nn.GroupNorm(math.gcd(config.num_norm_groups, width), width)
    return nn.Identity()


class ResidualBlock(nn.Module):
    """Two convolutions, each behind a normalisation and an activation, beside a shortcut (He et al. 2016,
    arXiv:1603.05027): (B, C, H, W) -> the same."""

    def __init__(self, width: int, config: AutoencoderConfig) -> None:
        super().__init__()
        self.norm1, self.norm2 = build_norm(width, config), build_norm(width, config)
        self.conv1 = nn.Conv2d(width, width, config.kernel_size, padding="same")
        self.conv2 = nn.Conv2d(width, width, config.kernel_size, padding="same")
        # Many branches add up: each starts small, so that a network without normalisation starts near the identity.
        self.conv2.initial_gain = 1 / math.sqrt(2 * max(1, sum(config.depths)))
        self.activation = build_activation(config)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, hidden: Tensor) -> Tensor:
        branch = self.conv1(self.activation(self.norm1(hidden)))
        branch = self.conv2(self.dropout(self.activation(self.norm2(branch))))
        return hidden + branch


class ConvEncoder(nn.Module):
    """Patches, then stages of residual blocks with a strided convolution between them.

    Maps (B, C, H, W) -> the numbers that determine the code, and the feature map of each stage. The numbers are
    (B, outputs) or a map (B, outputs, H, W)."""

    def __init__(self, outputs: int, config: AutoencoderConfig) -> None:
        super().__init__()
        widths, patch = list(config.hidden_sizes), config.patch_size
        self.downs = nn.ModuleList([nn.Conv2d(config.num_channels, widths[0], patch, stride=patch)])
        self.downs.extend(nn.Conv2d(a, b, 2, stride=2) for a, b in itertools.pairwise(widths))
        self.stages = nn.ModuleList(
            nn.Sequential(*(ResidualBlock(width, config) for _ in range(depth)))
            for width, depth in zip(widths, config.depths, strict=True)
        )
        self.norm, self.activation = build_norm(widths[-1], config), build_activation(config)
        self.is_map = config.latent_map
        features = widths[-1] if self.is_map else math.prod(config.feature_map_shape)
        self.head = nn.Conv2d(features, outputs, 1) if self.is_map else nn.Linear(features, outputs)

    def forward(self, values: Tensor) -> tuple[Tensor, list[Tensor]]:
        hidden, maps = values, []
        for down, stage in zip(self.downs, self.stages, strict=True):
            hidden = stage(down(hidden))  # (B, width, H, W)
            maps.append(hidden)
        hidden = self.activation(self.norm(hidden))
        return self.head(hidden if self.is_map else hidden.flatten(1)), maps


class ConvDecoder(nn.Module):
    """The encoder's mirror image; a stage ends with a convolution whose channels become 2x2 places (sub-pixel
    convolution, Shi et al. 2016, arXiv:1609.05158): a code -> (B, C, H, W), and the feature map of each stage."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        widths, patch = list(reversed(config.hidden_sizes)), config.patch_size
        self.map_shape = None if config.latent_map else config.feature_map_shape
        if config.latent_map:
            self.head = nn.Conv2d(config.latent_size, widths[0], 1)
        else:
            self.head = nn.Linear(math.prod(config.latent_shape), math.prod(config.feature_map_shape))
        self.stages = nn.ModuleList(
            nn.Sequential(*(ResidualBlock(width, config) for _ in range(depth)))
            for width, depth in zip(widths, reversed(config.depths), strict=True)
        )
        self.ups = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, 4 * b, 1), nn.PixelShuffle(2)) for a, b in itertools.pairwise(widths)
        )
        self.norm, self.activation = build_norm(widths[-1], config), build_activation(config)
        self.out = nn.Conv2d(widths[-1], config.num_channels * patch**2, config.kernel_size, padding="same")
        self.shuffle = nn.PixelShuffle(patch)

    def forward(self, latents: Tensor) -> tuple[Tensor, list[Tensor]]:
        hidden = self.head(latents if self.map_shape is None else latents.flatten(1))
        hidden = hidden if self.map_shape is None else hidden.unflatten(1, self.map_shape)  # (B, width, H, W)
        maps = []
        for i, stage in enumerate(self.stages):
            hidden = stage(self.ups[i - 1](hidden) if i else hidden)
            maps.append(hidden)
        return self.shuffle(self.out(self.activation(self.norm(hidden)))), maps


class DenseLayers(nn.Module):
    """Linear layers with normalisation, activation and dropout between them: (B, sizes[0]) -> (B, sizes[-1]), and what
    each hidden layer gives."""

    def __init__(self, sizes: list[int], config: AutoencoderConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))
        self.norms = nn.ModuleList(build_norm(size, config) for size in sizes[1:-1])
        self.activation = build_activation(config)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, values: Tensor) -> tuple[Tensor, list[Tensor]]:
        hidden, layer_outputs = values.flatten(1), []
        for layer, norm in zip(self.layers[:-1], self.norms, strict=True):
            hidden = self.dropout(self.activation(norm(layer(hidden))))
            layer_outputs.append(hidden)
        hidden = self.layers[-1](hidden)
        return hidden, layer_outputs or [hidden]  # a network without hidden layers has its output to show


def build_networks(config: AutoencoderConfig) -> tuple[nn.Module, nn.Module]:
    """Return encoder and decoder. The encoder of a variational autoencoder gives mean and log variance, one behind the
    other along the first dimension of a row."""
    double = 2 if config.kind == "variational" else 1
    outputs = double * (config.latent_size if config.latent_map else math.prod(config.latent_shape))
    if config.backbone == "conv":
        return ConvEncoder(outputs, config), ConvDecoder(config)
    values, hidden = math.prod(config.row_shape), list(config.hidden_sizes)
    decoder = DenseLayers([math.prod(config.latent_shape), *reversed(hidden), values], config)
    return DenseLayers([values, *hidden, outputs], config), decoder


# Discrete codes


# Likelihoods


class Likelihood(nn.Module):
    """-log p(values | code), of a row the sum over its values, in nats; mse leaves out the constant."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.kind, self.variance, self.row_shape = config.likelihood, config.variance, config.row_shape
        self.num_levels, self.sigmoid = config.num_levels, config.output_act == "sigmoid"
        self.bounded = not config.num_numeric_features  # images lie in 0..1
        self.log_scale: nn.Parameter | None = None
        if self.kind in ("gaussian", "discretized_logistic"):
            if self.variance == "optimal":
                self.register_buffer("mean_squared_error", torch.empty(()))
                self.register_buffer("num_updates", torch.empty((), dtype=torch.int64))
            else:  # flat, since weight decay spares vectors alone
                self.log_scale = nn.Parameter(torch.empty(math.prod(self.row_shape) if self.per_value else 1))

    @property
    def per_value(self) -> bool:
        """Tell whether each value has a variance of its own."""
        return self.variance == "per_value"

    def init_weights(self) -> None:
        """Start with the scale that the values' own spread suggests."""
        if self.log_scale is not None:
            # exp(-1.5) = 0.22, a standard deviation of grey images; a table's standardised values have 1.
            init.constant_(self.log_scale, -1.5 if self.bounded else -0.5)
        elif self.kind == "gaussian":
            init.ones_(self.mean_squared_error)
            init.zeros_(self.num_updates)

    def mean(self, outputs: Tensor) -> Tensor:
        """Return the decoder's outputs as the mean of the values, not clamped to their range."""
        return outputs.sigmoid() if self.sigmoid or self.kind == "bernoulli" else outputs

    def scale(self) -> Tensor:
        """Return the learned scale, standard deviation or scale of the logistic distribution: (1,) or a row's shape."""
        assert self.log_scale is not None  # of a likelihood that has a scale
        log_scale = self.log_scale.float()
        # A soft bound from below: pixels that are always black would have an infinite likelihood.
        log_scale = MIN_LOG_SCALE + F.softplus(log_scale - MIN_LOG_SCALE)
        return log_scale.exp().view(self.row_shape if self.per_value else (1,))

    def update(self, squared_error: Tensor) -> Tensor:
        """Return the mean squared error of this step, which is the variance of most likelihood (arXiv:2006.13202, eq.
        5), over all processes; a moving average of it is what evaluation takes."""
        error = squared_error.detach().mean()
        if distributed.is_available() and distributed.is_initialized():
            distributed.all_reduce(error)
            error = error / distributed.get_world_size()
        with torch.no_grad():
            self.num_updates += 1
            weight = (1 / self.num_updates).clamp(min=0.01)
            self.mean_squared_error.lerp_(error.to(self.mean_squared_error.dtype), weight.to(error.dtype))
        return error

    def forward(self, outputs: Tensor, values: Tensor) -> Tensor:
        """Compute the outputs of this module.

        Args:
            outputs: of the decoder, (B, *row).
            values: what they should be, the same shape.

        Returns:
            (B,), float32.
        """
        outputs, values = outputs.float().view_as(values), values.float()
        if self.kind == "bernoulli":
            return F.binary_cross_entropy_with_logits(outputs, values, reduction="none").flatten(1).sum(1)
        mean = self.mean(outputs)
        if self.kind == "discretized_logistic":
            return self.discretized_logistic(mean, values).flatten(1).sum(1)
        squared_error = (values - mean).square()  # (B, *row)
        if self.kind == "mse":
            return squared_error.flatten(1).sum(1)
        if self.variance == "optimal":
            variance = self.update(squared_error) if self.training else self.mean_squared_error.float()
            variance = variance.clamp(min=math.exp(2 * MIN_LOG_SCALE))
        else:
            variance = self.scale().square()
        terms = squared_error / variance + (2 * math.pi * variance).log()
        return terms.flatten(1).sum(1) / 2

    def discretized_logistic(self, mean: Tensor, values: Tensor) -> Tensor:
        """Compute -log of the share of a logistic distribution that falls to the level of each value; the lowest and
        the highest level take the tails (Kingma et al. 2016, arXiv:1606.04934, eq. 15; arXiv:1701.05517, section
        2.1)."""
        scale, half = self.scale(), 0.5 / (self.num_levels - 1)
        above, below = (values + half - mean) / scale, (values - half - mean) / scale
        # sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - exp(b - a)), of which each factor keeps its digits.
        inside = F.logsigmoid(above) + F.logsigmoid(-below) + (-torch.expm1(-2 * half / scale)).log()
        log_share = torch.where(values < half, F.logsigmoid(above), inside)
        return -torch.where(values > 1 - half, F.logsigmoid(-below), log_share)

    def constant(self) -> float:
        """Return what to add to a row's value to have -log of a density: of mse, a Gaussian of variance 1/2."""
        return math.prod(self.row_shape) * math.log(math.pi) / 2 if self.kind == "mse" else 0.0


class KlWeight(nn.Module):
    """The weight of the KL divergence: beta (Higgins et al. 2017), in training risen linearly from 0 over the first
    forwards (Bowman et al. 2016, arXiv:1511.06349). Their count is stored, so that a resumed run goes on alike."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.beta, self.warmup = config.beta, config.kl_warmup_steps
        self.register_buffer("num_forwards", torch.empty((), dtype=torch.int64))

    def init_weights(self) -> None:
        """Start counting the forwards."""
        init.zeros_(self.num_forwards)

    def forward(self) -> Tensor | float:
        if not self.training or not self.warmup:
            return self.beta
        self.num_forwards += 1
        return self.beta * (self.num_forwards / self.warmup).clamp(max=1)


# Noise


def add_noise(
    values: Tensor,
    noise_types: list[str],
    noise_strength: tuple[float, float],
    generator: torch.Generator | None = None,
    bounded: bool = True,
) -> Tensor:
    """Return noisy values; a kind and a strength s are drawn for each row.

    gaussian adds N(0, s^2); salt_and_pepper makes a share s of the pixels black or white, with even chances; masking
    sets a share s to 0 (Vincent et al. 2010). The pixel of a colour image changes in all its channels.

    Args:
        values: (B, C, H, W), or (B, features) of a table.
        noise_types: the kinds to draw from.
        noise_strength: lowest and highest s.
        generator: the source of all random numbers, on the device of `values`.
        bounded: whether the result is clamped to 0..1.
    """
    B, device = len(values), values.device
    low, high = noise_strength
    row = (B,) + (1,) * (values.ndim - 1)
    strength = low + (high - low) * torch.rand(row, generator=generator, device=device)
    kind = torch.randint(len(noise_types), row, generator=generator, device=device)
    noisy = values
    for number, name in enumerate(noise_types):
        if name == "gaussian":
            changed = values + strength * torch.randn(values.shape, generator=generator, device=device)
        else:
            pixels = (B, 1, *values.shape[2:]) if values.ndim > 2 else values.shape
            chance = torch.rand(pixels, generator=generator, device=device)
            changed = values.where(chance >= strength, 0.0)
            if name == "salt_and_pepper":
                changed = changed.where(chance >= strength / 2, 1.0)
        noisy = torch.where(kind == number, changed.to(values.dtype), noisy)
    return noisy.clamp(0, 1) if bounded else noisy


__all__ = ["KlWeight", "Likelihood", "add_noise", "build_networks"]
