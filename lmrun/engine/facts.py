"""Between the tasks' values and scoring's: neither package knows the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from lmrun.scoring.spec import (
    DEFAULT_FILTERS,
    DocFacts,
    FilterSpec,
    FilterStep,
    MetricSpec,
    ScoringSpec,
)
from lmrun.store.records import AnsweredSample
from lmrun.tasks import Task

_METRIC_KEYS = ("metric", "aggregation", "higher_is_better", "hf_evaluate")


def _metric(entry: Mapping[str, Any]) -> MetricSpec:
    return MetricSpec(
        name=entry["metric"],
        aggregation=entry.get("aggregation"),
        higher_is_better=entry.get("higher_is_better"),
        kwargs={name: value for name, value in entry.items() if name not in _METRIC_KEYS},
    )


def _filter(entry: Mapping[str, Any]) -> FilterSpec:
    steps = [FilterStep(s["function"], {k: v for k, v in s.items() if k != "function"}) for s in entry["filter"]]
    return FilterSpec(entry["name"], tuple(steps))


def metric_specs(metric_list: Sequence[Mapping[str, Any]]) -> tuple[MetricSpec, ...]:
    """A task's ``metric_list`` as scoring knows it."""
    return tuple(_metric(entry) for entry in metric_list)


def filter_specs(filter_list: Sequence[Mapping[str, Any]] | None) -> tuple[FilterSpec, ...]:
    """A task's filter pipelines, or the default one."""
    return tuple(_filter(entry) for entry in filter_list or ()) or DEFAULT_FILTERS


def scoring_spec(task: Task) -> ScoringSpec:
    """How a task is scored, with the defaults of its output type filled in."""
    return ScoringSpec(
        output_type=task.output_type,
        metrics=metric_specs(task.metric_list),
        filters=filter_specs(task.filter_list),
        multiple_input=bool(task.multiple_input),
        multiple_target=bool(task.multiple_target),
        has_choices=task.has_choices,
    )


def scoring_as_json(spec: ScoringSpec) -> dict[str, Any]:
    """A scoring spec as stored with a job."""
    return asdict(spec)


def scoring_from_json(value: Mapping[str, Any]) -> ScoringSpec:
    """Inverse of :func:`scoring_as_json`."""
    return ScoringSpec(
        output_type=value["output_type"],
        metrics=tuple(MetricSpec(**m) for m in value["metrics"]),
        filters=tuple(FilterSpec(f["name"], tuple(FilterStep(**s) for s in f["steps"])) for f in value["filters"]),
        multiple_input=value["multiple_input"],
        multiple_target=value["multiple_target"],
        has_choices=value["has_choices"],
    )


def task_facts(task: Task, doc_id: int, doc: dict[str, Any]) -> DocFacts:
    """What scoring needs of a doc that is just being rendered."""
    facts = task.facts(doc_id, doc)
    return DocFacts(facts.doc_id, facts.doc, facts.target, facts.text, facts.choices)


def doc_facts(sample: AnsweredSample) -> DocFacts:
    """What scoring needs of a stored sample."""
    return DocFacts(sample.doc_id, sample.doc, sample.target, sample.text, sample.choices)
