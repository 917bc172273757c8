"""What columns are taken for: numbers, dates and codes written and read back, against Python and pandas."""

import datetime
import json
import random
import re
import time

import numpy as np
import pandas as pd
import pyarrow
import pytest

from hubmodels.data.kinds import ColumnKind, Kinds, decide_kinds
from hubmodels.errors import BadRow, HubmodelsError
from hubmodels.recipe import ReadingOptions
from hubmodels.report import Note, collect_notes

NUM_ROWS = 400
AWARE = datetime.datetime(2024, 5, 1, 10, tzinfo=datetime.UTC)


def decide(columns: dict, **options) -> tuple[Kinds, pyarrow.Table, dict[str, Note]]:
    """The kinds of columns, the values that are read by them, and the notes by column."""
    table = pyarrow.table(columns)
    with collect_notes() as notes:
        kinds = decide_kinds(table, ReadingOptions(**options))
    json.dumps(kinds.to_dict())
    assert Kinds.from_dict(json.loads(json.dumps(kinds.to_dict()))) == kinds
    return kinds, kinds.apply(table), {note.column: note for note in notes}


def read(cells: list, name: str = "x", **options) -> list:
    """The values of one column."""
    return decide({name: cells}, **options)[1].column(name).to_pylist()


def locale_number(value: float, decimal: str, thousands: str) -> str:
    """A number as a country writes it."""
    return f"{value:,.2f}".translate({ord(","): thousands, ord("."): decimal})


# ---------------------------------------------------------------- numbers


@pytest.mark.parametrize(
    ("decimal", "thousands"), [(".", ","), (",", "."), (",", " "), (",", "\u202f"), (".", "'"), (",", ""), (".", "")]
)
@pytest.mark.parametrize("around", ["{}", "${}", "{} €", "CHF {}", "{}%", "{} kg", "{} km/h", "  {} "])
def test_a_number_of_any_country_is_read_back(decimal: str, thousands: str, around: str) -> None:
    draw = random.Random(decimal + thousands + around)
    values = [round(draw.gauss(0, 10 ** draw.randint(0, 7)), 2) for _ in range(NUM_ROWS)]
    cells = [around.format(locale_number(value, decimal, thousands)) for value in values]
    assert read(cells) == pytest.approx(values)


@pytest.mark.parametrize(
    "write",
    [
        lambda v: f"({v})",
        lambda v: f"{v}-",
        lambda v: f"\u2212{v}",
        lambda v: f"- {v}",
        lambda v: f"-${v}",
        lambda v: f"$-{v}",
        lambda v: f"(${v})",
    ],
)
def test_every_way_to_write_a_negative_number_is_read(write) -> None:
    money = "$" if "$" in write("1") else ""
    cells = [write(f"{number}.5") if number % 2 else f"{money}{number}.5" for number in range(1, 100)]
    assert read(cells) == [-(number + 0.5) if number % 2 else number + 0.5 for number in range(1, 100)]


def test_lakhs_and_scientific_notation_are_numbers() -> None:
    assert read(["12,34,567", "1,00,000", "99,999"] * 20)[:3] == [1234567, 100000, 99999]
    assert read(["1e5", "3.2E-4", "-7e+02"] * 20)[:3] == [1e5, 3.2e-4, -700]


@pytest.mark.parametrize(
    "gap", ["", "?", "NA", "N/A", "n/a", "-", "--", "null", "None", "nan", "NaN", "missing", "#N/A", " "]
)
def test_a_gap_in_a_column_of_numbers_is_null_and_no_gap_of_a_category(gap: str) -> None:
    assert read([gap if row % 3 == 0 else str(row) for row in range(90)]) == [
        None if row % 3 == 0 else row for row in range(90)
    ]
    words = ["town" if row % 3 else gap for row in range(90)]
    assert read(words) == words


def test_a_mark_that_is_ambiguous_is_decided_by_the_file_and_said() -> None:
    ambiguous = [f"{number},{number + 100}" for number in range(1, 200)]
    _, table, notes = decide({"x": ambiguous})
    assert table["x"].to_pylist()[:2] == [1101, 2102]  # alone: thousands
    assert notes["x"].surprising
    assert notes["x"].remedy == 'decimal: ","'
    _, table, notes = decide({"x": ambiguous, "y": [f"{number},5" for number in range(1, 200)]})
    assert table["x"].to_pylist()[:2] == [1.101, 2.102]
    assert notes["x"].surprising
    assert "other columns" in notes["x"].text
    assert read(ambiguous, decimal=",")[:2] == [1.101, 2.102]
    assert read(ambiguous, decimal=".")[:2] == [1101, 2102]
    assert read([*ambiguous, "0,125"])[:2] == [1.101, 2.102]  # one decisive cell
    assert read([*ambiguous, "1,234,567"])[:2] == [1101, 2102]


def test_what_does_not_fit_becomes_a_gap_that_is_counted_and_named() -> None:
    cells = ["soon" if row in (7, 2000, 9_999) else str(row % 91) for row in range(10_000)]
    kinds, table, notes = decide({"x": cells})
    assert table["x"].null_count == 3
    assert "3 of 10,000 values are no number and become gaps: 'soon' (rows 7, 2000, 9999)" in notes["x"].text
    assert notes["x"].surprising
    with collect_notes() as later:  # new files: as in training, counted, said
        values = kinds.apply(pyarrow.table({"x": ["5", "late"]}))["x"].to_pylist()
    assert values == [5, None]
    assert ["'late' is no whole number" in note.text for note in later] == [True]


def test_each_cell_that_does_not_fit_is_named_with_its_own_rows() -> None:
    odd = {11: "inf", 12: "1e400", 30: "sold", 50: "sold", **dict.fromkeys(range(60, 70), "none left")}
    cells = [odd.get(row, str(row % 91)) for row in range(10_000)]
    for table in ({"x": cells}, {"x": pyarrow.chunked_array([cells[:31], cells[31:63], cells[63:]])}):
        _, _, notes = decide(table)
        assert notes["x"].text.endswith(
            "14 of 10,000 values are no number and become gaps: 'inf' (row 11), '1e400' (row 12), 'sold' "
            "(rows 30, 50), 'none left' (rows 60, 61, 62, ...)"
        )


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ([f"{row}{' km' if row % 2 else ''}" for row in range(100)], "not the same in all rows ('km' 50%, none 50%)"),
        ([f"{row / 2}{'kg' if row % 4 else ' g'}" for row in range(100)], "('kg' 75%, 'g' 25%): write one unit"),
        ([f"{row % 24}h {row % 60}m" for row in range(100)], "several units such as '0h 0m'; durations are read as"),
        ([f"{row} ft {row % 12} in" for row in range(100)], "numbers with several units such as '0 ft 0 in'"),
    ],
)
def test_numbers_with_other_units_in_other_rows_are_text_and_it_is_said(cells: list[str], words: str) -> None:
    _, values, notes = decide({"x": cells})
    assert values.column("x").to_pylist() == cells
    assert notes["x"].surprising
    assert words in notes["x"].text


@pytest.mark.parametrize("names", [["1st", "2nd", "3rd"], ["12 Main Street", "7 Low Road"], ["A12", "B7"]])
def test_words_with_numbers_in_them_are_no_numbers_with_units(names: list[str]) -> None:
    _, _, notes = decide({"x": [f"{names[row % len(names)]}" for row in range(100)]})
    assert "x" not in notes


def test_a_share_that_is_not_the_whole_is_never_100_percent() -> None:
    _, _, notes = decide({"x": [f"{row % 28 + 1}.01.2024" if row else "soon" for row in range(300)][::-1] * 2})
    assert "100%" not in notes["x"].text


def test_a_column_of_too_many_words_is_text_and_says_what_would_make_it_numbers() -> None:
    cells = ["unsure" if row % 10 == 3 else str(row) for row in range(1000)]
    kinds, table, notes = decide({"x": cells})
    assert table["x"].to_pylist() == cells
    assert notes["x"].remedy == "column_kinds: {x: number}"
    assert read(cells, column_kinds={"x": "number"}) == [None if row % 10 == 3 else row for row in range(1000)]


def test_a_new_cell_that_cannot_be_read_is_named_with_how_many_more() -> None:
    kinds, _, _ = decide({"x": [str(row) for row in range(100)]})
    with pytest.raises(BadRow, match=r"'a{37}\.\.\.' is no whole number \(nor are 1 more values\)") as caught:
        kinds.apply(pyarrow.table({"x": pyarrow.chunked_array([["1", "2"], ["3", "a" * 90, "b"]])}))
    assert (caught.value.row, caught.value.column) == (3, "x")


@pytest.mark.parametrize("infinite", ["inf", "-Infinity", "1e400"])
def test_an_infinity_is_a_gap(infinite: str) -> None:
    values = read([infinite if row == 5 else f"{row}.5" for row in range(1000)])
    assert values[5] is None
    assert values[6] == 6.5
    typed = [float(infinite) if row == 5 else row + 0.5 for row in range(1000)]
    _, table, notes = decide({"x": typed})
    assert table["x"].null_count == 1
    assert "row 5" in notes["x"].text
    assert notes["x"].surprising


# ---------------------------------------------------------------- codes, words


@pytest.mark.parametrize(
    "cells",
    [
        ["01", "02", "03"] * 30,
        [f"{number:05}" for number in range(7_000, 13_000, 7)],
        [str(2**53 + number) for number in range(100)],
        ["NA", "EU"] * 50,
        ["1e5", "a3f", "09b"] * 30,
        [f"k{number}" for number in range(100)],
        ["192.168.0.1", "10.0.0.2"] * 30,
        ["1.2.3", "1.10.0"] * 30,
        ["yes", "no"] * 30,
        ["true", "false"] * 30,
        ["555-1234", "555-9876"] * 30,
        ["0x1F", "0x2A"] * 30,
        ["16:9", "4:3"] * 30,
        ["$5", "7 €", "£3"] * 30,
        ["12 kg", "3 lb"] * 30,
        ["the cat sat", "it rained in May 2024"] * 30,
    ],
)  # fmt: skip
def test_codes_and_words_stay_as_they_are(cells: list) -> None:
    assert read(cells) == cells


def test_a_saved_category_stays_text_whatever_a_new_file_holds() -> None:
    kinds, _, _ = decide({"code": ["01", "02", "XX"] * 30, "n": ["1", "2", "3"] * 30})
    kinds = Kinds.from_dict(kinds.to_dict())
    assert kinds.apply(pyarrow.table({"code": ["1", "02"]}))["code"].to_pylist() == ["1", "02"]
    typed = pyarrow.table({"code": [1, 2], "n": [1.0, 2.5]})
    assert kinds.apply(typed).to_pydict() == {"code": ["1", "2"], "n": [1.0, 2.5]}


def test_true_and_false_of_python_are_booleans() -> None:
    assert read(["True", "False"] * 30)[:2] == [True, False]
    assert read(["yes", "no"] * 30, column_kinds={"x": "boolean"})[:2] == [True, False]


# ---------------------------------------------------------------- dates and times

DAYS = [
    datetime.datetime(2019, 3, 1) + datetime.timedelta(days=11 * number, minutes=77 * number) for number in range(200)
]
FORMATS = [
    "%Y-%m-%d", "%Y/%m/%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%y", "%m/%d/%y", "%d %b %Y", "%b %d, %Y",
    "%B %d %Y",
    "%d-%b-%y", "%a, %d %b %Y", "%Y%m%d", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M:%S", "%d/%m/%Y %H:%M", "%m/%d/%Y %I:%M %p",
    "%d.%m.%Y, %H:%M:%S", "%Y-%m-%d %H:%M:%S.%f", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S+0000",
]  # fmt: skip


@pytest.mark.parametrize("form", FORMATS)
def test_a_date_in_any_order_is_read_back(form: str) -> None:
    cells = [day.strftime(form) for day in DAYS]
    expected = [datetime.datetime.strptime(cell, form).replace(tzinfo=None) for cell in cells]
    assert read(cells) == expected
    with_gaps = ["?" if row % 9 == 0 else cell for row, cell in enumerate(cells)]
    assert read(with_gaps) == [None if row % 9 == 0 else day for row, day in enumerate(expected)]


def test_times_with_a_zone_are_read_in_utc_and_said() -> None:
    _, table, notes = decide({"t": [f"2024-03-0{1 + row % 9}T23:30:00-05:00" for row in range(60)]})
    assert table["t"][0].as_py() == datetime.datetime(2024, 3, 2, 4, 30)
    assert "UTC" in notes["t"].text
    zoned = pd.Series(pd.date_range("2024-10-26", periods=60, freq="h", tz="Europe/Berlin"))
    _, table, notes = decide({"t": pyarrow.array(zoned)})
    assert table["t"].to_pylist() == zoned.dt.tz_convert("UTC").dt.tz_localize(None).dt.to_pydatetime().tolist()
    assert "Europe/Berlin" in notes["t"].text


def test_an_ambiguous_order_is_decided_by_the_file_or_said_with_the_remedy() -> None:
    ambiguous = [f"{1 + row % 12}/{1 + row % 11}/2024" for row in range(100)]
    _, table, notes = decide({"x": ambiguous})
    assert table["x"][1].as_py() == datetime.datetime(2024, 2, 2)
    assert table["x"][11].as_py() == datetime.datetime(2024, 12, 1)
    assert (notes["x"].surprising, notes["x"].remedy) == (True, "date_order: dmy")
    _, table, _ = decide({"x": ambiguous, "y": [f"{1 + row % 28}/5/2024" for row in range(100)]})
    assert table["x"][11].as_py() == datetime.datetime(2024, 1, 12)
    assert read(ambiguous, date_order="dmy")[11] == datetime.datetime(2024, 1, 12)
    assert read([text.replace("/", ".") for text in ambiguous])[11] == datetime.datetime(2024, 1, 12)  # dots: day first


def test_whole_numbers_that_are_dates_are_dates_and_said() -> None:
    days = [20190101 + 100 * (row % 12) + row % 28 for row in range(100)]
    _, table, notes = decide(
        {"day": list(map(str, days)), "typed": days, "paid": [1_000_000 + row * 7 for row in range(100)]}
    )
    assert table["day"][0].as_py() == table["typed"][0].as_py() == datetime.datetime(2019, 1, 1)
    assert notes["day"].surprising
    assert notes["day"].remedy == "column_kinds: {day: number}"
    assert table["paid"][1].as_py() == 1_000_007
    assert read(list(map(str, days)), column_kinds={"x": "number"})[0] == 20190101
    seconds = [1_700_000_000 + 3600 * row for row in range(100)]
    _, table, _ = decide({"created_at": seconds, "time": [second * 1000 for second in seconds], "y": seconds})
    assert table["created_at"][1].as_py() == table["time"][1].as_py() == datetime.datetime(2023, 11, 14, 23, 13, 20)
    assert table["y"][1].as_py() == seconds[1]  # nothing says that it is a time


def test_months_and_quarters_are_dates() -> None:
    assert read([f"2024-{1 + row % 12:02}" for row in range(60)])[1] == datetime.datetime(2024, 2, 1)
    assert read([f"2024-Q{1 + row % 4}" for row in range(60)])[2] == datetime.datetime(2024, 7, 1)


def test_durations_and_times_of_day_are_seconds() -> None:
    spans = pd.to_timedelta(np.arange(60) * 4_321 - 9_000, unit="s")
    assert read(spans.astype(str).tolist()) == spans.total_seconds().tolist()
    assert read(["1:23:45", "0:00:01"] * 30)[:2] == [5025, 1]
    assert read(["2:05 pm", "12:00 am"] * 30)[:2] == [50_700, 0]
    _, table, _ = decide(
        {"span": pyarrow.array([datetime.timedelta(minutes=2)]), "clock": pyarrow.array([datetime.time(1, 0)])}
    )
    assert table.to_pydict() == {"span": [120.0], "clock": [3600.0]}


# ---------------------------------------------------------------- types, options, size


def test_types_that_models_do_not_read_become_numbers_or_words() -> None:
    table = {
        "decimal": pyarrow.array([1, 2, None], pyarrow.decimal128(20, 2)),
        "half": pyarrow.array(np.float16([1.5, 2.5, 3.5])),
        "word": pyarrow.array(["a", "b", None]).dictionary_encode(),
        "large": pyarrow.array([2**60, 2**60 + 1, None]),
        "small": pyarrow.array([1, -1, 127], pyarrow.int8()),
    }
    _, values, notes = decide(table)
    assert values.to_pydict() == {
        "decimal": [1.0, 2.0, None], "half": [1.5, 2.5, 3.5], "word": ["a", "b", None],
        "large": [str(2**60), str(2**60 + 1), None], "small": [1, -1, 127],
    }  # fmt: skip
    assert notes["large"].surprising


@pytest.mark.parametrize("name", ["", "Unnamed: 0", "__index_level_0__"])
@pytest.mark.parametrize("write", [str, int])
def test_a_row_index_is_named(name: str, write: type) -> None:
    kinds, _, notes = decide({name: [write(row) for row in range(100)], "x": ["a", "b"] * 50})
    assert kinds.columns[name].kind == "row index"
    assert "row index" in notes[name].text


def test_columns_are_dropped_and_unknown_names_and_kinds_refused() -> None:
    _, table, notes = decide({"age": ["1", "2"], "town": ["a", "b"]}, drop_columns=["age"])
    assert table.column_names == ["town"]
    assert notes["age"].kind == "left out"
    for options, words in (
        ({"drop_columns": ["agee"]}, "drop_columns: .* no column 'agee', did you mean 'age'"),
        ({"column_kinds": {"twn": "category"}}, "column_kinds: .* no column 'twn'.*"),
        ({"column_kinds": {"age": "numbr"}}, "'age' cannot be 'numbr', did you mean 'number'"),
    ):
        with pytest.raises(HubmodelsError, match=words):
            decide({"age": ["1", "2"], "town": ["a", "b"]}, **options)


def test_what_a_person_says_of_a_column_is_read_so_or_refused() -> None:
    days = [20240101.0 + row % 28 for row in range(60)]
    assert read(days, column_kinds={"x": "date"})[1] == datetime.datetime(2024, 1, 2)
    assert read([1, 2.0, 1.5], column_kinds={"x": "category"}) == ["1", "2", "1.5"]
    assert read([1, 0, None], column_kinds={"x": "boolean"}) == [True, False, None]
    for cells, kind, words in (
        (["a", "b"] * 30, "number", "none of the 60 values of column 'x' is a number; the first is 'a' .row 0"),
        (["a", "b"] * 30, "boolean", "'a' is no boolean"),
        ([DAYS[0]] * 30, "number", "holds timestamp.* cannot be read as number"),
        ([[1]] * 30, "category", "holds list.* cannot be read as category"),
    ):
        with pytest.raises(HubmodelsError, match=words):
            read(cells, column_kinds={"x": kind})


def test_views_of_text_are_text() -> None:
    assert read(pyarrow.array(["$5", "$7"] * 30, pyarrow.string_view()))[:2] == [5, 7]


def test_dates_of_both_orders_are_text_and_said() -> None:
    _, table, notes = decide({"x": ["31/12/2024", "12/31/2024"] * 30})
    assert table["x"][0].as_py() == "31/12/2024"
    assert "order of day and month" in notes["x"].text


def test_a_column_says_the_same_whether_it_is_cut_into_chunks_or_not() -> None:
    cells = ["?" if row % 50 == 0 else f"{row * 1.5:,.1f}" for row in range(5_000)]
    whole, _, notes = decide({"x": cells})
    cut = pyarrow.chunked_array([cells[start : start + 333] for start in range(0, 5_000, 333)])
    again, table, said = decide({"x": cut})
    assert (whole, notes) == (again, said)
    assert table["x"].to_pylist() == read(cells)


def test_kinds_of_no_rows_keep_their_types() -> None:
    kinds, _, _ = decide({"x": ["1.5"] * 30, "day": ["2024-01-05"] * 30})
    empty = kinds.apply(pyarrow.table({"x": ["1"], "day": [""]}).slice(0, 0))
    assert [str(field.type) for field in empty.schema] == ["double", "timestamp[s]"]


def test_a_large_table_is_decided_in_time_linear_in_its_rows() -> None:
    draw = np.random.default_rng(0)
    columns = {f"x{number}": np.char.mod("%.4f", draw.normal(size=100_000)) for number in range(4)}
    started = time.process_time()
    decide(columns)
    assert time.process_time() - started < 5  # 0.2 s alone; a loop over cells in Python takes longer


def test_a_wide_table_is_decided_in_seconds() -> None:
    draw = np.random.default_rng(0)
    columns = {f"x{number}": np.char.mod("%.4f", draw.normal(size=300)) for number in range(500)}
    started = time.process_time()
    decide(columns)
    assert time.process_time() - started < 5


@pytest.mark.parametrize("times", [["2024-05-01T10:00:00+02:00"], ["2024-05-01 10:00:00Z"], [AWARE]])
def test_times_that_say_a_zone_are_noted_where_those_of_the_training_said_none(times) -> None:
    table = pyarrow.table({"t": times})
    for format, says in (({}, True), ({"zone": "UTC"}, False)):
        with collect_notes() as notes:
            Kinds({"t": ColumnKind("date", format)}).apply(table)
        assert any("say a zone, which those of the training rows did not" in note.text for note in notes) is says
    with collect_notes() as notes:
        Kinds({"t": ColumnKind("date")}).apply(pyarrow.table({"t": ["2024-05-01 10:00:00", "2024-05-01", None]}))
    assert not notes


@pytest.mark.parametrize(
    ("trained", "mark", "cells", "expected"),
    [
        (["1.5", "2.25"], ",", ["1,5", "1.002,25"], [1.5, 1002.25]),
        (["1,234.5", "12"], ",", ["1.234,5", "7"], [1234.5, 7.0]),
        (["1,5", "2,25"], ".", ["1.5", "1,002.25"], [1.5, 1002.25]),
        (["3 km", "4.5 km"], ",", ["3,5 km", "4 km"], [3.5, 4.0]),
        (["1.5", "2.25"], ",", ["57.0", "19.5"], [57.0, 19.5]),  # a column of the training's mark beside others
    ],
)
def test_a_decimal_mark_that_is_given_overrules_that_of_the_training(trained, mark, cells, expected) -> None:
    kinds, _, _ = decide({"x": trained * 50})
    values = kinds.written(mark).apply(pyarrow.table({"x": cells}))
    assert values.column("x").to_pylist() == expected


def test_an_order_of_dates_that_is_given_overrules_that_of_the_training() -> None:
    kinds, _, _ = decide({"x": [f"{day}.01.2024" for day in range(1, 29)]})
    values = kinds.written(date_order="mdy").apply(pyarrow.table({"x": ["01/31/2024", "2/1/2024"]}))
    assert values.column("x").to_pylist() == [datetime.datetime(2024, 1, 31), datetime.datetime(2024, 2, 1)]


@pytest.mark.parametrize(
    ("trained", "cells", "remedy"),
    [
        (["512.57", "3.5"], ["7", "512,57", ""], "--decimal ,"),
        (["512,57", "3,5"], ["512.57"], "--decimal ."),
        (["31.01.2024", "1.2.2024"], ["1/31/2024"], "--date_order mdy"),
        (["1/31/2024", "2/1/2024"], ["31/1/2024"], "--date_order dmy"),
    ],
)
def test_what_is_written_otherwise_than_in_training_is_refused_with_the_flag_that_reads_it(
    trained, cells, remedy
) -> None:
    kinds, _, _ = decide({"x": trained * 50})
    with pytest.raises(BadRow, match=f"with {re.escape(remedy)} it is one"):
        kinds.apply(pyarrow.table({"x": cells}))
    with pytest.raises(BadRow, match="correct it or leave the cell empty"):
        kinds.apply(pyarrow.table({"x": [*cells, "sold"]}))
