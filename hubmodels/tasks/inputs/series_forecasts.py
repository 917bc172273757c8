"""Forecasts of any number of steps: what is forecast is fed back as if it had been seen. NumPy alone."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import HubmodelsError
from ...report import note
from .series_tables import say_unknown_words

if TYPE_CHECKING:
    from ...processors.processing_series import TimeSeriesProcessor
    from ...processors.processing_series_forms import Series

Run = Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]  # encoded series -> answers, a row a series


def forecast_columns(
    processor: "TimeSeriesProcessor", table: Any, future: Any, steps: int | None, run: Run
) -> dict[str, list[Any]]:
    """Forecast series, a row a step ahead of each series.

    Args:
        processor: of the model.
        table: the series, in any form that the processor reads.
        future: what is known ahead, for models that read it.
        steps: how many; the model's own number when None. More are forecast from forecasts, block by block. Quantiles
            of a later block are as if the blocks before it had come true, and so too narrow: a note says it.
        run: the model.

    Returns:
        One list a column: ids, the time or the step, then what the model answers.

    Raises:
        HubmodelsError: the series cannot be read, are too short, or so many steps cannot be forecast.
    """
    from ...processors.processing_series_forms import table_columns

    horizon = processor.prediction_length
    assert horizon is not None, "a processor of forecasts"
    steps = horizon if steps is None else steps
    if not isinstance(steps, int) or steps < 1:
        raise HubmodelsError(f"prediction_length must be a whole number of at least 1, got {steps!r}")
    seen_only = [name for name in processor.channels if processor.targets is not None and name not in processor.targets]
    if steps > horizon and seen_only:
        raise HubmodelsError(
            f"prediction_length: the model forecasts {horizon} steps; {steps} would need {', '.join(seen_only)}, which "
            f"it sees and does not forecast: give {horizon} at most, or train with --prediction_length {steps}"
        )
    if steps > horizon:
        note(
            "results",
            f"steps behind the first {horizon} are forecast from forecasts, as if these had come true: "
            f"quantiles of them are too narrow",
            surprising=True,
            remedy=f"prediction_length: {steps} in training",
        )
    try:
        for given in (table, future):
            say_unknown_words((None if given is None else table_columns(given)) or {}, processor.categories)
        series = processor.read(table)
        if not series:
            raise ValueError("there are no series to forecast")
        for one in series:
            processor.fill_gaps(one)
        known = processor.known_ahead(series, future, steps)
        times = [processor.future_times(one, steps) for one in series]
        blocks = list(run_blocks(processor, series, known, steps, run))
    except ValueError as error:
        raise HubmodelsError(str(error)) from None
    answers = {name: np.concatenate([block[name] for block in blocks], axis=1)[:, :steps] for name in blocks[0]}
    return step_names(processor, series, times, steps) | {
        name: values.reshape(-1).astype(np.float64).tolist() for name, values in answers.items()
    }


def step_names(
    processor: "TimeSeriesProcessor", series: "list[Series]", times: list[np.ndarray | None], steps: int
) -> dict[str, list[Any]]:
    """Name the steps ahead of all series: their ids, and their times or numbers, a list a column."""
    columns: dict[str, list[Any]] = {}
    names = processor.id_columns
    if names and series[0].name is not None:
        for index, name in enumerate(names):
            of_series = [one.name if len(names) == 1 else one.name[index] for one in series]
            columns[name] = [value for value in of_series for _ in range(steps)]
    elif len(series) > 1:
        columns["series"] = [number for number in range(len(series)) for _ in range(steps)]
    if times[0] is not None and processor.time_column is not None:
        columns[processor.time_column] = [time for of_series in times for time in said_times(processor, of_series)]
    else:
        columns["step"] = [step + 1 for _ in series for step in range(steps)]
    return columns


def said_times(processor: "TimeSeriesProcessor", times: np.ndarray | None) -> list[Any]:
    """Give times of forecasts as values of Python: within days in the processor's zone, where it has one."""
    from ...processors.processing_series_zones import is_within_days, to_local

    if times is None:
        return []
    zone, frequency = processor.time_zone, processor.frequency
    if zone is None or frequency is None or times.dtype.kind != "M" or not is_within_days(frequency):
        return times.tolist()
    return to_local(times, zone)


def run_blocks(
    processor: "TimeSeriesProcessor",
    series: "list[Series]",
    known: list[np.ndarray | None],
    steps: int,
    run: Run,
) -> Iterator[dict[str, np.ndarray]]:
    """Run the model for one horizon after the other, each answer (series, horizon), and append it to the series."""
    horizon = processor.prediction_length
    assert horizon is not None, "a processor of forecasts"
    for start in range(0, steps, horizon):
        ahead = [None if values is None else block_of(values, start, horizon) for values in known]
        answers = run(processor.encode_last(series, ahead))
        yield answers
        if start + horizon < steps:
            points = np.stack([answers[name] for name in processor.channels], axis=-1)  # (series, horizon, C)
            for one, values, covariates in zip(series, points, ahead, strict=True):
                times = processor.future_times(one)
                one.values = np.concatenate([one.values, values])
                one.times = None if one.times is None or times is None else np.concatenate([one.times, times])
                if one.known is not None and covariates is not None:
                    one.known = np.concatenate([one.known, covariates])


def block_of(values: np.ndarray, start: int, length: int) -> np.ndarray:
    """Cut steps out of covariates; behind their end the last one is repeated, for steps that nobody asked for."""
    return values[np.minimum(np.arange(start, start + length), len(values) - 1)]


def with_times(processor: "TimeSeriesProcessor", table: Any) -> Any:
    """Give a table whose times are columns: of a frame with an index of times or ids, these are taken from it."""
    index_names = list(getattr(getattr(table, "index", None), "names", []))
    columns = [str(name) for name in getattr(table, "columns", [])]
    needed = [name for name in (*processor.id_columns, processor.time_column) if name is not None]
    lacking = [name for name in needed if name not in columns]
    if not index_names or not lacking or not hasattr(table, "reset_index"):
        return table
    levels = [table.index.get_level_values(number) for number in range(len(index_names))]
    if index_names == [None] and str(levels[0].dtype).startswith("int"):
        return table  # the numbers of the rows
    names = [name if name in lacking else None for name in index_names]
    others = [name for name in lacking if name not in names]
    for number, level in enumerate(levels):
        is_time = str(level.dtype).startswith(("datetime", "period"))
        if names[number] is None and is_time and processor.time_column in others:
            names[number] = processor.time_column
            others.remove(processor.time_column)
    for number, name in enumerate(names):
        if name is None:
            names[number] = others.pop(0) if others else f"index_{number}"
    table = table.copy()
    if str(levels[0].dtype).startswith("period"):
        table.index = table.index.to_timestamp()
    return table.rename_axis(index=names).reset_index()
