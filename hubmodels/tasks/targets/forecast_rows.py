"""Rows of forecasts: from predicted and observed windows to sums over their steps, and from these to metrics."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

    from ..contract.types import Batch

Rows = dict[str, np.ndarray]


def forecast_rows(
    predictions: "torch.Tensor",
    targets: "torch.Tensor",
    observed: "torch.Tensor",
    quantile_values: "torch.Tensor | None" = None,
    levels: Sequence[float] = (),
) -> "Batch":
    """Compute what metrics and figures need of each window, as tensors, from forecasts in z-scores.

    Args:
        predictions, targets: (B, H, C).
        observed: bool (B, H, C); what was not observed counts for nothing.
        quantile_values: (B, H, C, Q) at these levels, ascending; None where there are none.
        levels: Q, in (0, 1).

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
        shares = torch.tensor(list(levels), device=predictions.device)
        gaps = targets[..., None] - quantile_values  # (B, H, C, Q)
        losses = 2 * torch.maximum(shares * gaps, (shares - 1) * gaps).mean(dim=-1)
        low, high = quantile_values.amin(dim=-1), quantile_values.amax(dim=-1)
        rows["quantile_values"] = quantile_values
        rows["quantile_losses"] = torch.where(observed, losses, 0).sum(dim=1)
        rows["covered"] = (observed & (low <= targets) & (targets <= high)).sum(dim=1).float()
    return rows


def forecast_metrics(rows: Rows, season_errors: list[float]) -> dict[str, float]:
    """Compute means over the windows, steps and channels that were observed.

    MASE (Hyndman and Koehler 2006) divides each channel's absolute error by its entry of `season_errors`, and is the
    mean over the channels. These are the errors of repeating the last season on the training rows."""
    mase = channel_metrics(rows, season_errors)["mase"]
    total = max(rows["counts"].sum(dtype=np.float64), 1)
    metrics = {
        "mse": rows["squared_errors"].sum(dtype=np.float64) / total,
        "mae": rows["absolute_errors"].sum(dtype=np.float64) / total,
        "mase": np.nanmean(mase) if np.isfinite(mase).any() else np.nan,
    }
    if "quantile_losses" in rows:
        metrics["quantile_loss"] = rows["quantile_losses"].sum(dtype=np.float64) / total
        metrics["coverage"] = rows["covered"].sum(dtype=np.float64) / total
    return {name: float(value) for name, value in metrics.items()}


def channel_metrics(rows: Rows, season_errors: list[float]) -> Rows:
    """Compute MSE, MAE and MASE of each channel, (C,); NaN where nothing was observed or the season's error is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        counts = rows["counts"].sum(axis=0, dtype=np.float64)
        mae = rows["absolute_errors"].sum(axis=0, dtype=np.float64) / counts
        scale = np.array(season_errors, dtype=np.float64)
        return {
            "mse": rows["squared_errors"].sum(axis=0, dtype=np.float64) / counts,
            "mae": mae,
            "mase": np.where(scale > 0, mae / scale, np.nan),
        }
