"""What a perceptron on tables has before and after its layers: embedded columns, an ensemble's scales, targets' units.

Numbers are embedded piecewise linearly (Gorishniy et al. 2022, arXiv:2203.05556, section 3.2, with the linear term of
TabM's code) or by cosines (PBLD of RealMLP, Holzmuller et al. 2024, arXiv:2407.04491, section 3). Each module writes
its weights, and the buffers that follow from the config, in `init_weights`.
"""

import math

import torch
from torch import Tensor, nn
from transformers import initialization as init

from .configuration_mlp import MlpConfig

MANY_ROWS = 512  # fewer are sooner through the layers than a table is made

# B batch, F num_numeric_features, M categories, E width of an embedded number, N width of all features, K num_ensemble,
# D width of a hidden layer, L num_labels


class PiecewiseLinearEmbedding(nn.Module):
    """Makes each number a vector that is linear between its bin edges: (B, F) -> (B, F, E).

    x w + c + sum over the bins of u_bin times the share of the bin that lies below x (arXiv:2203.05556, eq. 1). The
    bins' vectors u start at zero, so that training begins from a linear map."""

    def __init__(self, config: MlpConfig) -> None:
        super().__init__()
        F, E = config.num_numeric_features, config.numeric_embedding_size
        self.edges = [list(edges) for edges in config.bin_edges or []]
        num_bins = max(map(len, self.edges)) - 1
        self.linear_weight, self.linear_bias = nn.Parameter(torch.empty(F, E)), nn.Parameter(torch.empty(F, E))
        self.bin_weight = nn.Parameter(torch.empty(F, num_bins, E))
        # The config holds the edges, so that weights and edges cannot come apart.
        self.register_buffer("left", torch.empty(F, num_bins), persistent=False)
        self.register_buffer("slope", torch.empty(F, num_bins), persistent=False)

    def init_weights(self) -> None:
        """Draw the linear map, set the bins' vectors to 0, and write the config's edges."""
        bound = 1 / math.sqrt(self.linear_weight.shape[1])
        init.uniform_(self.linear_weight, -bound, bound)
        init.uniform_(self.linear_bias, -bound, bound)
        init.zeros_(self.bin_weight)
        # A number with fewer bins than others has bins of slope 0, of which no share is ever below it.
        left, slope = torch.zeros(self.left.shape), torch.zeros(self.slope.shape)
        for row, edges in enumerate(self.edges):
            edges = torch.tensor(edges, dtype=torch.float64)
            left[row, : len(edges) - 1] = edges[:-1]
            slope[row, : len(edges) - 1] = 1 / edges.diff()
        init.copy_(self.left, left)
        init.copy_(self.slope, slope)

    def forward(self, numbers: Tensor) -> Tensor:
        shares = ((numbers[..., None] - self.left) * self.slope).clamp(0, 1)  # (B, F, bins)
        bins = torch.einsum("bfn,fne->bfe", shares, self.bin_weight)  # (B, F, E)
        return numbers[..., None] * self.linear_weight + self.linear_bias + bins

    def map_linearly(self, numbers: Tensor, weight: Tensor) -> Tensor:
        """Map `forward`, flattened, through a linear map without a bias, (B, F) -> (B, D), in less time for many rows.

        The map of a number's bins is linear between its edges. So two rows of a table of its values at the edges give
        it, equal to rounding.

        Args:
            numbers: (B, F).
            weight: (D, F * E), of the linear map.
        """
        F, num_bins, E = self.bin_weight.shape
        weight = weight.view(-1, F, E)  # (D, F, E)
        at_edges = nn.functional.pad(self.bin_weight.cumsum(dim=1), (0, 0, 1, 0))  # (F, bins + 1, E)
        table = torch.einsum("fne,dfe->fnd", at_edges, weight).flatten(0, 1)  # (F * (bins + 1), D)
        lines = torch.einsum("fe,dfe->fd", self.linear_weight, weight)  # (F, D)
        offset = torch.einsum("fe,dfe->d", self.linear_bias, weight)  # (D,)
        columns = numbers.T.contiguous()  # (F, B)
        edges = self.left.masked_fill(self.slope == 0, math.inf)  # a number with fewer bins never finds the others
        bins = torch.searchsorted(edges, columns, right=True).sub_(1).clamp_(0, num_bins - 1)  # (F, B)
        share = ((columns - self.left.gather(1, bins)) * self.slope.gather(1, bins)).clamp_(0, 1)
        rows = (bins + torch.arange(F, device=bins.device)[:, None] * (num_bins + 1)).T  # (B, F), of the lower edges
        rows = torch.cat([rows, rows + 1], dim=1)  # (B, 2 F)
        shares = torch.cat([1 - share, share]).T.to(table.dtype).contiguous()  # (B, 2 F)
        mapped = nn.functional.embedding_bag(rows, table, mode="sum", per_sample_weights=shares)  # (B, D)
        return mapped.addmm_(numbers.to(lines.dtype), lines).add_(offset)


class PeriodicEmbedding(nn.Module):
    """Makes each number x itself and a linear map of cos(2 pi f x + phase): (B, F) -> (B, F, E), PBLD of RealMLP."""

    def __init__(self, config: MlpConfig) -> None:
        super().__init__()
        F, E, frequencies = config.num_numeric_features, config.numeric_embedding_size, config.num_frequencies
        self.scale = config.frequency_scale
        self.frequency = nn.Parameter(torch.empty(F, frequencies))
        self.phase = nn.Parameter(torch.empty(F, frequencies))
        self.weight, self.bias = nn.Parameter(torch.empty(F, frequencies, E - 1)), nn.Parameter(torch.empty(F, E - 1))

    def init_weights(self) -> None:
        """Draw frequencies from N(0, frequency_scale), phases of the whole circle, and the linear map."""
        bound = 1 / math.sqrt(self.frequency.shape[1])
        init.normal_(self.frequency, std=self.scale)
        init.uniform_(self.phase, -math.pi, math.pi)
        init.uniform_(self.weight, -bound, bound)
        init.uniform_(self.bias, -bound, bound)

    def forward(self, numbers: Tensor) -> Tensor:
        waves = (2 * math.pi * numbers[..., None] * self.frequency + self.phase).cos()  # (B, F, frequencies)
        mapped = torch.einsum("bfq,fqe->bfe", waves, self.weight) + self.bias  # (B, F, E - 1)
        return torch.cat([numbers[..., None], mapped], dim=-1)  # (B, F, E)


class TableFeatures(nn.Module):
    """Numbers (B, F) and category codes (B, M) -> flat features (B, N), of which `widths` names each column's share.

    An unknown category, code 0, is the zero vector."""

    def __init__(self, config: MlpConfig) -> None:
        super().__init__()
        kinds = {"none": nn.Identity, "periodic": PeriodicEmbedding, "piecewise_linear": PiecewiseLinearEmbedding}
        kind = config.numeric_embedding if config.num_numeric_features else "none"
        self.numbers = nn.Identity() if kind == "none" else kinds[kind](config)
        cardinalities, most = config.categorical_cardinalities or [], config.max_one_hot_categories
        self.one_hot = [(column, n) for column, n in enumerate(cardinalities) if n <= most]
        self.embedded = [column for column, n in enumerate(cardinalities) if n > most]
        width = config.categorical_embedding_size
        self.embeddings = nn.ModuleList(
            nn.Embedding(cardinalities[column] + 1, width, padding_idx=0) for column in self.embedded
        )
        num_codes = sum(n for _, n in self.one_hot)
        self.register_buffer("code", torch.empty(num_codes, dtype=torch.int64), persistent=False)
        self.register_buffer("code_column", torch.empty(num_codes, dtype=torch.int64), persistent=False)
        self.widths = [1 if kind == "none" else config.numeric_embedding_size] * config.num_numeric_features
        self.widths += [n for _, n in self.one_hot] + [width] * len(self.embedded)

    def init_weights(self) -> None:
        """Write which code of which column each one-hot feature stands for."""
        pairs = [(code, column) for column, n in self.one_hot for code in range(1, n + 1)]
        codes = torch.tensor(pairs, dtype=torch.int64).view(-1, 2)
        init.copy_(self.code, codes[:, 0])
        init.copy_(self.code_column, codes[:, 1])

    def forward(
        self, numeric_features: Tensor | None, categorical_features: Tensor | None, dtype: torch.dtype
    ) -> Tensor:
        features = [] if numeric_features is None else [self.numbers(numeric_features).flatten(1)]  # (B, F * E)
        features += self.embed_categories(categorical_features, dtype)
        return torch.cat(features, dim=1) if len(features) > 1 else features[0]  # (B, N)

    def embed_categories(self, categorical_features: Tensor | None, dtype: torch.dtype) -> list[Tensor]:
        """Return the features of the categories, (B, N - F * E) in parts."""
        features: list[Tensor] = []
        if categorical_features is None:  # no table has both none and columns of them: the model has checked it
            return features
        if self.one_hot:
            features.append((categorical_features[:, self.code_column] == self.code).to(dtype))  # (B, sum of n)
        for column, embedding in zip(self.embedded, self.embeddings, strict=True):
            codes = categorical_features[:, column]
            features.append(embedding(codes.where(codes < embedding.num_embeddings, 0)))  # (B, width)
        return features

    def map_linearly(self, numeric_features: Tensor, categorical_features: Tensor | None, linear: nn.Linear) -> Tensor:
        """Return `linear` of the features, (B, D), where `can_map_linearly`."""
        width = self.numbers.linear_weight.numel()
        with torch.autocast(numeric_features.device.type, enabled=False):  # the table's values add up
            mapped = self.numbers.map_linearly(numeric_features, linear.weight[:, :width]).add_(linear.bias)
            for part in self.embed_categories(categorical_features, mapped.dtype):
                mapped.addmm_(part, linear.weight[:, width : width + part.shape[1]].T)
                width += part.shape[1]
        return mapped

    def can_map_linearly(self, numeric_features: Tensor | None, linear: nn.Module) -> bool:
        """Tell whether `map_linearly` saves time: on a CPU, for many rows and without gradients."""
        return (
            isinstance(self.numbers, PiecewiseLinearEmbedding)
            and type(linear) is nn.Linear  # an adapter's or another parametrisation's map has other weights
            and numeric_features is not None
            and numeric_features.device.type == "cpu"
            and len(numeric_features) >= MANY_ROWS
            and not torch.is_grad_enabled()
            and not torch.compiler.is_compiling()
        )


class FrontScale(nn.Module):
    """RealMLP's learnable scale of each feature, 1 at the start: (B, N) -> (B, N).

    The factor 6 lets Adam move it at six times the learning rate."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_features))

    def init_weights(self) -> None:
        """Start with a scale of 1, after its factor 6."""
        init.constant_(self.weight, 1 / 6)

    def forward(self, features: Tensor) -> Tensor:
        return features * (6 * self.weight)


class EnsembleScale(nn.Module):
    """Tells the members apart: each scales the features in its own way, (B, N) -> (B, K, N).

    All features of one column start with one factor, drawn from N(0, 1) where numbers are embedded, else +1 or -1
    (arXiv:2410.24210, section 3.3)."""

    def __init__(self, num_ensemble: int, widths: list[int], signs: bool) -> None:
        super().__init__()
        self.widths, self.signs = widths, signs
        self.weight = nn.Parameter(torch.empty(num_ensemble, sum(widths)))

    def init_weights(self) -> None:
        """Draw one factor for all features of a column, for each member."""
        factors = torch.randn(len(self.weight), len(self.widths))
        factors = factors.sign() if self.signs else factors
        init.copy_(self.weight, factors.repeat_interleave(torch.tensor(self.widths), dim=1))

    def forward(self, features: Tensor) -> Tensor:
        return features[:, None] * self.weight


class EnsembleLinear(nn.Module):
    """A linear map of each member's own: (B, K, D) -> (B, K, L).

    With `ntk` it has the parametrisation of `NtkLinear`."""

    def __init__(self, num_ensemble: int, in_features: int, out_features: int, ntk: bool = False) -> None:
        super().__init__()
        self.ntk = ntk
        self.weight = nn.Parameter(torch.empty(num_ensemble, out_features, in_features))
        self.bias = nn.Parameter(torch.empty(num_ensemble, out_features))

    def init_weights(self) -> None:
        """Draw each member's map as `NtkLinear` or torch's own Linear does."""
        if self.ntk:
            init.normal_(self.weight)
            init.zeros_(self.bias)
            return
        bound = 1 / math.sqrt(self.weight.shape[2])
        init.uniform_(self.weight, -bound, bound)
        init.uniform_(self.bias, -bound, bound)

    def forward(self, hidden: Tensor) -> Tensor:
        weight, bias = self.weight, self.bias
        if self.ntk:
            weight, bias = weight * (1 / math.sqrt(weight.shape[2])), 0.1 * bias
        return torch.einsum("bkd,kld->bkl", hidden, weight) + bias


class TargetScale(nn.Module):
    """The targets' units: from normalised predictions to the config's, and back. Nothing here is trained."""

    def __init__(self, config: MlpConfig) -> None:
        super().__init__()
        self.fields = {
            "mean": config.target_mean or [0.0] * config.num_labels,
            "std": config.target_std or [1.0] * config.num_labels,
            "low": config.target_min or [-math.inf] * config.num_labels,
            "high": config.target_max or [math.inf] * config.num_labels,
        }
        for name, values in self.fields.items():
            self.register_buffer(name, torch.empty(len(values)), persistent=False)

    def init_weights(self) -> None:
        """Write what the config says of the targets."""
        for name, values in self.fields.items():
            init.copy_(getattr(self, name), torch.tensor(values, dtype=torch.float32))

    def normalize(self, targets: Tensor) -> Tensor:
        """Return targets (..., L) with mean 0 and standard deviation 1 over the training rows."""
        return (targets - self.mean) / self.std

    def restore(self, values: Tensor) -> Tensor:
        """Return normalised values (..., L) in the targets' units, within the range of training."""
        return (values * self.std + self.mean).clamp(self.low, self.high)


__all__ = ["EnsembleLinear", "EnsembleScale", "FrontScale", "TableFeatures", "TargetScale"]
