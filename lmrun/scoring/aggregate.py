"""Scores of a task from the values of its docs, with standard errors as lm-eval finds them and 95% intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from lmrun.errors import TaskError
from lmrun.functions import FunctionRef, Functions
from lmrun.scoring.aggregations import SIMPLE, Aggregation, Mean
from lmrun.scoring.corpus import CORPUS_AGGREGATIONS, CorpusScore
from lmrun.scoring.metrics import METRICS
from lmrun.scoring.spec import MetricSpec, ScoringSpec
from lmrun.stats import (
    Interval,
    bootstrap,
    mean_stderr,
    normal_interval,
    percentile_interval,
    sample_stddev,
    wilson_interval,
)

AGGREGATIONS: Mapping[str, Any] = {**SIMPLE, **{name: partial(CorpusScore, name) for name in CORPUS_AGGREGATIONS}}
"""Name → what makes an :class:`~lmrun.scoring.aggregations.Aggregation` of per-doc values."""

NOT_AVAILABLE: Literal["N/A"] = "N/A"
_CORPUS_ITERATIONS = 100
"""lm-eval resamples these metrics no more often: it counts every resample anew, and its numbers are to be met."""


@dataclass(frozen=True, slots=True)
class MetricResult:
    """One score of a task or a group."""

    metric: str
    filter: str
    value: float
    stderr: float | Literal["N/A"]
    n: int
    """Docs that the score is of."""
    ci: Interval | None
    """95% interval: Wilson for means of zeros and ones, percentiles where there is a bootstrap, else normal."""
    higher_is_better: bool | None
    weighting: Literal["size", "equal"] | None = None
    """Groups only: whether tasks count by their docs or all the same. ``stderr`` is that of this very mean."""


def aggregation_name(metric: MetricSpec) -> str | FunctionRef:
    """The aggregation of a metric: stated, else the metric's own, else the mean."""
    if metric.aggregation is not None:
        return metric.aggregation
    return METRICS[metric.name].aggregation if metric.name in METRICS else "mean"


def higher_is_better(metric: MetricSpec) -> bool | None:
    """The metric's direction: stated, else its own, else unknown."""
    if metric.higher_is_better is not None or metric.name not in METRICS:
        return metric.higher_is_better
    return METRICS[metric.name].higher_is_better


def aggregate(
    spec: ScoringSpec,
    values: Mapping[tuple[str, str], Sequence[Any]],
    bootstrap_iters: int = 100_000,
    functions: Functions | None = None,
) -> list[MetricResult]:
    """The scores of a task, in the order of ``values``.

    ``values`` maps (metric, filter) to the values of all scored docs in doc order, as
    :attr:`~lmrun.scoring.DocScore.metrics` gives them, or as they come back from JSON written by Python's ``json``
    module (which keeps nan and the infinities, and makes lists of tuples). The order matters for bootstraps only.
    ``bootstrap_iters`` of 0 leaves out all standard errors. Raises :class:`~lmrun.errors.TaskError` for a metric that
    cannot be computed from these values.
    """
    metrics = {metric.name: metric for metric in spec.metrics}
    return [
        _aggregate_one(metrics.get(name, MetricSpec(name)), filter_name, items, bootstrap_iters, functions)
        for (name, filter_name), items in values.items()
        if items
    ]


def _aggregate_one(
    metric: MetricSpec, filter_name: str, values: Sequence[Any], iterations: int, functions: Functions | None
) -> MetricResult:
    name, kind = metric.name, aggregation_name(metric)
    if isinstance(kind, FunctionRef):
        return _aggregate_by_code(metric, kind, filter_name, values, functions)
    if kind not in AGGREGATIONS:
        raise TaskError(
            f"unknown aggregation {kind!r} of metric {name}", hint=f"aggregations: {', '.join(AGGREGATIONS)}"
        )
    if metric.name in CORPUS_AGGREGATIONS:
        iterations = min(iterations, _CORPUS_ITERATIONS)
    try:
        aggregation: Aggregation = AGGREGATIONS[kind](values)
        value = aggregation.value()
        stderr, ci = _uncertainty(aggregation, value, iterations, known=name in METRICS)
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise TaskError(
            f"metric {name}: the aggregation {kind} cannot be computed: {error}",
            hint="the metric does not fit this task's targets or output type",
        ) from error
    return MetricResult(name, filter_name, value, stderr, len(values), ci, higher_is_better(metric))


def _aggregate_by_code(
    metric: MetricSpec, ref: FunctionRef, filter_name: str, values: Sequence[Any], functions: Functions | None
) -> MetricResult:
    """As in lm-eval there is no standard error: nothing is known of the function but its value."""
    if functions is None:
        raise TaskError(f"metric {metric.name}: nothing is there to run the aggregation {ref}")
    value = functions.call(ref, list(values))
    return MetricResult(metric.name, filter_name, value, NOT_AVAILABLE, len(values), None, higher_is_better(metric))


def _uncertainty(
    aggregation: Aggregation, value: float, iterations: int, *, known: bool
) -> tuple[float | Literal["N/A"], Interval | None]:
    values, rule = aggregation.values, aggregation.stderr_rule
    enough = iterations > 0 and len(values) > 1
    if rule == "bootstrap" and enough:
        replicates = bootstrap(len(values), iterations, aggregation.resampled)
        return (sample_stddev(replicates) if len(replicates) > 1 else NOT_AVAILABLE), percentile_interval(replicates)
    stderr = mean_stderr(values) if rule == "mean" and enough else NOT_AVAILABLE
    if not isinstance(aggregation, Mean):
        return stderr, None
    # Zeros alone do not say that a metric is right or wrong: it may be on any scale.
    if all(v in (0, 1) for v in values) and (known or all(isinstance(v, int) for v in values)):
        return stderr, wilson_interval(sum(values), len(values))
    if stderr == NOT_AVAILABLE or not (known or stderr):
        return stderr, None
    bounded = all(0 <= v <= 1 for v in values)
    return stderr, normal_interval(value, stderr, (0.0, 1.0) if bounded else None)
