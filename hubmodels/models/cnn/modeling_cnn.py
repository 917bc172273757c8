"""Convolutional networks as configs of one model: LeNet-5 (LeCun et al. 1998), VGG (Simonyan and Zisserman 2014,
arXiv:1409.1556), ResNet (He et al. 2015, arXiv:1512.03385; with pre-activation He et al. 2016, arXiv:1603.05027), wide
ResNet (Zagoruyko and Komodakis 2016, arXiv:1605.07146), stochastic depth (Huang et al. 2016, arXiv:1603.09382).

Convolutions start as He et al. 2015 (arXiv:1502.01852, eq. 14) say, normal with variance 2 / fan_out; linear layers
uniform in +-1/sqrt(fan_in), as torch's.
Departs from the papers: LeNet-5's second convolution sees all channels, its pooling has no weights and its last layer
is linear; a VGG is trained in one piece, which these initial weights allow; a bottleneck strides in its 3x3
convolution unless told otherwise.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.modeling_outputs import (
    BaseModelOutputWithPoolingAndNoAttention,
    ImageClassifierOutputWithNoAttention,
    SequenceClassifierOutput,
)
from transformers.modeling_utils import PreTrainedModel

from .configuration_cnn import CnnConfig
from .modeling_cnn_shared import DropPath, classification_loss, known_arguments

# B batch, C channels (of the image, later of a stage), H height, W width, F pooled features, L num_labels


def build_activation(config: CnnConfig) -> nn.Module:
    """Return the activation, ReLU in place: it always follows a module whose backward pass does not need its output."""
    # With pre-activation and no normalisation it would overwrite the shortcut.
    safe = not config.pre_activation or config.normalization != "none"
    return nn.ReLU(inplace=True) if config.hidden_act == "relu" and safe else ACT2FN[config.hidden_act]


def build_norm(width: int, config: CnnConfig) -> nn.Module:
    """Return the configured normalisation of (B, C, H, W)."""
    if config.normalization == "batch_norm":
        return nn.BatchNorm2d(width)
    if config.normalization == "group_norm":
        return nn.GroupNorm(math.gcd(config.num_norm_groups, width), width)
    return nn.Identity()


def build_conv(inputs: int, outputs: int, kernel_size: int, stride: int, config: CnnConfig) -> nn.Conv2d:
    """Return a convolution that keeps the image's size but for its stride (or, with padding valid, its kernel)."""
    padding = kernel_size // 2 if config.padding == "same" else 0
    bias = config.normalization == "none" if config.conv_bias is None else config.conv_bias
    return nn.Conv2d(inputs, outputs, kernel_size, stride, padding, bias=bias)


class Shortcut(nn.Module):
    """Brings a block's input to its output's shape: by a 1x1 convolution, or by subsampling and channels of zeros."""

    def __init__(self, inputs: int, outputs: int, stride: int, config: CnnConfig) -> None:
        super().__init__()
        self.stride, self.new_channels = stride, outputs - inputs
        self.projects = config.shortcut == "projection"
        if self.projects:
            self.conv = build_conv(inputs, outputs, 1, stride, config)
            self.norm = nn.Identity() if config.pre_activation else build_norm(outputs, config)

    def forward(self, hidden: Tensor) -> Tensor:
        if self.projects:
            return self.norm(self.conv(hidden))
        hidden = hidden[:, :, :: self.stride, :: self.stride]
        before = self.new_channels // 2
        return F.pad(hidden, (0, 0, 0, 0, before, self.new_channels - before))


class PlainBlock(nn.Module):
    """Convolution, normalisation, activation, dropout."""

    def __init__(self, inputs: int, outputs: int, stride: int, drop_path: float, config: CnnConfig) -> None:
        super().__init__()
        self.conv = build_conv(inputs, outputs, config.kernel_size, stride, config)
        self.norm = build_norm(outputs, config)
        self.activation = build_activation(config)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.dropout(self.activation(self.norm(self.conv(hidden))))


def branch_shapes(inputs: int, outputs: int, stride: int, config: CnnConfig) -> list[tuple[int, int, int, int]]:
    """Return inputs, outputs, kernel size and stride of each convolution in a residual branch: two, or 1x1-3x3-1x1 at a
    quarter of the width."""
    if config.block == "basic":
        return [(inputs, outputs, config.kernel_size, stride), (outputs, outputs, config.kernel_size, 1)]
    narrow = outputs // 4
    strides = (stride, 1) if config.downsample_in_bottleneck else (1, stride)
    return [
        (inputs, narrow, 1, strides[0]),
        (narrow, narrow, config.kernel_size, strides[1]),
        (narrow, outputs, 1, 1),
    ]


def mark_residual_end(block: nn.Module, config: CnnConfig) -> None:
    """Mark, with zero_init_residual, the module whose weight scales the whole branch: the last normalisation, or the
    last convolution where none follows it. `_init_weights` reads the mark: transformers does not call it on the block,
    which has no weights of its own."""
    has_last_norm = not config.pre_activation and config.normalization != "none"
    module = block.norms[-1] if has_last_norm else block.convs[-1]
    module.starts_at_zero = config.zero_init_residual


class ResidualBlock(nn.Module):
    """A shortcut around two or three convolutions, each with its normalisation; the last activation follows the sum."""

    def __init__(self, inputs: int, outputs: int, stride: int, drop_path: float, config: CnnConfig) -> None:
        super().__init__()
        shapes = branch_shapes(inputs, outputs, stride, config)
        self.convs = nn.ModuleList(build_conv(*shape, config) for shape in shapes)
        self.norms = nn.ModuleList(build_norm(shape[1], config) for shape in shapes)
        self.activation = build_activation(config)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.drop_path = DropPath(drop_path)
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else Shortcut(inputs, outputs, stride, config)
        self.last = len(shapes) - 1
        mark_residual_end(self, config)

    def forward(self, hidden: Tensor) -> Tensor:
        branch = hidden
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            branch = norm(conv(self.dropout(branch) if i == self.last else branch))
            branch = branch if i == self.last else self.activation(branch)
        branch = self.drop_path(branch)
        branch += self.shortcut(hidden)  # in place: the backward pass needs neither summand
        return self.activation(branch)


class PreActivationBlock(nn.Module):
    """A shortcut around two or three convolutions, each behind a normalisation and an activation (arXiv:1603.05027,
    figure 4e); the sum is left as it is. A shortcut that changes the shape starts behind the first activation."""

    def __init__(self, inputs: int, outputs: int, stride: int, drop_path: float, config: CnnConfig) -> None:
        super().__init__()
        shapes = branch_shapes(inputs, outputs, stride, config)
        self.norms = nn.ModuleList(build_norm(shape[0], config) for shape in shapes)
        self.convs = nn.ModuleList(build_conv(*shape, config) for shape in shapes)
        self.activation = build_activation(config)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.drop_path = DropPath(drop_path)
        same = stride == 1 and inputs == outputs
        self.shortcut = None if same else Shortcut(inputs, outputs, stride, config)
        self.last = len(shapes) - 1
        mark_residual_end(self, config)

    def forward(self, hidden: Tensor) -> Tensor:
        branch, shortcut = hidden, hidden
        for i, (norm, conv) in enumerate(zip(self.norms, self.convs, strict=True)):
            branch = self.activation(norm(branch))
            if i == 0 and self.shortcut is not None:
                shortcut = self.shortcut(branch)
            branch = conv(self.dropout(branch) if i == self.last else branch)
        branch = self.drop_path(branch)
        branch += shortcut
        return branch


class Stem(nn.Module):
    """The first convolution, with its normalisation and activation, and a 3x3 max pooling for large images:
    (B, C, H, W) -> (B, embedding_size, H / stride, W / stride). With pre-activation the convolution stands alone."""

    def __init__(self, config: CnnConfig) -> None:
        super().__init__()
        padding, bias = config.stem_kernel_size // 2, config.normalization == "none"
        bias = bias if config.conv_bias is None else config.conv_bias
        width = config.embedding_size
        self.conv = nn.Conv2d(
            config.num_channels, width, config.stem_kernel_size, config.stem_stride, padding, bias=bias
        )
        self.norm = nn.Identity() if config.pre_activation else build_norm(width, config)
        self.activation = nn.Identity() if config.pre_activation else build_activation(config)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1) if config.stem_pool else nn.Identity()

    def forward(self, pixel_values: Tensor) -> Tensor:
        return self.pool(self.activation(self.norm(self.conv(pixel_values))))


class Stage(nn.Module):
    """Blocks of one width, the first of which may halve the image, or a 2x2 pooling at the end that does."""

    def __init__(self, inputs: int, outputs: int, stride: int, drop_paths: list[float], config: CnnConfig) -> None:
        super().__init__()
        residual = PreActivationBlock if config.pre_activation else ResidualBlock
        block = PlainBlock if config.block == "plain" else residual
        self.blocks = nn.ModuleList(
            block(outputs if i else inputs, outputs, 1 if i else stride, drop_path, config)
            for i, drop_path in enumerate(drop_paths)
        )
        pools = {"stride": nn.Identity, "max_pool": nn.MaxPool2d, "avg_pool": nn.AvgPool2d}
        self.pool = pools[config.downsampling](2)

    def forward(self, hidden: Tensor) -> Tensor:
        for block in self.blocks:
            hidden = block(hidden)
        return self.pool(hidden)


class CnnPreTrainedModel(PreTrainedModel):
    """Loads, saves and initialises every convolutional network."""

    config: CnnConfig
    base_model_prefix = "cnn"
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    accepts_loss_kwargs = False  # the loss is a mean over the batch: Trainer must scale it itself
    _no_split_modules = ["Stem", "PlainBlock", "ResidualBlock", "PreActivationBlock"]  # noqa: RUF012

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Write every weight of `module`; what a checkpoint has loaded is left as it is."""
        if isinstance(module, nn.Conv2d):
            if getattr(module, "starts_at_zero", False):
                init.zeros_(module.weight)
            else:
                init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            init.kaiming_uniform_(module.weight, a=math.sqrt(5))  # uniform in +-1/sqrt(fan_in)
            bound = 1 / math.sqrt(module.in_features)
            init.uniform_(module.bias, -bound, bound)
        elif isinstance(module, nn.BatchNorm2d | nn.GroupNorm):
            (init.zeros_ if getattr(module, "starts_at_zero", False) else init.ones_)(module.weight)
            init.zeros_(module.bias)
            if isinstance(module, nn.BatchNorm2d):
                init.zeros_(module.running_mean)
                init.ones_(module.running_var)
                init.zeros_(module.num_batches_tracked)


class CnnModel(CnnPreTrainedModel):
    """Stem, stages and pooling.

    Raises:
        ValueError: the images have other channels than the config says, are not floating-point or, where the feature
            map is flattened, have another size.
    """

    def __init__(self, config: CnnConfig) -> None:
        super().__init__(config)
        self.image_shape = config.image_shape
        self.flattens = config.pooling == "flatten"
        self.stem = Stem(config) if config.embedding_size else nn.Identity()
        inputs = [config.embedding_size or config.num_channels, *config.hidden_sizes[:-1]]
        num_blocks = sum(config.depths)
        # Linear decay rule (arXiv:1603.09382, eq. 4): the first block is dropped least, the last with the full rate.
        rates = [config.drop_path_rate * (i + 1) / num_blocks for i in range(num_blocks)]
        self.stages = nn.ModuleList()
        for i, depth in enumerate(config.depths):
            start = sum(config.depths[:i])
            drop_paths = rates[start : start + depth]
            self.stages.append(Stage(inputs[i], config.hidden_sizes[i], config.stage_strides[i], drop_paths, config))
        self.norm, self.activation = nn.Identity(), nn.Identity()
        if config.pre_activation:
            self.norm, self.activation = build_norm(config.hidden_sizes[-1], config), build_activation(config)
        self.post_init()

    @known_arguments()
    def forward(
        self,
        pixel_values: Tensor,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> BaseModelOutputWithPoolingAndNoAttention | tuple:
        """Compute the outputs, and the loss where targets are given.

        Args:
            pixel_values: (B, C, H, W), normalised by the processor.
            output_hidden_states: give the feature maps too; the config's choice when None.
            return_dict: a ModelOutput (True) or a tuple (False); the config's choice when None.

        Returns:
            `last_hidden_state` (B, C, H, W) of the last stage, `pooler_output` (B, F) and, if asked for,
            `hidden_states`, the feature maps of the stem, if there is one, and of each stage.
        """
        expected = self.image_shape if self.flattens else (self.image_shape[0], *pixel_values.shape[2:])
        if pixel_values.dim() != 4 or pixel_values.shape[1:] != expected or not pixel_values.is_floating_point():
            shown = self.image_shape if self.flattens else (self.image_shape[0], "height", "width")
            raise ValueError(
                f"pixel_values must be floating-point of shape (batch, {', '.join(map(str, shown))}), got "
                f"{pixel_values.dtype} of shape {tuple(pixel_values.shape)}; use the checkpoint's image processor"
            )
        output_hidden_states = (
            self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        )
        hidden = self.stem(pixel_values)  # (B, embedding_size, H, W)
        hidden_states = [] if isinstance(self.stem, nn.Identity) else [hidden]
        for stage in self.stages:
            hidden = stage(hidden)  # (B, C, H, W)
            hidden_states.append(hidden)
        hidden = self.activation(self.norm(hidden))
        pooled = hidden.flatten(1) if self.flattens else hidden.mean(dim=(2, 3))  # (B, F)
        maps = tuple(hidden_states) if output_hidden_states else None
        if self.config.return_dict if return_dict is None else return_dict:
            return BaseModelOutputWithPoolingAndNoAttention(
                last_hidden_state=hidden, pooler_output=pooled, hidden_states=maps
            )
        return (hidden, pooled) if maps is None else (hidden, pooled, maps)


def build_classifier(config: CnnConfig) -> nn.Sequential:
    """Map pooled features (B, F) -> logits (B, L): a linear layer, behind hidden layers where the config names any."""
    num_features = math.prod(config.feature_map_shape) if config.pooling == "flatten" else config.hidden_sizes[-1]
    layers = [] if config.classifier_hidden_sizes else [nn.Dropout(config.classifier_dropout_prob)]
    for width in config.classifier_hidden_sizes:
        layers += [nn.Linear(num_features, width), build_activation(config), nn.Dropout(config.classifier_dropout_prob)]
        num_features = width
    return nn.Sequential(*layers, nn.Linear(num_features, config.num_labels))


class CnnForImageClassification(CnnPreTrainedModel):
    """A classifier on the pooled features: a linear layer, behind hidden layers where the config names any."""

    def __init__(self, config: CnnConfig) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels
        self.cnn = CnnModel(config)
        self.classifier = build_classifier(config)
        self.post_init()

    @known_arguments()
    def forward(
        self,
        pixel_values: Tensor,
        labels: Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> ImageClassifierOutputWithNoAttention | tuple:
        """Compute the outputs, and the loss where targets are given.

        Args:
            pixel_values: (B, C, H, W), normalised by the processor.
            labels: targets, of the form that `classification_loss` tells for the config's problem_type.
            output_hidden_states: give the feature maps too; the config's choice when None.
            return_dict: a ModelOutput (True) or a tuple (False); the config's choice when None.

        Returns:
            `loss` (scalar, when there are labels), `logits` (B, L) and, if asked for, `hidden_states`.
        """
        outputs = self.cnn(pixel_values, output_hidden_states=output_hidden_states, return_dict=False)
        logits = self.classifier(outputs[1])  # (B, L)
        loss = None if labels is None else classification_loss(logits, labels, self.config.problem_type)
        if self.config.return_dict if return_dict is None else return_dict:
            hidden_states = outputs[2] if len(outputs) > 2 else None
            return ImageClassifierOutputWithNoAttention(loss=loss, logits=logits, hidden_states=hidden_states)
        return (logits, *outputs[2:]) if loss is None else (loss, logits, *outputs[2:])


class CnnForAudioClassification(CnnPreTrainedModel):
    """The same classifier on spectrograms, which are images of one channel: bands high, frames wide."""

    main_input_name = "input_values"
    input_modalities = ("audio",)

    def __init__(self, config: CnnConfig) -> None:
        super().__init__(config)
        if config.num_channels != 1:
            raise ValueError(f"a spectrogram has one channel: num_channels must be 1, got {config.num_channels}")
        self.num_labels = config.num_labels
        self.cnn = CnnModel(config)
        self.classifier = build_classifier(config)
        self.post_init()

    @known_arguments()
    def forward(
        self,
        input_values: Tensor,
        labels: Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> SequenceClassifierOutput | tuple:
        """Compute the outputs, and the loss where targets are given.

        Args:
            input_values: (B, H, W): H bands of W frames, as the feature extractor gives them.
            labels: targets, of the form that `classification_loss` tells for the config's problem_type.
            output_hidden_states: give the feature maps too; the config's choice when None.
            return_dict: a ModelOutput (True) or a tuple (False); the config's choice when None.

        Returns:
            `loss` (scalar, when there are labels), `logits` (B, L) and, if asked for, `hidden_states`.
        """
        if input_values.dim() != 3:
            raise ValueError(
                f"input_values must be of shape (batch, bands, frames), got {tuple(input_values.shape)}; use the "
                "checkpoint's feature extractor"
            )
        outputs = self.cnn(input_values[:, None], output_hidden_states=output_hidden_states, return_dict=False)
        logits = self.classifier(outputs[1])  # (B, L)
        loss = None if labels is None else classification_loss(logits, labels, self.config.problem_type)
        if self.config.return_dict if return_dict is None else return_dict:
            hidden_states = outputs[2] if len(outputs) > 2 else None
            return SequenceClassifierOutput(loss=loss, logits=logits, hidden_states=hidden_states)
        return (logits, *outputs[2:]) if loss is None else (loss, logits, *outputs[2:])


__all__ = ["CnnConfig", "CnnForAudioClassification", "CnnForImageClassification", "CnnModel", "CnnPreTrainedModel"]
