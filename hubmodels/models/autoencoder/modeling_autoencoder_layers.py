"""What an autoencoder consists of: encoders and decoders, discrete codes, likelihoods, noise, a mixture of Gaussians.

Sources stand at each class. Every module with weights or buffers of its own writes them in `init_weights`, which
`AutoencoderPreTrainedModel._init_weights` calls.
"""

import itertools
import math
from collections.abc import Callable

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
    """The activation; ReLU in place where a normalisation before it gives it a tensor of its own."""
    in_place = config.hidden_act == "relu" and config.normalization != "none"
    return nn.ReLU(inplace=True) if in_place else ACT2FN[config.hidden_act]


def build_norm(width: int, config: AutoencoderConfig) -> nn.Module:
    """The configured normalisation of (B, C, H, W), or of (B, C) in a dense network."""
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
    """Patches, then stages of residual blocks with a strided convolution between them: (B, C, H, W) -> the numbers that
    determine the code, (B, outputs) or a map (B, outputs, H, W), and the feature map of each stage."""

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
        hidden, found = values.flatten(1), []
        for layer, norm in zip(self.layers[:-1], self.norms, strict=True):
            hidden = self.dropout(self.activation(norm(layer(hidden))))
            found.append(hidden)
        hidden = self.layers[-1](hidden)
        return hidden, found or [hidden]  # a network without hidden layers has its output to show


def build_networks(config: AutoencoderConfig) -> tuple[nn.Module, nn.Module]:
    """Encoder and decoder. The encoder of a variational autoencoder gives mean and log variance, one behind the other
    along the first dimension of a row."""
    double = 2 if config.kind == "variational" else 1
    outputs = double * (config.latent_size if config.latent_map else math.prod(config.latent_shape))
    if config.backbone == "conv":
        return ConvEncoder(outputs, config), ConvDecoder(config)
    values, hidden = math.prod(config.row_shape), list(config.hidden_sizes)
    decoder = DenseLayers([math.prod(config.latent_shape), *reversed(hidden), values], config)
    return DenseLayers([values, *hidden, outputs], config), decoder


# Discrete codes


class EmaCodebook(nn.Module):
    """The nearest of N vectors, which are moving averages of the codes that they stand for (van den Oord et al. 2017,
    arXiv:1711.00937, appendix A.1). A vector that is hardly used any more starts anew at a code of the batch (Dhariwal
    et al. 2020, arXiv:2005.00341, section 3.1); at the first step all do.

    Under several processes the averages are those of all their rows."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.decay, self.threshold = config.codebook_decay, config.restart_threshold
        N, D = config.codebook_size, config.latent_size
        self.register_buffer("codebook", torch.empty(N, D))
        self.register_buffer("uses", torch.empty(N))  # moving average of how often a step uses each vector
        self.register_buffer("sums", torch.empty(N, D))  # moving average of the sum of the codes that use it

    def init_weights(self) -> None:
        init.normal_(self.codebook)
        init.zeros_(self.uses)
        init.zeros_(self.sums)

    def forward(self, latents: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """
        Args:
            latents: (B, D, places...).

        Returns:
            The vectors in their place, with the gradient of `latents` (straight-through), the codes (B, places...), and
            the commitment loss: the mean squared distance to the vectors.
        """
        with torch.autocast(latents.device.type, enabled=False):
            continuous = latents.movedim(1, -1).float()  # (B, places..., D)
            flat, codebook = continuous.reshape(-1, continuous.shape[-1]), self.codebook.float()
            with torch.no_grad():
                # |z - e|^2 without |z|^2, which is the same for all vectors.
                codes = (codebook.square().sum(1) - 2 * flat @ codebook.T).argmin(1)
            vectors = codebook[codes].view_as(continuous)
            if self.training:
                self.update(flat.detach(), codes)
            commitment = (continuous - vectors).square().mean()
            quantized = vectors + (continuous - continuous.detach())  # the vectors exactly, bit for bit
        return quantized.movedim(-1, 1).to(latents.dtype), codes.view(continuous.shape[:-1]), commitment

    @torch.no_grad()
    def update(self, flat: Tensor, codes: Tensor) -> None:
        """Take the codes `flat` (rows, D) and the numbers of their vectors into the moving averages."""
        N = len(self.codebook)
        uses = torch.bincount(codes, minlength=N).float()
        sums = torch.zeros_like(self.sums, dtype=torch.float32).index_add_(0, codes, flat)
        fresh = flat[torch.randint(len(flat), (N,), device=flat.device)]  # (N, D)
        if distributed.is_available() and distributed.is_initialized():
            distributed.all_reduce(uses)
            distributed.all_reduce(sums)
            distributed.broadcast(fresh, 0)
        self.uses.mul_(self.decay).add_(uses, alpha=1 - self.decay)
        self.sums.mul_(self.decay).add_(sums, alpha=1 - self.decay)
        # All on the device: which vectors are dead is never read here.
        mean_use = uses.sum() / N
        dead = self.uses < self.threshold * mean_use
        # A new vector counts little more than a dead one: it soon follows the codes near it, or is replaced again.
        first_use = 2 * self.threshold * mean_use
        self.uses.copy_(torch.where(dead, first_use, self.uses))
        self.sums.copy_(torch.where(dead[:, None], fresh * first_use, self.sums))
        used = self.uses[:, None] > 1e-20  # without restarts there are vectors that no code ever came near
        self.codebook.copy_(torch.where(used, self.sums / self.uses[:, None], self.codebook))

    def lookup(self, codes: Tensor) -> Tensor:
        """Codes (B, places...) -> their vectors (B, D, places...)."""
        return self.codebook[codes].movedim(-1, 1)


class FiniteScalarQuantizer(nn.Module):
    """Each latent number is bounded and rounded to one of a few levels; a code is the number of their combination
    (Mentzer et al. 2023, arXiv:2309.15505, section 3.1 and appendix A)."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.num_levels = list(config.fsq_levels)
        self.register_buffer("levels", torch.empty(len(self.num_levels)), persistent=False)
        self.register_buffer("basis", torch.empty(len(self.num_levels), dtype=torch.int64), persistent=False)

    def init_weights(self) -> None:
        levels = torch.tensor(self.num_levels)
        init.copy_(self.levels, levels.to(self.levels.dtype))
        init.copy_(self.basis, torch.cat([torch.ones(1, dtype=torch.int64), levels[:-1].cumprod(0)]))

    def forward(self, latents: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Latents (B, D, places...) -> the levels in -1..1 in their place, with the gradient of the bounded numbers,
        the codes (B, places...), and no further loss."""
        with torch.autocast(latents.device.type, enabled=False):
            continuous, levels = latents.movedim(1, -1).float(), self.levels.float()  # (B, places..., D)
            half = (levels - 1) * (1 + 1e-3) / 2
            # An even number of levels lies half a step beside 0; the shift maps 0 to 0 all the same.
            offset = torch.where(levels % 2 == 0, 0.5, 0.0)
            bounded = (continuous + (offset / half).atanh()).tanh() * half - offset
            rounded = bounded.round().detach() + (bounded - bounded.detach())  # the levels exactly
            width = (levels / 2).floor()
            codes = ((rounded.detach() + width).round().long() * self.basis).sum(-1)
        return (rounded / width).movedim(-1, 1).to(latents.dtype), codes, None

    def lookup(self, codes: Tensor) -> Tensor:
        """Codes (B, places...) -> their levels in -1..1 (B, D, places...)."""
        levels = self.levels.long()
        width = levels // 2
        digits = codes[..., None] // self.basis % levels  # (B, places..., D)
        return ((digits - width) / width).to(self.levels.dtype).movedim(-1, 1)


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
        return self.variance == "per_value"

    def init_weights(self) -> None:
        if self.log_scale is not None:
            # exp(-1.5) = 0.22, a standard deviation of grey images; a table's standardised values have 1.
            init.constant_(self.log_scale, -1.5 if self.bounded else -0.5)
        elif self.kind == "gaussian":
            init.ones_(self.mean_squared_error)
            init.zeros_(self.num_updates)

    def mean(self, outputs: Tensor) -> Tensor:
        """The decoder's outputs as the mean of the values, not clamped to their range."""
        return outputs.sigmoid() if self.sigmoid or self.kind == "bernoulli" else outputs

    def scale(self) -> Tensor:
        """The learned scale, standard deviation or scale of the logistic distribution: (1,) or a row's shape."""
        assert self.log_scale is not None  # of a likelihood that has a scale
        log_scale = self.log_scale.float()
        # A soft bound from below: pixels that are always black would have an infinite likelihood.
        log_scale = MIN_LOG_SCALE + F.softplus(log_scale - MIN_LOG_SCALE)
        return log_scale.exp().view(self.row_shape if self.per_value else (1,))

    def update(self, squared_error: Tensor) -> Tensor:
        """The mean squared error of this step, which is the variance of most likelihood (arXiv:2006.13202, eq. 5), over
        all processes; a moving average of it is what evaluation takes."""
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
        """
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
        """-log of the share of a logistic distribution that falls to the level of each value; the lowest and the
        highest level take the tails (Kingma et al. 2016, arXiv:1606.04934, eq. 15; arXiv:1701.05517, section 2.1)."""
        scale, half = self.scale(), 0.5 / (self.num_levels - 1)
        above, below = (values + half - mean) / scale, (values - half - mean) / scale
        # sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - exp(b - a)), of which each factor keeps its digits.
        inside = F.logsigmoid(above) + F.logsigmoid(-below) + (-torch.expm1(-2 * half / scale)).log()
        log_share = torch.where(values < half, F.logsigmoid(above), inside)
        return -torch.where(values > 1 - half, F.logsigmoid(-below), log_share)

    def constant(self) -> float:
        """What to add to a row's value to have -log of a density: of mse, a Gaussian of variance 1/2."""
        return math.prod(self.row_shape) * math.log(math.pi) / 2 if self.kind == "mse" else 0.0


class KlWeight(nn.Module):
    """The weight of the KL divergence: beta (Higgins et al. 2017), in training risen linearly from 0 over the first
    forwards (Bowman et al. 2016, arXiv:1511.06349). Their count is stored, so that a resumed run goes on alike."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.beta, self.warmup = config.beta, config.kl_warmup_steps
        self.register_buffer("num_forwards", torch.empty((), dtype=torch.int64))

    def init_weights(self) -> None:
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
    """Noisy values; a kind and a strength s are drawn for each row.

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


# Priors that are fitted after training


MIXTURE_RANK = 64  # numbers of a code that a full covariance of each component is fitted on


class GaussianMixture(nn.Module):
    """A mixture of Gaussians with full covariances on the codes of the training rows, from which an autoencoder samples
    better than from the normal prior (Ghosh et al. 2020, arXiv:1903.12436, section 4).

    Fitted by expectation maximisation from a k-means++ start, in float64, as scikit-learn's does. Codes of more than
    `MIXTURE_RANK` numbers are fitted in the plane of as many principal components, and sampled there."""

    def __init__(self, num_components: int, size: int) -> None:
        super().__init__()
        rank = min(size, MIXTURE_RANK)
        self.register_buffer("weights", torch.empty(num_components))
        self.register_buffer("means", torch.empty(num_components, rank))
        self.register_buffer("cholesky", torch.empty(num_components, rank, rank))  # of the covariances, lower triangles
        self.register_buffer("num_rows", torch.empty((), dtype=torch.int64))  # that it was fitted on, 0 for not yet
        self.is_projected = rank < size
        if self.is_projected:
            self.register_buffer("center", torch.empty(size))
            self.register_buffer("axes", torch.empty(size, rank))  # of the plane, columns of unit length

    def init_weights(self) -> None:
        K, L = self.means.shape
        if self.is_projected:
            init.zeros_(self.center)
            init.copy_(self.axes, torch.eye(len(self.center))[:, :L])
        init.constant_(self.weights, 1 / K)
        init.zeros_(self.means)
        init.copy_(self.cholesky, torch.eye(L).expand(K, L, L))
        init.zeros_(self.num_rows)

    def check_rows(self, num_rows: int) -> None:
        """Raise ValueError where there are fewer rows than components."""
        K = len(self.means)
        if num_rows < K:
            raise ValueError(
                f"a mixture of {K} Gaussians needs at least {K} rows, got {num_rows}: lower num_mixture_components"
            )

    @torch.no_grad()
    def fit(self, codes: Tensor, seed: int = 0, num_iterations: int = 100, tolerance: float = 1e-3) -> float:
        """Fit to `codes` (rows, L) until the mean log-likelihood rises by less than `tolerance` nats; returns it.

        Raises:
            ValueError: there are fewer rows than components.
        """
        K = len(self.means)
        self.check_rows(len(codes))
        codes = codes.double()
        if self.is_projected:
            center = codes.mean(0)
            codes = codes - center
            axes = torch.linalg.eigh(codes.T @ codes).eigenvectors[:, -self.means.shape[1] :]  # of ascending variance
            codes = codes @ axes
            self.center.copy_(center)
            self.axes.copy_(axes)
        shift, spread = codes.mean(0), codes.std(0, correction=0).clamp(min=1e-12)
        scaled = (codes - shift) / spread
        labels = k_means(scaled, K, torch.Generator().manual_seed(seed))
        parameters = maximize(scaled, lambda part, rows: F.one_hot(labels[rows], K).double(), K)
        score = -math.inf
        for _ in range(num_iterations):
            found: list[Tensor] = []

            def responsibilities(part: Tensor, _: slice, parameters=parameters, found=found) -> Tensor:
                joint = log_densities(part, *parameters)  # (rows, K)
                found.append(joint.logsumexp(1))
                return (joint - found[-1][:, None]).exp()

            parameters = maximize(scaled, responsibilities, K)
            before, score = score, torch.cat(found).mean().item()
            if score - before < tolerance:
                break
        weights, means, cholesky = parameters
        self.weights.copy_(weights)
        self.means.copy_(means * spread + shift)
        self.cholesky.copy_(cholesky * spread[:, None])
        self.num_rows.fill_(len(codes))
        return score - spread.log().sum().item()

    def log_prob(self, codes: Tensor) -> Tensor:
        """log density of codes (rows, L), or of their places in the plane: (rows,), float64."""
        codes = (codes - self.center) @ self.axes if self.is_projected else codes
        parameters = (self.weights.double(), self.means.double(), self.cholesky.double())
        return log_densities(codes.double(), *parameters).logsumexp(1)

    def sample(self, num_samples: int, generator: torch.Generator | None) -> Tensor:
        """Codes (num_samples, L), float32, on the mixture's device."""
        device = self.means.device
        chosen = torch.multinomial(self.weights.float(), num_samples, replacement=True, generator=generator)
        noise = torch.randn(num_samples, self.means.shape[1], generator=generator, device=device)
        # A component at a time: the factors of all samples together would be L times as large as the samples.
        codes = torch.empty_like(noise)
        for k in range(len(self.means)):
            rows = chosen == k
            codes[rows] = self.means[k].float() + noise[rows] @ self.cholesky[k].float().T
        return self.center.float() + codes @ self.axes.float().T if self.is_projected else codes


def parts(rows: int, size: int = 16_384) -> list[slice]:
    """Stretches of so many rows, which bound the memory of a pass over all of them."""
    return [slice(start, start + size) for start in range(0, rows, size)]


def k_means(codes: Tensor, num_clusters: int, generator: torch.Generator, num_iterations: int = 20) -> Tensor:
    """Clusters (rows,) by Lloyd's iterations from a k-means++ start (Arthur and Vassilvitskii 2007)."""
    rows = torch.randint(len(codes), (1,), generator=generator)
    distance = torch.full((len(codes),), math.inf, dtype=codes.dtype)
    for _ in range(num_clusters - 1):
        distance = torch.minimum(distance, (codes - codes[rows[-1]]).square().sum(1))
        total = distance.cumsum(0)
        point = total[-1] * torch.rand(1, generator=generator, dtype=codes.dtype)
        rows = torch.cat([rows, torch.searchsorted(total, point).clamp(max=len(codes) - 1)])
    centers = codes[rows]  # (K, L)
    for _ in range(num_iterations):
        labels = torch.cat([torch.cdist(codes[part], centers).argmin(1) for part in parts(len(codes))])
        sums = torch.zeros_like(centers).index_add_(0, labels, codes)
        counts = torch.bincount(labels, minlength=num_clusters)[:, None]
        centers = torch.where(counts > 0, sums / counts.clamp(min=1), centers)
    return labels


def maximize(
    codes: Tensor, responsibilities: Callable[[Tensor, slice], Tensor], num_components: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Weights (K,), means (K, L) and Cholesky factors (K, L, L) of most likelihood, given a function (codes of a
    stretch, its rows) -> each component's share of each row (rows, K)."""
    L = codes.shape[1]
    counts, sums = codes.new_zeros(num_components), codes.new_zeros(num_components, L)
    squares = codes.new_zeros(num_components, L, L)
    for rows in parts(len(codes)):
        part = codes[rows]
        shares = responsibilities(part, rows)
        counts += shares.sum(0)
        sums += shares.T @ part
        for k in range(num_components):
            squares[k] += (part * shares[:, k, None]).T @ part
    counts = counts + 10 * torch.finfo(codes.dtype).eps
    means = sums / counts[:, None]
    covariances = squares / counts[:, None, None] - means[:, :, None] * means[:, None]
    covariances.diagonal(dim1=1, dim2=2).add_(1e-6)  # of scikit-learn: a component of one row is no point
    return counts / len(codes), means, torch.linalg.cholesky(covariances)


def log_densities(codes: Tensor, weights: Tensor, means: Tensor, cholesky: Tensor) -> Tensor:
    """log of weight times density of each component: (rows, K)."""
    L = codes.shape[1]
    found = []
    for weight, mean, factor in zip(weights, means, cholesky, strict=True):
        solved = torch.linalg.solve_triangular(factor, (codes - mean).T, upper=False)  # (L, rows)
        log_determinant = factor.diagonal().log().sum()
        found.append(weight.log() - log_determinant - (L * math.log(2 * math.pi) + solved.square().sum(0)) / 2)
    return torch.stack(found, dim=1)


BUFFERED = (EmaCodebook, FiniteScalarQuantizer, Likelihood, KlWeight, GaussianMixture)

__all__ = [
    "BUFFERED",
    "EmaCodebook",
    "FiniteScalarQuantizer",
    "GaussianMixture",
    "KlWeight",
    "Likelihood",
    "add_noise",
    "build_networks",
]
