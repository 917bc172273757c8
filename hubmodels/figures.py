"""The look of every figure, in one place. matplotlib only, loaded when the first figure is drawn; no pyplot.

    @house_style()
    def my_figure(values):
        figure, axes = new_figure(6, 4)
        axes.plot(values)
        return figure

    save_figure(my_figure(values), "figures/values.png")

Colours are Okabe and Ito's (jfly.uni-koeln.de/color), which people with the common colour blindnesses can tell apart.
"""

import contextlib
import math
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .files import atomic_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, GREY = "#CC79A7", "#56B4E9", "#7F7F7F"
CYCLE = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, GREY)
DPI = 120

_STYLE = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#4D4D4D",
    "axes.grid": False,
    "axes.labelcolor": "#262626",
    "axes.labelsize": 9,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 10,
    "axes.titleweight": "normal",
    "figure.facecolor": "white",
    "font.family": "DejaVu Sans",  # ships with matplotlib: the same figure on every machine
    "font.size": 9,
    "grid.color": "#E5E5E5",
    "grid.linewidth": 0.8,
    "image.interpolation": "nearest",
    "legend.fontsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "savefig.facecolor": "white",
    "xtick.color": "#4D4D4D",
    "xtick.labelsize": 8,
    "ytick.color": "#4D4D4D",
    "ytick.labelsize": 8,
}


@contextlib.contextmanager
def house_style() -> Iterator[None]:
    """Give everything drawn inside the house style. As a decorator it covers a function that draws a figure."""
    import matplotlib
    from cycler import cycler

    with matplotlib.rc_context({**_STYLE, "axes.prop_cycle": cycler(color=CYCLE)}):
        yield


def new_figure(
    width: float = 6.0, height: float = 4.0, nrows: int = 1, ncols: int = 1, **kwargs: Any
) -> "tuple[Figure, Any]":
    """Make a figure and its axes.

    Args:
        width, height: in inches; a PNG has 120 pixels an inch.
        nrows, ncols: grid of axes.
        **kwargs: passed to `Figure.subplots` (sharex, gridspec_kw, ...).

    Returns:
        The figure and what `Figure.subplots` gives: one axes, or an array of them.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with house_style():
        figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
        FigureCanvasAgg(figure)
        return figure, figure.subplots(nrows, ncols, **kwargs)


def save_figure(figure: "Figure", path: str | os.PathLike) -> None:
    """Write a PNG of at most 256 colours, atomically. It holds no date or version: the same figure, the same bytes."""
    from PIL import Image

    with atomic_file(path) as temporary, house_style():
        figure.canvas.draw()
        image = Image.frombuffer("RGBA", figure.canvas.get_width_height(), figure.canvas.buffer_rgba()).convert("RGB")
        # A palette makes the file half as large or less, and its 256 colours cannot be told from the original's.
        image.quantize(256, dither=Image.Dither.NONE).save(temporary, format="PNG", optimize=True, dpi=(DPI, DPI))


@house_style()
def loss_figure(history: list[dict[str, float]], metric: str | None = None) -> "Figure":
    """Draw training and validation loss over the optimizer steps, the learning rate faint behind, the metric below.

    Args:
        history: one mapping a log line, in order: `step` with any of `loss`, `eval_loss`, `learning_rate` and
            `eval_<metric>`; what a line lacks is left out. Values that are not finite are gaps.
        metric: name of the validation metric (without `eval_`) that gets its own axes below.
    """
    metric_points = _series(history, f"eval_{metric}")
    panels = 2 if metric and metric_points[0] else 1
    ratios = {"height_ratios": [3, 2]} if panels == 2 else None
    figure, axes = new_figure(6.4, 3.4 + 1.8 * (panels - 1), panels, 1, sharex=True, squeeze=False, gridspec_kw=ratios)
    top = axes[0, 0]
    steps, rates = _series(history, "learning_rate")
    if steps:
        right = top.twinx()
        right.fill_between(steps, rates, color=GREY, alpha=0.13, linewidth=0)
        right.set_ylim(0, max(rates) * 1.05 or 1)
        right.set_ylabel("learning rate (grey)", color=GREY)
        right.tick_params(axis="y", colors=GREY, length=0)
        right.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
        right.set_zorder(0)
        top.set_zorder(1)
        top.patch.set_visible(False)
    positive = True
    for name, label, color, style in (
        ("loss", "training loss", BLUE, {}),
        ("eval_loss", "validation loss", ORANGE, {"marker": "o", "markersize": 3}),
    ):
        steps, values = _series(history, name)
        if steps:
            positive &= min(values) > 0
            top.plot(steps, values, color=color, label=label, **(style if len(steps) <= 100 else {}))
    all_losses = _series(history, "loss")[1] + _series(history, "eval_loss")[1]
    if all_losses:
        if positive and max(all_losses) > 30 * min(all_losses):
            top.set_yscale("log")
        top.legend(loc="upper right")
    top.set_ylabel("loss")
    top.grid(axis="y")
    if metric and metric_points[0]:
        below = axes[1, 0]
        below.plot(*metric_points, color=GREEN, marker="o" if len(metric_points[0]) <= 100 else "", markersize=3)
        below.set_ylabel(f"validation {metric.replace('_', ' ')}")
        below.grid(axis="y")
    axes[-1, 0].set_xlabel("optimizer step")
    axes[-1, 0].set_xlim(left=0)
    return figure


def _series(history: list[dict[str, float]], name: str) -> tuple[list[float], list[float]]:
    """Give the steps and the finite values of what the lines of the log call by this name."""
    points = [(line["step"], line[name]) for line in history if line.get(name) is not None]
    points = [point for point in points if math.isfinite(point[1])]
    return [point[0] for point in points], [point[1] for point in points]
