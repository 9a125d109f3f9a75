"""Scores, standard errors and intervals: properties, and plain loops in place of the vectorised bootstrap."""

from __future__ import annotations

import math
import random
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmrun.errors import TaskError
from lmrun.scoring import LeafMetric, MetricResult, aggregate, aggregate_group
from lmrun.scoring.aggregate import AGGREGATIONS
from lmrun.scoring.spec import MetricSpec, ScoringSpec

FLOATS = st.floats(-50, 0, allow_nan=False)


def result(values: Sequence[Any], aggregation: str = "mean", iterations: int = 100, metric: str = "m") -> MetricResult:
    spec = ScoringSpec("generate_until", [MetricSpec(metric, aggregation)])
    (out,) = aggregate(spec, {(metric, "none"): values}, iterations)
    return out


def slow_bootstrap(values: Sequence[Any], statistic: Callable[[list[Any]], float], iterations: int) -> float:
    """Replicates one by one, as the definition reads."""
    chunk = min(1000, iterations)
    replicates = []
    for seed in range(iterations // chunk):
        rng = random.Random(seed)
        replicates += [statistic(rng.choices(values, k=len(values))) for _ in range(chunk)]
    centre = _left_sum(replicates) / len(replicates)
    return math.sqrt(_left_sum([(r - centre) ** 2 for r in replicates]) / (len(replicates) - 1))


def _left_sum(values: Sequence[float]) -> float:
    total = 0.0
    for value in values:
        total += value
    return total


def _perplexity(values: list[float]) -> float:
    return math.exp(-_left_sum(values) / len(values))


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def _f1(pairs: list[list[int]]) -> float:
    hits = sum(g == p == 1 for g, p in pairs)
    positives = sum(g == 1 for g, _ in pairs) + sum(p == 1 for _, p in pairs)
    return 2.0 * hits / positives if positives else 0.0


def _mcc(pairs: list[list[int]]) -> float:
    from sklearn.metrics import matthews_corrcoef

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on a resample with a single label
        return float(matthews_corrcoef([g for g, _ in pairs], [p for _, p in pairs]))


@settings(max_examples=40, deadline=None)
@given(st.lists(FLOATS, min_size=2, max_size=30), st.integers(2, 60))
def test_the_vectorised_bootstrap_is_the_plain_loop_to_the_last_bit(values: list[float], iterations: int) -> None:
    assert result(values, "perplexity", iterations).stderr == slow_bootstrap(values, _perplexity, iterations)
    assert result(values, "median", iterations).stderr == slow_bootstrap(values, _median, iterations)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.integers(0, 1), min_size=2, max_size=2), min_size=2, max_size=30), st.integers(2, 60))
def test_the_count_bootstrap_of_f1_is_the_plain_loop(pairs: list[list[int]], iterations: int) -> None:
    assert result(pairs, "f1", iterations).stderr == slow_bootstrap(pairs, _f1, iterations)


@settings(max_examples=8, deadline=None)
@given(st.lists(st.lists(st.integers(0, 4), min_size=2, max_size=2), min_size=2, max_size=30))
def test_the_count_bootstrap_of_mcc_is_scikit_learns(pairs: list[list[int]]) -> None:
    mine = result(pairs, "matthews_corrcoef", 10)
    assert (mine.value, mine.stderr) == (_mcc(pairs), slow_bootstrap(pairs, _mcc, 10))


def test_docs_that_do_not_fit_one_block_of_draws() -> None:
    values = [random.Random(3).uniform(-5, 0) for _ in range(70_000)]
    assert result(values, "perplexity", 3).stderr == slow_bootstrap(values, _perplexity, 3)


def test_several_chunks_have_their_own_seeds_and_the_rest_is_dropped() -> None:
    values = [-1.0, -2.0, -4.0]
    assert result(values, "perplexity", 2999).stderr == slow_bootstrap(values, _perplexity, 2000)
    assert result(values, "perplexity", 2999).stderr == result(values, "perplexity", 2000).stderr


def test_scores_of_translations_are_resampled_a_hundred_times_whatever_is_asked() -> None:
    pairs = [["the cat sat", "the cat"], ["a dog", "a dog ran"], ["blue", "green"]]
    assert result(pairs, "chrf", 100_000, "chrf").stderr == result(pairs, "chrf", 100, "chrf").stderr


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_a_mean_of_shares_and_its_interval_stay_within_zero_and_one(values: list[float]) -> None:
    out = result(values)
    assert out.stderr == "N/A" or out.stderr >= 0
    assert min(values) <= out.value + 1e-12
    assert out.value <= max(values) + 1e-12
    if out.ci:
        assert 0 <= out.ci[0] <= out.value + 1e-12
        assert out.value - 1e-12 <= out.ci[1] <= 1


def test_intervals_by_kind_of_score() -> None:
    assert result([1, 0, 1, 1]).ci == pytest.approx((0.3006, 0.9544), abs=1e-4)  # Wilson
    assert result([0.5, 0.7]).ci == pytest.approx((0.404, 0.796), abs=1e-3)  # normal
    assert result([5.0, 7.0]).ci == pytest.approx((4.04, 7.96), abs=1e-2)
    low, high = result([-1.0, -2.0, -3.0], "perplexity", 1000).ci or (0, 0)  # percentiles
    assert math.exp(1) <= low <= math.exp(2) <= high <= math.exp(3)
    assert result([[-5.0, 3]], "weighted_perplexity").ci is None


def test_one_doc_has_a_score_but_no_standard_error() -> None:
    out = result([1])
    assert (out.value, out.stderr, out.n) == (1.0, "N/A", 1)
    assert out.ci == pytest.approx((0.2065, 1.0), abs=1e-4)


def test_no_iterations_leave_out_every_standard_error() -> None:
    assert result([1, 0, 0], iterations=0).stderr == "N/A"
    assert result([-1.0, -2.0], "perplexity", 0).stderr == "N/A"


def test_metrics_without_a_value_are_left_out() -> None:
    assert aggregate(ScoringSpec("generate_until", []), {("acc", "none"): []}) == []


def test_direction_is_the_tasks_word_before_the_metrics_own() -> None:
    metrics = [MetricSpec("ter"), MetricSpec("acc", higher_is_better=False), MetricSpec("own")]
    values: dict[tuple[str, str], list[Any]] = {("ter", "f"): [["a", "a"]], ("extra", "f"): [3.0]}
    values |= {("acc", "f"): [1.0], ("own", "f"): [2.0]}
    results = aggregate(ScoringSpec("generate_until", metrics), values, 0)
    assert {r.metric: r.higher_is_better for r in results} == {"ter": False, "acc": False, "own": None, "extra": None}


@pytest.mark.parametrize(
    ("aggregation", "values", "message"),
    [
        ("mean", [["gold", "answer"]], "cannot be computed"),
        ("bleu", [1.0, 0.0], "cannot be computed"),
        ("bleu", [["ref", ["two", "answers"]]], "one text as its answer"),
        ("f1", [[0, 1], [2, 0]], "needs two labels of which one is 1, there are 3: 0, 1, 2"),
        ("f1", [["yes", "no"]], "labels that are no integers"),
        ("brier_score", [[-100, [0.5, 0.5]]], "none of the 2 choices"),
        ("weighted_perplexity", [[-1.0, 0]], "division by zero"),
        ("harmonic", [1.0], "unknown aggregation 'harmonic'"),
    ],
)
def test_values_that_do_not_fit_the_aggregation(aggregation: str, values: list[Any], message: str) -> None:
    with pytest.raises(TaskError, match=message):
        result(values, aggregation)


def test_every_aggregation_has_a_parity_case() -> None:
    from tests.scoring.golden import golden

    assert {case["aggregation"] for case in golden()["aggregations"]} == set(AGGREGATIONS)


LEAF = st.tuples(st.floats(0, 1), st.floats(0, 0.2), st.integers(2, 500))


@given(st.lists(LEAF, min_size=1, max_size=8), st.booleans())
def test_a_group_lies_between_its_tasks(leaves: list[tuple[float, float, int]], by_size: bool) -> None:
    entry = {"metric": "acc", "weight_by_size": by_size}
    (group,) = aggregate_group([entry], [[LeafMetric("acc", "none", v, s, n)] for v, s, n in leaves])
    assert min(v for v, _, _ in leaves) - 1e-9 <= group.value <= max(v for v, _, _ in leaves) + 1e-9
    assert group.stderr != "N/A"
    assert group.stderr >= 0
    assert group.n == sum(n for _, _, n in leaves)
    assert group.weighting == ("size" if by_size else "equal")


def test_equal_weights_have_the_error_of_a_mean_of_independent_scores() -> None:
    leaves = [[LeafMetric("acc", "none", 0.5, 0.3, 10)], [LeafMetric("acc", "none", 1.0, 0.4, 1000)]]
    (group,) = aggregate_group([{"metric": "acc", "weight_by_size": False}], leaves)
    assert (group.value, group.stderr) == (0.75, 0.25)


def test_a_group_of_tasks_that_disagree_on_the_direction_has_none() -> None:
    leaves = [[LeafMetric("m", "none", 0.5, "N/A", 10, up)] for up in (True, False)]
    (group,) = aggregate_group([{"metric": "m"}], leaves)
    assert (group.higher_is_better, group.stderr, group.ci) == (None, "N/A", None)
