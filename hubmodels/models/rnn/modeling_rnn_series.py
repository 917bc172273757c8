"""Recurrent networks for time series: a classifier, and forecasts of all steps ahead at once.

Forecasts read a series step by step or segment by segment (SegRNN, Lin et al. 2023, arXiv:2308.11200, section 3: linear
map and ReLU of each segment, recurrence over them, then each segment ahead by one more step of the same recurrence from
the last state, on an embedding of its position and channel, all in parallel). What lies in a series' level and spread
is taken from it and given back (RevIN, Kim et al. 2022). Departs from the papers: normalisation has no weights of its
own; a missing value is 0 after it; covariates, quantiles and Student's t are added. Quantiles are computed, not drawn.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.utils import ModelOutput

from .configuration_rnn import RnnConfig
from .modeling_rnn_encoder import RnnModel, RnnOutput, RnnPreTrainedModel
from .modeling_rnn_shared import classification_loss, known_arguments

# B batch, T context_length, H prediction_length, C num_input_channels, Y forecast channels, K num_time_features,
# S num_static_real_features, w segment_length, n = T / w segments seen, m = H / w segments ahead, E embedding_size,
# D width of the pooled features, Q quantiles, P parameters of each forecast value.
# N series of V channels that the recurrence reads and G that it forecasts: B * Y, 1 and 1 for independent channels,
# B, C and Y for joint ones.

SMALLEST_VARIANCE = 1e-5  # of a series that is normalised by its standard deviation
SMALLEST_SCALE = 1e-4  # of Student's t, in z-scores: without it a constant series' loss falls for ever


@dataclass
class RnnForecastOutput(ModelOutput):
    """Holds what an `RnnForTimeSeriesPrediction` gives, in the units of `past_values`."""

    loss: Tensor | None = None  # a mean over the observed values ahead
    prediction_outputs: Tensor | None = None  # (B, H, Y): point forecast, median or centre of the distribution
    quantile_values: Tensor | None = None  # (B, H, Y, Q), ascending, at config.quantiles
    scale: Tensor | None = None  # (B, H, Y) of Student's t
    degrees_of_freedom: Tensor | None = None  # (B, H, Y) of Student's t, the same for all steps of a series
    hidden_states: tuple[Tensor, ...] | None = None  # segments' embeddings and each layer's outputs


class RnnForTimeSeriesClassification(RnnPreTrainedModel):
    """A linear classifier on the pooled features of a series of any length."""

    main_input_name = "past_values"
    input_modalities = ("time",)

    def __init__(self, config: RnnConfig) -> None:
        super().__init__(config)
        require_channels(config)
        self.num_labels = config.num_labels
        self.series_embedding = nn.Linear(
            config.num_input_channels * (1 + config.reads_observed_mask), config.embedding_size
        )
        self.rnn = RnnModel(config)
        self.dropout = nn.Dropout(config.output_dropout_prob)
        self.classifier = nn.Linear(config.output_size, config.num_labels)
        self.post_init()

    @known_arguments()
    def forward(
        self,
        past_values: Tensor,
        past_observed_mask: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> SequenceClassifierOutput | tuple:
        """Compute the outputs, and the loss where targets are given.

        Args:
            past_values: (B, T, C), z-scored by the processor.
            past_observed_mask: (B, T, C), 1 where a value is there, 0 where it is missing; all are there when absent.
            attention_mask: (B, T), 1 for steps of the series, 0 for padding, wherever it is; none when absent.
            labels: targets, of the form that `classification_loss` tells for the config's problem_type.
            output_hidden_states: give the embedded steps and each layer's outputs too; the config's choice when None.
            return_dict: a ModelOutput (True) or a tuple (False); the config's choice when None.

        Raises:
            ValueError: another number of channels, a mask of another shape, or NaN without a mask that says so.
        """
        values, observed = clean_series(past_values, past_observed_mask, self.config.num_input_channels)
        inputs = torch.cat([values, observed.to(values.dtype)], dim=2) if self.config.reads_observed_mask else values
        hidden = F.relu(self.series_embedding(inputs))  # (B, T, E)
        outputs = self.rnn(None, attention_mask, None, hidden, output_hidden_states, return_dict=True)
        logits = self.classifier(self.dropout(outputs.pooler_output))  # (B, L)
        loss = None if labels is None else classification_loss(logits, labels, self.config.problem_type)
        output = SequenceClassifierOutput(loss=loss, logits=logits, hidden_states=outputs.hidden_states)
        return output if (self.config.return_dict if return_dict is None else return_dict) else output.to_tuple()


class SegmentQueries(nn.Module):
    """Gives what the recurrence is asked with for each segment ahead, (N, m, E).

    That is its position and, where channels are independent, the channel, as halves of one vector (SegRNN, section
    3.2). A map of the covariates known there is added."""

    def __init__(self, config: RnnConfig) -> None:
        super().__init__()
        self.num_segments = config.prediction_length // config.segment_size
        self.num_channels = len(config.forecast_channels) if config.channel_mixing == "independent" else 0
        width = config.embedding_size // 2 if self.num_channels else config.embedding_size
        self.position = nn.Embedding(self.num_segments, width)
        self.channel = nn.Embedding(self.num_channels, width) if self.num_channels else None
        for embedding in filter(None, (self.position, self.channel)):
            embedding.initial_std = 1.0  # as SegRNN's; `_init_weights` reads it
        features = config.segment_size * config.num_time_features
        self.time = nn.Linear(features, config.embedding_size, bias=False) if features else None

    def forward(self, num_rows: int, future_time_features: Tensor | None) -> Tensor:
        m, Y = self.num_segments, max(self.num_channels, 1)
        queries = self.position.weight.expand(Y, m, -1)
        if self.channel is not None:
            queries = torch.cat([queries, self.channel.weight[:, None].expand(-1, m, -1)], dim=-1)  # (Y, m, E)
        queries = queries.expand(num_rows, Y, m, -1)
        if self.time is not None:
            assert future_time_features is not None  # `forward` has checked it
            queries = queries + self.time(future_time_features.reshape(num_rows, 1, m, -1))  # (B, 1, m, E)
        return queries.flatten(0, 1)  # (N, m, E)


class RnnForTimeSeriesPrediction(RnnPreTrainedModel):
    """The next `prediction_length` steps of the channels, as points, quantiles or Student's t distributions."""

    main_input_name = "past_values"
    input_modalities = ("time",)

    def __init__(self, config: RnnConfig) -> None:
        super().__init__(config)
        require_channels(config)
        self.independent = config.channel_mixing == "independent"
        self.in_segments = config.forecast_decoder == "segments"
        channels, w = config.num_input_channels, config.segment_size
        V, G = (1, 1) if self.independent else (channels, len(config.forecast_channels))
        step = V * (1 + config.reads_observed_mask) + config.num_time_features
        self.series_embedding = nn.Linear(w * step + config.num_static_real_features, config.embedding_size)
        self.rnn = RnnModel(config)
        self.dropout = nn.Dropout(config.output_dropout_prob)
        self.num_parameters_per_value = {"point": 1, "quantile": len(config.quantiles), "student_t": 2}[
            config.distribution_output
        ]
        width, steps = config.output_size, w if self.in_segments else config.prediction_length
        self.queries = SegmentQueries(config) if self.in_segments else None
        future = 0 if self.in_segments else config.prediction_length * config.num_time_features
        self.forecast = nn.Linear(width + future, steps * G * self.num_parameters_per_value)
        self.tail = nn.Linear(width, G) if config.distribution_output == "student_t" else None
        self.post_init()

    @known_arguments()
    def forward(
        self,
        past_values: Tensor,
        past_observed_mask: Tensor | None = None,
        future_values: Tensor | None = None,
        future_observed_mask: Tensor | None = None,
        past_time_features: Tensor | None = None,
        future_time_features: Tensor | None = None,
        static_real_features: Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> RnnForecastOutput | tuple:
        """Compute the outputs, and the loss where targets are given.

        Args:
            past_values: (B, T, C), z-scored by the processor.
            past_observed_mask: (B, T, C), 1 where a value is there, 0 where it is missing; all are there when absent.
            future_values: (B, H, Y), what the forecast channels will be: gives the loss.
            future_observed_mask: (B, H, Y), as the past's.
            past_time_features, future_time_features: (B, T, K) and (B, H, K), covariates that are known ahead.
            static_real_features: (B, S), covariates of each series.
            output_hidden_states: give embedded segments and each layer's outputs too; the config's choice when None.
            return_dict: a ModelOutput (True) or a tuple (False); the config's choice when None.

        Raises:
            ValueError: another length or horizon than the network was built for, another number of channels or
                covariates, or NaN where no mask says that it is missing.
        """
        config = self.config
        values, observed = clean_series(past_values, past_observed_mask, config.num_input_channels)
        self.check(values, future_values, past_time_features, future_time_features, static_real_features)
        B = len(values)
        values, level, spread = self.normalize(values, observed)
        if self.independent:
            values, observed = (part[..., config.forecast_channels] for part in (values, observed))
        inputs = self.segment(values, observed, past_time_features, static_real_features)  # (N, n, ...)
        hidden = F.relu(self.series_embedding(inputs))  # (N, n, E)
        outputs = self.rnn(None, None, None, hidden, output_hidden_states, return_dict=True)
        features = self.look_ahead(outputs, future_time_features, B)  # (N, D + H * K), of segments (N * m, D)
        raw = self.forecast(self.dropout(features))
        raw = self.join(raw, B)  # (B, H, Y, P)
        level, spread = (part[..., config.forecast_channels, None] for part in (level, spread))  # (B, 1, Y, 1)
        centre = raw[..., :1] if config.distribution_output == "student_t" else raw
        distribution = {"values": centre * spread + level}  # (B, H, Y, P)
        if self.tail is not None:
            distribution["scale"] = ((F.softplus(raw[..., 1:]) + SMALLEST_SCALE) * spread)[..., 0]
            tails = 2 + F.softplus(self.tail(outputs.pooler_output))  # (N, G); above 2 the variance is finite
            distribution["degrees_of_freedom"] = tails.view(B, 1, -1)
        loss = None if future_values is None else self.loss(distribution, future_values, future_observed_mask)
        hidden_states = outputs.hidden_states
        if hidden_states is not None and self.independent:
            hidden_states = tuple(layer.reshape(B, -1, layer.shape[-1]) for layer in hidden_states)  # (B, Y * n, ...)
        output = RnnForecastOutput(loss=loss, **self.outcomes(distribution), hidden_states=hidden_states)
        return output if (config.return_dict if return_dict is None else return_dict) else output.to_tuple()

    def look_ahead(self, outputs: RnnOutput, future_time_features: Tensor | None, B: int) -> Tensor:
        """Return the features of the steps ahead, from the recurrence over those seen and what is known of them.

        Args:
            outputs: of the recurrence, for N series.
            future_time_features: (B, H, K), covariates that are known ahead.
            B: the number of rows.

        Returns:
            (N, D + H * K), or where segments are forecast (N * m, D).
        """
        if self.queries is not None:
            queries = self.queries(B, future_time_features)  # (N, m, E)
            N, m, E = queries.shape
            assert outputs.state is not None
            state = outputs.state[:, None].expand(-1, m, -1, -1, -1).flatten(0, 1)  # (N * m, L, ...)
            return self.rnn(None, None, state, queries.reshape(N * m, 1, E), False, return_dict=True).pooler_output
        features = outputs.pooler_output  # (N, D)
        if self.config.num_time_features:
            assert future_time_features is not None  # `check` has seen it
            known = future_time_features.flatten(1)  # (B, H * K)
            known = known.repeat_interleave(len(self.config.forecast_channels), dim=0) if self.independent else known
            features = torch.cat([features, known], dim=1)
        return features

    def normalize(self, values: Tensor, observed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the values (B, T, C) less each series' level, over its spread, 0 where missing; level, spread (B, 1,
        C)."""
        kind = self.config.instance_normalization
        if kind == "none":
            return values, torch.zeros_like(values[:, :1]), torch.ones_like(values[:, :1])
        if kind == "last":
            steps = torch.arange(values.shape[1], device=values.device)[None, :, None]
            last = steps.where(observed, 0).amax(dim=1, keepdim=True)  # (B, 1, C)
            level = values.gather(1, last).where(observed.any(dim=1, keepdim=True), 0)
            return (values - level).where(observed, 0), level, torch.ones_like(level)
        counts = observed.sum(dim=1, keepdim=True).clamp(min=1)
        level = values.sum(dim=1, keepdim=True) / counts  # missing values are 0
        values = (values - level).where(observed, 0)
        spread = (values.square().sum(dim=1, keepdim=True) / counts + SMALLEST_VARIANCE).sqrt()
        return values / spread, level, spread

    def segment(
        self, values: Tensor, observed: Tensor, time_features: Tensor | None, static_features: Tensor | None
    ) -> Tensor:
        """Return what the recurrence reads: values, mask and covariates of each segment side by side, (N, n, ...)."""
        config = self.config
        B, T, V = values.shape
        n, w = T // config.segment_size, config.segment_size
        inputs = [values, observed.to(values.dtype)] if config.reads_observed_mask else [values]
        if self.independent:
            inputs = [part.transpose(1, 2).reshape(B * V, n, w) for part in inputs]
        else:
            inputs = [part.reshape(B, n, w * V) for part in inputs]
        copies = V if self.independent else 1
        if time_features is not None:
            inputs.append(time_features.reshape(B, n, -1).repeat_interleave(copies, dim=0))
        if static_features is not None:
            inputs.append(static_features.repeat_interleave(copies, dim=0)[:, None].expand(-1, n, -1))
        return torch.cat(inputs, dim=2)

    def join(self, raw: Tensor, num_rows: int) -> Tensor:
        """Return the last layer's numbers as (B, H, Y, P): of segments (N * m, w * G * P), or of series (N, H * G *
        P)."""
        H, P = self.config.prediction_length, self.num_parameters_per_value
        raw = raw.view(num_rows, -1, H, 1 if self.independent else len(self.config.forecast_channels), P)
        return raw.transpose(1, 2).flatten(2, 3)

    def loss(self, distribution: dict[str, Tensor], targets: Tensor, observed: Tensor | None) -> Tensor:
        """Return the mean over the observed values ahead: of the point's error, of the quantile loss (twice the pinball
        loss, Koenker and Bassett 1978), or of minus the log density."""
        observed = torch.ones_like(targets, dtype=torch.bool) if observed is None else observed.bool()
        if torch.isnan(targets.where(observed, 0)).any():
            raise ValueError("future_values holds NaN: give future_observed_mask, 0 where a value is missing")
        targets = targets.where(observed, 0).float()
        values, kind = distribution["values"].float(), self.config.distribution_output
        if kind == "quantile":
            levels = torch.tensor(self.config.quantiles, device=values.device)
            gaps = targets[..., None] - values
            losses = 2 * torch.maximum(levels * gaps, (levels - 1) * gaps).mean(dim=-1)
        elif kind == "student_t":
            scale, freedom = distribution["scale"].float(), distribution["degrees_of_freedom"].float()
            squares = ((targets - values[..., 0]) / scale).square()
            losses = 0.5 * (freedom + 1) * torch.log1p(squares / freedom) + scale.log()
            losses = losses + 0.5 * (freedom * torch.pi).log() + freedom.div(2).lgamma() - ((freedom + 1) / 2).lgamma()
        else:
            function = {"mse": F.mse_loss, "mae": F.l1_loss, "smooth_l1": F.smooth_l1_loss}[self.config.forecast_loss]
            losses = function(values[..., 0], targets, reduction="none")
        return losses.where(observed, 0).sum() / observed.sum().clamp(min=1)

    def outcomes(self, distribution: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the point forecast and the quantiles that the network's numbers stand for."""
        values, kind = distribution["values"], self.config.distribution_output
        if kind == "point":
            return {"prediction_outputs": values[..., 0]}
        levels = torch.tensor(self.config.quantiles, dtype=torch.float64, device=values.device)
        if kind == "quantile":
            # Sorting quantiles that cross never makes them worse (Chernozhukov et al. 2010).
            quantiles = values.sort(dim=-1).values
            return {"prediction_outputs": interpolate_median(quantiles, levels.tolist()), "quantile_values": quantiles}
        scale, freedom = distribution["scale"], distribution["degrees_of_freedom"]
        with torch.no_grad():  # quantiles of the standard distribution, one for each series: (B, 1, Y, Q)
            standard = student_t_quantile(levels, freedom.double()[..., None]).to(values.dtype)
        quantiles = values + scale[..., None] * standard
        return {
            "prediction_outputs": values[..., 0],
            "quantile_values": quantiles,
            "scale": scale,
            "degrees_of_freedom": freedom.expand(scale.shape),
        }

    def check(
        self,
        values: Tensor,
        future_values: Tensor | None,
        past_time_features: Tensor | None,
        future_time_features: Tensor | None,
        static_real_features: Tensor | None,
    ) -> None:
        """Refuse inputs of other sizes than the network was built for."""
        config = self.config
        T, H, Y = config.context_length, config.prediction_length, len(config.forecast_channels)
        if values.shape[1] != T:
            raise ValueError(
                f"past_values has {values.shape[1]} steps, but this model sees {T} (context_length): give the last {T}"
            )
        if future_values is not None and future_values.shape != (len(values), H, Y):
            raise ValueError(
                f"future_values must have the shape ({len(values)}, {H}, {Y}), got {tuple(future_values.shape)}: this "
                f"model forecasts {H} steps (prediction_length) of {Y} channels; train another for another horizon"
            )
        K, S = config.num_time_features, config.num_static_real_features
        for name, features, shape in (
            ("past_time_features", past_time_features, (T, K)),
            ("future_time_features", future_time_features, (H, K)),
            ("static_real_features", static_real_features, (S,)),
        ):
            if (features is None) != (shape[-1] == 0) or (
                features is not None and features.shape != (len(values), *shape)
            ):
                needed = f"the shape {(len(values), *shape)}" if shape[-1] else "to be left out"
                got = "nothing" if features is None else tuple(features.shape)
                raise ValueError(f"{name} needs {needed} for this model, got {got}; use its processor")


def require_channels(config: RnnConfig) -> None:
    """Raise ValueError for the config of a text model."""
    if config.num_input_channels < 1:
        raise ValueError(f"a model of series needs num_input_channels of at least 1, got {config.num_input_channels}")


def clean_series(values: Tensor, observed: Tensor | None, num_channels: int) -> tuple[Tensor, Tensor]:
    """Return values (B, T, C) with 0 where they are missing, and where they are not, bool (B, T, C). Raises ValueError
    for another shape, or NaN that no mask speaks of."""
    if values.dim() != 3 or values.shape[2] != num_channels or 0 in values.shape:
        raise ValueError(
            f"past_values must have the shape (rows, steps, {num_channels} channels), at least one of each, got "
            f"{tuple(values.shape)}"
        )
    if observed is None:
        observed = torch.ones_like(values, dtype=torch.bool)
    elif observed.shape != values.shape:
        raise ValueError(f"past_observed_mask must have the shape {tuple(values.shape)}, got {tuple(observed.shape)}")
    observed = observed.bool()
    values = values.where(observed, 0)
    # Off the CPU looking would wait for the device.
    if values.device.type == "cpu" and torch.isnan(values).any():
        raise ValueError(
            "past_values holds NaN: give past_observed_mask, 0 where a value is missing (the processor does)"
        )
    return values, observed


def interpolate_median(quantiles: Tensor, levels: list[float]) -> Tensor:
    """Return the value at level 0.5 of quantiles (..., Q) at ascending levels, linear between them; the nearest one
    where all lie on one side."""
    above = next((index for index, level in enumerate(levels) if level >= 0.5), len(levels) - 1)
    below = max((index for index, level in enumerate(levels) if level <= 0.5), default=above)
    if above == below or levels[above] < 0.5:
        return quantiles[..., above]
    share = (0.5 - levels[below]) / (levels[above] - levels[below])
    return quantiles[..., below].lerp(quantiles[..., above], share)


def student_t_quantile(levels: Tensor, freedom: Tensor) -> Tensor:
    """Return the quantile function of Student's t, for levels in (0, 1) and degrees of freedom >= 1, broadcast, in
    float64.

    By Newton's iteration on the logarithm of the upper tail, from the normal quantile, which lies nearer to 0: there
    the tail's tangent never passes the root. Agrees with scipy.stats.t.ppf to 1e-9 relative, levels 1e-6 and closer to
    the ends included."""
    levels, freedom = torch.broadcast_tensors(levels.double(), freedom.double())
    tail = torch.minimum(levels, 1 - levels)  # of the side on which the quantile lies
    t = -torch.special.ndtri(tail).clamp(max=0)
    constant = ((freedom + 1) / 2).lgamma() - (freedom / 2).lgamma() - 0.5 * (freedom * torch.pi).log()
    for _ in range(60):
        upper = 0.5 * regularized_beta(freedom / (freedom + t.square()), freedom / 2, 0.5)
        density = (constant - 0.5 * (freedom + 1) * torch.log1p(t.square() / freedom)).exp()
        change = (upper / tail).log() * upper / density
        t = t + change
        if (change.abs() <= 1e-13 * (1 + t)).all():
            break
    return torch.where(levels < 0.5, -t, t)


def regularized_beta(x: Tensor, a: Tensor, value: float) -> Tensor:
    """Compute the regularised incomplete beta function I_x(a, value) in float64, by its continued fraction.

    It is Abramowitz and Stegun 26.5.8, evaluated as Lentz 1976 did, on the side of x where that converges fast."""
    b = torch.full_like(a, value)
    swap = x > (a + 1) / (a + b + 2)
    x, a, b = torch.where(swap, 1 - x, x), torch.where(swap, b, a), torch.where(swap, a, b)
    front = a * x.log() + b * torch.log1p(-x) + (a + b).lgamma() - a.lgamma() - b.lgamma() - a.log()
    c = torch.ones_like(x)
    d = 1 / (1 - (a + b) * x / (a + 1))
    fraction = d
    for k in range(1, 500):
        even = k * (b - k) * x / ((a + 2 * k - 1) * (a + 2 * k))
        d, c = 1 / (1 + even * d), 1 + even / c
        fraction = fraction * d * c
        odd = -(a + k) * (a + b + k) * x / ((a + 2 * k) * (a + 2 * k + 1))
        d, c = 1 / (1 + odd * d), 1 + odd / c
        fraction = fraction * d * c
        if ((d * c - 1).abs() < 1e-15).all():
            break
    result = torch.where(x > 0, front.exp() * fraction, 0)
    return torch.where(swap, 1 - result, result)


__all__ = ["RnnForTimeSeriesClassification", "RnnForTimeSeriesPrediction", "RnnForecastOutput"]
