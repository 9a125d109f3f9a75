"""Between the tasks' values and scoring's: neither package knows the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from lmrun.functions import FunctionRef
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
    stated = entry["metric"]
    is_code = isinstance(stated, FunctionRef)
    return MetricSpec(
        name=stated.target.rpartition(".")[2] if is_code else stated,
        aggregation=entry.get("aggregation"),
        higher_is_better=entry.get("higher_is_better"),
        kwargs={name: value for name, value in entry.items() if name not in _METRIC_KEYS},
        function=stated if is_code else None,
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
        process_results=task.process_results,
    )


def code_of(spec: ScoringSpec) -> list[FunctionRef]:
    """The code that scoring calls."""
    stated = [spec.process_results, *(metric.function for metric in spec.metrics)]
    stated += [metric.aggregation for metric in spec.metrics if isinstance(metric.aggregation, FunctionRef)]
    for step in (step for pipeline in spec.filters for step in pipeline.steps):
        named = (step.function, *step.kwargs.values())
        stated += [value for value in named if isinstance(value, FunctionRef)]
    return [ref for ref in stated if ref is not None]


def scoring_as_json(spec: ScoringSpec) -> dict[str, Any]:
    """A scoring spec as stored with a job."""
    found: dict[str, Any] = _as_json(spec)
    return found


def _as_json(value: Any) -> Any:
    if isinstance(value, FunctionRef):
        return value.as_json()
    if is_dataclass(value):
        return {f.name: _as_json(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {key: _as_json(item) for key, item in value.items()}
    return [_as_json(item) for item in value] if isinstance(value, list | tuple) else value


def _from_json(value: Any) -> Any:
    if isinstance(value, Mapping):
        is_ref = value.keys() >= {"function", "folder"}
        return FunctionRef.from_json(value) if is_ref else {key: _from_json(item) for key, item in value.items()}
    return [_from_json(item) for item in value] if isinstance(value, list) else value


def scoring_from_json(stored: Mapping[str, Any]) -> ScoringSpec:
    """Inverse of :func:`scoring_as_json`."""
    value = _from_json(stored)
    return ScoringSpec(
        output_type=value["output_type"],
        metrics=tuple(MetricSpec(**m) for m in value["metrics"]),
        filters=tuple(FilterSpec(f["name"], tuple(FilterStep(**s) for s in f["steps"])) for f in value["filters"]),
        multiple_input=value["multiple_input"],
        multiple_target=value["multiple_target"],
        has_choices=value["has_choices"],
        process_results=value.get("process_results"),
    )


def task_facts(task: Task, doc_id: int, doc: dict[str, Any]) -> DocFacts:
    """What scoring needs of a doc that is just being rendered."""
    facts = task.facts(doc_id, doc)
    return DocFacts(facts.doc_id, facts.doc, facts.target, facts.text, facts.choices)


def doc_facts(sample: AnsweredSample) -> DocFacts:
    """What scoring needs of a stored sample."""
    return DocFacts(sample.doc_id, sample.doc, sample.target, sample.text, sample.choices)
