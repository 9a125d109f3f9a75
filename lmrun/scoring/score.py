"""Score one doc: filters, extraction, metric values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lmrun.errors import TaskError
from lmrun.functions import Functions
from lmrun.requests import Response
from lmrun.scoring.extraction import Extraction, State
from lmrun.scoring.filters import build_pipeline, run_pipeline
from lmrun.scoring.process import process
from lmrun.scoring.robust import Robust
from lmrun.scoring.spec import DocFacts, OutputType, ScoringSpec

HEADLINES = ("acc", "exact_match", "acc_norm")
"""Metrics that say whether a doc is right or wrong, the first one that a task has."""


@dataclass(frozen=True, slots=True)
class DocScore:
    """What one filter pipeline makes of one doc."""

    filter: str
    filtered: Sequence[Any]
    """What the metrics saw: the filtered answer to each request of the doc, JSON values."""
    metrics: Mapping[str, Any]
    """Metric → value of this doc: a number, or a list of what the aggregation needs. Python's ``json`` keeps them."""
    extraction: Extraction | None
    """None where no filter extracts anything."""
    correct: bool | None
    """Right or wrong by the first of acc, exact_match, acc_norm that is 0 or 1 here; None where none is."""


def score_doc(
    spec: ScoringSpec, facts: DocFacts, responses: Sequence[Sequence[Response]], functions: Functions | None = None
) -> tuple[DocScore, ...]:
    """Score a doc, once for each filter pipeline of its task.

    ``responses`` has the repeats of each request of the doc, in the order in which the task rendered them; none of them
    is an error. ``functions`` runs the code that the task names. Raises :class:`~lmrun.errors.TaskError` where the doc
    or the answers do not fit the task's settings.
    """
    values = [[_value(spec.output_type, facts, response) for response in repeats] for repeats in responses]
    return tuple(_score(spec, facts, values, i, functions) for i in range(len(spec.filters)))


def _score(
    spec: ScoringSpec, facts: DocFacts, values: Sequence[Sequence[Any]], position: int, functions: Functions | None
) -> DocScore:
    pipeline = spec.filters[position]
    steps = build_pipeline(pipeline, functions)
    states = [run_pipeline(steps, repeats, facts.doc) for repeats in values]
    filtered = [_plain(state) for state in states]
    if not spec.has_choices:
        for step in steps:
            facts = replace(facts, target=step.target(facts.target)) if isinstance(step, Robust) else facts
    metrics = process(spec, facts, filtered, functions)
    return DocScore(pipeline.name, filtered, metrics, _extraction(states[0]), _correct(metrics))


def _value(output_type: OutputType, facts: DocFacts, response: Response) -> Any:
    # A class task counts as this type, and can ask for log-probabilities as well.
    may_generate = output_type == "generate_until"
    if may_generate and (response.text is not None or response.logprob is None):
        return response.text or ""
    if response.logprob is None:
        raise TaskError(
            f"doc {facts.doc_id}: an answer has no log-probability, which a {output_type} task needs",
            hint="the backend or the stored run does not fit this task",
        )
    if output_type == "loglikelihood_rolling" or (may_generate and response.is_greedy is None):
        return response.logprob
    return [response.logprob, bool(response.is_greedy)]


def _plain(state: State) -> Any:
    return [item.value for item in state] if isinstance(state, list) else state.value


def _extraction(state: State) -> Extraction | None:
    item = (state[0] if state else None) if isinstance(state, list) else state
    return item.extraction() if item is not None else None


def _correct(metrics: Mapping[str, Any]) -> bool | None:
    judged = (metrics[name] for name in HEADLINES if name in metrics)
    return next((value == 1 for value in judged if isinstance(value, int | float) and value in (0, 1)), None)
