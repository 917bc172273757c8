"""Figures of forecasts: a few windows against the truth, and the error of each step ahead."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ...figures import BLUE, GREEN, GREY, ORANGE, SKY, house_style, new_figure
from ...report import Figure

if TYPE_CHECKING:
    from ..contract.types import Rows

NUM_PANELS, MAX_CHANNELS = 6, 3  # of the figure of forecasts


@dataclass
class Panel:
    """One window of one channel, in its own units."""

    title: str
    past: np.ndarray  # (T,), NaN where missing
    truth: np.ndarray  # (H,), NaN where missing
    forecast: np.ndarray  # (H,)
    band: str = ""  # what lies between `low` and `high`; empty without quantiles
    low: np.ndarray | None = None  # (H,)
    high: np.ndarray | None = None  # (H,)


def shown_windows(count: int) -> np.ndarray:
    """Choose windows at even distances, (W,) int64."""
    return np.unique(np.linspace(0, count - 1, NUM_PANELS).round().astype(np.int64))


def forecast_panels(
    rows: "Rows",
    windows: np.ndarray,
    past: np.ndarray,
    restore: Callable[[np.ndarray], np.ndarray],
    names: Sequence[str],
    levels: Sequence[float],
) -> list[Panel]:
    """Make the panels of windows, the first channels taken in turn.

    Args:
        rows: what the target's `predict` gave for all windows, in z-scores.
        windows: their numbers, (W,).
        past: what was seen of each, z-scores (W, T, C), NaN where missing.
        restore: z-scores (..., C) to the channels' own units.
        names: of the channels.
        levels: of the quantiles.
    """
    truth = restore(np.where(rows["observed"][windows], rows["targets"][windows], np.nan))  # (W, H, C)
    forecast, seen = restore(rows["predictions"][windows]), restore(past[:, -2 * truth.shape[1] :])
    band = quantile_band(rows, levels)
    if band:
        quantiles = rows["quantile_values"][windows]
        low, high = restore(quantiles.min(axis=-1)), restore(quantiles.max(axis=-1))
    panels = []
    for number, window in enumerate(windows):
        channel = number % min(len(names), MAX_CHANNELS)
        at = (number, slice(None), channel)
        panel = Panel(f"{names[channel]}, window {window:,}", seen[at], truth[at], forecast[at])
        if band:
            panel.band, panel.low, panel.high = band, low[at], high[at]
        panels.append(panel)
    return panels


def quantile_band(rows: "Rows", levels: Sequence[float]) -> str:
    """Say between which quantiles the band of a forecast lies; nothing where there is no band."""
    banded = "quantile_values" in rows and len(levels) > 1
    return f"quantiles {levels[0]:g} to {levels[-1]:g}" if banded else ""


@house_style()
def forecast_figure(panels: list[Panel]) -> Any:
    """Draw forecasts against the truth, a window a panel."""
    ncols = 2 if len(panels) > 1 else 1
    nrows = math.ceil(len(panels) / ncols)
    figure, grid = new_figure(4.0 * ncols, 1.9 * nrows + 0.4, nrows, ncols, squeeze=False)
    for axes in grid.flat[len(panels) :]:
        axes.axis("off")
    for axes, panel in zip(grid.flat, panels, strict=False):
        ahead = np.arange(1, len(panel.truth) + 1)
        axes.plot(np.arange(1 - len(panel.past), 1), panel.past, color=GREY, linewidth=1.1, label="past")
        axes.plot(ahead, panel.truth, color=BLUE, linewidth=1.2, label="truth")
        if panel.band:
            axes.fill_between(ahead, panel.low, panel.high, color=SKY, alpha=0.35, linewidth=0, label=panel.band)
        axes.plot(ahead, panel.forecast, color=ORANGE, linewidth=1.4, label="forecast")
        axes.axvline(0.5, color=GREY, linewidth=0.8, linestyle=":")
        axes.set_title(panel.title, size=8, loc="left")
        axes.grid(axis="y")
    for axes in grid[-1]:
        axes.set_xlabel("steps from the forecast's start")
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return figure


@house_style()
def horizon_figure(rows: "Rows") -> Any:
    """Draw MSE and MAE of each step ahead, over windows and channels."""
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


def forecast_plot(panels: list[Panel]) -> Figure:
    """Draw the panels with their sentence."""
    band = f", the band spans the {panels[0].band}" if panels[0].band else ""
    return Figure(
        name="forecasts",
        caption=f"Forecasts of test windows at even distances, in the channels' own units{band}; of the past only "
        "as much as lies ahead, twice.",
        figure=forecast_figure(panels),
    )


def horizon_plot(rows: "Rows") -> Figure:
    """Draw the error of each step ahead with its sentence."""
    return Figure(
        name="error_by_step",
        caption="Mean squared and mean absolute error of each step ahead, over the test windows and channels.",
        figure=horizon_figure(rows),
    )
