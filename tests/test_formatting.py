"""Numbers as people read them."""

import math

import pytest

from hubmodels.formatting import format_interval, format_number, format_spread


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.95531, "0.9553"), (3.21, "3.2100"), (-9.00004, "-9.0000"), (21.2345, "21.23"), (1234567.0, "1,234,567"),
        (0.0, "0"), (0.00012345, "0.0001234"), (1e-9, "1.000e-09"), (math.nan, "nan"),
    ],
)  # fmt: skip
def test_a_number_has_four_decimals_near_one_and_four_digits_elsewhere(value: float, text: str) -> None:
    assert format_number(value) == text


def test_a_sign_is_shown_where_asked_for() -> None:
    assert [format_number(value, "+") for value in (0.5, -0.5, 12345.6)] == ["+0.5000", "-0.5000", "+12,346"]


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ({"value": 0.95531, "low": 0.95123, "high": 0.95931}, "0.9553 [0.9512, 0.9593]"),
        ({"value": 44174.2, "low": 42077.0, "high": 46365.0}, "44,174 [42,077, 46,365]"),
        ({"value": 0.5, "low": None, "high": None}, "0.5000"),
        ({"value": None, "low": None, "high": None}, "-"),
        (None, "-"),
    ],
)
def test_an_interval_stands_behind_its_value(entry: dict | None, text: str) -> None:
    assert format_interval(entry) == text


def test_a_spread_has_as_many_decimals_as_its_mean() -> None:
    assert format_spread([0.8, 0.9]) == "0.8500 ± 0.0707"
    assert format_spread([44000.0, 44400.0]) == "44,200 ± 283"
    assert format_spread([-0.01, -0.02], "+") == "-0.0150 ± 0.0071"
    assert format_spread([0.5]) == "0.5000 ± 0.0000"
