"""Answer the requests of a job: from the cache in bulk, the rest from the backend, each durable as it arrives."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

from lmrun.backends.base import Backend, Chunk
from lmrun.engine.budget import Budget
from lmrun.engine.gauges import Gauges
from lmrun.engine.progress import Tracker
from lmrun.requests import Request, Response
from lmrun.store.cache import Cache
from lmrun.store.log import RunLog
from lmrun.store.writer import RunStore


@dataclass(frozen=True, slots=True)
class JobAddress:
    """Where a job's answers go, and under which names progress is shown."""

    id: int
    model: str
    label: str
    fingerprint: str


@dataclass(slots=True)
class Answerer:
    """Answers jobs of one run. ``cache`` is None where the user wants none."""

    store: RunStore
    cache: Cache | None
    tracker: Tracker
    log: RunLog
    gauges: Gauges
    budget: Budget

    def look_up(self, job: JobAddress) -> None:
        """Copy what the cache knows of this job into the run, in bulk, and mark the look-up as done."""
        self.tracker.update(job.model, job.label, state="looking up")
        keys = self.store.unanswered_keys(job.id)
        hits = self.store.finish_lookup(job.id, self.cache.get(keys) if self.cache else ())
        self.log.write("info", "looked up", model=job.model, job=job.label, requests=len(keys), hits=hits)

    def show(self, job: JobAddress) -> None:
        """Show how much of the job is answered and how much is left."""
        total, done = 0, 0
        for _, request, answered in self.store.work(job.id):
            total += 1
            done += answered
            if not answered:
                self.tracker.expect(request)
        hits = self.store.count_hits(job.id)
        self.tracker.update(job.model, job.label, requests=hits + total, done=hits + done, cache_hits=hits)

    def restore(self, job: JobAddress) -> None:
        """Put what an earlier process of this run computed into the cache, which it may not have reached."""
        if self.cache:
            for kind, answers in groupby(self.store.computed(job.id), key=lambda answer: answer[1]):
                self.cache.put(job.fingerprint, kind, ((key, response) for key, _, response in answers))

    def answer(self, job: JobAddress, backend: Callable[[], Backend]) -> None:
        """Ask the backend everything that is left of the job; it is built and loaded only if there is something."""
        work = list(self.store.work(job.id))
        kinds = list(dict.fromkeys(request.kind for _, request, _ in work))
        self.tracker.update(job.model, job.label, state="answering")
        for kind in kinds:
            self._answer_kind(job, backend, [item for item in work if item[1].kind == kind])
        self.store.set_job(job.id, "answered")

    def _answer_kind(
        self, job: JobAddress, backend: Callable[[], Backend], work: Sequence[tuple[str, Request, bool]]
    ) -> None:
        requests = [request for _, request, _ in work]
        answered = frozenset(i for i, (_, _, done) in enumerate(work) if done)
        if len(answered) == len(work):
            return
        guard = self.budget.guard(job.model)
        for chunk in guard.chunks(lambda: backend().run(requests, answered), len(work) - len(answered)):
            self._keep(job, work, chunk)

    def _remember(self, job: JobAddress, kind: str, answers: Sequence[tuple[str, Response]]) -> None:
        try:
            if self.cache:
                self.cache.put(job.fingerprint, kind, answers)
        except sqlite3.Error as error:
            # The run has the answers; a cache that is busy or damaged must not cost the run.
            self.cache = None
            self.tracker.note(f"warning: the cache cannot be written any more ({error}); the run goes on without it")
            self.log.write("warning", "cache lost", error=str(error))

    def _keep(self, job: JobAddress, work: Sequence[tuple[str, Request, bool]], chunk: Chunk) -> None:
        answers = [(work[i][0], response) for i, response in chunk]
        # The run first: what it holds is what a resume does not ask again. The cache is made good by `restore`.
        self.store.add_responses(job.id, "computed", answers)
        if self.cache and chunk:
            self._remember(job, work[chunk[0][0]][1].kind, answers)
        errors = [response.error for _, response in answers if response.error]
        self.log.write("debug", "answered", model=job.model, job=job.label, n=len(answers), errors=len(errors))
        for error in errors[:1]:
            self.log.write("warning", "request failed", model=job.model, job=job.label, kind=error.kind, n=len(errors))
        self.gauges.sample()
        self.tracker.spend(*self.budget.spent())
        self.tracker.answered(job.model, job.label, [work[i][1] for i, _ in chunk], len(errors))
