"""Series as people have them: what each column is, by what it holds; covariates that are words; counts; layouts."""

import datasets
import numpy as np
import pandas as pd
import pytest
import torch

from hubmodels.errors import HubmodelsError
from hubmodels.report import collect_notes
from hubmodels.tasks.inputs.series_tables import sort_rows
from hubmodels.tasks.time_series_classification import TimeSeriesClassification
from hubmodels.tasks.time_series_forecasting import TimeSeriesForecasting

SHORT = {"context_length": 8, "prediction_length": 4}


def to_dataset(frame: pd.DataFrame) -> datasets.Dataset:
    return datasets.Dataset.from_pandas(frame, preserve_index=False)


def fitted(frame: pd.DataFrame, **options):
    """The task's problem on these rows, its rows, and the notes."""
    task = TimeSeriesForecasting.from_options(**SHORT | options)
    with collect_notes() as notes:
        rows = task.select(task.prepare(to_dataset(frame)))
        problem = task.fit(rows)
    return problem, rows, notes


def wave(count: int) -> np.ndarray:
    return np.sin(np.arange(count)) + 0.5


def said(notes, *words: str) -> bool:
    return any(all(word in note.text for word in words) for note in notes)


@pytest.mark.parametrize("form", ["%d.%m.%Y", "%m/%d/%Y", "%Y%m%d", "%d-%b-%Y", "%Y-%m-%d", "%d/%m/%Y %H:%M"])
def test_times_are_found_by_what_a_column_holds_and_newest_first_is_sorted(form) -> None:
    days = pd.date_range("2023-11-20", periods=60, freq="D")
    frame = pd.DataFrame({"Tag": days.strftime(form), "umsatz": wave(60)})[::-1]
    problem, rows, notes = fitted(frame)
    assert problem.processor.time_column == "Tag"
    assert problem.processor.channels == ["umsatz"]
    assert problem.processor.frequency == "1D"
    np.testing.assert_allclose(rows["umsatz"], wave(60))
    assert said(notes, "Tag is the time")
    assert said(notes, "newest first", "sorted by Tag")
    again = problem.processor.read(frame)[0]
    np.testing.assert_array_equal(problem.processor.future_times(again, 2), pd.date_range("2024-01-19", periods=2))


def test_two_columns_of_times_are_refused_with_the_flag() -> None:
    days = pd.date_range("2023-11-20", periods=60, freq="D")
    frame = pd.DataFrame({"Beginn": days.astype(str), "Ende": (days + pd.Timedelta("1D")).astype(str), "y": wave(60)})
    with pytest.raises(HubmodelsError, match="Beginn, Ende; choose one with --time_column_name"):
        fitted(frame)


def test_years_row_numbers_and_constants_are_no_channels_and_each_is_said() -> None:
    frame = pd.DataFrame(
        {"Unnamed: 0": range(60), "Jahr": range(1900, 1960), "shop": 7, "leer": [None] * 60, "y": wave(60)}
    ).astype({"leer": "float64"})
    problem, _, notes = fitted(frame)
    assert problem.processor.channels == ["y"]
    assert problem.processor.time_column == "Jahr"
    for name, why in (("Unnamed: 0", "number of the row"), ("shop", "constant"), ("leer", "no value")):
        assert said(notes, f"{name} is left out", why)
    assert {note.column for note in notes if note.column} == set(frame)


def test_several_ids_are_found_by_times_that_recur() -> None:
    frames = [
        pd.DataFrame({"day": pd.date_range("2024-01-01", periods=30), "store": store, "item": item, "y": wave(30)})
        for store in (3, 4) for item in ("x", "y")
    ]  # fmt: skip
    frame = pd.concat(frames).sample(frac=1, random_state=0)
    problem, rows, notes = fitted(frame)
    assert sorted(problem.processor.id_columns) == ["item", "store"]
    assert len(rows) == 120
    assert said(notes, "store says which series", "times recur")
    assert len(problem.processor.read(frame)) == 4
    units = problem.task.units(to_dataset(frame).features)
    assert (units.time, set(units.series), units.context) == ("day", {"store", "item"}, 8)


def test_times_with_a_zone_are_utc_and_days_of_a_zone_are_days() -> None:
    hours = pd.date_range("2024-10-26", periods=72, freq="h", tz="Europe/Berlin")  # one hour occurs twice
    problem, _, _ = fitted(pd.DataFrame({"date": hours, "y": wave(72)}))
    assert problem.processor.frequency == "1h"
    days = pd.date_range("2024-03-01", periods=60, freq="D", tz="Europe/Berlin")
    assert fitted(pd.DataFrame({"date": days, "y": wave(60)}))[0].processor.frequency == "1D"


def test_times_beside_their_hour_are_put_on_it_and_missing_hours_are_counted() -> None:
    hours = pd.date_range("2024-01-01", periods=60, freq="h")
    beside = pd.to_timedelta(np.random.default_rng(0).integers(-40, 40, 60), unit="s")
    frame = pd.DataFrame({"date": hours + beside, "y": wave(60)}).drop(index=[20, 21])
    problem, rows, notes = fitted(frame)
    assert problem.processor.frequency == "1h"
    assert len(rows) == 60
    assert said(notes, "2 steps are not there")
    assert said(notes, "lay up to", "beside a step of 1h")


def test_words_are_covariates_and_an_unknown_word_is_none_of_them() -> None:
    frame = pd.concat(
        [
            pd.DataFrame({"item_id": name, "date": pd.date_range("2024-01-01", periods=40), "y": wave(40) + level,
                          "holiday": ["no", "no", "yes", "eve"] * 10, "region": region})
            for name, level, region in (("a", 0, "north"), ("b", 9, "south"))
        ]
    )  # fmt: skip
    problem, rows, notes = fitted(frame, future_column_names=["holiday"], static_column_names=["region"])
    processor = problem.processor
    assert processor.categories == {"holiday": ["eve", "no", "yes"], "region": ["north", "south"]}
    assert problem.config_fields()["num_time_features"] == 3
    assert problem.config_fields()["num_static_real_features"] == 2
    assert said(notes, "holiday has the categories eve, no, yes")
    encoded = problem.encode(rows[:4], list(range(4)), rows.features)
    assert encoded["time_features"].tolist() == [[0, 1, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0]]
    assert encoded["static_real_features"].tolist() == [[1, 0]] * 4
    future = pd.DataFrame({"date": pd.date_range("2024-02-10", periods=9), "holiday": ["no", "feast"] + ["yes"] * 7})
    known = processor.known_ahead(processor.read(frame), future, 4)  # of every series, found by its times
    assert known[1].tolist() == [[0, 1, 0], [0, 0, 0], [0, 0, 1], [0, 0, 1]]


def test_counts_are_not_forecast_below_zero_unless_asked_for() -> None:
    frame = pd.DataFrame({"date": pd.date_range("2024-01-01", periods=60), "sold": np.arange(60) % 5, "t": wave(60)})
    problem, _, notes = fitted(frame)
    assert problem.processor.counts == ["sold"]
    assert said(notes, "sold", "not forecast below")
    outputs = type("Outputs", (), {})()
    outputs.prediction_outputs = torch.full((1, 4, 2), -9.0)
    answers = problem.answers(outputs)
    np.testing.assert_allclose(answers["sold"], 0, atol=1e-6)
    assert (answers["t"] < -1).all()
    assert fitted(frame, forecast_below_zero=True)[0].processor.counts == []


def test_lengths_adapt_to_short_series_and_a_given_one_stays() -> None:
    frame = pd.DataFrame({"date": pd.date_range("2024-01-01", periods=60), "y": wave(60)})
    task = TimeSeriesForecasting()
    task.prepare(to_dataset(frame))
    assert task.input.prediction_length < 24
    assert task.input.context_length + 3 * task.input.prediction_length <= 60
    task = TimeSeriesForecasting.from_options(prediction_length=3)
    task.prepare(to_dataset(frame))
    assert task.input.prediction_length == 3


def long_frame() -> pd.DataFrame:
    frames = [
        pd.DataFrame({"run": f"r{n}", "ms": range(0, 100, 5), "v": wave(20) + n, "label": "ab"[n % 2]})
        for n in range(9)
    ]
    return pd.concat(frames).sample(frac=1, random_state=1)


def test_rows_of_a_long_table_are_whole_series_before_they_are_split() -> None:
    task = TimeSeriesClassification.from_options(time_column_name="ms", series_id_column_name="run")
    rows = task.prepare(to_dataset(long_frame()))
    assert len(rows) == 9
    for series, label in zip(rows["series"], rows["label"], strict=True):
        level = np.array(series)[:, 0] - wave(20)
        np.testing.assert_allclose(level, level[0], atol=1e-5)  # in order of time
        assert "ab"[round(level[0]) % 2] == label


def test_a_wide_table_is_known_by_its_numbered_columns() -> None:
    generator = np.random.default_rng(0)
    frame = pd.DataFrame(generator.normal(size=(12, 10)), columns=[f"s_{n}" for n in range(10)]).assign(label="u")
    frame.loc[3, ["s_8", "s_9"]] = np.nan
    task = TimeSeriesClassification()
    with collect_notes() as notes:
        rows = task.prepare(to_dataset(frame))
    assert [len(series) for series in rows["series"][:5]] == [10, 10, 10, 8, 10]
    assert said(notes, "each row is a series", "s_0 to s_9")


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([*range(60), 10], "stood in order but for 1 whose time stands above already"),
        ([*range(60), 10, 20, 20], "stood in order but for 3 whose times stand above already"),
        ([*range(30), 40, 35, *range(50, 60)], "stood in no order"),
        ([*range(60)][::-1], "stood with the newest first"),
    ],
)
def test_it_is_said_in_which_order_rows_stood_also_where_a_time_stands_twice(rows: list[int], words: str) -> None:
    days = pd.date_range("2023-11-20", periods=60, freq="D")[rows]
    with collect_notes() as notes:
        sort_rows(to_dataset(pd.DataFrame({"day": days, "y": wave(len(rows))})), [], "day")
    assert said(notes, words)
