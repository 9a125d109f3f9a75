"""What has changed since a run was made: its tasks, its data, its models, and what lmrun was installed with."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lmrun.engine.environment import environment
from lmrun.engine.inputs import Sources, open_sources
from lmrun.engine.plan import plan_job, plan_models
from lmrun.engine.recorded import current_config
from lmrun.engine.render import JobRenderer
from lmrun.errors import LmrunError
from lmrun.manifest import Manifest, TaskSetting, load_manifest
from lmrun.store.reader import RunReader
from lmrun.store.records import JobView
from lmrun.store.runs import RunDirectory
from lmrun.tasks import TaskConfig, build_task
from lmrun.tasks.task import content_hash

State = Literal["same", "drifted", "unchecked"]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that a run recorded, and what it is now."""

    subject: str
    """``lmrun``, ``package NAME``, ``task LABEL`` or ``model NAME``."""
    what: str
    state: State
    recorded: str | None = None
    now: str | None = None
    note: str | None = None
    """Why it cannot be checked here, or what differs."""


def verify(run: RunDirectory, mirror: Path | None = None, *, offline: bool = False) -> list[Check]:
    """Compare what a run recorded with what is there now.

    Tasks are rendered again for that; models are identified, not loaded. ``mirror`` is where the data is now, if not
    where the run's manifest says.
    """
    reader = RunReader(run)
    jobs = list({job.label: job for job in reader.jobs()}.values())  # every model was asked the same
    models = reader.models()
    reader.close()
    checks = list(_environment_checks(run.lock))
    here = [f"data.mirror={json.dumps(str(mirror.absolute()))}"] if mirror else []
    try:
        manifest = load_manifest(run.manifest, [*here, *(["data.offline=true"] if offline else [])])
    except LmrunError as error:
        return [*checks, *_all_unchecked(jobs, models, error)]
    return [*checks, *_jobs_checks(manifest, jobs), *_models_checks(manifest, models)]


def _compare(subject: str, what: str, recorded: Any, now: Any, note: str | None = None) -> Check:
    state: State = "same" if recorded == now else "drifted"
    return Check(subject, what, state, str(recorded), str(now), note if state == "drifted" else None)


def _unchecked(subject: str, what: str, recorded: Any, why: object) -> Check:
    reasons = [str(why), *(p.message for p in why.problems)] if isinstance(why, LmrunError) else [str(why)]
    return Check(subject, what, "unchecked", None if recorded is None else str(recorded), None, ": ".join(reasons))


def _all_unchecked(jobs: list[JobView], models: list[dict[str, Any]], why: object) -> Iterator[Check]:
    for job in jobs:
        yield _unchecked(f"task {job.label}", "all", None, why)
    for model in models:
        yield _unchecked(f"model {model['name']}", "fingerprint", model["fingerprint"], why)


# -- what it was made with -------------------------------------------------------------------------


def _environment_checks(lock: Path) -> Iterator[Check]:
    try:
        recorded: Mapping[str, Any] = json.loads(lock.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        yield _unchecked("lmrun", "version", None, f"{lock.name} cannot be read: {error}")
        return
    now = environment()
    yield _compare("lmrun", "version", recorded["lmrun"], now["lmrun"])
    yield _compare("python", "version", recorded["python"], now["python"])
    for name, version in recorded["packages"].items():
        yield _compare(f"package {name}", "version", version, now["packages"].get(name))


# -- tasks -----------------------------------------------------------------------------------------


def _jobs_checks(manifest: Manifest, jobs: list[JobView]) -> Iterator[Check]:
    try:
        sources = open_sources(manifest)
    except LmrunError as error:
        yield from _all_unchecked(jobs, [], error)
        return
    for job in jobs:
        yield from _job_checks(job, sources)


def _job_checks(job: JobView, sources: Sources) -> Iterator[Check]:
    subject = f"task {job.label}"
    try:
        config = current_config(sources.catalog, job)
        content = None if config is None else content_hash(config, sources.functions)
    except LmrunError as error:
        yield _unchecked(subject, "all", None, error)
        return
    if config is None:
        yield Check(subject, "task file", "drifted", job.task, None, _why_gone(job, sources))
        return
    # Compared before anything of it is run: a change that breaks the task is a change.
    yield _compare(subject, "content", job.task_hash, content, _differing_keys(job, config))
    yield from _built_checks(job, config, sources)


def _why_gone(job: JobView, sources: Sources) -> str:
    file = job.config.get("metadata", {}).get("config_source")
    broken = (str(p) for p in sources.catalog.problems() if p.location and str(p.location.file) == file)
    return next(broken, "there is no such task any more")


def _built_checks(job: JobView, config: TaskConfig, sources: Sources) -> Iterator[Check]:
    subject = f"task {job.label}"
    try:
        task = build_task(config, sources.data, sources.functions)
    except LmrunError as error:
        yield _unchecked(subject, "data and prompts", None, error)
        return
    yield _compare(subject, "version", job.version, task.version)
    yield from _asked_checks(job, config, sources)


def _differing_keys(job: JobView, config: TaskConfig) -> str:
    now = config.as_json()
    # What the run's settings made of these two is recorded, not what the file says.
    keys = [key for key in {**job.config, **now} if key not in ("num_fewshot", "generation_kwargs")]
    differing = [key for key in keys if job.config.get(key) != now.get(key)]
    return f"differs in {', '.join(differing) or 'its code, or how it generates'}"


def _asked_checks(job: JobView, config: TaskConfig, sources: Sources) -> Iterator[Check]:
    """Data and prompts: the task is rendered again as the run rendered it."""
    subject = f"task {job.label}"
    try:
        planned = plan_job(config, job.label, TaskSetting(**job.setting), sources)
        renderer = JobRenderer(planned, "")
        for _ in renderer.samples():
            pass
        datasets = planned.task.dataset_fingerprints
    except LmrunError as error:
        for split, recorded in job.datasets.items():
            yield _unchecked(subject, f"data, split {split}", recorded, error)
        yield _unchecked(subject, "prompts", job.prompt_hash, error)
        return
    for split, recorded in job.datasets.items():
        yield _compare(subject, f"data, split {split}", recorded, datasets.get(split))
    if job.prompt_hash is None:
        yield _unchecked(subject, "prompts", None, "the run stopped before they were rendered")
    else:
        yield _compare(subject, "prompts", job.prompt_hash, renderer.prompt_hash)


# -- models ----------------------------------------------------------------------------------------


def _models_checks(manifest: Manifest, recorded: list[dict[str, Any]]) -> Iterator[Check]:
    found = {model.spec.name: model for model in plan_models(manifest.models, manifest.data.offline)}
    for model in recorded:
        subject, fingerprint = f"model {model['name']}", model["fingerprint"]
        now = found[model["name"]]
        if not fingerprint:
            yield _unchecked(subject, "fingerprint", None, "the run did not find this model")
        elif now.identity is None:
            yield _unchecked(subject, "fingerprint", fingerprint, now.error)
        else:
            then, facts = model["facts"], now.identity.facts
            differing = sorted(key for key in {**then, **facts} if then.get(key) != facts.get(key))
            note = f"differs in {', '.join(differing)}"
            yield _compare(subject, "fingerprint", fingerprint, now.identity.fingerprint, note)
