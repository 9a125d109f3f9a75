"""How long the rest takes, as far as one can tell."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmrun.backends.hf.tree.outlook import Lengths, Pace
from tests.backends.tree.clock import Clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("lmrun.backends.hf.tree.outlook.time", clock)
    return clock


def timed(pace: Pace, clock: Clock, amount: int, seconds: float, whole: int = 1) -> None:
    with pace.timed(amount, whole):
        clock.now += seconds


def test_a_pace_is_that_of_the_last_times(clock: Clock) -> None:
    pace = Pace(3)
    assert pace.seconds_for(10) is None
    for seconds in (1, 2, 3, 4):
        timed(pace, clock, 10, seconds)
    assert pace.seconds_for(20) == pytest.approx(20 * (2 + 3 + 4) / 30)


def test_the_first_time_counts_only_until_the_second(clock: Clock) -> None:
    pace = Pace(8)
    timed(pace, clock, 10, 50)
    assert pace.seconds_for(10) == 50
    timed(pace, clock, 10, 2)
    timed(pace, clock, 10, 4)
    assert pace.seconds_for(10) == 3


def test_few_at_once_tell_nothing_unless_they_take_long(clock: Clock) -> None:
    pace = Pace(8)
    for amount, seconds in [(128, 5.0), (256, 0.4), (512, 0.3)]:
        timed(pace, clock, amount, seconds, whole=2048)
        assert pace.seconds_for(1) is None
    timed(pace, clock, 100, 1.0, whole=2048)
    assert pace.seconds_for(100) == 1.0
    timed(pace, clock, 1900, 0.4, whole=2048)
    assert pace.seconds_for(2000) == pytest.approx(1.4)


@given(seed=st.integers(0, 1000), mean=st.integers(2, 200), most=st.integers(1, 400), n=st.integers(200, 400))
def test_expected_lengths_are_those_of_answers_that_stop_by_chance(seed: int, mean: int, most: int, n: int) -> None:
    rng = random.Random(seed)
    found = [next((i for i in range(1, most + 1) if rng.random() < 1 / mean), None) for _ in range(n)]
    lengths = Lengths(sum(i or most for i in found), sum(i is not None for i in found))
    true = mean * (1 - (1 - 1 / mean) ** most)
    assert 0 < lengths.expected(most) <= most
    if lengths.stopped > 100:
        assert lengths.expected(most) == pytest.approx(true, rel=0.4)
        assert lengths.expected(most) <= lengths.longest(most, n) <= most


def test_nothing_stopped_yet_is_taken_to_reach_the_limit() -> None:
    lengths = Lengths(1000, 0)
    assert (lengths.expected(64), lengths.longest(64, 10)) == (64, 64)
