"""Score stored answers: a pure pass over a run that needs no model, no device and no network."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from itertools import islice
from typing import Any, TypeAlias

from lmrun.engine.facts import doc_facts, scoring_as_json
from lmrun.errors import TaskError
from lmrun.functions import FunctionRef, Functions
from lmrun.scoring import DocScore, MetricResult, aggregate, score_doc
from lmrun.scoring.spec import ScoringSpec
from lmrun.store.records import AnsweredSample, MetricRecord, SampleOutcome, ScoreRecord, Subset
from lmrun.store.writer import RunStore

_SAMPLES_PER_TRANSACTION = 500
_SECONDS_PER_STEP = 0.02
"""Answers that arrive while a step lasts are not durable before its end."""

_Values: TypeAlias = dict[tuple[str, str], list[Any]]
"""By (metric, filter) a value of each doc."""

NOT_SCORED = "not_scored"
"""Kind of the error of a sample that was answered and could not be scored."""


class JobScorer:
    """Scores the samples of one job and keeps the per-doc values that aggregation needs."""

    def __init__(self, spec: ScoringSpec, functions: Functions, dirty: Collection[int] | None = None) -> None:
        """``dirty`` are the docs that overlap with a corpus; None where that was not looked for."""
        self._spec = spec
        self._functions = functions
        self._dirty = dirty
        self.values: _Values = {}
        self.subsets: dict[Subset, _Values] = {}

    def outcome(self, sample: AnsweredSample) -> SampleOutcome:
        """Score one sample. One that has an error is not scored: it is neither right nor wrong.

        One that cannot be scored, because the task's code raises for example, becomes an error itself.
        """
        flat = [response for repeats in sample.responses for response in repeats]
        truncated = any(response.finish_reason == "length" for response in flat)
        refused = any(response.finish_reason == "refusal" for response in flat)
        dropped = sum(response.dropped_tokens for response in flat)
        outcome = SampleOutcome(sample.id, (), truncated=truncated, refused=refused, dropped=dropped)
        if not sample.error and any(response.skipped for response in flat):
            return SampleOutcome(sample.id, (), skipped=True)
        if sample.error:
            return replace(outcome, error=sample.error)
        try:
            scores = score_doc(self._spec, doc_facts(sample), sample.responses, self._functions)
        except TaskError as error:
            return replace(outcome, error={"kind": NOT_SCORED, "message": str(error)})
        if unknown := _not_a_number(self._spec, scores):
            message = f"metric {unknown} of this doc is not a number (nan)"
            return replace(outcome, error={"kind": NOT_SCORED, "message": message})
        for score in scores:
            for metric, value in score.metrics.items():
                for values in self._values_of(sample.doc_id):
                    values.setdefault((metric, score.filter), []).append(value)
        extractions = [score.extraction.status for score in scores if score.extraction]
        return replace(
            outcome,
            scores=[_record(score) for score in scores],
            correct=next((score.correct for score in scores if score.correct is not None), None),
            no_match="no_match" in extractions,
        )

    def _values_of(self, doc_id: int) -> Sequence[_Values]:
        if self._dirty is None:
            return (self.values,)
        return (self.values, self.subsets.setdefault("dirty" if doc_id in self._dirty else "clean", {}))


def _not_a_number(spec: ScoringSpec, scores: Sequence[DocScore]) -> str | None:
    """A metric that has no value for this doc: put into a mean it would hide all other docs.

    An aggregation of the task's own may know what to do with it.
    """
    own = {metric.name for metric in spec.metrics if isinstance(metric.aggregation, FunctionRef)}
    values = ((metric, value) for score in scores for metric, value in score.metrics.items() if metric not in own)
    return next((metric for metric, value in values if isinstance(value, float) and math.isnan(value)), None)


def _record(score: DocScore) -> ScoreRecord:
    span = score.extraction.span if score.extraction else None
    status = score.extraction.status if score.extraction else None
    return ScoreRecord(score.filter, score.filtered, score.metrics, status, span, score.correct)


def _metric_record(result: MetricResult) -> MetricRecord:
    return MetricRecord(
        result.metric, result.filter, result.value, result.stderr, result.ci, result.n, result.higher_is_better
    )


def _step(outcomes: Iterator[SampleOutcome]) -> Iterator[SampleOutcome]:
    """The next samples, until the step has lasted long enough; at least one, if there is one."""
    until = time.monotonic() + _SECONDS_PER_STEP
    for outcome in islice(outcomes, _SAMPLES_PER_TRANSACTION):
        yield outcome
        if time.monotonic() > until:
            return


def score_job(store: RunStore, job_id: int, spec: ScoringSpec, functions: Functions) -> Iterator[int]:
    """Score a job and store samples' scores and the aggregated metrics; yields how many samples are scored so far."""
    scorer = JobScorer(spec, functions, store.dirty_docs(job_id))
    outcomes = (scorer.outcome(sample) for sample in store.answered_samples(job_id))
    count = 0
    while batch := list(_step(outcomes)):
        store.write_outcomes(job_id, batch)
        count += len(batch)
        yield count

    def metrics(values: _Values) -> list[MetricRecord]:
        return [_metric_record(result) for result in aggregate(spec, values, functions=functions)]

    def everything() -> tuple[list[MetricRecord], dict[Subset, list[MetricRecord]]]:
        return metrics(scorer.values), {subset: metrics(values) for subset, values in scorer.subsets.items()}

    pool = ThreadPoolExecutor(1)  # resampling can take minutes
    future = pool.submit(everything)
    pool.shutdown(wait=False)
    while wait([future], timeout=_SECONDS_PER_STEP).not_done:
        yield count
    store.finish_scoring(job_id, *future.result(), scoring_as_json(spec))
