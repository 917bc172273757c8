"""What stands beside a model fails or is cut, and is said; it ends nothing."""

import threading
import time
from collections.abc import Iterator

import pytest

from hubmodels.budget import attempt, attempt_each, seconds_left, time_limit
from hubmodels.report import collect_notes


def test_what_fails_gives_nothing_and_says_why() -> None:
    with collect_notes() as notes:
        assert attempt("The figure", lambda: 1 / 0) is None
    assert [(note.text, note.surprising) for note in notes] == [
        ("The figure could not be computed: division by zero", True)
    ]


def test_what_is_well_says_nothing() -> None:
    with collect_notes() as notes:
        assert attempt("The figure", lambda: 7, seconds=60) == 7
    assert notes == []


def test_what_came_before_a_failure_is_there() -> None:
    def results() -> Iterator[int]:
        yield from (1, 2)
        raise KeyError("a column")

    with collect_notes() as notes:
        assert attempt_each("The figures", results) == [1, 2]
    assert "'a column'" in notes[0].text


def test_what_never_ends_is_cut_and_leaves_no_alarm_behind() -> None:
    def forever() -> Iterator[int]:
        for number in range(10**12):
            time.sleep(0.001)
            if number < 3:
                yield number

    with collect_notes() as notes:
        started = time.monotonic()
        assert attempt_each("The figures", forever, seconds=0.1) == [0, 1, 2]
        assert time.monotonic() - started < 5
    assert "was cut after" in notes[0].text
    time.sleep(0.2)  # an alarm that was left would end this test


def test_a_person_who_ends_the_run_is_obeyed() -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        attempt("The figure", interrupted)


def test_a_thread_is_told_its_time_though_no_alarm_can_end_it() -> None:
    left = []

    def work() -> None:
        with time_limit(50):
            left.append(seconds_left())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert 49 < left[0] <= 50
    assert seconds_left() == float("inf")
