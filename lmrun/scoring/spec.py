"""What scoring needs to know of a task and of a doc: plain values, so that scoring sees neither tasks nor models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from lmrun.functions import FunctionRef

OutputType = Literal["loglikelihood", "loglikelihood_rolling", "multiple_choice", "generate_until"]


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """One entry of a task's ``metric_list``."""

    name: str
    aggregation: str | FunctionRef | None = None
    """None means the metric's own default."""
    higher_is_better: bool | None = None
    """None means the metric's own default."""
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    function: FunctionRef | None = None
    """The code of a metric that is not one of lmrun's own."""


@dataclass(frozen=True, slots=True)
class FilterStep:
    """One step of a filter pipeline."""

    function: str | FunctionRef
    kwargs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FilterSpec:
    """A named filter pipeline."""

    name: str
    steps: Sequence[FilterStep]


DEFAULT_FILTERS: tuple[FilterSpec, ...] = (FilterSpec("none", (FilterStep("take_first"),)),)


@dataclass(frozen=True, slots=True)
class ScoringSpec:
    """How one task is scored."""

    output_type: OutputType
    metrics: Sequence[MetricSpec]
    """Already resolved: a task without ``metric_list`` has the defaults of its output type here."""
    filters: Sequence[FilterSpec] = DEFAULT_FILTERS
    multiple_input: bool = False
    """``doc_to_text`` of doc 0 is an index: the choices are contexts (winogrande)."""
    multiple_target: bool = False
    """The target of doc 0 is a list."""
    has_choices: bool = False
    """The task states ``doc_to_choice``."""
    process_results: FunctionRef | None = None
    """Code that gives the values of all metrics of a doc."""


@dataclass(frozen=True, slots=True)
class DocFacts:
    """What scoring needs of one doc."""

    doc_id: int
    doc: Mapping[str, Any]
    target: Any
    """``doc_to_target(doc)``, raw type (int, str, list …)."""
    text: Any = None
    """``doc_to_text(doc)``, raw type; an int where ``multiple_input``."""
    choices: Sequence[str] | None = None
