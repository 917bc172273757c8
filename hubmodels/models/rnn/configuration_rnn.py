"""Configuration of the recurrent network. The defaults are a two-layer LSTM language model on bytes."""

import math
from dataclasses import field
from typing import Any, Literal

from huggingface_hub.dataclasses import strict
from transformers.configuration_utils import PreTrainedConfig

LONGEST_SEGMENT = 12  # steps of a segment whose length is not given


@strict
class RnnConfig(PreTrainedConfig):
    """Decides the network of an `RnnModel` and its heads.

    The dropouts are those of AWD-LSTM (Merity et al. 2017, arXiv:1708.02182, section 4): one draw holds for all
    steps of a sequence, and for weights and embeddings also for all rows of a batch.

    Raises:
        huggingface_hub.errors.StrictDataclassError: a field has another type or lies outside of the range beside it.
    """

    model_type = "hubmodels_rnn"

    # Recurrence
    cell: Literal["rnn", "lstm", "gru"] = "lstm"  # Elman's, long short-term memory, or gated recurrent unit
    hidden_size: int = 256  # width of each layer's state, >= 1
    num_hidden_layers: int = 2  # layers, each of which reads the one below, >= 1
    bidirectional: bool = False  # each layer also reads from the end, which doubles its width; not for causal LMs
    hidden_act: Literal["tanh", "relu"] = "tanh"  # activation of cell rnn; the other cells have their own
    forget_gate_bias: float | int = 1.0  # what the forget gates' bias of an LSTM starts at
    hidden_dropout_prob: float | int = 0.0  # share of features dropped between layers, in [0, 1)
    weight_dropout_prob: float | int = 0.0  # share of recurrent weights dropped, the same for all steps, in [0, 1)

    # Text
    vocab_size: int = 256  # tokens that are known, >= 1
    embedding_size: int = 128  # width of an embedded token, >= 1
    tie_word_embeddings: bool = False  # causal LM: the output layer's weights are the embeddings; where embedding_size
    # is not the width of a layer, a linear map leads from one to the other
    pad_token_id: int | None = None  # token that fills a batch; absent where there is none
    bos_token_id: int | None = None  # token that begins a text
    eos_token_id: int | list[int] | None = None  # token or tokens that end a text
    embedding_dropout_prob: float | int = 0.0  # share of the vocabulary dropped, wherever it occurs, in [0, 1)
    input_dropout_prob: float | int = 0.0  # share of the input's features dropped, in [0, 1)

    # Heads
    output_dropout_prob: float | int = 0.0  # share of the last layer's features dropped, in [0, 1)
    pooling: Literal["last", "max", "mean"] = "last"  # a sequence's features: the last valid step's (for the backward
    # direction the first's), or each feature's maximum or mean over the valid steps

    # Time series
    num_input_channels: int = 0  # channels of a series, >= 1; 0 for a model of text
    reads_observed_mask: bool = False  # the network is told which values are missing, beside seeing 0 in their places

    # Forecasting
    context_length: int = 96  # steps that a forecast sees, >= 1
    prediction_length: int = 24  # steps that are forecast, >= 1
    prediction_channel_indices: list[int] | None = None  # channels that are forecast; all when absent
    channel_mixing: Literal["joint", "independent"] = "joint"  # a forecast sees all channels, or its own alone
    segment_length: int | None = None  # steps that the recurrence reads at once, >= 1; divides context_length; when
    # absent 1, and with decoder segments the longest up to 12 that divides both lengths
    forecast_decoder: Literal["direct", "segments"] = "direct"  # all steps ahead by one linear map from the context's
    # features, or each segment ahead by one more step of the recurrence (SegRNN); divides prediction_length then
    instance_normalization: Literal["none", "last", "standard"] = "last"  # taken from each series and given back to its
    # forecast: nothing, its last value, or its mean and standard deviation
    forecast_loss: Literal["mse", "mae", "smooth_l1"] = "mse"  # loss of point forecasts
    distribution_output: Literal["point", "quantile", "student_t"] = "point"  # what is forecast of each value
    quantiles: list[float] = field(default_factory=lambda: [0.1, 0.5, 0.9])  # levels of quantile and student_t,
    # ascending, in (0, 1)
    num_time_features: int = 0  # covariates of each step that are known ahead, >= 0
    num_static_real_features: int = 0  # covariates of each series, >= 0
    # Read by no network, and filled in releases of 0.1.0 alone: what only measuring needs is in problem.json now.
    season_length: int = 1  # steps after which the series recur, >= 1: what the model is measured against
    season_errors: list[float] | None = None  # mean absolute error of repeating the last season, of each forecast
    # channel over the training steps, in z-scores: MASE divides by it

    def __post_init__(self, **kwargs: Any) -> None:
        """Choose segments that fit the lengths, where they are not given."""
        if self.segment_length is None:
            fitting = math.gcd(self.context_length, self.prediction_length)
            divisors = [length for length in range(1, LONGEST_SEGMENT + 1) if fitting % length == 0]
            self.segment_length = max(divisors) if divisors and self.forecast_decoder == "segments" else 1
        super().__post_init__(**kwargs)

    def validate_sizes(self) -> None:
        """Refuse sizes that no network can have."""
        for name in ("hidden_size", "num_hidden_layers", "vocab_size", "embedding_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    def validate_dropout(self) -> None:
        """Refuse shares that leave nothing."""
        for name in ("embedding", "input", "hidden", "weight", "output"):
            if not 0 <= getattr(self, f"{name}_dropout_prob") < 1:
                value = getattr(self, f"{name}_dropout_prob")
                raise ValueError(f"{name}_dropout_prob must be at least 0 and below 1, got {value}")

    def validate_series(self) -> None:
        """Refuse series and forecasts that no network can read or give."""
        for name in ("num_input_channels", "num_time_features", "num_static_real_features"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        for name in ("context_length", "prediction_length", "segment_length", "season_length"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("context_length", "prediction_length"):
            if (name == "context_length" or self.forecast_decoder == "segments") and (
                getattr(self, name) % self.segment_size
            ):
                raise ValueError(f"segment_length {self.segment_length} must divide {name} {getattr(self, name)}")
        if not self.quantiles or list(self.quantiles) != sorted(set(self.quantiles)):
            raise ValueError(f"quantiles must ascend, at least one, got {self.quantiles}")
        if not all(0 < level < 1 for level in self.quantiles):
            raise ValueError(f"quantiles must lie between 0 and 1 (both excluded), got {self.quantiles}")
        if (indices := self.prediction_channel_indices) is not None:
            if (
                not indices
                or sorted(set(indices)) != sorted(indices)
                or not all(0 <= index < max(self.num_input_channels, 1) for index in indices)
            ):
                raise ValueError(
                    f"prediction_channel_indices must be different channels of 0..{self.num_input_channels - 1}, got "
                    f"{indices}"
                )
            if self.channel_mixing == "independent" and len(indices) < self.num_input_channels:
                raise ValueError(
                    "channel_mixing independent forecasts each channel from itself: channels that are only seen "
                    "need joint, or forecast them all"
                )
        if self.forecast_decoder == "segments" and self.channel_mixing == "independent" and self.embedding_size % 2:
            raise ValueError(f"segments of independent channels need an even embedding_size, got {self.embedding_size}")

    @property
    def segment_size(self) -> int:
        """Return `segment_length`, which is always chosen."""
        assert self.segment_length is not None  # `__post_init__` has set it
        return self.segment_length

    @property
    def forecast_channels(self) -> list[int]:
        """Return the channels that are forecast."""
        indices = self.prediction_channel_indices
        return list(range(self.num_input_channels)) if indices is None else list(indices)

    @property
    def num_directions(self) -> int:
        """Return directions in which a layer reads: 1 or 2."""
        return 2 if self.bidirectional else 1

    @property
    def output_size(self) -> int:
        """Return width of a layer's output."""
        return self.hidden_size * self.num_directions

    @property
    def state_shape(self) -> tuple[int, int, int]:
        """Return shape of a row's state: layers times directions, 2 for an LSTM (hidden and cell) or 1, hidden_size."""
        num_parts = 2 if self.cell == "lstm" else 1
        return self.num_hidden_layers * self.num_directions, num_parts, self.hidden_size


__all__ = ["RnnConfig"]
