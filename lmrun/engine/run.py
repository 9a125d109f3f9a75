"""Carry out a plan: render, look up, answer, score; one model at a time, each model's failure its own."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmrun.backends.base import Backend, StreamingBackend
from lmrun.engine.answer import Answerer, JobAddress
from lmrun.engine.budget import Budget, BudgetSpent
from lmrun.engine.control.server import control
from lmrun.engine.devices import MachineReader
from lmrun.engine.environment import environment
from lmrun.engine.gauges import Gauges
from lmrun.engine.jobs import Job, JobEnds, describe, in_words, trace
from lmrun.engine.logs import backend_log
from lmrun.engine.open import OpenRun, open_run, reopen_run
from lmrun.engine.plan import Plan, PlannedModel, warnings_of
from lmrun.engine.price import Price
from lmrun.engine.prices import Prices, require_prices
from lmrun.engine.progress import JobProgress, ModelProgress, Tracker
from lmrun.engine.render import JobRenderer, render_job
from lmrun.engine.results import file_name, write_results
from lmrun.engine.steering import Steering
from lmrun.engine.stream import ModelStream
from lmrun.errors import BackendError, ExitCode
from lmrun.manifest import manifest_hash
from lmrun.store.cache import Cache
from lmrun.store.log import RunLog
from lmrun.store.reader import RunReader
from lmrun.store.runs import RunDirectory
from lmrun.store.writer import RunStore


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended."""

    directory: RunDirectory
    exit_code: ExitCode


def execute(plan: Plan, *, cache: Path | None, fresh: bool, tracker: Tracker) -> Outcome:
    """Run a plan to its end, or continue the newest unfinished run of it.

    Raises:
        ManifestError: if there is a budget in dollars, and a price is missing.
        RunError: if the run is held by another process.
        StoreError: if the cache or the run directory cannot be used.
    """
    run, prices = plan.manifest.run, _prices(plan)
    identity = manifest_hash(plan.manifest)
    opened = open_run(run.runs_dir, plan.manifest.name, identity, plan.hash, fresh=fresh)
    return _carry_out(plan, opened, cache, prices, tracker)


def retry(plan: Plan, run: RunDirectory, tracker: Tracker) -> Outcome:
    """Ask again what failed in a run, and what was never asked. ``plan`` is that of the run's own manifest.

    Raises:
        ManifestError: if there is a budget in dollars, and a price is missing.
        RunError: if the run is held by another process, or its tasks, data or models have changed.
        StoreError: if the cache or the run directory cannot be used.
    """
    prices = _prices(plan)
    opened = reopen_run(run, plan.hash)
    reader = RunReader(run)
    cache = reader.info().get("cache", plan.manifest.run.cache)
    reader.close()
    return _carry_out(plan, opened, Path(cache) if cache else None, prices, tracker)


def _prices(plan: Plan) -> dict[str, Price | None]:
    tables = Prices.open(plan.manifest.run.prices)
    prices = {model.spec.name: tables.of(model.spec) for model in plan.models}
    require_prices(plan.manifest, prices)
    return prices


def _carry_out(
    plan: Plan, opened: OpenRun, cache: Path | None, prices: Mapping[str, Price | None], tracker: Tracker
) -> Outcome:
    if opened.note:
        tracker.note(opened.note)
    run = plan.manifest.run
    with opened.lock, _stores(opened.directory, cache, tracker) as (store, cache_file, log):
        budget = Budget.of(run.budget_usd, run.budget_tokens, prices, store.tokens())
        steering = Steering(tracker, log)
        gauges = Gauges(store.gauge)
        answerer = Answerer(store, cache_file, tracker, log, gauges, budget, steering)
        engine = _Engine(plan, opened, store, answerer, tracker, log)
        where = str(cache.absolute()) if cache else None
        process = {"pid": os.getpid(), "host": socket.gethostname()}
        store.set_info(status="running", **process, resumed=opened.resumed, cache=where, stopped=None, **budget.facts())
        tracker.measure(MachineReader().read)
        log.write("info", "resumed" if opened.resumed else "started", pid=os.getpid())
        try:
            with gauges.measured(tracker.snapshot), control(opened.directory, steering, tracker, log):
                code = engine.run()
        except (KeyboardInterrupt, BudgetSpent) as stop:
            stopped = stop.key if isinstance(stop, BudgetSpent) else None
            tracker.phase("interrupted")
            if isinstance(stop, KeyboardInterrupt):
                for text in stop.args:  # what a backend leaves behind
                    tracker.note(str(text))
            store.set_info(status="interrupted", finished=time.time(), stopped=stopped)
            log.write("warning", "interrupted", stopped=stopped)
            return Outcome(opened.directory, ExitCode.INTERRUPTED)
        status = "complete" if code is ExitCode.COMPLETE else "incomplete"
        store.set_info(status=status, finished=time.time())
        log.write("info", "finished", status=status, exit_code=int(code))
        tracker.phase("finished")
        return Outcome(opened.directory, code)


@contextmanager
def _stores(
    directory: RunDirectory, cache: Path | None, tracker: Tracker
) -> Iterator[tuple[RunStore, Cache | None, RunLog]]:
    store = RunStore(directory)
    log = RunLog(directory.log, store.event)
    cache_file = Cache(cache) if cache else None
    try:
        with backend_log(log, tracker.note):
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
        # Also of a resumed run: how fast and with which key a server is asked may differ now.
        _replace(directory.manifest, self.plan.manifest.resolved_toml())
        self.tracker.start(
            directory.id,
            [JobProgress(m.spec.name, j.label, docs=j.n_docs) for m in self.plan.models for j in self.plan.jobs],
            [ModelProgress(m.spec.name, m.spec.backend, m.spec.model) for m in self.plan.models],
        )
        for planned in self.plan.models:
            self.answerer.show_spending(planned.spec.name)
        for warning in warnings_of(self.plan.jobs, self.plan.models):
            self._warn(warning)
        jobs = [(model, self._record(model)) for model in self.plan.models]
        self._write_lock()
        for model, its_jobs in jobs:
            self._render(model, its_jobs)
        self._write_lock()
        self._decontaminate()
        codes = [self._run_model(model, its_jobs) for model, its_jobs in jobs]
        while self.answerer.steering.take_retry():
            codes = [self._ask_again(model, its_jobs) for model, its_jobs in jobs]
        return max(codes)

    def _warn(self, text: str) -> None:
        self.tracker.note(f"warning: {text}")
        self.log.write("warning", "warning", text=text)

    # -- recording and rendering ---------------------------------------------------------------------------------------

    def _record(self, model: PlannedModel) -> list[Job]:
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
            jobs.append(Job(planned, JobAddress(job_id, spec.name, planned.label, fingerprint), status))
        return jobs

    def _render(self, model: PlannedModel, jobs: list[Job]) -> None:
        for job in jobs:
            if job.status == "pending":
                self.tracker.phase("rendering", f"{model.spec.name} {job.planned.label}")
                self.tracker.update(model.spec.name, job.planned.label, state="rendering")
                renderer = JobRenderer(job.planned, job.address.fingerprint)
                for count in render_job(self.store, job.address.id, renderer):
                    self.answerer.steering.poll()
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
        _replace(self.opened.directory.lock, json.dumps(lock, indent=2, ensure_ascii=False, default=str) + "\n")

    # -- answering and scoring -----------------------------------------------------------------------------------------

    def _run_model(self, model: PlannedModel, jobs: list[Job]) -> ExitCode:
        if model.identity is None:
            return ExitCode.BACKEND_FAILED
        for job in jobs:
            self.answerer.steering.poll()
            self.tracker.phase("looking up", f"{model.spec.name} {job.planned.label}")
            self._look_up(job)
        self.answerer.enqueue([job.address for job in jobs])
        ends = JobEnds(self.store, self.tracker, self.log)
        backend = _LazyBackend(model, self.opened.directory.batches / file_name(model.spec.name), self.tracker)
        try:
            self._answer(jobs, backend, ends)
            self.store.set_model(self._model_id(model), "done")
            self.tracker.update_model(model.spec.name, state="done")
            code = max(ends.codes.values(), default=ExitCode.COMPLETE)
        except KeyboardInterrupt:
            self.store.set_info(in_flight=backend.in_flight())
            raise
        except BudgetSpent:
            write_results(self.opened.directory, model.spec.name)
            raise
        except Exception as error:  # noqa: BLE001 - whatever a backend raises must not cost the other models
            self._fail_model(model, error, {job.address.label for job in jobs if job.status == "scored"})
            code = ExitCode.BACKEND_FAILED
        finally:
            self.log.write("info", "model ended", model=model.spec.name, facts=backend.facts())
            backend.close()
        write_results(self.opened.directory, model.spec.name)
        return code

    def _ask_again(self, model: PlannedModel, jobs: list[Job]) -> ExitCode:
        """Ask what failed once more, as a later process of this run would; but not what the user wants left out."""
        steering = self.answerer.steering
        wanted = [job for job in jobs if not steering.is_left_out(job.address.model, job.address.label)]
        code = self._run_model(model, wanted)
        return code if len(wanted) == len(jobs) else max(code, ExitCode.INCOMPLETE)

    def _model_id(self, model: PlannedModel) -> int:
        return self.store.add_model(model.spec.name, model.spec.backend, model.spec.model, "", {})

    def _look_up(self, job: Job) -> None:
        if job.status == "rendered":
            self.answerer.look_up(job.address)
            job.status = "looked_up"
        elif self.store.reopen_errors(job.address.id) or job.status in ("looked_up", "failed"):
            # An earlier process of this run got this far; its errors are asked again, its answers are not.
            self.store.set_job(job.address.id, "looked_up")
            self.answerer.restore(job.address)
            job.status = "looked_up"

    def _answer(self, jobs: Sequence[Job], backend: _LazyBackend, ends: JobEnds) -> None:
        if backend.streams:
            ModelStream(self.answerer, ends, jobs).run(backend.streaming)
            return
        for place, job in enumerate(jobs):
            then = next((later.address for later in jobs[place + 1 :] if later.status == "looked_up"), None)
            try:
                if job.status == "looked_up":
                    self.answerer.answer(job.address, backend.ready, then)
            except Exception as error:
                if isinstance(error, BackendError) and not backend.loaded:
                    raise
                # The user leaves it out; or the model works, only not for this job: for example a chat setting on a
                # model without a template.
                ends.fail(job, error)
                asked = self.store.counts(job.address.id).requests
                self.tracker.update(job.address.model, job.address.label, requests=asked)
                self.answerer.enqueue([later.address for later in jobs[place + 1 :]])  # they may ask some of the same
            else:
                ends.add(job)
                ends.finish()

    # -- failures ------------------------------------------------------------------------------------------------------

    def _fail_model(self, model: PlannedModel, error: Exception, scored: Collection[str] = ()) -> None:
        name = model.spec.name
        self.store.set_model(self._model_id(model), "failed", describe(error))
        self.tracker.update_model(name, state="failed")
        for job in self.plan.jobs:
            if job.label not in scored:
                self.tracker.update(name, job.label, state="failed")
        self.tracker.note(f"model {name} failed: {in_words(error)}")
        self.log.write("error", "model failed", model=name, error=trace(error))


def _replace(path: Path, text: str) -> None:
    """Write a file whole or not at all: on a full disk, or killed, what was there stays."""
    draft = path.with_suffix(".tmp")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


class _LazyBackend:
    """Loads the model when the first request needs it: a run whose answers are all known loads nothing."""

    def __init__(self, model: PlannedModel, state: Path, tracker: Tracker) -> None:
        self._model = model
        self._tracker = tracker
        self._backend: Backend = model.make(state)
        self.loaded = False

    @property
    def streams(self) -> bool:
        """Whether it takes the requests of all jobs at once."""
        return isinstance(self._backend, StreamingBackend)

    def ready(self) -> Backend:
        """The loaded backend."""
        if not self.loaded:
            self._tracker.phase("loading", f"{self._model.spec.name} ({self._model.spec.model})")
            self._tracker.update_model(self._model.spec.name, state="loading")
            self._backend.load()
            if self._model.identity and self._backend.identify() != self._model.identity:
                raise BackendError(
                    f"{self._model.spec.model} has changed since this run was planned",
                    hint="something writes to the model's files; run again when it is done",
                )
            self.loaded = True
            self._tracker.watch(self._backend.usage, self._model.spec.name)
            self._tracker.update_model(self._model.spec.name, state="answering")
        self._tracker.phase("answering", self._model.spec.name)
        return self._backend

    def streaming(self) -> StreamingBackend:
        """The loaded backend, if :attr:`streams`."""
        backend = self.ready()
        assert isinstance(backend, StreamingBackend)
        return backend

    def in_flight(self) -> dict[str, int]:
        """How many requests an interrupt found on their way, by what became of them; empty where it is not known."""
        facts = self.facts()
        return {name: int(facts[name]) for name in ("drained", "abandoned") if facts.get(name)}

    def facts(self) -> Mapping[str, Any]:
        """What the backend says of itself, once it is loaded."""
        return self._backend.usage().facts if self.loaded else {}

    def close(self) -> None:
        """Free the model, if it was loaded."""
        self._tracker.watch(None)
        self._backend.close()
