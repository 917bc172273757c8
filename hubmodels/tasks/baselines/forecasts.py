"""Classical forecasts of windows: repeating the last season, and a ridge regression shared by the channels.

Neighbouring windows overlap, so that held-out windows drawn at random would be known from their neighbours. Settings
are therefore chosen on the last fifth of the training windows, not by `choice.choose`.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ...report import Baseline

if TYPE_CHECKING:
    import torch

    from ..contract.types import EncodedColumns, Rows, Transform

RIDGE_NUMBERS = 30_000_000  # of the ridge regression's inputs in memory (120 MB): more windows are thinned out evenly
HELD_WINDOWS = 500  # training windows at most that choose among settings
RIDGE_PENALTIES = (1.0, 30.0, 1_000.0)
CHUNK = 256  # windows at once

RowsOfPoints = Callable[[np.ndarray, np.ndarray, np.ndarray], "Rows"]  # forecast, future, observed, each (B, H, C)


@dataclass
class Windows:
    """The windows of a split, as arrays of the forecast channels alone."""

    columns: "EncodedColumns"
    split: "Transform"  # a batch of windows -> a model's inputs
    channels: list[int]  # of `past_values`, those that are forecast

    def __len__(self) -> int:
        return len(self.columns)

    def all(self) -> "torch.Tensor":
        """Return the numbers of all windows."""
        import torch

        return torch.arange(len(self))

    def held_out(self) -> "torch.Tensor":
        """Return the numbers of the last fifth of the windows, thinned out evenly."""
        import torch

        first = len(self) * 4 // 5
        return torch.linspace(first, len(self) - 1, min(HELD_WINDOWS, len(self) - first)).round().long()

    def arrays(self, numbers: "torch.Tensor") -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Yield some windows at a time.

        Returns:
            The past (B, T, C) with its missing values filled, the future (B, H, C), and where that was observed.
        """
        for some in numbers.split(CHUNK):
            batch = self.split(self.columns.batch(some), None)
            past, observed = (batch[name][..., self.channels].numpy() for name in ("past_values", "past_observed_mask"))
            yield fill_forward(past, observed), batch["future_values"].numpy(), batch["future_observed_mask"].numpy()


def stronger_forecast(train: Windows, test: Windows, season: int, rows_of: RowsOfPoints) -> Baseline:
    """Forecast by repeating the season or by ridge regression, whichever errs less on the held-out windows.

    The other one stands beside it. Without a training window whose future is whole there is no ridge regression.

    Args:
        train, test: the windows of both splits.
        season: in steps.
        rows_of: makes of forecast, future and observed what the target's `predict` gives.
    """
    naive = naive_forecast(test, season, rows_of)
    ridge = ridge_forecast(train, test, rows_of)
    if ridge is None:
        return naive
    baseline, error = ridge
    first, second = (baseline, naive) if error <= naive_error(train, season) else (naive, baseline)
    first.others = [second]
    return first


def naive_forecast(test: Windows, season: int, rows_of: RowsOfPoints) -> Baseline:
    """Repeat the last season."""
    started = time.perf_counter()
    pieces = [
        rows_of(repeat_season(past, season, future.shape[1]), future, observed)
        for past, future, observed in test.arrays(test.all())
    ]
    repeated = "value" if season == 1 else f"{season} steps"
    name = f"seasonal naive (repeats the last {repeated})"
    return Baseline(name=name, rows=_join(pieces), seconds=time.perf_counter() - started)


def naive_error(train: Windows, season: int) -> float:
    """Compute the mean squared error of repeating the last season on the held-out training windows."""
    squares = count = 0.0
    for past, future, observed in train.arrays(train.held_out()):
        errors = np.where(observed, repeat_season(past, season, future.shape[1]) - future, 0)
        squares, count = squares + float(np.square(errors, dtype=np.float64).sum()), count + observed.sum()
    return squares / max(count, 1)


def ridge_forecast(train: Windows, test: Windows, rows_of: RowsOfPoints) -> tuple[Baseline, float] | None:
    """Fit one ridge regression for all channels from a channel's past to its future, both less the last value.

    It is a linear model in the manner of Zeng et al. 2022 (arXiv:2205.13504), its penalty chosen on the held-out
    windows. Windows with a missing value ahead are left out of the fit.

    Returns:
        The baseline and its squared error on the held-out windows; None where no window is left to fit or choose by.
    """
    from sklearn.linear_model import Ridge

    started = time.perf_counter()
    held = train.held_out()
    past, _, _ = next(train.arrays(held[:1]))
    limit = max(2, RIDGE_NUMBERS // (past.shape[1] * len(train.channels)))
    held_out, rest = _examples(train, held), _examples(train, _thinned(max(1, int(held[0])), limit))
    every = _examples(train, _thinned(len(train), limit))
    if held_out is None or rest is None or every is None:
        return None

    def fit(penalty: float, examples: tuple[np.ndarray, np.ndarray]) -> Any:
        return Ridge(alpha=penalty, solver="cholesky").fit(*examples)

    models = [fit(penalty, rest) for penalty in RIDGE_PENALTIES]
    scores = [float(np.square(model.predict(held_out[0]) - held_out[1]).mean()) for model in models]
    model = fit(RIDGE_PENALTIES[int(np.argmin(scores))], every)
    pieces = []
    for past, future, observed in test.arrays(test.all()):
        last = past[:, -1:]
        lines = np.moveaxis(past - last, 1, 2)  # (B, C, T)
        ahead = model.predict(lines.reshape(-1, past.shape[1])).reshape(*lines.shape[:2], -1)  # (B, C, H)
        pieces.append(rows_of((np.moveaxis(ahead, 2, 1) + last).astype(np.float32), future, observed))
    name = "ridge regression shared by the channels"
    if limit < len(train):
        name += f" ({limit:,} of {len(train):,} training windows)"
    return Baseline(name=name, rows=_join(pieces), seconds=time.perf_counter() - started), min(scores)


def _thinned(count: int, limit: int) -> "torch.Tensor":
    """Choose at most `limit` of the first `count` windows, at even distances."""
    import torch

    return torch.linspace(0, count - 1, min(limit, count)).round().long()


def _examples(windows: Windows, numbers: "torch.Tensor") -> tuple[np.ndarray, np.ndarray] | None:
    """Return the past (N, T) and the future (N, H) of single channels, both less the last value of the past.

    Only channels whose future is whole count; None where there is none."""
    pairs = []
    for past, future, observed in windows.arrays(numbers):
        complete = observed.all(axis=1)  # (B, C)
        pairs.append([np.moveaxis(steps - past[:, -1:], 1, 2)[complete] for steps in (past, future)])
    inputs, outputs = (np.concatenate(arrays) for arrays in zip(*pairs, strict=True))
    return (inputs, outputs) if len(inputs) else None


def repeat_season(past: np.ndarray, season: int, horizon: int) -> np.ndarray:
    """Repeat the last season of (B, T, C) over the horizon, (B, H, C)."""
    return past[:, past.shape[1] - season + np.arange(horizon) % season]


def fill_forward(values: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """Fill each missing one of values (B, T, C) with the last observed before it, else the first after it, else 0."""
    if observed.all():
        return values
    steps = np.arange(values.shape[1])[None, :, None]
    last = np.maximum.accumulate(np.where(observed, steps, -1), axis=1)
    first = np.where(observed.any(axis=1), observed.argmax(axis=1), 0)[:, None]  # (B, 1, C)
    filled = np.take_along_axis(values, np.where(last >= 0, last, first), axis=1)
    return np.where(observed.any(axis=1)[:, None], filled, 0)


def _join(pieces: list["Rows"]) -> "Rows":
    """Join the rows of some windows at a time."""
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
