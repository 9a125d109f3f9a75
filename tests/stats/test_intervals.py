"""Intervals against scipy and against their definitions."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmrun.stats import normal_interval, percentile_interval, wilson_interval

COUNTS = st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(COUNTS)
def test_wilson_is_scipys(counts: tuple[int, int]) -> None:
    from scipy.stats import binomtest

    theirs = binomtest(*counts).proportion_ci(method="wilson")
    assert wilson_interval(*counts) == pytest.approx((theirs.low, theirs.high), rel=1e-9, abs=1e-12)


@given(COUNTS)
def test_wilson_holds_the_proportion_within_zero_and_one(counts: tuple[int, int]) -> None:
    low, high = wilson_interval(*counts)
    assert 0 <= low <= counts[0] / counts[1] <= high <= 1
    assert high > low


@pytest.mark.parametrize(("successes", "n"), [(1, 0), (-1, 5), (6, 5)])
def test_wilson_refuses_what_is_no_proportion(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match="not a proportion"):
        wilson_interval(successes, n)


@given(st.floats(0, 1), st.floats(0, 2))
def test_normal_interval_holds_the_value_and_keeps_to_its_bounds(value: float, stderr: float) -> None:
    low, high = normal_interval(value, stderr, (0.0, 1.0))
    assert 0 <= low <= value <= high <= 1


def test_normal_interval_without_bounds() -> None:
    assert normal_interval(10.0, 1.0) == pytest.approx((8.04, 11.96), abs=1e-3)


def test_percentiles_are_replicates() -> None:
    assert percentile_interval(list(range(1000, 0, -1))) == (25, 975)
    assert percentile_interval([math.inf, 1.0]) == (1.0, math.inf)


def test_percentiles_of_nan_are_unknown() -> None:
    assert percentile_interval([1.0, math.nan]) is None
