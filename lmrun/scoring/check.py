"""What can be said of a task's scoring before any model has answered."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lmrun.errors import Problem, TaskError, did_you_mean
from lmrun.scoring.aggregate import AGGREGATIONS, aggregation_name
from lmrun.scoring.corpus import CORPUS_AGGREGATIONS, PACKAGE, is_installed
from lmrun.scoring.filters import build_pipeline
from lmrun.scoring.metrics import EXACT_MATCH_OPTIONS, METRICS, options, reported_name
from lmrun.scoring.spec import MetricSpec, ScoringSpec


def required_packages(spec: ScoringSpec) -> list[str]:
    """Packages that scoring this task needs and that are not installed; ``pip install "lmrun[tasks]"`` brings them."""
    needed = any(aggregation_name(metric) in CORPUS_AGGREGATIONS for metric in spec.metrics)
    return [PACKAGE] if needed and not is_installed() else []


def check_spec(spec: ScoringSpec) -> tuple[Problem, ...]:
    """Everything that would stop the scoring of any doc: unknown names, wrong arguments, missing packages."""
    problems = [problem for metric in spec.metrics for problem in _metric_problems(metric)]
    names = [reported_name(metric) for metric in spec.metrics]
    for name in sorted({n for n in names if names.count(n) > 1}):
        problems.append(Problem(f"two metrics are reported as {name!r}", hint="state another name with `as:`"))
    for pipeline in spec.filters:
        try:
            build_pipeline(pipeline)
        except TaskError as error:
            problems.append(Problem(f"filter pipeline {pipeline.name!r}: {error.message}", hint=error.hint))
    for package in required_packages(spec):
        problems.append(Problem(f"its metrics need the package {package}", hint='pip install "lmrun[tasks]"'))
    return tuple(problems)


def _metric_problems(metric: MetricSpec) -> Iterator[Problem]:
    if metric.name not in METRICS:
        yield _unknown("metric", metric.name, list(METRICS))
    if metric.aggregation is not None and metric.aggregation not in AGGREGATIONS:
        yield _unknown("aggregation", metric.aggregation, list(AGGREGATIONS))
    if metric.name != "exact_match":
        return
    for name in options(metric):
        if name not in EXACT_MATCH_OPTIONS:
            yield _unknown("option of exact_match", name, list(EXACT_MATCH_OPTIONS))
    for regex in metric.kwargs.get("regexes_to_ignore") or ():
        try:
            re.compile(regex)
        except re.error as error:
            yield Problem(f"exact_match: {regex!r} is not a regular expression: {error}")


def _unknown(what: str, name: str, known: list[str]) -> Problem:
    return Problem(f"unknown {what} {name!r}", expected=", ".join(known), hint=did_you_mean(name, known))
