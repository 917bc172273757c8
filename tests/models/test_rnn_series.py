"""Recurrent classifiers and forecasts of series against networks, densities and quantiles written by hand."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor, nn

from hubmodels import RnnConfig, RnnForTimeSeriesClassification, RnnForTimeSeriesPrediction
from hubmodels.models.rnn.modeling_rnn_series import interpolate_median, student_t_quantile

SEGMENTS = {
    "cell": "gru", "num_input_channels": 3, "embedding_size": 8, "hidden_size": 10, "num_hidden_layers": 1,
    "context_length": 12, "prediction_length": 8, "segment_length": 4, "channel_mixing": "independent",
    "forecast_decoder": "segments", "instance_normalization": "last",
}  # fmt: skip


def forecaster(**fields: object) -> RnnForTimeSeriesPrediction:
    """A small model in evaluation mode, every weight at random."""
    model = RnnForTimeSeriesPrediction(RnnConfig(**{**SEGMENTS, **fields})).eval()
    generator = torch.Generator().manual_seed(0)
    for weight in model.parameters():
        weight.data.copy_(torch.randn(weight.shape, generator=generator) * 0.3)
    return model


def random(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def gru_of(model: nn.Module, inputs: int) -> nn.GRU:
    gru = nn.GRU(inputs, model.config.hidden_size, batch_first=True)
    gru.load_state_dict(model.rnn.encoder.recurrence.state_dict())
    return gru


@torch.no_grad()
def test_segments_flow_as_in_segrnn() -> None:
    model, past = forecaster(), random(2, 12, 3)
    gru = gru_of(model, 8)
    expected = torch.empty(2, 8, 3)
    for row in range(2):
        for channel in range(3):
            series = past[row, :, channel]
            last = series[-1]
            segments = (series - last).view(3, 4)
            _, state = gru(torch.relu(model.series_embedding(segments))[None])
            for place in range(2):
                query = torch.cat([model.queries.position.weight[place], model.queries.channel.weight[channel]])
                _, ahead = gru(query[None, None], state)
                expected[row, place * 4 : place * 4 + 4, channel] = model.forecast(ahead[0, 0]) + last
    torch.testing.assert_close(model(past).prediction_outputs, expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_joint_channels_are_told_by_one_linear_map_of_the_last_state() -> None:
    model = forecaster(
        channel_mixing="joint", forecast_decoder="direct", segment_length=1, instance_normalization="standard",
        prediction_channel_indices=[2, 0], num_static_real_features=2, num_time_features=1,
    )  # fmt: skip
    past, time, future_time, static = random(2, 12, 3), random(2, 12, 1), random(2, 8, 1), random(2, 2)
    mean, std = past.mean(1, keepdim=True), (past.var(1, keepdim=True, unbiased=False) + 1e-5).sqrt()
    inputs = torch.cat([(past - mean) / std, time, static[:, None].expand(2, 12, 2)], dim=2)
    _, state = gru_of(model, 8)(torch.relu(model.series_embedding(inputs)))
    raw = model.forecast(torch.cat([state[0], future_time.flatten(1)], dim=1)).view(2, 8, 2)
    expected = raw * std[..., [2, 0]] + mean[..., [2, 0]]
    found = model(
        past, past_time_features=time, future_time_features=future_time, static_real_features=static
    ).prediction_outputs
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("fields", [{}, {"forecast_decoder": "direct"}], ids=["segments", "direct"])
def test_an_independent_channel_does_not_see_the_others(fields: dict) -> None:
    model, past = forecaster(**fields), random(2, 12, 3)
    changed = past.clone()
    changed[..., 1] += random(2, 12)
    before, after = model(past).prediction_outputs, model(changed).prediction_outputs
    torch.testing.assert_close(after[..., [0, 2]], before[..., [0, 2]])
    assert (after[..., 1] - before[..., 1]).abs().min() > 1e-4


@torch.no_grad()
@pytest.mark.parametrize(("kind", "scale"), [("last", 1.0), ("standard", 7.0)])
def test_a_series_level_and_spread_are_given_back_to_its_forecast(kind: str, scale: float) -> None:
    model, past = forecaster(instance_normalization=kind), random(2, 12, 3)
    moved = model(past * scale + 5).prediction_outputs
    # 1e-5 is added to the variance of a series, whatever its scale.
    torch.testing.assert_close(moved, model(past).prediction_outputs * scale + 5, rtol=1e-3, atol=1e-3)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["none", "last", "standard"])
def test_what_stands_at_a_missing_value_does_not_matter(kind: str) -> None:
    model, past = forecaster(instance_normalization=kind, reads_observed_mask=True), random(2, 12, 3)
    mask = torch.ones_like(past, dtype=torch.bool)
    mask[0, -2:, 1] = mask[1, 3, 0] = False
    expected = model(past, mask).prediction_outputs
    torch.testing.assert_close(model(past.where(mask, torch.nan), mask).prediction_outputs, expected)
    assert expected.isfinite().all()
    assert (model(past).prediction_outputs - expected).abs().max() > 1e-4


@torch.no_grad()
def test_the_last_value_is_the_last_observed_one() -> None:
    model, past = forecaster(), random(1, 12, 3)
    mask = torch.ones_like(past, dtype=torch.bool)
    mask[0, -2:, 1] = False
    values, level, _ = model.normalize(past * mask, mask)
    assert level[0, 0].tolist() == [past[0, -1, 0], past[0, -3, 1], past[0, -1, 2]]
    assert values[0, -2:, 1].tolist() == [0, 0]


@torch.no_grad()
@pytest.mark.parametrize("name", ["mse", "mae", "smooth_l1"])
def test_the_loss_of_points_is_the_mean_over_what_was_observed(name: str) -> None:
    model, past, future = forecaster(forecast_loss=name), random(2, 12, 3), random(2, 8, 3, seed=2)
    mask = random(2, 8, 3, seed=3) > 0
    outputs = model(past, future_values=future.where(mask, torch.nan), future_observed_mask=mask)
    errors = (outputs.prediction_outputs - future)[mask].abs()
    expected = {
        "mse": errors.square(), "mae": errors, "smooth_l1": torch.where(errors < 1, errors.square() / 2, errors - 0.5)
    }[name].mean()  # fmt: skip
    torch.testing.assert_close(outputs.loss, expected)


@torch.no_grad()
def test_quantiles_ascend_and_their_loss_is_twice_the_mean_pinball_loss() -> None:
    levels = [0.1, 0.5, 0.8]
    model = forecaster(distribution_output="quantile", quantiles=levels)
    past, future = random(2, 12, 3), random(2, 8, 3, seed=2)
    outputs = model(past, future_values=future)
    assert outputs.quantile_values.shape == (2, 8, 3, 3)
    assert (outputs.quantile_values.diff(dim=-1) >= 0).all()
    torch.testing.assert_close(outputs.prediction_outputs, outputs.quantile_values[..., 1])
    # The weights are at random, so that quantiles cross; the loss is that of the network's own, unsorted ones.
    one = forecaster(distribution_output="quantile", quantiles=[0.3])
    found = one(past, future_values=future)
    gaps = future - found.prediction_outputs
    torch.testing.assert_close(found.loss, 2 * torch.where(gaps > 0, 0.3 * gaps, -0.7 * gaps).mean())


def test_the_median_lies_between_the_levels_around_it() -> None:
    values = torch.tensor([1.0, 3.0, 4.0])
    assert interpolate_median(values, [0.25, 0.5, 0.75]) == 3
    assert interpolate_median(values, [0.1, 0.4, 0.8]) == pytest.approx(3.25)
    assert interpolate_median(values, [0.1, 0.2, 0.3]) == 4
    assert interpolate_median(values, [0.6, 0.7, 0.8]) == 1


def test_the_quantiles_of_students_t_are_scipys() -> None:
    levels = torch.tensor([1e-8, 1e-4, 0.01, 0.1, 0.3, 0.5, 0.6, 0.9, 0.975, 0.9999], dtype=torch.float64)
    freedom = torch.tensor([1, 1.5, 2, 2.01, 3, 5, 10, 30, 100, 1e3, 1e5], dtype=torch.float64)[:, None]
    expected = scipy.stats.t.ppf(levels.numpy(), freedom.numpy())
    np.testing.assert_allclose(student_t_quantile(levels, freedom), expected, rtol=1e-9, atol=1e-12)


@torch.no_grad()
def test_a_student_t_forecast_has_the_density_and_quantiles_of_its_parameters() -> None:
    levels = [0.05, 0.5, 0.9]
    model = forecaster(distribution_output="student_t", quantiles=levels)
    past, future = random(2, 12, 3), random(2, 8, 3, seed=2)
    outputs = model(past, future_values=future)
    freedom, scale = outputs.degrees_of_freedom, outputs.scale
    distribution = torch.distributions.StudentT(freedom, outputs.prediction_outputs, scale)
    torch.testing.assert_close(outputs.loss, -distribution.log_prob(future).mean())
    assert (freedom > 2).all()
    for place, level in enumerate(levels):
        expected = scipy.stats.t.ppf(level, freedom.numpy(), outputs.prediction_outputs.numpy(), scale.numpy())
        np.testing.assert_allclose(outputs.quantile_values[..., place], expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("pooling", ["last", "mean", "max"])
def test_a_series_alone_is_classified_as_in_a_padded_batch(pooling: str) -> None:
    config = RnnConfig(num_input_channels=2, embedding_size=6, hidden_size=5, bidirectional=True, pooling=pooling)
    torch.manual_seed(0)
    model = RnnForTimeSeriesClassification(config).eval()
    lengths = [7, 3, 5]
    values = random(3, 7, 2)
    mask = torch.arange(7) < torch.tensor(lengths)[:, None]
    together = model(values, attention_mask=mask.long()).logits
    for row, length in enumerate(lengths):
        torch.testing.assert_close(model(values[row : row + 1, :length]).logits[0], together[row], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"past_values": (2, 12, 2)}, "3 channels"),
        ({"past_values": (0, 12, 3)}, "at least one of each"),
        ({"past_values": (2, 11, 3)}, "11 steps, but this model sees 12"),
        ({"past_observed_mask": (2, 12, 1)}, "past_observed_mask must have the shape"),
        ({"future_values": (2, 16, 3)}, "forecasts 8 steps .* another horizon"),
        ({"future_values": (2, 8, 2)}, "of 3 channels"),
        ({"past_time_features": (2, 12, 1)}, "past_time_features needs to be left out"),
    ],
)
def test_inputs_of_another_shape_are_refused(given: dict, message: str) -> None:
    inputs = {name: torch.zeros(shape) for name, shape in {"past_values": (2, 12, 3), **given}.items()}
    with pytest.raises(ValueError, match=message):
        forecaster()(**inputs)


def test_missing_covariates_and_nan_without_a_mask_are_refused() -> None:
    past = torch.zeros(2, 12, 3)
    with pytest.raises(ValueError, match="static_real_features needs the shape"):
        forecaster(num_static_real_features=2)(past)
    past[1, 2, 0] = math.nan
    with pytest.raises(ValueError, match="NaN: give past_observed_mask"):
        forecaster()(past)
    with pytest.raises(ValueError, match="NaN: give future_observed_mask"):
        forecaster()(torch.zeros(2, 12, 3), future_values=torch.full((2, 8, 3), math.nan))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"segment_length": 5}, "must divide context_length 12"),
        ({"context_length": 24, "segment_length": 6}, "must divide prediction_length 8"),
        ({"quantiles": [0.5, 0.1]}, "must ascend"),
        ({"quantiles": [0.0, 0.5]}, "between 0 and 1"),
        ({"prediction_channel_indices": [3]}, "channels of 0..2"),
        ({"prediction_channel_indices": [0]}, "need joint"),
        ({"embedding_size": 7}, "even embedding_size"),
        ({"num_time_features": -1}, "at least 0"),
        ({"prediction_length": 0}, "at least 1"),
    ],
)
def test_a_config_that_cannot_work_is_refused(fields: dict, message: str) -> None:
    with pytest.raises(StrictDataclassError) as caught:
        RnnConfig(**{**SEGMENTS, **fields})
    assert message in str(caught.value.__cause__ or caught.value)


def test_a_text_models_config_makes_no_model_of_series() -> None:
    with pytest.raises(ValueError, match="num_input_channels"):
        RnnForTimeSeriesClassification(RnnConfig())
