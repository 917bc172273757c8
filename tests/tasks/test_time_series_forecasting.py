"""Time-series forecasting: columns, gaps, windows by a brute-force list, metrics by hand, baselines, bad input."""

import math
from types import SimpleNamespace

import datasets
import numpy as np
import pandas as pd
import pyarrow
import pytest
import torch

from hubmodels.binding import bind_checkpoint
from hubmodels.data import WindowedColumns
from hubmodels.errors import HubmodelsError
from hubmodels.evaluation import evaluate
from hubmodels.recipe import Recipe
from hubmodels.recipes import parse_recipe
from hubmodels.tasks.baselines.forecasts import fill_forward, repeat_season
from hubmodels.tasks.targets.forecast import FittedForecast, Forecast
from hubmodels.tasks.targets.forecast_rows import forecast_rows
from hubmodels.tasks.targets.seasons import find_season, seasonal_errors, usual_seasons
from hubmodels.tasks.time_series_forecasting import TimeSeriesForecasting


def make_frame(rows: int = 120, seed: int = 0, season: int = 6) -> pd.DataFrame:
    """Two channels that recur after `season` steps, with a little noise."""
    generator = np.random.default_rng(seed)
    steps = np.arange(rows)
    a = 3 * np.sin(2 * np.pi * steps / season) + generator.normal(0, 0.1, rows)
    b = 50 + np.cos(2 * np.pi * steps / season) + generator.normal(0, 0.1, rows)
    return pd.DataFrame({"date": pd.date_range("2026-01-01", periods=rows, freq="h"), "a": a, "b": b})


def to_dataset(frame: pd.DataFrame) -> datasets.Dataset:
    return datasets.Dataset.from_pandas(frame, preserve_index=False)


def make_task(**options) -> TimeSeriesForecasting:
    return TimeSeriesForecasting.from_options(**SHORT | options)


@pytest.fixture
def encode(encode_rows):
    """A problem of these options, fitted to a table or given, and the table's windows."""

    def run(frame: pd.DataFrame, problem=None, **options):
        task = problem.task if problem else make_task(**options)
        rows = task.select(to_dataset(frame))
        problem = problem or task.fit(rows)
        columns = encode_rows(problem, rows)
        return problem, WindowedColumns(columns, *problem.windows(columns))

    return run


SHORT = {"context_length": 12, "prediction_length": 4}


def every_window(columns: WindowedColumns) -> dict[str, torch.Tensor]:
    return columns.batch(torch.arange(len(columns)))


def test_windows_of_one_series_are_all_stretches_in_order(encode) -> None:
    frame = make_frame(40)
    problem, columns = encode(frame, window_stride=3)
    scaled = (frame[["a", "b"]] - frame[["a", "b"]].mean()) / frame[["a", "b"]].std(ddof=0)
    inputs = problem.transform(training=True)(every_window(columns))
    starts = [start for start in range(40) if start % 3 == 0 and start + 16 <= 40]
    expected = np.stack([scaled.to_numpy()[start : start + 16] for start in starts])
    np.testing.assert_allclose(inputs["past_values"], expected[:, :12], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(inputs["future_values"], expected[:, 12:], rtol=1e-4, atol=1e-5)
    assert inputs["past_observed_mask"].all()
    assert inputs["future_observed_mask"].all()


def test_windows_never_cross_a_series_whatever_the_order_of_the_rows(encode) -> None:
    first, second, third = (make_frame(rows, seed).assign(id=f"s{seed}") for seed, rows in enumerate((20, 18, 9)))
    frame = pd.concat([first, second, third]).sort_values("date", kind="stable")
    _, columns = encode(frame)
    assert len(columns) == (20 - 15) + (18 - 15)
    batch = every_window(columns)
    assert (batch["series"] == batch["series"][:, :1]).all()
    alone = [encode(one.drop(columns="id"))[1] for one in (first, second)]
    means = frame[["a", "b"]].mean(), frame[["a", "b"]].std(ddof=0)
    for windows, rows, values in zip(alone, (first, second), (batch["values"][:5], batch["values"][5:]), strict=True):
        expected = every_window(windows)["values"].numpy() * rows[["a", "b"]].std(ddof=0).to_numpy()
        expected = (expected + rows[["a", "b"]].mean().to_numpy() - means[0].to_numpy()) / means[1].to_numpy()
        np.testing.assert_allclose(values, expected, rtol=1e-3, atol=1e-4)


def test_a_gap_becomes_missing_steps_and_no_window_without_anything_seen_or_told_is_kept(encode) -> None:
    frame = make_frame(60)
    frame.loc[5, "a"] = np.nan
    cut = frame.drop(index=range(20, 37)).reset_index(drop=True)
    problem, columns = encode(cut)
    observed = torch.from_numpy((~frame[["a", "b"]].isna()).to_numpy(copy=True))
    observed[20:37] = False
    assert torch.equal(columns.tensor("observed").bool(), observed)
    assert (columns.tensor("values")[~observed] == 0).all()
    expected = [
        start
        for start in range(60 - 15)
        if observed[start : start + 12].any() and observed[start + 12 : start + 16].any()
    ]
    assert columns.starts.tolist() == expected
    assert problem.processor.frequency == "1h"
    assert problem.target.season_length == 6


def test_texts_and_dates_as_times_give_the_same_steps(encode) -> None:
    frame = make_frame(40).drop(index=[7, 8])
    expected = every_window(encode(frame)[1])
    for times in (
        frame["date"].astype(str),
        frame["date"].dt.tz_localize("UTC"),
        np.arange(40).tolist()[:7] + list(range(9, 40)),
    ):
        steps = every_window(encode(frame.assign(date=times))[1])
        assert all(torch.equal(steps[name], expected[name]) for name in expected)


def test_covariates_go_to_their_inputs_and_only_targets_are_told(encode) -> None:
    frame = pd.concat(
        [make_frame(30, seed).assign(id=seed, price=np.arange(30.0), size=float(seed)) for seed in (3, 4)]
    )
    problem, columns = encode(
        frame,
        target_column_names=["b"],
        future_column_names=["price"],
        static_column_names=["size"],
        calendar=["hour"],
    )
    inputs = problem.transform(training=False)(every_window(columns))
    assert {name: tuple(value.shape[1:]) for name, value in inputs.items()} == {
        "past_values": (12, 2), "past_observed_mask": (12, 2), "future_values": (4, 1), "future_observed_mask": (4, 1),
        "past_time_features": (12, 3), "future_time_features": (4, 3), "static_real_features": (1,),
    }  # fmt: skip
    assert problem.config_fields() == {
        "num_input_channels": 2, "prediction_channel_indices": [1], "context_length": 12, "prediction_length": 4,
        "num_time_features": 3, "num_static_real_features": 1,
        "quantiles": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9],
    }  # fmt: skip
    assert problem.target.names == ["b"]
    assert inputs["static_real_features"].unique().tolist() == [-1, 1]
    np.testing.assert_allclose(
        inputs["future_time_features"][0, :, 2], (np.arange(12, 16) - 14.5) / np.arange(30).std(), rtol=1e-5
    )
    np.testing.assert_allclose(inputs["past_time_features"][0, :, 0], np.sin(2 * np.pi * np.arange(12) / 24), atol=1e-6)
    golden = problem.golden_inputs()
    shapes = {name: (tuple(value.shape[1:]), value.dtype) for name, value in inputs.items() if "future_v" not in name}
    shapes.pop("future_observed_mask")
    assert {name: (tuple(value.shape[1:]), value.dtype) for name, value in golden.items()} == shapes


def make_rows(seed: int = 0, levels: tuple = (0.1, 0.5, 0.9)) -> tuple[dict, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    targets, predictions = torch.randn(2, 9, 5, 3, generator=generator)
    observed = torch.rand(9, 5, 3, generator=generator) > 0.2
    quantiles = (predictions[..., None] + torch.tensor([-0.8, 0.0, 0.9])).contiguous()
    rows = forecast_rows(predictions, targets, observed, quantiles, levels)
    return {name: value.numpy() for name, value in rows.items()}, targets, observed


def test_metrics_are_the_sums_by_hand() -> None:
    rows, _, _ = make_rows()
    errors = {channel: [] for channel in range(3)}
    losses, covered = [], []
    for window, step, channel in np.ndindex(9, 5, 3):
        if not rows["observed"][window, step, channel]:
            continue
        target = rows["targets"][window, step, channel]
        errors[channel].append(target - rows["predictions"][window, step, channel])
        quantiles = rows["quantile_values"][window, step, channel]
        covered.append(quantiles[0] <= target <= quantiles[2])
        pinball = [
            level * (target - value) if target >= value else (1 - level) * (value - target)
            for level, value in zip((0.1, 0.5, 0.9), quantiles, strict=True)
        ]
        losses.append(2 * np.mean(pinball))
    every = np.concatenate([np.array(values) for values in errors.values()])
    scales = [0.5, 2.0, 0.0]
    target = FittedForecast(options=Forecast(), names=["a", "b", "c"], levels=[0.1, 0.5, 0.9], season_errors=scales)
    metrics = target.metrics(rows)
    assert list(metrics) == list(TimeSeriesForecasting().metric_names)
    assert metrics["mse"] == pytest.approx(np.square(every).mean(), rel=1e-5)
    assert metrics["mae"] == pytest.approx(np.abs(every).mean(), rel=1e-5)
    assert metrics["mase"] == pytest.approx(
        np.mean([np.abs(errors[channel]).mean() / scales[channel] for channel in (0, 1)]), rel=1e-5
    )
    assert metrics["quantile_loss"] == pytest.approx(np.mean(losses), rel=1e-5)
    assert metrics["coverage"] == pytest.approx(np.mean(covered), rel=1e-5)
    by_channel = target.class_metrics(rows)
    np.testing.assert_allclose(
        by_channel["mse"], [np.square(errors[channel]).mean() for channel in range(3)], rtol=1e-5
    )
    assert np.isnan(by_channel["mase"][2])


def test_the_quantile_loss_at_the_median_is_the_absolute_error() -> None:
    generator = torch.Generator().manual_seed(3)
    targets, predictions = torch.randn(2, 4, 3, 1, generator=generator)
    rows = forecast_rows(predictions, targets, torch.ones(4, 3, 1), predictions[..., None], [0.5])
    torch.testing.assert_close(rows["quantile_losses"], rows["absolute_errors"])


def test_the_naive_error_is_the_mean_difference_to_a_season_before_within_a_series() -> None:
    values = np.array([1.0, 5, 2, 9, np.nan, 7, 100, 101, 103])[:, None]
    series = np.array([0, 0, 0, 0, 0, 0, 1, 1, 1])
    # |2 - 1|, |9 - 5|, |7 - 9| of the first series, |103 - 100| of the second.
    np.testing.assert_allclose(seasonal_errors(values, series, 2), [(1 + 4 + 2 + 3) / 4])
    assert np.isnan(seasonal_errors(values, series, 9)).all()


@pytest.mark.parametrize("season", [5, 24])
def test_the_season_is_found(season: int) -> None:
    frame = make_frame(300, season=season)
    values, series = frame[["a", "b"]].to_numpy(), np.zeros(300, dtype=int)
    assert find_season(values, series, longest=60, horizon=12, usual=usual_seasons("1h")) == season
    walk = np.random.default_rng(0).normal(size=(300, 1)).cumsum(0)
    assert find_season(walk, series, longest=60, horizon=12, usual=usual_seasons("1h")) == 1


def test_usual_seasons_are_days_weeks_and_years() -> None:
    assert usual_seasons("1h") == (24, 168, 8760)
    assert usual_seasons("15min") == (4, 96, 672, 35040)
    assert usual_seasons("1M") == (12,)
    assert usual_seasons("7") == ()


def test_the_last_season_is_repeated_over_the_horizon() -> None:
    context = np.arange(10)[None, :, None]
    assert repeat_season(context, 3, 7)[0, :, 0].tolist() == [7, 8, 9, 7, 8, 9, 7]
    assert repeat_season(context, 1, 2)[0, :, 0].tolist() == [9, 9]


def test_missing_values_are_filled_from_before_then_from_behind_then_with_zero() -> None:
    values = np.array([[0, 0, 5], [3, 0, 0], [0, 0, 7]], dtype=float)[None]
    observed = np.array([[0, 0, 1], [1, 0, 0], [0, 0, 1]], dtype=bool)[None]
    assert fill_forward(values, observed)[0].tolist() == [[3, 0, 5], [3, 0, 5], [3, 0, 7]]


def test_the_baselines_forecast_what_recurs_and_the_stronger_comes_first(encode) -> None:
    problem, train = encode(make_frame(200))
    _, test = encode(make_frame(300, seed=5), problem)
    baseline = problem.baseline(train, test)
    ridge, naive = baseline, baseline.others[0]
    assert ridge.name == "ridge regression shared by the channels"
    assert naive.name == "seasonal naive (repeats the last 6 steps)"
    errors = {one.name: problem.metrics(one.rows)["mse"] for one in (ridge, naive)}
    # Noise of 0.1 has these variances in z-scores; its repetition doubles them.
    noise = np.mean([0.1**2 / std**2 for std in problem.processor.std])
    assert errors[naive.name] == pytest.approx(2 * noise, rel=0.3)
    assert noise < errors[ridge.name] < 1.6 * noise
    context = problem.transform(training=False)(every_window(test))["past_values"]
    np.testing.assert_array_equal(naive.rows["predictions"], repeat_season(context.numpy(), 6, 4))
    results = evaluate(ridge.rows, problem, baseline, num_resamples=20)
    assert results.difference.value == 0
    assert results.resample_block == 4
    assert list(results.per_class) == ["a", "b"]


def test_what_repeats_exactly_is_best_repeated(encode) -> None:
    problem, columns = encode(make_frame(150).assign(a=np.arange(150) % 6, b=np.arange(150) % 3))
    baseline = problem.baseline(columns, columns)
    assert baseline.name == "seasonal naive (repeats the last 6 steps)"
    assert problem.metrics(baseline.rows)["mse"] == 0
    assert "ridge" in baseline.others[0].name


def test_baselines_take_missing_values(encode) -> None:
    frame = make_frame(120)
    frame.loc[::7, "a"] = np.nan
    problem, columns = encode(frame)
    baseline = problem.baseline(columns, columns)
    for one in (baseline, *baseline.others):
        assert all(math.isfinite(value) for value in problem.metrics(one.rows).values())
    frame["a"] = frame["a"].where(frame.index % 2 == 0)
    problem, columns = encode(frame[["date", "a"]])
    baseline = problem.baseline(columns, columns)
    assert "naive" in baseline.name
    assert baseline.others == []


def make_outputs(future: torch.Tensor) -> SimpleNamespace:
    """Forecasts that are what came, with quantiles one z-score around them."""
    quantiles = future[..., None] + torch.tensor([-1, 0, 1.0])
    return SimpleNamespace(prediction_outputs=future, quantile_values=quantiles)


def test_figures_show_windows_in_the_channels_own_units(encode) -> None:
    frame = make_frame(60)
    problem, columns = encode(frame, quantiles=[0.1, 0.5, 0.9])
    inputs = problem.transform(training=False)(every_window(columns))
    outputs = make_outputs(inputs["future_values"])
    rows = {name: value.numpy() for name, value in problem.predict(outputs, inputs).items()}
    panels = problem.panels(rows, columns)
    last = panels[-1]
    np.testing.assert_allclose(last.truth, frame["b"][-4:], rtol=1e-5)
    np.testing.assert_allclose(last.past, frame["b"][-12:-4], rtol=1e-5)
    np.testing.assert_allclose(last.high - last.forecast, problem.processor.std[1], rtol=1e-4)
    assert (last.title, last.band) == (f"b, window {len(columns) - 1}", "quantiles 0.1 to 0.9")
    plots = {plot.name: plot for plot in problem.figures(rows, columns)}
    assert list(plots) == ["forecasts", "error_by_step"]
    assert len(plots["forecasts"].figure.axes) == 6
    assert "the band spans the quantiles 0.1 to 0.9" in plots["forecasts"].caption


def test_answers_are_in_the_channels_own_units(encode) -> None:
    frame = make_frame(60)
    problem, columns = encode(frame, quantiles=[0.1, 0.5, 0.9], target_column_names=["b"])
    future = problem.transform(training=False)(every_window(columns))["future_values"]
    answers = problem.answers(make_outputs(future))
    assert list(answers) == ["b", "b_0.1", "b_0.5", "b_0.9"]
    np.testing.assert_allclose(answers["b"][7], frame["b"][7 + 12 : 7 + 16], rtol=1e-6)
    np.testing.assert_allclose(answers["b_0.9"] - answers["b"], problem.processor.std[1], rtol=1e-5)
    points = problem.answers(SimpleNamespace(prediction_outputs=future, quantile_values=None))
    assert list(points) == ["b"]


# ---------------------------------------------------------------- what only measuring needs


def test_names_and_seasons_are_in_problem_json_and_come_back(encode, tmp_path) -> None:
    problem, columns = encode(make_frame(60))
    problem.save(tmp_path)
    rows = problem.baseline(columns, columns).rows
    again = bind_checkpoint(tmp_path, problem.task, {"quantiles": [0.1, 0.5, 0.9]})
    assert again.target.names == ["a", "b"]
    assert again.target.levels == [0.1, 0.5, 0.9]
    assert again.target.season_length == 6
    assert again.metrics(rows) == problem.metrics(rows)
    assert math.isfinite(again.metrics(rows)["mase"])
    assert not set(problem.config_fields()) & {"id2label", "season_length", "season_errors"}


def test_a_release_of_0_1_0_has_them_in_its_config(encode) -> None:
    problem, columns = encode(make_frame(60))
    config = {"id2label": {"1": "b", "0": "a"}, "season_length": 24, "season_errors": [0.5, 2.0], "quantiles": [0.5]}
    old = problem.task.bind(problem.input, config, {})
    assert old.target.names == ["a", "b"]
    assert old.target.season_length == 24
    rows = problem.baseline(columns, columns).rows
    mae = old.class_metrics(rows)["mae"]
    assert old.metrics(rows)["mase"] == pytest.approx((mae[0] / 0.5 + mae[1] / 2) / 2)
    nothing = problem.task.bind(problem.input, {}, {})
    assert math.isnan(nothing.metrics(rows)["mase"])
    assert nothing.metrics(rows)["mse"] == old.metrics(rows)["mse"]


def test_a_family_without_the_sizes_of_a_forecast_is_refused_by_its_name() -> None:
    recipe = Recipe.from_dict({"family": "mlp", "task": "time-series-forecasting", "data": {}, "model": {}})
    with pytest.raises(
        HubmodelsError, match="family mlp cannot do time-series-forecasting: its config has no field num_input_channels"
    ):
        parse_recipe(recipe)


def test_the_season_is_the_one_that_is_given(encode) -> None:
    problem, columns = encode(make_frame(60), season_length=3)
    assert problem.target.season_length == 3
    assert "repeats the last 3 steps" in "".join(
        one.name for baseline in [problem.baseline(columns, columns)] for one in (baseline, *baseline.others)
    )


def test_a_column_without_a_role_can_be_left_out() -> None:
    frame = make_frame(40).assign(noise=1.0, name="x")
    rows = make_task(channel_column_names=["b", "a"]).select(to_dataset(frame))
    assert rows.column_names == ["date", "b", "a"]


@pytest.mark.parametrize(
    ("options", "change", "message"),
    [
        ({}, lambda frame: frame[:10], "no window of 12 \\+ 4 steps .* the longest series has 10"),
        ({}, lambda frame: pd.concat([frame, frame[-1:]]), "twice"),
        ({}, lambda frame: frame.assign(a=np.inf), "infinite"),
        ({}, lambda frame: frame.assign(a=np.nan, b=1.0), "a is left out: it has no value; b is left out"),
        ({}, lambda frame: frame[["date"]], "no column of numbers"),
        ({"frequency": "7min"}, lambda frame: frame, "no whole number of steps of 7min"),
        ({"time_column_name": "when"}, lambda frame: frame, "no column 'when'"),
        ({"target_column_names": ["c"]}, lambda frame: frame, "no column 'c'"),
        ({"target_column_names": ["name"]}, lambda frame: frame.assign(name="x"), "holds .*string, not numbers"),
        ({"channel_column_names": ["a"], "static_column_names": ["a"]}, lambda frame: frame, "as well"),
        ({"calendar": ["hour"]}, lambda frame: frame[["a", "b"]], "calendar needs a column of times"),
        ({"calendar": ["hour"]}, lambda frame: frame.assign(date=range(len(frame))), "times are integers"),
    ],
)
def test_bad_tables_are_refused_in_one_line(encode, options, change, message) -> None:
    with pytest.raises(HubmodelsError, match=message) as caught:
        encode(change(make_frame(40)), **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prediction_length": 0}, "at least 1"),
        ({"quantiles": [0.9, 0.1]}, "ascend"),
        ({"season_length": 500, "context_length": 96}, "between 1 and context_length"),
    ],
)
def test_options_that_cannot_work_are_refused(options, message) -> None:
    with pytest.raises(ValueError, match=message):
        TimeSeriesForecasting.from_options(**options)


def test_another_horizon_than_the_checkpoints_is_refused(tmp_path) -> None:
    task = make_task()
    task.fit(task.select(to_dataset(make_frame(40)))).save(tmp_path)
    assert task.input.load(str(tmp_path)).processor.frequency == "1h"
    with pytest.raises(HubmodelsError, match="trained with prediction_length 4, not 8"):
        make_task(prediction_length=8).input.load(str(tmp_path))
    with pytest.raises(HubmodelsError, match="forecasts whole series, not rows"):
        bind_checkpoint(tmp_path, task, {}).encode_inputs(pyarrow.table({"a": [1.0]}), [0])


def test_a_stream_is_refused() -> None:
    with pytest.raises(HubmodelsError, match="leave out --streaming"):
        TimeSeriesForecasting().select(to_dataset(make_frame(40)).to_iterable_dataset())
