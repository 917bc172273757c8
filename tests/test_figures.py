"""The house style: reproducible files, no global state, curves that survive gaps."""

import math
import subprocess
import sys

import matplotlib
import numpy as np
from PIL import Image

from hubmodels.figures import house_style, loss_figure, new_figure, save_figure


def history(count: int = 200) -> list[dict[str, float]]:
    lines = [
        {"step": step, "loss": 2.3 * math.exp(-step / 60) + 0.2, "learning_rate": 0.1 * (1 - step / count)}
        for step in range(1, count + 1)
    ]
    lines += [{"step": step, "eval_loss": 0.4, "eval_accuracy": 0.8 + step / 2000} for step in (50, 100, 150, 200)]
    return sorted(lines, key=lambda line: line["step"])


def test_the_same_figure_gives_the_same_bytes_without_date_or_version(tmp_path) -> None:
    for name in ("a.png", "b.png"):
        save_figure(loss_figure(history(), "accuracy"), tmp_path / name)
    content = (tmp_path / "a.png").read_bytes()
    assert content == (tmp_path / "b.png").read_bytes()
    assert len(content) < 100_000
    with Image.open(tmp_path / "a.png") as image:
        assert not {"Software", "Creation Time", "date"} & set(image.info)
        assert image.convert("RGB").getpixel((2, 2)) == (255, 255, 255)


def test_the_curves_are_the_values_given() -> None:
    figure = loss_figure(history(), "accuracy")
    curves = {line.get_label(): line for axes in figure.axes for line in axes.get_lines()}
    training, validation = curves["training loss"], curves["validation loss"]
    np.testing.assert_allclose(training.get_ydata(), [2.3 * math.exp(-step / 60) + 0.2 for step in range(1, 201)])
    np.testing.assert_array_equal(validation.get_xdata(), [50, 100, 150, 200])
    labels = {axes.get_ylabel() for axes in figure.axes}
    assert labels == {"loss", "learning rate (grey)", "validation accuracy"}


def test_gaps_infinities_and_missing_parts_still_draw(tmp_path) -> None:
    lines = [{"step": step, "loss": loss} for step, loss in enumerate((2.0, math.nan, math.inf, 1.0))]
    figure = loss_figure(lines, "accuracy")
    np.testing.assert_array_equal(figure.axes[0].get_lines()[0].get_ydata(), [2.0, 1.0])
    for number, some in enumerate((lines, [], [{"step": 1, "loss": -3.0}], [{"step": 5, "eval_loss": 0.0}])):
        save_figure(loss_figure(some), tmp_path / f"{number}.png")
        assert (tmp_path / f"{number}.png").stat().st_size > 1000


def test_drawing_leaves_matplotlibs_settings_as_they_were() -> None:
    before = dict(matplotlib.rcParams)
    with house_style():
        assert matplotlib.rcParams["legend.frameon"] is False
    figure, axes = new_figure(3, 2, 1, 2)
    assert axes.shape == (2,)
    assert tuple(figure.get_size_inches()) == (3, 2)
    assert dict(matplotlib.rcParams) == before


def test_neither_importing_nor_drawing_loads_pyplot() -> None:
    code = (
        "import sys; from hubmodels.figures import loss_figure; assert 'matplotlib' not in sys.modules; "
        "loss_figure([{'step': 1, 'loss': 1.0}]); assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
