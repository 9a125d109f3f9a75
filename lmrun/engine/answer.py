"""Answer the requests of a job: from the cache in bulk, the rest from the backend, each durable as it arrives."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from lmrun.backends.base import SUSPICIOUS_LOGPROBS, Backend, Chunk, Foresighted
from lmrun.engine.budget import Budget
from lmrun.engine.gauges import Gauges
from lmrun.engine.progress import Tracker
from lmrun.engine.signals import interrupts
from lmrun.engine.steering import LeftOut, Steering
from lmrun.requests import RequestKind, Response
from lmrun.store.cache import Cache
from lmrun.store.log import RunLog
from lmrun.store.queue import QueuedRequests, Ticket
from lmrun.store.records import Source
from lmrun.store.rows import response_text
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
    steering: Steering
    _doubted: set[int] = field(default_factory=set)
    """Jobs with answers that cannot be true."""

    def look_up(self, job: JobAddress) -> None:
        """Copy what the cache knows of this job into the run, in bulk, and mark the look-up as done."""
        self.tracker.update(job.model, job.label, state="looking up")
        requests = 0
        for keys in self.store.unanswered_keys(job.id):
            requests += len(keys)
            if self.cache:
                self.store.add_hits(job.id, self.cache.get(keys))
        self.store.set_job(job.id, "looked_up")
        hits = self.store.counts(job.id).cache_hits
        self.log.write("info", "looked up", model=job.model, job=job.label, requests=requests, hits=hits)

    def restore(self, job: JobAddress) -> None:
        """Put what an earlier process of this run computed into the cache, which it may not have reached."""
        for answers in self.store.computed(job.id) if self.cache else ():
            self._remember(job.fingerprint, answers)

    def enqueue(self, jobs: Sequence[JobAddress]) -> None:
        """Fill the queue with what is left of these jobs, and show how much it is."""
        queue = self.store.queue
        queue.clear()
        work: Counter[RequestKind] = Counter()
        for job in jobs:
            queue.add(job.id)
            left = queue.left(job.id)
            work.update(left.cost)
            counts = self.store.counts(job.id)
            done, hits = counts.requests, counts.cache_hits
            self.tracker.update(
                job.model, job.label, requests=done + left.requests, done=done, cache_hits=hits, errors=0
            )
        self.tracker.expect(work)

    def answer(self, job: JobAddress, backend: Callable[[], Backend], then: JobAddress | None = None) -> None:
        """Ask the backend everything that is left of the job; it is built and loaded only if there is something.

        ``then``: what comes after it.
        """
        queue = self.store.queue
        queue.clear()
        queue.add(job.id, computed=True)
        self.tracker.update(job.model, job.label, state="answering")
        cost = queue.left(job.id).cost
        for requests in queue.of_kinds():
            if len(requests) > len(requests.answered):
                self._answer_kind(job, backend, requests, cost[requests.kind], then)

    def _answer_kind(
        self,
        job: JobAddress,
        backend: Callable[[], Backend],
        requests: QueuedRequests,
        work: int,
        then: JobAddress | None,
    ) -> None:
        def ask() -> Iterator[Chunk]:
            asked = backend()
            chunks = asked.run(requests, requests.answered)
            self.tracker.give(job.model, job.label, requests.kind, work)
            if isinstance(asked, Foresighted):
                asked.foresee(self.store.queue.upcoming(then.id) if then else iter(()))
            return chunks

        self._heed(job)
        left = len(requests) - len(requests.answered)
        for chunk in self.budget.guard(job.model).chunks(ask, left):
            tickets = requests.tickets([i for i, _ in chunk])
            answers = [(ticket, answer) for ticket, (_, answer) in zip(tickets, chunk, strict=True)]
            self.keep(job.fingerprint, {job.id: job}, answers)
            self._heed(job)
        self.tracker.settle()

    def _heed(self, job: JobAddress) -> None:
        """Heed what the user wants. Raises :class:`LeftOut` where that is no more of this job."""
        self.steering.checkpoint()
        self.gauges.sample()
        if self.steering.is_left_out(job.model, job.label):
            raise LeftOut

    def keep(self, fingerprint: str, jobs: dict[int, JobAddress], answers: Sequence[tuple[Ticket, Response]]) -> None:
        """Make answers of one model durable, and count them."""
        rows: list[tuple[str, int, Source, str]] = []
        known: list[tuple[str, str, str]] = []
        errors: Counter[tuple[int, str]] = Counter()
        for ticket, response in answers:
            text = response_text(response)
            if response.error:
                rows.append((ticket.key, ticket.job_id, "error", text))
                errors[ticket.job_id, response.error.kind] += 1
            else:
                rows.append((ticket.key, ticket.job_id, "computed", text))
                known.append((ticket.key, ticket.kind, text))
        with interrupts.deferred():
            # The run first: what it holds is what a resume does not ask again. The cache is made good by `restore`.
            self.store.add_responses(rows)
            if known:
                self._remember(fingerprint, known)
            self._doubt([ticket for ticket, _ in answers], errors)
        self._count(jobs, answers, errors)

    def _remember(self, fingerprint: str, answers: Sequence[tuple[str, str, str]]) -> None:
        self._write_cache(lambda cache: cache.put(fingerprint, answers))

    def _forget(self, keys: Sequence[str]) -> None:
        self._write_cache(lambda cache: cache.forget(keys))

    def _doubt(self, tickets: Sequence[Ticket], errors: Counter[tuple[int, str]]) -> None:
        """Take back what was answered of samples in which one answer cannot be true; the others may come later."""
        self._doubted |= {job_id for job_id, kind in errors if kind == SUSPICIOUS_LOGPROBS}
        keys = [ticket.key for ticket in tickets if ticket.job_id in self._doubted]
        if keys:
            self._forget(self.store.doubt(keys, SUSPICIOUS_LOGPROBS))

    def _write_cache(self, write: Callable[[Cache], None]) -> None:
        if self.cache is None:
            return
        try:
            write(self.cache)
        except sqlite3.Error as error:
            # The run has the answers; a cache that is busy or damaged must not cost the run.
            self.cache = None
            self.tracker.note(f"warning: the cache cannot be written any more ({error}); the run goes on without it")
            self.log.write("warning", "cache lost", error=str(error))

    def show_spending(self, model: str) -> None:
        """Show what was spent in all, and for a model."""
        self.tracker.spend(*self.budget.spent())
        account = self.budget.accounts[model]
        self.tracker.update_model(model, usd=account.usd(), tokens=account.spent.total)

    def _count(
        self,
        jobs: dict[int, JobAddress],
        answers: Sequence[tuple[Ticket, Response]],
        errors: Counter[tuple[int, str]],
    ) -> None:
        cost: Counter[RequestKind] = Counter()
        counts: Counter[int] = Counter()
        tokens: Counter[int] = Counter()
        for ticket, response in answers:
            cost[ticket.kind] += ticket.cost
            counts[ticket.job_id] += 1
            tokens[ticket.job_id] += response.prompt_tokens + response.completion_tokens
        failed: Counter[int] = Counter()
        for (job_id, kind), n in errors.items():
            failed[job_id] += n
            job = jobs[job_id]
            self.log.write("warning", "requests failed", model=job.model, job=job.label, kind=kind, n=n)
        self.tracker.worked(cost)
        for job_id, n in counts.items():
            job = jobs[job_id]
            self.tracker.answered(job.model, job.label, n, failed[job_id], tokens[job_id])
        if counts:
            self.show_spending(job.model)
