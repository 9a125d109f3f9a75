"""Scores of a group from the scores of all tasks beneath it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lmrun.scoring.aggregate import NOT_AVAILABLE, MetricResult
from lmrun.stats import normal_interval, plain_sum


@dataclass(frozen=True, slots=True)
class LeafMetric:
    """One score of a task, as its group needs it."""

    metric: str
    filter: str
    value: float
    stderr: float | Literal["N/A"]
    n: int
    higher_is_better: bool | None = None


@dataclass(frozen=True, slots=True)
class _Member:
    score: LeafMetric
    size: int


def aggregate_group(
    aggregates: Sequence[Mapping[str, Any]], leaves: Sequence[Sequence[LeafMetric]]
) -> list[MetricResult]:
    """The scores of a group.

    ``aggregates`` are the entries of the group's ``aggregate_metric_list``: ``metric``, ``filter_list`` (None: every
    filter that any leaf has), ``weight_by_size`` (default true). ``leaves`` are the scores of each task, also of those
    in subgroups. A task's size is the number of docs of its metric that has most; tasks without the metric are left
    out. Whatever ``aggregation`` says, the value is a mean.
    """
    results = []
    for entry in aggregates:
        by_size = bool(entry.get("weight_by_size", True))
        for filter_name in _filters(entry, leaves):
            members = list(_members(entry["metric"], filter_name, leaves))
            if members:
                results.append(_combine(entry["metric"], filter_name, members, by_size))
    return results


def _filters(entry: Mapping[str, Any], leaves: Sequence[Sequence[LeafMetric]]) -> list[str]:
    listed = entry.get("filter_list")
    if listed is None:
        return sorted({m.filter for leaf in leaves for m in leaf if m.metric == entry["metric"]})
    return [listed] if isinstance(listed, str) else list(listed)


def _members(metric: str, filter_name: str, leaves: Sequence[Sequence[LeafMetric]]) -> Iterator[_Member]:
    for leaf in leaves:
        for score in leaf:
            if (score.metric, score.filter) == (metric, filter_name):
                yield _Member(score, max(m.n for m in leaf))


def _combine(metric: str, filter_name: str, members: Sequence[_Member], by_size: bool) -> MetricResult:
    sizes = [m.size for m in members]
    weights = sizes if by_size else [1] * len(sizes)
    value = plain_sum([m.score.value * w for m, w in zip(members, weights, strict=True)]) / sum(weights)
    stderr = _stderr(members, by_size)
    directions = {m.score.higher_is_better for m in members}
    bounded = all(0 <= m.score.value <= 1 for m in members)
    return MetricResult(
        metric,
        filter_name,
        value,
        stderr,
        sum(sizes),
        None if stderr == NOT_AVAILABLE else normal_interval(value, stderr, (0.0, 1.0) if bounded else None),
        directions.pop() if len(directions) == 1 else None,
        "size" if by_size else "equal",
    )


def _stderr(members: Sequence[_Member], by_size: bool) -> float | Literal["N/A"]:
    """By size: from the pooled variance of all docs. Equal weights: of a mean of k independent scores."""
    stderrs = [m.score.stderr for m in members if m.score.stderr != NOT_AVAILABLE]
    if len(stderrs) < len(members):
        return NOT_AVAILABLE
    if not by_size:
        return math.sqrt(plain_sum([s**2 for s in stderrs])) / len(stderrs)
    sizes = [m.size for m in members]
    variance = plain_sum([(n - 1) * s**2 * n for n, s in zip(sizes, stderrs, strict=True)]) / (sum(sizes) - len(sizes))
    return math.sqrt(variance / sum(sizes))
