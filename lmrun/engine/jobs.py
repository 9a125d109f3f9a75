"""The jobs of a run on their way: how far each is, and how it ends, scored or failed."""

from __future__ import annotations

import traceback
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from lmrun.engine.answer import JobAddress
from lmrun.engine.plan import PlannedJob
from lmrun.engine.progress import Tracker
from lmrun.engine.remarks import headline, remarks
from lmrun.engine.score import score_job
from lmrun.errors import BackendError, ExitCode, LmrunError
from lmrun.store.log import RunLog
from lmrun.store.records import JobStatus
from lmrun.store.writer import RunStore


@dataclass(slots=True)
class Job:
    """A planned job of one model, with how far it is in the store."""

    planned: PlannedJob
    address: JobAddress
    status: JobStatus


@dataclass(slots=True)
class JobEnds:
    """Brings jobs to their end. Scoring goes in small steps, so that it can share a thread with arriving answers."""

    store: RunStore
    tracker: Tracker
    log: RunLog
    codes: dict[int, ExitCode] = field(default_factory=dict)
    """By job id, how it ended."""
    _told: dict[str, str] = field(default_factory=dict)
    """By words of a failure, the first job that failed so: told at length once."""
    _waiting: deque[Job] = field(default_factory=deque)
    _scoring: tuple[Job, Iterator[int]] | None = None

    def add(self, job: Job) -> None:
        """The job has all its answers."""
        if job.status == "scored":
            self._done(job)
            return
        if job.status != "answered":
            self.store.set_job(job.address.id, "answered")
            job.status = "answered"
        self.tracker.update(job.address.model, job.address.label, state="scoring")
        self._waiting.append(job)

    def step(self) -> bool:
        """Score a little; False when there is nothing to score."""
        if self._scoring is None:
            if not self._waiting:
                return False
            job = self._waiting.popleft()
            planned = job.planned
            self._scoring = job, score_job(self.store, job.address.id, planned.scoring, planned.task.functions)
        job, steps = self._scoring
        try:
            if next(steps, None) is None:
                self._scoring = None
                self._done(job)
        except Exception as error:  # noqa: BLE001 - the answers are safe; `lmrun score` can do this again
            self._scoring = None
            self.fail(job, error)
        return True

    def finish(self) -> None:
        """Score everything that waits."""
        while self._scoring or self._waiting:
            address = (self._scoring[0] if self._scoring else self._waiting[0]).address
            self.tracker.phase("scoring", f"{address.model} {address.label}")
            while self.step() and self._scoring:
                pass

    def _done(self, job: Job) -> None:
        """Show a scored job with what is doubtful about it."""
        job.status = "scored"
        store, address = self.store, job.address
        counts = store.counts(address.id)
        extractions = store.extractions(address.id)
        doubts = remarks(job.planned.n_docs, counts.n_truncated, counts.n_refused, extractions)
        text = headline(store.metrics(address.id))
        self.tracker.update(
            address.model, address.label, state="done", errors=counts.n_errors, headline=text, remarks=doubts
        )
        self.codes[address.id] = ExitCode.INCOMPLETE if counts.n_errors else ExitCode.COMPLETE

    def fail(self, job: Job, error: Exception) -> None:
        """The job cannot be answered or scored; others go on."""
        address = job.address
        self.store.set_job(address.id, "failed", describe(error))
        self.tracker.update(address.model, address.label, state="failed", headline=str(error).split("\n")[0][:80])
        words = in_words(error)
        first = self._told.setdefault(words, address.label)
        self.tracker.note(
            f"{address.model} {address.label} failed: {words if first == address.label else f'as {first}'}"
        )
        self.log.write("error", "job failed", model=address.model, job=address.label, error=trace(error))
        failed = ExitCode.BACKEND_FAILED if isinstance(error, BackendError) else ExitCode.INCOMPLETE
        self.codes[address.id] = failed


def describe(error: Exception) -> dict[str, str | None]:
    """An error as it is stored."""
    hint = error.hint if isinstance(error, LmrunError) else None
    return {"kind": type(error).__name__, "message": str(error), "hint": hint}


def in_words(error: Exception) -> str:
    """An error as it is told."""
    if not isinstance(error, LmrunError):
        return f"{type(error).__name__}: {error}"
    return f"{error.message}\n  hint: {error.hint}" if error.hint else error.message


def trace(error: BaseException) -> dict[str, Any]:
    """An error as it is logged."""
    return {"message": str(error), "traceback": "".join(traceback.format_exception(error))}
