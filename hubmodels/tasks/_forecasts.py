"""What forecasting measures and compares with: error sums of windows, seasonal naive and ridge forecasts, figures."""

import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..figures import BLUE, GREEN, GREY, ORANGE, SKY, house_style, new_figure
from ..report import Baseline
from ._series import fill_forward

Rows = dict[str, np.ndarray]
RIDGE_NUMBERS = 30_000_000  # of the ridge regression's inputs in memory (120 MB): more windows are thinned out evenly
HELD_WINDOWS = 500  # training windows at most that choose its penalty
RIDGE_PENALTIES = (1.0, 30.0, 1_000.0)
CLEARLY = 0.95  # a longer season must err less than this times the shorter ones' error
CHUNK = 256  # windows of a baseline at once


def forecast_rows(predictions: Any, targets: Any, observed: Any, quantile_values: Any = None, levels: Any = ()) -> dict:
    """What metrics and figures need of each window, as tensors, from forecasts in z-scores.

    Args:
        predictions, targets: (B, H, C).
        observed: bool (B, H, C); what was not observed counts for nothing.
        quantile_values: (B, H, C, Q) at these levels, ascending; None where there are none.

    Returns:
        `predictions`, `targets`, `observed`, `quantile_values`, and sums over the steps, each (B, C): `counts`,
        `squared_errors`, `absolute_errors`, with quantiles also `quantile_losses` (the mean over the levels of
        2 max(q e, (q - 1) e), which is the absolute error at the median) and `covered` (within the outer quantiles).
    """
    import torch

    predictions, targets, observed = predictions.float(), targets.float(), observed.bool()
    errors = torch.where(observed, predictions - targets, 0)
    rows = {
        "predictions": predictions,
        "targets": targets,
        "observed": observed,
        "counts": observed.sum(dim=1).float(),
        "squared_errors": errors.square().sum(dim=1),
        "absolute_errors": errors.abs().sum(dim=1),
    }
    if quantile_values is not None:
        quantile_values = quantile_values.float()
        levels = torch.tensor(list(levels), device=predictions.device)
        gaps = targets[..., None] - quantile_values  # (B, H, C, Q)
        losses = 2 * torch.maximum(levels * gaps, (levels - 1) * gaps).mean(dim=-1)
        low, high = quantile_values.amin(dim=-1), quantile_values.amax(dim=-1)
        rows["quantile_values"] = quantile_values
        rows["quantile_losses"] = torch.where(observed, losses, 0).sum(dim=1)
        rows["covered"] = (observed & (low <= targets) & (targets <= high)).sum(dim=1).float()
    return rows


def forecast_metrics(rows: Rows, naive_errors: list[float]) -> dict[str, float]:
    """Means over windows, steps and channels that were observed; MASE (Hyndman and Koehler 2006) is the mean over the
    channels of the absolute error divided by `naive_errors`, those of the seasonal naive on the training rows."""
    by_channel = channel_metrics(rows, naive_errors)
    total = max(rows["counts"].sum(dtype=np.float64), 1)
    result = {
        "mse": rows["squared_errors"].sum(dtype=np.float64) / total,
        "mae": rows["absolute_errors"].sum(dtype=np.float64) / total,
        "mase": float(np.nanmean(by_channel["mase"])) if np.isfinite(by_channel["mase"]).any() else float("nan"),
    }
    if "quantile_losses" in rows:
        result["quantile_loss"] = rows["quantile_losses"].sum(dtype=np.float64) / total
        result["coverage"] = rows["covered"].sum(dtype=np.float64) / total
    return {name: float(value) for name, value in result.items()}


def channel_metrics(rows: Rows, naive_errors: list[float]) -> Rows:
    """MSE, MAE and MASE of each channel, (C,); NaN where nothing was observed or the naive error is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        counts = rows["counts"].sum(axis=0, dtype=np.float64)
        mae = rows["absolute_errors"].sum(axis=0, dtype=np.float64) / counts
        scale = np.array(naive_errors, dtype=np.float64)
        return {
            "mse": rows["squared_errors"].sum(axis=0, dtype=np.float64) / counts,
            "mae": mae,
            "mase": np.where(scale > 0, mae / scale, np.nan),
        }


# ---------------------------------------------------------------- seasons


def seasonal_errors(values: np.ndarray, series: np.ndarray, season: int) -> np.ndarray:
    """The mean absolute difference to the value one season before within the same series, of each channel (C,), over
    the steps (N, C) whose two values are observed; NaN where there are none."""
    if season >= len(values):
        return np.full(values.shape[1], np.nan)
    same = series[season:] == series[:-season]
    differences = np.abs(values[season:] - values[:-season])[same]
    counts = (~np.isnan(differences)).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(counts > 0, np.nansum(differences, axis=0) / counts, np.nan)


def find_season(values: np.ndarray, series: np.ndarray, longest: int, horizon: int, usual: tuple[int, ...]) -> int:
    """The season, in steps, whose repetition errs least on the training steps (N, C): 1, one of the `usual` ones, or a
    lag where the autocorrelation has a peak, none longer than `longest`.

    A repetition's forecast `h` steps ahead is the value ceil(h / season) seasons before, so its error over the horizon
    is the mean of those at the multiples of the season."""
    filled = np.nan_to_num(values)
    filled = filled - filled.mean(axis=0)
    padded = 2 ** math.ceil(math.log2(2 * len(filled)))
    spectrum = np.abs(np.fft.rfft(filled, n=padded, axis=0)) ** 2
    correlation = np.fft.irfft(spectrum, n=padded, axis=0)[: min(longest, len(filled) - 1) + 1].mean(axis=1)
    inner = np.arange(1, len(correlation) - 1)
    peaks = inner[(correlation[inner] > correlation[inner - 1]) & (correlation[inner] >= correlation[inner + 1])]
    strongest = peaks[np.argsort(-correlation[peaks], kind="stable")][:3].tolist()
    best, least = 1, math.inf
    for season in sorted({1, *usual, *strongest}):
        if season > longest:
            continue
        lags = range(1, math.ceil(horizon / season) + 1)
        if season == 1:  # every horizon is its own lag: a few of them tell
            lags = sorted({round(lag) for lag in np.linspace(1, horizon, 8)})
        errors = [
            np.nanmean(found)
            for lag in lags
            if np.isfinite(found := seasonal_errors(values, series, lag * season)).any()
        ]
        if errors and np.mean(errors) < CLEARLY * least:  # a multiple of the season repeats as well
            best, least = season, float(np.mean(errors))
    return best


def repeat_season(context: np.ndarray, season: int, horizon: int) -> np.ndarray:
    """The last season of (B, T, C) repeated over the horizon, (B, H, C)."""
    places = context.shape[1] - season + np.arange(horizon) % season
    return context[:, places]


# ---------------------------------------------------------------- baselines


def naive_baseline(test: Any, split: Callable, targets: list[int], season: int) -> Baseline:
    """Repeat the last season. `split` gives a model's inputs from a batch of windows."""
    import torch

    started, parts = time.perf_counter(), []
    for batch in window_batches(test, torch.arange(len(test)), split):
        context, future, observed = target_arrays(batch, targets)
        forecast = repeat_season(context, season, future.shape[1])
        parts.append(forecast_rows(*map(torch.from_numpy, (forecast, future, observed))))
    repeated = "value" if season == 1 else f"{season} steps"
    return Baseline(f"seasonal naive (repeats the last {repeated})", join_rows(parts), time.perf_counter() - started)


def naive_error(train: Any, split: Callable, targets: list[int], season: int) -> float:
    """The mean squared error of repeating the last season on the held-out training windows of `ridge_baseline`."""
    squares = count = 0.0
    for batch in window_batches(train, held_windows(train), split):
        context, future, observed = target_arrays(batch, targets)
        errors = np.where(observed, repeat_season(context, season, future.shape[1]) - future, 0)
        squares, count = squares + float(np.square(errors, dtype=np.float64).sum()), count + observed.sum()
    return squares / max(count, 1)


def ridge_baseline(train: Any, test: Any, split: Callable, targets: list[int]) -> tuple[Baseline, float]:
    """One ridge regression for all channels from a channel's past to its future, both less the last value (a linear
    model in the manner of Zeng et al. 2022, arXiv:2205.13504), its penalty chosen on the last fifth of the training
    windows; and the squared error there. Windows with a missing value ahead are left out of the fit.

    Raises ValueError when no window is left."""
    import torch
    from sklearn.linear_model import Ridge

    started = time.perf_counter()
    held = held_windows(train)
    length = split(train.batch(held[:1]))["past_values"].shape[1]
    limit = max(2, RIDGE_NUMBERS // (length * len(targets)))

    def thinned(count: int) -> torch.Tensor:
        return torch.linspace(0, count - 1, min(limit, count)).round().long()

    def examples(rows: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        pairs = []
        for batch in window_batches(train, rows, split):
            context, future, observed = target_arrays(batch, targets)
            complete = observed.all(axis=1)  # (B, C)
            pairs.append([np.moveaxis(part - context[:, -1:], 1, 2)[complete] for part in (context, future)])
        inputs, outputs = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
        if len(inputs) == 0:
            raise ValueError("no window without a missing value ahead")
        return inputs, outputs

    def fitted(penalty: float, inputs: np.ndarray, outputs: np.ndarray) -> Ridge:
        return Ridge(alpha=penalty, solver="cholesky").fit(inputs, outputs)

    held_inputs, held_outputs = examples(held)
    pair = examples(thinned(max(1, int(held[0]))))
    models = [fitted(penalty, *pair) for penalty in RIDGE_PENALTIES]
    scores = [float(np.square(model.predict(held_inputs) - held_outputs).mean()) for model in models]
    used = thinned(len(train))
    model = fitted(RIDGE_PENALTIES[int(np.argmin(scores))], *examples(used))
    parts = []
    for batch in window_batches(test, torch.arange(len(test)), split):
        context, future, observed = target_arrays(batch, targets)
        last = context[:, -1:]
        past = np.moveaxis(context - last, 1, 2)  # (B, C, T)
        forecast = model.predict(past.reshape(-1, length)).reshape(*past.shape[:2], -1)
        forecast = (np.moveaxis(forecast, 2, 1) + last).astype(np.float32)
        parts.append(forecast_rows(*map(torch.from_numpy, (forecast, future, observed))))
    name = "ridge regression shared by the channels"
    if len(used) < len(train):
        name += f" ({len(used):,} of {len(train):,} training windows)"
    return Baseline(name, join_rows(parts), time.perf_counter() - started), min(scores)


def held_windows(train: Any) -> Any:
    """The last fifth of the training windows, thinned out evenly."""
    import torch

    first = len(train) * 4 // 5
    return torch.linspace(first, len(train) - 1, min(HELD_WINDOWS, len(train) - first)).round().long()


def window_batches(columns: Any, rows: Any, split: Callable) -> Iterator[dict]:
    """Model inputs of the windows with these numbers, some at a time."""
    for part in rows.split(CHUNK):
        yield split(columns.batch(part))


def target_arrays(batch: dict, targets: list[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The target channels' past with its missing values filled, their future and where that was observed."""
    past, observed = (batch[name][..., targets].numpy() for name in ("past_values", "past_observed_mask"))
    return fill_forward(past, observed), batch["future_values"].numpy(), batch["future_observed_mask"].numpy()


def join_rows(parts: list[dict]) -> Rows:
    return {name: np.concatenate([part[name].numpy() for part in parts]) for name in parts[0]}


# ---------------------------------------------------------------- figures


@house_style()
def forecast_figure(panels: list[dict[str, Any]]) -> Any:
    """Forecasts against the truth: each panel has a `title`, the `past` (T,), the `truth` and `forecast` (H,), and the
    `low` and `high` ends of the band where there is one."""
    ncols = 2 if len(panels) > 1 else 1
    nrows = math.ceil(len(panels) / ncols)
    figure, grid = new_figure(4.0 * ncols, 1.9 * nrows + 0.4, nrows, ncols, squeeze=False)
    for axes in grid.flat[len(panels) :]:
        axes.axis("off")
    for axes, panel in zip(grid.flat, panels, strict=False):
        ahead = np.arange(1, len(panel["truth"]) + 1)
        axes.plot(np.arange(1 - len(panel["past"]), 1), panel["past"], color=GREY, linewidth=1.1, label="past")
        axes.plot(ahead, panel["truth"], color=BLUE, linewidth=1.2, label="truth")
        if "low" in panel:
            axes.fill_between(
                ahead, panel["low"], panel["high"], color=SKY, alpha=0.35, linewidth=0, label=panel["band"]
            )
        axes.plot(ahead, panel["forecast"], color=ORANGE, linewidth=1.4, label="forecast")
        axes.axvline(0.5, color=GREY, linewidth=0.8, linestyle=":")
        axes.set_title(panel["title"], size=8, loc="left")
        axes.grid(axis="y")
    for axes in grid[-1]:
        axes.set_xlabel("steps from the forecast's start")
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return figure


@house_style()
def horizon_figure(rows: Rows) -> Any:
    """MSE and MAE of each step ahead, over windows and channels."""
    counts = rows["observed"].sum(axis=(0, 2)).clip(1)
    errors = np.where(rows["observed"], rows["predictions"] - rows["targets"], 0).astype(np.float64)
    figure, axes = new_figure(6.0, 3.2)
    steps = np.arange(1, errors.shape[1] + 1)
    axes.plot(steps, np.square(errors).sum(axis=(0, 2)) / counts, color=BLUE, label="MSE")
    axes.plot(steps, np.abs(errors).sum(axis=(0, 2)) / counts, color=GREEN, label="MAE")
    axes.set(
        xlabel="steps ahead", ylabel="error in z-scores", ylim=(0, None), xlim=(1, None) if len(steps) > 1 else None
    )
    axes.grid(axis="y")
    axes.legend(loc="lower right")
    return figure
