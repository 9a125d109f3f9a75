"""The draws of the bootstrap, and sums from left to right."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from lmrun.stats import mean, mean_stderr, plain_sum, sample_stddev
from lmrun.stats.bootstrap import bootstrap, resamples


@settings(deadline=None)
@given(st.integers(1, 200), st.integers(1, 50), st.integers(0, 1000))
def test_resamples_are_the_draws_of_random_choices(n: int, replicates: int, seed: int) -> None:
    rng = random.Random(seed)
    theirs = [rng.choices(range(n), k=n) for _ in range(replicates)]
    assert [row for block in resamples(n, replicates, seed) for row in block.tolist()] == theirs


def test_resamples_larger_than_a_block() -> None:
    n = (1 << 16) + 5
    rng = random.Random(0)
    for block in resamples(n, 2, 0):
        assert block.tolist() == [rng.choices(range(n), k=n)]


def test_replicates_stay_in_the_order_of_their_seeds() -> None:
    firsts = bootstrap(10, 3000, lambda rows: rows[:, 0].tolist())
    assert len(firsts) == 3000
    assert [firsts[i * 1000] for i in range(3)] == [random.Random(i).choices(range(10), k=10)[0] for i in range(3)]


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=50))
def test_sums_go_from_left_to_right(values: list[float]) -> None:
    total = 0.0
    for value in values:
        total += value
    assert plain_sum(values) == total
    assert mean(values) == total / len(values)


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=50))
def test_standard_errors_are_not_negative(values: list[float]) -> None:
    assert sample_stddev(values) >= mean_stderr(values) >= 0
