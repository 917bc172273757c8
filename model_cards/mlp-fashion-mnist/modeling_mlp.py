"""Multilayer perceptrons (Rumelhart, Hinton, Williams 1986, Nature 323:533), plain or residual.

The defaults are SimpleNet, the classic first network: 784-128-10 with ReLU. Residual layers are the tabular ResNet of
Gorishniy et al. 2021 (arXiv:2106.11959, section 3.2). Weights start as torch.nn.Linear's own, uniform in
+-1/sqrt(fan_in) (LeCun et al. 1998, Efficient BackProp, section 4.6), so that SimpleNet is the one of the tutorials.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.modeling_outputs import BaseModelOutputWithNoAttention, ImageClassifierOutputWithNoAttention
from transformers.modeling_utils import PreTrainedModel

from .configuration_mlp import MlpConfig

# B batch, C channels, H height, W width, N num_features, D width of a hidden layer, L num_labels


def build_norm(width: int, config: MlpConfig) -> nn.Module:
    """The configured normalisation of (B, D)."""
    if config.normalization == "batch_norm":
        return nn.BatchNorm1d(width)
    return nn.LayerNorm(width) if config.normalization == "layer_norm" else nn.Identity()


class PlainLayer(nn.Module):
    """Linear map, normalisation, activation, dropout: (B, N) -> (B, D)."""

    def __init__(self, num_features: int, width: int, config: MlpConfig) -> None:
        super().__init__()
        self.linear = nn.Linear(num_features, width)
        self.norm = build_norm(width, config)
        self.activation = ACT2FN[config.hidden_act]
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.dropout(self.activation(self.norm(self.linear(hidden))))


class ResidualLayer(nn.Module):
    """x + dropout(linear(dropout(activation(linear(norm(x)))))): (B, D) -> (B, D), arXiv:2106.11959, section 3.2."""

    def __init__(self, width: int, config: MlpConfig) -> None:
        super().__init__()
        self.norm = build_norm(width, config)
        self.linear_in = nn.Linear(width, width)
        self.activation = ACT2FN[config.hidden_act]
        self.linear_out = nn.Linear(width, width)
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
            first = nn.Linear(num_features, widths[0])
            self.layers = nn.ModuleList([first, *(ResidualLayer(width, config) for width in widths[1:])])
            self.norm, self.activation = build_norm(widths[-1], config), ACT2FN[config.hidden_act]
        else:
            inputs = [num_features, *widths[:-1]]
            self.layers = nn.ModuleList(PlainLayer(*sizes, config) for sizes in zip(inputs, widths, strict=True))
            self.norm, self.activation = nn.Identity(), nn.Identity()

    def forward(self, hidden: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The last hidden features and, in order, what each layer gave."""
        hidden_states = []
        for layer in self.layers:
            hidden = layer(hidden)  # (B, D)
            hidden_states.append(hidden)
        return self.activation(self.norm(hidden)), tuple(hidden_states)


class MlpPreTrainedModel(PreTrainedModel):
    """Loading, saving and initialisation of every perceptron."""

    config: MlpConfig
    base_model_prefix = "mlp"
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    accepts_loss_kwargs = False  # the loss is a mean over the batch: Trainer must scale it itself
    _no_split_modules = ["PlainLayer", "ResidualLayer"]  # noqa: RUF012

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Write every weight of `module`; what a checkpoint has loaded is left as it is."""
        if isinstance(module, nn.Linear):
            init.kaiming_uniform_(module.weight, a=math.sqrt(5))  # uniform in +-1/sqrt(fan_in)
            bound = 1 / math.sqrt(module.in_features)
            init.uniform_(module.bias, -bound, bound)
        elif isinstance(module, nn.BatchNorm1d | nn.LayerNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)
            if isinstance(module, nn.BatchNorm1d):
                init.zeros_(module.running_mean)
                init.ones_(module.running_var)
                init.zeros_(module.num_batches_tracked)


class MlpModel(MlpPreTrainedModel):
    """The hidden layers on the flattened pixels of images of one size.

    Raises:
        ValueError: the images have other channels or another size than the config says, or are not floating-point.
    """

    def __init__(self, config: MlpConfig) -> None:
        super().__init__(config)
        self.image_shape = config.image_shape
        self.body = MlpBody(math.prod(config.image_shape), config)
        self.post_init()

    def forward(
        self,
        pixel_values: Tensor,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> BaseModelOutputWithNoAttention | tuple:
        """
        Args:
            pixel_values: (B, C, H, W), normalised by the processor.
            output_hidden_states: give the output of each hidden layer too; the config's choice when None.
            return_dict: a ModelOutput (True) or a tuple (False); the config's choice when None.

        Returns:
            `last_hidden_state` (B, hidden_sizes[-1]) and, if asked for, `hidden_states`, one (B, D) a layer.
        """
        if pixel_values.shape[1:] != self.image_shape or not pixel_values.is_floating_point():
            raise ValueError(
                f"pixel_values must be floating-point of shape (batch, {', '.join(map(str, self.image_shape))}), got "
                f"{pixel_values.dtype} of shape {tuple(pixel_values.shape)}; use the checkpoint's image processor"
            )
        features, hidden_states = self.body(pixel_values.flatten(1))  # (B, N) -> (B, D)
        output_hidden_states = (
            self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        )
        hidden_states = hidden_states if output_hidden_states else None
        if self.config.return_dict if return_dict is None else return_dict:
            return BaseModelOutputWithNoAttention(last_hidden_state=features, hidden_states=hidden_states)
        return (features,) if hidden_states is None else (features, hidden_states)


class MlpForImageClassification(MlpPreTrainedModel):
    """A linear classifier on the last hidden layer. With the default config this is SimpleNet: 101,770 weights."""

    def __init__(self, config: MlpConfig) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels
        self.mlp = MlpModel(config)
        self.classifier = nn.Linear(config.hidden_sizes[-1], config.num_labels)
        self.post_init()

    def forward(
        self,
        pixel_values: Tensor,
        labels: Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> ImageClassifierOutputWithNoAttention | tuple:
        """
        Args:
            pixel_values: (B, C, H, W), normalised by the processor.
            labels: targets, of the form that `classification_loss` tells for the config's problem_type.
            output_hidden_states: give the output of each hidden layer too; the config's choice when None.
            return_dict: a ModelOutput (True) or a tuple (False); the config's choice when None.

        Returns:
            `loss` (scalar, when there are labels), `logits` (B, L) and, if asked for, `hidden_states`.
        """
        outputs = self.mlp(pixel_values, output_hidden_states=output_hidden_states, return_dict=False)
        logits = self.classifier(outputs[0])  # (B, L)
        loss = None if labels is None else classification_loss(logits, labels, self.config.problem_type)
        if self.config.return_dict if return_dict is None else return_dict:
            hidden_states = outputs[1] if len(outputs) > 1 else None
            return ImageClassifierOutputWithNoAttention(loss=loss, logits=logits, hidden_states=hidden_states)
        return (logits, *outputs[1:]) if loss is None else (loss, logits, *outputs[1:])


def classification_loss(logits: Tensor, labels: Tensor, problem_type: str | None) -> Tensor:
    """The mean loss of transformers' classifiers.

    Args:
        logits: (B, L).
        labels: single_label_classification: class numbers (B,) or probabilities (B, L), as mixup gives;
            multi_label_classification: 0 or 1 for each label (B, L); regression: values (B, L), or (B,) where L is 1.
        problem_type: one of these, or None: regression when L is 1, else single label for integer labels and multi
            label for floating-point ones, as in transformers.
    """
    if problem_type is None:
        multi = "multi_label_classification" if labels.is_floating_point() else "single_label_classification"
        problem_type = "regression" if logits.shape[-1] == 1 else multi
    if problem_type == "single_label_classification":
        return F.cross_entropy(logits, labels)
    if problem_type == "multi_label_classification":
        return F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))
    return F.mse_loss(logits, labels.to(logits.dtype).view_as(logits))


__all__ = ["MlpConfig", "MlpForImageClassification", "MlpModel", "MlpPreTrainedModel"]
