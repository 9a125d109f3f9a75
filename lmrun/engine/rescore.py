"""Score a finished run again, with the metrics and filters that its task files state now."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from lmrun.code import TaskFunctions
from lmrun.engine.facts import code_of, filter_specs, metric_specs, scoring_from_json
from lmrun.engine.inputs import Sources, open_sources
from lmrun.engine.open import hold
from lmrun.engine.recorded import current_config
from lmrun.engine.results import write_results
from lmrun.engine.score import score_job
from lmrun.errors import LmrunError, TaskError
from lmrun.functions import FunctionRef, Functions
from lmrun.manifest import load_manifest
from lmrun.scoring import check_spec
from lmrun.scoring.robust import PIPELINE
from lmrun.scoring.spec import ScoringSpec
from lmrun.store.reader import RunReader
from lmrun.store.records import JobView
from lmrun.store.runs import RunDirectory
from lmrun.store.writer import RunStore

CurrentSpec = Callable[[JobView, ScoringSpec], ScoringSpec | None]
"""Gives the scoring that a job's task file states now, or None where the file is gone."""


@dataclass(frozen=True, slots=True)
class CurrentScoring:
    """How a run's tasks are scored now, and what runs their code."""

    of: CurrentSpec
    functions: Functions


@dataclass(frozen=True, slots=True)
class Rescored:
    """What happened to one job."""

    model: str
    label: str
    changed: bool
    """The task file states other metrics or filters than the job was scored with."""
    found: bool
    """The task file was found; otherwise the recorded scoring was used."""


def rescore(run: RunDirectory, current: CurrentScoring) -> Sequence[Rescored]:
    """Score every answered job of a run from its stored responses. Raises :class:`~lmrun.errors.RunError` if held."""
    with hold(run):
        reader = RunReader(run)
        jobs = [job for job in reader.jobs() if job.status not in ("pending", "rendered")]
        # All of them first: a task file that is wrong now must not leave half of the run scored anew.
        stated = {job.id: current.of(job, scoring_from_json(job.scoring)) for job in jobs}
        for job in jobs:
            for ref in code_of(stated[job.id] or scoring_from_json(job.scoring)):
                current.functions.check(ref)
        models = [model["name"] for model in reader.models()]
        reader.close()
        store = RunStore(run)
        done = []
        for job in jobs:
            recorded = scoring_from_json(job.scoring)
            spec = stated[job.id]
            for _ in score_job(store, job.id, spec or recorded, current.functions):
                pass
            done.append(Rescored(job.model, job.label, spec is not None and spec != recorded, spec is not None))
        store.close()
        for model in models:
            write_results(run, model)
    return done


def current_scoring(run: RunDirectory) -> CurrentScoring:
    """Look tasks up by the run's own manifest: metrics and filters as the task files state them now."""
    try:
        sources = open_sources(load_manifest(run.manifest))
    except LmrunError:
        # A run copied to another machine, whose task folders are not there.
        return CurrentScoring(lambda _job, _recorded: None, TaskFunctions())
    return CurrentScoring(_stated_now(sources), sources.functions)


def _stated_now(sources: Sources) -> CurrentSpec:
    catalog, functions = sources.catalog, sources.functions

    def current(job: JobView, recorded: ScoringSpec) -> ScoringSpec | None:
        config = current_config(catalog, job)
        if config is None:
            return None
        if config.python_class:
            return recorded  # which names the members of the class, as its file defines them now
        metrics = recorded.metrics if config.metric_list is None else metric_specs(config.metric_list)
        code = config.process_results if isinstance(config.process_results, FunctionRef) else None
        filters = filter_specs(config.filter_list)
        if job.setting.get("robust") and all(pipeline.name != PIPELINE for pipeline in filters):
            filters = (*filters, *(pipeline for pipeline in recorded.filters if pipeline.name == PIPELINE))
        spec = replace(recorded, metrics=metrics, filters=filters, process_results=code)
        if wrong := check_spec(spec, functions):
            placed = (replace(p, location=p.location or config.place("metric_list")) for p in wrong)
            raise TaskError(f"task {job.task!r} cannot be scored as its file says now", problems=tuple(placed))
        return spec

    return current
