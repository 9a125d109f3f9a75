"""Everything that can be found wrong with a manifest before a model is loaded."""

from __future__ import annotations

from lmrun.engine.inputs import Overrides, open_manifest, open_sources
from lmrun.engine.plan import plan_jobs, plan_models
from lmrun.errors import LmrunError, Problem


def check_manifest(name: str, overrides: Overrides) -> tuple[list[Problem], list[str]]:
    """The problems of a manifest, its tasks, their data and metrics, and its models; and warnings about its jobs.

    Without problems it can run.
    """
    try:
        manifest = open_manifest(name, overrides)
    except LmrunError as error:
        return _problems(error), []
    problems: list[Problem] = []
    warnings: list[str] = []
    try:
        jobs, _ = plan_jobs(manifest.tasks, open_sources(manifest))
        warnings = list(dict.fromkeys(text for job in jobs for text in job.warnings))
    except LmrunError as error:
        problems.extend(_problems(error))
    for model in plan_models(manifest.models, manifest.data.offline):
        if model.error:
            problems.extend(_problems(model.error))
    return problems, warnings


def _problems(error: LmrunError) -> list[Problem]:
    return list(error.problems) or [Problem(error.message, hint=error.hint)]
