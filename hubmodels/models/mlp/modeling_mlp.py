"""Multilayer perceptrons (Rumelhart, Hinton, Williams 1986, Nature 323:533), plain or residual, on images or tables.

The defaults are SimpleNet, the classic first network: 784-128-10 with ReLU. Residual layers are the tabular ResNet of
Gorishniy et al. 2021 (arXiv:2106.11959, section 3.2). Weights start as torch.nn.Linear's own, uniform in
+-1/sqrt(fan_in) (LeCun et al. 1998, Efficient BackProp, section 4.6), so that SimpleNet is the one of the tutorials.
`initialization: realmlp` is RealMLP's parametrisation (Holzmuller et al. 2024, arXiv:2407.04491, section 3) without its
look at training rows: weights are not rescaled to outputs of variance 1, and a hidden unit's bias puts its kink at a
random point of the standard normal distribution, where "he+5" takes training rows; output layers' biases start at 0.

On tables an ensemble is TabM-mini (Gorishniy et al. 2024, arXiv:2410.24210, section 3.3): its members share all weights
but a scale of the inputs and the output layer, each has its own loss, and their predictions are averaged.
"""

import copy
import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithNoAttention, ImageClassifierOutputWithNoAttention
from transformers.modeling_utils import PreTrainedModel
from transformers.utils import ModelOutput

from .configuration_mlp import MlpConfig
from .modeling_mlp_layers import MlpBody, NtkLinear, build_linear
from .modeling_mlp_shared import classification_loss, known_arguments
from .modeling_mlp_tables import EnsembleLinear, EnsembleScale, FrontScale, TableFeatures, TargetScale

# B batch, C channels, H height, W width, N num_features, D width of a hidden layer, L num_labels
# Tables: F num_numeric_features, M categories, E width of an embedded number, K num_ensemble, Q quantiles


class MlpPreTrainedModel(PreTrainedModel):
    """Loads, saves and initialises every perceptron."""

    config: MlpConfig
    base_model_prefix = "mlp"
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    accepts_loss_kwargs = False  # the loss is a mean over the batch: Trainer must scale it itself
    _no_split_modules = ["PlainLayer", "ResidualLayer"]  # noqa: RUF012

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Write every weight of `module`; what a checkpoint has loaded is left as it is."""
        if isinstance(module, NtkLinear):
            module.init_weights()
        elif isinstance(module, nn.Linear):
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
        elif isinstance(module, nn.Embedding):
            init.normal_(module.weight, std=1 / math.sqrt(module.embedding_dim))
            init.zeros_(module.weight[0])
        elif hasattr(module, "init_weights") and not isinstance(module, PreTrainedModel):
            module.init_weights()


class MlpModel(MlpPreTrainedModel):
    """The hidden layers on the flattened pixels of images of one size, or on the rows of a table.

    Raises:
        ValueError: the images have other channels or another size than the config says, or are not floating-point; a
            table's features are not there or of another number than the config says.
    """

    def __init__(self, config: MlpConfig) -> None:
        super().__init__(config)
        self.image_shape = config.image_shape
        self.num_ensemble = config.num_ensemble
        if config.is_tabular:
            self.features = TableFeatures(config)
            num_features = sum(self.features.widths)
            if config.num_ensemble > 1:
                signs = config.numeric_embedding == "none"
                self.scale = EnsembleScale(config.num_ensemble, self.features.widths, signs)
        elif config.num_ensemble > 1:
            raise ValueError(f"num_ensemble is for tables only and must be 1 for images, got {config.num_ensemble}")
        else:
            num_features = math.prod(config.image_shape)
        front = config.initialization == "realmlp" and config.num_ensemble == 1  # members have scales of their own
        self.front_scale = FrontScale(num_features) if front else nn.Identity()
        self.body = MlpBody(num_features, config)
        self.post_init()

    @known_arguments()
    def forward(
        self,
        pixel_values: Tensor | None = None,
        numeric_features: Tensor | None = None,
        categorical_features: Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> BaseModelOutputWithNoAttention | tuple:
        """Compute the outputs, and the loss where targets are given.

        Args:
            pixel_values: (B, C, H, W), normalised by the processor; for networks on images.
            numeric_features: (B, F), scaled by the processor; for networks on tables that have numbers.
            categorical_features: (B, M) int64 codes, 0 for unknown; for networks on tables that have categories.
            output_hidden_states: give the output of each hidden layer too; the config's choice when None.
            return_dict: a ModelOutput (True) or a tuple (False); the config's choice when None.

        Returns:
            `last_hidden_state` (B, hidden_sizes[-1]) and, if asked for, `hidden_states`, one (B, D) a layer. Of an
            ensemble (B, K, hidden_sizes[-1]) and (B, K, D).
        """
        is_mapped = False
        if self.config.is_tabular:
            self.check_table(numeric_features, categorical_features)
            first = self.body.first_linear
            is_mapped = self.num_ensemble == 1 and self.features.can_map_linearly(numeric_features, first)
            if is_mapped:
                features = self.features.map_linearly(numeric_features, categorical_features, first)  # (B, D)
            else:
                features = self.features(numeric_features, categorical_features, self.dtype)  # (B, N)
        else:
            features = self.check_images(pixel_values).flatten(1)  # (B, N)
        if self.num_ensemble > 1:
            features = self.scale(features).flatten(0, 1)  # (B * K, N): to the layers members are rows
        hidden, hidden_states = self.body(self.front_scale(features), is_mapped)  # (B, D)
        if self.num_ensemble > 1:
            hidden, *hidden_states = (
                rows.unflatten(0, (-1, self.num_ensemble)) for rows in (hidden, *hidden_states)
            )  # (B, K, D)
        output_hidden_states = (
            self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        )
        hidden_states = tuple(hidden_states) if output_hidden_states else None
        if self.config.return_dict if return_dict is None else return_dict:
            return BaseModelOutputWithNoAttention(last_hidden_state=hidden, hidden_states=hidden_states)
        return (hidden,) if hidden_states is None else (hidden, hidden_states)

    def check_images(self, pixel_values: Tensor | None) -> Tensor:
        """Return the images. Raises ValueError where there are none, or of another shape or type."""
        if pixel_values is None:
            raise ValueError("pixel_values must be given: this network is on images")
        if pixel_values.shape[1:] != self.image_shape or not pixel_values.is_floating_point():
            raise ValueError(
                f"pixel_values must be floating-point of shape (batch, {', '.join(map(str, self.image_shape))}), got "
                f"{pixel_values.dtype} of shape {tuple(pixel_values.shape)}; use the checkpoint's image processor"
            )
        return pixel_values

    def check_table(self, numeric_features: Tensor | None, categorical_features: Tensor | None) -> None:
        """Raise ValueError where numbers or categories have another shape or type, lack, or are too many."""
        for name, given, count, floating in (
            ("numeric_features", numeric_features, self.config.num_numeric_features, True),
            ("categorical_features", categorical_features, len(self.config.categorical_cardinalities or []), False),
        ):
            received = "none" if given is None else f"{given.dtype} of shape {tuple(given.shape)}"
            kind = "floating-point" if floating else "integers"
            if (given is None) != (count == 0):
                raise ValueError(f"{name} must be {kind} of shape (batch, {count}), got {received}")
            if given is not None and (
                given.ndim != 2 or given.shape[1] != count or given.is_floating_point() != floating
            ):
                raise ValueError(
                    f"{name} must be {kind} of shape (batch, {count}), got {received}; use the checkpoint's processor"
                )


class MlpForImageClassification(MlpPreTrainedModel):
    """A linear classifier on the last hidden layer. With the default config this is SimpleNet: 101,770 weights."""

    def __init__(self, config: MlpConfig) -> None:
        super().__init__(config)
        if config.is_tabular:
            raise ValueError("this config is of a network on tables: MlpForImageClassification takes images")
        self.num_labels = config.num_labels
        self.mlp = MlpModel(config)
        self.classifier = nn.Linear(config.hidden_sizes[-1], config.num_labels)
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


@dataclass
class MlpTabularOutput(ModelOutput):
    """Holds what a head on tables gives.

    Args:
        loss: scalar, when there are labels. In training the mean of the members' losses, else that of their mean.
        row_loss: (B,), regression: the same of each row.
        logits: (B, L). Classification: of the mean of the members' probabilities. Regression: their mean prediction, in
            the targets' units.
        quantile_values: (B, L, Q), regression with `quantiles`: these, in the targets' units.
        quantile_levels: (B, Q), regression with `quantiles`: the config's, for each row.
        spread: (B, L), ensembles: the standard deviation over the members, of probabilities or predictions.
        member_logits: (B, K, L), ensembles: what each member gives.
        hidden_states: one (B, K, D) a layer, or (B, D) without an ensemble.
    """

    loss: Tensor | None = None
    row_loss: Tensor | None = None
    logits: Tensor | None = None
    quantile_values: Tensor | None = None
    quantile_levels: Tensor | None = None
    spread: Tensor | None = None
    member_logits: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None


class MlpTabularPreTrainedModel(MlpPreTrainedModel):
    """Share what both tabular heads do: the network, its output layer, and a member taken out of an ensemble."""

    main_input_name = "numeric_features"
    input_modalities = ("tabular",)

    def __init__(self, config: MlpConfig, num_outputs: int) -> None:
        super().__init__(config)
        if not config.is_tabular:
            raise ValueError(
                f"{type(self).__name__} takes tables: num_numeric_features must be at least 1 or "
                "categorical_cardinalities not empty"
            )
        self.num_labels, self.num_ensemble = config.num_labels, config.num_ensemble
        self.mlp = MlpModel(config)
        width = config.hidden_sizes[-1]
        if config.num_ensemble > 1:
            ntk = config.initialization == "realmlp"
            self.output_layer = EnsembleLinear(config.num_ensemble, width, num_outputs, ntk)
        else:
            self.output_layer = build_linear(width, num_outputs, config, is_output=True)

    def finish(self, output: MlpTabularOutput, return_dict: bool | None) -> MlpTabularOutput | tuple:
        """Return the output, as a tuple where `return_dict` or else the config says so."""
        return_dict = self.config.return_dict if return_dict is None else return_dict
        return output if return_dict else output.to_tuple()

    @torch.no_grad()
    def extract_member(self, index: int) -> "MlpTabularPreTrainedModel":
        """Return one member of the ensemble as a network of its own: the member's scale goes into the first layer's
        weights.

        Args:
            index: of the member, 0 to num_ensemble - 1.

        Returns:
            A model with `num_ensemble` 1, in evaluation mode, that shares no memory with this one.

        Raises:
            ValueError: there is no such member.
        """
        if not 0 <= index < self.num_ensemble:
            raise ValueError(f"index must be 0 to {self.num_ensemble - 1}, got {index}")
        config = copy.deepcopy(self.config)
        config.num_ensemble = 1
        head: Any = type(self)  # a head takes the config alone
        member = head(config).to(self.device, self.dtype)
        state = {name: value for name, value in self.state_dict().items() if name != "mlp.scale.weight"}
        if self.num_ensemble > 1:
            scale = self.mlp.scale.weight[index]  # (N,)
            if config.initialization == "realmlp":
                state["mlp.front_scale.weight"] = scale / 6
            else:
                first = "mlp.body.layers.0.weight" if config.residual else "mlp.body.layers.0.linear.weight"
                state[first] = state[first] * scale
            for name in ("output_layer.weight", "output_layer.bias"):
                state[name] = state[name][index]
        member.load_state_dict(state)
        return member.eval()


def pair_members(logits: Tensor, members: Tensor | None, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Repeat the targets for an ensemble, whose members learn by themselves.

    A loss of the mean prediction would let the members lean on each other.

    Args:
        logits: (B, L) of the mean prediction.
        members: (B, K, L), what each member gives; None without an ensemble.
        labels: the targets of the rows, (B, ...).

    Returns:
        Logits (B * K, L) and targets (B * K, ...), a row's members behind each other; without an ensemble those given.
    """
    if members is None:
        return logits, labels
    return members.flatten(0, 1), labels.repeat_interleave(members.shape[1], dim=0)


class MlpForTabularClassification(MlpTabularPreTrainedModel):
    """A classifier of a table's rows: binary or multi-class, or multi-label with that `problem_type`."""

    def __init__(self, config: MlpConfig) -> None:
        super().__init__(config, config.num_labels)
        self.post_init()

    @known_arguments()
    def forward(
        self,
        numeric_features: Tensor | None = None,
        categorical_features: Tensor | None = None,
        labels: Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> MlpTabularOutput | tuple:
        """Compute the outputs, and the loss where targets are given.

        Args:
            numeric_features: (B, F), scaled by the processor; None where the table has no numbers.
            categorical_features: (B, M) int64 codes, 0 for unknown; None where the table has no categories.
            labels: targets, of the form that `classification_loss` tells for the config's problem_type.
            output_hidden_states: give the output of each hidden layer too; the config's choice when None.
            return_dict: a ModelOutput (True) or a tuple (False); the config's choice when None.

        Returns:
            See `MlpTabularOutput`.
        """
        outputs = self.mlp(
            numeric_features=numeric_features,
            categorical_features=categorical_features,
            output_hidden_states=output_hidden_states,
            return_dict=False,
        )
        problem_type = self.config.problem_type
        logits, members, spread = self.output_layer(outputs[0]), None, None  # (B, L), or (B, K, L) of an ensemble
        if self.num_ensemble > 1:
            members = logits
            logits, spread = combine_members(members, problem_type)  # (B, L) both
        loss = None
        if labels is not None:
            pairs = pair_members(logits, members, labels) if self.training else (logits, labels)
            loss = classification_loss(*pairs, problem_type)
        hidden_states = outputs[1] if len(outputs) > 1 else None
        output = MlpTabularOutput(
            loss=loss, logits=logits, spread=spread, member_logits=members, hidden_states=hidden_states
        )
        return self.finish(output, return_dict)

    def pair_targets(self, outputs: MlpTabularOutput, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Give the logits that learn by themselves, and the target of each, for another loss than the model's own.

        Args:
            outputs: what `forward` gave for B rows.
            labels: their targets, (B, ...).

        Returns:
            See `pair_members`.
        """
        return pair_members(outputs.logits, outputs.member_logits, labels)


class MlpForTabularRegression(MlpTabularPreTrainedModel):
    """Predicts one number or several of a table's rows, in their own units, and quantiles where the config names any.

    Inside, targets are normalised by the config's mean and standard deviation; predictions are kept within the range of
    the training targets outside of training, since a mean of what was seen cannot lie outside of it."""

    def __init__(self, config: MlpConfig) -> None:
        super().__init__(config, config.num_labels * (1 + len(config.quantiles or [])))
        self.quantiles = list(config.quantiles or [])
        self.target_scale = TargetScale(config)
        self.post_init()

    @known_arguments()
    def forward(
        self,
        numeric_features: Tensor | None = None,
        categorical_features: Tensor | None = None,
        labels: Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> MlpTabularOutput | tuple:
        """Compute the outputs, and the loss where targets are given.

        Args:
            numeric_features: (B, F), scaled by the processor; None where the table has no numbers.
            categorical_features: (B, M) int64 codes, 0 for unknown; None where the table has no categories.
            labels: targets in their own units, (B, L), or (B,) where L is 1.
            output_hidden_states: give the output of each hidden layer too; the config's choice when None.
            return_dict: a ModelOutput (True) or a tuple (False); the config's choice when None.

        Returns:
            See `MlpTabularOutput`. The loss is the mean squared error of the normalised targets, plus the mean pinball
            loss of the quantiles.
        """
        outputs = self.mlp(
            numeric_features=numeric_features,
            categorical_features=categorical_features,
            output_hidden_states=output_hidden_states,
            return_dict=False,
        )
        values = self.output_layer(outputs[0]).unflatten(-1, (self.num_labels, -1))  # (B, [K,] L, 1 + Q)
        mean = values.mean(dim=1) if self.num_ensemble > 1 else values  # (B, L, 1 + Q)
        restored = self.target_scale.restore(mean.movedim(-1, 0))  # (1 + Q, B, L)
        members, spread = None, None
        if self.num_ensemble > 1:
            members = self.target_scale.restore(values[..., 0])  # (B, K, L)
            spread = members.std(dim=1)  # (B, L)
        row_loss = None
        if labels is not None:
            targets = self.target_scale.normalize(labels.view(len(labels), self.num_labels).to(values.dtype))  # (B, L)
            if self.num_ensemble > 1 and self.training:  # each member learns by itself
                row_loss = self.regression_loss(values, targets[:, None])
            else:
                row_loss = self.regression_loss(mean, targets)
        output = MlpTabularOutput(
            loss=None if row_loss is None else row_loss.mean(),
            row_loss=row_loss,
            logits=restored[0],
            quantile_values=restored[1:].movedim(0, -1) if self.quantiles else None,
            quantile_levels=values.new_tensor([self.quantiles]).repeat(len(values), 1) if self.quantiles else None,
            spread=spread,
            member_logits=members,
            hidden_states=outputs[1] if len(outputs) > 1 else None,
        )
        return self.finish(output, return_dict)

    def regression_loss(self, values: Tensor, targets: Tensor) -> Tensor:
        """Compute each row's mean squared error of values[..., 0], plus the pinball losses (Koenker and Bassett 1978)
        of the others, (B,).

        Args:
            values: (B, [K,] L, 1 + Q), normalised.
            targets: (B, [1,] L), normalised.
        """
        errors = targets[..., None] - values  # (B, [K,] L, 1 + Q)
        loss = errors[..., 0].square().flatten(1).mean(1)  # (B,)
        if self.quantiles:
            levels = values.new_tensor(self.quantiles)
            loss = loss + torch.maximum(levels * errors[..., 1:], (levels - 1) * errors[..., 1:]).flatten(1).mean(1)
        return loss


def combine_members(logits: Tensor, problem_type: str | None) -> tuple[Tensor, Tensor]:
    """Return the mean prediction of an ensemble's members and how far they are apart.

    Args:
        logits: (B, K, L).
        problem_type: as in `classification_loss`; None is regression when L is 1, else single label.

    Returns:
        (B, L) both: logits of the mean of the probabilities (or the mean, for regression), and the standard deviation
        of the probabilities (or values).
    """
    if problem_type == "regression" or (problem_type is None and logits.shape[-1] == 1):
        return logits.mean(dim=1), logits.std(dim=1)
    log_size = math.log(logits.shape[1])
    if problem_type == "multi_label_classification":
        positive = F.logsigmoid(logits).logsumexp(dim=1) - log_size  # log of the mean probability
        negative = F.logsigmoid(-logits).logsumexp(dim=1) - log_size
        return positive - negative, logits.sigmoid().std(dim=1)
    log_probabilities = logits.log_softmax(dim=-1)
    return log_probabilities.logsumexp(dim=1) - log_size, log_probabilities.exp().std(dim=1)


__all__ = [
    "MlpConfig",
    "MlpForImageClassification",
    "MlpForTabularClassification",
    "MlpForTabularRegression",
    "MlpModel",
    "MlpPreTrainedModel",
]
