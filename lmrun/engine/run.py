"""Carry out a plan: render, look up, answer, score; one model at a time, each model's failure its own."""

from __future__ import annotations

import json
import os
import socket
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmrun.backends.base import Backend
from lmrun.engine.answer import Answerer, JobAddress
from lmrun.engine.environment import environment
from lmrun.engine.gauges import Gauges
from lmrun.engine.logs import backend_log
from lmrun.engine.open import OpenRun, open_run
from lmrun.engine.plan import Plan, PlannedJob, PlannedModel, warnings_of
from lmrun.engine.progress import JobProgress, Tracker
from lmrun.engine.render import JobRenderer, render_job
from lmrun.engine.results import headline, remarks, write_results
from lmrun.engine.score import score_job
from lmrun.errors import BackendError, ExitCode, LmrunError
from lmrun.manifest import manifest_hash
from lmrun.store.cache import Cache
from lmrun.store.log import RunLog
from lmrun.store.records import JobStatus
from lmrun.store.runs import RunDirectory
from lmrun.store.writer import RunStore


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended."""

    directory: RunDirectory
    exit_code: ExitCode


@dataclass(slots=True)
class _Job:
    """A planned job of one model, with how far it is in the store."""

    planned: PlannedJob
    address: JobAddress
    status: JobStatus


def execute(plan: Plan, *, cache: Path | None, fresh: bool, tracker: Tracker) -> Outcome:
    """Run a plan to its end, or continue it.

    Raises:
        RunError: if the run is held by another process.
        StoreError: if the cache or the run directory cannot be used.
    """
    identity = manifest_hash(plan.manifest)
    opened = open_run(plan.manifest.run.runs_dir, plan.manifest.name, identity, plan.hash, fresh=fresh)
    if opened.note:
        tracker.note(opened.note)
    with opened.lock, _stores(opened.directory, cache) as (store, cache_file, log):
        engine = _Engine(
            plan, opened, store, Answerer(store, cache_file, tracker, log, Gauges(store.gauge)), tracker, log
        )
        store.set_info(status="running", pid=os.getpid(), host=socket.gethostname())
        log.write("info", "resumed" if opened.resumed else "started", pid=os.getpid())
        try:
            code = engine.run()
        except KeyboardInterrupt:
            tracker.phase("interrupted")
            store.set_info(status="interrupted", finished=time.time())
            log.write("warning", "interrupted")
            return Outcome(opened.directory, ExitCode.INTERRUPTED)
        status = "complete" if code is ExitCode.COMPLETE else "incomplete"
        store.set_info(status=status, finished=time.time())
        log.write("info", "finished", status=status, exit_code=int(code))
        tracker.phase("finished")
        return Outcome(opened.directory, code)


@contextmanager
def _stores(directory: RunDirectory, cache: Path | None) -> Iterator[tuple[RunStore, Cache | None, RunLog]]:
    store = RunStore(directory)
    log = RunLog(directory.log, store.event)
    cache_file = Cache(cache) if cache else None
    try:
        with backend_log(log):
            yield store, cache_file, log
    finally:
        log.close()
        store.close()
        if cache_file:
            cache_file.close()


@dataclass(slots=True)
class _Engine:
    plan: Plan
    opened: OpenRun
    store: RunStore
    answerer: Answerer
    tracker: Tracker
    log: RunLog

    def run(self) -> ExitCode:
        """Work through all models; returns how it ended."""
        directory = self.opened.directory
        if not self.opened.resumed:
            directory.manifest.write_text(self.plan.manifest.resolved_toml(), encoding="utf-8")
        self.tracker.start(
            directory.id,
            [JobProgress(m.spec.name, j.label, docs=j.n_docs) for m in self.plan.models for j in self.plan.jobs],
        )
        for warning in warnings_of(self.plan.jobs, self.plan.models):
            self._warn(warning)
        jobs = [(model, self._record(model)) for model in self.plan.models]
        self._write_lock()
        for model, its_jobs in jobs:
            self._render(model, its_jobs)
        self._write_lock()
        self._decontaminate()
        codes = [self._run_model(model, its_jobs) for model, its_jobs in jobs]
        return max(codes)

    def _warn(self, text: str) -> None:
        self.tracker.note(f"warning: {text}")
        self.log.write("warning", "warning", text=text)

    # -- recording and rendering ---------------------------------------------------------------------------------------

    def _record(self, model: PlannedModel) -> list[_Job]:
        identity, spec = model.identity, model.spec
        fingerprint = identity.fingerprint if identity else ""
        facts = identity.facts if identity else {}
        model_id = self.store.add_model(spec.name, spec.backend, spec.model, fingerprint, facts)
        if self.answerer.cache and identity:
            self.answerer.cache.remember_model(fingerprint, spec.name, facts)
        for position, group in enumerate(self.plan.groups):
            self.store.add_group(model_id, group.label, position, group.record())
        if model.error:
            self._fail_model(model, model.error)
            return []
        jobs = []
        for planned in self.plan.jobs:
            job_id, status = self.store.add_job(model_id, planned.record())
            jobs.append(_Job(planned, JobAddress(job_id, spec.name, planned.label, fingerprint), status))
        return jobs

    def _render(self, model: PlannedModel, jobs: list[_Job]) -> None:
        for job in jobs:
            if job.status == "pending":
                self.tracker.phase("rendering", f"{model.spec.name} {job.planned.label}")
                self.tracker.update(model.spec.name, job.planned.label, state="rendering")
                renderer = JobRenderer(job.planned, job.address.fingerprint)
                for count in render_job(self.store, job.address.id, renderer):
                    self.tracker.update(model.spec.name, job.planned.label, rendered=count)
                if renderer.unknown_golds:
                    self._warn(
                        f"{job.planned.label}: the target of {renderer.unknown_golds:,} docs is none of their choices; "
                        "they count as wrong, as in lm-eval"
                    )
                job.status = "rendered"
            self.tracker.update(model.spec.name, job.planned.label, rendered=job.planned.n_docs, state="ready")

    def _decontaminate(self) -> None:
        sought = self.plan.manifest.decontaminate
        if sought is None or self.store.is_decontaminated():
            return
        from lmrun.engine.decontaminate import find_overlaps

        found = find_overlaps(self.plan.jobs, sought, lambda file: self.tracker.phase("decontaminating", file))
        self.store.add_decontamination(found)
        self.log.write("info", "decontaminated", dirty={label: len(found[label].overlaps) for label in found})

    def _write_lock(self) -> None:
        """What makes the run reproducible; written again as more becomes known."""
        plan = self.plan
        lock = {
            **environment(),
            "manifest_hash": manifest_hash(plan.manifest),
            "plan_hash": plan.hash,
            "models": {m.spec.name: dict(m.identity.facts) if m.identity else None for m in plan.models},
            "jobs": {
                j.label: {
                    "task": j.task.name,
                    "version": j.task.version,
                    "task_hash": j.task.content_hash,
                    "datasets": dict(j.task.dataset_fingerprints),
                    "prompt_hash": self.store.prompt_hash(j.label),
                    "seed": j.setting.seed,
                    "docs": j.n_docs,
                }
                for j in plan.jobs
            },
        }
        path = self.opened.directory.lock
        draft = path.with_suffix(".tmp")
        draft.write_text(json.dumps(lock, indent=2, ensure_ascii=False, default=str) + "\n", encoding="utf-8")
        draft.replace(path)

    # -- answering and scoring -----------------------------------------------------------------------------------------

    def _run_model(self, model: PlannedModel, jobs: list[_Job]) -> ExitCode:
        if model.identity is None:
            return ExitCode.BACKEND_FAILED
        self.tracker.phase("looking up", model.spec.name)
        for job in jobs:
            self._look_up(job)
        backend = _LazyBackend(model, self.tracker)
        try:
            codes = [self._run_job(job, backend) for job in jobs]
            self.store.set_model(self._model_id(model), "done")
        except BackendError as error:
            self._fail_model(model, error)
            codes = [ExitCode.BACKEND_FAILED]
        finally:
            backend.close()
        write_results(self.opened.directory, model.spec.name)
        return max(codes, default=ExitCode.COMPLETE)

    def _model_id(self, model: PlannedModel) -> int:
        return self.store.add_model(model.spec.name, model.spec.backend, model.spec.model, "", {})

    def _look_up(self, job: _Job) -> None:
        if job.status == "rendered":
            self.answerer.look_up(job.address)
            job.status = "looked_up"
        elif self.store.reopen_errors(job.address.id) or job.status in ("looked_up", "failed"):
            # An earlier process of this run got this far; its errors are asked again, its answers are not.
            self.answerer.restore(job.address)
            job.status = "looked_up"
        self.answerer.show(job.address)

    def _run_job(self, job: _Job, backend: _LazyBackend) -> ExitCode:
        address = job.address
        if job.status == "scored":
            return ExitCode.INCOMPLETE if self._show_scored(job) else ExitCode.COMPLETE
        if job.status == "looked_up":
            try:
                self.answerer.answer(address, backend.ready)
            except BackendError as error:
                if not backend.loaded:
                    raise
                # The model works, only not for this job: for example a chat setting on a model without a template.
                return self._fail_job(job, error)
            except Exception as error:  # noqa: BLE001 - whatever a backend raises must not cost the other jobs and models
                return self._fail_job(job, error)
        return self._score(job)

    def _score(self, job: _Job) -> ExitCode:
        address = job.address
        self.tracker.phase("scoring", f"{address.model} {address.label}")
        self.tracker.update(address.model, address.label, state="scoring")
        try:
            for _ in score_job(self.store, address.id, job.planned.scoring, job.planned.task.functions):
                pass
        except Exception as error:  # noqa: BLE001 - the answers are safe; `lmrun score` can do this again
            return self._fail_job(job, error)
        return ExitCode.INCOMPLETE if self._show_scored(job) else ExitCode.COMPLETE

    def _show_scored(self, job: _Job) -> int:
        """Show a scored job; returns how many of its samples are errors."""
        errors = self.store.count_errors(job.address.id)
        text = headline(self.store.metrics(job.address.id))
        truncated, extractions = self.store.count_truncated(job.address.id), self.store.extractions(job.address.id)
        doubts = remarks(job.planned.n_docs, truncated, extractions)
        address = job.address
        self.tracker.update(address.model, address.label, state="done", errors=errors, headline=text, remarks=doubts)
        return errors

    # -- failures ------------------------------------------------------------------------------------------------------

    def _fail_job(self, job: _Job, error: Exception) -> ExitCode:
        address = job.address
        self.store.set_job(address.id, "failed", _describe(error))
        self.tracker.update(address.model, address.label, state="failed", headline=str(error).split("\n")[0][:80])
        self.tracker.note(f"{address.model} {address.label} failed: {_text(error)}")
        self.log.write("error", "job failed", model=address.model, job=address.label, error=_trace(error))
        return ExitCode.BACKEND_FAILED if isinstance(error, BackendError) else ExitCode.INCOMPLETE

    def _fail_model(self, model: PlannedModel, error: LmrunError) -> None:
        name = model.spec.name
        self.store.set_model(self._model_id(model), "failed", _describe(error))
        for job in self.plan.jobs:
            self.tracker.update(name, job.label, state="failed")
        self.tracker.note(f"model {name} failed: {_text(error)}")
        self.log.write("error", "model failed", model=name, error=_trace(error))


class _LazyBackend:
    """Loads the model when the first request needs it: a run whose answers are all known loads nothing."""

    def __init__(self, model: PlannedModel, tracker: Tracker) -> None:
        self._model = model
        self._tracker = tracker
        self._backend: Backend | None = None
        self.loaded = False

    def ready(self) -> Backend:
        """The loaded backend."""
        if self._backend is None:
            self._tracker.phase("loading", f"{self._model.spec.name} ({self._model.spec.model})")
            self._backend = self._model.make()
            self._backend.load()
            if self._model.identity and self._backend.identify() != self._model.identity:
                raise BackendError(
                    f"{self._model.spec.model} has changed since this run was planned",
                    hint="something writes to the model's files; run again when it is done",
                )
            self.loaded = True
            self._tracker.watch(self._backend.usage)
        self._tracker.phase("answering", self._model.spec.name)
        return self._backend

    def close(self) -> None:
        """Free the model, if there is one."""
        self._tracker.watch(None)
        if self._backend is not None:
            self._backend.close()


def _describe(error: Exception) -> dict[str, str | None]:
    hint = error.hint if isinstance(error, LmrunError) else None
    return {"kind": type(error).__name__, "message": str(error), "hint": hint}


def _text(error: Exception) -> str:
    if not isinstance(error, LmrunError):
        return f"{type(error).__name__}: {error}"
    return f"{error.message}\n  hint: {error.hint}" if error.hint else error.message


def _trace(error: BaseException) -> dict[str, Any]:
    return {"message": str(error), "traceback": "".join(traceback.format_exception(error))}
