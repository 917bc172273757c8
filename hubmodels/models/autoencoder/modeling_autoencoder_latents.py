"""What becomes of an autoencoder's codes: moments and draws, discrete codes, a mixture of Gaussians over them.

Sources stand at each class. Every module writes its weights and buffers in `init_weights`, which
`AutoencoderPreTrainedModel._init_weights` calls.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, distributed, nn
from transformers import initialization as init

from .configuration_autoencoder import AutoencoderConfig

# B batch, D latent_size, P places of a code (1 for a vector), N num_codes, K mixture components or importance
# samples, L numbers of a whole code


def split_moments(encoded: Tensor) -> tuple[Tensor, Tensor]:
    """Return the encoder's numbers as mean and log variance of the code, float32; the bounds keep exp finite."""
    mean, log_variance = encoded.float().chunk(2, dim=1)
    return mean, log_variance.clamp(-30, 20)


def draw_latents(mean: Tensor, log_variance: Tensor, noise: Tensor | None) -> Tensor:
    """Return mean + standard deviation * noise (arXiv:1312.6114, eq. 10), for noise (B, ...) or K samples a row (B, K,
    ...); the mean when there is none."""
    if noise is None:
        return mean
    if noise.ndim > mean.ndim:
        mean, log_variance = mean[:, None], log_variance[:, None]
    return mean + (log_variance / 2).exp() * noise


def kl_terms(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Compute KL divergence of N(mean, exp(log_variance)) from N(0, 1), each number's, in nats (arXiv:1312.6114, app.
    B)."""
    return (mean.square() + log_variance.exp() - 1 - log_variance) / 2


def sampled_kl(drawn: Tensor, log_variance: Tensor, noise: Tensor) -> Tensor:
    """Compute log q(z|x) - log p(z) of drawn codes (B, K, ...), whose mean over draws is the KL divergence: (B, K)."""
    terms = (drawn.square() - noise.square() - log_variance[:, None]) / 2
    return terms.flatten(2).sum(2)


def log_mean_exp(log_weights: Tensor) -> Tensor:
    """Compute log of the mean over the second dimension: (B, K) -> (B,)."""
    return log_weights.logsumexp(1) - math.log(log_weights.shape[1])


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
        """Start with vectors from N(0, 1) that nothing has used yet."""
        init.normal_(self.codebook)
        init.zeros_(self.uses)
        init.zeros_(self.sums)

    def forward(self, latents: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Compute the outputs of this module.

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
        """Map codes (B, places...) -> their vectors (B, D, places...)."""
        return self.codebook[codes].movedim(-1, 1)


class FiniteScalarQuantizer(nn.Module):
    """Bounds each latent number and rounds it to one of a few levels; a code is the number of their combination
    (Mentzer et al. 2023, arXiv:2309.15505, section 3.1 and appendix A)."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.num_levels = list(config.fsq_levels)
        self.register_buffer("levels", torch.empty(len(self.num_levels)), persistent=False)
        self.register_buffer("basis", torch.empty(len(self.num_levels), dtype=torch.int64), persistent=False)

    def init_weights(self) -> None:
        """Write the number of levels of each latent number, and what one level of it adds to a code."""
        levels = torch.tensor(self.num_levels)
        init.copy_(self.levels, levels.to(self.levels.dtype))
        init.copy_(self.basis, torch.cat([torch.ones(1, dtype=torch.int64), levels[:-1].cumprod(0)]))

    def forward(self, latents: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Round latents to their levels.

        Args:
            latents: (B, D, places...).

        Returns:
            The levels in -1..1, of the shape of the latents, with the gradient of the bounded numbers; the codes
            (B, places...); and None, as there is no further loss.
        """
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
        """Map codes (B, places...) -> their levels in -1..1 (B, D, places...)."""
        levels = self.levels.long()
        width = levels // 2
        digits = codes[..., None] // self.basis % levels  # (B, places..., D)
        return ((digits - width) / width).to(self.levels.dtype).movedim(-1, 1)


MIXTURE_RANK = 64  # numbers of a code that a full covariance of each component is fitted on


class GaussianMixture(nn.Module):
    """A mixture of Gaussians with full covariances on the codes of the training rows.

    An autoencoder samples better from it than from the normal prior (Ghosh et al. 2020, arXiv:1903.12436, section 4).

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
        """Start with equal normal components that were fitted on no row."""
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
            likelihoods: list[Tensor] = []

            def responsibilities(part: Tensor, _: slice, parameters=parameters, likelihoods=likelihoods) -> Tensor:
                joint = log_densities(part, *parameters)  # (rows, K)
                likelihoods.append(joint.logsumexp(1))
                return (joint - likelihoods[-1][:, None]).exp()

            parameters = maximize(scaled, responsibilities, K)
            before, score = score, torch.cat(likelihoods).mean().item()
            if score - before < tolerance:
                break
        weights, means, cholesky = parameters
        self.weights.copy_(weights)
        self.means.copy_(means * spread + shift)
        self.cholesky.copy_(cholesky * spread[:, None])
        self.num_rows.fill_(len(codes))
        return score - spread.log().sum().item()

    def log_prob(self, codes: Tensor) -> Tensor:
        """Compute log density of codes (rows, L), or of their places in the plane: (rows,), float64."""
        codes = (codes - self.center) @ self.axes if self.is_projected else codes
        parameters = (self.weights.double(), self.means.double(), self.cholesky.double())
        return log_densities(codes.double(), *parameters).logsumexp(1)

    def sample(self, num_samples: int, generator: torch.Generator | None) -> Tensor:
        """Return codes (num_samples, L), float32, on the mixture's device."""
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
    """Return stretches of so many rows, which bound the memory of a pass over all of them."""
    return [slice(start, start + size) for start in range(0, rows, size)]


def k_means(codes: Tensor, num_clusters: int, generator: torch.Generator, num_iterations: int = 20) -> Tensor:
    """Compute clusters (rows,) by Lloyd's iterations from a k-means++ start (Arthur and Vassilvitskii 2007)."""
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
    """Find the mixture of most likelihood, given each component's share of each row.

    Args:
        codes: (N, L).
        responsibilities: of the codes of a stretch and its rows, the shares (rows, K).
        num_components: K.

    Returns:
        Weights (K,), means (K, L) and Cholesky factors (K, L, L) of the covariances.
    """
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
    """Compute log of weight times density of each component: (rows, K)."""
    L = codes.shape[1]
    densities = []
    for weight, mean, factor in zip(weights, means, cholesky, strict=True):
        solved = torch.linalg.solve_triangular(factor, (codes - mean).T, upper=False)  # (L, rows)
        log_determinant = factor.diagonal().log().sum()
        densities.append(weight.log() - log_determinant - (L * math.log(2 * math.pi) + solved.square().sum(0)) / 2)
    return torch.stack(densities, dim=1)
