"""The processor of tables: the same tensors from any form of a table, statistics against scikit-learn and by hand."""

import datetime
import decimal
import json
import warnings

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.preprocessing import QuantileTransformer
from transformers import AutoProcessor

from hubmodels.processors.processing_table import MAX_QUANTILES, TabularProcessor
from hubmodels.processors.processing_table_columns import BadValue

NUM_ROWS = 400


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    """A table with every kind of column."""
    generator = np.random.default_rng(0)
    size = generator.lognormal(size=NUM_ROWS)
    rooms = np.where(generator.random(NUM_ROWS) < 0.1, np.nan, generator.integers(1, 9, NUM_ROWS))
    towns = generator.choice(["north", "south", "east"], NUM_ROWS).astype(object)
    towns[:2] = "islet"
    towns[5:9] = None
    return pd.DataFrame(
        {
            "size": size,
            "rooms": rooms,
            "town": towns,
            "garden": generator.random(NUM_ROWS) < 0.5,
            "sold": pd.date_range("2024-01-01", periods=NUM_ROWS, freq="31h"),
            "built": [str(datetime.date(1990 + index % 30, 1 + index % 12, 5)) for index in range(NUM_ROWS)],
            "country": "here",
            "size again": size,
            "key": [f"k{index}" for index in range(NUM_ROWS)],
        }
    )


@pytest.fixture(scope="module")
def processor(frame: pd.DataFrame) -> TabularProcessor:
    return TabularProcessor.fit(frame)


def same(first: dict, second: dict) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_every_kind_of_column_becomes_its_features(processor: TabularProcessor) -> None:
    assert processor.numeric_names == ["size", "rooms", "sold", "built"]
    assert dict(zip(processor.categorical_names, processor.cardinalities, strict=True)) == {
        "rooms is missing": 1, "town": 5, "garden": 2, "sold month": 12, "sold weekday": 7, "sold hour": 24,
        "built month": 12, "built weekday": 7,
    }  # fmt: skip


def test_columns_that_tell_nothing_are_dropped_with_the_reason(processor: TabularProcessor) -> None:
    assert processor.dropped == {
        "country": "constant: here",
        "size again": "the same as 'size'",
        "key": "an identifier or free text: 400 values in 400 rows",
    }


def test_a_processor_from_its_file_gives_identical_tensors(frame, processor, tmp_path) -> None:
    processor.save_pretrained(tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"processor_config.json", "processing_table.py", "processing_table_columns.py"}
    json.loads((tmp_path / "processor_config.json").read_text(), parse_constant=pytest.fail)  # no NaN, no infinity
    expected = processor(frame, return_tensors="pt")
    for loaded in (TabularProcessor.from_pretrained(tmp_path), AutoProcessor.from_pretrained(tmp_path)):
        assert type(loaded) is TabularProcessor
        assert loaded.to_dict() == processor.to_dict()
        assert same(loaded(frame, return_tensors="pt"), expected)


def test_quantile_scaling_is_scikit_learns(frame) -> None:
    values = frame["size"].to_numpy()
    fitted = TabularProcessor.fit(frame[["size"]])
    levels = len(fitted.columns[0]["quantiles"])
    reference = QuantileTransformer(n_quantiles=levels, output_distribution="normal", subsample=None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = reference.fit_transform(values[:, None])[:, 0]
    inner = np.abs(expected) < 1.5  # they interpolate probabilities, we scores: these differ only in the far tails
    np.testing.assert_allclose(fitted(frame)["numeric_features"][inner, 0], expected[inner], atol=0.02)


def test_robust_scaling_is_median_quartiles_and_a_smooth_clip() -> None:
    values = np.arange(101.0)
    fitted = TabularProcessor.fit({"x": values}, scaling="robust")
    scaled = (np.array([50.0, 75.0, 25.0, 1e300, -1e300]) - 50) / 50
    scaled = np.clip(scaled, -1e6, 1e6)
    expected = scaled / np.sqrt(1 + (scaled / 3) ** 2)
    given = fitted({"x": [50.0, 75.0, 25.0, 1e300, -1e300]})["numeric_features"][:, 0]
    np.testing.assert_allclose(given, expected, rtol=1e-6)


def test_a_missing_number_is_the_median_and_says_so(frame, processor) -> None:
    row = frame.iloc[0].to_dict()
    without = processor({**row, "rooms": None})
    median = processor({**row, "rooms": float(np.nanmedian(frame["rooms"]))})
    place = processor.categorical_names.index("rooms is missing")
    np.testing.assert_array_equal(without["numeric_features"], median["numeric_features"])
    assert (without["categorical_features"][0, place], median["categorical_features"][0, place]) == (1, 0)


def test_rare_and_unknown_values_share_a_code_and_missing_has_its_own(frame, processor) -> None:
    place = processor.categorical_names.index("town")
    rows = [{**frame.iloc[0].to_dict(), "town": town} for town in ("islet", "nowhere", None, "north", "south")]
    islet, nowhere, missing, north, south = processor(rows)["categorical_features"][:, place].tolist()
    assert islet == nowhere == 5
    assert len({islet, missing, north, south}) == 4


def test_an_unknown_value_is_code_zero_where_nothing_is_rare() -> None:
    fitted = TabularProcessor.fit({"c": ["a", "b"] * 10})
    assert fitted({"c": ["a", "b", "c"]})["categorical_features"].tolist() == [[1], [2], [0]]


def test_dates_have_month_weekday_and_hour(processor, frame) -> None:
    moment = datetime.datetime(2024, 2, 29, 17, 30)
    row = {**frame.iloc[0].to_dict(), "sold": moment}
    codes = dict(zip(processor.categorical_names, processor(row)["categorical_features"][0].tolist(), strict=True))
    assert codes["sold month"] == moment.month
    assert codes["sold weekday"] == moment.isoweekday()
    assert codes["sold hour"] == moment.hour + 1
    text = processor({**row, "sold": "2024-02-29T18:30:00+01:00"})  # the same moment elsewhere
    assert same(processor(row, return_tensors="pt"), {name: torch.tensor(value) for name, value in text.items()})


def test_every_form_of_a_table_gives_the_same_tensors(frame, processor) -> None:
    expected = processor(frame, return_tensors="pt")
    table = datasets.Dataset.from_pandas(frame)
    order = list(frame.columns)[::-1]
    forms = {
        "columns in another order": frame[order],
        "mapping of columns": {name: frame[name].to_numpy() for name in order},
        "mapping of lists": frame.to_dict("list"),
        "list of rows": frame.to_dict("records"),
        "datasets": table,
        "slice of datasets": table[:],
        "pyarrow": table.data.table,
        "with an extra column": frame.assign(extra=1),
        "nullable types": frame.convert_dtypes(),
    }
    for name, form in forms.items():
        assert same(processor(form, return_tensors="pt"), expected), name


def test_a_row_alone_is_what_it_is_in_the_table(frame, processor) -> None:
    together = processor(frame, return_tensors="pt")
    alone = processor(frame.iloc[7].to_dict(), return_tensors="pt")
    assert same(alone, {name: value[7:8] for name, value in together.items()})


def test_a_number_that_no_training_row_lacked_is_the_median_with_a_warning(frame, processor) -> None:
    rows = frame.head(10).assign(size=np.nan)
    with pytest.warns(UserWarning, match="'size' lacks 10 of 10 values, none in training"):
        found = processor(rows, return_tensors="pt")
    expected = processor(rows.assign(size=frame["size"].median()), return_tensors="pt")
    assert same(found, expected)


def test_columns_of_one_name_are_refused_only_where_they_are_read(frame, processor) -> None:
    with pytest.raises(ValueError, match="several columns of the name 'size'"):
        processor(pd.concat([frame, frame[["size"]]], axis=1))
    twice = pd.concat([frame.assign(other=1), frame.assign(other=1)[["other"]]], axis=1)
    assert same(processor(twice, return_tensors="pt"), processor(frame, return_tensors="pt"))


def test_an_empty_list_has_no_rows(processor) -> None:
    with pytest.raises(ValueError, match="the list is empty"):
        processor([])


def test_extra_columns_are_noted(frame, processor, caplog) -> None:
    processor(frame.assign(surplus=1))
    assert "ignored: surplus" in caplog.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop(columns="size"), "missing column 'size'"),
        (lambda f: f.rename(columns={"town": "towns"}), "missing column 'town' .did you mean 'towns'"),
        (lambda f: f.assign(size="large"), "column 'size' must hold numbers, row 0 holds 'large'"),
        (lambda f: f.assign(sold="yesterday"), "column 'sold' must hold dates .* row 0 holds 'yesterday'"),
        (lambda f: [{"size": 1}], "row 0: missing columns"),
        (lambda f: {**f.to_dict("list"), "size": [1.0]}, "one length"),
        (lambda f: {**f.to_dict("list"), "size": 1.0}, "single value"),
        (lambda f: 3, "a table must be"),
        (lambda f: {}, "no columns"),
    ],
)
def test_a_table_that_does_not_fit_is_refused_by_name(frame, processor, change, message) -> None:
    with pytest.raises(ValueError, match=message):
        processor(change(frame))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"x": []}, "no rows"),
        ({"x": [1, 1, 1]}, "no column tells anything .x: constant: 1"),
        ({"x": [None, None]}, "always missing"),
    ],
)
def test_a_table_that_tells_nothing_is_refused(table, message) -> None:
    with pytest.raises(ValueError, match=message):
        TabularProcessor.fit(table)


def test_unknown_fields_of_a_processor_are_refused() -> None:
    with pytest.raises(ValueError, match="scaling must be one of"):
        TabularProcessor(scaling="minmax")
    with pytest.raises(ValueError, match="unknown kind 'picture'"):
        TabularProcessor(columns=[{"name": "x", "kind": "picture"}])
    with pytest.raises(ValueError, match="did you mean 'town'"):
        TabularProcessor.fit({"town": [1, 2]}, categorical=["twn"])


def test_bins_hold_equally_many_rows_and_few_values_have_few_bins() -> None:
    generator = np.random.default_rng(0)
    table = {"many": generator.lognormal(size=5_000), "few": generator.integers(0, 3, 5_000)}
    fitted = TabularProcessor.fit(table)
    many, few = fitted.bin_edges(8)
    counts, _ = np.histogram(fitted(table)["numeric_features"][:, 0], bins=many)
    assert counts.sum() == 5_000
    assert np.abs(counts / 625 - 1).max() < 0.05
    assert len(few) == 3
    assert len(fitted.columns[0]["quantiles"]) == MAX_QUANTILES + 1


@pytest.mark.parametrize("scaling", ["quantile", "robust"])
def test_scaled_numbers_can_be_put_back_into_their_units(frame, scaling) -> None:
    fitted = TabularProcessor.fit(frame[["size", "rooms"]], scaling=scaling)
    restored = fitted.restore_numbers(fitted(frame)["numeric_features"])
    expected = frame[["size", "rooms"]].fillna({"rooms": frame["rooms"].median()}).to_numpy()
    np.testing.assert_allclose(restored, expected, rtol=1e-4)


def test_numerals_in_text_are_read_as_python_reads_them(frame, processor) -> None:
    row = frame.iloc[:20]
    text = {name: [None if pd.isna(value) else str(value) for value in row[name]] for name in processor.column_names}
    text["rooms"] = ["" if value is None else value for value in text["rooms"]]
    text["garden"] = [value.lower() for value in text["garden"]]  # true and false, as other languages write them
    assert same(processor(text, return_tensors="pt"), processor(row, return_tensors="pt"))


def test_a_category_of_whole_numbers_is_the_same_in_any_type() -> None:
    fitted = TabularProcessor.fit({"code": [1, 2, 3] * 10}, categorical=["code"])
    for form in ([1, 2, 3], [1.0, 2.0, 3.0], ["1", "2", "3"], ["1.0", "2.0", "3.0"]):
        assert fitted({"code": form})["categorical_features"][:, 0].tolist() == [1, 2, 3]
    assert fitted({"code": ["01", "1.5"]})["categorical_features"][:, 0].tolist() == [0, 0]


def test_durations_and_decimals_are_numbers() -> None:
    spans = [datetime.timedelta(minutes=minute) for minute in range(30)]
    seconds = TabularProcessor.fit({"x": [60.0 * minute for minute in range(30)]})
    for form in (spans, pd.Series(spans), np.array(spans, dtype="timedelta64[s]")):
        fitted = TabularProcessor.fit({"x": form})
        assert fitted.columns == seconds.columns
        np.testing.assert_array_equal(
            fitted({"x": form})["numeric_features"], seconds({"x": spans})["numeric_features"]
        )
    amounts = [decimal.Decimal(number) / 8 for number in range(30)]
    assert TabularProcessor.fit({"x": amounts}).columns == TabularProcessor.fit({"x": np.arange(30) / 8}).columns


def test_columns_that_are_left_out_have_their_reason() -> None:
    fitted = TabularProcessor.fit({"x": [1, 2, 3], "id": [4, 5, 6]}, left_out={"id": "an identifier"})
    assert (fitted.column_names, fitted.dropped) == (["x"], {"id": "an identifier"})
    with pytest.raises(ValueError, match=r"no column tells anything .id: an identifier"):
        TabularProcessor.fit({"id": [4, 5, 6]}, left_out={"id": "an identifier"})


def test_a_bad_value_has_its_row_and_column(processor, frame) -> None:
    with pytest.raises(BadValue, match="must hold numbers, row 3 holds 'x") as caught:
        processor(frame.astype({"size": object}).assign(size=[1.0, "2", None, "x" * 99, *[5.0] * (NUM_ROWS - 4)]))
    assert (caught.value.row, caught.value.column) == (3, "size")
    assert len(str(caught.value)) < 150
