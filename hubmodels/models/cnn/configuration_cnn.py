"""Configuration of the convolutional network. The defaults are ResNet-20 for small images (He et al. 2015)."""

from dataclasses import field
from typing import Literal

from huggingface_hub.dataclasses import strict
from transformers.activations import ACT2FN
from transformers.configuration_utils import PreTrainedConfig


@strict
class CnnConfig(PreTrainedConfig):
    """Decides the network of a `CnnModel` and its heads: a stem, stages of blocks, a pooling, a classifier.

    The standard networks (3 channels, 1000 classes and 224 pixels where nothing else is said):

        LeNet-5    image_size 32, num_channels 1, block plain, kernel_size 5, padding valid, embedding_size 0;
                   hidden_sizes [6, 16], depths [1, 1], downsampling avg_pool, normalization none, hidden_act tanh;
                   pooling flatten, classifier_hidden_sizes [120, 84], 10 classes.
        VGG-11     block plain, embedding_size 0;
                   hidden_sizes [64, 128, 256, 512, 512], depths [1, 1, 2, 2, 2], downsampling max_pool,
                   normalization none;
                   pooling flatten, classifier_hidden_sizes [4096, 4096], classifier_dropout_prob 0.5.
        ResNet-20  the defaults, with shortcut padding.
        ResNet-18  block basic, embedding_size 64, stem_kernel_size 7, stem_stride 2, stem_pool true;
                   hidden_sizes [64, 128, 256, 512], depths [2, 2, 2, 2].
        ResNet-50  the same with block bottleneck, hidden_sizes [256, 512, 1024, 2048], depths [3, 4, 6, 3].
        WRN-28-10  block basic, pre_activation true, hidden_sizes [160, 320, 640], depths [4, 4, 4].

    Raises:
        huggingface_hub.errors.StrictDataclassError: a field has another type or lies outside of the range beside it.
    """

    model_type = "hubmodels_cnn"

    # Input
    num_channels: int = 3  # channels of an image, >= 1
    image_size: int | list[int] | tuple[int, int] = 32  # side, or height and width, in pixels; binding for flatten

    # Stem
    embedding_size: int = 16  # channels after the stem, 0 for a network that begins with its first stage
    stem_kernel_size: int = 3  # side of the stem's convolution in pixels, odd: 3 for small images, 7 for ImageNet
    stem_stride: int = 1  # its stride in pixels, >= 1: 1 for small images, 2 for ImageNet
    stem_pool: bool = False  # 3x3 max pooling with stride 2 behind it, as for ImageNet

    # Stages
    block: Literal["plain", "basic", "bottleneck"] = "basic"  # a convolution; two, or 1x1-3x3-1x1, with a shortcut
    hidden_sizes: list[int] | tuple[int, ...] = field(default_factory=lambda: [16, 32, 64])  # channels a stage, >= 1
    depths: list[int] | tuple[int, ...] = field(default_factory=lambda: [3, 3, 3])  # blocks a stage, >= 1
    kernel_size: int = 3  # side of the blocks' convolutions in pixels, odd
    padding: Literal["same", "valid"] = "same"  # valid: no padding, each convolution narrows the image (plain only)
    downsampling: Literal["stride", "max_pool", "avg_pool"] = "stride"  # how a stage halves the image: stride 2 in its
    # first block, or 2x2 pooling at its end
    downsample_in_first_stage: bool = False  # stride 2 in the first stage too
    downsample_in_bottleneck: bool = False  # stride 2 in a bottleneck's first 1x1 convolution instead of its 3x3
    shortcut: Literal["projection", "padding"] = "projection"  # where shapes change: 1x1 convolution, or subsampling
    # with zeros for new channels (options B and A of He et al. 2015)
    pre_activation: bool = False  # normalisation and activation before each convolution (He et al. 2016)

    # Inside the blocks
    normalization: Literal["batch_norm", "group_norm", "none"] = "batch_norm"  # after each convolution, or before it
    num_norm_groups: int = 32  # groups of group_norm, >= 1; a width that it does not divide takes the common divisor
    conv_bias: bool | None = None  # whether convolutions have a bias; None: where no normalisation follows any
    hidden_act: str = "relu"  # activation, a name that transformers.activations.ACT2FN knows
    hidden_dropout_prob: float | int = 0.0  # share of activations dropped before a block's last convolution, in [0, 1)
    drop_path_rate: float | int = 0.0  # chance that the last residual block is skipped for a row in training, in
    # [0, 1); it rises linearly from the first block on (Huang et al. 2016)
    zero_init_residual: bool = False  # each residual branch starts at zero (Goyal et al. 2017, section 5.1)

    # Classifier
    pooling: Literal["avg", "flatten"] = "avg"  # the last feature map's mean, or all its values
    classifier_hidden_sizes: list[int] | tuple[int, ...] = field(default_factory=list)  # hidden layers, each >= 1
    classifier_dropout_prob: float | int = 0.0  # dropout behind each hidden layer, or before a sole one, in [0, 1)

    def validate_sizes(self) -> None:
        """Refuse sizes that no network can have."""
        for name in ("num_channels", "stem_stride", "num_norm_groups"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.embedding_size < 0:
            raise ValueError(f"embedding_size must be at least 0 (0 for no stem), got {self.embedding_size}")
        for name in ("stem_kernel_size", "kernel_size"):
            if getattr(self, name) < 1 or getattr(self, name) % 2 == 0:
                raise ValueError(f"{name} must be odd and at least 1, got {getattr(self, name)}")
        if not self.hidden_sizes or len(self.hidden_sizes) != len(self.depths):
            raise ValueError(
                f"hidden_sizes and depths need one number a stage, got {list(self.hidden_sizes)}, {list(self.depths)}"
            )
        for name in ("hidden_sizes", "depths", "classifier_hidden_sizes"):
            if min(getattr(self, name), default=1) < 1:
                raise ValueError(f"{name} must all be at least 1, got {list(getattr(self, name))}")
        if self.block == "bottleneck" and any(size % 4 for size in self.hidden_sizes):
            raise ValueError(f"bottleneck blocks need hidden_sizes that 4 divides, got {list(self.hidden_sizes)}")
        if not isinstance(self.image_size, int) and len(self.image_size) != 2:
            raise ValueError(f"image_size must be one integer or a list of height and width, got {self.image_size}")
        if min(self.feature_map_shape) < 1:
            raise ValueError(f"image_size {self.image_size} is too small: the last stage would have no pixel left")

    def validate_options(self) -> None:
        """Refuse activations, probabilities and combinations that cannot work."""
        if self.hidden_act not in ACT2FN:
            raise ValueError(f"hidden_act must be one of {', '.join(sorted(ACT2FN))}, got {self.hidden_act!r}")
        for name in ("hidden_dropout_prob", "drop_path_rate", "classifier_dropout_prob"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 0 and below 1, got {getattr(self, name)}")
        if self.block == "plain":
            residual = {
                "pre_activation": False,
                "drop_path_rate": 0,
                "zero_init_residual": False,
                "shortcut": "projection",
            }
            for name, off in residual.items():
                if getattr(self, name) != off:
                    raise ValueError(f"{name} needs residual blocks: block must be basic or bottleneck, got plain")
        elif self.padding == "valid":
            raise ValueError(f"padding valid needs block plain (a shortcut keeps the size), got {self.block}")
        if self.downsample_in_bottleneck and self.block != "bottleneck":
            raise ValueError(f"downsample_in_bottleneck needs block bottleneck, got {self.block}")
        if self.downsample_in_first_stage and self.downsampling != "stride":
            raise ValueError(f"downsample_in_first_stage needs downsampling stride, got {self.downsampling}")

    # Copied in every family that needs it; tests/models/test_copies.py keeps the copies equal.
    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Return channels, height and width of an image, in pixels."""
        height, width = (self.image_size,) * 2 if isinstance(self.image_size, int) else self.image_size
        return self.num_channels, height, width

    @property
    def stage_strides(self) -> list[int]:
        """Return the stride of each stage's first block."""
        if self.downsampling != "stride":
            return [1] * len(self.depths)
        return [2 if self.downsample_in_first_stage else 1] + [2] * (len(self.depths) - 1)

    @property
    def feature_map_shape(self) -> tuple[int, int, int]:
        """Return channels, height and width of the last stage's feature map, for an image of `image_size`."""

        def shrink(side: int) -> int:
            if self.embedding_size:
                side = (side - 1) // self.stem_stride + 1  # odd kernel, half of it as padding
                side = (side - 1) // 2 + 1 if self.stem_pool else side
            for stride, depth in zip(self.stage_strides, self.depths, strict=True):
                for first in [True] + [False] * (depth - 1):
                    side = side - self.kernel_size + 1 if self.padding == "valid" else side
                    side = (side - 1) // stride + 1 if first else side
                side = side if self.downsampling == "stride" else side // 2
            return side

        _, height, width = self.image_shape
        return self.hidden_sizes[-1], shrink(height), shrink(width)


__all__ = ["CnnConfig"]
