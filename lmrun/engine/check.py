"""Everything that can be found wrong with a manifest before a model is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lmrun.engine.inputs import Overrides, open_manifest, open_sources
from lmrun.engine.plan import PlannedJob, PlannedModel, plan_jobs, plan_models, warnings_of
from lmrun.errors import LmrunError, Problem


@dataclass(frozen=True, slots=True)
class Check:
    """What is known of a manifest; without problems it can run."""

    problems: Sequence[Problem]
    warnings: Sequence[str] = ()
    models: Sequence[PlannedModel] = ()
    jobs: Sequence[PlannedJob] = ()
    """Of each model; empty where a task has a problem."""


def check_manifest(name: str, overrides: Overrides) -> Check:
    """The problems of a manifest, its tasks, their data and metrics, and its models; and warnings about its jobs."""
    try:
        manifest = open_manifest(name, overrides)
    except LmrunError as error:
        return Check(_problems(error))
    problems: list[Problem] = []
    jobs: Sequence[PlannedJob] = ()
    try:
        jobs, _ = plan_jobs(manifest.tasks, open_sources(manifest))
    except LmrunError as error:
        problems.extend(_problems(error))
    models = plan_models(manifest.models, manifest.data.offline)
    for model in models:
        if model.error:
            problems.extend(_problems(model.error))
    return Check(problems, warnings_of(jobs, models), models, jobs)


def _problems(error: LmrunError) -> list[Problem]:
    return list(error.problems) or [Problem(error.message, hint=error.hint)]
