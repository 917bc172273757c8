"""Configuration of the multilayer perceptron. The defaults are SimpleNet: 784-128-10 with ReLU.

A config with `num_numeric_features` or `categorical_cardinalities` is of a network on tables, any other on images.
"""

import itertools
from dataclasses import field
from typing import Literal

from huggingface_hub.dataclasses import strict
from transformers.activations import ACT2FN
from transformers.configuration_utils import PreTrainedConfig


@strict
class MlpConfig(PreTrainedConfig):
    """Decides the network of an `MlpModel` and its heads.

    Raises:
        huggingface_hub.errors.StrictDataclassError: a field has another type or lies outside of the range beside it.
    """

    model_type = "hubmodels_mlp"

    num_channels: int = 1  # channels of an image, >= 1
    image_size: int | list[int] | tuple[int, int] = 28  # side, or height and width, in pixels, >= 1
    hidden_sizes: list[int] | tuple[int, ...] = field(default_factory=lambda: [128])  # width of each hidden layer, >= 1
    hidden_act: str = "relu"  # activation, a name that transformers.activations.ACT2FN knows
    normalization: Literal["none", "batch_norm", "layer_norm"] = "none"  # between each linear map and its activation
    hidden_dropout_prob: float | int = 0.0  # share of hidden activations dropped in training, in [0, 1)
    initialization: Literal["default", "realmlp"] = "default"  # realmlp: NTK parametrisation, N(0, 1), a scale in front
    residual: bool = False  # every hidden layer but the first is a pre-normalised residual block; needs equal widths

    # Tables
    num_numeric_features: int = 0  # numbers in a row, >= 0
    categorical_cardinalities: list[int] | None = None  # values of each category, >= 1: codes 1..n, 0 is unknown
    numeric_embedding: Literal["none", "periodic", "piecewise_linear"] = "none"  # what a number becomes
    numeric_embedding_size: int = 16  # width of an embedded number, >= 1; the periodic one has the number itself in it
    num_frequencies: int = 16  # periodic: cosines of each number, >= 1
    frequency_scale: float | int = 0.1  # periodic: standard deviation of their first frequencies, > 0
    bin_edges: list[list[float | int]] | None = None  # piecewise_linear: each number's edges, at least 2, ascending
    max_one_hot_categories: int = 9  # a category of at most so many values is one-hot, of more embedded, >= 0
    categorical_embedding_size: int = 8  # width of an embedded category, >= 1
    num_ensemble: int = 1  # members that share all weights but an input scale and the output layer (TabM-mini), >= 1
    target_mean: list[float | int] | None = None  # regression: mean of each target in training; 0 when absent
    target_std: list[float | int] | None = None  # regression: standard deviation of each target, > 0; 1 when absent
    target_min: list[float | int] | None = None  # regression: predictions are raised to this; as they are when absent
    target_max: list[float | int] | None = None  # regression: predictions are lowered to this; as they are when absent
    quantiles: list[float | int] | None = None  # regression: these quantiles are predicted too, each in (0, 1)

    def validate_sizes(self) -> None:
        """Refuse sizes that no network can have."""
        if self.num_channels < 1:
            raise ValueError(f"num_channels must be at least 1, got {self.num_channels}")
        size = self.image_size
        if not isinstance(size, int) and len(size) != 2:
            raise ValueError(f"image_size must be one integer or a list of height and width, got {size}")
        if min([size] if isinstance(size, int) else size) < 1:
            raise ValueError(f"image_size must be at least 1, got {size}")
        if not self.hidden_sizes or min(self.hidden_sizes) < 1:
            raise ValueError(f"hidden_sizes must name at least one width, each at least 1, got {self.hidden_sizes}")
        if self.residual and len(set(self.hidden_sizes)) > 1:
            raise ValueError(f"residual layers need hidden_sizes that are all equal, got {self.hidden_sizes}")

    def validate_options(self) -> None:
        """Refuse activations and probabilities that cannot work."""
        if self.hidden_act not in ACT2FN:
            raise ValueError(f"hidden_act must be one of {', '.join(sorted(ACT2FN))}, got {self.hidden_act!r}")
        if not 0 <= self.hidden_dropout_prob < 1:
            raise ValueError(f"hidden_dropout_prob must be at least 0 and below 1, got {self.hidden_dropout_prob}")

    def validate_table(self) -> None:
        """Refuse tables that no network can have."""
        for name, least in (
            ("num_numeric_features", 0), ("numeric_embedding_size", 1), ("num_frequencies", 1), ("num_ensemble", 1),
            ("max_one_hot_categories", 0), ("categorical_embedding_size", 1),
        ):  # fmt: skip
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if min(self.categorical_cardinalities or [1]) < 1:
            raise ValueError(f"categorical_cardinalities must each be at least 1, got {self.categorical_cardinalities}")
        if not self.frequency_scale > 0:
            raise ValueError(f"frequency_scale must be greater than 0, got {self.frequency_scale}")
        if self.numeric_embedding == "periodic" and self.numeric_embedding_size < 2:
            raise ValueError("numeric_embedding_size must be at least 2 for periodic embeddings, got 1")
        if self.numeric_embedding == "piecewise_linear" and self.num_numeric_features:
            edges = self.bin_edges or []
            if len(edges) != self.num_numeric_features:
                raise ValueError(f"bin_edges must be given for {self.num_numeric_features} numbers, got {len(edges)}")
            for number, item in enumerate(edges):
                if len(item) < 2 or any(high <= low for low, high in itertools.pairwise(item)):
                    raise ValueError(f"bin_edges must be at least 2 ascending numbers each, not so for number {number}")

    def validate_targets(self) -> None:
        """Refuse scales and quantiles that cannot be."""
        for name in ("target_mean", "target_std", "target_min", "target_max"):
            values = getattr(self, name)
            if values is not None and len(values) != self.num_labels and self.is_tabular:
                raise ValueError(f"{name} must have one value for each of the {self.num_labels} targets, got {values}")
        if min(self.target_std or [1]) <= 0:
            raise ValueError(f"target_std must be greater than 0, got {self.target_std}")
        if self.quantiles is not None and not all(0 < quantile < 1 for quantile in self.quantiles):
            raise ValueError(f"quantiles must be between 0 and 1 (both excluded), got {self.quantiles}")

    @property
    def is_tabular(self) -> bool:
        """Tell whether the network takes rows of a table, not images."""
        return self.num_numeric_features > 0 or bool(self.categorical_cardinalities)

    # Copied in every family that needs it; tests/models/test_copies.py keeps the copies equal.
    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Return channels, height and width of an image, in pixels."""
        height, width = (self.image_size,) * 2 if isinstance(self.image_size, int) else self.image_size
        return self.num_channels, height, width


__all__ = ["MlpConfig"]
