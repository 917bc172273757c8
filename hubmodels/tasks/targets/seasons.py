"""Seasons: after how many steps series recur, and how well repeating the last season forecasts them. NumPy alone."""

import math

import numpy as np

CLEARLY = 0.95  # a longer season must err less than this times the shorter ones' error


def seasonal_errors(values: np.ndarray, series: np.ndarray, season: int) -> np.ndarray:
    """Compute the mean absolute difference to the value one season before, of each channel, (C,).

    Args:
        values: (N, C), NaN where missing; only steps whose two values are observed count.
        series: (N,), equal for steps of one series; a difference is taken within a series alone.
        season: in steps.

    Returns:
        NaN for a channel without such steps.
    """
    if season >= len(values):
        return np.full(values.shape[1], np.nan)
    same = series[season:] == series[:-season]
    differences = np.abs(values[season:] - values[:-season])[same]
    counts = (~np.isnan(differences)).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(counts > 0, np.nansum(differences, axis=0) / counts, np.nan)


def find_season(values: np.ndarray, series: np.ndarray, longest: int, horizon: int, usual: tuple[int, ...]) -> int:
    """Find the season, in steps, whose repetition errs least on the training steps.

    Candidates are 1, the `usual` ones, and lags where the autocorrelation has a peak, none longer than `longest`. A
    repetition's forecast `h` steps ahead is the value ceil(h / season) seasons before. Its error over the horizon is
    therefore the mean of those at the multiples of the season.

    Args:
        values: (N, C), NaN where missing.
        series: (N,), equal for steps of one series.
        longest, horizon: in steps.
        usual: seasons that series of this frequency often have.
    """
    best, least = 1, math.inf
    for season in sorted({1, *usual, *_peaks(values, longest)}):
        if season > longest:
            continue
        lags = list(range(1, math.ceil(horizon / season) + 1))
        if season == 1:  # every horizon is its own lag: a few of them tell
            lags = sorted({round(lag) for lag in np.linspace(1, horizon, 8)})
        by_lag = [seasonal_errors(values, series, lag * season) for lag in lags]
        errors = [np.nanmean(channels) for channels in by_lag if np.isfinite(channels).any()]
        if errors and np.mean(errors) < CLEARLY * least:  # a multiple of the season repeats as well
            best, least = season, float(np.mean(errors))
    return best


def _peaks(values: np.ndarray, longest: int) -> list[int]:
    """Find the three strongest peaks of the autocorrelation, as lags in steps."""
    filled = np.nan_to_num(values)
    filled = filled - filled.mean(axis=0)
    padded = 2 ** math.ceil(math.log2(2 * len(filled)))
    spectrum = np.abs(np.fft.rfft(filled, n=padded, axis=0)) ** 2
    correlation = np.fft.irfft(spectrum, n=padded, axis=0)[: min(longest, len(filled) - 1) + 1].mean(axis=1)
    inner = np.arange(1, len(correlation) - 1)
    peaks = inner[(correlation[inner] > correlation[inner - 1]) & (correlation[inner] >= correlation[inner + 1])]
    return peaks[np.argsort(-correlation[peaks], kind="stable")][:3].tolist()


def usual_seasons(frequency: str | None) -> tuple[int, ...]:
    """Return seasons that series of a frequency often have: a day and a week of hours, a week and a year of days."""
    if frequency is None or frequency.isdigit():
        return ()
    from ...processors.processing_series_calendar import UNITS, parse_rule

    rule = parse_rule(frequency)
    if rule.unit in ("M", "BM"):
        return (12 // rule.number,) if 12 % rule.number == 0 and rule.number < 12 else ()
    if rule.unit == "B":
        return (5,) if rule.number == 1 else ()
    step = rule.number * UNITS[rule.unit]
    wholes = (UNITS["h"], UNITS["D"], 7 * UNITS["D"], 365 * UNITS["D"])
    return tuple(whole // step for whole in wholes if whole > step and whole % step == 0)
