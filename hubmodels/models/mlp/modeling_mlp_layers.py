"""The layers of the MLP, and the stack of them.

The sources stand in modeling_mlp.py."""

import math

import torch.nn.functional as F
from torch import Tensor, nn
from transformers import initialization as init
from transformers.activations import ACT2FN

from .configuration_mlp import MlpConfig

# B batch, N features, D width of a layer


class BatchNorm(nn.BatchNorm1d):
    """torch's, which refuses to train on one row alone, as the last batch of an epoch may be: that row is normalised by
    the running statistics, as in evaluation."""

    def forward(self, hidden: Tensor) -> Tensor:
        if self.training and len(hidden) == 1:
            return F.batch_norm(hidden, self.running_mean, self.running_var, self.weight, self.bias, False, 0, self.eps)
        return super().forward(hidden)


def build_norm(width: int, config: MlpConfig) -> nn.Module:
    """Return the configured normalisation of (B, D)."""
    if config.normalization == "batch_norm":
        return BatchNorm(width)
    return nn.LayerNorm(width) if config.normalization == "layer_norm" else nn.Identity()


class NtkLinear(nn.Linear):
    """W x / sqrt(fan_in) + 0.1 b: a linear map whose weights and biases are all of the order of 1.

    The factors act through Adam, whose steps do not know a parameter's scale: a bias learns at a tenth of the rate, as
    in RealMLP, and one rate fits layers of every width."""

    def __init__(self, in_features: int, out_features: int, is_output: bool = False) -> None:
        super().__init__(in_features, out_features)
        self.is_output = is_output

    def init_weights(self) -> None:
        """Draw weights from N(0, 1); biases likewise, after their factor 0.1, except an output's, which start at 0."""
        init.normal_(self.weight)
        init.normal_(self.bias, std=0.0 if self.is_output else 10.0)

    def forward(self, hidden: Tensor) -> Tensor:
        return F.linear(hidden, self.weight * (1 / math.sqrt(self.in_features)), 0.1 * self.bias)


def build_linear(num_features: int, width: int, config: MlpConfig, is_output: bool = False) -> nn.Linear:
    """Return a linear map in the configured parametrisation."""
    if config.initialization == "realmlp":
        return NtkLinear(num_features, width, is_output)
    return nn.Linear(num_features, width)


class PlainLayer(nn.Module):
    """Linear map, normalisation, activation, dropout: (B, N) -> (B, D)."""

    def __init__(self, num_features: int, width: int, config: MlpConfig) -> None:
        super().__init__()
        self.linear = build_linear(num_features, width, config)
        self.norm = build_norm(width, config)
        self.activation = ACT2FN[config.hidden_act]
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.finish(self.linear(hidden))

    def finish(self, mapped: Tensor) -> Tensor:
        """Return what follows the linear map."""
        return self.dropout(self.activation(self.norm(mapped)))


class ResidualLayer(nn.Module):
    """x + dropout(linear(dropout(activation(linear(norm(x)))))): (B, D) -> (B, D), arXiv:2106.11959, section 3.2."""

    def __init__(self, width: int, config: MlpConfig) -> None:
        super().__init__()
        self.norm = build_norm(width, config)
        self.linear_in = build_linear(width, width, config)
        self.activation = ACT2FN[config.hidden_act]
        self.linear_out = build_linear(width, width, config)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, hidden: Tensor) -> Tensor:
        branch = self.dropout(self.activation(self.linear_in(self.norm(hidden))))
        return hidden + self.dropout(self.linear_out(branch))


class MlpBody(nn.Module):
    """The hidden layers on flat features, whatever these come from: (B, N) -> (B, hidden_sizes[-1]).

    With `residual` a linear map brings the features to the common width, the residual layers follow, and a
    normalisation and an activation close."""

    def __init__(self, num_features: int, config: MlpConfig) -> None:
        super().__init__()
        widths = list(config.hidden_sizes)
        if config.residual:
            first = build_linear(num_features, widths[0], config)
            self.layers = nn.ModuleList([first, *(ResidualLayer(width, config) for width in widths[1:])])
            self.norm, self.activation = build_norm(widths[-1], config), ACT2FN[config.hidden_act]
        else:
            inputs = [num_features, *widths[:-1]]
            self.layers = nn.ModuleList(PlainLayer(*sizes, config) for sizes in zip(inputs, widths, strict=True))
            self.norm, self.activation = nn.Identity(), nn.Identity()

    @property
    def first_linear(self) -> nn.Module:
        """Return the linear map that takes the features."""
        return self.layers[0].linear if isinstance(self.layers[0], PlainLayer) else self.layers[0]

    def forward(self, hidden: Tensor, is_mapped: bool = False) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the last hidden features and, in order, what each layer gave. With `is_mapped` the features have been
        through `first_linear` already."""
        hidden_states: list[Tensor] = []
        for layer in self.layers:
            if is_mapped and not hidden_states:
                hidden = layer.finish(hidden) if isinstance(layer, PlainLayer) else hidden  # (B, D)
            else:
                hidden = layer(hidden)  # (B, D)
            hidden_states.append(hidden)
        return self.activation(self.norm(hidden)), tuple(hidden_states)
