"""Configuration of the multilayer perceptron. The defaults are SimpleNet: 784-128-10 with ReLU."""

from dataclasses import field
from typing import Literal

from huggingface_hub.dataclasses import strict
from transformers.activations import ACT2FN
from transformers.configuration_utils import PreTrainedConfig


@strict
class MlpConfig(PreTrainedConfig):
    """What decides the network of an `MlpModel` and its heads.

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
    residual: bool = False  # every hidden layer but the first is a pre-normalised residual block; needs equal widths

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

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an input image."""
        height, width = (self.image_size,) * 2 if isinstance(self.image_size, int) else self.image_size
        return self.num_channels, height, width


__all__ = ["MlpConfig"]
