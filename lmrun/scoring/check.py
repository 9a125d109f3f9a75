"""What can be said of a task's scoring before any model has answered."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lmrun.errors import Problem, TaskError, did_you_mean
from lmrun.functions import FunctionRef, Functions
from lmrun.scoring.aggregate import AGGREGATIONS, aggregation_name
from lmrun.scoring.corpus import CORPUS_AGGREGATIONS, PACKAGE, is_installed
from lmrun.scoring.filters import build_pipeline
from lmrun.scoring.metrics import EXACT_MATCH_OPTIONS, METRICS
from lmrun.scoring.process import CHOICE_METRICS
from lmrun.scoring.spec import MetricSpec, ScoringSpec


def required_packages(spec: ScoringSpec) -> list[str]:
    """Packages that scoring this task needs and that are not installed; ``pip install "lmrun[tasks]"`` brings them."""
    needed = any(aggregation_name(metric) in CORPUS_AGGREGATIONS for metric in spec.metrics)
    return [PACKAGE] if needed and not is_installed() else []


def check_spec(spec: ScoringSpec, functions: Functions | None = None) -> tuple[Problem, ...]:
    """Everything that would stop the scoring of any doc: unknown names, wrong arguments, missing packages."""
    problems = [p for metric in spec.metrics for p in _aggregation_problems(metric)]
    if not spec.process_results:
        own = [metric for metric in spec.metrics if metric.function is None]
        problems += [p for metric in own for p in (*_metric_problems(metric), *_value_problems(spec, metric))]
    names = [metric.name for metric in spec.metrics]
    for name in sorted({n for n in names if names.count(n) > 1}):
        problems.append(Problem(f"the metric {name!r} is stated twice"))
    for pipeline in spec.filters:
        try:
            build_pipeline(pipeline, functions)
        except TaskError as error:
            problems.append(Problem(f"filter pipeline {pipeline.name!r}: {error.message}", hint=error.hint))
    for package in required_packages(spec):
        problems.append(Problem(f"its metrics need the package {package}", hint='pip install "lmrun[tasks]"'))
    return tuple(problems)


def _aggregation_problems(metric: MetricSpec) -> Iterator[Problem]:
    kind = metric.aggregation
    if kind is not None and not isinstance(kind, FunctionRef) and kind not in AGGREGATIONS:
        yield _unknown("aggregation", kind, list(AGGREGATIONS))


def _metric_problems(metric: MetricSpec) -> Iterator[Problem]:
    if metric.name not in METRICS:
        yield _unknown("metric", metric.name, list(METRICS))
    if metric.name != "exact_match":
        return
    for name in metric.kwargs:
        if name not in EXACT_MATCH_OPTIONS:
            yield _unknown("option of exact_match", name, list(EXACT_MATCH_OPTIONS))
    for regex in metric.kwargs.get("regexes_to_ignore") or ():
        try:
            re.compile(regex)
        except re.error as error:
            yield Problem(f"exact_match: {regex!r} is not a regular expression: {error}")


def _value_problems(spec: ScoringSpec, metric: MetricSpec) -> Iterator[Problem]:
    """A metric whose values its aggregation cannot take would be found out only after the last doc."""
    kind, pairs = aggregation_name(metric), _gives_pairs(spec, metric.name)
    known = metric.name in METRICS and kind in AGGREGATIONS
    if not known or pairs is None or kind == "bypass" or pairs == (kind in _OF_PAIRS):
        return
    gives, targets = "a pair" if pairs else "one number", "several targets" if spec.multiple_target else "one target"
    yield Problem(
        f"metric {metric.name} gives {gives} for each doc of this task, which the aggregation {kind} cannot take",
        hint=f"a {spec.output_type} task with {targets} needs another metric or aggregation",
    )


_OF_PAIRS = {"weighted_perplexity", "bits_per_byte", "brier_score", "f1", "matthews_corrcoef", *CORPUS_AGGREGATIONS}


def _gives_pairs(spec: ScoringSpec, metric: str) -> bool | None:
    """Whether a metric's values are pairs; None where the output type does not give this metric."""
    if spec.output_type == "generate_until":
        single = spec.has_choices or not spec.multiple_target
        return single and metric not in ("exact_match", "bypass")
    if spec.output_type == "multiple_choice":
        return metric in ("f1", "mcc", "brier_score", "likelihood") if metric in CHOICE_METRICS else None
    if spec.output_type == "loglikelihood":
        return False if metric in ("perplexity", "acc") else None
    return True if metric in ("word_perplexity", "byte_perplexity", "bits_per_byte") else None


def _unknown(what: str, name: str, known: list[str]) -> Problem:
    return Problem(f"unknown {what} {name!r}", expected=", ".join(known), hint=did_you_mean(name, known))
